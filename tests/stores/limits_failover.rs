//! A replica becomes the primary, and has missed what was granted last.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tollgate::config::settings::{OnFailover, RedisSettings};
use tollgate::domain::charge::ChargeAnswer;
use tollgate::domain::clock::{Clock, Now};

use crate::limits::assert_never_over;
use crate::limits_world::{World, bucket, burst_of, granted, of, rate, refused, settings, user};
use crate::support::eventually;
use crate::support::redis::Redis;

/// One address for whichever server is the primary, as a name or a service has it.
struct Service {
    addr: SocketAddr,
    target: Arc<Mutex<u16>>,
    task: JoinHandle<()>,
}

impl Service {
    async fn of(redis: &Redis) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let target = Arc::new(Mutex::new(redis.port()));
        let at = Arc::clone(&target);
        let task = tokio::spawn(async move {
            // Connections end with this task.
            let mut connections = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let port = *at.lock().unwrap();
                connections.spawn(async move {
                    let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
                    tokio::io::copy_bidirectional(&mut client, &mut server).await
                });
            }
        });
        Self { addr, target, task }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Two nodes behind one address, and the server that is to become the primary.
struct Pair {
    world: World,
    service: Service,
    replica: Redis,
}

impl Pair {
    async fn start(on_failover: OnFailover) -> Self {
        let (primary, replica) = (Redis::start().await, Redis::start().await);
        replica.follow(&primary).await;
        let service = Service::of(&primary).await;
        let mut world = World::memory();
        world.stores.clear();
        for _ in 0..2 {
            let url = format!("redis://{}/", service.addr);
            world.join_with(RedisSettings { on_failover, ..settings(&url) });
        }
        world.redis = Some(primary);
        for index in 0..2 {
            world.is_there(index).await;
        }
        Self { world, service, replica }
    }

    /// The primary dies, and the nodes find the other one.
    async fn fail_over(&mut self) {
        *self.service.target.lock().unwrap() = self.replica.port();
        self.world.real().kill();
        // Of a bucket that nobody knows of, only the new primary can say anything.
        for index in 0..2 {
            let asked = std::cell::Cell::new(0);
            eventually("an answer of the new primary", async || {
                asked.set(asked.get() + 1);
                let name = format!("node{index}-{}", asked.get());
                let charge = of([bucket("new", user(&name), burst_of(1))]);
                let answer = self.world.charge_at(index, &charge).await;
                (!matches!(answer, ChargeAnswer::Away(_))).then_some(())
            })
            .await;
        }
    }
}

/// What is admitted of a burst of thirty-nine, of which the replica missed twelve. So small a burst is
/// not leased.
async fn admitted_over_a_failover(on_failover: OnFailover) -> usize {
    let mut pair = Pair::start(on_failover).await;
    let charge = of([bucket("x", user("ann"), burst_of(39))]);
    // On a server that was never a primary before, strict buckets have to fill first.
    let full = of([bucket("x", user("ann"), rate(1_000_000, 1_000, 39))]);
    eventually("a bucket that is full", async || {
        granted(&pair.world.charge(&full).await).then_some(())
    })
    .await;
    // One is spent, and at this rate it was back at once.
    let spent = 1 + pair.world.admitted(&charge, 14).await;
    pair.world.real().replicated().await;
    pair.replica.promote().await;
    let missed = pair.world.admitted(&charge, 12).await;
    assert_eq!((spent, missed), (15, 12));
    pair.fail_over().await;
    spent + missed + pair.world.admitted(&charge, 100).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lenient_failover_grants_again_what_the_replica_missed_and_no_more() {
    let admitted = admitted_over_a_failover(OnFailover::Lenient).await;
    assert_eq!(admitted, 39 + 12, "the burst, and the twelve that the replica missed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strict_failover_grants_nothing_again() {
    let admitted = admitted_over_a_failover(OnFailover::Strict).await;
    assert_eq!(admitted, 27, "the bucket is empty, and the first token an hour away");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_strict_failover_every_bucket_fills_once_leases_have_ended() {
    let mut pair = Pair::start(OnFailover::Strict).await;
    let numbers = rate(1_000, 1_000, 50);
    let (known, unknown) =
        (of([bucket("x", user("ann"), numbers)]), of([bucket("x", user("bob"), numbers)]));
    eventually("a bucket that fills", async || {
        granted(&pair.world.charge(&known).await).then_some(())
    })
    .await;
    pair.world.real().replicated().await;
    pair.replica.promote().await;
    pair.fail_over().await;
    for charge in [&known, &unknown] {
        let answer = pair.world.charge(charge).await;
        if !granted(&answer) {
            let (_, wait) = refused(answer);
            assert!(wait <= Duration::from_millis(600), "{wait:?}");
            tokio::time::sleep(wait).await;
            assert!(granted(&pair.world.charge(charge).await), "whoever waits is admitted");
        }
    }
    // Long after, a bucket that nobody has used is full, as anywhere.
    tokio::time::sleep(Duration::from_millis(600)).await;
    let late = of([bucket("x", user("cleo"), burst_of(50))]);
    assert!(!granted(&pair.world.charge(&late).await), "one token an hour, since the failover");
    let late = of([bucket("x", user("dave"), numbers)]);
    assert!(pair.world.admitted(&late, 60).await >= 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_with_leases_is_never_over_admitted_by_a_strict_failover() {
    let mut pair = Pair::start(OnFailover::Strict).await;
    let (tokens, burst) = (1_000_u32, 400_u32);
    let charge = of([bucket("hot", user("ida"), rate(tokens, 1_000, burst))]);
    let ended = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let crowd: Vec<_> = (0..4)
        .map(|task| {
            let store = Arc::clone(&pair.world.stores[task % 2]);
            let (clock, charge, ended) =
                (Arc::clone(&pair.world.clock), charge.clone(), Arc::clone(&ended));
            tokio::spawn(async move {
                let mut admitted: Vec<(Now, Now)> = Vec::new();
                while !ended.load(std::sync::atomic::Ordering::Relaxed) {
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
        })
        .collect();
    let leased = |pair: &Pair| -> u64 {
        pair.world.stores.iter().map(|store| store.stats().leases.local).sum()
    };
    eventually("leases", async || (leased(&pair) > 500).then_some(())).await;
    pair.replica.promote().await;
    let before = leased(&pair);
    // What the replica misses.
    eventually("more from leases", async || (leased(&pair) > before + 200).then_some(())).await;
    pair.fail_over().await;
    let after = leased(&pair);
    eventually("leases again", async || (leased(&pair) > after + 500).then_some(())).await;
    ended.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut admitted = Vec::new();
    for task in crowd {
        admitted.extend(task.await.unwrap());
    }
    assert_never_over(&mut admitted, tokens, 1_000, burst);
}
