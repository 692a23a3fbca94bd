//! The client's address: the rightmost hop that is not a trusted proxy.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;

use crate::domain::head::X_FORWARDED_FOR;
use crate::policy::edge::EdgePolicy;

/// Whether the address belongs to a trusted proxy. IPv4-mapped IPv6 counts as IPv4.
pub(super) fn is_trusted(address: IpAddr, policy: &EdgePolicy) -> bool {
    let address = address.to_canonical();
    policy.trusted_proxies.iter().any(|net| net.contains(&address))
}

/// Walks `X-Forwarded-For` from its right end while the hops are trusted proxies. A hop that is no
/// address ends the walk: what stands left of it was written by nobody we trust.
pub(super) fn client(headers: &HeaderMap, peer: IpAddr, policy: &EdgePolicy) -> IpAddr {
    let mut client = peer.to_canonical();
    if !is_trusted(client, policy) {
        return client;
    }
    let fields = headers.get_all(X_FORWARDED_FOR).iter().collect::<Vec<_>>();
    for field in fields.into_iter().rev() {
        let Ok(field) = field.to_str() else { return client };
        for hop in field.rsplit(',') {
            let Some(address) = parse_hop(hop.trim()) else { return client };
            client = address;
            if !is_trusted(client, policy) {
                return client;
            }
        }
    }
    client
}

/// An address, with or without a port, as proxies write it.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    let bare = hop.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(hop);
    bare.parse::<IpAddr>()
        .or_else(|_| hop.parse::<SocketAddr>().map(|socket| socket.ip()))
        .ok()
        .map(|address| address.to_canonical())
}
