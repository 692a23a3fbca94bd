//! What the edge allows, before anybody knows who calls.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;

use crate::domain::charge::Rate;

/// Bounds and trust at the edge. All of it can be reloaded.
#[derive(Debug, Clone)]
pub struct EdgePolicy {
    /// Proxies whose `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Request-Id` count.
    pub trusted_proxies: Vec<IpNet>,
    /// The field in which trusted proxies name the client's country; nobody's word for it counts
    /// where `None`.
    pub country_header: Option<HeaderName>,
    /// Cap on the bytes of all header names and values together.
    pub max_header_bytes: u32,
    /// Cap on the number of header fields.
    pub max_header_count: u32,
    /// Cap on the bytes of path and query.
    pub max_target_bytes: u32,
    /// Time for a request head to arrive in full.
    pub head_timeout: Duration,
    /// Time between two reads of a request body, and for one of no size; a second more for each KiB.
    pub body_timeout: Duration,
    /// Idle time of a kept-alive connection.
    pub keepalive_timeout: Duration,
    /// Requests at the same time for one organization.
    pub requests_per_organization: NonZeroU32,
    /// Requests at the same time of one user, on one node.
    pub requests_per_user: NonZeroU32,
    /// Connections at the same time from one address.
    pub connections_per_address: NonZeroU32,
    /// Requests from one address before anything else is looked at. It depends on neither Redis
    /// nor an identity.
    pub address_guard: Option<Rate>,
    /// Who is told which version of the policies decided; nobody where `None`.
    pub tell_version: Option<TellVersion>,
}

/// Who is told which version of the policies decided. All that is stated has to hold.
#[derive(Debug, Clone)]
pub struct TellVersion {
    /// Networks of the client's address; any where there are none.
    pub addresses: Vec<IpNet>,
    /// The hash of what has to be shown.
    pub secret: Option<blake3::Hash>,
}

impl TellVersion {
    /// Whether a client with that address is told, who shows this.
    pub fn tells(&self, client: IpAddr, shown: Option<&[u8]>) -> bool {
        let near = self.addresses.is_empty() || self.addresses.iter().any(|n| n.contains(&client));
        // Hashes are compared in constant time.
        let proven =
            self.secret.is_none_or(|of| shown.is_some_and(|text| blake3::hash(text) == of));
        let stated = !self.addresses.is_empty() || self.secret.is_some();
        stated && near && proven
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_stated_has_to_hold_and_nobody_is_told_without_any() {
        let (inside, outside) = ([10, 0, 0, 1].into(), [192, 0, 2, 1].into());
        let addresses: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        let secret = Some(blake3::hash(b"right"));
        let both = TellVersion { addresses: addresses.clone(), secret };
        assert!(both.tells(inside, Some(b"right")));
        for (client, shown) in [
            (inside, None),
            (inside, Some(&b"wrong"[..])),
            (outside, Some(&b"right"[..])),
            (outside, None),
        ] {
            assert!(!both.tells(client, shown), "{client} {shown:?}");
        }
        let near = TellVersion { addresses, secret: None };
        assert!(near.tells(inside, None) && !near.tells(outside, None));
        let nobody = TellVersion { addresses: Vec::new(), secret: None };
        assert!(!nobody.tells(inside, Some(b"right")));
    }
}
