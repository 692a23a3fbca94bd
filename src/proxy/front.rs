//! The door: every client connection passes here before a byte of HTTP is read.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use pingora::apps::{HttpServerApp, ReusedHttpStream, ServerApp};
use pingora::protocols::http::ServerSession as HttpSession;
use pingora::protocols::{ALPN, Stream};
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;

use super::adapter::Adapter;
use super::connection::{PREFACE, Watched};
use super::gateway::Gateway;

/// Watches connections and hands them to the proxy.
pub(super) struct Front {
    proxy: Arc<HttpProxy<Adapter>>,
    gateway: Arc<Gateway>,
    /// Set when nothing is accepted any more.
    closed: Arc<AtomicBool>,
}

impl Front {
    pub(super) fn new(
        proxy: HttpProxy<Adapter>,
        gateway: &Arc<Gateway>,
        closed: Arc<AtomicBool>,
    ) -> Self {
        Self { proxy: Arc::new(proxy), gateway: Arc::clone(gateway), closed }
    }
}

#[async_trait]
impl ServerApp for Front {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let permit = self.gateway.connection(peer(&stream))?;
        let generation = self.gateway.current();
        let edge = &generation.snapshot.edge;
        let (head, rest) = (edge.head_timeout, edge.keepalive_timeout);
        let mut stream: Stream = Box::new(Watched::new(stream, head, rest, Box::new(permit)));
        drop(generation);
        if self.speaks_http2(&mut stream).await? {
            return self.proxy.process_new(stream, shutdown).await;
        }
        self.serve(stream, shutdown).await;
        None
    }

    async fn cleanup(&self) {
        self.proxy.cleanup().await;
        self.closed.store(true, Ordering::Relaxed);
    }
}

impl Front {
    /// Whether the client speaks HTTP/2: by ALPN, or in cleartext from its first byte (RFC 9113
    /// section 3.3), where that is allowed. `None`: it left before it said.
    async fn speaks_http2(&self, stream: &mut Stream) -> Option<bool> {
        if stream.get_ssl_digest().is_some() {
            return Some(matches!(stream.selected_alpn_proto(), Some(ALPN::H2)));
        }
        if !self.proxy.server_options().is_some_and(|options| options.h2c) {
            return Some(false);
        }
        let mut preface = [0; PREFACE.len()];
        stream.try_peek(&mut preface).await.ok()?;
        Some(preface == *PREFACE)
    }

    /// Serves an HTTP/1 connection, request by request, as Pingora does; but between two requests
    /// nothing of a request is held in memory (18 of 32 KB for each connection).
    async fn serve(&self, stream: Stream, shutdown: &ShutdownWatch) {
        let mut session = HttpSession::new_http1(stream);
        // Persistent until the client says otherwise, unless the process is about to end.
        session.set_keepalive((!*shutdown.borrow()).then_some(0));
        let mut served = self.proxy.process_new_http(session, shutdown).await;
        while let Some((stream, settings)) = served.map(ReusedHttpStream::consume) {
            let mut closing = shutdown.clone();
            let next = tokio::select! {
                biased;
                next = Watched::rest(stream) => next,
                // An error says that nobody is left to close anything.
                _ = closing.wait_for(|closing| *closing) => None,
            };
            let Some(stream) = next else { return };
            let mut session = HttpSession::new_http1(stream);
            if let Some(settings) = settings {
                settings.apply_to_session(&mut session);
            }
            served = self.proxy.process_new_http(session, shutdown).await;
        }
    }
}

/// The address at the other end. Only a socket that is gone has none.
fn peer(stream: &Stream) -> IpAddr {
    (**stream)
        .get_socket_digest()
        .and_then(|digest| digest.peer_addr().and_then(|address| address.as_inet().copied()))
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.ip().to_canonical())
}
