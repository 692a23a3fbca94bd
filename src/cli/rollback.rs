//! A version that was in force, compiled anew: its policies, rules and gateway file, under the
//! directory of today. Organizations, members and keys are data: who was taken out stays out, whatever
//! version of the policies comes back.

use std::path::PathBuf;
use std::sync::Arc;

use crate::config::problem::Problems;
use crate::config::{self, Loaded, Past};
use crate::policy::snapshot::SnapshotVersion;
use crate::stores::history::Version;

use super::environment;

/// A directory file, as it was read.
#[derive(Debug, Clone)]
pub(super) struct Data {
    pub(super) path: PathBuf,
    pub(super) text: String,
    /// The version with which it came into force.
    pub(super) of: Arc<str>,
}

impl Data {
    /// That of a version, if its directory is a file.
    pub(super) fn of(version: &Version) -> Option<Self> {
        let path = version.directory.clone()?;
        let text = version.files.get(&path)?.clone();
        Some(Self { path, text, of: version.version.as_str().into() })
    }

    fn is_that_of(&self, version: &Version) -> bool {
        version.directory.as_ref() == Some(&self.path)
            && version.files.get(&self.path) == Some(&self.text)
    }
}

/// Which directory comes into force with a version that is gone back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Directory {
    /// The one that is in force.
    Stays,
    /// The one that the version had.
    GoesBack,
}

/// What can come into force.
pub(super) struct Back {
    pub(super) loaded: Loaded,
    /// The directory file that it has, if it is one.
    pub(super) data: Option<Data>,
}

impl Back {
    pub(super) fn version(&self) -> &Arc<str> {
        &self.loaded.snapshot.version.0
    }
}

/// Compiles a version again. It is called as it was, and `<version>+<other>` where the directory is that
/// of another.
///
/// # Errors
/// What is wrong with it today, or with the directory under it.
pub(super) fn compiled(
    kept: &Version,
    today: Option<Data>,
    directory: Directory,
) -> Result<Back, String> {
    let own = || read(kept, Past::new(kept.files.clone()));
    let other = match directory {
        Directory::GoesBack => None,
        Directory::Stays => today.filter(|today| !today.is_that_of(kept)),
    };
    let (mut loaded, data) = match other {
        None => (own().map_err(|problems| problems.to_string())?, None),
        Some(data) => {
            let past = Past::new(kept.files.clone());
            match read(kept, past.with_directory(data.path.clone(), data.text.clone())) {
                Ok(loaded) => (loaded, Some(data)),
                Err(problems) if own().is_ok() => return Err(misfit(kept, &data, &problems)),
                Err(problems) => return Err(problems.to_string()),
            }
        }
    };
    // A version whose directory is a database has no file of today.
    let data = data.filter(|_| loaded.directory.is_some());
    let version = match &data {
        Some(data) => format!("{}+{}", kept.version, data.of),
        // The hash can be another than it was: secret files are those of today.
        None => kept.version.clone(),
    };
    loaded.snapshot.version = SnapshotVersion(version.into());
    let own = || {
        let path = loaded.directory.clone()?;
        let text = kept.files.get(&path)?.clone();
        Some(Data { path, text, of: kept.version.as_str().into() })
    };
    let data = data.or_else(own);
    Ok(Back { loaded, data })
}

fn read(kept: &Version, files: Past) -> Result<Loaded, Problems> {
    config::load_from(&files, &kept.root, &environment)
}

fn misfit(kept: &Version, data: &Data, problems: &Problems) -> String {
    let (version, of) = (&kept.version, &data.of);
    format!(
        "the directory of `{of}`, which is in force, does not fit the policies of `{version}`:\n\
         {problems}\n\
         mend the directory, or go back with `--with-directory`: then it is taken back as well, with the \
         members and keys that it had"
    )
}
