//! `tollgate check`.

use crate::golden;
use crate::tool::{call, call_in};

#[test]
fn a_good_configuration_is_summed_up() {
    let called = call(&["check", "--config", "gateway.yaml"]);
    assert_eq!((called.code, called.err.as_str()), (0, ""));
    golden::compare("check-good", &called.out);
}

#[test]
fn everything_that_is_wrong_with_all_files_is_shown_at_once() {
    let called = call(&["check", "-c", "bad.yaml", "-c", "gateway.yaml", "-c", "nowhere.yaml"]);
    assert_eq!(called.code, 2);
    golden::compare("check-bad", &called.out);
}

#[test]
fn machines_get_one_object_with_the_same_problems() {
    let called = call(&["check", "--json", "-c", "bad.yaml", "-c", "gateway.yaml"]);
    assert_eq!(called.code, 2);
    let report = called.json();
    assert_eq!(report["ok"], false);
    assert_eq!(report["configs"][0]["ok"], false);
    assert_eq!(report["configs"][1]["ok"], true);
    assert_eq!(report["configs"][1]["files"].as_array().unwrap().len(), 3);
    let problems = report["problems"].as_array().unwrap();
    let misspelt = problems
        .iter()
        .find(|problem| problem["message"].as_str().unwrap().contains("`addresse`"))
        .unwrap_or_else(|| panic!("{report}"));
    assert_eq!(misspelt["severity"], "error");
    assert_eq!(misspelt["at"]["file"], "bad.yaml");
    assert!(misspelt["at"]["line"].as_u64().unwrap() > 1);
}

#[test]
fn a_secret_in_a_line_that_is_shown_is_masked() {
    let directory = crate::support::place::TempDir::new();
    directory.write(
        "gateway.yaml",
        "identity:\n  issuers:\n    - { name: a, keys: [{ hs256: short-secret }] }\n",
    );
    let called = call_in(directory.path(), &["check", "-c", "gateway.yaml"], "");
    assert_eq!(called.code, 2);
    assert!(!called.out.contains("short-secret"), "{}", called.out);
}

#[test]
fn the_shipped_configuration_is_the_default_and_good() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let called = call_in(root, &["check"], "");
    assert_eq!(called.code, 0, "{}", called.out);
    assert!(called.out.starts_with("config/gateway.yaml: ok"), "{}", called.out);
}
