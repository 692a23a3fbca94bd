//! The journal on a real file system, without a ledger.

use std::path::{Path, PathBuf};

use super::*;
use crate::domain::ids::OrgId;
use crate::domain::secret::Secret;
use crate::domain::zone::Zone;
use crate::policy::quotas::Reached;
use crate::telemetry::clock::SystemClock;

/// A directory that goes with the test.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("tollgate-usage-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }

    fn files(&self) -> Vec<PathBuf> {
        journal::files(&self.0).unwrap()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn start(journal: &Path, rows: u32) -> Usage {
    let settings = MeteringSettings {
        // Nobody listens there.
        postgres: Secret::new("postgres://nobody@127.0.0.1:1/none?sslmode=disable"),
        journal: journal.to_owned(),
        flush: Duration::from_secs(3_600),
        zone: Zone::utc(),
        rows: rows.try_into().unwrap(),
    };
    Usage::start(&settings, Arc::from("node-1"), Arc::new(SystemClock::new()), None).unwrap()
}

fn user(number: usize) -> Consumer {
    Consumer::User(format!("user-{number}").parse().unwrap())
}

const ONE: Used = Used { calls: 1, bytes_in: 2, bytes_out: 3, cost: 4 };

fn count(usage: &Usage, callers: usize) {
    let now = usage.inner.clock.now();
    let payer = Payer { organization: OrgId::new(Uuid::from_u128(1)), zone: None, team: None };
    (0..callers).for_each(|number| usage.count(&payer, &user(number), ONE, now));
}

/// What the files say together, after their process is gone.
fn left(dir: &Dir) -> (u64, u64) {
    let mut all: HashMap<(Uuid, Key), Used> = HashMap::new();
    let mut damaged = 0;
    for path in dir.files() {
        // The last holder of the meter may be about to close it.
        let orphan = loop {
            match journal::adopt(&path).unwrap() {
                Some(orphan) => break orphan,
                None => std::thread::yield_now(),
            }
        };
        damaged += orphan.damaged;
        for (key, used) in &orphan.rows {
            all.entry((orphan.incarnation, key.clone())).or_default().raise(*used);
        }
    }
    (all.values().map(|used| used.calls).sum(), damaged)
}

/// The end of a process: its thread ends and its locks with it.
fn end(usage: Usage) {
    let weak = Arc::downgrade(&usage.inner);
    lock(&usage.inner.signals).closed = true;
    usage.inner.wake.notify_all();
    drop(usage);
    while weak.strong_count() > 0 {
        std::thread::yield_now();
    }
}

#[test]
fn what_was_journalled_outlives_its_process_and_nobody_takes_it_from_a_living_one() {
    let dir = Dir::new("outlives");
    let usage = start(&dir.0, 1_000);
    count(&usage, 10);
    usage.inner.tick(false);
    count(&usage, 5);
    usage.inner.tick(true);
    let [file] = dir.files().try_into().expect("one file");
    assert!(journal::adopt(&file).unwrap().is_none(), "its process lives");
    end(usage);
    assert_eq!(left(&dir), (15, 0));
}

#[test]
fn a_line_that_a_crash_tore_is_left_out_and_one_amidst_others_is_counted_as_damaged() {
    let dir = Dir::new("torn");
    let usage = start(&dir.0, 1_000);
    count(&usage, 3);
    usage.inner.tick(false);
    end(usage);
    let [file] = dir.files().try_into().expect("one file");
    let whole = std::fs::read_to_string(&file).unwrap();
    let cut = whole.len() - 4;
    std::fs::write(&file, &whole[..cut]).unwrap();
    assert_eq!(left(&dir), (2, 0));
    let broken = whole.replacen("\"kind\":\"user\"", "\"kind\":\"us", 1);
    std::fs::write(&file, broken).unwrap();
    assert_eq!(left(&dir), (2, 1));
}

#[test]
fn a_file_of_another_kind_is_an_error_and_stays() {
    let dir = Dir::new("foreign");
    drop(Journal::begin(&dir.0, Uuid::nil(), "n").unwrap());
    let [file] = dir.files().try_into().expect("one file");
    for text in [
        "",
        "nonsense\n",
        "{\"version\":3,\"incarnation\":\"00000000-0000-0000-0000-000000000000\",\"node\":\"n\"}\n",
    ] {
        std::fs::write(&file, text).unwrap();
        assert!(journal::adopt(&file).is_err(), "{text}");
    }
    assert!(file.exists());
}

#[test]
fn a_half_full_table_begins_anew_once_and_the_sum_of_both_is_what_was_counted() {
    let dir = Dir::new("renewed");
    let usage = start(&dir.0, 1_000);
    for _ in 0..3 {
        count(&usage, 900);
        usage.inner.tick(false);
    }
    let counted = lock(&usage.inner.pending).len();
    assert_eq!(counted, 2, "the ledger is away: no third one is begun");
    assert_eq!(dir.files().len(), 2);
    assert!(usage.stats().rows <= 1_000 + 16, "{:?}", usage.stats());
    end(usage);
    assert_eq!(left(&dir), (2_700, 0));
}

#[test]
fn an_incarnation_that_is_settled_goes_and_a_restarted_journal_has_the_rest() {
    let dir = Dir::new("settled");
    let usage = start(&dir.0, 1_000);
    let inner = &usage.inner;
    count(&usage, 900);
    inner.tick(false);
    count(&usage, 10);
    inner.tick(false);
    let [before, present] = <[_; 2]>::try_from(
        lock(&inner.pending).iter().map(|of| of.incarnation).collect::<Vec<_>>(),
    )
    .expect("two incarnations");
    inner.settle(before, &inner.rows_of(before));
    inner.tick(false);
    assert_eq!(dir.files().len(), 1);
    let (known, rest) = (inner.rows_of(present), 4);
    inner.settle(present, &known[rest..]);
    lock(&inner.journals).broken = true;
    inner.tick(false);
    end(usage);
    assert_eq!(left(&dir), (4, 0));
}

#[test]
fn a_counter_that_has_grown_since_it_was_sent_is_not_settled() {
    let dir = Dir::new("grown");
    let usage = start(&dir.0, 1_000);
    let inner = &usage.inner;
    count(&usage, 1);
    inner.tick(false);
    let incarnation = lock(&inner.pending)[0].incarnation;
    let sent = inner.rows_of(incarnation);
    count(&usage, 1);
    inner.tick(false);
    inner.settle(incarnation, &sent);
    let waits = inner.rows_of(incarnation);
    assert_eq!((waits.len(), waits[0].1.calls), (1, 2));
    end(usage);
}

#[tokio::test]
async fn a_disk_that_fails_stops_no_counting_and_is_written_in_full_when_it_is_back() {
    let dir = Dir::new("disk");
    let usage = start(&dir.0, 1_000);
    let [file] = dir.files().try_into().expect("one file");
    count(&usage, 2);
    let aside = dir.0.with_extension("aside");
    std::fs::rename(&dir.0, &aside).unwrap();
    lock(&usage.inner.journals).broken = true;
    usage.inner.tick(false);
    assert!(usage.stats().journal_errors > 0);
    count(&usage, 3);
    assert!(!usage.flush().await, "the ledger is away");
    assert_eq!(usage.stats().unflushed, 3);
    std::fs::rename(&aside, &dir.0).unwrap();
    usage.inner.tick(true);
    assert!(!file.exists(), "another one is in its place");
    end(usage);
    assert_eq!(left(&dir), (5, 0));
}

/// Reserves a call under a quota that is strict.
fn reserve(usage: &Usage, now: Now) -> Reserved {
    let payer = Payer { organization: OrgId::new(Uuid::from_u128(1)), zone: None, team: None };
    let strict = Reached { strict: true, ..Reached::default() };
    usage.reserve(payer, 5, now, |_| Ok::<_, ()>(strict)).unwrap()
}

#[tokio::test]
async fn what_is_strict_is_in_the_journal_before_it_is_sent_on_and_counted_once() {
    let dir = Dir::new("strict");
    let usage = start(&dir.0, 1_000);
    let now = usage.inner.clock.now();
    let mut kept = reserve(&usage, now);
    assert!(usage.commit(&mut kept, &user(0)).await);
    assert!(usage.commit(&mut kept, &user(0)).await, "once is enough");
    let [file] = dir.files().try_into().expect("one file");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.ends_with("\"calls\":1,\"bytes_in\":0,\"bytes_out\":0,\"cost\":5}\n"), "{text}");
    usage.count_reserved(kept, &user(0), Used { calls: 1, bytes_in: 7, bytes_out: 8, cost: 6 });
    // Given up before its end: sent on is sent on.
    let mut dropped = reserve(&usage, now);
    assert!(usage.commit(&mut dropped, &user(0)).await);
    drop(dropped);
    usage.inner.tick(false);
    let rows = usage.inner.rows_of(usage.inner.process);
    let [(_, used)] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!(*used, Used { calls: 2, bytes_in: 7, bytes_out: 8, cost: 11 });
    end(usage);
}

#[tokio::test]
async fn a_journal_that_cannot_be_written_lets_nothing_strict_through() {
    let dir = Dir::new("strict-disk");
    let usage = start(&dir.0, 1_000);
    let now = usage.inner.clock.now();
    let aside = dir.0.with_extension("aside");
    std::fs::rename(&dir.0, &aside).unwrap();
    lock(&usage.inner.journals).broken = true;
    let mut refused = reserve(&usage, now);
    assert!(!usage.commit(&mut refused, &user(0)).await);
    std::fs::rename(&aside, &dir.0).unwrap();
    let mut passed = reserve(&usage, now);
    assert!(usage.commit(&mut passed, &user(0)).await);
    drop((refused, passed));
    end(usage);
    assert_eq!(left(&dir), (2, 0), "what was refused so late is charged");
}
