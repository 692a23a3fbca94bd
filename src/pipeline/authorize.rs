//! Stage 5, authorize: may the caller's role do this, and does the rest that the route asks for
//! hold?

use std::sync::Arc;

use http::{Method, StatusCode};

use crate::domain::catalog::Tenancy as TableTenancy;
use crate::domain::clock::Now;
use crate::domain::refusal::Refusal;
use crate::domain::trusted::TrustedDevice;
use crate::domain::would::PolicyKind;
use crate::policy::Snapshot;
use crate::policy::condition::{Condition, Requirement};
use crate::policy::known::Known;
use crate::policy::mode::Mode;
use crate::policy::rights::Right;
use crate::policy::roles::{CALL, PermissionId, Role};
use crate::policy::route::{PermissionRule, ShadowPermission};

use super::conditions::Circumstances;
use super::devices;
use super::isolate::isolation_refusal;
use super::tenant::Tenanted;
use super::trace::{Stage, Trace};

/// Proof that the caller may do what the route asks for.
#[derive(Debug)]
pub struct Authorized<'h> {
    tenanted: Tenanted<'h>,
    asked: Asked<'h>,
    /// The caller's trusted device.
    device: Option<TrustedDevice>,
    /// When it was proven; what is embedded is looked at in the same moment.
    now: Now,
}

/// Who was asked for what is known; what is embedded is asked of the same.
#[derive(Clone, Copy)]
struct Asked<'h>(&'h dyn Known);

impl std::fmt::Debug for Asked<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Asked")
    }
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
    known: &'h dyn Known,
    trace: &mut Trace,
    now: Now,
) -> Result<Authorized<'h>, Refusal> {
    trace.enter(Stage::Authorize);
    let routed = tenanted.authenticated().routed();
    let route = Arc::clone(routed.route());
    trace.decided_by = Some(route.source.clone());
    let who = tenanted.authenticated();
    let device = devices::shown(who, snapshot, known, trace, now);
    let circumstances = tenanted.tenancy();
    let circumstances = circumstances.map(|of| Circumstances::of(of, who, device, known, now));
    let caller = Caller { circumstances: circumstances.as_ref(), snapshot };
    match &route.permission {
        PermissionRule::None => {
            trace.note(Some(&route.source), || "no permission asked for".into());
        }
        PermissionRule::Member => {
            let roles = caller.here()?.tenancy().rights().roles();
            if roles.is_empty() {
                // A machine is no member, and has no role whose conditions could hold.
                return Err(Refusal::Forbidden { permission: "member".into() });
            }
            caller.some_role(roles.iter(), trace)?;
            trace.note(Some(&route.source), || "any member may".into());
        }
        PermissionRule::Permission(id) => caller.permit(*id, trace)?,
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
            caller.permit(id, trace)?;
        }
        PermissionRule::Function(capture) => {
            let name = routed.capture(capture).unwrap_or_default();
            let name = crate::postgrest::decode_segment(name).map_err(isolation_refusal)?;
            let function = snapshot.catalog.function(&name).ok_or_else(no_such_function)?;
            let id = snapshot.roles.permission(&function.name, CALL);
            caller.permit(id.ok_or_else(no_such_function)?, trace)?;
        }
    }
    caller.meets(&route.conditions, trace)?;
    if let Some(tried) = &route.shadow_permission {
        caller.tries(tried, &route.name, trace);
    }
    if let Some(circumstances) = &circumstances {
        // The directory says so, and no line of a policy.
        trace.decided_by = None;
        circumstances.demands().map_err(Refusal::Condition)?;
    }
    trace.decided_by = None;
    devices::asked(&tenanted, snapshot, trace, now)?;
    Ok(Authorized { tenanted, asked: Asked(known), device, now })
}

/// Whether the caller's role may read a table whose rows the answer shows besides those that the
/// request was allowed for: one that it embeds, or one that it writes to and has its rows come back.
/// Only the isolate stage finds out which these are; where the route asks for no permission on
/// tables, nothing is asked here.
pub(super) fn may_see(
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
            let tenancy = tenanted.tenancy();
            let (who, Asked(known)) = (tenanted.authenticated(), authorized.asked);
            let (device, now) = (authorized.device, authorized.now);
            let here = tenancy.map(|of| Circumstances::of(of, who, device, known, now));
            Caller { circumstances: here.as_ref(), snapshot }.permit(id, trace)?;
            // What the request as a whole was allowed by is what the record is to say.
            trace.permission = asked;
            Ok(())
        }
        PermissionRule::None | PermissionRule::Member | PermissionRule::Permission(_) => Ok(()),
    }
}

/// The highest rank of the caller's roles that count: those whose conditions hold.
pub(super) fn level(authorized: &Authorized<'_>) -> u32 {
    let tenanted = authorized.tenanted();
    let Some(tenancy) = tenanted.tenancy() else { return 0 };
    let (who, Asked(known)) = (tenanted.authenticated(), authorized.asked);
    let here = Circumstances::of(tenancy, who, authorized.device, known, authorized.now);
    let roles = tenancy.rights().roles().iter();
    let counting = roles.filter(|role| here.failing(&role.requires).is_none());
    counting.map(|role| role.level).max().unwrap_or(0)
}

/// The default map for REST tables.
fn table_action(method: &Method) -> &'static str {
    match *method {
        Method::POST | Method::PUT | Method::PATCH => "write",
        Method::DELETE => "delete",
        _ => "read",
    }
}

/// Who asks, where and when.
struct Caller<'c> {
    /// `None` where the route belongs to no organization.
    circumstances: Option<&'c Circumstances<'c>>,
    snapshot: &'c Snapshot,
}

impl<'c> Caller<'c> {
    fn here(&self) -> Result<&'c Circumstances<'c>, Refusal> {
        self.circumstances.ok_or(Refusal::Internal("a right without an organization"))
    }

    /// The right comes first: whoever lacks it is not told what else is asked for.
    fn permit(&self, id: PermissionId, trace: &mut Trace) -> Result<(), Refusal> {
        self.has(id, trace)?;
        self.meets(self.snapshot.gates.of(id), trace)
    }

    fn has(&self, id: PermissionId, trace: &mut Trace) -> Result<(), Refusal> {
        let rights = self.here()?.tenancy().rights();
        let roles = &self.snapshot.roles;
        let permission = roles.name(id);
        trace.permission = Some(Arc::clone(&permission));
        match rights.to(id, &permission) {
            Right::Role(_) => {
                let role = self.some_role(rights.roles_with(id), trace)?;
                if trace.takes_notes() {
                    let (resource, action) =
                        permission.split_once(':').unwrap_or((&permission, ""));
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
            Right::Grant(pattern) => {
                trace.note(None, || format!("`{permission}` granted to the member by `{pattern}`"));
                return Ok(());
            }
            Right::Scope(pattern) => {
                trace.note(None, || format!("`{permission}` granted to the key by `{pattern}`"));
                return Ok(());
            }
            Right::Denial(pattern) => {
                trace.decided_by = None;
                trace.note(None, || format!("`{permission}` denied to the member by `{pattern}`"));
            }
            Right::None => {
                let first = rights.roles().first();
                trace.decided_by = first.map(|role| role.source.clone());
                trace.note(first.map(|role| &role.source), || {
                    let names = match rights.roles() {
                        [] => "the key".to_owned(),
                        roles => format!("role {}", listed(roles.iter())),
                    };
                    let holders = listed(roles.roles().filter(|other| other.allows(id)));
                    format!("{names} lacks `{permission}`; it is held by {holders}")
                });
            }
        }
        Err(Refusal::Forbidden { permission })
    }

    /// The first of these roles whose conditions hold. That others ask for more takes nothing away.
    fn some_role<'r>(
        &self,
        roles: impl Iterator<Item = &'r Arc<Role>>,
        trace: &mut Trace,
    ) -> Result<&'r Arc<Role>, Refusal> {
        let here = self.here()?;
        let (mut first, mut counting) = (None, None);
        for role in roles {
            match here.failing(&role.requires) {
                // One of which what is only tried holds as well, if there is one.
                None if here.failing_in_shadow(&role.requires).next().is_none() => {
                    counting = Some(role);
                    break;
                }
                None => counting = counting.or(Some(role)),
                Some(failing) => first = first.or(Some(failing)),
            }
        }
        if let Some(role) = counting {
            noted(&role.requires, trace);
            would_refuse(here, &role.requires, trace);
            return Ok(role);
        }
        let (requirement, refusal) = first.ok_or(Refusal::Internal("a right of no role"))?;
        trace.decided_by = Some(requirement.source.clone());
        Err(Refusal::Condition(refusal))
    }

    fn meets(&self, requirements: &[Requirement], trace: &mut Trace) -> Result<(), Refusal> {
        if requirements.is_empty() {
            return Ok(());
        }
        let here = self.here()?;
        if let Some((requirement, refusal)) = here.failing(requirements) {
            trace.decided_by = Some(requirement.source.clone());
            return Err(Refusal::Condition(refusal));
        }
        noted(requirements, trace);
        would_refuse(here, requirements, trace);
        Ok(())
    }

    /// What would become of the caller if the route asked for this permission.
    fn tries(&self, tried: &ShadowPermission, route: &Arc<str>, trace: &mut Trace) {
        // What the request is allowed by is what the record is to say.
        let (permission, decided_by) = (trace.permission.take(), trace.decided_by.take());
        let outcome = self.permit(tried.permission, trace);
        (trace.permission, trace.decided_by) = (permission, decided_by);
        if let Err(refusal) = outcome {
            trace.would_have(PolicyKind::Permission, route, &tried.source, &refusal);
        }
    }
}

/// What conditions that are only tried would have refused.
fn would_refuse(here: &Circumstances<'_>, requirements: &[Requirement], trace: &mut Trace) {
    for (requirement, refusal) in here.failing_in_shadow(requirements) {
        let Requirement { of, source, .. } = requirement;
        trace.would_have(PolicyKind::Condition, of, source, &Refusal::Condition(refusal));
    }
}

fn noted(requirements: &[Requirement], trace: &mut Trace) {
    if trace.takes_notes() {
        let deciding = requirements.iter().filter(|of| of.mode == Mode::Enforce);
        deciding.for_each(|requirement| note(requirement, trace));
    }
}

fn note(requirement: &Requirement, trace: &mut Trace) {
    trace.note(Some(&requirement.source), || match &requirement.condition {
        Condition::Feature { name, .. } => format!("feature `{name}` is on"),
        Condition::PlanAtLeast { name, .. } => format!("plan `{name}` or above"),
        Condition::SecondFactor { device: None, .. } => "a second factor was shown".into(),
        Condition::SecondFactor { device: Some(_), .. } => {
            "a second factor was shown, or a trusted device".into()
        }
        Condition::SessionAge(_) => "the session is young enough".into(),
        Condition::SessionIdle(_) => "the session did not rest for too long".into(),
        Condition::Addresses(_) => "the address is in an allowed network".into(),
        Condition::Hours(_) => "it is within the hours".into(),
        Condition::Stage { name, .. } => format!("stage `{name}` is reached"),
        Condition::When(expression) => format!("`{}` holds", expression.text().trim()),
    });
}

fn listed<'r>(roles: impl Iterator<Item = &'r Arc<Role>>) -> String {
    let names: Vec<String> = roles.map(|role| format!("`{}`", role.name)).collect();
    if names.is_empty() { "no role".into() } else { names.join(", ") }
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
