//! How failed logins are counted, and what follows from them.
//!
//! [`Ladder`] is the arithmetic, pure: told the time, it says when what is locked and for how long.
//! The store in this process runs it; the script of the one in Redis does the same sums, and one
//! suite of tests runs over both. Times are milliseconds. Imports `domain`.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::domain::audit::Severity;
use crate::domain::login::{LoginPepper, LoginSubject};
use crate::domain::source::Source;

/// How failed logins at auth servers are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginPolicy {
    /// Whether lockouts are enforced.
    pub mode: LoginMode,
    /// What happens while the shared store is away.
    pub when_away: LoginsAway,
    /// For how long an address from which an account was signed in is known to it.
    pub known_for: Duration,
    /// One account at one address.
    pub pair: Ladder,
    /// One address.
    pub address: Ladder,
    /// One network.
    pub network: Ladder,
    /// One account, at addresses that it does not know.
    pub account: Ladder,
    /// Failures for many accounts from one place.
    pub spraying: Option<Spraying>,
    /// Failures of most attempts, wherever from.
    pub stuffing: Option<Stuffing>,
    /// How a lockout is told.
    pub severity: Severity,
    /// What hashes of accounts are keyed with, where it is stated.
    pub pepper: Option<LoginPepper>,
    /// Where it was written.
    pub source: Source,
}

impl LoginPolicy {
    /// The ladder of a subject.
    pub fn ladder(&self, subject: LoginSubject) -> &Ladder {
        match subject {
            LoginSubject::Pair => &self.pair,
            LoginSubject::Address => &self.address,
            LoginSubject::Network => &self.network,
            LoginSubject::Account => &self.account,
        }
    }
}

/// Whether something has an effect, or is only told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginMode {
    /// It has.
    Enforce,
    /// It is counted and told, and nothing is refused for it.
    Shadow,
}

/// What happens while the shared store is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginsAway {
    /// Each node counts by itself.
    Local,
    /// Logins are 503.
    Closed,
}

/// Failures for many accounts from one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spraying {
    /// Enforced: the place is locked.
    pub mode: LoginMode,
    /// So many accounts from one address.
    pub accounts: NonZeroU32,
    /// So many accounts from one network.
    pub network_accounts: NonZeroU32,
    /// In this time.
    pub window: Duration,
    /// How it is told.
    pub severity: Severity,
}

/// Failures of most attempts, wherever from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stuffing {
    /// Enforced: addresses are locked sooner while it lasts.
    pub mode: LoginMode,
    /// So many failures at least.
    pub failures: NonZeroU32,
    /// So many of a hundred attempts at least.
    pub percent: NonZeroU32,
    /// In this time.
    pub window: Duration,
    /// While it lasts, so many failures lock an address.
    pub address_failures: NonZeroU32,
    /// How it is told.
    pub severity: Severity,
}

/// When something is locked, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ladder {
    /// Failures that lock it first …
    pub failures: NonZeroU32,
    /// … and after a lockout has ended, so many lock it again.
    pub again: NonZeroU32,
    /// Failures count together if they come within this time of the first of them.
    pub within: Duration,
    /// The first lockout lasts for this long …
    pub first: Duration,
    /// … each further one so many times as long …
    pub factor: NonZeroU32,
    /// … and none for longer than this.
    pub most: Duration,
    /// A lockout is forgotten after this time: the next is a first one.
    pub forget: Duration,
}

/// What is counted for one subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Failures, and attempts whose outcome is not known yet.
    pub count: u32,
    /// When the first of them came.
    pub since: u64,
    /// Lockouts in a row.
    pub level: u32,
    /// Until when it is locked.
    pub until: u64,
}

impl Ladder {
    /// How long a lockout of that level lasts; the first is level 1.
    pub fn lasts(&self, level: u32) -> Duration {
        let factor = u64::from(self.factor.get()).checked_pow(level.saturating_sub(1));
        let lasts = factor.and_then(|factor| millis(self.first).checked_mul(factor));
        Duration::from_millis(lasts.unwrap_or(u64::MAX).min(millis(self.most)))
    }

    /// Failures that lock what has had so many lockouts in a row.
    pub fn needed(&self, level: u32) -> u32 {
        if level == 0 { self.failures.get() } else { self.again.get() }
    }

    /// What is left of a tally at a time.
    pub fn aged(&self, tally: Tally, now: u64) -> Tally {
        let mut tally = tally;
        if now.saturating_sub(tally.since) >= millis(self.within) {
            tally.count = 0;
        }
        if now >= tally.until.saturating_add(millis(self.forget)) {
            tally.level = 0;
        }
        tally
    }

    /// Counts one attempt as if it failed, before anybody knows. Returns the level of the lockout
    /// that it begins, if it does.
    pub fn charge(&self, tally: &mut Tally, now: u64) -> Option<u32> {
        if tally.count == 0 {
            tally.since = now;
        }
        tally.count = tally.count.saturating_add(1);
        (tally.count >= self.needed(tally.level)).then(|| self.lock(tally, now))
    }

    /// Locks it, and returns the level.
    pub fn lock(&self, tally: &mut Tally, now: u64) -> u32 {
        tally.level = tally.level.saturating_add(1);
        tally.until = now.saturating_add(millis(self.lasts(tally.level)));
        tally.count = 0;
        tally.level
    }

    /// Takes an attempt back that did not fail, and the lockout that it began, if that is the
    /// last one.
    pub fn refund(&self, tally: &mut Tally, locked: Option<u32>) {
        match locked {
            Some(level) if level == tally.level => {
                tally.level = level.saturating_sub(1);
                tally.until = 0;
                tally.count = self.needed(tally.level).saturating_sub(1);
            }
            Some(_) => {}
            None => tally.count = tally.count.saturating_sub(1),
        }
    }

    /// Until when a tally says anything.
    pub fn ends(&self, tally: Tally) -> u64 {
        let counted = tally.since.saturating_add(millis(self.within));
        let locked = tally.until.saturating_add(millis(self.forget));
        match (tally.count, tally.level) {
            (0, 0) => 0,
            (_, 0) => counted,
            (0, _) => locked,
            (_, _) => counted.max(locked),
        }
    }
}

/// A time as stores count it.
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ladder(failures: u32, again: u32) -> Ladder {
        let number = |n| NonZeroU32::new(n).unwrap();
        Ladder {
            failures: number(failures),
            again: number(again),
            within: Duration::from_secs(3_600),
            first: Duration::from_secs(30),
            factor: number(2),
            most: Duration::from_secs(3_600),
            forget: Duration::from_secs(86_400),
        }
    }

    #[test]
    fn lockouts_grow_to_the_longest_and_are_forgotten_after_a_while() {
        let ladder = ladder(5, 1);
        let (mut tally, mut now) = (Tally::default(), 1_000_000);
        for _ in 0..4 {
            assert_eq!(ladder.charge(&mut tally, now), None);
        }
        let mut lasted = Vec::new();
        for level in 1..=9 {
            assert_eq!(ladder.charge(&mut tally, now), Some(level));
            lasted.push((tally.until - now) / 1_000);
            now = tally.until;
            tally = ladder.aged(tally, now);
        }
        assert_eq!(lasted, [30, 60, 120, 240, 480, 960, 1_920, 3_600, 3_600]);
        assert_eq!(ladder.ends(tally), now + 86_400_000);
        tally = ladder.aged(tally, now + 86_400_000);
        assert_eq!((tally.level, ladder.charge(&mut tally, now)), (0, None));
        assert_eq!(ladder.lasts(u32::MAX), Duration::from_secs(3_600));
    }

    #[test]
    fn what_did_not_fail_is_taken_back_with_the_lockout_that_it_began() {
        let ladder = ladder(3, 2);
        let (mut tally, now) = (Tally::default(), 1_000_000);
        ladder.charge(&mut tally, now);
        ladder.charge(&mut tally, now);
        let before = tally;
        let locked = ladder.charge(&mut tally, now);
        assert_eq!(locked, Some(1));
        ladder.refund(&mut tally, locked);
        assert_eq!((tally.count, tally.level, tally.until), (before.count, 0, 0));
        ladder.refund(&mut tally, None);
        assert_eq!(tally.count, 1);
    }

    #[test]
    fn failures_far_apart_do_not_count_together() {
        let ladder = ladder(2, 1);
        let mut tally = Tally::default();
        assert_eq!(ladder.charge(&mut tally, 5_000_000), None);
        tally = ladder.aged(tally, 5_000_000 + 3_600_000);
        assert_eq!(ladder.charge(&mut tally, 9_000_000), None);
    }
}
