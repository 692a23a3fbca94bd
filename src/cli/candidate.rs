//! A configuration that could come into force: read once, tested by what was read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::problem::Problems;
use crate::config::{self, Files, Loaded, Reading};
use crate::domain::clock::Clock;

use super::environment;
use super::test;

/// A configuration without errors, and the text of every file that it was made of.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) loaded: Loaded,
    /// Without secrets.
    pub(super) texts: BTreeMap<PathBuf, String>,
    /// How many cases of its tests passed.
    pub(super) passed: usize,
}

/// Why it cannot come into force.
#[derive(Debug)]
pub(super) enum Unfit {
    /// It has errors.
    Errors(Problems),
    /// Its tests do not pass; and the files that it was made of.
    Tests { report: String, version: Arc<str>, files: Vec<PathBuf> },
}

/// Reads a configuration.
///
/// # Errors
/// Its errors.
pub(super) fn read(path: &Path) -> Result<(Loaded, Reading), Problems> {
    let files = Reading::new();
    let loaded = config::load_from(&files, path, &environment)?;
    Ok((loaded, files))
}

/// Reads a configuration and runs its tests: they can be others than when it came into force.
///
/// # Errors
/// What is wrong with it.
pub(super) fn candidate(path: &Path, clock: &dyn Clock) -> Result<Candidate, Unfit> {
    let (loaded, files) = read(path).map_err(Unfit::Errors)?;
    let passed = tested(&loaded, &files, path, clock)?;
    Ok(Candidate { loaded, texts: files.texts(), passed })
}

/// Runs the tests of a configuration that was read.
///
/// # Errors
/// If they do not pass.
pub(super) fn tested(
    loaded: &Loaded,
    files: &dyn Files,
    path: &Path,
    clock: &dyn Clock,
) -> Result<usize, Unfit> {
    test::gate::passed(loaded, files, path, clock, &environment).map_err(|report| Unfit::Tests {
        report,
        version: Arc::clone(&loaded.snapshot.version.0),
        files: loaded.files.clone(),
    })
}
