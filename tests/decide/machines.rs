//! Keys of machines: what they may do, and every way in which one does not count.

use std::fmt::Write as _;

use tollgate::domain::charge::Subject;
use tollgate::domain::machine::{KeyPepper, NewKey};
use tollgate::domain::refusal::{CredentialFault, Refusal};
use tollgate::domain::secret::Secret;

use crate::world::{Decided, NOW, Request, World, request};
use crate::{ACME, GLOBEX};

/// The one of `gateway.yaml`.
const PEPPER: &str = "a pepper of thirty-two bytes or more";

fn key(number: u8) -> String {
    NewKey::of([number; 16], [number; 32]).unwrap().key.expose().to_owned()
}

/// The secret that came after it.
fn rotated(number: u8) -> String {
    let id = key(number)[..16].parse().unwrap();
    NewKey::again(id, [number + 100; 32]).unwrap().key.expose().to_owned()
}

fn hash(key: &str) -> String {
    KeyPepper::new(&Secret::new(PEPPER)).hash(key).to_string()
}

/// A key as directories state it.
fn entry(number: u8, more: &str) -> String {
    let key = key(number);
    let (id, hash) = (&key[..16], hash(&key));
    format!("      - {{ id: {id}, name: k{number}, hash: {hash}, {more} }}\n")
}

fn moment(seconds_from_now: i64) -> String {
    let now = i64::try_from(NOW.unix_secs()).unwrap();
    jiff::Timestamp::from_second(now + seconds_from_now).unwrap().to_string()
}

const READER: u8 = 1;
const EVERYTHING: u8 = 2;
const EXPIRED: u8 = 3;
const REVOKED: u8 = 4;
const FROM_TEN: u8 = 5;
const EXPORTER: u8 = 6;
const ODD_LIMIT: u8 = 7;
const OVERLAPPING: u8 = 8;
const ROTATED: u8 = 9;
const ENDING: u8 = 10;
const SUSPENDED: u8 = 11;
const UNLISTED: u8 = 12;

fn world() -> World {
    let mut acme = String::new();
    let previous = |number: u8, until: i64| {
        let (id, now, before) =
            (&key(number)[..16].to_owned(), hash(&rotated(number)), hash(&key(number)));
        let until = moment(until);
        format!(
            "      - {{ id: {id}, name: k{number}, hash: {now}, scopes: [\"events:read\"], \
             previous: {{ hash: {before}, until: \"{until}\" }} }}\n"
        )
    };
    for listed in [
        entry(READER, r#"scopes: ["events:read"]"#),
        entry(EVERYTHING, r#"scopes: ["*:admin", "org_stats:call"]"#),
        entry(EXPIRED, &format!(r#"scopes: ["*:read"], expires: "{}""#, moment(0))),
        entry(REVOKED, r#"scopes: ["*:read"], status: revoked"#),
        entry(FROM_TEN, r#"scopes: ["*:read"], addresses: [10.0.0.0/8, "2001:db8::/32"]"#),
        entry(EXPORTER, r#"scopes: ["*:read"], limit: exports"#),
        entry(ODD_LIMIT, r#"scopes: ["*:read"], limit: per_key"#),
        previous(OVERLAPPING, 1),
        previous(ROTATED, 0),
        entry(ENDING, &format!(r#"scopes: ["*:read"], expires: "{}""#, moment(1))),
    ] {
        acme.write_str(&listed).unwrap();
    }
    let closed = entry(SUSPENDED, r#"scopes: ["*:read"]"#);
    let directory = format!(
        "organizations:\n\
         \x20 - id: {ACME}\n    slug: acme\n    plan: free\n    members: [{{ user: alice, role: admin }}]\n    api_keys:\n{acme}\
         \x20 - {{ id: {GLOBEX}, slug: globex, plan: free }}\n\
         \x20 - id: 00000000-0000-4000-8000-00000000000c\n    slug: closed\n    plan: free\n    status: suspended\n    api_keys:\n{closed}"
    );
    World::of(include_str!("machines.yaml"), &directory)
}

fn with(request: Request, key: &str) -> Request {
    request.field("authorization", &format!("Bearer {key}"))
}

fn read(number: u8) -> Request {
    with(request("GET", "/rest/v1/events?select=id"), &key(number))
}

fn fault(decided: &Decided) -> CredentialFault {
    match decided {
        Decided::Refused { refusal: Refusal::Unauthenticated(fault), .. } => *fault,
        other => panic!("not a credential fault: {other}"),
    }
}

#[test]
fn a_key_reaches_its_own_organization_and_does_what_its_scopes_say() {
    let world = world();
    let target = format!("200 /events?select=id&organization_id=eq.{ACME}");
    assert_eq!(world.decide(&read(READER)).to_string(), target);
    let header = request("GET", "/rest/v1/events?select=id").field("apikey", &key(READER));
    assert_eq!(world.decide(&header).to_string(), target);
    for (number, method, path, wanted) in [
        (READER, "GET", "/rest/v1/deals?select=id", "permission_denied"),
        (READER, "POST", "/rest/v1/events", "permission_denied"),
        (READER, "DELETE", "/rest/v1/events?id=eq.1", "permission_denied"),
        (READER, "GET", "/rest/v1/rpc/org_stats", "permission_denied"),
        (EVERYTHING, "DELETE", "/rest/v1/events?id=eq.1", "passed"),
        (EVERYTHING, "POST", "/rest/v1/rpc/org_stats", "passed"),
        (EVERYTHING, "GET", "/rest/v1/ghosts", "table_not_found"),
        (READER, "GET", "/machines/events?select=id", "passed"),
    ] {
        let decided = world.decide(&with(request(method, path), &key(number)));
        assert_eq!(decided.code(), wanted, "{method} {path}: {decided}");
    }
}

#[test]
fn another_source_that_disagrees_with_the_key_is_a_conflict_whether_it_exists_or_not() {
    let world = world();
    for (organization, wanted) in [
        ("acme", "passed"),
        (ACME, "passed"),
        ("globex", "org_conflict"),
        (GLOBEX, "org_conflict"),
        ("ghost", "org_conflict"),
        ("Not An Organization", "bad_organization"),
    ] {
        let decided = world.decide(&read(READER).field("x-organization-id", organization));
        assert_eq!(decided.code(), wanted, "{organization}");
    }
    assert_eq!(world.decide(&read(SUSPENDED)).code(), "org_suspended");
}

#[test]
fn machines_pass_only_where_a_route_names_them_and_people_only_where_it_names_people() {
    let world = world();
    let of_machine = |path| world.decide(&with(request("GET", path), &key(EVERYTHING))).code();
    assert_eq!(of_machine("/people/events?select=id"), "wrong_credentials");
    assert_eq!(of_machine("/auth/v1/user"), "wrong_credentials");
    // A machine shows no factors.
    assert_eq!(of_machine("/jobs/events?select=id"), "mfa_required");
    let machines = |asked: Request| world.decide(&asked).code();
    let path = "/machines/events?select=id";
    assert_eq!(machines(request("GET", path)), "no_credentials");
    assert_eq!(machines(request("GET", path).user("alice")), "wrong_credentials");
    let service = request("GET", path).field("apikey", "sb_secret_0123456789abcdef");
    assert_eq!(machines(service.sent_from("10.0.0.1")), "wrong_credentials");
    assert_eq!(machines(request("GET", "/rest/v1/events?select=id").user("alice")), "passed");
}

#[test]
fn every_bad_key_looks_alike_to_the_caller_and_is_told_apart_in_the_log() {
    use CredentialFault::{
        KeyAddress, KeyExpired, KeyForm, KeyInQuery, KeyRevoked, KeySecret, KeyUnknown,
    };
    let world = world();
    let good = key(READER);
    let flipped = |at: usize| {
        let mut text = good.clone().into_bytes();
        text[at] = if text[at] == b'a' { b'b' } else { b'a' };
        String::from_utf8(text).unwrap()
    };
    let other_secret = NewKey::again(good[..16].parse().unwrap(), [77; 32]).unwrap();
    let events = || request("GET", "/rest/v1/events?select=id");
    for (name, asked, wanted) in [
        ("wrong checksum", with(events(), &flipped(65)), KeyForm),
        ("mistyped secret", with(events(), &flipped(30)), KeyForm),
        ("mistyped id", with(events(), &flipped(8)), KeyForm),
        ("truncated", with(events(), &good[..65]), KeyForm),
        ("id alone", with(events(), &good[..16]), KeyForm),
        ("prefix alone", with(events(), "tgk_"), KeyForm),
        ("over-long", with(events(), &format!("{good}0")), KeyForm),
        ("very long", with(events(), &format!("tgk_{}", "a".repeat(8_000))), KeyForm),
        ("in the field of keys", events().field("apikey", &flipped(65)), KeyForm),
        ("wrong secret", with(events(), other_secret.key.expose()), KeySecret),
        ("not there", with(events(), &key(UNLISTED)), KeyUnknown),
        ("expired", read(EXPIRED), KeyExpired),
        ("revoked", read(REVOKED), KeyRevoked),
        ("elsewhere", read(FROM_TEN), KeyAddress),
        ("replaced", read(ROTATED), KeyExpired),
        ("in the query", request("GET", &format!("/rest/v1/events?apikey={good}")), KeyInQuery),
        (
            "hidden in it",
            request("GET", &format!("/rest/v1/events?%61pikey=%74{}", &good[1..])),
            KeyInQuery,
        ),
    ] {
        let decided = world.decide(&asked);
        assert_eq!((decided.status().as_u16(), decided.code()), (401, "invalid_api_key"), "{name}");
        assert_eq!(fault(&decided), wanted, "{name}");
    }
}

#[test]
fn a_key_stands_alone() {
    let world = world();
    let (one, other) = (key(READER), key(EVERYTHING));
    for (name, asked) in [
        ("two keys", read(READER).field("apikey", &other)),
        ("one of Supabase", read(READER).field("apikey", "sb_publishable_0123456789abcdef")),
        ("the header twice", read(READER).field("authorization", &format!("Bearer {one}"))),
        ("a user beside it", request("GET", "/rest/v1/events").user("alice").field("apikey", &one)),
    ] {
        assert_eq!(world.decide(&asked).code(), "conflicting_credentials", "{name}");
    }
    // supabase-js puts its key into both.
    assert_eq!(world.decide(&read(READER).field("apikey", &one)).code(), "passed");
}

#[test]
fn a_key_counts_until_its_end_from_its_networks_and_through_its_overlap() {
    let world = world();
    for (name, asked) in [
        ("in its last second", read(ENDING)),
        ("the old secret while they overlap", read(OVERLAPPING)),
        ("from its network", read(FROM_TEN).sent_from("10.1.2.3")),
        ("spelt as IPv6", read(FROM_TEN).sent_from("::ffff:10.1.2.3")),
        ("from the other", read(FROM_TEN).sent_from("2001:db8::1")),
        (
            "the new secret",
            with(request("GET", "/rest/v1/events?select=id"), &rotated(OVERLAPPING)),
        ),
        ("after the overlap", with(request("GET", "/rest/v1/events?select=id"), &rotated(ROTATED))),
    ] {
        let decided = world.decide(&asked);
        assert_eq!(decided.code(), "passed", "{name}: {decided}");
    }
}

#[test]
fn limits_count_a_key_by_its_id_and_its_own_besides_once() {
    let world = world();
    for (number, wanted) in [
        (READER, vec!["per_org", "per_key"]),
        (EXPORTER, vec!["per_org", "per_key", "exports"]),
        (ODD_LIMIT, vec!["per_org", "per_key"]),
    ] {
        let decided = world.decide(&read(number));
        let charge = decided.charge();
        let names: Vec<&str> = charge.buckets.iter().map(|b| b.limit.as_ref()).collect();
        assert_eq!(names, wanted);
        let id = &key(number)[..16];
        let of_key = charge.buckets.iter().filter(|b| b.limit.as_ref() != "per_org");
        for bucket in of_key {
            assert!(matches!(&bucket.subject, Subject::Key(name, Some(_)) if name.as_ref() == id));
        }
    }
}

#[test]
fn a_directory_that_is_away_is_503_for_a_key_and_never_401() {
    let mut world = world();
    world.directory_away = true;
    for number in [READER, REVOKED, UNLISTED] {
        assert_eq!(world.decide(&read(number)).code(), "directory_unavailable");
    }
    // What can be told without asking is.
    assert_eq!(
        world.decide(&with(request("GET", "/rest/v1/events"), "tgk_x")).code(),
        "invalid_api_key"
    );
}

#[test]
fn a_machine_opens_no_websocket() {
    let world = world();
    let socket = || {
        request("GET", "/socket")
            .field("connection", "upgrade")
            .field("upgrade", "websocket")
            .field("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .field("sec-websocket-version", "13")
    };
    assert_eq!(world.decide(&socket().user("alice")).code(), "passed");
    let decided = world.decide(&with(socket(), &key(READER)));
    assert_eq!(decided.code(), "websocket_not_allowed", "{decided}");
    // The route as such is open to it.
    assert_eq!(world.decide(&with(request("GET", "/socket"), &key(READER))).code(), "passed");
}
