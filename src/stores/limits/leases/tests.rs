//! What this node holds of buckets, without a Redis: the test says what Redis said.

use std::sync::Arc;

use proptest::prelude::*;

use super::super::bucket::MICRO;
use super::entry::{LEASED_BURST, REST};
use super::*;
use crate::domain::charge::{Penalty, Rate, WhenAway};

/// Microseconds.
const EPOCH: u64 = 2_000_000;
/// For how long a lease of that epoch is spent, from when its call was sent.
const SPENT: u64 = EPOCH - EPOCH / DRIFT - EPOCH / 20;
const PATIENCE: Duration = Duration::from_millis(25);

/// A clock that stands still.
#[derive(Debug, Clone, Copy)]
struct At(u64);

impl At {
    fn now(self) -> Now {
        Now { unix_micros: 0, mono_nanos: self.0 * 1_000 }
    }
}

impl Clock for At {
    fn now(&self) -> Now {
        (*self).now()
    }
}

fn leases(most: u32) -> Leases {
    Leases::new(NonZeroU32::new(most).unwrap(), Epoch(EPOCH))
}

fn bucket(limit: &str, user: &str, tokens: u32, burst: u32) -> BucketCharge {
    let number = |n: u32| NonZeroU32::new(n).unwrap();
    BucketCharge {
        limit: Arc::from(limit),
        subject: Subject::User(user.parse().unwrap(), None),
        rate: Rate { tokens: number(tokens), period_millis: number(1_000), burst: number(burst) },
        cost: NonZeroU32::MIN,
        when_away: WhenAway::Closed,
        penalty: None,
    }
}

fn of<const N: usize>(buckets: [BucketCharge; N]) -> Charge {
    Charge { buckets: buckets.into_iter().collect() }
}

fn one() -> Charge {
    of([bucket("hot", "ann", 100, 1_000)])
}

fn told(lease: u64, epoch: u64) -> Told {
    let lease = lease * MICRO;
    let penalty = ToldPenalty::default();
    Told { left: 0, debt: 0, lease, epoch, room: 0, lapse: 0, penalty }
}

/// Redis answered at once, with a lease for each bucket.
fn lease(leases: &Leases, charge: &Charge, tokens: u64, epoch: u64, at: u64) {
    let all: Vec<Told> = charge.buckets.iter().map(|_| told(tokens, epoch)).collect();
    leases.told(charge, &all, None, At(at).now(), At(at).now());
}

fn refuse(leases: &Leases, charge: &Charge, wait: Duration, at: u64) {
    let all: Vec<Told> = charge.buckets.iter().map(|_| told(0, 0)).collect();
    leases.told(charge, &all, Some((0, wait)), At(at).now(), At(at).now());
}

fn decide(leases: &Leases, charge: &Charge, at: u64) -> Option<ChargeAnswer> {
    leases.decide(charge, At(at).now(), &At(at))
}

fn spends(leases: &Leases, charge: &Charge, at: u64) -> bool {
    matches!(decide(leases, charge, at), Some(ChargeAnswer::Granted { .. }))
}

fn waits(answer: Option<ChargeAnswer>) -> Option<(usize, Duration)> {
    match answer {
        Some(ChargeAnswer::Refused { bucket, retry_after, .. }) => Some((bucket, retry_after)),
        Some(ChargeAnswer::Granted { .. } | ChargeAnswer::Away(_)) | None => None,
    }
}

#[test]
fn a_lease_is_spent_to_its_last_token_and_that_it_is_empty_is_no_refusal() {
    let (leases, charge) = (leases(1_000), one());
    assert_eq!(decide(&leases, &charge, 0), None, "nothing is known of it");
    lease(&leases, &charge, 3, 7, 0);
    assert_eq!((0..5).filter(|at| spends(&leases, &charge, *at)).count(), 3);
    assert_eq!(decide(&leases, &charge, 5), None);
    assert_eq!(leases.stats().local, 3);
}

#[test]
fn nothing_is_spent_at_the_end_of_a_lease_which_counts_from_when_its_call_was_sent() {
    let (leases, charge) = (leases(1_000), one());
    let (sent, answered) = (At(1_000).now(), At(500_000).now());
    leases.told(&charge, &[told(9, 7)], None, sent, answered);
    assert!(spends(&leases, &charge, 1_000 + SPENT - 1));
    assert!(!spends(&leases, &charge, 1_000 + SPENT));
    // An answer that came after that is worth nothing.
    leases.told(&charge, &[told(5, 8)], None, sent, At(1_000 + SPENT).now());
    let terms = leases.terms(&charge, At(1_000 + SPENT).now(), PATIENCE)[0];
    assert_eq!((terms.epoch, terms.closed, terms.back), (7, 9 * MICRO, 0));
}

#[test]
fn a_process_that_was_stopped_after_it_read_the_clock_admits_nobody_from_a_lease_that_has_ended() {
    let (leases, charge) = (leases(1_000), one());
    lease(&leases, &charge, 9, 7, 0);
    let before = At(SPENT - 1).now();
    assert_eq!(leases.decide(&charge, before, &At(SPENT)), None);
    assert_eq!(leases.stats().local, 0);
    let answer = leases.decide(&charge, before, &At(SPENT - 1));
    assert!(matches!(answer, Some(ChargeAnswer::Granted { .. })), "{answer:?}");
}

#[test]
fn refusals_that_come_too_early_are_told_once_and_those_after_that_are_not_counted() {
    let mut bucket = bucket("hot", "ann", 100, 1_000);
    let number = |n: u32| NonZeroU32::new(n).unwrap();
    bucket.penalty = Some(Arc::new(Penalty {
        after: number(5),
        first_millis: number(1_000),
        most_millis: number(1_000),
        forget_millis: number(1_000),
    }));
    let (leases, charge) = (leases(1_000), of([bucket]));
    // Asked for often enough, an empty bucket is left alone for longer than its wait.
    heat(&leases, &charge);
    refuse(&leases, &charge, Duration::from_millis(20), 400_000);
    for at in [400_001, 419_999, 420_000] {
        assert!(waits(decide(&leases, &charge, at)).is_some());
    }
    let strikes = |at| leases.terms(&charge, At(at).now(), PATIENCE)[0].strikes;
    assert_eq!(strikes(420_000), 2);
    assert_eq!(strikes(420_001), 0, "they are told once");
}

#[test]
fn a_penalty_refuses_whatever_is_asked_for_and_whatever_is_leased() {
    let (leases, charge) = (leases(1_000), one());
    lease(&leases, &charge, 10, 7, 0);
    let blocked = ToldPenalty { blocked: 5_000_000, level: 2, raised: true };
    let told = Told { penalty: blocked, ..told(0, 0) };
    let (now, wait) = (At(1).now(), Duration::from_secs(5));
    leases.told(&charge, &[told], Some((0, wait)), now, now);
    match decide(&leases, &charge, 2) {
        Some(ChargeAnswer::Refused { penalty: 2, retry_after, balances, .. }) => {
            assert_eq!((retry_after.as_secs_f64().ceil() as u64, balances[0].remaining), (5, 0));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(leases.stats().raised, 1);
}

#[test]
fn an_answer_is_paid_for_from_the_lease_of_any_subject() {
    let organization = "7b0d3c1e-0000-4000-8000-00000000000a".parse().unwrap();
    for subject in [
        Subject::User("ann".parse().unwrap(), Some(organization)),
        Subject::Organization(organization),
        Subject::Route(Arc::from("rest"), Some(organization)),
        Subject::Key(Arc::from("web"), None),
        Subject::Address("::1".parse().unwrap()),
    ] {
        let (leases, mut charge) = (leases(1_000), one());
        charge.buckets[0].subject = subject;
        lease(&leases, &charge, 5, 7, 0);
        leases.settle(&charge.buckets[0], 3 * MICRO, 100 * MICRO, At(1).now());
        assert_eq!((2..9).filter(|at| spends(&leases, &charge, *at)).count(), 2, "{charge:?}");
    }
}

#[test]
fn an_answer_is_paid_for_from_the_lease_and_the_rest_is_told_once() {
    let (leases, charge) = (leases(1_000), one());
    let bucket = &charge.buckets[0];
    lease(&leases, &charge, 5, 7, 0);
    let owed = |at| leases.owing(At(at).now(), false, 10).into_iter().map(|(_, terms)| terms.owes);
    leases.settle(bucket, 3 * MICRO, 100 * MICRO, At(1).now());
    assert_eq!(owed(10_000_000).count(), 0, "the lease had that");
    assert_eq!((2..9).filter(|at| spends(&leases, &charge, *at)).count(), 2);

    leases.settle(bucket, 4 * MICRO, 100 * MICRO, At(10).now());
    leases.settle(bucket, 6 * MICRO, 100 * MICRO, At(11).now());
    assert_eq!(owed(10 + TOLD_AFTER - 1).count(), 0, "it waits for a call for a moment");
    assert_eq!(owed(10 + TOLD_AFTER).collect::<Vec<_>>(), [10 * MICRO]);
    assert_eq!(owed(10_000_000).count(), 0);

    // With the next call for the bucket, where there is one before that.
    leases.settle(bucket, 4 * MICRO, 100 * MICRO, At(200_000).now());
    let terms = leases.terms(&charge, At(200_001).now(), PATIENCE)[0];
    assert_eq!((terms.owes, terms.most), (4 * MICRO, 100 * MICRO));
    assert_eq!(owed(10_000_000).count(), 0);

    // What a lease brings meanwhile pays first, and a bucket is never charged more than it can be.
    leases.settle(bucket, u64::MAX, 100 * MICRO, At(300_000).now());
    lease(&leases, &charge, 50, 7, 300_001);
    assert!(!spends(&leases, &charge, 300_002));
    let all: Vec<u64> = owed(400_001).collect();
    assert_eq!(all, [(1_000 + 100 - 50) * MICRO]);
}

#[test]
fn with_the_next_call_all_of_a_lease_is_closed_and_nothing_more_is_spent_of_it() {
    let (leases, charge) = (leases(1_000), one());
    lease(&leases, &charge, 10, 7, 0);
    assert!((1..=4).all(|at| spends(&leases, &charge, at)));
    let terms = leases.terms(&charge, At(5).now(), PATIENCE)[0];
    let (closed, back) = (10 * MICRO, 6 * MICRO);
    assert_eq!(terms, Terms { epoch: 7, closed, back, ..Terms::default() });
    assert!(!spends(&leases, &charge, 5), "the call may be executed at any time from now on");
    assert_eq!(leases.terms(&charge, At(6).now(), PATIENCE)[0], Terms::default());
    assert!(leases.due(At(6).now(), true, 10).is_empty());
}

#[test]
fn leases_of_two_epochs_are_spent_in_the_order_of_their_ends_and_closed_in_one_call() {
    let (leases, charge) = (leases(1_000), one());
    lease(&leases, &charge, 2, 7, 0);
    lease(&leases, &charge, 5, 8, 1_000_000);
    assert!((0..3).all(|at| spends(&leases, &charge, 1_000_001 + at)));
    let terms = leases.terms(&charge, At(1_000_010).now(), PATIENCE)[0];
    let new = (terms.epoch, terms.closed, terms.back);
    assert_eq!(new, (8, 5 * MICRO, 4 * MICRO));
    assert_eq!((terms.closed_before, terms.back_before), (2 * MICRO, 0));
}

#[test]
fn what_has_run_out_of_time_is_closed_and_not_given_back() {
    let (leases, charge) = (leases(1_000), one());
    lease(&leases, &charge, 2, 7, 0);
    lease(&leases, &charge, 5, 8, 1_000_000);
    let terms = leases.terms(&charge, At(SPENT).now(), PATIENCE)[0];
    assert_eq!((terms.closed_before, terms.back_before), (2 * MICRO, 0));
    assert_eq!((terms.closed, terms.back), (5 * MICRO, 5 * MICRO));
}

#[test]
fn leases_of_one_epoch_join_and_end_with_the_first() {
    let (leases, charge) = (leases(1_000), one());
    lease(&leases, &charge, 2, 7, 0);
    lease(&leases, &charge, 3, 7, 100_000);
    assert!(!spends(&leases, &charge, SPENT), "the first of them could be over");
    let terms = leases.terms(&charge, At(100_001).now(), PATIENCE)[0];
    assert_eq!((terms.closed, terms.back), (5 * MICRO, 5 * MICRO));
}

#[test]
fn a_bucket_that_falls_idle_gives_its_lease_back_before_the_end_and_once() {
    let (leases, charge) = (leases(1_000), one());
    lease(&leases, &charge, 4, 7, 0);
    assert!(spends(&leases, &charge, 1));
    let given_back = SPENT - EPOCH / 8;
    assert!(leases.due(At(given_back - 1).now(), false, 10).is_empty());
    let due = leases.due(At(given_back).now(), false, 10);
    let [(bucket, terms)] = &due[..] else { panic!("{due:?}") };
    assert_eq!((&*bucket.limit, terms.closed, terms.back), ("hot", 4 * MICRO, 3 * MICRO));
    assert!(!spends(&leases, &charge, given_back));
    assert!(leases.due(At(given_back).now(), true, 10).is_empty());
}

#[test]
fn a_bucket_that_stands_twice_in_a_charge_is_spent_twice_or_not_at_all() {
    let leases = leases(1_000);
    let bucket = bucket("hot", "ann", 100, 1_000);
    let (once, twice) = (of([bucket.clone()]), of([bucket.clone(), bucket]));
    lease(&leases, &once, 5, 7, 0);
    assert_eq!((1..10).filter(|at| spends(&leases, &twice, *at)).count(), 2);
    assert_eq!((1..10).filter(|at| spends(&leases, &once, *at)).count(), 1);
}

#[test]
fn a_charge_is_decided_here_only_where_all_of_its_buckets_are() {
    let leases = leases(1_000);
    let (mine, ours) = (bucket("user", "ann", 100, 1_000), bucket("all", "ann", 100, 1_000));
    let both = of([mine.clone(), ours.clone()]);
    lease(&leases, &of([ours.clone()]), 5, 7, 0);
    assert_eq!(decide(&leases, &both, 1), None);
    lease(&leases, &of([mine]), 2, 7, 0);
    assert_eq!((1..10).filter(|at| spends(&leases, &both, *at)).count(), 2);
    let left = (1..10).filter(|at| spends(&leases, &of([ours.clone()]), *at)).count();
    assert_eq!(left, 3, "what was not decided has taken nothing");
}

#[test]
fn a_change_of_numbers_goes_on_with_what_is_leased_and_shows_the_new_ones() {
    let leases = leases(1_000);
    lease(&leases, &one(), 5, 7, 0);
    let lowered = of([bucket("hot", "ann", 1, 3)]);
    let Some(ChargeAnswer::Granted { balances }) = decide(&leases, &lowered, 1) else {
        panic!("it was leased");
    };
    assert!(balances[0].remaining <= 3, "{balances:?}");
    assert_eq!((2..20).filter(|at| spends(&leases, &lowered, *at)).count(), 4);
}

#[test]
fn a_refusal_is_remembered_for_a_quarter_of_a_second_and_tells_how_long_is_left() {
    let (leases, charge) = (leases(1_000), one());
    let millis = Duration::from_millis;
    refuse(&leases, &charge, millis(90), 0);
    let wait = waits(decide(&leases, &charge, 40_000));
    assert_eq!(wait, Some((0, millis(50))), "less what has passed");
    assert_eq!(decide(&leases, &charge, 90_000), None, "whoever waits as told is not refused here");

    refuse(&leases, &charge, millis(900), 1_000_000);
    let wait = waits(decide(&leases, &charge, 1_249_999));
    assert_eq!(wait, Some((0, millis(900) - Duration::from_micros(249_999))));
    assert_eq!(decide(&leases, &charge, 1_250_000), None, "after that, Redis is asked");
    assert_eq!(leases.stats().remembered, 2);
}

#[test]
fn what_costs_less_than_what_was_refused_is_asked_for() {
    let leases = leases(1_000);
    let cheap = one();
    let mut costly = one();
    costly.buckets[0].cost = NonZeroU32::new(10).unwrap();
    refuse(&leases, &costly, Duration::from_millis(200), 0);
    assert!(waits(decide(&leases, &costly, 1)).is_some());
    assert_eq!(decide(&leases, &cheap, 1), None);
}

#[test]
fn a_hot_bucket_that_is_empty_is_left_alone_and_says_for_how_long() {
    let (leases, charge) = (leases(1_000), one());
    heat(&leases, &charge);
    // A token would be there after 10 ms; a quarter of the burst takes longer than the rest.
    refuse(&leases, &charge, Duration::from_millis(10), 400_000);
    let wait = waits(decide(&leases, &charge, 420_000));
    assert_eq!(wait, Some((0, Duration::from_micros(REST - 20_000))));
    assert_eq!(decide(&leases, &charge, 400_000 + REST), None);
    // One that fills sooner is left alone for as long as a quarter of it takes.
    let quick = of([bucket("quick", "ann", 1_000, 400)]);
    heat(&leases, &quick);
    refuse(&leases, &quick, Duration::from_millis(1), 400_000);
    assert!(decide(&leases, &quick, 499_999).is_some());
    assert_eq!(decide(&leases, &quick, 500_000), None);
}

#[test]
fn only_a_hot_bucket_wants_a_lease_and_asks_for_it_once_at_a_time() {
    let (leases, charge) = (leases(1_000), one());
    lease(&leases, &charge, 0, 7, 0);
    assert_eq!(leases.terms(&charge, At(1).now(), PATIENCE)[0].want, 0);
    heat(&leases, &charge);
    let want = leases.terms(&charge, At(400_000).now(), PATIENCE)[0].want;
    assert!((15 * MICRO..=25 * MICRO).contains(&want), "100 a second for 200 ms: {want}");
    assert_eq!(leases.terms(&charge, At(400_001).now(), PATIENCE)[0].want, 0);
    assert!(leases.terms(&charge, At(425_000).now(), PATIENCE)[0].want > 0, "the answer is lost");
    let cold = of([charge.buckets[0].clone(), bucket("cold", "ann", 1, 10)]);
    lease(&leases, &charge, 0, 7, 430_000);
    assert_eq!(leases.terms(&cold, At(430_001).now(), PATIENCE)[0].want, 0, "it saves no call");
}

#[test]
fn a_bucket_with_few_requests_wants_those_of_most_of_a_lease_and_no_more() {
    let leases = leases(1_000);
    let wanted = |per_second: u64| {
        let charge = of([bucket("few", &format!("user{per_second}"), 100, 1_000)]);
        lease(&leases, &charge, 0, 7, 0);
        for number in 1..=4 {
            assert_eq!(decide(&leases, &charge, number * 1_000_000 / per_second), None);
        }
        leases.terms(&charge, At(5_000_000).now(), PATIENCE)[0].want / MICRO
    };
    assert_eq!([1, 2, 5, 10, 40].map(wanted), [0, 2, 6, 8, 8]);
}

#[test]
fn of_a_small_burst_nothing_is_leased() {
    let leases = leases(1_000);
    let wanted = |burst: u32| {
        let charge = of([bucket("small", &format!("user{burst}"), 100, burst)]);
        heat(&leases, &charge);
        leases.terms(&charge, At(400_000).now(), PATIENCE)[0].want
    };
    assert_eq!(wanted(LEASED_BURST - 1), 0, "it is exact to the token, for a call each");
    assert!(wanted(LEASED_BURST) > 0);
}

#[test]
fn a_call_for_a_cold_bucket_leaves_the_lease_of_a_full_one_and_takes_that_of_a_low_one_along() {
    let leases = leases(1_000);
    let (cold, hot) = (bucket("cold", "ann", 1, 10), bucket("hot", "ann", 100, 1_000));
    let (both, alone) = (of([cold, hot.clone()]), of([hot]));
    let answer = |left: u64, at: u64| {
        let told = Told { left: left * MICRO, ..told(9, 7) };
        leases.told(&alone, &[told], None, At(at).now(), At(at).now());
    };
    answer(900, 0);
    assert_eq!(leases.terms(&both, At(1).now(), PATIENCE)[1], Terms::default());
    assert!(spends(&leases, &alone, 2), "others go on with it");
    // The answer to that call says what is beside the lease.
    let beside = Told { left: 100 * MICRO, ..told(0, 7) };
    leases.told(&both, &[told(0, 7), beside], None, At(3).now(), At(3).now());
    let terms = leases.terms(&both, At(4).now(), PATIENCE)[1];
    assert_eq!(
        (terms.closed, terms.back),
        (9 * MICRO, 8 * MICRO),
        "Redis is to refuse, if it must"
    );
}

/// A hundred charges a second, up to 0.4 s.
fn heat(leases: &Leases, charge: &Charge) {
    lease(leases, charge, 0, 7, 0);
    for at in 1..40 {
        assert_eq!(decide(leases, charge, at * 10_000), None);
    }
}

#[test]
fn a_table_that_is_full_forgets_and_never_spends_what_it_forgot() {
    let leases = leases(64);
    let charges: Vec<Charge> =
        (0..2_000).map(|n| of([bucket("hot", &format!("user{n}"), 100, 1_000)])).collect();
    for charge in &charges {
        lease(&leases, charge, 1, 7, 0);
    }
    let stats = leases.stats();
    assert!(stats.buckets <= 64, "{stats:?}");
    assert!(stats.forgotten >= 1_936, "{stats:?}");
    let kept = charges.iter().filter(|charge| spends(&leases, charge, 1)).count();
    assert!(kept <= 64, "{kept}");
    assert_eq!(charges.iter().filter(|charge| spends(&leases, charge, 2)).count(), 0);
}

#[derive(Debug, Clone)]
enum Act {
    /// Redis leases so many tokens; the answer took so long.
    Lease(u64, u64),
    /// The clock is read, so much time passes, and something is spent.
    Spend(u32, u64),
    Close,
    Sweep,
}

fn schedule() -> impl Strategy<Value = Vec<(u64, Act)>> {
    let wait = prop_oneof![4 => 0..20_000_u64, 2 => 0..500_000_u64, 1 => 0..2 * EPOCH];
    let stop = prop_oneof![8 => Just(0_u64), 1 => 0..2 * EPOCH];
    let act = prop_oneof![
        3 => (0..20_u64, 0..600_000_u64).prop_map(|(tokens, late)| Act::Lease(tokens, late)),
        8 => (1..6_u32, stop).prop_map(|(cost, stop)| Act::Spend(cost, stop)),
        1 => Just(Act::Close),
        1 => Just(Act::Sweep),
    ];
    proptest::collection::vec((wait, act), 1..150)
}

/// What may be spent, and until when.
struct Pot {
    left: u64,
    ends: u64,
}

proptest! {
    /// Whatever is leased, spent, closed and late: what is spent and what is given back are never
    /// more than what was leased, and nothing is spent after the end of its lease.
    #[test]
    fn no_schedule_spends_or_gives_back_what_is_not_there(schedule in schedule()) {
        let leases = leases(1_000);
        let mut now = 0;
        let mut pots: Vec<Pot> = Vec::new();
        for (wait, act) in schedule {
            now += wait;
            match act {
                Act::Lease(tokens, late) => {
                    let sent = At(now).now();
                    // Counted by Redis when it came there, at any time before the answer.
                    let epoch = (now + late / 2) / EPOCH;
                    pots.push(Pot { left: tokens * MICRO, ends: now + SPENT });
                    now += late;
                    leases.told(&one(), &[told(tokens, epoch)], None, sent, At(now).now());
                }
                Act::Spend(cost, stop) => {
                    let mut charge = one();
                    charge.buckets[0].cost = NonZeroU32::new(cost).unwrap();
                    let read = At(now).now();
                    now += stop;
                    let answer = leases.decide(&charge, read, &At(now));
                    if let Some(ChargeAnswer::Granted { .. }) = answer {
                        let mut missing = u64::from(cost) * MICRO;
                        pots.sort_by_key(|pot| pot.ends);
                        for pot in pots.iter_mut().filter(|pot| now < pot.ends) {
                            let part = missing.min(pot.left);
                            pot.left -= part;
                            missing -= part;
                        }
                        prop_assert_eq!(missing, 0, "at {}", now);
                    }
                }
                Act::Close | Act::Sweep => {
                    let terms = match act {
                        Act::Close => leases.terms(&one(), At(now).now(), PATIENCE).to_vec(),
                        _ => leases.due(At(now).now(), false, 10).into_iter().map(|due| due.1).collect(),
                    };
                    let left: u64 =
                        pots.iter().filter(|pot| now < pot.ends).map(|pot| pot.left).sum();
                    for terms in &terms {
                        prop_assert!(terms.back + terms.back_before <= left);
                        prop_assert!(terms.back <= terms.closed);
                        prop_assert!(terms.back_before <= terms.closed_before);
                    }
                    if matches!(act, Act::Close) || !terms.is_empty() {
                        // Whatever there was is Redis' again.
                        pots.clear();
                    }
                }
            }
        }
    }
}
