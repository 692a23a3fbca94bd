//! When to stop asking Redis, and when to begin again.
//!
//! Pure: told what happened and when. Requests only ever see it closed or open; while it is open
//! the link probes in the background, so that finding out costs no request anything. Imports
//! `domain` only.

use std::time::Duration;

use crate::domain::clock::Now;

/// Failures in a row that open it.
const IN_A_ROW: u32 = 5;
/// Over this time more than half of the calls may not fail …
const WINDOW: Duration = Duration::from_secs(1);
/// … once there are so many of them.
const ENOUGH_CALLS: u32 = 10;
/// It stays open for at least this long …
const LEAST_OPEN: Duration = Duration::from_secs(2);
/// … and until so many probes in a row went well.
const GOOD_PROBES: u32 = 3;

/// Whether Redis is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Not connected yet, and nothing has failed: the first good probe closes it.
    Starting,
    /// Asked.
    Closed,
    /// Not asked.
    Open,
}

#[derive(Debug)]
pub(super) struct Breaker {
    state: BreakerState,
    opened: Option<Now>,
    good_probes: u32,
    failed_in_a_row: u32,
    window: Option<Now>,
    calls: u32,
    failures: u32,
    times_opened: u64,
}

impl Breaker {
    pub(super) fn new() -> Self {
        Self {
            state: BreakerState::Starting,
            opened: None,
            good_probes: 0,
            failed_in_a_row: 0,
            window: None,
            calls: 0,
            failures: 0,
            times_opened: 0,
        }
    }

    pub(super) fn state(&self) -> BreakerState {
        self.state
    }

    pub(super) fn times_opened(&self) -> u64 {
        self.times_opened
    }

    /// A call was answered.
    pub(super) fn succeeded(&mut self, now: Now) {
        if self.state == BreakerState::Closed {
            self.count(now);
            self.failed_in_a_row = 0;
        }
    }

    /// A call was not answered, or not in time. Calls that end after it opened do not count.
    pub(super) fn failed(&mut self, now: Now) {
        if self.state == BreakerState::Closed {
            self.count(now);
            self.failures += 1;
            self.failed_in_a_row += 1;
            let half = self.calls >= ENOUGH_CALLS && self.failures * 2 > self.calls;
            if half || self.failed_in_a_row >= IN_A_ROW {
                self.open(now);
            }
        }
    }

    /// There is no connection to be had: nothing would be answered.
    pub(super) fn lost(&mut self, now: Now) {
        match self.state {
            BreakerState::Starting | BreakerState::Closed => self.open(now),
            BreakerState::Open => self.good_probes = 0,
        }
    }

    /// A probe was answered in time.
    pub(super) fn probed(&mut self, now: Now) {
        match self.state {
            BreakerState::Starting => self.close(),
            BreakerState::Closed => self.succeeded(now),
            BreakerState::Open => {
                self.good_probes += 1;
                let rested = self.opened.is_none_or(|opened| now.since(opened) >= LEAST_OPEN);
                if rested && self.good_probes >= GOOD_PROBES {
                    self.close();
                }
            }
        }
    }

    fn count(&mut self, now: Now) {
        if self.window.is_none_or(|start| now.since(start) >= WINDOW) {
            self.window = Some(now);
            self.calls = 0;
            self.failures = 0;
        }
        self.calls = self.calls.saturating_add(1);
    }

    fn open(&mut self, now: Now) {
        self.state = BreakerState::Open;
        self.opened = Some(now);
        self.good_probes = 0;
        self.times_opened += 1;
    }

    fn close(&mut self) {
        self.state = BreakerState::Closed;
        self.window = None;
        self.failed_in_a_row = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Now {
        Now { unix_micros: 0, mono_nanos: millis * 1_000_000 }
    }

    fn closed() -> Breaker {
        let mut breaker = Breaker::new();
        breaker.probed(at(0));
        assert_eq!(breaker.state(), BreakerState::Closed);
        breaker
    }

    #[test]
    fn five_failures_in_a_row_open_it() {
        let mut breaker = closed();
        for _ in 0..4 {
            breaker.failed(at(1));
        }
        breaker.succeeded(at(1));
        for _ in 0..4 {
            breaker.failed(at(2));
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
        breaker.failed(at(3));
        assert_eq!(breaker.state(), BreakerState::Open);
    }

    #[test]
    fn more_than_half_failing_within_a_second_opens_it() {
        let mut breaker = closed();
        for _ in 0..10 {
            breaker.succeeded(at(1));
            breaker.failed(at(1));
        }
        assert_eq!(breaker.state(), BreakerState::Closed, "half is not more than half");
        breaker.failed(at(900));
        assert_eq!(breaker.state(), BreakerState::Open);
    }

    #[test]
    fn failures_of_an_earlier_second_are_forgotten() {
        let mut breaker = closed();
        for second in 0..100 {
            for _ in 0..4 {
                breaker.failed(at(second * 1_000));
            }
            for _ in 0..5 {
                breaker.succeeded(at(second * 1_000 + 1));
            }
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn it_closes_after_three_good_probes_and_two_seconds() {
        let mut breaker = closed();
        breaker.lost(at(0));
        for millis in [100, 200, 300, 1_999] {
            breaker.probed(at(millis));
            assert_eq!(breaker.state(), BreakerState::Open);
        }
        breaker.probed(at(2_000));
        assert_eq!(breaker.state(), BreakerState::Closed);

        breaker.lost(at(10_000));
        for millis in [20_000, 20_100] {
            breaker.probed(at(millis));
        }
        breaker.lost(at(20_200));
        for millis in [20_300, 20_400] {
            breaker.probed(at(millis));
            assert_eq!(breaker.state(), BreakerState::Open, "a bad probe begins the count again");
        }
        breaker.probed(at(20_500));
        assert_eq!(breaker.state(), BreakerState::Closed);
        assert_eq!(breaker.times_opened(), 2);
    }
}
