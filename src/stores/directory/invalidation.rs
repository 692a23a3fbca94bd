//! What the database says has changed, so that a load which began before a change cannot put the
//! old state back after it.
//!
//! Changes are numbered. A load notes the number at its start; what it brings is kept only if no
//! change since then concerns it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::domain::clock::Now;
use crate::domain::ids::{OrgId, UserId};
use crate::domain::machine::KeyId;

/// Changes that are remembered. A load during which more arrive is not kept.
const REMEMBERED: usize = 4096;

/// What a notification names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// Everything.
    All,
    /// An organization: itself, its features, who may act in it.
    Organization(OrgId),
    /// A user's memberships.
    User(UserId),
    /// The key of a machine.
    Key(KeyId),
}

impl Target {
    /// Reads a payload. What cannot be read could mean anything.
    pub(super) fn parse(payload: &str) -> Self {
        let read = match payload.split_once(':') {
            Some(("org", id)) => id.parse().ok().map(Self::Organization),
            Some(("user", id)) => id.parse().ok().map(Self::User),
            Some(("key", id)) => id.parse().ok().map(Self::Key),
            _ => None,
        };
        read.unwrap_or(Self::All)
    }
}

/// The changes of late.
#[derive(Default)]
pub(super) struct Changes {
    log: Mutex<Log>,
    /// Monotonic nanoseconds: what was loaded before that may have missed a change.
    heard_since: AtomicU64,
}

#[derive(Default)]
struct Log {
    /// Number of the first in `recent`.
    first: u64,
    recent: VecDeque<Target>,
}

/// The number of changes at the start of a load.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark(u64);

impl Changes {
    /// Begins a load.
    pub(super) fn mark(&self) -> Mark {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        Mark(log.first + log.recent.len() as u64)
    }

    /// Takes note of changes. To be called before entries are taken out.
    pub(super) fn note(&self, targets: &[Target]) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.recent.extend(targets.iter().cloned());
        while log.recent.len() > REMEMBERED {
            log.recent.pop_front();
            log.first += 1;
        }
    }

    /// Runs `keep` unless a change since `mark` concerns what was loaded. No change can come
    /// between the look and the keeping.
    pub(super) fn unless_changed(
        &self,
        mark: Mark,
        concerns: impl Fn(&Target) -> bool,
        keep: impl FnOnce(),
    ) {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(seen) = mark.0.checked_sub(log.first) else { return };
        let seen = usize::try_from(seen).unwrap_or(usize::MAX);
        if !log.recent.iter().skip(seen).any(concerns) {
            keep();
        }
    }

    /// Changes are heard of from now on; before, some may have been missed.
    pub(super) fn heard_since(&self, now: Now) {
        self.heard_since.store(now.mono_nanos, Ordering::Release);
    }

    /// Whether no change to what was loaded then can have been missed between two connections.
    pub(super) fn vouches_for(&self, loaded: Now) -> bool {
        loaded.mono_nanos >= self.heard_since.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> Target {
        Target::User(name.parse().unwrap())
    }

    fn kept(changes: &Changes, mark: Mark, target: &Target) -> bool {
        let mut kept = false;
        changes.unless_changed(mark, |change| change == target, || kept = true);
        kept
    }

    #[test]
    fn a_payload_that_cannot_be_read_means_everything() {
        let id: OrgId = "7b0d3c1e-0000-4000-8000-00000000000a".parse().unwrap();
        assert_eq!(Target::parse(&format!("org:{id}")), Target::Organization(id));
        assert_eq!(Target::parse("user:auth0|1"), user("auth0|1"));
        let key: KeyId = "tgk_0123456789Ab".parse().unwrap();
        assert_eq!(Target::parse("key:tgk_0123456789Ab"), Target::Key(key));
        for odd in
            ["key:", "key:tgk_", "all", "", "org:", "org:x", "user:", "user:a b", "plan:free"]
        {
            assert_eq!(Target::parse(odd), Target::All, "{odd}");
        }
    }

    #[test]
    fn what_changed_during_its_load_is_not_kept() {
        let changes = Changes::default();
        changes.note(&[user("a")]);
        let mark = changes.mark();
        assert!(kept(&changes, mark, &user("a")), "changed before, loaded after");
        changes.note(&[user("b")]);
        assert!(kept(&changes, mark, &user("a")), "somebody else changed");
        changes.note(&[user("a")]);
        assert!(!kept(&changes, mark, &user("a")));
    }

    #[test]
    fn a_load_that_more_changes_than_are_remembered_overtook_is_not_kept() {
        let changes = Changes::default();
        let mark = changes.mark();
        changes.note(&vec![user("b"); REMEMBERED]);
        assert!(kept(&changes, mark, &user("a")));
        changes.note(&[user("b")]);
        assert!(!kept(&changes, mark, &user("a")));
        assert!(kept(&changes, changes.mark(), &user("a")));
    }
}
