//! `tollgate fmt`.

use std::fs;
use std::path::{Path, PathBuf};

use tollgate::config::format::formatted;

use crate::golden;
use crate::support::place::TempDir;
use crate::tool::call_in;

const UNTIDY: &str = "\
# A policy.
roles:
    viewer:
        permissions: [\"*:read\",events:write ]   #all of them
    # who writes
    member: {inherits: [viewer],   level: 10}


limits:
    per_user:   { scope: user,rate: 10/s }
";

#[test]
fn a_check_shows_what_would_change_and_writes_nothing() {
    let place = TempDir::new();
    let file = place.write("policies/a.yaml", UNTIDY);
    place.write("policies/b.yml", "a: [\n");
    place.write("policies/notes.md", "a:   1\n");
    let called = call_in(place.path(), &["fmt", "--check", "policies"], "");
    assert_eq!(called.code, 2);
    golden::compare("fmt-check", &called.out);
    assert_eq!(fs::read_to_string(file).unwrap(), UNTIDY);
}

#[test]
fn a_file_is_formatted_once_and_a_second_time_changes_nothing() {
    let place = TempDir::new();
    let file = place.write("a.yaml", UNTIDY);
    let called = call_in(place.path(), &["fmt", "a.yaml"], "");
    assert_eq!((called.code, called.out.as_str()), (0, "a.yaml: formatted\n"));
    golden::compare("fmt-formatted", &fs::read_to_string(&file).unwrap());
    let again = call_in(place.path(), &["fmt", "--check", "a.yaml"], "");
    assert_eq!((again.code, again.out.as_str()), (0, ""));
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    let piped = call_in(place.path(), &["fmt", "-"], UNTIDY);
    assert_eq!((piped.code, piped.out), (0, fs::read_to_string(&file).unwrap()));
}

fn yaml_below(directory: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && !["target", "node_modules"].contains(&name.as_str()) {
                yaml_below(&path, out);
            }
        } else if name.ends_with(".yaml") || name.ends_with(".yml") {
            out.push(path);
        }
    }
}

/// Values and comments alike: all that is no white space, in its order.
fn bare(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

#[test]
fn all_yaml_of_this_repository_means_the_same_when_it_is_formatted() {
    let mut files = Vec::new();
    yaml_below(Path::new(env!("CARGO_MANIFEST_DIR")), &mut files);
    let mut seen = 0;
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        // Some are wrong on purpose, and are refused.
        let Ok(once) = formatted(&text) else { continue };
        seen += 1;
        assert_eq!(formatted(&once).as_ref(), Ok(&once), "{}", file.display());
        assert_eq!(bare(&once), bare(&text), "{}", file.display());
    }
    assert!(seen > 100, "{seen}");
}
