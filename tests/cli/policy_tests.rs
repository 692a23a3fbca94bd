//! `tollgate test`.

use std::path::Path;

use crate::golden;
use crate::support::place::TempDir;
use crate::tool::{Called, call, call_in, world};

/// A test file beside the world's configuration.
fn test(text: &str, arguments: &[&str]) -> Called {
    let place = TempDir::new();
    for name in ["gateway.yaml", "policy.yaml", "directory.yaml"] {
        place.write(name, &std::fs::read_to_string(world().join(name)).unwrap());
    }
    place.write("some.test.yaml", text);
    call_in(place.path(), &[&["test", "."], arguments].concat(), "")
}

const FAILING: &str = "\
config: gateway.yaml
in: acme
cases:
  - name: a viewer deletes events
    as: { role: viewer }
    request: DELETE /rest/v1/events?id=eq.1
    expect: allow
  - name: an admin may not
    as: { role: admin }
    request: DELETE /rest/v1/events?id=eq.1
    expect: permission_denied
  - name: another status
    as: nobody
    request: GET /rest/v1/events
    expect: { refuse: no_credentials, status: 403 }
  - name: another line
    as: { role: viewer }
    request: POST /rest/v1/events
    expect: { refuse: permission_denied, by: { route: rest } }
  - name: other limits
    as: { role: viewer }
    request: GET /rest/v1/events
    expect: { limits: [] }
  - name: another target
    as: { role: viewer }
    request: GET /rest/v1/events
    expect: { target: /events }
  - name: another permission
    as: { role: viewer }
    request: GET /rest/v1/events
    expect: { permission: events:write }
  - name: anonymous callers have no role here
    as: anonymous
    request: GET /rest/v1/events
    expect: allow
  - name: as it should be
    as: { user: alice }
    request: DELETE /rest/v1/events?id=eq.1
    expect: allow
matrices:
  - name: tables
    otherwise: { read: 'GET /rest/v1/{resource}', write: 'POST /rest/v1/{resource}' }
    table:
      - role    events  venues
      - member  rw      rw
      - viewer  r       r
";

#[test]
fn what_is_not_as_expected_is_one_line_with_both_places() {
    let called = test(FAILING, &[]);
    assert_eq!((called.code, called.err.as_str()), (2, ""));
    golden::compare("test-failing", &called.out);
}

#[test]
fn machines_get_every_case() {
    let called = test(FAILING, &["--json"]);
    assert_eq!(called.code, 2);
    let report = called.json();
    assert_eq!(report["ok"], false);
    let cases = report["files"][0]["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 17);
    assert_eq!(cases[0]["verdict"], "permission_denied");
    assert_eq!(cases[0]["permission"], "events:delete");
    assert_eq!(cases[8]["ok"], true);
    assert!(cases[8]["difference"].is_null());
}

#[test]
fn mistakes_in_a_test_file_are_told_like_all_others() {
    let called = test("config: gateway.yaml\ncase: []\n", &[]);
    assert_eq!(called.code, 2);
    assert!(called.out.contains("did you mean `cases`?"), "{}", called.out);
    assert!(called.out.contains("some.test.yaml: not run"), "{}", called.out);
}

#[test]
fn a_directory_without_tests_is_not_taken_for_success() {
    let called = call(&["test", "."]);
    assert_eq!(called.code, 2);
    assert!(called.err.contains("no `*.test.yaml` is in or below `.`"), "{}", called.err);
}

/// The clock, the address and the caller's factors are those of the case, not of the machine.
#[test]
fn a_case_sets_the_time_the_address_and_the_factors() {
    let place = TempDir::new();
    let decide = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/decide");
    for (name, from) in [
        ("gateway.yaml", "gateway.yaml"),
        ("policy.yaml", "access.yaml"),
        ("directory.yaml", "access-directory.yaml"),
    ] {
        place.write(name, &std::fs::read_to_string(decide.join(from)).unwrap());
    }
    place.write("some.test.yaml", include_str!("scene.test.yaml"));
    let called = call_in(place.path(), &["test", "some.test.yaml"], "");
    assert_eq!((called.code, called.out.as_str()), (0, "some.test.yaml: 16 passed\n"));
}

const METERING: &str = "
metering: { postgres: 'postgres://u@127.0.0.1:1/none', journal: usage, zone: America/New_York }
";
const QUOTAS: &str = "
quotas:
  calls: { per: month, of: calls, by_plan: { free: 100, pro: 1000 } }
  work: { per: day, of: cost, amount: 50, when_away: refuse }
";

/// The world, with quotas on its tables.
pub(crate) fn under_quotas() -> TempDir {
    let place = TempDir::new();
    let read = |name: &str| std::fs::read_to_string(world().join(name)).unwrap();
    place.write("gateway.yaml", &(read("gateway.yaml") + METERING));
    place.write("directory.yaml", &read("directory.yaml"));
    let policy = read("policy.yaml");
    let policy =
        policy.replacen("limits: [per_user]", "limits: [per_user]\n    quotas: [calls, work]", 1);
    place.write("policy.yaml", &(policy + QUOTAS));
    place
}

#[test]
fn a_case_states_what_is_used_and_its_quotas_are_judged_by_that() {
    let place = under_quotas();
    let fine = "\
config: gateway.yaml
in: acme
cases:
  - name: nothing is said of quotas
    as: { role: viewer }
    request: GET /rest/v1/events
    expect: allow
  - name: the last call
    as: { role: viewer }
    request: GET /rest/v1/events
    used: { calls: 99 }
    expect: allow
  - name: one too many
    as: { role: viewer }
    request: GET /rest/v1/events
    used: { calls: 100 }
    expect: { refuse: quota_exceeded, status: 429, by: { quota: calls } }
  - name: a larger plan
    as: { role: viewer }
    in: globex
    request: GET /rest/v1/events
    used: { calls: 100, work: 49 }
    expect: { limits: [per_user] }
  - name: too much work
    as: { role: viewer }
    in: globex
    request: GET /rest/v1/events
    used: { work: 50 }
    expect: { refuse: quota_exceeded, by: { quota: work } }
  - name: what a right denies is denied whatever is left
    used: { calls: 100 }
    request: POST /rest/v1/events
    deny: [viewer]
";
    place.write("some.test.yaml", fine);
    let called = call_in(place.path(), &["test", "some.test.yaml"], "");
    assert_eq!(
        (called.code, called.out.as_str()),
        (0, "some.test.yaml: 6 passed\n"),
        "{}",
        called.err
    );
    let wrong = fine
        .replace("calls: 99 }", "calls: 100 }")
        .replace("by: { quota: work }", "by: { quota: calls }");
    place.write("some.test.yaml", &wrong);
    let called = call_in(place.path(), &["test", "some.test.yaml"], "");
    assert_eq!(called.code, 2);
    golden::compare("test-quotas-failing", &called.out);
    let unknown =
        fine.replace("calls: 99", "call: 99").replace("{ quota: calls }", "{ quota: clals }");
    place.write("some.test.yaml", &unknown);
    let called = call_in(place.path(), &["test", "some.test.yaml"], "");
    assert_eq!(called.code, 2);
    golden::compare("test-quotas-unknown", &called.out);
}
