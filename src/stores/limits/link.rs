//! The connection to one Redis server: one, multiplexed, kept up in the background.
//!
//! Requests take what is there and never wait for a connection: [`Link::usable`] is one lock and
//! a clone. [`Link::keep`] connects, probes and reconnects; it alone decides when a breaker that
//! opened closes again. Imports `domain`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::domain::clock::{Clock, Now};
use crate::stores::cluster::slots::Address;

use super::breaker::{Breaker, BreakerState};
use super::server_clock::ServerClock;

/// Time for a connection with its handshake. Longer than a call's deadline, because nobody waits.
const CONNECT: Duration = Duration::from_millis(500);
/// Between probes while all is well, so that a connection that died idle is found before a
/// request finds it.
const PROBE_IDLE: Duration = Duration::from_secs(1);
/// Between probes while Redis is away.
const PROBE_AWAY: Duration = Duration::from_millis(200);
/// Calls that may wait to be written to the connection; further ones wait for room, within their
/// deadline.
const PIPELINE: usize = 1_024;
/// Calls that may wait for an answer, so that a stalled Redis cannot collect them without end.
const IN_FLIGHT: usize = 8_192;

pub(in crate::stores) struct Link {
    client: Client,
    /// Where it leads, in a cluster.
    address: Option<Address>,
    clock: Arc<dyn Clock>,
    deadline: Duration,
    state: Mutex<State>,
    /// By the clock of that server.
    server_clock: Mutex<ServerClock>,
    wake: Notify,
    up: Notify,
    /// Told when the server is found to be away.
    lost: Arc<Notify>,
}

struct State {
    breaker: Breaker,
    connection: Option<MultiplexedConnection>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The client knows the password.
        f.debug_struct("Link").field("breaker", &self.state().breaker).finish_non_exhaustive()
    }
}

impl Link {
    /// Opens nothing: until it is kept, Redis is away.
    pub(in crate::stores) fn new(
        client: Client,
        address: Option<Address>,
        deadline: Duration,
        clock: Arc<dyn Clock>,
        lost: Arc<Notify>,
    ) -> Self {
        let state = Mutex::new(State { breaker: Breaker::new(), connection: None });
        let (server_clock, wake, up) = (Mutex::default(), Notify::new(), Notify::new());
        Self { client, address, clock, deadline, state, server_clock, wake, up, lost }
    }

    pub(in crate::stores) fn address(&self) -> Option<&Address> {
        self.address.as_ref()
    }

    /// The connection, if Redis is to be asked.
    pub(in crate::stores) fn usable(&self) -> Option<MultiplexedConnection> {
        let state = self.state();
        match state.breaker.state() {
            BreakerState::Closed => state.connection.clone(),
            BreakerState::Starting | BreakerState::Open => None,
        }
    }

    /// The connection, once a server that nobody has reached yet is reached; nothing, if it was found
    /// to be away.
    pub(in crate::stores) async fn ready(&self) -> Option<MultiplexedConnection> {
        loop {
            let up = self.up.notified();
            let starting = self.state().breaker.state() == BreakerState::Starting;
            if !starting {
                return self.usable();
            }
            up.await;
        }
    }

    /// How late it can be at the server when a call that is sent then arrives.
    pub(in crate::stores) fn latest(&self, sent: Now) -> u64 {
        self.server_clock().latest(sent, self.deadline)
    }

    /// The server said how late it is.
    pub(in crate::stores) fn answered(&self, server_micros: u64, sent: Now, now: Now) {
        self.server_clock().answered(server_micros, sent, now, self.deadline);
    }

    /// A call was answered in time.
    pub(in crate::stores) fn succeeded(&self) {
        let now = self.clock.now();
        self.state().breaker.succeeded(now);
    }

    /// A call failed. If its error says that the connection broke, another one is made.
    pub(in crate::stores) fn failed(&self, error: Option<&RedisError>) {
        let now = self.clock.now();
        let mut state = self.state();
        let before = state.breaker.state();
        state.breaker.failed(now);
        let opened = before != state.breaker.state();
        let broken = error.is_some_and(RedisError::is_unrecoverable_error);
        if opened || broken {
            // What is in flight keeps its own handle and ends with its own deadline.
            state.connection = None;
            drop(state);
            self.wake.notify_one();
            self.lost.notify_one();
        }
        if opened {
            tracing::warn!(
                redis = self.name(),
                "redis does not answer; limits go by what each says for that case"
            );
        }
    }

    pub(in crate::stores) fn breaker(&self) -> (BreakerState, u64) {
        let state = self.state();
        (state.breaker.state(), state.breaker.times_opened())
    }

    /// Keeps the connection, for as long as it is polled.
    pub(in crate::stores) async fn keep(&self, script: &redis::Script) {
        loop {
            let outcome = self.probe(script).await;
            let pause = self.probed(outcome);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.wake.notified() => {}
            }
        }
    }

    /// Asks for an answer, on a new connection if there is none.
    async fn probe(&self, script: &redis::Script) -> Result<(), Fault> {
        let existing = self.state().connection.clone();
        let mut connection = match existing {
            Some(connection) => connection,
            None => {
                let mut connection = timeout(CONNECT, self.connect()).await??;
                // Loaded before the first request comes, so that none has to.
                timeout(CONNECT, script.load_async(&mut connection)).await??;
                connection
            }
        };
        let ping = redis::cmd("PING");
        timeout(self.deadline, ping.query_async::<()>(&mut connection)).await??;
        self.state().connection = Some(connection);
        Ok(())
    }

    async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            // Each call has a deadline of its own.
            .set_response_timeout(None)
            .set_pipeline_buffer_size(PIPELINE)
            .set_concurrency_limit(IN_FLIGHT);
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }

    /// Takes note of a probe, and says how long to wait before the next.
    fn probed(&self, outcome: Result<(), Fault>) -> Duration {
        let now = self.clock.now();
        let mut state = self.state();
        let before = state.breaker.state();
        match &outcome {
            Ok(()) => state.breaker.probed(now),
            // One late answer is not yet an outage: try another connection first.
            Err(_) if before == BreakerState::Closed && state.connection.take().is_some() => {
                state.breaker.failed(now);
                return Duration::ZERO;
            }
            Err(_) => {
                state.connection = None;
                state.breaker.lost(now);
                self.lost.notify_one();
            }
        }
        let after = state.breaker.state();
        drop(state);
        if before != after {
            self.up.notify_waiters();
        }
        match (outcome, before == after) {
            (_, true) => {}
            (Ok(()), false) => {
                tracing::info!(redis = self.name(), "redis answers; limits are counted there");
            }
            (Err(fault), false) => tracing::warn!(
                redis = self.name(),
                error = %fault,
                "redis does not answer; limits go by what each says for that case"
            ),
        }
        if after == BreakerState::Closed { PROBE_IDLE } else { PROBE_AWAY }
    }

    fn name(&self) -> String {
        match &self.address {
            Some(Address { host, port }) => format!("{host}:{port}"),
            None => "primary".to_owned(),
        }
    }

    fn server_clock(&self) -> MutexGuard<'_, ServerClock> {
        self.server_clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a probe failed. Redis' errors name the address, never the password.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("no answer in time")]
    Late(#[from] tokio::time::error::Elapsed),
    #[error(transparent)]
    Redis(#[from] RedisError),
}
