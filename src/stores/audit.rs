//! The audit log, first form: JSON lines in a local file, one for each decision.
//!
//! The shell hands a record over once the request is answered and never waits: the record goes
//! into a bounded queue, and a thread of its own writes it. When the queue is full the record is
//! dropped, and counted, and its number is missing in the file. Imports `domain` and `config`.
//!
//! What is promised: within [`WRITE_EVERY`] a record is in the operating system's hands and
//! survives `kill -9`; within [`SYNC_EVERY`] it is on the disk and survives a power cut. While the
//! disk fails, records wait in the queue and are tried again.

mod file;
mod writer;

use std::collections::VecDeque;
use std::io;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::config::settings::AuditSettings;
use crate::domain::audit::AuditRecord;
use crate::domain::clock::Clock;
use crate::domain::milestone::QuotaReached;
use crate::domain::published::PolicyChange;

use self::file::LogFile;
use self::writer::Writer;

/// A record waits for at most this long before it is written.
pub const WRITE_EVERY: Duration = Duration::from_millis(200);
/// In one second, so many records are taken that are written only because a policy in shadow would
/// have refused.
pub const EXTRA_PER_SECOND: u32 = 100;
/// What was written is on the disk after at most this long.
pub const SYNC_EVERY: Duration = Duration::from_secs(1);

/// The audit log. Clones are the same log.
#[derive(Debug, Clone)]
pub struct AuditLog {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    capacity: usize,
    counters: Counters,
    extra: Mutex<Extra>,
}

/// What was taken beyond what routes want recorded.
#[derive(Debug, Default)]
struct Extra {
    second: u64,
    taken: u32,
}

#[derive(Debug, Default)]
struct Queue {
    records: VecDeque<(u64, Entry)>,
    /// The number of the next record.
    next: u64,
    /// Told when everything that was accepted before they came is on the disk.
    waiting: Vec<oneshot::Sender<()>>,
    closing: bool,
    /// The writer has ended: nobody will take anything any more.
    ended: bool,
}

/// What a line is about.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all of them are decisions")]
enum Entry {
    Decision(AuditRecord),
    Quota(QuotaReached),
    Policy(PolicyChange),
}

#[derive(Debug, Default)]
struct Counters {
    written: AtomicU64,
    dropped: AtomicU64,
    errors: AtomicU64,
    skipped: AtomicU64,
    /// Taken from the queue and not written yet.
    in_hand: AtomicU64,
}

/// What happened since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditStats {
    /// Records that wait to be written now.
    pub queued: u64,
    /// Records that were written.
    pub written: u64,
    /// Records that were given up: the queue was full, or the log was closed and the disk failed.
    pub dropped: u64,
    /// Times that the file could not be opened, written or synced.
    pub errors: u64,
    /// Requests that a policy in shadow would have refused and that were not recorded, because
    /// there were too many.
    pub skipped: u64,
}

impl AuditLog {
    /// Opens the file and starts the thread that writes it. Call it after the process has forked.
    ///
    /// # Errors
    /// When the file cannot be opened now; later trouble is counted and survived.
    pub fn start(
        settings: &AuditSettings,
        node: Arc<str>,
        clock: Arc<dyn Clock>,
    ) -> io::Result<Self> {
        let file = LogFile::open(settings.file.clone())?;
        let shared = Arc::new(Shared::new(settings.queue));
        let writer = Writer::new(Arc::clone(&shared), file, node, clock);
        std::thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run())?;
        Ok(Self { shared })
    }

    /// Takes a record, or drops and counts it. Never waits for the disk.
    pub fn record(&self, record: AuditRecord) {
        self.take(Entry::Decision(record));
    }

    /// The same for an event that is about no single request; says whether it was taken.
    pub fn note(&self, event: QuotaReached) -> bool {
        self.take(Entry::Quota(event))
    }

    /// The same for a change of the policy in force.
    pub fn changed(&self, change: PolicyChange) -> bool {
        self.take(Entry::Policy(change))
    }

    /// Whether one more record may be handed over that its route does not want recorded; if not, it
    /// is counted. `unix_secs` is when the request came.
    pub fn admits_extra(&self, unix_secs: u64) -> bool {
        let mut extra = self.shared.extra.lock().unwrap_or_else(PoisonError::into_inner);
        // Requests that end late do not open a second that is over once more.
        if unix_secs > extra.second {
            *extra = Extra { second: unix_secs, taken: 0 };
        }
        let admitted = extra.taken < EXTRA_PER_SECOND;
        if admitted {
            extra.taken += 1;
        } else {
            self.shared.counters.skipped.fetch_add(1, Ordering::Relaxed);
        }
        admitted
    }

    fn take(&self, entry: Entry) -> bool {
        let mut queue = self.shared.queue();
        let seq = queue.next;
        queue.next += 1;
        if queue.closing || queue.records.len() >= self.shared.capacity {
            drop(queue);
            self.shared.counters.dropped.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        queue.records.push_back((seq, entry));
        // The writer comes by itself soon. Waking it costs a system call, so only where the queue
        // would not last until then.
        let wake = queue.records.len() == self.shared.capacity.div_ceil(2);
        drop(queue);
        if wake {
            self.shared.wake.notify_one();
        }
        true
    }

    /// Waits until everything that was accepted so far is on the disk. While the disk fails that
    /// is for ever: put a limit on it.
    pub async fn flush(&self) {
        let (sender, done) = oneshot::channel();
        {
            let mut queue = self.shared.queue();
            if queue.ended {
                return;
            }
            queue.waiting.push(sender);
        }
        self.shared.wake.notify_one();
        // An error says that the writer has ended, after its last attempt.
        let _ = done.await;
    }

    /// Takes no more records, writes those that wait, and ends the thread. If the disk fails it
    /// tries a few times more and then counts what is left as dropped.
    pub async fn close(&self) -> AuditStats {
        self.shared.queue().closing = true;
        self.flush().await;
        self.stats()
    }

    /// What happened since the start.
    pub fn stats(&self) -> AuditStats {
        let counters = &self.shared.counters;
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let queued = u64::try_from(self.shared.queue().records.len()).unwrap_or(u64::MAX);
        AuditStats {
            queued: queued.saturating_add(load(&counters.in_hand)),
            written: load(&counters.written),
            dropped: load(&counters.dropped),
            errors: load(&counters.errors),
            skipped: load(&counters.skipped),
        }
    }
}

impl Shared {
    fn new(capacity: NonZeroU32) -> Self {
        Self {
            queue: Mutex::default(),
            wake: Condvar::new(),
            capacity: usize::try_from(capacity.get()).unwrap_or(usize::MAX),
            counters: Counters::default(),
            extra: Mutex::default(),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
