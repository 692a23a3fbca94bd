//! Requests to tables in shadow: sent as they were written, with what confinement would have made of
//! them told as a would-have.
//!
//! Part of stage 6. The database has to hear of the caller from the caller's own token, and be one
//! that row-level security binds: users' tokens are, those of services and machines and those that
//! the gateway mints are not. For everybody else, and for whatever touches one table that is
//! enforced, there is no such request. May import `domain`, `policy` and `postgrest`.

use std::sync::Arc;

use crate::domain::catalog::Isolation;
use crate::domain::principal::Principal;
use crate::domain::refusal::Refusal;
use crate::domain::would::{PolicyKind, WouldHave};
use crate::pipeline::authorize::{Authorized, may_see};
use crate::pipeline::body::{BodyGate, TriedBody};
use crate::pipeline::trace::{Stage, Trace};
use crate::pipeline::upstream::IdentityPlan;
use crate::policy::Snapshot;
use crate::postgrest::{self, BodyRule, Confined, RestRefusal, RestRequest};

use super::{COMMON_FIELDS, Fields, Forward, Parts, isolation_refusal};

/// The request as it was written, if all that it touches is in shadow for this caller. `judged` is
/// what confinement makes of it.
pub(super) fn written(
    request: &RestRequest<'_>,
    judged: &Result<Confined, RestRefusal>,
    (authorized, identity): (&Authorized<'_>, &IdentityPlan),
    snapshot: &Snapshot,
    trace: &mut Trace,
) -> Result<Option<Parts>, Refusal> {
    let tenanted = authorized.tenanted();
    let Some(tenancy) = tenanted.tenancy().filter(|_| snapshot.catalog.tries) else {
        return Ok(None);
    };
    let user = matches!(tenanted.authenticated().principal(), Principal::User { .. });
    if !user || !matches!(identity, IdentityPlan::Bearer(_)) {
        return Ok(None);
    }
    let organization = tenancy.organization().id;
    let Some(written) = postgrest::as_written(request, &snapshot.catalog, organization) else {
        return Ok(None);
    };
    for table in written.embedded().iter().chain(written.shown()) {
        may_see(authorized, &table.name, snapshot, trace)?;
    }
    let table = written.table();
    let (name, stage) = (Arc::clone(&table.name), Stage::Isolate.as_str());
    let source = match &table.isolation {
        Isolation::Shadow(source) => source.clone(),
        Isolation::Enforced => table.source.clone(),
    };
    trace.note(Some(&source), || {
        format!("`{name}` is in shadow: sent as it was written, the database decides alone")
    });
    for injection in written.injections() {
        trace.note_on(|| Some(injection.touched()), Some(&source), || injection.to_string());
    }
    let rule = match judged {
        Ok(confined) => {
            let said = written.injections();
            for injection in confined.injections().iter().filter(|of| !said.contains(of)) {
                trace.note(Some(confined.source()), || format!("isolation would add: {injection}"));
            }
            trace.enter_would_have(WouldHave::confined(name.clone(), source.clone(), stage));
            Some(confined.body().clone())
        }
        Err(refusal) => {
            let refusal = isolation_refusal(refusal.clone());
            trace.would_have(PolicyKind::Table, &name, &source, &refusal);
            None
        }
    };
    let max = tenanted.authenticated().routed().route().max_body_bytes;
    let body = match (written.takes_body(), rule) {
        (false, _) => BodyGate::postgrest(max, BodyRule::None),
        (true, Some(rule)) => BodyGate::tried(max, TriedBody::new(rule, name, source)),
        (true, None) => BodyGate::plain(max),
    };
    let mut set = Fields::with_capacity(written.headers().len() + COMMON_FIELDS);
    set.extend_from_slice(written.headers());
    Ok(Some(Parts {
        target: written.target().to_owned(),
        forward: Forward::Nothing,
        set,
        body,
        shape: written.shape(),
    }))
}
