//! The one clock of the process. Everything else takes a [`Now`] as an argument, so that a test
//! or an explanation can say what time it is.
//!
//! Imports `domain` only.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::domain::clock::{Clock, Now};

/// The clocks of the operating system. Make one at start and share it: monotonic times of two of
/// them cannot be compared.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// Starts counting monotonic time.
    #[allow(clippy::disallowed_methods, reason = "the one clock source")]
    pub fn new() -> Self {
        Self { started: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one clock source")]
    fn now(&self) -> Now {
        // A wall clock before 1970 reads as 1970: every token is then not yet valid, and refused.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Not by way of 128 bits, whose arithmetic costs more than the reading.
        let micros = u64::from(wall.subsec_micros());
        Now {
            unix_micros: wall.as_secs().saturating_mul(1_000_000).saturating_add(micros),
            mono_nanos: self.mono_nanos(),
        }
    }

    #[allow(clippy::disallowed_methods, reason = "the one clock source")]
    fn mono_nanos(&self) -> u64 {
        let mono = self.started.elapsed();
        let nanos = u64::from(mono.subsec_nanos());
        mono.as_secs().saturating_mul(1_000_000_000).saturating_add(nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_time_never_goes_back_and_the_wall_clock_is_past_2020() {
        let clock = SystemClock::new();
        let first = clock.now();
        let second = clock.now();
        assert!(second.mono_nanos >= first.mono_nanos);
        assert!(first.unix_secs() > 1_577_836_800);
    }
}
