//! Where token buckets are kept, and how a request is charged to them: all or none.
//!
//! The shell charges what stage 7 of the pipeline worked out: first [`LimitStore::try_now`], and
//! where that has no answer [`LimitStore::take`], which waits, but never longer than the store's
//! deadline. Imports `domain` and `config`.
//!
//! The store is an enum and not a trait object: there are few of them and all are known, an async
//! method needs no boxed future, and the fast path is a direct call. Where buckets are shared,
//! `try_now` spends what this node has leased of them, and `take` asks for more.

mod breaker;
mod bucket;
mod flight;
mod keys;
mod leases;
pub mod ledger;
pub(super) mod link;
pub(super) mod links;
pub mod memory;
mod parts;
mod penalty;
pub mod redis;
mod server_clock;
mod share;
pub mod stats;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::config::settings::LimitStoreSettings;
use crate::domain::charge::{Charge, ChargeAnswer, Dues};
use crate::domain::clock::{Clock, Now};

pub use self::breaker::BreakerState;
pub use self::leases::LeaseStats;
use self::memory::{MemoryStore, MemoryUsage};
use self::redis::{BadRedisUrl, RedisStore};
use self::stats::{Counters, LimitStats, Primaries, count};

/// The store of buckets.
#[derive(Debug)]
pub struct LimitStore {
    place: Place,
    counters: Counters,
}

#[derive(Debug)]
enum Place {
    Memory(MemoryStore),
    Redis {
        shared: Box<RedisStore>,
        /// What this node counts while Redis is away. Kept when it comes back, so that a Redis
        /// that comes and goes does not fill it; what was taken from it is debited there.
        share: MemoryStore,
        nodes: NonZeroU32,
    },
}

impl LimitStore {
    /// Opens the store. Does no I/O: a store in Redis is away until [`LimitStore::keep`] runs.
    pub fn new(settings: &LimitStoreSettings, clock: Arc<dyn Clock>) -> Result<Self, BadRedisUrl> {
        let place = match settings {
            LimitStoreSettings::Memory { max_buckets } => {
                Place::Memory(MemoryStore::new(*max_buckets))
            }
            LimitStoreSettings::Redis(settings) => Place::Redis {
                shared: Box::new(RedisStore::new(settings, clock)?),
                share: MemoryStore::new(settings.max_buckets),
                nodes: settings.nodes,
            },
        };
        Ok(Self { place, counters: Counters::default() })
    }

    /// Keeps the connection to a shared store, for as long as it is polled: spawn it once, on the
    /// runtime that is to do the I/O. Ends at once where there is nothing to keep.
    pub async fn keep(&self) {
        match &self.place {
            Place::Memory(_) => {}
            Place::Redis { shared, share, .. } => shared.keep(share, &self.counters).await,
        }
    }

    /// Gives back what this node has leased, for the end of the process. Waits no longer than the
    /// store's deadline; what cannot be given back ends by itself.
    pub async fn give_back(&self) {
        match &self.place {
            Place::Memory(_) => {}
            Place::Redis { shared, .. } => shared.give_back().await,
        }
    }

    /// Charges without waiting. `None`: ask [`LimitStore::take`]; nothing was charged.
    pub fn try_now(&self, charge: &Charge, now: Now) -> Option<ChargeAnswer> {
        if charge.buckets.is_empty() {
            return Some(nothing());
        }
        let answer = match &self.place {
            Place::Memory(store) => Some(store.take(charge, now)),
            Place::Redis { shared, .. } => shared.shortcut(charge, now, &self.counters),
        };
        if let Some(answer) = &answer {
            self.counted(answer);
        }
        answer
    }

    /// Charges, waiting no longer than the store's deadline.
    pub async fn take(&self, charge: &Charge, now: Now) -> ChargeAnswer {
        if charge.buckets.is_empty() {
            return nothing();
        }
        let answer = match &self.place {
            Place::Memory(store) => store.take(charge, now),
            Place::Redis { shared, .. } => shared.take(charge, &self.counters).await,
        };
        self.counted(&answer);
        answer
    }

    /// Charges to this node's share of the limits, for those that ask for it while the store is
    /// away. Never waits and is never away itself. Where the store is in this process, its share
    /// is all of it.
    pub fn take_share(&self, charge: &Charge, now: Now) -> ChargeAnswer {
        let answer = match &self.place {
            Place::Memory(store) => store.take(charge, now),
            Place::Redis { share, nodes, .. } => share.take(&share::share(charge, *nodes), now),
        };
        match &answer {
            ChargeAnswer::Granted { .. } => count(&self.counters.share_granted),
            ChargeAnswer::Refused { .. } => count(&self.counters.share_refused),
            ChargeAnswer::Away(_) => {}
        }
        answer
    }

    /// Charges a request once more, when its answer is known. Never waits, and refuses nobody: whoever
    /// comes next does.
    pub fn settle(&self, dues: &Dues, took: Duration, bytes: u64, now: Now) {
        for due in &dues.all {
            let micros = due.micros(took, bytes);
            let most = u64::from(due.most.get()).saturating_mul(bucket::MICRO);
            if micros == 0 {
                continue;
            }
            count(&self.counters.settled);
            match &self.place {
                Place::Memory(store) => store.settle(&due.bucket, micros, most, now),
                Place::Redis { share, nodes, .. } if dues.here => {
                    let bucket = share::share_of(&due.bucket, *nodes);
                    share.settle(&bucket, micros, most / u64::from(nodes.get()), now);
                }
                Place::Redis { shared, .. } => shared.settle(&due.bucket, micros, most, now),
            }
        }
    }

    /// Whether no charge is answered: for readiness. In a cluster some are, as long as any primary is
    /// there ([`LimitStore::primaries`]).
    pub fn is_away(&self) -> bool {
        match &self.place {
            Place::Memory(_) => false,
            Place::Redis { shared, .. } => shared.breaker().0 != BreakerState::Closed,
        }
    }

    /// The servers that have buckets; none where they are in this process.
    pub fn primaries(&self) -> Primaries {
        match &self.place {
            Place::Memory(_) => Primaries::default(),
            Place::Redis { shared, .. } => shared.primaries(),
        }
    }

    /// What happened since the start.
    pub fn stats(&self) -> LimitStats {
        let (breaker, opened, memory, leases): (_, _, MemoryUsage, _) = match &self.place {
            Place::Memory(store) => (None, 0, store.usage(), LeaseStats::default()),
            Place::Redis { shared, share, .. } => {
                let (state, opened) = shared.breaker();
                (Some(state), opened, share.usage(), shared.lease_stats())
            }
        };
        self.counters.read(breaker, opened, self.primaries(), memory, leases)
    }

    fn counted(&self, answer: &ChargeAnswer) {
        match answer {
            ChargeAnswer::Granted { .. } => count(&self.counters.granted),
            ChargeAnswer::Refused { penalty, .. } => {
                count(&self.counters.refused);
                if *penalty > 0 {
                    count(&self.counters.penalized);
                }
            }
            // Counted where the reason is known.
            ChargeAnswer::Away(_) => {}
        }
    }
}

/// The answer to a charge of no bucket.
fn nothing() -> ChargeAnswer {
    ChargeAnswer::Granted { balances: smallvec::SmallVec::new() }
}
