//! What a request takes of its organization's quotas between its admission and its end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::domain::clock::Now;
use crate::domain::ids::OrgId;
use crate::domain::milestone::QuotaReached;
use crate::domain::usage::{Consumer, OrganizationUse, Payer, Used};
use crate::policy::quotas::Reached;

use super::book::{Admitted, Dates, News};
use super::{Inner, Usage, lock};

/// The first request of an organization waits for at most this long for the ledger.
const PATIENCE: Duration = Duration::from_millis(500);

/// Requests that wait for the journal at the same time; more are refused.
const MOST_WAITING: usize = 65_536;

/// Reserved for a request; goes back when it is dropped and was not kept.
pub struct Reserved {
    inner: Arc<Inner>,
    payer: Payer,
    used: Used,
    /// To which periods it is counted, where there was room.
    dates: Option<Dates>,
    then: Now,
    /// It has to be journalled before it is sent on.
    strict: bool,
    /// Call and cost are counted for the ledger.
    committed: bool,
    kept: bool,
}

impl Reserved {
    /// At the end of its request, with all that this used: what remains to be counted for the
    /// ledger, and for quotas.
    pub(super) fn keep(mut self, used: Used) -> (Payer, Option<Dates>, Now, Used, Used) {
        self.kept = true;
        let mut rest = used;
        rest.take(self.used);
        let ledger = if self.committed { rest } else { used };
        (self.payer.clone(), self.dates, self.then, ledger, rest)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if let (false, Some(dates)) = (self.kept, self.dates) {
            self.inner.book.give_back(self.payer.organization, dates, self.used);
        }
    }
}

impl Usage {
    /// Whether it is worth a wait to learn what an organization has used: the ledger is there, and
    /// was not asked yet.
    pub fn unread(&self, payer: &Payer, now: Now) -> bool {
        self.inner.book.unread(payer, now) && !self.inner.counters.away.load(Ordering::Relaxed)
    }

    /// Waits until the ledger has said what an organization has used, for a moment at most.
    pub async fn find_out(&self, payer: &Payer, now: Now) {
        let inner = &self.inner;
        let mut rounds = inner.rounds.subscribe();
        let known = async {
            while inner.book.unread(payer, now) {
                inner.asked.notify_one();
                if rounds.changed().await.is_err() {
                    return;
                }
            }
        };
        // Who knows no more then decides by that.
        let _ = tokio::time::timeout(PATIENCE, known).await;
    }

    /// Decides by what is known of an organization, and counts a request that is within its quotas in
    /// the same step.
    ///
    /// # Errors
    /// What `decide` says; then nothing is counted.
    pub fn reserve<E>(
        &self,
        payer: Payer,
        cost: u32,
        now: Now,
        decide: impl FnOnce(Option<&OrganizationUse>) -> Result<Reached, E>,
    ) -> Result<Reserved, E> {
        let inner = &self.inner;
        let used = Used { calls: 1, cost: u64::from(cost), ..Used::default() };
        let Admitted { near, strict, dates, news } = inner.book.admit(&payer, used, now, decide)?;
        if near {
            inner.near.store(true, Ordering::Relaxed);
        }
        for news in news {
            self.reached(payer.organization, &news, now);
        }
        let inner = Arc::clone(inner);
        let then = now;
        Ok(Reserved { inner, payer, used, dates, then, strict, committed: false, kept: false })
    }

    /// Brings call and cost of a request to the journal before it is sent on, where a quota asks for
    /// that, so that `kill -9` of this process loses nothing of them; says whether that went well. All
    /// who wait at a time share one write.
    pub async fn commit(&self, reserved: &mut Reserved, consumer: &Consumer) -> bool {
        if !reserved.strict || reserved.committed {
            return true;
        }
        let inner = &self.inner;
        inner.table.count(&reserved.payer, consumer, reserved.used, reserved.then);
        // Counted is counted: the ledger only ever raises.
        (reserved.committed, reserved.kept) = (true, true);
        let (written, done) = oneshot::channel();
        {
            let mut signals = lock(&inner.signals);
            if signals.closed || signals.waiting.len() >= MOST_WAITING {
                return false;
            }
            signals.waiting.push(written);
        }
        inner.wake.notify_all();
        matches!(tokio::time::timeout(PATIENCE, done).await, Ok(Ok(true)))
    }

    /// Has thresholds told that were not known to be reached.
    fn reached(&self, organization: OrgId, news: &News, now: Now) {
        let News { milestone, above, begins } = news;
        let quota = &milestone.quota;
        let new =
            quota.thresholds.iter().filter(|of| (above + 1..=milestone.percent).contains(*of));
        for percent in new {
            let event = QuotaReached {
                unix_micros: now.unix_micros,
                organization,
                quota: Arc::clone(&quota.name),
                period: quota.per.as_str(),
                begins: begins.to_string().into(),
                percent: *percent,
                used: milestone.used,
                amount: milestone.amount.get(),
                policy: quota.source.clone(),
            };
            if !self.inner.milestones.add(event) {
                self.inner.book.forget(organization, &quota.name);
            }
        }
    }
}
