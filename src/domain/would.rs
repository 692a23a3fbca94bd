//! Would-haves: what policies in shadow would have done. One entry for each policy and effect,
//! collected on the way of a request and told in its audit record, its line of the log and the
//! metrics.
//!
//! A request with which no policy in shadow would have done anything has an empty list, which costs
//! nothing. Pure data; imports no other room.

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::sync::Arc;

use http::StatusCode;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::audit::Severity;
use super::refusal::Refusal;
use super::source::Source;

/// Entries that one request has at most; what would have been more is counted.
pub const MOST_WOULD_HAVES: usize = 16;

/// What kind of policy it is.
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

/// What a policy would have done with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Answered it with this status, in place of the upstream.
    Refuse(StatusCode),
    /// Sent another request than the client's: one that is confined to the organization.
    Confine,
    /// Raised a security event of this severity, and let it through.
    Event(Severity),
}

impl Effect {
    /// As records and reports write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refuse(_) => "refuse",
            Self::Confine => "confine",
            Self::Event(_) => "event",
        }
    }

    /// The status that the client would have been answered, where that is known.
    pub fn status(self) -> Option<StatusCode> {
        match self {
            Self::Refuse(status) => Some(status),
            Self::Confine | Self::Event(_) => None,
        }
    }

    /// Whether one entry of a policy is enough for both. What confinement would have done is one
    /// thing: a request whose head it would have changed and whose body it would have refused would
    /// have been refused.
    fn is_of(self, other: Self) -> bool {
        matches!(
            (self, other),
            (Self::Refuse(_) | Self::Confine, Self::Refuse(_) | Self::Confine)
                | (Self::Event(_), Self::Event(_))
        )
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
    /// The code that the client would have been told, or the kind of the event. Bounded: a constant,
    /// or a policy's own.
    pub code: Cow<'static, str>,
    /// What would have become of the request.
    pub effect: Effect,
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
        let effect = Effect::Refuse(refusal.public().status);
        Self { policy, name, source, stage, code: refusal.code(), effect }
    }

    /// Of a request that would have been confined and was not.
    pub fn confined(name: Arc<str>, source: Source, stage: &'static str) -> Self {
        let (policy, effect) = (PolicyKind::Table, Effect::Confine);
        Self { policy, name, source, stage, code: Cow::Borrowed("confined"), effect }
    }
}

impl Display for WouldHave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { policy, name, effect, code, .. } = self;
        write!(f, "{} `{name}`: ", policy.as_str())?;
        match effect {
            Effect::Refuse(status) => write!(f, "{} {code}", status.as_u16()),
            Effect::Confine => f.write_str(code),
            Effect::Event(severity) => write!(f, "event {code} ({})", severity.as_str()),
        }
    }
}

impl Serialize for WouldHave {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("policy", self.policy.as_str())?;
        map.serialize_entry("name", self.name.as_ref())?;
        map.serialize_entry("source", &format_args!("{}", self.source))?;
        map.serialize_entry("stage", self.stage)?;
        map.serialize_entry("code", &self.code)?;
        match self.effect {
            // The one that all had before there were others.
            Effect::Refuse(status) => map.serialize_entry("status", &status.as_u16())?,
            Effect::Confine => map.serialize_entry("effect", self.effect.as_str())?,
            Effect::Event(severity) => {
                map.serialize_entry("effect", self.effect.as_str())?;
                map.serialize_entry("severity", severity.as_str())?;
            }
        }
        map.end()
    }
}

/// All would-haves of one request, each policy once for what becomes of the request, and once for
/// what it raises.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WouldHaves {
    list: Vec<WouldHave>,
    more: u32,
}

impl WouldHaves {
    /// Enters one, if the policy has none yet; says whether it is new and had a place. Where a
    /// request would have been confined, a later refusal takes that one's place.
    pub fn enter(&mut self, would: WouldHave) -> bool {
        let same = |known: &&mut WouldHave| {
            known.policy == would.policy
                && known.name == would.name
                && known.source == would.source
                && known.effect.is_of(would.effect)
        };
        if let Some(known) = self.list.iter_mut().find(same) {
            if known.effect == Effect::Confine {
                *known = would;
            }
            return false;
        }
        if self.list.len() == MOST_WOULD_HAVES {
            self.more = self.more.saturating_add(1);
            return false;
        }
        self.list.push(would);
        true
    }

    /// Whether no policy in shadow would have done anything.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether one of them makes the request worth a record. That it would have been confined does
    /// not: every request to a table in shadow would.
    pub fn are_notable(&self) -> bool {
        self.list.iter().any(|would| would.effect != Effect::Confine)
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
            effect: Effect::Refuse(StatusCode::TOO_MANY_REQUESTS),
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
    fn what_would_have_been_confined_and_then_refused_would_have_been_refused() {
        let source = would("events").source;
        let confined = WouldHave::confined("events".into(), source, "isolate");
        let mut all = WouldHaves::default();
        all.enter(confined.clone());
        assert!(!all.are_notable(), "{all}");
        assert_eq!(
            serde_json::to_string(&confined).unwrap(),
            "{\"policy\":\"table\",\"name\":\"events\",\"source\":\"policies/base.yaml:7\",\
             \"stage\":\"isolate\",\"code\":\"confined\",\"effect\":\"confine\"}"
        );
        assert_eq!(all.to_string(), "table `events`: confined");
        let effect = Effect::Refuse(StatusCode::FORBIDDEN);
        all.enter(WouldHave { code: "rest_tenant_escape".into(), effect, ..confined.clone() });
        all.enter(confined);
        assert_eq!(all.to_string(), "table `events`: 403 rest_tenant_escape");
        assert!(all.are_notable());
    }

    #[test]
    fn a_rule_can_refuse_and_raise_an_event() {
        let refusal = WouldHave { policy: PolicyKind::Rule, ..would("scans") };
        let effect = Effect::Event(Severity::High);
        let event = WouldHave { code: "scan".into(), effect, ..refusal.clone() };
        let mut all = WouldHaves::default();
        assert!(all.enter(refusal) && all.enter(event.clone()) && !all.enter(event.clone()));
        assert_eq!(
            all.to_string(),
            "rule `scans`: 429 rate_limited, rule `scans`: event scan (high)"
        );
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!((&json["effect"], &json["severity"]), (&"event".into(), &"high".into()));
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
