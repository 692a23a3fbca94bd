//! What is recorded of a decision: one record per request, from whichever stage it ended in.
//!
//! Made by the shell from the request's trace, kept by the audit log. Pure data; imports no other
//! room. A record holds no token, no query and no body.

use std::borrow::Cow;
use std::fmt::Display;
use std::net::IpAddr;
use std::sync::Arc;

use http::{Method, StatusCode};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::escape::{Resource, TenantEscape};
use super::ids::{OrgId, RequestId, UserId};
use super::known::MembershipChange;
use super::login::{AccountHash, LoginAlarm};
use super::organization::TeamName;
use super::principal::PrincipalKind;
use super::refusal::Refusal;
use super::rule::{RuleEvent, RuleTold};
use super::source::Source;
use super::trusted::DeviceId;
use super::would::{WouldHave, WouldHaves};

/// What is known of one decision. Fields that did not become known are left out of the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// When the request was decided: microseconds since 1970-01-01 UTC.
    pub unix_micros: u64,
    /// The request's id.
    pub request_id: Option<RequestId>,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// What kind of caller.
    pub principal: Option<PrincipalKind>,
    /// The user, if it is one.
    pub user: Option<UserId>,
    /// The user as whom that one acted, or wanted to.
    pub impersonated: Option<UserId>,
    /// Why, in the caller's words.
    pub impersonation_reason: Option<Arc<str>>,
    /// The trusted device that the user showed, or was given.
    pub device: Option<DeviceId>,
    /// The name of the API key that was shown.
    pub api_key: Option<Arc<str>>,
    /// The organization.
    pub organization: Option<OrgId>,
    /// The organization's plan.
    pub plan: Option<Arc<str>>,
    /// The caller's role there.
    pub role: Option<Arc<str>>,
    /// Whether the member has further roles, grants or denials there.
    pub further_rights: bool,
    /// The team that bears the costs.
    pub team: Option<TeamName>,
    /// What the user's token says of how they signed in.
    pub signed_in: Option<SignedIn>,
    /// What it did to the caller's membership, by the word of an identity provider.
    pub membership: Option<MembershipChange>,
    /// The method.
    pub method: Method,
    /// The host that the client named.
    pub host: Option<Box<str>>,
    /// The path, without its query: that can hold secrets.
    pub path: Box<str>,
    /// The name of the route.
    pub route: Option<Arc<str>>,
    /// What was decided.
    pub decision: Decision,
    /// What the client was answered.
    pub status: StatusCode,
    /// The stage that refused.
    pub stage: Option<&'static str>,
    /// The code of the refusal.
    pub code: Option<Cow<'static, str>>,
    /// The level of the penalty that refused, if one did.
    pub penalty: Option<u8>,
    /// What makes the decision a security event, if it is one.
    pub security: Option<SecurityEvent>,
    /// What policies in shadow would have refused.
    pub would: WouldHaves,
    /// The rules that the request met.
    pub rules: Vec<RuleTold>,
    /// The tags that rules gave it.
    pub tags: Vec<Arc<str>>,
    /// The permission that was looked at, `resource:action`.
    pub permission: Option<Arc<str>>,
    /// The line of policy that decided.
    pub policy: Option<Source>,
    /// The version of the policies.
    pub snapshot: Option<Arc<str>>,
    /// The name of the upstream that was asked.
    pub upstream: Option<Arc<str>>,
    /// From the arrival of the head to the end of the answer, in microseconds.
    pub duration_micros: u64,
}

/// How a user has signed in, by their token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedIn {
    /// Whether a second factor was shown.
    pub second_factor: bool,
    /// When the last one was, in seconds since 1970.
    pub factor_at: Option<u64>,
    /// When they signed in, in seconds since 1970.
    pub at: Option<u64>,
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// The request was sent on, or answered by the gateway as it wished.
    Allowed,
    /// The gateway refused it.
    Refused,
}

/// Something suspicious: for those who watch, and not only for those who ask later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityEvent {
    /// How bad it is.
    pub severity: Severity,
    /// The stage that found it: what is found in a body is found after the charge.
    pub stage: &'static str,
    /// What was tried.
    pub attempt: Attempt,
}

/// The kinds of security events that a refusal can be.
pub const EVENTS_OF_REFUSALS: &[&str] = &["tenant_escape", "revoked_session", "revoked_key"];

/// What makes a decision a security event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// An attempt to reach into another organization.
    TenantEscape(TenantEscape),
    /// The use of a session that was revoked.
    RevokedSession,
    /// The use of a machine's key that was revoked, by somebody who has it.
    RevokedKey,
    /// Too many failed logins, and for which account the last of them was.
    Login(LoginAlarm, Option<AccountHash>),
    /// What a rule of the policy looks for.
    Rule(Arc<RuleEvent>),
}

/// How bad a security event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Honest clients do this at times: a request may be on its way while its session ends.
    Low,
    /// Honest clients do not do this; a broken one can.
    High,
}

impl SecurityEvent {
    /// What makes a refusal a security event, if it is one.
    pub fn of_refusal(refusal: &Refusal, stage: &'static str) -> Option<Self> {
        if refusal.revoked() {
            return Some(Self::revoked_session(stage));
        }
        if refusal.revoked_key() {
            return Some(Self::revoked_key(stage));
        }
        refusal.tenant_escape().map(|attempt| Self::tenant_escape(attempt.clone(), stage))
    }

    /// An attempt to reach into another organization.
    pub fn tenant_escape(attempt: TenantEscape, stage: &'static str) -> Self {
        Self { severity: Severity::High, stage, attempt: Attempt::TenantEscape(attempt) }
    }

    /// The use of a session that was revoked.
    pub fn revoked_session(stage: &'static str) -> Self {
        Self { severity: Severity::Low, stage, attempt: Attempt::RevokedSession }
    }

    /// The use of a machine's key that was revoked.
    pub fn revoked_key(stage: &'static str) -> Self {
        Self { severity: Severity::Low, stage, attempt: Attempt::RevokedKey }
    }

    /// Too many failed logins.
    pub fn login(
        alarm: LoginAlarm,
        account: Option<AccountHash>,
        severity: Severity,
        stage: &'static str,
    ) -> Self {
        Self { severity, stage, attempt: Attempt::Login(alarm, account) }
    }

    /// What a rule of the policy looks for.
    pub fn of_rule(event: &Arc<RuleEvent>, stage: &'static str) -> Self {
        Self { severity: event.severity, stage, attempt: Attempt::Rule(Arc::clone(event)) }
    }

    /// The kind of event.
    pub fn kind(&self) -> &str {
        match &self.attempt {
            Attempt::TenantEscape(_) => "tenant_escape",
            Attempt::RevokedSession => "revoked_session",
            Attempt::RevokedKey => "revoked_key",
            Attempt::Login(alarm, _) => alarm.as_str(),
            Attempt::Rule(event) => &event.kind,
        }
    }
}

impl Severity {
    /// As logs write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::High => "high",
        }
    }
}

impl Serialize for SecurityEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("event", self.kind())?;
        map.serialize_entry("severity", &self.severity)?;
        map.serialize_entry("stage", self.stage)?;
        let TenantEscape { resource, name, place, named } = match &self.attempt {
            Attempt::TenantEscape(escape) => escape,
            Attempt::RevokedSession | Attempt::RevokedKey => return map.end(),
            Attempt::Login(alarm, account) => {
                login_entries(alarm, *account, &mut map)?;
                return map.end();
            }
            Attempt::Rule(event) => {
                map.serialize_entry("rule", event.rule.as_ref())?;
                return map.end();
            }
        };
        let (kind, part) = match resource {
            Resource::Table(_) => ("table", "column"),
            Resource::Function(_) => ("function", "argument"),
        };
        map.serialize_entry("place", place)?;
        map.serialize_entry(kind, resource.name().as_ref())?;
        map.serialize_entry(part, name.as_ref())?;
        if let Some(named) = named {
            map.serialize_entry("named", named)?;
        }
        map.end()
    }
}

fn login_entries<M: SerializeMap>(
    alarm: &LoginAlarm,
    account: Option<AccountHash>,
    map: &mut M,
) -> Result<(), M::Error> {
    match alarm {
        LoginAlarm::Lockout(lockout) => {
            map.serialize_entry("locked", lockout.subject.as_str())?;
            map.serialize_entry("level", &lockout.level)?;
            map.serialize_entry("seconds", &lockout.lasts.as_secs())?;
        }
        LoginAlarm::Spraying { from, accounts } => {
            map.serialize_entry("from", from.as_str())?;
            map.serialize_entry("accounts", accounts)?;
        }
        LoginAlarm::Stuffing => {}
    }
    match account {
        Some(account) => map.serialize_entry("account", &account.to_string()),
        None => Ok(()),
    }
}

impl AuditRecord {
    /// The record as the log writes it: with an id of its own, the node, and the number of the
    /// record among all that this process was given. A number that is missing is a record that
    /// was dropped.
    pub fn line<'a>(&'a self, id: Uuid, node: &'a str, seq: u64) -> AuditLine<'a> {
        AuditLine {
            id,
            time: rfc3339(self.unix_micros),
            node,
            seq,
            request_id: self.request_id.as_ref().map(RequestId::as_str),
            client: self.client,
            principal: self.principal.map(PrincipalKind::as_str),
            user: self.user.as_ref().map(UserId::as_str),
            impersonated: self.impersonated.as_ref().map(UserId::as_str),
            impersonation_reason: self.impersonation_reason.as_deref(),
            device: self.device.map(|device| device.to_string()),
            api_key: self.api_key.as_deref(),
            organization: self.organization.map(|organization| *organization.as_uuid()),
            plan: self.plan.as_deref(),
            role: self.role.as_deref(),
            further_rights: self.further_rights,
            team: self.team.as_ref().map(TeamName::as_str),
            aal: self.signed_in.map(|of| if of.second_factor { "aal2" } else { "aal1" }),
            factor_at: self.signed_in.and_then(|of| of.factor_at),
            signed_in_at: self.signed_in.and_then(|of| of.at),
            membership: self.membership.map(MembershipChange::as_str),
            method: self.method.as_str(),
            host: self.host.as_deref(),
            path: &self.path,
            route: self.route.as_deref(),
            decision: self.decision,
            status: self.status.as_u16(),
            stage: self.stage,
            code: self.code.as_deref(),
            penalty: self.penalty,
            security: self.security.as_ref(),
            would: self.would.as_slice(),
            would_more: self.would.more(),
            rules: &self.rules,
            tags: &self.tags,
            permission: self.permission.as_deref(),
            policy: self.policy.as_ref(),
            snapshot: self.snapshot.as_deref(),
            upstream: self.upstream.as_deref(),
            duration_micros: self.duration_micros,
        }
    }
}

/// One line of the log, ready to be serialised. The order of the fields is that of the line.
#[derive(Debug, Serialize)]
pub struct AuditLine<'a> {
    id: Uuid,
    time: String,
    node: &'a str,
    seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    impersonated: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    impersonation_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    organization: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    further_rights: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    team: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aal: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    factor_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signed_in_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    membership: Option<&'static str>,
    method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'a str>,
    decision: Decision,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    penalty: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    security: Option<&'a SecurityEvent>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    would: &'a [WouldHave],
    #[serde(skip_serializing_if = "none")]
    would_more: u32,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    rules: &'a [RuleTold],
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "texts")]
    tags: &'a [Arc<str>],
    #[serde(skip_serializing_if = "Option::is_none")]
    permission: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "shown")]
    policy: Option<&'a Source>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<&'a str>,
    duration_micros: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn none(count: &u32) -> bool {
    *count == 0
}

fn texts<S: Serializer>(texts: &[Arc<str>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(texts.iter().map(AsRef::<str>::as_ref))
}

fn shown<T: Display, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

/// A time in UTC as RFC 3339 section 5.6 writes it, with microseconds.
pub(super) fn rfc3339(unix_micros: u64) -> String {
    let (seconds, micros) = (unix_micros / 1_000_000, unix_micros % 1_000_000);
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// Year, month and day so many days after 1970-01-01, by counting in eras of 400 years that begin
/// in March (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339_says() {
        let cases = [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399_999_999, "2000-02-28T23:59:59.999999Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000000Z"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00.000000Z"),
            (1_798_761_599_000_001, "2026-12-31T23:59:59.000001Z"),
        ];
        for (micros, wanted) in cases {
            assert_eq!(rfc3339(micros), wanted);
        }
    }

    #[test]
    fn a_line_leaves_out_what_did_not_become_known() {
        let record = AuditRecord {
            unix_micros: 0,
            request_id: None,
            client: Some("2001:db8::1".parse().unwrap()),
            principal: Some(PrincipalKind::User),
            user: Some("ann".parse().unwrap()),
            impersonated: None,
            impersonation_reason: None,
            device: None,
            api_key: None,
            organization: Some("7b0d3c1e-0000-4000-8000-00000000000a".parse().unwrap()),
            plan: Some(Arc::from("pro")),
            role: None,
            further_rights: true,
            team: None,
            signed_in: Some(SignedIn { second_factor: true, factor_at: Some(7), at: None }),
            membership: Some(MembershipChange::Created),
            method: Method::PATCH,
            host: Some(Box::from("api.test")),
            path: Box::from("/rest/v1/\"events\""),
            route: Some(Arc::from("rest")),
            decision: Decision::Refused,
            status: StatusCode::FORBIDDEN,
            stage: Some("authorize"),
            code: Some("permission_denied".into()),
            penalty: None,
            security: None,
            would: WouldHaves::default(),
            rules: Vec::new(),
            tags: Vec::new(),
            permission: Some(Arc::from("events:write")),
            policy: Some(Source { file: Arc::from("policies/base.yaml"), line: 7, column: 3 }),
            snapshot: None,
            upstream: None,
            duration_micros: 181,
        };
        let line = serde_json::to_string(&record.line(Uuid::nil(), "node-1", 42)).unwrap();
        assert_eq!(
            line,
            "{\"id\":\"00000000-0000-0000-0000-000000000000\",\
             \"time\":\"1970-01-01T00:00:00.000000Z\",\"node\":\"node-1\",\"seq\":42,\
             \"client\":\"2001:db8::1\",\"principal\":\"user\",\"user\":\"ann\",\
             \"organization\":\"7b0d3c1e-0000-4000-8000-00000000000a\",\"plan\":\"pro\",\
             \"further_rights\":true,\"aal\":\"aal2\",\"factor_at\":7,\
             \"membership\":\"created\",\"method\":\"PATCH\",\"host\":\"api.test\",\
             \"path\":\"/rest/v1/\\\"events\\\"\",\"route\":\"rest\",\"decision\":\"refused\",\
             \"status\":403,\"stage\":\"authorize\",\"code\":\"permission_denied\",\"permission\":\"events:write\",\
             \"policy\":\"policies/base.yaml:7\",\"duration_micros\":181}"
        );
    }

    #[test]
    fn a_security_event_says_what_was_tried() {
        use crate::domain::escape::Place;
        let named = "bbbbbbbb-0000-4000-8000-00000000000b";
        let mut event = SecurityEvent::tenant_escape(
            TenantEscape {
                resource: Resource::Table(Arc::from("events")),
                name: Arc::from("organization_id"),
                place: Place::Body,
                named: Some(named.parse().unwrap()),
            },
            "upstream",
        );
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            format!(
                "{{\"event\":\"tenant_escape\",\"severity\":\"high\",\"stage\":\"upstream\",\
                 \"place\":\"body\",\"table\":\"events\",\"column\":\"organization_id\",\
                 \"named\":\"{named}\"}}"
            )
        );
        let Attempt::TenantEscape(escape) = &mut event.attempt else { panic!("{event:?}") };
        escape.resource = Resource::Function(Arc::from("org_stats"));
        escape.place = Place::Query;
        escape.named = None;
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            "{\"event\":\"tenant_escape\",\"severity\":\"high\",\"stage\":\"upstream\",\
             \"place\":\"query\",\"function\":\"org_stats\",\"argument\":\"organization_id\"}"
        );
        assert_eq!(
            serde_json::to_string(&SecurityEvent::revoked_session("authenticate")).unwrap(),
            "{\"event\":\"revoked_session\",\"severity\":\"low\",\"stage\":\"authenticate\"}"
        );
    }
}
