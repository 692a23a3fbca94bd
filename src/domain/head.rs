//! A request's head as it arrived, before anybody trusts a byte of it.

use std::net::IpAddr;

use http::{HeaderMap, Method, Version};

/// What the shell hands to the edge. Borrowed from the connection; nothing in it is checked yet.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'h> {
    /// The method.
    pub method: &'h Method,
    /// The request target's path and query as they were sent, byte for byte.
    pub target: &'h [u8],
    /// `:authority` of HTTP/2, or the authority of an absolute-form target.
    pub authority: Option<&'h str>,
    /// The protocol version.
    pub version: Version,
    /// The header fields.
    pub headers: &'h HeaderMap,
    /// The address at the other end of the connection.
    pub peer: IpAddr,
    /// Whether the connection is TLS.
    pub secure: bool,
    /// Random bits for the request id and the trace id.
    pub entropy: u128,
}
