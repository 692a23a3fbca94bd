//! The primaries of a Redis Cluster: a link to each, and which slot is whose.
//!
//! Requests look a slot up and take what is there. In the background the map is asked for again
//! ([`Cluster::keep`]): now and then, when a server says that a slot is elsewhere, and again and again
//! while a primary is away, until its replica has taken over. Imports `domain` and `config`.
//!
//! The client of the `redis` crate does this, too, but sends a call again whose connection broke,
//! which may have been executed. Here a call goes out a second time only where a server has said that
//! it did not execute it.

pub(in crate::stores) mod seeds;
pub(in crate::stores) mod slots;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use redis::Script;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

use crate::domain::clock::{Clock, Now};
use crate::stores::limits::BreakerState;
use crate::stores::limits::link::Link;
use crate::stores::limits::stats::Primaries;

use self::seeds::{Seeds, best, view};
use self::slots::{Address, SLOTS, Slot, Topology};

/// Between two looks at a cluster that is whole.
const CALM: Duration = Duration::from_secs(5);
/// Between two looks at one in which somebody is away.
const ANXIOUS: Duration = Duration::from_millis(200);
/// Slots move one by one: no more looks than this, whoever asks for them.
const LEAST: Duration = Duration::from_millis(50);
/// Servers without a slot of their own that somebody was sent to.
const MOST_STRAYS: usize = 16;
/// They are forgotten after this time.
const STRAY_FOR: Duration = Duration::from_secs(30);
/// For so long, keys of a slot that is moving are asked for one by one.
const SCATTERED_FOR: Duration = Duration::from_secs(1);

pub(in crate::stores) struct Cluster {
    seeds: Seeds,
    clock: Arc<dyn Clock>,
    deadline: Duration,
    state: Mutex<State>,
    wake: Arc<Notify>,
}

struct State {
    /// By slot.
    slots: Vec<Option<Arc<Link>>>,
    primaries: Vec<Arc<Link>>,
    /// A slot that comes from elsewhere may be asked for here before this has any.
    strays: Vec<(Arc<Link>, Now)>,
    /// All nodes that were ever in the last map: one of them knows the next.
    nodes: Vec<Address>,
    scattered: HashMap<Slot, Now>,
    whole: bool,
    /// Nobody said who has what when they were last asked.
    blind: bool,
    /// How often links opened their breakers that are there no more.
    opened_before: u64,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The seeds know the password.
        f.debug_struct("Cluster")
            .field("primaries", &self.state().primaries)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// Opens nothing: until it is kept, every slot is away.
    pub(in crate::stores) fn new(seeds: Seeds, deadline: Duration, clock: Arc<dyn Clock>) -> Self {
        let state = State {
            slots: vec![None; usize::from(SLOTS)],
            primaries: Vec::new(),
            strays: Vec::new(),
            nodes: Vec::new(),
            scattered: HashMap::new(),
            whole: false,
            blind: false,
            opened_before: 0,
        };
        Self { seeds, clock, deadline, state: Mutex::new(state), wake: Arc::new(Notify::new()) }
    }

    /// The link to whoever has a slot.
    pub(in crate::stores) fn link(&self, slot: Slot) -> Option<Arc<Link>> {
        self.state().slots.get(slot.index()).cloned().flatten()
    }

    /// A server said that the slot is another's now.
    pub(in crate::stores) fn moved(&self, slot: Slot, to: &Address) -> Option<Arc<Link>> {
        let link = self.reached(to)?;
        if let Some(place) = self.state().slots.get_mut(slot.index()) {
            *place = Some(Arc::clone(&link));
        }
        self.wake.notify_one();
        Some(link)
    }

    /// The link to a server that somebody was sent to.
    pub(in crate::stores) fn reached(&self, address: &Address) -> Option<Arc<Link>> {
        let now = self.clock.now();
        let mut state = self.state();
        let is = |link: &&Arc<Link>| link.address() == Some(address);
        if let Some(link) = state.primaries.iter().find(is) {
            return Some(Arc::clone(link));
        }
        if let Some((link, asked)) = state.strays.iter_mut().find(|(link, _)| is(&link)) {
            *asked = now;
            return Some(Arc::clone(link));
        }
        if state.strays.len() >= MOST_STRAYS {
            return None;
        }
        let link = self.open(address)?;
        state.strays.push((Arc::clone(&link), now));
        drop(state);
        self.wake.notify_one();
        Some(link)
    }

    /// Something is not where it should be: look.
    pub(in crate::stores) fn look(&self) {
        self.wake.notify_one();
    }

    /// Some keys of the slot have moved, and some have not.
    pub(in crate::stores) fn scattered(&self, slot: Slot) {
        let now = self.clock.now();
        let mut state = self.state();
        state.scattered.retain(|_, since| now.since(*since) < SCATTERED_FOR);
        state.scattered.insert(slot, now);
    }

    pub(in crate::stores) fn is_scattered(&self, slot: Slot) -> bool {
        let now = self.clock.now();
        let state = self.state();
        let since = state.scattered.get(&slot);
        since.is_some_and(|since| now.since(*since) < SCATTERED_FOR)
    }

    /// The primaries that are known, and asked.
    pub(in crate::stores) fn primaries(&self) -> Primaries {
        let state = self.state();
        let asked = state.primaries.iter().filter(|link| link.breaker().0 == BreakerState::Closed);
        Primaries { known: state.primaries.len(), asked: asked.count() }
    }

    /// Whether any primary is asked, or none since when; and how often one was found to be away.
    pub(in crate::stores) fn breaker(&self) -> (BreakerState, u64) {
        let state = self.state();
        let links = state.primaries.iter().chain(state.strays.iter().map(|(link, _)| link));
        let breakers: Vec<(BreakerState, u64)> = links.map(|link| link.breaker()).collect();
        let opened = breakers.iter().map(|(_, opened)| opened).sum::<u64>() + state.opened_before;
        let any = |wanted| breakers.iter().any(|(breaker, _)| *breaker == wanted);
        let breaker = match breakers.is_empty() || any(BreakerState::Starting) {
            _ if any(BreakerState::Closed) => BreakerState::Closed,
            true => BreakerState::Starting,
            false => BreakerState::Open,
        };
        (breaker, opened)
    }

    /// Keeps the map and the links, for as long as it is polled.
    pub(in crate::stores) async fn keep(&self, script: &Script) {
        let mut keepers = JoinSet::new();
        let mut kept: Vec<(Arc<Link>, AbortHandle)> = Vec::new();
        loop {
            if let Some(topology) = self.find().await {
                self.install(&topology);
            }
            let links = self.links();
            kept.retain(|(link, keeper)| {
                let stays = links.iter().any(|one| Arc::ptr_eq(one, link));
                if !stays {
                    keeper.abort();
                }
                stays
            });
            for link in links {
                if !kept.iter().any(|(one, _)| Arc::ptr_eq(one, &link)) {
                    let (own, script) = (Arc::clone(&link), script.clone());
                    kept.push((link, keepers.spawn(async move { own.keep(&script).await })));
                }
            }
            while keepers.try_join_next().is_some() {}
            let pause = if self.is_whole() { CALM } else { ANXIOUS };
            tokio::time::sleep(LEAST).await;
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.wake.notified() => {}
            }
        }
    }

    /// Asks the primaries; and everybody else who is known, where none of them can tell.
    async fn find(&self) -> Option<Topology> {
        let primaries = self.state().primaries.clone();
        let asked = primaries.iter().filter_map(|link| Some((link.usable()?, link.address()?)));
        let ask = async |(mut connection, address)| view(&mut connection, address).await.ok();
        let views = join_all(asked.map(ask)).await;
        let found = best(views.into_iter().flatten().collect());
        if let Some((topology, true)) = found {
            return Some(topology);
        }
        let mut nodes = self.seeds.addresses();
        nodes.extend(self.state().nodes.iter().cloned());
        nodes.sort_unstable();
        nodes.dedup();
        match self.seeds.topology(&nodes).await {
            Ok(topology) => Some(topology),
            Err(error) => {
                if !std::mem::replace(&mut self.state().blind, true) {
                    tracing::warn!(%error, "no node of the redis cluster says who has which slots");
                }
                None
            }
        }
    }

    fn install(&self, topology: &Topology) {
        let now = self.clock.now();
        let mut state = self.state();
        let mut before = std::mem::take(&mut state.primaries);
        let mut strays = std::mem::take(&mut state.strays);
        state.slots.fill(None);
        for (address, ranges) in &topology.primaries {
            let is = |link: &Arc<Link>| link.address() == Some(address);
            let known = before.iter().position(is).map(|index| before.swap_remove(index));
            let known = known.or_else(|| {
                let index = strays.iter().position(|(link, _)| is(link))?;
                Some(strays.swap_remove(index).0)
            });
            let Some(link) = known.or_else(|| self.open(address)) else { continue };
            for (first, last) in ranges {
                let range = usize::from(*first)..=usize::from(*last);
                if let Some(slots) = state.slots.get_mut(range) {
                    slots.fill(Some(Arc::clone(&link)));
                }
            }
            state.primaries.push(link);
        }
        strays.retain(|(_, asked)| now.since(*asked) < STRAY_FOR);
        state.strays = strays;
        state.opened_before += before.iter().map(|link| link.breaker().1).sum::<u64>();
        state.nodes = topology.replicas.clone();
        state.nodes.extend(topology.primaries.iter().map(|(address, _)| address.clone()));
        let whole = topology.covered() == u32::from(SLOTS);
        if whole != state.whole {
            let covered = topology.covered();
            tracing::info!(whole, covered, "slots of the redis cluster that somebody has");
        }
        (state.whole, state.blind) = (whole, false);
    }

    fn is_whole(&self) -> bool {
        let Primaries { known, asked } = self.primaries();
        self.state().whole && known == asked
    }

    fn links(&self) -> Vec<Arc<Link>> {
        let state = self.state();
        let strays = state.strays.iter().map(|(link, _)| link);
        state.primaries.iter().chain(strays).map(Arc::clone).collect()
    }

    fn open(&self, address: &Address) -> Option<Arc<Link>> {
        let client = self.seeds.client(address).ok()?;
        let (clock, lost) = (Arc::clone(&self.clock), Arc::clone(&self.wake));
        Some(Arc::new(Link::new(client, Some(address.clone()), self.deadline, clock, lost)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
