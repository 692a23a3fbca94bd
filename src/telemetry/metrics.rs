//! All metrics of the gateway, in a registry of their own (no global one).
//!
//! Measured on a small machine: a counter of an array 10 ns, a histogram 30 to 40 ns, a look-up by
//! label 40 to 60 ns, a reading of both clocks 50 ns. Timing the nine stages of every request would
//! cost 0.8 µs; of one request in [`STAGE_SAMPLE`] it costs about 12 ns.
//!
//! Each group is cheap to clone and is handed to the part that counts. Every name that stands here
//! stands in docs/OPERATIONS.md too; a test compares them.

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

use super::family::{Counters, Histograms};
use super::labels::{
    CacheLabel, CacheOutcome, FaultLabel, MethodClass, Outcome, ResourceLabel, StageLabel,
    StatusClass, UpstreamLabel,
};
use super::logins::LoginMetrics;
use super::process;
use super::reading::Reading;
use super::rules::RuleMetrics;
use crate::domain::escape::{Place, TenantEscape};
use crate::domain::principal::PrincipalKind;
use crate::domain::would::{Effect, WouldHaves};

/// One request in so many has its stages timed.
pub const STAGE_SAMPLE: u128 = 64;

/// Upper bounds for work inside the process, in seconds.
const WORK: [f64; 11] = [5e-7, 1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 1e-3, 1e-2];
/// Upper bounds for calls to a store, in seconds; the default deadline of one is 25 ms.
const CALL: [f64; 9] = [1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 0.1];
/// Upper bounds for whole requests, in seconds.
const REQUEST: [f64; 12] = [1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// Everything that is counted.
pub struct Metrics {
    registry: Registry,
    sources: Mutex<Vec<Box<Source>>>,
    /// Requests and their answers.
    pub requests: RequestMetrics,
    /// Upstreams.
    pub upstreams: UpstreamMetrics,
    /// Memories and the calls that fill them.
    pub lookups: LookupMetrics,
    /// Client connections.
    pub connections: ConnectionMetrics,
    /// Attempts to sign in.
    pub logins: LoginMetrics,
    /// Rules.
    pub rules: RuleMetrics,
    reloads: Counters<Outcome>,
    tests_failed: IntCounter,
    tests_failing: IntGauge,
    rollbacks: IntCounter,
    snapshot: Mutex<IntGaugeVec>,
    snapshot_loaded: IntGauge,
    shadow_tables: IntGauge,
}

type Source = dyn Fn() -> Vec<Reading> + Send + Sync;

impl Metrics {
    /// Registers everything. Fails only if two metrics have one name.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let build = IntGaugeVec::new(
            Opts::new("tollgate_build_info", "Always 1; the labels say what was built."),
            &["version", "allocator"],
        )?;
        let allocator = if cfg!(feature = "jemalloc") { "jemalloc" } else { "system" };
        build.get_metric_with_label_values(&[env!("CARGO_PKG_VERSION"), allocator])?.set(1);
        registry.register(Box::new(build))?;
        let snapshot = IntGaugeVec::new(
            Opts::new("tollgate_snapshot_info", "Always 1; the version of the policy in force."),
            &["version"],
        )?;
        registry.register(Box::new(snapshot.clone()))?;
        let metrics = Self {
            requests: RequestMetrics::register(&registry)?,
            upstreams: UpstreamMetrics::register(&registry)?,
            lookups: LookupMetrics::register(&registry)?,
            connections: ConnectionMetrics::register(&registry)?,
            logins: LoginMetrics::register(&registry)?,
            rules: RuleMetrics::register(&registry)?,
            reloads: Counters::register(
                &registry,
                "tollgate_reloads_total",
                "Reloads of the configuration; a failed one leaves the old policy in force.",
            )?,
            tests_failed: counter(
                &registry,
                "tollgate_reloads_refused_by_tests_total",
                "Reloads that came into force nowhere because tests did not pass.",
            )?,
            tests_failing: gauge(
                &registry,
                "tollgate_policy_tests_failing",
                "1 while the tests of the policy in force do not pass, as they stand now.",
            )?,
            rollbacks: counter(
                &registry,
                "tollgate_rollbacks_total",
                "Versions of the policy that were gone back to.",
            )?,
            snapshot: Mutex::new(snapshot),
            snapshot_loaded: gauge(
                &registry,
                "tollgate_snapshot_loaded_timestamp_seconds",
                "When the policy in force was loaded, in seconds since 1970.",
            )?,
            shadow_tables: gauge(
                &registry,
                "tollgate_shadow_tables",
                "Tables of the policy in force that the gateway does not isolate: in shadow.",
            )?,
            sources: Mutex::default(),
            registry,
        };
        metrics.probe(
            "process_resident_memory_bytes",
            "Resident memory of the process.",
            process::resident_bytes,
        )?;
        metrics.probe("process_open_fds", "Open file descriptors.", process::open_files)?;
        Ok(metrics)
    }

    /// Adds a gauge that is read when metrics are asked for.
    pub fn probe(
        &self,
        name: &str,
        help: &str,
        read: impl Fn() -> i64 + Send + Sync + 'static,
    ) -> prometheus::Result<()> {
        let gauge = IntGauge::new(name, help)?;
        self.registry.register(Box::new(Probe { gauge, read: Box::new(read) }))
    }

    /// Adds the numbers of a part that counts by itself; they are read when metrics are asked for.
    pub fn read_from(&self, source: impl Fn() -> Vec<Reading> + Send + Sync + 'static) {
        self.sources().push(Box::new(source));
    }

    fn sources(&self) -> std::sync::MutexGuard<'_, Vec<Box<Source>>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A policy is in force from now on.
    pub fn snapshot_in_force(&self, version: &str, unix_secs: u64) {
        let family = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        family.reset();
        if let Ok(info) = family.get_metric_with_label_values(&[version]) {
            info.set(1);
        }
        self.snapshot_loaded.set(i64::try_from(unix_secs).unwrap_or(i64::MAX));
    }

    /// The policy in force does not isolate so many tables: they are in shadow.
    pub fn tables_in_shadow(&self, count: usize) {
        self.shadow_tables.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A reload ended.
    pub fn reloaded(&self, outcome: Outcome) {
        self.reloads.inc(outcome);
    }

    /// A reload was refused because its tests did not pass.
    pub fn tests_failed(&self) {
        self.tests_failed.inc();
    }

    /// Whether the tests of the policy in force pass, as they stand now.
    pub fn tests_pass(&self, pass: bool) {
        self.tests_failing.set(i64::from(!pass));
    }

    /// A version was gone back to.
    pub fn rolled_back(&self) {
        self.rollbacks.inc();
    }

    /// All metrics in Prometheus' text format (version 0.0.4).
    pub fn exposition(&self) -> prometheus::Result<String> {
        let mut text = TextEncoder::new().encode_to_string(&self.registry.gather())?;
        for source in self.sources().iter() {
            for reading in source() {
                reading.write(&mut text).map_err(|e| prometheus::Error::Msg(e.to_string()))?;
            }
        }
        Ok(text)
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// Requests and their answers.
#[derive(Debug, Clone)]
pub struct RequestMetrics {
    answered: Counters<(MethodClass, UpstreamLabel, StatusClass)>,
    seconds: Histograms<UpstreamLabel>,
    stages: Histograms<StageLabel>,
    refusals: IntCounterVec,
    would_refuse: IntCounterVec,
    would_confine: IntCounter,
    /// Limits in shadow of which nobody knows what they would have done.
    pub shadow_unknown: IntCounter,
    escapes: Counters<(ResourceLabel, Place)>,
    callers: Counters<PrincipalKind>,
    /// Requests with a machine's key that was revoked.
    pub revoked_keys: IntCounter,
    /// Requests with a session that was revoked.
    pub revoked_sessions: IntCounter,
    /// Requests that are at work.
    pub in_flight: IntGauge,
}

impl RequestMetrics {
    fn register(registry: &Registry) -> prometheus::Result<Self> {
        let refusals = IntCounterVec::new(
            Opts::new("tollgate_refusals_total", "Requests that the gateway refused."),
            &["code"],
        )?;
        registry.register(Box::new(refusals.clone()))?;
        let would_refuse = IntCounterVec::new(
            Opts::new(
                "tollgate_would_refuse_total",
                "What policies in shadow would have refused, by kind of policy.",
            ),
            &["policy", "code"],
        )?;
        registry.register(Box::new(would_refuse.clone()))?;
        // These exist from the start, so that an alert on them has something to look at.
        for labels in [["limit", "rate_limited"], ["quota", "quota_exceeded"]] {
            would_refuse.get_metric_with_label_values(&labels)?;
        }
        Ok(Self {
            answered: Counters::register(
                registry,
                "tollgate_requests_total",
                "Requests, by what they wanted, where they went and how they were answered.",
            )?,
            seconds: Histograms::register(
                registry,
                "tollgate_request_seconds",
                "From the request's head to the end of its answer.",
                &REQUEST,
            )?,
            stages: Histograms::register(
                registry,
                "tollgate_stage_seconds",
                "Time in each stage of the pipeline, of one request in 64.",
                &WORK,
            )?,
            refusals,
            would_refuse,
            would_confine: counter(
                registry,
                "tollgate_would_confine_total",
                "Requests to tables in shadow that were sent as they were written.",
            )?,
            shadow_unknown: counter(
                registry,
                "tollgate_shadow_limits_unknown_total",
                "Limits in shadow that were not answered: the store was away, or later than the answer.",
            )?,
            escapes: Counters::register(
                registry,
                "tollgate_tenant_escapes_total",
                "Requests that tried to reach into another organization; all were refused.",
            )?,
            callers: Counters::register(
                registry,
                "tollgate_callers_total",
                "Requests whose caller was proven, by what kind of caller it is.",
            )?,
            revoked_keys: counter(
                registry,
                "tollgate_revoked_key_uses_total",
                "Requests with a machine's key that was revoked; all were refused.",
            )?,
            revoked_sessions: counter(
                registry,
                "tollgate_revoked_session_uses_total",
                "Requests with a token, session or user that was revoked; all were refused.",
            )?,
            in_flight: gauge(registry, "tollgate_requests_in_flight", "Requests at work.")?,
        })
    }

    /// A request was answered, or its client left.
    pub fn answered(
        &self,
        method: MethodClass,
        upstream: UpstreamLabel,
        status: StatusClass,
        took: Duration,
    ) {
        self.answered.inc((method, upstream, status));
        self.seconds.observe(upstream, took);
    }

    /// Somebody has proven who calls.
    pub fn called(&self, kind: PrincipalKind) {
        self.callers.inc(kind);
    }

    /// A request was refused. `code` is one of the constants of the refusals, so the label is
    /// bounded; only refused requests pay for looking it up.
    pub fn refused(&self, code: &'static str) {
        if let Ok(counter) = self.refusals.get_metric_with_label_values(&[code]) {
            counter.inc();
        }
    }

    /// Policies in shadow would have refused a request, or confined it. A code that is none of the constants of the
    /// refusals is some policy's own and counted as `custom`, so that reloads add no series for ever.
    pub fn would_refuse(&self, would: &WouldHaves) {
        for would in would.iter() {
            match would.effect {
                Effect::Refuse(_) => {}
                Effect::Confine => {
                    self.would_confine.inc();
                    continue;
                }
                // Counted with its rule.
                Effect::Event(_) => continue,
            }
            let code = match &would.code {
                Cow::Borrowed(code) => code,
                Cow::Owned(_) => "custom",
            };
            let labels = [would.policy.as_str(), code];
            if let Ok(counter) = self.would_refuse.get_metric_with_label_values(&labels) {
                counter.inc();
            }
        }
    }

    /// A request tried to reach into another organization.
    pub fn escaped(&self, attempt: &TenantEscape) {
        self.escapes.inc((ResourceLabel::from(&attempt.resource), attempt.place));
    }

    /// Whether this request's stages are timed: one in [`STAGE_SAMPLE`], chosen by the random bits
    /// that every request is given anyway.
    pub fn times_stages(&self, entropy: u128) -> bool {
        entropy.is_multiple_of(STAGE_SAMPLE)
    }

    /// The time of one stage of a request that [`RequestMetrics::times_stages`] chose.
    pub fn stage(&self, stage: StageLabel, took: Duration) {
        self.stages.observe(stage, took);
    }
}

/// Upstreams.
#[derive(Debug, Clone)]
pub struct UpstreamMetrics {
    seconds: Histograms<UpstreamLabel>,
    failures: Counters<(UpstreamLabel, FaultLabel)>,
    retries: Counters<UpstreamLabel>,
}

impl UpstreamMetrics {
    fn register(registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            seconds: Histograms::register(
                registry,
                "tollgate_upstream_seconds",
                "From sending a request on to the head of the upstream's answer.",
                &REQUEST,
            )?,
            failures: Counters::register(
                registry,
                "tollgate_upstream_failures_total",
                "Tries of an upstream that failed.",
            )?,
            retries: Counters::register(
                registry,
                "tollgate_upstream_retries_total",
                "Requests that were tried again at an upstream.",
            )?,
        })
    }

    /// An upstream answered.
    pub fn answered(&self, upstream: UpstreamLabel, took: Duration) {
        self.seconds.observe(upstream, took);
    }

    /// A try failed.
    pub fn failed(&self, upstream: UpstreamLabel, fault: FaultLabel) {
        self.failures.inc((upstream, fault));
    }

    /// A request is tried again.
    pub fn retried(&self, upstream: UpstreamLabel) {
        self.retries.inc(upstream);
    }
}

/// Memories and the calls that fill them.
#[derive(Debug, Clone)]
pub struct LookupMetrics {
    looks: Counters<(CacheLabel, CacheOutcome)>,
    directory: Counters<Outcome>,
    directory_seconds: Histograms<Outcome>,
    memberships: Counters<Outcome>,
    jwks: Counters<Outcome>,
}

impl LookupMetrics {
    fn register(registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            looks: Counters::register(
                registry,
                "tollgate_cache_lookups_total",
                "Looks into the memory of verified tokens and of the directory.",
            )?,
            directory: Counters::register(
                registry,
                "tollgate_directory_queries_total",
                "Queries to the directory's database.",
            )?,
            directory_seconds: Histograms::register(
                registry,
                "tollgate_directory_query_seconds",
                "Time of one query to the directory's database.",
                &CALL,
            )?,
            memberships: Counters::register(
                registry,
                "tollgate_membership_writes_total",
                "Memberships that identity providers vouched for, written to the directory's \
                 database or found there.",
            )?,
            jwks: Counters::register(
                registry,
                "tollgate_jwks_fetches_total",
                "Fetches of key sets; after a failed one the last good keys stay.",
            )?,
        })
    }

    /// A memory was looked into.
    pub fn looked(&self, cache: CacheLabel, outcome: CacheOutcome) {
        self.looks.inc((cache, outcome));
    }

    /// The directory's database was asked.
    pub fn directory_asked(&self, outcome: Outcome, took: Duration) {
        self.directory.inc(outcome);
        self.directory_seconds.observe(outcome, took);
    }

    /// A membership was written, or could not be.
    pub fn membership_written(&self, outcome: Outcome) {
        self.memberships.inc(outcome);
    }

    /// A key set was fetched.
    pub fn jwks_fetched(&self, outcome: Outcome) {
        self.jwks.inc(outcome);
    }
}

/// Client connections.
#[derive(Debug, Clone)]
pub struct ConnectionMetrics {
    /// Connections that are open.
    pub open: IntGauge,
    /// WebSockets among them that are open.
    pub websockets: IntGauge,
    /// Connections that were accepted.
    pub accepted: IntCounter,
    /// Connections that were closed at once, because their address has too many.
    pub refused: IntCounter,
}

impl ConnectionMetrics {
    fn register(registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            open: gauge(registry, "tollgate_connections_open", "Open client connections.")?,
            websockets: gauge(registry, "tollgate_websockets_open", "Open WebSockets.")?,
            accepted: counter(
                registry,
                "tollgate_connections_accepted_total",
                "Client connections accepted.",
            )?,
            refused: counter(
                registry,
                "tollgate_connections_refused_total",
                "Client connections closed at once, because their address has too many.",
            )?,
        })
    }
}

fn counter(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntCounter> {
    let counter = IntCounter::new(name, help)?;
    registry.register(Box::new(counter.clone()))?;
    Ok(counter)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntGauge> {
    let gauge = IntGauge::new(name, help)?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

/// A gauge whose value is found out when it is asked for.
struct Probe {
    gauge: IntGauge,
    read: Box<dyn Fn() -> i64 + Send + Sync>,
}

impl Collector for Probe {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.gauge.set((self.read)());
        self.gauge.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_in_force_is_the_only_one_shown() {
        let metrics = Metrics::new().unwrap();
        metrics.snapshot_in_force("aaaa", 1_000);
        metrics.snapshot_in_force("bbbb", 2_000);
        let text = metrics.exposition().unwrap();
        assert!(text.contains("tollgate_snapshot_info{version=\"bbbb\"} 1"), "{text}");
        assert!(!text.contains("aaaa"), "{text}");
        assert!(text.contains("tollgate_snapshot_loaded_timestamp_seconds 2000"), "{text}");
    }

    #[test]
    fn a_probe_is_read_each_time_metrics_are_asked_for() {
        use std::sync::atomic::{AtomicI64, Ordering};
        let metrics = Metrics::new().unwrap();
        let value = std::sync::Arc::new(AtomicI64::new(3));
        let seen = std::sync::Arc::clone(&value);
        metrics.probe("tollgate_probe", "A probe.", move || seen.load(Ordering::Relaxed)).unwrap();
        assert!(metrics.exposition().unwrap().contains("tollgate_probe 3"));
        value.store(4, Ordering::Relaxed);
        assert!(metrics.exposition().unwrap().contains("tollgate_probe 4"));
    }

    #[test]
    fn two_registries_do_not_meet() {
        let (one, other) = (Metrics::new().unwrap(), Metrics::new().unwrap());
        one.requests.refused("no_route");
        assert!(one.exposition().unwrap().contains("no_route"));
        assert!(!other.exposition().unwrap().contains("no_route"));
    }

    #[test]
    fn one_request_in_sixty_four_has_its_stages_timed() {
        let metrics = Metrics::new().unwrap();
        let chosen = (0..6_400_u128).filter(|bits| metrics.requests.times_stages(*bits)).count();
        assert_eq!(chosen, 100);
    }
}
