//! Single flight: however many requests want the same entry, it is loaded once, and all of them
//! get what came of it.
//!
//! Loading is a task of its own, so that a client who goes away takes nobody's answer along.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::watch;

/// Loads under way at the same time; beyond that, requests are told that the source is away.
const MAX_FLIGHTS: usize = 4096;

/// Loads that are under way.
pub(super) struct Flights<K, V> {
    runtime: Handle,
    under_way: Arc<Mutex<HashMap<K, watch::Receiver<Option<V>>>>>,
}

impl<K, V> Flights<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Loads run on that runtime, wherever they are asked for.
    pub(super) fn new(runtime: Handle) -> Self {
        Self { runtime, under_way: Arc::default() }
    }

    /// Joins the load of that key, or begins it. `None`: too many are under way.
    pub(super) fn join<F>(&self, key: &K, load: impl FnOnce() -> F) -> Option<Flight<V>>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = under_way.get(key) {
            return Some(Flight { arrival: flight.clone() });
        }
        if under_way.len() >= MAX_FLIGHTS {
            return None;
        }
        let (landed, arrival) = watch::channel(None);
        under_way.insert(key.clone(), arrival.clone());
        // Leaves the map also when the load panics: its waiters then find the channel closed.
        let place = Place { under_way: Arc::clone(&self.under_way), key: key.clone() };
        let load = load();
        self.runtime.spawn(async move {
            let value = load.await;
            drop(place);
            landed.send_replace(Some(value));
        });
        Some(Flight { arrival })
    }
}

/// A load that somebody waits for.
pub(super) struct Flight<V> {
    arrival: watch::Receiver<Option<V>>,
}

impl<V: Clone> Flight<V> {
    /// What was loaded; `None` if the load died.
    pub(super) async fn landed(mut self) -> Option<V> {
        self.arrival.wait_for(Option::is_some).await.ok()?.clone()
    }
}

struct Place<K: Eq + Hash, V> {
    under_way: Arc<Mutex<HashMap<K, watch::Receiver<Option<V>>>>>,
    key: K,
}

impl<K: Eq + Hash, V> Drop for Place<K, V> {
    fn drop(&mut self) {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn a_thousand_requests_make_one_load_that_outlives_the_first_of_them() {
        let flights: Flights<u8, u32> = Flights::new(Handle::current());
        let (loads, go) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let join = || {
            let (loads, go) = (Arc::clone(&loads), Arc::clone(&go));
            let load = || async move {
                go.notified().await;
                loads.fetch_add(1, Ordering::SeqCst) + 7
            };
            flights.join(&1, load).unwrap()
        };
        drop(join());
        let waiting: Vec<_> = (0..1000).map(|_| tokio::spawn(join().landed())).collect();
        go.notify_one();
        for flight in waiting {
            assert_eq!(flight.await.unwrap(), Some(7));
        }
        assert_eq!(loads.load(Ordering::SeqCst), 1);
        go.notify_one();
        assert_eq!(join().landed().await, Some(8), "the next load is a new one");
    }

    #[tokio::test]
    async fn a_load_that_dies_is_no_answer_and_blocks_nobody() {
        let flights: Flights<u8, u32> = Flights::new(Handle::current());
        let dead = flights.join(&1, || async { panic!("on purpose") }).unwrap();
        assert_eq!(dead.landed().await, None);
        let next = flights.join(&1, || async { 1 }).unwrap();
        assert_eq!(next.landed().await, Some(1));
    }

    #[tokio::test]
    async fn no_more_loads_are_under_way_than_the_cap_and_one_that_lands_makes_room() {
        let flights: Flights<usize, ()> = Flights::new(Handle::current());
        let go = Arc::new(Notify::new());
        let first = flights.join(&0, || {
            let go = Arc::clone(&go);
            async move { go.notified().await }
        });
        let slow = |key: usize| flights.join(&key, std::future::pending);
        for key in 1..MAX_FLIGHTS {
            assert!(slow(key).is_some());
        }
        assert!(slow(MAX_FLIGHTS).is_none());
        assert!(slow(1).is_some(), "whoever joins begins none");
        go.notify_one();
        assert!(first.unwrap().landed().await.is_some());
        assert!(slow(MAX_FLIGHTS).is_some());
    }
}
