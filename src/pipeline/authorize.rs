//! Stage 5, authorize: may the caller's role do this, and does the rest that the route asks for
//! hold?

use std::sync::Arc;

use http::{Method, StatusCode};

use crate::domain::catalog::Tenancy as TableTenancy;
use crate::domain::refusal::{ConditionRefusal, Refusal};
use crate::policy::Snapshot;
use crate::policy::roles::{CALL, PermissionId};
use crate::policy::route::{Condition, PermissionRule};

use super::isolate::isolation_refusal;
use super::tenant::{Tenancy, Tenanted};
use super::trace::{Stage, Trace};

/// Proof that the caller may do what the route asks for.
#[derive(Debug)]
pub struct Authorized<'h> {
    tenanted: Tenanted<'h>,
}

impl<'h> Authorized<'h> {
    /// For which organization, and who calls.
    pub fn tenanted(&self) -> &Tenanted<'h> {
        &self.tenanted
    }
}

/// Checks permission and conditions.
pub fn check<'h>(
    tenanted: Tenanted<'h>,
    snapshot: &Snapshot,
    trace: &mut Trace,
) -> Result<Authorized<'h>, Refusal> {
    trace.enter(Stage::Authorize);
    let routed = tenanted.authenticated().routed();
    let route = Arc::clone(routed.route());
    let tenancy = tenanted.tenancy();
    trace.decided_by = Some(route.source.clone());
    match &route.permission {
        PermissionRule::None => {
            trace.note(Some(&route.source), || "no permission asked for".into());
        }
        PermissionRule::Member => {
            tenancy.ok_or(Refusal::Internal("a member route without an organization"))?;
            trace.note(Some(&route.source), || "any member may".into());
        }
        PermissionRule::Permission(id) => permit(tenancy, *id, snapshot, trace)?,
        PermissionRule::Table(capture) => {
            let name = routed.capture(capture).unwrap_or_default();
            let table = crate::postgrest::decode_segment(name).map_err(isolation_refusal)?;
            match snapshot.catalog.table(&table).map(|table| &table.tenancy) {
                Some(
                    TableTenancy::Column { .. }
                    | TableTenancy::Through { .. }
                    | TableTenancy::Global,
                ) => {}
                Some(TableTenancy::Denied) | None => return Err(no_such_table()),
            }
            let action = table_action(routed.method());
            let id = snapshot.roles.permission(&table, action).ok_or_else(no_such_table)?;
            permit(tenancy, id, snapshot, trace)?;
        }
        PermissionRule::Function(capture) => {
            let name = routed.capture(capture).unwrap_or_default();
            let name = crate::postgrest::decode_segment(name).map_err(isolation_refusal)?;
            let function = snapshot.catalog.function(&name).ok_or_else(no_such_function)?;
            let id = snapshot.roles.permission(&function.name, CALL);
            permit(tenancy, id.ok_or_else(no_such_function)?, snapshot, trace)?;
        }
    }
    for condition in &route.conditions {
        hold(condition, tenancy)?;
        trace.note(Some(&route.source), || match condition {
            Condition::Feature(feature) => format!("feature `{feature}` is on"),
            Condition::PlanAtLeast { name, .. } => format!("plan `{name}` or above"),
        });
    }
    trace.decided_by = None;
    Ok(Authorized { tenanted })
}

/// Whether the caller's role may read a table that the request embeds. Only the isolate stage finds
/// out which these are; where the route asks for no permission on tables, nothing is asked here.
pub(super) fn may_embed(
    authorized: &Authorized<'_>,
    table: &str,
    snapshot: &Snapshot,
    trace: &mut Trace,
) -> Result<(), Refusal> {
    let tenanted = authorized.tenanted();
    match &tenanted.authenticated().routed().route().permission {
        PermissionRule::Table(_) | PermissionRule::Function(_) => {
            let id = snapshot.roles.permission(table, "read").ok_or_else(no_such_table)?;
            let asked = trace.permission.clone();
            permit(tenanted.tenancy(), id, snapshot, trace)?;
            // What the request as a whole was allowed by is what the record is to say.
            trace.permission = asked;
            Ok(())
        }
        PermissionRule::None | PermissionRule::Member | PermissionRule::Permission(_) => Ok(()),
    }
}

/// The default map for REST tables.
fn table_action(method: &Method) -> &'static str {
    match *method {
        Method::POST | Method::PUT | Method::PATCH => "write",
        Method::DELETE => "delete",
        _ => "read",
    }
}

fn permit(
    tenancy: Option<&Tenancy>,
    id: PermissionId,
    snapshot: &Snapshot,
    trace: &mut Trace,
) -> Result<(), Refusal> {
    let tenancy = tenancy.ok_or(Refusal::Internal("a permission without an organization"))?;
    let role = tenancy.role();
    let permission = snapshot.roles.name(id);
    trace.permission = Some(Arc::clone(&permission));
    if role.allows(id) {
        if trace.takes_notes() {
            let (resource, action) = permission.split_once(':').unwrap_or((&permission, ""));
            let grant = role.grant_for(resource, action);
            trace.note(grant.map(|grant| &grant.source), || match grant {
                Some(grant) => {
                    let (pattern, role) = (&grant.pattern, &grant.role);
                    format!("`{permission}` granted by `{pattern}` of role `{role}`")
                }
                None => format!("`{permission}` granted"),
            });
        }
        return Ok(());
    }
    trace.decided_by = Some(role.source.clone());
    trace.note(Some(&role.source), || {
        let holders: Vec<String> = snapshot
            .roles
            .roles()
            .filter(|other| other.allows(id))
            .map(|other| format!("`{}`", other.name))
            .collect();
        let holders = if holders.is_empty() { "no role".into() } else { holders.join(", ") };
        format!("role `{}` lacks `{permission}`; it is held by {holders}", role.name)
    });
    Err(Refusal::Forbidden { permission })
}

fn hold(condition: &Condition, tenancy: Option<&Tenancy>) -> Result<(), Refusal> {
    let tenancy = tenancy.ok_or(Refusal::Internal("a condition without an organization"))?;
    match condition {
        Condition::Feature(feature) => tenancy
            .organization()
            .features
            .contains(feature)
            .then_some(())
            .ok_or_else(|| Refusal::Condition(ConditionRefusal::Feature(Arc::clone(feature)))),
        Condition::PlanAtLeast { name, level } => (tenancy.plan_level() >= *level)
            .then_some(())
            .ok_or_else(|| Refusal::Condition(ConditionRefusal::Plan(Arc::clone(name)))),
    }
}

fn no_such_table() -> Refusal {
    Refusal::Isolation {
        status: StatusCode::NOT_FOUND,
        code: "table_not_found",
        message: "there is no such table",
        tenant_escape: None,
        cause: "a table that the catalogue does not open".into(),
    }
}

fn no_such_function() -> Refusal {
    Refusal::Isolation {
        status: StatusCode::NOT_FOUND,
        code: "function_not_found",
        message: "there is no such function",
        tenant_escape: None,
        cause: "a function that the catalogue does not open".into(),
    }
}
