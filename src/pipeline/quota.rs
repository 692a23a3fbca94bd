//! Quotas, judged before the charge of stage 7: whether the organization may use more in the present
//! period, as far as this node knows. The shell brings what is known, and counts what is admitted.

use std::num::NonZeroU64;
use std::sync::Arc;

use crate::domain::known::Outage;
use crate::domain::refusal::Refusal;
use crate::domain::usage::{OrganizationUse, Payer};
use crate::domain::would::PolicyKind;
use crate::policy::quotas::{AfterCrash, Milestone, Mode, Quota, Reached, Verdict};

use super::limit::Chargeable;
use super::trace::Trace;

impl Chargeable {
    /// Whose use has to be known, if the request is under a quota.
    pub fn metered(&self, trace: &Trace) -> Option<Payer> {
        let organization = trace.organization.as_ref()?;
        (!self.quotas().is_empty()).then(|| Payer::of(organization, trace.team.as_ref()))
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
            let verdict = quota.judge(amount, trace.cost, known);
            trace.note(Some(&quota.source), || noted(quota, amount, known));
            let tried = quota.mode == Mode::Shadow;
            all.strict |= !tried && quota.after_crash == AfterCrash::Strict;
            match verdict {
                Verdict::Within { .. } if tried => {}
                Verdict::Within { used, reached, near } => {
                    all.near |= near;
                    if reached > 0 {
                        let quota = Arc::clone(quota);
                        all.milestones.push(Milestone { quota, percent: reached, used, amount });
                    }
                }
                Verdict::Exceeded if tried => would_refuse(quota, &exceeded(quota, known), trace),
                Verdict::Unknown if tried => {
                    would_refuse(quota, &Refusal::Unavailable(Outage::Usage), trace);
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

fn noted(quota: &Quota, amount: NonZeroU64, known: Option<&OrganizationUse>) -> String {
    let Quota { name, .. } = quota;
    let (of, per) = (quota.of.as_str(), quota.per.as_str());
    match known {
        Some(known) => {
            let left = quota.period(known).resets_in.as_secs();
            format!(
                "quota `{name}`: {} of {amount} {of} of the {per} are used, it begins again in {left} s",
                quota.used(known)
            )
        }
        None => format!("quota `{name}`: nobody knows what is used of {amount} {of} of the {per}"),
    }
}

fn would_refuse(quota: &Quota, refusal: &Refusal, trace: &mut Trace) {
    trace.would_have(PolicyKind::Quota, &quota.name, &quota.source, refusal);
}

fn exceeded(quota: &Quota, known: Option<&OrganizationUse>) -> Refusal {
    let resets_in = known.map(|known| quota.period(known).resets_in);
    Refusal::QuotaExceeded {
        quota: Arc::clone(&quota.name),
        resets_in: resets_in.unwrap_or_default(),
    }
}
