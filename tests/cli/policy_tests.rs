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
