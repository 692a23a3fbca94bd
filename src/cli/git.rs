//! Files of a revision, as git has them: nothing is checked out and nothing is written.
//!
//! The program `git` is asked for one file or one directory at a time. Secrets, and what lies outside of
//! the repository, are those of today.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::config::{Disk, Files};

use super::Failure;

/// No file and no list that is asked for is larger.
const MOST: u64 = 4 * 1024 * 1024;

/// One revision of the repository that this process stands in.
#[derive(Debug)]
pub(super) struct Revision {
    /// As files of it are called, with a colon at its end: `HEAD~1:`.
    name: PathBuf,
    commit: String,
    top: PathBuf,
}

impl Revision {
    /// What `REVISION:PATH` names, and the file as it is called from then on: that path, or the
    /// `gateway.yaml` of that directory. As in git, the path is seen from the top of the repository, and
    /// from here where it begins with `./`.
    pub(super) fn open(revision: &str, path: &str) -> Result<(Self, PathBuf), Failure> {
        let asked = format!("{revision}^{{commit}}");
        let verify = ["rev-parse", "--verify", "--quiet", "--end-of-options", &asked];
        let top = line(&["rev-parse", "--show-toplevel"]).map_err(usage)?;
        let commit = line(&verify).map_err(|error| match error.kind() {
            io::ErrorKind::Other => Failure::usage(format!("there is no revision `{revision}`")),
            _ => usage(error),
        })?;
        let path = match path.strip_prefix("./") {
            Some(here) => line(&["rev-parse", "--show-prefix"]).map_err(usage)? + here,
            None => path.to_owned(),
        };
        let object = format!("{commit}:{}", path.trim_end_matches('/'));
        let kind = line(&["cat-file", "-t", &object]).map_err(|error| match error.kind() {
            io::ErrorKind::Other => Failure::usage(format!("`{revision}` has no `{path}`")),
            _ => usage(error),
        })?;
        let name = PathBuf::from(format!("{revision}:"));
        let mut file = name.join(path.trim_start_matches('/'));
        if kind == "tree" {
            file.push("gateway.yaml");
        }
        Ok((Self { name, commit, top: PathBuf::from(top) }, file))
    }

    /// How git calls a file or directory of this revision.
    fn object(&self, path: &Path) -> Option<String> {
        let inside = path.strip_prefix(&self.name).ok()?;
        Some(format!("{}:{}", self.commit, inside.to_str()?))
    }
}

impl Files for Revision {
    fn read(&self, path: &Path) -> io::Result<String> {
        match self.object(path) {
            Some(object) => {
                let text = asked(&["cat-file", "blob", &object]).map_err(absent)?;
                String::from_utf8(text).map_err(|_| io::Error::other("is not UTF-8"))
            }
            None if path.is_absolute() => Disk.read(path),
            None => Err(io::Error::other("is outside of the repository")),
        }
    }

    fn read_secret(&self, path: &Path) -> io::Result<String> {
        self.read(path).or_else(|error| match path.strip_prefix(&self.name) {
            // Secrets are seldom in a repository.
            Ok(inside) => Disk.read_secret(&self.top.join(inside)),
            Err(_) => Err(error),
        })
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let Some(object) = self.object(directory) else { return Disk.list(directory) };
        let names =
            asked(&["ls-tree", "--full-tree", "--name-only", "-z", &object]).map_err(absent)?;
        let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        let mut names: Vec<String> =
            names.filter_map(|name| String::from_utf8(name.to_vec()).ok()).collect();
        names.sort();
        Ok(names)
    }
}

fn usage(error: io::Error) -> Failure {
    Failure::usage(error.to_string())
}

/// What git says of an object that is not there is about hashes.
fn absent(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::Other => io::ErrorKind::NotFound.into(),
        _ => error,
    }
}

/// The one line that git says.
fn line(arguments: &[&str]) -> io::Result<String> {
    let said = asked(arguments)?;
    Ok(String::from_utf8_lossy(&said).trim_end_matches('\n').to_owned())
}

/// What git says. `Other` is git's own complaint.
fn asked(arguments: &[&str]) -> io::Result<Vec<u8>> {
    let mut child = Command::new("git")
        .args(arguments)
        // Of a partial clone, what is missing is missing: nothing is fetched, nobody is asked.
        .envs([("GIT_NO_LAZY_FETCH", "1"), ("GIT_TERMINAL_PROMPT", "0"), ("LC_ALL", "C")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("cannot run `git`: {error}")))?;
    let mut said = Vec::new();
    if let Some(out) = child.stdout.take() {
        out.take(MOST + 1).read_to_end(&mut said)?;
    }
    if said.len() as u64 > MOST {
        // It may wait for somebody to read the rest.
        let _ = child.kill();
        let _ = child.wait();
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "is larger than 4 MiB"));
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(said);
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let complaint = complaint.lines().next().unwrap_or("it failed").trim_start_matches("fatal: ");
    Err(io::Error::other(format!("git: {complaint}")))
}
