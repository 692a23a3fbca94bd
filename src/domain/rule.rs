//! What rules of the policy do to a request, as far as other rooms have to know: the answer of one
//! that refuses, the security event of one that raises it, and what the record of the request says
//! of them. Pure data; imports no other room.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::audit::Severity;
use super::source::Source;

/// The answer of a rule that refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The rule.
    pub rule: Arc<str>,
    /// 400 to 499, or 503.
    pub status: StatusCode,
    /// What programs tell it by.
    pub code: Arc<str>,
    /// What people read: constant text of the policy.
    pub message: Arc<str>,
    /// When to come back.
    pub retry_after: Option<Duration>,
}

/// A security event that a rule raises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleEvent {
    /// The rule.
    pub rule: Arc<str>,
    /// What kind of event, in the policy's words.
    pub kind: Arc<str>,
    /// How bad it is.
    pub severity: Severity,
}

/// What became of a rule that a request met, or that could not be evaluated for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RuleOutcome {
    /// It applied.
    Applied,
    /// It would have, were it enforced.
    Shadow,
    /// Its condition has no answer: it refused if it is there to refuse, and did nothing else.
    Failed,
}

impl RuleOutcome {
    /// As records and metrics write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Shadow => "shadow",
            Self::Failed => "failed",
        }
    }
}

/// A rule in the record of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleTold {
    /// The rule.
    pub rule: Arc<str>,
    /// Where it was written.
    pub source: Source,
    /// What became of it.
    pub outcome: RuleOutcome,
}

impl Serialize for RuleTold {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("rule", self.rule.as_ref())?;
        map.serialize_entry("source", &format_args!("{}", self.source))?;
        map.serialize_entry("outcome", self.outcome.as_str())?;
        map.end()
    }
}
