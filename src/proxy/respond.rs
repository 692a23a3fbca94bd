//! What the client gets: an upstream's answer with the policy's edits, or a refusal.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, response::Parts};
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;

use crate::domain::refusal::Refusal;
use crate::pipeline::rules::{self, AnswerHead, AnswerRuled};
use crate::pipeline::{login, response};
use crate::policy::upstream::UpstreamKind;

use super::answer::{self, Then};
use super::body::ErrorBody;
use super::context::Context;
use super::fault;

/// What concerns the connection to the upstream only (RFC 9110 section 7.6.1), besides
/// `Connection` and `Transfer-Encoding`, which Pingora sets anew.
const HOP_BY_HOP: [HeaderName; 4] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::UPGRADE,
    header::PROXY_AUTHENTICATE,
];

/// Answers a request that was refused before it went anywhere.
pub(super) async fn refuse(
    session: &mut Session,
    ctx: &mut Context,
    refusal: Refusal,
) -> Result<()> {
    let then = if refusal.closes_connection() { Then::Close } else { Then::KeepOpen };
    write(session, ctx, refusal, then).await
}

/// Answers a request that failed on its way. Returns the status that was sent, 0 if none was.
pub(super) async fn fail(session: &mut Session, ctx: &mut Context, refusal: Refusal) -> u16 {
    if answer::begun(session) {
        // The client has a status already: its answer is cut off, and the log says why.
        return 0;
    }
    let status = refusal.public().status.as_u16();
    let written = write(session, ctx, refusal, Then::Close).await;
    if written.is_err() { 0 } else { status }
}

async fn write(
    session: &mut Session,
    ctx: &mut Context,
    refusal: Refusal,
    then: Then,
) -> Result<()> {
    let spared = spared(session, ctx, &refusal);
    let told = spared.as_ref().unwrap_or(&refusal);
    let direct = response::refusal(told, ctx.kind(), ctx.response_policy(), &ctx.trace);
    ctx.refusal = Some(refusal);
    answer::write(session, direct, then).await?;
    answer::linger(session).await;
    Ok(())
}

/// What is told in place of the refusal of a refresh. A refusal before there is a route may be of
/// one at an auth server.
fn spared(session: &Session, ctx: &Context, refusal: &Refusal) -> Option<Refusal> {
    if ctx.kind().is_some_and(|kind| kind != UpstreamKind::Auth) {
        return None;
    }
    let request = session.req_header();
    let refreshes = login::refreshes(&request.method, request.uri.path(), request.uri.query());
    refreshes.then(|| login::spared(refusal)).flatten()
}

/// Shows the head of an upstream's answer to the rules.
pub(super) fn ruled(
    request: &RequestHeader,
    response: &ResponseHeader,
    ctx: &mut Context,
) -> Result<AnswerRuled> {
    let passed = ctx.passed.as_ref().ok_or_else(fault::refused)?;
    // The clock was read for both a moment ago.
    let sent = ctx.attempt.as_ref().map(|attempt| attempt.began.since(ctx.started));
    let took = sent.unwrap_or_default() + ctx.upstream_took.unwrap_or_default();
    let head = AnswerHead {
        method: &request.method,
        uri: &request.uri,
        headers: &request.headers,
        status: response.status.as_u16(),
        fields: &response.headers,
        took,
    };
    Ok(rules::of_answer(passed, &head, &ctx.generation.snapshot, &mut ctx.trace, ctx.started))
}

/// Applies the policy to the head of an upstream's answer.
pub(super) fn edit(head: &mut ResponseHeader, ctx: &mut Context, ruled: AnswerRuled) -> Result<()> {
    let Some(kind) = ctx.kind() else { return Ok(()) };
    let edits = response::edits(kind, ctx.response_policy(), &ctx.trace, ruled);
    // In place, Pingora would look every name up in a second map, of the names as the upstream
    // spelt them, and parse it again; a head without that map costs a third.
    let plain = head.get_reason_phrase() == head.status.canonical_reason();
    let reason = head.get_reason_phrase().filter(|_| !plain).map(str::to_owned);
    let (nothing, ()) = http::Response::new(()).into_parts();
    let mut parts = Parts::from(std::mem::replace(head, ResponseHeader::from(nothing)));
    let fields = &mut parts.headers;
    for name in &edits.remove {
        fields.remove(name);
    }
    fields.remove(header::SERVER);
    for name in HOP_BY_HOP {
        fields.remove(name);
    }
    fields.reserve(edits.set.len());
    for (name, value) in edits.set {
        if name == header::SET_COOKIE {
            // Beside those of the upstream.
            fields.append(name, value);
        } else {
            fields.insert(name, value);
        }
    }
    if edits.vary_origin {
        fields.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    if kind == UpstreamKind::Postgrest && is_json_error(parts.status, fields) {
        // The body is cut down, so that its length changes; Pingora frames what has none.
        fields.remove(header::CONTENT_LENGTH);
        ctx.error_body = Some(ErrorBody::default());
    }
    *head = ResponseHeader::from(parts);
    if reason.is_some() {
        head.set_reason_phrase(reason.as_deref())?;
    }
    Ok(())
}

fn is_json_error(status: StatusCode, fields: &HeaderMap) -> bool {
    status >= StatusCode::BAD_REQUEST
        && fields
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|media| media.contains("json"))
}
