//! The log of revocations in Redis, and how a node follows it.
//!
//! The log is a sorted set by number; a message on a channel says that it grew, and a look every
//! [`POLL`] finds what no message told of. Whenever a node connects it reads the whole log and
//! writes back what it knows: a Redis that came back empty, or as it was some seconds ago, has
//! everything again that any node knows. Imports `domain` and `config`.
//!
//! Needs Redis 6 or newer: messages and answers share one connection (RESP3).

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, PushInfo, PushKind, RedisError, Script};
use tokio::sync::Notify;
use tokio::time::timeout;
use uuid::Uuid;

use crate::config::settings::SessionRedis;
use crate::domain::clock::{Clock, Now};
use crate::domain::session::Revocation;
use crate::stores::cluster::seeds::Seeds;
use crate::stores::cluster::slots::Slot;

use super::revocations::Revocations;

/// Between two looks at the log. One that no message announced is known after this and a call.
const POLL: Duration = Duration::from_millis(300);
/// A log that was last read longer ago than this is away.
const STALE: Duration = Duration::from_secs(2);
/// Time for a connection with its handshake.
pub(super) const CONNECT: Duration = Duration::from_secs(1);
/// Between two tries to connect.
pub(super) const RETRY: Duration = Duration::from_millis(200);
/// Revocations that are read or written in one call.
const PAGE: usize = 500;
/// Revocations that may wait to be written; beyond that all that are known are written.
const UNSENT: usize = 10_000;

/// The settings of a store of sessions that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the redis url of `sessions` is not usable ({reason}): write it as `redis://host:port/db`")]
pub struct BadSessionUrl {
    // Of a fixed set, and without the address: that may hold a password.
    reason: String,
}

/// The log, as one node follows it.
pub(super) struct SharedLog {
    seeds: Seeds,
    keys: Keys,
    script: Script,
    timeout: Duration,
    most: NonZeroU32,
    revocations: Arc<Revocations>,
    clock: Arc<dyn Clock>,
    unsent: Mutex<Vec<Revocation>>,
    wake: Arc<Notify>,
    /// When it was last read to its end, in nanoseconds of the monotonic clock; 0 while it is away.
    read_at: AtomicU64,
    caught_up: AtomicU64,
    failures: AtomicU64,
}

/// Their names share a hash tag: a script may touch them together, in a cluster too.
struct Keys {
    log: String,
    ends: String,
    known: String,
    channel: String,
}

/// What is known of the log besides its entries.
#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    epoch: String,
    seq: u64,
    floor: u64,
}

impl SharedLog {
    pub(super) fn new(
        settings: &SessionRedis,
        most: NonZeroU32,
        revocations: Arc<Revocations>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, BadSessionUrl> {
        Ok(Self {
            seeds: seeds(settings)?,
            keys: Keys::new(&settings.key_prefix),
            script: Script::new(include_str!("log.lua")),
            timeout: settings.timeout,
            most,
            revocations,
            clock,
            unsent: Mutex::default(),
            wake: Arc::new(Notify::new()),
            read_at: AtomicU64::new(0),
            caught_up: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        })
    }

    /// Has the other nodes told of a revocation that this one knows already.
    pub(super) fn tell(&self, revocation: Revocation) {
        let mut unsent = self.unsent.lock().unwrap_or_else(PoisonError::into_inner);
        // What finds no room is written with everything that is known, after the next failure.
        if unsent.len() <= UNSENT {
            unsent.push(revocation);
        }
        drop(unsent);
        self.wake.notify_one();
    }

    pub(super) fn is_away(&self, now: Now) -> bool {
        let read_at = self.read_at.load(Ordering::Relaxed);
        let stale = u64::try_from(STALE.as_nanos()).unwrap_or(u64::MAX);
        read_at == 0 || now.mono_nanos.saturating_sub(read_at) > stale
    }

    /// Times that it was caught up with, and times that it failed.
    pub(super) fn stats(&self) -> (u64, u64) {
        (self.caught_up.load(Ordering::Relaxed), self.failures.load(Ordering::Relaxed))
    }

    /// Follows the log, for as long as it is polled.
    pub(super) async fn follow(&self) {
        let mut told = false;
        loop {
            let Err(fault) = self.connected().await;
            let was_there = self.read_at.swap(0, Ordering::Relaxed) != 0;
            self.failures.fetch_add(1, Ordering::Relaxed);
            if was_there || !told {
                told = true;
                tracing::warn!(
                    error = %fault,
                    "the shared log of sessions does not answer; what other nodes revoke is not heard of"
                );
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Connects, catches up and stays so until something fails.
    async fn connected(&self) -> Result<std::convert::Infallible, Fault> {
        let wake = Arc::clone(&self.wake);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(self.timeout))
            .set_push_sender(move |push: PushInfo| {
                if matches!(push.kind, PushKind::Message | PushKind::Disconnection) {
                    wake.notify_one();
                }
                Ok::<(), std::convert::Infallible>(())
            });
        let client = timeout(CONNECT, self.seeds.primary_of(self.keys.slot())).await??;
        let connect = client.get_multiplexed_async_connection_with_config(&config);
        let mut connection = timeout(CONNECT, connect).await??;
        // First listened, then read: what is written in between is heard of.
        connection.subscribe(&self.keys.channel).await?;
        self.drain();
        let mut seen = self.catch_up(&mut connection).await?;
        self.caught_up.fetch_add(1, Ordering::Relaxed);
        tracing::info!(
            revocations = self.revocations.len(),
            "the shared log of sessions was caught up with"
        );
        loop {
            self.read_at.store(self.clock.now().mono_nanos.max(1), Ordering::Relaxed);
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                () = self.wake.notified() => {}
            }
            let unsent = self.drain();
            if unsent.len() > UNSENT {
                return Err(Fault::Overrun);
            }
            if !unsent.is_empty() {
                self.write(&mut connection, &unsent).await?;
            }
            let state = self.state(&mut connection).await?;
            let state = state.filter(|state| state.epoch == seen.epoch && state.seq >= seen.seq);
            let Some(state) = state else { return Err(Fault::Lost) };
            self.revocations.refuse_before(state.floor);
            if state.seq > seen.seq {
                self.read(&mut connection, seen.seq).await?;
            }
            seen = state;
        }
    }

    /// Writes back what is known, and reads all there is.
    async fn catch_up(&self, connection: &mut MultiplexedConnection) -> Result<State, Fault> {
        if let Some(state) = self.state(connection).await? {
            self.revocations.refuse_before(state.floor);
        }
        // At least once: that gives an empty log its epoch.
        let known = self.revocations.all();
        self.write(connection, &known).await?;
        let state = self.state(connection).await?.ok_or(Fault::Lost)?;
        self.read(connection, 0).await?;
        Ok(state)
    }

    async fn write(
        &self,
        connection: &mut MultiplexedConnection,
        revocations: &[Revocation],
    ) -> Result<(), RedisError> {
        for page in pages(revocations) {
            let mut call = self.script.prepare_invoke();
            call.key(&self.keys.log).key(&self.keys.ends).key(&self.keys.known);
            call.arg(&self.keys.channel).arg(Uuid::new_v4().to_string()).arg(self.most.get());
            for revocation in page {
                call.arg(revocation.to_string()).arg(revocation.until);
            }
            call.invoke_async::<u64>(connection).await?;
        }
        Ok(())
    }

    /// Reads what has a number above this one.
    async fn read(
        &self,
        connection: &mut MultiplexedConnection,
        mut after: u64,
    ) -> Result<(), Fault> {
        loop {
            let mut range = redis::cmd("ZRANGEBYSCORE");
            range.arg(&self.keys.log).arg(format!("({after}")).arg("+inf").arg("WITHSCORES");
            range.arg("LIMIT").arg(0).arg(PAGE);
            let page: Vec<(String, f64)> = range.query_async(connection).await?;
            for (text, number) in &page {
                match text.parse() {
                    Ok(revocation) => self.revocations.add(revocation),
                    Err(_) => {
                        tracing::warn!("the shared log of sessions has a line of another kind")
                    }
                }
                after = after.max(*number as u64);
            }
            if page.len() < PAGE {
                return Ok(());
            }
        }
    }

    async fn state(
        &self,
        connection: &mut MultiplexedConnection,
    ) -> Result<Option<State>, RedisError> {
        let mut get = redis::cmd("HMGET");
        get.arg(&self.keys.known).arg("epoch").arg("seq").arg("floor");
        let (epoch, seq, floor): (Option<String>, Option<u64>, Option<u64>) =
            get.query_async(connection).await?;
        Ok(epoch.map(|epoch| State {
            epoch,
            seq: seq.unwrap_or_default(),
            floor: floor.unwrap_or_default(),
        }))
    }

    fn drain(&self) -> Vec<Revocation> {
        std::mem::take(&mut *self.unsent.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// In pages, of which the first may be empty.
fn pages(revocations: &[Revocation]) -> impl Iterator<Item = &[Revocation]> {
    let (first, rest) = revocations.split_at(revocations.len().min(PAGE));
    std::iter::once(first).chain(rest.chunks(PAGE))
}

/// Writes revocations into the log from outside a gateway, and returns when they are there.
///
/// # Errors
/// If the URL cannot be used or Redis does not answer.
pub async fn publish(
    settings: &SessionRedis,
    most: NonZeroU32,
    revocations: &[Revocation],
    clock: Arc<dyn Clock>,
) -> Result<(), PublishError> {
    let log = SharedLog::new(settings, most, Arc::new(Revocations::new(most)), clock)?;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT))
        .set_response_timeout(Some(CONNECT));
    let client = log.seeds.primary_of(log.keys.slot()).await?;
    let connect = client.get_multiplexed_async_connection_with_config(&config);
    let mut connection = connect.await?;
    log.write(&mut connection, revocations).await?;
    Ok(())
}

/// Why revocations were not written.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The URL cannot be used.
    #[error(transparent)]
    Url(#[from] BadSessionUrl),
    /// Redis did not take them.
    #[error("redis did not take the revocation: {0}")]
    Redis(#[from] RedisError),
}

pub(super) fn seeds(settings: &SessionRedis) -> Result<Seeds, BadSessionUrl> {
    let seeds = Seeds::of(&settings.place).map_err(|reason| BadSessionUrl { reason })?;
    Ok(seeds.with_messages())
}

impl Keys {
    fn new(prefix: &str) -> Self {
        let key = |part| format!("{prefix}:{{sessions}}:{part}");
        Self { log: key("log"), ends: key("ends"), known: key("known"), channel: key("revoked") }
    }

    fn slot(&self) -> Slot {
        Slot::of(&self.known)
    }
}

/// Why the log is not followed. Redis' errors name the address, never the password.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("no answer in time")]
    Late(#[from] tokio::time::error::Elapsed),
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error("redis has lost data: it is read and written anew")]
    Lost,
    #[error("too many revocations at once: all are written anew")]
    Overrun,
}
