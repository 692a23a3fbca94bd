//! What the edge allows, before anybody knows who calls.

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
}
