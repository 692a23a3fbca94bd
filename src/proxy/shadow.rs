//! Charges the limits in shadow of a request that was admitted, and enters what is known of it at
//! its end. Never waits: what this node cannot
//! answer by itself is asked beside the request, and counts if it is there when the request is over.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::pipeline::Passed;
use crate::pipeline::shadow::Tried;

use super::context::Context;
use super::gateway::Gateway;

/// Charges that were sent and are not answered yet.
pub(super) type Pending = Vec<oneshot::Receiver<Tried>>;

/// Charges them all, each by itself.
pub(super) fn charge(gateway: &Gateway, ctx: &mut Context, passed: &mut Passed) {
    let now = ctx.resumed;
    for limit in passed.take_shadow_limits() {
        if let Some(answer) = gateway.limits.try_now(limit.charge(), now) {
            tell(gateway, ctx, Some(&mut *passed), limit.answered(&answer));
            continue;
        }
        let (sender, receiver) = oneshot::channel();
        let limits = Arc::clone(&gateway.limits);
        // It ends with the deadline of the store, so there are no more of them than requests that
        // came within it.
        tokio::spawn(async move {
            let answer = limits.take(limit.charge(), now).await;
            // The request may be over.
            let _: Result<(), Tried> = sender.send(limit.answered(&answer));
        });
        ctx.tried_limits.push(receiver);
    }
}

/// Enters the answers that have come by the end of the request.
pub(super) fn collect(gateway: &Gateway, ctx: &mut Context) {
    if let Some(passed) = &mut ctx.passed {
        passed.tell_tried(&mut ctx.trace);
    }
    if ctx.tried_limits.is_empty() {
        return;
    }
    let mut passed = ctx.passed.take();
    for mut pending in std::mem::take(&mut ctx.tried_limits) {
        let tried = pending.try_recv().unwrap_or(Tried::Unknown);
        tell(gateway, ctx, passed.as_deref_mut(), tried);
    }
    ctx.passed = passed;
}

fn tell(gateway: &Gateway, ctx: &mut Context, passed: Option<&mut Passed>, tried: Tried) {
    match tried {
        Tried::Fits(None) => {}
        Tried::Fits(Some(due)) => {
            if let Some(passed) = passed {
                passed.owes_in_shadow(*due);
            }
        }
        Tried::WouldRefuse(would) => ctx.trace.enter_would_have(*would),
        Tried::Unknown => gateway.metrics.requests.shadow_unknown.inc(),
    }
}
