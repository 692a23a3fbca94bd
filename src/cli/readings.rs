//! Turns the numbers that stores keep by themselves into metrics.

use std::sync::Arc;

use crate::stores::audit::{AuditLog, AuditStats};
use crate::stores::limits::stats::{LATENCY_BOUNDS, LimitStats};
use crate::stores::limits::{BreakerState, LimitStore};
use crate::stores::logins::{LoginStats, Logins};
use crate::stores::sessions::SessionStats;
use crate::stores::usage::{Usage, UsageStats};
use crate::telemetry::reading::{Reading, Value};

use super::assembly::Parts;

/// Adds the numbers of the stores to the metrics.
pub(super) fn add(
    parts: &Arc<Parts>,
    limits: &Arc<LimitStore>,
    logins: &Arc<Logins>,
    audit: Option<&AuditLog>,
) {
    let limits = Arc::clone(limits);
    parts.metrics.read_from(move || of_limits(&limits.stats()));
    let logins = Arc::clone(logins);
    parts.metrics.read_from(move || of_logins(&logins.stats()));
    let sessions = Arc::clone(&parts.sessions);
    parts.metrics.read_from(move || of_sessions(&sessions.stats()));
    // Weak, because the parts own the metrics.
    let owner = Arc::downgrade(parts);
    parts.metrics.read_from(move || {
        let tokens = owner.upgrade().map_or(0, |parts| parts.tokens_remembered());
        vec![Reading::gauge("tollgate_tokens_remembered", "Verified tokens in memory.", tokens)]
    });
    let audit = audit.cloned();
    parts.metrics.read_from(move || {
        let nothing = AuditStats { queued: 0, written: 0, dropped: 0, errors: 0, skipped: 0 };
        of_audit(&audit.as_ref().map_or(nothing, AuditLog::stats))
    });
}

/// Adds the numbers of the meter.
pub(super) fn add_usage(parts: &Parts, usage: Option<&Usage>) {
    let usage = usage.cloned();
    parts
        .metrics
        .read_from(move || of_usage(&usage.as_ref().map(Usage::stats).unwrap_or_default()));
}

fn of_usage(stats: &UsageStats) -> Vec<Reading> {
    vec![
        Reading::gauge(
            "tollgate_usage_rows",
            "Callers of organizations whose usage is counted in this process.",
            stats.rows,
        ),
        Reading::gauge(
            "tollgate_usage_unflushed",
            "Counters of usage that the ledger does not know in full.",
            stats.unflushed,
        ),
        Reading::counter(
            "tollgate_usage_overflowed_total",
            "Calls counted for their organization and not for their caller, because no more fit.",
            stats.overflowed,
        ),
        Reading::counter(
            "tollgate_usage_lost_total",
            "Calls of organizations that were not counted at all, because no more fit.",
            stats.lost,
        ),
        Reading {
            name: "tollgate_usage_flushes_total",
            help: "Rounds of bringing usage to the ledger.",
            value: Value::Counter(vec![
                (&[("outcome", "ok")], stats.flushed),
                (&[("outcome", "failed")], stats.failed),
            ]),
        },
        Reading::gauge(
            "tollgate_quota_organizations",
            "Organizations of which this node knows what they have used in the day and month.",
            stats.organizations,
        ),
        Reading {
            name: "tollgate_quota_thresholds_total",
            help: "Shares of quotas that organizations have reached and this node has told of.",
            value: Value::CounterBy("percent", stats.told.clone()),
        },
        Reading::counter(
            "tollgate_usage_journal_errors_total",
            "Times that a journal of usage could not be written or read.",
            stats.journal_errors,
        ),
        Reading::counter(
            "tollgate_usage_journals_adopted_total",
            "Journals of processes that had ended, brought to the ledger by this one.",
            stats.adopted,
        ),
        Reading::counter(
            "tollgate_usage_damaged_lines_total",
            "Lines of such journals that could not be read.",
            stats.damaged,
        ),
    ]
}

fn of_logins(stats: &LoginStats) -> Vec<Reading> {
    vec![
        Reading::gauge(
            "tollgate_login_tallies",
            "Addresses, networks and accounts whose failed logins are counted in this process.",
            u64::try_from(stats.memory.tallies).unwrap_or(u64::MAX),
        ),
        Reading::counter(
            "tollgate_login_tallies_forgotten_total",
            "Of these, those that were forgotten before their time, because no more fit.",
            stats.memory.forgotten,
        ),
        Reading::counter(
            "tollgate_login_store_away_total",
            "Attempts to sign in that the shared store did not count, because it was away.",
            stats.away,
        ),
    ]
}

fn of_sessions(stats: &SessionStats) -> Vec<Reading> {
    vec![
        Reading::gauge(
            "tollgate_session_revocations",
            "Revocations of users, sessions and tokens in memory.",
            stats.known,
        ),
        Reading::counter(
            "tollgate_session_revoked_total",
            "Revocations that this node made.",
            stats.revoked,
        ),
        Reading::counter(
            "tollgate_session_overflowed_total",
            "Revocations forgotten early, because no more fit: everything issued until then is refused.",
            stats.overflowed,
        ),
        Reading::gauge(
            "tollgate_session_refused_before_timestamp_seconds",
            "Everything issued until then is refused, because revocations were forgotten; 0 if nothing.",
            stats.refused_before,
        ),
        Reading::gauge(
            "tollgate_session_store_away",
            "1 while the shared store of sessions has not been caught up with.",
            u64::from(stats.away),
        ),
        Reading::counter(
            "tollgate_session_catch_ups_total",
            "Times that the shared log of sessions was read from its beginning.",
            stats.caught_up,
        ),
        Reading::gauge(
            "tollgate_sessions_in_use",
            "Sessions whose last use is in memory.",
            stats.in_use,
        ),
        Reading::counter(
            "tollgate_session_uses_dropped_total",
            "Uses of sessions that were not shared, because too many waited.",
            stats.uses_dropped,
        ),
        Reading::counter(
            "tollgate_session_store_failures_total",
            "Times that the shared log of sessions could not be read.",
            stats.failures,
        ),
    ]
}

fn of_audit(stats: &AuditStats) -> Vec<Reading> {
    vec![
        Reading::gauge("tollgate_audit_queue", "Audit records that wait.", stats.queued),
        Reading::counter("tollgate_audit_written_total", "Audit records written.", stats.written),
        Reading::counter(
            "tollgate_audit_dropped_total",
            "Audit records lost: the queue was full, or the disk failed until the end.",
            stats.dropped,
        ),
        Reading::counter(
            "tollgate_audit_errors_total",
            "Times that the audit log's file could not be opened, written or synced.",
            stats.errors,
        ),
        Reading::counter(
            "tollgate_audit_skipped_total",
            "Requests that a policy in shadow would have refused and that are not in the audit log.",
            stats.skipped,
        ),
    ]
}

fn of_limits(stats: &LimitStats) -> Vec<Reading> {
    let open = matches!(stats.breaker, Some(BreakerState::Open | BreakerState::Starting));
    let of = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
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
            name: "tollgate_limit_lease_charges_total",
            help: "Charges decided by what this node has leased or was refused lately, without a call.",
            value: Value::Counter(vec![
                (&[("outcome", "granted")], stats.leases.local),
                (&[("outcome", "refused")], stats.leases.remembered),
            ]),
        },
        Reading::counter(
            "tollgate_limit_leases_forgotten_total",
            "Leases that were forgotten, because there was no room for more.",
            stats.leases.forgotten,
        ),
        Reading {
            name: "tollgate_limit_share_charges_total",
            help: "Charges to this node's share of the limits, while the store was away.",
            value: Value::Counter(vec![
                (&[("outcome", "granted")], stats.share_granted),
                (&[("outcome", "refused")], stats.share_refused),
            ]),
        },
        Reading {
            name: "tollgate_limit_penalties_total",
            help: "Charges that a penalty refused, and times that it was raised.",
            value: Value::Counter(vec![
                (&[("event", "refused")], stats.penalized),
                (&[("event", "raised")], stats.raised),
            ]),
        },
        Reading::counter(
            "tollgate_limit_settlements_total",
            "Buckets that were charged once more, for an answer.",
            stats.settled,
        ),
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
        Reading {
            name: "tollgate_limit_primaries",
            help: "Servers that have buckets: those that are asked, and those that are away.",
            value: Value::Gauge(vec![
                (&[("state", "asked")], of(stats.primaries.asked)),
                (
                    &[("state", "away")],
                    of(stats.primaries.known.saturating_sub(stats.primaries.asked)),
                ),
            ]),
        },
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
