//! Where files come from: a disk, or memory (the embedded default, tests).
//!
//! Nothing else in this room opens a file. May import nothing of other rooms.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// No configuration file is larger; one that is was named by mistake.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// How test files are named, which stand beside the policies that they are about.
pub const TEST_SUFFIX: &str = ".test.yaml";

/// Something that has files.
pub trait Files {
    /// The whole text of a file.
    fn read(&self, path: &Path) -> io::Result<String>;
    /// The same, for a file of which nothing is kept: a secret, a set of keys.
    fn read_secret(&self, path: &Path) -> io::Result<String> {
        self.read(path)
    }
    /// The names of the files in a directory, sorted.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;
    /// The directory file that is read where a gateway file names this one.
    fn directory(&self, stated: &Path) -> PathBuf {
        stated.to_owned()
    }
}

/// The file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<String> {
        let meta = std::fs::metadata(path)?;
        // A pipe or a device has no end that could be waited for.
        if !meta.is_file() {
            return Err(io::Error::other("is not a regular file"));
        }
        if meta.len() > MAX_BYTES {
            return Err(io::Error::other("is larger than 4 MiB"));
        }
        std::fs::read_to_string(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }
}

/// Files in memory.
#[derive(Debug, Clone, Default)]
pub struct Memory(BTreeMap<PathBuf, String>);

impl Memory {
    /// No files yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file.
    #[must_use]
    pub fn with(mut self, path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        self.0.insert(path.into(), text.into());
        self
    }
}

impl Files for Memory {
    fn read(&self, path: &Path) -> io::Result<String> {
        self.0.get(path).cloned().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let inside = self.0.keys().filter(|path| path.parent() == Some(directory));
        let names: Vec<String> =
            inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect();
        match names.is_empty() {
            true => Err(io::Error::from(io::ErrorKind::NotFound)),
            false => Ok(names),
        }
    }
}

/// Files of a disk, each read once: what was read is what was used, whatever is written meanwhile.
#[derive(Debug, Default)]
pub struct Reading(Mutex<BTreeMap<PathBuf, String>>);

impl Reading {
    /// Nothing was read yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Everything that was read. Secret files are not among it.
    pub fn texts(&self) -> BTreeMap<PathBuf, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Files for Reading {
    fn read(&self, path: &Path) -> io::Result<String> {
        if let Some(text) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(path) {
            return Ok(text.clone());
        }
        let text = Disk.read(path)?;
        let mut read = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        read.insert(path.to_owned(), text.clone());
        Ok(text)
    }

    fn read_secret(&self, path: &Path) -> io::Result<String> {
        Disk.read_secret(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        Disk.list(directory)
    }
}

/// Files as they once were. Secrets are those of today: they were never kept.
#[derive(Debug)]
pub struct Past {
    texts: BTreeMap<PathBuf, String>,
    directory: Option<PathBuf>,
}

impl Past {
    /// These files, and no others.
    pub fn new(texts: BTreeMap<PathBuf, String>) -> Self {
        Self { texts, directory: None }
    }

    /// The same with this directory file, whichever the gateway file names: organizations and members
    /// are data, and those of today.
    #[must_use]
    pub fn with_directory(mut self, path: PathBuf, text: String) -> Self {
        self.texts.insert(path.clone(), text);
        self.directory = Some(path);
        self
    }
}

impl Files for Past {
    fn read(&self, path: &Path) -> io::Result<String> {
        self.texts.get(path).cloned().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    fn read_secret(&self, path: &Path) -> io::Result<String> {
        Disk.read_secret(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let inside = self.texts.keys().filter(|path| path.parent() == Some(directory));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn directory(&self, stated: &Path) -> PathBuf {
        self.directory.clone().unwrap_or_else(|| stated.to_owned())
    }
}

/// `path` as seen from the directory of a file, without `.` and `..` where they can be resolved by
/// the text alone.
pub(super) fn beside(directory: &Path, path: &str) -> PathBuf {
    let mut out = PathBuf::new();
    for part in directory.join(path).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir
                if matches!(out.components().next_back(), Some(Component::Normal(_))) =>
            {
                out.pop();
            }
            Component::ParentDir
            | Component::Normal(_)
            | Component::RootDir
            | Component::Prefix(_) => {
                out.push(part);
            }
        }
    }
    out
}

/// The files that a pattern names: `*` stands for any text inside the last part of the path.
/// Sorted by name; hidden files only where the pattern begins with a dot, test files never.
pub(super) fn matching(files: &dyn Files, pattern: &Path) -> io::Result<Vec<PathBuf>> {
    fitting(files, pattern, |name| !name.ends_with(TEST_SUFFIX))
}

/// The test files that a pattern names, likewise.
pub(super) fn matching_tests(files: &dyn Files, pattern: &Path) -> io::Result<Vec<PathBuf>> {
    fitting(files, pattern, |name| name.ends_with(TEST_SUFFIX))
}

fn fitting(
    files: &dyn Files,
    pattern: &Path,
    wanted: impl Fn(&str) -> bool,
) -> io::Result<Vec<PathBuf>> {
    if !is_pattern(pattern) {
        return Ok(vec![pattern.to_owned()]);
    }
    let last = pattern.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let directory = pattern.parent().unwrap_or(Path::new(""));
    let names = files.list(directory)?;
    Ok(names
        .iter()
        .filter(|name| wanted(name))
        .filter(|name| name.starts_with('.') == last.starts_with('.') && fits(last, name))
        .map(|name| directory.join(name))
        .collect())
}

/// Whether a path can name several files.
pub(super) fn is_pattern(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.contains('*'))
}

fn fits(pattern: &str, name: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == name };
    let Some(rest) = name.strip_prefix(head) else { return false };
    rest.char_indices()
        .map(|(at, _)| at)
        .chain([rest.len()])
        .any(|at| rest.get(at..).is_some_and(|rest| fits(tail, rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_seen_from_the_file_that_states_them() {
        let cases = [
            ("config", "../policies/*.yaml", "policies/*.yaml"),
            ("", "../a.yaml", "../a.yaml"),
            ("/etc/tollgate", "./keys.json", "/etc/tollgate/keys.json"),
            ("config", "/run/secrets/x", "/run/secrets/x"),
        ];
        for (directory, path, expected) in cases {
            assert_eq!(beside(Path::new(directory), path), Path::new(expected));
        }
    }

    #[test]
    fn a_star_stands_for_any_text_in_the_last_part() {
        let files = Memory::new()
            .with("p/base.yaml", "")
            .with("p/extra.yaml", "")
            .with("p/notes.md", "")
            .with("p/extra.test.yaml", "")
            .with("p/.hidden.yaml", "")
            .with("q/other.yaml", "");
        let found = matching(&files, Path::new("p/*.yaml")).unwrap();
        assert_eq!(found, [Path::new("p/base.yaml"), Path::new("p/extra.yaml")]);
        let found = matching(&files, Path::new("p/*x*.yaml")).unwrap();
        assert_eq!(found, [Path::new("p/extra.yaml")]);
    }
}
