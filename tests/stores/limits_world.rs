//! Stores under test, and charges for them.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tollgate::config::settings::{LimitStoreSettings, OnFailover, RedisPlace, RedisSettings};
use tollgate::domain::charge::{BucketCharge, Charge, ChargeAnswer, Rate, Subject, WhenAway};
use tollgate::domain::clock::{Clock, Now};
use tollgate::domain::secret::Secret;
use tollgate::stores::limits::LimitStore;
use tollgate::telemetry::clock::SystemClock;

use crate::support::eventually;
use crate::support::redis::Redis;

/// Some stores that share their buckets: the first is used alone, all of them by crowds.
pub(crate) struct World {
    pub(crate) stores: Vec<Arc<LimitStore>>,
    pub(crate) clock: Arc<SystemClock>,
    pub(crate) redis: Option<Redis>,
    keepers: Vec<JoinHandle<()>>,
}

impl World {
    pub(crate) fn memory() -> Self {
        let clock = Arc::new(SystemClock::new());
        let settings = LimitStoreSettings::Memory { max_buckets: number(10_000) };
        let store = LimitStore::new(&settings, clock.clone()).expect("a store");
        Self { stores: vec![Arc::new(store)], clock, redis: None, keepers: Vec::new() }
    }

    /// Two nodes on one Redis.
    pub(crate) async fn redis() -> Self {
        let redis = Redis::start().await;
        let mut world = Self {
            stores: Vec::new(),
            clock: Arc::new(SystemClock::new()),
            redis: None,
            keepers: Vec::new(),
        };
        for _ in 0..2 {
            world.join(&redis.url());
        }
        world.redis = Some(redis);
        for index in 0..2 {
            world.is_there(index).await;
        }
        world
    }

    /// Adds a node that need not reach its Redis yet.
    pub(crate) fn join(&mut self, url: &str) -> Arc<LimitStore> {
        self.join_with(settings(url))
    }

    pub(crate) fn join_with(&mut self, settings: RedisSettings) -> Arc<LimitStore> {
        let settings = LimitStoreSettings::Redis(settings);
        let store = Arc::new(LimitStore::new(&settings, self.clock.clone()).expect("a store"));
        let kept = Arc::clone(&store);
        self.keepers.push(tokio::spawn(async move { kept.keep().await }));
        self.stores.push(Arc::clone(&store));
        store
    }

    pub(crate) fn now(&self) -> Now {
        self.clock.now()
    }

    pub(crate) fn real(&mut self) -> &mut Redis {
        self.redis.as_mut().expect("a world with Redis")
    }

    /// Waits until a node asks its Redis.
    pub(crate) async fn is_there(&self, index: usize) {
        eventually("the store being there", async || (!self.stores[index].is_away()).then_some(()))
            .await;
    }

    /// Charges, through the fast path where it has an answer, as the shell does.
    pub(crate) async fn charge(&self, charge: &Charge) -> ChargeAnswer {
        self.charge_at(0, charge).await
    }

    pub(crate) async fn charge_at(&self, index: usize, charge: &Charge) -> ChargeAnswer {
        let store = &self.stores[index];
        match store.try_now(charge, self.now()) {
            Some(answer) => answer,
            None => store.take(charge, self.now()).await,
        }
    }

    /// How many of so many charges are granted.
    pub(crate) async fn admitted(&self, charge: &Charge, tries: usize) -> usize {
        let mut admitted = 0;
        for _ in 0..tries {
            admitted += usize::from(granted(&self.charge(charge).await));
        }
        admitted
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.keepers.iter().for_each(JoinHandle::abort);
    }
}

pub(crate) fn number(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).expect("a number above zero")
}

pub(crate) fn rate(tokens: u32, period_millis: u32, burst: u32) -> Rate {
    Rate { tokens: number(tokens), period_millis: number(period_millis), burst: number(burst) }
}

/// So slow that nothing comes back during a test.
pub(crate) fn burst_of(burst: u32) -> Rate {
    rate(1, 3_600_000, burst)
}

pub(crate) fn bucket(limit: &str, subject: Subject, rate: Rate) -> BucketCharge {
    let when_away = WhenAway::LocalShare;
    let (cost, penalty) = (NonZeroU32::MIN, None);
    BucketCharge { limit: Arc::from(limit), subject, rate, cost, when_away, penalty }
}

pub(crate) fn user(name: &str) -> Subject {
    Subject::User(name.parse().expect("a user id"), None)
}

pub(crate) fn address(text: &str) -> Subject {
    Subject::Address(text.parse::<IpAddr>().expect("an address"))
}

pub(crate) fn of<const N: usize>(buckets: [BucketCharge; N]) -> Charge {
    Charge { buckets: buckets.into_iter().collect() }
}

pub(crate) fn granted(answer: &ChargeAnswer) -> bool {
    matches!(answer, ChargeAnswer::Granted { .. })
}

/// Whole tokens left, bucket by bucket.
pub(crate) fn left(answer: &ChargeAnswer) -> Vec<u32> {
    match answer {
        ChargeAnswer::Granted { balances } | ChargeAnswer::Refused { balances, .. } => {
            balances.iter().map(|balance| balance.remaining).collect()
        }
        ChargeAnswer::Away(outage) => panic!("the store is away: {outage}"),
    }
}

pub(crate) fn refused(answer: ChargeAnswer) -> (usize, Duration) {
    match answer {
        ChargeAnswer::Refused { bucket, retry_after, .. } => (bucket, retry_after),
        other => panic!("not refused: {other:?}"),
    }
}

pub(crate) fn settings(url: &str) -> RedisSettings {
    RedisSettings {
        place: RedisPlace::Server(Secret::new(url)),
        // Far above the default: busy cores are no reason to fail.
        timeout: Duration::from_secs(1),
        key_prefix: Arc::from("test:"),
        nodes: number(2),
        lease: Duration::from_millis(200),
        max_buckets: number(10_000),
        on_failover: OnFailover::Lenient,
    }
}
