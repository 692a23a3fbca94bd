//! The memory in front of the database, for one kind of entry.
//!
//! An entry is fresh for `ttl`. For as long again it still serves while it is loaded anew in the
//! background, so that no request waits for a refresh. After that a request waits for the load,
//! and the old entry serves only if the database is away, until `max_stale`. So while the database
//! answers, a change that no notification told of counts after two `ttl` at the latest.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use tokio::runtime::Handle;

use crate::domain::clock::{Clock, Now};
use crate::domain::known::{Lookup, Outage};
use crate::telemetry::labels::{CacheLabel, CacheOutcome, Outcome};
use crate::telemetry::metrics::Metrics;

use super::connections::{LoadError, Pool};
use super::flights::{Flight, Flights};
use super::invalidation::{Changes, Target};

/// Notifications that are looked up one by one; more at a time empty the shelf.
const MAX_TARGETS: usize = 256;

/// A kind of entry.
pub(super) trait Kind: Send + Sync + 'static {
    type Key: Clone + Eq + Hash + Send + Sync + 'static;
    type Value: Send + Sync + 'static;

    /// Asks the database.
    fn load(
        pool: &Pool,
        key: &Self::Key,
    ) -> impl Future<Output = Result<Option<Self::Value>, LoadError>> + Send;

    /// Whether a change may have touched the entry, or made one where there is none.
    fn concerns(key: &Self::Key, value: Option<&Self::Value>, target: &Target) -> bool;
}

/// How long entries serve.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) ttl: Duration,
    pub(super) max_stale: Duration,
    pub(super) negative_ttl: Duration,
}

/// What all shelves share.
pub(super) struct Shared {
    pub(super) pool: Arc<Pool>,
    pub(super) changes: Changes,
    pub(super) times: Times,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) runtime: Handle,
}

/// Entries of one kind.
pub(super) struct Shelf<K: Kind> {
    shared: Arc<Shared>,
    entries: Cache<K::Key, Entry<K::Value>>,
    flights: Flights<K::Key, Lookup<Arc<K::Value>>>,
}

struct Entry<V> {
    found: Option<Arc<V>>,
    /// When its load began.
    loaded: Now,
}

// Not derived: that would ask for `V: Clone`.
impl<V> Clone for Entry<V> {
    fn clone(&self) -> Self {
        Self { found: self.found.clone(), loaded: self.loaded }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Age {
    Fresh,
    Aging,
    Old,
}

impl<K: Kind> Shelf<K> {
    pub(super) fn new(shared: Arc<Shared>, capacity: u64) -> Arc<Self> {
        let longest = shared.times.max_stale.max(shared.times.ttl).max(shared.times.negative_ttl);
        let entries = Cache::builder().max_capacity(capacity).time_to_live(longest).build();
        let flights = Flights::new(shared.runtime.clone());
        Arc::new(Self { shared, entries, flights })
    }

    /// What is known without waiting.
    pub(super) fn known(self: &Arc<Self>, key: &K::Key, now: Now) -> Option<Lookup<Arc<K::Value>>> {
        let entry = self.entries.get(key)?;
        match self.age(&entry, now) {
            Age::Fresh => {}
            // Joins a load that may be under way already; nobody waits for it here.
            Age::Aging => drop(self.flight(key)),
            Age::Old => return None,
        }
        Some(entry.found.map_or(Lookup::Absent, Lookup::Found))
    }

    /// Loads it, together with everybody else who wants it.
    pub(super) async fn find(self: &Arc<Self>, key: &K::Key) -> Lookup<Arc<K::Value>> {
        let landed = match self.flight(key) {
            Some(flight) => flight.landed().await,
            None => None,
        };
        landed.unwrap_or_else(|| self.last_known(key))
    }

    /// Takes out what changes may have touched. They must have been noted before.
    pub(super) fn forget(&self, targets: &[Target]) {
        if targets.contains(&Target::All) || targets.len() > MAX_TARGETS {
            self.entries.invalidate_all();
            return;
        }
        for (key, entry) in &self.entries {
            if targets.iter().any(|target| K::concerns(&key, entry.found.as_deref(), target)) {
                self.entries.invalidate(key.as_ref());
            }
        }
    }

    fn flight(self: &Arc<Self>, key: &K::Key) -> Option<Flight<Lookup<Arc<K::Value>>>> {
        self.flights.join(key, || {
            let (shelf, key) = (Arc::clone(self), key.clone());
            async move { shelf.load(&key).await }
        })
    }

    /// Asks the database now, whatever is known.
    pub(super) async fn load(&self, key: &K::Key) -> Lookup<Arc<K::Value>> {
        let shared = &self.shared;
        let mark = shared.changes.mark();
        let began = shared.clock.now();
        let loaded = K::load(&shared.pool, key).await;
        let took = shared.clock.now().since(began);
        let outcome = if loaded.is_ok() { Outcome::Ok } else { Outcome::Failed };
        shared.metrics.lookups.directory_asked(outcome, took);
        match loaded {
            Ok(found) => {
                let found = found.map(Arc::new);
                let entry = Entry { found: found.clone(), loaded: began };
                let concerns = |target: &Target| K::concerns(key, found.as_deref(), target);
                shared.changes.unless_changed(mark, concerns, || {
                    self.entries.insert(key.clone(), entry);
                });
                found.map_or(Lookup::Absent, Lookup::Found)
            }
            Err(LoadError::Unreachable(error)) => {
                tracing::debug!(%error, "the directory's database did not answer");
                self.last_known(key)
            }
            Err(LoadError::Row(error)) => {
                tracing::error!(%error, "a row of the directory cannot be read");
                // The state before is not the state now: `suspended` may be what it meant to say.
                self.entries.invalidate(key);
                Lookup::Away(Outage::Directory)
            }
        }
    }

    /// What serves while the database is away.
    fn last_known(&self, key: &K::Key) -> Lookup<Arc<K::Value>> {
        let now = self.shared.clock.now();
        let entry = self.entries.get(key);
        let serves =
            |entry: &Entry<K::Value>| now.since(entry.loaded) <= self.shared.times.max_stale;
        match entry.filter(serves).and_then(|entry| entry.found) {
            Some(found) => {
                self.shared.metrics.lookups.looked(CacheLabel::Directory, CacheOutcome::Stale);
                Lookup::Found(found)
            }
            None => Lookup::Away(Outage::Directory),
        }
    }

    fn age(&self, entry: &Entry<K::Value>, now: Now) -> Age {
        let Times { ttl, max_stale, negative_ttl } = self.shared.times;
        let age = now.since(entry.loaded);
        let fresh = if entry.found.is_some() { ttl } else { negative_ttl };
        if !self.shared.changes.vouches_for(entry.loaded) {
            Age::Old
        } else if age <= fresh {
            Age::Fresh
        } else if entry.found.is_some() && age <= max_stale.min(ttl.saturating_mul(2)) {
            Age::Aging
        } else {
            Age::Old
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::config::settings::{DirectoryQueries, PostgresDirectory};
    use crate::domain::secret::Secret;
    use crate::stores::directory::url::Database;
    use crate::telemetry::clock::SystemClock;

    /// Even numbers are there; no database is asked.
    struct Even;

    impl Kind for Even {
        type Key = u32;
        type Value = ();

        async fn load(_: &Pool, key: &u32) -> Result<Option<()>, LoadError> {
            Ok(key.is_multiple_of(2).then_some(()))
        }

        fn concerns(_: &u32, _: Option<&()>, _: &Target) -> bool {
            true
        }
    }

    fn shelf(capacity: u64) -> Arc<Shelf<Even>> {
        let second = Duration::from_secs(1);
        let query: Arc<str> = "select 1".into();
        let settings = PostgresDirectory {
            url: Secret::new("postgres://nobody@127.0.0.1:9/none".to_owned()),
            ttl: 60 * second,
            max_stale: 60 * second,
            negative_ttl: 60 * second,
            timeout: second,
            capacity,
            connections: NonZeroU32::MIN,
            queries: DirectoryQueries {
                organization_by_id: Arc::clone(&query),
                organization_by_slug: Arc::clone(&query),
                membership: Arc::clone(&query),
                default_membership: Arc::clone(&query),
                machine_key: Arc::clone(&query),
                join: Arc::clone(&query),
                change_role: query,
            },
        };
        let shared = Shared {
            pool: Pool::new(&settings, Database::parse(&settings.url).unwrap()),
            changes: Changes::default(),
            times: Times { ttl: 60 * second, max_stale: 60 * second, negative_ttl: 60 * second },
            clock: Arc::new(SystemClock::new()),
            metrics: Arc::new(Metrics::new().unwrap()),
            runtime: Handle::current(),
        };
        Shelf::new(Arc::new(shared), capacity)
    }

    #[tokio::test]
    async fn what_is_there_and_what_is_not_take_no_more_places_than_there_are() {
        let shelf = shelf(100);
        for key in 0..1_000 {
            let there = matches!(shelf.find(&key).await, Lookup::Found(_));
            assert_eq!(there, key.is_multiple_of(2));
        }
        shelf.entries.run_pending_tasks();
        assert!((1..=100).contains(&shelf.entries.entry_count()));
        let kept = (0..1_000).filter(|key| shelf.known(key, shelf.shared.clock.now()).is_some());
        assert_eq!(kept.count() as u64, shelf.entries.entry_count());
    }
}
