//! What is particular to the store in this process: its bound. What every store promises is
//! tested in `tests/stores`.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::domain::charge::{Rate, WhenAway};

fn number(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

/// One token a second, `burst` at once.
fn charge(user: &str, burst: u32) -> Charge {
    let bucket = BucketCharge {
        limit: Arc::from("per-user"),
        subject: Subject::User(user.parse().unwrap(), None),
        rate: Rate { tokens: number(1), period_millis: number(1_000), burst: number(burst) },
        cost: number(1),
        when_away: WhenAway::LocalShare,
        penalty: None,
    };
    Charge { buckets: std::iter::once(bucket).collect() }
}

fn at(seconds: u64) -> Now {
    Now { unix_micros: 0, mono_nanos: seconds * 1_000_000_000 }
}

fn granted(answer: &ChargeAnswer) -> bool {
    matches!(answer, ChargeAnswer::Granted { .. })
}

#[test]
fn the_map_never_holds_more_than_its_bound() {
    for most in [1, 2, 255, 256, 1_000, 5_000] {
        let store = MemoryStore::new(number(most));
        for user in 0..3 * most {
            store.take(&charge(&format!("u{user}"), 2), at(0));
        }
        let kept = store.usage().buckets;
        assert!(kept <= most as usize, "{kept} of {most}");
        assert!(kept * 2 > most as usize, "{kept} of {most}");
    }
}

#[test]
fn subjects_beyond_the_bound_share_one_bucket() {
    let store = MemoryStore::new(number(1));
    assert!(granted(&store.take(&charge("first", 2), at(0))));
    let admitted = (0..100)
        .filter(|user| granted(&store.take(&charge(&format!("u{user}"), 2), at(0))))
        .count();
    assert_eq!(admitted, 2);
    assert_eq!(store.usage().overflowed, 100);
    assert!(granted(&store.take(&charge("first", 2), at(0))), "the first keeps its own");
}

#[test]
fn a_bucket_is_forgotten_only_once_it_is_full_again() {
    let store = MemoryStore::new(number(1));
    for _ in 0..2 {
        assert!(granted(&store.take(&charge("first", 2), at(0))));
    }
    store.take(&charge("second", 2), at(1));
    assert_eq!(store.usage().overflowed, 1);
    // One token came back after a second, and was not joined by a second one.
    assert!(granted(&store.take(&charge("first", 2), at(1))));
    assert!(!granted(&store.take(&charge("first", 2), at(1))));
    store.take(&charge("second", 2), at(60));
    assert_eq!(store.usage().overflowed, 1, "the idle bucket made room");
}

#[test]
fn moving_out_of_the_overflow_bucket_mints_nothing() {
    let store = MemoryStore::new(number(1));
    store.take(&charge("first", 2), at(0));
    let mut admitted = 0;
    for _ in 0..10 {
        admitted += usize::from(granted(&store.take(&charge("second", 10), at(0))));
    }
    assert_eq!(admitted, 10);
    // The first is idle by now and makes room; the second has 2 tokens back, not 10.
    let moved = (0..10).filter(|_| granted(&store.take(&charge("second", 10), at(2)))).count();
    assert_eq!(store.usage().overflowed, 10);
    assert_eq!(moved, 2);
}

#[test]
fn a_bucket_that_stands_twice_in_a_charge_is_charged_twice() {
    let store = MemoryStore::new(number(10));
    let mut twice = charge("first", 3);
    twice.buckets.push(twice.buckets[0].clone());
    assert!(granted(&store.take(&twice, at(0))));
    assert!(!granted(&store.take(&twice, at(0))), "one token is left for two");
    assert!(granted(&store.take(&charge("first", 3), at(0))));
    assert!(!granted(&store.take(&charge("first", 3), at(0))));
}

#[test]
fn charges_that_cross_each_other_do_not_deadlock() {
    let store = MemoryStore::new(number(100_000));
    let all: Vec<BucketCharge> =
        (0..64).map(|user| charge(&format!("u{user}"), 1_000_000).buckets[0].clone()).collect();
    std::thread::scope(|scope| {
        for thread in 0..4_usize {
            let (store, all) = (&store, &all);
            scope.spawn(move || {
                for round in 0..2_000_usize {
                    let pick = |k: usize| all[(round * 7 + k * (thread + 1) * 13) % 64].clone();
                    let mut charge = Charge { buckets: (0..4).map(pick).collect() };
                    if thread % 2 == 0 {
                        charge.buckets.reverse();
                    }
                    assert!(granted(&store.take(&charge, at(0))));
                }
            });
        }
    });
    assert!(store.usage().buckets <= 64);
}

#[test]
fn waiting_as_told_is_enough_for_every_bucket() {
    let store = MemoryStore::new(number(10));
    let mut both = charge("first", 1);
    both.buckets.push(charge("second", 1).buckets[0].clone());
    both.buckets[1].rate.period_millis = number(10_000);
    assert!(granted(&store.take(&both, at(0))));
    let ChargeAnswer::Refused { bucket, retry_after, .. } = store.take(&both, at(0)) else {
        panic!("both are empty");
    };
    assert_eq!((bucket, retry_after), (1, Duration::from_secs(10)));
    assert!(granted(&store.take(&both, at(10))));
}

#[test]
fn what_was_taken_is_owed_until_it_is_paid_or_the_bucket_is_full_again() {
    let store = MemoryStore::new(number(10));
    let one = charge("first", 5);
    let owed = |seconds| store.owed(&one, at(seconds))[0];
    assert_eq!(owed(0), 0);
    store.take(&one, at(0));
    store.take(&one, at(0));
    assert_eq!(owed(0), 2_000_000);
    assert_eq!(owed(1), 2_000_000, "what came back meanwhile came back elsewhere, too");
    store.paid(&one, &[1_500_000]);
    assert_eq!(owed(1), 500_000);
    assert_eq!(owed(2), 0, "full again");
    store.take(&one, at(2));
    assert_eq!(owed(2), 1_000_000, "counted from when it was last full");
}
