//! Which address is chosen, and when one is left out.

use std::num::NonZeroU32;
use std::time::Duration;

use super::*;
use crate::domain::source::Source;
use crate::policy::upstream::{Breaker, UpstreamAddress, UpstreamIdentity, UpstreamKind};

const NOW: Now = Now { unix_micros: 0, mono_nanos: 1 };

fn upstream(name: &str, ports: &[u16]) -> Arc<Upstream> {
    Arc::new(Upstream {
        name: name.into(),
        kind: UpstreamKind::Http,
        addresses: ports
            .iter()
            .map(|port| UpstreamAddress { host: "127.0.0.1".into(), port: *port })
            .collect(),
        tls: None,
        host: None,
        path_prefix: "".into(),
        identity: UpstreamIdentity::None,
        api_key: None,
        connect_timeout: Duration::from_secs(1),
        read_timeout: Duration::from_secs(1),
        retries: 1,
        health: None,
        breaker: Breaker {
            failures: NonZeroU32::new(2).unwrap(),
            open_for: Duration::from_secs(10),
        },
        sign_out_revokes: false,
        canary: None,
        source: Source::built_in(),
    })
}

fn only(pools: &Pools) -> &Arc<Pool> {
    pools.iter().next().unwrap()
}

#[test]
fn requests_go_to_the_least_busy_address_and_take_turns_among_equals() {
    let pools = Pools::new(&[upstream("u", &[1, 2, 3])], &Pools::default());
    let pool = only(&pools);
    let held: Vec<Chosen> = (0..6).map(|_| pool.choose(&[], NOW).unwrap()).collect();
    for index in 0..3 {
        assert_eq!(held.iter().filter(|chosen| chosen.index() == index).count(), 2);
    }
    let mut held = held;
    held.retain(|chosen| chosen.index() != 1);
    assert_eq!(pool.choose(&[], NOW).unwrap().index(), 1, "it has nothing to do");
}

#[test]
fn a_retry_prefers_an_address_that_was_not_tried() {
    let pools = Pools::new(&[upstream("u", &[1, 2])], &Pools::default());
    let pool = only(&pools);
    for _ in 0..4 {
        assert_eq!(pool.choose(&[0], NOW).unwrap().index(), 1);
    }
    assert!(pool.choose(&[0, 1], NOW).is_some(), "better the same one than none");
}

#[test]
fn an_open_circuit_is_passed_over_until_one_request_may_try() {
    let pools = Pools::new(&[upstream("u", &[1])], &Pools::default());
    let pool = only(&pools);
    for _ in 0..2 {
        let chosen = pool.choose(&[], NOW).unwrap();
        pool.failed(&chosen, NOW);
    }
    assert!(pool.choose(&[], NOW).is_none());
    let later = NOW.plus(Duration::from_secs(10));
    let probe = pool.choose(&[], later).unwrap();
    assert!(pool.choose(&[], later).is_none(), "one at a time");
    pool.succeeded(&probe);
    assert!(pool.choose(&[], later).is_some());
}

#[test]
fn a_reload_keeps_the_state_of_addresses_that_stay_and_forgets_the_others() {
    let before = Pools::new(&[upstream("u", &[1, 2])], &Pools::default());
    for _ in 0..2 {
        let chosen = only(&before).choose(&[1], NOW).unwrap();
        assert_eq!(chosen.index(), 0);
        only(&before).failed(&chosen, NOW);
    }
    let after = Pools::new(&[upstream("u", &[1, 3]), upstream("v", &[1])], &before);
    for _ in 0..3 {
        assert_eq!(only(&after).choose(&[], NOW).unwrap().index(), 1, "port 1 is still out");
    }
    let other = after.iter().nth(1).unwrap();
    assert!(other.choose(&[], NOW).is_some(), "another upstream has its own state");
}

#[test]
fn an_address_that_cannot_be_connected_to_counts_as_failed() {
    let pools = Pools::new(&[upstream("u", &[1])], &Pools::default());
    let pool = only(&pools);
    assert_eq!(pool.choices(), 1);
    for _ in 0..2 {
        let chosen = pool.choose(&[], NOW).unwrap();
        pool.unreachable(&chosen, 1, NOW);
    }
    assert!(pool.choose(&[], NOW).is_none(), "the circuit is open");
}
