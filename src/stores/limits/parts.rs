//! The buckets of a request by their slots: what one call may touch together.
//!
//! On one server, and for the buckets of an organization, that is all of them. Imports `domain`.

use smallvec::SmallVec;

use crate::domain::charge::{BucketCharge, Charge};
use crate::stores::cluster::slots::Slot;

use super::bucket::price;
use super::keys::key;
use super::links::Links;

/// Buckets of a request that are asked for with one call.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) slot: Slot,
    /// Which of the charge's.
    pub(super) buckets: SmallVec<[usize; 5]>,
}

pub(super) type Parts = SmallVec<[Part; 1]>;

/// The parts of a charge. Of a slot that is on the move, each bucket is a part by itself: of several
/// keys, of which some have moved, no server takes a call.
pub(super) fn parts(charge: &Charge, prefix: &str, links: &Links) -> Parts {
    let mut parts = Parts::new();
    for (index, bucket) in charge.buckets.iter().enumerate() {
        let slot = links.slot(|| key(prefix, bucket));
        let first = first(charge, bucket);
        // One that is named twice is asked for in one call.
        let together = |part: &&mut Part| match first == index {
            true => part.slot == slot && !links.is_scattered(slot),
            false => part.buckets.contains(&first),
        };
        match parts.iter_mut().find(together) {
            Some(part) => part.buckets.push(index),
            None => parts.push(Part { slot, buckets: SmallVec::from_slice(&[index]) }),
        }
    }
    parts
}

/// What one request takes of each bucket, in micro-tokens. Of one that is named twice, the first name
/// stands for both.
pub(super) fn demands(charge: &Charge) -> SmallVec<[u64; 5]> {
    let demand = |(index, bucket): (usize, &BucketCharge)| {
        if first(charge, bucket) < index {
            return 0;
        }
        let same = charge.buckets.iter().skip(index).filter(|other| is_same(other, bucket));
        same.map(price).fold(0, u64::saturating_add)
    };
    charge.buckets.iter().enumerate().map(demand).collect()
}

/// Where a bucket is named first.
fn first(charge: &Charge, bucket: &BucketCharge) -> usize {
    charge.buckets.iter().position(|other| is_same(other, bucket)).unwrap_or(0)
}

/// Whether two charges are to one bucket.
pub(super) fn is_same(one: &BucketCharge, other: &BucketCharge) -> bool {
    one.limit == other.limit && one.subject == other.subject
}
