//! What only a real Redis shows: it dies, stalls, forgets its scripts, holds nonsense, and its
//! clock jumps.

use std::sync::Arc;
use std::time::Duration;

use proptest::test_runner::{Config, TestRunner};
use redis::aio::MultiplexedConnection;
use tollgate::domain::charge::{Charge, ChargeAnswer};
use tollgate::domain::clock::Clock;
use tollgate::domain::known::Outage;
use tollgate::stores::limits::BreakerState;

use crate::limits::assert_never_over;
use crate::limits_world::{
    World, bucket, burst_of, granted, left, number, of, rate, refused, user,
};
use crate::support::eventually;
use crate::support::place::Port;
use crate::support::redis::Redis;

const AWAY: ChargeAnswer = ChargeAnswer::Away(Outage::Limits);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_dies_costs_an_answer_at_once_and_comes_back_by_itself() {
    let mut world = World::redis().await;
    let charge = of([bucket("x", user("ann"), burst_of(3))]);
    assert_eq!(world.admitted(&charge, 5).await, 3);

    world.real().kill();
    // What was refused just now stays refused for a moment.
    refused(world.charge(&charge).await);
    let charge = of([bucket("x", user("bob"), burst_of(3))]);
    eventually("the breaker opening", async || {
        assert_eq!(world.charge(&charge).await, AWAY);
        (world.stores[0].stats().breaker == Some(BreakerState::Open)).then_some(())
    })
    .await;
    let stats = world.stores[0].stats();
    assert_eq!(world.stores[0].try_now(&charge, world.now()), Some(AWAY), "nothing is asked");
    let calls = |latency: [u64; 10]| latency.iter().sum::<u64>();
    assert_eq!(calls(world.stores[0].stats().latency), calls(stats.latency));
    assert_eq!(stats.breaker_opened, 1);

    world.real().restart().await;
    world.is_there(0).await;
    // Restarted empty: nothing was kept, by choice of whoever runs it without persistence.
    assert_eq!(world.admitted(&charge, 5).await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_stalls_is_given_up_on_and_counts_exactly_when_it_goes_on() {
    let mut world = World::redis().await;
    // So small a burst is not leased: every token is accounted for.
    let charge = of([bucket("x", user("ann"), burst_of(30))]);
    assert_eq!(left(&world.charge(&charge).await), [29]);

    world.real().pause();
    eventually("the breaker opening", async || {
        // Far above the deadline: what must not happen is that it hangs.
        let answer = tokio::time::timeout(Duration::from_secs(5), world.charge(&charge)).await;
        assert_eq!(answer.expect("an answer"), AWAY);
        (world.stores[0].stats().breaker == Some(BreakerState::Open)).then_some(())
    })
    .await;
    let late = world.stores[0].stats().away.timed_out;
    assert!(late >= 1, "{late}");

    world.real().resume();
    world.is_there(0).await;
    let answer = world.charge(&charge).await;
    // Late calls may have been executed, each once; none was admitted.
    let left = left(&answer)[0];
    assert!(u64::from(left) <= 28 && u64::from(left) + late >= 28, "{left} left, {late} late");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_away_at_the_start_is_found_when_it_comes() {
    let mut world = World::memory();
    world.stores.clear();
    let gone = {
        let mut redis = Redis::start().await;
        redis.kill();
        redis
    };
    world.join(&gone.url());
    world.redis = Some(gone);
    let charge = of([bucket("x", user("ann"), burst_of(3))]);
    eventually("the breaker opening", async || {
        assert_eq!(world.charge(&charge).await, AWAY);
        (world.stores[0].stats().breaker == Some(BreakerState::Open)).then_some(())
    })
    .await;
    world.real().restart().await;
    world.is_there(0).await;
    assert_eq!(world.admitted(&charge, 5).await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forgotten_scripts_are_loaded_again_unseen() {
    let mut world = World::redis().await;
    let mut connection = world.real().connection().await;
    let charge = of([bucket("x", user("ann"), burst_of(50))]);
    for round in 0..10 {
        let () = redis::cmd("SCRIPT").arg("FLUSH").query_async(&mut connection).await.unwrap();
        assert_eq!(left(&world.charge(&charge).await), [49 - round]);
    }
    assert_eq!(world.stores[0].stats().away.failed, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_redis_is_away_a_node_counts_its_share_and_pays_it_back() {
    let mut world = World::redis().await;
    let mut costly = bucket("costly", user("ann"), burst_of(10));
    costly.cost = number(7);
    let share = |burst| of([bucket("x", user("ann"), burst_of(burst))]);
    assert_eq!(share_grants(&world, &share(10), 4), 4, "half of ten, for two nodes");
    assert_eq!(
        share_grants(&world, &of([costly]), 5),
        1,
        "a request that costs more than the share fits once"
    );

    world.real().kill();
    eventually("the store being away", async || {
        let answer = world.charge(&share(10)).await;
        (answer == AWAY && world.stores[0].is_away()).then_some(())
    })
    .await;
    world.real().restart().await;
    world.is_there(0).await;
    // Redis came back empty-handed, so its bucket is full but for what was let through without it.
    assert_eq!(left(&world.charge(&share(10)).await), [5], "ten, less four, less this one");
    assert_eq!(left(&world.charge(&share(10)).await), [4], "a debt is paid once");
    let rest = share_grants(&world, &share(10), 5);
    assert_eq!(rest, 1, "what was spent before it came back is still spent");
    assert_eq!(world.stores[0].stats().share_granted, 6);
}

fn share_grants(world: &World, charge: &Charge, tries: usize) -> usize {
    let take = || granted(&world.stores[0].take_share(charge, world.now()));
    (0..tries).filter(|_| take()).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hot_bucket_is_spent_from_leases_and_still_never_over() {
    let world = World::redis().await;
    let (tokens, burst) = (2_000_u32, 1_000_u32);
    let charge = of([
        bucket("hot", user("ida"), rate(tokens, 1_000, burst)),
        bucket("wide", user("ida"), rate(1_000_000, 1_000, 1_000_000)),
    ]);
    let crowd = (0..4).map(|task| {
        let store = Arc::clone(&world.stores[task % world.stores.len()]);
        let (clock, charge) = (Arc::clone(&world.clock), charge.clone());
        tokio::spawn(async move {
            let mut admitted = Vec::new();
            let first = clock.now();
            while clock.now().since(first).as_millis() < 2_000 {
                let before = clock.now();
                let answer = match store.try_now(&charge, before) {
                    Some(answer) => answer,
                    None => store.take(&charge, before).await,
                };
                if granted(&answer) {
                    admitted.push((before, clock.now()));
                }
                tokio::task::yield_now().await;
            }
            admitted
        })
    });
    let mut admitted = Vec::new();
    for task in crowd.collect::<Vec<_>>() {
        admitted.extend(task.await.unwrap());
    }
    let all = admitted.len() as u64;
    let most = u64::from(burst) + 2 * u64::from(tokens);
    assert!(all * 10 >= most * 7, "only {all} of {most} were admitted");
    assert_never_over(&mut admitted, tokens, 1_000, burst);
    let stats: Vec<_> = world.stores.iter().map(|store| store.stats()).collect();
    let calls: u64 = stats.iter().flat_map(|stats| stats.latency).sum();
    let local: u64 = stats.iter().map(|stats| stats.leases.local).sum();
    assert!(local * 2 > all, "{local} of {all} were admitted from leases");
    assert!(calls * 4 < all, "{calls} calls for {all}");
    for store in &world.stores {
        store.give_back().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_holds_nonsense_is_an_empty_bucket_that_fills() {
    let mut world = World::redis().await;
    let mut connection = world.real().connection().await;
    let charge = of([bucket("x", user("ann"), rate(1, 300, 5))]);
    world.charge(&charge).await;
    let key = only_key(&mut connection).await;
    let nonsense: [&[u8]; 7] = [
        b"",
        b"hello",
        &state(-0.5, 1.0, [1, 1, 5]),
        &state(0.5, 1.0, [1, 1, 5]),
        &state(f64::NAN, 1.0, [1, 1, 5]),
        &state(1.0, f64::INFINITY, [1, 1, 5]),
        &state(1.0, 1.0, [0, 1, 5]),
    ];
    for raw in nonsense {
        let () = redis::cmd("SET").arg(&key).arg(raw).query_async(&mut connection).await.unwrap();
        heals(&world, &charge).await;
    }
    let () = redis::cmd("DEL").arg(&key).query_async(&mut connection).await.unwrap();
    let () = redis::cmd("RPUSH").arg(&key).arg("x").query_async(&mut connection).await.unwrap();
    heals(&world, &charge).await;
    let left: i64 = redis::cmd("PTTL").arg(&key).query_async(&mut connection).await.unwrap();
    assert!(left > 0, "the key expires: {left}");
}

async fn heals(world: &World, charge: &Charge) {
    let (_, retry_after) = refused(world.charge(charge).await);
    // Leases that nobody knows of have to end first.
    assert!(retry_after <= Duration::from_millis(700), "{retry_after:?}");
    tokio::time::sleep(retry_after).await;
    assert!(granted(&world.charge(charge).await), "it fills from then on");
    refused(world.charge(charge).await);
    // Long enough for this to be forgotten again.
    tokio::time::sleep(Duration::from_millis(300)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_went_back_neither_mints_nor_locks_out() {
    let mut world = World::redis().await;
    let mut connection = world.real().connection().await;
    let charge = of([bucket("x", user("ann"), rate(1, 300, 5))]);
    assert_eq!(world.admitted(&charge, 5).await, 5);
    let key = only_key(&mut connection).await;
    // As if the bucket was written an hour from now.
    let (seconds, _): (f64, f64) = redis::cmd("TIME").query_async(&mut connection).await.unwrap();
    let later = state(0.0, (seconds + 3_600.0) * 1e6, [1, 300, 5]);
    let () = redis::cmd("SET").arg(&key).arg(&later).query_async(&mut connection).await.unwrap();
    heals(&world, &charge).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_ahead_gives_only_what_the_caller_believes() {
    let redis = Redis::start().await;
    let mut connection = redis.connection().await;
    let (seconds, _): (f64, f64) = redis::cmd("TIME").query_async(&mut connection).await.unwrap();
    // Redis' clock has jumped ahead of the bucket by an hour; the caller knows of a second.
    let written = (seconds - 3_600.0) * 1e6;
    set(&mut connection, "b", &state(0.0, written, [1, 1_000, 100])).await;
    let believed = written + 1e6;
    let answer = run(&mut connection, believed, 5_000_000, 100_000_000, 1_000, 1_000).await;
    assert_eq!((answer[0], answer[2]), (0, 1_000_000), "one token came back in a second");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_lives_until_its_bucket_is_full_again() {
    let mut world = World::redis().await;
    let mut connection = world.real().connection().await;
    let answer = world.charge(&of([bucket("x", user("ann"), rate(1, 60_000, 5))])).await;
    let ChargeAnswer::Granted { balances } = answer else { panic!("refused") };
    assert_eq!(balances[0].full_in, Duration::from_secs(60));
    let key = only_key(&mut connection).await;
    let left: u64 = redis::cmd("PTTL").arg(&key).query_async(&mut connection).await.unwrap();
    assert!((60_000..=65_401).contains(&left), "{left}");
    let length: u64 = redis::cmd("STRLEN").arg(&key).query_async(&mut connection).await.unwrap();
    assert!(length <= 64, "{length}");
}

/// The script computes in doubles what the store in memory computes in integers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_script_refills_as_exactly_as_integers_do() {
    let redis = Redis::start().await;
    let mut connection = redis.connection().await;
    let (seconds, _): (f64, f64) = redis::cmd("TIME").query_async(&mut connection).await.unwrap();
    let handle = tokio::runtime::Handle::current();
    let cases = (
        0..2_000_000_000_u64 * 1_000,
        1..=u32::MAX,
        1..=u32::MAX,
        1..=u32::MAX,
        0..=u64::MAX,
        proptest::bool::ANY,
    );
    let outcome = tokio::task::spawn_blocking(move || {
        let mut runner =
            TestRunner::new(Config { cases: 400, failure_persistence: None, ..Config::default() });
        runner.run(&cases, |(elapsed, tokens, period, burst, level, small)| {
            // Half of the cases are of the size that people write.
            let (tokens, period, burst) = if small {
                (tokens % 1_000 + 1, period % 100_000 + 1, burst % 1_000 + 1)
            } else {
                (tokens, period, burst)
            };
            // And half of them divide without a rest, by way of one.
            let half = u64::from(period / 2);
            let elapsed =
                if level % 2 == 0 { elapsed - elapsed % u64::from(period) + half } else { elapsed };
            let capacity = u64::from(burst) * 1_000_000;
            let before = level % (capacity + 1);
            let now = (seconds * 1e6) as u64;
            let elapsed = elapsed.min(now);
            let gain = u64::from(tokens) * 1_000;
            let written = (now - elapsed) as f64;
            let raw = state(before as f64, written, [tokens, period, burst]);
            let mut connection = connection.clone();
            let answer = handle.block_on(async {
                set(&mut connection, "b", &raw).await;
                run(&mut connection, now as f64, capacity + 1, capacity, gain, period).await
            });
            let refill = u128::from(elapsed) * u128::from(gain) / u128::from(period);
            let wanted = (u128::from(before) + refill).min(u128::from(capacity));
            assert_eq!((answer[0], answer[2] as u128), (0, wanted));
            // Charged in full, the key says when it is full again, and Redis takes that number.
            let answer = handle.block_on(run(
                &mut connection,
                now as f64,
                wanted as u64,
                capacity,
                gain,
                period,
            ));
            assert_eq!((answer[0], answer[2]), (1, 0));
            Ok(())
        })
    });
    outcome.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unusable_url_is_an_error_without_the_password() {
    use tollgate::config::settings::{LimitStoreSettings, OnFailover, RedisPlace, RedisSettings};
    use tollgate::domain::secret::Secret;
    use tollgate::stores::limits::LimitStore;
    let port = Port::reserve();
    let url = format!("rodis://:hunter2@127.0.0.1:{}/", port.number());
    let settings = LimitStoreSettings::Redis(RedisSettings {
        place: RedisPlace::Server(Secret::new(url)),
        timeout: Duration::from_millis(25),
        key_prefix: Arc::from("t:"),
        nodes: number(1),
        lease: Duration::from_millis(200),
        max_buckets: number(1),
        on_failover: OnFailover::Lenient,
    });
    let clock = Arc::new(tollgate::telemetry::clock::SystemClock::new());
    let error = LimitStore::new(&settings, clock).expect_err("no such scheme");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    assert!(error.to_string().contains("redis://"), "{error}");
}

/// A bucket as the script packs it: nothing of it is leased.
fn state(micros: f64, at: f64, numbers: [u32; 3]) -> Vec<u8> {
    let mut raw = vec![2];
    raw.extend([micros, at].iter().flat_map(|number| number.to_le_bytes()));
    raw.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    raw.extend([0; 16]);
    raw
}

async fn set(connection: &mut MultiplexedConnection, key: &str, raw: &[u8]) {
    let () = redis::cmd("SET").arg(key).arg(raw).query_async(connection).await.unwrap();
}

async fn only_key(connection: &mut MultiplexedConnection) -> String {
    let keys: Vec<String> = redis::cmd("KEYS").arg("test:*").query_async(connection).await.unwrap();
    assert_eq!(keys.len(), 1, "{keys:?}");
    keys[0].clone()
}

/// The script on bucket `b`, as the store calls it.
async fn run(
    connection: &mut MultiplexedConnection,
    latest: f64,
    price: u64,
    capacity: u64,
    gain: u64,
    period: u32,
) -> Vec<i64> {
    let script = include_str!("../../src/stores/limits/acquire.lua");
    let mut command = redis::cmd("EVAL");
    command.arg(script).arg(1).arg("b").arg(format!("{latest:.0}")).arg(2_000_000).arg(1);
    command.arg(price).arg(capacity).arg(gain).arg(period).arg(&[0; 7]);
    command.query_async(connection).await.unwrap()
}
