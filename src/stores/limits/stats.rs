//! Plain numbers about the bucket store, for metrics. Imports `domain` only.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::breaker::BreakerState;
use super::leases::LeaseStats;
use super::memory::MemoryUsage;

/// Upper bounds of the latency buckets of a [`LimitStats`], in microseconds. A last bucket
/// without a bound follows.
pub const LATENCY_BOUNDS: [u64; 9] = [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000];

/// What happened since the start. Counters only ever grow; the rest is as of now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitStats {
    /// Charges granted.
    pub granted: u64,
    /// Charges refused.
    pub refused: u64,
    /// Those of them that a penalty refused.
    pub penalized: u64,
    /// Buckets that were charged for an answer.
    pub settled: u64,
    /// How often a penalty was raised at this node.
    pub raised: u64,
    /// Charges that went unanswered, for each reason.
    pub away: AwayStats,
    /// Charges to this node's share, granted.
    pub share_granted: u64,
    /// Charges to this node's share, refused.
    pub share_refused: u64,
    /// Calls to Redis by the time they took, as [`LATENCY_BOUNDS`] says; not cumulative.
    pub latency: [u64; LATENCY_BOUNDS.len() + 1],
    /// Microseconds that all calls to Redis took together.
    pub latency_sum_micros: u64,
    /// Whether Redis is asked. `None` where there is no Redis.
    pub breaker: Option<BreakerState>,
    /// How often the breaker opened.
    pub breaker_opened: u64,
    /// Primaries that the buckets are spread over: more than one in a cluster.
    pub primaries: Primaries,
    /// Buckets in this process.
    pub memory: MemoryUsage,
    /// What this node leased of shared buckets.
    pub leases: LeaseStats,
}

/// The servers that have buckets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Primaries {
    /// How many are known.
    pub known: usize,
    /// How many of them are asked.
    pub asked: usize,
}

/// Why charges went unanswered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AwayStats {
    /// Not asked, because there is no connection or the breaker is open.
    pub not_asked: u64,
    /// No answer within the deadline.
    pub timed_out: u64,
    /// The connection broke, or Redis answered with an error.
    pub failed: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) granted: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) penalized: AtomicU64,
    pub(super) settled: AtomicU64,
    pub(super) not_asked: AtomicU64,
    pub(super) timed_out: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) share_granted: AtomicU64,
    pub(super) share_refused: AtomicU64,
    latency: [AtomicU64; LATENCY_BOUNDS.len() + 1],
    latency_sum_micros: AtomicU64,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counters {
    pub(super) fn took(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BOUNDS.partition_point(|bound| *bound < micros);
        if let Some(counter) = self.latency.get(bucket) {
            count(counter);
        }
        self.latency_sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub(super) fn read(
        &self,
        breaker: Option<BreakerState>,
        breaker_opened: u64,
        primaries: Primaries,
        memory: MemoryUsage,
        leases: LeaseStats,
    ) -> LimitStats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LimitStats {
            granted: load(&self.granted),
            refused: load(&self.refused),
            penalized: load(&self.penalized),
            settled: load(&self.settled),
            raised: memory.raised.saturating_add(leases.raised),
            away: AwayStats {
                not_asked: load(&self.not_asked),
                timed_out: load(&self.timed_out),
                failed: load(&self.failed),
            },
            share_granted: load(&self.share_granted),
            share_refused: load(&self.share_refused),
            latency: self.latency.each_ref().map(load),
            latency_sum_micros: load(&self.latency_sum_micros),
            breaker,
            breaker_opened,
            primaries,
            memory,
            leases,
        }
    }
}
