//! A client connection, watched: it counts against its address, and a head that does not arrive
//! in time ends it, as does a long rest between two requests.
//!
//! Pingora bounds the time between two reads of a head, not the head: a client that sends a byte
//! now and then would hold a connection for hours. Here the clock starts with the first byte of a
//! head and stops when the request is handed to the pipeline. Rests are timed here, too, because
//! one timer for each connection costs less than Pingora's for each request.

use std::any::Any;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use pingora::protocols::{ALPN, Peek, Stream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use line::RequestLine;

mod inner;
mod line;

/// What an HTTP/2 connection begins with (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

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
            bad_head: None,
            _permit: permit,
        }
    }

    /// Whether the request line has other than two spaces in it.
    pub(super) fn has_odd_line(stream: &Stream) -> bool {
        let watched = (**stream).as_any().downcast_ref::<Self>();
        watched.is_some_and(|watched| watched.odd_line.load(Ordering::Relaxed))
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
        if this.noted_heads != *this.heads.get_mut() {
            // A request can come and go without a read: its head's clock ends here all the same.
            this.noted_heads = *this.heads.get_mut();
            this.deadline = None;
            this.line = RequestLine::default();
        }
        let in_request = *this.in_request.get_mut();
        if in_request && this.begun {
            this.deadline = None;
            if this.read_replay(buf) {
                return Poll::Ready(Ok(()));
            }
            return Pin::new(&mut this.inner).poll_read(cx, buf);
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
        if !in_request && this.line.take(fresh) {
            *this.odd_line.get_mut() = true;
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
        let mut count = 0;
        let reading = async {
            while count < seen.len() {
                let rest = seen.get_mut(count..).unwrap_or_default();
                let read = self.inner.read(rest).await?;
                count += read;
                if read == 0 || seen.get(..count) != PREFACE.get(..count) {
                    break;
                }
            }
            Ok::<(), io::Error>(())
        };
        tokio::time::timeout(self.head_timeout, reading).await.map_err(io::Error::from)??;
        let read = seen.get(..count).unwrap_or_default();
        self.replay.extend_from_slice(read);
        for (target, byte) in buf.iter_mut().zip(read) {
            *target = *byte;
        }
        *self.in_request.get_mut() = read == PREFACE;
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
