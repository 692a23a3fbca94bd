//! Token buckets in this process: the embedded default, and a node's share while Redis is away.
//!
//! A charge locks the shards of its buckets in the order of their index, so that all-or-none over
//! several of them cannot deadlock, then looks at every bucket before it takes from any. Time is
//! the node's monotonic clock. Imports `domain` only.
//!
//! The map is bounded. A bucket is forgotten only once it would be full again. Where there is no
//! room, new subjects of a limit share an overflow bucket, which can only make them poorer; when
//! room comes back a subject starts with what that bucket has left, so moving mints nothing.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ahash::RandomState;
use hashbrown::HashTable;
use smallvec::SmallVec;

use crate::domain::charge::{BucketCharge, Charge, ChargeAnswer, Subject};
use crate::domain::clock::Now;
use crate::domain::known::Outage;

use super::bucket::{Bucket, balances, capacity, price, refusal, wait};
use super::penalty::{Standing, hold};

/// Shards of a large store; small ones have fewer, so that the bound stays meaningful.
const MOST_SHARDS: u32 = 64;
/// A shard is worth its lock from this many buckets on.
const SHARD_BUCKETS: u32 = 256;
/// Slots looked at for a bucket to forget, per new subject in a full shard.
const PROBES: usize = 32;
/// Overflow buckets of a shard; limits beyond that share those too.
const OVERFLOWS: usize = 16;

/// Buckets in this process.
#[derive(Debug)]
pub struct MemoryStore {
    // Keyed at random, so that callers cannot choose ids that collide.
    hasher: RandomState,
    shards: Box<[Mutex<Shard>]>,
}

#[derive(Debug)]
struct Shard {
    buckets: HashTable<Entry>,
    most: usize,
    hand: usize,
    overflow: [Option<Bucket>; OVERFLOWS],
    overflowed: u64,
    raised: u64,
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    limit: Arc<str>,
    subject: Subject,
    bucket: Bucket,
    /// How the subject stands with the limit's penalty, where it was refused lately.
    standing: Option<Box<Standing>>,
    /// Micro-tokens taken since it was last full, or since [`MemoryStore::paid`].
    owed: u64,
}

/// Where a bucket of a charge is kept. Equal places are the same bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the map, or about to be; by its hash.
    Own(u64),
    /// The overflow bucket of that index, in the shard that the lock list holds there.
    Overflow(usize, usize),
}

/// One bucket of a charge, found.
struct Spot {
    shard: usize,
    place: Place,
    /// What this and the buckets of the charge before it take from that place.
    demand: u64,
}

impl MemoryStore {
    /// An empty store that keeps at most so many buckets.
    pub fn new(max_buckets: NonZeroU32) -> Self {
        let most = max_buckets.get();
        let wanted = (most / SHARD_BUCKETS).clamp(1, MOST_SHARDS);
        // The largest power of two up to `wanted`, so that a mask picks the shard.
        let count = 1_u32 << wanted.ilog2();
        let per_shard = usize::try_from(most / count).unwrap_or(usize::MAX);
        Self {
            hasher: RandomState::new(),
            shards: (0..count).map(|_| Mutex::new(Shard::new(per_shard))).collect(),
        }
    }

    /// Charges all buckets or none.
    pub fn take(&self, charge: &Charge, now: Now) -> ChargeAnswer {
        let now = now.mono_nanos / 1_000;
        let hashes: SmallVec<[u64; 5]> =
            charge.buckets.iter().map(|bucket| self.hash(bucket)).collect();
        let mut shards = self.lock(&hashes);

        let mut spots: SmallVec<[Spot; 5]> = SmallVec::new();
        let mut levels: SmallVec<[Bucket; 5]> = SmallVec::new();
        let mut short: SmallVec<[u64; 5]> = SmallVec::new();
        for (bucket, hash) in charge.buckets.iter().zip(&hashes) {
            let wanted = self.shard_of(*hash);
            // Every wanted shard was locked above; in doubt, nothing is charged or admitted.
            let found = shards.iter_mut().enumerate().find(|(_, (index, _))| *index == wanted);
            let Some((shard, (_, state))) = found else {
                return ChargeAnswer::Away(Outage::Limits);
            };
            let (place, level) = state.find(shard, *hash, &hashes, bucket, now);
            let before: u64 =
                spots.iter().filter(|s| s.place == place).map(|s| s.demand).max().unwrap_or(0);
            let demand = before.saturating_add(price(bucket));
            short.push(level.lacks(demand));
            levels.push(level);
            spots.push(Spot { shard, place, demand });
        }
        let blocked = charge.penalizes() && blocked(charge, &hashes, &mut shards, now);
        if blocked || short.iter().any(|lack| *lack > 0) {
            let mut answer = refusal(&levels, &short);
            if charge.penalizes() {
                penalize(charge, &hashes, &short, &mut shards, now, &mut answer);
            }
            return answer;
        }
        for ((bucket, level), spot) in charge.buckets.iter().zip(&mut levels).zip(&spots) {
            let was_full = level.micros >= capacity(&level.rate);
            level.micros = level.micros.saturating_sub(spot.demand);
            if let Some((_, state)) = shards.get_mut(spot.shard) {
                state.put(spot.place, bucket, *level, (was_full, price(bucket)));
            }
        }
        drop(shards);
        ChargeAnswer::Granted { balances: balances(&levels) }
    }

    /// Takes so many micro-tokens from a bucket, whether they are there or not: it owes up to `most`.
    pub fn settle(&self, bucket: &BucketCharge, micros: u64, most: u64, now: Now) {
        let now = now.mono_nanos / 1_000;
        let (hash, shard) = self.lock_one(bucket);
        let Some(mut shard) = shard else { return };
        let (place, mut level) = shard.find(0, hash, &[hash], bucket, now);
        let was_full = level.micros >= capacity(&level.rate);
        let taken = level.settle(micros, most);
        if taken > 0 {
            shard.put(place, bucket, level, (was_full, taken));
        }
    }

    /// What was taken from each bucket of the charge and not paid elsewhere since. Nothing where
    /// the bucket is full again: whatever else counts the same limit has filled by then, too.
    pub(super) fn owed(&self, charge: &Charge, now: Now) -> SmallVec<[u64; 5]> {
        let now = now.mono_nanos / 1_000;
        let look = |bucket: &BucketCharge| {
            let (hash, mut shards) = self.lock_one(bucket);
            let shard = shards.as_mut()?;
            let entry = shard.buckets.find(hash, |entry| entry.is(bucket))?;
            (!entry.bucket.is_full(now)).then_some(entry.owed)
        };
        charge.buckets.iter().map(|bucket| look(bucket).unwrap_or(0)).collect()
    }

    /// So much of what is owed was paid.
    pub(super) fn paid(&self, charge: &Charge, owed: &[u64]) {
        for (bucket, paid) in charge.buckets.iter().zip(owed).filter(|(_, paid)| **paid > 0) {
            let (hash, mut shards) = self.lock_one(bucket);
            let Some(shard) = shards.as_mut() else { continue };
            if let Some(entry) = shard.buckets.find_mut(hash, |entry| entry.is(bucket)) {
                entry.owed = entry.owed.saturating_sub(*paid);
            }
        }
    }

    fn lock_one(&self, bucket: &BucketCharge) -> (u64, Option<MutexGuard<'_, Shard>>) {
        let hash = self.hash(bucket);
        let shard = self.shards.get(self.shard_of(hash));
        (hash, shard.map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    fn hash(&self, bucket: &BucketCharge) -> u64 {
        self.hasher.hash_one((&*bucket.limit, &bucket.subject))
    }

    /// Buckets that are kept now, and charges that had to share an overflow bucket so far.
    pub fn usage(&self) -> MemoryUsage {
        let mut usage = MemoryUsage::default();
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            usage.buckets = usage.buckets.saturating_add(shard.buckets.len());
            usage.overflowed = usage.overflowed.saturating_add(shard.overflowed);
            usage.raised = usage.raised.saturating_add(shard.raised);
        }
        usage
    }

    fn shard_of(&self, hash: u64) -> usize {
        // The table itself uses the lowest and the highest bits.
        usize::try_from((hash >> 32) & 0xffff).unwrap_or(0) & (self.shards.len() - 1)
    }

    fn lock(&self, hashes: &[u64]) -> Locked<'_> {
        let mut wanted: SmallVec<[usize; 5]> =
            hashes.iter().map(|hash| self.shard_of(*hash)).collect();
        // One order for everybody, and each lock once.
        wanted.sort_unstable();
        wanted.dedup();
        wanted
            .into_iter()
            .filter_map(|index| {
                let shard = self.shards.get(index)?;
                // A panic elsewhere leaves whole buckets behind: each is written in one step.
                Some((index, shard.lock().unwrap_or_else(PoisonError::into_inner)))
            })
            .collect()
    }
}

/// How full a [`MemoryStore`] is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryUsage {
    /// Buckets in the map.
    pub buckets: usize,
    /// Buckets of charges that had to share, since the start.
    pub overflowed: u64,
    /// How often a caller's penalty was raised, since the start.
    pub raised: u64,
}

type Locked<'m> = SmallVec<[(usize, MutexGuard<'m, Shard>); 5]>;

impl Shard {
    fn new(most: usize) -> Self {
        Self {
            buckets: HashTable::new(),
            most,
            hand: 0,
            overflow: [None; OVERFLOWS],
            overflowed: 0,
            raised: 0,
        }
    }

    /// Where a bucket is kept and what it holds now. Changes no bucket.
    fn find(
        &mut self,
        shard: usize,
        hash: u64,
        charged: &[u64],
        wanted: &BucketCharge,
        now: u64,
    ) -> (Place, Bucket) {
        if let Some(entry) = self.buckets.find(hash, |entry| entry.is(wanted)) {
            return (Place::Own(hash), entry.bucket.at(now, &wanted.rate));
        }
        let index = overflow_index(&wanted.limit);
        let shared = self.overflow.get(index).copied().flatten();
        // Somebody who shared that bucket until now has spent at most what it lacks.
        let level = match shared {
            Some(bucket) => bucket.at(now, &wanted.rate),
            None => Bucket::full(wanted.rate, now),
        };
        // The other buckets of this charge may need a place, too.
        if self.make_room(charged, now) {
            (Place::Own(hash), level)
        } else {
            self.overflowed = self.overflowed.saturating_add(1);
            (Place::Overflow(shard, index), level)
        }
    }

    /// Makes room for every bucket of the charge, if need be by forgetting full ones that are not
    /// part of it.
    fn make_room(&mut self, charged: &[u64], now: u64) -> bool {
        let missing =
            |hash: &&u64| self.buckets.find(**hash, |entry| entry.hash == **hash).is_none();
        let missing = charged.iter().filter(missing).count();
        let mut excess = self.buckets.len().saturating_add(missing).saturating_sub(self.most);
        let slots = self.buckets.num_buckets();
        for _ in 0..PROBES.min(slots) {
            if excess == 0 {
                return true;
            }
            self.hand = (self.hand + 1) % slots;
            let Ok(found) = self.buckets.get_bucket_entry(self.hand) else { continue };
            let entry = found.get();
            if entry.is_idle(now) && !charged.contains(&entry.hash) {
                found.remove();
                excess -= 1;
            }
        }
        excess == 0
    }

    /// Keeps what a bucket holds after so much was taken from it, and whether it was full before.
    fn put(
        &mut self,
        place: Place,
        charge: &BucketCharge,
        level: Bucket,
        (was_full, taken): (bool, u64),
    ) {
        match place {
            Place::Overflow(_, index) => {
                if let Some(slot) = self.overflow.get_mut(index) {
                    *slot = Some(level);
                }
            }
            Place::Own(hash) => match self.buckets.find_mut(hash, |entry| entry.is(charge)) {
                Some(entry) => {
                    let before = if was_full { 0 } else { entry.owed };
                    entry.owed = before.saturating_add(taken);
                    entry.bucket = level;
                }
                None => {
                    let entry = Entry {
                        hash,
                        limit: Arc::clone(&charge.limit),
                        subject: charge.subject.clone(),
                        bucket: level,
                        standing: None,
                        owed: taken,
                    };
                    self.buckets.insert_unique(hash, entry, |entry| entry.hash);
                }
            },
        }
    }
}

impl Entry {
    /// Whether it can be forgotten. A level without a wait is not worth a place that somebody else
    /// needs.
    fn is_idle(&self, now: u64) -> bool {
        self.bucket.is_full(now)
            && self.standing.as_ref().is_none_or(|standing| standing.blocked_for(now) == 0)
    }

    fn is(&self, charge: &BucketCharge) -> bool {
        (Arc::ptr_eq(&self.limit, &charge.limit) || self.limit == charge.limit)
            && self.subject == charge.subject
    }
}

/// Whether a penalty refuses everything of one of these buckets.
fn blocked(charge: &Charge, hashes: &[u64], shards: &mut Locked<'_>, now: u64) -> bool {
    charge.buckets.iter().zip(hashes).any(|(bucket, hash)| {
        let Some(penalty) = &bucket.penalty else { return false };
        let found = shards.iter().find_map(|(_, shard)| {
            shard.buckets.find(*hash, |entry| entry.is(bucket))?.standing.as_ref()
        });
        found.is_some_and(|standing| standing.at(now, penalty).blocked_for(now) > 0)
    })
}

/// What a refusal means for how the subjects of its buckets stand, and the other way round. Those who
/// share an overflow bucket have no standing.
fn penalize(
    charge: &Charge,
    hashes: &[u64],
    short: &[u64],
    shards: &mut Locked<'_>,
    now: u64,
    answer: &mut ChargeAnswer,
) {
    for (index, ((bucket, hash), lack)) in charge.buckets.iter().zip(hashes).zip(short).enumerate()
    {
        let Some(penalty) = &bucket.penalty else { continue };
        for (_, shard) in shards.iter_mut() {
            let shard: &mut Shard = shard;
            let Some(entry) = shard.buckets.find_mut(*hash, |entry| entry.is(bucket)) else {
                continue;
            };
            let mut standing = entry.standing.as_deref().copied().unwrap_or_default();
            standing = standing.at(now, penalty);
            if *lack > 0 || standing.blocked_for(now) > 0 {
                let wait = u64::try_from(wait(*lack, &bucket.rate).as_micros()).unwrap_or(u64::MAX);
                shard.raised += u64::from(standing.refused(wait, now, penalty));
            }
            let blocked = standing.blocked_for(now);
            if blocked > 0 {
                hold(answer, index, blocked, standing.level);
            }
            if standing.matters(now) {
                entry.standing = Some(Box::new(standing));
            } else {
                entry.standing = None;
            }
        }
    }
}

/// The same limit always overflows into the same bucket.
fn overflow_index(limit: &str) -> usize {
    // FNV-1a: names are the operator's, few, and short.
    let hash = limit.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    usize::try_from(hash).unwrap_or(0) % OVERFLOWS
}

#[cfg(test)]
mod tests;
