//! Who may do what, where and when: further roles, teams, grants, denials, and every condition.

use serde_json::json;
use tollgate::domain::session::LastUse;

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
    assert_eq!(refused, "403 feature_disabled policy.yaml:124");
}

/// Rows that a write has come back are read: by whoever may write only, and past gates of `read`.
#[test]
fn a_write_that_shows_its_rows_needs_the_right_to_read_them() {
    let world = world();
    let back = |asked: Request| asked.field("prefer", "return=representation");
    for (method, path) in [
        ("POST", "/rest/v1/deals"),
        ("PATCH", "/rest/v1/deals?id=gt.0&select=id"),
        ("DELETE", "/rest/v1/deals?id=eq.1"),
    ] {
        let asked = request(method, path).user("janitor");
        assert_eq!(code(&world, &asked), "passed", "{method} {path}");
        let minimal = asked.clone().field("prefer", "return=minimal");
        assert_eq!(code(&world, &minimal), "passed", "{method} {path}");
        assert_eq!(code(&world, &back(asked)), "permission_denied", "{method} {path}");
    }
    let asked = request("POST", "/rest/v1/deals").user("granted");
    assert_eq!(code(&world, &back(asked)), "passed");
    let refused = back(request("PATCH", "/rest/v1/deals?id=gt.0").user("janitor"));
    let explained = world.explained(&refused).join("\n");
    assert!(explained.contains("`deals:read` denied"), "{explained}");
    // The gate of reading, not of writing, is what is closed.
    let asked = |user: &str| request("PATCH", "/rest/v1/events?id=gt.0").user(user);
    assert_eq!(code(&world, &asked("editor")), "passed");
    assert_eq!(code(&world, &back(asked("editor"))), "passed");
    let gated = include_str!("access.yaml").replace("[\"contracts:*\"]", "[\"events:read\"]");
    let gated = World::of(&gated, include_str!("access-directory.yaml"));
    assert_eq!(code(&gated, &asked("editor")), "passed");
    assert_eq!(code(&gated, &back(asked("editor"))), "feature_disabled");
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
        ("expression", get("/expressed").field("x-mode", "open"), "passed"),
        ("expression", get("/expressed").field("x-mode", "shut"), "condition_not_met"),
        // Without the field the expression has no answer, and does not hold.
        ("expression", get("/expressed"), "condition_not_met"),
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

/// A request of one of the staff, who has shown a second factor a minute ago.
fn acting(actor: &str, user: &str, method: &str, path: &str) -> Request {
    let asked = request(method, path).user(actor).sent_from("10.0.0.1");
    signed_in(asked, 5, Some(1))
        .field("x-impersonate-user", user)
        .field("x-impersonate-reason", "ticket 4711")
}

#[test]
fn staff_acts_with_the_rights_of_the_user_and_with_no_others() {
    let world = world();
    for (actor, user, method, expected) in [
        ("helga", "viewer", "GET", "passed"),
        ("helga", "viewer", "POST", "permission_denied"),
        ("helga", "editor", "POST", "passed"),
        ("gretel", "editor", "POST", "passed"),
        // Nobody is anybody's member here.
        ("helga", "nobody", "GET", "org_required"),
        ("henry", "viewer", "GET", "impersonation_not_allowed"),
        ("hilda", "viewer", "GET", "impersonation_not_allowed"),
        ("hugo", "viewer", "GET", "impersonation_not_allowed"),
        ("editor", "viewer", "GET", "impersonation_not_allowed"),
        ("viewer", "viewer", "GET", "impersonation_not_allowed"),
    ] {
        let asked = acting(actor, user, method, "/rest/v1/events");
        assert_eq!(code(&world, &asked), expected, "{actor} as {user}: {method}");
    }
    let elsewhere = acting("helga", "viewer", "GET", "/rest/v1/events").sent_from("192.0.2.1");
    assert_eq!(code(&world, &elsewhere), "impersonation_not_allowed");
    let named = acting("helga", "viewer", "GET", "/rest/v1/events");
    let named = named.field("x-organization-id", "careful");
    assert_eq!(code(&world, &named), "not_a_member");
    // A colleague's rights are nobody's to borrow, whether by default or by name.
    for colleague in ["henry", "gretel", "helga"] {
        let asked = acting("helga", colleague, "GET", "/rest/v1/events");
        assert_eq!(code(&world, &asked), "impersonation_not_allowed", "{colleague}");
        let named = asked.field("x-organization-id", "help");
        let decided = world.decide(&named);
        assert_eq!(decided.to_string(), format!("403 impersonation_not_allowed policy.yaml:6"));
    }
    // The organization that the actor's own token names is not the one that is meant.
    let claimed = acting("helga", "viewer", "GET", "/rest/v1/events");
    let claimed = claimed.claim_org("00000000-0000-4000-8000-00000000000c");
    assert_eq!(code(&world, &claimed), "passed");
}

#[test]
fn acting_as_somebody_takes_a_recent_factor_and_a_reason_and_ends_with_its_time() {
    let world = world();
    let plain = |factor: Option<u64>| {
        let asked = request("GET", "/rest/v1/events").user("helga").sent_from("10.0.0.1");
        signed_in(asked, 90, factor).field("x-impersonate-user", "viewer")
    };
    let reason = |request: Request, text: &str| request.field("x-impersonate-reason", text);
    for (name, asked, expected) in [
        ("in time", reason(plain(Some(30)), "ticket 4711"), "passed"),
        ("too late", reason(plain(Some(31)), "ticket 4711"), "mfa_expired"),
        ("no factor", reason(plain(None), "ticket 4711"), "mfa_required"),
        ("no reason", plain(Some(1)), "impersonation_reason"),
        ("a poor reason", reason(plain(Some(1)), "because"), "impersonation_reason"),
        ("a novel", reason(plain(Some(1)), &"x".repeat(201)), "impersonation_reason"),
        (
            "two reasons",
            reason(reason(plain(Some(1)), "ticket 4711"), "ticket 4712"),
            "bad_impersonation",
        ),
        (
            "two users",
            reason(plain(Some(1)), "ticket 4711").field("x-impersonate-user", "editor"),
            "bad_impersonation",
        ),
        (
            "a reason alone",
            request("GET", "/rest/v1/events")
                .user("viewer")
                .field("x-impersonate-reason", "ticket 4711"),
            "bad_impersonation",
        ),
        (
            "where there is no organization",
            acting("helga", "viewer", "POST", "/auth/v1/user"),
            "impersonation_not_allowed",
        ),
    ] {
        assert_eq!(code(&world, &asked), expected, "{name}");
    }
    let policy = include_str!("access.yaml");
    let read_only = policy.replace("read_only: false", "read_only: true");
    let world = World::of(&read_only, include_str!("access-directory.yaml"));
    let write = acting("helga", "editor", "POST", "/rest/v1/events");
    assert_eq!(code(&world, &write), "impersonation_read_only");
    assert_eq!(code(&world, &acting("helga", "editor", "GET", "/rest/v1/events")), "passed");
    // Where no policy says who may, nobody may.
    let none = World::new();
    let asked = acting("alice", "bob", "GET", "/rest/v1/events");
    assert_eq!(code(&none, &asked), "impersonation_not_allowed");
}

#[test]
fn a_session_that_rested_for_too_long_once_has_to_be_begun_anew() {
    let mut world = world();
    let (route, demanded) = (
        |user: &str| request("GET", "/rested").user(user),
        |user: &str| {
            request("GET", "/rest/v1/events").user(user).field("x-organization-id", "wakeful")
        },
    );
    for (last_use, longest_pause, began, expected) in [
        // In minutes ago; nothing is known of its uses.
        (None, 0, None, "session_idle"),
        (None, 0, Some(30), "passed"),
        (None, 0, Some(31), "session_idle"),
        (Some(30), 29, Some(500), "passed"),
        (Some(31), 29, Some(500), "session_idle"),
        // Used a moment ago, after a rest that was too long.
        (Some(0), 31, Some(500), "session_idle"),
        (Some(0), 30, Some(500), "passed"),
    ] {
        world.last_use = LastUse {
            at: last_use.map_or(0, |minutes| NOW.unix_secs() - minutes * 60),
            longest_pause: longest_pause * 60,
        };
        for asked in [route("viewer"), demanded("wanda")] {
            let asked = match began {
                Some(minutes) => signed_in(asked, minutes, None),
                None => asked,
            };
            assert_eq!(code(&world, &asked), expected, "{last_use:?} {longest_pause} {began:?}");
        }
    }
}

#[test]
fn whoever_manages_members_manages_those_that_rank_below() {
    let world = world();
    let delete = |user: &str| {
        let asked = request("DELETE", "/rest/v1/club?user_id=eq.x").user(user);
        world.decide(&signed_in(asked, 1, Some(1))).to_string()
    };
    let below = "role=in.(approver,editor,guard,helper,requester,seller,service,viewer)";
    assert!(delete("keeper").contains(below), "{}", delete("keeper"));
    assert!(delete("chief").contains("helper,keeper,requester"), "{}", delete("chief"));
    // Everybody else of that level ranks above nobody.
    let post = request("POST", "/rest/v1/club").user("clerk");
    assert_eq!(code(&world, &post), "rest_rank");
    let post = signed_in(request("POST", "/rest/v1/club").user("keeper"), 1, Some(1));
    let given = |role: &str| {
        let row = json!({ "user_id": "x", "role": role });
        world.body(&post, &row.to_string())
    };
    assert!(given("editor").is_ok());
    for role in ["keeper", "chief", "unheard-of"] {
        assert_eq!(given(role).unwrap_err().public().code, "rest_rank", "{role}");
    }
}

#[test]
fn costs_are_borne_by_a_team_of_the_caller_and_by_no_other() {
    let world = world();
    for (user, named, bears) in [
        ("director", None, Some("sales")),
        ("director", Some("sales.south"), Some("sales.south")),
        // Nobody lets another team pay.
        ("director", Some("finance"), None),
        ("director", Some("sale"), None),
    ] {
        let mut asked = request("GET", "/rest/v1/deals").user(user);
        if let Some(team) = named {
            asked = asked.field("x-team-id", team);
        }
        let (trace, _) = world.passed(&asked);
        assert_eq!(trace.team.as_ref().map(|team| team.as_str()), bears, "{user} {named:?}");
    }
}
