//! Security events: what somebody who watches wants to know at once.
//!
//! Made when a request is over, whichever stage found it, a body's gate included; told to the
//! metrics and in a log line of their own, and recorded with the decision in the audit log. Of the
//! request they hold names and ids, and no data.

use crate::domain::audit::{Attempt, SecurityEvent};
use crate::domain::escape::TenantEscape;
use crate::domain::rule::RuleEvent;

use super::context::Context;
use super::gateway::Gateway;

/// What makes a request a security event, if it is one.
pub(super) fn event(ctx: &Context) -> Option<SecurityEvent> {
    let stage = ctx.trace.stage.as_str();
    if let Some(at) = &ctx.login
        && let Some(gravest) = at.alarms().first()
    {
        return Some(at.event(*gravest, stage));
    }
    let refused = ctx.refusal.as_ref().and_then(|of| SecurityEvent::of_refusal(of, stage));
    refused.or_else(|| {
        let event = ctx.trace.event.as_ref()?;
        Some(SecurityEvent::of_rule(event, stage))
    })
}

/// Counts it and logs it.
pub(super) fn tell(gateway: &Gateway, ctx: &Context, event: &SecurityEvent) {
    match &event.attempt {
        Attempt::TenantEscape(escape) => escaped(gateway, ctx, event, escape),
        Attempt::RevokedSession => revoked(gateway, ctx, event),
        Attempt::RevokedKey => revoked_key(gateway, ctx, event),
        Attempt::Login(..) => login(gateway, ctx),
        Attempt::Rule(of) => of_rule(ctx, event, of),
    }
}

/// All that one attempt to sign in sets off: the record has the gravest.
fn login(gateway: &Gateway, ctx: &Context) {
    let Some(at) = &ctx.login else { return };
    let trace = &ctx.trace;
    for alarm in at.alarms() {
        gateway.metrics.logins.alarmed(&alarm);
        let event = at.event(alarm, trace.stage.as_str());
        tracing::warn!(
            target: "tollgate::security",
            severity = event.severity.as_str(),
            event.kind = event.kind(),
            event.stage = event.stage,
            event.alarm = ?alarm,
            event.account = at.account().map(tracing::field::display),
            request.id = trace.request_id.as_ref().map(|id| id.as_str()),
            client.address = trace.client.map(tracing::field::display),
            "too many logins have failed"
        );
    }
}

/// Counted with its rule.
fn of_rule(ctx: &Context, event: &SecurityEvent, of: &RuleEvent) {
    let trace = &ctx.trace;
    tracing::warn!(
        target: "tollgate::security",
        severity = event.severity.as_str(),
        event.kind = event.kind(),
        event.stage = event.stage,
        event.rule = of.rule.as_ref(),
        request.id = trace.request_id.as_ref().map(|id| id.as_str()),
        client.address = trace.client.map(tracing::field::display),
        organization.id = trace.organization.as_ref().map(|org| tracing::field::display(org.id)),
        principal.kind = trace.principal.as_ref().map(|principal| principal.kind().as_str()),
        principal.id =
            trace.principal.as_ref().and_then(|principal| principal.id()),
        "a rule raised a security event"
    );
}

fn revoked(gateway: &Gateway, ctx: &Context, event: &SecurityEvent) {
    let trace = &ctx.trace;
    gateway.metrics.requests.revoked_sessions.inc();
    tracing::warn!(
        target: "tollgate::security",
        severity = event.severity.as_str(),
        event.kind = event.kind(),
        event.stage = event.stage,
        request.id = trace.request_id.as_ref().map(|id| id.as_str()),
        client.address = trace.client.map(tracing::field::display),
        principal.kind = trace.principal.as_ref().map(|principal| principal.kind().as_str()),
        principal.id =
            trace.principal.as_ref().and_then(|principal| principal.user()).map(|id| id.as_str()),
        "somebody used a session that was revoked"
    );
}

fn revoked_key(gateway: &Gateway, ctx: &Context, event: &SecurityEvent) {
    let trace = &ctx.trace;
    gateway.metrics.requests.revoked_keys.inc();
    tracing::warn!(
        target: "tollgate::security",
        severity = event.severity.as_str(),
        event.kind = event.kind(),
        event.stage = event.stage,
        event.key = trace.api_key.as_deref(),
        request.id = trace.request_id.as_ref().map(|id| id.as_str()),
        client.address = trace.client.map(tracing::field::display),
        "somebody used a key that was revoked"
    );
}

fn escaped(gateway: &Gateway, ctx: &Context, event: &SecurityEvent, attempt: &TenantEscape) {
    let trace = &ctx.trace;
    gateway.metrics.requests.escaped(attempt);
    tracing::warn!(
        target: "tollgate::security",
        severity = event.severity.as_str(),
        event.kind = event.kind(),
        event.stage = event.stage,
        event.place = attempt.place.as_str(),
        event.resource = attempt.resource.kind(),
        event.resource_name = attempt.resource.name().as_ref(),
        event.field = attempt.name.as_ref(),
        event.named = attempt.named.map(tracing::field::display),
        request.id = trace.request_id.as_ref().map(|id| id.as_str()),
        client.address = trace.client.map(tracing::field::display),
        organization.id = trace.organization.as_ref().map(|org| tracing::field::display(org.id)),
        principal.kind = trace.principal.as_ref().map(|principal| principal.kind().as_str()),
        principal.id =
            trace.principal.as_ref().and_then(|principal| principal.id()),
        "somebody tried to reach into another organization"
    );
}
