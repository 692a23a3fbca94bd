//! Buckets in a real Redis Cluster: requests with buckets in several slots, slots that move while they
//! are asked for, scripts that are forgotten, and a primary that is killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tollgate::config::settings::{LEASE, OnFailover, RedisPlace, RedisSettings};
use tollgate::domain::charge::{Charge, ChargeAnswer, Subject};
use tollgate::domain::clock::{Clock, Now};
use tollgate::domain::ids::OrgId;
use tollgate::domain::known::Outage;
use tollgate::domain::secret::Secret;
use tollgate::stores::limits::ledger::{Ledger, Which};

use crate::limits::assert_never_over;
use crate::limits_penalty::{self, climbs, penalty};
use crate::limits_settlement;
use crate::limits_world::{
    World, address, bucket, burst_of, granted, left, of, rate, refused, settings, user,
};
use crate::support::eventually;
use crate::support::redis_cluster::Cluster;

/// Two nodes on one cluster.
struct Pair {
    world: World,
    cluster: Cluster,
}

impl Pair {
    async fn start() -> Self {
        Self::on(Cluster::start().await, settings("")).await
    }

    async fn strict(cluster: Cluster) -> Self {
        Self::on(cluster, RedisSettings { on_failover: OnFailover::Strict, ..settings("") }).await
    }

    async fn on(cluster: Cluster, settings: RedisSettings) -> Self {
        let mut world = World::memory();
        world.stores.clear();
        for index in 0..2 {
            // One seed is enough.
            let place = RedisPlace::Cluster([Secret::new(&*cluster.urls()[index])].into());
            world.join_with(RedisSettings { place, ..settings.clone() });
        }
        let pair = Self { world, cluster };
        pair.is_there().await;
        pair
    }

    /// Waits until every primary is asked by both nodes.
    async fn is_there(&self) {
        for store in &self.world.stores {
            eventually("all primaries being asked", async || {
                let primaries = store.primaries();
                (primaries.known == 3 && primaries.asked == 3).then_some(())
            })
            .await;
        }
    }

    /// Buckets in slots of three primaries.
    fn spread() -> [Subject; 3] {
        [address("192.0.2.1"), user("ann"), Subject::Organization(org(1))]
    }
}

fn org(number: u32) -> OrgId {
    format!("7b0d3c1e-0000-4000-8000-{number:012}").parse().unwrap()
}

/// The key of an organization's bucket.
fn key(limit: &str, number: u32) -> String {
    format!("test:{{{}}}:o:{}:{limit}:", org(number), limit.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_are_exact_over_two_nodes_in_one_slot_and_in_several() {
    let mut pair = Pair::start().await;
    let world = &pair.world;
    for charge in [
        of([bucket("a", Subject::Organization(org(1)), burst_of(7))]),
        of(Pair::spread().map(|subject| bucket("b", subject, burst_of(7)))),
    ] {
        let mut admitted = 0;
        for turn in 0..20 {
            admitted += usize::from(granted(&world.charge_at(turn % 2, &charge).await));
        }
        assert_eq!(admitted, 7);
    }

    // Where one bucket refuses, the others get back what was taken.
    let [wide, tight, _] = Pair::spread();
    let both = of([bucket("c", wide.clone(), burst_of(5)), bucket("c", tight, burst_of(2))]);
    assert_eq!(left(&world.charge(&both).await), [4, 1]);
    assert_eq!(left(&world.charge(&both).await), [3, 0]);
    for turn in 0..20 {
        let (named, _) = refused(world.charge_at(turn % 2, &both).await);
        assert_eq!(named, 1);
    }
    let rest = of([bucket("c", wide, burst_of(5))]);
    eventually("everything being back", async || {
        // Each try takes one token if it is there.
        let mut ledger = Ledger::open(&settings_of(&pair.cluster)).await.unwrap();
        let which = Which { limit: Some("c".into()), ..Which::default() };
        let found = ledger.list(&which).await.unwrap();
        let wide = found.iter().find(|shown| shown.scope == "address").unwrap();
        (wide.left == 3 && wide.leased == 0).then_some(())
    })
    .await;
    assert_eq!(world.admitted(&rest, 5).await, 3);

    for index in 0..6 {
        let mut connection = pair.cluster.node(index).connection().await;
        let () = redis::cmd("SCRIPT").arg("FLUSH").query_async(&mut connection).await.unwrap();
    }
    let fresh = of(Pair::spread().map(|subject| bucket("d", subject, burst_of(3))));
    assert_eq!(left(&pair.world.charge(&fresh).await), [2; 3], "scripts are loaded again unseen");
    let stats = pair.world.stores[0].stats();
    assert_eq!((stats.away.failed, stats.away.timed_out), (0, 0));
}

fn settings_of(cluster: &Cluster) -> RedisSettings {
    let place = RedisPlace::Cluster(cluster.urls().into_iter().map(Secret::new).collect());
    RedisSettings { place, ..settings("") }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_moves_loses_no_request_and_no_token() {
    let pair = Pair::start().await;
    let world = &pair.world;
    let name = key("m", 1);
    let from = pair.cluster.primary_of(&name).await;
    let to = (from + 1) % 3;
    let organization = || bucket("m", Subject::Organization(org(1)), burst_of(100));
    let member =
        |name: &str| bucket("m", Subject::User(name.parse().unwrap(), Some(org(1))), burst_of(100));
    let alone = of([organization()]);
    let known = of([organization(), member("ann")]);
    // Nobody has a bucket of theirs yet: it is neither here nor there.
    let new = |name: &str| of([organization(), member(name)]);
    assert_eq!(left(&world.charge(&known).await), [99, 99]);

    pair.cluster.opens(&name, from, to).await;
    assert_eq!(left(&world.charge_at(1, &known).await), [98, 98], "where all of it is");
    assert_eq!(left(&world.charge_at(0, &new("bob")).await), [97, 99], "one of two is missing");
    pair.cluster.moves(&name, from, to).await;
    assert_eq!(left(&world.charge_at(0, &alone).await), [96], "asked for elsewhere");
    assert_eq!(left(&world.charge_at(1, &known).await), [95, 97], "one here and one there");
    assert_eq!(left(&world.charge_at(0, &new("cleo")).await), [94, 99]);
    for key in pair.cluster.keys(&name, from).await {
        pair.cluster.moves(&key, from, to).await;
    }
    assert_eq!(left(&world.charge_at(1, &known).await), [93, 96], "all of it there");
    pair.cluster.closes(&name, from, to).await;
    for turn in 0..4 {
        assert_eq!(left(&world.charge_at(turn % 2, &alone).await), [92 - turn as u32], "moved");
    }
    for store in &world.stores {
        let away = store.stats().away;
        assert_eq!((away.not_asked, away.timed_out, away.failed), (0, 0, 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn penalties_and_debts_hold_in_a_cluster_and_move_with_their_slots() {
    let pair = Pair::start().await;
    let world = &pair.world;
    limits_penalty::every_promise(world).await;
    limits_settlement::every_promise(world).await;

    let hour = 3_600_000;
    let organization = |limit: &str| bucket(limit, Subject::Organization(org(1)), burst_of(10));
    let mut early = organization("early");
    early.penalty = Some(Arc::new(penalty(2, hour, hour, hour)));
    let (early, indebted) = (of([early]), organization("indebted"));
    assert_eq!(world.admitted(&early, 10).await, 10);
    climbs(world, &early, 1).await;
    limits_settlement::settle(world, 0, &limits_settlement::by_the_second(&indebted, 7), 100);
    let mut ledger = Ledger::open(&settings_of(&pair.cluster)).await.unwrap();
    let which = Which { organization: Some(org(1)), ..Which::default() };
    eventually("the debt in Redis", async || {
        ledger.list(&which).await.unwrap().iter().any(|found| found.debt == 7).then_some(())
    })
    .await;

    let name = key("early", 1);
    let from = pair.cluster.primary_of(&name).await;
    pair.cluster.reshard(&name, from, (from + 1) % 3).await;
    // The other node has heard of neither.
    let level = eventually("the penalty where the slot is now", async || {
        match world.charge_at(1, &early).await {
            ChargeAnswer::Refused { penalty, .. } => Some(penalty),
            ChargeAnswer::Away(_) => None,
            ChargeAnswer::Granted { .. } => panic!("the penalty is gone"),
        }
    })
    .await;
    assert_eq!(level, 1);
    let (_, wait) = refused(world.charge_at(1, &of([indebted])).await);
    assert_eq!(wait.as_secs_f64().round() / 3_600.0, 8.0, "{wait:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_in_one_slot_is_back_where_another_does_not_answer() {
    // Longer than an answer is waited for, as leases are.
    let settings = RedisSettings { lease: LEASE, ..settings("") };
    let mut pair = Pair::on(Cluster::start().await, settings).await;
    let stalled = pair.cluster.primary_of(&key("h", 1)).await;
    let organization = Subject::Organization(org(1));
    let wide = elsewhere(&pair.cluster, stalled).await;
    let both = of([bucket("h", wide.clone(), burst_of(5)), bucket("h", organization, burst_of(5))]);
    assert_eq!(left(&pair.world.charge(&both).await), [4, 4]);

    pair.cluster.node(stalled).pause();
    assert_eq!(pair.world.charge(&both).await, ChargeAnswer::Away(Outage::Limits));
    pair.cluster.node(stalled).resume();
    let mut ledger = Ledger::open(&settings_of(&pair.cluster)).await.unwrap();
    let Subject::Organization(other) = wide else { panic!() };
    let which = Which { organization: Some(other), ..Which::default() };
    eventually("what was held being back", async || {
        let found = ledger.list(&which).await.unwrap();
        (found[0].left == 4 && found[0].leased == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_strict_a_bucket_that_moves_starts_empty_and_fills_once_leases_have_ended() {
    let pair = Pair::strict(Cluster::start().await).await;
    let (slow, quick) = (burst_of(50), rate(1_000_000, 1_000, 50));
    let bucket = |numbers| of([bucket("s", Subject::Organization(org(1)), numbers)]);
    // No server has been a primary for long.
    eventually("a bucket that fills", async || {
        granted(&pair.world.charge(&bucket(quick)).await).then_some(())
    })
    .await;
    assert_eq!(pair.world.admitted(&bucket(slow), 20).await, 20);
    let name = key("s", 1);
    let from = pair.cluster.primary_of(&name).await;
    pair.cluster.reshard(&name, from, (from + 1) % 3).await;
    // What nodes have leased, they may spend.
    let admitted = pair.world.admitted(&bucket(slow), 60).await;
    assert!(admitted <= 10, "{admitted} of an empty bucket");
    let unused = Subject::User("ann".parse().unwrap(), Some(org(1)));
    let unused = of([crate::limits_world::bucket("s", unused, rate(1_000, 1_000, 50))]);
    eventually("another bucket of the slot filling", async || {
        granted(&pair.world.charge(&unused).await).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_is_never_over_admitted_while_slots_move_to_and_fro() {
    let pair = Pair::start().await;
    let (tokens, burst) = (1_000_u32, 400_u32);
    let hot = rate(tokens, 1_000, burst);
    let wide = rate(1_000_000, 1_000, 1_000_000);
    let charge = of([
        bucket("hot", Subject::Organization(org(1)), hot),
        bucket("hot", Subject::User("ida".parse().unwrap(), Some(org(1))), wide),
        bucket("hot", address("192.0.2.1"), wide),
    ]);
    let crowd = Crowd::start(&pair.world, &charge);
    let name = key("hot", 1);
    let start = pair.cluster.primary_of(&name).await;
    crowd.admits(500).await;
    for (from, to) in [(start, (start + 1) % 3), ((start + 1) % 3, (start + 2) % 3)] {
        pair.cluster.reshard(&name, from, to).await;
        crowd.admits(500).await;
    }
    let mut admitted = crowd.end().await;
    assert_never_over(&mut admitted, tokens, 1_000, burst);
    let local: u64 = pair.world.stores.iter().map(|store| store.stats().leases.local).sum();
    assert!(local * 2 > admitted.len() as u64, "{local} of {} from leases", admitted.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_is_killed_costs_its_slots_until_its_replica_has_taken_over() {
    let mut pair = Pair::strict(Cluster::failing_over().await).await;
    let (tokens, burst) = (1_000_u32, 400_u32);
    let charge = of([
        bucket("hot", Subject::Organization(org(1)), rate(tokens, 1_000, burst)),
        bucket("hot", address("192.0.2.1"), rate(1_000_000, 1_000, 1_000_000)),
    ]);
    let crowd = Crowd::start(&pair.world, &charge);
    crowd.admits(1_000).await;
    let name = key("hot", 1);
    let primary = pair.cluster.primary_of(&name).await;
    pair.cluster.node(primary).kill();
    // Other slots are served meanwhile.
    let other = elsewhere(&pair.cluster, primary).await;
    let elsewhere = of([bucket("else", other, rate(1_000_000, 1_000, 1_000_000))]);
    eventually("buckets of another primary", async || {
        granted(&pair.world.charge(&elsewhere).await).then_some(())
    })
    .await;
    crowd.admits(1_000).await;
    assert_ne!(pair.cluster.primary_of(&name).await, primary);
    pair.cluster.node(primary).restart().await;
    pair.cluster.is_whole().await;
    crowd.admits(500).await;
    let mut admitted = crowd.end().await;
    assert_never_over(&mut admitted, tokens, 1_000, burst);
    pair.is_there().await;
}

/// An organization whose buckets that node does not have.
async fn elsewhere(cluster: &Cluster, not: usize) -> Subject {
    for number in 2..100 {
        if cluster.primary_of(&key("else", number)).await != not {
            return Subject::Organization(org(number));
        }
    }
    panic!("no organization with another primary");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_sees_and_sets_buckets_of_all_primaries() {
    let pair = Pair::start().await;
    for number in 1..=12 {
        let charge = of([bucket("x", Subject::Organization(org(number)), burst_of(10))]);
        assert_eq!(left(&pair.world.charge(&charge).await), [9]);
    }
    let mut ledger = Ledger::open(&settings_of(&pair.cluster)).await.unwrap();
    let found = ledger.list(&Which::default()).await.unwrap();
    assert_eq!(found.len(), 12);
    for shown in &found {
        assert_eq!(shown.left, 9);
        assert!(ledger.set(shown, 4).await.unwrap());
    }
    let found = ledger.list(&Which::default()).await.unwrap();
    assert!(found.len() == 12 && found.iter().all(|shown| shown.left == 4), "{found:?}");
}

/// Four tasks that charge as fast as they are answered.
struct Crowd {
    ended: Arc<AtomicBool>,
    count: Arc<std::sync::atomic::AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<Vec<(Now, Now)>>>,
}

impl Crowd {
    fn start(world: &World, charge: &Charge) -> Self {
        let (ended, count) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let tasks = (0..4).map(|task| {
            let store = Arc::clone(&world.stores[task % world.stores.len()]);
            let (clock, charge) = (Arc::clone(&world.clock), charge.clone());
            let (ended, count) = (Arc::clone(&ended), Arc::clone(&count));
            tokio::spawn(async move {
                let mut admitted = Vec::new();
                while !ended.load(Ordering::Relaxed) {
                    let before = clock.now();
                    let answer = match store.try_now(&charge, before) {
                        Some(answer) => answer,
                        None => store.take(&charge, before).await,
                    };
                    if let ChargeAnswer::Granted { .. } = answer {
                        admitted.push((before, clock.now()));
                        std::sync::atomic::AtomicU64::fetch_add(&count, 1, Ordering::Relaxed);
                    }
                    tokio::task::yield_now().await;
                }
                admitted
            })
        });
        let tasks = tasks.collect();
        Self { ended, count, tasks }
    }

    /// Waits until so many more are admitted.
    async fn admits(&self, more: u64) {
        let before = self.count.load(Ordering::Relaxed);
        eventually("more being admitted", async || {
            (self.count.load(Ordering::Relaxed) >= before + more).then_some(())
        })
        .await;
    }

    async fn end(self) -> Vec<(Now, Now)> {
        self.ended.store(true, Ordering::Relaxed);
        let mut admitted = Vec::new();
        for task in self.tasks {
            admitted.extend(task.await.unwrap());
        }
        admitted
    }
}
