//! The script of the limiter against nodes that crash, lose calls and answers, and come late: what
//! is admitted in any window is at most the burst and what came back in it, and a bucket holds
//! exactly what a model in fractions says.
//!
//! The script believes the earlier of Redis' time and the caller's, so that the test is its clock.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use redis::aio::MultiplexedConnection;

use crate::support::redis::Redis;

/// The length of an epoch, in microseconds.
const EPOCH: u64 = 1_000_000;
const TOKEN: u64 = 1_000_000;
/// Some time long ago.
const BEGIN: u64 = 1_000_000_000_000_000;
const NODES: usize = 3;
/// Clocks of primaries may differ by so much: nodes stop spending a lease earlier by this.
const APART: u64 = EPOCH / 20;

/// What happens, after a while.
#[derive(Debug, Clone)]
struct Step {
    wait: u64,
    node: usize,
    act: Act,
}

#[derive(Debug, Clone)]
enum Act {
    /// Some requests, and a wish for a lease.
    Acquire {
        requests: u64,
        want: u64,
        fate: Fate,
    },
    /// Requests with buckets elsewhere, too: what they are granted is leased until that is known.
    Hold {
        requests: u64,
        want: u64,
        fate: Fate,
    },
    /// The newest of all leases is closed, with what is left of it; the others stay.
    Settle(Fate),
    /// Requests that are admitted from a lease, as far as it goes.
    Spend(u64),
    /// All leases go back.
    GiveBack(Fate),
    Crash,
    /// The bucket moves to a primary whose clock is ahead of the slowest by so much.
    Move(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Answered,
    /// Executed, and nobody hears of it.
    AnswerLost,
    /// Never executed.
    CallLost,
}

#[derive(Debug, Clone, Copy)]
struct Numbers {
    tokens: u64,
    period: u64,
    burst: u64,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        8 => Just(Fate::Answered), 1 => Just(Fate::AnswerLost), 1 => Just(Fate::CallLost)
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let act = prop_oneof![
        6 => (1..6_u64, 0..60_u64, fate())
            .prop_map(|(requests, want, fate)| Act::Acquire { requests, want, fate }),
        3 => (1..6_u64, 0..60_u64, fate())
            .prop_map(|(requests, want, fate)| Act::Hold { requests, want, fate }),
        2 => fate().prop_map(Act::Settle),
        6 => (1..40_u64).prop_map(Act::Spend),
        2 => fate().prop_map(Act::GiveBack),
        1 => Just(Act::Crash),
        1 => (0..=APART).prop_map(Act::Move),
    ];
    // Short waits, and some over the borders of epochs.
    let wait = prop_oneof![4 => 0..50_000_u64, 3 => 0..EPOCH, 1 => 0..4 * EPOCH];
    (wait, 0..NODES, act).prop_map(|(wait, node, act)| Step { wait, node, act })
}

fn numbers() -> impl Strategy<Value = Numbers> {
    (1..200_u64, 50..3_000_u64, 1..300_u64).prop_map(|(tokens, period, burst)| Numbers {
        tokens,
        period,
        burst,
    })
}

#[derive(Debug, Clone, Copy)]
struct Lease {
    epoch: u64,
    whole: u64,
    left: u64,
    ends: u64,
}

/// What the bucket holds, in micro-tokens times the period: nothing is ever rounded.
#[derive(Debug, Clone)]
struct Model {
    level: u128,
    at: u64,
    leased: u128,
    before: u128,
}

impl Model {
    fn room(&self, numbers: Numbers) -> u128 {
        (u128::from(numbers.burst * TOKEN)).saturating_sub(self.leased + self.before)
    }

    /// Time passes, border by border.
    fn pass(&mut self, until: u64, numbers: Numbers) {
        while self.at < until {
            let border = (self.at / EPOCH + 1) * EPOCH;
            let next = border.min(until);
            let back = u128::from(next - self.at) * u128::from(numbers.tokens) * 1_000;
            let most = self.room(numbers) * u128::from(numbers.period);
            self.level = (self.level + back).min(most);
            self.at = next;
            if next == border {
                (self.before, self.leased) = (self.leased, 0);
            }
        }
    }
}

struct World {
    connection: MultiplexedConnection,
    numbers: Numbers,
    now: u64,
    /// By how much the clock of the primary is ahead.
    ahead: u64,
    /// When it was set ahead, and by how much.
    gained: Vec<(u64, u64)>,
    nodes: Vec<Vec<Lease>>,
    model: Model,
    /// When, and how many tokens.
    admitted: Vec<(u64, u64)>,
}

impl World {
    /// One call that closes all leases of the node.
    async fn call(&mut self, node: usize, requests: i64, want: u64, fate: Fate) {
        let closed = std::mem::take(&mut self.nodes[node]);
        self.call_closing(node, closed, requests, want, fate).await;
    }

    /// One call: what it closes is this node's no more, whatever becomes of it. Below zero, requests
    /// are held.
    async fn call_closing(
        &mut self,
        node: usize,
        closed: Vec<Lease>,
        requests: i64,
        want: u64,
        fate: Fate,
    ) {
        let Numbers { tokens, period, burst } = self.numbers;
        let newest = closed.iter().map(|lease| lease.epoch).max().unwrap_or(0);
        let of = |epoch: Option<u64>| -> (u64, u64) {
            let leases = closed.iter().filter(|lease| Some(lease.epoch) == epoch);
            leases.fold((0, 0), |(whole, back), lease| {
                let left = if self.now < lease.ends { lease.left } else { 0 };
                (whole + lease.whole, back + left)
            })
        };
        let (now, before) = (of(Some(newest)), of(newest.checked_sub(1)));
        if fate == Fate::CallLost {
            return;
        }
        let mut command = redis::cmd("EVAL");
        command.arg(include_str!("../../src/stores/limits/acquire.lua")).arg(1).arg("b");
        let primary = self.now + self.ahead;
        command.arg(primary).arg(EPOCH).arg(requests);
        command.arg(TOKEN).arg(burst * TOKEN).arg(tokens * 1_000).arg(period).arg(0);
        command.arg(want * TOKEN).arg(newest).arg(now.0).arg(now.1).arg(before.0).arg(before.1);
        // Time is that of the test: on a slow machine the bucket must not expire by Redis' own.
        let mut calls = redis::pipe();
        calls.cmd("GET").arg("b").add_command(command);
        calls.cmd("GET").arg("b").cmd("PERSIST").arg("b").ignore();
        let (known, answer, kept): (Option<Vec<u8>>, Vec<u64>, Option<Vec<u8>>) =
            calls.query_async(&mut self.connection).await.unwrap();
        let unchanged = self.model.clone();
        let [granted, _, left, lease, epoch, room, _] = answer[..] else { panic!("{answer:?}") };

        // The model follows, and says what must hold.
        self.model.pass(primary, self.numbers);
        // What another primary has written may be of a later time.
        let at = self.model.at.max(primary);
        for (epoch, (whole, back)) in [(Some(newest), now), (newest.checked_sub(1), before)] {
            let held = match epoch.map(|epoch| (at / EPOCH).checked_sub(epoch)) {
                Some(Some(0)) => &mut self.model.leased,
                Some(Some(1)) => &mut self.model.before,
                _ => continue,
            };
            let closed = u128::from(whole).min(*held);
            *held -= closed;
            self.model.level += u128::from(back).min(closed) * u128::from(period);
        }
        let most = self.model.room(self.numbers) * u128::from(period);
        self.model.level = self.model.level.min(most);
        let held = if requests < 0 { granted * TOKEN } else { 0 };
        let requests = requests.unsigned_abs();
        // Of what is held, the lease tells.
        let spent = u128::from(granted * TOKEN - held + lease) * u128::from(period);
        assert!(self.model.level >= spent, "more than there is: {answer:?}");
        self.model.level -= spent;
        self.model.leased += u128::from(lease);
        let occupied = self.model.leased + self.model.before;
        let half = u128::from(burst * TOKEN) / 2;
        assert!(lease <= held || occupied <= half, "leases leave too little room: {answer:?}");
        let exact = self.model.level / u128::from(period);
        let short = exact.checked_sub(u128::from(left)).expect("never more than in fractions");
        // Each part of each refill is rounded down, by less than one micro-token.
        assert!(short < 1_000, "rounded down by {short}");
        assert_eq!(u128::from(room), self.model.room(self.numbers));
        assert!(u128::from(left) <= u128::from(room), "the bucket holds more than it can");
        assert!(granted <= requests && lease <= want * TOKEN + held && lease % TOKEN == 0);
        if granted < requests {
            assert!(left < TOKEN, "refused though there was one: {answer:?}");
        }
        if kept == known {
            // What changes no bucket leaves it at its time, which counts where clocks differ.
            self.model = unchanged;
        }

        // Those who stopped waiting were charged all the same.
        if held == 0 {
            self.admitted.push((self.now, granted));
        }
        if fate == Fate::Answered && lease > 0 {
            let ends = self.now + EPOCH - APART;
            self.nodes[node].push(Lease { epoch, whole: lease, left: lease, ends });
        }
    }

    fn spend(&mut self, node: usize, requests: u64) {
        for lease in self.nodes[node].iter_mut().filter(|lease| self.now < lease.ends) {
            let part = requests.min(lease.left / TOKEN);
            lease.left -= part * TOKEN;
            self.admitted.push((self.now, part));
        }
    }

    /// In every window: no more than the burst, and what came back in it; by clocks that were set
    /// ahead, too.
    fn check(&self) {
        let Numbers { tokens, period, burst } = self.numbers;
        for (index, (begin, _)) in self.admitted.iter().enumerate() {
            let mut sum = 0_u128;
            for (at, count) in &self.admitted[index..] {
                sum += u128::from(*count);
                let within = self.gained.iter().filter(|(when, _)| (*begin..=*at).contains(when));
                let gained = within.map(|(_, gained)| gained).sum::<u64>();
                let back = u128::from(at - begin + gained) * u128::from(tokens) * 1_000;
                let most = u128::from(burst * TOKEN) * u128::from(period) + back;
                let used = sum * u128::from(TOKEN) * u128::from(period);
                assert!(used <= most, "{sum} admitted from {begin} to {at}: {:?}", self.admitted);
            }
        }
    }
}

async fn play(connection: MultiplexedConnection, numbers: Numbers, steps: &[Step]) -> World {
    let mut connection = connection;
    let () = redis::cmd("DEL").arg("b").query_async(&mut connection).await.unwrap();
    let level = u128::from(numbers.burst * TOKEN) * u128::from(numbers.period);
    let mut world = World {
        connection,
        numbers,
        now: BEGIN,
        ahead: 0,
        gained: Vec::new(),
        nodes: vec![Vec::new(); NODES],
        model: Model { level, at: BEGIN, leased: 0, before: 0 },
        admitted: Vec::new(),
    };
    for Step { wait, node, act } in steps {
        world.now += wait;
        match act {
            Act::Acquire { requests, want, fate } => {
                world.call(*node, *requests as i64, *want, *fate).await;
            }
            Act::Hold { requests, want, fate } => {
                world.call(*node, -(*requests as i64), *want, *fate).await;
            }
            Act::Settle(fate) => {
                let newest = world.nodes[*node].pop();
                world.call_closing(*node, newest.into_iter().collect(), 0, 0, *fate).await;
            }
            Act::Spend(requests) => world.spend(*node, *requests),
            Act::GiveBack(fate) => world.call(*node, 0, 0, *fate).await,
            Act::Crash => world.nodes[*node].clear(),
            Act::Move(ahead) => {
                world.gained.push((world.now, ahead.saturating_sub(world.ahead)));
                world.ahead = *ahead;
            }
        }
    }
    world.check();
    world
}

#[tokio::test]
async fn leases_of_many_nodes_leave_half_of_the_bucket_to_everybody() {
    let redis = Redis::start().await;
    let numbers = Numbers { tokens: 1, period: 60_000, burst: 200 };
    // What a lost answer leased is never closed.
    let act = Act::Acquire { requests: 1, want: 50, fate: Fate::AnswerLost };
    let steps: Vec<Step> = (0..9).map(|_| Step { wait: 0, node: 0, act: act.clone() }).collect();
    let world = play(redis.connection().await, numbers, &steps).await;
    assert!((80..=100).contains(&(world.model.leased / u128::from(TOKEN))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_lease_never_admit_more_than_the_bucket_in_any_window() {
    let redis = Redis::start().await;
    let connection = redis.connection().await;
    let handle = tokio::runtime::Handle::current();
    let outcome = tokio::task::spawn_blocking(move || {
        let config = Config { cases: 300, failure_persistence: None, ..Config::default() };
        let plays = (numbers(), proptest::collection::vec(step(), 1..80));
        TestRunner::new(config).run(&plays, |(numbers, steps)| {
            handle.block_on(play(connection.clone(), numbers, &steps));
            Ok(())
        })
    });
    outcome.await.unwrap().unwrap();
}
