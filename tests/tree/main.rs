//! The import law, read from the source tree: which room may name which, who may name the big
//! crates, and what the pure core may never do.
//!
//! Links nothing of the gateway: it reads `src/` as text, so that it also judges code that a
//! feature flag or a target would leave out of the build.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test binary")]

mod law;
mod lexer;
mod links;
mod paths;

use std::path::{Path, PathBuf};

#[test]
fn every_file_keeps_the_import_law() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = rust_files(&root);
    assert!(files.len() > 3, "only {} files found under `{}`", files.len(), root.display());
    let breaches: Vec<String> = files
        .iter()
        .flat_map(|file| {
            let source = std::fs::read_to_string(file).expect("a readable source file");
            let relative = file.strip_prefix(&root).expect("a file under src/");
            law::breaches(&relative.to_string_lossy(), &source)
        })
        .collect();
    assert!(breaches.is_empty(), "the import law is broken:\n{}", breaches.join("\n"));
}

#[test]
fn every_directory_under_src_is_a_room_of_the_law() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in std::fs::read_dir(root).expect("src/") {
        let entry = entry.expect("an entry of src/");
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() {
            assert!(law::is_room(&name), "`src/{name}` is not a room: add it to tests/tree/law.rs");
        }
    }
}

// The machine that made the lockfile must not decide where others fetch from. (Where crates come
// from is cargo-deny's to judge: deny.toml.)
#[test]
fn the_npm_lockfile_pins_contents_and_names_no_host() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/package-lock.json");
    let lockfile = std::fs::read_to_string(path).expect("the npm lockfile");
    assert!(lockfile.contains("\"integrity\"") && !lockfile.contains("\"resolved\""));
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut documents = Vec::new();
    for directory in ["", "docs", "docs/packs", "bench", "deploy", "lua-free-rules"] {
        for entry in std::fs::read_dir(root.join(directory)).expect("a directory of documents") {
            let path = entry.expect("a directory entry").path();
            documents.extend(path.extension().is_some_and(|ending| ending == "md").then_some(path));
        }
    }
    assert!(documents.len() > 8, "{documents:?}");
    let broken: Vec<String> = documents
        .iter()
        .flat_map(|file| {
            links::broken(file).into_iter().map(|link| format!("{}: {link}", file.display()))
        })
        .collect();
    assert!(broken.is_empty(), "these lead nowhere:\n{}", broken.join("\n"));
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a readable directory") {
        let path = entry.expect("a directory entry").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}
