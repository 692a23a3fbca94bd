//! What a decision costs that a node makes by itself: four buckets in Redis, leases of all of them.
//!
//! `bench_leases` starts a Redis of its own, charges as fast as one thread can, and prints the
//! distribution of single decisions, how many calls it took, and what measuring itself costs.
//! Nothing is subtracted. Then it charges many users once, and prints what a bucket takes in memory,
//! here and in Redis.

#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a measuring tool")]

#[allow(dead_code, reason = "processor time is not measured here")]
mod procfs;
mod redis;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use futures_util::StreamExt;
use hdrhistogram::Histogram;
use tollgate::config::settings::{LimitStoreSettings, OnFailover, RedisPlace, RedisSettings};
use tollgate::domain::charge::{BucketCharge, Charge, ChargeAnswer, Rate, Subject, WhenAway};
use tollgate::domain::clock::Clock;
use tollgate::domain::secret::Secret;
use tollgate::stores::limits::LimitStore;
use tollgate::telemetry::clock::SystemClock;

use self::redis::Redis;

/// Buckets whose memory is measured. Far below the cap, so that no part of the table is full.
const MANY: u32 = 400_000;
const USERS: u32 = 200_000;
/// Calls that wait at once while they are filled.
const WAITING: usize = 512;
/// Time for Redis to start and the store to find it.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Parser)]
struct Arguments {
    /// Seconds to measure for.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let redis = Redis::start()?;
    let clock = Arc::new(SystemClock::new());
    let settings = LimitStoreSettings::Redis(RedisSettings {
        place: RedisPlace::Server(Secret::new(redis.url())),
        timeout: Duration::from_millis(250),
        key_prefix: Arc::from("bench"),
        nodes: NonZeroU32::MIN,
        lease: tollgate::config::settings::LEASE,
        max_buckets: number(MANY)?,
        on_failover: OnFailover::Lenient,
    });
    let store = Arc::new(LimitStore::new(&settings, clock.clone())?);
    // The driver of the calls runs beside the thread that decides, as it does in the gateway.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let kept = Arc::clone(&store);
    runtime.spawn(async move { kept.keep().await });
    let began = Instant::now();
    while store.is_away() {
        ensure!(began.elapsed() < PATIENCE, "no Redis: is `redis-server` installed?");
        std::thread::yield_now();
    }

    let charge = charge()?;
    let mut decisions = Histogram::<u64>::new(3)?;
    let mut calls = Histogram::<u64>::new(3)?;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(arguments.seconds) {
        // The shell has read it when the request came.
        let now = clock.now();
        let before = Instant::now();
        let answer = store.try_now(&charge, now);
        let took = u64::try_from(before.elapsed().as_nanos())?;
        match answer {
            Some(ChargeAnswer::Granted { .. }) => decisions.record(took)?,
            Some(other) => anyhow::bail!("the limit is too small for this machine: {other:?}"),
            None => {
                let before = Instant::now();
                runtime.block_on(store.take(&charge, clock.now()));
                calls.record(u64::try_from(before.elapsed().as_nanos())?)?;
            }
        }
    }
    let mut measuring = Histogram::<u64>::new(3)?;
    for _ in 0..1_000_000 {
        let before = Instant::now();
        measuring.record(u64::try_from(before.elapsed().as_nanos())?)?;
    }
    println!("| what | times | p50 ns | p99 ns | p99.9 ns |\n|---|---|---|---|---|");
    row("decision over 4 leased buckets", &decisions);
    row("decision that asked Redis", &calls);
    row("measuring", &measuring);
    let (here, there) = runtime.block_on(memory(&store, &clock, &redis))?;
    println!("\nA bucket takes {here:.0} bytes at a node and {there:.0} in Redis ({USERS} users).");
    Ok(())
}

/// Bytes for each bucket: resident memory of this process, and what Redis says it uses.
async fn memory(store: &LimitStore, clock: &SystemClock, redis: &Redis) -> Result<(f64, f64)> {
    let organization = "7b0d3c1e-0000-4000-8000-00000000000a".parse()?;
    let limit: Arc<str> = Arc::from("users");
    let charge = |user: u32| -> Result<Charge> {
        let user = format!("7b0d3c1e-0001-4000-8000-{user:012x}").parse()?;
        let bucket = bucket(&limit, Subject::User(user, Some(organization)))?;
        Ok(Charge { buckets: std::iter::once(bucket).collect() })
    };
    let fill = async |users: std::ops::Range<u32>| -> Result<()> {
        let mut calls = futures_util::stream::FuturesUnordered::new();
        for user in users {
            let charge = charge(user)?;
            calls.push(async move { store.take(&charge, clock.now()).await });
            if calls.len() >= WAITING {
                calls.next().await;
            }
        }
        while calls.next().await.is_some() {}
        Ok(())
    };
    // What a first call allocates for good is not a bucket's.
    fill(0..1_000).await?;
    let before = (procfs::resident(std::process::id())?, used(redis).await?);
    fill(1_000..1_000 + USERS).await?;
    let after = (procfs::resident(std::process::id())?, used(redis).await?);
    let each = |before: u64, after: u64| after.saturating_sub(before) as f64 / f64::from(USERS);
    Ok((each(before.0, after.0), each(before.1, after.1)))
}

async fn used(redis: &Redis) -> Result<u64> {
    let client = ::redis::Client::open(redis.url())?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let mut info = ::redis::cmd("INFO");
    let text: String = info.arg("memory").query_async(&mut connection).await?;
    let line = text.lines().find_map(|line| line.strip_prefix("used_memory:"));
    Ok(line.context("no used_memory")?.trim().parse()?)
}

fn row(what: &str, times: &Histogram<u64>) {
    let at = |quantile| times.value_at_quantile(quantile);
    println!("| {what} | {} | {} | {} | {} |", times.len(), at(0.5), at(0.99), at(0.999));
}

/// User, key, route and organization, of which each would allow a thousand million in a second.
fn charge() -> Result<Charge> {
    let organization = "7b0d3c1e-0000-4000-8000-00000000000a".parse()?;
    let subjects = [
        Subject::User("7b0d3c1e-0000-4000-8000-00000000000b".parse()?, Some(organization)),
        Subject::Key(Arc::from("web"), None),
        Subject::Route(Arc::from("rest"), Some(organization)),
        Subject::Organization(organization),
    ];
    let limits = ["per_user", "per_key", "per_route", "per_organization"];
    let buckets = subjects.into_iter().zip(limits);
    let buckets = buckets
        .map(|(subject, limit)| bucket(&Arc::from(limit), subject))
        .collect::<Result<_>>()?;
    Ok(Charge { buckets })
}

fn bucket(limit: &Arc<str>, subject: Subject) -> Result<BucketCharge> {
    let many = number(1_000_000_000)?;
    Ok(BucketCharge {
        limit: Arc::clone(limit),
        subject,
        rate: Rate { tokens: many, period_millis: number(1_000)?, burst: many },
        cost: NonZeroU32::MIN,
        when_away: WhenAway::Closed,
        penalty: None,
    })
}

fn number(n: u32) -> Result<NonZeroU32> {
    NonZeroU32::new(n).context("a number above zero")
}
