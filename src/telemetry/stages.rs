//! The time that a request spends in each stage, waits included, of the few requests that are
//! timed.

use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::clock::{Clock, Now};

use super::labels::StageLabel;
use super::metrics::RequestMetrics;

/// Times the stages of one request: the shell makes one for a request that
/// [`RequestMetrics::times_stages`] chose, and drops it when the request is over.
pub struct StageTimer {
    clock: Arc<dyn Clock>,
    metrics: RequestMetrics,
    at_work: Mutex<Option<(StageLabel, Now)>>,
}

impl StageTimer {
    /// Begins before the first stage.
    pub fn new(clock: Arc<dyn Clock>, metrics: RequestMetrics) -> Self {
        Self { clock, metrics, at_work: Mutex::new(None) }
    }

    /// A stage begins, and with it the one before it ends.
    pub fn entered(&self, stage: StageLabel) {
        let now = self.clock.now();
        self.ends(Some((stage, now)), now);
    }

    fn ends(&self, next: Option<(StageLabel, Now)>, now: Now) {
        let mut at_work = self.at_work.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *at_work, next);
        drop(at_work);
        if let Some((stage, began)) = before {
            self.metrics.stage(stage, now.since(began));
        }
    }
}

impl Drop for StageTimer {
    fn drop(&mut self) {
        let now = self.clock.now();
        self.ends(None, now);
    }
}

impl std::fmt::Debug for StageTimer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StageTimer").field("at_work", &self.at_work).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::super::metrics::Metrics;
    use super::*;

    #[derive(Debug, Default)]
    struct Steps(AtomicU64);

    impl Clock for Steps {
        /// Each reading is a microsecond after the one before.
        fn now(&self) -> Now {
            let micros = self.0.fetch_add(1, Ordering::Relaxed);
            Now { unix_micros: micros, mono_nanos: micros * 1_000 }
        }
    }

    #[test]
    fn each_stage_ends_when_the_next_begins_and_the_last_with_the_request() {
        let metrics = Metrics::new().unwrap();
        let timer = StageTimer::new(Arc::new(Steps::default()), metrics.requests.clone());
        timer.entered(StageLabel::Edge);
        timer.entered(StageLabel::Route);
        drop(timer);
        let text = metrics.exposition().unwrap();
        for stage in ["edge", "route"] {
            let line = format!("tollgate_stage_seconds_count{{stage=\"{stage}\"}} 1");
            assert!(text.contains(&line), "{text}");
        }
        assert!(text.contains("tollgate_stage_seconds_count{stage=\"tenant\"} 0"), "{text}");
        assert!(text.contains("tollgate_stage_seconds_sum{stage=\"edge\"} 0.000001"), "{text}");
    }
}
