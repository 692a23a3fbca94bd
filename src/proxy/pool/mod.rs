//! The addresses of every upstream of one snapshot: which is healthy, which is least busy.
//!
//! Stage 8's shell: `upstream_peer` asks here for an address and reports how it went. State is
//! keyed by upstream name and address and carried over from the pools of the snapshot before, so
//! that a reload neither forgets an open circuit nor keeps what is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pingora::upstreams::peer::HttpPeer;
use smallvec::SmallVec;

use crate::domain::clock::Now;
use crate::domain::refusal::UpstreamFault;
use crate::policy::upstream::{Upstream, UpstreamAddress};

mod address;
mod circuit;
pub(super) mod handshake;
pub(super) mod health;
mod peer;

use address::{Address, InFlight};
use circuit::Verdict;

/// All pools of one snapshot.
#[derive(Debug, Default)]
pub(super) struct Pools {
    pools: Vec<Arc<Pool>>,
}

/// One upstream and its addresses.
#[derive(Debug)]
pub(super) struct Pool {
    upstream: Arc<Upstream>,
    addresses: Vec<Arc<Address>>,
    turn: AtomicUsize,
}

/// An address that a request was given: counts as busy until it is dropped.
#[derive(Debug)]
pub(super) struct Chosen {
    in_flight: InFlight,
    index: usize,
}

/// Which addresses a request has tried, by index.
pub(super) type Tried = SmallVec<[usize; 4]>;

impl Pools {
    /// The pools of a snapshot's upstreams; state comes from the pools before, where they have it.
    pub(super) fn new(upstreams: &[Arc<Upstream>], before: &Self) -> Self {
        let pools = upstreams.iter().map(|upstream| {
            let old = before.pools.iter().find(|pool| pool.upstream.name == upstream.name);
            Arc::new(Pool::new(Arc::clone(upstream), old.map(Arc::as_ref)))
        });
        Self { pools: pools.collect() }
    }

    /// The pool of an upstream of the same snapshot.
    pub(super) fn of(&self, upstream: &Arc<Upstream>) -> Option<&Arc<Pool>> {
        self.pools.iter().find(|pool| Arc::ptr_eq(&pool.upstream, upstream))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.pools.iter()
    }

    /// The upstreams all of whose addresses are out. Looks only: takes no probe of a circuit.
    pub(super) fn without_address(&self, now: Now) -> Vec<Arc<str>> {
        let served = |pool: &Pool| {
            pool.addresses
                .iter()
                .any(|address| address.healthy() && address.circuit.verdict(now) != Verdict::Open)
        };
        let out = self.pools.iter().filter(|pool| !served(pool));
        out.map(|pool| Arc::clone(&pool.upstream.name)).collect()
    }
}

impl Pool {
    fn new(upstream: Arc<Upstream>, before: Option<&Pool>) -> Self {
        let kept = |name: &UpstreamAddress| {
            before?.addresses.iter().find(|old| old.name == *name).map(Arc::clone)
        };
        let addresses: Vec<Arc<Address>> = upstream
            .addresses
            .iter()
            .map(|name| kept(name).unwrap_or_else(|| Arc::new(Address::new(name.clone()))))
            .collect();
        if upstream.health.is_none() {
            addresses.iter().for_each(|address| address.presume_healthy());
        }
        Self { upstream, addresses, turn: AtomicUsize::new(0) }
    }

    /// The least busy of the healthy addresses; those that were tried only where there is no
    /// other. `None`: all are out.
    pub(super) fn choose(&self, tried: &[usize], now: Now) -> Option<Chosen> {
        let untried = self.least_busy(now, |index| !tried.contains(&index));
        let found = untried.or_else(|| self.least_busy(now, |index| tried.contains(&index)));
        found
            .map(|(index, address)| Chosen { in_flight: InFlight::new(Arc::clone(address)), index })
    }

    fn least_busy(
        &self,
        now: Now,
        wanted: impl Fn(usize) -> bool,
    ) -> Option<(usize, &Arc<Address>)> {
        let count = self.addresses.len();
        let start = match count {
            0 | 1 => 0,
            // Among equals they take turns.
            _ => self.turn.fetch_add(1, Ordering::Relaxed),
        };
        let mut best: Option<(usize, &Arc<Address>)> = None;
        for step in 0..count {
            let index = start.wrapping_add(step) % count;
            let Some(address) = self.addresses.get(index) else { continue };
            if !wanted(index) || !address.healthy() {
                continue;
            }
            match address.circuit.verdict(now) {
                Verdict::Closed => {
                    if best.is_none_or(|(_, other)| address.in_flight() < other.in_flight()) {
                        best = Some((index, address));
                    }
                }
                // A circuit that may try is served first: nobody else would close it.
                Verdict::Probe if address.circuit.take_probe(now, &self.upstream.breaker) => {
                    return Some((index, address));
                }
                Verdict::Probe | Verdict::Open => {}
            }
        }
        best
    }

    /// Where to connect to.
    ///
    /// # Errors
    /// [`UpstreamFault::NoAddress`] if the name leads nowhere.
    pub(super) async fn peer(
        &self,
        chosen: &Chosen,
        read_timeout: std::time::Duration,
        now: Now,
    ) -> Result<HttpPeer, UpstreamFault> {
        let address = &chosen.in_flight.0;
        match address.socket(now, self.upstream.connect_timeout).await {
            Some(socket) => Ok(peer::build(&self.upstream, socket, read_timeout)),
            None => {
                self.failed(chosen, now);
                Err(UpstreamFault::NoAddress)
            }
        }
    }

    /// The address answered.
    pub(super) fn succeeded(&self, chosen: &Chosen) {
        chosen.in_flight.0.circuit.succeeded();
    }

    /// The address refused, broke off or kept silent.
    pub(super) fn failed(&self, chosen: &Chosen, now: Now) {
        let address = &chosen.in_flight.0;
        if address.circuit.failed(now, &self.upstream.breaker) {
            tracing::warn!(
                upstream.name = %self.upstream.name,
                upstream.address = %shown(address),
                "circuit opened: requests go to other addresses"
            );
        }
    }

    /// A connection could not be made, for the `times`th time of this request. The next one goes
    /// to another socket address of the name; the address has failed once all were tried.
    pub(super) fn unreachable(&self, chosen: &Chosen, times: usize, now: Now) {
        let address = &chosen.in_flight.0;
        address.rotate();
        if times >= address.choices() {
            self.failed(chosen, now);
        }
    }

    /// How many socket addresses there are to connect to, as far as known.
    pub(super) fn choices(&self) -> usize {
        self.addresses.iter().map(|address| address.choices()).sum()
    }
}

impl Chosen {
    /// Its place in the upstream's list.
    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// `host:port`, as the configuration writes it.
    pub(super) fn shown(&self) -> String {
        shown(&self.in_flight.0)
    }
}

fn shown(address: &Address) -> String {
    format!("{}:{}", address.name.host, address.name.port)
}

#[cfg(test)]
mod tests;
