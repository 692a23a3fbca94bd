//! What became of the request of a case: the charge against buckets that hold what the case says, and
//! the request as the upstream would get it, made by the code that makes those that are sent.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

use crate::config::suite::Case;
use crate::domain::charge::{Charge, ChargeAnswer};
use crate::domain::clock::Now;
use crate::domain::known::Outage;
use crate::domain::refusal::Refusal;
use crate::domain::source::Source;
use crate::domain::usage::OrganizationUse;
use crate::domain::would::WouldHaves;
use crate::pipeline::body::Announced;
use crate::pipeline::response::{self, DirectAnswer};
use crate::pipeline::rules::{self, AnswerHead};
use crate::pipeline::shadow::Tried;
use crate::pipeline::{Chargeable, Passed, Settled, Trace};
use crate::policy::Snapshot;
use crate::proxy;
use crate::stores::limits::memory::MemoryStore;

use super::super::explain::upstream::minted_claims;

/// Buckets of one request.
const BUCKETS: NonZeroU32 = NonZeroU32::MIN.saturating_add(63);

/// What became of a request.
#[derive(Debug)]
pub(in crate::cli) struct Outcome {
    pub(super) ended: Ended,
    /// The limits that were to be charged, even if something refused the request then.
    pub(super) charged: Vec<Arc<str>>,
    /// The kinds of security events that it is.
    pub(super) events: Vec<Arc<str>>,
    /// The rules that it met.
    pub(super) rules: Vec<Arc<str>>,
    /// What policies in shadow would have done.
    pub(super) would: WouldHaves,
    /// The line that decided.
    pub(super) decided_by: Option<Source>,
    /// The permission that was looked at.
    pub(super) permission: Option<Arc<str>>,
    /// The caller's role.
    pub(super) role: Option<Arc<str>>,
}

/// How it ended.
#[derive(Debug)]
pub(super) enum Ended {
    Allowed(Box<Sent>),
    Refused {
        refusal: Refusal,
        answer: HeaderMap,
    },
    /// The gateway answers by itself (a CORS preflight).
    Answered {
        status: u16,
        answer: HeaderMap,
    },
    /// It could not be tried.
    Untried(String),
}

/// What the upstream would get.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) upstream: Arc<str>,
    pub(super) target: String,
    pub(super) headers: HeaderMap,
    /// Of the token that is minted for it.
    pub(super) claims: Option<Value>,
    pub(super) body: Option<String>,
    /// In the order of the route.
    pub(super) charges: Vec<(Arc<str>, u64)>,
    /// The fields that the gateway sets in the upstream's answer.
    pub(super) answer: HeaderMap,
}

impl Ended {
    /// `allow`, or the code of the refusal.
    pub(super) fn word(&self) -> &str {
        match self {
            Self::Allowed(_) => "allow",
            Self::Refused { refusal, .. } => refusal.public().code,
            Self::Answered { .. } => "answered",
            Self::Untried(_) => "untried",
        }
    }

    pub(super) fn answered(answer: &DirectAnswer) -> Self {
        let status = answer.status.as_u16();
        Self::Answered { status, answer: answer.fields.iter().cloned().collect() }
    }

    /// Header fields of the answer.
    pub(super) fn answer(&self) -> Option<&HeaderMap> {
        match self {
            Self::Allowed(sent) => Some(&sent.answer),
            Self::Refused { answer, .. } | Self::Answered { answer, .. } => Some(answer),
            Self::Untried(_) => None,
        }
    }
}

/// What quotas are judged by.
pub(super) enum Judged {
    /// They are not.
    Not,
    /// By this use.
    By(Box<OrganizationUse>),
    /// Nobody knows what is used.
    Unknown,
}

/// The request of a case.
#[derive(Clone, Copy)]
pub(super) struct Request<'c> {
    pub(super) snapshot: &'c Snapshot,
    pub(super) case: &'c Case,
    pub(super) headers: &'c HeaderMap,
    pub(super) now: Now,
}

/// Judges quotas, charges buckets, and makes the request that is sent.
pub(super) fn sent(
    mut chargeable: Chargeable,
    request: &Request<'_>,
    judged: Judged,
    trace: &mut Trace,
) -> Result<Sent, Refusal> {
    match judged {
        Judged::Not => chargeable = chargeable.unmetered(),
        Judged::By(used) => {
            chargeable.within(Some(&used), trace)?;
        }
        Judged::Unknown => {
            chargeable.within(None, trace)?;
        }
    }
    let charges = costs(chargeable.charge());
    let mut passed = charged(chargeable, request, trace)?;
    let body = request.case.request.body.clone();
    let length = body.as_ref().map(|body| body.len() as u64);
    let announced = length.map_or(Announced::Nothing, Announced::Length);
    passed.body().announced(announced)?;
    let body = match body {
        None => None,
        Some(body) => passed.body().pass(Some(Bytes::from(body)), true)?,
    };
    passed.tell_tried(trace);
    tried(&mut passed, request, trace);
    let method = &request.case.request.method;
    let headers = proxy::preview(method, request.headers, &passed, None, request.now)?;
    let upstream = passed.upstream();
    let asked = &request.case.request;
    let uri = asked.target.parse().map_err(|_| Refusal::Internal("a target that is none"))?;
    let head = AnswerHead {
        method: &asked.method,
        uri: &uri,
        headers: request.headers,
        status: request.case.answers,
        fields: &HeaderMap::new(),
        took: Duration::ZERO,
    };
    let ruled = rules::of_answer(&passed, &head, request.snapshot, trace, request.now);
    let edits = response::edits(upstream.kind, &passed.route().response, trace, ruled);
    Ok(Sent {
        upstream: Arc::clone(&upstream.name),
        target: passed.target().to_owned(),
        claims: minted_claims(&passed, &headers),
        headers,
        body: body.map(|body| String::from_utf8_lossy(&body).into_owned()),
        charges,
        answer: edits.set.into_iter().collect(),
    })
}

fn costs(charge: &Charge) -> Vec<(Arc<str>, u64)> {
    let buckets = charge.buckets.iter();
    buckets.map(|bucket| (Arc::clone(&bucket.limit), u64::from(bucket.cost.get()))).collect()
}

/// Charges buckets that hold what the case says: the shared ones, and while those are away this
/// node's own.
fn charged(
    chargeable: Chargeable,
    request: &Request<'_>,
    trace: &mut Trace,
) -> Result<Passed, Refusal> {
    let Request { case, now, .. } = *request;
    let buckets = MemoryStore::new(BUCKETS);
    drain(&buckets, chargeable.charge(), case, now);
    let answer =
        match case.away.contains(&Outage::Limits) && !chargeable.charge().buckets.is_empty() {
            true => ChargeAnswer::Away(Outage::Limits),
            false => buckets.take(chargeable.charge(), now),
        };
    let here = match chargeable.settle(answer, trace)? {
        Settled::Passed(passed) => return Ok(*passed),
        Settled::ChargeHere(here) => here,
    };
    let answer = buckets.take(here.charge(), now);
    match here.settle(answer, trace)? {
        Settled::Passed(passed) => Ok(*passed),
        Settled::ChargeHere(_) => Err(Refusal::Internal("a store of a test was away")),
    }
}

/// Charges the limits in shadow, each by itself, of buckets that hold what the case says. While the
/// store is away nobody knows what they would have done.
fn tried(passed: &mut Passed, request: &Request<'_>, trace: &mut Trace) {
    let Request { case, now, .. } = *request;
    if case.away.contains(&Outage::Limits) {
        return;
    }
    let buckets = MemoryStore::new(BUCKETS);
    for limit in passed.take_shadow_limits() {
        drain(&buckets, limit.charge(), case, now);
        let answer = buckets.take(limit.charge(), now);
        match limit.answered(&answer) {
            Tried::WouldRefuse(would) => trace.enter_would_have(*would),
            Tried::Fits(_) | Tried::Unknown => {}
        }
    }
}

/// Takes from each bucket what it does not have by the case.
fn drain(buckets: &MemoryStore, charge: &Charge, case: &Case, now: Now) {
    for bucket in &charge.buckets {
        let Some(left) = case.left.get(&bucket.limit) else { continue };
        let gone = bucket.rate.burst.get().saturating_sub(*left);
        let Some(cost) = NonZeroU32::new(gone) else { continue };
        let mut taken = bucket.clone();
        taken.cost = cost;
        taken.penalty = None;
        buckets.take(&Charge { buckets: [taken].into_iter().collect() }, now);
    }
}
