//! The shell around the core: one request's head, from its arrival to the proof that it may go on.
//!
//! Runs once for each request, whatever is retried later, so that nothing is charged twice.

use std::sync::Arc;

use http::header;
use pingora::Error;
use pingora::proxy::Session;

use crate::domain::charge::{Charge, ChargeAnswer};
use crate::domain::ids::RequestId;
use crate::domain::known::Outage;
use crate::domain::principal::Principal;
use crate::domain::refusal::{EdgeRefusal, Refusal};
use crate::domain::usage::Consumer;
use crate::pipeline::body::Announced;
use crate::pipeline::edge::client_address;
use crate::pipeline::response::DirectAnswer;
use crate::pipeline::{Chargeable, Passed, Settled, Stop, decide, limit};
use crate::policy::route::Route;
use crate::stores::node::Facts;

use super::answer;
use super::arrival::{self, Head};
use super::body::RequestBody;
use super::connection::Watched;
use super::context::Context;
use super::gateway::Gateway;
use super::handshake::Handshake;
use super::logins;
use super::shadow;
use super::sockets::Opener;
use super::uses;

/// Why a request does not go on to an upstream.
pub(super) enum Halt {
    /// It is refused.
    Refused(Refusal),
    /// The gateway answers by itself.
    Answered(Box<DirectAnswer>),
    /// Its body could not be read.
    Failed(Box<Error>),
}

impl From<Refusal> for Halt {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Admits a request, or says how it ends.
pub(super) async fn admit(
    gateway: &Gateway,
    session: &mut Session,
    ctx: &mut Context,
    head: Head,
) -> Result<(), Halt> {
    ctx.keeps_alive = session.get_keepalive().is_some();
    bound(session, ctx);
    if let Err(refusal) = early(gateway, session, ctx, &head) {
        ctx.trace.request_id = Some(id(ctx));
        return Err(refusal.into());
    }
    let mut chargeable = decided(session, ctx, &head).await?;
    guard_places(gateway, ctx)?;
    quotas(gateway, &mut chargeable, ctx).await?;
    let mut passed = charged(gateway, chargeable, ctx).await?;
    uses::note(ctx, &session.req_header().headers);
    let announced = announced(session);
    passed.body().announced(announced)?;
    if arrival::expects_continue(session) {
        // Said here for all upstreams: a body that is held would otherwise wait for a word that
        // only comes after it.
        let _ = session.write_continue_response().await;
        ctx.resumed = gateway.now();
        // Pingora gives the connection up when anything is sent before the body has arrived.
        bound(session, ctx);
    }
    if passed.body().holds() {
        let (began, grace) = (ctx.resumed, ctx.generation.snapshot.edge.body_timeout);
        let in_time = |body: &RequestBody| body.in_time(began, gateway.now(), grace);
        ctx.request_body.collect(session, passed.body(), announced, grace, in_time).await?;
        ctx.resumed = gateway.now();
    }
    charged_to_account(gateway, ctx, &mut passed).await?;
    logins::begin(gateway, ctx, &mut passed).await?;
    if let Some(Principal::User { id, token }) = &ctx.trace.principal {
        let generation = &ctx.generation;
        if ctx.trace.trust.as_ref().is_some_and(|trust| trust.forgets)
            && let Some(devices) = &generation.snapshot.identity.devices
        {
            generation.node.sessions().forget_devices(id, devices.trusted_for);
        }
        gateway.sockets.refreshed(token, ctx.resumed);
    }
    if passed.websocket() {
        open_socket(gateway, session, ctx, &head, passed.route())?;
    }
    if let (Some(usage), Some(reserved)) = (&gateway.usage, &mut ctx.reserved) {
        let consumer = Consumer::of(ctx.trace.principal.as_ref());
        if !usage.commit(reserved, &consumer).await {
            return Err(Refusal::Unavailable(Outage::Usage).into());
        }
    }
    shadow::charge(gateway, ctx, &mut passed);
    ctx.passed = Some(passed);
    Ok(())
}

/// A WebSocket stays for hours: it has a place among its like, and none among requests.
fn open_socket(
    gateway: &Gateway,
    session: &Session,
    ctx: &mut Context,
    head: &Head,
    route: &Route,
) -> Result<(), Refusal> {
    let policy = route.websocket.as_ref();
    let policy = policy.ok_or(Refusal::Internal("a WebSocket on a route without"))?;
    let (user, token) = match &ctx.trace.principal {
        Some(Principal::User { id, token }) => (Some(id.clone()), Some(Arc::clone(token))),
        Some(Principal::Service { .. } | Principal::Machine { .. } | Principal::Anonymous)
        | None => (None, None),
    };
    let organization = ctx.trace.organization.as_ref().map(|organization| organization.id);
    // Who acts as somebody else may do so for a time after their second factor.
    let acting = ctx.trace.impersonated.as_ref().and(token.as_ref());
    let allowed = ctx.generation.snapshot.impersonation.as_ref();
    let until = acting.zip(allowed).map(|(token, policy)| {
        token.factor_at.unwrap_or(0).saturating_add(policy.within.as_secs())
    });
    let handshake = Handshake::of(head, session.req_header(), ctx);
    let opener = Opener { organization, user, token, until, handshake: Arc::new(handshake) };
    let (open, end) = gateway.sockets.enter(opener, policy, ctx.resumed)?;
    let stream = session.stream().ok_or(Refusal::Internal("a WebSocket over HTTP/2"))?;
    Watched::ends(stream, Some(end));
    (ctx.place, ctx.place_of_user) = (None, None);
    ctx.socket = Some(open);
    Ok(())
}

/// The time that the client has from here on.
fn bound(session: &mut Session, ctx: &Context) {
    let edge = &ctx.generation.snapshot.edge;
    session.set_read_timeout(Some(edge.body_timeout));
    session.set_total_drain_timeout(Some(edge.body_timeout));
    // A client that takes nothing for as long gives up its answer.
    session.set_write_timeout(Some(edge.body_timeout));
    // HTTP/1.1 clients may send the next request before they have the answer to this one
    // (RFC 9112 section 9.3.2); without this, Pingora would break off the one at work.
    session.set_pipelining_enabled(true);
    if ctx.keeps_alive {
        // Without a limit: the connection times its rests itself.
        session.set_keepalive(Some(0));
    }
}

/// What is refused before the edge stage has given the request its id.
fn early(
    gateway: &Gateway,
    session: &Session,
    ctx: &mut Context,
    head: &Head,
) -> Result<(), Refusal> {
    if head.odd {
        return Err(Refusal::Edge(EdgeRefusal::Characters));
    }
    guard_address(gateway, session, ctx, head)
}

fn id(ctx: &Context) -> RequestId {
    let bits = ctx.entropy.to_le_bytes();
    RequestId::fresh(ctx.started.unix_millis(), *bits.first_chunk().unwrap_or(&[0; 10]))
}

/// How fast the client's address may ask, before anything else is looked at.
fn guard_address(
    gateway: &Gateway,
    session: &Session,
    ctx: &mut Context,
    head: &Head,
) -> Result<(), Refusal> {
    let edge = &ctx.generation.snapshot.edge;
    let Some(rate) = &edge.address_guard else { return Ok(()) };
    let client = client_address(&head.arrival(session.req_header()), edge);
    gateway.addresses.check(client, rate).map_err(|retry_after| {
        ctx.trace.client = Some(client);
        Refusal::RateLimited { limit: "address_guard".into(), retry_after }
    })
}

/// How much the user and the organization may have at work at the same time.
fn guard_places(gateway: &Gateway, ctx: &mut Context) -> Result<(), Refusal> {
    if let Some(user) = ctx.trace.principal.as_ref().and_then(Principal::user) {
        let most = ctx.generation.snapshot.edge.requests_per_user;
        let place = gateway.requests_of_users.enter(user.clone(), most);
        ctx.place_of_user = Some(place.map_err(|_| Refusal::TooManyConcurrent("user"))?);
    }
    let Some(organization) = &ctx.trace.organization else { return Ok(()) };
    let most = ctx.generation.snapshot.edge.requests_per_organization;
    let place = gateway.requests.enter(organization.id, most);
    ctx.place = Some(place.map_err(|_| Refusal::TooManyConcurrent("organization"))?);
    Ok(())
}

/// Reserves what the request takes of its organization's quotas, if there is as much left.
async fn quotas(
    gateway: &Gateway,
    chargeable: &mut Chargeable,
    ctx: &mut Context,
) -> Result<(), Refusal> {
    let Some(payer) = chargeable.metered(&ctx.trace) else { return Ok(()) };
    let Some(usage) = &gateway.usage else {
        // A reload brought quotas to a process that was started without a meter.
        return chargeable.within(None, &mut ctx.trace).map(drop);
    };
    if usage.unread(&payer, ctx.started) {
        usage.find_out(&payer, ctx.started).await;
        ctx.resumed = gateway.now();
    }
    let (cost, trace) = (ctx.trace.cost, &mut ctx.trace);
    let within = |known: Option<&_>| chargeable.within(known, trace);
    let reserved = usage.reserve(payer, cost, ctx.started, within)?;
    ctx.reserved = Some(reserved);
    Ok(())
}

/// Decides, finding out what this node does not know.
async fn decided(session: &Session, ctx: &mut Context, head: &Head) -> Result<Chargeable, Halt> {
    let generation = Arc::clone(&ctx.generation);
    let mut facts = Facts::new(&generation.node, ctx.started);
    let arrival = head.arrival(session.req_header());
    loop {
        match decide(&arrival, &generation.snapshot, &facts, &mut ctx.trace, facts.now()) {
            Ok(chargeable) => return Ok(chargeable),
            Err(Stop::Refused(refusal)) => return Err(Halt::Refused(refusal)),
            Err(Stop::Answered(answer)) => return Err(Halt::Answered(answer)),
            Err(Stop::Ask(question)) => facts.find_out(question).await?,
        }
        ctx.trace.restart();
        ctx.trace.membership = facts.membership_change();
        ctx.resumed = facts.now();
    }
}

/// Charges, once.
async fn charged(
    gateway: &Gateway,
    chargeable: Chargeable,
    ctx: &mut Context,
) -> Result<Box<Passed>, Refusal> {
    let answer = taken(gateway, chargeable.charge(), ctx).await;
    match chargeable.settle(answer, &mut ctx.trace)? {
        Settled::Passed(passed) => Ok(passed),
        Settled::ChargeHere(here) => {
            let answer = gateway.limits.take_share(here.charge(), ctx.resumed);
            match here.settle(answer, &mut ctx.trace)? {
                Settled::Passed(passed) => Ok(passed),
                Settled::ChargeHere(_) => Err(Refusal::Internal("a share is never away")),
            }
        }
    }
}

/// Charges the limits of the account that the body of a request to an auth server names.
async fn charged_to_account(
    gateway: &Gateway,
    ctx: &mut Context,
    passed: &mut Passed,
) -> Result<(), Refusal> {
    let Some(account) = logins::account(gateway, passed) else { return Ok(()) };
    let charge = limit::of_account(passed, account, &ctx.trace);
    if charge.buckets.is_empty() {
        return Ok(());
    }
    let answer = taken(gateway, &charge, ctx).await;
    let here = limit::account_charged(passed, charge, answer, &mut ctx.trace)?;
    let Some(here) = here else { return Ok(()) };
    let answer = gateway.limits.take_share(&here, ctx.resumed);
    limit::account_charged(passed, here, answer, &mut ctx.trace).map(drop)
}

/// The store's answer to a charge, which most often needs no waiting.
async fn taken(gateway: &Gateway, charge: &Charge, ctx: &mut Context) -> ChargeAnswer {
    // Not the time at which it came: finding out who calls can have taken longer than leases last,
    // and a bucket is to be charged when the request is let through.
    let now = ctx.resumed;
    if let Some(answer) = gateway.limits.try_now(charge, now) {
        return answer;
    }
    let answer = gateway.limits.take(charge, now).await;
    ctx.resumed = gateway.now();
    answer
}

/// What the head says of the body.
fn announced(session: &mut Session) -> Announced {
    if session.is_body_empty() {
        return Announced::Nothing;
    }
    let chunked = session.req_header().headers.contains_key(header::TRANSFER_ENCODING);
    match answer::announced(session) {
        Some(length) if !chunked => Announced::Length(length),
        Some(_) | None => Announced::Unknown,
    }
}
