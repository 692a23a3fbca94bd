//! Token buckets in Redis, shared by all nodes: one script call for all buckets of a request that share
//! a slot, and none where this node holds leases of all of them.
//!
//! The arithmetic is that of the store in memory; `acquire.lua` says how, and what happens to keys
//! that are broken and clocks that jump. Time is Redis' own. Every call has a hard deadline, and
//! while Redis is away a breaker answers in its place. Imports `domain` and `config`.
//!
//! Calls are made by one driver, in the background (`keep`): what waits while a call to the same
//! servers is on its way goes together with the next, and requests for the same buckets go as one. Who
//! stops waiting takes nothing along: what was granted to them is spent, what was leased stays.
//!
//! A call that is not answered in time may have been executed all the same: then its tokens are
//! gone, and nobody was admitted for them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use smallvec::SmallVec;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::config::settings::{OnFailover, RedisSettings};
use crate::domain::charge::{BucketCharge, Charge, ChargeAnswer};
use crate::domain::clock::{Clock, Now};
use crate::domain::known::Outage;

use super::breaker::BreakerState;
use super::flight::{Flights, Group, Landed, Markers};
use super::leases::{Epoch, LeaseStats, Leases};
use super::links::Links;
use super::memory::MemoryStore;
use super::parts::{Parts, parts};
use super::stats::{Counters, Primaries, count};

/// Requests that may wait for the driver; more are told that the store is away.
const MOST_WAITING: usize = 8_192;
/// So many do not wait for the call that is on its way.
const ENOUGH: usize = 64;
/// How often leases are looked at that are about to end.
const SWEEP: Duration = Duration::from_millis(50);

/// Leases that are given back at one look. What waits longer than its lease lasts ends by itself.
const RETURNED: usize = 1_024;

/// Buckets in Redis.
#[derive(Debug)]
pub struct RedisStore {
    flights: Flights,
    deadline: Duration,
    clock: Arc<dyn Clock>,
    jobs: mpsc::Sender<Job>,
    waiting: tokio::sync::Mutex<mpsc::Receiver<Job>>,
}

/// A request that waits for the driver.
#[derive(Debug)]
struct Job {
    charge: Charge,
    answer: oneshot::Sender<ChargeAnswer>,
}

/// A request that knows where to ask.
struct Placed {
    job: Job,
    parts: Parts,
    /// It was asked for once, and its slot was on the move.
    again: bool,
}

/// The servers that a request asks, by the place of their links: what waits for others waits apart.
type Route = SmallVec<[usize; 2]>;

#[derive(Default)]
struct Lane {
    waiting: Vec<Placed>,
    flying: u32,
}

impl std::fmt::Debug for dyn Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

/// The settings of a Redis store that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the redis url is not usable ({reason}): write it as `redis://host:port/db`")]
pub struct BadRedisUrl {
    // Of a fixed set, and without the address: that may hold a password.
    reason: String,
}

impl BadRedisUrl {
    pub(in crate::stores) fn because(reason: String) -> Self {
        Self { reason }
    }
}

impl RedisStore {
    /// A store that is not connected yet. Opens nothing.
    pub fn new(settings: &RedisSettings, clock: Arc<dyn Clock>) -> Result<Self, BadRedisUrl> {
        let epoch = Epoch::of(settings.lease);
        let links = Links::open(settings, include_str!("acquire.lua"), Arc::clone(&clock))?;
        let (jobs, waiting) = mpsc::channel(MOST_WAITING);
        let strict = settings.on_failover == OnFailover::Strict;
        let prefix = Arc::clone(&settings.key_prefix);
        let flights = Flights {
            markers: strict.then(|| Markers::new(&prefix, links.is_cluster())),
            links,
            leases: Leases::new(settings.max_buckets, epoch),
            epoch,
            prefix,
            deadline: settings.timeout,
            clock: Arc::clone(&clock),
        };
        let waiting = tokio::sync::Mutex::new(waiting);
        Ok(Self { flights, deadline: settings.timeout, clock, jobs, waiting })
    }

    /// Keeps the connection to Redis and calls it, for as long as it is polled. Until it is, the
    /// store is away.
    pub(super) async fn keep(&self, share: &MemoryStore, counters: &Counters) {
        tokio::join!(self.flights.links.keep(), self.drive(share, counters));
    }

    /// The answer, where Redis is not to be asked.
    pub(super) fn shortcut(
        &self,
        charge: &Charge,
        now: Now,
        counters: &Counters,
    ) -> Option<ChargeAnswer> {
        // What is leased is this node's, whatever became of Redis since.
        let decided = self.flights.leases.decide(charge, now, &*self.clock);
        if decided.is_some() {
            return decided;
        }
        match self.flights.links.breaker().0 {
            BreakerState::Closed => None,
            BreakerState::Starting | BreakerState::Open => {
                count(&counters.not_asked);
                Some(ChargeAnswer::Away(Outage::Limits))
            }
        }
    }

    /// Charges, waiting no longer than the deadline.
    pub(super) async fn take(&self, charge: &Charge, counters: &Counters) -> ChargeAnswer {
        let away = ChargeAnswer::Away(Outage::Limits);
        let (answer, told) = oneshot::channel();
        if self.jobs.try_send(Job { charge: charge.clone(), answer }).is_err() {
            count(&counters.not_asked);
            return away;
        }
        match timeout(self.deadline, told).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_dropped)) => away,
            Err(_late) => {
                count(&counters.timed_out);
                away
            }
        }
    }

    pub(super) fn breaker(&self) -> (BreakerState, u64) {
        self.flights.links.breaker()
    }

    /// How many primaries there are, and how many of them are asked.
    pub(super) fn primaries(&self) -> Primaries {
        self.flights.links.primaries()
    }

    /// Charges a bucket for an answer; never waits.
    pub(super) fn settle(&self, bucket: &BucketCharge, micros: u64, most: u64, now: Now) {
        self.flights.leases.settle(bucket, micros, most, now);
    }

    pub(super) fn lease_stats(&self) -> LeaseStats {
        self.flights.leases.stats()
    }

    /// Gives back every lease, within the deadline of one call: for the end of the process.
    pub(super) async fn give_back(&self) {
        let all = async {
            loop {
                let due = self.flights.leases.due(self.clock.now(), true, RETURNED);
                let owing = self.flights.leases.owing(self.clock.now(), true, RETURNED);
                if due.is_empty() && owing.is_empty() {
                    break;
                }
                self.flights.send_returns(self.flights.returns(&due)).await;
                self.flights.send_returns(self.flights.returns(&owing)).await;
            }
        };
        // Whoever cannot be told keeps them until they end.
        let _ = timeout(self.deadline, all).await;
    }

    /// Calls Redis for those who wait.
    async fn drive(&self, share: &MemoryStore, counters: &Counters) {
        let mut jobs = self.waiting.lock().await;
        let mut lanes: HashMap<Route, Lane> = HashMap::new();
        let mut flights = FuturesUnordered::new();
        let mut returns = FuturesUnordered::new();
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                job = jobs.recv() => match job {
                    Some(job) => self.place(job, false, &mut lanes, counters),
                    None => return,
                },
                Some((route, landed)) = flights.next(), if !flights.is_empty() => {
                    let Landed { calls, again }: Landed = landed;
                    if !calls.is_empty() {
                        returns.push(self.flights.send_returns(calls));
                    }
                    if let Some(lane) = lanes.get_mut::<Route>(&route) {
                        lane.flying -= 1;
                    }
                    for (charge, answer) in again {
                        self.place(Job { charge, answer }, true, &mut lanes, counters);
                    }
                    lanes.retain(|_, lane| lane.flying > 0 || !lane.waiting.is_empty());
                }
                Some(()) = returns.next(), if !returns.is_empty() => {}
                _ = sweep.tick() => {
                    // While nobody takes them back, they are spent to their end.
                    let there = self.breaker().0 == BreakerState::Closed;
                    let most = if there { RETURNED } else { 0 };
                    let due = self.flights.leases.due(self.clock.now(), false, most);
                    if !due.is_empty() {
                        returns.push(self.flights.send_returns(self.flights.returns(&due)));
                    }
                    // While Redis is away, what buckets owe waits.
                    if self.breaker().0 == BreakerState::Closed {
                        let owing = self.flights.leases.owing(self.clock.now(), false, RETURNED);
                        if !owing.is_empty() {
                            returns.push(self.flights.send_returns(self.flights.returns(&owing)));
                        }
                    }
                }
            }
            let mut more = 1;
            while more < ENOUGH
                && let Ok(job) = jobs.try_recv()
            {
                self.place(job, false, &mut lanes, counters);
                more += 1;
            }
            for (route, lane) in &mut lanes {
                let ready = lane.flying == 0 || lane.waiting.len() >= ENOUGH;
                if lane.waiting.is_empty() || !ready {
                    continue;
                }
                let groups = self.groups(std::mem::take(&mut lane.waiting));
                if !groups.is_empty() {
                    lane.flying += 1;
                    let (route, flight) =
                        (route.clone(), self.flights.fly(groups, share, counters));
                    flights.push(async { (route, flight.await) });
                }
            }
        }
    }

    /// Finds out whom a request has to ask. Where one of them is away, so is its answer.
    fn place(&self, job: Job, again: bool, lanes: &mut HashMap<Route, Lane>, counters: &Counters) {
        let links = &self.flights.links;
        let parts = parts(&job.charge, &self.flights.prefix, links);
        let mut route = Route::new();
        if links.is_cluster() {
            for part in &parts {
                let Some(link) = links.link(part.slot) else {
                    count(&counters.not_asked);
                    // Dropped without an answer: the store is away.
                    return;
                };
                route.push(Arc::as_ptr(&link).addr());
            }
            route.sort_unstable();
            route.dedup();
        }
        lanes.entry(route).or_default().waiting.push(Placed { job, parts, again });
    }

    /// Those who still wait, by what they wait for. The answer before may have brought a lease, or a
    /// refusal, that is theirs, too.
    fn groups(&self, placed: Vec<Placed>) -> Vec<Group> {
        let now = self.clock.now();
        let mut groups: Vec<Group> = Vec::new();
        for Placed { job, parts, again } in placed {
            if job.answer.is_closed() {
                continue;
            }
            if let Some(answer) = self.flights.leases.decide(&job.charge, now, &*self.clock) {
                let _ = job.answer.send(answer);
                continue;
            }
            let same = groups.iter_mut().find(|group| group.is(&job.charge, again));
            match same {
                Some(group) => group.waiting.push(job.answer),
                None => groups.push(Group {
                    charge: job.charge,
                    parts,
                    again,
                    waiting: vec![job.answer],
                }),
            }
        }
        groups
    }
}
