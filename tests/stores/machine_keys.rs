//! Keys of machines in PostgreSQL: found, remembered, forgotten, and what random ids cost. The clock
//! is moved, never waited for.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Handle;
use tollgate::config::settings::{DirectoryQueries, PostgresDirectory};
use tollgate::domain::clock::Clock;
use tollgate::domain::known::{Lookup, Outage};
use tollgate::domain::machine::{KeyId, KeyStatus, MachineKey, NewKey};
use tollgate::domain::organization::OrgSelector;
use tollgate::domain::secret::Secret;
use tollgate::stores::directory::PostgresStore;
use tollgate::stores::migrate::{MIGRATIONS, migrate};
use tollgate::telemetry::metrics::Metrics;

use crate::clock::TestClock;
use crate::support::eventually;
use crate::support::postgres::Postgres;

const DATABASE: &str = "postgres";
const CAPACITY: u64 = 64;
const MAX_STALE: Duration = Duration::from_secs(3600);
const ID: &str = "tgk_0123456789Ab";
const SEED: &str = "
    insert into tollgate.organizations (id, slug, plan)
        values ('11111111-1111-4111-8111-111111111111', 'acme', 'pro');
    insert into tollgate.api_keys (id, organization_id, name, hash, scopes, addresses, limit_name,
        expires_at, previous_hash, previous_until)
    values ('tgk_0123456789Ab', '11111111-1111-4111-8111-111111111111', 'ci', repeat('a1', 32),
        '{events:read,*:write}', '{10.0.0.0/8}', 'exports', '2027-01-31Z', repeat('b2', 32),
        '2026-01-31Z');
";

struct World {
    postgres: Postgres,
    clock: Arc<TestClock>,
    metrics: Arc<Metrics>,
    store: Arc<PostgresStore>,
}

impl World {
    async fn new() -> Self {
        let postgres = Postgres::start().await;
        let url = Secret::new(format!("{}?sslmode=disable", postgres.url(DATABASE)));
        migrate(&url, MIGRATIONS).await.unwrap();
        postgres.execute(DATABASE, SEED).await;
        let clock = Arc::new(TestClock::new());
        let metrics = Arc::new(Metrics::new().unwrap());
        let settings = PostgresDirectory {
            url,
            ttl: Duration::from_secs(60),
            max_stale: MAX_STALE,
            negative_ttl: Duration::from_secs(10),
            timeout: Duration::from_millis(500),
            capacity: CAPACITY,
            connections: NonZeroU32::new(2).unwrap(),
            queries: DirectoryQueries::default(),
        };
        let dynamic: Arc<dyn Clock> = Arc::clone(&clock) as _;
        let store =
            PostgresStore::start(&settings, dynamic, Arc::clone(&metrics), &Handle::current());
        let world = Self { postgres, clock, metrics, store: store.unwrap() };
        eventually("a connection", async || world.store.is_reachable().then_some(())).await;
        eventually("the listener", async || {
            let sql = "select 1 from pg_stat_activity where query ilike 'listen%'";
            (!world.postgres.rows(DATABASE, sql).await.is_empty()).then_some(())
        })
        .await;
        world
    }

    /// As the pipeline asks: what is known, or else what is found.
    async fn key(&self, id: KeyId) -> Lookup<Arc<MachineKey>> {
        match self.store.machine_key(id, self.clock.now()) {
            Some(known) => known,
            None => self.store.find_machine_key(id).await,
        }
    }

    async fn sql(&self, sql: &str) {
        self.postgres.execute(DATABASE, sql).await;
    }

    fn queries(&self) -> u64 {
        let text = self.metrics.exposition().unwrap();
        let lines =
            text.lines().filter(|line| line.starts_with("tollgate_directory_queries_total"));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }
}

fn id() -> KeyId {
    ID.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_read_as_the_table_states_it_and_its_revocation_counts_at_once() {
    let world = World::new().await;
    let Lookup::Found(key) = world.key(id()).await else { panic!("not found") };
    assert_eq!((key.id, &*key.name, key.status), (id(), "ci", KeyStatus::Active));
    assert_eq!(key.organization.to_string(), "11111111-1111-4111-8111-111111111111");
    assert_eq!(key.hash.to_string(), "a1".repeat(32));
    let scopes: Vec<String> = key.scopes.iter().map(ToString::to_string).collect();
    assert_eq!(scopes, ["events:read", "*:write"]);
    assert_eq!(key.addresses, ["10.0.0.0/8".parse().unwrap()]);
    assert_eq!((key.limit.as_deref(), key.expires_at), (Some("exports"), Some(1_801_353_600)));
    let previous = key.previous.unwrap();
    assert_eq!((previous.hash.to_string(), previous.until), ("b2".repeat(32), 1_769_817_600));
    let asked = world.queries();
    assert!(matches!(world.key(id()).await, Lookup::Found(_)));
    assert_eq!(world.queries(), asked, "one look-up, remembered");

    world.sql("update tollgate.api_keys set status = 'revoked'").await;
    eventually("the revocation", async || match world.key(id()).await {
        Lookup::Found(key) => (key.status == KeyStatus::Revoked).then_some(()),
        _ => None,
    })
    .await;
    // What cannot be read is an outage, and neither a key nor its absence.
    world.sql("update tollgate.api_keys set scopes = '{everything}'").await;
    eventually("an outage", async || {
        (world.key(id()).await == Lookup::Away(Outage::Directory)).then_some(())
    })
    .await;
    world.sql("delete from tollgate.organizations").await;
    eventually("its end", async || (world.key(id()).await == Lookup::Absent).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_ids_are_asked_for_once_take_bounded_memory_and_hide_no_key_that_is_made() {
    let world = World::new().await;
    let random = |number: u32| {
        let mut bytes = [7; 16];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        NewKey::of(bytes, [0; 32]).unwrap().id
    };
    let before = world.queries();
    let same = random(0);
    let mut waiting: Vec<_> =
        (0..200).map(|_| Box::pin(world.store.find_machine_key(same))).collect();
    let locker = world.postgres.client(DATABASE).await;
    locker.batch_execute("begin; lock tollgate.api_keys").await.unwrap();
    std::future::poll_fn(|context| {
        for one in &mut waiting {
            assert!(one.as_mut().poll(context).is_pending());
        }
        Poll::Ready(())
    })
    .await;
    locker.batch_execute("commit").await.unwrap();
    for one in waiting {
        assert_eq!(one.await, Lookup::Absent);
    }
    assert_eq!(world.queries() - before, 1, "one flight for all");
    assert_eq!(world.store.machine_key(same, world.clock.now()), Some(Lookup::Absent));

    for number in 0..1_000 {
        assert_eq!(world.key(random(number)).await, Lookup::Absent);
    }
    let known = |number| world.store.machine_key(random(number), world.clock.now()).is_some();
    let remembered = (0..1_000).filter(|number| known(*number)).count();
    assert!(remembered <= 4 * usize::try_from(CAPACITY).unwrap(), "{remembered}");

    let made = random(5_000);
    assert_eq!(world.key(made).await, Lookup::Absent);
    world
        .sql(&format!(
            "insert into tollgate.api_keys (id, organization_id, name, hash, scopes) values \
             ('{made}', '11111111-1111-4111-8111-111111111111', 'new', repeat('c3', 32), '{{*:read}}')"
        ))
        .await;
    eventually("the new key", async || {
        matches!(world.key(made).await, Lookup::Found(_)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_known_key_serves_until_max_stale_and_an_unknown_one_is_away() {
    let mut world = World::new().await;
    assert!(matches!(world.key(id()).await, Lookup::Found(_)));
    world.postgres.kill().await;
    eventually("the loss of the connections", async || (!world.store.is_reachable()).then_some(()))
        .await;
    world.clock.advance(MAX_STALE - Duration::from_secs(5));
    assert!(matches!(world.key(id()).await, Lookup::Found(_)));
    let other = NewKey::of([9; 16], [9; 32]).unwrap().id;
    assert_eq!(world.key(other).await, Lookup::Away(Outage::Directory));
    world.clock.advance(Duration::from_secs(6));
    assert_eq!(world.key(id()).await, Lookup::Away(Outage::Directory));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_without_keys_serves_everything_else_until_it_is_migrated() {
    let world = World::new().await;
    let acme = OrgSelector::Slug("acme".parse().unwrap());
    world.sql("alter table tollgate.api_keys rename to elsewhere").await;
    assert_eq!(world.key(id()).await, Lookup::Away(Outage::Directory));
    assert!(matches!(world.store.find_organization(&acme).await, Lookup::Found(_)));
    assert!(world.store.is_reachable(), "no connection was given up for it");
    world.sql("alter table tollgate.elsewhere rename to api_keys").await;
    eventually("the key", async || matches!(world.key(id()).await, Lookup::Found(_)).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_use_is_written_once_and_disturbs_no_entry() {
    let world = World::new().await;
    assert!(matches!(world.key(id()).await, Lookup::Found(_)));
    let now = world.clock.now();
    let asked = world.queries();
    for _ in 0..100 {
        world.store.machine_key_used(id(), now);
    }
    // An id that is gone when its use is written is left out.
    world.store.machine_key_used(NewKey::of([9; 16], [9; 32]).unwrap().id, now);
    let sql =
        "select key_id, extract(epoch from last_used_at)::bigint as at from tollgate.api_key_uses";
    let rows = eventually("the use", async || {
        let rows = world.postgres.rows(DATABASE, sql).await;
        (!rows.is_empty()).then_some(rows)
    })
    .await;
    assert_eq!(rows, [serde_json::json!({ "key_id": ID, "at": now.unix_secs() })]);
    assert!(matches!(world.key(id()).await, Lookup::Found(_)));
    assert_eq!(world.queries(), asked, "the key was not forgotten over it");
}
