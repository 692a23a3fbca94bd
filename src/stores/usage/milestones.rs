//! Shares of quotas that were reached and are not told yet. PostgreSQL says which node tells of
//! each: it claims the event, tells, and notes that it was told. A node that is gone in between
//! leaves its claim to whoever still sees the event a minute later: told at least once, and twice
//! only then. Imports `domain`.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::timeout;

use crate::domain::milestone::QuotaReached;
use crate::stores::audit::AuditLog;

use super::ledger::LedgerError;
use super::{Inner, lock};

/// Events that may wait for the ledger; what finds no room is seen again with the next request.
const MOST: usize = 8_192;
/// Events that are brought to the ledger at once.
const AT_ONCE: usize = 512;
/// An event is told when the audit log has it on the disk; for that it waits so long.
const WRITTEN: Duration = Duration::from_secs(5);

/// What waits, and what was told.
#[derive(Debug, Default)]
pub(super) struct Milestones {
    waiting: Mutex<Vec<Waiting>>,
    /// How many of each share this process has told.
    told: Mutex<BTreeMap<u16, u64>>,
    failing: AtomicBool,
}

#[derive(Debug, Clone)]
struct Waiting {
    event: QuotaReached,
    /// This process has told of it, and the ledger does not know that yet.
    told: bool,
}

impl Milestones {
    /// Takes an event, if there is room.
    pub(super) fn add(&self, event: QuotaReached) -> bool {
        let mut waiting = lock(&self.waiting);
        if waiting.iter().any(|other| other.event.same(&event)) {
            return true;
        }
        let room = waiting.len() < MOST;
        if room {
            waiting.push(Waiting { event, told: false });
        }
        room
    }

    /// How many of each share this process has told.
    pub(super) fn told(&self) -> Vec<(u16, u64)> {
        lock(&self.told).iter().map(|(percent, told)| (*percent, *told)).collect()
    }

    fn settled(&self, events: &[QuotaReached]) {
        lock(&self.waiting).retain(|of| !events.iter().any(|event| event.same(&of.event)));
    }

    fn note_told(&self, event: &QuotaReached) {
        *lock(&self.told).entry(event.percent).or_default() += 1;
        let mut waiting = lock(&self.waiting);
        waiting.iter_mut().filter(|of| of.event.same(event)).for_each(|of| of.told = true);
    }
}

impl Inner {
    /// Tells of what was reached. What cannot be told now waits.
    pub(super) async fn tell(&self) {
        let milestones = &self.milestones;
        let waiting: Vec<Waiting> =
            lock(&milestones.waiting).iter().take(AT_ONCE).cloned().collect();
        if waiting.is_empty() {
            return;
        }
        match self.tell_of(&waiting).await {
            Ok(()) => milestones.failing.store(false, Ordering::Relaxed),
            Err(error) => {
                if !milestones.failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "thresholds of quotas that were reached wait to be told");
                }
            }
        }
    }

    async fn tell_of(&self, waiting: &[Waiting]) -> Result<(), LedgerError> {
        let events: Vec<QuotaReached> = waiting.iter().map(|of| of.event.clone()).collect();
        let claims = self.ledger.lock().await.claim(self.process, &self.node, &events).await?;
        self.milestones.settled(&claims.told);
        let mine = |of: &&Waiting| claims.mine.iter().any(|event| event.same(&of.event));
        let mut told: Vec<QuotaReached> = Vec::new();
        for of in waiting.iter().filter(mine) {
            if of.told || self.announce(&of.event) {
                told.push(of.event.clone());
            }
        }
        if let Some(audit) = &self.audit
            && timeout(WRITTEN, audit.flush()).await.is_err()
        {
            // Nobody knows whether it is written: it is told again rather than not.
            return Ok(());
        }
        for of in waiting.iter().filter(mine).filter(|of| !of.told) {
            if told.iter().any(|event| event.same(&of.event)) {
                self.milestones.note_told(&of.event);
            }
        }
        self.ledger.lock().await.told(self.process, &told).await?;
        self.milestones.settled(&told);
        Ok(())
    }

    /// Whether it could be told.
    fn announce(&self, event: &QuotaReached) -> bool {
        if !self.audit.as_ref().is_none_or(|audit: &AuditLog| audit.note(event.clone())) {
            return false;
        }
        let QuotaReached { organization, quota, period, begins, percent, used, amount, .. } = event;
        tracing::warn!(
            target: "tollgate::quota",
            // First, because the macro takes no dotted name behind a target.
            percent,
            organization.id = %organization,
            quota.name = %quota,
            quota.period = period,
            quota.begins = %begins,
            quota.used = used,
            quota.amount = amount,
            "an organization has reached a share of its quota"
        );
        true
    }
}
