//! What the client gets: an upstream's answer with the policy's edits, or a refusal.

use http::{HeaderValue, StatusCode, header};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use crate::domain::refusal::Refusal;
use crate::pipeline::response;
use crate::policy::upstream::UpstreamKind;

use super::answer::{self, Then};
use super::body::ErrorBody;
use super::context::Context;

/// What concerns the connection to the upstream only (RFC 9110 section 7.6.1), besides
/// `Connection` and `Transfer-Encoding`, which Pingora sets anew.
const HOP_BY_HOP: [&str; 4] = ["keep-alive", "proxy-connection", "upgrade", "proxy-authenticate"];

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
    let direct = response::refusal(&refusal, ctx.kind(), ctx.response_policy(), &ctx.trace);
    ctx.refusal = Some(refusal);
    answer::write(session, direct, then).await?;
    answer::linger(session).await;
    Ok(())
}

/// Applies the policy to the head of an upstream's answer.
pub(super) fn edit(head: &mut ResponseHeader, ctx: &mut Context) -> Result<()> {
    let Some(kind) = ctx.kind() else { return Ok(()) };
    let edits = response::edits(kind, ctx.response_policy(), &ctx.trace);
    for name in &edits.remove {
        head.remove_header(name);
    }
    head.remove_header(&header::SERVER);
    for name in HOP_BY_HOP {
        head.remove_header(name);
    }
    for (name, value) in edits.set {
        head.insert_header(name, value)?;
    }
    if edits.vary_origin {
        head.append_header(header::VARY, HeaderValue::from_static("Origin"))?;
    }
    if kind == UpstreamKind::Postgrest && is_json_error(head) {
        // The body is cut down, so that its length changes; Pingora frames what has none.
        head.remove_header(&header::CONTENT_LENGTH);
        ctx.error_body = Some(ErrorBody::default());
    }
    Ok(())
}

fn is_json_error(head: &ResponseHeader) -> bool {
    let error = head.status >= StatusCode::BAD_REQUEST;
    error
        && head
            .headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|media| media.contains("json"))
}
