//! Token buckets in Redis, shared by all nodes: one script call for all buckets of a request, and
//! none where this node holds leases of all of them.
//!
//! The arithmetic is that of the store in memory; `acquire.lua` says how, and what happens to keys
//! that are broken and clocks that jump. Time is Redis' own. Every call has a hard deadline, and
//! while Redis is away a breaker answers in its place. Imports `domain` and `config`.
//!
//! Calls are made by one driver, in the background (`keep`): what waits while a call
//! is on its way goes together with the next, and requests for the same buckets go as one. Who
//! stops waiting takes nothing along: what was granted to them is spent, what was leased stays.
//!
//! A call that is not answered in time may have been executed all the same: then its tokens are
//! gone, and nobody was admitted for them. A call is never sent twice, but where Redis says that
//! it did not know the script and so cannot have run it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisResult, Script, ServerErrorKind};
use smallvec::SmallVec;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::config::settings::{OnFailover, RedisSettings};
use crate::domain::charge::{BucketCharge, Charge, ChargeAnswer};
use crate::domain::clock::{Clock, Now};
use crate::domain::known::Outage;

use super::breaker::BreakerState;
use super::bucket::{Bucket, balances, capacity, price, refusal};
use super::keys::key;
use super::leases::{Epoch, LeaseStats, Leases, Terms, Told};
use super::link::Link;
use super::memory::MemoryStore;
use super::server_clock::ServerClock;
use super::stats::{Counters, count};

/// Requests that may wait for the driver; more are told that the store is away.
const MOST_WAITING: usize = 8_192;
/// So many do not wait for the call that is on its way.
const ENOUGH: usize = 64;
/// How often leases are looked at that are about to end.
const SWEEP: Duration = Duration::from_millis(50);
/// Calls that give leases back, each up to `ENOUGH`, at one look. What waits longer than its lease
/// lasts ends by itself.
const RETURNS: usize = 16;

/// Buckets in Redis.
#[derive(Debug)]
pub struct RedisStore {
    link: Link,
    script: Script,
    prefix: Arc<str>,
    /// The key that says since when the primary is one, where a failover is to mint nothing.
    primary: Option<String>,
    deadline: Duration,
    clock: Arc<dyn Clock>,
    server_clock: Mutex<ServerClock>,
    epoch: Epoch,
    leases: Leases,
    jobs: mpsc::Sender<Job>,
    waiting: tokio::sync::Mutex<mpsc::Receiver<Job>>,
}

/// A request that waits for the driver.
#[derive(Debug)]
struct Job {
    charge: Charge,
    answer: oneshot::Sender<ChargeAnswer>,
}

/// Requests for the same buckets, which are asked for at once.
struct Group {
    charge: Charge,
    waiting: Vec<oneshot::Sender<ChargeAnswer>>,
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
    pub(super) reason: String,
}

impl RedisStore {
    /// A store that is not connected yet. Opens nothing.
    pub fn new(settings: &RedisSettings, clock: Arc<dyn Clock>) -> Result<Self, BadRedisUrl> {
        let epoch = Epoch::of(settings.lease);
        let (jobs, waiting) = mpsc::channel(MOST_WAITING);
        Ok(Self {
            link: Link::open(settings, Arc::clone(&clock))?,
            epoch,
            leases: Leases::new(settings.max_buckets, epoch),
            jobs,
            waiting: tokio::sync::Mutex::new(waiting),
            script: Script::new(include_str!("acquire.lua")),
            prefix: Arc::clone(&settings.key_prefix),
            primary: match settings.on_failover {
                OnFailover::Lenient => None,
                OnFailover::Strict => Some(format!("{}:primary", settings.key_prefix)),
            },
            deadline: settings.timeout,
            clock,
            server_clock: Mutex::default(),
        })
    }

    /// Keeps the connection to Redis and calls it, for as long as it is polled. Until it is, the
    /// store is away.
    pub(super) async fn keep(&self, share: &MemoryStore, counters: &Counters) {
        tokio::join!(self.link.keep(&self.script), self.drive(share, counters));
    }

    /// The answer, where Redis is not to be asked.
    pub(super) fn shortcut(
        &self,
        charge: &Charge,
        now: Now,
        counters: &Counters,
    ) -> Option<ChargeAnswer> {
        // What is leased is this node's, whatever became of Redis since.
        let decided = self.leases.decide(charge, now, &*self.clock);
        if decided.is_some() {
            return decided;
        }
        match self.link.breaker().0 {
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
        self.link.breaker()
    }

    pub(super) fn lease_stats(&self) -> LeaseStats {
        self.leases.stats()
    }

    /// Gives back every lease, within the deadline of one call: for the end of the process.
    pub(super) async fn give_back(&self) {
        let Some(connection) = self.link.usable() else { return };
        let all = async {
            loop {
                let due = self.leases.due(self.clock.now(), true, ENOUGH);
                if due.is_empty() {
                    break;
                }
                self.return_leases(connection.clone(), due).await;
            }
        };
        // Whoever cannot be told keeps them until they end.
        let _ = timeout(self.deadline, all).await;
    }

    /// Calls Redis for those who wait.
    async fn drive(&self, share: &MemoryStore, counters: &Counters) {
        let mut jobs = self.waiting.lock().await;
        let mut waiting: Vec<Job> = Vec::new();
        let mut flights = FuturesUnordered::new();
        let mut returns = FuturesUnordered::new();
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                job = jobs.recv() => match job {
                    Some(job) => waiting.push(job),
                    None => return,
                },
                Some(()) = flights.next(), if !flights.is_empty() => {}
                Some(()) = returns.next(), if !returns.is_empty() => {}
                _ = sweep.tick() => {
                    let now = self.clock.now();
                    for _ in 0..RETURNS {
                        let Some(connection) = self.link.usable() else { break };
                        let due = self.leases.due(now, false, ENOUGH);
                        if due.is_empty() {
                            break;
                        }
                        returns.push(self.return_leases(connection, due));
                    }
                }
            }
            while waiting.len() < ENOUGH
                && let Ok(job) = jobs.try_recv()
            {
                waiting.push(job);
            }
            if !waiting.is_empty() && (flights.is_empty() || waiting.len() >= ENOUGH) {
                let groups = self.groups(std::mem::take(&mut waiting));
                if !groups.is_empty() {
                    flights.push(self.fly(groups, share, counters));
                }
            }
        }
    }

    /// Those who still wait, by what they wait for. The answer before may have brought a lease, or a
    /// refusal, that is theirs, too.
    fn groups(&self, jobs: Vec<Job>) -> Vec<Group> {
        let now = self.clock.now();
        let mut groups: Vec<Group> = Vec::new();
        for job in jobs.into_iter().filter(|job| !job.answer.is_closed()) {
            if let Some(answer) = self.leases.decide(&job.charge, now, &*self.clock) {
                let _ = job.answer.send(answer);
                continue;
            }
            match groups.iter_mut().find(|group| group.charge == job.charge) {
                Some(group) => group.waiting.push(job.answer),
                None => groups.push(Group { charge: job.charge, waiting: vec![job.answer] }),
            }
        }
        groups
    }

    /// One pipeline of calls, one for each group.
    async fn fly(&self, groups: Vec<Group>, share: &MemoryStore, counters: &Counters) {
        let Some(mut connection) = self.link.usable() else {
            count(&counters.not_asked);
            // Dropped without an answer: the store is away.
            return;
        };
        let sent = self.clock.now();
        let mut debts: Vec<SmallVec<[u64; 5]>> = Vec::with_capacity(groups.len());
        let mut commands: Vec<Cmd> = Vec::with_capacity(groups.len());
        for group in &groups {
            let owed = share.owed(&group.charge, sent);
            let terms = self.leases.terms(&group.charge, sent, self.deadline);
            let buckets = group.charge.buckets.iter().zip(terms).zip(&owed);
            let buckets = buckets.map(|((bucket, terms), owed)| (bucket, terms, *owed));
            commands.push(self.command(group.waiting.len(), buckets, sent));
            debts.push(owed);
        }
        let outcome = timeout(self.deadline, self.call(&mut connection, &commands)).await;
        let now = self.clock.now();
        counters.took(now.since(sent));
        let replies = match outcome {
            Ok(Ok(replies)) => replies,
            Ok(Err(error)) => {
                count(&counters.failed);
                self.link.failed(Some(&error));
                return;
            }
            Err(_late) => {
                count(&counters.timed_out);
                self.link.failed(None);
                return;
            }
        };
        for ((group, reply), owed) in groups.into_iter().zip(replies).zip(&debts) {
            let read = reply.ok().and_then(|reply| self.read(&group, &reply, sent, now));
            match read {
                Some((granted, refusal)) => {
                    self.link.succeeded();
                    share.paid(&group.charge, owed);
                    let refused = std::iter::repeat(refusal);
                    let answers = granted.into_iter().chain(refused.flatten());
                    for (waiting, answer) in group.waiting.into_iter().zip(answers) {
                        // Who stopped waiting has been charged.
                        let _ = waiting.send(answer);
                    }
                }
                None => {
                    count(&counters.failed);
                    self.link.failed(None);
                }
            }
        }
    }

    /// Sends all calls at once. Those that Redis did not know the script for cannot have run, and
    /// only those are sent again.
    async fn call(
        &self,
        connection: &mut MultiplexedConnection,
        commands: &[Cmd],
    ) -> Result<Vec<RedisResult<Vec<i64>>>, RedisError> {
        let pipeline = |commands: &mut dyn Iterator<Item = &Cmd>| {
            let mut pipeline = Pipeline::new();
            pipeline.ignore_errors();
            commands.for_each(|command| {
                pipeline.add_command(command.clone());
            });
            pipeline
        };
        let first = pipeline(&mut commands.iter());
        let mut replies: Vec<RedisResult<Vec<i64>>> = first.query_async(connection).await?;
        let unknown = |reply: &RedisResult<Vec<i64>>| {
            let kind = reply.as_ref().err().map(RedisError::kind);
            kind == Some(ErrorKind::Server(ServerErrorKind::NoScript))
        };
        if replies.iter().any(unknown) {
            self.script.load_async(connection).await?;
            let mut again =
                commands.iter().zip(&replies).filter(|(_, reply)| unknown(reply)).map(|(c, _)| c);
            let again: Vec<RedisResult<Vec<i64>>> =
                pipeline(&mut again).query_async(connection).await?;
            for (reply, again) in replies.iter_mut().filter(|reply| unknown(reply)).zip(again) {
                *reply = again;
            }
        }
        Ok(replies)
    }

    fn command<'c>(
        &self,
        requests: usize,
        buckets: impl ExactSizeIterator<Item = (&'c BucketCharge, Terms, u64)> + Clone,
        sent: Now,
    ) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        let keys = buckets.len() + usize::from(self.primary.is_some());
        command.arg(self.script.get_hash()).arg(keys);
        for (bucket, _, _) in buckets.clone() {
            command.arg(key(&self.prefix, bucket));
        }
        command.arg(&self.primary);
        command.arg(self.server_clock().latest(sent, self.deadline));
        command.arg(self.epoch.0).arg(requests);
        for (bucket, terms, debt) in buckets {
            command
                .arg(price(bucket))
                .arg(capacity(&bucket.rate))
                .arg(u64::from(bucket.rate.tokens.get()) * 1_000)
                .arg(bucket.rate.period_millis.get())
                // More than it holds cannot be taken from it.
                .arg(debt.min(capacity(&bucket.rate)))
                .arg(terms.want)
                .arg(terms.epoch)
                .arg(terms.closed)
                .arg(terms.back)
                .arg(terms.closed_before)
                .arg(terms.back_before);
        }
        command
    }

    /// What the script answered: one answer for each request that was granted, and one for the
    /// others. Nothing if that is not an answer to the call.
    fn read(
        &self,
        group: &Group,
        reply: &[i64],
        sent: Now,
        now: Now,
    ) -> Option<(Vec<ChargeAnswer>, Option<ChargeAnswer>)> {
        let [granted, server_micros, rest @ ..] = reply else { return None };
        let charge = &group.charge;
        let (parts, []) = rest.as_chunks::<5>() else { return None };
        if parts.len() != charge.buckets.len() {
            return None;
        }
        let at = u64::try_from(*server_micros).ok()?;
        self.server_clock().answered(at, sent, now, self.deadline);
        let mut levels: SmallVec<[Bucket; 5]> = SmallVec::new();
        let mut told: SmallVec<[Told; 5]> = SmallVec::new();
        for (bucket, part) in charge.buckets.iter().zip(parts) {
            let [left, lease, epoch, room, lapse] = part.map(|n| u64::try_from(n).ok());
            let one =
                Told { left: left?, lease: lease?, epoch: epoch?, room: room?, lapse: lapse? };
            let micros = one.left.saturating_add(one.lease);
            levels.push(Bucket { micros, at, rate: bucket.rate });
            told.push(one);
        }
        let requests = group.waiting.len();
        let granted = usize::try_from(*granted).ok()?.min(requests);
        let refused = (granted < requests).then(|| refused(charge, &levels, &told));
        let wait = match &refused {
            Some(ChargeAnswer::Refused { bucket, retry_after, .. }) => {
                Some((*bucket, *retry_after))
            }
            _ => None,
        };
        self.leases.told(charge, &told, wait, sent, now);
        let answers = (0..granted).map(|_| ChargeAnswer::Granted { balances: balances(&levels) });
        Some((answers.collect(), refused))
    }

    /// Gives leases back. What becomes of the call is nobody's business: nothing is sent again, and
    /// nothing of it is spent any more.
    async fn return_leases(
        &self,
        mut connection: MultiplexedConnection,
        due: Vec<(BucketCharge, Terms)>,
    ) {
        let buckets = due.iter().map(|(bucket, terms)| (bucket, *terms, 0));
        let command = self.command(0, buckets, self.clock.now());
        let call = self.call(&mut connection, std::slice::from_ref(&command));
        let _ = timeout(self.deadline, call).await;
    }

    fn server_clock(&self) -> std::sync::MutexGuard<'_, ServerClock> {
        self.server_clock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The refusal of a charge that the buckets have too little for. One that is mostly leased does not
/// fill until the leases have ended, whatever its rate.
fn refused(charge: &Charge, levels: &[Bucket], told: &[Told]) -> ChargeAnswer {
    let short: SmallVec<[u64; 5]> = charge
        .buckets
        .iter()
        .zip(levels)
        .map(|(bucket, level)| price(bucket).saturating_sub(level.micros))
        .collect();
    let mut answer = refusal(levels, &short);
    let ChargeAnswer::Refused { bucket: named, retry_after, .. } = &mut answer else {
        return answer;
    };
    for (index, ((bucket, told), lack)) in charge.buckets.iter().zip(told).zip(&short).enumerate() {
        if *lack > 0 && told.room < price(bucket) {
            let lapse = Duration::from_micros(told.lapse);
            let wait = lapse.saturating_add(super::bucket::wait(*lack, &bucket.rate));
            if wait > *retry_after {
                (*named, *retry_after) = (index, wait);
            }
        }
    }
    answer
}
