//! Routes with their names resolved, and what has to hold between a route and what it names.
//!
//! May import `domain` and `policy`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::policy::limits::{Limit, Scope};
use crate::policy::mode::Mode;
use crate::policy::path::PathPattern;
use crate::policy::quotas::Quota;
use crate::policy::response::ResponsePolicy;
use crate::policy::roles::RoleTable;
use crate::policy::route::{
    CredentialRule, Destination, HostMatch, PermissionRule, Route, ShadowPermission, TeamSource,
    TenantRule, TenantSource,
};
use crate::policy::upstream::{Upstream, UpstreamKind};

use super::compile::{Joined, unknown};
use super::conditions;
use super::context::Context;
use super::decode::{At, Name};
use super::machines;
use super::policies::PlainPermission;
use super::quotas;
use super::routes::{Passage, PermissionFields, RouteFields, Target};
use super::yaml::Span;

/// What routes name.
pub(super) struct Whole<'w> {
    /// `None` where they were refused.
    pub(super) upstreams: Option<&'w [(Arc<Upstream>, Span)]>,
    pub(super) limits: &'w BTreeMap<Name, Arc<Limit>>,
    /// Whether attempts to sign in are counted, and accounts known.
    pub(super) logins: bool,
    pub(super) quotas: &'w BTreeMap<Name, Arc<Quota>>,
    pub(super) roles: &'w RoleTable,
    pub(super) response: &'w Arc<ResponsePolicy>,
    /// Whether the configuration says how keys of machines are hashed.
    pub(super) machines: bool,
    /// Whether nothing was refused so far.
    pub(super) complete: bool,
}

/// Resolves all routes.
pub(super) fn routes(joined: &Joined, whole: &Whole<'_>, cx: &mut Context<'_>) -> Vec<Arc<Route>> {
    overlaps(&joined.routes, cx);
    joined
        .routes
        .iter()
        .filter_map(|route| resolve(&route.value, route.span, joined, whole, cx))
        .map(Arc::new)
        .collect()
}

/// Two routes of which neither is the more specific must not fit the same request.
fn overlaps(routes: &[At<RouteFields>], cx: &mut Context<'_>) {
    // Routes of one host and one shape of path, which only methods can tell apart.
    let mut alike: BTreeMap<(&HostMatch, String), Vec<&RouteFields>> = BTreeMap::new();
    for At { value: route, .. } in routes {
        let (host, path) = (&route.when.host.value, &route.when.path);
        let earlier = alike.entry((host, path.value.shape())).or_default();
        let same = earlier.iter().find(|other| other.when.methods.overlaps(&route.when.methods));
        if let Some(first) = same {
            let (one, other) = (&first.name.value, &route.name.value);
            let message = format!("the routes `{one}` and `{other}` fit the same requests");
            cx.error(path.span, message)
                .related(first.when.path.span, format!("the path of `{one}`"))
                .hint("tell them apart by host, path or methods");
        }
        earlier.push(route);
    }
}

fn resolve(
    fields: &RouteFields,
    span: Span,
    joined: &Joined,
    whole: &Whole<'_>,
    cx: &mut Context<'_>,
) -> Option<Route> {
    let response = match &fields.response {
        None => Arc::clone(whole.response),
        Some(own) => Arc::new(own.over(whole.response)),
    };
    let when = &fields.when;
    let shut = Route {
        name: fields.name.value.clone(),
        host: when.host.value.clone(),
        path: when.path.value.clone(),
        methods: when.methods.clone(),
        destination: Destination::Closed,
        credential: CredentialRule::Open,
        machines: false,
        tenant: TenantRule::None,
        team: Vec::new(),
        permission: PermissionRule::None,
        shadow_permission: None,
        conditions: Vec::new(),
        limits: Vec::new(),
        quotas: Vec::new(),
        max_body_bytes: 0,
        read_timeout: None,
        websocket: None,
        response,
        audit: fields.audit,
        source: cx.source(span),
    };
    let passage = match &fields.target {
        Target::Closed => return Some(shut),
        Target::Upstream(passage) => passage,
    };
    prefix(passage, &when.path.value, cx);
    sources(passage, &when.host.value, &when.path.value, cx);
    let destination = destination(passage, whole, fields, cx);
    team(passage, &when.path.value, cx);
    machines::admitted(passage, whole.machines, cx);
    let conditions = conditions::requirements(
        &format!("route {}", fields.name.value),
        &passage.require,
        joined,
        cx,
    );
    let auth = match (&destination, whole.upstreams) {
        (Some(Destination::Upstream { upstream, .. }), Some(upstreams)) => upstreams
            .get(*upstream)
            .is_some_and(|(upstream, _)| upstream.kind == UpstreamKind::Auth),
        // Where that is wrong, nothing more is to be said of it.
        _ => true,
    };
    let limits = limits(passage, auth, whole, cx);
    let quotas = quotas::of_route(passage, whole, cx);
    let permission = permission(passage, &when.path.value, whole, cx);
    let shadow_permission = shadow_permission(passage, whole, cx);
    Some(Route {
        destination: destination?,
        credential: passage.credential.value.rule,
        machines: passage.credential.value.machines,
        tenant: passage.tenant.value.clone(),
        team: passage.team.iter().map(|source| source.value.clone()).collect(),
        permission: permission?,
        shadow_permission,
        conditions,
        limits,
        quotas,
        max_body_bytes: passage.max_body_bytes,
        read_timeout: passage.read_timeout,
        websocket: passage.websocket,
        ..shut
    })
}

fn prefix(passage: &Passage, path: &PathPattern, cx: &mut Context<'_>) {
    let At { value: prefix, span } = &passage.strip_prefix;
    let tail = path.as_str().strip_prefix(prefix.as_ref());
    if !tail.is_some_and(|tail| tail.is_empty() || tail.starts_with('/')) {
        cx.error(*span, format!("the path `{path}` does not begin with the prefix `{prefix}`"))
            .hint("strip what the path of the route states in front");
    }
}

fn destination(
    passage: &Passage,
    whole: &Whole<'_>,
    fields: &RouteFields,
    cx: &mut Context<'_>,
) -> Option<Destination> {
    let named = &passage.upstream;
    let upstreams = whole.upstreams?;
    let found = upstreams.iter().position(|(upstream, _)| upstream.name == named.value);
    let Some((index, (upstream, _))) = found.and_then(|i| Some((i, upstreams.get(i)?))) else {
        let names: Vec<&Name> = upstreams.iter().map(|(upstream, _)| &upstream.name).collect();
        unknown("upstream", named, names, cx);
        return None;
    };
    if upstream.kind == UpstreamKind::Postgrest {
        confined(passage, fields, cx);
    }
    let strip_prefix = passage.strip_prefix.value.clone();
    Some(Destination::Upstream { upstream: index, strip_prefix })
}

/// A PostgREST upstream is reached only for one organization and one table or function of the
/// catalogue.
fn confined(passage: &Passage, fields: &RouteFields, cx: &mut Context<'_>) {
    if passage.tenant.value == TenantRule::None {
        cx.error(passage.tenant.span, "a route to PostgREST needs an organization")
            .related(passage.upstream.span, "its upstream is of kind `postgrest`")
            .hint(
                "state `tenant` sources: without them, every row of every organization is in reach",
            );
        return;
    }
    let (capture, before, what) = match &passage.permission.value {
        PermissionFields::Table(capture) => (capture, "/", "table"),
        PermissionFields::Function(capture) => (capture, "/rpc/", "function"),
        PermissionFields::None | PermissionFields::Member | PermissionFields::Named(..) => {
            cx.error(
                passage.permission.span,
                "a route to PostgREST needs the permission of a table or function",
            )
            .related(passage.upstream.span, "its upstream is of kind `postgrest`")
            .hint("write `permission: { table: table }`, with `{table}` in the path");
            return;
        }
    };
    let path = &fields.when.path;
    let rest = path.value.as_str().strip_prefix(passage.strip_prefix.value.as_ref());
    // Where the prefix does not fit, that was reported.
    if rest.is_some_and(|rest| rest != format!("{before}{{{}}}", capture.value)) {
        let prefix = &passage.strip_prefix.value;
        cx.error(path.span, format!("PostgREST must be sent the name of one {what}"))
            .hint(format!("write the path `{prefix}{before}{{{}}}`", capture.value));
    }
}

/// Whether the sources of the organization can be there at all.
fn sources(passage: &Passage, host: &HostMatch, path: &PathPattern, cx: &mut Context<'_>) {
    let At { value, span } = &passage.tenant;
    let TenantRule::Sources(sources) = value else {
        untenanted(passage, cx);
        return;
    };
    if passage.credential.value.rule == CredentialRule::Open {
        cx.error(passage.credential.span, "an open route knows nobody who could be a member")
            .related(*span, "but it asks for an organization")
            .hint("state `credential: user`, or `tenant: none`");
    }
    for (index, source) in sources.iter().enumerate() {
        if sources.iter().take(index).any(|earlier| earlier == source) {
            cx.error(*span, "a source of the organization is listed twice");
        }
        match source {
            TenantSource::Host if !matches!(host, HostMatch::Subdomain(_)) => {
                cx.error(*span, "the source `host` needs a host such as `*.example.com`")
                    .hint("state it in `match`, or remove the source");
            }
            TenantSource::Path(capture) if !path.has_capture(capture) => {
                cx.error(*span, format!("the path `{path}` has no capture `{capture}`"))
                    .hint(format!("write `{{{capture}}}` in place of a segment"));
            }
            TenantSource::Host | TenantSource::Path(_) => {}
            TenantSource::Claim(_) | TenantSource::Header | TenantSource::Default => {}
        }
    }
}

/// A team is one of an organization, and can be named where the sources say.
fn team(passage: &Passage, path: &PathPattern, cx: &mut Context<'_>) {
    for (index, At { value, span }) in passage.team.iter().enumerate() {
        if passage.tenant.value == TenantRule::None {
            cx.error(*span, "a team belongs to an organization")
                .related(passage.tenant.span, "the route belongs to none")
                .hint("state `tenant` sources, or remove it");
        }
        if passage.team.iter().take(index).any(|earlier| earlier.value == *value) {
            cx.error(*span, "a source of the team is listed twice").hint("remove it");
        }
        match value {
            TeamSource::Path(capture) if !path.has_capture(capture) => {
                cx.error(*span, format!("the path `{path}` has no capture `{capture}`"))
                    .hint(format!("write `{{{capture}}}` in place of a segment"));
            }
            TeamSource::Path(_) | TeamSource::Header => {}
        }
    }
}

/// Roles, plans and features belong to organizations.
fn untenanted(passage: &Passage, cx: &mut Context<'_>) {
    let none = passage.tenant.span;
    let needs = "state `tenant` sources, or remove it";
    match passage.permission.value {
        PermissionFields::None => {}
        PermissionFields::Member
        | PermissionFields::Named(..)
        | PermissionFields::Table(_)
        | PermissionFields::Function(_) => {
            cx.error(passage.permission.span, "a permission needs an organization")
                .related(none, "the route belongs to none")
                .hint(needs);
        }
    }
    if let Some(tried) = &passage.shadow_permission {
        cx.error(tried.span, "a permission needs an organization")
            .related(none, "the route belongs to none")
            .hint(needs);
    }
    for condition in &passage.require {
        cx.error(condition.span, "a condition needs an organization")
            .related(none, "the route belongs to none")
            .hint(needs);
    }
}

fn permission(
    passage: &Passage,
    path: &PathPattern,
    whole: &Whole<'_>,
    cx: &mut Context<'_>,
) -> Option<PermissionRule> {
    let span = passage.permission.span;
    match &passage.permission.value {
        PermissionFields::None => Some(PermissionRule::None),
        PermissionFields::Member => Some(PermissionRule::Member),
        PermissionFields::Table(capture) => {
            captured(path, capture, "table", cx);
            Some(PermissionRule::Table(capture.value.clone()))
        }
        PermissionFields::Function(capture) => {
            captured(path, capture, "function", cx);
            Some(PermissionRule::Function(capture.value.clone()))
        }
        PermissionFields::Named(resource, action) => {
            // Missing only where the roles could not be compiled, which was reported.
            let id = whole.roles.permission(resource, action)?;
            if whole.complete && !whole.roles.anybody(id) {
                cx.error(span, format!("no role has the permission `{resource}:{action}`"))
                    .hint("grant it to a role, correct its name, or write `close: true`");
            }
            Some(PermissionRule::Permission(id))
        }
    }
}

fn shadow_permission(
    passage: &Passage,
    whole: &Whole<'_>,
    cx: &mut Context<'_>,
) -> Option<ShadowPermission> {
    let At { value: PlainPermission(resource, action), span } =
        passage.shadow_permission.as_ref()?;
    // Missing only where the roles could not be compiled, which was reported.
    let permission = whole.roles.permission(resource, action)?;
    if whole.complete && !whole.roles.anybody(permission) {
        cx.error(*span, format!("no role has the permission `{resource}:{action}`"))
            .hint("grant it to a role or correct its name: enforced, it would close the route");
    }
    Some(ShadowPermission { permission, source: cx.source(*span) })
}

fn captured(path: &PathPattern, capture: &At<Name>, what: &str, cx: &mut Context<'_>) {
    if !path.has_capture(&capture.value) {
        let message = format!("the path `{path}` has no capture `{}`", capture.value);
        cx.error(capture.span, message)
            .hint(format!("write `{{{}}}` in place of the {what}", capture.value));
    }
}

fn limits(
    passage: &Passage,
    auth: bool,
    whole: &Whole<'_>,
    cx: &mut Context<'_>,
) -> Vec<Arc<Limit>> {
    let mut out: Vec<Arc<Limit>> = Vec::new();
    for name in &passage.limits {
        let Some(limit) = whole.limits.get(&name.value) else {
            unknown("limit", name, whole.limits.keys(), cx);
            continue;
        };
        if out.iter().any(|earlier| earlier.name == limit.name) {
            cx.error(name.span, format!("the limit `{}` is listed twice", name.value))
                .hint("state a higher `cost` to charge more");
        }
        let never = match limit.scope {
            Scope::Organization => passage.tenant.value == TenantRule::None,
            Scope::User => matches!(
                passage.credential.value.rule,
                CredentialRule::Open | CredentialRule::Machine
            ),
            Scope::Key => passage.credential.value.rule == CredentialRule::Open,
            Scope::Route | Scope::Address => false,
            Scope::Account => !auth,
        };
        if never {
            let scope = limit.scope.as_str();
            cx.error(name.span, format!("the limit `{}` can never be charged here", name.value))
                .hint(format!("its scope is `{scope}`, and this route knows none"));
        }
        if limit.scope == Scope::Account && auth && !whole.logins {
            cx.error(name.span, format!("nobody knows what the limit `{}` counts", name.value))
                .hint("accounts are read from requests where `logins` is stated, also in `shadow`");
        }
        if limit.mode != Mode::Off {
            out.push(Arc::clone(limit));
        }
    }
    out
}
