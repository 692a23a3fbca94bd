//! The uses of sessions in Redis: what nodes tell each other, and the list of a user's sessions.
//!
//! Off the request path: uses wait in this process, are written once a second and read every three.
//! A node that could not write for a minute says so, because rests in that time are none: an outage
//! signs nobody out. Imports `domain` and `config`.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisError, Script};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::config::settings::{SessionRedis, WithoutStore};
use crate::domain::clock::{Clock, Now};
use crate::domain::ids::UserId;
use crate::domain::session::{LastUse, Mark, NOTED_EVERY_SECS, Use};
use crate::stores::cluster::seeds::Seeds;
use crate::stores::cluster::slots::Slot;

use super::redis::{BadSessionUrl, CONNECT, PublishError, RETRY, seeds};
use super::uses::Uses;

/// Between two writes.
const WRITE: Duration = Duration::from_secs(1);
/// Writes between two reads.
const READ_EVERY: u32 = 3;
/// What was read last time is read again by so many seconds: clocks and writers differ.
const OVERLAP: u64 = 10;
/// Uses in one call.
const PAGE: usize = 200;
/// Sessions in one answer.
const READ_PAGE: isize = 1_000;
/// A store that was last read longer ago than this is away.
const STALE: Duration = Duration::from_secs(10);
/// Sessions of one user that are listed; beyond it the one that rested longest leaves.
const LISTED: usize = 100;
/// How long a list is kept after its last use.
const LISTED_FOR: Duration = Duration::from_secs(30 * 86_400);
/// A longer `session_id` is not listed.
const MAX_ID_BYTES: usize = 128;
/// The longest rest, in minutes, over this is what stands behind the point of a score.
const MINUTES: f64 = 2_097_152.0;

/// The uses of sessions, as the nodes share them.
pub(super) struct SharedUses {
    seeds: Seeds,
    script: Script,
    seen: String,
    known: String,
    list: String,
    timeout: Duration,
    most: NonZeroU32,
    without: WithoutStore,
    uses: Arc<Uses>,
    clock: Arc<dyn Clock>,
    /// When it was last read, in nanoseconds of the monotonic clock; 0 while it is away.
    read_at: AtomicU64,
}

/// A session, as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedSession {
    /// Its id.
    #[serde(default)]
    pub session: String,
    /// The organization for which it was last used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    /// The kind of device.
    pub device: String,
    /// The address from which it was last used.
    pub address: String,
    /// When it was first seen, in seconds since 1970.
    #[serde(default)]
    pub first: u64,
    /// When it was last seen, in seconds since 1970; at most a minute late.
    pub last: u64,
}

impl SharedUses {
    pub(super) fn new(
        settings: &SessionRedis,
        most: NonZeroU32,
        without: WithoutStore,
        uses: Arc<Uses>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, BadSessionUrl> {
        let key = |part: &str| format!("{}:{{sessions}}:{part}", settings.key_prefix);
        Ok(Self {
            seeds: seeds(settings)?,
            script: Script::new(include_str!("uses.lua")),
            seen: key("seen"),
            known: key("known"),
            list: key("of"),
            timeout: settings.timeout,
            most,
            without,
            uses,
            clock,
            read_at: AtomicU64::new(0),
        })
    }

    pub(super) fn is_away(&self, now: Now) -> bool {
        let read_at = self.read_at.load(Ordering::Relaxed);
        let stale = u64::try_from(STALE.as_nanos()).unwrap_or(u64::MAX);
        read_at == 0 || now.mono_nanos.saturating_sub(read_at) > stale
    }

    /// Writes and reads, for as long as it is polled.
    pub(super) async fn share(&self) {
        // Nothing was lost before the first write.
        let mut written = self.clock.now();
        loop {
            let Err(fault) = self.connected(&mut written).await;
            if self.read_at.swap(0, Ordering::Relaxed) != 0 {
                tracing::warn!(error = %fault, "the uses of sessions cannot be shared");
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn connected(&self, written: &mut Now) -> Result<std::convert::Infallible, Fault> {
        let mut connection = timeout(CONNECT, self.connect(self.timeout)).await??;
        let silent = self.clock.now().since(*written);
        if silent.as_secs() >= NOTED_EVERY_SECS && self.without == WithoutStore::Serve {
            let mut set = redis::cmd("HSET");
            set.arg(&self.known).arg("since").arg(self.clock.now().unix_secs());
            set.query_async::<()>(&mut connection).await?;
        }
        self.write(&mut connection, &[]).await?;
        let mut latest = self.read_all(&mut connection).await?;
        let mut round = 0_u32;
        loop {
            let now = self.clock.now();
            *written = now;
            self.read_at.store(now.mono_nanos.max(1), Ordering::Relaxed);
            tokio::time::sleep(WRITE).await;
            let waiting = self.uses.take_waiting();
            if let Err(error) = self.write_all(&mut connection, &waiting).await {
                // They wait for the next connection.
                waiting.into_iter().for_each(|one| self.uses.wait(one));
                return Err(error.into());
            }
            round = round.wrapping_add(1);
            if round.is_multiple_of(READ_EVERY) {
                latest = self.read_since(&mut connection, latest).await?;
            }
        }
    }

    async fn connect(&self, answer: Duration) -> Result<MultiplexedConnection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(answer));
        let client = self.seeds.primary_of(Slot::of(&self.known)).await?;
        client.get_multiplexed_async_connection_with_config(&config).await
    }

    async fn write_all(
        &self,
        connection: &mut MultiplexedConnection,
        uses: &[Use],
    ) -> Result<(), RedisError> {
        for page in uses.chunks(PAGE) {
            self.write(connection, page).await?;
        }
        Ok(())
    }

    async fn write(
        &self,
        connection: &mut MultiplexedConnection,
        uses: &[Use],
    ) -> Result<(), RedisError> {
        let mut call = self.script.prepare_invoke();
        call.key(&self.seen).key(&self.known);
        call.arg(self.most.get()).arg(LISTED).arg(LISTED_FOR.as_secs());
        for one in uses {
            let listed = ListedSession {
                session: String::new(),
                organization: one.organization.map(|id| id.to_string()),
                device: one.device.to_string(),
                address: one.address.to_string(),
                first: one.at,
                last: one.at,
            };
            let id = if one.session.len() <= MAX_ID_BYTES { &*one.session } else { "" };
            call.key(self.list_of(&one.user));
            call.arg(Mark::session(&one.session).to_string());
            call.arg(one.at).arg(one.began.unwrap_or(0)).arg(id);
            call.arg(serde_json::to_string(&listed).unwrap_or_default());
        }
        let since: u64 = call.invoke_async(connection).await?;
        self.uses.knows_since(since);
        Ok(())
    }

    fn list_of(&self, user: &UserId) -> String {
        format!("{}:{}", self.list, Mark::user(user))
    }

    /// All there is; returns the second of the last use. What changes its place meanwhile is read
    /// again with what came since.
    async fn read_all(&self, connection: &mut MultiplexedConnection) -> Result<u64, RedisError> {
        let mut latest = 0;
        for start in (0..).step_by(READ_PAGE.unsigned_abs()) {
            let mut range = redis::cmd("ZRANGE");
            range.arg(&self.seen).arg(start).arg(start + READ_PAGE - 1).arg("WITHSCORES");
            let page: Vec<(String, f64)> = range.query_async(connection).await?;
            latest = latest.max(self.learn(&page));
            if page.is_empty() {
                break;
            }
        }
        Ok(latest)
    }

    async fn read_since(
        &self,
        connection: &mut MultiplexedConnection,
        mut latest: u64,
    ) -> Result<u64, RedisError> {
        let from = latest.saturating_sub(OVERLAP);
        for start in (0..).step_by(READ_PAGE.unsigned_abs()) {
            let mut range = redis::cmd("ZRANGEBYSCORE");
            range.arg(&self.seen).arg(from).arg("+inf").arg("WITHSCORES");
            range.arg("LIMIT").arg(start).arg(READ_PAGE);
            let page: Vec<(String, f64)> = range.query_async(connection).await?;
            latest = latest.max(self.learn(&page));
            if page.len() < READ_PAGE.unsigned_abs() {
                break;
            }
        }
        Ok(latest)
    }

    fn learn(&self, page: &[(String, f64)]) -> u64 {
        let mut latest = 0;
        for (mark, score) in page {
            let Ok(mark) = mark.parse() else { continue };
            let at = score.floor();
            let rested = ((score - at) * MINUTES).round() * 60.0;
            let (at, longest_pause) = (at as u64, rested as u64);
            self.uses.learned(mark, LastUse { at, longest_pause });
            latest = latest.max(at);
        }
        latest
    }
}

/// The sessions of a user that were used in the last 30 days, the last used first.
///
/// # Errors
/// If the URL cannot be used or Redis does not answer.
pub async fn list(
    settings: &SessionRedis,
    user: &UserId,
    clock: Arc<dyn Clock>,
) -> Result<Vec<ListedSession>, PublishError> {
    let uses = Arc::new(Uses::new(NonZeroU32::MIN, 0));
    let shared = SharedUses::new(settings, NonZeroU32::MIN, WithoutStore::Serve, uses, clock)?;
    let mut connection = shared.connect(CONNECT).await?;
    let mut get = redis::cmd("HGETALL");
    get.arg(shared.list_of(user));
    let stored: Vec<(String, String)> = get.query_async(&mut connection).await?;
    let mut sessions: Vec<ListedSession> = stored
        .into_iter()
        .filter_map(|(session, text)| {
            let listed: ListedSession = serde_json::from_str(&text).ok()?;
            Some(ListedSession { session, ..listed })
        })
        .collect();
    sessions.sort_by_key(|session| std::cmp::Reverse(session.last));
    Ok(sessions)
}

/// Why uses are not shared. Redis' errors name the address, never the password.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("no answer in time")]
    Late(#[from] tokio::time::error::Elapsed),
    #[error(transparent)]
    Redis(#[from] RedisError),
}
