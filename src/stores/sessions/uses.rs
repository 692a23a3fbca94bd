//! When sessions were last used, and how long they rested at most: the memory of this process.
//!
//! Bounded: beyond its cap, the sessions that rested longest are forgotten, and count as unused
//! since they began. Imports `domain`.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use ahash::RandomState;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::domain::session::{LastUse, Mark, Use};

/// Uses that may wait to be shared; further ones are dropped and counted, and noted anew with the
/// session's next use a minute later.
const WAITING: usize = 16_384;

/// The uses of sessions, as far as this node knows.
pub(super) struct Uses {
    known: Cache<Mark, LastUse, RandomState>,
    /// Uses before this (seconds since 1970) may not be known.
    since: AtomicU64,
    waiting: Mutex<Vec<Use>>,
    dropped: AtomicU64,
}

impl Uses {
    /// A memory for so many sessions that knows nothing of the time before `since`.
    pub(super) fn new(most: NonZeroU32, since: u64) -> Self {
        let known = Cache::builder()
            .max_capacity(u64::from(most.get()))
            .eviction_policy(EvictionPolicy::lru())
            .build_with_hasher(RandomState::new());
        Self {
            known,
            since: AtomicU64::new(since),
            waiting: Mutex::default(),
            dropped: AtomicU64::new(0),
        }
    }

    pub(super) fn get(&self, mark: Mark) -> Option<LastUse> {
        self.known.get(&mark)
    }

    /// A session was used here. A rest before that is counted by whoever sees all uses.
    pub(super) fn noted(&self, one: &Use, counts_rest: bool) {
        let mark = Mark::session(&one.session);
        let before = self.get(mark);
        let rested_since = match before {
            Some(before) => before.at,
            None => one.began.unwrap_or(0).max(self.since()),
        };
        let rest = if counts_rest { one.at.saturating_sub(rested_since) } else { 0 };
        self.learned(mark, LastUse { at: one.at, longest_pause: rest });
    }

    /// Somebody else saw it used.
    pub(super) fn learned(&self, mark: Mark, other: LastUse) {
        let own = self.get(mark).unwrap_or_default();
        let joined = LastUse {
            at: own.at.max(other.at),
            longest_pause: own.longest_pause.max(other.longest_pause),
        };
        self.known.insert(mark, joined);
    }

    /// Lets a use wait for its turn to be shared.
    pub(super) fn wait(&self, one: Use) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < WAITING {
            waiting.push(one);
        } else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Those that wait.
    pub(super) fn take_waiting(&self) -> Vec<Use> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn since(&self) -> u64 {
        self.since.load(Ordering::Relaxed)
    }

    pub(super) fn knows_since(&self, secs: u64) {
        self.since.store(secs, Ordering::Relaxed);
    }

    pub(super) fn count(&self) -> u64 {
        self.known.entry_count()
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(at: u64, began: Option<u64>) -> Use {
        Use {
            user: "ann".parse().unwrap(),
            session: "s".into(),
            began,
            organization: None,
            device: "curl".into(),
            address: [127, 0, 0, 1].into(),
            at,
        }
    }

    fn last(uses: &Uses) -> LastUse {
        uses.get(Mark::session("s")).unwrap()
    }

    #[test]
    fn a_rest_is_remembered_after_the_session_is_used_again() {
        let uses = Uses::new(NonZeroU32::new(10).unwrap(), 0);
        for (at, pause) in [(1_000, 100), (1_060, 100), (9_060, 8_000), (9_120, 8_000)] {
            uses.noted(&used(at, Some(900)), true);
            assert_eq!(last(&uses), LastUse { at, longest_pause: pause });
        }
    }

    #[test]
    fn what_was_before_the_memory_began_is_no_rest() {
        let uses = Uses::new(NonZeroU32::new(10).unwrap(), 5_000);
        uses.noted(&used(5_100, Some(100)), true);
        assert_eq!(last(&uses).longest_pause, 100);
    }

    #[test]
    fn sessions_that_are_remembered_are_bounded() {
        let uses = Uses::new(NonZeroU32::new(100).unwrap(), 0);
        for number in 0..20_000 {
            uses.noted(&Use { session: number.to_string().into(), ..used(1_000, None) }, true);
        }
        uses.known.run_pending_tasks();
        assert!((1..=100).contains(&uses.count()), "{}", uses.count());
        assert!(uses.get(Mark::session("19999")).is_some(), "the last one used is kept");
    }

    #[test]
    fn uses_that_wait_are_bounded() {
        let uses = Uses::new(NonZeroU32::new(10).unwrap(), 0);
        for at in 0..20_000 {
            uses.wait(used(at, None));
        }
        assert_eq!(uses.take_waiting().len(), WAITING);
        assert_eq!(uses.dropped(), 20_000 - WAITING as u64);
        assert!(uses.take_waiting().is_empty());
    }
}
