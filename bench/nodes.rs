//! What a limit costs, and whether it holds, where many nodes share it over one Redis.
//!
//! `bench_nodes` plays twenty nodes in one process, each with a store and a connection of its own,
//! under loads that are paced by the clock, three ways: with leases, as the gateway does; with one
//! call of a plain token bucket script for every request; and counting locally with a
//! synchronisation every 100 ms, which is what is usual where a call per request is too much. Calls
//! are counted by Redis (scripts run, or counters raised).
//! A request counts as admitted when its answer is known, so that calls which are answered late
//! together add to the worst window what jitter gave them; what is decided locally adds none.

#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a measuring tool")]

#[allow(dead_code, reason = "memory is not measured here")]
mod procfs;
mod redis;

use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::redis::Script;
use ::redis::aio::MultiplexedConnection;
use anyhow::{Context, Result, ensure};
use clap::Parser;
use tokio::task::JoinSet;
use tollgate::config::settings::{
    LEASE, LimitStoreSettings, OnFailover, RedisPlace, RedisSettings,
};
use tollgate::domain::charge::{BucketCharge, Charge, ChargeAnswer, Rate, Subject, WhenAway};
use tollgate::domain::clock::Clock;
use tollgate::domain::ids::{OrgId, UserId};
use tollgate::domain::secret::Secret;
use tollgate::stores::limits::LimitStore;
use tollgate::telemetry::clock::SystemClock;

use self::redis::Redis;

/// Time for Redis to start and the stores to find it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the naive limiter tells and asks what all have used.
const SYNCHRONISED: Duration = Duration::from_millis(100);
/// Requests are let out in groups, this far apart.
const TICK: Duration = Duration::from_millis(1);
/// The load runs for so long before anything is counted: rates have to be seen first.
const WARM_UP: Duration = Duration::from_secs(1);

/// A token bucket for each key, of ARGV's rate per second and burst: all are charged, or none.
const PLAIN: &str = r"
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local levels = {}
for i, key in ipairs(KEYS) do
  local rate, burst = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local state = redis.call('HMGET', key, 'level', 'at')
  local level, at = tonumber(state[1] or burst), tonumber(state[2] or now)
  levels[i] = math.min(burst, level + (now - at) * rate)
  if levels[i] < 1 then return 0 end
end
for i, key in ipairs(KEYS) do
  redis.call('HSET', key, 'level', levels[i] - 1, 'at', now)
  redis.call('EXPIRE', key, 60)
end
return 1";

#[derive(Parser)]
struct Arguments {
    /// Seconds to measure each load for.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Nodes that share the limits.
    #[arg(long, default_value_t = 20)]
    nodes: usize,
    /// Requests per second of all nodes together.
    #[arg(long, default_value_t = 10_000)]
    rate: u32,
}

/// A load: which buckets its requests are charged to.
struct Load {
    name: &'static str,
    organization: Limit,
    /// As many users take turns, each at two nodes of their own.
    users: Option<(usize, Limit)>,
}

/// Tokens per second, and the burst.
#[derive(Clone, Copy)]
struct Limit {
    per_second: u32,
    burst: u32,
}

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Leases,
    EveryRequest,
    Naive,
}

impl Way {
    const ALL: [Self; 3] = [Self::Leases, Self::EveryRequest, Self::Naive];

    fn name(self) -> &'static str {
        match self {
            Self::Leases => "leases",
            Self::EveryRequest => "a call for every request",
            Self::Naive => "local, synchronised every 100 ms",
        }
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    procfs::exact_timers();
    let half = arguments.rate / 2;
    let loads = [
        Load {
            name: "one organization, below its limit",
            organization: Limit { per_second: 2 * arguments.rate, burst: 2 * arguments.rate },
            users: None,
        },
        Load {
            name: "one organization, at twice its limit",
            organization: Limit { per_second: half, burst: half },
            users: None,
        },
        Load {
            name: "the same, with a limit for each of 2,000 users",
            organization: Limit { per_second: 2 * arguments.rate, burst: 2 * arguments.rate },
            users: Some((2_000, Limit { per_second: 50, burst: 100 })),
        },
        Load {
            name: "a flood on a small limit",
            organization: Limit { per_second: 10, burst: 10 },
            users: None,
        },
    ];
    println!(
        "{} nodes, {} requests/s together, {} s each\n",
        arguments.nodes, arguments.rate, arguments.seconds
    );
    println!(
        "| load | way | admitted/s | of the limit | worst window beyond the limit | calls per \
         admitted request | calls/s and node | CPU-µs per request: node | Redis |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for load in &loads {
        for way in Way::ALL {
            // The naive limiter is shown for what it lets through; it knows one bucket.
            if way == Way::Naive && load.users.is_some() {
                continue;
            }
            let redis = Redis::start()?;
            let result = play(load, way, &arguments, &redis).await?;
            print(load, way, &arguments, &result);
        }
    }
    Ok(())
}

fn print(load: &Load, way: Way, arguments: &Arguments, result: &Outcome) {
    let seconds = result.took.as_secs_f64();
    let admitted = result.admitted as f64;
    let limit = f64::from(load.organization.per_second);
    let offered = f64::from(arguments.rate);
    let beyond = result.worst - f64::from(load.organization.burst);
    println!(
        "| {} | {} | {:.0} | {:.1} % | {} | {:.4} | {:.1} | {:.2} | {:.2} |",
        load.name,
        way.name(),
        admitted / seconds,
        100.0 * admitted / seconds / limit.min(offered),
        if beyond > 0.0 { format!("{beyond:.0} requests") } else { "none".to_owned() },
        result.calls as f64 / admitted.max(1.0),
        result.calls as f64 / seconds / arguments.nodes as f64,
        result.node.as_secs_f64() * 1e6 / result.sent as f64,
        result.redis.as_secs_f64() * 1e6 / result.sent as f64,
    );
}

/// What came of a load.
struct Outcome {
    took: Duration,
    sent: u64,
    admitted: u64,
    calls: u64,
    /// The most that any window admitted beyond rate · its length, warm-up included.
    worst: f64,
    node: Duration,
    redis: Duration,
}

async fn play(load: &Load, way: Way, arguments: &Arguments, redis: &Redis) -> Result<Outcome> {
    let clock = Arc::new(SystemClock::new());
    let nodes = Nodes::start(way, arguments.nodes, redis, load.organization, &clock).await?;
    let charges = charges(load)?;
    let admissions = Arc::<Mutex<Vec<Instant>>>::default();
    let per_tick = arguments.rate / 1_000;
    let began = Instant::now();
    let from = began + WARM_UP;
    let until = from + Duration::from_secs(arguments.seconds);
    let (mut number, mut before) = (0_u64, None);
    let mut due = began;
    let mut calls = JoinSet::new();
    while Instant::now() < until {
        if before.is_none() && Instant::now() >= from {
            before = Some((number, calls_of(redis).await?, cpu(redis)?));
        }
        for _ in 0..per_tick {
            number += 1;
            let (at, which) = place(number, arguments.nodes, charges.len());
            let charge = charges.get(which).context("a charge")?;
            match nodes.try_now(at, charge, &clock)? {
                Some(true) => note(&admissions),
                Some(false) => {}
                None => {
                    let asking = nodes.ask(at, charge.clone(), &clock)?;
                    let admissions = Arc::clone(&admissions);
                    calls.spawn(async move {
                        if asking.await {
                            note(&admissions);
                        }
                    });
                }
            }
        }
        while calls.try_join_next().is_some() {}
        due += TICK;
        tokio::time::sleep_until(due.into()).await;
    }
    let (sent_before, calls_before, cpu_before) = before.context("no measurement")?;
    let (calls_after, cpu_after) = (calls_of(redis).await?, cpu(redis)?);
    let took = from.elapsed();
    while calls.join_next().await.is_some() {}
    let mut times = admissions.lock().unwrap_or_else(PoisonError::into_inner).clone();
    times.sort_unstable();
    Ok(Outcome {
        took,
        sent: number - sent_before,
        admitted: times.iter().filter(|time| **time >= from).count() as u64,
        calls: calls_after - calls_before,
        worst: worst(&times, load.organization.per_second),
        node: cpu_after.0.saturating_sub(cpu_before.0),
        redis: cpu_after.1.saturating_sub(cpu_before.1),
    })
}

/// The node and the user of a request: every user comes to two nodes in turn.
fn place(number: u64, nodes: usize, users: usize) -> (usize, usize) {
    let number = usize::try_from(number).unwrap_or(usize::MAX);
    if users == 1 {
        return (number % nodes, 0);
    }
    // Users in mixed order, so that none comes at the same beat.
    let user = number.wrapping_mul(7_919) % users;
    let turn = (number / users) % 2;
    ((user + turn) % nodes, user)
}

fn note(admissions: &Mutex<Vec<Instant>>) {
    admissions.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
}

fn cpu(redis: &Redis) -> Result<(Duration, Duration)> {
    Ok((procfs::cpu_time(std::process::id())?, procfs::cpu_time(redis.id())?))
}

/// The largest of admitted − rate · length over all windows.
fn worst(times: &[Instant], per_second: u32) -> f64 {
    let Some(first) = times.first() else { return 0.0 };
    let (mut lowest, mut worst) = (f64::INFINITY, 0.0_f64);
    for (before, time) in times.iter().enumerate() {
        let came = f64::from(per_second) * time.duration_since(*first).as_secs_f64();
        // A window that begins with this request, and one that ends with it.
        lowest = lowest.min(before as f64 - came);
        worst = worst.max(before as f64 + 1.0 - came - lowest);
    }
    worst
}

/// What Redis was asked so far: scripts, and counters raised.
async fn calls_of(redis: &Redis) -> Result<u64> {
    let client = ::redis::Client::open(redis.url())?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let mut info = ::redis::cmd("INFO");
    let text: String = info.arg("commandstats").query_async(&mut connection).await?;
    let counted = |line: &str| {
        let (command, numbers) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        let calls = numbers.split(',').next()?;
        matches!(command, "evalsha" | "incrby").then(|| calls.parse::<u64>().ok())?
    };
    Ok(text.lines().filter_map(counted).sum())
}

/// The nodes, and what they decide with.
enum Nodes {
    Leases(Vec<Arc<LimitStore>>),
    EveryRequest(Vec<MultiplexedConnection>, Arc<Script>),
    Naive(Vec<Arc<Naive>>),
}

impl Nodes {
    async fn start(
        way: Way,
        count: usize,
        redis: &Redis,
        limit: Limit,
        clock: &Arc<SystemClock>,
    ) -> Result<Self> {
        match way {
            Way::Leases => Self::leases(count, redis, clock).await,
            Way::EveryRequest => {
                let client = ::redis::Client::open(redis.url())?;
                let mut connections = Vec::new();
                for _ in 0..count {
                    connections.push(connect(&client).await?);
                }
                Ok(Self::EveryRequest(connections, Arc::new(Script::new(PLAIN))))
            }
            Way::Naive => {
                let began = Instant::now();
                let mut nodes = Vec::new();
                for _ in 0..count {
                    let node = Arc::new(Naive { limit, began, ..Naive::default() });
                    tokio::spawn(synchronise(Arc::clone(&node), redis.url()));
                    nodes.push(node);
                }
                wait_for(|| nodes.iter().all(|node| node.met.load(Ordering::Relaxed))).await?;
                Ok(Self::Naive(nodes))
            }
        }
    }

    async fn leases(count: usize, redis: &Redis, clock: &Arc<SystemClock>) -> Result<Self> {
        let settings = LimitStoreSettings::Redis(RedisSettings {
            place: RedisPlace::Server(Secret::new(redis.url())),
            timeout: Duration::from_millis(250),
            key_prefix: Arc::from("bench"),
            nodes: NonZeroU32::MIN,
            lease: LEASE,
            max_buckets: NonZeroU32::new(100_000).context("a number above zero")?,
            on_failover: OnFailover::Lenient,
        });
        let mut stores = Vec::new();
        for _ in 0..count {
            let store = Arc::new(LimitStore::new(&settings, Arc::<SystemClock>::clone(clock))?);
            let kept = Arc::clone(&store);
            tokio::spawn(async move { kept.keep().await });
            stores.push(store);
        }
        wait_for(|| !stores.iter().any(|store| store.is_away())).await?;
        Ok(Self::Leases(stores))
    }

    /// Whether a node admits. `None`: it has to ask.
    fn try_now(&self, at: usize, charge: &Charge, clock: &SystemClock) -> Result<Option<bool>> {
        Ok(match self {
            Self::Leases(stores) => {
                let store = stores.get(at).context("a node")?;
                let answer = store.try_now(charge, clock.now());
                answer.map(|answer| matches!(answer, ChargeAnswer::Granted { .. }))
            }
            Self::EveryRequest(..) => None,
            Self::Naive(nodes) => Some(nodes.get(at).context("a node")?.admits()),
        })
    }

    /// Asks Redis whether a node admits.
    fn ask(
        &self,
        at: usize,
        charge: Charge,
        clock: &Arc<SystemClock>,
    ) -> Result<Pin<Box<dyn Future<Output = bool> + Send>>> {
        match self {
            Self::Leases(stores) => {
                let (store, clock) =
                    (stores.get(at).cloned().context("a node")?, Arc::clone(clock));
                Ok(Box::pin(async move {
                    let answer = store.take(&charge, clock.now()).await;
                    matches!(answer, ChargeAnswer::Granted { .. })
                }))
            }
            Self::EveryRequest(connections, script) => {
                let mut connection = connections.get(at).cloned().context("a node")?;
                let script = Arc::clone(script);
                Ok(Box::pin(async move {
                    let mut call = script.prepare_invoke();
                    for bucket in &charge.buckets {
                        call.key(format!("{}:{:?}", bucket.limit, bucket.subject));
                        call.arg(bucket.rate.tokens.get()).arg(bucket.rate.burst.get());
                    }
                    call.invoke_async::<bool>(&mut connection).await.unwrap_or(false)
                }))
            }
            Self::Naive(_) => anyhow::bail!("a naive limiter asks nobody"),
        }
    }
}

async fn connect(client: &::redis::Client) -> Result<MultiplexedConnection> {
    let began = Instant::now();
    loop {
        match client.get_multiplexed_async_connection().await {
            Ok(connection) => return Ok(connection),
            Err(error) if began.elapsed() > PATIENCE => return Err(error.into()),
            Err(_) => tokio::time::sleep(TICK).await,
        }
    }
}

async fn wait_for(done: impl Fn() -> bool) -> Result<()> {
    let began = Instant::now();
    while !done() {
        ensure!(began.elapsed() < PATIENCE, "no Redis: is `redis-server` installed?");
        tokio::time::sleep(TICK).await;
    }
    Ok(())
}

/// A node that counts by itself, and learns now and then what the others have counted.
struct Naive {
    limit: Limit,
    began: Instant,
    /// Admitted here since the last synchronisation.
    own: AtomicU64,
    /// Admitted everywhere, as of then.
    known: AtomicU64,
    /// Whether it has heard of the others.
    met: AtomicBool,
}

impl Default for Naive {
    fn default() -> Self {
        let limit = Limit { per_second: 0, burst: 0 };
        let zero = || AtomicU64::new(0);
        Self {
            limit,
            began: Instant::now(),
            own: zero(),
            known: zero(),
            met: AtomicBool::new(false),
        }
    }
}

impl Naive {
    fn admits(&self) -> bool {
        let came = self.began.elapsed().as_secs_f64() * f64::from(self.limit.per_second);
        let own = self.own.load(Ordering::Relaxed);
        let used = self.known.load(Ordering::Relaxed) + own;
        let room = (used as f64) < f64::from(self.limit.burst) + came;
        if room {
            self.own.store(own + 1, Ordering::Relaxed);
        }
        room
    }
}

async fn synchronise(node: Arc<Naive>, url: String) -> Result<()> {
    let client = ::redis::Client::open(url)?;
    let mut connection = connect(&client).await?;
    loop {
        let own = node.own.swap(0, Ordering::Relaxed);
        let command = ::redis::cmd("INCRBY").arg("used").arg(own).to_owned();
        let known: u64 = command.query_async(&mut connection).await?;
        node.known.store(known, Ordering::Relaxed);
        node.met.store(true, Ordering::Relaxed);
        tokio::time::sleep(SYNCHRONISED).await;
    }
}

/// One charge for each user, or one for all.
fn charges(load: &Load) -> Result<Vec<Charge>> {
    let organization: OrgId = "7b0d3c1e-0000-4000-8000-00000000000a".parse()?;
    let bucket = |name: &str, subject: Subject, limit: Limit| -> Result<BucketCharge> {
        let number = |n| NonZeroU32::new(n).context("a number above zero");
        Ok(BucketCharge {
            limit: Arc::from(name),
            subject,
            rate: Rate {
                tokens: number(limit.per_second)?,
                period_millis: number(1_000)?,
                burst: number(limit.burst)?,
            },
            cost: NonZeroU32::MIN,
            when_away: WhenAway::Closed,
            penalty: None,
        })
    };
    let of_all =
        || bucket("per_organization", Subject::Organization(organization), load.organization);
    let Some((users, limit)) = load.users else {
        return Ok(vec![Charge { buckets: [of_all()?].into_iter().collect() }]);
    };
    let of_user = |number: usize| -> Result<Charge> {
        let user: UserId = format!("7b0d3c1e-0000-4000-8000-{number:012x}").parse()?;
        let own = bucket("per_user", Subject::User(user, Some(organization)), limit)?;
        Ok(Charge { buckets: [own, of_all()?].into_iter().collect() })
    };
    (0..users).map(of_user).collect()
}
