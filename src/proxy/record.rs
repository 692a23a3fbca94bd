//! One log line for each request, its record in the audit log, and its place in the metrics.
//! Waits for nothing: Pingora holds the connection back until this is done.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use pingora::Error;
use pingora::http::RequestHeader;
use pingora::proxy::Session;

use crate::domain::audit::{AuditRecord, Decision, SecurityEvent, SignedIn};
use crate::domain::principal::Principal;
use crate::domain::refusal::Refusal;
use crate::domain::usage::{Consumer, Payer, Used};
use crate::pipeline::trace::{RuleMet, Watch};
use crate::pipeline::{Stage, Trace};
use crate::policy::route::AuditRule;
use crate::policy::upstream::UpstreamKind;
use crate::telemetry::labels::{MethodClass, StageLabel, StatusClass, UpstreamLabel};
use crate::telemetry::stages::StageTimer;

use super::context::Context;
use super::gateway::Gateway;
use super::security;
use super::shadow;

/// The trace of a new request; one in some is timed.
pub(super) fn trace(gateway: &Gateway, entropy: u128) -> Trace {
    let requests = &gateway.metrics.requests;
    if requests.times_stages(entropy) {
        let timer = StageTimer::new(Arc::clone(&gateway.clock), requests.clone());
        Trace::watched(Arc::new(Stages(timer)))
    } else {
        Trace::new()
    }
}

#[derive(Debug)]
struct Stages(StageTimer);

impl Watch for Stages {
    fn entered(&self, stage: Stage) {
        self.0.entered(match stage {
            Stage::Edge => StageLabel::Edge,
            Stage::Route => StageLabel::Route,
            Stage::RequestRules => StageLabel::RequestRules,
            Stage::Authenticate => StageLabel::Authenticate,
            Stage::Tenant => StageLabel::Tenant,
            Stage::Authorize => StageLabel::Authorize,
            Stage::CallerRules => StageLabel::CallerRules,
            Stage::Isolate => StageLabel::Isolate,
            Stage::Limit => StageLabel::Limit,
            Stage::Upstream => StageLabel::Upstream,
            Stage::Response => StageLabel::Response,
        });
    }
}

/// A request is over.
pub(super) fn finished(
    gateway: &Gateway,
    session: &Session,
    error: Option<&Error>,
    ctx: &mut Context,
) {
    let took = gateway.now().since(ctx.started);
    let status = session.response_written().map(|written| written.status);
    let class = status.map_or(StatusClass::Unanswered, StatusClass::from);
    let request = session.req_header();
    let method = MethodClass::from(&request.method);
    gateway.metrics.requests.answered(method, upstream_label(ctx.kind()), class, took);
    let refused = ctx.refusal.as_ref().map(Refusal::code);
    if let Some(refusal) = &ctx.refusal {
        gateway.metrics.requests.refused(refusal.label());
    }
    shadow::collect(gateway, ctx);
    gateway.metrics.requests.would_refuse(&ctx.trace.would);
    for met in &ctx.trace.rules {
        ctx.generation.rules.met(met.rule.place, met.outcome);
    }
    let security = security::event(ctx);
    if let Some(event) = &security {
        security::tell(gateway, ctx, event);
    }
    if let Some(principal) = &ctx.trace.principal {
        gateway.metrics.requests.called(principal.kind());
        if let Some(key) = principal.machine() {
            ctx.generation.node.directory().machine_key_used(key.id, ctx.started);
        }
    }
    let late = settled(gateway, session, ctx);
    audit(gateway, session, ctx, security, took);
    metered(gateway, session, ctx, late);
    let trace = &ctx.trace;
    // The fields are worked out only where the line is wanted.
    tracing::info!(
        target: "tollgate::access",
        // First, because the macro takes no dotted name behind a target.
        duration_ms = took.as_secs_f64() * 1e3,
        request.id = trace.request_id.as_ref().map(|id| id.as_str()),
        client.address = trace.client.map(tracing::field::display),
        http.method = %request.method,
        http.path = request.uri.path(),
        http.status = status.map(|status| status.as_u16()),
        http.request_bytes = session.body_bytes_read(),
        http.response_bytes = session.body_bytes_sent(),
        route.name = trace.route.as_ref().map(|route| route.name.as_ref()),
        organization.id = trace.organization.as_ref().map(|org| tracing::field::display(org.id)),
        principal.kind = trace.principal.as_ref().map(|principal| principal.kind().as_str()),
        principal.id =
            trace.principal.as_ref().and_then(Principal::id),
        principal.acts_as = trace.impersonated.as_ref().map(|of| of.user.as_str()),
        role.name = trace.role.as_ref().map(|role| role.name.as_ref()),
        refusal.code = refused.as_deref(),
        refusal.cause = ctx.refusal.as_ref().map(tracing::field::display),
        refusal.stage = refused.as_ref().map(|_| trace.stage.as_str()),
        policy.would_refuse =
            trace.would.are_notable().then(|| tracing::field::display(&trace.would)),
        policy.source = trace.decided_by.as_ref().map(tracing::field::display),
        snapshot.version = %ctx.generation.snapshot.version,
        upstream.name = ctx.passed.as_ref().map(|passed| passed.upstream().name.as_ref()),
        upstream.address =
            ctx.attempt.as_ref().map(|attempt| tracing::field::display(attempt.chosen.shown())),
        upstream.tries = ctx.tried.len(),
        upstream.duration_ms = ctx.upstream_took.map(|took| took.as_secs_f64() * 1e3),
        error = error.filter(|error| *error.etype() != super::fault::REFUSED)
            .map(tracing::field::display),
        "request"
    );
}

/// Charges what is charged by the answer: for the time until its head came, or until nobody waited for
/// it any more, and for its body. What was sent nowhere costs nothing more. Returns the cost.
fn settled(gateway: &Gateway, session: &Session, ctx: &Context) -> u64 {
    let Some(dues) = ctx.passed.as_ref().and_then(|passed| passed.dues()) else { return 0 };
    let Some(attempt) = &ctx.attempt else { return 0 };
    let now = gateway.now();
    let took = ctx.upstream_took.unwrap_or_else(|| now.since(attempt.began));
    let bytes = u64::try_from(session.body_bytes_sent()).unwrap_or(u64::MAX);
    gateway.limits.settle(dues, took, bytes, now);
    dues.cost(took, bytes)
}

/// Counts a request that was admitted, whatever became of it then, on the account of its caller in
/// its organization; what is for no organization is on nobody's. `late` is what its answer cost.
fn metered(gateway: &Gateway, session: &Session, ctx: &mut Context, late: u64) {
    let reserved = ctx.reserved.take();
    // What was reserved and not admitted goes back.
    let (Some(usage), Some(_)) = (&gateway.usage, &ctx.passed) else { return };
    let Some(organization) = &ctx.trace.organization else { return };
    let bytes = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let used = Used {
        calls: 1,
        bytes_in: bytes(session.body_bytes_read()),
        bytes_out: bytes(session.body_bytes_sent()),
        cost: u64::from(ctx.trace.cost).saturating_add(late),
    };
    let consumer = Consumer::of(ctx.trace.principal.as_ref());
    match reserved {
        Some(reserved) => usage.count_reserved(reserved, &consumer, used),
        None => {
            let payer = Payer::of(organization, ctx.trace.team.as_ref());
            usage.count(&payer, &consumer, used, ctx.started);
        }
    }
}

/// What stands for the status of an answer that was never sent, because the client had left.
fn gone() -> StatusCode {
    StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST)
}

/// Hands the decision to the audit log, where the route wants it there.
fn audit(
    gateway: &Gateway,
    session: &Session,
    ctx: &Context,
    security: Option<SecurityEvent>,
    took: Duration,
) {
    let Some(log) = &gateway.audit else { return };
    let (trace, request) = (&ctx.trace, session.req_header());
    let refused = ctx.refusal.is_some();
    // What no route was found for is refused, and refusals are always recorded.
    let rule = trace.route.as_ref().map_or(AuditRule::Refusals, |route| route.audit);
    let wanted = match rule {
        _ if security.is_some() => true,
        // Whoever acts as somebody else is on record with all of it, and so is all trust.
        _ if trace.impersonated.is_some() || trace.trust.is_some() => true,
        // Nobody becomes a member, or another one, unseen.
        _ if trace.membership.is_some() => true,
        _ if trace.sampled => true,
        AuditRule::All => true,
        AuditRule::WritesAndRefusals => refused || !request.method.is_safe(),
        AuditRule::Refusals => refused,
    };
    // So many that they would displace others are counted only.
    if !wanted && (!trace.would.are_notable() || !log.admits_extra(ctx.started.unix_secs())) {
        return;
    }
    let status = session.response_written().map(|written| written.status);
    let route = trace.route.as_ref();
    log.record(AuditRecord {
        unix_micros: ctx.started.unix_micros,
        request_id: trace.request_id.clone(),
        client: trace.client,
        principal: trace.principal.as_ref().map(Principal::kind),
        user: trace.principal.as_ref().and_then(Principal::user).cloned(),
        impersonated: trace.impersonated.as_ref().map(|of| of.user.clone()),
        impersonation_reason: trace.impersonated.as_ref().map(|of| Arc::clone(&of.reason)),
        device: trace.device.map(|device| device.id),
        api_key: trace.api_key.clone(),
        organization: trace.organization.as_ref().map(|organization| organization.id),
        plan: trace.organization.as_ref().map(|organization| Arc::clone(&organization.plan)),
        role: trace.role.as_ref().map(|role| Arc::clone(&role.name)),
        further_rights: trace.further_rights,
        team: trace.team.clone(),
        signed_in: signed_in(trace),
        membership: trace.membership,
        method: request.method.clone(),
        host: host(request),
        path: request.uri.path().into(),
        route: route.map(|route| Arc::clone(&route.name)),
        decision: if refused { Decision::Refused } else { Decision::Allowed },
        status: status.unwrap_or_else(gone),
        stage: ctx.refusal.as_ref().map(|_| trace.stage.as_str()),
        code: ctx.refusal.as_ref().map(Refusal::code),
        penalty: match &ctx.refusal {
            Some(Refusal::Penalized { level, .. }) => Some(*level),
            _ => None,
        },
        security,
        would: trace.would.clone(),
        rules: trace.rules.iter().map(RuleMet::told).collect(),
        tags: trace.tags.clone(),
        permission: trace.permission.clone(),
        policy: trace.decided_by.clone().or_else(|| route.map(|route| route.source.clone())),
        snapshot: Some(Arc::clone(&ctx.generation.snapshot.version.0)),
        upstream: ctx.passed.as_ref().map(|passed| Arc::clone(&passed.upstream().name)),
        duration_micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
    });
}

/// The host that the client named, as it will be looked for when the decision is replayed.
fn host(request: &RequestHeader) -> Option<Box<str>> {
    let field = request.headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
    let host = field.or(request.uri.authority().map(|authority| authority.as_str()))?;
    (host.len() <= LONGEST_HOST).then(|| host.into())
}

/// Names are of 253 characters at most (RFC 1035 section 2.3.4); with a port.
const LONGEST_HOST: usize = 260;

fn signed_in(trace: &Trace) -> Option<SignedIn> {
    let Some(Principal::User { token, .. }) = &trace.principal else { return None };
    let (second_factor, factor_at) = (token.second_factor, token.factor_at);
    Some(SignedIn { second_factor, factor_at, at: token.signed_in_at })
}

/// The upstream's kind, as metrics name it.
pub(super) fn upstream_label(kind: Option<UpstreamKind>) -> UpstreamLabel {
    match kind {
        None => UpstreamLabel::None,
        Some(UpstreamKind::Postgrest) => UpstreamLabel::Postgrest,
        Some(UpstreamKind::Auth) => UpstreamLabel::Auth,
        Some(UpstreamKind::Storage) => UpstreamLabel::Storage,
        Some(UpstreamKind::Realtime) => UpstreamLabel::Realtime,
        Some(UpstreamKind::Functions) => UpstreamLabel::Functions,
        Some(UpstreamKind::Http) => UpstreamLabel::Http,
    }
}
