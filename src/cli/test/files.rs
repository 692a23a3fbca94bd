//! Which files are test files.

use std::path::{Path, PathBuf};

use crate::config::TEST_SUFFIX;

use super::super::Failure;

/// No tree of policies is deeper; a link that leads back into it ends here.
const MAX_DEPTH: usize = 8;

/// The files that are given, and those in directories that are given, each directory's by name.
pub(super) fn found(given: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut out = Vec::new();
    for path in given {
        if !path.is_dir() {
            out.push(path.clone());
            continue;
        }
        let before = out.len();
        below(path, MAX_DEPTH, &mut out)?;
        // As a person would write them: without the `./` of what stands here.
        for file in out.iter_mut().skip(before) {
            *file = file.strip_prefix(".").unwrap_or(file).to_owned();
        }
        if out.len() == before {
            let path = path.display();
            return Err(Failure::usage(format!("no `*{TEST_SUFFIX}` is in or below `{path}`")));
        }
    }
    Ok(out)
}

fn below(directory: &Path, depth: usize, out: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let cannot = |error| Failure::usage(format!("cannot list `{}`: {error}", directory.display()));
    let entries = std::fs::read_dir(directory).map_err(cannot)?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(cannot)?.path());
    }
    paths.sort();
    for path in paths {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        if path.is_dir() {
            if depth > 0 && !name.starts_with('.') {
                below(&path, depth - 1, out)?;
            }
        } else if name.ends_with(TEST_SUFFIX) {
            out.push(path);
        }
    }
    Ok(())
}
