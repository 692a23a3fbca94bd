//! What every store of buckets promises. Each promise is one function, run on each store.

use std::num::NonZeroU32;
use std::sync::Arc;

use proptest::prelude::*;
use tollgate::domain::charge::{Charge, ChargeAnswer, Rate, Subject};
use tollgate::domain::clock::{Clock, Now};
use tollgate::stores::limits::memory::MemoryStore;

use crate::limits_world::{
    World, address, bucket, burst_of, granted, left, number, of, rate, refused, user,
};

const ORG_A: &str = "7b0d3c1e-0000-4000-8000-00000000000a";
const ORG_B: &str = "7b0d3c1e-0000-4000-8000-00000000000b";

#[tokio::test]
async fn in_memory_every_promise_holds() {
    let world = World::memory();
    every_promise(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_redis_every_promise_holds() {
    let world = World::redis().await;
    every_promise(&world).await;
}

async fn every_promise(world: &World) {
    a_burst_is_admitted_and_no_more(world).await;
    a_refusal_charges_no_bucket(world).await;
    whoever_waits_as_told_is_admitted(world).await;
    subjects_are_independent(world).await;
    a_request_may_cost_several_tokens(world).await;
    new_numbers_never_mint(world).await;
    a_bucket_that_stands_twice_is_charged_twice(world).await;
    a_charge_of_nothing_is_granted(world).await;
    a_crowd_is_never_over_admitted_in_any_window(world).await;
}

async fn a_burst_is_admitted_and_no_more(world: &World) {
    let charge = of([bucket("burst", user("ann"), burst_of(7))]);
    let first = world.charge(&charge).await;
    assert_eq!(left(&first), [6]);
    let ChargeAnswer::Granted { balances } = first else { panic!("refused") };
    assert_eq!(balances[0].full_in.as_secs(), 3_600);
    assert_eq!(world.admitted(&charge, 20).await, 6);
}

async fn a_refusal_charges_no_bucket(world: &World) {
    let wide = bucket("wide", user("bob"), burst_of(100));
    let narrow = bucket("narrow", user("bob"), burst_of(1));
    let last = bucket("last", user("bob"), burst_of(50));
    let all = of([wide.clone(), narrow.clone(), last.clone()]);
    assert_eq!(left(&world.charge(&all).await), [99, 0, 49]);
    for _ in 0..5 {
        let answer = world.charge(&all).await;
        assert_eq!(left(&answer), [99, 0, 49]);
        assert_eq!(refused(answer).0, 1);
    }
    assert_eq!(left(&world.charge(&of([wide])).await), [98]);
    assert_eq!(left(&world.charge(&of([last])).await), [48]);
}

async fn whoever_waits_as_told_is_admitted(world: &World) {
    let quick = bucket("quick", user("cleo"), rate(1, 20, 3));
    let slow = bucket("slow", user("cleo"), rate(3, 200, 2));
    let both = of([quick, slow]);
    for _ in 0..6 {
        let retry_after = loop {
            match world.charge(&both).await {
                ChargeAnswer::Granted { .. } => {}
                answer => break refused(answer).1,
            }
        };
        // Waiting is what is promised to be enough.
        tokio::time::sleep(retry_after).await;
        let answer = world.charge(&both).await;
        assert!(granted(&answer), "waited {retry_after:?}: {answer:?}");
    }
}

async fn subjects_are_independent(world: &World) {
    let (a, b) = (ORG_A.parse().unwrap(), ORG_B.parse().unwrap());
    let dave = "dave".parse::<tollgate::domain::ids::UserId>().unwrap();
    let subjects = [
        user("dave"),
        Subject::User(dave.clone(), Some(a)),
        Subject::User(dave, Some(b)),
        user("dave2"),
        Subject::Organization(a),
        Subject::Organization(b),
        Subject::Key(Arc::from("dave"), None),
        Subject::Route(Arc::from("dave"), None),
        Subject::Route(Arc::from("dave"), Some(a)),
        address("10.0.0.1"),
        address("2001:db8::"),
    ];
    for limit in ["one", "two"] {
        for subject in &subjects {
            let charge = of([bucket(limit, subject.clone(), burst_of(1))]);
            assert!(granted(&world.charge(&charge).await), "{limit} {subject:?}");
            assert!(!granted(&world.charge(&charge).await), "{limit} {subject:?}");
        }
    }
}

async fn a_request_may_cost_several_tokens(world: &World) {
    let mut costly = bucket("costly", user("eve"), burst_of(10));
    costly.cost = number(3);
    let charge = of([costly]);
    assert_eq!(world.admitted(&charge, 10).await, 3);
    assert_eq!(left(&world.charge(&charge).await), [1]);
}

async fn new_numbers_never_mint(world: &World) {
    let with = |rate: Rate| of([bucket("plan", user("fay"), rate)]);
    assert_eq!(left(&world.charge(&with(burst_of(10))).await), [9]);
    assert_eq!(
        left(&world.charge(&with(burst_of(1_000))).await),
        [8],
        "a larger burst is not full"
    );
    assert_eq!(left(&world.charge(&with(burst_of(3))).await), [2], "a smaller burst is the most");
    assert_eq!(left(&world.charge(&with(burst_of(10))).await), [1], "what was cut does not return");
    // A rate that would fill the bucket within a microsecond counts from now on, not for the time
    // before.
    let fast = rate(u32::MAX, 1_000, 10);
    assert_eq!(left(&world.charge(&with(fast)).await), [0]);
}

async fn a_bucket_that_stands_twice_is_charged_twice(world: &World) {
    let once = bucket("twice", user("gil"), burst_of(3));
    let twice = of([once.clone(), once.clone()]);
    assert!(granted(&world.charge(&twice).await));
    assert!(!granted(&world.charge(&twice).await), "one token is left for two");
    assert_eq!(world.admitted(&of([once]), 5).await, 1);
}

async fn a_charge_of_nothing_is_granted(world: &World) {
    assert!(granted(&world.charge(&Charge::default()).await));
    assert!(granted(&world.stores[0].take(&Charge::default(), world.now()).await));
}

/// Several tasks, on all nodes, at once. An admission happened between the call and its answer;
/// so of all calls that lie within a window, at most `B + r·t` may have been granted.
async fn a_crowd_is_never_over_admitted_in_any_window(world: &World) {
    let (tokens, period, burst) = (200_u32, 1_000_u32, 40_u32);
    let charge = of([
        bucket("crowd", user("hal"), rate(tokens, period, burst)),
        bucket("wide", user("hal"), rate(100_000, 1_000, 1_000_000)),
    ]);
    let tasks: Vec<_> = (0..6)
        .map(|task| {
            let store = Arc::clone(&world.stores[task % world.stores.len()]);
            let (clock, charge) = (Arc::clone(&world.clock), charge.clone());
            tokio::spawn(async move {
                let mut admitted = Vec::new();
                let first = clock.now();
                // Long enough for the bucket to run dry and refill some.
                while clock.now().since(first).as_millis() < 600 {
                    let before = clock.now();
                    if granted(&store.take(&charge, before).await) {
                        admitted.push((before, clock.now()));
                    }
                    tokio::task::yield_now().await;
                }
                admitted
            })
        })
        .collect();
    let mut admitted = Vec::new();
    for task in tasks {
        admitted.extend(task.await.unwrap());
    }
    assert!(admitted.len() > burst as usize, "only {} were admitted", admitted.len());
    assert_never_over(&mut admitted, tokens, period, burst);
}

pub(crate) fn assert_never_over(
    admitted: &mut [(Now, Now)],
    tokens: u32,
    period_millis: u32,
    burst: u32,
) {
    // By the time of the answer, so that growing a window adds calls in this order.
    // Of two readings the wall clock may say otherwise, and it comes first in their order.
    admitted.sort_by_key(|(_, after)| after.mono_nanos);
    for (start, _) in &*admitted {
        let within = admitted.iter().filter(|(before, _)| before.mono_nanos >= start.mono_nanos);
        for (count, (_, end)) in within.enumerate() {
            // Both ends are rounded to microseconds in the store.
            let nanos = u128::from(end.mono_nanos - start.mono_nanos) + 2_000;
            let refilled = nanos * u128::from(tokens) / (u128::from(period_millis) * 1_000_000);
            let most = u128::from(burst) + refilled;
            assert!((count as u128) < most, "{} in {nanos} ns, at most {most}", count + 1);
        }
    }
}

proptest! {
    /// Random times, costs and numbers, one caller: in every window, what was spent is at most
    /// the burst and what came back.
    #[test]
    fn in_memory_no_schedule_is_over_admitted(
        tokens in 1..50_u32,
        period in 1..5_000_u32,
        burst in 1..30_u32,
        steps in proptest::collection::vec((0..2_000_000_u64, 1..10_u32), 1..120),
    ) {
        let store = MemoryStore::new(NonZeroU32::new(4).unwrap());
        let mut micros = 0;
        let mut spent: Vec<(u64, u32)> = Vec::new();
        for (step, cost) in steps {
            micros += step;
            let mut one = bucket("x", user("ivy"), rate(tokens, period, burst));
            one.cost = number(cost.min(burst));
            let now = Now { unix_micros: 0, mono_nanos: micros * 1_000 };
            match store.take(&of([one.clone()]), now) {
                ChargeAnswer::Granted { .. } => spent.push((micros, one.cost.get())),
                ChargeAnswer::Refused { retry_after, .. } => {
                    // True: it is refused before that (levels are rounded down to a micro-token,
                    // so a wait is at most that much too long), and admitted then.
                    let wait = u64::try_from(retry_after.as_micros()).unwrap();
                    let rounding = u64::from(period.div_ceil(tokens * 1_000)) + 1;
                    if let Some(short) = wait.checked_sub(rounding) {
                        let early = Now { unix_micros: 0, mono_nanos: (micros + short) * 1_000 };
                        let early = store.take(&of([one.clone()]), early);
                        prop_assert!(!granted(&early), "the wait was too long");
                    }
                    micros += wait;
                    let then = Now { unix_micros: 0, mono_nanos: micros * 1_000 };
                    let answer = store.take(&of([one.clone()]), then);
                    prop_assert!(granted(&answer), "the wait was too short");
                    spent.push((micros, one.cost.get()));
                }
                ChargeAnswer::Away(_) => prop_assert!(false, "memory is never away"),
            }
        }
        for (index, (start, _)) in spent.iter().enumerate() {
            let mut sum = 0_u64;
            for (end, cost) in &spent[index..] {
                sum += u64::from(*cost);
                // In thousandths of a token per period, so that nothing is rounded.
                let unit = u64::from(period) * 1_000;
                let most = u64::from(burst) * unit + (end - start) * u64::from(tokens);
                prop_assert!(sum * unit <= most, "{sum} tokens in {} µs", end - start);
            }
        }
    }
}
