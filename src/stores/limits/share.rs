//! A node's share of a limit, for while Redis is away. Imports `domain` only.

use std::num::NonZeroU32;

use crate::domain::charge::{BucketCharge, Charge, Rate};

/// The charge with rates and bursts divided by the number of nodes.
///
/// A share is never less than one token, nor less than the cost of the request, which it could
/// otherwise never admit. So all nodes together admit at most the limit, or where the burst is
/// smaller than nodes · cost, that much at once.
pub(super) fn share(charge: &Charge, nodes: NonZeroU32) -> Charge {
    let mut charge = charge.clone();
    for bucket in &mut charge.buckets {
        *bucket = share_of(bucket, nodes);
    }
    charge
}

/// One bucket of it.
pub(super) fn share_of(bucket: &BucketCharge, nodes: NonZeroU32) -> BucketCharge {
    let mut rate = divide(&bucket.rate, nodes);
    rate.burst = rate.burst.max(bucket.cost);
    BucketCharge { rate, ..bucket.clone() }
}

/// The same tokens in a period that is longer by so many times: exact, unlike fewer tokens.
fn divide(rate: &Rate, nodes: NonZeroU32) -> Rate {
    let burst = at_least_one(u64::from(rate.burst.get() / nodes));
    let period = u64::from(rate.period_millis.get()) * u64::from(nodes.get());
    match u32::try_from(period).ok().and_then(NonZeroU32::new) {
        Some(period_millis) => Rate { tokens: rate.tokens, period_millis, burst },
        None => {
            let tokens = u64::from(rate.tokens.get()) * u64::from(u32::MAX) / period;
            Rate { tokens: at_least_one(tokens), period_millis: NonZeroU32::MAX, burst }
        }
    }
}

fn at_least_one(number: u64) -> NonZeroU32 {
    u32::try_from(number).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn all_shares_together_are_at_most_the_limit(
            tokens in 1..=u32::MAX, period in 1..=u32::MAX, burst in 1..=u32::MAX, nodes in 1..1_000_u32,
        ) {
            let number = |n| NonZeroU32::new(n).unwrap();
            let rate = Rate { tokens: number(tokens), period_millis: number(period), burst: number(burst) };
            let part = divide(&rate, number(nodes));
            // tokens'/period' · nodes ≤ tokens/period, unless it is the least there is.
            let whole = u128::from(tokens) * u128::from(part.period_millis.get());
            let parts = u128::from(part.tokens.get()) * u128::from(nodes) * u128::from(period);
            prop_assert!(parts <= whole || part.tokens == NonZeroU32::MIN);
            prop_assert!(part.burst.get() <= (burst / nodes).max(1));
        }
    }
}
