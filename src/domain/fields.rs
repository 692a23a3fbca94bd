//! Header fields that the gateway keeps for itself: what carries identity or routing inside, and
//! what frames a message. The edge takes them off requests; policies can neither set nor remove
//! them. Imports no other room.

use super::head::X_REQUEST_ID;

/// Whether a field, in lowercase, carries identity or routing inside, or belongs to one connection
/// (RFC 9110 section 7.6.1). `websocket`: whether the request asks for one, whose upgrade goes on.
pub fn is_spoofable(name: &str, websocket: bool) -> bool {
    const EXACT: [&str; 23] = [
        "forwarded",
        "x-forwarded",
        "x-real-ip",
        "x-client-ip",
        "client-ip",
        "true-client-ip",
        "cf-connecting-ip",
        "x-cluster-client-ip",
        "x-host",
        "x-user-id",
        "x-team-id",
        "x-trust-device",
        "x-trusted-device",
        "x-remote-user",
        "remote-user",
        "x-rewrite-url",
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "http2-settings",
    ];
    const PREFIXES: [&str; 5] =
        ["x-tollgate-", "x-organization-", "x-impersonate-", "x-forwarded-", "x-original-"];
    match name {
        "upgrade" | "connection" => !websocket,
        "te" | "trailer" => true,
        _ if !name.starts_with(['c', 'f', 'h', 'k', 'p', 'r', 't', 'x']) => false,
        _ if name.contains('_') => {
            // Servers that turn `-` into `_` take the two for the same field.
            let plain = name.replace('_', "-");
            plain == X_REQUEST_ID.as_str()
                || EXACT.contains(&plain.as_str())
                || PREFIXES.iter().any(|p| plain.starts_with(p))
        }
        _ => EXACT.contains(&name) || PREFIXES.iter().any(|p| name.starts_with(p)),
    }
}

/// Why a policy cannot set or remove a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reserved {
    /// It says who calls, from where, or for whom.
    Identity,
    /// It frames the message, or belongs to the connection.
    Framing,
    /// It says what is asked for, and the request was judged by what the client said there.
    Meaning,
    /// The gateway sets it itself, by another part of the policy.
    Own(&'static str),
}

/// Whether a field, in lowercase, of a request that goes on to an upstream is reserved.
pub fn reserved_in_request(name: &str) -> Option<Reserved> {
    let plain = name.replace('_', "-");
    match plain.as_str() {
        "authorization" | "apikey" | "cookie" | "x-request-id" | "traceparent" | "tracestate"
        | "origin" | "x-api-key" => Some(Reserved::Identity),
        // Of a request that was parsed and confined, these would change what is asked for.
        "accept" | "accept-profile" | "content-profile" | "content-type" | "content-encoding"
        | "prefer" | "range" | "range-unit" | "if-match" | "if-none-match" | "if-range" => {
            Some(Reserved::Meaning)
        }
        plain if frames(plain) => Some(Reserved::Framing),
        plain if plain.starts_with("sec-websocket-") => Some(Reserved::Framing),
        plain if is_spoofable(plain, false) => Some(Reserved::Identity),
        _ => None,
    }
}

/// Whether a field, in lowercase, of an answer that goes on to a client is reserved.
pub fn reserved_in_answer(name: &str) -> Option<Reserved> {
    let plain = name.replace('_', "-");
    match plain.as_str() {
        "set-cookie" | "x-request-id" | "x-trusted-device" => Some(Reserved::Identity),
        "content-type" | "content-encoding" | "content-range" | "content-location" | "etag"
        | "www-authenticate" => Some(Reserved::Meaning),
        "ratelimit" | "ratelimit-policy" | "retry-after" => Some(Reserved::Own("limits")),
        plain if plain.starts_with("access-control-") => Some(Reserved::Own("response.cors")),
        plain if plain.starts_with("x-tollgate-") => Some(Reserved::Identity),
        plain if frames(plain) || plain.starts_with("sec-websocket-") => Some(Reserved::Framing),
        _ => None,
    }
}

fn frames(name: &str) -> bool {
    matches!(
        name,
        "content-length"
            | "transfer-encoding"
            | "connection"
            | "upgrade"
            | "trailer"
            | "te"
            | "keep-alive"
            | "host"
            | "expect"
            | "date"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_carries_identity_is_reserved_in_whatever_spelling() {
        for name in ["x-organization-id", "x_organization_id", "authorization", "x-tollgate-a"] {
            assert_eq!(reserved_in_request(name), Some(Reserved::Identity), "{name}");
        }
        assert_eq!(reserved_in_request("content_length"), Some(Reserved::Framing));
        assert_eq!(reserved_in_request("accept-profile"), Some(Reserved::Meaning));
        assert_eq!(reserved_in_request("x-api-version"), None);
    }

    #[test]
    fn an_answer_keeps_its_frame_its_cookies_and_its_cors() {
        assert_eq!(reserved_in_answer("content-length"), Some(Reserved::Framing));
        assert_eq!(reserved_in_answer("set-cookie"), Some(Reserved::Identity));
        let cors = reserved_in_answer("access-control-allow-origin");
        assert_eq!(cors, Some(Reserved::Own("response.cors")));
        assert_eq!(reserved_in_answer("x-frame-options"), None);
    }
}
