//! A request's head as it arrived, before anybody trusts a byte of it.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, Method, Version};

/// Tells one request from all others, here and behind the gateway.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// What operators show who are told the version of the policies.
pub const X_TOLLGATE_OPERATOR: HeaderName = HeaderName::from_static("x-tollgate-operator");
/// W3C Trace Context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The client's address, and those of the proxies before us.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The scheme that the client used.
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// The host that the client named.
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// Supabase's key for an application.
pub const APIKEY: HeaderName = HeaderName::from_static("apikey");

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
