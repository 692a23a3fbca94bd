//! Who may do what, where and when: further roles, teams, grants, denials, and every condition.

use serde_json::json;

use crate::world::{NOW, Request, World, request};

fn world() -> World {
    World::of(include_str!("access.yaml"), include_str!("access-directory.yaml"))
}

fn code(world: &World, request: &Request) -> &'static str {
    world.decide(request).code()
}

fn ago(minutes: u64) -> u64 {
    NOW.unix_secs() - minutes * 60
}

/// Signed in with a password, and with a second factor where a time is given.
fn signed_in(request: Request, password: u64, factor: Option<u64>) -> Request {
    let mut amr = vec![json!({ "method": "password", "timestamp": ago(password) })];
    amr.extend(factor.map(|at| json!({ "method": "totp", "timestamp": ago(at) })));
    let aal = if factor.is_some() { "aal2" } else { "aal1" };
    request.claim("aal", json!(aal)).claim("amr", json!(amr))
}

#[test]
fn roles_grants_and_denials_are_taken_together_and_a_denial_wins() {
    let world = world();
    for (user, method, table, expected) in [
        ("viewer", "GET", "events", "passed"),
        ("viewer", "POST", "events", "permission_denied"),
        ("editor", "POST", "events", "passed"),
        ("editor", "POST", "deals", "permission_denied"),
        ("granted", "POST", "deals", "passed"),
        ("granted", "POST", "events", "permission_denied"),
        ("denied", "GET", "events", "passed"),
        ("denied", "POST", "events", "permission_denied"),
    ] {
        let asked = request(method, &format!("/rest/v1/{table}")).user(user);
        assert_eq!(code(&world, &asked), expected, "{user} {method} {table}");
    }
}

#[test]
fn a_role_in_a_team_counts_where_the_request_names_the_team() {
    let world = world();
    for (user, team, method, expected) in [
        ("seller", None, "POST", "permission_denied"),
        ("seller", Some("sales.north"), "POST", "passed"),
        ("seller", Some("sales.north.x"), "POST", "passed"),
        ("seller", Some("sales.northern"), "POST", "permission_denied"),
        ("seller", Some("sales.south"), "POST", "permission_denied"),
        ("seller", Some("sales"), "POST", "permission_denied"),
        // What is denied is denied in every team.
        ("seller", Some("sales.north"), "GET", "permission_denied"),
        ("director", Some("sales.south"), "POST", "passed"),
        ("director", Some("sales"), "POST", "passed"),
        ("director", Some("finance"), "POST", "permission_denied"),
        ("director", Some("sales..north"), "POST", "bad_team"),
        ("director", Some(""), "POST", "bad_team"),
        ("director", Some("sales north"), "POST", "bad_team"),
    ] {
        let mut asked = request(method, "/rest/v1/deals").user(user);
        if let Some(team) = team {
            asked = asked.field("x-team-id", team);
        }
        assert_eq!(code(&world, &asked), expected, "{user} {team:?}");
    }
    let twice = request("GET", "/rest/v1/deals").user("director");
    let twice = twice.field("x-team-id", "sales").field("x-team-id", "sales");
    assert_eq!(code(&world, &twice), "bad_team");
}

/// A gate is about the permission, so that no way to it leads around: not another role, not a grant,
/// not an embed.
#[test]
fn a_gate_closes_a_permission_on_every_way_to_it() {
    let world = world();
    let aal2 = |request: Request| signed_in(request, 0, Some(0));
    for (user, path, expected) in [
        ("viewer", "/rest/v1/contracts", "feature_disabled"),
        ("keeper", "/rest/v1/contracts", "feature_disabled"),
        ("granted", "/rest/v1/contracts", "feature_disabled"),
        ("viewer", "/rest/v1/deals", "passed"),
        ("viewer", "/rest/v1/deals?select=*,contracts(*)", "feature_disabled"),
    ] {
        let asked = aal2(request("GET", path).user(user));
        assert_eq!(code(&world, &asked), expected, "{user} {path}");
    }
    // Whoever lacks the right is not told what else is asked for.
    let asked = request("DELETE", "/rest/v1/contracts?id=eq.1").user("viewer");
    assert_eq!(code(&world, &asked), "permission_denied");
    let careful = |asked: Request| {
        let asked = asked.field("x-organization-id", "careful").sent_from("10.0.0.1");
        signed_in(asked, 0, None)
    };
    for path in ["/rest/v1/contracts", "/rest/v1/deals?select=*,contracts(*)"] {
        let asked = careful(request("GET", path).user("visitor"));
        assert_eq!(code(&world, &asked), "passed", "{path}");
    }
    let asked = careful(request("DELETE", "/rest/v1/contracts?id=eq.1").user("remover"));
    assert_eq!(code(&world, &asked), "mfa_required");
    assert_eq!(code(&world, &aal2(asked)), "passed");
    let refused = world.decide(&request("GET", "/rest/v1/contracts").user("viewer")).to_string();
    assert_eq!(refused, "403 feature_disabled policy.yaml:92");
}

#[test]
fn roles_that_are_kept_apart_do_not_meet_in_one_request() {
    let world = world();
    let asked = |team: Option<&str>| {
        let asked = request("POST", "/rest/v1/invoices").user("torn");
        match team {
            Some(team) => asked.field("x-team-id", team),
            None => asked,
        }
    };
    assert_eq!(code(&world, &asked(None)), "passed");
    assert_eq!(code(&world, &asked(Some("finance"))), "duties_conflict");
    let decided = world.decide(&asked(Some("finance"))).to_string();
    assert_eq!(decided, "403 duties_conflict policy.yaml:5");
}

#[test]
fn a_role_counts_as_far_as_its_conditions_hold() {
    let world = world();
    let events = |user: &str| request("DELETE", "/rest/v1/events").user(user);
    for user in ["keeper", "chief"] {
        for (asked, expected) in [
            (events(user), "mfa_required"),
            (signed_in(events(user), 60, None), "mfa_required"),
            (signed_in(events(user), 60, Some(16)), "mfa_expired"),
            (signed_in(events(user), 60, Some(15)), "passed"),
            (events(user).claim("aal", json!("aal2")), "mfa_expired"),
            // RFC 8176: names without times say that, and not when.
            (events(user).claim("aal", json!("aal2")).claim("amr", json!(["mfa"])), "mfa_expired"),
            // A level without a factor is no level.
            (events(user).claim("aal", json!("AAL2")), "mfa_required"),
        ] {
            assert_eq!(code(&world, &asked), expected, "{user}");
        }
    }
    // A further role takes nothing away: what the plain one allows needs no factor.
    let read = |user: &str| request("GET", "/rest/v1/events").user(user);
    assert_eq!(code(&world, &read("keeper")), "mfa_required");
    assert_eq!(code(&world, &read("both")), "passed");
    assert_eq!(code(&world, &events("both")), "mfa_required");
    let member = |user: &str| request("GET", "/member/x").user(user);
    assert_eq!(code(&world, &member("keeper")), "mfa_required");
    assert_eq!(code(&world, &member("both")), "passed");
    assert_eq!(code(&world, &read("guard")), "address_not_allowed");
    assert_eq!(code(&world, &read("guard").sent_from("10.1.2.3")), "passed");
    assert_eq!(code(&world, &read("guard").sent_from("::ffff:10.1.2.3")), "passed");
}

#[test]
fn conditions_of_a_route_hold_or_refuse_with_a_code_of_their_own() {
    let world = world();
    let get = |path: &str| request("GET", path).user("viewer");
    let careful = |path: &str| {
        let asked = request("GET", path)
            .user("visitor")
            .field("x-organization-id", "careful")
            .sent_from("10.0.0.9");
        signed_in(asked, 1, None)
    };
    for (name, asked, expected) in [
        ("factor", get("/factor"), "mfa_required"),
        ("factor", signed_in(get("/factor"), 900, Some(800)), "passed"),
        ("age", get("/young"), "session_expired"),
        ("age", signed_in(get("/young"), 8 * 60, None), "passed"),
        ("age", signed_in(get("/young"), 8 * 60 + 1, None), "session_expired"),
        // The first method is when the user signed in.
        ("age", signed_in(get("/young"), 8 * 60 + 1, Some(1)), "session_expired"),
        ("age", get("/young").claim("auth_time", json!(ago(30))), "passed"),
        ("hours", get("/office"), "passed"),
        ("hours", get("/evening"), "outside_hours"),
        ("stage of the organization", get("/launched"), "passed"),
        ("stage of the member", careful("/launched"), "passed"),
        ("settings", get("/gold"), "passed"),
        ("settings", careful("/gold"), "feature_disabled"),
    ] {
        assert_eq!(code(&world, &asked), expected, "{name}");
    }
    let writer = request("GET", "/launched").user("writer");
    let writer = writer.field("x-organization-id", "careful").sent_from("10.0.0.9");
    assert_eq!(code(&world, &signed_in(writer, 1, Some(1))), "stage_not_reached");
}

#[test]
fn an_organization_asks_more_of_its_members_than_the_policy_does() {
    let world = world();
    let asked = |user: &str, address: &str| {
        request("GET", "/rest/v1/events")
            .user(user)
            .field("x-organization-id", "careful")
            .sent_from(address)
    };
    for (name, asked, expected) in [
        ("elsewhere", signed_in(asked("visitor", "192.0.2.1"), 1, None), "address_not_allowed"),
        ("inside", signed_in(asked("visitor", "10.0.0.1"), 1, None), "passed"),
        ("inside, IPv6", signed_in(asked("visitor", "2001:db8::1"), 1, None), "passed"),
        ("too old", signed_in(asked("visitor", "10.0.0.1"), 481, None), "session_expired"),
        ("of unknown age", asked("visitor", "10.0.0.1"), "session_expired"),
        ("its editors", signed_in(asked("writer", "10.0.0.1"), 1, None), "mfa_required"),
        ("its editors", signed_in(asked("writer", "10.0.0.1"), 1, Some(1)), "passed"),
    ] {
        assert_eq!(code(&world, &asked), expected, "{name}");
    }
}

#[test]
fn whoever_lacks_a_factor_can_still_show_one() {
    let asked = request("POST", "/auth/v1/factors/x/challenge").user("keeper");
    assert_eq!(code(&world(), &asked), "passed");
}
