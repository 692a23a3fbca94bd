//! `tollgate replay`: recorded decisions under another policy.

use serde_json::{Value, json};

use crate::golden;
use crate::support::place::TempDir;
use crate::tool::{Called, call_in};

const GATEWAY: &str = include_str!("world/gateway.yaml");
const POLICY: &str = include_str!("world/policy.yaml");
const DIRECTORY: &str = include_str!("world/directory.yaml");
const ACME: &str = "a0000000-0000-4000-8000-000000000001";
const GLOBEX: &str = "b0000000-0000-4000-8000-000000000002";

/// A record of somebody's GET of the events, with other fields in their places.
fn record(second: u32, fields: &Value) -> String {
    let mut line = json!({
        "id": "x", "time": format!("2026-11-21T10:00:{second:02}.000000Z"), "node": "n", "seq": second,
        "request_id": format!("request-{second:02}"), "client": "192.0.2.1", "principal": "user",
        "user": "bob", "organization": ACME, "plan": "free", "role": "viewer", "aal": "aal1",
        "method": "GET", "host": "api.test", "path": "/rest/v1/events", "route": "rest",
        "decision": "allowed", "status": 200, "duration_micros": 1,
    });
    for (name, value) in fields.as_object().unwrap() {
        match value {
            Value::Null => drop(line.as_object_mut().unwrap().remove(name)),
            value => line[name] = value.clone(),
        }
    }
    format!("{line}\n")
}

fn refused(stage: &str, code: &str, status: u16) -> Value {
    json!({ "decision": "refused", "stage": stage, "code": code, "status": status })
}

fn with(mut fields: Value, more: Value) -> Value {
    fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    fields
}

fn log() -> String {
    let nobody = json!({
        "principal": null, "user": null, "organization": null, "plan": null, "role": null, "aal": null,
    });
    [
        record(1, &json!({})),
        record(2, &json!({ "path": "/rest/v1/venues" })),
        record(3, &json!({ "user": "alice", "role": "admin", "path": "/rest/v1/venues" })),
        record(
            4,
            &json!({ "user": "carol", "organization": GLOBEX, "plan": "pro", "role": "member",
                           "method": "POST" }),
        ),
        // What came after the decision is not replayed, and was passed.
        record(
            5,
            &with(refused("limit", "rate_limited", 429), json!({ "path": "/rest/v1/venues" })),
        ),
        record(
            6,
            &with(refused("authorize", "permission_denied", 403), json!({ "method": "POST" })),
        ),
        record(
            7,
            &with(
                json!({ "path": "/internal", "route": "closed" }),
                with(nobody.clone(), refused("route", "route_closed", 403)),
            ),
        ),
        record(
            8,
            &with(
                json!({ "path": "/nowhere", "route": null }),
                with(nobody.clone(), refused("route", "route_not_found", 404)),
            ),
        ),
        record(9, &with(refused("authenticate", "invalid_token", 401), nobody)),
        record(
            10,
            &json!({ "principal": "machine", "user": null, "api_key": "import", "role": null }),
        ),
        record(11, &json!({ "impersonated": "ann" })),
        record(12, &json!({ "host": null })),
        record(
            13,
            &json!({ "further_rights": true, "organization": "c0000000-0000-4000-8000-000000000003",
                            "path": "/rest/v1/venues" }),
        ),
        // As versions wrote it that did not say which stage it was.
        record(16, &with(refused("authorize", "permission_denied", 403), json!({ "stage": null }))),
        record(14, &json!({ "path": "/files/a", "route": "files" })),
    ]
    .concat()
}

/// Replays the log by the world's policy with pieces replaced.
fn replay(pieces: &[(&str, &str)], arguments: &[&str]) -> Called {
    replay_of(&log(), pieces, arguments)
}

fn replay_of(log: &str, pieces: &[(&str, &str)], arguments: &[&str]) -> Called {
    let policy = pieces.iter().fold(POLICY.to_owned(), |policy, (from, to)| {
        assert!(policy.contains(from), "{from}");
        policy.replace(from, to)
    });
    let place = TempDir::new();
    place.write("gateway.yaml", GATEWAY);
    place.write("policy.yaml", &policy);
    place.write("directory.yaml", DIRECTORY);
    place.write("audit.jsonl", log);
    let command = ["replay", "-c", "gateway.yaml", "audit.jsonl"];
    call_in(place.path(), &[&command, arguments].concat(), "")
}

const TIGHTER: [(&str, &str); 3] = [
    // Viewers see events only; who writes has shown a second factor.
    ("permissions: [\"*:read\"]", "permissions: [\"events:read\"]"),
    (
        "permissions: [events:write]\n",
        "permissions: [events:write]\n    require: [{ aal: aal2 }]\n",
    ),
    // What was closed is open, to services.
    (
        "match: { path: /internal }\n    close: true\n",
        "match: { path: /internal }\n    upstream: files\n    credential: service\n    tenant: none\n",
    ),
];

#[test]
fn verdicts_that_change_are_grouped_with_the_line_that_decides_now() {
    let told = replay(&TIGHTER, &[]);
    assert_eq!((told.code, told.err.as_str()), (3, ""), "{}", told.out);
    golden::compare("replay", &told.out);
    golden::compare("replay-json", &replay(&TIGHTER, &["--json"]).out);
}

#[test]
fn the_policy_that_decided_decides_the_same_again() {
    let told = replay(&[], &["--json"]);
    assert_eq!(told.code, 0, "{}", told.out);
    let told = told.json();
    assert_eq!((&told["changed"], &told["same"]), (&json!([]), &json!(10)), "{told:#}");
}

#[test]
fn what_a_condition_refused_is_told_apart_by_its_stage() {
    let log = record(1, &refused("authorize", "condition_not_met", 403));
    let told = replay_of(&log, &[], &["--json"]).json();
    let [changed] = told["changed"].as_array().unwrap().as_slice() else { panic!("{told:#}") };
    assert_eq!(changed["from"]["code"], "condition_not_met", "{told:#}");
    let asks = (
        "    permission: { table: table }\n",
        "    permission: { table: table }\n    require: [{ when: request.method == 'PUT' }]\n",
    );
    let told = replay_of(&log, &[asks], &["--json"]).json();
    assert_eq!((&told["changed"], &told["same"]), (&json!([]), &json!(1)), "{told:#}");
}

#[test]
fn only_the_last_records_are_replayed_where_that_is_stated() {
    let told = replay(&TIGHTER, &["--last", "1", "--json"]).json();
    assert_eq!((&told["records"], &told["same"]), (&json!(15), &json!(1)), "{told:#}");
    assert_eq!(replay(&[], &["--last", "0"]).code, 2);
}

#[test]
fn what_depends_on_what_is_not_recorded_is_called_neither_changed_nor_the_same() {
    // No directory file has the organization of the last but one; the others' features are known.
    let asks = (
        "    permission: { table: table }\n",
        "    permission: { table: table }\n    require: [{ feature: absent }]\n",
    );
    let told = replay(&[asks], &["--json"]).json();
    let reasons: Vec<&str> = told["unknown"]
        .as_array()
        .unwrap()
        .iter()
        .map(|of| of["reason"].as_str().unwrap())
        .collect();
    let features =
        "features and stages are not recorded, and no directory file has the organization";
    assert!(reasons.contains(&features), "{reasons:?}");
    let to: Vec<&Value> =
        told["changed"].as_array().unwrap().iter().map(|of| &of["to"]["code"]).collect();
    assert_eq!(to, ["feature_disabled"], "{told:#}");
}

/// Replays a write, one that a rule refused, and a read, by the world with a rule about writes.
fn with_rule(when: &str) -> Value {
    let post = json!({ "method": "POST", "user": "alice", "role": "admin" });
    let refused = with(post.clone(), refused("caller_rules", "my_own_code", 403));
    let place = TempDir::new();
    place.write("gateway.yaml", &format!("{GATEWAY}rules: [rules.yaml]\n"));
    place.write("policy.yaml", POLICY);
    place.write("directory.yaml", DIRECTORY);
    place.write(
        "audit.jsonl",
        &[record(1, &post), record(2, &refused), record(3, &json!({}))].concat(),
    );
    place.write(
        "rules.yaml",
        &format!(
            "rules:\n  - id: writes\n    phase: authenticated\n    when: {when}\n    \
             then: {{ deny: {{ status: 403, code: my_own_code, message: not here }} }}\n"
        ),
    );
    call_in(place.path(), &["replay", "-c", "gateway.yaml", "audit.jsonl", "--json"], "").json()
}

/// How many verdicts change to which code, how many do not, and how many cannot be told.
fn counts(told: &Value) -> (Vec<(&Value, &Value)>, u64, u64) {
    let list = |name: &str| told[name].as_array().unwrap().iter();
    let changed = list("changed").map(|of| (&of["from"]["code"], &of["to"]["code"])).collect();
    let unknown = list("unknown").map(|of| of["requests"].as_u64().unwrap()).sum();
    (changed, told["same"].as_u64().unwrap(), unknown)
}

#[test]
fn a_rule_that_looks_at_nothing_but_what_is_recorded_is_decided_again() {
    let (none, mine) = (Value::Null, json!("my_own_code"));
    let told = with_rule("request.method == 'POST' && organization.plan == 'free'");
    assert_eq!(counts(&told), (vec![(&none, &mine)], 2, 0), "{told:#}");
    let told = with_rule("request.method == 'POST' && organization.plan == 'pro'");
    assert_eq!(counts(&told), (vec![(&mine, &none)], 2, 0), "{told:#}");
    // The text is no variable, and the function is none.
    let told =
        with_rule("request.path.startsWith('/request.query') || request.method in [\"POST\"]");
    assert_eq!(counts(&told), (vec![(&none, &mine)], 2, 0), "{told:#}");
}

#[test]
fn a_rule_that_looks_at_more_leaves_open_what_it_refused_or_would() {
    for when in [
        "request.method == 'POST' && !('x-version' in request.headers)",
        "request.method == 'POST' && request.query == ''",
        r"request.path != '\'' && request.query != '\'' && request.method == 'POST'",
        "request.method == 'POST' && size(tags) == 0",
    ] {
        let told = with_rule(when);
        assert_eq!(counts(&told).0, [], "{when}: {told:#}");
        assert!(counts(&told).2 >= 1, "{when}: {told:#}");
    }
}
