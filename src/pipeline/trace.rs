//! What became known of a request on its way: the material of logs, audit records, metrics and
//! explanations. It records; it decides nothing.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use smallvec::SmallVec;

use crate::domain::ids::{RequestId, UserId};
use crate::domain::known::MembershipChange;
use crate::domain::organization::{Organization, TeamName};
use crate::domain::principal::Principal;
use crate::domain::refusal::Refusal;
use crate::domain::rule::{RuleEvent, RuleOutcome, RuleTold};
use crate::domain::source::Source;
use crate::domain::trusted::TrustedDevice;
use crate::domain::would::{PolicyKind, WouldHave, WouldHaves};
use crate::policy::roles::Role;
use crate::policy::route::Route;
use crate::policy::rules::Rule;
use crate::postgrest::Touched;

use super::limit::LimitState;

/// The stages, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Normalise, refuse what is ambiguous.
    Edge,
    /// Find the route.
    Route,
    /// Rules that see the request.
    RequestRules,
    /// Who calls.
    Authenticate,
    /// For which organization.
    Tenant,
    /// With which right.
    Authorize,
    /// Rules that see the caller.
    CallerRules,
    /// Confined to the organization.
    Isolate,
    /// Charged.
    Limit,
    /// Sent on.
    Upstream,
    /// Answered.
    Response,
}

impl Stage {
    /// All, in order.
    pub const ALL: [Self; 11] = [
        Self::Edge,
        Self::Route,
        Self::RequestRules,
        Self::Authenticate,
        Self::Tenant,
        Self::Authorize,
        Self::CallerRules,
        Self::Isolate,
        Self::Limit,
        Self::Upstream,
        Self::Response,
    ];

    /// As logs, metrics and explanations write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Route => "route",
            Self::RequestRules => "request_rules",
            Self::Authenticate => "authenticate",
            Self::Tenant => "tenant",
            Self::Authorize => "authorize",
            Self::CallerRules => "caller_rules",
            Self::Isolate => "isolate",
            Self::Limit => "limit",
            Self::Upstream => "upstream",
            Self::Response => "response",
        }
    }
}

/// What a stage found, for an explanation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The stage.
    pub stage: Stage,
    /// What it found, in one line.
    pub text: String,
    /// The policy that made it so.
    pub source: Option<Source>,
    /// The piece of the sent request that it explains, if it is about one.
    pub touched: Option<Touched>,
}

/// A user as whom somebody else acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Impersonated {
    /// The user.
    pub user: UserId,
    /// Why, as the caller says.
    pub reason: Arc<str>,
}

/// A rule that a request met, or that could not be evaluated for it.
#[derive(Debug, Clone)]
pub struct RuleMet {
    /// The rule.
    pub rule: Arc<Rule>,
    /// What became of it.
    pub outcome: RuleOutcome,
}

impl RuleMet {
    /// As the record of the request has it.
    pub fn told(&self) -> RuleTold {
        RuleTold {
            rule: Arc::clone(&self.rule.id),
            source: self.rule.source.clone(),
            outcome: self.outcome,
        }
    }
}

/// What an answer says of trusted devices.
#[derive(Debug, Clone)]
pub struct Trust {
    /// The field of the answer.
    pub field: (HeaderName, HeaderValue),
    /// Whether none of the user's devices is trusted any more.
    pub forgets: bool,
}

/// The record of one request's way.
#[derive(Debug, Clone)]
pub struct Trace {
    /// Its id, from the edge on.
    pub request_id: Option<RequestId>,
    /// W3C trace context to pass on: `traceparent`.
    pub traceparent: Option<Box<str>>,
    /// The client's address, from the edge on.
    pub client: Option<IpAddr>,
    /// The version of the policies, where the client is told it.
    pub told_version: Option<Arc<str>>,
    /// The `Origin` that a browser stated, for CORS.
    pub origin: Option<HeaderValue>,
    /// The route.
    pub route: Option<Arc<Route>>,
    /// The caller.
    pub principal: Option<Principal>,
    /// The API key's name, where one was shown.
    pub api_key: Option<Arc<str>>,
    /// As whom the caller acts, or wanted to.
    pub impersonated: Option<Impersonated>,
    /// The trusted device that the caller showed, or is given.
    pub device: Option<TrustedDevice>,
    /// What becomes of the caller's wish that this device be trusted, or none any more.
    pub trust: Option<Trust>,
    /// The organization.
    pub organization: Option<Arc<Organization>>,
    /// The team of the caller that the request names, or else the only one: it bears the costs.
    pub team: Option<TeamName>,
    /// The caller's role there.
    pub role: Option<Arc<Role>>,
    /// Whether the caller has further roles, grants or denials there, whichever count here.
    pub further_rights: bool,
    /// What the request did to its caller's membership, by the word of an identity provider.
    pub membership: Option<MembershipChange>,
    /// The permission that was looked at, `resource:action`.
    pub permission: Option<Arc<str>>,
    /// What it costs, in units: the highest cost that a limit states for it; 1 where none does.
    pub cost: u32,
    /// The limits that were charged, or looked at by a refusal.
    pub limits: SmallVec<[LimitState; 5]>,
    /// What policies in shadow would have refused.
    pub would: WouldHaves,
    /// The rules that it met, in the order in which they were tried.
    pub rules: Vec<RuleMet>,
    /// The tags that rules gave it.
    pub tags: Vec<Arc<str>>,
    /// Whether a rule wants it in the audit log.
    pub sampled: bool,
    /// The gravest security event that a rule raised, and the first of those.
    pub event: Option<Arc<RuleEvent>>,
    /// The stage that is at work, or that ended the request.
    pub stage: Stage,
    /// The line that decided, once the request is refused or passed.
    pub decided_by: Option<Source>,
    notes: Option<Vec<Note>>,
    watch: Option<Arc<dyn Watch>>,
}

/// Somebody who is told when a request enters a stage. The shell times requests with it: nothing
/// in this room reads a clock.
pub trait Watch: Send + Sync + std::fmt::Debug {
    /// The stage begins, and with it the one before it ends.
    fn entered(&self, stage: Stage);
}

impl Trace {
    /// For live traffic: takes no notes.
    pub fn new() -> Self {
        Self {
            request_id: None,
            traceparent: None,
            client: None,
            told_version: None,
            origin: None,
            route: None,
            principal: None,
            api_key: None,
            impersonated: None,
            device: None,
            trust: None,
            organization: None,
            team: None,
            role: None,
            further_rights: false,
            membership: None,
            permission: None,
            cost: 1,
            limits: SmallVec::new(),
            would: WouldHaves::default(),
            rules: Vec::new(),
            tags: Vec::new(),
            sampled: false,
            event: None,
            stage: Stage::Edge,
            decided_by: None,
            notes: None,
            watch: None,
        }
    }

    /// For explanations: takes notes.
    pub fn explaining() -> Self {
        Self { notes: Some(Vec::new()), ..Self::new() }
    }

    /// For live traffic that is watched.
    pub fn watched(watch: Arc<dyn Watch>) -> Self {
        Self { watch: Some(watch), ..Self::new() }
    }

    /// A stage begins.
    pub fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        if let Some(watch) = &self.watch {
            watch.entered(stage);
        }
    }

    /// Forgets everything but the request id, before the request is decided again.
    pub fn restart(&mut self) {
        let fresh = if self.notes.is_some() { Self::explaining() } else { Self::new() };
        let request_id = self.request_id.take();
        let traceparent = self.traceparent.take();
        let watch = self.watch.take();
        *self = Self { request_id, traceparent, watch, ..fresh };
    }

    /// A policy in shadow would have refused: it is recorded, and the request goes on.
    pub fn would_have(
        &mut self,
        policy: PolicyKind,
        name: &Arc<str>,
        source: &Source,
        refusal: &Refusal,
    ) {
        let (name, source) = (Arc::clone(name), source.clone());
        self.enter_would_have(WouldHave::refusal(
            policy,
            name,
            source,
            self.stage.as_str(),
            refusal,
        ));
    }

    /// The same, for what states its own code and status.
    pub fn enter_would_have(&mut self, would: WouldHave) {
        if self.takes_notes() {
            let (source, text) = (would.source.clone(), format!("in shadow: {would}"));
            self.note(Some(&source), || text);
        }
        self.would.enter(would);
    }

    /// Whether notes are taken, for those that take work to find.
    pub fn takes_notes(&self) -> bool {
        self.notes.is_some()
    }

    /// Takes a note, if notes are taken; otherwise `text` is never built.
    pub fn note(&mut self, source: Option<&Source>, text: impl FnOnce() -> String) {
        self.note_on(|| None, source, text);
    }

    /// The same, for a piece of the request that is sent.
    pub fn note_on(
        &mut self,
        touched: impl FnOnce() -> Option<Touched>,
        source: Option<&Source>,
        text: impl FnOnce() -> String,
    ) {
        let stage = self.stage;
        if let Some(notes) = &mut self.notes {
            let source = source.cloned();
            notes.push(Note { stage, text: text(), source, touched: touched() });
        }
    }

    /// The notes, in order.
    pub fn notes(&self) -> &[Note] {
        self.notes.as_deref().unwrap_or_default()
    }
}

impl Default for Trace {
    fn default() -> Self {
        Self::new()
    }
}
