//! Stages 2b, 5b and 8b, rules: what `lua-free-rules` say of a request.
//!
//! Three times: when its route is known, when its caller may do what the route asks for, and when
//! the head of its answer has come. The second stands before the isolate stage, so that a request is
//! confined for the upstream that a rule has chosen, and behind the authorize stage, so that no rule
//! tells anybody more than who may ask. What a rule says is decided in `policy::rules`; here it is
//! brought what it is to see, and what it says is done.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};

use crate::domain::address::customer;
use crate::domain::clock::Now;
use crate::domain::refusal::Refusal;
use crate::domain::rule::RuleOutcome;
use crate::domain::would::{Effect, PolicyKind, WouldHave};
use crate::policy::Snapshot;
use crate::policy::expression::scene::{ClientView, RequestView, ResponseView, Scene, TenancyView};
use crate::policy::expression::{Fault, Phase};
use crate::policy::rules::{Actions, Ending, FieldEdits, Judgement, Rule, Together};
use crate::policy::upstream::Upstream;

use super::Stop;
use super::authenticate::Authenticated;
use super::authorize::Authorized;
use super::conditions::factor_shown;
use super::edge::Edged;
use super::response;
use super::route::Routed;
use super::tenant::Tenancy;
use super::trace::{RuleMet, Stage, Trace};
use super::upstream::Passed;

mod changes;
mod kept;
mod near;

pub use changes::Changes;
pub use kept::Kept;

/// Proof that no rule of the phase `request` ended the request.
#[derive(Debug)]
pub struct Screened<'h> {
    routed: Routed<'h>,
    changes: Changes,
}

impl<'h> Screened<'h> {
    /// The request, as the stage before left it.
    pub fn routed(&self) -> &Routed<'h> {
        &self.routed
    }
}

/// Proof that no rule of the phase `authenticated` ended the request.
#[derive(Debug)]
pub struct Cleared<'h> {
    authorized: Authorized<'h>,
    changes: Changes,
}

impl<'h> Cleared<'h> {
    /// With which right, for which organization, and who calls.
    pub fn authorized(&self) -> &Authorized<'h> {
        &self.authorized
    }

    /// Where the request goes: to where its route leads, or where a rule has sent it.
    pub fn upstream(&self) -> &Arc<Upstream> {
        let routed = self.authorized.tenanted().authenticated().routed();
        self.changes.upstream().unwrap_or(routed.upstream())
    }

    pub(super) fn changes(&self) -> &Changes {
        &self.changes
    }

    /// What is needed of it behind the isolate stage.
    pub(super) fn left(self, snapshot: &Snapshot) -> (Changes, Option<Box<Kept>>) {
        let wanted = !snapshot.rules.of(Phase::Response).is_empty();
        let kept = wanted.then(|| Box::new(Kept::of(&self.authorized)));
        (self.changes, kept)
    }
}

/// Proof that rules have seen the head of an answer, and what they change in it.
#[derive(Debug)]
pub struct AnswerRuled {
    edits: FieldEdits,
}

impl AnswerRuled {
    /// Where there was nobody to ask.
    pub(super) fn nothing() -> Self {
        Self { edits: FieldEdits::default() }
    }

    pub(super) fn into_edits(self) -> FieldEdits {
        self.edits
    }
}

/// Rules of the phase `request`.
pub fn of_request<'h>(
    routed: Routed<'h>,
    snapshot: &Snapshot,
    trace: &mut Trace,
    now: Now,
) -> Result<Screened<'h>, Stop> {
    let shelf = snapshot.rules.of(Phase::Request);
    let mut rules = shelf.candidates(routed.method(), routed.edged().path()).peekable();
    if rules.peek().is_none() && !trace.takes_notes() {
        return Ok(Screened { routed, changes: Changes::default() });
    }
    if rules.peek().is_some() {
        trace.enter(Stage::RequestRules);
    }
    let id = trace.request_id.clone();
    let id = id.as_ref().map(|id| id.as_str());
    let mut scene = scene(routed.edged(), id, now);
    scene.route = Some(&routed.route().name);
    let seen = Seen { routed: &routed, authorized: None, id: id.unwrap_or_default(), now };
    let changes = tried(rules, &mut scene, Changes::default(), &seen, trace)?;
    near::noted(shelf, &scene, Stage::RequestRules, trace);
    Ok(Screened { routed, changes })
}

/// Rules of the phase `authenticated`.
pub fn of_caller<'h>(
    authorized: Authorized<'h>,
    snapshot: &Snapshot,
    trace: &mut Trace,
    now: Now,
) -> Result<Cleared<'h>, Stop> {
    let tenanted = authorized.tenanted();
    let authenticated = tenanted.authenticated();
    let routed = authenticated.routed();
    let changes = authenticated.screened().changes.clone();
    let shelf = snapshot.rules.of(Phase::Authenticated);
    let mut rules = shelf.candidates(routed.method(), routed.edged().path()).peekable();
    if rules.peek().is_none() && !trace.takes_notes() {
        return Ok(Cleared { authorized, changes });
    }
    if rules.peek().is_some() {
        trace.enter(Stage::CallerRules);
    }
    let id = trace.request_id.clone();
    let id = id.as_ref().map(|id| id.as_str());
    let mut scene = scene(routed.edged(), id, now);
    scene.route = Some(&routed.route().name);
    scene.principal = Some(authenticated.principal());
    scene.tenancy = tenanted.tenancy().map(tenancy);
    changes.tags().iter().for_each(|tag| scene.tag(Arc::clone(tag)));
    let seen = Seen { routed, authorized: Some(&authorized), id: id.unwrap_or_default(), now };
    let changes = tried(rules, &mut scene, changes, &seen, trace)?;
    near::noted(shelf, &scene, Stage::CallerRules, trace);
    Ok(Cleared { authorized, changes })
}

/// The head of an answer, and of the request that it is to.
#[derive(Debug, Clone, Copy)]
pub struct AnswerHead<'a> {
    /// The request's method.
    pub method: &'a Method,
    /// Its target.
    pub uri: &'a Uri,
    /// Its fields, as the client sent them.
    pub headers: &'a HeaderMap,
    /// The answer's status.
    pub status: u16,
    /// The answer's fields, as the upstream sent them.
    pub fields: &'a HeaderMap,
    /// How long it took from the request's arrival.
    pub took: Duration,
}

/// Rules of the phase `response`.
pub fn of_answer(
    passed: &Passed,
    head: &AnswerHead<'_>,
    snapshot: &Snapshot,
    trace: &mut Trace,
    now: Now,
) -> AnswerRuled {
    let mut ruled = AnswerRuled::nothing();
    let Some(kept) = passed.kept() else { return ruled };
    let AnswerHead { method, uri, headers, status, fields, took } = *head;
    let shelf = snapshot.rules.of(Phase::Response);
    let mut rules = shelf.candidates(method, uri.path()).peekable();
    if rules.peek().is_none() {
        return ruled;
    }
    let id = trace.request_id.clone();
    let id = id.as_ref().map(|id| id.as_str());
    let request = RequestView {
        id,
        method,
        secure: kept.secure,
        host: &kept.host,
        path: uri.path(),
        query: uri.query().unwrap_or_default(),
        headers,
        size: announced(headers),
    };
    let client = ClientView { address: kept.client, country: kept.country.as_deref() };
    let mut scene = Scene::new(request, client, now);
    scene.route = Some(&passed.route().name);
    scene.principal = Some(&kept.principal);
    scene.tenancy = kept.tenancy.as_ref().map(tenancy);
    scene.response = Some(ResponseView { status, headers: fields, took });
    passed.changes().tags().iter().for_each(|tag| scene.tag(Arc::clone(tag)));
    for rule in rules {
        let Some(actions) = applies(rule, rule.judge(&scene), trace) else { continue };
        told(rule, actions, id.unwrap_or_default(), trace);
        changes::merge(&mut ruled.edits, &actions.fields);
    }
    ruled
}

/// What a stage sees besides what expressions do.
struct Seen<'s, 'h> {
    routed: &'s Routed<'h>,
    /// `None` while nobody knows who calls.
    authorized: Option<&'s Authorized<'h>>,
    id: &'s str,
    now: Now,
}

/// Tries rules, one after the other, and does what they say.
fn tried<'r>(
    rules: impl Iterator<Item = &'r Arc<Rule>>,
    scene: &mut Scene<'_>,
    mut changes: Changes,
    seen: &Seen<'_, '_>,
    trace: &mut Trace,
) -> Result<Changes, Stop> {
    for rule in rules {
        let judgement = rule.judge(scene);
        if let Judgement::Refuses(fault) = judgement
            && rule.enforced()
        {
            met(rule, RuleOutcome::Failed, trace);
            trace.decided_by = Some(rule.source.clone());
            return Err(failed(rule, fault).into());
        }
        let Some(actions) = applies(rule, judgement, trace) else {
            if !rule.enforced() {
                would(rule, judgement, seen, trace);
            }
            continue;
        };
        told(rule, actions, seen.id, trace);
        if let Some(end) = ended(&rule.actions, seen)? {
            trace.decided_by = Some(rule.source.clone());
            return Err(end.stop(seen, trace));
        }
        for tag in &actions.tags {
            scene.tag(Arc::clone(tag));
            if !trace.tags.contains(tag) {
                trace.tags.push(Arc::clone(tag));
            }
        }
        changes.apply(actions);
        divert(rule, actions, seen, &mut changes);
    }
    Ok(changes)
}

/// What a rule does, if it applies and is enforced. What it would have done is recorded.
fn applies<'r>(
    rule: &'r Arc<Rule>,
    judgement: Judgement,
    trace: &mut Trace,
) -> Option<&'r Actions> {
    match (judgement, rule.enforced()) {
        (Judgement::Nothing, _) => None,
        (Judgement::Applies, true) => {
            met(rule, RuleOutcome::Applied, trace);
            trace.note(Some(&rule.source), || format!("rule `{}` applies", rule.id));
            Some(&rule.actions)
        }
        (Judgement::Applies, false) => {
            met(rule, RuleOutcome::Shadow, trace);
            if let Some(event) = &rule.actions.event {
                trace.enter_would_have(WouldHave {
                    policy: PolicyKind::Rule,
                    name: Arc::clone(&rule.id),
                    source: rule.source.clone(),
                    stage: trace.stage.as_str(),
                    code: event.kind.to_string().into(),
                    effect: Effect::Event(event.severity),
                });
            }
            None
        }
        (Judgement::Refuses(fault) | Judgement::Ignored(fault), _) => {
            met(rule, RuleOutcome::Failed, trace);
            trace.note(Some(&rule.source), || {
                format!("rule `{}` cannot be evaluated and does nothing: {fault}", rule.id)
            });
            None
        }
    }
}

fn met(rule: &Arc<Rule>, outcome: RuleOutcome, trace: &mut Trace) {
    trace.rules.push(RuleMet { rule: Arc::clone(rule), outcome });
}

fn failed(rule: &Rule, fault: Fault) -> Refusal {
    Refusal::RuleFailed { rule: Arc::clone(&rule.id), cause: fault.to_string().into_boxed_str() }
}

/// What a rule wants recorded.
fn told(rule: &Rule, actions: &Actions, id: &str, trace: &mut Trace) {
    if let Some(share) = actions.audit {
        trace.sampled |= share.takes(&rule.id, id.as_bytes());
    }
    if let Some(event) = &actions.event
        && trace.event.as_ref().is_none_or(|known| known.severity < event.severity)
    {
        trace.event = Some(Arc::clone(event));
    }
}

/// How a rule ends a request.
enum End {
    Refused(Refusal),
    Redirected(StatusCode, HeaderValue),
}

impl End {
    fn stop(self, seen: &Seen<'_, '_>, trace: &Trace) -> Stop {
        match self {
            Self::Refused(refusal) => Stop::Refused(refusal),
            Self::Redirected(status, to) => {
                let policy = &seen.routed.route().response;
                Stop::Answered(Box::new(response::redirect(status, to, policy, trace)))
            }
        }
    }
}

/// Whether a rule that applies ends the request.
fn ended(actions: &Actions, seen: &Seen<'_, '_>) -> Result<Option<End>, Refusal> {
    match &actions.ending {
        None => {}
        Some(Ending::Deny(denial)) => {
            return Ok(Some(End::Refused(Refusal::Rule(Arc::clone(denial)))));
        }
        Some(Ending::Redirect(redirect)) => {
            let to = redirect.location(seen.routed.edged().path());
            let to = to.ok_or(Refusal::Internal("a redirect to nowhere"))?;
            return Ok(Some(End::Redirected(redirect.status, to)));
        }
    }
    let Some(asked) = actions.second_factor else { return Ok(None) };
    let authorized = seen.authorized.ok_or(Refusal::Internal("a second factor of nobody"))?;
    let token = authorized.tenanted().authenticated().principal().token();
    let shown = factor_shown(token.map(Arc::as_ref), asked.within, seen.now);
    Ok(shown.err().map(|refusal| End::Refused(Refusal::Condition(refusal))))
}

/// Records what a rule in shadow would have done, where it would have ended the request.
fn would(rule: &Arc<Rule>, judgement: Judgement, seen: &Seen<'_, '_>, trace: &mut Trace) {
    let end = match judgement {
        Judgement::Nothing | Judgement::Ignored(_) => return,
        Judgement::Refuses(fault) => Some(End::Refused(failed(rule, fault))),
        Judgement::Applies => ended(&rule.actions, seen).unwrap_or_default(),
    };
    match end {
        None => {
            trace.note(Some(&rule.source), || format!("in shadow: rule `{}` applies", rule.id));
        }
        Some(End::Refused(refusal)) => {
            trace.would_have(PolicyKind::Rule, &rule.id, &rule.source, &refusal);
        }
        Some(End::Redirected(status, _)) => trace.enter_would_have(WouldHave {
            policy: PolicyKind::Rule,
            name: Arc::clone(&rule.id),
            source: rule.source.clone(),
            stage: trace.stage.as_str(),
            code: "redirect".into(),
            effect: Effect::Refuse(status),
        }),
    }
}

/// Another upstream, if the request is among those that are sent there.
fn divert(rule: &Rule, actions: &Actions, seen: &Seen<'_, '_>, changes: &mut Changes) {
    let Some(diversion) = &actions.divert else { return };
    let here = changes.upstream().unwrap_or(seen.routed.upstream());
    if here.name != diversion.from {
        return;
    }
    let takes = |subject: &str| diversion.share.takes(&rule.id, subject.as_bytes());
    let by_address = || takes(&customer(seen.routed.client()).to_string());
    let tenanted = seen.authorized.map(Authorized::tenanted);
    let taken = diversion.share.is_all()
        || match diversion.by {
            Together::Request => takes(seen.id),
            Together::Address => by_address(),
            Together::User => {
                let principal = tenanted.map(|tenanted| tenanted.authenticated().principal());
                // Who acts as somebody else sees what that one sees.
                let acts_as = tenanted.and_then(|tenanted| tenanted.acts_as());
                let id = acts_as.map(|user| user.as_str());
                let id = id.or_else(|| principal.and_then(|principal| principal.id()));
                id.map_or_else(by_address, takes)
            }
            Together::Organization => {
                let tenancy = tenanted.and_then(|tenanted| tenanted.tenancy());
                let id = tenancy.map(|tenancy| tenancy.organization().id.to_string());
                id.map_or_else(by_address, |id| takes(&id))
            }
        };
    if taken {
        changes.divert(&diversion.to);
    }
}

fn scene<'r>(edged: &'r Edged<'_>, id: Option<&'r str>, now: Now) -> Scene<'r> {
    let request = RequestView {
        id,
        method: edged.method(),
        secure: edged.secure(),
        host: edged.host(),
        path: edged.path(),
        query: edged.query().unwrap_or_default(),
        headers: edged.headers(),
        size: announced(edged.headers()),
    };
    Scene::new(request, ClientView { address: edged.client(), country: edged.country() }, now)
}

/// What an expression of a condition sees of who calls, for which organization.
pub(super) fn scene_of_caller<'r>(
    authenticated: &'r Authenticated<'_>,
    of: &'r Tenancy,
    now: Now,
) -> Scene<'r> {
    let (routed, changes) = (authenticated.routed(), &authenticated.screened().changes);
    let mut scene = scene(routed.edged(), None, now);
    scene.route = Some(&routed.route().name);
    scene.principal = Some(authenticated.principal());
    scene.tenancy = Some(tenancy(of));
    changes.tags().iter().for_each(|tag| scene.tag(Arc::clone(tag)));
    scene
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn tenancy(of: &Tenancy) -> TenancyView<'_> {
    TenancyView { organization: of.organization(), rights: of.rights(), team: of.team() }
}
