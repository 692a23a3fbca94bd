//! One address of an upstream: where its name leads, how busy and how healthy it is.
//!
//! Lives as long as a snapshot names it; a reload that keeps the address keeps its state.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;

use crate::domain::clock::Now;
use crate::policy::upstream::{HealthCheck, UpstreamAddress};

use super::circuit::Circuit;

/// How long a resolved name counts before a new connection asks again.
const FRESH: Duration = Duration::from_secs(10);
/// Socket addresses of one name that are kept.
const MAX_RESOLVED: usize = 16;

/// An address and its state.
#[derive(Debug)]
pub(super) struct Address {
    pub(super) name: UpstreamAddress,
    pub(super) circuit: Circuit,
    in_flight: AtomicU32,
    unhealthy: AtomicBool,
    /// Checks in a row that disagree with `unhealthy`.
    contradictions: AtomicU32,
    literal: Option<SocketAddr>,
    resolved: ArcSwapOption<Resolved>,
    resolving: Mutex<()>,
    /// Which of the resolved addresses is in use; moves on when one cannot be connected to.
    cursor: AtomicUsize,
}

#[derive(Debug)]
struct Resolved {
    addresses: Vec<SocketAddr>,
    at: Now,
}

impl Address {
    pub(super) fn new(name: UpstreamAddress) -> Self {
        let bare = name.host.trim_start_matches('[').trim_end_matches(']');
        let literal = bare.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, name.port));
        Self {
            name,
            circuit: Circuit::default(),
            in_flight: AtomicU32::new(0),
            unhealthy: AtomicBool::new(false),
            contradictions: AtomicU32::new(0),
            literal,
            resolved: ArcSwapOption::empty(),
            resolving: Mutex::new(()),
            cursor: AtomicUsize::new(0),
        }
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(super) fn healthy(&self) -> bool {
        !self.unhealthy.load(Ordering::Relaxed)
    }

    /// Takes the outcome of a health check. Returns the new state if it changed.
    pub(super) fn checked(&self, good: bool, check: &HealthCheck) -> Option<bool> {
        if good == self.healthy() {
            self.contradictions.store(0, Ordering::Relaxed);
            return None;
        }
        let seen = self.contradictions.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let wanted = if good { check.healthy_after } else { check.unhealthy_after };
        if seen < wanted.get() {
            return None;
        }
        self.contradictions.store(0, Ordering::Relaxed);
        self.unhealthy.store(!good, Ordering::Relaxed);
        if good {
            // It answers again: requests need not wait for the circuit's time to be over.
            self.circuit.succeeded();
        }
        Some(good)
    }

    /// Forgets health: the new snapshot checks nothing.
    pub(super) fn presume_healthy(&self) {
        self.unhealthy.store(false, Ordering::Relaxed);
        self.contradictions.store(0, Ordering::Relaxed);
    }

    /// How many socket addresses are known.
    pub(super) fn choices(&self) -> usize {
        match self.literal {
            Some(_) => 1,
            None => self.resolved.load().as_ref().map_or(1, |resolved| resolved.addresses.len()),
        }
    }

    /// Moves on to the next socket address of the name: this one cannot be connected to.
    pub(super) fn rotate(&self) {
        self.cursor.fetch_add(1, Ordering::Relaxed);
    }

    /// The socket address to connect to. A name that is known goes on serving while one request
    /// asks again; only a name nobody knows yet is waited for.
    pub(super) async fn socket(&self, now: Now, wait: Duration) -> Option<SocketAddr> {
        if let Some(literal) = self.literal {
            return Some(literal);
        }
        let known = self.resolved.load_full();
        match &known {
            Some(resolved) if now.since(resolved.at) < FRESH => return self.pick(resolved),
            Some(resolved) => match self.resolving.try_lock() {
                Ok(_turn) => self.resolve(now, wait).await,
                Err(_) => return self.pick(resolved),
            },
            None => {
                let _turn = self.resolving.lock().await;
                if self.resolved.load().is_none() {
                    self.resolve(now, wait).await;
                }
            }
        }
        self.resolved.load_full().as_deref().and_then(|resolved| self.pick(resolved))
    }

    /// Asks for the name. What was known stays known if nobody answers.
    pub(super) async fn resolve(&self, now: Now, wait: Duration) {
        if self.literal.is_some() {
            return;
        }
        let asked = tokio::net::lookup_host((self.name.host.as_ref(), self.name.port));
        if let Ok(Ok(found)) = tokio::time::timeout(wait, asked).await {
            let addresses: Vec<SocketAddr> = found.take(MAX_RESOLVED).collect();
            if !addresses.is_empty() {
                self.resolved.store(Some(Arc::new(Resolved { addresses, at: now })));
            }
        }
    }

    fn pick(&self, resolved: &Resolved) -> Option<SocketAddr> {
        let count = resolved.addresses.len().max(1);
        resolved.addresses.get(self.cursor.load(Ordering::Relaxed) % count).copied()
    }
}

/// A request that is on its way to an address: counts until it is dropped.
#[derive(Debug)]
pub(super) struct InFlight(pub(super) Arc<Address>);

impl InFlight {
    pub(super) fn new(address: Arc<Address>) -> Self {
        address.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(address)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn address(host: &str) -> Address {
        Address::new(UpstreamAddress { host: host.into(), port: 3000 })
    }

    fn check() -> HealthCheck {
        HealthCheck {
            path: "/".into(),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            unhealthy_after: NonZeroU32::new(2).unwrap(),
            healthy_after: NonZeroU32::new(1).unwrap(),
        }
    }

    const START: Now = Now { unix_micros: 0, mono_nanos: 0 };

    #[tokio::test]
    async fn a_literal_address_is_not_looked_up() {
        for (host, socket) in [("127.0.0.1", "127.0.0.1:3000"), ("[::1]", "[::1]:3000")] {
            let found = address(host).socket(START, Duration::ZERO).await;
            assert_eq!(found, Some(socket.parse().unwrap()), "{host}");
        }
    }

    #[tokio::test]
    async fn a_name_is_looked_up_and_every_address_of_it_gets_its_turn() {
        let address = address("localhost");
        let wait = Duration::from_secs(5);
        let first = address.socket(START, wait).await.unwrap();
        assert!(first.ip().is_loopback());
        for _ in 0..address.choices() {
            address.rotate();
        }
        assert_eq!(address.socket(START, wait).await, Some(first));
    }

    #[tokio::test]
    async fn a_name_that_nobody_knows_leads_nowhere() {
        let found = address("nowhere.invalid").socket(START, Duration::from_secs(5)).await;
        assert_eq!(found, None);
    }

    #[test]
    fn health_changes_after_the_stated_number_of_checks_in_a_row() {
        let address = address("127.0.0.1");
        assert_eq!(address.checked(false, &check()), None);
        assert_eq!(address.checked(true, &check()), None);
        assert_eq!(address.checked(false, &check()), None);
        assert_eq!(address.checked(false, &check()), Some(false));
        assert!(!address.healthy());
        assert_eq!(address.checked(true, &check()), Some(true));
        assert!(address.healthy());
    }

    #[test]
    fn a_request_counts_until_it_is_dropped() {
        let address = Arc::new(address("127.0.0.1"));
        let one = InFlight::new(Arc::clone(&address));
        let two = InFlight::new(Arc::clone(&address));
        assert_eq!(address.in_flight(), 2);
        drop((one, two));
        assert_eq!(address.in_flight(), 0);
    }
}
