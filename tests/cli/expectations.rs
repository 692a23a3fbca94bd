//! What a case of `tollgate test` can state and expect, and how what differs is shown.

use crate::golden;
use crate::policy_tests::under_quotas;
use crate::support::place::TempDir;
use crate::tool::{Called, call_in, world};

/// The world, with an upstream whose key is a secret, and limits that say what happens while their
/// store is away.
pub(crate) fn place() -> TempDir {
    let place = TempDir::new();
    let read = |name: &str| std::fs::read_to_string(world().join(name)).unwrap();
    let gateway = read("gateway.yaml").replace(
        "addresses: [127.0.0.1:13000]\n",
        "addresses: [127.0.0.1:13000]\n    api_key: a-key-of-the-upstream\n",
    );
    let limits = "limits:\n  strict:\n    scope: organization\n    rate: 1/s\n    burst: 5\n    \
                  cost: 2\n    when_away: closed\n";
    let policy = read("policy.yaml").replacen("limits:\n", limits, 1);
    let policy = policy.replace(
        "permission: member\n",
        "permission: member\n    limits: [strict, per_user]\n    response: { set: { x-kind: file } }\n",
    );
    place.write("gateway.yaml", &gateway);
    place.write("policy.yaml", &policy);
    place.write("directory.yaml", &read("directory.yaml"));
    place
}

const FINE: &str = "\
config: gateway.yaml
in: acme
cases:
  - name: the request as the upstream gets it
    as: { user: alice }
    request:
      line: GET /rest/v1/events?select=id
      headers: { Accept: application/json, Cookie: secret=1, X-Organization-Id: acme }
    expect:
      upstream: rest
      target: /events?select=id&organization_id=eq.a0000000-0000-4000-8000-000000000001
      sent:
        equal: { Accept: application/json, x-forwarded-host: api.example.com }
        present: [authorization, x-request-id, apikey]
        absent: [cookie, x-organization-id]
      claims: { sub: alice, org_role: admin }
      charges: { per_user: 1 }
      answer: { present: [ratelimit, x-request-id], absent: [retry-after] }
      events: []
  - name: an empty bucket says when to come back, and which it is
    as: { user: alice }
    left: { per_user: 0 }
    request: GET /rest/v1/events
    expect:
      refuse: rate_limited
      status: 429
      by: { limit: per_user }
      answer: { equal: { retry-after: '1', x-tollgate-limit: per_user }, absent: [x-kind] }
  - name: the last token is enough
    as: { user: alice }
    left: { per_user: 1 }
    request: GET /rest/v1/events
    expect: { answer: { present: [ratelimit] } }
  - name: a limit that is closed while its store is away
    as: { user: alice }
    away: [limits]
    request: GET /files/a
    expect: { refuse: limits_unavailable, status: 503, by: { line: 'policy.yaml:17' }, answer: { present: [retry-after] } }
  - name: one that this node enforces alone meanwhile
    as: { user: alice }
    away: [limits]
    request: GET /rest/v1/events
    expect: { limits: [per_user] }
  - name: and refuses by
    as: { user: alice }
    away: [limits]
    left: { per_user: 0 }
    request: GET /rest/v1/events
    expect: rate_limited
  - name: members are not turned away for good while the directory is away
    as: { user: alice }
    away: [directory]
    request: GET /rest/v1/events
    expect: { refuse: directory_unavailable, status: 503 }
  - name: a session that was taken back
    as: { user: alice, session: revoked }
    request: GET /rest/v1/events
    expect: { refuse: session_revoked, status: 401, events: [revoked_session] }
  - name: a row for another organization
    as: { role: member }
    request:
      line: POST /rest/v1/events
      body: '{\"title\":\"x\",\"organization_id\":\"b0000000-0000-4000-8000-000000000002\"}'
    expect: { refuse: rest_tenant_escape, status: 403, events: [tenant_escape] }
  - name: what a route sets in answers
    as: { role: viewer }
    request: GET /files/a
    expect: { upstream: files, charges: { strict: 2, per_user: 1 }, answer: { equal: { x-kind: file } } }
  - name: a preflight is answered by the gateway
    as: nobody
    request:
      line: OPTIONS /rest/v1/events
      headers: { origin: 'https://app.test', access-control-request-method: GET }
    expect:
      answered: 204
      answer: { equal: { access-control-allow-origin: 'https://app.test' } }
";

fn run(text: &str, arguments: &[&str]) -> Called {
    let place = place();
    place.write("some.test.yaml", text);
    call_in(place.path(), &[&["test", "some.test.yaml"], arguments].concat(), "")
}

#[test]
fn a_case_states_buckets_outages_and_sessions_and_expects_every_part_of_what_becomes_of_it() {
    let called = run(FINE, &[]);
    assert_eq!(called.out, "some.test.yaml: 11 passed\n", "{}", called.err);
    assert_eq!(called.code, 0);
}

/// Every expectation is wrong: what is expected of each is shown beside what is.
fn wrong() -> String {
    FINE.replace("upstream: rest", "upstream: files")
        .replace("target: /events?select=id&", "target: /events?select=title&")
        .replace("sub: alice, org_role: admin", "sub: bob, org_role: admin, org_plan: free")
        .replace("charges: { per_user: 1 }", "charges: { per_user: 2, strict: 1 }")
        .replace(
            "equal: { Accept: application/json,",
            "equal: { apikey: another, Accept: text/csv,",
        )
        .replace(
            "absent: [cookie, x-organization-id]",
            "present: [x-missing, cookie]\n        absent: [host]",
        )
        .replace("present: [authorization, x-request-id, apikey]\n        ", "")
        .replace("absent: [retry-after]", "absent: [ratelimit]")
        .replace("events: []", "events: [tenant_escape]")
        .replace("retry-after: '1'", "retry-after: '2'")
        .replace("by: { limit: per_user }", "by: { limit: strict }")
        .replace("left: { per_user: 1 }", "left: { per_user: 0 }")
        .replace("policy.yaml:17", "policy.yaml:30")
        .replace("answered: 204", "answered: 200")
        .replace("events: [revoked_session]", "events: []")
}

#[test]
fn all_that_differs_is_shown_and_no_secret_is() {
    let called = run(&wrong(), &[]);
    assert_eq!(called.code, 2);
    assert!(!called.out.contains("a-key-of-the-upstream"), "{}", called.out);
    golden::compare("test-differences", &called.out);
}

#[test]
fn a_ledger_that_is_away_counts_as_the_quota_says() {
    let place = under_quotas();
    place.write(
        "some.test.yaml",
        "\
config: gateway.yaml
in: acme
cases:
  - name: a quota that refuses without its ledger
    as: { role: viewer }
    away: [quotas]
    request: GET /rest/v1/events
    expect: { refuse: usage_unavailable, status: 503, by: { quota: work } }
",
    );
    let called = call_in(place.path(), &["test", "some.test.yaml"], "");
    assert_eq!(called.out, "some.test.yaml: 1 passed\n", "{}", called.err);
}
