//! A clock that goes on as usual and can be moved ahead, so that no test waits for time to pass.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tollgate::domain::clock::{Clock, Now};
use tollgate::telemetry::clock::SystemClock;

pub(crate) struct TestClock {
    real: SystemClock,
    ahead_millis: AtomicU64,
}

impl TestClock {
    pub(crate) fn new() -> Self {
        Self { real: SystemClock::new(), ahead_millis: AtomicU64::new(0) }
    }

    pub(crate) fn advance(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap();
        self.ahead_millis.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Now {
        self.real.now().plus(Duration::from_millis(self.ahead_millis.load(Ordering::SeqCst)))
    }
}
