//! `tollgate init` and `tollgate sample`, beyond what the tutorial shows of them.

use std::fs;

use crate::support::place::{Port, TempDir};
use crate::tool::call_in;

#[test]
fn what_is_there_is_never_written_over() {
    let place = TempDir::new();
    place.write("mine/policies/base.yaml", "mine");
    let told = call_in(place.path(), &["init", "mine"], "");
    assert_eq!((told.code, told.out.as_str()), (2, ""));
    let said = "error: `mine/policies/base.yaml` is there already: nothing was written\n";
    assert_eq!(told.err, said);
    assert!(!place.path().join("mine/config").exists());
    assert_eq!(fs::read(place.path().join("mine/policies/base.yaml")).unwrap(), b"mine");
}

#[test]
fn what_begins_is_formatted_and_passes_its_tests() {
    let place = TempDir::new();
    let init = call_in(place.path(), &["init", "."], "");
    assert_eq!((init.code, init.err.as_str()), (0, ""));
    assert!(init.out.starts_with("./config/gateway.yaml"), "{}", init.out);
    for command in [&["check"][..], &["test"], &["fmt", "--check", "config", "policies"]] {
        let told = call_in(place.path(), command, "");
        assert_eq!((told.code, told.err.as_str()), (0, ""), "{command:?}: {}", told.out);
    }
}

#[test]
fn made_up_rows_need_a_directory_file_and_a_free_address() {
    let place = TempDir::new();
    call_in(place.path(), &["init", "."], "");
    let port = Port::reserve();
    let _taken = std::net::TcpListener::bind(port.addr()).unwrap();
    let told = call_in(place.path(), &["sample", "--listen", &port.addr().to_string()], "");
    let said = format!("error: cannot listen on {}", port.addr());
    assert!(told.code == 1 && told.err.starts_with(&said), "{}", told.err);
    let gateway = fs::read_to_string(place.path().join("config/gateway.yaml")).unwrap();
    let database = "directory:\n  postgres: { url: postgres://nowhere/none }\n";
    place.write(
        "config/gateway.yaml",
        &gateway.replace("directory:\n  file: directory.yaml\n", database),
    );
    let told = call_in(place.path(), &["sample"], "");
    assert!(told.code == 2 && told.err.contains("this directory is a database"), "{}", told.err);
}
