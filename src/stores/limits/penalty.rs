//! Who comes back too early, again and again, is made to wait longer: the levels of one caller.
//!
//! Pure, and told the time. Shared by the stores: `acquire.lua` does with a caller's standing in Redis
//! what [`Standing`] does with one in this process, and one suite of tests compares them. Times are
//! microseconds of the store's clock. Imports `domain` only.
//!
//! A refusal says when to come back. Refusals before that are counted, and [`Penalty::after`] of
//! them raise the level, which refuses everything for a time. What comes within a second of that is
//! not counted: it may have been sent before anybody was told.

use std::time::Duration;

use crate::domain::charge::{Balance, BucketCharge, ChargeAnswer, Penalty};

use super::leases::Terms;

/// What comes so soon after a level was raised is not held against the caller.
const GRACE: u64 = 1_000_000;
/// Of a wait, up to one part in so many is added at random.
const JITTER: u64 = 5;
/// More refusals are not told apart.
const MOST_STRIKES: u32 = 65_535;

/// How a caller stands with a limit. The default is that of somebody who has done nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// The level; 0 is none.
    pub(super) level: u8,
    /// Whether it is refused because of its level, until `until`.
    pub(super) blocked: bool,
    /// Refusals on this level before it was allowed to come.
    pub(super) strikes: u32,
    /// When it was blocked; where it is not, since when it is quiet.
    pub(super) since: u64,
    /// Until when it was told to wait.
    pub(super) until: u64,
}

impl Standing {
    /// The standing at a time: what was long enough ago is forgotten.
    pub(super) fn at(mut self, now: u64, penalty: &Penalty) -> Self {
        // Under the numbers of today, and after a clock went back, nobody waits longer than the
        // longest wait.
        let most = micros(penalty.most_millis.get());
        if self.blocked {
            self.until = self.until.min(now.saturating_add(most + most / JITTER));
        }
        self.since = self.since.min(now);
        self.level = self.level.min(penalty.highest());
        let quiet = self.quiet_since();
        let forget = micros(penalty.forget_millis.get());
        let steps = now.saturating_sub(quiet) / forget;
        if steps > 0 {
            self.level = self.level.saturating_sub(u8::try_from(steps).unwrap_or(u8::MAX));
            self.strikes = 0;
            self.blocked = false;
            self.since = quiet.saturating_add(steps.saturating_mul(forget));
        }
        self
    }

    /// How much longer it is refused because of its level.
    pub(super) fn blocked_for(&self, now: u64) -> u64 {
        if self.blocked { self.until.saturating_sub(now) } else { 0 }
    }

    /// Whether that says anything.
    pub(super) fn matters(&self, now: u64) -> bool {
        self.level > 0 || self.strikes > 0 || self.until > now
    }

    /// It was refused so often before it was allowed to come. Returns whether that raised its level.
    pub(super) fn strike(&mut self, times: u32, now: u64, penalty: &Penalty) -> bool {
        let blocked = self.blocked_for(now) > 0;
        if times == 0 || blocked && now.saturating_sub(self.since) < GRACE {
            return false;
        }
        self.strikes = self.strikes.saturating_add(times).min(MOST_STRIKES);
        if !blocked {
            (self.blocked, self.since) = (false, now);
        }
        if self.strikes < penalty.after.get() {
            return false;
        }
        self.level = self.level.saturating_add(1).min(penalty.highest());
        let lasts = penalty.lasts(self.level);
        // Callers that were blocked at the same time do not come back at the same time.
        let jitter = lasts.saturating_mul(now % 1_000) / (1_000 * JITTER);
        self.until = self.until.max(now.saturating_add(lasts).saturating_add(jitter));
        (self.strikes, self.since, self.blocked) = (0, now, true);
        true
    }

    /// It was refused, and told to wait for so long.
    pub(super) fn tell(&mut self, wait: u64, now: u64) {
        if self.blocked_for(now) == 0 {
            (self.blocked, self.since) = (false, self.quiet_since());
            self.until = now.saturating_add(wait);
        }
    }

    /// It was refused for want of tokens: all that this means for it. Returns whether it raised its
    /// level.
    pub(super) fn refused(&mut self, wait: u64, now: u64, penalty: &Penalty) -> bool {
        let raised = now < self.until && self.strike(1, now, penalty);
        self.tell(wait, now);
        raised
    }

    fn quiet_since(&self) -> u64 {
        if self.blocked { self.until } else { self.since }
    }
}

impl Penalty {
    /// How long a level refuses, in microseconds.
    fn lasts(&self, level: u8) -> u64 {
        let doubled = 1_u64.checked_shl(u32::from(level.saturating_sub(1))).unwrap_or(u64::MAX);
        let lasts = micros(self.first_millis.get()).saturating_mul(doubled);
        lasts.min(micros(self.most_millis.get()))
    }

    /// The level that no further one is above: it refuses for the longest time there is.
    fn highest(&self) -> u8 {
        let most = micros(self.most_millis.get());
        let mut level = 1;
        while self.lasts(level) < most {
            level += 1;
        }
        level
    }
}

/// What Redis said of the penalty of one bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ToldPenalty {
    /// How much longer it refuses everything, in microseconds.
    pub(super) blocked: u64,
    pub(super) level: u8,
    /// Whether this call raised it.
    pub(super) raised: bool,
}

/// What a call says behind everything else: nothing where there is no penalty and no debt. For each
/// bucket with a penalty: its place, the refusals that this node counted, and the numbers. For each
/// that owes: its place, how much, and how much it can owe.
pub(super) fn argument<'c>(
    buckets: impl Iterator<Item = (&'c BucketCharge, Terms)>,
) -> Option<String> {
    use std::fmt::Write;

    let mut out: Option<String> = None;
    for (index, (bucket, Terms { strikes, owes, most, .. })) in buckets.enumerate() {
        if owes > 0 {
            let _ = write!(out.get_or_insert_default(), "{} {owes} {most}!", index + 1);
        }
        let Some(penalty) = &bucket.penalty else { continue };
        let Penalty { after, first_millis, most_millis, forget_millis } = &**penalty;
        // Writing to a String cannot fail.
        let _ = write!(
            out.get_or_insert_default(),
            "{} {strikes} {after} {first_millis} {most_millis} {forget_millis};",
            index + 1
        );
    }
    out
}

/// What Redis said of penalties, bucket by bucket. Nothing if that is no answer to the call.
pub(super) fn answer<'c>(
    mut parts: &[i64],
    buckets: impl Iterator<Item = &'c BucketCharge>,
    mut each: impl FnMut(usize, ToldPenalty),
) -> Option<()> {
    for (index, _) in buckets.enumerate().filter(|(_, bucket)| bucket.penalty.is_some()) {
        let [blocked, level, raised, rest @ ..] = parts else { return None };
        let (blocked, level) = (u64::try_from(*blocked).ok()?, u8::try_from(*level).ok()?);
        each(index, ToldPenalty { blocked, level, raised: *raised == 1 });
        parts = rest;
    }
    parts.is_empty().then_some(())
}

/// Says in a refusal that a bucket refuses everything for so many microseconds, whatever is in it.
pub(super) fn hold(answer: &mut ChargeAnswer, index: usize, blocked: u64, at_level: u8) {
    let ChargeAnswer::Refused { bucket, retry_after, penalty, balances } = answer else { return };
    let wait = Duration::from_micros(blocked);
    if wait > *retry_after {
        (*bucket, *retry_after) = (index, wait);
    }
    if *bucket == index {
        *penalty = at_level;
    }
    if let Some(Balance { remaining, full_in }) = balances.get_mut(index) {
        (*remaining, *full_in) = (0, (*full_in).max(wait));
    }
}

fn micros(millis: u32) -> u64 {
    u64::from(millis) * 1_000
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000;

    fn penalty(after: u32, first: u32, most: u32, forget: u32) -> Penalty {
        let number = |n| NonZeroU32::new(n).unwrap();
        Penalty {
            after: number(after),
            first_millis: number(first),
            most_millis: number(most),
            forget_millis: number(forget),
        }
    }

    /// Refused at a bucket that takes a second to have enough, so often, from then on every 10 ms.
    fn refused(standing: &mut Standing, times: u64, from: u64, penalty: &Penalty) -> u64 {
        let mut now = from;
        for _ in 0..times {
            *standing = standing.at(now, penalty);
            standing.refused(SECOND, now, penalty);
            now += 10_000;
        }
        now
    }

    #[test]
    fn who_waits_as_told_is_never_penalized() {
        let penalty = penalty(1, 1_000, 60_000, 600_000);
        let mut standing = Standing::default();
        for times in 0..100 {
            let now = times * SECOND;
            standing = standing.at(now, &penalty);
            standing.refused(SECOND, now, &penalty);
        }
        assert_eq!((standing.level, standing.strikes, standing.blocked), (0, 0, false));
    }

    #[test]
    fn who_does_not_wait_climbs_one_level_after_another_up_to_the_last() {
        let penalty = penalty(3, 1_000, 5_000, 600_000);
        let mut standing = Standing::default();
        // The first is told when to come, three more come before that.
        let now = refused(&mut standing, 4, 0, &penalty);
        assert_eq!((standing.level, standing.blocked), (1, true));
        // What is on its way when that happens is not counted.
        let now = refused(&mut standing, 90, now, &penalty);
        assert_eq!(standing.level, 1);
        let mut levels = Vec::new();
        let mut at = now;
        for _ in 0..6 {
            at = refused(&mut standing, 110, at, &penalty);
            levels.push(standing.level);
            assert!(standing.blocked_for(at) <= 6 * SECOND, "{standing:?}");
        }
        assert_eq!(*levels.last().unwrap(), 4, "1 s, 2 s, 4 s and 5 s: {levels:?}");
        assert!(levels.is_sorted(), "{levels:?}");
    }

    #[test]
    fn each_quiet_time_takes_one_level_away() {
        let penalty = penalty(1, 1_000, 60_000, 10_000);
        let (level, until) = (3, 5 * SECOND);
        let standing = Standing { level, blocked: true, strikes: 2, since: SECOND, until };
        let after = |seconds: u64| standing.at(until + seconds * SECOND, &penalty);
        assert_eq!((after(9).level, after(9).strikes), (3, 2));
        assert_eq!((after(10).level, after(10).strikes), (2, 0));
        assert_eq!(after(29).level, 1);
        assert_eq!(after(30).level, 0);
        // A part of a quiet time is not lost where the standing is written down in between.
        assert_eq!(after(19).at(until + 20 * SECOND, &penalty).level, 1);
        assert!(!after(30).matters(until + 30 * SECOND));
    }

    #[test]
    fn lower_numbers_end_a_wait_and_a_level_that_no_longer_are() {
        let old = penalty(1, 60_000, 600_000, 600_000);
        let mut standing = Standing::default();
        refused(&mut standing, 2, 1, &old);
        assert!(standing.blocked_for(10_002) > 59 * SECOND);
        let now = standing.at(10_002, &penalty(1, 1_000, 2_000, 600_000));
        assert!(now.blocked_for(10_002) <= 2 * SECOND + SECOND / 2, "{now:?}");
    }

    proptest! {
        #[test]
        fn whoever_waits_as_told_is_let_in_by_the_penalty(
            after in 1..4_u32, first in 1..5_000_u32, times in 1..4_u32, forget in 1..100_000_u32,
            gaps in proptest::collection::vec(0..3_000_000_u64, 1..60),
        ) {
            let penalty = penalty(after, first, first * times, forget);
            let (mut standing, mut now) = (Standing::default(), 0);
            for gap in gaps {
                now += gap;
                standing = standing.at(now, &penalty);
                standing.refused(SECOND, now, &penalty);
                let told = standing.blocked_for(now);
                prop_assert!(told <= (penalty.lasts(u8::MAX) * 6 / 5).max(SECOND));
                let then = standing.at(now + told, &penalty);
                prop_assert_eq!(then.blocked_for(now + told), 0);
                prop_assert!(then.level <= penalty.highest());
            }
        }
    }
}
