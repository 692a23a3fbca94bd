//! Shares of quotas that organizations reach: told once, in the audit log and elsewhere. Pure data;
//! imports nothing else of this crate but ids, sources and the audit log's time.

use std::sync::Arc;

use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::audit::rfc3339;
use super::ids::OrgId;
use super::source::Source;

/// An organization has reached a share of a quota.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaReached {
    /// When it was seen: microseconds since 1970-01-01 UTC.
    pub unix_micros: u64,
    /// The organization.
    pub organization: OrgId,
    /// The name of the quota.
    pub quota: Arc<str>,
    /// `day` or `month`.
    pub period: &'static str,
    /// The first day of the period where the organization is: `2026-11-01`.
    pub begins: Box<str>,
    /// The share, in percent.
    pub percent: u16,
    /// What was used then.
    pub used: u64,
    /// All that there is.
    pub amount: u64,
    /// The line of policy that states the quota.
    pub policy: Source,
}

impl QuotaReached {
    /// Whether it is the same event, seen again or by somebody else.
    pub fn same(&self, other: &Self) -> bool {
        self.organization == other.organization
            && self.quota == other.quota
            && self.period == other.period
            && self.begins == other.begins
            && self.percent == other.percent
    }

    /// It as a line of the audit log, with an id of its own, the node, and its number among all that
    /// this process was given.
    pub fn line<'a>(&'a self, id: Uuid, node: &'a str, seq: u64) -> QuotaLine<'a> {
        QuotaLine {
            id,
            time: rfc3339(self.unix_micros),
            node,
            seq,
            event: "quota_threshold",
            organization: *self.organization.as_uuid(),
            quota: &self.quota,
            period: self.period,
            begins: &self.begins,
            percent: self.percent,
            used: self.used,
            amount: self.amount,
            policy: &self.policy,
        }
    }
}

/// A line of the audit log, ready to be serialised. The order of the fields is that of the line.
#[derive(Debug, Serialize)]
pub struct QuotaLine<'a> {
    id: Uuid,
    time: String,
    node: &'a str,
    seq: u64,
    event: &'static str,
    organization: Uuid,
    quota: &'a str,
    period: &'static str,
    begins: &'a str,
    percent: u16,
    used: u64,
    amount: u64,
    #[serde(serialize_with = "shown")]
    policy: &'a Source,
}

fn shown<S: Serializer>(value: &Source, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_who_reached_what_of_which_quota() {
        let reached = QuotaReached {
            unix_micros: 0,
            organization: "7b0d3c1e-0000-4000-8000-00000000000a".parse().unwrap(),
            quota: "calls".into(),
            period: "month",
            begins: "1970-01-01".into(),
            percent: 80,
            used: 81,
            amount: 100,
            policy: Source { file: Arc::from("policies/base.yaml"), line: 7, column: 3 },
        };
        let line = serde_json::to_string(&reached.line(Uuid::nil(), "node-1", 42)).unwrap();
        assert_eq!(
            line,
            "{\"id\":\"00000000-0000-0000-0000-000000000000\",\
             \"time\":\"1970-01-01T00:00:00.000000Z\",\"node\":\"node-1\",\"seq\":42,\
             \"event\":\"quota_threshold\",\"organization\":\"7b0d3c1e-0000-4000-8000-00000000000a\",\
             \"quota\":\"calls\",\"period\":\"month\",\"begins\":\"1970-01-01\",\"percent\":80,\
             \"used\":81,\"amount\":100,\"policy\":\"policies/base.yaml:7\"}"
        );
    }
}
