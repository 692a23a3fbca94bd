//! What a request is charged, and what the bucket store answers.
//!
//! The interface is made for stores that hand out leases: a store may answer from what this node
//! already holds, or ask a shared one; the core sees the same [`ChargeAnswer`].

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::ids::{OrgId, UserId};
use super::known::Outage;
use super::login::AccountHash;

/// A rate as policies state it: so many tokens in a period, and how many may be spent at once.
/// Integers only; the bucket counts in micro-tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    /// Tokens that come back in one period.
    pub tokens: NonZeroU32,
    /// The period, in milliseconds.
    pub period_millis: NonZeroU32,
    /// The size of the bucket: tokens that an idle caller can spend at once.
    pub burst: NonZeroU32,
}

/// As policies write it: `20/s, burst 40`.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}, burst {}", self.tokens, period(self.period_millis.get()), self.burst)
    }
}

/// A period as policies write it: `s`, `min`, `h` or `d`.
pub fn period(millis: u32) -> Cow<'static, str> {
    match millis {
        1_000 => "s".into(),
        60_000 => "min".into(),
        3_600_000 => "h".into(),
        86_400_000 => "d".into(),
        millis => format!("{millis}ms").into(),
    }
}

impl Rate {
    /// How long an empty bucket takes to be full again.
    pub fn fill_time(&self) -> Duration {
        let millis = u64::from(self.burst.get()) * u64::from(self.period_millis.get());
        Duration::from_millis(millis.div_ceil(u64::from(self.tokens.get())))
    }
}

/// What a request asks of the database, as far as limits charge for it. The default is a request for one
/// thing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shape {
    /// Embeds, on all levels.
    pub embeds: u32,
    /// Whether all rows that fit are counted.
    pub counts: bool,
    /// Whether rows are read, and nothing says how many at most.
    pub unlimited: bool,
    /// Whether many rows are passed over before the first.
    pub deep: bool,
}

/// What happens to a limit while the shared store is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WhenAway {
    /// This node enforces its share of the rate by itself.
    LocalShare,
    /// Requests are refused with 503 and `Retry-After`.
    Closed,
    /// Requests pass uncounted.
    Open,
}

/// Whose bucket it is. Part of the bucket's key, so that two limits of the same name for two
/// subjects never meet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A user, inside one organization or outside of all.
    User(UserId, Option<OrgId>),
    /// An organization.
    Organization(OrgId),
    /// A gateway or Supabase key, by its configured name; or a machine's, by its id, inside the
    /// organization that it belongs to.
    Key(Arc<str>, Option<OrgId>),
    /// A route, inside one organization or for all callers.
    Route(Arc<str>, Option<OrgId>),
    /// A client address; IPv6 is counted by /64, which is what one customer holds.
    Address(IpAddr),
    /// An account of an auth server.
    Account(AccountHash),
}

/// One bucket that a request is charged to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketCharge {
    /// The limit's name, unique in the policy.
    pub limit: Arc<str>,
    /// Whose bucket.
    pub subject: Subject,
    /// Its numbers today. A bucket survives a change of them.
    pub rate: Rate,
    /// Tokens to take; never above the burst.
    pub cost: NonZeroU32,
    /// What happens while the store is away.
    pub when_away: WhenAway,
    /// What becomes of a caller that comes back too early, again and again.
    pub penalty: Option<Arc<Penalty>>,
}

/// What becomes of callers that come back before they were told to: they climb levels, and each
/// level refuses them for twice as long as the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Penalty {
    /// So many refusals of somebody who came back too early raise the level by one.
    pub after: NonZeroU32,
    /// The first level refuses for this long, in milliseconds …
    pub first_millis: NonZeroU32,
    /// … and none for longer than this, but for a fifth at random on top of it.
    pub most_millis: NonZeroU32,
    /// Whoever does not come too early for this long comes down by one level, in milliseconds.
    pub forget_millis: NonZeroU32,
}

/// All buckets that one request is charged to: all or none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Charge {
    /// At most one per limit of the route; inline up to five.
    pub buckets: SmallVec<[BucketCharge; 5]>,
}

impl Charge {
    /// Whether any of its limits has a penalty.
    pub fn penalizes(&self) -> bool {
        self.buckets.iter().any(|bucket| bucket.penalty.is_some())
    }
}

/// What a request is charged once more, when its answer is known. What a bucket does not hold it owes,
/// down to a stated debt; what is beyond that is let off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dues {
    /// The buckets, one by one: none depends on the others.
    pub all: Vec<Due>,
    /// Whether the request was charged to this node's share, because the shared store was away.
    pub here: bool,
}

impl Dues {
    /// The most that any of them charges for an answer, in tokens, rounded up.
    pub fn cost(&self, took: Duration, bytes: u64) -> u64 {
        let enforced = self.all.iter().filter(|due| !due.shadow);
        let micros = enforced.map(|due| due.micros(took, bytes)).max();
        micros.unwrap_or(0).div_ceil(1_000_000)
    }
}

/// One bucket of [`Dues`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The bucket.
    pub bucket: BucketCharge,
    /// Tokens for each second that the upstream took.
    pub per_second: u32,
    /// Tokens for each mebibyte of the answer.
    pub per_mebibyte: u32,
    /// Tokens that the bucket can owe.
    pub most: NonZeroU32,
    /// Whether its limit is in shadow: then it is no cost of the request.
    pub shadow: bool,
}

impl Due {
    /// What an answer costs, in micro-tokens, rounded up.
    pub fn micros(&self, took: Duration, bytes: u64) -> u64 {
        // A token for each second is a micro-token for each microsecond.
        let time = took.as_micros().saturating_mul(u128::from(self.per_second));
        let size = u128::from(bytes) * u128::from(self.per_mebibyte);
        let size = size.saturating_mul(1_000_000).div_ceil(1 << 20);
        u64::try_from(time.saturating_add(size)).unwrap_or(u64::MAX)
    }
}

/// What the store says of a [`Charge`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChargeAnswer {
    /// Every bucket was charged.
    Granted {
        /// What is left, bucket by bucket, in the order of the charge.
        balances: SmallVec<[Balance; 5]>,
    },
    /// No bucket was charged, because this one had too little.
    Refused {
        /// Index into the charge of the bucket that refused.
        bucket: usize,
        /// A client that waits that long finds enough in this bucket, if nobody else spends.
        retry_after: Duration,
        /// The level of the penalty that refused; 0 where it was the bucket that had too little.
        penalty: u8,
        /// What is left, bucket by bucket.
        balances: SmallVec<[Balance; 5]>,
    },
    /// The store did not answer in time and nothing was charged that is known of.
    Away(Outage),
}

/// What is left in a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Balance {
    /// Whole tokens left.
    pub remaining: u32,
    /// Until the bucket is full again.
    pub full_in: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(per_second: u32, per_mebibyte: u32, shadow: bool) -> Due {
        let one = NonZeroU32::MIN;
        let bucket = BucketCharge {
            limit: Arc::from("some"),
            subject: Subject::Account(AccountHash(1)),
            rate: Rate { tokens: one, period_millis: one, burst: one },
            cost: one,
            when_away: WhenAway::Closed,
            penalty: None,
        };
        Due { bucket, per_second, per_mebibyte, most: one, shadow }
    }

    #[test]
    fn an_answer_costs_what_the_dearest_limit_charges_that_is_no_shadow() {
        let all = vec![due(10, 0, false), due(2, 4, false), due(1_000, 1_000, true)];
        let dues = Dues { all, here: false };
        for (millis, bytes, cost) in [(0, 0, 0), (1, 0, 1), (1_000, 0, 10), (0, 3 << 20, 12)] {
            assert_eq!(dues.cost(Duration::from_millis(millis), bytes), cost, "{millis} {bytes}");
        }
        assert_eq!(Dues { all: Vec::new(), here: false }.cost(Duration::MAX, u64::MAX), 0);
    }

    #[test]
    fn a_rate_is_shown_as_policies_write_it() {
        let shown = |millis: u32| {
            let two = NonZeroU32::MIN.saturating_add(1);
            let period_millis = NonZeroU32::new(millis).unwrap();
            Rate { tokens: two, period_millis, burst: two }.to_string()
        };
        let of = [1_000, 60_000, 3_600_000, 86_400_000, 1_500].map(shown);
        let texts = ["s", "min", "h", "d", "1500ms"].map(|unit| format!("2/{unit}, burst 2"));
        assert_eq!(of, texts);
    }
}
