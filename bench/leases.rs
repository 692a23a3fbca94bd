//! What a decision costs that a node makes by itself: four buckets in Redis, leases of all of them.
//!
//! `bench_leases` starts a Redis of its own, charges as fast as one thread can, and prints the
//! distribution of single decisions with the clock that the shell reads, how many calls it took,
//! and what measuring itself costs. Nothing is subtracted.

#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a measuring tool")]

mod redis;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use hdrhistogram::Histogram;
use tollgate::config::settings::{LimitStoreSettings, OnFailover, RedisPlace, RedisSettings};
use tollgate::domain::charge::{BucketCharge, Charge, ChargeAnswer, Rate, Subject, WhenAway};
use tollgate::domain::clock::Clock;
use tollgate::domain::secret::Secret;
use tollgate::stores::limits::LimitStore;
use tollgate::telemetry::clock::SystemClock;

use self::redis::Redis;

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
        max_buckets: number(1_000)?,
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
        let before = Instant::now();
        let answer = store.try_now(&charge, clock.now());
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
    Ok(())
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
    let many = number(1_000_000_000)?;
    let rate = Rate { tokens: many, period_millis: number(1_000)?, burst: many };
    let bucket = |(subject, limit): (Subject, &str)| BucketCharge {
        limit: Arc::from(limit),
        subject,
        rate,
        cost: NonZeroU32::MIN,
        when_away: WhenAway::Closed,
        penalty: None,
    };
    let limits = ["per_user", "per_key", "per_route", "per_organization"];
    Ok(Charge { buckets: subjects.into_iter().zip(limits).map(bucket).collect() })
}

fn number(n: u32) -> Result<NonZeroU32> {
    NonZeroU32::new(n).context("a number above zero")
}
