//! One try of an upstream after the other: which address, how it went, whether there is another.

use std::time::Duration;

use pingora::Error;
use pingora::proxy::Session;
use pingora::upstreams::peer::HttpPeer;

use crate::domain::clock::Now;
use crate::domain::refusal::{Refusal, UpstreamFault};
use crate::pipeline::Stage;
use crate::telemetry::labels::{FaultLabel, UpstreamLabel};

use super::context::{Attempt, Context};
use super::fault;
use super::gateway::Gateway;
use super::pool::handshake;
use super::record;

/// Connections that one request may try, whatever `retries` says: an upstream with many dead
/// addresses must not hold a client for long.
const MAX_CONNECTS: usize = 4;

/// Between the end of a client's time for its body and that of the upstream for its answer.
const BODY_MARGIN: Duration = Duration::from_secs(1);

/// Chooses an address for the next try.
pub(super) async fn begin(
    session: &mut Session,
    ctx: &mut Context,
    now: Now,
) -> Result<Box<HttpPeer>, Refusal> {
    let passed = ctx.passed.as_ref().ok_or(Refusal::Internal("sent on without a proof"))?;
    let upstream = passed.upstream();
    let mut read_timeout = passed.route().read_timeout.unwrap_or(upstream.read_timeout);
    if let Some(policy) = passed.route().websocket.as_ref().filter(|_| passed.websocket()) {
        read_timeout = policy.idle;
    } else if !session.is_body_empty() {
        // It runs while the client sends its body, too, and a slow client is not the upstream's
        // fault: the client's own time must end first.
        let body_timeout = ctx.generation.snapshot.edge.body_timeout;
        read_timeout = read_timeout.max(body_timeout + BODY_MARGIN);
    }
    let pool = ctx.generation.pools.of(upstream);
    let pool = pool.cloned().ok_or(Refusal::Internal("an upstream without a pool"))?;
    // The try before counts as busy no longer.
    ctx.attempt = None;
    let chosen = pool.choose(&ctx.tried, now).ok_or(Refusal::Upstream(UpstreamFault::NoAddress))?;
    ctx.tried.push(chosen.index());
    let mut peer = pool.peer(&chosen, read_timeout, now).await.map_err(Refusal::Upstream)?;
    if passed.websocket() {
        handshake::arrange(&mut peer);
    }
    ctx.attempt = Some(Attempt { pool, chosen, began: now, answered: false });
    Ok(Box::new(peer))
}

/// No connection could be made. Nothing was sent, so that another address may be tried whatever
/// the method is. Returns whether one is to be tried.
pub(super) fn unreachable(gateway: &Gateway, ctx: &mut Context, error: &Error) -> bool {
    failed(gateway, ctx, error);
    let (Some(attempt), Some(passed)) = (&ctx.attempt, &ctx.passed) else { return false };
    let index = attempt.chosen.index();
    let times = ctx.tried.iter().filter(|tried| **tried == index).count();
    attempt.pool.unreachable(&attempt.chosen, times, gateway.now());
    let retries = usize::from(passed.upstream().retries);
    let wanted = attempt.pool.choices().max(retries.saturating_add(1));
    ctx.tried.len() < wanted.min(MAX_CONNECTS)
}

/// The upstream broke off or kept silent. Returns whether the request may be sent again: it is
/// idempotent, no byte of an answer came, and it may be tried further.
pub(super) fn broke(
    gateway: &Gateway,
    ctx: &mut Context,
    error: &Error,
    client_reused: bool,
) -> bool {
    let (Some(attempt), Some(passed)) = (&ctx.attempt, &ctx.passed) else { return false };
    let fault = fault::upstream(error);
    // A kept connection that the other side closed says nothing about the address.
    let stale = client_reused && fault == UpstreamFault::Broken && !attempt.answered;
    let again = passed.idempotent()
        && !attempt.answered
        // Who waited out the timeout once is told, and not made to wait again.
        && fault != UpstreamFault::Timeout
        && ctx.retries < passed.upstream().retries;
    if !stale {
        attempt.pool.failed(&attempt.chosen, gateway.now());
    }
    failed(gateway, ctx, error);
    again
}

/// The request is sent again.
pub(super) fn repeats(gateway: &Gateway, ctx: &mut Context) {
    ctx.retries = ctx.retries.saturating_add(1);
    gateway.metrics.upstreams.retried(label(ctx));
}

/// The head of an answer came.
pub(super) fn answered(gateway: &Gateway, ctx: &mut Context) {
    ctx.trace.enter(Stage::Response);
    let Some(attempt) = &mut ctx.attempt else { return };
    if attempt.answered {
        return;
    }
    attempt.answered = true;
    attempt.pool.succeeded(&attempt.chosen);
    let took = gateway.now().since(attempt.began);
    ctx.upstream_took = Some(took);
    gateway.metrics.upstreams.answered(label(ctx), took);
}

fn failed(gateway: &Gateway, ctx: &Context, error: &Error) {
    let fault = match fault::upstream(error) {
        UpstreamFault::NoAddress => FaultLabel::NoAddress,
        UpstreamFault::Connect => FaultLabel::Connect,
        UpstreamFault::Timeout => FaultLabel::Timeout,
        UpstreamFault::Broken => FaultLabel::Broken,
    };
    gateway.metrics.upstreams.failed(label(ctx), fault);
    if let (Some(attempt), Some(passed)) = (&ctx.attempt, &ctx.passed) {
        tracing::debug!(
            request.id = ctx.trace.request_id.as_ref().map(|id| id.as_str()),
            upstream.name = %passed.upstream().name,
            upstream.address = %attempt.chosen.shown(),
            error = %error,
            "a try of the upstream failed"
        );
    }
}

fn label(ctx: &Context) -> UpstreamLabel {
    record::upstream_label(ctx.passed.as_ref().map(|passed| passed.upstream().kind))
}
