//! Stage 1, edge: one reading of the head, or none.
//!
//! Refuses everything that two parsers could read in different ways (framing, host, path), finds
//! the client's address, and lists the fields that must not reach the upstream from a client. It
//! changes nothing: what policies match is, byte for byte, what the upstream gets.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};

use crate::domain::clock::Now;
use crate::domain::fields::is_spoofable;
use crate::domain::head::{
    Arrival, TRACEPARENT, X_FORWARDED_PROTO, X_REQUEST_ID, X_TOLLGATE_OPERATOR,
};
use crate::domain::ids::RequestId;
use crate::domain::refusal::{EdgeRefusal, Refusal};
use crate::policy::Snapshot;
use crate::policy::edge::EdgePolicy;

use super::trace::{Stage, Trace};

mod forwarded;
mod path;

/// Proof that the head has one reading.
#[derive(Debug)]
pub struct Edged<'h> {
    method: &'h Method,
    headers: &'h HeaderMap,
    authority: &'h str,
    host: Box<str>,
    path: &'h str,
    query: Option<&'h str>,
    client: IpAddr,
    country: Option<&'h str>,
    secure: bool,
    websocket: bool,
    strip: Strip,
}

/// Fields that a client may not send on to an upstream.
pub(super) type Strip = Vec<HeaderName>;

impl<'h> Edged<'h> {
    /// The method.
    pub fn method(&self) -> &'h Method {
        self.method
    }

    /// All fields, those that will be stripped included.
    pub fn headers(&self) -> &'h HeaderMap {
        self.headers
    }

    /// The host in lowercase, without the port.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The host as the client wrote it, with its port.
    pub fn authority(&self) -> &'h str {
        self.authority
    }

    /// The path, in its one spelling.
    pub fn path(&self) -> &'h str {
        self.path
    }

    /// The query, without the question mark.
    pub fn query(&self) -> Option<&'h str> {
        self.query
    }

    /// The client's address.
    pub fn client(&self) -> IpAddr {
        self.client
    }

    /// The client's country, where a trusted proxy has named it.
    pub fn country(&self) -> Option<&'h str> {
        self.country
    }

    /// Whether the client used TLS, to us or to a trusted proxy.
    pub fn secure(&self) -> bool {
        self.secure
    }

    /// Whether it asks for a WebSocket.
    pub fn websocket(&self) -> bool {
        self.websocket
    }

    pub(super) fn strip(&self) -> &Strip {
        &self.strip
    }
}

/// The version of the policies, where the client is to be told it.
pub(super) fn told_version(arrival: &Arrival<'_>, snapshot: &Snapshot) -> Option<Arc<str>> {
    let tell = snapshot.edge.tell_version.as_ref()?;
    let mut shown = arrival.headers.get_all(X_TOLLGATE_OPERATOR).iter();
    let (shown, more) = (shown.next(), shown.next());
    let client = client_address(arrival, &snapshot.edge);
    let told = more.is_none() && tell.tells(client, shown.map(HeaderValue::as_bytes));
    told.then(|| Arc::clone(&snapshot.version.0))
}

/// The client's address: the rightmost hop that is not a trusted proxy.
pub fn client_address(arrival: &Arrival<'_>, policy: &EdgePolicy) -> IpAddr {
    forwarded::client(arrival.headers, arrival.peer, policy)
}

/// Admits a head, or refuses it.
pub fn admit<'h>(
    arrival: &Arrival<'h>,
    policy: &EdgePolicy,
    trace: &mut Trace,
    now: Now,
) -> Result<Edged<'h>, Refusal> {
    trace.enter(Stage::Edge);
    let headers = arrival.headers;
    let trusted = forwarded::is_trusted(arrival.peer, policy);
    identify(arrival, trusted, trace, now);
    let client = forwarded::client(headers, arrival.peer, policy);
    trace.client = Some(client);
    trace.origin = headers.get(header::ORIGIN).cloned();

    within_caps(arrival, policy).map_err(Refusal::Edge)?;
    known_method(arrival.method).map_err(Refusal::Edge)?;
    one_framing(headers, arrival.version).map_err(Refusal::Edge)?;
    let authority = one_authority(arrival).map_err(Refusal::Edge)?;
    let host = host_of(authority).map_err(Refusal::Edge)?;
    let (path, query) = path::split(arrival.target).map_err(Refusal::Edge)?;
    let websocket = upgrade(arrival).map_err(Refusal::Edge)?;

    let secure = match (trusted, headers.get(X_FORWARDED_PROTO)) {
        (true, Some(proto)) => proto.as_bytes().eq_ignore_ascii_case(b"https"),
        (true, None) | (false, _) => arrival.secure,
    };
    let country = policy.country_header.as_ref().filter(|_| trusted);
    let country = country.and_then(|name| headers.get(name)?.to_str().ok());
    trace.note(None, || format!("one reading of the head; client address {client}"));
    Ok(Edged {
        method: arrival.method,
        headers,
        authority,
        host,
        path,
        query,
        client,
        country,
        secure,
        websocket,
        strip: spoofable(headers, websocket, policy.country_header.as_ref().filter(|_| !trusted)),
    })
}

/// Gives the request its id and trace context. The ids of trusted proxies are kept.
fn identify(arrival: &Arrival<'_>, trusted: bool, trace: &mut Trace, now: Now) {
    let text = |name: HeaderName| arrival.headers.get(name).and_then(|value| value.to_str().ok());
    if trace.request_id.is_none() {
        let kept = if trusted { text(X_REQUEST_ID).and_then(|id| id.parse().ok()) } else { None };
        let mut random = [0; 10];
        random
            .copy_from_slice(arrival.entropy.to_le_bytes().first_chunk::<10>().unwrap_or(&[0; 10]));
        trace.request_id =
            Some(kept.unwrap_or_else(|| RequestId::fresh(now.unix_millis(), random)));
    }
    if trace.traceparent.is_none() {
        trace.traceparent = Some(traceparent(text(TRACEPARENT), arrival.entropy, now));
    }
}

/// W3C Trace Context level 1: the caller's trace id goes on, with this hop as the parent.
fn traceparent(given: Option<&str>, entropy: u128, now: Now) -> Box<str> {
    let parent = (entropy >> 64) as u64 | 1;
    let kept = given.and_then(|text| {
        let hex = |s: &str| s.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let mut parts = text.split('-');
        let (version, id, span, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let sizes = version == "00" && id.len() == 32 && span.len() == 16 && flags.len() == 2;
        let good = sizes && parts.next().is_none() && hex(id) && hex(span) && hex(flags);
        let nonzero = |s: &str| s.bytes().any(|b| b != b'0');
        (good && nonzero(id) && nonzero(span)).then_some((id, flags))
    });
    let mut text = String::with_capacity(55);
    text.push_str("00-");
    match kept {
        Some((id, _)) => text.push_str(id),
        None => {
            let id = entropy.rotate_left(32) ^ (u128::from(now.unix_micros) << 32) | 1;
            hex(&mut text, &id.to_be_bytes());
        }
    }
    text.push('-');
    hex(&mut text, &parent.to_be_bytes());
    text.push('-');
    text.push_str(kept.map_or("00", |(_, flags)| flags));
    text.into_boxed_str()
}

fn hex(text: &mut String, bytes: &[u8]) {
    let digit =
        |nibble: u8| char::from(if nibble < 10 { b'0' + nibble } else { b'a' - 10 + nibble });
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 0xf));
    }
}

fn within_caps(arrival: &Arrival<'_>, policy: &EdgePolicy) -> Result<(), EdgeRefusal> {
    if arrival.target.len() > policy.max_target_bytes as usize {
        return Err(EdgeRefusal::TargetTooLong);
    }
    let bytes: usize =
        arrival.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    let fits = bytes <= policy.max_header_bytes as usize
        && arrival.headers.len() <= policy.max_header_count as usize;
    fits.then_some(()).ok_or(EdgeRefusal::HeadTooLarge)
}

fn known_method(method: &Method) -> Result<(), EdgeRefusal> {
    match *method {
        Method::GET
        | Method::HEAD
        | Method::POST
        | Method::PUT
        | Method::PATCH
        | Method::DELETE
        | Method::OPTIONS => Ok(()),
        _ => Err(EdgeRefusal::Method),
    }
}

/// RFC 9112 section 6.3, without its leniencies.
fn one_framing(headers: &HeaderMap, version: Version) -> Result<(), EdgeRefusal> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let mut encodings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let (length, encoding) = (lengths.next(), encodings.next());
    if lengths.next().is_some() || encodings.next().is_some() {
        return Err(EdgeRefusal::Framing);
    }
    let digits = |value: &HeaderValue| {
        let bytes = value.as_bytes();
        (1..=18).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_digit)
    };
    let fine = match (length, encoding) {
        (None, None) => true,
        (Some(length), None) => digits(length),
        (None, Some(encoding)) => {
            version == Version::HTTP_11 && encoding.as_bytes().eq_ignore_ascii_case(b"chunked")
        }
        (Some(_), Some(_)) => false,
    };
    fine.then_some(()).ok_or(EdgeRefusal::Framing)
}

/// The one host of the request: `Host`, or `:authority`, or both where they agree.
fn one_authority<'h>(arrival: &Arrival<'h>) -> Result<&'h str, EdgeRefusal> {
    let mut hosts = arrival.headers.get_all(header::HOST).iter();
    let field = match (hosts.next(), hosts.next()) {
        (_, Some(_)) => return Err(EdgeRefusal::Host),
        (Some(host), None) => Some(host.to_str().map_err(|_| EdgeRefusal::Host)?),
        (None, None) => None,
    };
    match (field, arrival.authority) {
        (Some(field), Some(authority)) if !field.eq_ignore_ascii_case(authority) => {
            Err(EdgeRefusal::Host)
        }
        (Some(one), _) | (None, Some(one)) => Ok(one),
        (None, None) => Err(EdgeRefusal::Host),
    }
}

/// The host of an authority in lowercase, without the port. A name with an empty label is refused:
/// the dot at the end of `example.com.` would be a second spelling, which no route for
/// `example.com` matches.
fn host_of(authority: &str) -> Result<Box<str>, EdgeRefusal> {
    let host = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or(EdgeRefusal::Host)?;
            address.parse::<std::net::Ipv6Addr>().map_err(|_| EdgeRefusal::Host)?;
            let after = if port.is_empty() { Some("") } else { port.strip_prefix(':') };
            after.filter(|p| is_port(p)).ok_or(EdgeRefusal::Host)?;
            address
        }
        None => {
            let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
            let name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
            let labelled = host.split('.').all(|label| !label.is_empty());
            if !labelled || host.len() > 253 || !host.bytes().all(name) || !is_port(port) {
                return Err(EdgeRefusal::Host);
            }
            host
        }
    };
    Ok(host.to_ascii_lowercase().into_boxed_str())
}

fn is_port(text: &str) -> bool {
    text.is_empty() || (text.len() <= 5 && text.bytes().all(|b| b.is_ascii_digit()))
}

/// Whether a WebSocket is asked for, properly (RFC 6455 section 4.1). Other upgrades are not
/// taken up: their fields are stripped. Bytes behind an upgrade never have a body's framing.
fn upgrade(arrival: &Arrival<'_>) -> Result<bool, EdgeRefusal> {
    let headers = arrival.headers;
    if let Some(expect) = headers.get(header::EXPECT)
        && !expect.as_bytes().eq_ignore_ascii_case(b"100-continue")
    {
        return Err(EdgeRefusal::Expectation);
    }
    let Some(upgrade) = headers.get(header::UPGRADE) else { return Ok(false) };
    let asked = upgrade.as_bytes().eq_ignore_ascii_case(b"websocket")
        && arrival.version == Version::HTTP_11
        && connection_names(headers).any(|name| name.eq_ignore_ascii_case("upgrade"));
    if !asked {
        return Ok(false);
    }
    let framed = headers.contains_key(header::CONTENT_LENGTH)
        || headers.contains_key(header::TRANSFER_ENCODING);
    let proper = *arrival.method == Method::GET
        && !framed
        && headers.get_all(header::UPGRADE).iter().count() == 1
        && headers.contains_key(header::SEC_WEBSOCKET_KEY);
    proper.then_some(true).ok_or(EdgeRefusal::Expectation)
}

fn connection_names(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

/// Fields that carry identity or routing inside, hop-by-hop fields (RFC 9110 section 7.6.1), and
/// what `Connection` names.
fn spoofable(headers: &HeaderMap, websocket: bool, country: Option<&HeaderName>) -> Strip {
    let spoofed =
        |name: &&HeaderName| is_spoofable(name.as_str(), websocket) || Some(*name) == country;
    let mut strip: Strip = headers.keys().filter(spoofed).cloned().collect();
    for named in connection_names(headers) {
        let kept = websocket && named.eq_ignore_ascii_case("upgrade");
        match HeaderName::from_bytes(named.as_bytes()) {
            Ok(name) if !kept && !strip.contains(&name) && headers.contains_key(&name) => {
                strip.push(name);
            }
            Ok(_) | Err(_) => {}
        }
    }
    strip
}

#[cfg(test)]
mod tests;
