//! The head that an upstream gets.

use http::{HeaderValue, header};
use pingora::Result;
use pingora::http::RequestHeader;

use crate::domain::clock::Now;
use crate::domain::refusal::Refusal;
use crate::pipeline::Passed;
use crate::pipeline::isolate::Forward;
use crate::pipeline::upstream::IdentityPlan;
use crate::pipeline::upstream::mint::mint;
use crate::policy::upstream::UpstreamIdentity;

use super::context::Context;

/// The `Authorization` that the upstream gets, if any.
///
/// # Errors
/// If a token is to be minted and the caller's own has just expired.
pub(super) fn authorization(ctx: &Context, now: Now) -> Result<Option<HeaderValue>, Refusal> {
    let Some(passed) = &ctx.passed else { return Ok(None) };
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
            let minted = ctx.generation.node.minted();
            let minted =
                minted.get_or_mint(&upstream.name, caller, || mint(policy, caller, now))?;
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
