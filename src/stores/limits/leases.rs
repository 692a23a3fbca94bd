//! What this node has leased of buckets in Redis, and what Redis refused it lately.
//!
//! A charge that every bucket has a lease for is decided here: one look into a sharded table for
//! each bucket, and no call. A refusal is remembered for a moment, so that a flood of requests that
//! are refused costs Redis almost nothing. Everything else is asked of Redis, and only Redis
//! refuses: that a lease is used up says nothing of the bucket. Imports `domain` only.
//!
//! A lease is closed before its tokens can be spent twice: with the next call for its bucket, or
//! shortly before its end, whatever was not spent is given back, and the node spends no more of it
//! from the moment at which it writes the call. Time is the node's monotonic clock; a lease ends
//! here before it can have ended in Redis, because it is counted from before its call was sent.
//!
//! The table is bounded, by forgetting what was not used for longest of what it comes across. What
//! is forgotten with a lease in it is lost until the lease has ended: fewer are admitted, never
//! more.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ahash::RandomState;
use hashbrown::HashTable;
use smallvec::SmallVec;

use crate::domain::charge::{Balance, BucketCharge, Charge, ChargeAnswer, Subject};
use crate::domain::clock::{Clock, Now};
use crate::domain::ids::OrgId;

use super::bucket::{Bucket, balances, capacity, price, wait};
use super::parts::is_same;
use super::penalty::{ToldPenalty, hold};

mod entry;

use entry::{Entry, Lease};
pub(super) use entry::{Terms, Told};

/// Parts that are locked apart: as many as a set of them has bits.
const SHARDS: usize = 64;
/// The bits of a hash that choose the part: the table itself uses the lowest and the highest.
const SHARD_BITS: u64 = 0xffff << 32;
/// Slots looked at for one to forget, per new bucket in a full shard.
const PROBES: usize = 8;
/// A refusal is remembered for no longer than this.
const REMEMBERED: u64 = 250_000;
/// What a bucket owes is told after this long, unless a call for it goes earlier.
const TOLD_AFTER: u64 = 100_000;
/// Clocks run wrong by less than one part in so many.
const DRIFT: u64 = 1_000;

/// How long leases last, where there are any.
#[derive(Debug, Clone, Copy)]
pub(super) struct Epoch(pub(super) u64);

impl Epoch {
    /// From the settings.
    pub(super) fn of(lease: Duration) -> Self {
        Self(u64::try_from(lease.as_micros()).unwrap_or(u64::MAX).max(1))
    }

    /// Until when a lease of a call that was sent then is spent: a little less than the shortest
    /// that it lasts in Redis, for clocks that drift and steps that nobody notices.
    fn spent_until(self, sent: u64) -> u64 {
        sent.saturating_add(self.0.saturating_sub(self.0 / DRIFT).saturating_sub(self.0 / 20))
    }

    /// Whether a lease of a call that was sent then is spent at this moment.
    pub(super) fn is_spent_at(self, sent: Now, now: Now) -> bool {
        micros(now) < self.spent_until(micros(sent))
    }

    /// Before its end a lease goes back by itself.
    fn given_back_at(self, ends: u64) -> u64 {
        ends.saturating_sub(self.0 / 8)
    }
}

/// Leases and refusals, bucket by bucket.
#[derive(Debug)]
pub(super) struct Leases {
    epoch: Epoch,
    // Keyed at random, so that callers cannot choose ids that collide.
    hasher: RandomState,
    shards: Box<[Mutex<Shard>]>,
    /// Leases by the time at which they go back, about in that order.
    due: Mutex<VecDeque<(u64, u64)>>,
    /// Buckets that owe, by the time at which that is told.
    owing: Mutex<VecDeque<(u64, u64)>>,
    stats: LeaseCounters,
}

#[derive(Debug, Default)]
struct LeaseCounters {
    local: AtomicU64,
    remembered: AtomicU64,
    forgotten: AtomicU64,
    raised: AtomicU64,
}

/// What leases came to since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeaseStats {
    /// Charges granted from leases.
    pub local: u64,
    /// Charges refused because Redis had just refused the like.
    pub remembered: u64,
    /// Leases that were forgotten to make room for others.
    pub forgotten: u64,
    /// How often a call raised a caller's penalty.
    pub raised: u64,
    /// Buckets in the table.
    pub buckets: usize,
}

#[derive(Debug)]
struct Shard {
    entries: HashTable<Entry>,
    most: usize,
    hand: usize,
}

impl Leases {
    pub(super) fn new(most: NonZeroU32, epoch: Epoch) -> Self {
        let per_shard = usize::try_from(most.get()).unwrap_or(usize::MAX).div_ceil(SHARDS);
        let shard = || Shard { entries: HashTable::new(), most: per_shard, hand: 0 };
        Self {
            epoch,
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::new(shard())).collect(),
            due: Mutex::default(),
            owing: Mutex::default(),
            stats: LeaseCounters::default(),
        }
    }

    /// Decides a charge by what this node holds. `None`: Redis has to be asked, and nobody was
    /// admitted.
    ///
    /// The clock is read again after spending: a process that is stopped after `now` was read goes
    /// on with a lease that has ended meanwhile, and must not admit anybody from it.
    pub(super) fn decide(
        &self,
        charge: &Charge,
        now: Now,
        clock: &dyn Clock,
    ) -> Option<ChargeAnswer> {
        let now = micros(now);
        let hashes = self.hashes(charge);
        let mut shards = self.lock(&hashes);
        let (mut local, mut refused) = (true, false);
        let mut demands: SmallVec<[u64; 5]> = SmallVec::new();
        let mut places: SmallVec<[Place; 5]> = SmallVec::new();
        for (index, (bucket, hash)) in charge.buckets.iter().zip(&hashes).enumerate() {
            let before = charge.buckets.iter().zip(&hashes).take(index);
            let same = before.filter(|(other, at)| **at == *hash && is_same(other, bucket));
            let demand =
                same.map(|(other, _)| price(other)).fold(price(bucket), u64::saturating_add);
            demands.push(demand);
            let place = place(&shards, *hash, bucket);
            let Some(entry) = place.and_then(|place| at(&mut shards, place)) else {
                local = false;
                continue;
            };
            places.extend(place);
            entry.used.once(now);
            let leased = entry.affords(demand, now);
            refused |= !leased && entry.refuses(demand, now);
            local &= leased;
        }
        if refused {
            drop(shards);
            self.stats.remembered.fetch_add(1, Ordering::Relaxed);
            return Some(self.refused(charge, &hashes, &demands, now));
        }
        if !local {
            return None;
        }
        let mut balances: SmallVec<[Balance; 5]> = SmallVec::new();
        let mut ends = u64::MAX;
        for (bucket, place) in charge.buckets.iter().zip(places) {
            let entry = at(&mut shards, place)?;
            ends = ends.min(entry.spend(price(bucket), now));
            balances.push(entry.seen.at(now, &bucket.rate).balance());
        }
        drop(shards);
        if clock.mono_nanos() / 1_000 >= ends {
            // What was taken from leases that go on is lost: a stopped process is rare.
            return None;
        }
        self.stats.local.fetch_add(1, Ordering::Relaxed);
        Some(ChargeAnswer::Granted { balances })
    }

    /// What the call for a charge is to say of each bucket. From here on nothing is spent of the
    /// leases that it closes, whatever becomes of it.
    pub(super) fn terms(
        &self,
        charge: &Charge,
        now: Now,
        patience: Duration,
    ) -> SmallVec<[Terms; 5]> {
        let now = micros(now);
        let patience = u64::try_from(patience.as_micros()).unwrap_or(u64::MAX);
        let hashes = self.hashes(charge);
        let mut shards = self.lock(&hashes);
        // Where one bucket has to be asked for anyway, leases of the others save nothing.
        let busy = charge.buckets.iter().zip(&hashes).all(|(bucket, hash)| {
            let entry = find(&mut shards, *hash, bucket);
            entry.is_some_and(|entry| entry.used.worth_a_lease(&bucket.rate))
        });
        let mut out: SmallVec<[Terms; 5]> = SmallVec::new();
        for (bucket, hash) in charge.buckets.iter().zip(&hashes) {
            let Some(entry) = find(&mut shards, *hash, bucket) else {
                out.push(Terms::default());
                continue;
            };
            if !busy && entry.is_ample(&bucket.rate, now) {
                // What others go on with: this request takes its part out of the bucket beside it.
                out.push(Terms::default());
                continue;
            }
            let mut terms = entry.close(now);
            if busy && entry.asked_until <= now {
                entry.asked_until = now.saturating_add(patience);
                terms.want = entry.used.ahead().saturating_mul(price(bucket));
            }
            if let Some(against) = entry.relieve() {
                terms.strikes = std::mem::take(&mut against.strikes);
                (terms.owes, terms.most) = (std::mem::take(&mut against.owes), against.most);
            }
            out.push(terms);
        }
        out
    }

    /// Takes note of what Redis said about a charge whose call was sent then. `refused` is how long
    /// it is to wait, where nothing more is to be had for now. Returns that, or longer where the
    /// bucket is left alone for longer.
    pub(super) fn told(
        &self,
        charge: &Charge,
        told: &[Told],
        refused: Option<(usize, Duration)>,
        sent: Now,
        now: Now,
    ) -> Duration {
        let mut least = Duration::ZERO;
        let (sent, now) = (micros(sent), micros(now));
        let ends = self.epoch.spent_until(sent);
        let hashes = self.hashes(charge);
        let mut shards = self.lock(&hashes);
        for (index, ((bucket, hash), told)) in
            charge.buckets.iter().zip(&hashes).zip(told).enumerate()
        {
            let shard = shards.iter_mut().find(|(at, _)| *at == shard_of(*hash));
            let Some((_, shard)) = shard else { continue };
            let Some(entry) = shard.entry(*hash, bucket, now, &self.stats) else { continue };
            entry.asked_until = 0;
            let left = told.left.saturating_add(told.lease).saturating_add(entry.spendable(now));
            entry.seen = Bucket { micros: left, debt: told.debt, at: now, rate: bucket.rate };
            let ToldPenalty { blocked, level, raised } = told.penalty;
            entry.penalty.clone_from(&bucket.penalty);
            if let Some(against) = entry.relieve() {
                (against.refused_until, against.retry_at, against.blocked_until) = (0, 0, 0);
            }
            if blocked > 0 {
                let against = entry.hold_against();
                (against.blocked_until, against.level) = (now.saturating_add(blocked), level);
            }
            self.stats.raised.fetch_add(u64::from(raised), Ordering::Relaxed);
            if let Some((_, wait)) = refused.filter(|(refusing, _)| *refusing == index) {
                let wait = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
                let rest = wait.max(entry.rest(&bucket.rate)).min(REMEMBERED);
                let against = entry.hold_against();
                against.retry_at = now.saturating_add(wait);
                against.refused_until = now.saturating_add(rest);
                against.refused_price = if blocked > 0 { 0 } else { price(bucket) };
                least = Duration::from_micros(wait.max(rest));
            }
            entry.clear(now);
            if told.lease > 0 && ends > now {
                entry.add(told, ends);
                entry.pay(now);
                let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
                due.push_back((self.epoch.given_back_at(ends), *hash));
            }
        }
        least
    }

    /// Buckets with a lease that is to go back now, and what to say of them. `all`: whenever they
    /// are due.
    pub(super) fn due(&self, now: Now, all: bool, most: usize) -> Vec<(BucketCharge, Terms)> {
        let now = micros(now);
        let mut out = Vec::new();
        while out.len() < most {
            let next = {
                let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
                match due.front() {
                    Some((at, _)) if all || *at <= now => due.pop_front(),
                    Some(_) | None => None,
                }
            };
            let Some((_, hash)) = next else { break };
            let Some(shard) = self.shards.get(shard_of(hash)) else { continue };
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let back_by = |lease: &Lease| {
                lease.left > 0 && (all || self.epoch.given_back_at(lease.ends) <= now)
            };
            let wanted = |entry: &Entry| entry.hash == hash && entry.leases().any(back_by);
            let Some(entry) = shard.entries.find_mut(hash, wanted) else { continue };
            let terms = entry.close(now);
            if terms.back > 0 || terms.back_before > 0 {
                out.push((entry.charge(), terms));
            }
        }
        out
    }

    /// Charges a bucket for an answer: first to what is leased of it here, whose tokens are out of the
    /// bucket whether they are spent or not. The rest goes with the next call for it, or with one of
    /// its own soon.
    pub(super) fn settle(&self, bucket: &BucketCharge, micros: u64, most: u64, now: Now) {
        let now = self::micros(now);
        let hash = self.hash(bucket, &mut None);
        let Some(shard) = self.shards.get(shard_of(hash)) else { return };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = shard.entry(hash, bucket, now, &self.stats) else { return };
        // More than that no bucket can be charged.
        let whole = capacity(&bucket.rate).saturating_add(most);
        let against = entry.hold_against();
        (against.owes, against.most) = (against.owes.saturating_add(micros).min(whole), most);
        entry.pay(now);
        entry.clear(now);
        let unpaid = entry.relieve().filter(|against| against.owes > 0 && !against.queued);
        if let Some(against) = unpaid {
            against.queued = true;
            let mut owing = self.owing.lock().unwrap_or_else(PoisonError::into_inner);
            owing.push_back((now.saturating_add(TOLD_AFTER), hash));
        }
    }

    /// Buckets that owe, and what to say of them. `all`: whenever their turn is.
    pub(super) fn owing(&self, now: Now, all: bool, most: usize) -> Vec<(BucketCharge, Terms)> {
        let now = micros(now);
        let mut out = Vec::new();
        while out.len() < most {
            let next = {
                let mut owing = self.owing.lock().unwrap_or_else(PoisonError::into_inner);
                match owing.front() {
                    Some((at, _)) if all || *at <= now => owing.pop_front(),
                    Some(_) | None => None,
                }
            };
            let Some((_, hash)) = next else { break };
            let Some(shard) = self.shards.get(shard_of(hash)) else { continue };
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let queued = |entry: &Entry| entry.against().is_some_and(|against| against.queued);
            let wanted = |entry: &Entry| entry.hash == hash && queued(entry);
            let Some(entry) = shard.entries.find_mut(hash, wanted) else { continue };
            let Some(against) = entry.relieve() else { continue };
            against.queued = false;
            let (owes, most) = (std::mem::take(&mut against.owes), against.most);
            if owes > 0 {
                out.push((entry.charge(), Terms { owes, most, ..Terms::default() }));
            }
        }
        out
    }

    pub(super) fn stats(&self) -> LeaseStats {
        let lock = |shard: &Mutex<Shard>| {
            shard.lock().unwrap_or_else(PoisonError::into_inner).entries.len()
        };
        LeaseStats {
            local: self.stats.local.load(Ordering::Relaxed),
            remembered: self.stats.remembered.load(Ordering::Relaxed),
            forgotten: self.stats.forgotten.load(Ordering::Relaxed),
            raised: self.stats.raised.load(Ordering::Relaxed),
            buckets: self.shards.iter().map(lock).sum(),
        }
    }

    fn refused(&self, charge: &Charge, hashes: &[u64], demands: &[u64], now: u64) -> ChargeAnswer {
        let mut shards = self.lock(hashes);
        let mut levels: SmallVec<[Bucket; 5]> = SmallVec::new();
        let (mut named, mut longest) = (0, Duration::ZERO);
        let mut held = None;
        for (index, ((bucket, hash), demand)) in
            charge.buckets.iter().zip(hashes).zip(demands).enumerate()
        {
            let mut level = Bucket::full(bucket.rate, now);
            if let Some(entry) = find(&mut shards, *hash, bucket) {
                level = entry.seen.at(now, &bucket.rate);
                if entry.refuses(*demand, now) {
                    let lack = level.lacks(*demand);
                    let against = entry.hold_against();
                    // Who comes back before the refusal is forgotten is refused again, unasked.
                    let until = against.retry_at.max(against.refused_until).saturating_sub(now);
                    let until = Duration::from_micros(until);
                    let wait = until.max(wait(lack, &bucket.rate));
                    if wait > longest {
                        (named, longest) = (index, wait);
                    }
                    // What comes later, and is refused, only waits for the next call.
                    if bucket.penalty.is_some() && now < against.retry_at {
                        against.strikes = against.strikes.saturating_add(1);
                    }
                    if now < against.blocked_until {
                        held = Some((index, against.blocked_until - now, against.level));
                    }
                }
            }
            levels.push(level);
        }
        let (retry_after, balances) = (longest, balances(&levels));
        let mut answer = ChargeAnswer::Refused { bucket: named, retry_after, penalty: 0, balances };
        if let Some((index, blocked, level)) = held {
            hold(&mut answer, index, blocked, level);
        }
        answer
    }

    fn hashes(&self, charge: &Charge) -> SmallVec<[u64; 5]> {
        let mut known = None;
        charge.buckets.iter().map(|bucket| self.hash(bucket, &mut known)).collect()
    }

    /// The buckets of an organization lie together, so that a charge locks them once; those of its
    /// users, which can be many, lie everywhere. `known` is what was found for the bucket before.
    fn hash(&self, bucket: &BucketCharge, known: &mut Option<(OrgId, u64)>) -> u64 {
        let own = self.hasher.hash_one((&*bucket.limit, &bucket.subject));
        let Some(organization) = shared_by(&bucket.subject) else { return own };
        let shard = match *known {
            Some((id, hash)) if id == organization => hash,
            Some(_) | None => self.hasher.hash_one(organization),
        };
        *known = Some((organization, shard));
        (own & !SHARD_BITS) | (shard & SHARD_BITS)
    }

    fn lock(&self, hashes: &[u64]) -> Locked<'_> {
        // One order for everybody, and each lock once.
        let mut wanted = hashes.iter().fold(0_u64, |set, hash| set | 1 << shard_of(*hash));
        let mut locked = Locked::new();
        while wanted != 0 {
            let index = usize::try_from(wanted.trailing_zeros()).unwrap_or(0);
            wanted &= wanted - 1;
            // A panic elsewhere leaves whole leases behind: each is written in one step.
            let Some(shard) = self.shards.get(index) else { continue };
            locked.push((index, shard.lock().unwrap_or_else(PoisonError::into_inner)));
        }
        locked
    }
}

type Locked<'l> = SmallVec<[(usize, MutexGuard<'l, Shard>); 5]>;

impl Shard {
    /// The bucket's entry, made where there is none. `None`: there is no room.
    fn entry(
        &mut self,
        hash: u64,
        bucket: &BucketCharge,
        now: u64,
        stats: &LeaseCounters,
    ) -> Option<&mut Entry> {
        if self.entries.find(hash, |entry| entry.is(bucket)).is_none() {
            if !self.make_room(now, stats) {
                return None;
            }
            let entry = Entry::new(hash, bucket, now);
            self.entries.insert_unique(hash, entry, |entry| entry.hash);
        }
        self.entries.find_mut(hash, |entry| entry.is(bucket))
    }

    /// Forgets an entry where the shard is full: one that holds nothing, or else some other.
    fn make_room(&mut self, now: u64, stats: &LeaseCounters) -> bool {
        if self.entries.len() < self.most {
            return true;
        }
        let slots = self.entries.num_buckets();
        let mut last = None;
        for _ in 0..PROBES.min(slots) {
            self.hand = (self.hand + 1) % slots;
            let Ok(found) = self.entries.get_bucket_entry(self.hand) else { continue };
            if !found.get().holds(now) {
                found.remove();
                return true;
            }
            last = Some(self.hand);
        }
        let Some(last) = last else { return false };
        if let Ok(found) = self.entries.get_bucket_entry(last) {
            found.remove();
            stats.forgotten.fetch_add(1, Ordering::Relaxed);
        }
        self.entries.len() < self.most
    }
}

/// Where an entry is, as long as its shard is locked: the how many-th lock, and the slot there.
#[derive(Debug, Clone, Copy)]
struct Place(usize, usize);

fn place(shards: &Locked<'_>, hash: u64, bucket: &BucketCharge) -> Option<Place> {
    let wanted = shard_of(hash);
    let lock = shards.iter().position(|(index, _)| *index == wanted)?;
    let (_, shard) = shards.get(lock)?;
    let slot = shard.entries.find_bucket_index(hash, |entry| entry.is(bucket))?;
    Some(Place(lock, slot))
}

fn at<'e>(shards: &'e mut Locked<'_>, Place(lock, slot): Place) -> Option<&'e mut Entry> {
    shards.get_mut(lock)?.1.entries.get_bucket_mut(slot)
}

fn find<'e>(shards: &'e mut Locked<'_>, hash: u64, bucket: &BucketCharge) -> Option<&'e mut Entry> {
    let place = place(shards, hash, bucket)?;
    at(shards, place)
}

fn shared_by(subject: &Subject) -> Option<OrgId> {
    match subject {
        Subject::Organization(id) => Some(*id),
        Subject::Key(_, organization) | Subject::Route(_, organization) => *organization,
        Subject::User(..) | Subject::Address(_) | Subject::Account(_) => None,
    }
}

fn shard_of(hash: u64) -> usize {
    usize::try_from((hash & SHARD_BITS) >> 32).unwrap_or(0) % SHARDS
}

fn micros(now: Now) -> u64 {
    now.mono_nanos / 1_000
}

#[cfg(test)]
mod tests;
