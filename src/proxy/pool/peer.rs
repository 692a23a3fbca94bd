//! How a connection to an upstream is made: TLS, timeouts, keep-alive.

use std::net::SocketAddr;
use std::time::Duration;

use pingora::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};

use crate::policy::upstream::{Upstream, UpstreamKind};

/// Idle connections are closed after this time, before most servers close them.
const IDLE: Duration = Duration::from_secs(60);

/// The peer of one connection. HTTP/1.1 always: it is what every upstream of a Supabase stack
/// speaks, and one request at a time keeps a refused body apart from its neighbours.
pub(super) fn build(upstream: &Upstream, socket: SocketAddr, read_timeout: Duration) -> HttpPeer {
    let (tls, server_name) = match &upstream.tls {
        Some(tls) => (true, String::from(tls.server_name.as_ref())),
        None => (false, String::new()),
    };
    let mut peer = HttpPeer::new(socket, tls, server_name);
    let options = &mut peer.options;
    if let Some(tls) = &upstream.tls {
        options.verify_cert = tls.verify;
        options.verify_hostname = tls.verify;
    }
    options.set_http_version(1, 1);
    options.connection_timeout = Some(upstream.connect_timeout);
    options.total_connection_timeout = Some(upstream.connect_timeout);
    options.read_timeout = Some(read_timeout);
    options.write_timeout = Some(read_timeout);
    options.idle_timeout = Some(IDLE);
    if upstream.kind == UpstreamKind::Postgrest {
        // Its head is built from nothing: there is no field of the client's to strip.
        options.http_upstream_request_policy = HttpUpstreamRequestPolicy::preserve();
    }
    peer
}
