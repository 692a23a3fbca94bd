//! The arithmetic of one token bucket, in integers: micro-tokens and microseconds.
//!
//! Shared by the stores, so that they give the same answers: what `acquire.lua` computes for a
//! bucket is what [`Bucket::at`] computes here. Rounding always favours the limit: refills round
//! down, waits round up. Imports `domain` only.

use std::time::Duration;

use smallvec::SmallVec;

use crate::domain::charge::{Balance, BucketCharge, ChargeAnswer, Rate};

/// Micro-tokens in a token.
pub(super) const MICRO: u64 = 1_000_000;

/// The state of a bucket at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bucket {
    /// Micro-tokens in it then.
    pub(super) micros: u64,
    /// Micro-tokens that it owes: what comes back goes there first. Above zero, it is empty.
    pub(super) debt: u64,
    /// When, in microseconds of the store's clock.
    pub(super) at: u64,
    /// The numbers it was last charged under.
    pub(super) rate: Rate,
}

impl Bucket {
    /// A bucket that nobody has spent from.
    pub(super) fn full(rate: Rate, at: u64) -> Self {
        Self { micros: capacity(&rate), debt: 0, at, rate }
    }

    /// The bucket at `now`, under the numbers of today. A change of numbers never mints: since
    /// nobody wrote down when they changed, what counts is the lower of what the bucket would hold
    /// under the old numbers alone and under the new.
    pub(super) fn at(&self, now: u64, rate: &Rate) -> Self {
        let elapsed = now.saturating_sub(self.at);
        let under = |rate: &Rate| {
            let back = refill(elapsed, rate);
            let more = back.saturating_sub(self.debt);
            let micros = self.micros.saturating_add(more).min(capacity(rate));
            (micros, self.debt.saturating_sub(back))
        };
        let (mut micros, mut debt) = under(rate);
        if self.rate != *rate {
            let old = under(&self.rate);
            (micros, debt) = (micros.min(old.0), debt.max(old.1));
        }
        // Time that went backwards refills nothing, then or later.
        Self { micros, debt, at: self.at.max(now), rate: *rate }
    }

    /// How much is missing for so much.
    pub(super) fn lacks(&self, demand: u64) -> u64 {
        demand.saturating_add(self.debt).saturating_sub(self.micros)
    }

    /// Takes so much, whether it is there or not: it owes up to `most`. Returns what was taken.
    pub(super) fn settle(&mut self, micros: u64, most: u64) -> u64 {
        let held = micros.min(self.micros);
        let owed = (micros - held).min(most.saturating_sub(self.debt));
        self.micros -= held;
        self.debt = self.debt.saturating_add(owed);
        held.saturating_add(owed)
    }

    /// Whether it would be full by `now`, so that forgetting it changes nothing.
    pub(super) fn is_full(&self, now: u64) -> bool {
        self.at(now, &self.rate).micros >= capacity(&self.rate)
    }

    /// What callers are told of it.
    pub(super) fn balance(&self) -> Balance {
        Balance {
            // At most the burst, which is a u32.
            remaining: u32::try_from(self.micros / MICRO).unwrap_or(u32::MAX),
            full_in: wait(self.lacks(capacity(&self.rate)), &self.rate),
        }
    }
}

/// What a bucket holds at most, in micro-tokens.
pub(super) fn capacity(rate: &Rate) -> u64 {
    u64::from(rate.burst.get()) * MICRO
}

/// What a charge takes from a bucket, in micro-tokens.
pub(super) fn price(charge: &BucketCharge) -> u64 {
    u64::from(charge.cost.get()) * MICRO
}

/// The answer where not every bucket has enough. `levels` are the buckets of the charge at the
/// time of asking; `short` is what each lacks.
///
/// The bucket that is named is the one that takes longest to have enough, so that whoever waits
/// `retry_after` is admitted by all of them.
pub(super) fn refusal(levels: &[Bucket], short: &[u64]) -> ChargeAnswer {
    let mut longest = (0, Duration::ZERO);
    for (index, (level, lack)) in levels.iter().zip(short).enumerate() {
        // A cost above the burst never fits: the wait says when the bucket is full.
        let wait = wait(*lack, &level.rate);
        if wait > longest.1 {
            longest = (index, wait);
        }
    }
    let (bucket, retry_after) = longest;
    ChargeAnswer::Refused { bucket, retry_after, penalty: 0, balances: balances(levels) }
}

/// What is left, bucket by bucket.
pub(super) fn balances(levels: &[Bucket]) -> SmallVec<[Balance; 5]> {
    levels.iter().map(Bucket::balance).collect()
}

/// Micro-tokens that come back in `elapsed` microseconds, rounded down.
fn refill(elapsed: u64, rate: &Rate) -> u64 {
    // tokens · 10⁶ / (period · 10³) per microsecond; the product fits: 2³² · 10³ < 2⁶⁴.
    let per_period = u64::from(rate.tokens.get()) * 1_000;
    let period = u64::from(rate.period_millis.get());
    match elapsed.checked_mul(per_period) {
        Some(product) => product / period,
        None => narrow(u128::from(elapsed) * u128::from(per_period) / u128::from(period)),
    }
}

/// How long `micros` take to come back, rounded up to a microsecond.
pub(super) fn wait(micros: u64, rate: &Rate) -> Duration {
    let per_period = u64::from(rate.tokens.get()) * 1_000;
    let period = u64::from(rate.period_millis.get());
    Duration::from_micros(match micros.checked_mul(period) {
        Some(product) => product.div_ceil(per_period),
        None => narrow((u128::from(micros) * u128::from(period)).div_ceil(u128::from(per_period))),
    })
}

fn narrow(wide: u128) -> u64 {
    u64::try_from(wide).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;

    fn rate(tokens: u32, period_millis: u32, burst: u32) -> Rate {
        let number = |n: u32| NonZeroU32::new(n).unwrap();
        Rate { tokens: number(tokens), period_millis: number(period_millis), burst: number(burst) }
    }

    prop_compose! {
        fn any_rate()(t in 1..=u32::MAX, p in 1..=u32::MAX, b in 1..=u32::MAX) -> Rate {
            rate(t, p, b)
        }
    }

    proptest! {
        #[test]
        fn whoever_waits_as_told_finds_what_was_missing(rate in any_rate(), micros in 0..=u64::MAX) {
            let missing = micros % (capacity(&rate) + 1);
            let waited = u64::try_from(wait(missing, &rate).as_micros()).unwrap();
            prop_assert!(refill(waited, &rate) >= missing || waited == u64::MAX);
        }

        #[test]
        fn nobody_is_told_to_wait_longer_than_needed(rate in any_rate(), micros in 1..=u64::MAX) {
            let missing = micros % capacity(&rate) + 1;
            let waited = u64::try_from(wait(missing, &rate).as_micros()).unwrap();
            prop_assert!(refill(waited - 1, &rate) < missing);
        }

        #[test]
        fn refilling_in_two_steps_never_gives_more_than_in_one(
            rate in any_rate(), a in 0..=u64::MAX / 4, b in 0..=u64::MAX / 4,
        ) {
            let empty = Bucket { micros: 0, debt: 0, at: 0, rate };
            let twice = empty.at(a, &rate).at(a + b, &rate);
            prop_assert!(twice.micros <= empty.at(a + b, &rate).micros);
        }

        #[test]
        fn new_numbers_never_mint(old in any_rate(), new in any_rate(), level in 0..=u64::MAX, t in 0..=u64::MAX) {
            let micros = level % (capacity(&old) + 1);
            let bucket = Bucket { micros, debt: 0, at: 0, rate: old };
            let under_new = bucket.at(t, &new);
            prop_assert!(under_new.micros <= capacity(&new));
            prop_assert!(under_new.micros <= capacity(&old));
            prop_assert!(under_new.micros <= bucket.micros.saturating_add(refill(t, &old)));
            prop_assert!(under_new.micros <= bucket.micros.saturating_add(refill(t, &new)));
        }
    }

    #[test]
    fn what_comes_back_pays_a_debt_first_and_no_debt_is_beyond_its_bound() {
        let rate = rate(1, 1_000, 10);
        let mut bucket = Bucket { micros: 3 * MICRO, debt: 0, at: 0, rate };
        assert_eq!(bucket.settle(5 * MICRO, 4 * MICRO), 5 * MICRO);
        assert_eq!((bucket.micros, bucket.debt), (0, 2 * MICRO));
        assert_eq!(bucket.settle(9 * MICRO, 4 * MICRO), 2 * MICRO, "the rest is let off");
        assert_eq!(bucket.settle(MICRO, 4 * MICRO), 0);
        assert_eq!(bucket.lacks(MICRO), 5 * MICRO);
        assert_eq!(bucket.balance().full_in, Duration::from_secs(14));
        let later = bucket.at(3_000_000, &rate);
        assert_eq!((later.micros, later.debt), (0, MICRO));
        let later = later.at(6_000_000, &rate);
        assert_eq!((later.micros, later.debt), (2 * MICRO, 0));
        assert_eq!(bucket.at(20_000_000, &rate), Bucket::full(rate, 20_000_000));
    }

    #[test]
    fn a_clock_that_goes_back_and_forth_refills_nothing_twice() {
        let rate = rate(1, 1_000, 10);
        let bucket = Bucket { micros: 0, debt: 0, at: 5_000_000, rate };
        let back = bucket.at(1_000_000, &rate);
        assert_eq!(back.micros, 0);
        assert_eq!(back.at(6_000_000, &rate).micros, MICRO);
    }
}
