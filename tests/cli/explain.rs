//! `tollgate explain`.

use serde_json::json;

use crate::golden;
use crate::tool::{Called, call, call_in, world};

fn explain(arguments: &[&str]) -> Called {
    let called = call(&[&["explain", "-c", "gateway.yaml"], arguments].concat());
    assert_eq!((called.code, called.err.as_str()), (0, ""), "{arguments:?}");
    called
}

#[test]
fn a_request_that_passes_shows_every_stage_and_what_the_upstream_gets() {
    let url = "/rest/v1/events?select=id&title=eq.x&order=id.desc";
    golden::compare("explain-passes", &explain(&["GET", url, "--as", "alice"]).out);
    golden::compare("explain-passes-json", &explain(&["GET", url, "--as", "alice", "--json"]).out);
}

#[test]
fn both_sides_of_a_request_are_shown_with_the_reason_for_every_difference() {
    let url = "/rest/v1/events?%22title%22=eq.a+b\
               &organization_id=eq.b0000000-0000-4000-8000-000000000002&order=id&limit=2";
    let body = r#"{ "title": "x", "id": 12345678901234567890 }"#;
    let fields = [
        "-H",
        "Content-Type: application/json; charset=utf-8",
        "-H",
        "Prefer: return=representation, count=planned",
        "-H",
        "X-Forwarded-For: 1.2.3.4",
        "-H",
        "Cookie: a=b",
    ];
    let patch = [&["PATCH", url, "--as", "alice", "--body", body], &fields[..]].concat();
    golden::compare("explain-sides", &explain(&patch).out);
    golden::compare("explain-sides-json", &explain(&[&patch[..], &["--json"]].concat()).out);
    let csv = "title,id\nfirst,1\n\"second, \"\"quoted\"\"\",NULL\n";
    let post = ["POST", "/rest/v1/events?columns=title", "--as", "alice", "--body", csv];
    let post = [&post[..], &["-H", "Content-Type: text/csv"]].concat();
    golden::compare("explain-sides-csv", &explain(&post).out);
}

#[test]
fn every_piece_that_confines_an_embed_has_its_reason() {
    let url = "/rest/v1/tickets?select=id,at:venues(name)&at.name=like.A*&price=gt.5";
    golden::compare("explain-embeds", &explain(&["GET", url, "--as", "alice"]).out);
}

#[test]
fn no_difference_is_left_without_a_reason() {
    for request in [
        &["GET", "/rest/v1/events?select=id,tickets(count())&tickets.price=gt.1"][..],
        &["GET", "https://gate.test/files/a?x=1", "-H", "Accept: */*", "-H", "Cookie: a=b"],
        &["GET", "/rest/v1/events?select=*&id=in.(1,2)", "-H", "Accept: text/csv"],
        &["POST", "/rest/v1/events?select=id", "--body", "{}", "-H", "Content-Length: 2"],
    ] {
        let report = explain(&[&["--as", "alice", "--json"], request].concat()).json();
        let pieces = report["upstream"]["compared"].as_array().unwrap();
        assert!(pieces.len() > 5, "{report}");
        for piece in pieces {
            let differs = piece["change"] != "kept";
            assert_eq!(differs, !piece["reasons"].as_array().unwrap().is_empty(), "{piece}");
            assert_eq!(piece["change"] == "added", piece["came"].is_null(), "{piece}");
            assert_eq!(piece["change"] == "removed", piece["sent"].is_null(), "{piece}");
        }
    }
}

#[test]
fn a_missing_permission_names_the_role_and_who_has_it() {
    let body = r#"{"title":"x"}"#;
    let refused = ["POST", "/rest/v1/events", "--as", "bob", "--body", body];
    golden::compare("explain-permission", &explain(&refused).out);
    golden::compare("explain-permission-json", &explain(&[&refused[..], &["--json"]].concat()).out);
}

#[test]
fn a_body_is_shown_as_the_upstream_gets_it_or_is_refused() {
    let json = "content-type: application/json";
    let post = ["POST", "/rest/v1/events", "--as", "alice", "-H", json, "--json", "--body"];
    let passed = explain(&[&post[..], &[r#"{"title":"x"}"#]].concat()).json();
    let sent: serde_json::Value =
        serde_json::from_str(passed["upstream"]["body"].as_str().unwrap()).unwrap();
    let acme = "a0000000-0000-4000-8000-000000000001";
    assert_eq!(sent, json!({ "title": "x", "organization_id": acme }));
    let foreign = r#"{"title":"x","organization_id":"b0000000-0000-4000-8000-000000000002"}"#;
    let refused = explain(&[&post[..], &[foreign]].concat()).json();
    assert_eq!(refused["verdict"], "refused");
    assert_eq!(refused["refusal"]["status"], 403, "{refused}");
    assert!(refused["upstream"].is_null());
}

#[test]
fn a_body_comes_from_a_file_or_from_standard_input_too() {
    let place = crate::support::place::TempDir::new();
    let file = place.write("body.json", r#"{"title":"from a file"}"#);
    let from_file = format!("@{}", file.display());
    let json = "content-type: application/json";
    let common = ["explain", "-c", "gateway.yaml", "--json", "--as", "alice", "-H", json];
    for (body, input, title) in
        [(from_file.as_str(), "", "from a file"), ("-", r#"{"title":"typed"}"#, "typed")]
    {
        let post = ["POST", "/rest/v1/events", "--body", body];
        let called = call_in(&world(), &[&common[..], &post].concat(), input);
        let report = called.json();
        assert!(report["upstream"]["body"].as_str().unwrap().contains(title), "{report}");
    }
}

#[test]
fn a_preflight_is_answered_by_the_gateway_itself() {
    let preflight = [
        "OPTIONS",
        "https://gate.test/rest/v1/events",
        "-H",
        "Origin: https://app.test",
        "-H",
        "Access-Control-Request-Method: POST",
    ];
    golden::compare("explain-preflight", &explain(&preflight).out);
}

#[test]
fn what_ends_a_request_is_told_for_every_stage() {
    let cases: [(&[&str], &str, &str); 7] = [
        (&["GET", "/rest/v1/../events"], "edge", "bad_path"),
        (&["TRACE", "/rest/v1/events"], "edge", "method_not_allowed"),
        (&["GET", "/nowhere"], "route", "route_not_found"),
        (&["GET", "/internal"], "route", "route_closed"),
        (&["GET", "/rest/v1/events"], "authenticate", "no_credentials"),
        (
            &["GET", "/rest/v1/events", "--as", "alice", "-H", "x-organization-id: globex"],
            "tenant",
            "not_a_member",
        ),
        (&["GET", "/rest/v1/secrets", "--as", "alice"], "authorize", "table_not_found"),
    ];
    for (request, stage, code) in cases {
        let report = explain(&[&["--json"], request].concat()).json();
        assert_eq!(report["refusal"]["code"], code, "{request:?}: {report}");
        let stages = report["stages"].as_array().unwrap();
        let refused: Vec<&str> = stages
            .iter()
            .filter(|stage| stage["verdict"] == "refused")
            .filter_map(|stage| stage["stage"].as_str())
            .collect();
        assert_eq!(refused, [stage], "{request:?}");
        let body: serde_json::Value =
            serde_json::from_str(report["answer"]["body"].as_str().unwrap()).unwrap();
        assert!(body.to_string().contains(code), "{request:?}: {body}");
    }
}

#[test]
fn a_plain_upstream_gets_the_clients_fields_without_those_that_only_the_gateway_sends() {
    let request = [
        "GET",
        "https://gate.test/files/a/b?x=1",
        "--as",
        "alice",
        "--from",
        "203.0.113.9",
        "-H",
        "X-Forwarded-For: 1.2.3.4",
        "-H",
        "X-Organization-Id: acme",
        "-H",
        "Accept: text/plain",
        "--json",
    ];
    let report = explain(&request).json();
    let headers = report["upstream"]["headers"].as_array().unwrap();
    let value = |name: &str| {
        let found = headers.iter().find(|field| field[0] == name);
        found.map(|field| field[1].as_str().unwrap().to_owned())
    };
    assert_eq!(report["upstream"]["target"], "/files/a/b?x=1");
    assert_eq!(value("accept").as_deref(), Some("text/plain"));
    assert_eq!(value("x-forwarded-for").as_deref(), Some("203.0.113.9"));
    assert_eq!(value("x-forwarded-proto").as_deref(), Some("https"));
    assert_eq!(value("x-organization-id"), None);
    assert_eq!(value("authorization"), None);
}

#[test]
fn no_secret_is_printed_in_either_form() {
    let token = call(&["token", "-c", "gateway.yaml", "--user", "alice"]).out;
    let token = token.trim_end();
    for json in [&["--json"][..], &[]] {
        let header = ["GET", "/rest/v1/events", "--token", token, "-H", "apikey: sb_secret_shown"];
        let query = ["GET", "/rest/v1/events?apikey=sb_secret_shown&id=eq.1", "--token", token];
        let both = [&header[..], &query].map(|request| explain(&[json, request].concat()).out);
        let out = both.concat();
        let signature = token.rsplit('.').next().unwrap();
        for secret in [signature, "nobody-may-see", "sb_secret_shown"] {
            assert!(!out.contains(secret), "{secret} in {out}");
        }
    }
}

#[test]
fn explaining_the_demo_needs_no_configuration() {
    let place = crate::support::place::TempDir::new();
    let called = call_in(
        place.path(),
        &["explain", "--demo", "GET", "/rest/v1/events", "--as", "alice"],
        "",
    );
    assert_eq!(called.code, 0, "{}", called.err);
    assert!(called.out.contains("sent on to upstream `rest`"), "{}", called.out);
}

#[test]
fn a_configuration_with_errors_explains_nothing() {
    let called = call(&["explain", "-c", "bad.yaml", "GET", "/"]);
    assert_eq!((called.code, called.out.as_str()), (2, ""));
    assert!(called.err.contains("`addresse`"), "{}", called.err);
}

#[test]
fn a_quota_of_which_nobody_knows_says_so_and_what_becomes_of_the_request() {
    let place = crate::policy_tests::under_quotas();
    let arguments = ["explain", "-c", "gateway.yaml", "GET", "/rest/v1/events", "--as", "alice"];
    let called = call_in(place.path(), &arguments, "");
    assert_eq!((called.code, called.err.as_str()), (0, ""));
    for line in [
        "quota `calls`: nobody knows what is used of 100 calls of the month  [policy.yaml:",
        "refused with 503 usage_unavailable",
        "  work: nobody knows what is used of 50 cost of the day: the database of the usage ledger \
         cannot be reached",
        "(hard; refuse when the ledger is away)  [policy.yaml:",
    ] {
        assert!(called.out.contains(line), "{line}: {}", called.out);
    }
}

/// The log of a node with one refused and one passed request, and one of somebody unknown.
fn log() -> String {
    let line = |id: &str, user: &str, role: &str, method: &str, rest: &str| {
        format!(
            "{{\"time\":\"2026-11-21T10:00:00.000000Z\",\"request_id\":\"{id}\",\"client\":\"192.0.2.1\",\
             \"principal\":\"user\",\"user\":\"{user}\",\
             \"organization\":\"a0000000-0000-4000-8000-000000000001\",\"plan\":\"free\",\
             \"role\":\"{role}\",\"aal\":\"aal1\",\"method\":\"{method}\",\"host\":\"api.test\",\
             \"path\":\"/rest/v1/events\",\"route\":\"rest\",{rest},\"duration_micros\":1}}\n"
        )
    };
    [
        line(
            "refused",
            "bob",
            "viewer",
            "POST",
            "\"decision\":\"refused\",\"status\":403,\"stage\":\"authorize\",\"code\":\"permission_denied\",\
             \"permission\":\"events:write\",\"policy\":\"policy.yaml:6\",\"snapshot\":\"0000\"",
        ),
        line(
            "passed",
            "dave",
            "member",
            "POST",
            "\"decision\":\"allowed\",\"status\":201,\"would\":[{\"policy\":\"limit\",\"name\":\"tight\",\
             \"source\":\"policy.yaml:9\",\"stage\":\"limit\",\"code\":\"rate_limited\",\"status\":429}]",
        ),
        "{\"time\":\"2026-11-21T10:00:01.000000Z\",\"request_id\":\"nobody\",\"method\":\"GET\",\
         \"host\":\"api.test\",\"path\":\"/rest/v1/events\",\"route\":\"rest\",\"decision\":\"refused\",\
         \"status\":401,\"stage\":\"authenticate\",\"code\":\"invalid_token\",\"duration_micros\":1}\n"
            .to_owned(),
    ]
    .concat()
}

#[test]
fn a_request_that_happened_is_found_by_its_id_and_decided_again() {
    let place = crate::support::place::TempDir::new();
    let policy = include_str!("world/policy.yaml");
    // Members must have shown a second factor by now.
    let tighter = policy.replace(
        "permissions: [events:write]\n",
        "permissions: [events:write]\n    require: [{ aal: aal2 }]\n",
    );
    assert_ne!(policy, tighter);
    place.write("gateway.yaml", include_str!("world/gateway.yaml"));
    place.write("policy.yaml", &tighter);
    place.write("directory.yaml", include_str!("world/directory.yaml"));
    place.write("audit.jsonl", &log());
    let told = |id: &str, more: &[&str]| {
        let command = ["explain", "-c", "gateway.yaml", "--audit", "audit.jsonl", "--request", id];
        call_in(place.path(), &[&command, more].concat(), "")
    };
    for id in ["refused", "passed", "nobody"] {
        let called = told(id, &[]);
        assert_eq!((called.code, called.err.as_str()), (0, ""), "{id}");
        golden::compare(&format!("explain-request-{id}"), &called.out);
    }
    let json = told("passed", &["--json"]).json();
    assert_eq!(json["present"]["compared"], "differs");
    assert_eq!(json["present"]["verdict"], "refused with 403 mfa_required");
    assert_eq!(json["record"]["user"], "dave");
    let missing = told("absent", &[]);
    assert_eq!(missing.code, 2);
    assert!(missing.err.contains("the audit log has no request `absent`"), "{}", missing.err);
    assert_eq!(told("passed", &["GET", "/rest/v1/events"]).code, 2, "one or the other");
}

#[test]
fn a_condition_that_does_not_hold_is_told_beside_what_is_the_case() {
    let place = crate::support::place::TempDir::new();
    let policy = include_str!("world/policy.yaml").replace(
        "    permission: { table: table }\n",
        "    permission: { table: table }\n    require: [{ plan: pro }]\n",
    );
    place.write("gateway.yaml", include_str!("world/gateway.yaml"));
    place.write("policy.yaml", &policy);
    place.write("directory.yaml", include_str!("world/directory.yaml"));
    let asked = ["explain", "-c", "gateway.yaml", "GET", "/rest/v1/events", "--as", "alice"];
    let called = call_in(place.path(), &asked, "");
    let near =
        "near misses:\n  asks for plan `pro` or above; the organization has `free`  [policy.yaml:";
    assert!(called.out.contains(near), "{}", called.out);
}
