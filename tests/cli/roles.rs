//! `tollgate roles`.

use crate::golden;
use crate::tool::{call, call_in};

const POLICY: &str = include_str!("../decide/access.yaml");
const DIRECTORY: &str = include_str!("../decide/access-directory.yaml");
const GATEWAY: &str = include_str!("../decide/gateway.yaml");

fn roles(arguments: &[&str]) -> crate::tool::Called {
    let place = crate::support::place::TempDir::new();
    place.write("gateway.yaml", GATEWAY);
    place.write("policy.yaml", POLICY);
    place.write("directory.yaml", DIRECTORY);
    call_in(place.path(), &[&["roles"], arguments, &["-c", "gateway.yaml"]].concat(), "")
}

#[test]
fn the_matrix_is_printed_in_three_formats() {
    let table = roles(&["matrix"]);
    assert_eq!((table.code, table.err.as_str()), (0, ""));
    golden::compare("roles-matrix", &table.out);
    golden::compare("roles-matrix-csv", &roles(&["matrix", "--format", "csv"]).out);
    golden::compare("roles-matrix-json", &roles(&["matrix", "--format", "json"]).out);
}

#[test]
fn who_can_do_something_is_told_with_the_line_that_says_so() {
    golden::compare("roles-who-can", &roles(&["who-can", "deals:write"]).out);
    golden::compare("roles-who-can-json", &roles(&["who-can", "events:delete", "--json"]).out);
}

#[test]
fn a_permission_that_nobody_names_is_an_error_with_the_nearest() {
    let called = roles(&["who-can", "deals:wirte"]);
    assert_eq!((called.code, called.out.as_str()), (2, ""));
    assert!(called.err.contains("did you mean `deals:write`?"), "{}", called.err);
    assert_eq!(call(&["roles"]).code, 2);
}
