//! Tokens of identity providers: for which organization they count, by which role, and every way in
//! which one of them does not.

use jsonwebtoken::Header;
use serde_json::{Value, json};
use tollgate::domain::known::MembershipChange;

use crate::world::{NOW, Request, World, request};
use crate::{ACME, GLOBEX};

const OKTA: &str = "acme-okta-secret-of-thirty-two-bytes";
const ENTRA: &str = "acme-entra-secret-of-thirty-two-byte";
const OF_GLOBEX: &str = "globex-secret-of-thirty-two-bytes-it";
const GROUP: &str = "group-secret-of-thirty-two-bytes-and";
const INITECH: &str = "initech-secret-of-thirty-two-bytes-and";
const CLOSED: &str = "00000000-0000-4000-8000-00000000000c";

fn world() -> World {
    World::behind(
        include_str!("sign_on-gateway.yaml"),
        include_str!("sign_on-policy.yaml"),
        include_str!("sign_on-directory.yaml"),
    )
}

fn with(request: Request, sub: &str, iss: &str, secret: &'static str) -> Request {
    let header = Header { kid: Some("main".into()), ..Header::default() };
    let request = request.user(sub).claim("iss", json!(iss)).claim("aud", json!("api"));
    request.signed(secret, header)
}

fn okta(method: &str, sub: &str, groups: Value) -> Request {
    let request = request(method, "/rest/v1/events?select=id");
    with(request, sub, "https://acme.okta.test", OKTA).claim("groups", groups)
}

fn globex(target: &str, sub: &str, roles: Value) -> Request {
    let request = with(request("GET", target), sub, "https://globex.test", OF_GLOBEX);
    request.claim("https://globex.test/claims", json!({ "roles": roles }))
}

fn group(email: Value, verified: Value) -> Request {
    let request =
        with(request("GET", "/rest/v1/events?select=id"), "gina", "https://group.test", GROUP);
    let request = request.claim("groups", json!("staff"));
    request.claim("email", email).claim("email_verified", verified)
}

fn entra(header: Header, claims: &[(&str, Value)]) -> Request {
    let base = request("GET", "/rest/v1/events?select=id");
    let base = with(base, "pairwise", "https://acme.entra.test", ENTRA).signed(ENTRA, header);
    claims.iter().fold(base, |request, (name, value)| request.claim(name, value.clone()))
}

fn access() -> Header {
    Header { typ: Some("at+jwt".into()), kid: Some("entra".into()), ..Header::default() }
}

fn to(organization: &str) -> String {
    format!("200 /events?select=id&organization_id=eq.{organization}")
}

#[test]
fn a_token_comes_to_the_role_of_the_first_line_that_matches() {
    let world = world();
    for (method, groups, wanted) in [
        ("GET", json!(["crm-audit"]), "passed"),
        ("POST", json!(["crm-audit"]), "permission_denied"),
        ("POST", json!("crm-sales"), "passed"),
        ("DELETE", json!(["crm-sales", "other"]), "permission_denied"),
        ("DELETE", json!(["crm-audit", "crm-sales", "crm-admins"]), "passed"),
        ("GET", json!(["CRM-audit"]), "no_role"),
        ("GET", json!("crm-audit crm-sales"), "no_role"),
        ("GET", json!([["crm-audit"]]), "no_role"),
        ("GET", json!({ "crm-audit": true }), "no_role"),
        ("GET", json!([]), "no_role"),
        ("GET", Value::Null, "no_role"),
    ] {
        let decided = world.decide(&okta(method, "olga", groups.clone()));
        assert_eq!(decided.code(), wanted, "{method} {groups}: {decided}");
    }
    assert_eq!(world.decide(&okta("GET", "olga", json!("crm-audit"))).to_string(), to(ACME));
}

#[test]
fn several_lines_can_count_together_or_none_of_them() {
    let world = world();
    for (table, roles, wanted) in [
        ("events", json!(["nobody"]), "passed"),
        ("audits", json!(["auditor"]), "passed"),
        ("events", json!(["auditor"]), "permission_denied"),
        ("events", json!(["auditor", "seller"]), "passed"),
        ("audits", json!(["auditor", "seller"]), "passed"),
    ] {
        let decided = world.decide(&globex(&format!("/rest/v1/{table}?select=id"), "gus", roles));
        assert_eq!(decided.code(), wanted, "{table}: {decided}");
    }
}

#[test]
fn a_token_counts_for_its_issuers_organizations_only() {
    let world = world();
    let named = |organization: &str| {
        globex("/rest/v1/events?select=id", "alice", json!(["boss"]))
            .field("x-organization-id", organization)
    };
    assert_eq!(world.decide(&named(GLOBEX)).to_string(), to(GLOBEX));
    assert_eq!(world.decide(&named("globex")).to_string(), to(GLOBEX));
    // A member of acme by the directory's word, and one that does not exist: one answer for all.
    for other in ["acme", ACME, "closed", "nobody", "00000000-0000-4000-8000-0000000000ff"] {
        let decided = world.decide(&named(other));
        assert_eq!(decided.code(), "issuer_not_accepted", "{other}: {decided}");
    }
    let claimed = globex("/rest/v1/events?select=id", "alice", json!(["boss"])).claim_org(ACME);
    assert_eq!(world.decide(&claimed).code(), "issuer_not_accepted");
    let nowhere = globex("/nowhere/events", "alice", json!(["boss"]));
    assert_eq!(world.decide(&nowhere).code(), "issuer_not_accepted");
}

#[test]
fn an_organization_is_named_by_the_issuer_only_where_the_route_has_a_default() {
    let world = world();
    let unnamed = globex("/named/events?select=id", "gus", json!(["boss"]));
    assert_eq!(world.decide(&unnamed).code(), "org_required");
    assert_eq!(world.decide(&unnamed.field("x-organization-id", "globex")).to_string(), to(GLOBEX));
}

#[test]
fn the_same_subject_of_two_issuers_is_two_users() {
    let world = world();
    // The directory knows `alice`, the platform's own, as an administrator.
    let own = request("DELETE", "/rest/v1/events?id=eq.1").user("alice");
    assert_eq!(world.decide(&own).code(), "passed");
    assert_eq!(
        world.decide(&okta("DELETE", "alice", json!("crm-audit"))).code(),
        "permission_denied"
    );
    // Nor can the platform's own issuer, or another's, be made to state an id of theirs.
    let forged = request("GET", "/rest/v1/events").user("group|alice");
    assert_eq!(world.decide(&forged).code(), "invalid_token");
    let nested = okta("GET", "group|alice", json!("crm-audit"));
    assert_eq!(world.decide(&nested).to_string(), to(ACME), "its id is `acme-okta|group|alice`");
}

#[test]
fn a_key_of_one_issuer_proves_nothing_of_another_though_its_id_is_the_same() {
    let world = world();
    let forged = with(request("GET", "/rest/v1/events"), "gus", "https://globex.test", OKTA);
    assert_eq!(world.decide(&forged).code(), "invalid_token");
    let forged =
        with(request("GET", "/rest/v1/events"), "ann", "https://acme.okta.test", OF_GLOBEX);
    assert_eq!(world.decide(&forged.claim("groups", json!("crm-admins"))).code(), "invalid_token");
}

#[test]
fn nothing_that_users_write_or_that_makes_services_counts() {
    let world = world();
    let request = okta("GET", "olga", Value::Null)
        .claim("user_metadata", json!({ "groups": ["crm-admins"] }))
        .claim("app_metadata", json!({ "groups": ["crm-admins"], "roles": ["admin"] }));
    assert_eq!(world.decide(&request).code(), "no_role");
    // A provider of an organization cannot make its users services of the platform.
    let service = okta("DELETE", "olga", json!("crm-audit")).claim("role", json!("service_role"));
    assert_eq!(world.decide(&service).code(), "permission_denied");
    let service = okta("GET", "olga", Value::Null).claim("role", json!("service_role"));
    assert_eq!(world.decide(&service).code(), "no_role");
}

#[test]
fn what_the_directory_takes_away_stays_away() {
    let mut world = world();
    for (sub, wanted) in [
        ("suspended", "member_suspended"),
        ("invited", "member_invited"),
        ("denied", "permission_denied"),
        ("other", "passed"),
    ] {
        let decided = world.decide(&okta("POST", sub, json!("crm-sales")));
        assert_eq!(decided.code(), wanted, "{sub}: {decided}");
    }
    world.directory_away = true;
    let decided = world.decide(&okta("GET", "other", json!("crm-sales")));
    assert_eq!(decided.status().as_u16(), 503, "{decided}");
}

#[test]
fn an_access_token_is_told_from_an_id_token_and_from_those_of_other_clients() {
    let world = world();
    let alice = ("oid", json!("alice"));
    let web = ("client_id", json!("crm-web"));
    let both = [alice.clone(), web.clone()];
    assert_eq!(world.decide(&entra(access(), &both)).to_string(), to(ACME));
    let azp = [alice.clone(), ("azp", json!("crm-app"))];
    assert_eq!(world.decide(&entra(access(), &azp)).to_string(), to(ACME));
    let plain = Header { kid: Some("entra".into()), ..Header::default() };
    assert_eq!(world.decide(&entra(plain, &both)).code(), "invalid_token");
    for wrong in [
        vec![alice.clone()],
        vec![alice.clone(), ("client_id", json!("crm-mobile"))],
        vec![alice.clone(), web.clone(), ("azp", json!("other"))],
        vec![alice.clone(), ("azp", json!(["crm-web"]))],
        vec![alice.clone(), web.clone(), ("aud", json!("other-api"))],
        vec![web.clone()],
        vec![web.clone(), ("oid", json!(7))],
    ] {
        let decided = world.decide(&entra(access(), &wrong));
        assert_eq!(decided.code(), "invalid_token", "{wrong:?}: {decided}");
    }
    // Who is not in the directory stays out: this issuer only says who somebody is.
    let other = [("oid", json!("bob")), web];
    assert_eq!(world.decide(&entra(access(), &other)).code(), "not_a_member");
    for mark in ["nonce", "at_hash", "c_hash", "s_hash"] {
        let id_token = okta("GET", "olga", json!("crm-audit")).claim(mark, json!("x"));
        assert_eq!(world.decide(&id_token).code(), "invalid_token", "{mark}");
    }
}

#[test]
fn a_verified_mail_domain_leads_to_its_organization_and_nothing_else_does() {
    let world = world();
    for (email, organization) in [
        ("gina@acme.com", ACME),
        ("Gina+crm@ACME.COM", ACME),
        ("gina@globex.example", GLOBEX),
        ("gina@bücher.example", GLOBEX),
        ("gina@xn--bcher-kva.example", GLOBEX),
    ] {
        let decided = world.decide(&group(json!(email), json!(true)));
        assert_eq!(decided.to_string(), to(organization), "{email}");
    }
    for (email, verified) in [
        (json!("gina@acme.com"), json!(false)),
        (json!("gina@acme.com"), json!("true")),
        (json!("gina@acme.com"), json!(1)),
        (json!("gina@acme.com"), Value::Null),
        (json!(["gina@acme.com"]), json!(true)),
        (json!("gina@sub.acme.com"), json!(true)),
        (json!("gina@acme.com.evil.org"), json!(true)),
        (json!("gina@acme.com@evil.org"), json!(true)),
        (json!("gina@evil.org@acme.com"), json!(true)),
        (json!("\"gina@acme.com\"@evil.org"), json!(true)),
        (json!("gina@acme.com."), json!(true)),
        (json!("gina@acme.com(x)"), json!(true)),
        (json!("gina@\u{430}cme.com"), json!(true)),
        (json!("gina@\u{ff41}cme.com"), json!(true)),
        (json!("acme.com"), json!(true)),
    ] {
        let asked = group(email.clone(), verified.clone());
        assert_eq!(world.decide(&asked).code(), "org_required", "{email} {verified}");
        // Nor is the user a member by naming the organization.
        let named = asked.field("x-organization-id", "acme");
        assert_eq!(world.decide(&named).code(), "not_a_member", "{email} {verified}");
    }
    // A domain is a member's of its organization only.
    let other = group(json!("gina@acme.com"), json!(true)).field("x-organization-id", "globex");
    assert_eq!(world.decide(&other).code(), "not_a_member");
    let closed = group(json!("gina@closed.example"), json!(true));
    assert_eq!(world.decide(&closed).code(), "org_suspended", "{CLOSED}");
}

#[test]
fn an_explanation_names_the_issuer_the_line_and_the_role() {
    let world = world();
    let notes = world.explained(&okta("GET", "olga", json!(["crm-sales"])));
    let has = |text: &str| assert!(notes.iter().any(|note| note == text), "{text}: {notes:#?}");
    has("token of issuer `acme-okta` (gateway.yaml:8)");
    has("issuer `acme-okta` names `acme` (gateway.yaml:8)");
    has("`crm-sales` in claim `groups`: role `member` (gateway.yaml:18)");
    let notes = world.explained(&group(json!("gina@acme.com"), json!(true)));
    let has = |text: &str| assert!(notes.iter().any(|note| note == text), "{text}: {notes:#?}");
    has("the mail domain `acme.com` names `acme` (gateway.yaml:47)");
    let refused = world.decide(&okta("GET", "olga", json!("other"))).to_string();
    assert_eq!(refused, "403 no_role gateway.yaml:15");
}

fn initech(sub: &str, groups: Value) -> Request {
    let request = request("GET", "/rest/v1/events?select=id").field("x-organization-id", "acme");
    let request = with(request, sub, "https://initech.test", INITECH);
    request.claim("groups", groups).claim("iat", json!(NOW.unix_secs() - 60))
}

#[test]
fn who_is_vouched_for_and_in_no_directory_is_made_a_member_once_asked_for() {
    let mut world = world();
    let decided = world.decide(&initech("new", json!(["audit", "sales"])));
    assert_eq!(decided.to_string(), to(ACME));
    let joins = std::mem::take(&mut *world.joins.lock().unwrap());
    let [join] = joins.as_slice() else { panic!("{joins:?}") };
    assert_eq!(join.user.as_str(), "initech|new");
    assert_eq!((join.organization.to_string().as_str(), join.role.as_ref()), (ACME, "member"));
    assert_eq!(join.further.iter().map(AsRef::as_ref).collect::<Vec<&str>>(), ["auditor"]);
    assert_eq!(join.change, MembershipChange::Created);
    assert_eq!(join.as_of, NOW.unix_secs() - 60);
    // Nobody is made a member without a role, of another organization, or of a suspended one.
    let nobody = [
        (initech("new", json!(["other"])), "no_role"),
        (initech("gone", json!(["sales"])), "member_suspended"),
    ];
    for (asked, wanted) in nobody {
        assert_eq!(world.decide(&asked).code(), wanted);
    }
    let elsewhere = |organization: &str| {
        let request = request("GET", "/rest/v1/events").field("x-organization-id", organization);
        let request = with(request, "new", "https://initech.test", INITECH);
        request.claim("groups", json!("sales")).claim("iat", json!(NOW.unix_secs()))
    };
    assert_eq!(world.decide(&elsewhere("globex")).code(), "issuer_not_accepted");
    assert_eq!(world.decide(&elsewhere("closed")).code(), "org_suspended");
    assert_eq!(*world.joins.lock().unwrap(), []);
    world.directory_away = true;
    assert_eq!(world.decide(&initech("new", json!(["sales"]))).status().as_u16(), 503);
}

#[test]
fn a_member_whose_token_says_another_role_is_brought_up_to_date() {
    let world = world();
    assert_eq!(world.decide(&initech("same", json!("sales"))).code(), "passed");
    assert_eq!(*world.joins.lock().unwrap(), [], "it says the same");
    assert_eq!(world.decide(&initech("old", json!("sales"))).code(), "passed");
    let joins = std::mem::take(&mut *world.joins.lock().unwrap());
    let [join] = joins.as_slice() else { panic!("{joins:?}") };
    assert_eq!((join.change, join.role.as_ref()), (MembershipChange::RoleChanged, "member"));
    // Who lost every group is out, though the directory still has a role.
    assert_eq!(world.decide(&initech("same", json!([]))).code(), "no_role");
    // When it was said is part of it.
    let undated = initech("old", json!("sales")).claim("iat", Value::Null);
    assert_eq!(world.decide(&undated).code(), "invalid_token");
}
