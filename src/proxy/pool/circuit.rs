//! The circuit breaker of one upstream address.
//!
//! Closed, it counts failures in a row. Open, it lets nobody through until its time is over; then
//! one request may try (half open), and its outcome closes the circuit or opens it again. Two
//! atomics, no lock: every request of an upstream passes here.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::domain::clock::Now;
use crate::policy::upstream::Breaker;

/// The state of one circuit. Times are monotonic nanoseconds; 0 stands for closed.
#[derive(Debug, Default)]
pub(super) struct Circuit {
    failures: AtomicU32,
    open_until: AtomicU64,
}

/// What a circuit says to a request that has not decided for its address yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Closed: go ahead.
    Closed,
    /// Half open: one request may try, if it gets [`Circuit::take_probe`].
    Probe,
    /// Open.
    Open,
}

impl Circuit {
    /// How it stands.
    pub(super) fn verdict(&self, now: Now) -> Verdict {
        match self.open_until.load(Ordering::Relaxed) {
            0 => Verdict::Closed,
            until if now.mono_nanos >= until => Verdict::Probe,
            _ => Verdict::Open,
        }
    }

    /// Takes the one probe of a half-open circuit. A probe that never reports back costs another
    /// period of the open state, not more.
    pub(super) fn take_probe(&self, now: Now, breaker: &Breaker) -> bool {
        let until = self.open_until.load(Ordering::Relaxed);
        until != 0
            && now.mono_nanos >= until
            && self
                .open_until
                .compare_exchange(
                    until,
                    later(now, breaker.open_for),
                    Ordering::AcqRel,
                    Ordering::Relaxed,
                )
                .is_ok()
    }

    /// A request came through.
    pub(super) fn succeeded(&self) {
        // Loads first: a store by every request would bounce the cache line between threads.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        if self.open_until.load(Ordering::Relaxed) != 0 {
            self.open_until.store(0, Ordering::Release);
        }
    }

    /// A request failed. Returns whether that opened the circuit.
    pub(super) fn failed(&self, now: Now, breaker: &Breaker) -> bool {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failures < breaker.failures.get() {
            return false;
        }
        let was = self.open_until.swap(later(now, breaker.open_for), Ordering::AcqRel);
        was <= now.mono_nanos
    }
}

fn later(now: Now, by: Duration) -> u64 {
    now.plus(by).mono_nanos.max(1)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn at(secs: u64) -> Now {
        Now { unix_micros: 0, mono_nanos: secs * 1_000_000_000 + 1 }
    }

    fn breaker() -> Breaker {
        Breaker { failures: NonZeroU32::new(3).unwrap(), open_for: Duration::from_secs(10) }
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_not_before() {
        let circuit = Circuit::default();
        assert!(!circuit.failed(at(0), &breaker()));
        assert!(!circuit.failed(at(0), &breaker()));
        circuit.succeeded();
        assert!(!circuit.failed(at(0), &breaker()));
        assert!(!circuit.failed(at(0), &breaker()));
        assert_eq!(circuit.verdict(at(0)), Verdict::Closed);
        assert!(circuit.failed(at(0), &breaker()));
        assert_eq!(circuit.verdict(at(9)), Verdict::Open);
    }

    #[test]
    fn half_open_it_lets_one_request_try() {
        let circuit = Circuit::default();
        for _ in 0..3 {
            circuit.failed(at(0), &breaker());
        }
        assert_eq!(circuit.verdict(at(10)), Verdict::Probe);
        assert!(circuit.take_probe(at(10), &breaker()));
        assert!(!circuit.take_probe(at(10), &breaker()), "the second one has to wait");
        assert_eq!(circuit.verdict(at(11)), Verdict::Open);
        circuit.succeeded();
        assert_eq!(circuit.verdict(at(11)), Verdict::Closed);
    }

    #[test]
    fn a_failed_probe_opens_it_again() {
        let circuit = Circuit::default();
        for _ in 0..3 {
            circuit.failed(at(0), &breaker());
        }
        assert!(circuit.take_probe(at(10), &breaker()));
        circuit.failed(at(12), &breaker());
        assert_eq!(circuit.verdict(at(21)), Verdict::Open);
        assert_eq!(circuit.verdict(at(22)), Verdict::Probe);
    }

    #[test]
    fn a_probe_that_never_reports_back_blocks_one_period_only() {
        let circuit = Circuit::default();
        for _ in 0..3 {
            circuit.failed(at(0), &breaker());
        }
        assert!(circuit.take_probe(at(10), &breaker()));
        assert!(circuit.take_probe(at(20), &breaker()));
    }
}
