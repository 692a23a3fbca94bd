//! How late it can be at Redis, by this node's monotonic clock.
//!
//! Buckets in Redis fill by Redis' own wall clock. If that jumps ahead, every bucket would be full
//! at once; so each call says how late it can be at most, going by earlier answers, and the script
//! believes the earlier of the two. Pure. Imports `domain` only.
//!
//! What this bounds: a step that is taken back within [`BELIEVED_AFTER`] gives nothing. One that
//! stays is believed then, because a node that was asleep sees the same thing and must not hold
//! buckets back for ever; it gives each bucket at most its burst, once. The same holds for the
//! first call of a process, which knows nothing yet.

use std::time::Duration;

use crate::domain::clock::Now;

/// A clock that is ahead for so long is right.
pub(super) const BELIEVED_AFTER: Duration = Duration::from_secs(10);
/// Quartz is wrong by less than one part in so many.
const DRIFT: u64 = 1_000;
/// Larger than any time, and exact as a double.
pub(super) const UNKNOWN: u64 = (1 << 53) - 1;

/// The latest answer that was believed.
#[derive(Debug, Default)]
pub(super) struct ServerClock {
    believed: Option<Reading>,
    ahead_since: Option<Now>,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    server_micros: u64,
    sent: Now,
}

impl ServerClock {
    /// How late it is at most when a call that is sent `now` arrives within `deadline`.
    pub(super) fn latest(&self, now: Now, deadline: Duration) -> u64 {
        let Some(reading) = self.believed else { return UNKNOWN };
        let since = micros(now.since(reading.sent));
        // The answer was made after its call was sent, so this is late rather than early.
        let sum = reading.server_micros.saturating_add(since).saturating_add(since / DRIFT);
        sum.saturating_add(micros(deadline)).min(UNKNOWN)
    }

    /// Redis answered a call sent then with its time.
    pub(super) fn answered(&mut self, server_micros: u64, sent: Now, now: Now, deadline: Duration) {
        // By the monotonic clock alone: the wall clock of this node may have been set back.
        let stale = self.believed.is_some_and(|reading| sent.mono_nanos < reading.sent.mono_nanos);
        let ahead = server_micros > self.latest(now, deadline);
        if ahead {
            let since = *self.ahead_since.get_or_insert(now);
            if now.since(since) < BELIEVED_AFTER {
                return;
            }
        }
        self.ahead_since = None;
        if !stale {
            self.believed = Some(Reading { server_micros, sent });
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_millis(25);

    fn at(millis: u64) -> Now {
        Now { unix_micros: 0, mono_nanos: millis * 1_000_000 }
    }

    fn answer(clock: &mut ServerClock, server_millis: u64, at_millis: u64) {
        clock.answered(server_millis * 1_000, at(at_millis), at(at_millis + 1), DEADLINE);
    }

    #[test]
    fn a_steady_clock_is_never_held_back() {
        let mut clock = ServerClock::default();
        for step in 0..1_000_u64 {
            // A server that runs fast by 500 parts in a million, asked every 7 seconds.
            let server = 1_000_000 + step * 7_000 + step * 7_000 / 2_000;
            assert!(clock.latest(at(step * 7_000), DEADLINE) >= server * 1_000);
            answer(&mut clock, server, step * 7_000);
        }
    }

    #[test]
    fn a_step_ahead_is_held_back_and_believed_once_it_stays() {
        let mut clock = ServerClock::default();
        answer(&mut clock, 1_000_000, 0);
        let hour = 3_600_000;
        for second in 1..=10 {
            let latest = clock.latest(at(second * 1_000), DEADLINE);
            assert!(latest < (1_000_000 + second * 1_000 + 100) * 1_000, "{latest}");
            answer(&mut clock, 1_000_000 + hour + second * 1_000, second * 1_000);
        }
        answer(&mut clock, 1_000_000 + hour + 12_000, 12_000);
        assert!(clock.latest(at(12_000), DEADLINE) >= (1_000_000 + hour + 12_000) * 1_000);
    }

    #[test]
    fn a_step_ahead_and_back_leaves_no_trace() {
        let mut clock = ServerClock::default();
        answer(&mut clock, 1_000_000, 0);
        answer(&mut clock, 9_000_000, 1_000);
        answer(&mut clock, 1_002_000, 2_000);
        answer(&mut clock, 9_000_000, 11_500);
        assert!(clock.latest(at(11_500), DEADLINE) < 1_012_000_000);
    }

    #[test]
    fn a_wall_clock_of_this_node_that_is_set_back_makes_no_answer_stale() {
        let mut clock = ServerClock::default();
        let hour = 3_600_000_000;
        let sent = Now { unix_micros: hour, mono_nanos: 0 };
        clock.answered(1_000_000_000, sent, sent, DEADLINE);
        let sent = Now { unix_micros: 0, mono_nanos: 100_000_000_000 };
        clock.answered(1_100_000_000, sent, sent, DEADLINE);
        assert_eq!(
            clock.latest(sent, DEADLINE),
            1_100_025_000,
            "known, and not reckoned from before"
        );
    }

    #[test]
    fn a_step_back_is_followed_at_once() {
        let mut clock = ServerClock::default();
        answer(&mut clock, 9_000_000, 0);
        answer(&mut clock, 1_000_000, 1_000);
        assert!(clock.latest(at(1_000), DEADLINE) < 1_001_000_000);
    }
}
