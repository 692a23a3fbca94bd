//! Limits in shadow: charged by themselves once a request was admitted, and told as would-haves.
//!
//! Part of stage 7. Each has a charge of its own, beside the one that decides: it takes nothing from
//! limits that are enforced, holds nobody up, and an outage of its store is nothing. May import
//! `domain` and `policy`.

use std::sync::Arc;

use crate::domain::charge::{BucketCharge, Charge, ChargeAnswer, Due};
use crate::domain::refusal::Refusal;
use crate::domain::would::{PolicyKind, WouldHave};
use crate::policy::limits::Limit;

use super::trace::Stage;

/// One limit in shadow, of one request.
#[derive(Debug, Clone)]
pub struct ShadowLimit {
    limit: Arc<Limit>,
    charge: Charge,
    due: Option<Due>,
}

impl ShadowLimit {
    /// Its bucket is charged without penalties: nobody is told when to come back, so nobody can be
    /// blamed for coming too early.
    pub(super) fn new(limit: &Arc<Limit>, bucket: BucketCharge, due: Option<Due>) -> Self {
        let bucket = BucketCharge { penalty: None, ..bucket };
        let due = due.map(|due| Due { bucket: bucket.clone(), ..due });
        let charge = Charge { buckets: std::iter::once(bucket).collect() };
        Self { limit: Arc::clone(limit), charge, due }
    }

    /// What it is to be charged: one bucket.
    pub fn charge(&self) -> &Charge {
        &self.charge
    }

    /// The limit.
    pub fn limit(&self) -> &Arc<Limit> {
        &self.limit
    }

    /// What the store's answer comes to.
    pub fn answered(self, answer: &ChargeAnswer) -> Tried {
        match answer {
            ChargeAnswer::Granted { .. } => Tried::Fits(self.due.map(Box::new)),
            ChargeAnswer::Refused { retry_after, .. } => {
                let limit = Arc::clone(&self.limit.name);
                let refusal = Refusal::RateLimited { limit, retry_after: *retry_after };
                Tried::WouldRefuse(Box::new(WouldHave::refusal(
                    PolicyKind::Limit,
                    Arc::clone(&self.limit.name),
                    self.limit.source.clone(),
                    Stage::Limit.as_str(),
                    &refusal,
                )))
            }
            ChargeAnswer::Away(_) => Tried::Unknown,
        }
    }
}

/// What a limit in shadow came to.
#[derive(Debug)]
pub enum Tried {
    /// It had as much; what is charged once the answer is known.
    Fits(Option<Box<Due>>),
    /// It would have refused.
    WouldRefuse(Box<WouldHave>),
    /// Its store is away, so nobody knows.
    Unknown,
}
