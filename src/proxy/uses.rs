//! Which sessions are used, from where and on what: noted once a minute for each, and only for
//! requests that were let through, so that what is refused keeps no session young.

use http::{HeaderMap, header};

use crate::domain::device::device;
use crate::domain::principal::Principal;
use crate::domain::session::Use;

use super::context::Context;

/// A request was let through.
pub(super) fn note(ctx: &Context, headers: &HeaderMap) {
    let Some(Principal::User { token, .. }) = &ctx.trace.principal else { return };
    // Of the token, and not of whom its bearer may act as: it is the bearer's session.
    let (Some(user), Some(session)) = (&token.subject, &token.session_id) else { return };
    let Some(address) = ctx.trace.client else { return };
    let at = ctx.started.unix_secs();
    if !token.noted.due(at) {
        return;
    }
    let user_agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    ctx.generation.node.sessions().used(Use {
        user: user.clone(),
        session: session.clone(),
        began: token.began(),
        organization: ctx.trace.organization.as_ref().map(|organization| organization.id),
        device: device(user_agent),
        address,
        at,
    });
}
