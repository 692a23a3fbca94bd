//! Routes as they are written, each by itself; `compile` resolves the names in them.
//!
//! May import `domain` and `policy`.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::policy::path::PathPattern;
use crate::policy::route::{
    AuditRule, HostMatch, MethodMatch, TeamSource, TenantRule, TenantSource, WebsocketPolicy,
};

use super::answers::ResponseFields;
use super::conditions::ConditionFields;
use super::context::Context;
use super::decode::{At, Decode, Fields, Filled, Name, Shapes, Table, expected, shown};
use super::defaults as preset;
use super::leaf::{Size, Text, refuse, text, word, words};
use super::machines::CredentialFields;
use super::policies::{PlainPermission, plain_permission};
use super::upstreams::{PathPrefix, is_host};
use super::yaml::{Kind, Node};

/// A route.
pub(super) struct RouteFields {
    pub(super) name: At<Name>,
    pub(super) when: MatchFields,
    pub(super) target: Target,
    pub(super) response: Option<ResponseFields>,
    pub(super) audit: AuditRule,
}

/// Where it leads, and by which policies.
pub(super) enum Target {
    Closed,
    Upstream(Box<Passage>),
}

/// What a request must show and be to pass.
pub(super) struct Passage {
    pub(super) upstream: At<Name>,
    pub(super) strip_prefix: At<Arc<str>>,
    pub(super) credential: At<CredentialFields>,
    pub(super) tenant: At<TenantRule>,
    pub(super) permission: At<PermissionFields>,
    pub(super) shadow_permission: Option<At<PlainPermission>>,
    pub(super) team: Vec<At<TeamSource>>,
    pub(super) require: Vec<At<ConditionFields>>,
    pub(super) limits: Vec<At<Name>>,
    pub(super) quotas: Vec<At<Name>>,
    pub(super) max_body_bytes: u64,
    pub(super) read_timeout: Option<Duration>,
    pub(super) websocket: Option<WebsocketPolicy>,
}

/// Keys that have no meaning on a closed route.
const OPEN_ONLY: [&str; 13] = [
    "strip_prefix",
    "credential",
    "tenant",
    "permission",
    "shadow_permission",
    "team",
    "require",
    "limits",
    "quotas",
    "max_body",
    "read_timeout",
    "websocket",
    "upstream",
];

impl Fields for RouteFields {
    const NAME: &'static str = "route";
    const ABOUT: &'static str = "Which request goes where, and by which policies.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let name = table.required("name", "Its name, unique over all files.");
        let when = table.required("match", "Which requests it takes.");
        let which = table.one_of(&["upstream", "close"]);
        let upstream = table.optional("upstream", "The upstream that it leads to.");
        let close = table.optional::<At<bool>>("close", "`true`: refuse with 403, for everyone.");
        let strip_prefix = table.or::<At<PathPrefix>>(
            "strip_prefix",
            &preset::STRIP_PREFIX,
            "Taken off the front of the path before it is sent on.",
        );
        let credential = table.optional(
            "credential",
            "What callers must show: `open` (nothing), `key` (an API key or any token), `user` (a \
             user's token or a service credential), `service`, `machine` (a key of the gateway). \
             Machines are admitted only where they are named, as in `[user, machine]`.",
        );
        let tenant = table.optional(
            "tenant",
            "How the organization is found: `none`, or sources that must agree: `header` \
             (x-organization-id), `host` (the label in place of `*`), `{ claim: path }`, \
             `{ path: capture }`, and `default` (the default membership) where none of them is \
             present.",
        );
        let permission = table.optional(
            "permission",
            "What callers must be allowed: `none`, `member`, `resource:action`, or \
             `{ table: capture }` for read, write and delete by method, `{ function: capture }` \
             for call.",
        );
        let shadow_permission = table.optional(
            "shadow_permission",
            "A permission that is tried beside `permission`: whoever lacks it is let through, and \
             the record says so.",
        );
        let team = table.some(
            "team",
            "Where a request may name a team of the organization, whose roles then count too: \
             `header` (x-team-id), `{ path: capture }`.",
        );
        let require = table.some("require", "What must hold besides the permission.");
        let limits = table.some("limits", "Limits that a request is charged to: all or none.");
        let quotas =
            table.some("quotas", "Quotas of which the organization must have something left.");
        let max_body =
            table.or::<Size>("max_body", &preset::MAX_BODY, "Cap on the bytes of a request body.");
        let read_timeout = table.optional(
            "read_timeout",
            "Time between two reads of the upstream's answer; the upstream's own if not stated.",
        );
        let websocket = table.or::<WebsocketChoice>(
            "websocket",
            &preset::WEBSOCKET,
            "Whether `Upgrade: websocket` may pass: `true`, `false`, or what holds for them.",
        );
        let response =
            table.optional("response", "Added to what the policy's own `response` says.");
        let audit = table.or(
            "audit",
            &preset::AUDIT_RULE,
            "What is written to the audit log: `all`, `writes_and_refusals` or `refusals`.",
        );
        let target = if which? == "close" {
            closed(close, table)
        } else {
            table.needs("credential", "");
            table.needs("tenant", "");
            let untenanted = matches!(&tenant, Some(At { value: TenantRule::None, .. }));
            let permission = if untenanted && !table.has("permission") {
                Some(At { value: PermissionFields::None, span: table.span })
            } else {
                let hint = "state what a member must be allowed, or `member` for all members";
                table.needs("permission", hint);
                permission
            };
            passage(upstream, strip_prefix, credential, tenant, permission).map(|start| {
                Target::Upstream(Box::new(Passage {
                    shadow_permission,
                    team,
                    require,
                    limits,
                    quotas,
                    max_body_bytes: max_body.map_or(0, |size| size.0),
                    read_timeout,
                    websocket: websocket.and_then(|choice| choice.0),
                    ..start
                }))
            })
        };
        Some(Self { name: name?, when: when?, target: target?, response, audit: audit? })
    }
}

fn closed(close: Option<At<bool>>, table: &mut Table<'_, '_>) -> Option<Target> {
    if !close.as_ref()?.value {
        let hint = "state an `upstream`, or `close: true`";
        table.error(table.key_span("close"), "`close: false` leads nowhere", hint);
        return None;
    }
    for key in OPEN_ONLY {
        if table.has(key) {
            let message = format!("`{key}` has no meaning beside `close`");
            table.error(table.key_span(key), message, "remove it");
        }
    }
    Some(Target::Closed)
}

fn passage(
    upstream: Option<At<Name>>,
    strip_prefix: Option<At<PathPrefix>>,
    credential: Option<At<CredentialFields>>,
    tenant: Option<At<TenantRule>>,
    permission: Option<At<PermissionFields>>,
) -> Option<Passage> {
    let strip_prefix = strip_prefix?;
    Some(Passage {
        upstream: upstream?,
        strip_prefix: At { value: strip_prefix.value.0, span: strip_prefix.span },
        credential: credential?,
        tenant: tenant?,
        permission: permission?,
        shadow_permission: None,
        team: Vec::new(),
        require: Vec::new(),
        limits: Vec::new(),
        quotas: Vec::new(),
        max_body_bytes: 0,
        read_timeout: None,
        websocket: None,
    })
}

/// `true` and `false`, or what holds for WebSockets.
struct WebsocketChoice(Option<WebsocketPolicy>);

impl Decode for WebsocketChoice {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        if matches!(node.kind, Kind::Map(_)) {
            return WebsocketFields::decode(node, cx).map(|fields| Self(Some(fields.0)));
        }
        if !bool::decode(node, cx)? {
            return Some(Self(None));
        }
        let empty = Node { span: node.span, kind: Kind::Map(Vec::new()) };
        WebsocketFields::decode(&empty, cx).map(|fields| Self(Some(fields.0)))
    }

    fn shape(shapes: &mut Shapes) -> Value {
        json!({ "anyOf": [bool::shape(shapes), WebsocketFields::shape(shapes)] })
    }
}

struct WebsocketFields(WebsocketPolicy);

impl Fields for WebsocketFields {
    const NAME: &'static str = "websocket";
    const ABOUT: &'static str = "What holds for WebSockets.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let idle = table.or(
            "idle",
            &preset::WEBSOCKET_IDLE,
            "One on which either side says nothing for this long is closed.",
        );
        let grace = table.or(
            "grace",
            &preset::WEBSOCKET_GRACE,
            "How long one stays open after its token has expired, if no newer token of the same \
             session was seen.",
        );
        let recheck = table.or(
            "recheck",
            &preset::WEBSOCKET_RECHECK,
            "How often it is decided again whether one that is open would be let in, by what holds \
             then.",
        );
        let per_user = table.or(
            "per_user",
            &preset::WEBSOCKETS_PER_USER,
            "How many a user has open in an organization, on one node.",
        );
        let per_organization = table.or(
            "per_organization",
            &preset::WEBSOCKETS_PER_ORGANIZATION,
            "How many an organization has open, on one node.",
        );
        Some(Self(WebsocketPolicy {
            idle: idle?,
            grace: grace?,
            recheck: recheck?,
            per_user: per_user?,
            per_organization: per_organization?,
        }))
    }
}

/// Which requests a route takes.
pub(super) struct MatchFields {
    pub(super) host: At<HostMatch>,
    pub(super) path: At<PathPattern>,
    pub(super) methods: MethodMatch,
}

impl Fields for MatchFields {
    const NAME: &'static str = "match";
    const ABOUT: &'static str = "Which requests a route takes.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let host = table.or(
            "host",
            &preset::HOST,
            "`*` for all, a host, or `*.example.com` for one label before a host.",
        );
        let path = table.required(
            "path",
            "`/rest/v1/{table}`: `{name}` takes one segment, `{name*}` at the end takes the rest.",
        );
        let methods = table.or(
            "methods",
            &preset::METHODS,
            "`any`, or a list. GET brings HEAD along; OPTIONS always fits.",
        );
        Some(Self { host: host?, path: path?, methods: methods? })
    }
}

impl Decode for HostMatch {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let stated = text(node, cx)?;
        if stated == "*" {
            return Some(Self::Any);
        }
        let hint = if stated.contains(':') {
            "hosts are compared without their port: remove it"
        } else if stated.bytes().any(|b| b.is_ascii_uppercase()) {
            "hosts are compared in lowercase: write it so"
        } else {
            "write `*`, `api.example.com` or `*.example.com`"
        };
        let lower = !stated.bytes().any(|b| b.is_ascii_uppercase());
        let (name, wild) = match stated.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (stated, false),
        };
        if !lower || !is_host(name) {
            return refuse(node, "a host", stated, hint, cx);
        }
        Some(match wild {
            true => Self::Subdomain(Box::from(stated.strip_prefix('*').unwrap_or(stated))),
            false => Self::Exact(Box::from(name)),
        })
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "host pattern", "type": "string", "examples": ["*", "api.example.com", "*.example.com"] })
    }
}

impl Decode for PathPattern {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let stated = text(node, cx)?;
        match Self::parse(stated) {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                cx.error(node.span, format!("`{}` is not a path pattern: {error}", shown(stated)));
                None
            }
        }
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "path pattern", "type": "string", "pattern": "^/" })
    }
}

impl Decode for MethodMatch {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        if matches!(&node.kind, Kind::Text { text, .. } if text == "any") {
            return Some(Self::Any);
        }
        if !matches!(node.kind, Kind::List(_)) {
            expected("`any` or a list of methods", node, cx);
            return None;
        }
        Filled::<Method>::decode(node, cx).map(|methods| Self::Listed(methods.0))
    }

    fn shape(shapes: &mut Shapes) -> Value {
        json!({ "anyOf": [{ "const": "any" }, Filled::<Method>::shape(shapes)] })
    }
}

impl Decode for AuditRule {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        word(node, AUDIT_RULES, "audit rule", cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        words(AUDIT_RULES)
    }
}

const AUDIT_RULES: &[(&str, AuditRule)] = &[
    ("all", AuditRule::All),
    ("writes_and_refusals", AuditRule::WritesAndRefusals),
    ("refusals", AuditRule::Refusals),
];

impl Decode for TenantRule {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        match &node.kind {
            Kind::Text { .. } => {
                word(node, &[("none", ())], "tenant rule", cx)?;
                Some(Self::None)
            }
            Kind::List(items) => {
                let Filled(sources) = Filled::<TenantSource>::decode(node, cx)?;
                // One that was refused must not widen the rest.
                (sources.len() == items.len()).then_some(Self::Sources(sources))
            }
            Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float | Kind::Map(_) => {
                expected("`none` or a list of sources", node, cx);
                None
            }
        }
    }

    fn shape(shapes: &mut Shapes) -> Value {
        json!({ "anyOf": [{ "const": "none" }, Filled::<TenantSource>::shape(shapes)] })
    }
}

impl Decode for TenantSource {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        match &node.kind {
            Kind::Map(_) => SourceFields::decode(node, cx).map(|fields| fields.0),
            Kind::Text { .. } => word(node, SOURCES, "source", cx),
            Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float | Kind::List(_) => {
                expected("a source of the organization", node, cx);
                None
            }
        }
    }

    fn shape(shapes: &mut Shapes) -> Value {
        json!({ "anyOf": [words(SOURCES), SourceFields::shape(shapes)] })
    }
}

const SOURCES: &[(&str, TenantSource)] = &[
    ("header", TenantSource::Header),
    ("host", TenantSource::Host),
    ("default", TenantSource::Default),
];

struct SourceFields(TenantSource);

impl Fields for SourceFields {
    const NAME: &'static str = "tenant source";
    const ABOUT: &'static str = "Where a request names its organization.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let which = table.one_of(&["claim", "path"]);
        let claim = table.optional::<ClaimPath>(
            "claim",
            "A claim of the token, as a path of keys: `app_metadata.org_id`.",
        );
        let path = table.optional("path", "A capture of the route's path: an id or a slug.");
        Some(Self(match which? {
            "claim" => TenantSource::Claim(claim?.0),
            _ => TenantSource::Path(path?),
        }))
    }
}

impl Decode for TeamSource {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        match &node.kind {
            Kind::Map(_) => TeamFields::decode(node, cx).map(|fields| fields.0),
            Kind::Text { .. } => word(node, TEAM_SOURCES, "source", cx),
            Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float | Kind::List(_) => {
                expected("a source of the team", node, cx);
                None
            }
        }
    }

    fn shape(shapes: &mut Shapes) -> Value {
        json!({ "anyOf": [words(TEAM_SOURCES), TeamFields::shape(shapes)] })
    }
}

const TEAM_SOURCES: &[(&str, TeamSource)] = &[("header", TeamSource::Header)];

struct TeamFields(TeamSource);

impl Fields for TeamFields {
    const NAME: &'static str = "team source";
    const ABOUT: &'static str = "Where a request names a team.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let path = table.required("path", "A capture of the route's path: the team's name.");
        path.map(TeamSource::Path).map(Self)
    }
}

/// A claim, as a path of keys.
pub(super) struct ClaimPath(pub(super) Vec<Box<str>>);

impl Decode for ClaimPath {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let keys: Vec<Box<str>> = match &node.kind {
            // A key may have a dot in it.
            Kind::List(_) => {
                let Filled(keys) = Filled::<Text>::decode(node, cx)?;
                keys.into_iter().map(|key| key.0.into()).collect()
            }
            _ => text(node, cx)?.split('.').map(Box::from).collect(),
        };
        if keys.iter().any(|key| key.is_empty()) || keys.len() > 8 {
            let stated = keys.join(".");
            return refuse(node, "a claim path", &stated, "write `app_metadata.org_id`", cx);
        }
        let writable = ["user_metadata", "raw_user_meta_data"];
        if let Some(key) = keys.iter().find(|key| writable.contains(&&***key)) {
            cx.error(node.span, format!("users can write `{key}` themselves"))
                .hint("take it from `app_metadata`, which only the server writes");
            return None;
        }
        Some(Self(keys))
    }

    fn shape(shapes: &mut Shapes) -> Value {
        let dotted = json!({
            "title": "claim path", "type": "string", "examples": ["app_metadata.org_id"],
        });
        json!({ "anyOf": [dotted, Filled::<Text>::shape(shapes)] })
    }
}

/// What callers must be allowed to do.
pub(super) enum PermissionFields {
    None,
    Member,
    Named(Arc<str>, Arc<str>),
    Table(At<Name>),
    Function(At<Name>),
}

impl Decode for PermissionFields {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        match &node.kind {
            Kind::Map(_) => CapturePermission::decode(node, cx).map(|fields| fields.0),
            Kind::Text { text, .. } if text == "none" => Some(Self::None),
            Kind::Text { text, .. } if text == "member" => Some(Self::Member),
            Kind::Text { .. } => {
                plain_permission(node, cx).map(|(resource, action)| Self::Named(resource, action))
            }
            Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float | Kind::List(_) => {
                expected("a permission", node, cx);
                None
            }
        }
    }

    fn shape(shapes: &mut Shapes) -> Value {
        json!({ "anyOf": [
            { "enum": ["none", "member"] },
            { "title": "permission", "type": "string", "pattern": "^[^:*]+:[^:*]+$" },
            CapturePermission::shape(shapes),
        ] })
    }
}

struct CapturePermission(PermissionFields);

impl Fields for CapturePermission {
    const NAME: &'static str = "capture permission";
    const ABOUT: &'static str = "What the path names decides what callers must be allowed to do.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let which = table.one_of(&["table", "function"]);
        let of_table = table.optional(
            "table",
            "The capture of the route's path that names the table: GET and HEAD need `read` on it, \
             POST, PUT and PATCH `write`, DELETE `delete`.",
        );
        let of_function = table.optional(
            "function",
            "The capture of the route's path that names the function, which needs `call`.",
        );
        match which? {
            "table" => of_table.map(PermissionFields::Table).map(Self),
            _ => of_function.map(PermissionFields::Function).map(Self),
        }
    }
}
