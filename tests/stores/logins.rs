//! Counts of failed logins: the same tests for those in this process and those in Redis.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tollgate::config::settings::{LimitStoreSettings, OnFailover, RedisPlace, RedisSettings};
use tollgate::domain::audit::Severity;
use tollgate::domain::clock::{Clock, Now};
use tollgate::domain::login::{AccountHash, LoginAttempt, LoginOutcome, LoginSubject};
use tollgate::domain::secret::Secret;
use tollgate::domain::source::Source;
use tollgate::policy::logins::{Ladder, LoginMode, LoginPolicy, LoginsAway, Spraying, Stuffing};
use tollgate::stores::logins::{Begun, Logins, Named, Ticket, list, unlock};
use tollgate::telemetry::clock::SystemClock;

use crate::support::eventually;
use crate::support::redis::Redis;
use crate::support::redis_cluster::Cluster;

use LoginOutcome::{Failure, Neutral, Success};

struct World {
    nodes: Vec<Arc<Logins>>,
    settings: LimitStoreSettings,
    redis: Option<Redis>,
    clock: Arc<SystemClock>,
    _keepers: Vec<JoinHandle<()>>,
}

fn number(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

fn ladder(failures: u32, again: u32) -> Ladder {
    Ladder {
        failures: number(failures),
        again: number(again),
        within: Duration::from_secs(3_600),
        first: Duration::from_secs(30),
        factor: number(2),
        most: Duration::from_secs(3_600),
        forget: Duration::from_secs(86_400),
    }
}

fn policy() -> LoginPolicy {
    LoginPolicy {
        mode: LoginMode::Enforce,
        when_away: LoginsAway::Local,
        known_for: Duration::from_secs(86_400),
        pair: ladder(3, 1),
        address: ladder(1_000, 10),
        network: ladder(1_000, 10),
        account: ladder(1_000, 10),
        spraying: None,
        stuffing: None,
        severity: Severity::Low,
        pepper: None,
        source: Source::built_in(),
    }
}

fn from(address: &str, account: u128) -> LoginAttempt {
    LoginAttempt::new(address.parse().unwrap(), Some(AccountHash(account)))
}

impl World {
    fn memory() -> Self {
        let clock = Arc::new(SystemClock::new());
        let settings = LimitStoreSettings::Memory { max_buckets: number(10) };
        let node = Arc::new(Logins::new(&settings, clock.clone()).unwrap());
        Self { nodes: vec![node], settings, redis: None, clock, _keepers: Vec::new() }
    }

    /// Two nodes on one Redis.
    async fn redis() -> Self {
        let redis = Redis::start().await;
        let mut world = Self::at(RedisPlace::Server(Secret::new(redis.url()))).await;
        world.redis = Some(redis);
        world
    }

    async fn at(place: RedisPlace) -> Self {
        let clock = Arc::new(SystemClock::new());
        let settings = LimitStoreSettings::Redis(RedisSettings {
            place,
            timeout: Duration::from_secs(1),
            key_prefix: Arc::from("test:"),
            lease: Duration::from_millis(200),
            nodes: number(2),
            max_buckets: number(10),
            on_failover: OnFailover::Lenient,
        });
        let (mut nodes, mut keepers) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            let node = Arc::new(Logins::new(&settings, clock.clone()).unwrap());
            let kept = Arc::clone(&node);
            keepers.push(tokio::spawn(async move { kept.keep().await }));
            nodes.push(node);
        }
        let world = Self { nodes, settings, redis: None, clock, _keepers: keepers };
        world.there().await;
        world
    }

    /// Waits until every node asks its Redis.
    async fn there(&self) {
        let mut closed = policy();
        closed.when_away = LoginsAway::Closed;
        for node in &self.nodes {
            eventually("the node reaching Redis", async || {
                let probe = from("192.0.2.200", 0xffff);
                match node.begin(probe, true, &closed, self.now()).await {
                    Begun::Admitted(ticket) => {
                        node.end(&ticket, Neutral, &closed).await;
                        Some(())
                    }
                    Begun::Locked { .. } | Begun::Away => None,
                }
            })
            .await;
        }
    }

    fn now(&self) -> Now {
        self.clock.now()
    }

    fn node(&self, turn: usize) -> &Logins {
        &self.nodes[turn % self.nodes.len()]
    }

    async fn begin(&self, turn: usize, attempt: LoginAttempt, policy: &LoginPolicy) -> Begun {
        self.node(turn).begin(attempt, true, policy, self.now()).await
    }

    /// One attempt, from its beginning to its end. Nodes take turns.
    async fn try_once(
        &self,
        turn: usize,
        attempt: LoginAttempt,
        outcome: LoginOutcome,
        policy: &LoginPolicy,
    ) -> Result<Ticket, LoginSubject> {
        match self.begin(turn, attempt, policy).await {
            Begun::Admitted(ticket) => {
                self.node(turn + 1).end(&ticket, outcome, policy).await;
                Ok(ticket)
            }
            Begun::Locked { subject, .. } => Err(subject),
            Begun::Away => panic!("away"),
        }
    }
}

/// Runs a test on both stores.
async fn both<F: AsyncFn(&World)>(test: F) {
    test(&World::memory()).await;
    test(&World::redis().await).await;
}

#[tokio::test]
async fn failures_lock_an_account_at_an_address_and_nothing_else() {
    both(async |world| {
        let (policy, ann) = (policy(), from("192.0.2.1", 1));
        for turn in 0..2 {
            assert!(world.try_once(turn, ann, Failure, &policy).await.unwrap().lockouts.is_empty());
        }
        let third = world.try_once(2, ann, Failure, &policy).await.unwrap();
        let [lockout] = third.lockouts[..] else { panic!("{third:?}") };
        assert_eq!((lockout.subject, lockout.level), (LoginSubject::Pair, 1));
        assert_eq!(lockout.lasts, Duration::from_secs(30));
        for turn in 0..2 {
            let Begun::Locked { subject, retry_after } = world.begin(turn, ann, &policy).await
            else {
                panic!("not locked");
            };
            assert_eq!(subject, LoginSubject::Pair);
            assert!(retry_after <= Duration::from_secs(30), "{retry_after:?}");
            assert!(retry_after > Duration::from_secs(25), "{retry_after:?}");
        }
        for other in [from("192.0.2.1", 2), from("192.0.2.2", 1)] {
            world.try_once(0, other, Failure, &policy).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_lockout_ends_and_the_next_failure_begins_a_longer_one() {
    both(async |world| {
        let (mut policy, ann) = (policy(), from("192.0.2.1", 1));
        policy.pair.first = Duration::from_millis(40);
        for turn in 0..3 {
            world.try_once(turn, ann, Failure, &policy).await.unwrap();
        }
        for level in 2..=4 {
            let ticket = eventually("the end of the lockout", async || {
                world.try_once(level, ann, Failure, &policy).await.ok()
            })
            .await;
            let [lockout] = ticket.lockouts[..] else { panic!("{ticket:?}") };
            assert_eq!(lockout.level, level as u32);
            assert_eq!(lockout.lasts, Duration::from_millis(40) * (1 << (level - 1)));
        }
    })
    .await;
}

#[tokio::test]
async fn a_success_clears_the_account_at_its_address_and_not_the_address() {
    both(async |world| {
        let mut policy = policy();
        policy.address = ladder(6, 1);
        let (own, other) = (from("192.0.2.1", 1), from("192.0.2.1", 2));
        // Two failures, one success of the own account in between, again and again.
        for round in 0..3 {
            world
                .try_once(round, from("192.0.2.1", 10 + round as u128), Failure, &policy)
                .await
                .unwrap();
            world
                .try_once(round, own, Failure, &policy)
                .await
                .unwrap_or_else(|subject| panic!("{round}: {subject:?}"));
            if round < 2 {
                world.try_once(round, own, Success, &policy).await.unwrap();
            }
        }
        let locked = world.try_once(0, other, Failure, &policy).await;
        assert_eq!(locked.unwrap_err(), LoginSubject::Address, "the own account washes nothing");
    })
    .await;
}

#[tokio::test]
async fn what_did_not_fail_is_taken_back() {
    both(async |world| {
        let (mut policy, ann) = (policy(), from("192.0.2.1", 1));
        policy.address = ladder(3, 1);
        for turn in 0..20 {
            world.try_once(turn, ann, Neutral, &policy).await.unwrap();
            world.try_once(turn, from("192.0.2.1", 2), Success, &policy).await.unwrap();
        }
        for turn in 0..3 {
            world.try_once(turn, ann, Failure, &policy).await.unwrap();
        }
        assert!(world.try_once(0, ann, Failure, &policy).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn guesses_at_the_same_time_get_no_further_than_guesses_one_by_one() {
    both(async |world| {
        let (policy, ann) = (policy(), from("192.0.2.1", 1));
        let mut tickets = Vec::new();
        for turn in 0..50 {
            // None of them has an answer yet.
            if let Begun::Admitted(ticket) = world.begin(turn, ann, &policy).await {
                tickets.push(ticket);
            }
        }
        assert_eq!(tickets.len(), 3);
        for ticket in &tickets {
            world.node(0).end(ticket, Failure, &policy).await;
        }
        assert!(world.try_once(0, ann, Failure, &policy).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn an_account_that_is_attacked_from_everywhere_stays_open_where_it_is_known() {
    both(async |world| {
        let mut policy = policy();
        policy.account = ladder(5, 1);
        let home = from("203.0.113.1", 1);
        world.try_once(0, home, Success, &policy).await.unwrap();
        for turn in 0..5 {
            let attempt = from(&format!("198.51.{turn}.1"), 1);
            world.try_once(turn, attempt, Failure, &policy).await.unwrap();
        }
        let elsewhere = world.try_once(0, from("198.51.100.1", 1), Failure, &policy).await;
        assert_eq!(elsewhere.unwrap_err(), LoginSubject::Account);
        world.try_once(0, home, Failure, &policy).await.unwrap();
        world.try_once(1, home, Success, &policy).await.unwrap();
        // Where a code is only sent, the account's lockout does not hold.
        let begun = world.node(0).begin(from("198.51.100.1", 1), false, &policy, world.now()).await;
        assert!(matches!(begun, Begun::Admitted(_)), "{begun:?}");
        world.try_once(1, from("198.51.100.1", 2), Failure, &policy).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn addresses_of_ipv6_count_by_what_a_customer_has() {
    both(async |world| {
        let mut policy = policy();
        policy.address = ladder(3, 1);
        for (turn, address) in
            ["2001:db8:1:2::1", "2001:db8:1:2::2", "2001:db8:1:2:ff::"].into_iter().enumerate()
        {
            world.try_once(turn, from(address, turn as u128), Failure, &policy).await.unwrap();
        }
        let locked = world.try_once(0, from("2001:db8:1:2:3:4:5:6", 9), Failure, &policy).await;
        assert_eq!(locked.unwrap_err(), LoginSubject::Address);
        world.try_once(0, from("2001:db8:1:3::1", 9), Failure, &policy).await.unwrap();
    })
    .await;
}

fn spraying(mode: LoginMode) -> LoginPolicy {
    let spraying = Spraying {
        mode,
        accounts: number(4),
        network_accounts: number(6),
        window: Duration::from_secs(600),
        severity: Severity::High,
    };
    LoginPolicy { spraying: Some(spraying), ..policy() }
}

#[tokio::test]
async fn failures_for_many_accounts_from_one_place_are_recognised_once_and_lock_it() {
    both(async |world| {
        let policy = spraying(LoginMode::Enforce);
        for turn in 0..3_u8 {
            // The same account again and again is one; what succeeds is none.
            for _ in 0..2 {
                let ticket =
                    world.try_once(0, from("192.0.2.1", turn.into()), Failure, &policy).await;
                assert!(ticket.unwrap().sprayed.is_empty());
            }
            let good = from("192.0.2.1", 100 + u128::from(turn));
            world.try_once(1, good, Success, &policy).await.unwrap();
        }
        let fourth = world.try_once(1, from("192.0.2.1", 9), Failure, &policy).await.unwrap();
        assert_eq!(fourth.sprayed[..], [LoginSubject::Address]);
        assert_eq!(fourth.lockouts[0].subject, LoginSubject::Address);
        let locked = world.try_once(0, from("192.0.2.1", 10), Failure, &policy).await;
        assert_eq!(locked.unwrap_err(), LoginSubject::Address);
        // Four accounts of the network so far.
        world.try_once(0, from("192.0.2.2", 11), Failure, &policy).await.unwrap();
        let sixth = world.try_once(0, from("192.0.2.3", 12), Failure, &policy).await.unwrap();
        assert_eq!(sixth.sprayed[..], [LoginSubject::Network]);
        let locked = world.try_once(0, from("192.0.2.99", 13), Failure, &policy).await;
        assert_eq!(locked.unwrap_err(), LoginSubject::Network);
        world.try_once(0, from("192.0.3.1", 13), Failure, &policy).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn what_proves_nothing_hides_no_failure_for_the_same_account() {
    both(async |world| {
        let policy = spraying(LoginMode::Enforce);
        // Codes that are sent to many accounts are no spraying.
        for account in 100..120 {
            let sent = world.try_once(0, from("192.0.2.1", account), Neutral, &policy).await;
            assert!(sent.unwrap().lockouts.is_empty());
        }
        for account in 0..3 {
            let attempt = from("192.0.2.1", account);
            // One that is under way while the guess fails, and one after it.
            let slow = match world.begin(1, attempt, &policy).await {
                Begun::Admitted(ticket) => ticket,
                other => panic!("{other:?}"),
            };
            world.try_once(0, attempt, Failure, &policy).await.unwrap();
            world.node(1).end(&slow, Neutral, &policy).await;
            world.try_once(1, attempt, Neutral, &policy).await.unwrap();
        }
        let fourth = world.try_once(1, from("192.0.2.1", 9), Failure, &policy).await.unwrap();
        assert_eq!(fourth.sprayed[..], [LoginSubject::Address]);
    })
    .await;
}

#[tokio::test]
async fn spraying_that_is_only_watched_is_told_and_locks_nothing() {
    both(async |world| {
        let policy = spraying(LoginMode::Shadow);
        let mut told = 0;
        for turn in 0..20 {
            let attempt = from("192.0.2.1", turn);
            let ticket = world.try_once(0, attempt, Failure, &policy).await.unwrap();
            told += usize::from(ticket.sprayed.contains(&LoginSubject::Address));
            assert!(ticket.lockouts.is_empty(), "{ticket:?}");
        }
        assert_eq!(told, 1);
    })
    .await;
}

#[tokio::test]
async fn failures_of_most_attempts_are_recognised_and_lock_addresses_sooner() {
    both(async |world| {
        let stuffing = Stuffing {
            mode: LoginMode::Enforce,
            failures: number(8),
            percent: number(80),
            window: Duration::from_secs(300),
            address_failures: number(2),
            severity: Severity::High,
        };
        let policy = LoginPolicy { stuffing: Some(stuffing), ..policy() };
        let attempt = |turn: u128| from(&format!("198.51.{turn}.1"), turn);
        for turn in 0..8_u8 {
            let outcome = if turn < 2 { Success } else { Failure };
            let ticket = world.try_once(0, attempt(turn.into()), outcome, &policy).await.unwrap();
            assert!(!ticket.stuffing, "{turn}");
        }
        // Eight of ten are the first that are enough.
        for turn in 8..10 {
            assert!(!world.try_once(1, attempt(turn), Failure, &policy).await.unwrap().stuffing);
        }
        let ticket = world.try_once(0, attempt(10), Failure, &policy).await.unwrap();
        assert!(ticket.stuffing, "{ticket:?}");
        assert!(!world.try_once(0, attempt(11), Failure, &policy).await.unwrap().stuffing);
        let second = world.try_once(1, from("198.51.11.1", 99), Failure, &policy).await.unwrap();
        assert_eq!(second.lockouts[0].subject, LoginSubject::Address);
        assert!(world.try_once(0, from("198.51.11.1", 98), Failure, &policy).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn while_redis_is_away_a_node_counts_by_itself_or_refuses_and_never_hangs() {
    let mut world = World::redis().await;
    let (policy, ann) = (policy(), from("192.0.2.1", 1));
    let ticket = match world.begin(0, ann, &policy).await {
        Begun::Admitted(ticket) => ticket,
        other => panic!("{other:?}"),
    };
    world.redis.as_mut().unwrap().kill();
    world.node(0).end(&ticket, Success, &policy).await;
    for _ in 0..3 {
        let tried = world.try_once(0, ann, Failure, &policy);
        tokio::time::timeout(Duration::from_secs(5), tried).await.expect("an answer").unwrap();
    }
    assert!(world.try_once(0, ann, Failure, &policy).await.is_err());
    assert!(world.node(0).stats().away >= 4);
    let closed = LoginPolicy { when_away: LoginsAway::Closed, ..policy.clone() };
    assert!(matches!(world.begin(0, ann, &closed).await, Begun::Away));

    world.redis.as_mut().unwrap().restart().await;
    world.there().await;
    world.try_once(0, ann, Failure, &policy).await.unwrap();
}

#[tokio::test]
async fn what_is_locked_can_be_listed_and_unlocked() {
    let world = World::redis().await;
    let LimitStoreSettings::Redis(settings) = &world.settings else { panic!() };
    let (mut policy, ann) = (policy(), from("192.0.2.1", 1));
    policy.address = ladder(4, 1);
    for turn in 0..3 {
        world.try_once(turn, ann, Failure, &policy).await.unwrap();
    }
    world.try_once(0, from("192.0.2.1", 2), Failure, &policy).await.unwrap();
    assert!(world.try_once(0, from("192.0.2.1", 3), Failure, &policy).await.is_err());

    let listed = list(settings, Named::All, world.now()).await.unwrap();
    let locked: Vec<&str> =
        listed.iter().filter(|one| one.locked_until > 0).map(|one| one.subject).collect();
    assert_eq!(locked.len(), 2, "{listed:?}");
    assert!(locked.contains(&"address") && locked.contains(&"account_at_address"), "{listed:?}");
    let of_ann = list(settings, Named::Account(AccountHash(1)), world.now()).await.unwrap();
    assert_eq!(of_ann.len(), 2, "at its address and everywhere: {of_ann:?}");

    let address = "192.0.2.1".parse().unwrap();
    assert!(unlock(settings, Named::Address(address)).await.unwrap() >= 2);
    world.try_once(0, from("192.0.2.1", 3), Neutral, &policy).await.unwrap();
    world.try_once(0, ann, Neutral, &policy).await.unwrap();
    for turn in 0..3 {
        world.try_once(turn, ann, Failure, &policy).await.unwrap();
    }
    assert!(world.try_once(0, ann, Failure, &policy).await.is_err());
    unlock(settings, Named::Account(AccountHash(1))).await.unwrap();
    assert_ne!(world.try_once(0, ann, Failure, &policy).await.err(), Some(LoginSubject::Pair));
}

#[tokio::test]
async fn a_lockout_in_a_cluster_moves_with_its_slot_and_can_be_listed_and_unlocked() {
    let cluster = Cluster::start().await;
    let urls = cluster.urls().into_iter().map(Secret::new);
    let world = World::at(RedisPlace::Cluster(urls.collect())).await;
    let LimitStoreSettings::Redis(settings) = &world.settings else { panic!() };
    let (policy, ann) = (policy(), from("192.0.2.1", 1));
    for turn in 0..3 {
        world.try_once(turn, ann, Failure, &policy).await.unwrap();
    }
    let name = "test:{logins}:o:all";
    let owner = cluster.primary_of(name).await;
    cluster.reshard(name, owner, (owner + 1) % 3).await;
    for turn in 0..2 {
        assert!(world.try_once(turn, ann, Failure, &policy).await.is_err(), "still locked");
    }
    let listed = list(settings, Named::All, world.now()).await.unwrap();
    assert!(listed.iter().any(|one| one.locked_until > 0), "{listed:?}");
    assert!(unlock(settings, Named::Account(AccountHash(1))).await.unwrap() >= 1);
    world.try_once(0, ann, Neutral, &policy).await.unwrap();
}
