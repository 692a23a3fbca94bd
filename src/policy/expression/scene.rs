//! What expressions see: borrowed views of the request, the caller, the organization and the
//! answer. Nothing is decoded or copied before an expression asks for it.
//!
//! Filled in by the stages that evaluate expressions. May import `domain` and `policy`.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method};
use smallvec::SmallVec;

use crate::domain::clock::Now;
use crate::domain::organization::{Organization, TeamName};
use crate::domain::principal::{Principal, VerifiedToken};
use crate::policy::rights::Rights;

/// Query parameters that are read; a request with more of them faults where they are asked for.
pub const MAX_PARAMS: usize = 256;

/// What an expression sees.
#[derive(Debug, Clone)]
pub struct Scene<'r> {
    /// The request.
    pub request: RequestView<'r>,
    /// The client.
    pub client: ClientView<'r>,
    /// The moment of the decision.
    pub now: Now,
    /// The name of the route, where one was found.
    pub route: Option<&'r str>,
    /// Who calls, where that is known.
    pub principal: Option<&'r Principal>,
    /// For which organization, where the request is for one.
    pub tenancy: Option<TenancyView<'r>>,
    /// The answer, where there is one.
    pub response: Option<ResponseView<'r>>,
    tags: SmallVec<[Arc<str>; 4]>,
    params: OnceCell<Option<Params>>,
}

/// The request.
#[derive(Debug, Clone, Copy)]
pub struct RequestView<'r> {
    /// Its id, where it has one by now.
    pub id: Option<&'r str>,
    /// The method.
    pub method: &'r Method,
    /// Whether the client used TLS.
    pub secure: bool,
    /// The host in lowercase, without the port.
    pub host: &'r str,
    /// The path, in its one spelling.
    pub path: &'r str,
    /// The query without the question mark; empty where there is none.
    pub query: &'r str,
    /// The header fields as the client sent them.
    pub headers: &'r HeaderMap,
    /// The bytes of the body, where `Content-Length` says so.
    pub size: Option<u64>,
}

/// The client.
#[derive(Debug, Clone, Copy)]
pub struct ClientView<'r> {
    /// Its address: the rightmost hop that is no trusted proxy.
    pub address: IpAddr,
    /// Its country, where a trusted proxy named it.
    pub country: Option<&'r str>,
}

/// The organization, and the caller's place in it.
#[derive(Debug, Clone, Copy)]
pub struct TenancyView<'r> {
    /// The organization.
    pub organization: &'r Organization,
    /// The caller's roles there, and what the membership says beyond them.
    pub rights: &'r Rights,
    /// The team that the request names.
    pub team: Option<&'r TeamName>,
}

/// The answer.
#[derive(Debug, Clone, Copy)]
pub struct ResponseView<'r> {
    /// Its status.
    pub status: u16,
    /// Its header fields.
    pub headers: &'r HeaderMap,
    /// How long it took from the request's arrival.
    pub took: Duration,
}

impl<'r> Scene<'r> {
    /// A request of which nothing else is known yet.
    pub fn new(request: RequestView<'r>, client: ClientView<'r>, now: Now) -> Self {
        Self {
            request,
            client,
            now,
            route: None,
            principal: None,
            tenancy: None,
            response: None,
            tags: SmallVec::new(),
            params: OnceCell::new(),
        }
    }

    /// Tags the request; expressions that are evaluated later see it.
    pub fn tag(&mut self, tag: Arc<str>) {
        if !self.tags.contains(&tag) {
            self.tags.push(tag);
        }
    }

    /// The tags so far.
    pub fn tags(&self) -> &[Arc<str>] {
        &self.tags
    }

    /// The query parameters, decoded once; `None` where there are too many.
    pub(super) fn params(&self) -> Option<&Params> {
        self.params.get_or_init(|| Params::of(self.request.query)).as_ref()
    }

    /// The user's token.
    pub(super) fn token(&self) -> Option<&'r VerifiedToken> {
        match self.principal? {
            Principal::User { token, .. } => Some(token),
            Principal::Service { .. } | Principal::Machine { .. } | Principal::Anonymous => None,
        }
    }
}

/// Query parameters: names and values as `application/x-www-form-urlencoded` has them, in the
/// order of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Params(Vec<(Box<str>, Box<str>)>);

impl Params {
    fn of(query: &str) -> Option<Self> {
        let mut pairs = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            if pairs.len() == MAX_PARAMS {
                return None;
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            pairs.push((form_decoded(name).into(), form_decoded(value).into()));
        }
        Some(Self(pairs))
    }

    /// Every name once, in the order of the request.
    pub(super) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for (name, _) in &self.0 {
            if !names.contains(&name.as_ref()) {
                names.push(name);
            }
        }
        names
    }

    /// How many names with a value.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// The values of a name.
    pub(super) fn values(&self, wanted: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(name, _)| name.as_ref() == wanted)
            .map(|(_, value)| value.as_ref())
    }
}

fn form_decoded(text: &str) -> Cow<'_, str> {
    if text.contains('+') {
        return Cow::Owned(percent_decoded(&text.replace('+', " ")).into_owned());
    }
    percent_decoded(text)
}

/// Percent-encoding undone (RFC 3986 section 2.1). What is not well-formed stays as it is; bytes
/// that are no UTF-8 become U+FFFD.
pub(super) fn percent_decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        match (byte, tail) {
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    out.push(high << 4 | low);
                    rest = after;
                }
                (None, _) | (_, None) => {
                    out.push(byte);
                    rest = tail;
                }
            },
            _ => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_as_forms_are() {
        let params = Params::of("q=a+b%20c&q=%C3%BC&&flag&bad=%zz%4").unwrap();
        assert_eq!(params.names(), ["q", "flag", "bad"]);
        assert_eq!(params.values("q").collect::<Vec<_>>(), ["a b c", "ü"]);
        assert_eq!(params.values("flag").collect::<Vec<_>>(), [""]);
        assert_eq!(params.values("bad").collect::<Vec<_>>(), ["%zz%4"]);
        assert_eq!(params.values("no").count(), 0);
    }

    #[test]
    fn too_many_parameters_are_not_read_at_all() {
        assert!(Params::of(&"a&".repeat(MAX_PARAMS)).is_some());
        assert!(Params::of(&"a&".repeat(MAX_PARAMS + 1)).is_none());
    }

    #[test]
    fn bytes_that_are_no_utf8_are_replaced() {
        assert_eq!(percent_decoded("a%ffb"), "a\u{fffd}b");
    }
}
