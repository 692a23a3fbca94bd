//! What the adapter remembers of one request, from its head to its log line.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::clock::Now;
use crate::domain::ids::{OrgId, UserId};
use crate::domain::refusal::Refusal;
use crate::pipeline::{Passed, Trace};
use crate::policy::response::ResponsePolicy;
use crate::policy::route::Destination;
use crate::policy::upstream::{Upstream, UpstreamKind};
use crate::stores::guards::concurrency::Permit;
use crate::stores::usage::Reserved;

use super::body::{ErrorBody, RequestBody};
use super::gateway::{AtWork, Generation};
use super::logins::AtLogin;
use super::pool::{Chosen, Pool, Tried};
use super::record;
use super::shadow::Pending;
use super::sockets::Open;

/// The request's state. Boxed, so that the futures of idle connections stay small.
pub(super) struct Context {
    pub(super) generation: Arc<Generation>,
    pub(super) started: Now,
    /// When it last came back from waiting for something, up to its first try of an upstream: the
    /// clock is read only where time can have passed.
    pub(super) resumed: Now,
    /// Bits for its ids.
    pub(super) entropy: u128,
    /// Whether the client wants to keep its connection.
    pub(super) keeps_alive: bool,
    pub(super) trace: Trace,
    /// The proof, once every stage passed.
    pub(super) passed: Option<Box<Passed>>,
    /// Why it was refused, by whichever stage or by the proxy.
    pub(super) refusal: Option<Refusal>,
    pub(super) request_body: RequestBody,
    /// Where the upstream's answer is an error whose body is cut down.
    pub(super) error_body: Option<ErrorBody>,
    pub(super) attempt: Option<Attempt>,
    /// Addresses that were tried, in order; one may be there twice.
    pub(super) tried: Tried,
    /// Tries after the first that were sent.
    pub(super) retries: u8,
    /// From sending the request on to the upstream's head.
    pub(super) upstream_took: Option<Duration>,
    /// Its place among those of its organization.
    pub(super) place: Option<Permit<OrgId>>,
    /// Its place among those of its user.
    pub(super) place_of_user: Option<Permit<UserId>>,
    /// What it takes of its organization's quotas, until it is over.
    pub(super) reserved: Option<Reserved>,
    /// Limits in shadow whose charges were sent.
    pub(super) tried_limits: Pending,
    /// Its place among the WebSockets, where it is one.
    pub(super) socket: Option<Open>,
    /// The attempt to sign in, where it is one.
    pub(super) login: Option<Box<AtLogin>>,
    _at_work: AtWork,
}

/// One try of an upstream.
pub(super) struct Attempt {
    pub(super) pool: Arc<Pool>,
    pub(super) chosen: Chosen,
    pub(super) began: Now,
    /// Whether a byte of an answer came.
    pub(super) answered: bool,
}

impl Context {
    pub(super) fn new(at_work: AtWork) -> Box<Self> {
        let gateway = at_work.gateway();
        let entropy = gateway.entropy();
        let started = gateway.now();
        Box::new(Self {
            generation: gateway.current(),
            started,
            resumed: started,
            entropy,
            keeps_alive: false,
            trace: record::trace(gateway, entropy),
            passed: None,
            refusal: None,
            request_body: RequestBody::default(),
            error_body: None,
            attempt: None,
            tried: Tried::new(),
            retries: 0,
            upstream_took: None,
            place: None,
            place_of_user: None,
            reserved: None,
            tried_limits: Pending::new(),
            socket: None,
            login: None,
            _at_work: at_work,
        })
    }

    /// The upstream that the request's route leads to, as far as it got.
    pub(super) fn upstream(&self) -> Option<&Arc<Upstream>> {
        let route = self.trace.route.as_ref()?;
        match &route.destination {
            Destination::Upstream { upstream, .. } => {
                self.generation.snapshot.upstreams.get(*upstream)
            }
            Destination::Closed => None,
        }
    }

    pub(super) fn kind(&self) -> Option<UpstreamKind> {
        self.upstream().map(|upstream| upstream.kind)
    }

    /// What is added to the answer.
    pub(super) fn response_policy(&self) -> &ResponsePolicy {
        match &self.trace.route {
            Some(route) => &route.response,
            None => &self.generation.snapshot.response,
        }
    }
}
