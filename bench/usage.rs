//! What it costs a request to be counted: for the ledger alone, and under a quota, which is judged and
//! reserved before it is sent on and settled at its end. Alone, and with two threads that count for the
//! same organization or for many: what is known of an organization is behind one of 16 locks.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use criterion::Criterion;
use tollgate::config::settings::MeteringSettings;
use tollgate::domain::clock::{Clock, Now};
use tollgate::domain::ids::OrgId;
use tollgate::domain::secret::Secret;
use tollgate::domain::source::Source;
use tollgate::domain::usage::{Consumer, OrganizationUse, Payer, Used};
use tollgate::domain::zone::Zone;
use tollgate::policy::quotas::{
    AfterCrash, Amount, Mode, Period, Quota, Reached, Unit, Verdict, WithoutLedger,
};
use tollgate::stores::usage::Usage;
use tollgate::telemetry::clock::SystemClock;
use uuid::Uuid;

const USED: Used = Used { calls: 1, bytes_in: 100, bytes_out: 1_000, cost: 1 };

/// Measures a meter without a ledger: what comes to one is no request's business.
pub(crate) fn measure(criterion: &mut Criterion) -> Result<()> {
    let journal = std::env::temp_dir().join(format!("tollgate-usage-{}", std::process::id()));
    let settings = MeteringSettings {
        postgres: Secret::new("postgres://nobody@127.0.0.1:1/none?sslmode=disable"),
        journal: journal.clone(),
        flush: Duration::from_secs(3_600),
        zone: Zone::utc(),
        rows: 65_536.try_into().context("a number of rows")?,
    };
    let clock = Arc::new(SystemClock::new());
    let usage = Usage::start(&settings, Arc::from("bench"), Arc::clone(&clock) as _, None)?;
    let quota = quota()?;
    let mut group = criterion.benchmark_group("usage");
    for (name, organizations) in [("one organization", 1), ("50 organizations", 50)] {
        let callers = callers(organizations)?;
        let now = clock.now();
        group.bench_function(format!("count, {name}"), |bencher| {
            let mut callers = callers.iter().cycle();
            bencher.iter(|| {
                if let Some((payer, consumer)) = callers.next() {
                    usage.count(payer, consumer, black_box(USED), now);
                }
            });
        });
        for threads in [1, 2] {
            group.bench_function(format!("quota, {name}, {threads} at once"), |bencher| {
                bencher.iter_custom(|rounds| {
                    let began = clock.now();
                    std::thread::scope(|scope| {
                        for _ in 0..threads {
                            scope.spawn(|| {
                                let callers = callers.iter().cycle();
                                for (payer, consumer) in callers.take(rounds as usize) {
                                    request(&usage, &quota, payer, consumer, now);
                                }
                            });
                        }
                    });
                    clock.now().since(began)
                });
            });
        }
    }
    group.finish();
    drop(usage);
    std::fs::remove_dir_all(journal)?;
    Ok(())
}

fn request(usage: &Usage, quota: &Quota, payer: &Payer, consumer: &Consumer, now: Now) {
    let within = |known: Option<&OrganizationUse>| match quota.amount("any") {
        Some(amount) => match black_box(quota.judge(amount, 1, known)) {
            Verdict::Within { near, .. } => Ok(Reached { near, ..Reached::default() }),
            Verdict::Exceeded | Verdict::Unknown => Err(()),
        },
        None => Err(()),
    };
    if let Ok(reserved) = usage.reserve(payer.clone(), 1, now, within) {
        usage.count_reserved(reserved, consumer, black_box(USED));
    }
}

fn quota() -> Result<Quota> {
    Ok(Quota {
        name: "calls".into(),
        per: Period::Month,
        of: Unit::Calls,
        amount: Amount::Fixed(u64::MAX.try_into()?),
        mode: Mode::Hard,
        when_away: WithoutLedger::Serve,
        after_crash: AfterCrash::Lenient,
        thresholds: [80, 100].into(),
        source: Source::built_in(),
    })
}

fn callers(organizations: u128) -> Result<Vec<(Payer, Consumer)>> {
    let caller = |number: u128| {
        let organization = OrgId::new(Uuid::from_u128(number % organizations));
        let payer = Payer { organization, zone: None, team: None };
        Ok((payer, Consumer::User(format!("user-{number}").parse()?)))
    };
    (0..1_000).map(caller).collect()
}
