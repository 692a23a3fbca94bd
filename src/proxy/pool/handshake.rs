//! Connections for WebSockets: each handshake has one of its own, whose first answer waits a turn.
//!
//! Pingora 0.9.1 passes the end of a handshake's empty body on beside the answer. Where the answer is
//! read first, that end is taken for the end of the WebSocket, which closes right after the `101`
//! ([its issue 946]): often with an upstream that is near, or on a machine that is busy. The end lies
//! ready by the time the answer is first asked for, so that one turn's wait puts them in order.
//! May not be used for anything else: the pool of connections must not see these.
//!
//! [its issue 946]: https://github.com/cloudflare/pingora/issues/946

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use pingora::connectors::L4Connect;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, OrErr, Result};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Handshakes so far: connections of one number are never taken for those of another.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// Has the peer connect for one handshake.
pub(in crate::proxy) fn arrange(peer: &mut HttpPeer) {
    peer.group_key = COUNT.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
    peer.options.custom_l4 = Some(Arc::new(Connector));
    // That of a handshake which was refused is closed, not kept.
    peer.options.idle_timeout = Some(Duration::ZERO);
}

#[derive(Debug)]
struct Connector;

#[async_trait]
impl L4Connect for Connector {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let Some(address) = address.as_inet() else {
            return Error::e_explain(ErrorType::BindError, "an upstream has an IP address");
        };
        // The peer's timeout of connecting runs around this.
        let stream = TcpStream::connect(address).await;
        let stream = stream.or_err(ErrorType::ConnectError, "connecting for a WebSocket")?;
        let socket = Waiting { stream, waited: false };
        Ok(VirtualSocketStream::new(Box::new(socket)).into())
    }
}

/// A connection that has its first reader wait a turn.
#[derive(Debug)]
struct Waiting {
    stream: TcpStream,
    waited: bool,
}

impl AsyncRead for Waiting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.waited {
            self.waited = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Waiting {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl VirtualSocket for Waiting {
    fn set_socket_option(&self, option: VirtualSockOpt) -> io::Result<()> {
        match option {
            VirtualSockOpt::NoDelay => self.stream.set_nodelay(true),
            other => Err(io::Error::other(format!("{other:?} is not set on these"))),
        }
    }
}
