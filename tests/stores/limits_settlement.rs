//! What answers cost, charged when they are known: on each store a bucket owes what it does not hold, up
//! to its bound, and whoever comes next waits for that. The script of the store in Redis is compared,
//! call by call, with the store in memory at the same times.

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use redis::aio::MultiplexedConnection;
use tollgate::domain::charge::{BucketCharge, ChargeAnswer, Due, Dues};
use tollgate::domain::clock::Now;
use tollgate::stores::limits::ledger::{Ledger, Which};
use tollgate::stores::limits::memory::MemoryStore;

use crate::limits_world::{
    World, bucket, burst_of, granted, left, number, of, rate, refused, settings, user,
};
use crate::support::eventually;
use crate::support::redis::Redis;

const TOKEN: u64 = 1_000_000;

/// A token for each second that the answer took.
pub(crate) fn by_the_second(bucket: &BucketCharge, most: u32) -> Dues {
    let most = number(most);
    let due = Due { bucket: bucket.clone(), per_second: 1, per_mebibyte: 0, most, shadow: false };
    Dues { all: vec![due], here: false }
}

pub(crate) fn settle(world: &World, index: usize, dues: &Dues, tokens: u64) {
    world.stores[index].settle(dues, Duration::from_secs(tokens), 0, world.now());
}

#[tokio::test]
async fn in_memory_an_answer_is_charged_and_paid_for_later() {
    every_promise(&World::memory()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_redis_an_answer_is_charged_and_paid_for_later() {
    every_promise(&World::redis().await).await;
}

pub(crate) async fn every_promise(world: &World) {
    what_is_there_is_taken_first(world).await;
    no_bucket_owes_more_than_its_bound(world).await;
    whoever_waits_as_told_is_admitted_when_the_debt_is_paid(world).await;
    a_full_bucket_that_nobody_knows_is_charged_too(world).await;
}

async fn what_is_there_is_taken_first(world: &World) {
    let bucket = bucket("first", user("ann"), burst_of(10));
    let (charge, dues) = (of([bucket.clone()]), by_the_second(&bucket, 100));
    assert_eq!(left(&world.charge(&charge).await), [9]);
    settle(world, 0, &dues, 5);
    assert_eq!(left(&world.charge(&charge).await), [3]);
}

async fn no_bucket_owes_more_than_its_bound(world: &World) {
    let bucket = bucket("bound", user("bob"), burst_of(10));
    let (charge, dues) = (of([bucket.clone()]), by_the_second(&bucket, 4));
    assert!(granted(&world.charge(&charge).await));
    for _ in 0..3 {
        settle(world, 0, &dues, 1_000);
    }
    // One token an hour: one that is asked for, and four that are owed.
    let (_, wait) = refused(world.charge(&charge).await);
    assert_eq!(wait.as_secs_f64().round() / 3_600.0, 5.0, "{wait:?}");
    let ChargeAnswer::Refused { balances, .. } = world.charge(&charge).await else {
        panic!("granted")
    };
    assert_eq!(balances[0].remaining, 0);
    assert_eq!(balances[0].full_in.as_secs_f64().round() / 3_600.0, 14.0, "{balances:?}");
}

async fn whoever_waits_as_told_is_admitted_when_the_debt_is_paid(world: &World) {
    let bucket = bucket("paid", user("cleo"), rate(1, 20, 3));
    let (charge, dues) = (of([bucket.clone()]), by_the_second(&bucket, 10));
    for _ in 0..3 {
        assert!(granted(&world.charge(&charge).await));
        settle(world, 0, &dues, 12);
        let (_, wait) = refused(world.charge(&charge).await);
        assert!(wait > Duration::from_millis(100), "{wait:?}");
        // Waiting is what is promised to be enough.
        tokio::time::sleep(wait).await;
        let answer = world.charge(&charge).await;
        assert!(granted(&answer), "waited {wait:?}: {answer:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn a_full_bucket_that_nobody_knows_is_charged_too(world: &World) {
    let bucket = bucket("unknown", user("dan"), burst_of(10));
    settle(world, 0, &by_the_second(&bucket, 5), 3);
    assert_eq!(left(&world.charge(&of([bucket])).await), [6]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_is_owed_all_nodes_wait_for_and_operators_see() {
    let mut world = World::redis().await;
    let url = world.real().url();
    let bucket = bucket("shared", user("ann"), burst_of(10));
    let (charge, dues) = (of([bucket.clone()]), by_the_second(&bucket, 7));
    settle(&world, 0, &dues, 100);
    // Told by itself: the node that is owed has no other reason to call.
    let mut ledger = Ledger::open(&settings(&url)).await.unwrap();
    let shown = eventually("the debt in Redis", async || {
        ledger.list(&Which::default()).await.unwrap().pop()
    })
    .await;
    assert_eq!((shown.left, shown.debt), (0, 7));
    let (_, wait) = refused(world.charge_at(1, &charge).await);
    assert_eq!(wait.as_secs_f64().round() / 3_600.0, 8.0, "{wait:?}");
    assert_eq!(world.stores[0].stats().settled, 1);
    assert!(ledger.reset(&shown).await.unwrap());
    eventually("a bucket that owes nothing", async || {
        granted(&world.charge_at(1, &charge).await).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_owed_while_redis_is_away_is_told_when_it_is_back() {
    let mut world = World::redis().await;
    let bucket = bucket("later", user("ann"), burst_of(10));
    let (charge, dues) = (of([bucket.clone()]), by_the_second(&bucket, 7));
    assert!(granted(&world.charge(&charge).await));
    world.real().kill();
    eventually("an outage", async || world.stores[0].is_away().then_some(())).await;
    settle(&world, 0, &dues, 100);
    world.real().restart().await;
    world.is_there(0).await;
    world.is_there(1).await;
    eventually("the debt", async || (!granted(&world.charge_at(1, &charge).await)).then_some(()))
        .await;
}

/// Some time long ago.
const BEGIN: u64 = 1_000_000_000_000_000;

#[derive(Debug, Clone, Copy)]
enum Step {
    Ask,
    Settle(u64),
}

#[derive(Debug, Clone, Copy)]
struct Numbers {
    tokens: u32,
    period: u32,
    burst: u32,
    most: u32,
}

async fn call(
    connection: &mut MultiplexedConnection,
    numbers: Numbers,
    now: u64,
    step: Step,
) -> (bool, i64) {
    let Numbers { tokens, period, burst, most } = numbers;
    let mut command = redis::cmd("EVAL");
    command.arg(include_str!("../../src/stores/limits/acquire.lua")).arg(1).arg("b");
    command.arg(now).arg(1_000_000).arg(i64::from(matches!(step, Step::Ask)));
    command.arg(TOKEN).arg(u64::from(burst) * TOKEN).arg(u64::from(tokens) * 1_000);
    command.arg(period).arg(&[0; 7]);
    if let Step::Settle(micros) = step {
        command.arg(format!("1 {micros} {}!", u64::from(most) * TOKEN));
    }
    let answer: Vec<i64> = command.query_async(connection).await.unwrap();
    let [granted, _, left, ..] = answer[..] else { panic!("{answer:?}") };
    (granted == 1, left)
}

async fn play(mut connection: MultiplexedConnection, numbers: Numbers, steps: &[(u64, Step)]) {
    let () = redis::cmd("DEL").arg("b").query_async(&mut connection).await.unwrap();
    let memory = MemoryStore::new(number(10));
    let Numbers { tokens, period, burst, most } = numbers;
    let bucket = bucket("p", user("ann"), rate(tokens, period, burst));
    let charge = of([bucket.clone()]);
    let (mut now, lowest) = (BEGIN, -i128::from(u64::from(most) * TOKEN));
    // What was charged so far, in micro-tokens, by when.
    let mut charged: Vec<(u64, i128)> = Vec::new();
    let mut before = i128::from(u64::from(burst) * TOKEN);
    for (wait, step) in steps {
        now += wait;
        let time = Now { mono_nanos: now * 1_000, unix_micros: now };
        let (theirs, held) = call(&mut connection, numbers, now, *step).await;
        match step {
            Step::Ask => {
                let ours = memory.take(&charge, time);
                assert_eq!(granted(&ours), theirs, "after {wait} at {now}: {ours:?}, {held}");
                let whole = u64::try_from(held).unwrap_or(0) / TOKEN;
                assert_eq!(u64::from(left(&ours)[0]), whole);
            }
            Step::Settle(micros) => {
                memory.settle(&bucket, *micros, u64::from(most) * TOKEN, time);
            }
        }
        let held = i128::from(held);
        assert!(held >= lowest, "{held} is below the bound");
        // What came back at most, so that what was charged is no less than this.
        let back = i128::from(*wait) * i128::from(tokens) * 1_000 / i128::from(period);
        let full = i128::from(u64::from(burst) * TOKEN);
        charged.push((now, (before + back).min(full) - held));
        before = held;
    }
    // In every window: the burst, the debt, and what came back in it.
    for (index, (begin, _)) in charged.iter().enumerate() {
        let mut sum = 0;
        for (at, micros) in &charged[index..] {
            sum += micros;
            let back = i128::from(at - begin) * i128::from(tokens) * 1_000 / i128::from(period);
            let most = i128::from(u64::from(burst) * TOKEN) - lowest + back;
            // Each refill is rounded by less than a micro-token.
            assert!(sum <= most + 1_000, "{sum} charged from {begin} to {at}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_script_charges_answers_exactly_as_the_store_in_memory_does() {
    let redis = Redis::start().await;
    let connection = redis.connection().await;
    let handle = tokio::runtime::Handle::current();
    let outcome = tokio::task::spawn_blocking(move || {
        let config = Config { cases: 150, failure_persistence: None, ..Config::default() };
        let numbers = (1..50_u32, 50..3_000_u32, 1..20_u32, 1..30_u32)
            .prop_map(|(tokens, period, burst, most)| Numbers { tokens, period, burst, most });
        let step = prop_oneof![
            3 => Just(Step::Ask),
            2 => (1..40 * TOKEN).prop_map(Step::Settle),
        ];
        let wait = prop_oneof![4 => 0..100_000_u64, 3 => 0..1_000_000_u64, 1 => 0..20_000_000_u64];
        let plays = (numbers, proptest::collection::vec((wait, step), 1..80));
        TestRunner::new(config).run(&plays, |(numbers, steps)| {
            handle.block_on(play(connection.clone(), numbers, &steps));
            Ok(())
        })
    });
    outcome.await.unwrap().unwrap();
}
