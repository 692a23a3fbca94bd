//! The ledger against what was admitted, while gateways are killed, PostgreSQL is killed and Redis
//! stops, under load. Admitted is what came to the upstream, whatever became of the answer.
//!
//! Under a `strict` quota the ledger has all of it, and beyond it no more than requests that were at
//! work when their gateway was killed. Under a `lenient` one it may lack what was at work then, and
//! what had ended in the interval of the journal.
//!
//! `TOLLGATE_CHAOS` makes each last so many seconds.

use std::net::SocketAddr;
use std::time::Duration;

use tollgate::stores::usage::JOURNAL_EVERY;

use crate::chaos::load::{Fate, Load, Outcome};
use crate::support::fixture::ALICE;
use crate::support::gateway::{Draft, Gateway, tollgate};
use crate::support::postgres::Postgres;
use crate::support::redis::Redis;
use crate::support::stack::{ISSUER, PUBLISHABLE, USER_SECRET, VERA, directory_yaml, token};

/// Clients of each gateway.
const CLIENTS: [usize; 3] = [6, 4, 2];
/// Seconds that the load lasts, unless the environment says otherwise.
const LASTS: u64 = 6;
/// What a starved machine adds to the interval of the journal.
const STARVED: Duration = Duration::from_millis(1_800);

/// What is known when all is over.
struct Known {
    fates: Vec<Fate>,
    /// Which gateways were killed, and when.
    kills: Vec<(SocketAddr, Duration)>,
    /// Calls that the ledger has.
    ledger: usize,
}

impl Known {
    fn admitted(&self) -> usize {
        self.fates.iter().filter(|fate| fate.arrived.is_some()).count()
    }

    /// Requests that may have been admitted and did not come to the upstream: their gateway was killed
    /// meanwhile, or gave them up.
    fn at_work(&self) -> usize {
        let lost =
            |fate: &&Fate| fate.arrived.is_none() && matches!(fate.answered, None | Some(503));
        self.fates.iter().filter(lost).count()
    }

    /// Requests that came to the upstream by a gateway shortly before it was killed.
    fn shortly_before(&self) -> usize {
        let behind = JOURNAL_EVERY + STARVED;
        let open = |fate: &&Fate| {
            let mut kills = self.kills.iter();
            let before = |at: Duration, kill: Duration| at <= kill && at + behind >= kill;
            fate.arrived
                .is_some_and(|at| kills.any(|(by, kill)| *by == fate.via && before(at, *kill)))
        };
        self.fates.iter().filter(open).count()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strict_ledger_has_every_admitted_request_whoever_is_killed() {
    let known = chaos("strict").await;
    let (admitted, most, ledger) = (known.admitted(), known.at_work(), known.ledger);
    println!(
        "{} kills: {admitted} admitted, {ledger} in the ledger, {most} at work",
        known.kills.len()
    );
    assert!(ledger >= admitted, "{ledger} of {admitted}");
    assert!(ledger <= admitted + most, "{ledger} of {admitted}, and {most} at work");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lenient_ledger_lacks_no_more_than_its_bound_and_repeats_nothing() {
    let known = chaos("lenient").await;
    let (admitted, most, ledger) = (known.admitted(), known.at_work(), known.ledger);
    let bound = known.shortly_before();
    println!(
        "{} kills: {admitted} admitted, {ledger} in the ledger, {bound} open",
        known.kills.len()
    );
    assert!(ledger <= admitted + most, "{ledger} of {admitted}: something is there twice");
    assert!(ledger + bound >= admitted, "{ledger} of {admitted}, and {bound} at most are missing");
}

async fn chaos(after_crash: &str) -> Known {
    let stated = std::env::var("TOLLGATE_CHAOS").ok().and_then(|text| text.parse::<u64>().ok());
    let lasts = Duration::from_secs(stated.unwrap_or(LASTS));
    let mut ledger = Postgres::start().await;
    ledger.execute("postgres", "create database ledger").await;
    tollgate(&["migrate", "--database", &ledger.url("ledger")]).await;
    let redis = Redis::start().await;
    let load = Load::start().await;
    let mut gateways = Vec::new();
    for _ in CLIENTS {
        gateways.push(gateway(&redis, &ledger, &load, after_crash).await);
    }
    for (gateway, clients) in gateways.iter().zip(CLIENTS) {
        for client in 0..clients {
            load.client(gateway.listen(), token([ALICE, VERA][client % 2]));
        }
    }
    let some_time = async || tokio::time::sleep(Duration::from_millis(400)).await;
    let mut kills = Vec::new();
    for round in 0.. {
        if load.now() >= lasts && round >= CLIENTS.len() {
            break;
        }
        let node = round % CLIENTS.len();
        some_time().await;
        // By turns: with all else well, while the ledger is away, and while Redis is.
        match node {
            1 => ledger.kill().await,
            2 => redis.pause(),
            _ => {}
        }
        some_time().await;
        gateways[node].kill();
        kills.push((gateways[node].listen(), load.now()));
        some_time().await;
        match node {
            1 => ledger.restart().await,
            2 => redis.resume(),
            _ => {}
        }
        gateways[node].restart().await;
    }
    some_time().await;
    let (fates, outcomes) = load.fates().await;
    assert_eq!(outcomes[Outcome::Other as usize], 0, "{}", gateways[0].log());
    assert!(fates.len() > 100, "{outcomes:?}");
    for gateway in &mut gateways {
        assert!(gateway.terminate().await.success(), "{}", gateway.log());
        let left = std::fs::read_dir(gateway.dir().join("usage")).unwrap().count();
        assert_eq!(left, 0, "all of it is in the ledger: {}", gateway.log());
    }
    let sum = "select coalesce(sum(calls), 0)::bigint as calls from tollgate.usage";
    let rows = ledger.rows("ledger", sum).await;
    let counted = rows.first().and_then(|row| row["calls"].as_u64()).expect("a sum");
    Known { fates, kills, ledger: counted.try_into().expect("a small number") }
}

async fn gateway(redis: &Redis, ledger: &Postgres, load: &Load, after_crash: &str) -> Gateway {
    let draft = Draft::new();
    let (listen, admin) = (draft.listen(), draft.admin());
    draft.write(
        "gateway.yaml",
        &format!(
            "listen: [{{ address: {listen} }}]
admin: {admin}
edge: {{ address_guard: {{ rate: 1000000/s, burst: 1000000 }} }}
identity:
  issuers:
    - {{ name: users, iss: {ISSUER}, audience: authenticated, keys: [{{ hs256: {USER_SECRET} }}] }}
  api_keys:
    - {{ name: web, publishable: {PUBLISHABLE} }}
directory: {{ file: directory.yaml }}
limits_store: {{ redis: {{ url: '{redis}', timeout: 150ms, nodes: 3 }} }}
metering: {{ postgres: '{ledger}', journal: usage, flush: 1s }}
upstreams:
  web: {{ kind: http, addresses: ['{upstream}'], identity: none, retries: 0 }}
policies: [policy.yaml]
",
            redis = redis.url(),
            ledger = ledger.url("ledger"),
            upstream = load.upstream(),
        ),
    );
    draft.write(
        "policy.yaml",
        &format!(
            "plans: {{ free: {{ level: 1 }} }}
roles:
  viewer: {{ permissions: [] }}
  editor: {{ inherits: [viewer] }}
limits:
  per_organization: {{ scope: organization, rate: 10000/s, burst: 10000 }}
quotas:
  calls: {{ per: month, of: calls, amount: 100000000, after_crash: {after_crash} }}
routes:
  - name: web
    match: {{ path: '/r/{{path*}}', methods: [GET] }}
    upstream: web
    credential: user
    tenant: [header, default]
    permission: member
    limits: [per_organization]
    quotas: [calls]
"
        ),
    );
    draft.write("directory.yaml", &directory_yaml());
    draft.start().await
}
