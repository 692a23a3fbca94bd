//! Bad input and the full message that it gets, side by side.
//!
//! Each directory under `bad/` is laid over the files of `good/`; `expected.txt` in it is what the
//! operator reads. `UPDATE_GOLDEN=1 cargo nextest run --test rules` writes what is said today:
//! review it as you would review code.

use std::fs;
use std::path::{Path, PathBuf};

use tollgate::config::{self, Memory, suite};

/// The test file of a case that is about one.
const SUITE: &str = "some.test.yaml";

pub(crate) fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules").join(path)
}

pub(crate) fn environment(name: &str) -> Option<String> {
    let value = match name {
        "JWT_SECRET" => "an-interpolated-secret-of-thirty-two-bytes",
        "SHORT_SECRET" => "interpolated-short",
        "EMPTY" => "",
        _ => return None,
    };
    Some(value.to_owned())
}

/// A file that is good.
pub(crate) fn good(name: &str) -> String {
    fs::read_to_string(here("good").join(name)).unwrap()
}

/// The files of some directories, each laid over those before.
pub(crate) fn laid(directories: &[&Path]) -> Memory {
    let mut files = Memory::new();
    for directory in directories {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_owned();
            if name != "expected.txt" {
                files = files.with(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    files
}

fn cases() -> Vec<PathBuf> {
    let mut cases: Vec<PathBuf> =
        fs::read_dir(here("bad")).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

fn message(case: &Path) -> String {
    let files = laid(&[&here("good"), case]);
    if case.join(SUITE).exists() {
        let suite = suite::load_from(&files, Path::new(SUITE), &environment);
        return format!("{}\n", suite.map(|_| ()).expect_err("the test file is good"));
    }
    match config::load_from(&files, Path::new("gateway.yaml"), &environment) {
        Err(problems) => format!("{problems}\n"),
        Ok(loaded) => {
            // A case may be about a warning.
            let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
            assert!(!warnings.is_empty(), "{} is good", case.display());
            warnings.join("\n")
        }
    }
}

#[test]
fn the_files_that_the_bad_ones_are_laid_over_are_good() {
    let files = laid(&[&here("good")]);
    match config::load_from(&files, Path::new("gateway.yaml"), &environment) {
        Ok(loaded) => assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings),
        Err(problems) => panic!("{problems}"),
    }
}

#[test]
fn every_bad_input_gets_its_message_in_full() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    let cases = cases();
    for case in &cases {
        let said = message(case);
        let expected = case.join("expected.txt");
        if update {
            fs::write(&expected, &said).unwrap();
        }
        let expected = fs::read_to_string(&expected).unwrap_or_default();
        if said != expected {
            let name = case.file_name().unwrap().display();
            wrong.push(format!("{name}: expected\n{expected}\nbut it says\n{said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases.len() >= 25, "{} cases", cases.len());
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let problems = config::load_from(&Memory::new(), Path::new("x/gateway.yaml"), &environment);
    let said = problems.unwrap_err().to_string();
    assert_eq!(
        said,
        "error: cannot read `x/gateway.yaml`: entity not found\n --> x/gateway.yaml\n\n1 error"
    );
}

#[test]
fn no_message_shows_a_secret() {
    for case in cases() {
        let said = message(&case);
        for secret in ["interpolated-s", "literal-secret"] {
            assert!(!said.contains(secret), "{}: {said}", case.display());
        }
    }
}
