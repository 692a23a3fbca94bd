//! What is said of a reload or a rollback: in the process's log, and in the audit log.

use std::sync::Arc;

use crate::config::problem::{Problem, Problems, Severity};
use crate::domain::published::{ChangedBy, PolicyAction, PolicyChange, PolicyOutcome};

use super::{Reloaded, Reloader};

impl Reloader {
    /// Writes into the audit log that the policy in force changed, or why it did not.
    pub(super) fn record(
        &self,
        action: PolicyAction,
        by: ChangedBy,
        from: Arc<str>,
        to: Option<Arc<str>>,
        why: Option<String>,
    ) {
        let Some(audit) = &self.shell.audit else { return };
        let unix_micros = self.shell.clock.now().unix_micros;
        let outcome = match why {
            None => PolicyOutcome::Published,
            Some(_) => PolicyOutcome::Refused,
        };
        audit.changed(PolicyChange { unix_micros, action, by, outcome, from, to, why });
    }

    /// Says what a reload came to; `before` was in force.
    pub(super) fn tell(&self, by: ChangedBy, before: Arc<str>, outcome: &Reloaded) {
        let (reason, version) = (by.as_str(), &self.version);
        let record = |to: Option<&Arc<str>>, why: Option<String>| {
            self.record(PolicyAction::Reload, by, before, to.cloned(), why);
        };
        match outcome {
            Reloaded::Unchanged { passed } => {
                tracing::info!(
                    reason,
                    tests.passed = passed,
                    "configuration read again, nothing has changed"
                );
            }
            Reloaded::Doubtful { report } => {
                tracing::error!(reason, snapshot.version = %version, "the tests of the policy in force do not pass any more, it stays:\n{report}");
            }
            Reloaded::Applied { version, at_next_start, passed } => {
                record(Some(version), None);
                tracing::info!(
                    reason,
                    snapshot.version = %version,
                    tests.passed = passed,
                    "configuration reloaded"
                );
                if !at_next_start.is_empty() {
                    let settings = at_next_start.join(", ");
                    tracing::warn!(%settings, "these settings changed and count from the next start");
                }
            }
            Reloaded::Failed(problems) => {
                record(None, Some(first_problem(problems)));
                tracing::error!(reason, snapshot.version = %version, "configuration not reloaded, the policy in force stays:\n{problems}");
            }
            Reloaded::Untested { version: refused, report } => {
                record(Some(refused), Some("its tests do not pass".to_owned()));
                tracing::error!(reason, snapshot.version = %version, snapshot.refused = %refused, "configuration not reloaded, its tests do not pass, the policy in force stays:\n{report}");
            }
            Reloaded::Broken => record(None, Some("it could not be read to its end".to_owned())),
        }
    }
}

/// The first error, with its place: the log has all of them.
fn first_problem(problems: &Problems) -> String {
    let error = |problem: &&Problem| problem.severity == Severity::Error;
    let Some(first) = problems.0.iter().find(error) else { return String::new() };
    let (file, line) = (&first.place.file, first.place.line);
    let more = match problems.errors() {
        0 | 1 => String::new(),
        all => format!(" (and {} more)", all - 1),
    };
    format!("{file}:{line}: {}{more}", first.message)
}

/// What a message begins with.
pub(super) fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
