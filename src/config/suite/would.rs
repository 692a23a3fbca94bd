//! What a test expects of policies in shadow: which would have done something, and what.
//!
//! May import `domain`.

use std::sync::Arc;

use crate::domain::would::PolicyKind;

use super::super::decode::{At, Fields, Name, Table};

/// A policy in shadow that would have done something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WouldExpected {
    /// What kind of policy.
    pub policy: PolicyKind,
    /// Its name; of a condition what states it: `route reports`.
    pub name: Arc<str>,
    /// The code of the refusal, `confined`, or the kind of the event. What is `None` may be anything.
    pub code: Option<Arc<str>>,
}

/// One of them, as it is written.
#[derive(Clone)]
pub(super) struct WouldFields {
    pub(super) of: Of,
    pub(super) name: At<Name>,
    pub(super) code: Option<Name>,
}

/// What has a mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Limit,
    Quota,
    Route,
    Role,
    Gate,
    Permission,
    Table,
    Rule,
}

/// The key of each.
const KEYS: &[&str] = &["limit", "quota", "route", "role", "gate", "permission", "table", "rule"];

impl Fields for WouldFields {
    const NAME: &'static str = "would";
    const ABOUT: &'static str = "A policy in shadow that would have refused the request, or changed \
                                 it.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let which = table.one_of(KEYS);
        let limit = table.optional("limit", "A limit.");
        let quota = table.optional("quota", "A quota.");
        let route = table.optional("route", "A route, for one of its conditions.");
        let role = table.optional("role", "A role, for one of its conditions.");
        let gate = table.optional("gate", "A gate, for one of its conditions.");
        let permission = table.optional("permission", "A route, for its `shadow_permission`.");
        let of_table = table.optional("table", "A table, for its isolation.");
        let rule = table.optional("rule", "A rule.");
        let code = table.optional(
            "code",
            "The code of the refusal, `confined` of a table, or the event that a rule would raise.",
        );
        let (of, name) = match which? {
            "limit" => (Of::Limit, limit),
            "quota" => (Of::Quota, quota),
            "route" => (Of::Route, route),
            "role" => (Of::Role, role),
            "gate" => (Of::Gate, gate),
            "permission" => (Of::Permission, permission),
            "table" => (Of::Table, of_table),
            _ => (Of::Rule, rule),
        };
        Some(Self { of, name: name?, code })
    }
}

impl WouldFields {
    /// As would-haves say it.
    pub(super) fn expected(&self) -> WouldExpected {
        let name = &self.name.value;
        let (policy, name) = match self.of {
            Of::Limit => (PolicyKind::Limit, name.clone()),
            Of::Quota => (PolicyKind::Quota, name.clone()),
            Of::Route => (PolicyKind::Condition, format!("route {name}").into()),
            Of::Role => (PolicyKind::Condition, format!("role {name}").into()),
            Of::Gate => (PolicyKind::Condition, format!("gate {name}").into()),
            Of::Permission => (PolicyKind::Permission, name.clone()),
            Of::Table => (PolicyKind::Table, name.clone()),
            Of::Rule => (PolicyKind::Rule, name.clone()),
        };
        WouldExpected { policy, name, code: self.code.clone() }
    }
}
