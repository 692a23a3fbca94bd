//! The quotas of a request: what the ledger says that its organization has used.

use std::time::Duration;

use jiff::Timestamp;

use crate::config::settings::Settings;
use crate::domain::clock::Now;
use crate::domain::usage::OrganizationUse;
use crate::domain::zone::Zone;
use crate::pipeline::{Chargeable, Trace};
use crate::policy::quotas::Quota;
use crate::stores::usage::present;

use super::report::QuotaReport;

/// What the ledger said.
pub(super) struct Told {
    pub(super) used: OrganizationUse,
    zone: Zone,
    now: Now,
}

/// What is known, or why nothing is. Nobody is asked for a request that is under no quota.
pub(super) async fn known(
    chargeable: &Chargeable,
    settings: &Settings,
    trace: &Trace,
    now: Now,
) -> Result<Told, String> {
    let payer = chargeable.metered(trace).ok_or_else(|| "it is under no quota".to_owned())?;
    let metering = settings.metering.as_ref();
    let metering = metering.ok_or_else(|| "the gateway file has no `metering`".to_owned())?;
    let asked = present(&metering.postgres, &payer, &metering.zone, now).await;
    let used = asked.map_err(|error| error.to_string())?;
    Ok(Told { used, zone: payer.zone.unwrap_or_else(|| metering.zone.clone()), now })
}

/// The quotas of the route.
pub(super) fn reports(
    chargeable: &Chargeable,
    known: &Result<Told, String>,
    trace: &Trace,
) -> Vec<QuotaReport> {
    let Some(organization) = &trace.organization else { return Vec::new() };
    let told = known.as_ref().ok();
    let of = |quota: &Quota| {
        let amount = quota.amount(&organization.plan)?;
        let resets_in = told.map(|told| quota.period(&told.used).resets_in);
        Some(QuotaReport {
            quota: quota.name.to_string(),
            of: quota.of.as_str(),
            period: quota.per.as_str(),
            used: told.map(|told| quota.used(&told.used)),
            amount: amount.get(),
            resets_in_seconds: resets_in.map(|wait| wait.as_secs()),
            resets_at: told.zip(resets_in).and_then(|(told, wait)| told.at(wait)),
            mode: quota.mode.as_str(),
            when_away: quota.when_away.as_str(),
            unknown: known.as_ref().err().cloned(),
            source: quota.source.to_string(),
        })
    };
    chargeable.quotas().iter().filter_map(|quota| of(quota)).collect()
}

impl Told {
    /// A moment where the organization is.
    fn at(&self, wait: Duration) -> Option<String> {
        let second = self.now.unix_secs().saturating_add(wait.as_secs());
        let moment = Timestamp::from_second(i64::try_from(second).ok()?).ok()?;
        let there = moment.to_zoned(self.zone.rules().clone());
        Some(there.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string())
    }
}
