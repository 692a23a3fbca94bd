//! Stage 8, upstream: what leaves the gateway. [`Passed`] is the only thing that the shell sends
//! on, and only the stages before this one can make it.

use std::sync::Arc;

use http::HeaderValue;

use crate::domain::caller::Caller;
use crate::domain::charge::{Due, Dues};
use crate::policy::limits::Limit;
use crate::policy::route::Route;
use crate::policy::upstream::Upstream;

use super::body::BodyGate;
use super::isolate::{Fields, Forward, Isolated};
use super::rules::{Changes, Kept};
use super::shadow::ShadowLimit;
use super::trace::Trace;

pub mod mint;

/// Proof that every stage passed, and the request that they made.
#[derive(Debug)]
pub struct Passed {
    isolated: Isolated,
    dues: Option<Box<Dues>>,
    shadow: Vec<ShadowLimit>,
}

/// What the upstream learns of the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentityPlan {
    /// A token to be minted.
    Mint(Caller),
    /// The caller's own, verified token, as an `Authorization` value.
    Bearer(HeaderValue),
    /// Nothing.
    Nothing,
}

impl Passed {
    pub(super) fn new(
        isolated: Isolated,
        dues: Option<Box<Dues>>,
        shadow: Vec<ShadowLimit>,
    ) -> Self {
        Self { isolated, dues, shadow }
    }

    /// What it is charged once its answer is known.
    pub fn dues(&self) -> Option<&Dues> {
        self.dues.as_deref()
    }

    /// It is charged one more bucket once its answer is known.
    pub(super) fn owes(&mut self, due: Due) {
        let dues = self.dues.get_or_insert_with(|| Box::new(Dues { all: Vec::new(), here: false }));
        dues.all.push(due);
    }

    /// The limits in shadow that are to be charged, once and each by itself, when nothing more can
    /// refuse it.
    pub fn take_shadow_limits(&mut self) -> Vec<ShadowLimit> {
        std::mem::take(&mut self.shadow)
    }

    /// One more of them.
    pub(super) fn tries(&mut self, limit: ShadowLimit) {
        self.shadow.push(limit);
    }

    /// A limit in shadow is charged once more when the answer is known. Not where this node counts by
    /// its share while the store is away: what was charged there was charged to no share.
    pub fn owes_in_shadow(&mut self, due: Due) {
        if !self.dues.as_ref().is_some_and(|dues| dues.here) {
            self.owes(due);
        }
    }

    /// The limits that it is charged to.
    pub(super) fn limits(&self) -> impl Iterator<Item = &Arc<Limit>> {
        self.isolated.limits()
    }

    /// What rules have done to it.
    pub(super) fn changes(&self) -> &Changes {
        &self.isolated.changes
    }

    /// What rules that see the answer are shown of the request, if there are any.
    pub(super) fn kept(&self) -> Option<&Kept> {
        self.isolated.kept.as_deref()
    }

    /// The route.
    pub fn route(&self) -> &Arc<Route> {
        &self.isolated.route
    }

    /// Where to.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.isolated.upstream
    }

    /// Path and query to send.
    pub fn target(&self) -> &str {
        &self.isolated.target
    }

    /// Which of the client's header fields go on.
    pub fn forward(&self) -> &Forward {
        &self.isolated.forward
    }

    /// Header fields to set, over what went on; `Host` is among them.
    pub fn fields(&self) -> &Fields {
        &self.isolated.set
    }

    /// What goes into `Authorization`. The client's own never goes on by itself.
    pub fn identity(&self) -> &IdentityPlan {
        &self.isolated.identity
    }

    /// The gate for the body.
    pub fn body(&mut self) -> &mut BodyGate {
        &mut self.isolated.body
    }

    /// Enters what confinement would have refused of a body that has passed as it came.
    pub fn tell_tried(&mut self, trace: &mut Trace) {
        if let Some(would) = self.isolated.body.would_have() {
            trace.enter_would_have(would);
        }
    }

    /// Whether the connection becomes a WebSocket.
    pub fn websocket(&self) -> bool {
        self.isolated.websocket
    }

    /// Whether a failed try may be repeated (RFC 9110 section 9.2.2).
    pub fn idempotent(&self) -> bool {
        self.isolated.idempotent
    }
}
