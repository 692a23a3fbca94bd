//! The two bodies of a request.
//!
//! A request's body passes the pipeline's gate once, however often its sending is tried: a retry
//! shows the same bytes again, and they are neither counted nor rewritten twice. One that is held
//! is read to its end before the upstream hears of the request, because PostgREST 12 takes a
//! chunked body that breaks off for a whole one, and an empty one for a call without arguments. An
//! error body of PostgREST is held and cut down to what a client may read.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use pingora::proxy::Session;

use crate::domain::clock::Now;
use crate::domain::refusal::Refusal;
use crate::pipeline::body::{Announced, BodyGate};

use super::admit::Halt;

/// Error bodies larger than this are replaced rather than read.
const MAX_ERROR_BODY: usize = 64 * 1024;

/// Pingora shows the filters a body that was read before from a buffer of this size only, so that
/// the end of a held body has to be in it.
const SHOWN_AGAIN: u64 = 64 * 1024;

/// What a client must send on average, beyond the time between two reads: without it, a byte now
/// and then would hold a place and a connection to the upstream for days.
const BYTES_PER_SECOND: u64 = 1024;

/// How far a request's body has come, in the bytes that the client sent.
#[derive(Debug, Default)]
pub(super) struct RequestBody {
    /// Shown to the gate.
    shown: u64,
    /// Seen in this try.
    seen: u64,
    /// The gate was told that nothing follows.
    ended: bool,
    /// What the gate made of a body that it held.
    whole: Option<Bytes>,
}

impl RequestBody {
    /// Reads a body that the gate holds to its end, and rewrites it. The client may pause for
    /// `pause` between two pieces.
    pub(super) async fn collect(
        &mut self,
        session: &mut Session,
        gate: &mut BodyGate,
        announced: Announced,
        pause: Duration,
        in_time: impl Fn(&Self) -> Result<(), Refusal>,
    ) -> Result<(), Halt> {
        let mut left = match announced {
            Announced::Nothing => Some(0),
            Announced::Length(length) => Some(length),
            Announced::Unknown => None,
        };
        let empty = session.is_body_empty();
        while !session.is_body_done() {
            if left.is_none_or(|left| left <= SHOWN_AGAIN) {
                session.as_mut().enable_retry_buffering();
            }
            // Pingora bounds the time of a read over HTTP/1 only.
            let read = tokio::time::timeout(pause, session.read_request_body()).await;
            let read = read.map_err(|_| Refusal::TooSlow("body"))?;
            let Some(piece) = read.map_err(|error| Halt::Failed(error.into_down()))? else { break };
            let length = piece.len() as u64;
            left = left.map(|left| left.saturating_sub(length));
            self.shown += length;
            in_time(self)?;
            gate.pass(Some(piece), false)?;
            if session.as_mut().retry_buffer_truncated() {
                return Err(Refusal::LengthRequired(SHOWN_AGAIN).into());
            }
        }
        self.whole = gate.pass(None, true)?;
        self.ended = true;
        if empty || session.as_mut().get_retry_buffer().is_some() {
            Ok(())
        } else {
            Err(Refusal::Internal("the end of a body that was read cannot be shown again").into())
        }
    }

    /// Whether the client has sent enough for the time that it took. `grace` is what a body of any
    /// size may take.
    pub(super) fn in_time(&self, began: Now, now: Now, grace: Duration) -> Result<(), Refusal> {
        let allowed = grace.saturating_add(Duration::from_secs(self.shown / BYTES_PER_SECOND));
        if now.since(began) > allowed { Err(Refusal::TooSlow("body")) } else { Ok(()) }
    }

    /// The length of what goes on, where all of it is known before its first byte is sent.
    pub(super) fn length(&self) -> Option<usize> {
        self.whole.as_ref().map(Bytes::len)
    }

    /// A new try begins: what was read before comes again.
    pub(super) fn restart(&mut self) {
        self.seen = 0;
    }

    /// Passes a piece through the gate, and puts in its place what goes to the upstream.
    pub(super) fn pass(
        &mut self,
        gate: &mut BodyGate,
        piece: &mut Option<Bytes>,
        last: bool,
    ) -> Result<(), Refusal> {
        let held = gate.holds();
        self.pass_by(held, |fresh, last| gate.pass(fresh, last), piece, last)
    }

    fn pass_by(
        &mut self,
        held: bool,
        gate: impl FnOnce(Option<Bytes>, bool) -> Result<Option<Bytes>, Refusal>,
        piece: &mut Option<Bytes>,
        last: bool,
    ) -> Result<(), Refusal> {
        let start = self.seen;
        self.seen += piece.as_ref().map_or(0, Bytes::len) as u64;
        let known = self.shown.saturating_sub(start);
        let known = usize::try_from(known).unwrap_or(usize::MAX);
        let fresh = piece.as_ref().filter(|piece| piece.len() > known);
        let fresh = fresh.map(|piece| piece.slice(known..));
        self.shown = self.shown.max(self.seen);
        if !self.ended {
            self.ended = last;
            let some = fresh.as_ref().is_some_and(|fresh| !fresh.is_empty());
            let passed = gate(fresh, last)?;
            if held && last {
                self.whole = passed;
            } else if some && passed.is_none() {
                // The gate keeps it back; whether it may be there at all is settled at the end.
                *piece = Some(Bytes::new());
            }
        }
        if held {
            // An empty piece says "more to come"; none would say "that was all".
            *piece = if last { self.whole.clone() } else { Some(Bytes::new()) };
        }
        Ok(())
    }
}

/// An error body of PostgREST on its way to the client.
///
/// Details and hints name columns, rows and functions, and quote the values of other rows (which
/// key exists, the failing row). Messages name constraints and tables, and quote only what the
/// client wrote itself, or a value of its own rows that it cast.
#[derive(Debug, Default)]
pub(super) struct ErrorBody {
    held: Vec<u8>,
}

#[derive(Deserialize)]
struct Said {
    code: Option<String>,
    message: Option<String>,
    /// Not always a text: for ambiguous embeds it is a list.
    #[serde(default)]
    details: serde_json::Value,
}

impl Said {
    /// supabase-js tells "no row" from "several rows" by this text, which counts rows of the
    /// answer and quotes none (PostgREST's `Error.hs`, `SingularityError`).
    fn row_count(&self) -> Option<&str> {
        let details = self.details.as_str()?;
        let count = details.strip_prefix("The result contains ")?.strip_suffix(" rows")?;
        let is_count = !count.is_empty() && count.bytes().all(|b| b.is_ascii_digit());
        (is_count && self.code.as_deref() == Some("PGRST116")).then_some(details)
    }
}

#[derive(Serialize)]
struct Told<'a> {
    code: &'a str,
    message: &'a str,
    details: Option<&'a str>,
    hint: Option<&'a str>,
}

impl ErrorBody {
    /// Takes a piece, and puts in its place what goes to the client: nothing before the end.
    pub(super) fn pass(&mut self, piece: &mut Option<Bytes>, last: bool) {
        if let Some(piece) = piece.take() {
            let room = (MAX_ERROR_BODY + 1).saturating_sub(self.held.len());
            self.held.extend_from_slice(piece.get(..room.min(piece.len())).unwrap_or_default());
        }
        if last {
            *piece = Some(self.told());
        }
    }

    fn told(&self) -> Bytes {
        let said = match self.held.len() {
            0..=MAX_ERROR_BODY => serde_json::from_slice::<Said>(&self.held).ok(),
            _ => None,
        };
        let told = Told {
            code: said.as_ref().and_then(|said| said.code.as_deref()).unwrap_or("upstream_error"),
            message: said
                .as_ref()
                .and_then(|said| said.message.as_deref())
                .unwrap_or("the database refused the request"),
            details: said.as_ref().and_then(Said::row_count),
            hint: None,
        };
        serde_json::to_vec(&told).map(Bytes::from).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
