//! The one writer of the gateway's own answers: refusals, preflights, and what Pingora could not
//! proxy.
//!
//! Pingora runs its response filters only for answers of upstreams, so that everything that a
//! client sees of the gateway itself passes here.

use http::{Method, StatusCode, header};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use crate::pipeline::response::DirectAnswer;

/// A body that is still on its way and announced as small enough is read to its end before a
/// refusal is written, so that the connection stays usable.
const DRAIN_BYTES: u64 = 64 * 1024;
/// After a refusal that closes the connection, this much of what is still arriving is read, so
/// that the client gets to see the answer before a reset.
const LINGER_BYTES: usize = 1024 * 1024;
const LINGER: std::time::Duration = std::time::Duration::from_secs(1);

/// Whether the connection may serve another request after the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// It may.
    KeepOpen,
    /// What follows on it cannot be trusted, or its state is unknown.
    Close,
}

/// Writes an answer. Nothing happens if one was already begun: a broken answer is cut off, never
/// mixed with another.
pub(super) async fn write(session: &mut Session, answer: DirectAnswer, then: Then) -> Result<()> {
    if begun(session) {
        return Ok(());
    }
    match then {
        Then::KeepOpen => drain(session).await,
        Then::Close => session.set_keepalive(None),
    }
    let head = session.req_header().method == Method::HEAD;
    let mut written = ResponseHeader::build_no_case(answer.status, Some(answer.fields.len() + 4))?;
    for (name, value) in answer.fields {
        written.append_header(name, value)?;
    }
    let bodiless = answer.status == StatusCode::NO_CONTENT;
    if !bodiless {
        written.insert_header(header::CONTENT_LENGTH, answer.body.len())?;
    }
    let end = head || bodiless || answer.body.is_empty();
    session.write_response_header(Box::new(written), end).await?;
    if !end {
        session.write_response_body(Some(answer.body), true).await?;
    }
    Ok(())
}

/// Whether the client was sent a final status already.
pub(super) fn begun(session: &Session) -> bool {
    session.response_written().is_some_and(|written| {
        !written.status.is_informational() || written.status == StatusCode::SWITCHING_PROTOCOLS
    })
}

async fn drain(session: &mut Session) {
    let awaits_continue = session.req_header().headers.contains_key(header::EXPECT);
    let small = announced(session).is_some_and(|length| length <= DRAIN_BYTES);
    if small && !awaits_continue && !session.is_body_done() {
        // An error shows again when the connection is read next.
        let _ = session.drain_request_body().await;
    }
}

/// The length of the request's body, where its head states one.
pub(super) fn announced(session: &Session) -> Option<u64> {
    session.get_header(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads on for a moment after an answer that the client may not have seen yet.
pub(super) async fn linger(session: &mut Session) {
    if session.is_body_done() || session.was_upgraded() {
        return;
    }
    let reading = async {
        let mut read = 0;
        while let Ok(Some(piece)) = session.read_request_body().await {
            read += piece.len();
            if read > LINGER_BYTES {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(LINGER, reading).await;
}
