//! The packs under `policies/`: each is checked and tested by the program, its tests leave no role,
//! no permission and no gate out, and its page shows the matrix that it has.
//!
//! `UPDATE_GOLDEN=1 cargo nextest run --test cli` writes the matrices of the pages anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::tool::{Called, call_in};

const NAMES: [&str; 4] = ["marketing-suite", "membership-club", "sales-crm", "venture-platform"];
/// Refusals of gates.
const GATED: [&str; 6] = [
    "feature_disabled",
    "plan_required",
    "mfa_required",
    "mfa_expired",
    "outside_hours",
    "stage_not_reached",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn run(arguments: &[&str]) -> Called {
    let called = call_in(&root(), arguments, "");
    assert_eq!((called.code, called.err.as_str()), (0, ""), "{}", called.out);
    called
}

fn gateway(pack: &str) -> String {
    format!("policies/{pack}/gateway.yaml")
}

/// Its roles with their levels and permissions, from the highest rank down.
fn roles(pack: &str) -> Vec<(String, u64, BTreeSet<String>)> {
    let matrix = run(&["roles", "matrix", "--format", "json", "-c", &gateway(pack)]).json();
    let role = |role: &Value| {
        let permissions = role["permissions"].as_array().unwrap().iter();
        let permissions = permissions.map(|p| p.as_str().unwrap().to_owned()).collect();
        (role["role"].as_str().unwrap().to_owned(), role["level"].as_u64().unwrap(), permissions)
    };
    matrix.as_array().unwrap().iter().map(role).collect()
}

fn permissions(pack: &str) -> BTreeSet<String> {
    roles(pack).into_iter().flat_map(|(_, _, permissions)| permissions).collect()
}

/// The cases of its test files.
fn cases(pack: &str) -> Vec<Value> {
    let report = run(&["test", &format!("policies/{pack}"), "--json"]).json();
    let files = report["files"].as_array().unwrap();
    files.iter().flat_map(|file| file["cases"].as_array().unwrap().clone()).collect()
}

#[test]
fn every_pack_is_checked_without_a_warning() {
    let found: BTreeSet<String> = fs::read_dir(root().join("policies"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    assert_eq!(found, NAMES.map(str::to_owned).into());
    for pack in NAMES {
        let said = run(&["check", "--config", &gateway(pack)]).out;
        assert!(said.lines().count() == 1 && said.contains(": ok, "), "{said}");
    }
}

/// Allowed is whom the permission lets through, even where a condition or the catalogue then refuses.
#[test]
fn its_tests_try_every_role_and_every_permission_both_ways() {
    for pack in NAMES {
        let mut tried: BTreeMap<String, [bool; 2]> = BTreeMap::new();
        for case in cases(pack) {
            let denied = case["verdict"] == "permission_denied";
            let Some(permission) = case["permission"].as_str() else { continue };
            // Machines have no role.
            let role = case["role"].as_str().map(|role| format!("role {role}"));
            for what in role.into_iter().chain([permission.to_owned()]) {
                tried.entry(what).or_default()[usize::from(denied)] = true;
            }
        }
        let roles = roles(pack).into_iter().map(|(name, _, _)| format!("role {name}"));
        // Who has no right at all is let through to nothing.
        let roles = roles.filter(|role| role != "role staff");
        for what in roles.chain(permissions(pack)) {
            let tried = tried.get(&what).copied().unwrap_or_default();
            assert_eq!(tried, [true; 2], "{pack}: {what} is not tried [allowed, denied]");
        }
    }
}

#[test]
fn its_tests_try_every_gate() {
    for pack in NAMES {
        let matrix = run(&["roles", "matrix", "-c", &gateway(pack)]).out;
        let gates = matrix.lines().filter(|line| line.starts_with("gate ")).count();
        let cases = cases(pack);
        let gated = cases.iter().filter(|case| GATED.iter().any(|code| case["verdict"] == *code));
        let lines: BTreeSet<&str> = gated.filter_map(|case| case["decided_by"].as_str()).collect();
        assert!(gates > 0 && lines.len() >= gates, "{pack}: {gates} gates, refused by {lines:?}");
    }
}

#[test]
fn the_venture_platform_has_27_roles_63_permissions_and_11_stages() {
    let pack = "venture-platform";
    let roles = roles(pack);
    assert_eq!(roles.len(), 27);
    assert_eq!(permissions(pack).len(), 63);
    let levels: Vec<u64> = roles.iter().map(|(_, level, _)| *level).collect();
    assert_eq!((levels.first(), levels.last()), (Some(&100), Some(&5)));
    let stages = fs::read_to_string(root().join("policies/venture-platform/policy-stages.yaml"));
    let stages = stages.unwrap();
    let listed = stages.lines().skip_while(|line| *line != "stages:").skip(1);
    assert_eq!(listed.take_while(|line| line.starts_with("  - ")).count(), 11);
}

/// Rows are roles, columns resources, cells what a role may do.
fn table(pack: &str) -> String {
    let split = |permission: &String| {
        let (resource, action) = permission.split_once(':').unwrap();
        (resource.to_owned(), action.to_owned())
    };
    let resources: BTreeSet<String> = permissions(pack).iter().map(|p| split(p).0).collect();
    let mut out = String::from("| role | level |");
    for resource in &resources {
        out += &format!(" {resource} |");
    }
    out += &format!("\n|---|---|{}\n", "---|".repeat(resources.len()));
    for (role, level, permissions) in roles(pack) {
        out += &format!("| {role} | {level} |");
        for resource in &resources {
            let mut letters = String::new();
            let mut words = Vec::new();
            for (letter, action) in [('r', "read"), ('w', "write"), ('d', "delete"), ('a', "admin")]
            {
                if permissions.contains(&format!("{resource}:{action}")) {
                    letters.push(letter);
                }
            }
            let usual = ["read", "write", "delete", "admin"];
            for (of, action) in permissions.iter().map(split) {
                if of == *resource && !usual.contains(&action.as_str()) {
                    words.push(action);
                }
            }
            let letters = Some(letters).filter(|letters| !letters.is_empty());
            let cell: Vec<String> = letters.into_iter().chain(words).collect();
            out += &format!(" {} |", if cell.is_empty() { "–".into() } else { cell.join(" ") });
        }
        out.push('\n');
    }
    out
}

#[test]
fn its_page_shows_the_matrix_that_it_has() {
    for pack in NAMES {
        let page = root().join(format!("docs/packs/{pack}.md"));
        let stated = fs::read_to_string(&page).unwrap();
        let (head, rest) = stated.split_once("<!-- matrix -->\n").unwrap();
        let (_, tail) = rest.split_once("<!-- /matrix -->").unwrap();
        let due = format!("{head}<!-- matrix -->\n\n{}\n<!-- /matrix -->{tail}", table(pack));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&page, &due).unwrap();
        }
        assert!(
            fs::read_to_string(&page).unwrap() == due,
            "{} is out of date: run with UPDATE_GOLDEN=1",
            page.display()
        );
    }
}
