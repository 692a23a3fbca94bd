//! What organizations use: counted in memory at the end of each request, journalled on the local
//! disk, and brought to a ledger in PostgreSQL.
//!
//! The shell counts and never waits. A thread journals what has grown every [`JOURNAL_EVERY`], and
//! puts it on the disk every [`SYNC_EVERY`]: so much is lost by `kill -9`, or by a power cut; what
//! is journalled is brought to the ledger by the next process with the same directory, or by
//! another one that shares it. While the database is away, counting goes on. Each process counts
//! under incarnations of its own (see `ledger.rs`). Imports `domain` and `config`.

mod book;
mod journal;
mod ledger;
mod milestones;
mod present;
mod report;
mod reserve;
mod table;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use uuid::Uuid;

use crate::config::settings::MeteringSettings;
use crate::domain::clock::{Clock, Now};
use crate::domain::usage::{Consumer, Payer, Used};
use crate::stores::audit::AuditLog;

use self::book::Book;
use self::journal::{Journal, Orphan};
use self::ledger::{BATCH, Ledger, LedgerError};
use self::milestones::Milestones;
pub use self::present::{present, unused};
pub use self::report::{By, UsageError, UsageLine, organization_named, report};
pub use self::reserve::Reserved;
use self::table::{Key, Table};

/// What was counted is journalled after at most this long.
pub const JOURNAL_EVERY: Duration = Duration::from_millis(200);
/// What was journalled is on the disk after at most this long.
pub const SYNC_EVERY: Duration = Duration::from_secs(1);
/// A journal of this size is begun again, without what is in the ledger by now.
const RESTART_AT: u64 = 4 * 1_024 * 1_024;
/// Sums that were read count for at least this long, if they cannot be read again.
const FRESH: Duration = Duration::from_secs(30);
/// How often sums are read where an organization is near the end of a quota.
const NEAR: Duration = Duration::from_secs(1);
/// Organizations whose sums are read with one statement.
const READ_AT_ONCE: usize = 1_000;
/// Also while nothing comes to the ledger.
const RESTART_ANYHOW: u64 = 64 * 1_024 * 1_024;

/// The meter. Clones are the same.
#[derive(Clone)]
pub struct Usage {
    inner: Arc<Inner>,
}

struct Inner {
    table: Table,
    book: Book,
    /// Its first incarnation stands for the process.
    process: Uuid,
    milestones: Milestones,
    audit: Option<AuditLog>,
    /// Incarnations of this process so far: what they have counted is known without the ledger.
    incarnations: Mutex<Vec<Uuid>>,
    /// Rounds of reading sums.
    rounds: tokio::sync::watch::Sender<u64>,
    /// Somebody waits for the sums of an organization.
    asked: Notify,
    /// An organization is near the end of a quota.
    near: AtomicBool,
    rows: usize,
    /// The present incarnation last, and at most one before it.
    pending: Mutex<Vec<Pending>>,
    journals: Mutex<Journals>,
    ledger: tokio::sync::Mutex<Ledger>,
    directory: PathBuf,
    node: Arc<str>,
    flush: Duration,
    clock: Arc<dyn Clock>,
    signals: Mutex<Signals>,
    wake: Condvar,
    counters: Counters,
}

/// To the thread that journals.
#[derive(Default)]
struct Signals {
    closed: bool,
    /// Told once what is counted by now is in the journal, or cannot be.
    waiting: Vec<oneshot::Sender<bool>>,
}

/// What an incarnation has counted and the ledger does not know yet.
struct Pending {
    incarnation: Uuid,
    rows: HashMap<Key, Used>,
}

struct Journals {
    /// The present incarnation last.
    files: Vec<Journal>,
    /// The day on which the present incarnation began.
    day: jiff::civil::Date,
    synced: Now,
    /// Nobody knows what of the last lines is in the file.
    broken: bool,
}

#[derive(Default)]
struct Counters {
    flushed: AtomicU64,
    failed: AtomicU64,
    journal_errors: AtomicU64,
    damaged: AtomicU64,
    adopted: AtomicU64,
    away: AtomicBool,
}

/// What happened since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsageStats {
    /// Counters in memory.
    pub rows: u64,
    /// Of these, those that the ledger does not know in full.
    pub unflushed: u64,
    /// Calls that are counted for their organization and not for their caller.
    pub overflowed: u64,
    /// Calls that are counted nowhere.
    pub lost: u64,
    /// Rounds in which everything came to the ledger.
    pub flushed: u64,
    /// Rounds that failed.
    pub failed: u64,
    /// Times that a journal could not be written or read.
    pub journal_errors: u64,
    /// Lines of journals of earlier processes that say nothing.
    pub damaged: u64,
    /// Journals of earlier processes that were brought to the ledger.
    pub adopted: u64,
    /// Organizations of which it is known what they have used in the present periods.
    pub organizations: u64,
    /// Shares of quotas, in percent, that were reached and that this process has told of, with how
    /// often.
    pub told: Vec<(u16, u64)>,
}

/// Why metering cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database's address cannot be used.
    #[error(transparent)]
    Url(#[from] super::directory::url::UrlError),
    /// The journal cannot be begun.
    #[error("the journal cannot be begun: {0}")]
    Journal(#[from] io::Error),
}

impl Usage {
    /// Begins a journal and starts the thread that writes it. Call it after the process has forked.
    /// The database may be away. Shares of quotas that are reached are told in the audit log.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(
        settings: &MeteringSettings,
        node: Arc<str>,
        clock: Arc<dyn Clock>,
        audit: Option<AuditLog>,
    ) -> Result<Self, StartError> {
        let rows = usize::try_from(settings.rows.get()).unwrap_or(usize::MAX);
        let table = Table::new(rows, settings.zone.clone());
        let incarnation = Uuid::new_v4();
        let journal = Journal::begin(&settings.journal, incarnation, &node)?;
        let now = clock.now();
        let journals =
            Journals { files: vec![journal], day: table.day(now), synced: now, broken: false };
        let pending = Pending { incarnation, rows: HashMap::new() };
        let fresh = (settings.flush * 6).max(FRESH);
        let inner = Arc::new(Inner {
            table,
            book: Book::new(settings.zone.clone(), fresh),
            process: incarnation,
            milestones: Milestones::default(),
            audit,
            incarnations: Mutex::new(vec![incarnation]),
            rounds: tokio::sync::watch::Sender::new(0),
            asked: Notify::new(),
            near: AtomicBool::new(false),
            rows,
            pending: Mutex::new(vec![pending]),
            journals: Mutex::new(journals),
            ledger: tokio::sync::Mutex::new(Ledger::new(&settings.postgres)?),
            directory: settings.journal.clone(),
            node,
            flush: settings.flush,
            clock,
            signals: Mutex::default(),
            wake: Condvar::new(),
            counters: Counters::default(),
        });
        let writer = Arc::clone(&inner);
        std::thread::Builder::new().name("usage".to_owned()).spawn(move || writer.write())?;
        Ok(Self { inner })
    }

    /// Counts an admitted request that is over. Never waits for disk or network.
    pub fn count(&self, payer: &Payer, consumer: &Consumer, used: Used, now: Now) {
        self.inner.table.count(payer, consumer, used, now);
        self.inner.book.count(payer, used, now);
    }

    /// The same, for a request that was reserved: its call and cost are counted for quotas already.
    pub fn count_reserved(&self, reserved: Reserved, consumer: &Consumer, used: Used) {
        let (payer, dates, then, ledger, rest) = reserved.keep(used);
        self.inner.table.count(&payer, consumer, ledger, then);
        if let Some(dates) = dates {
            self.inner.book.count_in(payer.organization, dates, rest);
        }
    }

    /// Brings what was counted to the ledger, for as long as it is polled: spawn it once.
    pub async fn keep(self) {
        let inner = &self.inner;
        loop {
            self.flush().await;
            let pause = match inner.near.swap(false, Ordering::Relaxed) {
                true => inner.flush.min(NEAR),
                false => inner.flush,
            };
            let sleep = tokio::time::sleep(pause);
            tokio::pin!(sleep);
            loop {
                tokio::select! {
                    () = &mut sleep => break,
                    () = inner.asked.notified() => {
                        // An outage is noted by the round that comes.
                        let _ = inner.read().await;
                    }
                }
            }
        }
    }

    /// Brings everything that was counted so far to the ledger, and what earlier processes have
    /// left; says whether all of it is there.
    pub async fn flush(&self) -> bool {
        let inner = Arc::clone(&self.inner);
        let journalled = tokio::task::spawn_blocking(move || inner.tick(false)).await;
        let outcome = match self.inner.bring().await {
            Ok(()) => self.inner.read().await,
            Err(error) => Err(error),
        };
        let counters = &self.inner.counters;
        match outcome {
            Ok(()) => {
                counters.flushed.fetch_add(1, Ordering::Relaxed);
                if counters.away.swap(false, Ordering::Relaxed) {
                    tracing::info!("the usage ledger is back");
                }
                self.inner.tell().await;
            }
            Err(error) => {
                counters.failed.fetch_add(1, Ordering::Relaxed);
                if !counters.away.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "usage is counted and journalled, and waits for its ledger");
                }
                return false;
            }
        }
        journalled.is_ok()
    }

    /// Ends the thread, after a last round. What does not come to the ledger now stays in the
    /// journal for the next process.
    pub async fn close(&self) {
        lock(&self.inner.signals).closed = true;
        self.inner.wake.notify_all();
        let flushed = self.flush().await;
        let inner = Arc::clone(&self.inner);
        let last = tokio::task::spawn_blocking(move || {
            inner.tick(true);
            inner.discard();
        });
        let _ = last.await;
        if !flushed {
            tracing::warn!(
                "usage that is not in the ledger stays in the journal for the next start"
            );
        }
    }

    /// What happened since the start.
    pub fn stats(&self) -> UsageStats {
        let Inner { table, pending, counters, .. } = &*self.inner;
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let size = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        UsageStats {
            rows: size(table.len()),
            unflushed: size(lock(pending).iter().map(|pending| pending.rows.len()).sum()),
            overflowed: load(&table.overflowed),
            lost: load(&table.lost),
            flushed: load(&counters.flushed),
            failed: load(&counters.failed),
            journal_errors: load(&counters.journal_errors),
            damaged: load(&counters.damaged),
            adopted: load(&counters.adopted),
            organizations: size(self.inner.book.len()),
            told: self.inner.milestones.told(),
        }
    }
}

impl Inner {
    /// The thread: journals until the meter is closed, or nobody holds it any more.
    fn write(self: Arc<Self>) {
        loop {
            let signals = lock(&self.signals);
            if signals.closed || Arc::strong_count(&self) == 1 {
                return;
            }
            if signals.waiting.is_empty() {
                let waited = self.wake.wait_timeout(signals, JOURNAL_EVERY);
                drop(waited.unwrap_or_else(PoisonError::into_inner));
            } else {
                drop(signals);
            }
            self.tick(false);
        }
    }

    /// Journals what has grown, and puts it on the disk when that is due.
    fn tick(&self, sync: bool) {
        let mut journals = lock(&self.journals);
        let journals = &mut *journals;
        // Before what has grown is taken: who waits has counted, and is in it or was in the last.
        let waiting = std::mem::take(&mut lock(&self.signals).waiting);
        let rows = self.table.grown();
        self.known(&rows);
        let now = self.clock.now();
        let due = sync || now.since(journals.synced) >= SYNC_EVERY;
        let outcome = self.journal(journals, &rows, due);
        for waiter in waiting {
            // It may have stopped waiting.
            let _: Result<(), bool> = waiter.send(outcome.is_ok());
        }
        if due && outcome.is_ok() {
            journals.synced = now;
        }
        let outcome = outcome.and_then(|()| self.tidy(journals, now));
        if let Err(error) = outcome {
            journals.broken = true;
            let before = self.counters.journal_errors.fetch_add(1, Ordering::Relaxed);
            // Once per doubling, so that a full disk does not fill the log as well.
            if before.is_power_of_two() || before == 0 {
                tracing::error!(%error, "the journal of usage cannot be written; it will be tried again");
            }
        }
    }

    fn journal(&self, journals: &mut Journals, rows: &[(Key, Used)], due: bool) -> io::Result<()> {
        let Some(present) = journals.files.last_mut() else { return Ok(()) };
        let grown = present.bytes() >= RESTART_ANYHOW
            || present.bytes() >= RESTART_AT && !self.counters.away.load(Ordering::Relaxed);
        if journals.broken {
            // All that the ledger does not know, and with it these rows.
            for journal in &mut journals.files {
                journal.restart(&self.rows_of(journal.incarnation))?;
            }
            journals.broken = false;
            return Ok(());
        }
        if grown {
            return present.restart(&self.rows_of(present.incarnation));
        }
        present.append(rows)?;
        if due { present.sync() } else { Ok(()) }
    }

    /// Removes the journal of an incarnation whose counters are all in the ledger, and begins
    /// another one when the day has changed or the table is half full: rows cannot be forgotten
    /// under the incarnation that has counted on them.
    fn tidy(&self, journals: &mut Journals, now: Now) -> io::Result<()> {
        if let [before, _] = journals.files.as_slice()
            && self.rows_of(before.incarnation).is_empty()
        {
            before.remove()?;
            lock(&self.pending).retain(|pending| pending.incarnation != before.incarnation);
            journals.files.remove(0);
        }
        let (day, rows) = (self.table.day(now), self.table.len());
        let wanted = rows > self.rows / 2 || day != journals.day && rows > 0;
        if rows == 0 {
            journals.day = day;
        }
        let [present] = journals.files.as_mut_slice() else { return Ok(()) };
        if !wanted {
            return Ok(());
        }
        let incarnation = Uuid::new_v4();
        let next = Journal::begin(&self.directory, incarnation, &self.node)?;
        lock(&self.incarnations).push(incarnation);
        let last = self.table.renew();
        self.known(&last);
        lock(&self.pending).push(Pending { incarnation, rows: HashMap::new() });
        let outcome = present.append(&last).and_then(|()| present.sync());
        journals.files.push(next);
        journals.day = day;
        outcome
    }

    /// These rows of the present incarnation are not in the ledger.
    fn known(&self, rows: &[(Key, Used)]) {
        if let Some(present) = lock(&self.pending).last_mut() {
            present.rows.extend(rows.iter().cloned());
        }
    }

    fn rows_of(&self, incarnation: Uuid) -> Vec<(Key, Used)> {
        let pending = lock(&self.pending);
        let of = pending.iter().find(|pending| pending.incarnation == incarnation);
        of.into_iter()
            .flat_map(|of| of.rows.iter().map(|(key, used)| (key.clone(), *used)))
            .collect()
    }

    /// Brings to the ledger what earlier processes have left, and what this one has counted.
    async fn bring(self: &Arc<Self>) -> Result<(), LedgerError> {
        let mut ledger = self.ledger.lock().await;
        let incarnations: Vec<Uuid> =
            lock(&self.pending).iter().map(|pending| pending.incarnation).collect();
        for incarnation in incarnations {
            let rows = self.rows_of(incarnation);
            for batch in rows.chunks(BATCH) {
                ledger.raise(incarnation, &self.node, batch).await?;
                self.settle(incarnation, batch);
            }
        }
        let inner = Arc::clone(self);
        let paths = tokio::task::spawn_blocking(move || inner.orphans()).await;
        for path in paths.unwrap_or_default() {
            let inner = Arc::clone(self);
            let orphan = tokio::task::spawn_blocking(move || inner.adopt(path)).await;
            let Ok(Some(orphan)) = orphan else { continue };
            let rows: Vec<_> = orphan.rows.iter().map(|(key, used)| (key.clone(), *used)).collect();
            for batch in rows.chunks(BATCH) {
                ledger.raise(orphan.incarnation, &orphan.node, batch).await?;
            }
            let inner = Arc::clone(self);
            let _ = tokio::task::spawn_blocking(move || inner.settled(orphan)).await;
        }
        Ok(())
    }

    /// Reads what others have used, for the organizations of which somebody wants to know.
    async fn read(&self) -> Result<(), LedgerError> {
        let mut ledger = self.ledger.lock().await;
        let now = self.clock.now();
        let wanted = self.book.wanted(now);
        let own = lock(&self.incarnations).clone();
        for some in wanted.chunks(READ_AT_ONCE) {
            let sums = ledger.sums(some, &own).await?;
            for (organization, dates) in some {
                let sums = sums.get(organization).copied().unwrap_or_default();
                self.book.read(*organization, *dates, sums, now);
            }
        }
        self.rounds.send_modify(|rounds| *rounds += 1);
        Ok(())
    }

    /// The ledger knows these numbers; what has grown since stays.
    fn settle(&self, incarnation: Uuid, rows: &[(Key, Used)]) {
        let mut pending = lock(&self.pending);
        let of = pending.iter_mut().find(|pending| pending.incarnation == incarnation);
        let Some(of) = of else { return };
        for (key, used) in rows {
            if of.rows.get(key) == Some(used) {
                of.rows.remove(key);
            }
        }
    }

    /// Journals that are not of this process.
    fn orphans(&self) -> Vec<PathBuf> {
        match journal::files(&self.directory) {
            Ok(files) => files,
            Err(error) => {
                self.counters.journal_errors.fetch_add(1, Ordering::Relaxed);
                tracing::error!(%error, "the directory of usage journals cannot be read");
                Vec::new()
            }
        }
    }

    fn adopt(&self, path: PathBuf) -> Option<Orphan> {
        match journal::adopt(&path) {
            Ok(orphan) => orphan,
            Err(error) => {
                let before = self.counters.journal_errors.fetch_add(1, Ordering::Relaxed);
                if before.is_power_of_two() || before == 0 {
                    let file = path.display();
                    tracing::error!(%error, %file, "a journal of usage cannot be read; it is left where it is");
                }
                None
            }
        }
    }

    fn settled(&self, orphan: Orphan) {
        let Counters { damaged, adopted, journal_errors, .. } = &self.counters;
        damaged.fetch_add(orphan.damaged, Ordering::Relaxed);
        adopted.fetch_add(1, Ordering::Relaxed);
        tracing::info!(
            incarnation = %orphan.incarnation,
            rows = orphan.rows.len(),
            damaged = orphan.damaged,
            "the usage that an earlier process had journalled is in the ledger"
        );
        if orphan.remove().is_err() {
            journal_errors.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Removes the journals of incarnations whose counters are all in the ledger, at the end.
    fn discard(&self) {
        let journals = lock(&self.journals);
        for journal in &journals.files {
            if self.rows_of(journal.incarnation).is_empty() {
                // What cannot be removed is brought to the ledger again, and changes nothing.
                let _ = journal.remove();
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
