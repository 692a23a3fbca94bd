//! Requests and what must become of them, through the whole core: no server, no store, no clock.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test binary: what fails here is meant to fail the test"
)]

mod access;
mod devices;
mod machines;
mod rules;
mod shadow;
mod sign_on;
mod tables;
mod world;

use http::StatusCode;
use tollgate::domain::known::Outage;
use tollgate::domain::session::Standing;

use world::{Decided, World, request};

const ACME: &str = "00000000-0000-4000-8000-00000000000a";
const GLOBEX: &str = "00000000-0000-4000-8000-00000000000b";

/// One row: who asks for what, and the verdict: `200 <target>` or `<status> <code> [line]`.
fn check(name: &str, decided: &Decided, expected: &str) {
    assert_eq!(decided.to_string(), expected, "{name}");
}

#[test]
fn a_read_is_confined_to_the_callers_organization() {
    let world = World::new();
    let target =
        |org| format!("200 /events?select=id,organization_id,title&organization_id=eq.{org}");
    for (user, org) in [("alice", ACME), ("bob", ACME), ("carol", GLOBEX)] {
        let decided = world.decide(&request("GET", "/rest/v1/events").user(user));
        check(user, &decided, &target(org));
    }
    // The most recently joined membership is the default.
    check("dave", &world.decide(&request("GET", "/rest/v1/events").user("dave")), &target(GLOBEX));
    for spelling in ["acme", ACME] {
        let asked =
            request("GET", "/rest/v1/events").user("dave").field("x-organization-id", spelling);
        check(spelling, &world.decide(&asked), &target(ACME));
    }
}

#[test]
fn a_filter_for_another_organization_stays_beside_the_gateways_own() {
    let query = format!("/rest/v1/events?select=id&organization_id=eq.{GLOBEX}");
    let decided = World::new().decide(&request("GET", &query).user("alice"));
    let target =
        format!("200 /events?select=id&organization_id=eq.{GLOBEX}&organization_id=eq.{ACME}");
    check("foreign filter", &decided, &target);
}

#[test]
fn the_organization_is_settled_or_refused() {
    let world = World::new();
    let events = || request("GET", "/rest/v1/events");
    let rows = [
        (
            "foreign",
            events().user("alice").field("x-organization-id", "globex"),
            "403 not_a_member",
        ),
        ("unknown", events().user("alice").field("x-organization-id", "ghost"), "403 not_a_member"),
        (
            "two sources that disagree",
            events().user("dave").claim_org(ACME).field("x-organization-id", "globex"),
            "403 org_conflict",
        ),
        (
            "the header twice",
            events()
                .user("dave")
                .field("x-organization-id", "acme")
                .field("x-organization-id", "acme"),
            "403 org_conflict",
        ),
        (
            "malformed",
            events().user("alice").field("x-organization-id", "Acme Inc."),
            "400 bad_organization",
        ),
        (
            "suspended member",
            events().user("mallory").field("x-organization-id", "acme"),
            "403 member_suspended",
        ),
        (
            "invited member",
            events().user("ivan").field("x-organization-id", "acme"),
            "403 member_invited",
        ),
        (
            "suspended organization",
            events().user("erin").field("x-organization-id", "closed"),
            "403 org_suspended",
        ),
        ("nobody's member", events().user("zoe"), "403 org_required"),
    ];
    for (name, asked, expected) in rows {
        let decided = world.decide(&asked);
        check(name, &decided, &format!("{expected} policy.yaml:{}", world.line_of("- name: rest")));
    }
}

#[test]
fn a_function_needs_the_permission_to_call_it() {
    let world = World::new();
    let call = |name: &str, user| {
        world.decide(&request("GET", &format!("/rest/v1/rpc/{name}")).user(user)).to_string()
    };
    assert!(call("org_stats", "bob").starts_with("403 permission_denied"));
    assert!(!call("org_stats", "alice").starts_with("403"), "{}", call("org_stats", "alice"));
    // What is not in the catalogue cannot be told from what is not there.
    assert!(call("pg_sleep", "alice").starts_with("404 function_not_found"));
    assert!(call("%6frg_stats", "bob").starts_with("400"), "{}", call("%6frg_stats", "bob"));
}

#[test]
fn a_permission_is_held_or_the_role_that_lacks_it_is_named() {
    let world = World::new();
    let viewer = world.line_of("  viewer:");
    let member = world.line_of("  member:");
    let rows = [
        ("bob", "POST", format!("403 permission_denied policy.yaml:{viewer}")),
        ("bob", "DELETE", format!("403 permission_denied policy.yaml:{viewer}")),
        ("carol", "DELETE", format!("403 permission_denied policy.yaml:{member}")),
        ("alice", "DELETE", format!("200 /events?organization_id=eq.{ACME}")),
    ];
    for (user, method, expected) in rows {
        let decided = world.decide(&request(method, "/rest/v1/events").user(user));
        assert_eq!(decided.to_string(), expected, "{user} {method}");
    }
}

#[test]
fn tables_outside_the_catalogue_do_not_exist() {
    let world = World::new();
    for table in ["ghosts", "secrets", "rpc", "Events", "events%20"] {
        let decided = world.decide(&request("GET", &format!("/rest/v1/{table}")).user("alice"));
        assert_eq!(decided.status(), StatusCode::NOT_FOUND, "{table}: {decided}");
    }
}

#[test]
fn conditions_are_checked_after_the_permission() {
    let world = World::new();
    let reports = |org: &str| {
        request("GET", "/reports/events?select=id").user("dave").host(&format!("{org}.app.test"))
    };
    let line = world.line_of("require: [{ feature: reports }]");
    check(
        "feature on",
        &world.decide(&reports("acme")),
        &format!("200 /events?select=id&organization_id=eq.{ACME}"),
    );
    check(
        "feature off",
        &world.decide(&reports("globex")),
        &format!("403 feature_disabled policy.yaml:{line}"),
    );
    let pro =
        |org| request("GET", "/pro/events?select=id").user("dave").field("x-organization-id", org);
    let line = world.line_of("require: [{ plan: pro }]");
    check(
        "plan below",
        &world.decide(&pro("acme")),
        &format!("403 plan_required policy.yaml:{line}"),
    );
    check(
        "plan",
        &world.decide(&pro("globex")),
        &format!("200 /events?select=id&organization_id=eq.{GLOBEX}"),
    );
}

#[test]
fn routes_that_do_not_fit_say_what_would() {
    let world = World::new();
    check(
        "nothing",
        &world.decide(&request("GET", "/nowhere").user("alice")),
        "404 route_not_found",
    );
    let line = world.line_of("- name: reports");
    let post = request("POST", "/reports/events").user("alice").host("acme.app.test");
    check("method", &world.decide(&post), &format!("405 method_not_allowed policy.yaml:{line}"));
    let line = world.line_of("- name: closed");
    let closed = world.decide(&request("GET", "/realtime/v1/api/tenants").user("alice"));
    check("closed", &closed, &format!("403 route_closed policy.yaml:{line}"));
}

#[test]
fn services_name_an_organization_and_call_from_where_they_may() {
    let world = World::new();
    let service = |address: &str| {
        request("GET", "/rest/v1/events?select=id")
            .field("apikey", "sb_secret_0123456789abcdef")
            .sent_from(address)
    };
    let allowed = service("10.1.2.3").field("x-organization-id", "globex");
    check(
        "allowed",
        &world.decide(&allowed),
        &format!("200 /events?select=id&organization_id=eq.{GLOBEX}"),
    );
    assert_eq!(world.decide(&service("10.1.2.3")).code(), "org_required");
    assert_eq!(world.decide(&service("192.0.2.1")).code(), "invalid_api_key");
}

#[test]
fn anonymous_callers_stay_outside_of_tenant_routes() {
    let world = World::new();
    let key = request("GET", "/rest/v1/events").field("apikey", "sb_publishable_0123456789abcdef");
    assert_eq!(world.decide(&key).status(), StatusCode::UNAUTHORIZED);
    let none = world.decide(&request("GET", "/rest/v1/events"));
    assert_eq!(none.code(), "no_credentials");
    let auth = request("POST", "/auth/v1/token?grant_type=password")
        .field("apikey", "sb_publishable_0123456789abcdef");
    check("auth", &world.decide(&auth), "200 /token?grant_type=password");
}

#[test]
fn an_api_key_parameter_never_reaches_postgrest() {
    let asked = request("GET", "/rest/v1/events?apikey=sb_publishable_0123456789abcdef&select=id")
        .user("alice");
    let decided = World::new().decide(&asked);
    check("apikey", &decided, &format!("200 /events?select=id&organization_id=eq.{ACME}"));
}

#[test]
fn the_plan_gives_the_organizations_limit_its_numbers() {
    let world = World::new();
    // Globex has numbers of its own.
    for (user, burst) in [("alice", 50), ("carol", 70)] {
        let decided = world.decide(&request("GET", "/rest/v1/events?select=id").user(user));
        let charge = decided.charge();
        let bursts: Vec<(&str, u32)> =
            charge.buckets.iter().map(|b| (b.limit.as_ref(), b.rate.burst.get())).collect();
        assert_eq!(bursts, [("per_user", 20), ("per_org", burst)], "{user}");
    }
}

#[test]
fn a_request_costs_by_what_it_asks_of_the_database() {
    let world = World::new();
    for (target, prefer, cost) in [
        ("/rest/v1/events?select=id&limit=10", "handling=strict", 1),
        ("/rest/v1/events?select=id", "handling=strict", 2),
        ("/rest/v1/events?select=id&limit=10&offset=1000", "handling=strict", 5),
        ("/rest/v1/events?select=id&limit=10", "count=exact", 4),
        ("/rest/v1/events?select=id&offset=5000", "count=exact", 9),
    ] {
        let asked = request("GET", target).user("alice").field("prefer", prefer);
        let decided = world.decide(&asked);
        let costs: Vec<u32> = decided.charge().buckets.iter().map(|b| b.cost.get()).collect();
        assert_eq!(costs, [cost, 1], "{target}");
    }
}

#[test]
fn a_directory_that_is_away_is_503_and_never_401_or_403() {
    let mut world = World::new();
    world.directory_away = true;
    for asked in [
        request("GET", "/rest/v1/events").user("alice"),
        request("GET", "/rest/v1/events").user("alice").field("x-organization-id", "acme"),
        request("GET", "/rest/v1/events").user("zoe"),
    ] {
        assert_eq!(world.decide(&asked).code(), "directory_unavailable");
    }
}

#[test]
fn keys_that_are_away_are_503_and_never_401() {
    let mut world = World::new();
    world.keys_away = true;
    let unsigned = world::unverified_token(r#"{"alg":"ES256","kid":"k1"}"#, "https://remote.test");
    let asked =
        request("GET", "/rest/v1/events").field("authorization", &format!("Bearer {unsigned}"));
    assert_eq!(world.decide(&asked).code(), "keys_unavailable");
    world.keys_away = false;
    assert_eq!(world.decide(&asked).code(), "invalid_token");
}

#[test]
fn a_revoked_token_is_401_and_one_whose_standing_nobody_knows_503() {
    let mut world = World::new();
    let asked = request("GET", "/rest/v1/events").user("alice");
    for (standing, code) in
        [(Standing::Revoked, "session_revoked"), (Standing::Unknown, "sessions_unavailable")]
    {
        world.standing = standing;
        assert_eq!(world.decide(&asked).code(), code);
    }
}

#[test]
fn a_limit_that_is_closed_while_the_store_is_away_refuses() {
    let world = World::new();
    let asked = request("GET", "/rest/v1/events?select=id").user("alice");
    let refusal = world.settle_away(&asked).unwrap_err();
    assert_eq!(refusal, tollgate::domain::refusal::Refusal::Unavailable(Outage::Limits));
}

#[test]
fn writes_get_a_gate_for_their_body() {
    let world = World::new();
    let insert = request("POST", "/rest/v1/events").user("carol");
    let body = |text: &str| world.body(&insert, text);
    assert_eq!(
        body(r#"{"title":"x"}"#).unwrap(),
        format!(r#"{{"title":"x","organization_id":"{GLOBEX}"}}"#)
    );
    let escape = body(&format!(r#"{{"title":"x","organization_id":"{ACME}"}}"#)).unwrap_err();
    assert_eq!(escape.public().status, StatusCode::FORBIDDEN);
    assert!(body("[1]").is_err());
}

#[test]
fn deciding_twice_gives_the_same_verdict() {
    let world = World::new();
    for asked in [
        request("GET", "/rest/v1/events").user("alice"),
        request("GET", "/rest/v1/secrets").user("alice"),
        request("DELETE", "/rest/v1/events").user("bob"),
    ] {
        assert_eq!(world.decide(&asked).to_string(), world.decide(&asked).to_string());
    }
}
