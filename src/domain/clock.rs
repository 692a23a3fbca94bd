//! Time as a value. Nothing in the core reads a clock: `now` is an argument, and the one source
//! of it is `telemetry::clock`.

use std::time::Duration;

/// One reading of both clocks, taken together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Wall clock: microseconds since 1970-01-01 UTC. May step.
    pub unix_micros: u64,
    /// Monotonic clock: nanoseconds since the process started. Never goes back.
    pub mono_nanos: u64,
}

impl Now {
    /// Whole seconds since 1970, as JWT's NumericDate counts them (RFC 7519 section 2).
    pub fn unix_secs(&self) -> u64 {
        self.unix_micros / 1_000_000
    }

    /// Whole milliseconds since 1970.
    pub fn unix_millis(&self) -> u64 {
        self.unix_micros / 1_000
    }

    /// Monotonic time that has passed since `earlier`; zero if it lies ahead.
    pub fn since(&self, earlier: Now) -> Duration {
        Duration::from_nanos(self.mono_nanos.saturating_sub(earlier.mono_nanos))
    }

    /// This reading moved ahead by `by` on both clocks.
    pub fn plus(&self, by: Duration) -> Now {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        Now {
            unix_micros: self.unix_micros.saturating_add(nanos / 1_000),
            mono_nanos: self.mono_nanos.saturating_add(nanos),
        }
    }
}

/// Something that tells the time.
pub trait Clock: Send + Sync + 'static {
    /// Both clocks, now.
    fn now(&self) -> Now;

    /// The monotonic clock alone, as [`Now::mono_nanos`] counts it.
    fn mono_nanos(&self) -> u64 {
        self.now().mono_nanos
    }
}
