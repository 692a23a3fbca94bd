//! Changes of the policy in force, and attempts at them, for the audit log. Pure data; imports nothing
//! else of this crate but the audit log's time.

use std::sync::Arc;

use serde::Serialize;
use uuid::Uuid;

use super::audit::rfc3339;

/// Another policy came into force, or was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyChange {
    /// When: microseconds since 1970-01-01 UTC.
    pub unix_micros: u64,
    /// What was wanted.
    pub action: PolicyAction,
    /// Who wanted it.
    pub by: ChangedBy,
    /// What came of it.
    pub outcome: PolicyOutcome,
    /// The version that was in force before, and still is where it was refused.
    pub from: Arc<str>,
    /// The version that was wanted, as far as it could be read.
    pub to: Option<Arc<str>>,
    /// Why it was refused, in one line.
    pub why: Option<String>,
}

/// What was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyAction {
    /// What the files say now.
    Reload,
    /// A version that was in force before.
    Rollback,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyOutcome {
    /// It is in force.
    Published,
    /// What was in force stays.
    Refused,
}

/// Who wanted another policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangedBy {
    /// Whoever wrote the files.
    Files,
    /// A signal.
    Hangup,
    /// The signal that goes back.
    User1,
    /// A command over the gateway's socket, of the user with that id.
    Command {
        /// The id, as the kernel says.
        uid: Option<u32>,
    },
}

impl ChangedBy {
    /// As logs, lists and records write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Files => "a file changed",
            Self::Hangup => "SIGHUP",
            Self::User1 => "SIGUSR1",
            Self::Command { .. } => "tollgate snapshots",
        }
    }
}

impl PolicyChange {
    /// It as a line of the audit log, with an id of its own, the node, and its number among all that
    /// this process was given.
    pub fn line<'a>(&'a self, id: Uuid, node: &'a str, seq: u64) -> PolicyLine<'a> {
        PolicyLine {
            id,
            time: rfc3339(self.unix_micros),
            node,
            seq,
            event: "policy",
            action: self.action,
            outcome: self.outcome,
            by: self.by.as_str(),
            uid: match self.by {
                ChangedBy::Command { uid } => uid,
                ChangedBy::Files | ChangedBy::Hangup | ChangedBy::User1 => None,
            },
            from: &self.from,
            to: self.to.as_deref(),
            why: self.why.as_deref(),
        }
    }
}

/// A line of the audit log, ready to be serialised. The order of the fields is that of the line.
#[derive(Debug, Serialize)]
pub struct PolicyLine<'a> {
    id: Uuid,
    time: String,
    node: &'a str,
    seq: u64,
    event: &'static str,
    action: PolicyAction,
    outcome: PolicyOutcome,
    by: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    from: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_who_wanted_what_and_what_came_of_it() {
        let change = PolicyChange {
            unix_micros: 0,
            action: PolicyAction::Rollback,
            by: ChangedBy::Command { uid: Some(1000) },
            outcome: PolicyOutcome::Refused,
            from: "8c0e".into(),
            to: Some("4f1d".into()),
            why: Some("it does not fit".into()),
        };
        let line = serde_json::to_string(&change.line(Uuid::nil(), "node-1", 7)).unwrap();
        assert_eq!(
            line,
            "{\"id\":\"00000000-0000-0000-0000-000000000000\",\
             \"time\":\"1970-01-01T00:00:00.000000Z\",\"node\":\"node-1\",\"seq\":7,\
             \"event\":\"policy\",\"action\":\"rollback\",\"outcome\":\"refused\",\
             \"by\":\"tollgate snapshots\",\"uid\":1000,\"from\":\"8c0e\",\"to\":\"4f1d\",\
             \"why\":\"it does not fit\"}"
        );
    }
}
