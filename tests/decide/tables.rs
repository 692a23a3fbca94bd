//! Tables whose isolation is only tried: who is sent on as they wrote, and who is confined after all.

use tollgate::pipeline::Passed;
use tollgate::pipeline::upstream::IdentityPlan;

use crate::world::{Decided, Request, World, request};
use crate::{ACME, GLOBEX};

const GATEWAY: &str = include_str!("gateway.yaml");
const POLICY: &str = include_str!("tables.yaml");
const DIRECTORY: &str = "
organizations:
  - id: 00000000-0000-4000-8000-00000000000a
    slug: acme
    plan: free
    members:
      - { user: alice, role: admin, joined: 2024-01-01 }
      - { user: bob, role: viewer, joined: 2024-01-01 }
";

fn world() -> World {
    let minted = "identity: { mint: { secret: abcdefghijklmnopqrstuvwxyz0123456789 } }";
    let passed = "identity: { pass_through: { translate: { secret: abcdefghijklmnopqrstuvwxyz0123456789 } } }";
    assert!(GATEWAY.contains(minted));
    World::behind(&GATEWAY.replace(minted, passed), POLICY, DIRECTORY)
}

fn line_of(beginning: &str) -> usize {
    let table = POLICY.lines().position(|line| line.starts_with(beginning)).unwrap();
    let mode = POLICY.lines().skip(table).position(|line| line.trim() == "mode: shadow");
    table + mode.unwrap() + 1
}

fn alice(method: &str, target: &str) -> Request {
    request(method, &format!("/rest/v1{target}")).user("alice")
}

/// What policies in shadow would have done, without their lines.
fn would(world: &World, asked: &Request) -> Vec<String> {
    let told = world.would(asked).into_iter();
    told.map(|would| would.rsplit_once(' ').unwrap().0.to_owned()).collect()
}

fn field(passed: &Passed, name: &str) -> Option<String> {
    let mut found = passed.fields().iter().filter(|(known, _)| known == name);
    let value = found.next().map(|(_, value)| value.to_str().unwrap().to_owned());
    assert!(found.next().is_none(), "`{name}` twice");
    value
}

#[test]
fn a_request_to_a_table_in_shadow_goes_as_it_was_written_and_says_what_confinement_would_do() {
    let world = world();
    let table = |code: &str| vec![format!("table `events`: {code}")];
    let foreign = format!("/events?organization_id=eq.{GLOBEX}&select=id");
    let sent_foreign = format!("/events?select=id&organization_id=eq.{GLOBEX}");
    for (method, target, sent, code) in [
        ("GET", "/events", "/events", "confined"),
        (
            "GET",
            "/events?select=*&order=id.desc&limit=3",
            "/events?select=*&order=id.desc&limit=3",
            "confined",
        ),
        ("GET", &foreign, &sent_foreign, "confined"),
        (
            "HEAD",
            "/events?or=(id.eq.1,title.is.null)",
            "/events?or=(id.eq.1,title.is.null)",
            "confined",
        ),
        ("DELETE", "/events", "/events", "400 rest_filter_required"),
        ("DELETE", "/events?id=eq.1", "/events?id=eq.1", "confined"),
        (
            "PATCH",
            "/events?id=eq.1&limit=1",
            "/events?id=eq.1&limit=1",
            "400 rest_limit_without_order",
        ),
        ("POST", "/events?id=eq.1", "/events?id=eq.1", "400 rest_insert_with_filter"),
        (
            "POST",
            "/events?columns=id,nothing",
            "/events?columns=id,nothing",
            "403 rest_column_unknown",
        ),
        ("PUT", "/events?id=eq.1", "/events?id=eq.1", "403 rest_upsert_key"),
    ] {
        let asked = alice(method, target);
        let decided = world.decide(&asked);
        assert_eq!(decided.to_string(), format!("200 {sent}"), "{method} {target}");
        assert_eq!(would(&world, &asked), table(code), "{method} {target}");
    }
    let told = world.would(&alice("GET", "/events"));
    assert_eq!(told, [format!("table `events`: confined policy.yaml:{}", line_of("  events:"))]);
    // Of a table that clients may only read, and of rows that belong to a parent.
    assert_eq!(
        would(&world, &alice("POST", "/notes")),
        ["table `notes`: 403 rest_table_read_only"]
    );
    let parts = alice("GET", "/parts?select=id");
    assert_eq!(world.decide(&parts).to_string(), "200 /parts?select=id");
    assert_eq!(would(&world, &parts), ["table `parts`: confined"]);
}

#[test]
fn embeds_of_tables_in_shadow_are_named_outright_and_not_confined() {
    let world = world();
    for (target, sent) in [
        ("/events?select=id,notes(text)", "/events?select=id,notes!notes_event(text)"),
        (
            "/notes?select=text,of:events(*)&of.title=eq.x",
            "/notes?select=text,of:events!notes_event(*)&of.title=eq.x",
        ),
        ("/notes?select=...events(title)", "/notes?select=...events!notes_event(title)"),
        ("/events?select=id,parts(id)", "/events?select=id,parts!parts_event(id)"),
        // What is the same for all is read as ever: the columns of the catalogue.
        ("/events?select=id,countries(*)", "/events?select=id,countries!events_country(id,name)"),
        ("/countries?select=*,events(id)", "/countries?select=id,name,events!events_country(id)"),
    ] {
        let asked = alice("GET", target);
        assert_eq!(world.decide(&asked).to_string(), format!("200 {sent}"), "{target}");
        assert_eq!(would(&world, &asked).len(), 1, "{target}");
    }
}

#[test]
fn what_touches_a_table_that_is_enforced_is_confined_or_refused() {
    let world = world();
    let confined = format!("organization_id=eq.{ACME}");
    for target in [
        "/events?select=id,profiles(name)",
        "/events?select=id,events_owner(name)",
        "/events?select=id,owner_id(name)",
        "/events?select=id,x:profiles!events_owner(name)",
        "/events?select=id,...profiles(name)",
        "/events?select=id,profiles!inner(name)",
        "/events?select=id,profiles()&profiles.name=eq.x",
        "/notes?select=id,events(id,profiles(name))",
        "/notes?%73elect=id,e:events(id,%22profiles%22(name))",
        "/profiles?select=id,events(id)",
        // Its junction is enforced, whatever lies on both sides.
        "/events?select=id,labels(name)",
        "/profiles",
        "/rpc/stats?select=id,organization_id",
    ] {
        let decided = world.decide(&alice("GET", target));
        let Decided::Passed { target: sent, .. } = &decided else { panic!("{target}: {decided}") };
        assert!(
            sent.contains(&confined) || sent.contains(&format!("org={ACME}")),
            "{target}: {sent}"
        );
        assert!(would(&world, &alice("GET", target)).is_empty(), "{target}");
    }
}

#[test]
fn what_cannot_be_read_to_its_end_is_refused_in_shadow_too() {
    let world = world();
    for (method, target) in [
        ("GET", "/events?select=id,secrets(id)"),
        ("GET", "/events?select=id,pg_authid(rolname)"),
        ("GET", "/events?select=id;select=profiles(*)"),
        ("GET", "/events?select=id&select=profiles(*)"),
        ("GET", "/events?select=id,computed"),
        ("GET", "/events?computed=eq.1"),
        ("GET", "/events?or=(computed.eq.1)"),
        ("GET", "/events?order=computed"),
        ("GET", "/events?order=profiles(name)"),
        ("GET", "/events?profiles.name=eq.x"),
        ("GET", "/events?select=id::regclass"),
        ("GET", "/events?select=id&id=is.what"),
        ("GET", "/events?select=id&limit=-1"),
        ("GET", "/events?select"),
        ("GET", "/events?select=id%00"),
        ("GET", "/secrets"),
        ("GET", "/"),
        ("POST", "/countries"),
    ] {
        let decided = world.decide(&alice(method, target));
        assert!(matches!(decided, Decided::Refused { .. }), "{method} {target}: {decided}");
    }
    for (field, value) in [
        ("accept-profile", "auth"),
        ("accept", "application/vnd.pgrst.plan"),
        ("accept", "application/vnd.twkb"),
        ("range", "bytes=0-1"),
        ("prefer", "handling=strict, mode=unheard-of"),
    ] {
        let decided = world.decide(&alice("GET", "/events").field(field, value));
        assert!(matches!(decided, Decided::Refused { .. }), "{field}: {value}: {decided}");
    }
    let zipped = alice("POST", "/events").field("content-encoding", "gzip");
    assert!(matches!(world.decide(&zipped), Decided::Refused { .. }));
}

#[test]
fn rights_limits_and_sizes_stay_enforced() {
    let world = world();
    let bob =
        |method: &str, target: &str| request(method, &format!("/rest/v1{target}")).user("bob");
    assert_eq!(world.decide(&bob("GET", "/events?select=id")).code(), "passed");
    for (method, target) in
        [("POST", "/events"), ("GET", "/labels"), ("GET", "/notes?select=events(id,parts(id))")]
    {
        assert_eq!(
            world.decide(&bob(method, target)).code(),
            "permission_denied",
            "{method} {target}"
        );
    }
    let asked = alice("GET", "/events?select=id");
    let charge = world.decide(&asked);
    assert_eq!(charge.charge().buckets.len(), 1);
    let large = world.body(&alice("POST", "/events"), &"x".repeat(201)).unwrap_err();
    assert_eq!(large.public().code, "body_too_large");
    // To see what was written is to read it.
    let shows = bob("POST", "/notes").field("prefer", "return=representation");
    assert_eq!(world.decide(&shows).code(), "permission_denied");
}

#[test]
fn bodies_go_as_they_came_and_the_word_of_the_client_stays() {
    let world = world();
    let foreign = format!("[{{\"id\": 1, \"organization_id\": \"{GLOBEX}\", \"what\": 2}}]");
    assert_eq!(world.body(&alice("POST", "/events"), &foreign).unwrap(), foreign);
    let csv = alice("POST", "/events?columns=id").field("content-type", "text/csv; charset=utf-8");
    assert_eq!(world.body(&csv, "id\n1\n").unwrap(), "id\n1\n");
    let (_, passed) = world.passed(&csv);
    assert_eq!(field(&passed, "content-type").as_deref(), Some("text/csv"));
    let prefer = "tx=rollback, count=planned, mode=unheard-of";
    let asked = alice("GET", "/events")
        .field("prefer", prefer)
        .field("accept-profile", "public")
        .field("range", "0-9")
        .field("x-forwarded-for", "10.0.0.1")
        .field("x-tollgate-org", GLOBEX)
        .field("apikey", "sb_publishable_0123456789abcdef");
    let (trace, passed) = world.passed(&asked);
    assert_eq!(field(&passed, "prefer").as_deref(), Some("tx=rollback, count=planned"));
    assert_eq!(field(&passed, "accept-profile").as_deref(), Some("public"));
    assert_eq!(field(&passed, "range").as_deref(), Some("0-9"));
    assert_eq!(field(&passed, "x-forwarded-for").as_deref(), Some("192.0.2.1"));
    assert_eq!((field(&passed, "apikey"), field(&passed, "x-tollgate-org")), (None, None));
    assert!(matches!(passed.identity(), IdentityPlan::Bearer(_)));
    let told: Vec<String> = trace.would.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["table `events`: 400 rest_preference_unsupported"]);
}

#[test]
fn only_a_users_own_token_goes_without_confinement() {
    let world = world();
    let line = format!("200 /events?select=id&organization_id=eq.{ACME}");
    let target = "/rest/v1/events?select=id";
    let service =
        || request("GET", target).sent_from("10.1.2.3").field("x-organization-id", "acme");
    let key = service().field("apikey", "sb_secret_0123456789abcdef");
    assert_eq!(world.decide(&key).to_string(), line, "a token that the gateway mints");
    let token = service().user("backend").claim("role", "service_role".into());
    assert_eq!(
        world.decide(&token).to_string(),
        line,
        "a token that row-level security may not bind"
    );
    assert!(would(&world, &key).is_empty() && would(&world, &token).is_empty());
    assert_eq!(
        world.decide(&alice("GET", "/events?select=id")).to_string(),
        "200 /events?select=id"
    );
}
