//! Quotas, judged before the charge of stage 7: whether the organization may use more in the present
//! period, as far as this node knows. The shell brings what is known, and counts what is admitted.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::domain::known::Outage;
use crate::domain::refusal::Refusal;
use crate::domain::usage::{OrganizationUse, Payer};
use crate::policy::quotas::{Period, Quota, Verdict};

use super::limit::Chargeable;
use super::trace::Trace;

/// What the shell has to tell of a request that is within its quotas.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reached {
    /// Quotas of which a threshold is reached, and which, in percent.
    pub thresholds: SmallVec<[(Arc<str>, Period, u8); 2]>,
    /// Whether a quota is nearly used up: what is known should be known soon.
    pub near: bool,
}

impl Chargeable {
    /// Whose use has to be known, if the request is under a quota.
    pub fn metered(&self, trace: &Trace) -> Option<Payer> {
        let organization = trace.organization.as_ref()?;
        (!self.quotas().is_empty()).then(|| Payer::of(organization))
    }

    /// Judges the quotas of the route by what is known.
    ///
    /// # Errors
    /// The refusal of the first that is used up, or of which nobody knows.
    pub fn within(
        &mut self,
        known: Option<&OrganizationUse>,
        trace: &mut Trace,
    ) -> Result<Reached, Refusal> {
        let mut all = Reached::default();
        for quota in self.quotas() {
            let Some(organization) = &trace.organization else { break };
            let Some(amount) = quota.amount(&organization.plan) else {
                return Err(Refusal::Internal("a plan without an amount of a quota"));
            };
            match quota.judge(amount, trace.cost, known) {
                Verdict::Within { reached, near } => {
                    all.near |= near;
                    if reached > 0 {
                        all.thresholds.push((Arc::clone(&quota.name), quota.per, reached));
                    }
                }
                Verdict::Exceeded => {
                    trace.decided_by = Some(quota.source.clone());
                    return Err(exceeded(quota, known));
                }
                Verdict::Unknown => {
                    trace.decided_by = Some(quota.source.clone());
                    return Err(Refusal::Unavailable(Outage::Usage));
                }
            }
        }
        self.judged();
        Ok(all)
    }
}

fn exceeded(quota: &Quota, known: Option<&OrganizationUse>) -> Refusal {
    let resets_in = known.map(|known| quota.period(known).resets_in);
    Refusal::QuotaExceeded {
        quota: Arc::clone(&quota.name),
        resets_in: resets_in.unwrap_or_default(),
    }
}
