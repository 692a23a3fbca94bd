//! The way to Redis: one server, or the primaries of a cluster; and calls of a script on it.
//!
//! Calls that wait together go out together, one pipeline for each server. A call is never sent twice,
//! but where a server says that it did not execute it: because it does not know the script, or
//! because the slot is another's. So one whose answer was lost may have been executed, once. Imports
//! `domain` and `config`.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisResult, Script, ServerErrorKind};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::config::settings::RedisSettings;
use crate::domain::clock::{Clock, Now};
use crate::stores::cluster::Cluster;
use crate::stores::cluster::seeds::Seeds;
use crate::stores::cluster::slots::{Address, Slot};

use super::breaker::BreakerState;
use super::link::Link;
use super::redis::BadRedisUrl;
use super::server_clock::UNKNOWN;
use super::stats::{Counters, Primaries, count};

/// How often a call is sent on.
const MOST_REDIRECTIONS: u32 = 3;

/// The servers, and how long an answer is waited for.
pub(in crate::stores) struct Links {
    place: Place,
    script: Script,
    deadline: Duration,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
enum Place {
    Server(Arc<Link>),
    Cluster(Box<Cluster>),
}

/// A call of the script.
pub(in crate::stores) struct Call {
    pub(in crate::stores) slot: Slot,
    pub(in crate::stores) command: Cmd,
}

/// What became of a call.
pub(in crate::stores) enum Reply {
    /// It was executed, by the server of that link.
    Said(Vec<i64>, Arc<Link>),
    /// It was not: its keys are on two servers, because their slot moves. Each by itself is somewhere.
    Scattered,
    /// Nobody knows; or there was nobody to ask.
    Away,
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Links").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Links {
    /// Opens nothing: until they are kept, Redis is away.
    pub(in crate::stores) fn open(
        settings: &RedisSettings,
        script: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, BadRedisUrl> {
        let seeds = Seeds::of(&settings.place).map_err(BadRedisUrl::because)?;
        let deadline = settings.timeout;
        let place = if seeds.is_cluster() {
            Place::Cluster(Box::new(Cluster::new(seeds, deadline, Arc::clone(&clock))))
        } else {
            let bad = |error: RedisError| BadRedisUrl::because(format!("{:?}", error.kind()));
            let (client, lost) = (seeds.only().map_err(bad)?, Arc::new(Notify::new()));
            Place::Server(Arc::new(Link::new(client, None, deadline, Arc::clone(&clock), lost)))
        };
        Ok(Self { place, script: Script::new(script), deadline, clock })
    }

    /// Keeps the connections, for as long as it is polled.
    pub(in crate::stores) async fn keep(&self) {
        match &self.place {
            Place::Server(link) => link.keep(&self.script).await,
            Place::Cluster(cluster) => cluster.keep(&self.script).await,
        }
    }

    pub(in crate::stores) fn is_cluster(&self) -> bool {
        matches!(self.place, Place::Cluster(_))
    }

    /// A call of the script, without its keys.
    pub(in crate::stores) fn command(&self) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(self.script.get_hash());
        command
    }

    /// The slot of a key.
    pub(in crate::stores) fn slot(&self, key: impl FnOnce() -> String) -> Slot {
        match &self.place {
            Place::Server(_) => Slot::ONLY,
            Place::Cluster(_) => Slot::of(&key()),
        }
    }

    /// The server of a slot, if it is to be asked.
    pub(in crate::stores) fn link(&self, slot: Slot) -> Option<Arc<Link>> {
        let link = match &self.place {
            Place::Server(link) => Arc::clone(link),
            Place::Cluster(cluster) => cluster.link(slot)?,
        };
        (link.breaker().0 == BreakerState::Closed).then_some(link)
    }

    /// How late it can be at the server of a slot when a call that is sent then arrives.
    pub(super) fn latest(&self, slot: Slot, sent: Now) -> u64 {
        self.link(slot).map_or(UNKNOWN, |link| link.latest(sent))
    }

    /// Whether the keys of a slot are asked for one by one, because some of them have moved.
    pub(in crate::stores) fn is_scattered(&self, slot: Slot) -> bool {
        match &self.place {
            Place::Server(_) => false,
            Place::Cluster(cluster) => cluster.is_scattered(slot),
        }
    }

    /// Whether Redis is asked: in a cluster, whether any primary is. And how often one was found to
    /// be away.
    pub(in crate::stores) fn breaker(&self) -> (BreakerState, u64) {
        match &self.place {
            Place::Server(link) => link.breaker(),
            Place::Cluster(cluster) => cluster.breaker(),
        }
    }

    /// How many primaries there are, and how many of them are asked.
    pub(in crate::stores) fn primaries(&self) -> Primaries {
        match &self.place {
            Place::Server(link) => {
                let asked = usize::from(link.breaker().0 == BreakerState::Closed);
                Primaries { known: 1, asked }
            }
            Place::Cluster(cluster) => cluster.primaries(),
        }
    }

    /// Makes one call.
    pub(in crate::stores) async fn ask(&self, call: Call) -> Reply {
        self.deliver(&[call], None).await.pop().unwrap_or(Reply::Away)
    }

    /// Makes calls, and waits no longer than the deadline for all of them. One answer for each.
    pub(super) async fn deliver(&self, calls: &[Call], counters: Option<&Counters>) -> Vec<Reply> {
        let sent = self.clock.now();
        let mut replies: Vec<Reply> = calls.iter().map(|_| Reply::Away).collect();
        let mut batches: Vec<Batch<'_>> = Vec::new();
        for (index, call) in calls.iter().enumerate() {
            if let Some(link) = self.link(call.slot) {
                let one = One { index, call, asking: false };
                Batch::add(&mut batches, link, one);
            }
        }
        for _ in 0..=MOST_REDIRECTIONS {
            let sends = batches.iter().map(|batch| self.send(batch, sent, counters));
            // One server's calls need no allocation for waiting.
            let all = match batches.as_slice() {
                [batch] => vec![self.send(batch, sent, counters).await],
                _ => join_all(sends).await,
            };
            let mut again: Vec<Batch<'_>> = Vec::new();
            for (batch, results) in std::mem::take(&mut batches).into_iter().zip(all) {
                let Some(results) = results else { continue };
                for (one, result) in batch.calls.into_iter().zip(results) {
                    let reply = match result {
                        Ok(values) => {
                            batch.link.succeeded();
                            Reply::Said(values, Arc::clone(&batch.link))
                        }
                        Err(error) => match self.turned_away(one, &batch.link, &error) {
                            Turn::To(link, one) => {
                                Batch::add(&mut again, link, one);
                                continue;
                            }
                            Turn::Scattered => Reply::Scattered,
                            Turn::Away => {
                                if let Some(counters) = counters {
                                    count(&counters.failed);
                                }
                                Reply::Away
                            }
                        },
                    };
                    if let Some(place) = replies.get_mut(one.index) {
                        *place = reply;
                    }
                }
            }
            if again.is_empty() {
                break;
            }
            batches = again;
        }
        replies
    }

    /// Where a call goes that a server did not execute.
    fn turned_away<'c>(&self, one: One<'c>, link: &Arc<Link>, error: &RedisError) -> Turn<'c> {
        let (Place::Cluster(cluster), ErrorKind::Server(kind)) = (&self.place, error.kind()) else {
            if error.kind() == ErrorKind::Server(ServerErrorKind::Moved) {
                tracing::error!(
                    "redis is a node of a cluster: state `cluster: [url]` in place of `url`"
                );
            }
            link.failed(None);
            return Turn::Away;
        };
        let target = || {
            let (text, _) = error.redirect_node()?;
            Address::redirected(text, link.address()?)
        };
        let to = match kind {
            ServerErrorKind::Moved => target().and_then(|to| cluster.moved(one.call.slot, &to)),
            ServerErrorKind::Ask => target().and_then(|to| cluster.reached(&to)),
            ServerErrorKind::TryAgain => {
                link.succeeded();
                cluster.scattered(one.call.slot);
                return Turn::Scattered;
            }
            _ => {
                link.failed(None);
                cluster.look();
                return Turn::Away;
            }
        };
        link.succeeded();
        match to {
            Some(to) => Turn::To(to, One { asking: kind == ServerErrorKind::Ask, ..one }),
            None => Turn::Away,
        }
    }

    /// One pipeline. Nothing: no answer.
    async fn send(
        &self,
        batch: &Batch<'_>,
        began: Now,
        counters: Option<&Counters>,
    ) -> Option<Vec<RedisResult<Vec<i64>>>> {
        let sent = self.clock.now();
        let left = self.deadline.saturating_sub(sent.since(began));
        let exchange = async {
            let Some(mut connection) = batch.link.ready().await else { return Ok(None) };
            self.exchange(&mut connection, &batch.calls).await.map(Some)
        };
        let outcome = timeout(left, exchange).await;
        if let Some(counters) = counters {
            counters.took(self.clock.now().since(sent));
            match &outcome {
                Ok(Ok(Some(_))) => {}
                Ok(Ok(None)) => count(&counters.not_asked),
                Ok(Err(_)) => count(&counters.failed),
                Err(_late) => count(&counters.timed_out),
            }
        }
        match outcome {
            Ok(Ok(results)) => results,
            Ok(Err(error)) => {
                batch.link.failed(Some(&error));
                None
            }
            Err(_late) => {
                batch.link.failed(None);
                None
            }
        }
    }

    /// Sends all calls at once. Those that the server did not know the script for cannot have run, and
    /// only those are sent again.
    async fn exchange(
        &self,
        connection: &mut MultiplexedConnection,
        calls: &[One<'_>],
    ) -> Result<Vec<RedisResult<Vec<i64>>>, RedisError> {
        let pipeline = |calls: &mut dyn Iterator<Item = &One<'_>>| {
            let mut pipeline = Pipeline::new();
            pipeline.ignore_errors();
            calls.for_each(|one| {
                if one.asking {
                    pipeline.cmd("ASKING").ignore();
                }
                pipeline.add_command(one.call.command.clone());
            });
            pipeline
        };
        let first = pipeline(&mut calls.iter());
        let mut replies: Vec<RedisResult<Vec<i64>>> = first.query_async(connection).await?;
        let unknown = |reply: &RedisResult<Vec<i64>>| {
            let kind = reply.as_ref().err().map(RedisError::kind);
            kind == Some(ErrorKind::Server(ServerErrorKind::NoScript))
        };
        if replies.iter().any(unknown) {
            self.script.load_async(connection).await?;
            let mut again =
                calls.iter().zip(&replies).filter(|(_, reply)| unknown(reply)).map(|(c, _)| c);
            let again: Vec<RedisResult<Vec<i64>>> =
                pipeline(&mut again).query_async(connection).await?;
            for (reply, again) in replies.iter_mut().filter(|reply| unknown(reply)).zip(again) {
                *reply = again;
            }
        }
        Ok(replies)
    }
}

/// Calls of one server.
struct Batch<'c> {
    link: Arc<Link>,
    calls: Vec<One<'c>>,
}

#[derive(Clone, Copy)]
struct One<'c> {
    index: usize,
    call: &'c Call,
    /// The slot is on its way to that server.
    asking: bool,
}

enum Turn<'c> {
    To(Arc<Link>, One<'c>),
    Scattered,
    Away,
}

impl<'c> Batch<'c> {
    fn add(batches: &mut Vec<Self>, link: Arc<Link>, one: One<'c>) {
        match batches.iter_mut().find(|batch| Arc::ptr_eq(&batch.link, &link)) {
            Some(batch) => batch.calls.push(one),
            None => batches.push(Self { link, calls: vec![one] }),
        }
    }
}
