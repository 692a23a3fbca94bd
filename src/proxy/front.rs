//! The door: every client connection passes here before a byte of HTTP is read.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use pingora::apps::ServerApp;
use pingora::protocols::Stream;
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;

use super::adapter::Adapter;
use super::connection::Watched;
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
        let watched: Stream = Box::new(Watched::new(stream, head, rest, Box::new(permit)));
        drop(generation);
        self.proxy.process_new(watched, shutdown).await
    }

    async fn cleanup(&self) {
        self.proxy.cleanup().await;
        self.closed.store(true, Ordering::Relaxed);
    }
}

/// The address at the other end. Only a socket that is gone has none.
fn peer(stream: &Stream) -> IpAddr {
    (**stream)
        .get_socket_digest()
        .and_then(|digest| digest.peer_addr().and_then(|address| address.as_inet().copied()))
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.ip().to_canonical())
}
