//! The file of the audit log: appends whole lines, notices when it was moved away, and begins a
//! line afresh after anything that may have torn one. Blocking; used by the writer's thread only.
//! Imports nothing of this crate.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

/// An open log file.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Device and inode: what a rotation changes.
    identity: (u64, u64),
}

impl LogFile {
    /// Opens the file for appending; creates it, for its owner only, if it is not there.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let mut log = Self { path, open: None };
        log.ready()?;
        Ok(log)
    }

    /// Appends lines. After an error nobody knows what of them is in the file: the next attempt
    /// begins on a line of its own, so that a torn line damages no other. What was torn is then
    /// in the file twice, once in part; the ids tell.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let outcome = self.ready().and_then(|file| file.write_all(lines));
        if outcome.is_err() {
            self.open = None;
        }
        outcome
    }

    /// Puts what was appended on the disk.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        match &self.open {
            Some(open) => open.file.sync_data(),
            None => Ok(()),
        }
    }

    /// The open file, opened again if the path leads elsewhere by now.
    fn ready(&mut self) -> io::Result<&mut File> {
        let current = std::fs::metadata(&self.path).ok().map(|metadata| identity(&metadata));
        let open = match self.open.take() {
            Some(open) if current == Some(open.identity) => open,
            Some(moved) => {
                // What is in the old file is to survive a power cut, too.
                moved.file.sync_data()?;
                self.reopen()?
            }
            None => self.reopen()?,
        };
        Ok(&mut self.open.insert(open).file)
    }

    fn reopen(&self) -> io::Result<Open> {
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&self.path)?;
        let metadata = file.metadata()?;
        if metadata.len() > 0 && metadata.is_file() {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
            }
        }
        Ok(Open { identity: identity(&metadata), file })
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}
