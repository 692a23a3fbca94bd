//! The directory in PostgreSQL: what it answers while the database lives, changes, stalls and
//! dies. The real server decides; the clock is moved, never waited for.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use base64::Engine;
use tokio::runtime::Handle;
use tollgate::config::settings::{DirectoryQueries, PostgresDirectory};
use tollgate::domain::clock::Clock;
use tollgate::domain::ids::{OrgId, UserId};
use tollgate::domain::known::{Lookup, Outage};
use tollgate::domain::organization::{
    MemberStatus, Membership, OrgSelector, OrgStatus, Organization, SecondFactor,
};
use tollgate::domain::secret::Secret;
use tollgate::domain::zone::Zone;
use tollgate::stores::directory::PostgresStore;
use tollgate::stores::migrate::{Applied, MIGRATIONS, MigrateError, Migration, migrate};
use tollgate::telemetry::metrics::Metrics;

use crate::clock::TestClock;
use crate::support::eventually;
use crate::support::postgres::Postgres;

const TTL: Duration = Duration::from_secs(60);
const MAX_STALE: Duration = Duration::from_secs(3600);
const NEGATIVE_TTL: Duration = Duration::from_secs(10);

/// A database of its own in the server of the fixture: it has no part in the application.
const DATABASE: &str = "postgres";
pub(crate) const ACME: &str = "11111111-1111-4111-8111-111111111111";
pub(crate) const GLOBEX: &str = "22222222-2222-4222-8222-222222222222";
pub(crate) const INITECH: &str = "33333333-3333-4333-8333-333333333333";

const SEED: &str = "
    insert into tollgate.organizations (id, slug, status, plan) values
        ('11111111-1111-4111-8111-111111111111', 'acme', 'active', 'pro'),
        ('22222222-2222-4222-8222-222222222222', 'globex', 'active', 'free'),
        ('33333333-3333-4333-8333-333333333333', 'initech', 'suspended', 'free');
    insert into tollgate.organization_members
        (organization_id, user_id, role, status, joined_at) values
        ('11111111-1111-4111-8111-111111111111', 'ann', 'owner', 'active', '2026-01-01Z'),
        ('22222222-2222-4222-8222-222222222222', 'ann', 'viewer', 'active', '2026-02-01Z'),
        ('33333333-3333-4333-8333-333333333333', 'ann', 'owner', 'active', '2026-03-01Z'),
        ('11111111-1111-4111-8111-111111111111', 'bob', 'viewer', 'invited', '2026-01-01Z');
    insert into tollgate.organization_features (organization_id, feature, enabled) values
        ('11111111-1111-4111-8111-111111111111', 'exports', true),
        ('11111111-1111-4111-8111-111111111111', 'beta', false);
";

const MORE: &str = "
    update tollgate.organizations set stage = 'launch', addresses = '{10.0.0.0/8,2001:db8::/32}',
        second_factor = '{admin}', session_age = '8 hours', time_zone = 'Europe/Berlin',
        limits = '{\"per_org\": \"500/s\", \"exports\": {\"rate\": \"10/h\", \"burst\": 3}}',
        session_idle = '30 minutes' where slug = 'acme';
    update tollgate.organizations set second_factor = '{*}' where slug = 'globex';
    update tollgate.organization_features set settings = '{\"tier\": \"gold\"}'
        where feature = 'exports';
    update tollgate.organization_members set roles = '{editor}', grants = '{deals:write}',
        denials = '{events:delete}', stage = 'growth'
        where user_id = 'ann' and role = 'owner' and status = 'active'
        and organization_id = '11111111-1111-4111-8111-111111111111';
    insert into tollgate.organization_team_members (organization_id, user_id, team, role) values
        ('11111111-1111-4111-8111-111111111111', 'ann', 'sales.north', 'manager');
";

pub(crate) struct World {
    pub(crate) postgres: Postgres,
    clock: Arc<TestClock>,
    metrics: Arc<Metrics>,
    pub(crate) store: Arc<PostgresStore>,
}

impl World {
    /// A migrated and filled database, and a store that is connected and listens.
    pub(crate) async fn new() -> Self {
        let postgres = seeded().await;
        let world = Self::over(postgres);
        eventually("a connection", async || world.store.is_reachable().then_some(())).await;
        eventually("the listener", async || {
            let sql = "select 1 from pg_stat_activity where query ilike 'listen%'";
            (!world.postgres.rows(DATABASE, sql).await.is_empty()).then_some(())
        })
        .await;
        world
    }

    fn over(postgres: Postgres) -> Self {
        Self::with(postgres, "sslmode=disable")
    }

    fn with(postgres: Postgres, options: &str) -> Self {
        let clock = Arc::new(TestClock::new());
        let metrics = Arc::new(Metrics::new().unwrap());
        let store = Self::start(&postgres, options, &clock, &metrics);
        Self { postgres, clock, metrics, store }
    }

    fn start(
        postgres: &Postgres,
        options: &str,
        clock: &Arc<TestClock>,
        metrics: &Arc<Metrics>,
    ) -> Arc<PostgresStore> {
        let settings = PostgresDirectory {
            url: Secret::new(format!("{}?{options}", postgres.url(DATABASE))),
            ttl: TTL,
            max_stale: MAX_STALE,
            negative_ttl: NEGATIVE_TTL,
            timeout: Duration::from_millis(500),
            capacity: 1000,
            connections: NonZeroU32::new(2).unwrap(),
            queries: DirectoryQueries::default(),
        };
        let dynamic: Arc<dyn Clock> = Arc::clone(clock) as _;
        let metrics = Arc::clone(metrics);
        PostgresStore::start(&settings, dynamic, metrics, &Handle::current()).unwrap()
    }

    fn known(&self, slug: &str) -> Option<Lookup<Arc<Organization>>> {
        self.store.organization(&selector(slug), self.clock.now())
    }

    async fn find(&self, slug: &str) -> Lookup<Arc<Organization>> {
        self.store.find_organization(&selector(slug)).await
    }

    /// As the pipeline asks: what is known, or else what is found.
    async fn status(&self, slug: &str) -> Lookup<OrgStatus> {
        let lookup = match self.known(slug) {
            Some(known) => known,
            None => self.find(slug).await,
        };
        match lookup {
            Lookup::Found(organization) => Lookup::Found(organization.status),
            Lookup::Absent => Lookup::Absent,
            Lookup::Away(outage) => Lookup::Away(outage),
        }
    }

    pub(crate) async fn member(&self, name: &str, org: &str) -> Lookup<Arc<Membership>> {
        match self.store.membership(&user(name), id(org), self.clock.now()) {
            Some(known) => known,
            None => self.store.find_membership(&user(name), id(org)).await,
        }
    }

    pub(crate) async fn default_org(&self, name: &str) -> Lookup<OrgId> {
        let lookup = match self.store.default_membership(&user(name), self.clock.now()) {
            Some(known) => known,
            None => self.store.find_default_membership(&user(name)).await,
        };
        match lookup {
            Lookup::Found(membership) => Lookup::Found(membership.organization),
            Lookup::Absent => Lookup::Absent,
            Lookup::Away(outage) => Lookup::Away(outage),
        }
    }

    pub(crate) async fn sql(&self, sql: &str) {
        self.postgres.execute(DATABASE, sql).await;
    }

    pub(crate) async fn rows(&self, sql: &str) -> Vec<serde_json::Value> {
        self.postgres.rows(DATABASE, sql).await
    }

    /// Another node over the same database.
    pub(crate) async fn another(&self) -> Node {
        let store = Self::start(&self.postgres, "sslmode=disable", &self.clock, &self.metrics);
        eventually("a connection", async || store.is_reachable().then_some(())).await;
        Node { clock: Arc::clone(&self.clock), store }
    }

    /// Changes rows without a trigger telling of it.
    async fn silently(&self, sql: &str) {
        self.sql(&format!("set session_replication_role = replica; {sql}")).await;
    }

    fn queries(&self) -> u64 {
        let text = self.metrics.exposition().unwrap();
        let lines =
            text.lines().filter(|line| line.starts_with("tollgate_directory_queries_total"));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    pub(crate) async fn is_down(&self) {
        eventually("the loss of the connections", async || {
            (!self.store.is_reachable()).then_some(())
        })
        .await;
    }
}

/// A node beside the one of the world.
pub(crate) struct Node {
    clock: Arc<TestClock>,
    pub(crate) store: Arc<PostgresStore>,
}

impl Node {
    pub(crate) async fn member(&self, name: &str, org: &str) -> Lookup<Arc<Membership>> {
        match self.store.membership(&user(name), id(org), self.clock.now()) {
            Some(known) => known,
            None => self.store.find_membership(&user(name), id(org)).await,
        }
    }
}

async fn seeded() -> Postgres {
    let postgres = Postgres::start().await;
    migrate(&url(&postgres), MIGRATIONS).await.unwrap();
    postgres.execute(DATABASE, SEED).await;
    postgres
}

fn url(postgres: &Postgres) -> Secret {
    Secret::new(format!("{}?sslmode=disable", postgres.url(DATABASE)))
}

fn selector(slug: &str) -> OrgSelector {
    OrgSelector::Slug(slug.parse().unwrap())
}

pub(crate) fn id(text: &str) -> OrgId {
    text.parse().unwrap()
}

pub(crate) fn user(name: &str) -> UserId {
    name.parse().unwrap()
}

const ACTIVE: Lookup<OrgStatus> = Lookup::Found(OrgStatus::Active);
const SUSPENDED: Lookup<OrgStatus> = Lookup::Found(OrgStatus::Suspended);
const AWAY: Lookup<OrgStatus> = Lookup::Away(Outage::Directory);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn organizations_and_members_are_found_as_the_tables_state_them() {
    let world = World::new().await;
    assert_eq!(world.known("acme"), None, "nothing is known before it is asked for");
    let Lookup::Found(acme) = world.find("acme").await else { panic!("not found") };
    assert_eq!((acme.id, &*acme.plan), (id(ACME), "pro"));
    let features: Vec<&str> = acme.features.keys().map(AsRef::as_ref).collect();
    assert_eq!(features, ["exports"], "a feature that is off is not on");
    assert_eq!(world.known("acme"), Some(Lookup::Found(Arc::clone(&acme))));
    let by_id = world.store.find_organization(&OrgSelector::Id(id(ACME))).await;
    assert_eq!(by_id, Lookup::Found(acme));
    assert_eq!(world.status("initech").await, SUSPENDED);
    assert_eq!(world.status("nobody").await, Lookup::Absent);
    assert_eq!(world.known("nobody"), Some(Lookup::Absent), "absence is remembered");

    let Lookup::Found(ann) = world.member("ann", ACME).await else { panic!("not found") };
    assert_eq!((&*ann.role, ann.status), ("owner", MemberStatus::Active));
    assert_eq!(ann.joined_at, 1_767_225_600);
    let Lookup::Found(bob) = world.member("bob", ACME).await else { panic!("not found") };
    assert_eq!(bob.status, MemberStatus::Invited);
    assert_eq!(world.member("bob", GLOBEX).await, Lookup::Absent);

    // The latest is in a suspended organization; the next latest counts.
    assert_eq!(world.default_org("ann").await, Lookup::Found(id(GLOBEX)));
    assert_eq!(world.default_org("bob").await, Lookup::Absent, "invited is not a member");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_and_demands_beyond_one_role_are_read_too() {
    let world = World::new().await;
    world.postgres.execute(DATABASE, MORE).await;
    let Lookup::Found(acme) = world.find("acme").await else { panic!("not found") };
    assert_eq!(acme.stage.as_deref(), Some("launch"));
    assert_eq!(acme.features["exports"].get("tier").map(AsRef::as_ref), Some("gold"));
    let networks: Vec<String> = acme.demands.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.0/8", "2001:db8::/32"]);
    assert_eq!(acme.demands.second_factor, SecondFactor::Roles(vec!["admin".into()]));
    assert_eq!(acme.demands.session_age, Some(Duration::from_secs(8 * 3600)));
    let bursts: Vec<(&str, u32)> =
        acme.limits.iter().map(|(name, rate)| (name.as_ref(), rate.burst.get())).collect();
    assert_eq!(bursts, [("exports", 3), ("per_org", 500)]);
    assert_eq!(acme.demands.session_idle, Some(Duration::from_secs(30 * 60)));
    let Lookup::Found(globex) = world.find("globex").await else { panic!("not found") };
    assert_eq!(globex.demands.second_factor, SecondFactor::Everybody);

    let Lookup::Found(ann) = world.member("ann", ACME).await else { panic!("not found") };
    let more = ann.more.as_ref().unwrap();
    assert_eq!((more.roles.len(), more.stage.as_deref()), (1, Some("growth")));
    assert_eq!(more.grants[0].to_string(), "deals:write");
    assert_eq!(more.denials[0].to_string(), "events:delete");
    assert_eq!((more.teams[0].team.as_str(), &*more.teams[0].role), ("sales.north", "manager"));
    let Lookup::Found(bob) = world.member("bob", ACME).await else { panic!("not found") };
    assert_eq!(bob.more, None);
    // Who leaves a team, leaves it at once.
    world.postgres.execute(DATABASE, "delete from tollgate.organization_team_members").await;
    eventually("no team", async || match world.member("ann", ACME).await {
        Lookup::Found(ann) => ann.more.as_ref().unwrap().teams.is_empty().then_some(()),
        _ => None,
    })
    .await;
    assert_eq!(acme.time_zone.as_ref().map(Zone::name), Some("Europe/Berlin"));
    // What cannot be read is an outage, and neither a right nor a refusal.
    let broken = "update tollgate.organization_members set denials = '{everything}'";
    world.postgres.execute(DATABASE, broken).await;
    eventually("an outage", async || match world.member("ann", GLOBEX).await {
        Lookup::Away(_) => Some(()),
        _ => None,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_counts_as_soon_as_it_is_committed() {
    let world = World::new().await;
    assert_eq!(world.status("acme").await, ACTIVE);
    assert_eq!(world.status("hooli").await, Lookup::Absent);
    assert_eq!(world.default_org("ann").await, Lookup::Found(id(GLOBEX)));
    assert!(matches!(world.member("ann", ACME).await, Lookup::Found(_)));

    // The clock stands still as far as the time to live is concerned: only NOTIFY can tell.
    world.sql("update tollgate.organizations set status = 'suspended' where slug = 'acme'").await;
    eventually("the suspension", async || (world.status("acme").await == SUSPENDED).then_some(()))
        .await;
    world.sql("insert into tollgate.organizations (slug) values ('hooli')").await;
    eventually("the founding", async || (world.status("hooli").await == ACTIVE).then_some(()))
        .await;
    world.sql("update tollgate.organizations set status = 'active' where slug = 'initech'").await;
    eventually("the new default", async || {
        let initech = id("33333333-3333-4333-8333-333333333333");
        (world.default_org("ann").await == Lookup::Found(initech)).then_some(())
    })
    .await;
    world.sql("delete from tollgate.organization_members where user_id = 'ann'").await;
    eventually("the removal", async || {
        (world.member("ann", ACME).await == Lookup::Absent).then_some(())
    })
    .await;
    world.sql("truncate tollgate.organizations cascade").await;
    eventually("the end", async || (world.status("globex").await == Lookup::Absent).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_requests_for_one_entry_make_one_query() {
    let world = World::new().await;
    let before = world.queries();
    // A lock keeps the first query from ending before all requests have come.
    let locker = world.postgres.client(DATABASE).await;
    locker.batch_execute("begin; lock tollgate.organizations").await.unwrap();
    let acme = selector("acme");
    let mut waiting: Vec<_> =
        (0..500).map(|_| Box::pin(world.store.find_organization(&acme))).collect();
    std::future::poll_fn(|context| {
        for one in &mut waiting {
            assert!(one.as_mut().poll(context).is_pending());
        }
        Poll::Ready(())
    })
    .await;
    locker.batch_execute("commit").await.unwrap();
    let first = waiting.pop().unwrap().await;
    for one in waiting {
        assert_eq!(one.await, first);
    }
    assert_eq!(world.queries() - before, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_entry_serves_while_it_is_refreshed_behind_the_requests_back() {
    let world = World::new().await;
    assert_eq!(world.status("acme").await, ACTIVE);
    let suspend = "update tollgate.organizations set status = 'suspended' where slug = 'acme'";
    world.silently(suspend).await;
    let fresh = world.known("acme");
    assert!(matches!(fresh, Some(Lookup::Found(org)) if org.status == OrgStatus::Active));
    world.clock.advance(TTL + Duration::from_secs(1));
    let stale = world.known("acme");
    assert!(matches!(stale, Some(Lookup::Found(_))), "no request waits for a refresh");
    eventually("the refresh", async || {
        let now = world.known("acme");
        matches!(now, Some(Lookup::Found(org)) if org.status == OrgStatus::Suspended).then_some(())
    })
    .await;
    // Too old to serve while the database answers.
    world.clock.advance(TTL * 2 + Duration::from_secs(1));
    assert_eq!(world.known("acme"), None);
    // Absence is not served beyond its time at all.
    assert_eq!(world.status("hooli").await, Lookup::Absent);
    world.clock.advance(NEGATIVE_TTL + Duration::from_secs(1));
    assert_eq!(world.known("hooli"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_database_is_dead_known_entries_serve_and_unknown_ones_are_an_outage() {
    let mut world = World::new().await;
    assert_eq!(world.status("acme").await, ACTIVE);
    assert_eq!(world.status("nobody").await, Lookup::Absent);
    world.postgres.kill().await;
    world.is_down().await;

    assert_eq!(world.status("acme").await, ACTIVE);
    assert_eq!(world.status("globex").await, AWAY, "never absent: it is there");
    assert_eq!(world.member("ann", ACME).await, Lookup::Away(Outage::Directory));
    world.clock.advance(MAX_STALE - Duration::from_secs(60));
    assert_eq!(world.status("acme").await, ACTIVE);
    assert_eq!(world.status("nobody").await, AWAY, "absence is not served when it is old");
    world.clock.advance(Duration::from_secs(120));
    assert_eq!(world.status("acme").await, AWAY);

    world.postgres.restart().await;
    eventually("the database's return", async || {
        (world.status("globex").await == ACTIVE).then_some(())
    })
    .await;
    assert_eq!(world.status("acme").await, ACTIVE);
    assert_eq!(world.status("nobody").await, Lookup::Absent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_database_stalls_nobody_waits_for_longer_than_the_timeout() {
    let mut world = World::new().await;
    assert_eq!(world.status("acme").await, ACTIVE);
    world.postgres.pause();
    let asked = tokio::time::timeout(Duration::from_secs(10), async {
        assert_eq!(world.status("globex").await, AWAY);
        assert_eq!(world.status("acme").await, ACTIVE);
    });
    asked.await.expect("an answer");
    world.clock.advance(TTL * 3);
    let asked = tokio::time::timeout(Duration::from_secs(10), world.status("acme"));
    assert_eq!(asked.await.expect("an answer"), ACTIVE, "known, and the database is away");
    world.postgres.resume();
    eventually("the database's return", async || {
        (world.status("globex").await == ACTIVE).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_at_start_is_found_when_it_comes() {
    let mut postgres = seeded().await;
    postgres.kill().await;
    let mut world = World::over(postgres);
    assert_eq!(world.status("acme").await, AWAY);
    world.postgres.restart().await;
    eventually("the database", async || (world.status("acme").await == ACTIVE).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changed_while_nobody_listened_is_looked_up_again() {
    let world = World::new().await;
    assert_eq!(world.status("acme").await, ACTIVE);
    let suspend = "update tollgate.organizations set status = 'suspended' where slug = 'acme'";
    world.silently(suspend).await;
    assert_eq!(world.status("acme").await, ACTIVE, "nobody told");
    let end = "select pg_terminate_backend(pid) from pg_stat_activity where query ilike 'listen%'";
    world.sql(end).await;
    eventually("the second look", async || (world.status("acme").await == SUSPENDED).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_cannot_be_read_is_an_outage_and_not_a_refusal() {
    let world = World::new().await;
    assert_eq!(world.status("acme").await, ACTIVE);
    world
        .sql(
            "alter table tollgate.organizations drop constraint organizations_status_is_known; \
             update tollgate.organizations set status = 'Suspended' where slug = 'acme'",
        )
        .await;
    eventually("the odd status", async || (world.status("acme").await == AWAY).then_some(())).await;
    assert_eq!(world.status("globex").await, ACTIVE, "the others are served");
    world.sql("update tollgate.organizations set status = 'suspended' where slug = 'acme'").await;
    eventually("the mended status", async || {
        (world.status("acme").await == SUSPENDED).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_used_and_certificates_are_believed_as_the_sslmode_says() {
    let postgres = seeded().await;
    let ca = with_tls(&postgres).await;
    let file = std::env::temp_dir().join(format!("tollgate-ca-{}.pem", std::process::id()));
    std::fs::write(&file, ca).unwrap();

    let mut world = World::with(postgres, "sslmode=require");
    assert_eq!(world.status("acme").await, ACTIVE);
    let sql = "select s.ssl from pg_stat_ssl s join pg_stat_activity a using (pid) \
               where a.application_name = 'tollgate'";
    let rows = world.postgres.rows(DATABASE, sql).await;
    assert!(!rows.is_empty() && rows.iter().all(|row| row["ssl"] == true), "{rows:?}");

    let known = format!("sslmode=verify-full&sslrootcert={}", file.display());
    world = World::with(world.postgres, &known);
    assert_eq!(world.status("acme").await, ACTIVE);
    world = World::with(world.postgres, "sslmode=verify-full");
    assert_eq!(world.status("acme").await, AWAY, "no public authority signed it");
    std::fs::remove_file(&file).unwrap();
}

/// Has the server speak TLS with a certificate of an authority of its own, which is returned.
async fn with_tls(postgres: &Postgres) -> String {
    let authority = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = parameters.self_signed(&authority).unwrap().pem();
    let issuer = rcgen::Issuer::new(parameters, authority);
    let key = rcgen::KeyPair::generate().unwrap();
    let server = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = server.signed_by(&key, &issuer).unwrap().pem();
    // Written by the server itself: its user owns the directory, and the key must be its own.
    for (name, pem) in [("server.crt", certificate), ("server.key", key.serialize_pem())] {
        let text = base64::engine::general_purpose::STANDARD.encode(pem);
        let program = format!("umask 077; base64 -d > {name}");
        postgres.execute(DATABASE, &format!("copy (select '{text}') to program '{program}'")).await;
    }
    postgres.execute(DATABASE, "alter system set ssl = on").await;
    postgres.execute(DATABASE, "select pg_reload_conf()").await;
    eventually("TLS", async || {
        let rows = postgres.rows(DATABASE, "select current_setting('ssl') as ssl").await;
        (rows[0]["ssl"] == "on").then_some(())
    })
    .await;
    ca
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrations_are_applied_once_even_by_two_at_a_time() {
    let postgres = Postgres::start().await;
    let url = url(&postgres);
    let (one, two) = tokio::join!(migrate(&url, MIGRATIONS), migrate(&url, MIGRATIONS));
    let now =
        |applied: &[Applied]| applied.iter().filter(|one| matches!(one, Applied::Now(_))).count();
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(now(&one) + now(&two), MIGRATIONS.len());
    assert_eq!(now(&migrate(&url, MIGRATIONS).await.unwrap()), 0);
    // The files themselves can be run again, should somebody do it by hand.
    for file in MIGRATIONS {
        postgres.execute(DATABASE, file.sql).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_that_fails_leaves_nothing_and_one_that_changed_is_refused() {
    let postgres = Postgres::start().await;
    let url = url(&postgres);
    let bad = [
        Migration { name: "1.sql", sql: "create table one (a int)" },
        Migration { name: "2.sql", sql: "create table two (a int); select nonsense" },
    ];
    let failed = migrate(&url, &bad).await;
    let Err(MigrateError::Failed { name: "2.sql", error }) = failed else { panic!("{failed:?}") };
    assert!(error.contains("nonsense"), "{error}");
    let tables = "select relname from pg_class where relname in ('one', 'two')";
    assert_eq!(postgres.rows(DATABASE, tables).await.len(), 1);

    let changed = [Migration { name: "1.sql", sql: "create table one (a bigint)" }];
    let refused = migrate(&url, &changed).await;
    assert!(matches!(refused, Err(MigrateError::Changed("1.sql"))), "{refused:?}");
    let nowhere = Secret::new("postgres://u:hunter2@127.0.0.1:1/x?sslmode=disable");
    let refused = migrate(&nowhere, MIGRATIONS).await.unwrap_err().to_string();
    assert!(refused.starts_with("cannot connect") && !refused.contains("hunter2"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_zone_that_nobody_knows_is_refused_where_it_is_written_and_an_outage_where_it_is_read()
 {
    let world = World::new().await;
    let written = |zone: &str| {
        format!(
            "do $$ begin \
             update tollgate.organizations set time_zone = '{zone}' where slug = 'acme'; \
             raise assert_failure; \
             exception when invalid_parameter_value then null; end $$"
        )
    };
    for odd in ["Berlin", "Europe/Berlln", "UTC+1", ""] {
        world.sql(&written(odd)).await;
    }
    let zone = async || match world.find("acme").await {
        Lookup::Found(acme) => Lookup::Found(acme.time_zone.as_ref().map(|z| z.name().to_owned())),
        Lookup::Absent => Lookup::Absent,
        Lookup::Away(outage) => Lookup::Away(outage),
    };
    assert_eq!(zone().await, Lookup::Found(None));
    world
        .sql("update tollgate.organizations set time_zone = 'Asia/Tokyo' where slug = 'acme'")
        .await;
    eventually("the zone", async || {
        (zone().await == Lookup::Found(Some("Asia/Tokyo".to_owned()))).then_some(())
    })
    .await;
    // Past the trigger, or in a table of the operator's own: not served by another clock.
    world
        .sql(
            "alter table tollgate.organizations disable trigger check_time_zone; \
             update tollgate.organizations set time_zone = 'Europe/Berlln' where slug = 'acme'",
        )
        .await;
    eventually("the fault", async || {
        (zone().await == Lookup::Away(Outage::Directory)).then_some(())
    })
    .await;
    assert_eq!(world.status("globex").await, ACTIVE, "the others are served");
}
