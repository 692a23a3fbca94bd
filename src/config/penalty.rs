//! `penalty` of a limit: what becomes of callers that come back too early.
//!
//! May import `domain`.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::domain::charge::Penalty;

use super::decode::{At, Fields, Table};
use super::defaults as preset;

/// No wait and no quiet time is longer: levels are kept until they are forgotten.
const LONGEST: Duration = Duration::from_secs(86_400);
/// More refusals are not told apart.
const MOST_REFUSALS: u32 = 65_535;

/// `penalty` of a limit.
pub(super) struct PenaltyFields(pub(super) Penalty);

impl Fields for PenaltyFields {
    const NAME: &'static str = "penalty";
    const ABOUT: &'static str =
        "What becomes of callers that come back before `Retry-After`, again and again.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let after = table.or::<At<NonZeroU32>>(
            "after",
            &preset::PENALTY_AFTER,
            "So many refusals of somebody who came back too early raise the level by one; at most \
             65535.",
        );
        let first = table.or::<At<Duration>>(
            "first",
            &preset::PENALTY_FIRST,
            "The first level refuses for this long, each further one twice as long.",
        );
        let most = table.or::<At<Duration>>(
            "most",
            &preset::PENALTY_MOST,
            "No level refuses for longer, but for up to a fifth at random; at most `1d`.",
        );
        let forget = table.or::<At<Duration>>(
            "forget",
            &preset::PENALTY_FORGET,
            "Whoever does not come too early for this long comes down by one level; at most `1d`.",
        );
        let (after, first, most, forget) = (after?, first?, most?, forget?);
        if after.value.get() > MOST_REFUSALS {
            table.error(after.span, "too many refusals", "state at most 65535");
        }
        for long in [&first, &most, &forget] {
            if long.value > LONGEST {
                table.error(long.span, "longer than a day", "state at most `1d`");
            }
        }
        if most.value < first.value {
            let hint = "raise it, or lower `first`";
            table.error(most.span, "`most` is shorter than what the first level refuses for", hint);
        }
        Some(Self(Penalty {
            after: after.value,
            first_millis: millis(first.value),
            most_millis: millis(most.value),
            forget_millis: millis(forget.value),
        }))
    }
}

/// Durations are never zero, and these no longer than a day.
fn millis(duration: Duration) -> NonZeroU32 {
    let millis = u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
    NonZeroU32::new(millis).unwrap_or(NonZeroU32::MIN)
}
