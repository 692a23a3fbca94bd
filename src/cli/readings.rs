//! Turns the numbers that stores keep by themselves into metrics.

use std::sync::Arc;

use crate::stores::limits::stats::{LATENCY_BOUNDS, LimitStats};
use crate::stores::limits::{BreakerState, LimitStore};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::reading::{Reading, Value};

use super::assembly::Parts;

/// Adds the numbers of the stores to the metrics.
pub(super) fn add(metrics: &Metrics, limits: &Arc<LimitStore>, parts: &Arc<Parts>) {
    let limits = Arc::clone(limits);
    metrics.read_from(move || of_limits(&limits.stats()));
    // Weak, because the parts own the metrics.
    let parts = Arc::downgrade(parts);
    metrics.read_from(move || {
        let tokens = parts.upgrade().map_or(0, |parts| parts.tokens_remembered());
        vec![Reading::gauge("tollgate_tokens_remembered", "Verified tokens in memory.", tokens)]
    });
}

fn of_limits(stats: &LimitStats) -> Vec<Reading> {
    let open = matches!(stats.breaker, Some(BreakerState::Open | BreakerState::Starting));
    vec![
        Reading {
            name: "tollgate_limit_charges_total",
            help: "Charges of requests to the store of limits, by what it said.",
            value: Value::Counter(vec![
                (&[("outcome", "granted")], stats.granted),
                (&[("outcome", "refused")], stats.refused),
                (&[("outcome", "not_asked")], stats.away.not_asked),
                (&[("outcome", "timed_out")], stats.away.timed_out),
                (&[("outcome", "failed")], stats.away.failed),
            ]),
        },
        Reading {
            name: "tollgate_limit_share_charges_total",
            help: "Charges to this node's share of the limits, while the store was away.",
            value: Value::Counter(vec![
                (&[("outcome", "granted")], stats.share_granted),
                (&[("outcome", "refused")], stats.share_refused),
            ]),
        },
        Reading {
            name: "tollgate_limit_call_seconds",
            help: "Time of one call to the shared store of limits.",
            value: Value::Histogram {
                bounds_micros: LATENCY_BOUNDS.to_vec(),
                counts: stats.latency.to_vec(),
                sum_micros: stats.latency_sum_micros,
            },
        },
        Reading::gauge(
            "tollgate_limit_breaker_open",
            "1 while the shared store of limits is not asked, because it is away.",
            u64::from(open),
        ),
        Reading::counter(
            "tollgate_limit_breaker_opened_total",
            "How often the shared store of limits was found to be away.",
            stats.breaker_opened,
        ),
        Reading::gauge(
            "tollgate_limit_buckets",
            "Buckets kept in this process.",
            u64::try_from(stats.memory.buckets).unwrap_or(u64::MAX),
        ),
        Reading::counter(
            "tollgate_limit_buckets_overflowed_total",
            "Charges that had to share a bucket, because no more fit into this process.",
            stats.memory.overflowed,
        ),
    ]
}
