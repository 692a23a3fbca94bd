//! The ledger of usage on a real PostgreSQL: repeated, killed, shared by nodes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tollgate::config::settings::{AuditSettings, MeteringSettings};
use tollgate::domain::clock::{Clock, Now};
use tollgate::domain::ids::OrgId;
use tollgate::domain::secret::Secret;
use tollgate::domain::source::Source;
use tollgate::domain::usage::{Consumer, Payer, Used};
use tollgate::domain::zone::Zone;
use tollgate::policy::quotas::{
    AfterCrash, Amount, Milestone, Mode, Period, Quota, Reached, Unit, Verdict, WithoutLedger,
};
use tollgate::stores::audit::AuditLog;
use tollgate::stores::migrate::{MIGRATIONS, migrate};
use tollgate::stores::usage::{By, Usage, UsageError, report};
use tollgate::telemetry::clock::SystemClock;
use uuid::Uuid;

use crate::support::place::TempDir;
use crate::support::postgres::{APP, Postgres};

const ONE: Used = Used { calls: 1, bytes_in: 10, bytes_out: 100, cost: 2 };

fn start(postgres: &Postgres, journal: &Path) -> Usage {
    let settings = MeteringSettings {
        postgres: Secret::new(postgres.url(APP)),
        journal: journal.to_owned(),
        // Flushed by hand.
        flush: Duration::from_secs(3_600),
        zone: Zone::utc(),
        rows: 1_000.try_into().unwrap(),
    };
    Usage::start(&settings, Arc::from("node"), Arc::new(SystemClock::new()), None).unwrap()
}

async fn database() -> Postgres {
    let postgres = Postgres::start().await;
    migrate(&Secret::new(postgres.url(APP)), MIGRATIONS).await.unwrap();
    postgres
}

fn organization(number: u128) -> OrgId {
    OrgId::new(Uuid::from_u128(number))
}

fn payer(organization: OrgId) -> Payer {
    Payer { organization, zone: None, team: None }
}

fn count(usage: &Usage, organization: OrgId, user: &str, calls: u64) {
    let now = SystemClock::new().now();
    let consumer = Consumer::User(user.parse().unwrap());
    (0..calls).for_each(|_| usage.count(&payer(organization), &consumer, ONE, now));
}

/// Calls in the ledger by what a line is about.
async fn told(postgres: &Postgres, of: Option<OrgId>, by: By) -> Vec<(String, u64)> {
    let days = ("2020-01-01".parse().unwrap(), "2100-01-01".parse().unwrap());
    let lines = report(&Secret::new(postgres.url(APP)), of, days, by).await.unwrap();
    let told = lines.into_iter().map(|line| {
        assert_eq!((line.bytes_in, line.bytes_out), (10 * line.calls, 100 * line.calls));
        assert_eq!(line.cost, 2 * line.calls);
        (line.subject.or(line.kind).unwrap_or_default(), line.calls)
    });
    told.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_count_apart_and_repeating_a_flush_changes_nothing() {
    let postgres = database().await;
    let (one, two) = (TempDir::new(), TempDir::new());
    let nodes = [start(&postgres, one.path()), start(&postgres, two.path())];
    for round in 1..=3 {
        for node in &nodes {
            count(node, organization(1), "ann", 5);
            count(node, organization(2), "ann", 1);
            assert!(node.flush().await && node.flush().await);
        }
        let all = told(&postgres, Some(organization(1)), By::User).await;
        assert_eq!(all, [("ann".to_owned(), 10 * round)]);
    }
    nodes[0].count(&payer(organization(1)), &Consumer::Anonymous, ONE, SystemClock::new().now());
    assert!(nodes[0].flush().await);
    let all = told(&postgres, Some(organization(1)), By::User).await;
    assert_eq!(all, [("anonymous".to_owned(), 1), ("ann".to_owned(), 30)]);
    let all = told(&postgres, None, By::Organization).await;
    assert_eq!(all, [(String::new(), 31), (String::new(), 6)]);
    for node in &nodes {
        node.close().await;
    }
    assert_eq!(std::fs::read_dir(one.path()).unwrap().count(), 0, "all of it is in the ledger");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_database_loses_and_repeats_nothing() {
    let mut postgres = database().await;
    let dir = TempDir::new();
    let usage = start(&postgres, dir.path());
    let mut counted = 0;
    for _ in 0..3 {
        count(&usage, organization(1), "ann", 1_000);
        // Killed in the middle of a flush, or before it, or behind it: whatever comes.
        let flushing = usage.clone();
        let flush = tokio::spawn(async move { flushing.flush().await });
        postgres.kill().await;
        let _ = flush.await;
        count(&usage, organization(1), "ann", 1_000);
        assert!(!usage.flush().await, "it is away");
        postgres.restart().await;
        counted += 2_000;
        crate::support::eventually("the ledger", async || usage.flush().await.then_some(())).await;
        let all = told(&postgres, None, By::User).await;
        assert_eq!(all, [("ann".to_owned(), counted)]);
    }
    usage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_process_left_is_brought_to_the_ledger_once_by_whoever_comes() {
    let mut postgres = database().await;
    let dir = TempDir::new();
    let first = start(&postgres, dir.path());
    count(&first, organization(1), "ann", 7);
    assert!(first.flush().await);
    count(&first, organization(1), "ann", 3);
    postgres.kill().await;
    first.close().await;
    drop(first);
    postgres.restart().await;
    let others = [start(&postgres, dir.path()), start(&postgres, dir.path())];
    let adopted = async || {
        let (one, two) = tokio::join!(others[0].flush(), others[1].flush());
        let all = others.iter().map(|other| other.stats().adopted).sum::<u64>();
        (one && two && all == 1).then_some(())
    };
    crate::support::eventually("the end of the first", adopted).await;
    assert_eq!(told(&postgres, None, By::User).await, [("ann".to_owned(), 10)]);
    for other in others {
        count(&other, organization(1), "ann", 1);
        other.close().await;
    }
    assert_eq!(told(&postgres, None, By::User).await, [("ann".to_owned(), 12)]);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_the_table_says_what_to_do_and_costs_nothing_that_was_counted() {
    let postgres = Postgres::start().await;
    let dir = TempDir::new();
    let usage = start(&postgres, dir.path());
    count(&usage, organization(1), "ann", 4);
    assert!(!usage.flush().await);
    let days = ("2020-01-01".parse().unwrap(), "2100-01-01".parse().unwrap());
    let url = Secret::new(postgres.url(APP));
    let refused = report(&url, None, days, By::Day).await.unwrap_err();
    assert!(matches!(refused, UsageError::NotMigrated), "{refused}");
    migrate(&url, MIGRATIONS).await.unwrap();
    assert!(usage.flush().await);
    assert_eq!(told(&postgres, None, By::User).await, [("ann".to_owned(), 4)]);
    usage.close().await;
}

fn admits(node: &Usage, quota: &Quota, now: Now) -> bool {
    let amount = quota.amount("any").unwrap();
    let reserved =
        node.reserve(payer(organization(1)), 2, now, |known| match quota.judge(amount, 2, known) {
            Verdict::Within { near, .. } => Ok(Reached { near, ..Reached::default() }),
            Verdict::Exceeded | Verdict::Unknown => Err(()),
        });
    let admitted = reserved.is_ok();
    if let Ok(reserved) = reserved {
        node.count_reserved(reserved, &Consumer::Anonymous, ONE);
    }
    admitted
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_admit_no_more_than_a_quota_and_what_the_others_admit_between_two_readings() {
    let postgres = database().await;
    let (one, two) = (TempDir::new(), TempDir::new());
    let nodes = [start(&postgres, one.path()), start(&postgres, two.path())];
    let now = SystemClock::new().now();
    let quota = Quota {
        name: "calls".into(),
        per: Period::Month,
        of: Unit::Calls,
        amount: Amount::Fixed(100.try_into().unwrap()),
        mode: Mode::Hard,
        when_away: WithoutLedger::Refuse,
        after_crash: AfterCrash::Lenient,
        thresholds: [50, 80, 100].into(),
        source: Source::built_in(),
    };
    assert!(!admits(&nodes[0], &quota, now), "nothing is known, and that is to refuse");
    let settle = async || {
        for node in [&nodes[0], &nodes[1], &nodes[0]] {
            node.unread(&payer(organization(1)), now);
            assert!(node.flush().await);
        }
    };
    settle().await;
    let (between, mut admitted) = (9, 0);
    for _ in 0..10 {
        for node in &nodes {
            admitted += (0..between).filter(|_| admits(node, &quota, now)).count();
        }
        settle().await;
    }
    assert!((100..=100 + between).contains(&admitted), "{admitted}");
    assert!(nodes.iter().all(|node| !admits(node, &quota, now)));
    settle().await;
    assert_eq!(told(&postgres, None, By::User).await, [("anonymous".to_owned(), admitted as u64)]);
    // What is reserved and comes to nothing leaves room for the next.
    let wider = Quota { amount: Amount::Fixed((admitted as u64 + 1).try_into().unwrap()), ..quota };
    for _ in 0..3 {
        let amount = wider.amount("any").unwrap();
        let reserved = nodes[0].reserve(payer(organization(1)), 2, now, |known| {
            match wider.judge(amount, 2, known) {
                Verdict::Within { near, .. } => Ok(Reached { near, ..Reached::default() }),
                Verdict::Exceeded | Verdict::Unknown => Err(()),
            }
        });
        assert!(reserved.is_ok());
        assert!(!admits(&nodes[0], &wider, now), "the last place is taken");
    }
    assert!(admits(&nodes[0], &wider, now));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_days_of_an_organization_are_those_of_its_zone_on_every_node_and_in_the_ledger() {
    let postgres = database().await;
    let (one, two) = (TempDir::new(), TempDir::new());
    let nodes = [start(&postgres, one.path()), start(&postgres, two.path())];
    let at = |time: &str| {
        let seconds = time.parse::<jiff::Timestamp>().unwrap().as_second();
        Now { unix_micros: u64::try_from(seconds).unwrap() * 1_000_000, ..SystemClock::new().now() }
    };
    let zones = ["Pacific/Auckland", "America/New_York"];
    let payers: Vec<Payer> = (1..)
        .zip(zones)
        .map(|(number, zone)| Payer {
            organization: organization(number),
            zone: Some(zone.parse().unwrap()),
            team: None,
        })
        .collect();
    // Now, as `flush` reads the sums of the present periods; a day of the zones in the past beside it.
    let now = SystemClock::new().now();
    let used = |node: &Usage, payer: &Payer| {
        let mut used = None;
        let _ = node.reserve(payer.clone(), 1, now, |known| {
            used = known.map(|known| (known.day.used.calls, known.month.used.calls));
            Err::<Reached, ()>(())
        });
        used
    };
    for payer in &payers {
        let consumer = Consumer::Anonymous;
        nodes[0].count(payer, &consumer, ONE, now);
        nodes[0].count(payer, &consumer, ONE, at("2020-06-01T13:00:00Z"));
        assert!(nodes[1].unread(payer, now));
    }
    assert!(nodes[0].flush().await && nodes[1].flush().await);
    for payer in &payers {
        assert_eq!(used(&nodes[1], payer), Some((1, 1)), "{payer:?}");
    }
    let days = ("2020-05-30".parse().unwrap(), "2020-06-03".parse().unwrap());
    let url = Secret::new(postgres.url(APP));
    let lines = report(&url, None, days, By::Day).await.unwrap();
    let told: Vec<Option<String>> = lines.into_iter().map(|line| line.day).collect();
    assert_eq!(told, [Some("2020-06-02".to_owned()), Some("2020-06-01".to_owned())]);
}

/// A node with an audit log.
fn telling(postgres: &Postgres, dir: &Path) -> (Usage, AuditLog) {
    let file = dir.join("audit.jsonl");
    let audit = AuditSettings { file, queue: 64.try_into().unwrap() };
    let clock = Arc::new(SystemClock::new());
    let audit = AuditLog::start(&audit, Arc::from("node"), Arc::clone(&clock) as _).unwrap();
    let settings = MeteringSettings {
        postgres: Secret::new(postgres.url(APP)),
        journal: dir.join("usage"),
        flush: Duration::from_secs(3_600),
        zone: Zone::utc(),
        rows: 1_000.try_into().unwrap(),
    };
    let usage = Usage::start(&settings, Arc::from("node"), clock, Some(audit.clone())).unwrap();
    (usage, audit)
}

/// What the audit logs of these directories tell of one quota, in percent.
fn lines(dirs: &[&TempDir], quota: &str) -> Vec<u64> {
    let mut told = Vec::new();
    for dir in dirs {
        let text = std::fs::read_to_string(dir.path().join("audit.jsonl")).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let of = lines.filter(|line| line["quota"] == quota);
        told.extend(of.map(|line| line["percent"].as_u64().unwrap()));
    }
    told.sort_unstable();
    told
}

/// A request with which so much of a quota is reached.
fn reach(node: &Usage, name: &str, percent: u16) {
    let quota = Arc::new(Quota {
        name: name.into(),
        per: Period::Month,
        of: Unit::Calls,
        amount: Amount::Fixed(100.try_into().unwrap()),
        mode: Mode::Hard,
        when_away: WithoutLedger::Serve,
        after_crash: AfterCrash::Lenient,
        thresholds: [50, 80, 100].into(),
        source: Source::built_in(),
    });
    let used = u64::from(percent);
    let milestone = Milestone { quota, percent, used, amount: 100.try_into().unwrap() };
    let reached = Reached { milestones: [milestone].into_iter().collect(), ..Reached::default() };
    let now = SystemClock::new().now();
    let reserved = node.reserve(payer(organization(1)), 1, now, |_| Ok::<_, ()>(reached));
    node.count_reserved(reserved.unwrap(), &Consumer::Anonymous, ONE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_threshold_is_told_once_by_all_nodes_together_over_restarts_and_outages() {
    let mut postgres = database().await;
    let (one, two) = (TempDir::new(), TempDir::new());
    let nodes = [telling(&postgres, one.path()).0, telling(&postgres, two.path()).0];
    // Both see it, and both skip a threshold on the way.
    for (node, percent) in nodes.iter().zip([80, 80]) {
        reach(node, "calls", percent);
    }
    let (first, second) = tokio::join!(nodes[0].flush(), nodes[1].flush());
    assert!(first && second);
    assert_eq!(lines(&[&one, &two], "calls"), [50, 80]);
    assert!(nodes[0].flush().await && nodes[1].flush().await);
    assert_eq!(lines(&[&one, &two], "calls"), [50, 80]);
    let told: u64 = nodes.iter().flat_map(|node| node.stats().told).map(|(_, told)| told).sum();
    assert_eq!(told, 2);
    // While the ledger is away, they wait.
    postgres.kill().await;
    nodes.iter().for_each(|node| reach(node, "calls", 100));
    assert!(!nodes[0].flush().await);
    assert_eq!(lines(&[&one, &two], "calls"), [50, 80]);
    postgres.restart().await;
    for node in &nodes {
        crate::support::eventually("the ledger", async || node.flush().await.then_some(())).await;
    }
    assert_eq!(lines(&[&one, &two], "calls"), [50, 80, 100]);
    // A process that knows nothing of it.
    let third = TempDir::new();
    let (restarted, _audit) = telling(&postgres, third.path());
    reach(&restarted, "calls", 100);
    assert!(restarted.flush().await);
    assert_eq!(lines(&[&one, &two, &third], "calls"), [50, 80, 100]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_threshold_that_a_node_was_to_tell_and_did_not_is_told_by_another_one() {
    let postgres = database().await;
    let claimed = |quota: &str, ago: &str| {
        format!(
            "insert into tollgate.quota_thresholds (organization_id, quota, period, begins, percent, \
             used, amount, node, claimed_by, claimed_at) select '{}', '{quota}', 'month', \
             date_trunc('month', now() at time zone 'UTC'), percent, 1, 1, 'gone', gen_random_uuid(), \
             now() - interval '{ago}' from unnest('{{50,80}}'::int[]) percent",
            organization(1)
        )
    };
    postgres.execute(APP, &claimed("late", "2 minutes")).await;
    postgres.execute(APP, &claimed("at work", "2 seconds")).await;
    let dir = TempDir::new();
    let (node, _audit) = telling(&postgres, dir.path());
    reach(&node, "late", 80);
    reach(&node, "at work", 80);
    assert!(node.flush().await);
    assert_eq!(lines(&[&dir], "late"), [50, 80]);
    assert_eq!(lines(&[&dir], "at work"), [0_u64; 0], "its node has a minute");
    let gone = "update tollgate.quota_thresholds set claimed_at = now() - interval '2 minutes' \
                where quota = 'at work' and percent = 80";
    postgres.execute(APP, gone).await;
    assert!(node.flush().await);
    assert_eq!(lines(&[&dir], "at work"), [80], "it is still seen");
    let told = "select quota from tollgate.quota_thresholds where told_at is null";
    assert_eq!(postgres.rows(APP, told).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn costs_are_borne_by_teams_and_add_up_to_what_the_organization_used() {
    let postgres = database().await;
    let dir = TempDir::new();
    let usage = start(&postgres, dir.path());
    let now = SystemClock::new().now();
    let teams = [(Some("sales.north"), 3), (Some("sales"), 2), (None, 1)];
    for user in ["ann", "bob"] {
        for (team, calls) in teams {
            let team = team.map(|name: &str| name.parse().unwrap());
            let payer = Payer { team, ..payer(organization(1)) };
            let consumer = Consumer::User(user.parse().unwrap());
            (0..calls).for_each(|_| usage.count(&payer, &consumer, ONE, now));
        }
    }
    usage.close().await;
    let days = ("2020-01-01".parse().unwrap(), "2100-01-01".parse().unwrap());
    let url = Secret::new(postgres.url(APP));
    let lines = report(&url, None, days, By::Team).await.unwrap();
    let told: Vec<_> = lines.iter().map(|line| (line.team.as_deref(), line.calls)).collect();
    assert_eq!(told, [(Some("sales"), 4), (Some("sales.north"), 6), (None, 2)]);
    assert_eq!(by_user(&postgres).await, [("ann".to_owned(), 6), ("bob".to_owned(), 6)]);
}

async fn by_user(postgres: &Postgres) -> Vec<(String, u64)> {
    told(postgres, None, By::User).await
}
