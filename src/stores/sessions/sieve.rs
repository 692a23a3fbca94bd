//! Says of most marks that nothing of them was taken back, without a lock and without a look at the
//! table: nearly every request asks that, of three marks.
//!
//! A counting Bloom filter with one hash (Fan et al., 2000), which a mark is already: a count for
//! all marks with the same low bits. A count that is zero is certain; another is a reason to look.
//! Imports `domain` only.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::domain::session::Mark;

/// Counts for each mark that there is room for: so few look-ups find a count of other marks.
const SPARE: usize = 8;
/// Bytes that the counts take at most, however many marks there is room for.
const MOST_BYTES: usize = 128 * 1024 * 1024;

/// Counts of marks.
pub(super) struct Sieve {
    /// As many as a power of two. Most nodes never need them.
    counts: OnceLock<Box<[AtomicU8]>>,
    most: usize,
}

impl Sieve {
    /// A sieve for so many marks.
    pub(super) fn new(most: usize) -> Self {
        let most = most.saturating_mul(SPARE).clamp(64, MOST_BYTES).next_power_of_two();
        Self { counts: OnceLock::new(), most }
    }

    /// Whether the mark may be there.
    pub(super) fn may_hold(&self, mark: Mark) -> bool {
        self.count(mark).is_some_and(|count| count.load(Ordering::Acquire) > 0)
    }

    /// The mark is there. To be called by one at a time.
    pub(super) fn add(&self, mark: Mark) {
        self.counts.get_or_init(|| (0..self.most).map(|_| AtomicU8::new(0)).collect());
        if let Some(count) = self.count(mark) {
            count.store(count.load(Ordering::Relaxed).saturating_add(1), Ordering::Release);
        }
    }

    /// The mark is there no more. To be called by one at a time.
    pub(super) fn remove(&self, mark: Mark) {
        let Some(count) = self.count(mark) else { return };
        match count.load(Ordering::Relaxed) {
            // How many more there were is not known: that stays a reason to look.
            0 | u8::MAX => {}
            some => count.store(some - 1, Ordering::Release),
        }
    }

    fn count(&self, mark: Mark) -> Option<&AtomicU8> {
        let low = usize::try_from(mark.bits() & u128::from(u32::MAX)).unwrap_or(0);
        self.counts.get()?.get(low & (self.most - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(number: u64) -> Mark {
        Mark::session(&number.to_string())
    }

    #[test]
    fn what_is_there_is_never_sieved_out_and_what_is_not_nearly_always() {
        let sieve = Sieve::new(10_000);
        (0..10_000).for_each(|number| sieve.add(mark(number)));
        assert!((0..10_000).all(|number| sieve.may_hold(mark(number))));
        let others = (10_000..110_000).filter(|number| sieve.may_hold(mark(*number))).count();
        assert!(others < 12_000, "{others} of 100,000");
        (0..5_000).for_each(|number| sieve.remove(mark(number)));
        assert!((5_000..10_000).all(|number| sieve.may_hold(mark(number))));
        (5_000..10_000).for_each(|number| sieve.remove(mark(number)));
        assert!((0..110_000).all(|number| !sieve.may_hold(mark(number))));
    }

    #[test]
    fn a_count_that_is_full_lets_its_marks_pass_for_ever() {
        let sieve = Sieve::new(1);
        (0..20_000).for_each(|number| sieve.add(mark(number)));
        (1..20_000).for_each(|number| sieve.remove(mark(number)));
        assert!(sieve.may_hold(mark(0)));
    }
}
