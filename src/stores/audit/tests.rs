//! The audit log on a real file system.

use std::path::{Path, PathBuf};

use http::{Method, StatusCode};

use super::*;
use crate::domain::audit::Decision;
use crate::domain::would::WouldHaves;
use crate::telemetry::clock::SystemClock;

/// A directory that goes with the test.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("tollgate-audit-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("audit.jsonl")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn start(file: &Path, queue: u32) -> AuditLog {
    let settings = AuditSettings { file: file.to_owned(), queue: NonZeroU32::new(queue).unwrap() };
    AuditLog::start(&settings, Arc::from("node-1"), Arc::new(SystemClock::new())).unwrap()
}

fn record(path: &str) -> AuditRecord {
    AuditRecord {
        unix_micros: 1_700_000_000_000_000,
        request_id: None,
        client: None,
        principal: None,
        user: None,
        impersonated: None,
        impersonation_reason: None,
        device: None,
        api_key: None,
        organization: None,
        plan: None,
        role: None,
        further_rights: false,
        team: None,
        signed_in: None,
        membership: None,
        method: Method::GET,
        host: None,
        path: Box::from(path),
        route: None,
        decision: Decision::Allowed,
        status: StatusCode::OK,
        stage: None,
        code: None,
        penalty: None,
        security: None,
        would: WouldHaves::default(),
        rules: Vec::new(),
        tags: Vec::new(),
        permission: None,
        policy: None,
        snapshot: None,
        upstream: None,
        duration_micros: 1,
    }
}

/// The lines of a file that are records, and how many are not.
fn read(file: &Path) -> (Vec<serde_json::Value>, usize) {
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "{text}");
    let parsed: Vec<_> = text.lines().map(serde_json::from_str).collect();
    let broken = parsed.iter().filter(|line| line.is_err()).count();
    (parsed.into_iter().flatten().collect(), broken)
}

fn numbers(lines: &[serde_json::Value]) -> Vec<u64> {
    lines.iter().map(|line| line["seq"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn every_record_becomes_a_line_in_order_with_an_id_of_its_own() {
    let dir = Dir::new("order");
    let log = start(&dir.file(), 100_000);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..1_000).for_each(|n| log.record(record(&format!("/{n}")))));
        }
    });
    log.flush().await;
    let (lines, broken) = read(&dir.file());
    assert_eq!((numbers(&lines), broken), ((0..4_000).collect(), 0));
    let ids: std::collections::HashSet<_> =
        lines.iter().map(|line| line["id"].to_string()).collect();
    assert_eq!(ids.len(), 4_000);
    assert!(ids.iter().all(|id| id.starts_with("\"018bcfe5-6800-7")), "{:?}", ids.iter().next());
    let wanted = AuditStats { queued: 0, written: 4_000, dropped: 0, errors: 0, skipped: 0 };
    assert_eq!(log.stats(), wanted);
}

#[tokio::test]
async fn a_record_is_written_without_being_asked_for() {
    let dir = Dir::new("interval");
    let log = start(&dir.file(), 100);
    log.record(record("/"));
    let written = async {
        while read(&dir.file()).0.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), written).await.expect("a written record");
}

#[tokio::test]
async fn closing_writes_what_waits_and_later_records_are_counted_as_dropped() {
    let dir = Dir::new("close");
    let log = start(&dir.file(), 5_000);
    (0..5_000).for_each(|_| log.record(record("/")));
    let stats = log.close().await;
    assert_eq!(stats.written + stats.dropped, 5_000);
    assert_eq!(read(&dir.file()).0.len() as u64, stats.written);
    log.record(record("/late"));
    assert_eq!(log.stats().dropped, stats.dropped + 1);
    assert_eq!(log.close().await.written, stats.written, "closing twice changes nothing");
}

#[tokio::test]
async fn a_file_that_was_moved_away_is_left_whole_and_a_new_one_begun() {
    let dir = Dir::new("rotate");
    let moved = dir.0.join("audit.jsonl.1");
    let log = start(&dir.file(), 100);
    log.record(record("/a"));
    log.flush().await;
    std::fs::rename(dir.file(), &moved).unwrap();
    log.record(record("/b"));
    log.flush().await;
    assert_eq!(numbers(&read(&moved).0), [0]);
    assert_eq!(numbers(&read(&dir.file()).0), [1]);
    std::fs::remove_file(dir.file()).unwrap();
    log.record(record("/c"));
    log.flush().await;
    assert_eq!(numbers(&read(&dir.file()).0), [2]);
}

#[tokio::test]
async fn a_line_that_a_crash_tore_damages_no_other() {
    let dir = Dir::new("torn");
    std::fs::write(dir.file(), "{\"id\":\"0190").unwrap();
    let log = start(&dir.file(), 100);
    log.record(record("/a"));
    log.flush().await;
    let (lines, broken) = read(&dir.file());
    assert_eq!((numbers(&lines), broken), (vec![0], 1));
}

#[tokio::test]
async fn a_full_disk_blocks_nobody_and_what_was_accepted_is_written_when_it_has_room() {
    let dir = Dir::new("full");
    // A device on which every write fails for want of space.
    std::os::unix::fs::symlink("/dev/full", dir.file()).unwrap();
    let log = start(&dir.file(), 10);
    while log.stats().errors == 0 {
        log.record(record("/"));
        tokio::task::yield_now().await;
    }
    let before = log.stats();
    (0..50).for_each(|_| log.record(record("/")));
    let full = log.stats();
    assert!(full.dropped >= before.dropped + 40, "{before:?} {full:?}");
    assert_eq!((full.written, full.queued > 0), (0, true));

    let fresh = dir.0.join("fresh");
    std::fs::write(&fresh, "").unwrap();
    std::fs::rename(&fresh, dir.file()).unwrap();
    log.flush().await;
    let after = log.stats();
    let (lines, broken) = read(&dir.file());
    assert_eq!((lines.len() as u64, broken), (full.queued, 0));
    assert_eq!((after.written, after.queued), (full.queued, 0));
    assert_eq!(after.dropped, full.dropped, "nothing that was accepted is lost");
    log.record(record("/"));
    log.flush().await;
    let last = *numbers(&read(&dir.file()).0).last().unwrap();
    assert_eq!(last, after.written + after.dropped, "what was dropped is missing by number");
}

#[tokio::test]
async fn closing_on_a_full_disk_ends_and_counts_what_is_lost() {
    let dir = Dir::new("hopeless");
    std::os::unix::fs::symlink("/dev/full", dir.file()).unwrap();
    let log = start(&dir.file(), 100);
    (0..60).for_each(|_| log.record(record("/")));
    let stats = tokio::time::timeout(Duration::from_secs(60), log.close()).await.expect("an end");
    assert_eq!((stats.written, stats.dropped, stats.queued), (0, 60, 0));
    assert!(stats.errors > 1);
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error_at_the_start() {
    let dir = Dir::new("missing");
    let settings = AuditSettings { file: dir.0.join("no/such/dir"), queue: NonZeroU32::MIN };
    let clock = Arc::new(SystemClock::new());
    assert!(AuditLog::start(&settings, Arc::from("node-1"), clock).is_err());
}

#[test]
fn what_is_recorded_for_policies_in_shadow_is_bounded_each_second_and_the_rest_counted() {
    let dir = Dir::new("extra");
    let log = start(&dir.file(), 8);
    let admitted = |second| (0..500).filter(|_| log.admits_extra(second)).count();
    let most = usize::try_from(EXTRA_PER_SECOND).unwrap();
    assert_eq!(admitted(10), most);
    assert_eq!(admitted(9), 0, "an earlier second opened again");
    assert_eq!(admitted(11), most);
    assert_eq!(log.stats().skipped, 1_500 - 2 * u64::from(EXTRA_PER_SECOND));
}
