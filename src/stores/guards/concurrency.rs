//! How much somebody may have open at the same time: requests of an organization, connections of
//! an address.
//!
//! A permit is given back when it is dropped, on every way out. A key exists only while a permit
//! of it does, so the maps are as large as what is open, which has a cap of its own. Imports
//! nothing of this crate.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ahash::RandomState;

/// So many locks that a busy one is rare.
const SHARDS: usize = 32;

/// Counts what each key has open.
#[derive(Debug)]
pub struct Concurrency<K: Hash + Eq> {
    open: Arc<Open<K>>,
}

#[derive(Debug)]
struct Open<K> {
    hasher: RandomState,
    shards: [Mutex<HashMap<K, u32, RandomState>>; SHARDS],
    total: AtomicU32,
    most_in_total: u32,
}

/// One thing that is open. Dropping it closes it.
#[derive(Debug)]
pub struct Permit<K: Hash + Eq> {
    open: Arc<Open<K>>,
    key: K,
}

/// Why there is no permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// The key has as many open as it may.
    Key,
    /// All keys together have.
    Total,
}

impl<K: Hash + Eq + Clone> Concurrency<K> {
    /// Nothing open; never more than so many for all keys together.
    pub fn new(most_in_total: NonZeroU32) -> Self {
        let hasher = RandomState::new();
        let shards = std::array::from_fn(|_| Mutex::new(HashMap::with_hasher(hasher.clone())));
        let total = AtomicU32::new(0);
        let open = Open { hasher, shards, total, most_in_total: most_in_total.get() };
        Self { open: Arc::new(open) }
    }

    /// Opens one for the key, if it has fewer than `most` open. The number is an argument because
    /// it can be reloaded; what is open already stays open.
    pub fn enter(&self, key: K, most: NonZeroU32) -> Result<Permit<K>, Full> {
        let open = &self.open;
        let room = |total: u32| (total < open.most_in_total).then_some(total + 1);
        if open.total.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_err() {
            return Err(Full::Total);
        }
        let admitted = open.shard(&key).map(|mut shard| open_one(&mut shard, &key, most));
        if admitted == Some(true) {
            Ok(Permit { open: Arc::clone(open), key })
        } else {
            open.total.fetch_sub(1, Ordering::Relaxed);
            Err(Full::Key)
        }
    }

    /// What all keys together have open.
    pub fn total(&self) -> u32 {
        self.open.total.load(Ordering::Relaxed)
    }

    /// What a key has open.
    pub fn of(&self, key: &K) -> u32 {
        self.open.shard(key).and_then(|shard| shard.get(key).copied()).unwrap_or(0)
    }
}

fn open_one<K: Hash + Eq + Clone>(
    shard: &mut HashMap<K, u32, RandomState>,
    key: &K,
    most: NonZeroU32,
) -> bool {
    match shard.get_mut(key) {
        Some(count) if *count >= most.get() => false,
        Some(count) => {
            *count += 1;
            true
        }
        None => {
            shard.insert(key.clone(), 1);
            true
        }
    }
}

impl<K: Hash + Eq> Open<K> {
    fn shard(&self, key: &K) -> Option<MutexGuard<'_, HashMap<K, u32, RandomState>>> {
        // The map uses the lowest and the highest bits of the same hash.
        let index = usize::try_from((self.hasher.hash_one(key) >> 32) & 0xffff).ok()? % SHARDS;
        // A count is changed in one step: a panic elsewhere leaves none half changed.
        Some(self.shards.get(index)?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn close(&self, key: &K) {
        if let Some(mut shard) = self.shard(key) {
            match shard.get_mut(key) {
                Some(count) if *count > 1 => *count -= 1,
                Some(_) | None => {
                    shard.remove(key);
                }
            }
        }
        self.total.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<K: Hash + Eq + Clone> Permit<K> {
    /// Whose it is.
    pub fn key(&self) -> &K {
        &self.key
    }
}

impl<K: Hash + Eq> Drop for Permit<K> {
    fn drop(&mut self) {
        self.open.close(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(n: u32) -> NonZeroU32 {
        NonZeroU32::new(n).unwrap()
    }

    #[test]
    fn a_key_has_as_many_open_as_it_may_and_another_key_is_not_affected() {
        let guard = Concurrency::new(number(100));
        let held: Vec<_> = (0..3).map(|_| guard.enter("a", number(3)).unwrap()).collect();
        assert_eq!(guard.enter("a", number(3)).err(), Some(Full::Key));
        assert!(guard.enter("b", number(1)).is_ok());
        assert_eq!((guard.of(&"a"), guard.of(&"b"), guard.total()), (3, 0, 3));
        drop(held);
        assert_eq!((guard.of(&"a"), guard.total()), (0, 0));
    }

    #[test]
    fn all_keys_together_have_a_cap() {
        let guard = Concurrency::new(number(2));
        let _held = [guard.enter(1, number(9)).unwrap(), guard.enter(2, number(9)).unwrap()];
        assert_eq!(guard.enter(3, number(9)).err(), Some(Full::Total));
    }

    #[test]
    fn a_lower_number_lets_what_is_open_finish() {
        let guard = Concurrency::new(number(100));
        let mut held: Vec<_> = (0..5).map(|_| guard.enter("a", number(5)).unwrap()).collect();
        assert_eq!(guard.enter("a", number(2)).err(), Some(Full::Key));
        held.truncate(1);
        assert!(guard.enter("a", number(2)).is_ok());
    }

    #[test]
    fn permits_come_back_exactly_whatever_threads_do() {
        let guard = Concurrency::new(number(1_000));
        std::thread::scope(|scope| {
            for thread in 0..4_u32 {
                let guard = &guard;
                scope.spawn(move || {
                    for round in 0..5_000_u32 {
                        let key = (thread * 31 + round) % 50;
                        let first = guard.enter(key, number(3));
                        let second = guard.enter(key, number(3));
                        assert!(guard.of(&key) <= 3);
                        drop((first, second));
                    }
                });
            }
        });
        assert_eq!(guard.total(), 0);
        assert!(guard.open.shards.iter().all(|shard| shard.lock().unwrap().is_empty()));
    }

    #[test]
    fn a_permit_comes_back_when_its_holder_panics() {
        let guard = Concurrency::new(number(1));
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _held = guard.enter("a", number(1)).unwrap();
            panic!("a request that fails");
        }));
        assert!(outcome.is_err());
        assert!(guard.enter("a", number(1)).is_ok());
    }
}
