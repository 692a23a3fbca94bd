//! The head that an upstream gets.

use http::{HeaderMap, HeaderValue, Method, header};
use pingora::Result;
use pingora::http::RequestHeader;

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
            let minted = node.minted().get_or_mint(&upstream.name, caller, mint)?;
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
    match passed.forward() {
        Forward::Nothing => {
            let size = passed.fields().len() + 2;
            let method = request.method.as_str();
            *request =
                RequestHeader::build_no_case(method, passed.target().as_bytes(), Some(size))?;
        }
        Forward::AllBut(strip) => {
            for name in strip {
                request.remove_header(name);
            }
            // The gateway itself said "continue" to the client.
            request.remove_header(&header::EXPECT);
            request.remove_header(&header::AUTHORIZATION);
            join_cookies(request)?;
            request.set_raw_path(passed.target().as_bytes())?;
        }
    }
    for (name, value) in passed.fields() {
        request.insert_header(name.clone(), value.clone())?;
    }
    if let Some(value) = authorization {
        request.insert_header(header::AUTHORIZATION, value)?;
    }
    Ok(())
}

/// The fields that an upstream would get of a request, made by the code that makes those that are
/// sent: for explanations.
///
/// # Errors
/// If the caller's own token has just expired; internal where the head cannot be made at all.
pub fn preview(
    method: &Method,
    headers: &HeaderMap,
    passed: &Passed,
    node: &NodeKnowledge,
    now: Now,
) -> Result<HeaderMap, Refusal> {
    let authorization = authorization(passed, node, now)?;
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
fn join_cookies(request: &mut RequestHeader) -> Result<()> {
    let cookies = request.headers.get_all(header::COOKIE);
    if cookies.iter().nth(1).is_none() {
        return Ok(());
    }
    let parts: Vec<&[u8]> = cookies.iter().map(HeaderValue::as_bytes).collect();
    let joined = parts.join(b"; ".as_slice());
    match HeaderValue::from_bytes(&joined) {
        Ok(value) => request.insert_header(header::COOKIE, value),
        // What was valid in pieces is valid joined.
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_in_several_fields_become_one() {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        request.append_header("cookie", "a=1").unwrap();
        request.append_header("cookie", "b=2; c=3").unwrap();
        join_cookies(&mut request).unwrap();
        let cookies: Vec<_> = request.headers.get_all(header::COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1; b=2; c=3"]);
    }
}
