//! Callers that come back before they were told to: on each store they climb from level to level, are
//! told the truth about when to come back, and come down again. What the script of the store in Redis
//! does is compared, call by call, with what the store in memory does at the same times.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use redis::aio::MultiplexedConnection;
use tollgate::domain::charge::{Charge, ChargeAnswer, Penalty, Rate};
use tollgate::domain::clock::Now;
use tollgate::stores::limits::ledger::{Ledger, Which};
use tollgate::stores::limits::memory::MemoryStore;

use crate::limits_world::{World, bucket, burst_of, granted, number, of, rate, settings, user};
use crate::support::eventually;
use crate::support::redis::Redis;

pub(crate) fn penalty(after: u32, first: u32, most: u32, forget: u32) -> Penalty {
    Penalty {
        after: number(after),
        first_millis: number(first),
        most_millis: number(most),
        forget_millis: number(forget),
    }
}

fn penalized(limit: &str, name: &str, rate: Rate, penalty: Penalty) -> Charge {
    let mut bucket = bucket(limit, user(name), rate);
    bucket.penalty = Some(Arc::new(penalty));
    of([bucket])
}

/// The level that refused, and the wait.
fn told(answer: &ChargeAnswer) -> (u8, Duration) {
    match answer {
        ChargeAnswer::Refused { penalty, retry_after, .. } => (*penalty, *retry_after),
        other => panic!("not refused: {other:?}"),
    }
}

/// Comes back at once, again and again, until it is refused on that level.
pub(crate) async fn climbs(world: &World, charge: &Charge, wanted: u8) -> Duration {
    eventually("the level", async || {
        for _ in 0..50 {
            let answer = world.charge(charge).await;
            if let ChargeAnswer::Refused { penalty, retry_after, .. } = answer
                && penalty >= wanted
            {
                return Some(retry_after);
            }
        }
        None
    })
    .await
}

#[tokio::test]
async fn in_memory_who_does_not_wait_climbs_and_who_waits_is_let_in() {
    let world = World::memory();
    every_promise(&world).await;
    assert!(world.stores[0].stats().raised >= 2);
    assert!(world.stores[0].stats().penalized >= 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_redis_who_does_not_wait_climbs_and_who_waits_is_let_in() {
    let world = World::redis().await;
    every_promise(&world).await;
    assert!(world.stores[0].stats().raised >= 2);
    assert!(world.stores[0].stats().penalized >= 2);
}

pub(crate) async fn every_promise(world: &World) {
    who_waits_as_told_never_gets_a_penalty(world).await;
    whoever_waits_for_the_end_of_a_penalty_is_admitted(world).await;
    a_penalty_refuses_what_the_bucket_has_enough_for(world).await;
    a_limit_without_a_penalty_has_none(world).await;
}

async fn who_waits_as_told_never_gets_a_penalty(world: &World) {
    let charge = penalized("patient", "ann", rate(1, 30, 1), penalty(1, 60_000, 60_000, 60_000));
    for _ in 0..6 {
        match world.charge(&charge).await {
            ChargeAnswer::Granted { .. } => {}
            answer => {
                let (level, wait) = told(&answer);
                assert_eq!(level, 0);
                tokio::time::sleep(wait).await;
            }
        }
    }
}

async fn whoever_waits_for_the_end_of_a_penalty_is_admitted(world: &World) {
    let charge = penalized("gradual", "bob", rate(1, 20, 2), penalty(3, 400, 1_600, 60_000));
    for level in 1..3 {
        let wait = climbs(world, &charge, level).await;
        assert!(wait <= Duration::from_millis(1_920), "{wait:?}");
        // Waiting is what is promised to be enough.
        tokio::time::sleep(wait).await;
        let answer = world.charge(&charge).await;
        assert!(granted(&answer), "waited {wait:?}: {answer:?}");
    }
}

async fn a_penalty_refuses_what_the_bucket_has_enough_for(world: &World) {
    // Full again after a millisecond.
    let charge =
        penalized("strict", "cleo", rate(1_000, 1_000, 1), penalty(1, 60_000, 60_000, 60_000));
    let wait = climbs(world, &charge, 1).await;
    assert!(wait > Duration::from_secs(30), "{wait:?}");
    let ChargeAnswer::Refused { balances, .. } = world.charge(&charge).await else {
        panic!("granted")
    };
    // What is told of a bucket that refuses everything is that there is nothing in it.
    assert_eq!(balances[0].remaining, 0);
    assert!(balances[0].full_in > Duration::from_secs(30), "{balances:?}");
    // The subject's other limits know nothing of it, and a charge of both is refused for it.
    let other = bucket("other", user("cleo"), burst_of(5));
    assert!(granted(&world.charge(&of([other.clone()])).await));
    let both = of([other.clone(), charge.buckets[0].clone()]);
    let ChargeAnswer::Refused { bucket, penalty, balances, .. } = world.charge(&both).await else {
        panic!("granted")
    };
    assert_eq!((bucket, penalty, balances[0].remaining), (1, 1, 4));
    assert!(granted(&world.charge(&of([other])).await));
}

async fn a_limit_without_a_penalty_has_none(world: &World) {
    let charge = of([bucket("plain", user("dan"), burst_of(1))]);
    assert!(granted(&world.charge(&charge).await));
    for _ in 0..100 {
        assert_eq!(told(&world.charge(&charge).await).0, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_penalty_holds_on_all_nodes_and_costs_redis_next_to_nothing() {
    let world = World::redis().await;
    let charge = penalized("shared", "ann", burst_of(1), penalty(5, 60_000, 600_000, 600_000));
    climbs(&world, &charge, 1).await;
    let (level, wait) = told(&world.charge_at(1, &charge).await);
    assert!(level >= 1 && wait > Duration::from_secs(30), "{level} {wait:?}");

    // Redis is asked for a refusal at most once in 250 ms.
    let calls = || world.stores[0].stats().latency.iter().sum::<u64>();
    let (before, begun) = (calls(), world.now());
    for _ in 0..20_000 {
        assert!(!granted(&world.charge(&charge).await));
    }
    let quarters = world.now().since(begun).as_millis() / 250;
    let asked = u128::from(calls() - before);
    assert!(asked <= quarters + 2, "{asked} calls in {quarters} quarters of a second");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_sees_a_penalty_and_takes_it_back() {
    let mut world = World::redis().await;
    let url = world.real().url();
    let charge =
        penalized("shown", "ann", rate(1_000, 1_000, 3), penalty(2, 60_000, 600_000, 600_000));
    climbs(&world, &charge, 1).await;
    let mut ledger = Ledger::open(&settings(&url)).await.unwrap();
    let shown = async |ledger: &mut Ledger| ledger.list(&Which::default()).await.unwrap();
    let seen = shown(&mut ledger).await.remove(0);
    assert!(seen.penalty >= 1 && seen.blocked_millis > 30_000, "{seen:?}");
    // What a bucket holds is one thing, a penalty another.
    assert!(ledger.set(&seen, 2).await.unwrap());
    let seen = shown(&mut ledger).await.remove(0);
    assert!(seen.blocked_millis > 30_000, "{seen:?}");
    assert!(told(&world.charge_at(1, &charge).await).0 >= 1);
    assert!(ledger.reset(&seen).await.unwrap());
    // Nodes remember their last refusal for a moment.
    eventually("somebody who was forgiven", async || {
        granted(&world.charge(&charge).await).then_some(())
    })
    .await;
    let left = shown(&mut ledger).await;
    assert!(left.iter().all(|bucket| bucket.penalty == 0), "{left:?}");
}

/// Some time long ago.
const BEGIN: u64 = 1_000_000_000_000_000;

#[derive(Debug, Clone, Copy)]
struct Numbers {
    rate: (u32, u32, u32),
    penalty: Penalty,
    strict: bool,
}

fn numbers() -> impl Strategy<Value = Numbers> {
    let penalty = (1..5_u32, 200..3_000_u32, 1..9_u32, 1_000..20_000_u32)
        .prop_map(|(after, first, times, forget)| penalty(after, first, first * times, forget));
    let rate = (1..50_u32, 50..3_000_u32, 1..20_u32);
    (rate, penalty, any::<bool>()).prop_map(|(rate, penalty, strict)| Numbers {
        rate,
        penalty,
        strict,
    })
}

/// What one call to the script says: granted or not, how long the penalty refuses, its level, and
/// whether it was raised.
async fn call(
    connection: &mut MultiplexedConnection,
    Numbers { rate, penalty, strict }: Numbers,
    now: u64,
) -> (bool, u64, u64, bool) {
    let (tokens, period, burst) = rate;
    let mut command = redis::cmd("EVAL");
    command.arg(include_str!("../../src/stores/limits/acquire.lua"));
    command.arg(1 + usize::from(strict)).arg("b").arg(strict.then_some("primary"));
    command.arg(now).arg(1_000_000).arg(1);
    command.arg(1_000_000).arg(u64::from(burst) * 1_000_000).arg(u64::from(tokens) * 1_000);
    command.arg(period).arg(&[0; 7]);
    let Penalty { after, first_millis, most_millis, forget_millis } = penalty;
    command.arg(format!("1 0 {after} {first_millis} {most_millis} {forget_millis};"));
    let answer: Vec<u64> = command.query_async(connection).await.unwrap();
    let [granted, _, _, _, _, _, _, blocked, level, raised] = answer[..] else {
        panic!("{answer:?}")
    };
    (granted == 1, blocked, level, raised == 1)
}

async fn play(connection: MultiplexedConnection, numbers: Numbers, waits: &[u64]) {
    let mut connection = connection;
    let () = redis::cmd("DEL").arg("b").arg("primary").query_async(&mut connection).await.unwrap();
    if numbers.strict {
        // A primary since long ago: its buckets are full.
        let info: String =
            redis::cmd("INFO").arg("replication").query_async(&mut connection).await.unwrap();
        let id = info.split("master_replid:").nth(1).unwrap().get(..8).unwrap();
        let id = u32::from_str_radix(id, 16).unwrap();
        let raw = [&id.to_le_bytes()[..], &1_f64.to_le_bytes()[..]].concat();
        let () =
            redis::cmd("SET").arg("primary").arg(raw).query_async(&mut connection).await.unwrap();
    }
    let memory = MemoryStore::new(number(10));
    let (tokens, period, burst) = numbers.rate;
    let charge = penalized("p", "ann", rate(tokens, period, burst), numbers.penalty);
    let mut now = BEGIN;
    let mut raised = 0;
    for wait in waits {
        now += wait;
        let time = Now { mono_nanos: now * 1_000, unix_micros: now };
        let ours = memory.take(&charge, time);
        let (theirs, blocked, level, was_raised) = call(&mut connection, numbers, now).await;
        raised += u64::from(was_raised);
        assert_eq!(granted(&ours), theirs, "after {wait} at {now}: {ours:?}, {blocked}, {level}");
        if let ChargeAnswer::Refused { penalty, retry_after, .. } = &ours {
            assert_eq!(u64::from(*penalty), if blocked > 0 { level } else { 0 }, "{ours:?}");
            assert!(retry_after.as_micros() >= u128::from(blocked), "{ours:?}, {blocked}");
        } else {
            assert_eq!(blocked, 0);
        }
        assert_eq!(memory.usage().raised, raised);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_script_raises_and_forgets_exactly_as_the_store_in_memory_does() {
    let redis = Redis::start().await;
    let connection = redis.connection().await;
    let handle = tokio::runtime::Handle::current();
    let outcome = tokio::task::spawn_blocking(move || {
        let config = Config { cases: 150, failure_persistence: None, ..Config::default() };
        // Mostly too early; at times as told, and at times after a long rest.
        let wait = prop_oneof![8 => 0..100_000_u64, 4 => 0..2_000_000_u64, 1 => 0..60_000_000_u64];
        let plays = (numbers(), proptest::collection::vec(wait, 1..80));
        TestRunner::new(config).run(&plays, |(numbers, waits)| {
            handle.block_on(play(connection.clone(), numbers, &waits));
            Ok(())
        })
    });
    outcome.await.unwrap().unwrap();
}
