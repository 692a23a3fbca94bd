//! Versions of the configuration that came into force: the text of their files, in memory or in a
//! directory. Secrets are not among it: `${…}` stands as it was written, and secret files are not kept.
//!
//! Bounded in number and bytes. Imports `config` for its settings only.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::settings::SnapshotSettings;

/// What the file of a version ends with.
const SUFFIX: &str = ".snapshot.json";

/// One version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The hash over its files, as records and metrics name it.
    pub version: String,
    /// When its files came into force, in microseconds since 1970.
    pub since: u64,
    /// Why: `start`, `SIGHUP`, `a file changed`.
    pub reason: String,
    /// When it was gone back to for the last time, and how.
    pub rolled_back: Option<RolledBack>,
    /// The gateway file.
    pub root: PathBuf,
    /// The text of all files, by their paths.
    pub files: BTreeMap<PathBuf, String>,
    /// The directory file among them, where the directory is one. Not known of versions that were
    /// written before it was.
    #[serde(default)]
    pub directory: Option<PathBuf>,
}

/// That a version was gone back to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolledBack {
    /// When, in microseconds since 1970.
    pub at: u64,
    /// How: `SIGUSR1` or `tollgate snapshots`.
    pub by: String,
}

impl Version {
    /// How many bytes of files it has.
    pub fn bytes(&self) -> u64 {
        self.files.values().map(|text| text.len() as u64).sum()
    }
}

/// Why a version cannot be gone back to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoVersion {
    /// None begins so.
    #[error("no version that is kept begins with `{0}`: `tollgate snapshots list` shows them")]
    Unknown(String),
    /// Several do.
    #[error("several versions begin with `{0}`: write more of it")]
    Ambiguous(String),
    /// The one in force is the oldest that is kept.
    #[error("nothing older than the version in force is kept")]
    Oldest,
}

/// The versions, the newest last.
#[derive(Debug)]
pub struct History {
    kept: Vec<Version>,
    most: usize,
    max_bytes: u64,
    directory: Option<PathBuf>,
}

impl History {
    /// Reads what the directory has, if there is one. A file that cannot be read is passed by, and
    /// said.
    ///
    /// # Errors
    /// If the directory cannot be made or listed.
    pub fn open(settings: &SnapshotSettings) -> io::Result<Self> {
        let most = usize::try_from(settings.keep.get()).unwrap_or(usize::MAX);
        let directory = settings.directory.clone();
        let mut kept = Vec::new();
        if let Some(directory) = &directory {
            fs::create_dir_all(directory)?;
            fs::set_permissions(directory, Permissions::from_mode(0o700))?;
            for entry in fs::read_dir(directory)? {
                let path = entry?.path();
                if !path.to_string_lossy().ends_with(SUFFIX) {
                    continue;
                }
                match read(&path, settings.max_bytes) {
                    Ok(version) => kept.push(version),
                    Err(error) => {
                        tracing::warn!(file = %path.display(), %error, "a snapshot cannot be read");
                    }
                }
            }
        }
        kept.sort_by(|a: &Version, b| (a.since, &a.version).cmp(&(b.since, &b.version)));
        Ok(Self { kept, most, max_bytes: settings.max_bytes, directory })
    }

    /// All that are kept, the newest first.
    pub fn all(&self) -> impl Iterator<Item = &Version> {
        self.kept.iter().rev()
    }

    /// The one whose version begins so. What follows a `+` names a directory, which is no part of it.
    ///
    /// # Errors
    /// If there is none, or more than one.
    pub fn find(&self, beginning: &str) -> Result<&Version, NoVersion> {
        let beginning = beginning.split('+').next().unwrap_or_default();
        let mut fit = self.kept.iter().filter(|kept| kept.version.starts_with(beginning));
        match (fit.next(), fit.next()) {
            (Some(one), None) if !beginning.is_empty() => Ok(one),
            (Some(_), _) => Err(NoVersion::Ambiguous(beginning.to_owned())),
            (None, _) => Err(NoVersion::Unknown(beginning.to_owned())),
        }
    }

    /// The one before that one.
    ///
    /// # Errors
    /// If there is none.
    pub fn before(&self, version: &str) -> Result<&Version, NoVersion> {
        let place = self.kept.iter().position(|kept| kept.version == version);
        let before = place.and_then(|place| place.checked_sub(1));
        before.and_then(|before| self.kept.get(before)).ok_or(NoVersion::Oldest)
    }

    /// Files came into force. Those that were in force before come to the end of the list.
    ///
    /// # Errors
    /// If it cannot be written; in memory it is kept all the same.
    pub fn add(&mut self, version: Version) -> io::Result<()> {
        let mut gone: Vec<Version> = Vec::new();
        let same = self.kept.iter().position(|kept| kept.version == version.version);
        gone.extend(same.map(|same| self.kept.remove(same)));
        let in_force = version.version.clone();
        self.kept.push(version);
        while self.kept.len() > 1 && (self.kept.len() > self.most || self.bytes() > self.max_bytes)
        {
            gone.push(self.kept.remove(0));
        }
        // Written before others are removed: a full disk loses nothing that it had.
        let written = self.write(&in_force);
        for gone in gone {
            if let Some(path) = self.path(&gone)
                && self.kept.iter().all(|kept| self.path(kept).as_ref() != Some(&path))
            {
                // It may be gone already.
                let _ = fs::remove_file(path);
            }
        }
        written
    }

    /// A version was gone back to.
    ///
    /// # Errors
    /// If that cannot be written.
    pub fn rolled_back(&mut self, version: &str, how: RolledBack) -> io::Result<()> {
        if let Some(kept) = self.kept.iter_mut().find(|kept| kept.version == version) {
            kept.rolled_back = Some(how);
        }
        self.write(version)
    }

    fn bytes(&self) -> u64 {
        self.kept.iter().map(Version::bytes).sum()
    }

    fn path(&self, version: &Version) -> Option<PathBuf> {
        let Version { version, since, .. } = version;
        Some(self.directory.as_ref()?.join(format!("{since:018}-{version}{SUFFIX}")))
    }

    fn write(&self, version: &str) -> io::Result<()> {
        let kept = self.kept.iter().find(|kept| kept.version == version);
        let Some((kept, path)) = kept.and_then(|kept| Some((kept, self.path(kept)?))) else {
            return Ok(());
        };
        // Renamed when it is whole: who reads the directory sees no half of it.
        let beside = path.with_extension("new");
        let mut file =
            File::options().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(&serde_json::to_vec(kept)?)?;
        file.sync_all()?;
        fs::rename(&beside, &path)
    }
}

fn read(path: &Path, max_bytes: u64) -> io::Result<Version> {
    // Quotes and line breaks take two characters in JSON.
    if fs::metadata(path)?.len() > max_bytes.saturating_mul(2).saturating_add(65_536) {
        return Err(io::Error::other("is larger than `snapshots.max_bytes`"));
    }
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(keep: u32, max_bytes: u64, directory: Option<PathBuf>) -> SnapshotSettings {
        let keep = std::num::NonZeroU32::new(keep).unwrap();
        SnapshotSettings { keep, max_bytes, directory, socket: None }
    }

    fn version(name: &str, since: u64, bytes: usize) -> Version {
        let text = "x".repeat(bytes);
        Version {
            version: name.into(),
            since,
            reason: "start".into(),
            rolled_back: None,
            root: "gateway.yaml".into(),
            files: [(PathBuf::from("gateway.yaml"), text)].into(),
            directory: None,
        }
    }

    fn names(history: &History) -> Vec<&str> {
        history.all().map(|version| version.version.as_str()).collect()
    }

    #[test]
    fn the_newest_are_kept_by_number_and_by_bytes_and_the_one_in_force_always_is() {
        let mut history = History::open(&settings(3, 100, None)).unwrap();
        for (since, name) in ["a1", "b2", "c3", "d4"].into_iter().enumerate() {
            history.add(version(name, since as u64, 10)).unwrap();
        }
        assert_eq!(names(&history), ["d4", "c3", "b2"]);
        history.add(version("e5", 5, 85)).unwrap();
        assert_eq!(names(&history), ["e5", "d4"]);
        history.add(version("f6", 6, 1_000)).unwrap();
        assert_eq!(names(&history), ["f6"]);
    }

    #[test]
    fn a_version_that_comes_again_is_kept_once() {
        let mut history = History::open(&settings(3, 100, None)).unwrap();
        for (since, name) in ["a1", "b2", "a1"].into_iter().enumerate() {
            history.add(version(name, since as u64, 1)).unwrap();
        }
        assert_eq!(names(&history), ["a1", "b2"]);
        assert_eq!(history.before("a1").unwrap().version, "b2");
        assert_eq!(history.before("b2"), Err(NoVersion::Oldest));
    }

    #[test]
    fn a_version_is_found_by_its_beginning() {
        let mut history = History::open(&settings(3, 100, None)).unwrap();
        history.add(version("abc", 1, 1)).unwrap();
        history.add(version("abd", 2, 1)).unwrap();
        assert_eq!(history.find("abd+abc").unwrap().version, "abd");
        assert_eq!(history.find("abd").unwrap().since, 2);
        assert_eq!(history.find("ab"), Err(NoVersion::Ambiguous("ab".into())));
        assert_eq!(history.find(""), Err(NoVersion::Ambiguous(String::new())));
        assert_eq!(history.find("x"), Err(NoVersion::Unknown("x".into())));
    }

    #[test]
    fn a_directory_outlives_the_process_and_belongs_to_its_user_alone() {
        let place = std::env::temp_dir().join(format!("tollgate-history-{}", uuid::Uuid::new_v4()));
        let settings = settings(2, 1_000, Some(place.clone()));
        {
            let mut history = History::open(&settings).unwrap();
            for (since, name) in ["a1", "b2", "c3"].into_iter().enumerate() {
                history.add(version(name, since as u64, 10)).unwrap();
            }
            let how = RolledBack { at: 9, by: "SIGUSR1".into() };
            history.rolled_back("b2", how).unwrap();
        }
        fs::write(place.join(format!("broken{SUFFIX}")), "{").unwrap();
        let history = History::open(&settings).unwrap();
        assert_eq!(names(&history), ["c3", "b2"]);
        assert_eq!(history.find("b2").unwrap().rolled_back.as_ref().unwrap().at, 9);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&place), 0o700);
        let files = fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().path());
        let files: Vec<PathBuf> =
            files.filter(|path| !path.ends_with(format!("broken{SUFFIX}"))).collect();
        assert_eq!(files.len(), 2, "{files:?}");
        assert!(files.iter().all(|path| mode(path) == 0o600));
        fs::remove_dir_all(place).unwrap();
    }
}
