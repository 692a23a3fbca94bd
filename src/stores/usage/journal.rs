//! The journal: what is counted and not in the ledger yet, in files that outlive the process.
//!
//! A file belongs to one incarnation of one process, which holds a lock on it for as long as it
//! lives; whoever gets the lock knows that the process is gone, and takes over what it had counted.
//! Each line holds all that a counter had counted at that time, so that a line which is lost,
//! repeated or read twice makes no difference once a later one is known. Blocking. Imports `domain`.

use std::collections::HashMap;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::usage::{Consumer, Used};

use super::table::Key;

/// How the files of all incarnations end.
const ENDING: &str = "usage.jsonl";
/// 2 knows teams, which a reader of 1 would have taken for one.
const VERSION: u8 = 2;
/// Lines that are written at once.
const BUFFER: usize = 256 * 1_024;

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    version: u8,
    incarnation: Uuid,
    node: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    day: std::borrow::Cow<'a, str>,
    organization: Uuid,
    #[serde(borrow)]
    kind: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    subject: std::borrow::Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    team: Option<std::borrow::Cow<'a, str>>,
    calls: u64,
    bytes_in: u64,
    bytes_out: u64,
    cost: u64,
}

/// The file of one incarnation of this process.
#[derive(Debug)]
pub(super) struct Journal {
    directory: PathBuf,
    pub(super) incarnation: Uuid,
    node: String,
    part: u64,
    file: File,
    path: PathBuf,
    bytes: u64,
    unsynced: bool,
}

impl Journal {
    /// Begins the file of an incarnation; makes the directory, for its owner only.
    pub(super) fn begin(directory: &Path, incarnation: Uuid, node: &str) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let (file, path, bytes) = begin(directory, incarnation, node, 0, &[])?;
        Ok(Self {
            directory: directory.to_owned(),
            incarnation,
            node: node.to_owned(),
            part: 0,
            file,
            path,
            bytes,
            unsynced: false,
        })
    }

    /// Appends rows.
    pub(super) fn append(&mut self, rows: &[(Key, Used)]) -> io::Result<()> {
        self.unsynced |= !rows.is_empty();
        self.bytes = self.bytes.saturating_add(write(&mut self.file, rows)?);
        Ok(())
    }

    /// Puts what was appended on the disk.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.unsynced {
            self.file.sync_data()?;
            self.unsynced = false;
        }
        Ok(())
    }

    /// Begins another file with all that is not in the ledger, in the place of this one.
    pub(super) fn restart(&mut self, rows: &[(Key, Used)]) -> io::Result<()> {
        let part = self.part + 1;
        let (directory, node) = (&self.directory, &self.node);
        let (file, path, bytes) = begin(directory, self.incarnation, node, part, rows)?;
        let before = std::mem::replace(&mut self.path, path);
        (self.file, self.bytes, self.part, self.unsynced) = (file, bytes, part, false);
        std::fs::remove_file(before)
    }

    /// Its size.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Removes it: everything in it is in the ledger.
    pub(super) fn remove(&self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }
}

/// A new file under its lock, with a first line that names its incarnation. Nobody sees it before.
fn begin(
    directory: &Path,
    incarnation: Uuid,
    node: &str,
    part: u64,
    rows: &[(Key, Used)],
) -> io::Result<(File, PathBuf, u64)> {
    let path = directory.join(format!("{incarnation}.{part}.{ENDING}"));
    let draft = directory.join(format!("{incarnation}.{part}.draft"));
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&draft)?;
    file.set_len(0)?;
    file.lock()?;
    let head = Head { version: VERSION, incarnation, node: node.to_owned() };
    let mut first = serde_json::to_vec(&head)?;
    first.push(b'\n');
    file.write_all(&first)?;
    let bytes = write(&mut file, rows)?;
    file.sync_data()?;
    std::fs::rename(&draft, &path)?;
    File::open(directory)?.sync_all()?;
    Ok((file, path, bytes))
}

fn write(file: &mut File, rows: &[(Key, Used)]) -> io::Result<u64> {
    let mut bytes = 0;
    let mut buffer = Vec::new();
    for (key, used) in rows {
        let line = Line {
            day: key.day.to_string().into(),
            organization: *key.organization.as_uuid(),
            kind: key.consumer.kind().into(),
            subject: key.consumer.subject().into(),
            team: key.team.as_ref().map(|team| team.as_str().into()),
            calls: used.calls,
            bytes_in: used.bytes_in,
            bytes_out: used.bytes_out,
            cost: used.cost,
        };
        serde_json::to_writer(&mut buffer, &line)?;
        buffer.push(b'\n');
        if buffer.len() >= BUFFER {
            file.write_all(&buffer)?;
            bytes += buffer.len();
            buffer.clear();
        }
    }
    file.write_all(&buffer)?;
    Ok(u64::try_from(bytes + buffer.len()).unwrap_or(u64::MAX))
}

/// The file of a process that is gone.
#[derive(Debug)]
pub(super) struct Orphan {
    pub(super) incarnation: Uuid,
    pub(super) node: String,
    pub(super) rows: HashMap<Key, Used>,
    /// Lines in its midst that say nothing.
    pub(super) damaged: u64,
    path: PathBuf,
    /// Under its lock, so that nobody else takes it over at the same time.
    _file: File,
}

impl Orphan {
    /// Removes it: everything in it is in the ledger.
    pub(super) fn remove(self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }
}

/// The files in a directory whose processes may be gone.
pub(super) fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().ends_with(ENDING) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Reads a file, if its process is gone.
pub(super) fn adopt(path: &Path) -> io::Result<Option<Orphan>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let mut lines = BufReader::new(&file).split(b'\n');
    let first = lines.next().transpose()?.unwrap_or_default();
    let head: Head = serde_json::from_slice(&first)?;
    if !(1..=VERSION).contains(&head.version) {
        let version = head.version;
        let other = format!("it is of version {version}, and versions up to {VERSION} are known");
        return Err(io::Error::new(io::ErrorKind::InvalidData, other));
    }
    let (mut rows, mut damaged, mut torn) = (HashMap::new(), 0, false);
    for line in lines {
        // The last line may have been cut off when its process ended; an earlier one never is.
        damaged += u64::from(torn);
        match row(&line?) {
            Some((key, used)) => {
                rows.entry(key).or_insert_with(Used::default).raise(used);
                torn = false;
            }
            None => torn = true,
        }
    }
    let path = path.to_owned();
    Ok(Some(Orphan {
        incarnation: head.incarnation,
        node: head.node,
        rows,
        damaged,
        path,
        _file: file,
    }))
}

fn row(line: &[u8]) -> Option<(Key, Used)> {
    let line: Line<'_> = serde_json::from_slice(line).ok()?;
    let key = Key {
        day: line.day.parse().ok()?,
        organization: crate::domain::ids::OrgId::new(line.organization),
        consumer: Consumer::parse(&line.kind, &line.subject)?,
        team: line.team.map(|team| team.parse()).transpose().ok()?,
    };
    let (calls, cost) = (line.calls, line.cost);
    Some((key, Used { calls, bytes_in: line.bytes_in, bytes_out: line.bytes_out, cost }))
}
