//! The table of revocations of this process: found in tens of nanoseconds, bounded in memory.
//!
//! Beyond its cap the oldest are forgotten, and in their place everything that was issued until
//! the last forgotten one is refused: too much, never too little. Imports `domain`.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use ahash::RandomState;
use hashbrown::HashMap;

use crate::domain::principal::VerifiedToken;
use crate::domain::session::{Cutoff, Mark, Revocation};

use super::sieve::Sieve;

/// Parts that are locked apart, so that one revocation holds back one look-up in so many.
const PARTS: usize = 64;

/// What was taken back.
pub(super) struct Revocations {
    parts: Vec<RwLock<HashMap<Mark, Entry, RandomState>>>,
    /// Changed under the lock of `order` only.
    sieve: Sieve,
    /// Marks by the time of their revocation, the oldest first. One that is taken back again is
    /// there twice, and counts by its later time.
    order: Mutex<VecDeque<(Mark, u64)>>,
    most: usize,
    /// Entries: while there are none, nothing is looked up.
    count: AtomicU64,
    /// Everything issued in that second or before is refused.
    floor: AtomicU64,
    overflowed: AtomicU64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    cutoff: Cutoff,
    at: u64,
    until: u64,
}

impl Revocations {
    /// A table for so many.
    pub(super) fn new(most: NonZeroU32) -> Self {
        let most = usize::try_from(most.get()).unwrap_or(usize::MAX);
        Self {
            parts: (0..PARTS).map(|_| RwLock::default()).collect(),
            sieve: Sieve::new(most),
            order: Mutex::default(),
            most,
            count: AtomicU64::new(0),
            floor: AtomicU64::new(0),
            overflowed: AtomicU64::new(0),
        }
    }

    /// Whether a token is ended by what was taken back.
    pub(super) fn end(&self, token: &VerifiedToken) -> bool {
        let marks = &token.marks;
        let floor = self.floor.load(Ordering::Relaxed);
        if floor > 0 && marks.of_somebody() && Cutoff::through(floor).covers(token) {
            return true;
        }
        if self.count.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let ended = |mark: Option<Mark>| {
            let mark = mark.filter(|mark| self.sieve.may_hold(*mark));
            mark.and_then(|mark| self.get(mark)).filter(|entry| entry.cutoff.covers(token))
        };
        if ended(marks.session).is_some() || ended(Some(marks.token)).is_some() {
            return true;
        }
        let spared = |by: Entry| {
            let kept = self.get(marks.own().kept());
            kept.is_some_and(|kept| kept.cutoff >= by.cutoff)
        };
        ended(marks.user).is_some_and(|by| !spared(by))
    }

    /// Whether what was made in that second counts no more, for one of these marks.
    pub(super) fn ended(&self, marks: [Mark; 2], secs: u64) -> bool {
        let floor = self.floor.load(Ordering::Relaxed);
        (floor > 0 && secs <= floor)
            || marks
                .into_iter()
                .any(|mark| self.get(mark).is_some_and(|entry| entry.cutoff.covers_second(secs)))
    }

    /// Adds one. What it says of a mark never takes back what is known of it.
    pub(super) fn add(&self, revocation: Revocation) {
        let Revocation { mark, cutoff, at, until } = revocation;
        if self.holds(revocation) || at <= self.floor() {
            return;
        }
        let mut order = self.order();
        let new = {
            let Some(part) = self.part(mark) else { return };
            let mut part = part.write().unwrap_or_else(PoisonError::into_inner);
            match part.get_mut(&mark) {
                Some(entry) => {
                    entry.cutoff = entry.cutoff.max(cutoff);
                    entry.until = entry.until.max(until);
                    entry.at = entry.at.max(at);
                    false
                }
                None => {
                    self.sieve.add(mark);
                    part.insert(mark, Entry { cutoff, at, until });
                    true
                }
            }
        };
        if new {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
        // Nodes hear of revocations nearly in their order; what comes late finds its place.
        let place = order.iter().rposition(|(_, earlier)| *earlier <= at).map_or(0, |i| i + 1);
        order.insert(place, (mark, at));
        while order.len() > self.most {
            let Some((mark, at)) = order.pop_front() else { break };
            if self.forget(mark, |entry| entry.at <= at) {
                // First refused, then forgotten, would be better still; what is looked up in
                // between is one request of a token that ends within the second.
                self.floor.fetch_max(at, Ordering::Relaxed);
                self.overflowed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Everything issued in that second or before is refused from now on, and what was taken back
    /// until then need not be known any more.
    pub(super) fn refuse_before(&self, secs: u64) {
        if self.floor.fetch_max(secs, Ordering::Relaxed) >= secs {
            return;
        }
        let mut order = self.order();
        while let Some((mark, at)) = order.front().copied().filter(|(_, at)| *at <= secs) {
            order.pop_front();
            self.forget(mark, |entry| entry.at <= at);
        }
    }

    /// Forgets what has ended.
    pub(super) fn prune(&self, now: u64) {
        self.order().retain(|(mark, at)| {
            let over = self.forget(*mark, |entry| entry.until < now);
            // One that is there twice is kept by its later place.
            !over && self.get(*mark).is_some_and(|entry| entry.at == *at)
        });
    }

    /// All that are known, the oldest first.
    pub(super) fn all(&self) -> Vec<Revocation> {
        let order = self.order();
        let known = order.iter().filter_map(|(mark, at)| {
            let entry = self.get(*mark).filter(|entry| entry.at == *at)?;
            let Entry { cutoff, at, until } = entry;
            Some(Revocation { mark: *mark, cutoff, at, until })
        });
        known.collect()
    }

    pub(super) fn len(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    pub(super) fn floor(&self) -> u64 {
        self.floor.load(Ordering::Relaxed)
    }

    pub(super) fn overflowed(&self) -> u64 {
        self.overflowed.load(Ordering::Relaxed)
    }

    fn holds(&self, wanted: Revocation) -> bool {
        self.get(wanted.mark).is_some_and(|entry| {
            entry.cutoff >= wanted.cutoff && entry.until >= wanted.until && entry.at >= wanted.at
        })
    }

    fn forget(&self, mark: Mark, which: impl Fn(&Entry) -> bool) -> bool {
        let Some(part) = self.part(mark) else { return false };
        let mut part = part.write().unwrap_or_else(PoisonError::into_inner);
        let gone = part.get(&mark).is_some_and(which) && part.remove(&mark).is_some();
        if gone {
            self.sieve.remove(mark);
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
        gone
    }

    fn get(&self, mark: Mark) -> Option<Entry> {
        let part = self.part(mark)?.read().unwrap_or_else(PoisonError::into_inner);
        part.get(&mark).copied()
    }

    fn part(&self, mark: Mark) -> Option<&RwLock<HashMap<Mark, Entry, RandomState>>> {
        let spread = usize::try_from(mark.bits() >> 122).unwrap_or(0);
        self.parts.get(spread % PARTS)
    }

    fn order(&self) -> MutexGuard<'_, VecDeque<(Mark, u64)>> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::known::IssuerIndex;
    use crate::domain::session::{Marks, Noted, SignOut};

    fn token(user: &str, session: &str, issued_at: u64) -> VerifiedToken {
        let id = user.parse().unwrap();
        VerifiedToken {
            issuer: IssuerIndex(0),
            marks: Marks::new(Some(&id), Some(session), &format!("{user}.{session}.{issued_at}")),
            noted: Noted::default(),
            subject: Some(id),
            role: None,
            session_id: Some(session.into()),
            expires_at: issued_at + 3600,
            not_before: None,
            issued_at: Some(issued_at),
            second_factor: false,
            factor_at: None,
            signed_in_at: None,
            organizations: Box::default(),
            vouched: None,
        }
    }

    fn table(most: u32) -> Revocations {
        Revocations::new(NonZeroU32::new(most).unwrap())
    }

    fn sign_out(table: &Revocations, scope: SignOut, token: &VerifiedToken, now: u64) {
        scope.revocations(token, now, 3600).into_iter().for_each(|one| table.add(one));
    }

    #[test]
    fn each_scope_ends_the_sessions_it_names_and_no_other() {
        for (scope, own_ends, others_end) in [
            (SignOut::Local, true, false),
            (SignOut::Global, true, true),
            (SignOut::Others, false, true),
        ] {
            let table = table(100);
            let (own, other) = (token("ann", "1", 100), token("ann", "2", 90));
            sign_out(&table, scope, &own, 200);
            assert_eq!(table.end(&own), own_ends, "{scope:?}");
            assert_eq!(table.end(&other), others_end, "{scope:?}");
            assert!(!table.end(&token("bob", "3", 100)), "{scope:?}");
            assert!(!table.end(&token("ann", "4", 200)), "signed in again after {scope:?}");
            // A session that ended stays so, whoever signs a token for it.
            assert_eq!(table.end(&token("ann", "1", 300)), own_ends, "{scope:?}");
        }
    }

    #[test]
    fn who_was_spared_once_is_not_spared_by_a_later_sign_out_of_another_session() {
        let table = table(100);
        let (first, second) = (token("ann", "1", 100), token("ann", "2", 250));
        sign_out(&table, SignOut::Others, &first, 200);
        assert!(!table.end(&first));
        sign_out(&table, SignOut::Others, &second, 300);
        assert!(table.end(&first));
        assert!(!table.end(&second));
    }

    #[test]
    fn beyond_the_cap_the_oldest_are_forgotten_and_everything_issued_until_then_is_refused() {
        let table = table(1_000);
        let ended: Vec<VerifiedToken> =
            (0..3_000).map(|n| token("ann", &n.to_string(), 1_000 + n)).collect();
        for token in &ended {
            sign_out(&table, SignOut::Local, token, token.issued_at.unwrap());
        }
        assert_eq!(table.len(), 1_000);
        assert_eq!(table.order().len(), 1_000);
        assert_eq!(table.overflowed(), 2_000);
        for token in &ended {
            assert!(table.end(token));
        }
        assert!(table.end(&token("bob", "x", 2_999)), "too much rather than too little");
        assert!(!table.end(&token("bob", "x", 3_000)));
        let mut key = token("service", "x", 10);
        key.marks.user = None;
        key.marks.session = None;
        assert!(!table.end(&key), "a key of a service is no session");
    }

    #[test]
    fn taking_one_session_back_again_and_again_takes_one_place() {
        let table = table(10);
        let ann = token("ann", "1", 100);
        for _ in 0..100 {
            sign_out(&table, SignOut::Local, &ann, 200);
        }
        assert_eq!((table.len(), table.order().len()), (1, 1));
    }

    #[test]
    fn what_has_ended_is_forgotten() {
        let table = table(10);
        let (ann, bob) = (token("ann", "1", 100), token("bob", "2", 9_000));
        sign_out(&table, SignOut::Local, &ann, 200);
        sign_out(&table, SignOut::Local, &bob, 10_000);
        table.prune(12_000);
        assert_eq!((table.len(), table.order().len()), (1, 1));
        assert!(table.end(&bob));
        assert_eq!(table.all().len(), 1);
    }

    #[test]
    fn revocations_that_arrive_out_of_order_are_forgotten_in_their_order() {
        let table = table(2);
        for at in [30, 10, 20] {
            let mark = Mark::session(&at.to_string());
            table.add(Revocation { mark, cutoff: Cutoff::ALWAYS, at, until: 1_000 });
        }
        assert_eq!(table.floor(), 10);
        assert!(table.end(&token("ann", "20", 40)));
        assert!(table.end(&token("ann", "30", 40)));
    }
}
