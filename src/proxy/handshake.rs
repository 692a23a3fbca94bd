//! The handshake of an open WebSocket, to be decided on again while it is open.
//!
//! Who was let in stays in for hours; meanwhile members leave, roles and policies change, keys are
//! taken back. Now and then it is decided whether the handshake would still pass, by the policy in
//! force and by what the directory says then. The time is that of the handshake, because what it
//! says about time holds for the handshake alone: that the token has expired, or a second factor
//! grown old, ends no WebSocket by itself. What cannot be found out ends none either.

use std::sync::Arc;

use pingora::http::RequestHeader;

use crate::domain::clock::Now;
use crate::domain::ids::RequestId;
use crate::domain::known::Question;
use crate::domain::refusal::Refusal;
use crate::pipeline::{Stop, decide};
use crate::stores::node::Facts;

use super::arrival::Head;
use super::context::Context;
use super::gateway::Gateway;
use super::record;

/// What is kept of a handshake.
pub(super) struct Handshake {
    head: Head,
    request: RequestHeader,
    at: Now,
    entropy: u128,
    id: Option<RequestId>,
}

impl Handshake {
    pub(super) fn of(head: &Head, request: &RequestHeader, ctx: &Context) -> Self {
        Self {
            head: head.apart(),
            request: request.clone(),
            at: ctx.started,
            entropy: ctx.entropy,
            id: ctx.trace.request_id.clone(),
        }
    }

    /// A name that no other has.
    pub(super) fn name(&self) -> Arc<str> {
        self.id.as_ref().map_or_else(Arc::default, |id| Arc::from(id.as_str()))
    }

    /// Whether it would pass now. Says why not in the log, with the id of the request that it was.
    pub(super) async fn counts(&self, gateway: &Gateway) -> bool {
        match self.decided(gateway).await {
            Ok(()) | Err(Refusal::Unavailable(_) | Refusal::Internal(_)) => true,
            Err(refusal) => {
                tracing::info!(
                    request.id = self.id.as_ref().map(|id| id.as_str()),
                    error.code = refusal.public().code,
                    reason = %refusal,
                    "a WebSocket ends: it would not be let in any more"
                );
                false
            }
        }
    }

    async fn decided(&self, gateway: &Gateway) -> Result<(), Refusal> {
        let generation = gateway.current();
        let mut facts = Facts::new(&generation.node, gateway.now());
        let arrival = self.head.arrival(&self.request);
        let mut trace = record::trace(gateway, self.entropy);
        loop {
            match decide(&arrival, &generation.snapshot, &facts, &mut trace, self.at) {
                Ok(_) | Err(Stop::Answered(_)) => return Ok(()),
                Err(Stop::Refused(refusal)) => return Err(refusal),
                // Memberships are made by requests, whose record says so.
                Err(Stop::Ask(Question::Join(join))) => facts.suppose(join),
                Err(Stop::Ask(question)) => facts.find_out(question).await?,
            }
            trace.restart();
        }
    }
}
