//! Values whose syntax others have fixed: URLs, addresses, headers, methods, ids, algorithms.
//!
//! May import `domain` and `policy`.

use std::net::SocketAddr;

use http::{HeaderName, HeaderValue, Method};
use ipnet::IpNet;
use serde_json::{Value, json};

use crate::domain::ids::{OrgId, OrgSlug, UserId};
use crate::domain::organization::OrgSelector;
use crate::policy::identity::Algorithm;

use super::context::Context;
use super::decode::{Decode, Shapes};
use super::leaf::{Text, parsed, refuse, text, word, words};
use super::yaml::Node;

/// `http://…` or `https://…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url(pub(super) String);

impl Decode for Url {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let Text(text) = Text::decode(node, cx)?;
        let host = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"))
            .and_then(|rest| rest.split(['/', '?', '#']).next());
        if host.is_some_and(|host| !host.is_empty() && !host.contains('@'))
            && text.bytes().all(|b| b.is_ascii_graphic())
            && text.parse::<http::Uri>().is_ok()
        {
            return Some(Self(text));
        }
        refuse(node, "a URL", &text, "write `https://host/path`, without user and password", cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "URL", "type": "string", "pattern": "^https?://" })
    }
}

impl Decode for SocketAddr {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let hint = "write an IP address and a port, such as `127.0.0.1:8080` or `[::]:8080`";
        let address: Self = parsed(node, "an address with a port", hint, cx)?;
        Some(address)
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "IP address and port", "type": "string", "examples": ["127.0.0.1:8080", "[::]:8080"] })
    }
}

/// A network, or one address.
impl Decode for IpNet {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let text = text(node, cx)?;
        if let Ok(address) = text.parse::<std::net::IpAddr>() {
            return Some(IpNet::from(address));
        }
        let hint = "write an address or a network, such as `10.0.0.0/8`";
        let net: IpNet = parsed(node, "a network", hint, cx)?;
        if net.addr() != net.network() {
            cx.error(node.span, format!("`{net}` has bits of an address behind its prefix"))
                .hint(format!("write `{}`", net.trunc()));
            return None;
        }
        Some(net)
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "network", "type": "string", "examples": ["10.0.0.0/8"] })
    }
}

impl Decode for HeaderName {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        parsed(node, "a header name", "", cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "header name", "type": "string", "minLength": 1 })
    }
}

impl Decode for HeaderValue {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        parsed(node, "a header value", "use visible ASCII characters", cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "header value", "type": "string" })
    }
}

impl Decode for OrgId {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let hint = "write a UUID, such as `7b0d3c1e-0000-4000-8000-00000000000a`";
        parsed(node, "an organization id", hint, cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "UUID", "type": "string", "format": "uuid" })
    }
}

/// A slug or an id.
impl Decode for OrgSelector {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        parsed(node, "a slug or an id", "write `acme`, or the organization's UUID", cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "slug or id", "type": "string", "examples": ["acme"] })
    }
}

impl Decode for OrgSlug {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let hint = "write 1 to 63 of `a-z`, `0-9` and inner hyphens";
        parsed(node, "an organization slug", hint, cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "slug", "type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$" })
    }
}

impl Decode for UserId {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let hint = "write the `sub` of the user's tokens: 1 to 255 visible ASCII characters";
        parsed(node, "a user id", hint, cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "user id", "type": "string", "minLength": 1, "maxLength": 255 })
    }
}

impl Decode for Method {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        word(node, METHODS, "method", cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        words(METHODS)
    }
}

/// HEAD comes with GET, OPTIONS always fits, and the edge refuses CONNECT and TRACE.
const METHODS: &[(&str, Method)] = &[
    ("GET", Method::GET),
    ("POST", Method::POST),
    ("PUT", Method::PUT),
    ("PATCH", Method::PATCH),
    ("DELETE", Method::DELETE),
];

impl Decode for Algorithm {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        word(node, ALGORITHMS, "algorithm", cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        words(ALGORITHMS)
    }
}

const ALGORITHMS: &[(&str, Algorithm)] = &[
    ("HS256", Algorithm::HS256),
    ("HS384", Algorithm::HS384),
    ("HS512", Algorithm::HS512),
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
];
