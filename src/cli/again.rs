//! `--watch`: does something again whenever a file that it was made of changes.
//!
//! What is printed is printed after the files are watched, so that whoever reads it can write at once.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Notify;

use super::reload::settled;
use super::watch::Watch;
use super::{Done, Failure, print};

/// Clears a terminal, and what is above it.
const CLEAR: &str = "\u{1b}[2J\u{1b}[3J\u{1b}[H";

/// What came of one time.
pub(super) struct Round {
    /// For standard output.
    pub(super) text: String,
    /// For standard error; empty where there is nothing to say.
    pub(super) complaint: String,
    pub(super) done: Done,
    /// What a change of is reason to do it again: files, and directories in which some may be added.
    pub(super) involved: Vec<PathBuf>,
}

impl Round {
    /// Prints it.
    pub(super) fn tell(&self) -> Result<Done, Failure> {
        print(&self.text)?;
        if !self.complaint.is_empty() {
            io::stderr().write_all(format!("{}\n", self.complaint.trim_end()).as_bytes())?;
        }
        Ok(self.done)
    }
}

/// Does it once, and again with every change, until a signal ends the process.
pub(super) fn again_and_again(mut work: impl FnMut() -> Round) -> Result<Done, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let changed = Arc::new(Notify::new());
    let mut watch = Watch::new(Arc::clone(&changed)).map_err(|error| {
        Failure::Failed(anyhow::Error::new(error).context("cannot watch files"))
    })?;
    let clear = if io::stdout().is_terminal() { CLEAR } else { "" };
    // What was part of it once may be again: a configuration with errors does not say all of its files.
    let mut involved = BTreeSet::new();
    loop {
        let round = work();
        involved.extend(round.involved.iter().cloned());
        let files: Vec<PathBuf> = involved.iter().cloned().collect();
        let unwatched = watch.follow(&files).err();
        print(clear)?;
        round.tell()?;
        let warning = unwatched.map(|error| format!("some files cannot be watched: {error}\n"));
        print(&format!("{}watching for changes\n", warning.unwrap_or_default()))?;
        runtime.block_on(async {
            changed.notified().await;
            settled(&changed).await;
        });
    }
}

/// A file, and the directory in which others may be added beside it.
pub(super) fn and_beside(file: &Path) -> [PathBuf; 2] {
    let directory = file.parent().filter(|directory| !directory.as_os_str().is_empty());
    [file.to_owned(), directory.unwrap_or(Path::new(".")).to_owned()]
}
