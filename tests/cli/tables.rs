//! Tables in shadow, rules in shadow and rules that nearly apply, as the commands tell of them.

use crate::golden;
use crate::support::place::TempDir;
use crate::tool::{Called, call_in, world};

const RULES: &str = "\
rules:
  - id: scanners
    when: >
      'user-agent' in request.headers && request.headers['user-agent'].startsWith('sqlmap')
    then: { deny: { status: 403, code: scanner }, event: { kind: scan, severity: low } }
    mode: shadow
  - id: slow-exports
    phase: authenticated
    when: request.method == 'GET' && organization.plan == 'free' && has(request.params.export)
    then: { tag: slow }
  - id: venues-at-night
    when: request.path == '/rest/v1/venues' && request.method == 'GET'
    then: { tag: night }
";

/// The world, with tables in shadow behind an upstream that is passed the callers' tokens.
fn place() -> TempDir {
    let place = TempDir::new();
    let read = |name: &str| std::fs::read_to_string(world().join(name)).unwrap();
    let minted = "identity: { mint: { secret: another-secret-that-nobody-may-see-either } }";
    let gateway = read("gateway.yaml");
    assert!(gateway.contains(minted));
    let gateway = gateway.replace(minted, "identity: pass_through");
    place.write("gateway.yaml", &(gateway + "rules: [rules.yaml]\n"));
    place.write("directory.yaml", &read("directory.yaml"));
    place.write("rules.yaml", RULES);
    let shadow = |policy: String, columns: &str| {
        assert!(policy.contains(columns));
        policy.replace(columns, &format!("{columns}\n    mode: shadow"))
    };
    let policy = shadow(read("policy.yaml"), "    columns: [id, organization_id, title]");
    let policy = shadow(policy, "    columns: [id, event, venue, price]");
    let policy = policy
        .replace("tables:\n", "  tight: { scope: user, rate: 1/h, mode: shadow }\ntables:\n")
        .replace(
            "limits: [per_user]",
            "limits: [per_user, tight]\n    require: [{ plan: pro, mode: shadow }]",
        );
    place.write("policy.yaml", &policy);
    place
}

fn explain(arguments: &[&str]) -> Called {
    let called =
        call_in(place().path(), &[&["explain", "-c", "gateway.yaml"], arguments].concat(), "");
    assert_eq!((called.code, called.err.as_str()), (0, ""), "{arguments:?}");
    called
}

#[test]
fn a_check_warns_of_each_table_in_shadow() {
    let called = call_in(place().path(), &["check", "-c", "gateway.yaml"], "");
    assert_eq!((called.code, called.err.as_str()), (0, ""));
    golden::compare("check-tables-in-shadow", &called.out);
}

#[test]
fn an_explanation_says_what_isolation_would_make_of_a_request() {
    let read = ["GET", "/rest/v1/events?select=*,tickets(price)&title=eq.a", "--as", "alice"];
    let prefer = ["-H", "Prefer: count=planned", "-H", "User-Agent: sqlmap/1"];
    golden::compare("explain-in-shadow", &explain(&[&read[..], &prefer].concat()).out);
    let body = r#"{ "title": "x", "organization_id": "b0000000-0000-4000-8000-000000000002" }"#;
    let write = ["POST", "/rest/v1/events", "--as", "alice", "--json", "--body", body];
    let report = explain(&write).json();
    assert_eq!(report["upstream"]["body"], body);
    assert_eq!(report["would"][1]["code"], "rest_tenant_escape", "{report:#}");
    // What embeds a table that is enforced is confined.
    let both = ["GET", "/rest/v1/tickets?select=id,venues(name)", "--as", "alice", "--json"];
    let report = explain(&both).json();
    let target = report["upstream"]["target"].as_str().unwrap().to_owned();
    assert!(target.contains("organization_id=eq."), "{target}");
}

#[test]
fn in_shadow_too_no_difference_is_left_without_a_reason() {
    for request in [
        &["GET", "/rest/v1/events?title=eq.x&select=id,of:tickets(*)&of.price=gt.1"][..],
        &["GET", "/rest/v1/events", "-H", "Prefer: count=planned, tx=rollback, x=y"],
        &["GET", "/rest/v1/tickets?select=*", "-H", "Accept: text/csv", "-H", "Range: 0-9"],
        &[
            "POST",
            "/rest/v1/events?columns=id",
            "--body",
            "id\n1\n",
            "-H",
            "Content-Type: text/csv",
        ],
        &[
            "PATCH",
            "/rest/v1/events",
            "--body",
            "{}",
            "-H",
            "Content-Type: application/json; charset=utf-8",
        ],
    ] {
        let report = explain(&[&["--as", "alice", "--json"], request].concat()).json();
        let pieces = report["upstream"]["compared"].as_array().unwrap();
        for piece in pieces {
            let differs = piece["change"] != "kept";
            assert_eq!(differs, !piece["reasons"].as_array().unwrap().is_empty(), "{piece}");
        }
    }
}

const TESTS: &str = "\
config: gateway.yaml
in: acme
cases:
  - name: a read would be confined, and the bucket is empty
    as: { role: viewer }
    left: { tight: 0 }
    request: GET /rest/v1/events?select=id
    expect: { target: '/events?select=id', would: [{ route: rest, code: plan_required }, { table: events }, { limit: tight }] }
  - name: a rule would refuse and tell
    in: globex
    as: { role: viewer }
    request: { line: 'GET /rest/v1/venues', headers: { user-agent: sqlmap/1 } }
    expect: { would: [{ rule: scanners, code: scan }, { rule: scanners, code: scanner }], rules: [scanners, venues-at-night], events: [] }
  - name: nothing is in the way
    in: globex
    as: { role: member }
    request: GET /rest/v1/venues
    expect: { would: [] }
";

#[test]
fn a_case_expects_what_policies_in_shadow_would_do() {
    let place = place();
    place.write("some.test.yaml", TESTS);
    let called = call_in(place.path(), &["test", "some.test.yaml"], "");
    assert_eq!((called.code, called.out.as_str()), (0, "some.test.yaml: 3 passed\n"));
    let failing = TESTS
        .replace("would: []", "would: [{ gate: none }]")
        .replace("{ table: events }", "{ table: events, code: rest_filter_required }")
        .replace(
            "would: [{ rule: scanners, code: scan }, { rule: scanners, code: scanner }]",
            "would: []",
        );
    place.write("some.test.yaml", &failing);
    golden::compare(
        "test-would-unknown",
        &call_in(place.path(), &["test", "some.test.yaml"], "").out,
    );
    place.write("some.test.yaml", &failing.replace("gate: none", "role: member"));
    let called = call_in(place.path(), &["test", "some.test.yaml"], "");
    assert_eq!((called.code, called.err.as_str()), (2, ""));
    golden::compare("test-would-failing", &called.out);
}

#[test]
fn rules_that_nearly_apply_are_told_with_what_they_lack() {
    let told = explain(&["GET", "/rest/v1/venues?select=id", "--as", "alice"]).out;
    let lacks = "rule `slow-exports` does not apply: `has(request.params.export)` is false";
    assert!(told.contains(lacks) && told.contains("rule `venues-at-night` applies"), "{told}");
    let told = explain(&["GET", "/rest/v1/tickets?select=id", "--as", "alice"]).out;
    let lacks =
        "rule `venues-at-night` does not apply: `request.path == '/rest/v1/venues'` is false";
    assert!(told.contains(lacks), "{told}");
    let told = explain(&["POST", "/rest/v1/tickets", "--as", "carol"]).out;
    assert!(!told.contains("does not apply"), "more than one part is false: {told}");
}

#[test]
fn a_table_that_goes_into_shadow_opens_something() {
    let (place, enforced) = (place(), TempDir::new());
    for name in ["gateway.yaml", "directory.yaml", "rules.yaml", "policy.yaml"] {
        let text = std::fs::read_to_string(place.path().join(name)).unwrap();
        enforced.write(name, &text.replace("    mode: shadow\n", ""));
    }
    let (before, after) = (enforced.path().join("gateway.yaml"), place.path().join("gateway.yaml"));
    let (before, after) = (before.display().to_string(), after.display().to_string());
    let told = call_in(place.path(), &["diff", &before, &after], "").out;
    assert!(told.contains("mode: enforce → shadow"), "{told}");
    let told = call_in(place.path(), &["diff", &after, &before], "").out;
    assert!(told.contains("mode: shadow → enforce"), "{told}");
}
