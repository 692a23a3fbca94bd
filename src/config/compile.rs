//! From what the files say, each part by itself, to one snapshot: joins the files, resolves names,
//! and checks what only the whole can show.
//!
//! May import `domain` and `policy`.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::catalog::Caps;
use crate::policy::Snapshot;
use crate::policy::edge::EdgePolicy;
use crate::policy::gates::{self, GateDefinition, Gates};
use crate::policy::identity::IdentityPolicy;
use crate::policy::impersonation::ImpersonationPolicy;
use crate::policy::limits::{Limit, Plan, RateSource, Scope};
use crate::policy::logins::LoginPolicy;
use crate::policy::response::ResponsePolicy;
use crate::policy::roles::{
    CALL, IMPLIED_BY_ADMIN, PermissionPattern, RoleDefinition, RoleError, RoleTable, Separation,
};
use crate::policy::route::{TenantRule, TenantSource};
use crate::policy::snapshot::{RouteTable, SnapshotVersion};
use crate::policy::upstream::Upstream;

use super::catalog::compile::catalog;
use super::catalog::functions::{CapFields, FunctionFields};
use super::catalog::trial;
use super::catalog::{TableFields, TenancyFields};
use super::conditions::requirements;
use super::context::Context;
use super::decode::{At, Name, Named, nearest};
use super::defaults as preset;
use super::devices::Trusting;
use super::identity::IdentityFields;
use super::logins::LoginFields;
use super::policies::{
    GateFields, ImpersonationFields, LimitFields, LimitRate, PlainPermission, PlanFields,
    PolicyFile, RoleFields,
};
use super::quotas::{self, QuotaFields};
use super::resolve;
use super::routes::{PermissionFields, RouteFields, Target};
use super::rules::{self, RuleFields};
use super::sign_on::passed_on;
use super::upstreams::UpstreamFields;
use super::yaml::Span;

/// All policy files as one.
pub(super) struct Joined {
    pub(super) schema: Name,
    pub(super) plans: BTreeMap<Name, At<PlanFields>>,
    pub(super) roles: BTreeMap<Name, At<RoleFields>>,
    /// Pairs of roles that are kept apart.
    pub(super) separated: Vec<At<Vec<At<Name>>>>,
    /// Permissions that are asked for elsewhere than in routes.
    pub(super) permissions: Vec<(Name, Name)>,
    pub(super) gates: BTreeMap<Name, At<GateFields>>,
    /// In their order.
    pub(super) stages: Vec<Name>,
    pub(super) impersonation: Option<At<ImpersonationFields>>,
    pub(super) logins: Option<At<LoginFields>>,
    pub(super) limits: BTreeMap<Name, At<LimitFields>>,
    pub(super) quotas: BTreeMap<Name, At<QuotaFields>>,
    /// Views among them.
    pub(super) tables: BTreeMap<Name, At<TableFields>>,
    pub(super) functions: BTreeMap<Name, At<FunctionFields>>,
    pub(super) casts: Vec<Name>,
    pub(super) caps: Caps,
    pub(super) routes: Vec<At<RouteFields>>,
    response: ResponsePolicy,
    /// Of rule files, in their order.
    pub(super) rules: Vec<At<RuleFields>>,
    /// What the gateway file says of trusted devices.
    pub(super) trusting: Trusting,
}

/// Joins the files; what two of them state is an error that names both places.
pub(super) fn join(files: Vec<PolicyFile>, trusting: Trusting, cx: &mut Context<'_>) -> Joined {
    let mut joined = Joined {
        schema: Name::from(preset::SCHEMA.yaml),
        plans: BTreeMap::new(),
        roles: BTreeMap::new(),
        separated: Vec::new(),
        permissions: Vec::new(),
        gates: BTreeMap::new(),
        stages: Vec::new(),
        impersonation: None,
        logins: None,
        limits: BTreeMap::new(),
        quotas: BTreeMap::new(),
        tables: BTreeMap::new(),
        functions: BTreeMap::new(),
        casts: preset::CASTS.words().into_iter().map(Name::from).collect(),
        caps: Caps::default(),
        routes: Vec::new(),
        response: ResponsePolicy::default(),
        rules: Vec::new(),
        trusting,
    };
    let mut schema: Option<Span> = None;
    let mut casts: Option<Span> = None;
    let mut stages: Option<Span> = None;
    let mut impersonation: Option<Span> = None;
    let mut logins: Option<Span> = None;
    let mut caps: Option<Span> = None;
    let mut response: Option<Span> = None;
    let mut routes: BTreeMap<Name, Span> = BTreeMap::new();
    for file in files {
        if let Some(At { value, span }) = file.schema {
            once("schema", span, &mut schema, cx);
            joined.schema = Name::from(value.0);
        }
        if let Some(At { value, span }) = file.casts {
            once("casts", span, &mut casts, cx);
            joined.casts = value.into_iter().map(|name| name.0).collect();
        }
        if let Some(At { value, span }) = file.stages {
            once("stages", span, &mut stages, cx);
            for At { value: stage, span } in value {
                if joined.stages.contains(&stage) {
                    cx.error(span, format!("the stage `{stage}` is listed twice"));
                }
                joined.stages.push(stage);
            }
        }
        if let Some(stated) = file.impersonation {
            once("impersonation", stated.span, &mut impersonation, cx);
            joined.impersonation = Some(stated);
        }
        if let Some(stated) = file.logins {
            once("logins", stated.span, &mut logins, cx);
            joined.logins = Some(stated);
        }
        joined.separated.extend(file.separate);
        joined.permissions.extend(file.permissions.into_iter().map(|named| (named.0, named.1)));
        if let Some(At { value, span }) = file.rest_caps {
            once("rest_caps", span, &mut caps, cx);
            let CapFields { depth, embeds, filters } = value;
            joined.caps = Caps { depth, embeds, filters };
        }
        if let Some(At { value, span }) = file.response {
            once("response", span, &mut response, cx);
            joined.response = value.policy();
        }
        gather("plan", file.plans, &mut joined.plans, cx);
        gather("role", file.roles, &mut joined.roles, cx);
        gather("gate", file.gates, &mut joined.gates, cx);
        gather("limit", file.limits, &mut joined.limits, cx);
        gather("quota", file.quotas, &mut joined.quotas, cx);
        gather("table", file.tables, &mut joined.tables, cx);
        let views = file
            .views
            .0
            .into_iter()
            .map(|(name, At { value: view, span })| (name, At { value: view.0, span }));
        gather("view", Named(views.collect()), &mut joined.tables, cx);
        gather("function", file.rpc, &mut joined.functions, cx);
        for route in file.routes {
            let name = &route.value.name;
            if let Some(first) = routes.get(&name.value) {
                cx.error(name.span, format!("a second route is called `{}`", name.value))
                    .related(*first, "the first one")
                    .hint("rename one: limits, metrics and the audit log tell routes by name");
            } else {
                routes.insert(name.value.clone(), name.span);
            }
            joined.routes.push(route);
        }
    }
    joined
}

fn once(key: &str, span: Span, first: &mut Option<Span>, cx: &mut Context<'_>) {
    match *first {
        None => *first = Some(span),
        Some(first) => {
            cx.error(span, format!("`{key}` is stated twice"))
                .related(first, "stated here")
                .hint("keep it in one file");
        }
    }
}

fn gather<T>(kind: &str, from: Named<T>, into: &mut BTreeMap<Name, At<T>>, cx: &mut Context<'_>) {
    for (name, value) in from.0 {
        match into.get(&name.value) {
            Some(first) => {
                let first = first.span;
                cx.error(name.span, format!("the {kind} `{}` is defined twice", name.value))
                    .related(first, "defined here")
                    .hint("keep one of the two");
            }
            None => {
                into.insert(name.value, value);
            }
        }
    }
}

/// What the gateway file brings into a snapshot.
pub(super) struct Base {
    pub(super) edge: Option<EdgePolicy>,
    pub(super) identity: Option<IdentityFields>,
    pub(super) upstreams: Option<Named<UpstreamFields>>,
}

/// Compiles everything. The result counts only if no error was reported.
pub(super) fn snapshot(base: Base, joined: &Joined, cx: &mut Context<'_>) -> Option<Snapshot> {
    let upstreams: Option<Vec<(Arc<Upstream>, Span)>> = base.upstreams.map(|upstreams| {
        let upstreams = upstreams.0.into_iter();
        upstreams.map(|(name, at)| (Arc::new(at.value.named(name.value)), at.span)).collect()
    });
    let plans = plans(joined, cx);
    let limits = limits(joined, cx);
    let quotas = quotas::compile(joined, cx);
    let catalog = Arc::new(catalog(joined, cx));
    let roles = roles(joined, cx);
    let gates = gates(joined, &roles, cx);
    if let (Some(identity), Some(edge)) = (&base.identity, &base.edge) {
        token_fits(identity, edge, cx);
    }
    // Where it is wrong, nothing more is to be said of it.
    let machines = base.identity.as_ref().is_none_or(|of| of.machines);
    let pepper = base.identity.as_ref().and_then(|fields| fields.logins.clone());
    let logins = joined.logins.as_ref().and_then(|stated| stated.value.0.clone());
    let logins = logins.map(|logins| Arc::new(LoginPolicy { pepper, ..logins }));
    let identity = base.identity.map(|fields| identity(fields, joined, cx));
    let impersonation = impersonation(joined, &roles, cx);
    let response = Arc::new(joined.response.clone());
    let whole = resolve::Whole {
        upstreams: upstreams.as_deref(),
        limits: &limits,
        logins: logins.is_some(),
        quotas: &quotas,
        roles: &roles,
        response: &response,
        machines,
        complete: !cx.failed(),
    };
    let routes = resolve::routes(joined, &whole, cx);
    let named = rules::compile::Whole { upstreams: upstreams.as_deref(), limits: &limits };
    let rules = rules::compile::compile(&joined.rules, &named, cx);
    let upstreams = upstreams?;
    trial::told(&joined.tables, &upstreams, cx);
    unused(joined, &upstreams, machines, cx);
    if let Some(identity) = &identity {
        passed_on(identity, &joined.routes, &joined.rules, &upstreams, cx);
    }
    Some(Snapshot {
        version: SnapshotVersion(Arc::from("")),
        edge: base.edge?,
        identity: identity?,
        roles,
        gates,
        impersonation,
        plans,
        limits,
        logins,
        catalog,
        upstreams: upstreams.into_iter().map(|(upstream, _)| upstream).collect(),
        routes: RouteTable::new(routes),
        rules,
        response,
    })
}

/// Reports a name that is not defined, with the nearest that is.
pub(super) fn unknown<'n>(
    kind: &str,
    name: &At<Name>,
    known: impl IntoIterator<Item = &'n Name>,
    cx: &mut Context<'_>,
) {
    // What is defined and was refused has been reported.
    if cx.refused(&name.value) {
        return;
    }
    let known: Vec<&str> = known.into_iter().map(AsRef::as_ref).collect();
    let hint = match nearest(&name.value, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => format!("no {kind} is defined"),
        None => format!("defined are {}", super::decode::listed(&known)),
    };
    cx.error(name.span, format!("unknown {kind} `{}`", name.value)).hint(hint);
}

fn plans(joined: &Joined, cx: &Context<'_>) -> BTreeMap<Name, Plan> {
    let plan = |(name, at): (&Name, &At<PlanFields>)| {
        let level = at.value.level.get();
        (name.clone(), Plan { name: name.clone(), level, source: cx.source(at.span) })
    };
    joined.plans.iter().map(plan).collect()
}

fn limits(joined: &Joined, cx: &mut Context<'_>) -> BTreeMap<Name, Arc<Limit>> {
    let mut out = BTreeMap::new();
    for (name, At { value, span }) in &joined.limits {
        let cost = value.cost.value;
        // The largest that is let through to be charged.
        let most = cost.most(joined.caps.embeds);
        let mut bursts = Vec::new();
        let rate = match &value.rate {
            LimitRate::Fixed(rate) => {
                bursts.push((rate.value.burst, rate.span));
                RateSource::Fixed(rate.value)
            }
            LimitRate::ByPlan { rates, otherwise } => {
                bursts.push((otherwise.value.burst, otherwise.span));
                let mut by_plan = BTreeMap::new();
                for (plan, rate) in &rates.value.0 {
                    bursts.push((rate.value.burst, rate.span));
                    if !joined.plans.contains_key(&plan.value) {
                        unknown("plan", plan, joined.plans.keys(), cx);
                    }
                    by_plan.insert(plan.value.clone(), rate.value);
                }
                for plan in joined.plans.keys().filter(|plan| !by_plan.contains_key(*plan)) {
                    cx.error(
                        rates.span,
                        format!("the limit `{name}` has no rate for the plan `{plan}`"),
                    )
                    .hint(
                        "state one: a plan that is left out would have no limit or none to spend",
                    );
                }
                RateSource::ByPlan { rates: by_plan, otherwise: otherwise.value }
            }
        };
        for (burst, at) in bursts {
            if burst < most {
                let up_to = if most > cost.base { "up to " } else { "" };
                cx.error(
                    at,
                    format!("a request costs {up_to}{most}, but the bucket holds {burst}"),
                )
                .related(value.cost.span, "the cost")
                .hint(if burst < cost.base {
                    "no request would ever pass: raise `burst` or lower `cost`"
                } else {
                    "such a request would never pass: raise `burst`, lower `cost` or `rest_caps`"
                });
            }
        }
        let limit = Limit {
            name: name.clone(),
            scope: value.scope,
            rate,
            cost,
            when_away: value.when_away,
            mode: value.mode,
            penalty: value.penalty.map(Arc::new),
            source: cx.source(*span),
        };
        out.insert(name.clone(), Arc::new(limit));
    }
    out
}

/// Every permission that something asks for: the closed world that wildcards range over.
fn asked(joined: &Joined) -> BTreeSet<(Name, Name)> {
    let mut asked = BTreeSet::new();
    for (name, table) in &joined.tables {
        if !matches!(table.value.tenancy, TenancyFields::Denied) {
            asked.extend(IMPLIED_BY_ADMIN.map(|action| (name.clone(), Name::from(action))));
        }
    }
    asked.extend(joined.permissions.iter().cloned());
    if let Some(At { value, .. }) = &joined.impersonation {
        let PlainPermission(resource, action) = &value.permission.value;
        asked.insert((resource.clone(), action.clone()));
    }
    asked.extend(joined.functions.keys().map(|name| (name.clone(), Name::from(CALL))));
    for route in &joined.routes {
        let Target::Upstream(passage) = &route.value.target else { continue };
        if let PermissionFields::Named(resource, action) = &passage.permission.value {
            asked.insert((resource.clone(), action.clone()));
        }
        if let Some(At { value: PlainPermission(resource, action), .. }) =
            &passage.shadow_permission
        {
            asked.insert((resource.clone(), action.clone()));
        }
    }
    asked
}

/// The permissions on the resource that a pattern names, or on all.
fn about<'a>(
    pattern: &'a PermissionPattern,
    asked: &'a BTreeSet<(Name, Name)>,
) -> impl Iterator<Item = &'a (Name, Name)> {
    let all = &*pattern.resource == "*";
    let first = if all { Name::from("") } else { Name::from(&*pattern.resource) };
    let from = asked.range((first, Name::from(""))..);
    from.take_while(move |(resource, _)| all || **resource == *pattern.resource)
}

fn roles(joined: &Joined, cx: &mut Context<'_>) -> RoleTable {
    let asked = asked(joined);
    // A table or route that was refused may be what asks.
    let all_there = !cx.failed();
    let mut definitions = Vec::new();
    for (name, At { value, span }) in &joined.roles {
        for pattern in &value.permissions {
            let means = |(r, a): &(Name, Name)| pattern.value.grants(r, a);
            if all_there && !about(&pattern.value, &asked).any(means) {
                grants_nothing(pattern, &asked, "grants nothing", cx);
            }
        }
        for parent in &value.inherits {
            if !joined.roles.contains_key(&parent.value) {
                unknown("role", parent, joined.roles.keys(), cx);
            }
        }
        let known = value.inherits.iter().filter(|p| joined.roles.contains_key(&p.value));
        definitions.push(RoleDefinition {
            name: name.clone(),
            inherits: known.map(|p| (p.value.clone(), cx.source(p.span))).collect(),
            permissions: value
                .permissions
                .iter()
                .map(|p| (p.value.clone(), cx.source(p.span)))
                .collect(),
            level: value.level.map_or(1, NonZeroU32::get),
            requires: requirements(&format!("role {name}"), &value.require, joined, cx),
            source: cx.source(*span),
        });
    }
    let separated = separated(joined, cx);
    let errors = match RoleTable::compile(&definitions, separated, &asked) {
        Ok(table) => return table,
        Err(errors) => errors,
    };
    let mut circles: Vec<BTreeSet<String>> = Vec::new();
    for error in errors {
        match &error {
            RoleError::Cycle { role, cycle, .. } => {
                // Each role of a circle reports it.
                let circle = cycle.iter().cloned().collect();
                if circles.contains(&circle) {
                    continue;
                }
                circles.push(circle);
                let span = joined.roles.get(role).map(|at| at.span).unwrap_or_default();
                cx.error(span, error.to_string()).hint("remove one `inherits` of the circle");
            }
            RoleError::Together { role, .. } => {
                let span = joined.roles.get(role).map(|at| at.span).unwrap_or_default();
                cx.error(span, error.to_string()).hint("remove one of its `inherits`");
            }
            RoleError::UnknownParent { .. } | RoleError::TooMany => {
                cx.error(Span::default(), error.to_string());
            }
        }
    }
    RoleTable::default()
}

fn gates(joined: &Joined, roles: &RoleTable, cx: &mut Context<'_>) -> Gates {
    let asked = asked(joined);
    let all_there = !cx.failed();
    let mut out = Vec::new();
    for (name, At { value, .. }) in &joined.gates {
        for pattern in &value.permissions.0 {
            let means = |(r, a): &(Name, Name)| gates::covers(&pattern.value, r, a);
            if all_there && !about(&pattern.value, &asked).any(means) {
                grants_nothing(pattern, &asked, "means nothing", cx);
            }
        }
        out.push(GateDefinition {
            name: name.clone(),
            permissions: value.permissions.0.iter().map(|at| at.value.clone()).collect(),
            requires: requirements(&format!("gate {name}"), &value.require.0, joined, cx),
            mode: value.mode,
        });
    }
    Gates::compile(out, roles)
}

/// The pairs of roles that are kept apart.
fn separated(joined: &Joined, cx: &mut Context<'_>) -> Vec<Separation> {
    let mut out = Vec::new();
    for At { value: pair, span } in &joined.separated {
        for name in pair.iter().filter(|name| !joined.roles.contains_key(&name.value)) {
            unknown("role", name, joined.roles.keys(), cx);
        }
        match &pair[..] {
            [one, other] if one.value != other.value => {
                let roles = [one.value.clone(), other.value.clone()];
                out.push(Separation { roles, source: cx.source(*span) });
            }
            _ => {
                cx.error(*span, "two different roles are kept apart")
                    .hint("write `[requester, approver]`");
            }
        }
    }
    out
}

fn impersonation(
    joined: &Joined,
    roles: &RoleTable,
    cx: &mut Context<'_>,
) -> Option<ImpersonationPolicy> {
    let At { value, span } = joined.impersonation.as_ref()?;
    let PlainPermission(resource, action) = &value.permission.value;
    // Missing only where the roles could not be compiled, which was reported.
    let permission = roles.permission(resource, action)?;
    if !cx.failed() && !roles.anybody(permission) {
        let message = format!("no role has the permission `{resource}:{action}`");
        cx.warning(value.permission.span, message)
            .hint("grant it to a role, or to members in the directory");
    }
    Some(ImpersonationPolicy {
        staff: value.staff.clone(),
        permission,
        within: Duration::from_secs(value.within.0),
        read_only: value.read_only,
        source: cx.source(*span),
    })
}

fn grants_nothing(
    pattern: &At<PermissionPattern>,
    asked: &BTreeSet<(Name, Name)>,
    fault: &str,
    cx: &mut Context<'_>,
) {
    let stated = pattern.value.to_string();
    let all: Vec<String> = asked.iter().map(|(r, a)| format!("{r}:{a}")).collect();
    let hint = match nearest(&stated, all.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "no table and no route asks for it: remove it, or list the table".to_owned(),
    };
    cx.error(pattern.span, format!("the permission `{stated}` {fault}")).hint(hint);
}

fn identity(fields: IdentityFields, joined: &Joined, cx: &mut Context<'_>) -> IdentityPolicy {
    let stated = [&fields.service_role, &fields.anonymous_role].into_iter().flatten();
    for role in stated.chain(&fields.mapped_roles) {
        if !joined.roles.contains_key(&role.value) {
            unknown("role", role, joined.roles.keys(), cx);
        }
    }
    let mut policy = fields.policy;
    for route in &joined.routes {
        let Target::Upstream(passage) = &route.value.target else { continue };
        let TenantRule::Sources(sources) = &passage.tenant.value else { continue };
        for source in sources {
            if let TenantSource::Claim(path) = source
                && !policy.organization_claims.contains(path)
            {
                policy.organization_claims.push(path.clone());
            }
        }
    }
    policy
}

/// A token that the edge has refused already is never looked at.
fn token_fits(identity: &IdentityFields, edge: &EdgePolicy, cx: &mut Context<'_>) {
    if identity.policy.max_token_bytes > edge.max_header_bytes {
        cx.error(identity.token_span, "`max_token_bytes` is above the edge's `max_header_bytes`")
            .hint("tokens travel in headers: raise the one or lower the other");
    }
}

/// What nothing uses was often meant to be used.
fn unused(
    joined: &Joined,
    upstreams: &[(Arc<Upstream>, Span)],
    machines: bool,
    cx: &mut Context<'_>,
) {
    // What was refused may be what uses it.
    if cx.failed() {
        return;
    }
    let (mut led_to, mut charged) = (BTreeSet::new(), BTreeSet::new());
    let mut counted = BTreeSet::new();
    for name in rules::compile::names(&joined.rules) {
        led_to.insert(name);
        charged.insert(name);
    }
    for route in &joined.routes {
        let Target::Upstream(passage) = &route.value.target else { continue };
        led_to.insert(&passage.upstream.value);
        charged.extend(passage.limits.iter().map(|limit| &limit.value));
        counted.extend(passage.quotas.iter().map(|quota| &quota.value));
    }
    for (upstream, span) in upstreams {
        if !led_to.contains(&upstream.name) {
            cx.warning(*span, format!("no route leads to the upstream `{}`", upstream.name))
                .hint("add a route, or remove it");
        }
    }
    for (name, quota) in &joined.quotas {
        if !counted.contains(name) {
            cx.warning(quota.span, format!("no route is under the quota `{name}`"))
                .hint("name it in the `quotas` of a route, or remove it");
        }
    }
    for (name, limit) in &joined.limits {
        // Keys of machines name limits of their own.
        let of_keys = machines && limit.value.scope == Scope::Key;
        if !of_keys && !charged.contains(name) {
            cx.warning(limit.span, format!("no route is charged to the limit `{name}`"))
                .hint("name it in the `limits` of a route, or remove it");
        }
    }
}
