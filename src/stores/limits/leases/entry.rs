//! One bucket as a node sees it: its leases, what Redis refused of it, and how often it is charged.
//!
//! Imports `domain` only.

use std::num::NonZeroU32;
use std::sync::Arc;

use crate::domain::charge::{BucketCharge, Penalty, Rate, Subject, WhenAway};

use super::super::bucket::{Bucket, capacity, wait};
use super::super::penalty::ToldPenalty;

/// A hot bucket that is empty is asked for again after this long.
pub(super) const REST: u64 = 250_000;
/// Requests per second of a bucket, at this node, from which a lease is worth its call.
pub(super) const LEASED_FROM: u64 = 2;
/// Tokens of a burst from which parts of it are leased: of a smaller one they would be too few to
/// save calls, and too many for the other nodes to miss.
pub(super) const LEASED_BURST: u32 = 40;
/// A lease is for what the node needs in so many microseconds at the observed rate,
pub(super) const AHEAD: u64 = 200_000;
/// and where that is little, for up to so many requests in most of the time that a lease lasts.
pub(super) const FEW: u64 = 8;
pub(super) const FEW_AHEAD: u64 = 1_200_000;
/// Requests per second of a bucket, at this node, from which it is left alone when it is empty.
pub(super) const HOT: u64 = 20;
/// Rates are observed over windows of this many microseconds.
pub(super) const WINDOW: u64 = 100_000;
/// There is plenty in a bucket that has one part in so many of its burst.
pub(super) const AMPLE: u64 = 4;

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) hash: u64,
    pub(super) limit: Arc<str>,
    pub(super) subject: Subject,
    /// What Redis said last, less what was spent here since, on this node's clock.
    pub(super) seen: Bucket,
    pub(super) used: Used,
    /// A call for a lease is on its way, at most until then.
    pub(super) asked_until: u64,
    pub(super) penalty: Option<Arc<Penalty>>,
    // Most of many buckets have neither: what they have not, they have no room for.
    leases: Option<Box<Leased>>,
    against: Option<Box<Against>>,
}

/// What is leased, by the epoch that Redis counts it in: even and odd.
type Leased = [Lease; 2];

/// What stands against a bucket.
#[derive(Debug, Default)]
pub(super) struct Against {
    /// Until then, Redis is not asked for what costs so much.
    pub(super) refused_until: u64,
    pub(super) refused_price: u64,
    /// When it would have that, if nobody else spends.
    pub(super) retry_at: u64,
    /// Until then, its penalty refuses everything, on that level.
    pub(super) blocked_until: u64,
    pub(super) level: u8,
    /// Refusals that Redis does not know of, before the subject was to come back.
    pub(super) strikes: u32,
    /// Micro-tokens that answers cost and that no lease had, how many the bucket can owe, and whether
    /// that waits for its turn to be told.
    pub(super) owes: u64,
    pub(super) most: u64,
    pub(super) queued: bool,
}

impl Against {
    fn is_nothing(&self, now: u64) -> bool {
        let over = self.refused_until.max(self.blocked_until).max(self.retry_at) <= now;
        over && self.strikes == 0 && self.owes == 0 && !self.queued
    }
}

/// Part of a bucket that is this node's for a time.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lease {
    pub(super) epoch: u64,
    /// Micro-tokens that it was, and that are left.
    pub(super) whole: u64,
    pub(super) left: u64,
    pub(super) ends: u64,
}

/// How often a bucket is charged at this node.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Used {
    pub(super) since: u64,
    pub(super) count: u32,
    pub(super) per_second: u32,
}

impl Used {
    pub(super) fn once(&mut self, now: u64) {
        let span = now.saturating_sub(self.since);
        if span >= WINDOW {
            let lately = u64::from(self.count).saturating_mul(1_000_000) / span.max(1);
            let lately = u32::try_from(lately).unwrap_or(u32::MAX);
            // Rises at once, and falls by halves.
            self.per_second = lately.max(self.per_second / 2);
            (self.since, self.count) = (now, 0);
        }
        self.count = self.count.saturating_add(1);
    }

    pub(super) fn worth_a_lease(&self, rate: &Rate) -> bool {
        u64::from(self.per_second) >= LEASED_FROM && rate.burst.get() >= LEASED_BURST
    }

    /// Requests that a lease is for.
    pub(super) fn ahead(&self) -> u64 {
        let within = |time: u64| u64::from(self.per_second).saturating_mul(time) / 1_000_000;
        within(AHEAD).max(within(FEW_AHEAD).min(FEW)).max(1)
    }
}

/// What a call says of one bucket besides its price.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in super::super) struct Terms {
    /// Micro-tokens wanted as a lease.
    pub(in super::super) want: u64,
    /// The epoch of the newest lease that is closed.
    pub(in super::super) epoch: u64,
    /// What was leased in it, and how much of that was not spent.
    pub(in super::super) closed: u64,
    pub(in super::super) back: u64,
    /// The same for the epoch before.
    pub(in super::super) closed_before: u64,
    pub(in super::super) back_before: u64,
    /// Refusals that count for its penalty.
    pub(in super::super) strikes: u32,
    /// Micro-tokens that are charged for answers, and how many the bucket can owe.
    pub(in super::super) owes: u64,
    pub(in super::super) most: u64,
}

/// What Redis said of one bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Told {
    /// Micro-tokens left, or owed.
    pub(in super::super) left: u64,
    pub(in super::super) debt: u64,
    /// Micro-tokens leased, in this epoch.
    pub(in super::super) lease: u64,
    pub(in super::super) epoch: u64,
    /// The most that it holds beside all leases, and when those have ended, in microseconds.
    pub(in super::super) room: u64,
    pub(in super::super) lapse: u64,
    pub(in super::super) penalty: ToldPenalty,
}

impl Entry {
    /// A bucket that is charged for the first time.
    pub(super) fn new(hash: u64, charge: &BucketCharge, now: u64) -> Self {
        Self {
            hash,
            limit: Arc::clone(&charge.limit),
            subject: charge.subject.clone(),
            seen: Bucket::full(charge.rate, now),
            used: Used { since: now, count: 1, per_second: 0 },
            asked_until: 0,
            penalty: None,
            leases: None,
            against: None,
        }
    }

    pub(super) fn is(&self, charge: &BucketCharge) -> bool {
        (Arc::ptr_eq(&self.limit, &charge.limit) || self.limit == charge.limit)
            && self.subject == charge.subject
    }

    /// The bucket, for a call that charges nothing.
    pub(super) fn charge(&self) -> BucketCharge {
        BucketCharge {
            limit: Arc::clone(&self.limit),
            subject: self.subject.clone(),
            rate: self.seen.rate,
            cost: NonZeroU32::MIN,
            when_away: WhenAway::Closed,
            penalty: self.penalty.clone(),
        }
    }

    pub(super) fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.leases.iter().flat_map(|leases| leases.iter())
    }

    /// What stands against it, if anything does.
    pub(super) fn against(&self) -> Option<&Against> {
        self.against.as_deref()
    }

    /// To put something against it.
    pub(super) fn hold_against(&mut self) -> &mut Against {
        self.against.get_or_insert_default()
    }

    /// To take something off what stands against it.
    pub(super) fn relieve(&mut self) -> Option<&mut Against> {
        self.against.as_deref_mut()
    }

    /// Forgets what stood against it, where nothing does any more.
    pub(super) fn clear(&mut self, now: u64) {
        if self.against().is_some_and(|against| against.is_nothing(now)) {
            self.against = None;
        }
    }

    /// Whether Redis has just refused so much.
    pub(super) fn refuses(&self, demand: u64, now: u64) -> bool {
        self.against()
            .is_some_and(|against| now < against.refused_until && demand >= against.refused_price)
    }

    /// Whether its leases have so much, and nothing stands against spending them.
    pub(super) fn affords(&self, demand: u64, now: u64) -> bool {
        let blocked = self.against().is_some_and(|against| now < against.blocked_until);
        !blocked && self.spendable(now) >= demand
    }

    /// How long a hot bucket that is empty is left alone: asked for every token that comes back, it
    /// would never hold enough to lease. Not for so long that it could be full meanwhile.
    pub(super) fn rest(&self, rate: &Rate) -> u64 {
        if u64::from(self.used.per_second) < HOT {
            return 0;
        }
        let filling = wait(capacity(rate) / 4, rate);
        u64::try_from(filling.as_micros()).unwrap_or(u64::MAX).min(REST)
    }

    /// Whether there is a lease to go on with, and enough in the bucket beside it: a call that is
    /// not for a lease then leaves it.
    pub(super) fn is_ample(&self, rate: &Rate, now: u64) -> bool {
        let leased = self.spendable(now);
        let beside = self.seen.at(now, rate).micros.saturating_sub(leased);
        leased > 0 && beside >= capacity(rate) / AMPLE
    }

    pub(super) fn holds(&self, now: u64) -> bool {
        let against = |against: &Against| now < against.refused_until || against.owes > 0;
        self.against().is_some_and(against) || self.spendable(now) > 0
    }

    /// Pays what it owes from its leases, as far as they go.
    pub(super) fn pay(&mut self, now: u64) {
        let spendable = self.spendable(now);
        let Some(against) = self.relieve() else { return };
        let part = against.owes.min(spendable);
        against.owes -= part;
        if part > 0 {
            self.spend(part, now);
        }
    }

    pub(super) fn spendable(&self, now: u64) -> u64 {
        let live = self.leases().filter(|lease| now < lease.ends);
        live.map(|lease| lease.left).fold(0, u64::saturating_add)
    }

    /// Spends from the lease that ends first, and says when the first of those that it took from
    /// ends. Whoever calls has seen that there is enough.
    pub(super) fn spend(&mut self, price: u64, now: u64) -> u64 {
        let (mut missing, mut ends) = (price, u64::MAX);
        self.seen.micros = self.seen.micros.saturating_sub(price);
        let Some(leases) = &mut self.leases else { return ends };
        let [first, second] = &mut **leases;
        if second.ends < first.ends {
            std::mem::swap(first, second);
        }
        for lease in [first, second] {
            let part = if now < lease.ends { missing.min(lease.left) } else { 0 };
            if part > 0 {
                ends = ends.min(lease.ends);
                lease.left -= part;
                missing -= part;
            }
        }
        ends
    }

    /// Ends the leases here. What has run out of time is not given back: nobody knows whether it
    /// still occupies the bucket.
    pub(super) fn close(&mut self, now: u64) -> Terms {
        let Some(leases) = self.leases.take() else { return Terms::default() };
        let newest = leases.iter().filter(|lease| lease.whole > 0).map(|lease| lease.epoch).max();
        let Some(epoch) = newest else { return Terms::default() };
        let mut terms = Terms { epoch, ..Terms::default() };
        for lease in leases.iter().filter(|lease| lease.whole > 0) {
            let back = if now < lease.ends { lease.left } else { 0 };
            if lease.epoch == epoch {
                (terms.closed, terms.back) = (lease.whole, back);
            } else if lease.epoch.checked_add(1) == Some(epoch) {
                (terms.closed_before, terms.back_before) = (lease.whole, back);
            }
        }
        terms
    }

    /// One more lease. It joins one of the same epoch, and ends with the earlier of the two.
    pub(super) fn add(&mut self, told: &Told, ends: u64) {
        let leases = self.leases.get_or_insert_default();
        let joins = leases.iter().position(|l| l.whole > 0 && l.epoch == told.epoch);
        // Otherwise it takes the place of none, or of the older one, whose time is over: leases
        // last for one epoch, and two epochs apart they never meet.
        let oldest = || {
            let first = leases.iter().enumerate().min_by_key(|(_, l)| (l.whole > 0, l.epoch));
            first.map(|(index, _)| index)
        };
        let Some(index) = joins.or_else(oldest) else { return };
        let Some(lease) = leases.get_mut(index) else { return };
        if joins.is_some() {
            lease.whole = lease.whole.saturating_add(told.lease);
            lease.left = lease.left.saturating_add(told.lease);
            lease.ends = lease.ends.min(ends);
        } else {
            *lease = Lease { epoch: told.epoch, whole: told.lease, left: told.lease, ends };
        }
    }
}
