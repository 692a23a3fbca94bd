//! What an explanation says, as data: the JSON that machines read, and what the text is made of.
//! Its keys are an interface; add to them, do not change them.

use serde::Serialize;

use crate::domain::charge::{BucketCharge, Subject, WhenAway};
use crate::domain::refusal::Refusal;
use crate::domain::would::WouldHave;
use crate::pipeline::response::DirectAnswer;
use crate::pipeline::{Stage, Trace};
use crate::policy::mode::Mode;

use super::compare::Piece;
use super::near::NearMiss;

/// The whole explanation.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) request: RequestLine,
    pub(super) verdict: Verdict,
    pub(super) request_id: Option<String>,
    pub(super) snapshot: String,
    /// `file:line` of the policy that ended the request.
    pub(super) decided_by: Option<String>,
    pub(super) stages: Vec<StageReport>,
    pub(super) caller: Option<Caller>,
    pub(super) organization: Option<OrganizationReport>,
    pub(super) role: Option<RoleReport>,
    pub(super) permission: Option<String>,
    /// What policies in shadow would have refused.
    pub(super) would: Vec<WouldHave>,
    /// What a refused request lacked, and who has it.
    pub(super) near_misses: Vec<NearMiss>,
    /// What would be charged, all or none.
    pub(super) limits: Vec<LimitReport>,
    /// What the organization has used of the quotas of the route.
    pub(super) quotas: Vec<QuotaReport>,
    pub(super) refusal: Option<RefusalReport>,
    /// What the client would get, where the gateway answers by itself.
    pub(super) answer: Option<AnswerReport>,
    pub(super) upstream: Option<UpstreamReport>,
}

#[derive(Debug, Serialize)]
pub(super) struct RequestLine {
    pub(super) method: String,
    pub(super) host: String,
    pub(super) target: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// It would be sent on.
    Forwarded,
    /// It would be refused.
    Refused,
    /// The gateway would answer by itself (a CORS preflight).
    Answered,
}

#[derive(Debug, Serialize)]
pub(super) struct StageReport {
    pub(super) stage: &'static str,
    pub(super) verdict: StageVerdict,
    pub(super) notes: Vec<NoteReport>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum StageVerdict {
    Passed,
    Refused,
    Answered,
    NotReached,
}

#[derive(Debug, Serialize)]
pub(super) struct NoteReport {
    pub(super) text: String,
    pub(super) source: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Caller {
    pub(super) kind: &'static str,
    pub(super) user: Option<String>,
    pub(super) api_key: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct OrganizationReport {
    pub(super) id: String,
    pub(super) slug: String,
    pub(super) plan: String,
    pub(super) features: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct RoleReport {
    pub(super) name: String,
    pub(super) source: String,
}

#[derive(Debug, Serialize)]
pub(super) struct LimitReport {
    pub(super) limit: String,
    pub(super) subject: String,
    pub(super) cost: u32,
    pub(super) tokens: u32,
    pub(super) period_millis: u32,
    pub(super) burst: u32,
    pub(super) when_away: &'static str,
    pub(super) mode: &'static str,
    /// What the bucket holds now; `None` where it is in the memory of each gateway.
    pub(super) balance: Option<BalanceReport>,
    pub(super) source: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct BalanceReport {
    /// Tokens; less than none where it owes some.
    pub(super) left: Option<i64>,
    /// Tokens that nodes have taken in advance; they are missing from `left`.
    pub(super) leased: Option<u64>,
    /// For how much longer a penalty refuses everything.
    pub(super) blocked_millis: Option<u64>,
    /// Why nobody knows.
    pub(super) unknown: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct QuotaReport {
    pub(super) quota: String,
    pub(super) of: &'static str,
    pub(super) period: &'static str,
    /// `None`: nobody knows.
    pub(super) used: Option<u64>,
    pub(super) amount: u64,
    /// Until the period ends.
    pub(super) resets_in_seconds: Option<u64>,
    /// When it ends where the organization is, as RFC 3339 writes it.
    pub(super) resets_at: Option<String>,
    pub(super) mode: &'static str,
    pub(super) when_away: &'static str,
    /// Why nobody knows.
    pub(super) unknown: Option<String>,
    pub(super) source: String,
}

#[derive(Debug, Serialize)]
pub(super) struct RefusalReport {
    pub(super) status: u16,
    pub(super) code: String,
    /// What the caller is told.
    pub(super) message: String,
    /// What the log says.
    pub(super) reason: String,
    pub(super) retry_after_millis: Option<u64>,
    pub(super) closes_connection: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct AnswerReport {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

#[derive(Debug, Serialize)]
pub(super) struct UpstreamReport {
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) addresses: Vec<String>,
    pub(super) method: String,
    pub(super) target: String,
    /// Secrets masked.
    pub(super) headers: Vec<(String, String)>,
    /// The claims of the token that the gateway mints for the upstream, where it does.
    pub(super) minted_claims: Option<serde_json::Value>,
    pub(super) body: Option<String>,
    pub(super) idempotent: bool,
    pub(super) websocket: bool,
    /// The request as it came beside what is sent, with the reason for every difference.
    pub(super) compared: Vec<Piece>,
}

/// What each stage said. `ended` is the verdict of the stage that ended the request.
pub(super) fn stages(trace: &Trace, ended: Option<StageVerdict>) -> Vec<StageReport> {
    // What happens to the answer is not decided before there is one.
    let told = Stage::ALL.into_iter().filter(|stage| *stage != Stage::Response);
    let rules = |stage: &Stage| matches!(stage, Stage::RequestRules | Stage::CallerRules);
    // Where no rule could be met, there is nothing to tell.
    let told = told.filter(|stage| {
        !rules(stage)
            || *stage == trace.stage
            || trace.notes().iter().any(|note| note.stage == *stage)
    });
    told.map(|stage| {
        let verdict = match (stage.cmp(&trace.stage), ended) {
            (std::cmp::Ordering::Less, _) | (std::cmp::Ordering::Equal, None) => {
                StageVerdict::Passed
            }
            (std::cmp::Ordering::Equal, Some(verdict)) => verdict,
            (std::cmp::Ordering::Greater, _) => StageVerdict::NotReached,
        };
        let notes = trace.notes().iter().filter(|note| note.stage == stage).map(|note| {
            let source = note.source.as_ref().map(ToString::to_string);
            NoteReport { text: note.text.clone(), source }
        });
        StageReport { stage: stage.as_str(), verdict, notes: notes.collect() }
    })
    .collect()
}

pub(super) fn caller(trace: &Trace) -> Option<Caller> {
    trace.principal.as_ref().map(|principal| Caller {
        kind: principal.kind().as_str(),
        user: principal.user().map(ToString::to_string),
        api_key: trace.api_key.as_ref().map(ToString::to_string),
    })
}

pub(super) fn organization(trace: &Trace) -> Option<OrganizationReport> {
    trace.organization.as_ref().map(|organization| OrganizationReport {
        id: organization.id.to_string(),
        slug: organization.slug.to_string(),
        plan: organization.plan.to_string(),
        features: organization.features.keys().map(ToString::to_string).collect(),
    })
}

pub(super) fn role(trace: &Trace) -> Option<RoleReport> {
    trace
        .role
        .as_ref()
        .map(|role| RoleReport { name: role.name.to_string(), source: role.source.to_string() })
}

pub(super) fn limit(bucket: &BucketCharge, mode: Mode, source: Option<String>) -> LimitReport {
    LimitReport {
        limit: bucket.limit.to_string(),
        subject: subject(&bucket.subject),
        cost: bucket.cost.get(),
        tokens: bucket.rate.tokens.get(),
        period_millis: bucket.rate.period_millis.get(),
        burst: bucket.rate.burst.get(),
        when_away: match bucket.when_away {
            WhenAway::LocalShare => "local_share",
            WhenAway::Closed => "closed",
            WhenAway::Open => "open",
        },
        mode: mode.as_str(),
        balance: None,
        source,
    }
}

fn subject(subject: &Subject) -> String {
    match subject {
        Subject::User(user, Some(org)) => format!("user {user} in organization {org}"),
        Subject::User(user, None) => format!("user {user}"),
        Subject::Organization(org) => format!("organization {org}"),
        Subject::Key(key, _) => format!("API key {key}"),
        Subject::Route(route, Some(org)) => format!("route {route} for organization {org}"),
        Subject::Route(route, None) => format!("route {route}"),
        Subject::Address(address) => format!("address {address}"),
        Subject::Account(account) => format!("account {account}"),
    }
}

pub(super) fn refusal(refusal: &Refusal) -> RefusalReport {
    let public = refusal.public();
    RefusalReport {
        status: public.status.as_u16(),
        code: public.code.to_owned(),
        message: public.message.to_owned(),
        reason: refusal.to_string(),
        retry_after_millis: refusal
            .retry_after()
            .map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
        closes_connection: refusal.closes_connection(),
    }
}

pub(super) fn answer(answer: &DirectAnswer) -> AnswerReport {
    AnswerReport {
        status: answer.status.as_u16(),
        headers: answer
            .fields
            .iter()
            .map(|(name, value)| {
                (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            })
            .collect(),
        body: String::from_utf8_lossy(&answer.body).into_owned(),
    }
}
