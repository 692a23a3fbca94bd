//! Token buckets in Redis, shared by all nodes: one script call per request, for all its buckets.
//!
//! The arithmetic is that of the store in memory; `take.lua` says how, and what happens to keys
//! that are broken and clocks that jump. Time is Redis' own. Every call has a hard deadline, and
//! while Redis is away a breaker answers in its place. Imports `domain` and `config`.
//!
//! A call that is not answered in time may have been executed all the same: then its tokens are
//! gone, and nobody was admitted for them. A call is never sent twice, but where Redis says that
//! it did not know the script and so cannot have run it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, RedisError, Script, ServerErrorKind};
use smallvec::SmallVec;

use crate::config::settings::RedisSettings;
use crate::domain::charge::{Charge, ChargeAnswer};
use crate::domain::clock::{Clock, Now};
use crate::domain::known::Outage;

use super::breaker::BreakerState;
use super::bucket::{Bucket, balances, capacity, price, refusal};
use super::keys::key;
use super::link::Link;
use super::memory::MemoryStore;
use super::server_clock::ServerClock;
use super::stats::{Counters, count};

/// Buckets in Redis.
#[derive(Debug)]
pub struct RedisStore {
    link: Link,
    script: Script,
    prefix: Arc<str>,
    deadline: Duration,
    clock: Arc<dyn Clock>,
    server_clock: Mutex<ServerClock>,
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
        Ok(Self {
            link: Link::open(settings, Arc::clone(&clock))?,
            script: Script::new(include_str!("take.lua")),
            prefix: Arc::clone(&settings.key_prefix),
            deadline: settings.timeout,
            clock,
            server_clock: Mutex::default(),
        })
    }

    /// Keeps the connection to Redis, for as long as it is polled. Until it is, the store is away.
    pub async fn keep(&self) {
        self.link.keep(&self.script).await;
    }

    /// The answer, where Redis is not to be asked.
    pub(super) fn shortcut(&self, counters: &Counters) -> Option<ChargeAnswer> {
        match self.link.breaker().0 {
            BreakerState::Closed => None,
            BreakerState::Starting | BreakerState::Open => {
                count(&counters.not_asked);
                Some(ChargeAnswer::Away(Outage::Limits))
            }
        }
    }

    /// Charges all buckets or none, in one call. What this node let through by itself while Redis
    /// was away is debited with the first call for the same bucket that is answered, so that a
    /// Redis that comes and goes does not double a limit. If that answer is lost, the debt is paid
    /// twice: too little is admitted, never too much.
    pub(super) async fn take(
        &self,
        charge: &Charge,
        share: &MemoryStore,
        counters: &Counters,
    ) -> ChargeAnswer {
        let Some(mut connection) = self.link.usable() else {
            count(&counters.not_asked);
            return ChargeAnswer::Away(Outage::Limits);
        };
        let sent = self.clock.now();
        let debts = share.owed(charge, sent);
        let call = self.call(&mut connection, charge, &debts, sent);
        let outcome = tokio::time::timeout(self.deadline, call).await;
        let now = self.clock.now();
        counters.took(now.since(sent));
        match outcome {
            Ok(Ok(reply)) => match self.read(charge, &reply, sent, now) {
                Some(answer) => {
                    self.link.succeeded();
                    share.paid(charge, &debts);
                    answer
                }
                None => {
                    count(&counters.failed);
                    self.link.failed(None);
                    ChargeAnswer::Away(Outage::Limits)
                }
            },
            Ok(Err(error)) => {
                count(&counters.failed);
                self.link.failed(Some(&error));
                ChargeAnswer::Away(Outage::Limits)
            }
            Err(_late) => {
                count(&counters.timed_out);
                self.link.failed(None);
                ChargeAnswer::Away(Outage::Limits)
            }
        }
    }

    pub(super) fn breaker(&self) -> (BreakerState, u64) {
        self.link.breaker()
    }

    async fn call(
        &self,
        connection: &mut MultiplexedConnection,
        charge: &Charge,
        debts: &[u64],
        sent: Now,
    ) -> Result<Vec<i64>, RedisError> {
        let command = self.command(charge, debts, sent);
        match command.query_async(connection).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.script.load_async(connection).await?;
                command.query_async(connection).await
            }
            outcome => outcome,
        }
    }

    fn command(&self, charge: &Charge, debts: &[u64], sent: Now) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(self.script.get_hash()).arg(charge.buckets.len());
        for bucket in &charge.buckets {
            command.arg(key(&self.prefix, bucket));
        }
        command.arg(self.server_clock().latest(sent, self.deadline));
        for (bucket, debt) in charge.buckets.iter().zip(debts) {
            command
                .arg(price(bucket))
                .arg(capacity(&bucket.rate))
                .arg(u64::from(bucket.rate.tokens.get()) * 1_000)
                .arg(bucket.rate.period_millis.get())
                // More than it holds cannot be taken from it.
                .arg((*debt).min(capacity(&bucket.rate)));
        }
        command
    }

    /// What the script answered; nothing if that is not an answer to the charge.
    fn read(&self, charge: &Charge, reply: &[i64], sent: Now, now: Now) -> Option<ChargeAnswer> {
        let [granted, server_micros, left @ ..] = reply else { return None };
        if left.len() != charge.buckets.len() {
            return None;
        }
        let at = u64::try_from(*server_micros).ok()?;
        self.server_clock().answered(at, sent, now, self.deadline);
        let levels: SmallVec<[Bucket; 5]> = charge
            .buckets
            .iter()
            .zip(left)
            .map(|(bucket, left)| {
                Some(Bucket { micros: u64::try_from(*left).ok()?, at, rate: bucket.rate })
            })
            .collect::<Option<_>>()?;
        if *granted == 1 {
            return Some(ChargeAnswer::Granted { balances: balances(&levels) });
        }
        let short: SmallVec<[u64; 5]> = charge
            .buckets
            .iter()
            .zip(&levels)
            .map(|(bucket, level)| price(bucket).saturating_sub(level.micros))
            .collect();
        Some(refusal(&levels, &short))
    }

    fn server_clock(&self) -> std::sync::MutexGuard<'_, ServerClock> {
        self.server_clock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
