//! The thread that writes the audit log: takes what waits, serialises it, appends it, and puts it
//! on the disk. Imports `domain` only.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use uuid::{Builder, Uuid};

use crate::domain::clock::{Clock, Now};

use super::file::LogFile;
use super::{Entry, SYNC_EVERY, Shared, WRITE_EVERY};

/// Records that are taken at once.
const BATCH: usize = 1_024;
/// Pause after an error, doubled after each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Attempts after the log was closed.
const LAST_ATTEMPTS: u32 = 4;

pub(super) struct Writer {
    shared: Arc<Shared>,
    file: LogFile,
    node: Arc<str>,
    clock: Arc<dyn Clock>,
    lines: Vec<u8>,
    /// When the oldest write happened that is not on the disk yet.
    unsynced: Option<Now>,
}

/// What there is to do.
struct Work {
    records: Vec<(u64, Entry)>,
    waiting: Vec<oneshot::Sender<()>>,
    closing: bool,
    /// More records wait than were taken.
    more: bool,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        file: LogFile,
        node: Arc<str>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { shared, file, node, clock, lines: Vec::new(), unsynced: None }
    }

    /// Writes until the log is closed, or nobody holds it any more.
    pub(super) fn run(mut self) {
        // Told once everything that came before them is on the disk.
        let mut waiting = Vec::new();
        let mut more = false;
        loop {
            let work = self.take(more);
            more = work.more;
            waiting.extend(work.waiting);
            let written = self.write(&work.records, work.closing);
            let due = work.closing || !waiting.is_empty();
            let synced = written && (more || self.sync(due, work.closing));
            if synced && !more {
                for waiter in waiting.drain(..) {
                    // It may have stopped waiting.
                    let _: Result<(), ()> = waiter.send(());
                }
            }
            if work.closing && (!synced || !more) {
                break;
            }
        }
        self.end();
    }

    /// Waits for work, or for the time to write.
    fn take(&self, more: bool) -> Work {
        let orphaned = Arc::strong_count(&self.shared) == 1;
        let mut queue = self.shared.queue();
        let urgent = more || queue.closing || orphaned || !queue.waiting.is_empty();
        if !urgent && queue.records.len() < self.shared.capacity.div_ceil(2) {
            let waited = self.shared.wake.wait_timeout(queue, WRITE_EVERY);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let count = queue.records.len().min(BATCH);
        let records: Vec<_> = queue.records.drain(..count).collect();
        self.shared.counters.in_hand.store(length(&records), Ordering::Relaxed);
        Work {
            records,
            waiting: std::mem::take(&mut queue.waiting),
            closing: queue.closing || orphaned,
            more: !queue.records.is_empty(),
        }
    }

    /// Appends the records, however often it takes; says whether it did. Only a log that is being
    /// closed gives up.
    fn write(&mut self, records: &[(u64, Entry)], closing: bool) -> bool {
        if records.is_empty() {
            return true;
        }
        self.lines.clear();
        for (seq, record) in records {
            let (lines, node) = (&mut self.lines, &self.node);
            let written = match record {
                Entry::Decision(record) => {
                    let id = event_id(record.unix_micros);
                    serde_json::to_writer(lines, &record.line(id, node, *seq))
                }
                Entry::Quota(event) => {
                    let id = event_id(event.unix_micros);
                    serde_json::to_writer(lines, &event.line(id, node, *seq))
                }
                Entry::Policy(change) => {
                    let id = event_id(change.unix_micros);
                    serde_json::to_writer(lines, &change.line(id, node, *seq))
                }
            };
            if written.is_ok() {
                self.lines.push(b'\n');
            }
        }
        let lines = std::mem::take(&mut self.lines);
        let done = self.insist(closing, |file| file.append(&lines));
        self.lines = lines;
        // Large batches are rare; do not hold their memory for ever.
        self.lines.shrink_to(64 * 1_024);
        let counters = &self.shared.counters;
        let counter = if done { &counters.written } else { &counters.dropped };
        counter.fetch_add(length(records), Ordering::Relaxed);
        counters.in_hand.store(0, Ordering::Relaxed);
        if done {
            self.unsynced.get_or_insert_with(|| self.clock.now());
        }
        done
    }

    /// Puts what was written on the disk, when it is time; says whether that went well. A sync
    /// that failed and is repeated may not cover what the first one lost (Linux drops such pages):
    /// the error is counted.
    fn sync(&mut self, now: bool, closing: bool) -> bool {
        let Some(since) = self.unsynced else { return true };
        if !now && self.clock.now().since(since) < SYNC_EVERY {
            return true;
        }
        let done = self.insist(closing, LogFile::sync);
        if done {
            self.unsynced = None;
        }
        done
    }

    /// Tries until it works, or until the log is closed and a few attempts more were made.
    fn insist(
        &mut self,
        mut closing: bool,
        mut attempt: impl FnMut(&mut LogFile) -> io::Result<()>,
    ) -> bool {
        let mut pause = FIRST_PAUSE;
        let mut last_attempts = LAST_ATTEMPTS;
        loop {
            let Err(error) = attempt(&mut self.file) else { return true };
            let before = self.shared.counters.errors.fetch_add(1, Ordering::Relaxed);
            // Once per doubling, so that a full disk does not fill the log as well.
            if before.is_power_of_two() || before == 0 {
                tracing::error!(%error, "the audit log cannot be written; it will be tried again");
            }
            if closing {
                last_attempts = last_attempts.saturating_sub(1);
                if last_attempts == 0 {
                    return false;
                }
            }
            let queue = self.shared.queue();
            if !closing && queue.closing {
                closing = true;
                continue;
            }
            // A flush wakes it early: then it is worth another attempt.
            let _ = self.shared.wake.wait_timeout(queue, pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Counts what is left, and lets nobody wait for it.
    fn end(&mut self) {
        let mut queue = self.shared.queue();
        queue.ended = true;
        queue.waiting.clear();
        let left = u64::try_from(queue.records.len()).unwrap_or(u64::MAX);
        queue.records.clear();
        self.shared.counters.dropped.fetch_add(left, Ordering::Relaxed);
    }
}

fn length(records: &[(u64, Entry)]) -> u64 {
    u64::try_from(records.len()).unwrap_or(u64::MAX)
}

/// A UUID of version 7 of a record's time (RFC 9562 section 5.7).
fn event_id(unix_micros: u64) -> Uuid {
    // Ten of the bytes of a random UUID that are random throughout.
    let random = Uuid::new_v4().into_bytes();
    let mut bits = [0; 10];
    for (bit, byte) in bits.iter_mut().zip(random.iter().take(6).chain(random.iter().skip(9))) {
        *bit = *byte;
    }
    Builder::from_unix_timestamp_millis(unix_micros / 1_000, &bits).into_uuid()
}
