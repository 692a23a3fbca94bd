//! A client connection, watched: it counts against its address, and a head that does not arrive
//! in time ends it.
//!
//! Pingora bounds the time between two reads of a head, not the head: a client that sends a byte
//! now and then would hold a connection for hours. Here the clock starts with the first byte of a
//! head and stops when the request is handed to the pipeline.

use std::any::Any;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::{SslDigest, TlsRef};
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    Stream, TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

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
    /// Whether a byte of the head that is being read has come; over HTTP/2, of the connection.
    begun: bool,
    /// Whether the stream is in a request, or speaks HTTP/2, so that no head is awaited.
    in_request: AtomicBool,
    line: RequestLine,
    odd_line: AtomicBool,
    /// What is left of [`BAD_HEAD`] to be written.
    bad_head: Option<&'static [u8]>,
    /// Given back when the connection ends.
    _permit: Box<dyn Any + Send + Sync>,
}

/// Looks at a request line as it comes in: Pingora escapes spaces in a target, so that nobody
/// behind it can see them.
#[derive(Debug, Default)]
struct RequestLine {
    begun: bool,
    done: bool,
    spaces: u8,
}

impl RequestLine {
    /// Takes the next bytes of the head; true if the line turns out to be odd.
    fn take(&mut self, bytes: &[u8]) -> bool {
        for byte in bytes {
            if self.done {
                return false;
            }
            match byte {
                // Empty lines before the first one are passed over (RFC 9112 section 2.2).
                b'\r' | b'\n' if !self.begun => {}
                b'\n' => {
                    self.done = true;
                    return self.spaces != 2;
                }
                b' ' => {
                    self.begun = true;
                    self.spaces = self.spaces.saturating_add(1);
                }
                _ => self.begun = true,
            }
        }
        false
    }
}

impl Watched {
    /// Watches a connection. `permit` is dropped with it.
    pub(super) fn new(
        inner: Stream,
        head_timeout: Duration,
        permit: Box<dyn Any + Send + Sync>,
    ) -> Self {
        let http2 = matches!((*inner).selected_alpn_proto(), Some(ALPN::H2));
        Self {
            inner,
            replay: Vec::new(),
            head_timeout,
            // The first head is awaited from the start.
            deadline: Some(Box::pin(tokio::time::sleep(head_timeout))),
            begun: false,
            in_request: AtomicBool::new(http2),
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
        let in_request = *this.in_request.get_mut();
        if in_request && this.begun {
            this.deadline = None;
            this.line = RequestLine::default();
            if this.read_replay(buf) {
                return Poll::Ready(Ok(()));
            }
            return Pin::new(&mut this.inner).poll_read(cx, buf);
        }
        if this.begun && this.deadline.is_none() && this.line.begun {
            // The head has begun and did not come in one piece.
            this.deadline = Some(Box::pin(tokio::time::sleep(this.head_timeout)));
        }
        if let Some(deadline) = &mut this.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(this.refuse(cx)));
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

#[async_trait]
impl Shutdown for Watched {
    async fn shutdown(&mut self) {
        (*self.inner).shutdown().await;
    }
}

impl UniqueID for Watched {
    fn id(&self) -> UniqueIDType {
        (*self.inner).id()
    }
}

impl Ssl for Watched {
    fn get_ssl(&self) -> Option<&TlsRef> {
        (*self.inner).get_ssl()
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        (*self.inner).get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        (*self.inner).selected_alpn_proto()
    }
}

impl GetTimingDigest for Watched {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        (*self.inner).get_timing_digest()
    }

    fn get_read_pending_time(&self) -> Duration {
        (*self.inner).get_read_pending_time()
    }

    fn get_write_pending_time(&self) -> Duration {
        (*self.inner).get_write_pending_time()
    }
}

impl GetProxyDigest for Watched {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        (*self.inner).get_proxy_digest()
    }
}

impl GetSocketDigest for Watched {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        (*self.inner).get_socket_digest()
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("inner", &self.inner).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    fn pair(head_timeout: Duration) -> (tokio::io::DuplexStream, Stream) {
        let (client, server) = tokio::io::duplex(4096);
        let watched = Watched::new(Box::new(server), head_timeout, Box::new(()));
        (client, Box::new(watched))
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_comes_in_drops_ends_with_408() {
        let (mut client, mut server) = pair(Duration::from_secs(10));
        let reader = tokio::spawn(async move {
            let mut buf = [0; 64];
            loop {
                if let Err(error) = server.read(&mut buf).await {
                    return error.kind();
                }
            }
        });
        for _ in 0..5 {
            client.write_all(b"G").await.unwrap();
            tokio::time::advance(Duration::from_secs(3)).await;
        }
        assert_eq!(reader.await.unwrap(), io::ErrorKind::TimedOut);
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{answer}");
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_in_progress_and_an_idle_connection_are_not_timed_by_the_head() {
        let (mut client, mut server) = pair(Duration::from_secs(10));
        let mut buf = [0; 4];
        client.write_all(b"head").await.unwrap();
        server.read_exact(&mut buf).await.unwrap();
        Watched::set_in_request(&server, true);
        tokio::time::advance(Duration::from_secs(60)).await;
        client.write_all(b"body").await.unwrap();
        server.read_exact(&mut buf).await.unwrap();
        Watched::set_in_request(&server, false);
        let waiting = tokio::spawn(async move {
            let mut buf = [0; 4];
            server.read_exact(&mut buf).await.map(|_| buf)
        });
        tokio::time::sleep(Duration::from_secs(60)).await;
        client.write_all(b"next").await.unwrap();
        assert_eq!(&waiting.await.unwrap().unwrap(), b"next");
    }

    #[test]
    fn a_request_line_with_other_than_two_spaces_is_odd_however_it_is_cut() {
        for (lines, odd) in [
            (&["GET / HTTP/1.1\r\n"][..], false),
            (&["\r\n", "GE", "T / HT", "TP/1.1\r\nA: b c d\r\n"], false),
            (&["GET /a b HTTP/1.1\r\n"], true),
            (&["GET  / HTTP/1.1\n"], true),
            (&["GET ", "/ ", "x HTTP/1.1", "\n"], true),
            (&["GET /\r\n"], true),
        ] {
            let mut line = RequestLine::default();
            let found = lines.iter().fold(false, |odd, piece| odd | line.take(piece.as_bytes()));
            assert_eq!(found, odd, "{lines:?}");
        }
    }

    #[tokio::test]
    async fn pingoras_own_answer_to_a_bad_head_is_replaced_and_no_other() {
        let (mut client, mut server) = pair(Duration::from_secs(10));
        server.write_all(b"HTTP/1.1 400 Bad Request\r\nServer: Pingora\r\n\r\n").await.unwrap();
        drop(server);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(!answer.contains("Pingora"), "{answer}");
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{answer}");

        let (mut client, mut server) = pair(Duration::from_secs(10));
        Watched::set_in_request(&server, true);
        server.write_all(b"HTTP/1.1 400 mine\r\n\r\n").await.unwrap();
        drop(server);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("mine"), "{answer}");
    }

    #[tokio::test]
    async fn a_short_http1_request_is_told_from_http2_without_waiting_for_more() {
        let (mut client, mut server) = pair(Duration::from_secs(10));
        client.write_all(b"GET /").await.unwrap();
        let mut peeked = [0; 24];
        assert!(server.try_peek(&mut peeked).await.unwrap());
        assert_ne!(peeked, PREFACE);
        let mut buf = [0; 5];
        server.read_exact(&mut buf).await.unwrap();
        assert_eq!(&buf, b"GET /", "what was looked at is read again");
    }

    #[tokio::test]
    async fn the_http2_preface_is_recognised_and_read_again() {
        let (mut client, mut server) = pair(Duration::from_secs(10));
        client.write_all(PREFACE).await.unwrap();
        let mut peeked = [0; 24];
        assert!(server.try_peek(&mut peeked).await.unwrap());
        assert_eq!(peeked, PREFACE);
        let mut buf = [0; 24];
        server.read_exact(&mut buf).await.unwrap();
        assert_eq!(buf, PREFACE);
    }
}
