//! What the adapter needs, in one place: the policy in force with what this node knows under it,
//! the stores, the clock, the counters.
//!
//! A reload installs a new [`Generation`] in one step. Requests that began under the old one end
//! under it; the state of upstream addresses is carried over.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ahash::RandomState;
use arc_swap::ArcSwap;
use futures_util::StreamExt;
use prometheus::IntGauge;
use tokio::runtime::Handle;

use crate::domain::address::customer;
use crate::domain::clock::{Clock, Now};
use crate::domain::ids::{OrgId, UserId};
use crate::domain::session::Standing;
use crate::policy::Snapshot;
use crate::policy::known::Known;
use crate::stores::audit::AuditLog;
use crate::stores::guards::address::AddressGuard;
use crate::stores::guards::concurrency::{Concurrency, Permit};
use crate::stores::limits::LimitStore;
use crate::stores::logins::Logins;
use crate::stores::node::{Facts, NodeKnowledge};
use crate::stores::usage::Usage;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::rules::RuleCounters;

use super::pool::Pools;
use super::pool::health::Checks;
use super::sockets::Sockets;

/// How often it is looked whether a WebSocket's token was taken back: within a second, with what
/// its news takes to arrive.
const SOCKET_ROUND: Duration = Duration::from_millis(250);
/// Handshakes that are decided on again at a time: each may wait for the directory.
const RECHECKED: usize = 16;
/// Connections, and requests of organizations, that are open at the same time on one node: beyond
/// what its file descriptors and memory allow, so that it bounds the maps and nothing else.
pub(super) const MAX_OPEN: NonZeroU32 = NonZeroU32::MIN.saturating_add(1_048_575);

/// Everything that a gateway is made of.
pub struct Parts {
    /// The policy to begin with.
    pub snapshot: Arc<Snapshot>,
    /// What this node knows under it.
    pub node: Arc<NodeKnowledge>,
    /// Where requests are charged.
    pub limits: Arc<LimitStore>,
    /// Where failed logins are counted.
    pub logins: Arc<Logins>,
    /// How fast one address may ask.
    pub addresses: Arc<AddressGuard>,
    /// Where decisions are recorded.
    pub audit: Option<AuditLog>,
    /// Where it is counted what organizations use.
    pub usage: Option<Usage>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The one clock.
    pub clock: Arc<dyn Clock>,
    /// Where health checks run: not on the threads that serve.
    pub background: Handle,
}

/// What serves requests.
pub struct Gateway {
    current: ArcSwap<Generation>,
    checks: Mutex<Checks>,
    pub(super) background: Handle,
    entropy: Entropy,
    in_flight: AtomicU64,
    connections: Concurrency<IpAddr>,
    pub(super) requests: Concurrency<OrgId>,
    /// Requests that are at work, by user.
    pub(super) requests_of_users: Concurrency<UserId>,
    pub(super) sockets: Sockets,
    pub(super) addresses: Arc<AddressGuard>,
    pub(super) limits: Arc<LimitStore>,
    pub(super) logins: Arc<Logins>,
    pub(super) audit: Option<AuditLog>,
    pub(super) usage: Option<Usage>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Arc<dyn Clock>,
}

/// One policy in force: a request holds one from start to end.
pub struct Generation {
    /// The policy.
    pub snapshot: Arc<Snapshot>,
    /// What this node knows under it.
    pub node: Arc<NodeKnowledge>,
    pub(super) pools: Pools,
    pub(super) rules: RuleCounters,
}

impl Gateway {
    /// Puts the parts together and starts the health checks.
    pub fn new(parts: Parts) -> Arc<Self> {
        let pools = Pools::new(&parts.snapshot.upstreams, &Pools::default());
        let checks = Checks::start(&pools, &parts.clock, &parts.background, &Checks::default());
        let rules = parts.metrics.rules.of(ids(&parts.snapshot));
        let generation = Generation { snapshot: parts.snapshot, node: parts.node, pools, rules };
        Arc::new(Self {
            current: ArcSwap::from_pointee(generation),
            checks: Mutex::new(checks),
            background: parts.background,
            entropy: Entropy::default(),
            in_flight: AtomicU64::new(0),
            connections: Concurrency::new(MAX_OPEN),
            requests: Concurrency::new(MAX_OPEN),
            requests_of_users: Concurrency::new(MAX_OPEN),
            sockets: Sockets::new(parts.metrics.connections.websockets.clone()),
            addresses: parts.addresses,
            limits: parts.limits,
            logins: parts.logins,
            audit: parts.audit,
            usage: parts.usage,
            metrics: parts.metrics,
            clock: parts.clock,
        })
    }

    /// Puts another policy in force, for all requests from now on.
    pub fn install(&self, snapshot: Arc<Snapshot>, node: Arc<NodeKnowledge>) {
        // The lock also keeps two reloads apart.
        let mut checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        let pools = Pools::new(&snapshot.upstreams, &self.current.load().pools);
        *checks = Checks::start(&pools, &self.clock, &self.background, &checks);
        let rules = self.metrics.rules.of(ids(&snapshot));
        self.current.store(Arc::new(Generation { snapshot, node, pools, rules }));
    }

    /// The policy in force.
    pub fn current(&self) -> Arc<Generation> {
        self.current.load_full()
    }

    /// Requests that are at work, WebSockets included.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Ends WebSockets whose tokens were taken back, for as long as it is polled: spawn it once.
    pub async fn end_sockets(self: Arc<Self>) {
        let mut rounds = tokio::time::interval(SOCKET_ROUND);
        loop {
            rounds.tick().await;
            let (generation, now) = (self.current(), self.now());
            self.sockets.end_those(|token| {
                Facts::new(&generation.node, now).standing(token) == Standing::Revoked
            });
        }
    }

    /// Ends WebSockets that would not be let in any more, for as long as it is polled: spawn it
    /// once.
    pub async fn recheck_sockets(self: Arc<Self>) {
        let mut rounds = tokio::time::interval(SOCKET_ROUND);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            let due = futures_util::stream::iter(self.sockets.due(self.now()));
            let asked = due.for_each_concurrent(RECHECKED, async |due| {
                if !due.handshake.counts(&self).await {
                    due.end();
                }
            });
            asked.await;
        }
    }

    /// Lets a connection in, until what this returns is dropped. Trusted proxies bring the
    /// connections of many clients and are not counted.
    pub(super) fn connection(&self, peer: IpAddr) -> Option<Connection> {
        let metrics = &self.metrics.connections;
        let edge = &self.current.load().snapshot.edge;
        let trusted = edge.trusted_proxies.iter().any(|net| net.contains(&peer));
        let place = if trusted {
            None
        } else {
            let entered = self.connections.enter(customer(peer), edge.connections_per_address);
            Some(entered.inspect_err(|_| metrics.refused.inc()).ok()?)
        };
        metrics.accepted.inc();
        metrics.open.inc();
        Some(Connection { open: metrics.open.clone(), _place: place })
    }

    pub(super) fn now(&self) -> Now {
        self.clock.now()
    }

    pub(super) fn entropy(&self) -> u128 {
        self.entropy.next()
    }
}

impl Generation {
    /// The upstreams no address of which would be given a request now: for readiness.
    pub fn without_address(&self, now: Now) -> Vec<Arc<str>> {
        self.pools.without_address(now)
    }
}

/// The ids of all rules, in the order of their places.
fn ids(snapshot: &Snapshot) -> impl Iterator<Item = &str> {
    snapshot.rules.all().iter().map(|rule| rule.id.as_ref())
}

/// An open connection: counts until it is dropped.
pub(super) struct Connection {
    open: IntGauge,
    _place: Option<Permit<IpAddr>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.open.dec();
    }
}

/// A request at work: counts until it is dropped.
pub(super) struct AtWork(Arc<Gateway>);

impl AtWork {
    pub(super) fn gateway(&self) -> &Gateway {
        &self.0
    }

    pub(super) fn new(gateway: Arc<Gateway>) -> Self {
        gateway.in_flight.fetch_add(1, Ordering::Relaxed);
        gateway.metrics.requests.in_flight.inc();
        Self(gateway)
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.requests.in_flight.dec();
    }
}

/// Bits for request and trace ids: a counter under a hash with a random key. They tell requests
/// apart; nothing that must be unguessable is made of them.
#[derive(Debug, Default)]
struct Entropy {
    counter: AtomicU64,
    high: RandomState,
    low: RandomState,
}

impl Entropy {
    fn next(&self) -> u128 {
        let count = self.counter.fetch_add(1, Ordering::Relaxed);
        u128::from(self.high.hash_one(count)) << 64 | u128::from(self.low.hash_one(count))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::Entropy;

    #[test]
    fn ids_differ_between_requests_and_between_processes() {
        let (one, other) = (Entropy::default(), Entropy::default());
        let mut seen: HashSet<u128> = (0..1_000).map(|_| one.next()).collect();
        seen.extend((0..1_000).map(|_| other.next()));
        assert_eq!(seen.len(), 2_000);
    }
}
