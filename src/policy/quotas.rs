//! Quotas: how much an organization may use in a calendar period, and what becomes of a request
//! when it has. Pure; imports `domain` only.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::domain::source::Source;
use crate::domain::usage::{OrganizationUse, PeriodUse};

/// One quota of the policy.
#[derive(Debug, Clone)]
pub struct Quota {
    /// Its unique name.
    pub name: Arc<str>,
    /// The period.
    pub per: Period,
    /// What is counted.
    pub of: Unit,
    /// How much there is of it.
    pub amount: Amount,
    /// What happens when it is used up.
    pub mode: Mode,
    /// What happens while the ledger is away.
    pub when_away: WithoutLedger,
    /// What becomes of what a process had not journalled when it was killed.
    pub after_crash: AfterCrash,
    /// Shares of it, in percent and ascending, that are told when they are reached.
    pub thresholds: Box<[u16]>,
    /// Where it was written.
    pub source: Source,
}

/// A calendar period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// From midnight to midnight.
    Day,
    /// From the first of a month to its last.
    Month,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Requests that were admitted.
    Calls,
    /// Bytes of bodies, in and out.
    Bytes,
    /// Cost units.
    Cost,
}

/// How much there is.
#[derive(Debug, Clone)]
pub enum Amount {
    /// The same for all.
    Fixed(NonZeroU64),
    /// By the organization's plan; `config` has made sure that every plan states one.
    ByPlan(BTreeMap<Arc<str>, NonZeroU64>),
}

/// What happens when a quota is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Requests are refused until the period ends.
    Hard,
    /// They are served; events and the ledger tell.
    Soft,
    /// They are served; their records say that a hard quota would have refused them.
    Shadow,
    /// There is no such quota; it is under no route.
    Off,
}

/// What happens while the ledger is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithoutLedger {
    /// What this node knows counts.
    Serve,
    /// Requests are refused with 503.
    Refuse,
}

/// What becomes of what a process had not journalled when it was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterCrash {
    /// It is forgiven.
    Lenient,
    /// There is nothing of it: a request is journalled before it is sent on.
    Strict,
}

impl Unit {
    /// As policies write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Bytes => "bytes",
            Self::Cost => "cost",
        }
    }
}

impl Mode {
    /// As policies write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hard => "hard",
            Self::Soft => "soft",
            Self::Shadow => "shadow",
            Self::Off => "off",
        }
    }
}

impl WithoutLedger {
    /// As policies write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Serve => "serve",
            Self::Refuse => "refuse",
        }
    }
}

impl Period {
    /// As policies write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
        }
    }
}

/// What becomes of a request under one quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is within the quota.
    Within {
        /// What is used with it.
        used: u64,
        /// The highest threshold that is reached with it; 0 if none.
        reached: u16,
        /// Whether the last fiftieth is being used.
        near: bool,
    },
    /// It would exceed the quota.
    Exceeded,
    /// Nobody knows, and the quota refuses then.
    Unknown,
}

/// What is to be told of a request that is within its quotas.
#[derive(Debug, Clone, Default)]
pub struct Reached {
    /// Of each quota of which a threshold is reached, the highest.
    pub milestones: SmallVec<[Milestone; 2]>,
    /// Whether a quota is nearly used up: what is known should be known soon.
    pub near: bool,
    /// Whether it has to be journalled before it is sent on.
    pub strict: bool,
}

/// A threshold that is reached.
#[derive(Debug, Clone)]
pub struct Milestone {
    /// Of which quota.
    pub quota: Arc<Quota>,
    /// In percent.
    pub percent: u16,
    /// What is used.
    pub used: u64,
    /// All that there is.
    pub amount: NonZeroU64,
}

impl Quota {
    /// How much an organization of that plan has.
    pub fn amount(&self, plan: &str) -> Option<NonZeroU64> {
        match &self.amount {
            Amount::Fixed(amount) => Some(*amount),
            Amount::ByPlan(amounts) => amounts.get(plan).copied(),
        }
    }

    /// What is used of it.
    pub fn used(&self, known: &OrganizationUse) -> u64 {
        let used = self.period(known).used;
        match self.of {
            Unit::Calls => used.calls,
            Unit::Bytes => used.bytes_in.saturating_add(used.bytes_out),
            Unit::Cost => used.cost,
        }
    }

    /// The present period of what is known.
    pub fn period<'u>(&self, known: &'u OrganizationUse) -> &'u PeriodUse {
        match self.per {
            Period::Day => &known.day,
            Period::Month => &known.month,
        }
    }

    /// Whether one more request of that cost is within the quota.
    pub fn judge(&self, amount: NonZeroU64, cost: u32, known: Option<&OrganizationUse>) -> Verdict {
        let refuses = self.when_away == WithoutLedger::Refuse;
        let known = match known {
            Some(known) if known.fresh || !refuses => known,
            Some(_) | None if refuses => return Verdict::Unknown,
            Some(_) | None => return Verdict::Within { used: 0, reached: 0, near: false },
        };
        let amount = amount.get();
        let after = self.used(known).saturating_add(self.brings(cost));
        if after > amount && matches!(self.mode, Mode::Hard | Mode::Shadow) {
            return Verdict::Exceeded;
        }
        let percent = u128::from(after) * 100 / u128::from(amount);
        let reached = self.thresholds.iter().rfind(|share| u128::from(**share) <= percent);
        let reached = reached.copied().unwrap_or(0);
        Verdict::Within { used: after, reached, near: percent >= 98 }
    }

    /// What one more request of that cost brings. Of bytes, nobody knows yet how many: at least one.
    fn brings(&self, cost: u32) -> u64 {
        match self.of {
            Unit::Calls | Unit::Bytes => 1,
            Unit::Cost => u64::from(cost),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::usage::Used;

    fn quota(of: Unit, mode: Mode, when_away: WithoutLedger) -> Quota {
        Quota {
            name: "q".into(),
            per: Period::Month,
            of,
            amount: Amount::Fixed(NonZeroU64::new(100).unwrap()),
            mode,
            when_away,
            after_crash: AfterCrash::Lenient,
            thresholds: [50, 80, 100, 150].into(),
            source: Source::built_in(),
        }
    }

    fn judged(quota: &Quota, used: Used, cost: u32, fresh: bool) -> Verdict {
        let period = |used| PeriodUse { used, resets_in: Duration::from_secs(60) };
        let known = OrganizationUse { day: period(Used::default()), month: period(used), fresh };
        quota.judge(quota.amount("any").unwrap(), cost, Some(&known))
    }

    fn calls(calls: u64) -> Used {
        Used { calls, ..Used::default() }
    }

    fn within(used: u64, reached: u16, near: bool) -> Verdict {
        Verdict::Within { used, reached, near }
    }

    #[test]
    fn the_last_call_of_a_quota_passes_and_the_one_after_it_does_not() {
        let hard = quota(Unit::Calls, Mode::Hard, WithoutLedger::Serve);
        let of = |used| judged(&hard, calls(used), 1, true);
        assert_eq!(of(0), within(1, 0, false));
        assert_eq!(of(48), within(49, 0, false));
        assert_eq!(of(49), within(50, 50, false));
        assert_eq!(of(78), within(79, 50, false));
        assert_eq!(of(79), within(80, 80, false));
        assert_eq!(of(98), within(99, 80, true));
        assert_eq!(of(99), within(100, 100, true));
        assert_eq!(of(100), Verdict::Exceeded);
        assert_eq!(of(u64::MAX), Verdict::Exceeded);
    }

    #[test]
    fn a_soft_quota_refuses_nobody_and_says_that_it_is_used_up() {
        let soft = quota(Unit::Calls, Mode::Soft, WithoutLedger::Serve);
        assert_eq!(judged(&soft, calls(120), 1, true), within(121, 100, true));
        assert_eq!(judged(&soft, calls(5_000), 1, true), within(5_001, 150, true));
    }

    #[test]
    fn bytes_of_both_ways_and_costs_count() {
        let bytes = quota(Unit::Bytes, Mode::Hard, WithoutLedger::Serve);
        let used = |bytes_in, bytes_out| Used { bytes_in, bytes_out, ..Used::default() };
        assert_eq!(judged(&bytes, used(60, 40), 1, true), Verdict::Exceeded);
        assert_ne!(judged(&bytes, used(60, 39), 1, true), Verdict::Exceeded);
        let cost = quota(Unit::Cost, Mode::Hard, WithoutLedger::Serve);
        let used = Used { cost: 95, ..Used::default() };
        assert_ne!(judged(&cost, used, 5, true), Verdict::Exceeded);
        assert_eq!(judged(&cost, used, 6, true), Verdict::Exceeded);
    }

    #[test]
    fn what_is_not_known_is_for_the_quota_to_say() {
        let serves = quota(Unit::Calls, Mode::Hard, WithoutLedger::Serve);
        let refuses = quota(Unit::Calls, Mode::Hard, WithoutLedger::Refuse);
        let amount = NonZeroU64::MIN;
        assert_eq!(serves.judge(amount, 1, None), within(0, 0, false));
        assert_eq!(refuses.judge(amount, 1, None), Verdict::Unknown);
        assert_eq!(judged(&refuses, calls(0), 1, false), Verdict::Unknown);
        assert_eq!(
            judged(&serves, calls(100), 1, false),
            Verdict::Exceeded,
            "what it knows counts"
        );
    }
}
