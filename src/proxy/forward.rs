//! The head that an upstream gets.

use bytes::Bytes;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use pingora::http::RequestHeader;
use pingora::{ErrorType, OrErr, Result};

use crate::domain::clock::Now;
use crate::domain::refusal::Refusal;
use crate::pipeline::Passed;
use crate::pipeline::isolate::Forward;
use crate::pipeline::upstream::IdentityPlan;
use crate::pipeline::upstream::mint::mint;
use crate::policy::upstream::UpstreamIdentity;
use crate::stores::node::NodeKnowledge;

/// The `Authorization` that the upstream gets, if any.
///
/// # Errors
/// If a token is to be minted and the caller's own has just expired.
pub(super) fn authorization(
    passed: &Passed,
    node: &NodeKnowledge,
    now: Now,
) -> Result<Option<HeaderValue>, Refusal> {
    authorization_by(passed, Some(node), now)
}

/// The same; where there is no node that keeps tokens, one is minted each time.
fn authorization_by(
    passed: &Passed,
    node: Option<&NodeKnowledge>,
    now: Now,
) -> Result<Option<HeaderValue>, Refusal> {
    let upstream = passed.upstream();
    match passed.identity() {
        IdentityPlan::Nothing => Ok(None),
        IdentityPlan::Bearer(value) => Ok(Some(value.clone())),
        IdentityPlan::Mint(caller) => {
            let policy = match &upstream.identity {
                UpstreamIdentity::Minted(policy) => policy,
                UpstreamIdentity::PassThrough { translate: Some(policy) } => policy,
                UpstreamIdentity::PassThrough { translate: None } | UpstreamIdentity::None => {
                    return Err(Refusal::Internal("a token to mint and no policy for it"));
                }
            };
            let mint = || mint(policy, caller, now);
            let minted = match node {
                Some(node) => node.minted().get_or_mint(&upstream.name, caller, mint)?,
                None => mint()?,
            };
            Ok(Some(minted.authorization))
        }
    }
}

/// Turns the client's head (a copy of it) into the upstream's. `authorization` is the only
/// credential that goes on.
pub(super) fn head(
    request: &mut RequestHeader,
    passed: &Passed,
    authorization: Option<HeaderValue>,
) -> Result<()> {
    // In place, Pingora would look every name up in a second map, of the names as the client spelt
    // them, and parse it again; a head without that map costs a third.
    let (mut parts, ()) = http::Request::new(()).into_parts();
    parts.method = request.method.clone();
    let fields = &mut parts.headers;
    match passed.forward() {
        Forward::Nothing => fields.reserve(passed.fields().len() + 1),
        Forward::AllBut(strip) => {
            let (nothing, ()) = http::Request::new(()).into_parts();
            let sent = std::mem::replace(request, RequestHeader::from(nothing));
            *fields = Parts::from(sent).headers;
            fields.reserve(passed.fields().len() + 1);
            for name in strip {
                fields.remove(name);
            }
            // The gateway itself said "continue" to the client.
            fields.remove(header::EXPECT);
            fields.remove(header::AUTHORIZATION);
            join_cookies(fields);
        }
    }
    for (name, value) in passed.fields() {
        fields.insert(name.clone(), value.clone());
    }
    if let Some(value) = authorization {
        fields.insert(header::AUTHORIZATION, value);
    }
    let target =
        PathAndQuery::from_maybe_shared(Bytes::copy_from_slice(passed.target().as_bytes()));
    let target = target.explain_err(ErrorType::InvalidHTTPHeader, |_| "a target that is none")?;
    parts.uri = Uri::from(target);
    *request = RequestHeader::from(parts);
    Ok(())
}

/// The fields that an upstream would get of a request, made by the code that makes those that are
/// sent: for explanations, and for tests of policies, which have no node.
///
/// # Errors
/// If the caller's own token has just expired; internal where the head cannot be made at all.
pub fn preview(
    method: &Method,
    headers: &HeaderMap,
    passed: &Passed,
    node: Option<&NodeKnowledge>,
    now: Now,
) -> Result<HeaderMap, Refusal> {
    let authorization = authorization_by(passed, node, now)?;
    let make = || -> Result<RequestHeader> {
        let mut request = RequestHeader::build_no_case(method.as_str(), b"/", Some(headers.len()))?;
        for (name, value) in headers {
            request.append_header(name.clone(), value.clone())?;
        }
        head(&mut request, passed, authorization)?;
        Ok(request)
    };
    let made = make().map_err(|_| Refusal::Internal("the upstream's head cannot be made"))?;
    Ok(made.headers.clone())
}

/// HTTP/2 clients may cut their cookies into several fields; HTTP/1.1 has one (RFC 9113 section
/// 8.2.3).
fn join_cookies(fields: &mut HeaderMap) {
    let cookies = fields.get_all(header::COOKIE);
    if cookies.iter().nth(1).is_none() {
        return;
    }
    let parts: Vec<&[u8]> = cookies.iter().map(HeaderValue::as_bytes).collect();
    // What was valid in pieces is valid joined.
    if let Ok(value) = HeaderValue::from_bytes(&parts.join(b"; ".as_slice())) {
        fields.insert(header::COOKIE, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_in_several_fields_become_one() {
        let mut fields = HeaderMap::new();
        fields.append(header::COOKIE, HeaderValue::from_static("a=1"));
        fields.append(header::COOKIE, HeaderValue::from_static("b=2; c=3"));
        join_cookies(&mut fields);
        let cookies: Vec<_> = fields.get_all(header::COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1; b=2; c=3"]);
    }
}
