//! Tells when files of the configuration change.
//!
//! Directories are watched, not files: editors write another file and rename it, and Kubernetes
//! swaps a symbolic link further up (`..data`), neither of which a watch of the file would see.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

/// Links that are followed from one file before it is taken to go in circles.
const MAX_LINKS: usize = 40;

/// Watches the files of a configuration.
pub(super) struct Watch {
    watcher: RecommendedWatcher,
    followed: Arc<Mutex<Followed>>,
    directories: BTreeSet<PathBuf>,
}

/// Which changes count.
#[derive(Debug, Default)]
struct Followed {
    /// The files, and every link on the way to them.
    paths: BTreeSet<PathBuf>,
    /// Directories that a pattern looks into: a policy that is added counts.
    looked_into: BTreeSet<PathBuf>,
}

impl Watch {
    /// Watches nothing yet. `changed` is notified of every change that counts.
    pub(super) fn new(changed: Arc<Notify>) -> notify::Result<Self> {
        let followed = Arc::new(Mutex::new(Followed::default()));
        let seen = Arc::clone(&followed);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let counts = match &event {
                Ok(event) => {
                    let followed = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    changes(&event.kind) && event.paths.iter().any(|path| followed.has(path))
                }
                // Events were lost: better to look once too often.
                Err(_) => true,
            };
            if counts {
                changed.notify_one();
            }
        })?;
        Ok(Self { watcher, followed, directories: BTreeSet::new() })
    }

    /// Follows these files, and directories that patterns look into, from now on. A directory that cannot be watched is named, and the
    /// others are watched all the same.
    pub(super) fn follow(&mut self, files: &[PathBuf]) -> Result<(), notify::Error> {
        let (followed, directories) = Followed::of(files);
        *self.followed.lock().unwrap_or_else(PoisonError::into_inner) = followed;
        for gone in self.directories.difference(&directories) {
            // It may be gone for good.
            let _ = self.watcher.unwatch(gone);
        }
        let mut outcome = Ok(());
        for directory in &directories {
            // Also those that are watched already: one that was replaced has lost its watch.
            if let Err(error) = self.watcher.watch(directory, RecursiveMode::NonRecursive) {
                outcome = Err(error.add_path(directory.clone()));
            }
        }
        self.directories = directories;
        outcome
    }
}

impl Followed {
    fn of(files: &[PathBuf]) -> (Self, BTreeSet<PathBuf>) {
        let mut followed = Self::default();
        let mut directories = BTreeSet::new();
        for file in files {
            let Ok(file) = std::path::absolute(file) else { continue };
            if file.is_dir() {
                directories.insert(file.clone());
                followed.looked_into.insert(file.clone());
            }
            for path in with_links(&file) {
                directories.extend(path.parent().map(Path::to_owned));
                followed.paths.insert(path);
            }
        }
        (followed, directories)
    }

    fn has(&self, path: &Path) -> bool {
        let policy = || path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml");
        let looked_into = || path.parent().is_some_and(|above| self.looked_into.contains(above));
        self.paths.contains(path) || (looked_into() && policy())
    }
}

/// The file, and every symbolic link that leads from its name to its contents.
fn with_links(file: &Path) -> Vec<PathBuf> {
    let mut out = vec![file.to_owned()];
    let mut at = file.to_owned();
    for _ in 0..MAX_LINKS {
        // The first link among the directories above, or the file itself.
        let mut above: Vec<&Path> = at.ancestors().collect();
        above.reverse();
        let link = above.into_iter().find(|path| path.is_symlink()).map(Path::to_owned);
        let Some(link) = link else { break };
        let Ok(target) = std::fs::read_link(&link) else { break };
        let rest = at.strip_prefix(&link).map(Path::to_owned).unwrap_or_default();
        let mut next = link.parent().unwrap_or(Path::new("/")).join(target);
        if !rest.as_os_str().is_empty() {
            next.push(rest);
        }
        out.push(link);
        out.push(next.clone());
        at = next;
    }
    out
}

/// Whether something was written, and not only looked at: reading the configuration itself is an
/// event too.
fn changes(kind: &EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use super::*;

    /// A directory of its own, removed at the end.
    struct Place(PathBuf);

    impl Place {
        fn new() -> Self {
            let name = format!("tollgate-watch-{}", uuid::Uuid::new_v4());
            let path = std::env::temp_dir().join(name);
            fs::create_dir(&path).unwrap();
            Self(path.canonicalize().unwrap())
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, text).unwrap();
            path
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    async fn told(changed: &Notify) -> bool {
        tokio::time::timeout(Duration::from_secs(10), changed.notified()).await.is_ok()
    }

    fn watching(files: &[PathBuf]) -> (Watch, Arc<Notify>) {
        let changed = Arc::new(Notify::new());
        let mut watch = Watch::new(Arc::clone(&changed)).unwrap();
        watch.follow(files).unwrap();
        (watch, changed)
    }

    #[tokio::test]
    async fn a_file_that_an_editor_replaces_is_noticed_each_time() {
        let place = Place::new();
        let file = place.write("gateway.yaml", "a");
        let (_watch, changed) = watching(std::slice::from_ref(&file));
        for text in ["b", "c"] {
            fs::rename(place.write("gateway.yaml~", text), &file).unwrap();
            assert!(told(&changed).await);
        }
    }

    #[tokio::test]
    async fn the_swapped_link_of_a_mounted_config_map_is_noticed() {
        let place = Place::new();
        for version in ["..1", "..2"] {
            fs::create_dir(place.0.join(version)).unwrap();
            place.write(&format!("{version}/gateway.yaml"), version);
        }
        symlink("..1", place.0.join("..data")).unwrap();
        symlink("..data/gateway.yaml", place.0.join("gateway.yaml")).unwrap();
        let (_watch, changed) = watching(&[place.0.join("gateway.yaml")]);
        symlink("..2", place.0.join("..next")).unwrap();
        fs::rename(place.0.join("..next"), place.0.join("..data")).unwrap();
        assert!(told(&changed).await);
        assert_eq!(fs::read_to_string(place.0.join("gateway.yaml")).unwrap(), "..2");
    }

    #[tokio::test]
    async fn a_policy_that_is_added_is_noticed_and_a_growing_log_is_not() {
        let place = Place::new();
        let file = place.write("base.yaml", "a");
        let (_watch, changed) = watching(&[file, place.0.clone()]);
        place.write("audit.jsonl", "line");
        fs::read_to_string(place.0.join("base.yaml")).unwrap();
        place.write("extra.yaml", "b");
        assert!(told(&changed).await);
        // What came before the policy would have been told before it.
        let followed = Followed::of(&[place.0.join("base.yaml"), place.0.clone()]).0;
        assert!(!followed.has(&place.0.join("audit.jsonl")));
        assert!(!changes(&EventKind::Access(AccessKind::Open(AccessMode::Any))));
    }

    #[test]
    fn links_that_go_in_circles_come_to_an_end() {
        let place = Place::new();
        symlink("b", place.0.join("a")).unwrap();
        symlink("a", place.0.join("b")).unwrap();
        assert!(with_links(&place.0.join("a")).len() <= 2 * MAX_LINKS + 1);
    }
}
