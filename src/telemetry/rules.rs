//! What is counted of rules: how often requests met each of them, and what became of it.
//!
//! Rules are known by their place, so that counting takes no look-up. A rule's series stay when it
//! is gone, since counters never shrink; ids beyond [`MOST_RULE_SERIES`] in the life of a process
//! are counted together.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use super::family::Label;
use crate::domain::rule::RuleOutcome;

/// Rules that have series of their own.
pub const MOST_RULE_SERIES: usize = 4_096;
/// The series of all others.
const OTHERS: &str = "_others";

/// The metric.
#[derive(Debug, Clone)]
pub struct RuleMetrics {
    met: IntCounterVec,
    known: Arc<Mutex<BTreeSet<Box<str>>>>,
}

/// The counters of one policy in force.
#[derive(Debug)]
pub struct RuleCounters(Vec<[IntCounter; 3]>);

impl RuleMetrics {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let met = IntCounterVec::new(
            Opts::new("tollgate_rules_total", "Requests that met a rule, by what became of it."),
            &["rule", RuleOutcome::NAME],
        )?;
        registry.register(Box::new(met.clone()))?;
        // A metric without series would not be exposed at all.
        for outcome in RuleOutcome::ALL {
            met.get_metric_with_label_values(&[OTHERS, outcome.value()])?;
        }
        Ok(Self { met, known: Arc::default() })
    }

    /// Counters for rules with these ids, in the order of their places.
    pub fn of<'i>(&self, ids: impl Iterator<Item = &'i str>) -> RuleCounters {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let of_rule = |id: &str| {
            let id = match known.contains(id) {
                true => id,
                false if known.len() < MOST_RULE_SERIES => {
                    known.insert(Box::from(id));
                    id
                }
                false => OTHERS,
            };
            let one = |outcome: RuleOutcome| {
                self.met.get_metric_with_label_values(&[id, outcome.value()]).ok()
            };
            let [applied, shadow, failed] =
                [RuleOutcome::Applied, RuleOutcome::Shadow, RuleOutcome::Failed].map(one);
            Some([applied?, shadow?, failed?])
        };
        RuleCounters(ids.filter_map(of_rule).collect())
    }
}

impl RuleCounters {
    /// A request met the rule at that place.
    pub fn met(&self, place: u16, outcome: RuleOutcome) {
        let counters = self.0.get(usize::from(place));
        if let Some(counter) = counters.and_then(|counters| counters.get(outcome.index())) {
            counter.inc();
        }
    }
}

impl Label for RuleOutcome {
    const NAME: &'static str = "outcome";
    const ALL: &'static [Self] = &[Self::Applied, Self::Shadow, Self::Failed];

    fn index(self) -> usize {
        self as usize
    }

    fn value(self) -> &'static str {
        self.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_keep_their_counts_over_reloads_and_their_number_is_bounded() {
        let registry = Registry::new();
        let metrics = RuleMetrics::register(&registry).unwrap();
        metrics.of(["a", "b"].into_iter()).met(1, RuleOutcome::Failed);
        metrics.of(["b"].into_iter()).met(0, RuleOutcome::Failed);
        let count = |rule: &str| metrics.met.with_label_values(&[rule, "failed"]).get();
        assert_eq!(count("b"), 2);
        let many: Vec<String> = (0..MOST_RULE_SERIES + 10).map(|n| format!("r{n}")).collect();
        let counters = metrics.of(many.iter().map(String::as_str));
        let last = u16::try_from(many.len() - 1).unwrap();
        counters.met(last, RuleOutcome::Failed);
        assert_eq!(count(OTHERS), 1);
        counters.met(u16::MAX, RuleOutcome::Applied);
    }
}
