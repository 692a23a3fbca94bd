//! What an organization has used in its present periods, outside of a gateway that serves: for
//! explanations and tests of policies. Imports `domain`.

use std::time::Duration;

use crate::domain::clock::Now;
use crate::domain::secret::Secret;
use crate::domain::usage::{OrganizationUse, Payer, PeriodUse, Used};
use crate::domain::zone::Zone;

use super::book::{Sums, calendar};
use super::ledger::Ledger;
use super::report::UsageError;

/// What the ledger says, of all processes.
///
/// # Errors
/// See [`UsageError`].
pub async fn present(
    ledger: &Secret,
    payer: &Payer,
    otherwise: &Zone,
    now: Now,
) -> Result<OrganizationUse, UsageError> {
    let mut ledger = Ledger::new(ledger)?;
    let zone = payer.zone.as_ref().unwrap_or(otherwise);
    let dates = calendar(zone, now.unix_secs(), None).dates;
    let sums = ledger.sums(&[(payer.organization, dates)], &[]).await;
    let mut sums = sums.map_err(|error| UsageError::Ledger(error.to_string()))?;
    let sums = sums.remove(&payer.organization).unwrap_or_default();
    Ok(in_periods(payer, otherwise, now, sums))
}

/// As if an organization had used nothing.
pub fn unused(payer: &Payer, otherwise: &Zone, now: Now) -> OrganizationUse {
    in_periods(payer, otherwise, now, Sums::default())
}

fn in_periods(payer: &Payer, otherwise: &Zone, now: Now, sums: Sums) -> OrganizationUse {
    let zone = payer.zone.as_ref().unwrap_or(otherwise);
    let present = calendar(zone, now.unix_secs(), None);
    let of = |used: Used, ends: u64| {
        let left = ends.saturating_sub(now.unix_secs()).max(1);
        PeriodUse { used, resets_in: Duration::from_secs(left) }
    };
    OrganizationUse {
        day: of(sums.day, present.day_ends),
        month: of(sums.month, present.month_ends),
        fresh: true,
    }
}
