//! Stage 3, authenticate: who calls. Until the verification of tokens is in, nobody is let in.
use super::Stop;
use super::route::Routed;
use super::trace::Trace;
use crate::domain::clock::Now;
use crate::domain::principal::{Principal, VerifiedToken};
use crate::policy::Snapshot;
use crate::policy::known::Known;
use http::HeaderValue;
use std::borrow::Cow;
use std::sync::Arc;
/// See the module.
#[derive(Debug)]
pub struct Authenticated<'h> {
    routed: Routed<'h>,
    principal: Principal,
    bearer: Option<HeaderValue>,
}
impl<'h> Authenticated<'h> {
    /// See the module.
    pub fn routed(&self) -> &Routed<'h> {
        &self.routed
    }
    /// See the module.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }
    /// See the module.
    pub fn token(&self) -> Option<&Arc<VerifiedToken>> {
        None
    }
    /// See the module.
    pub fn bearer(&self) -> Option<&HeaderValue> {
        self.bearer.as_ref()
    }
}
/// See the module.
pub fn prove<'h>(
    routed: Routed<'h>,
    _s: &Snapshot,
    _k: &dyn Known,
    _t: &mut Trace,
    _n: Now,
) -> Result<Authenticated<'h>, Stop> {
    let _ = Authenticated { routed, principal: Principal::Anonymous, bearer: None };
    Err(crate::domain::refusal::Refusal::Internal("nobody can be authenticated yet").into())
}
/// See the module.
pub fn without_api_key(query: &str) -> Cow<'_, str> {
    Cow::Borrowed(query)
}
