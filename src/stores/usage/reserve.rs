//! What a request takes of its organization's quotas between its admission and its end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use smallvec::SmallVec;

use crate::domain::clock::Now;
use crate::domain::ids::OrgId;
use crate::domain::usage::{OrganizationUse, Payer, Used};
use crate::policy::quotas::{Period, THRESHOLDS};

use super::book::Dates;
use super::{Inner, Usage};

/// The first request of an organization waits for at most this long for the ledger.
const PATIENCE: Duration = Duration::from_millis(500);

/// Whether a quota is nearly used up, and thresholds that are reached.
type Reached = (bool, SmallVec<[(Arc<str>, Period, u8); 2]>);

/// Reserved for a request; goes back when it is dropped and was not kept.
pub struct Reserved {
    inner: Arc<Inner>,
    payer: Payer,
    used: Used,
    /// To which periods it is counted, where there was room.
    dates: Option<Dates>,
    then: Now,
    kept: bool,
}

impl Reserved {
    pub(super) fn keep(mut self) -> (Payer, Option<Dates>, Now) {
        self.kept = true;
        (self.payer.clone(), self.dates, self.then)
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
        let ((near, thresholds), dates) = inner.book.admit(&payer, used, now, decide)?;
        if near {
            inner.near.store(true, Ordering::Relaxed);
        }
        for reached in &thresholds {
            if inner.book.first(&payer, reached, now) {
                self.tell(payer.organization, reached);
            }
        }
        let inner = Arc::clone(inner);
        Ok(Reserved { inner, payer, used, dates, then: now, kept: false })
    }

    fn tell(&self, organization: OrgId, (quota, per, percent): &(Arc<str>, Period, u8)) {
        let counters = THRESHOLDS.iter().zip(&self.inner.counters.reached);
        for (_, counter) in counters.filter(|(threshold, _)| *threshold == percent) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let period = match per {
            Period::Day => "day",
            Period::Month => "month",
        };
        tracing::warn!(
            target: "tollgate::quota",
            // First, because the macro takes no dotted name behind a target.
            percent,
            organization.id = %organization,
            quota.name = %quota,
            quota.period = period,
            "an organization has reached a share of its quota"
        );
    }
}
