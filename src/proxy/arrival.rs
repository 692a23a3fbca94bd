//! A request's head, as the pipeline wants to see it: what came over the wire, before Pingora
//! smoothed it.

use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use http::{HeaderValue, Version, header};
use pingora::http::RequestHeader;
use pingora::protocols::http::authority::{RawTargetAuthority, raw_target_authority};
use pingora::proxy::Session;

use crate::domain::head::Arrival;

use super::connection::Watched;

/// The parts of a head that have to be kept apart from the session to be looked at.
pub(super) struct Head {
    /// HTTP/1: the head's bytes.
    raw: Option<Bytes>,
    peer: IpAddr,
    secure: bool,
    entropy: u128,
    /// Whether the request line, or the end of a line, is not of the one form that HTTP/1 has.
    pub(super) odd: bool,
}

impl Head {
    /// Takes the head from the session, and puts back what Pingora took away from it.
    pub(super) fn take(session: &mut Session, entropy: u128) -> Self {
        let raw = session.as_http1().map(|session| session.get_headers_raw_bytes());
        if let Some(raw) = &raw {
            restore_length(session, raw);
        }
        let address = session.client_addr().and_then(|address| address.as_inet());
        // Only a socket that is gone has no address; its request fails at the first write.
        let peer = address.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.ip());
        let secure = session.digest().is_some_and(|digest| digest.ssl_digest.is_some());
        let odd = session.stream().is_some_and(Watched::has_odd_line)
            || raw.as_deref().is_some_and(has_bare_line_feed);
        Self { raw, peer, secure, entropy, odd }
    }

    /// The head, for the pipeline.
    pub(super) fn arrival<'h>(&'h self, request: &'h RequestHeader) -> Arrival<'h> {
        let authority = request.uri.authority().map(|authority| authority.as_str());
        let (target, authority) = match self.raw.as_deref().and_then(raw_target) {
            // HTTP/1: Pingora drops fragments and escapes what it finds odd; the edge refuses both.
            Some(target) => match raw_target_authority(target) {
                RawTargetAuthority::Absolute { authority, path_and_query, .. } => {
                    (path_and_query, std::str::from_utf8(authority).ok())
                }
                RawTargetAuthority::None | RawTargetAuthority::AmbiguousAuthority => (target, None),
            },
            None => (request.raw_path(), authority),
        };
        Arrival {
            method: &request.method,
            target,
            authority,
            version: request.version,
            headers: &request.headers,
            peer: self.peer,
            secure: self.secure,
            entropy: self.entropy,
        }
    }
}

impl Head {
    /// A copy that does not keep what came with the head in one piece.
    pub(super) fn apart(&self) -> Self {
        let raw = self.raw.as_deref().map(Bytes::copy_from_slice);
        Self { raw, ..*self }
    }
}

/// Pingora removes `Content-Length` where there is a `Transfer-Encoding`. The edge refuses the two
/// together, so it has to see both.
fn restore_length(session: &mut Session, raw: &[u8]) {
    let headers = &session.req_header().headers;
    let chunked = headers.contains_key(header::TRANSFER_ENCODING);
    if !chunked || headers.contains_key(header::CONTENT_LENGTH) {
        return;
    }
    if let Some(length) = field(raw, "content-length") {
        let value = HeaderValue::from_bytes(length);
        let value = value.unwrap_or(HeaderValue::from_static("unreadable"));
        // A name and a value that are valid by themselves cannot fail to be set.
        let _ = session.req_header_mut().insert_header(header::CONTENT_LENGTH, value);
    }
}

/// Whether a line ends without a carriage return: Pingora takes that for the end of a field, and a
/// proxy before us may not have (RFC 9112 section 2.2 leaves it open).
fn has_bare_line_feed(raw: &[u8]) -> bool {
    let next = raw.get(1..).unwrap_or_default();
    // Without a way out early, many bytes are looked at together.
    let bare = |found, (before, byte): (&u8, &u8)| found | ((*byte == b'\n') & (*before != b'\r'));
    raw.iter().zip(next).fold(raw.first() == Some(&b'\n'), bare)
}

/// The request target: what stands between the first and the last space of the first line.
fn raw_target(raw: &[u8]) -> Option<&[u8]> {
    let line = raw.split(|byte| *byte == b'\n').find(|line| !line.trim_ascii().is_empty())?;
    let line = line.trim_ascii();
    let first = line.iter().position(|byte| *byte == b' ')?;
    let last = line.iter().rposition(|byte| *byte == b' ')?;
    line.get(first + 1..last)
}

fn field<'r>(raw: &'r [u8], name: &str) -> Option<&'r [u8]> {
    raw.split(|byte| *byte == b'\n').skip(1).find_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (found, rest) = line.split_at_checked(colon)?;
        let value = rest.get(1..)?.trim_ascii();
        found.eq_ignore_ascii_case(name.as_bytes()).then_some(value)
    })
}

/// Whether the client waits for a "continue" before it sends its body (RFC 9110 section 10.1.1).
pub(super) fn expects_continue(session: &Session) -> bool {
    let request = session.req_header();
    request.version == Version::HTTP_11
        && request
            .headers
            .get(header::EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_is_what_stands_in_the_first_line_whatever_it_holds() {
        for (raw, target) in [
            ("GET /a?b HTTP/1.1\r\nhost: x\r\n\r\n", "/a?b"),
            ("GET /a#b HTTP/1.1\r\n\r\n", "/a#b"),
            ("\r\nGET /a b HTTP/1.1\r\n\r\n", "/a b"),
            ("GET http://x/a HTTP/1.1\n\n", "http://x/a"),
        ] {
            assert_eq!(raw_target(raw.as_bytes()), Some(target.as_bytes()), "{raw}");
        }
    }

    #[test]
    fn a_line_feed_without_its_carriage_return_is_seen_anywhere() {
        let plain = b"GET / HTTP/1.1\r\nhost: x\r\na: b\r\n\r\n".as_slice();
        assert!(!has_bare_line_feed(plain) && !has_bare_line_feed(b""));
        for at in 0..plain.len() {
            let mut bare = plain.to_vec();
            bare.insert(at, b'\n');
            assert!(has_bare_line_feed(&bare), "at {at}");
        }
    }

    #[test]
    fn a_field_is_found_by_its_name_in_any_case() {
        let raw = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nCONTENT-length: 5\r\n\r\n";
        assert_eq!(field(raw, "content-length"), Some(b"5".as_slice()));
        assert_eq!(field(raw, "content-type"), None);
    }
}
