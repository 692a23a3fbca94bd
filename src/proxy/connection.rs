//! A client connection, watched: it counts against its address, and a head that does not arrive
//! in time ends it, as does a long rest between two requests.
//!
//! Pingora bounds the time between two reads of a head, not the head: a client that sends a byte
//! now and then would hold a connection for hours. Here the clock starts with the first byte of a
//! head and stops when the request is handed to the pipeline. Rests are timed here, too, because
//! one timer for each connection costs less than Pingora's for each request.

use std::any::Any;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use pingora::protocols::{ALPN, Peek, Stream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use blank_line::BlankLine;
use line::RequestLine;

use super::sockets::End;

mod blank_line;
mod inner;
mod line;

/// What an HTTP/2 connection begins with (RFC 9113 section 3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The answer to a head that does not come to its end. Nothing of the request is known, so that
/// no policy can shape it.
const SLOW_HEAD: &[u8] = b"HTTP/1.1 408 Request Timeout\r\n\
content-type: application/problem+json\r\n\
content-length: 106\r\n\
cache-control: no-store\r\n\
connection: close\r\n\r\n\
{\"type\":\"about:blank\",\"title\":\"the request took too long to arrive\",\
\"status\":408,\"code\":\"request_timeout\"}";

/// The answer to a head that Pingora cannot read, in place of its own, which names the software.
const BAD_HEAD: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
content-type: application/problem+json\r\n\
content-length: 101\r\n\
cache-control: no-store\r\n\
connection: close\r\n\r\n\
{\"type\":\"about:blank\",\"title\":\"the head cannot be read as HTTP\",\
\"status\":400,\"code\":\"malformed_head\"}";
/// How Pingora's own begins.
const PINGORAS_BAD_HEAD: &[u8] = b"HTTP/1.1 400 ";

/// A stream that is watched.
pub(super) struct Watched {
    inner: Stream,
    /// Bytes that were looked at before they were read.
    replay: Vec<u8>,
    head_timeout: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
    rest_timeout: Duration,
    /// Runs on while requests come and go: it only ends a connection that had none since it was
    /// set, so that a rest may take between one and two times the timeout.
    rest: Option<Pin<Box<Sleep>>>,
    /// How many heads had come when it was set.
    rest_since: u32,
    /// Whether a byte of the head that is being read has come; over HTTP/2, of the connection.
    begun: bool,
    /// Whether the stream is in a request, or speaks HTTP/2, so that no head is awaited.
    in_request: AtomicBool,
    /// Heads that came to their end, and how many of them reading has taken note of.
    heads: AtomicU32,
    noted_heads: u32,
    line: RequestLine,
    odd_line: AtomicBool,
    blank_line: BlankLine,
    /// Whether all bytes that were handed out belong to heads that Pingora has taken: it may have
    /// read ahead otherwise, and keep the next request to itself.
    nothing_ahead: bool,
    /// When it ends as a WebSocket, once it is one.
    end: Mutex<Option<End>>,
    /// What is left of [`BAD_HEAD`] to be written.
    bad_head: Option<&'static [u8]>,
    /// Given back when the connection ends.
    _permit: Box<dyn Any + Send + Sync>,
}

impl Watched {
    /// Watches a connection: how long a head may take, and a rest between two requests. `permit`
    /// is dropped with it.
    pub(super) fn new(
        inner: Stream,
        head_timeout: Duration,
        rest_timeout: Duration,
        permit: Box<dyn Any + Send + Sync>,
    ) -> Self {
        let http2 = matches!((*inner).selected_alpn_proto(), Some(ALPN::H2));
        Self {
            inner,
            replay: Vec::new(),
            head_timeout,
            // The first head is awaited from the start.
            deadline: Some(Box::pin(tokio::time::sleep(head_timeout))),
            rest_timeout,
            rest: None,
            rest_since: 0,
            begun: false,
            in_request: AtomicBool::new(http2),
            heads: AtomicU32::new(0),
            noted_heads: 0,
            line: RequestLine::default(),
            odd_line: AtomicBool::new(false),
            blank_line: BlankLine::default(),
            nothing_ahead: true,
            end: Mutex::new(None),
            bad_head: None,
            _permit: permit,
        }
    }

    /// Whether the request line has other than two spaces in it.
    pub(super) fn has_odd_line(stream: &Stream) -> bool {
        let watched = (**stream).as_any().downcast_ref::<Self>();
        watched.is_some_and(|watched| watched.odd_line.load(Ordering::Relaxed))
    }

    /// It becomes a WebSocket that ends with this, or is none any more. Does nothing where the
    /// stream is not watched.
    pub(super) fn ends(stream: &Stream, end: Option<End>) {
        if let Some(watched) = (**stream).as_any().downcast_ref::<Self>() {
            *watched.end.lock().unwrap_or_else(PoisonError::into_inner) = end;
        }
    }

    /// The head is there, or the next one is awaited. Does nothing where the stream is not
    /// watched.
    pub(super) fn set_in_request(stream: &Stream, in_request: bool) {
        if let Some(watched) = (**stream).as_any().downcast_ref::<Self>() {
            watched.in_request.store(in_request, Ordering::Relaxed);
            if in_request {
                watched.heads.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Waits for the next request where that is certain to be waited for here; false: there will
    /// be none. Pingora would wait for it with the memory of a whole request in hand.
    pub(super) async fn rest(stream: Stream) -> Option<Stream> {
        let mut watched = match stream.into_any().downcast::<Self>() {
            Ok(watched) => watched,
            // Only what this type wraps is handed to it.
            Err(_) => return None,
        };
        watched.note_heads();
        if watched.nothing_ahead && watched.replay.is_empty() {
            let comes = std::future::poll_fn(|cx| watched.poll_next(cx)).await;
            return comes.then_some(watched);
        }
        Some(watched)
    }

    /// Reads the first bytes of the next request, to be handed out later.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if self.has_rested(cx) {
            return Poll::Ready(false);
        }
        let mut space = [MaybeUninit::uninit(); 4096];
        let mut buf = ReadBuf::uninit(&mut space);
        if ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buf)).is_err() {
            return Poll::Ready(false);
        }
        self.replay.extend_from_slice(buf.filled());
        Poll::Ready(!self.replay.is_empty())
    }

    /// Takes note of heads that came to their end since the last time.
    fn note_heads(&mut self) {
        let heads = *self.heads.get_mut();
        if self.noted_heads == heads {
            return;
        }
        // A request can come and go without a read: its head's clock ends here all the same. And
        // where two heads came at once, one of them was read ahead.
        self.nothing_ahead &=
            heads.wrapping_sub(self.noted_heads) == 1 && self.blank_line.is_last();
        self.noted_heads = heads;
        self.deadline = None;
        self.line = RequestLine::default();
        self.blank_line = BlankLine::default();
    }

    /// What was read before comes first.
    fn read_replay(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        if self.replay.is_empty() {
            return false;
        }
        let count = self.replay.len().min(buf.remaining());
        buf.put_slice(self.replay.get(..count).unwrap_or_default());
        self.replay.drain(..count);
        if self.replay.is_empty() {
            self.replay = Vec::new();
        }
        true
    }

    /// Whether no request has come for too long.
    fn has_rested(&mut self, cx: &mut Context<'_>) -> bool {
        loop {
            let rest = match &mut self.rest {
                Some(rest) => rest,
                rest @ None => {
                    self.rest_since = self.noted_heads;
                    rest.insert(Box::pin(tokio::time::sleep(self.rest_timeout)))
                }
            };
            if rest.as_mut().poll(cx).is_pending() {
                return false;
            }
            if self.rest_since == self.noted_heads {
                return true;
            }
            self.rest = None;
        }
    }

    /// Says goodbye to a client that was too slow, as far as the socket takes it without waiting.
    fn refuse(&mut self, cx: &mut Context<'_>) -> io::Error {
        if self.line.begun {
            let _ = Pin::new(&mut self.inner).poll_write(cx, SLOW_HEAD);
            let _ = Pin::new(&mut self.inner).poll_flush(cx);
        }
        io::Error::new(io::ErrorKind::TimedOut, "the head did not arrive in time")
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.note_heads();
        let in_request = *this.in_request.get_mut();
        if in_request && this.begun {
            this.deadline = None;
            let end = this.end.get_mut().unwrap_or_else(PoisonError::into_inner);
            if end.as_mut().is_some_and(|end| end.as_mut().poll(cx).is_ready()) {
                let error = "the token of the WebSocket has expired";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, error)));
            }
            let before = buf.filled().len();
            if !this.read_replay(buf) {
                ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
            }
            this.nothing_ahead &= buf.filled().len() == before;
            return Poll::Ready(Ok(()));
        }
        if this.deadline.is_none() && this.line.begun {
            // The head has begun and did not come in one piece.
            this.deadline = Some(Box::pin(tokio::time::sleep(this.head_timeout)));
        }
        let late = this.deadline.as_mut().map(|deadline| deadline.as_mut().poll(cx).is_ready());
        match late {
            Some(true) => return Poll::Ready(Err(this.refuse(cx))),
            Some(false) => {}
            // As if the client had left.
            None if !in_request && this.has_rested(cx) => return Poll::Ready(Ok(())),
            None => {}
        }
        let before = buf.filled().len();
        if !this.read_replay(buf) {
            ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        }
        let fresh = buf.filled().get(before..).unwrap_or_default();
        this.begun |= !fresh.is_empty();
        if !in_request {
            this.blank_line.take(fresh);
            if this.line.take(fresh) {
                *this.odd_line.get_mut() = true;
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[async_trait]
impl Peek for Watched {
    /// Reads only as far as the bytes could still be HTTP/2's preface, so that a short HTTP/1
    /// request is not waited on.
    async fn try_peek(&mut self, buf: &mut [u8]) -> io::Result<bool> {
        let mut seen = [0; PREFACE.len()];
        // Whoever peeked before has left the bytes there.
        let mut count = self.replay.len().min(seen.len());
        for (target, byte) in seen.iter_mut().zip(&self.replay) {
            *target = *byte;
        }
        let peeked = count;
        let reading = async {
            while count < seen.len() && seen.get(..count) == PREFACE.get(..count) {
                let rest = seen.get_mut(count..).unwrap_or_default();
                let read = self.inner.read(rest).await?;
                count += read;
                if read == 0 {
                    break;
                }
            }
            Ok::<(), io::Error>(())
        };
        tokio::time::timeout(self.head_timeout, reading).await.map_err(io::Error::from)??;
        let read = seen.get(..count).unwrap_or_default();
        self.replay.extend_from_slice(read.get(peeked..).unwrap_or_default());
        for (target, byte) in buf.iter_mut().zip(read) {
            *target = *byte;
        }
        *self.in_request.get_mut() = read == PREFACE.as_slice();
        Ok(true)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.bad_head.is_none() {
            let in_request = *this.in_request.get_mut();
            if in_request || !buf.starts_with(PINGORAS_BAD_HEAD) {
                return Pin::new(&mut this.inner).poll_write(cx, buf);
            }
            this.bad_head = Some(BAD_HEAD);
        }
        while let Some(rest) = this.bad_head.filter(|rest| !rest.is_empty()) {
            let count = ready!(Pin::new(&mut this.inner).poll_write(cx, rest))?;
            this.bad_head = rest.get(count..).filter(|_| count > 0);
        }
        // What follows on this connection is Pingora's, too, and dropped.
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests;
