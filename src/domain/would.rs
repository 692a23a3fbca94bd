//! Would-haves: what policies in shadow would have refused. One entry for each policy, collected
//! on the way of a request and told in its audit record, its line of the log and the metrics.
//!
//! A request that no policy in shadow has anything against has an empty list, which costs nothing.
//! Pure data; imports no other room.

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::sync::Arc;

use http::StatusCode;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::refusal::Refusal;
use super::source::Source;

/// Entries that one request has at most; what would have been more is counted.
pub const MOST_WOULD_HAVES: usize = 16;

/// What kind of policy would have refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PolicyKind {
    /// A limit.
    Limit,
    /// A quota.
    Quota,
    /// A condition of a route, a role or a gate.
    Condition,
    /// The permission that a route asks for.
    Permission,
    /// The isolation of a table.
    Table,
    /// A rule.
    Rule,
}

impl PolicyKind {
    /// As records, metrics and reports write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Quota => "quota",
            Self::Condition => "condition",
            Self::Permission => "permission",
            Self::Table => "table",
            Self::Rule => "rule",
        }
    }
}

/// What one policy in shadow would have done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WouldHave {
    /// What kind of policy.
    pub policy: PolicyKind,
    /// Its name; of a condition the name of what states it.
    pub name: Arc<str>,
    /// Where it was written.
    pub source: Source,
    /// The stage that judged it.
    pub stage: &'static str,
    /// The code that the client would have been told. Bounded: a constant, or a policy's own.
    pub code: Cow<'static, str>,
    /// The status that the client would have been answered.
    pub status: StatusCode,
}

impl WouldHave {
    /// Of a refusal that was not enforced.
    pub fn refusal(
        policy: PolicyKind,
        name: Arc<str>,
        source: Source,
        stage: &'static str,
        refusal: &Refusal,
    ) -> Self {
        let public = refusal.public();
        Self { policy, name, source, stage, code: refusal.code(), status: public.status }
    }
}

impl Display for WouldHave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { policy, name, status, code, .. } = self;
        write!(f, "{} `{name}`: {} {code}", policy.as_str(), status.as_u16())
    }
}

impl Serialize for WouldHave {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(6))?;
        map.serialize_entry("policy", self.policy.as_str())?;
        map.serialize_entry("name", self.name.as_ref())?;
        map.serialize_entry("source", &format_args!("{}", self.source))?;
        map.serialize_entry("stage", self.stage)?;
        map.serialize_entry("code", &self.code)?;
        map.serialize_entry("status", &self.status.as_u16())?;
        map.end()
    }
}

/// All would-haves of one request, each policy once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WouldHaves {
    list: Vec<WouldHave>,
    more: u32,
}

impl WouldHaves {
    /// Enters one, if the policy has none yet; says whether it is new and had a place.
    pub fn enter(&mut self, would: WouldHave) -> bool {
        let same = |known: &WouldHave| {
            known.policy == would.policy && known.name == would.name && known.source == would.source
        };
        if self.list.iter().any(same) {
            return false;
        }
        if self.list.len() == MOST_WOULD_HAVES {
            self.more = self.more.saturating_add(1);
            return false;
        }
        self.list.push(would);
        true
    }

    /// Whether no policy in shadow has anything against the request.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The entries, in the order of the stages.
    pub fn iter(&self) -> impl Iterator<Item = &WouldHave> {
        self.list.iter()
    }

    /// The entries as a slice.
    pub fn as_slice(&self) -> &[WouldHave] {
        &self.list
    }

    /// How many had no place.
    pub fn more(&self) -> u32 {
        self.more
    }
}

impl Display for WouldHaves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, would) in self.list.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            would.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn would(name: &str) -> WouldHave {
        WouldHave {
            policy: PolicyKind::Limit,
            name: name.into(),
            source: Source { file: "policies/base.yaml".into(), line: 7, column: 3 },
            stage: "limit",
            code: "rate_limited".into(),
            status: StatusCode::TOO_MANY_REQUESTS,
        }
    }

    #[test]
    fn a_policy_is_entered_once_and_a_request_has_a_bounded_number() {
        let mut all = WouldHaves::default();
        assert!(all.is_empty());
        assert!(all.enter(would("a")));
        assert!(!all.enter(would("a")), "entered twice");
        for index in 0..MOST_WOULD_HAVES + 2 {
            all.enter(would(&format!("n{index}")));
        }
        assert_eq!((all.iter().count(), all.more()), (MOST_WOULD_HAVES, 3));
    }

    #[test]
    fn an_entry_says_which_policy_and_what_the_client_would_have_got() {
        assert_eq!(
            serde_json::to_string(&would("per_org")).unwrap(),
            "{\"policy\":\"limit\",\"name\":\"per_org\",\"source\":\"policies/base.yaml:7\",\
             \"stage\":\"limit\",\"code\":\"rate_limited\",\"status\":429}"
        );
        let mut all = WouldHaves::default();
        all.enter(would("per_org"));
        all.enter(would("other"));
        assert_eq!(
            all.to_string(),
            "limit `per_org`: 429 rate_limited, limit `other`: 429 rate_limited"
        );
    }
}
