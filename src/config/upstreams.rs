//! The `upstreams` part of `gateway.yaml`.
//!
//! May import `domain` and `policy`.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::domain::secret::Secret;
use crate::policy::upstream::{
    Breaker, CanaryPolicy, HealthCheck, MintPolicy, Upstream, UpstreamAddress, UpstreamIdentity,
    UpstreamKind, UpstreamTls,
};

use super::context::Context;
use super::decode::{At, Decode, Fields, Filled, Name, Shapes, Table, expected};
use super::defaults as preset;
use super::leaf::{Few, Seconds, Text, arc, refuse, text, word, words};
use super::yaml::{Kind, Node};

/// An upstream without its name.
pub(super) struct UpstreamFields(Upstream);

impl UpstreamFields {
    /// Gives it its name.
    pub(super) fn named(self, name: Name) -> Upstream {
        Upstream { name, ..self.0 }
    }
}

impl Fields for UpstreamFields {
    const NAME: &'static str = "upstream";
    const ABOUT: &'static str = "A service behind the gateway.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let kind =
            table.required("kind", "What it speaks: decides isolation and the shape of errors.");
        let addresses = table.required::<Filled<UpstreamAddress>>(
            "addresses",
            "Where it listens, each as `host:port`.",
        );
        let tls = table.optional::<TlsFields>("tls", "TLS to it; cleartext if not stated.");
        let host =
            table.optional::<Host>("host", "The `Host` it is sent; the client's if not stated.");
        let path_prefix = table.or::<PathPrefix>(
            "path_prefix",
            &preset::PATH_PREFIX,
            "Put before the path after a route has stripped its prefix.",
        );
        let identity =
            table.or("identity", &preset::UPSTREAM_IDENTITY, "What it learns of the caller.");
        let api_key = table.optional(
            "api_key",
            "Sent as `apikey` instead of the caller's key (hosted Supabase wants one).",
        );
        let connect_timeout =
            table.or("connect_timeout", &preset::CONNECT_TIMEOUT, "Time to connect, TLS included.");
        let read_timeout = table.or(
            "read_timeout",
            &preset::READ_TIMEOUT,
            "Time between two reads of an answer, where the route says nothing else.",
        );
        let retries = table.or::<Few>(
            "retries",
            &preset::RETRIES,
            "Further tries of an idempotent request that got no byte of an answer; 0 for none.",
        );
        let health = table.optional("health", "Active checks of each address; none if not stated.");
        let breaker = table.section("breaker", "When an address is taken out.");
        let canary = table.optional::<CanaryChoice>(
            "canary",
            "Of kind `postgrest`: before the node is ready, an organization that does not exist \
             must get no rows of any table. `off`, or how it is tried; on by default where tokens \
             are minted.",
        );
        let canary = canary_of(table, kind, identity.as_ref(), canary);
        let sign_out = table.optional::<SignOutRule>(
            "sign_out",
            "Of kind `auth`: whether a `POST` to a path that ends in `/logout`, once it succeeded, \
             revokes the sessions that it ended: `revoke`, as by default, or `ignore`.",
        );
        if sign_out.is_some() && kind.is_some_and(|kind| kind != UpstreamKind::Auth) {
            let message = "`sign_out` has a meaning for kind `auth` only";
            table.error(table.key_span("sign_out"), message, "remove it");
        }
        let span = table.span;
        let source = table.context()?.source(span);
        let addresses = addresses?.0;
        let tls = match tls {
            None => None,
            Some(tls) => Some(UpstreamTls {
                server_name: match tls.server_name {
                    Some(name) => name.into(),
                    None => addresses.first()?.host.clone(),
                },
                verify: tls.verify,
            }),
        };
        Some(Self(Upstream {
            name: Arc::from(""),
            kind: kind?,
            addresses,
            tls,
            host: host.map(|host| host.0),
            path_prefix: path_prefix?.0,
            identity: identity?,
            api_key,
            connect_timeout: connect_timeout?,
            read_timeout: read_timeout?,
            retries: retries?.0,
            health,
            breaker: breaker?,
            canary,
            sign_out_revokes: kind? == UpstreamKind::Auth
                && sign_out.is_none_or(|rule| rule == SignOutRule::Revoke),
            source,
        }))
    }
}

/// What a sign-out does besides passing through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SignOutRule {
    Revoke,
    Ignore,
}

impl Decode for SignOutRule {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        word(node, SIGN_OUT_RULES, "choice", cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        words(SIGN_OUT_RULES)
    }
}

const SIGN_OUT_RULES: &[(&str, SignOutRule)] =
    &[("revoke", SignOutRule::Revoke), ("ignore", SignOutRule::Ignore)];

/// Whether and how the isolation of an upstream is tried.
fn canary_of(
    table: &mut Table<'_, '_>,
    kind: Option<UpstreamKind>,
    identity: Option<&UpstreamIdentity>,
    stated: Option<CanaryChoice>,
) -> Option<CanaryPolicy> {
    let (kind, identity) = (kind?, identity?);
    let minted = match identity {
        UpstreamIdentity::Minted(_) => true,
        UpstreamIdentity::PassThrough { .. } | UpstreamIdentity::None => false,
    };
    let span = table.key_span("canary");
    match stated {
        Some(_) if kind != UpstreamKind::Postgrest => {
            let message = format!("`canary` has no meaning for kind `{}`", kind.as_str());
            table.error(span, message, "remove it");
            None
        }
        Some(CanaryChoice::On(_)) if !minted => {
            let hint = "mint tokens for the upstream, or remove it: there is nobody to ask as";
            table.error(span, "`canary` needs a minted identity", hint);
            None
        }
        Some(CanaryChoice::On(policy)) => Some(policy),
        Some(CanaryChoice::Off) => None,
        // A key that is there was refused, which was reported.
        None if table.has("canary") || !minted || kind != UpstreamKind::Postgrest => None,
        None => {
            let presets = Node { span, kind: Kind::Map(Vec::new()) };
            CanaryPolicy::decode(&presets, table.context()?)
        }
    }
}

/// `off`, or how.
enum CanaryChoice {
    Off,
    On(CanaryPolicy),
}

impl Decode for CanaryChoice {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        match &node.kind {
            Kind::Map(_) => CanaryPolicy::decode(node, cx).map(Self::On),
            Kind::Text { .. } => word(node, &[("off", ())], "canary", cx).map(|()| Self::Off),
            Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float | Kind::List(_) => {
                expected("`off` or a map", node, cx);
                None
            }
        }
    }

    fn shape(shapes: &mut Shapes) -> Value {
        json!({ "anyOf": [words(&[("off", ())]), CanaryPolicy::shape(shapes)] })
    }
}

impl Fields for CanaryPolicy {
    const NAME: &'static str = "canary";
    const ABOUT: &'static str = "How the isolation of a PostgREST upstream is tried, at start and \
                                 after a reload.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let retry = table.or(
            "retry",
            &preset::CANARY_RETRY,
            "Time from one try that failed to the next; one that held is not repeated.",
        );
        let timeout =
            table.or("timeout", &preset::CANARY_TIMEOUT, "Time for the answer to one question.");
        Some(Self { retry: retry?, timeout: timeout? })
    }
}

impl Decode for UpstreamKind {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        word(node, &kinds(), "kind of upstream", cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        words(&kinds())
    }
}

fn kinds() -> [(&'static str, UpstreamKind); 6] {
    [
        UpstreamKind::Postgrest,
        UpstreamKind::Auth,
        UpstreamKind::Storage,
        UpstreamKind::Realtime,
        UpstreamKind::Functions,
        UpstreamKind::Http,
    ]
    .map(|kind| (kind.as_str(), kind))
}

impl Decode for UpstreamAddress {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let stated = text(node, cx)?;
        let Some((host, port)) = stated.rsplit_once(':') else {
            return refuse(node, ADDRESS, stated, ADDRESS_HINT, cx);
        };
        let bare = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            Some(inner) => inner.parse::<std::net::Ipv6Addr>().ok().map(|_| inner),
            None => is_host(host).then_some(host),
        };
        let port = port.parse::<u16>().ok().filter(|port| *port != 0);
        match (bare, port) {
            (Some(host), Some(port)) => Some(Self { host: Box::from(host), port }),
            (None, _) | (_, None) => refuse(node, ADDRESS, stated, ADDRESS_HINT, cx),
        }
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "`host:port`", "type": "string", "examples": ["127.0.0.1:3000", "rest:3000", "[::1]:3000"] })
    }
}

const ADDRESS: &str = "`host:port`";
const ADDRESS_HINT: &str =
    "write one host and one port, without `http://`, such as `rest:3000` or `[::1]:3000`";

/// A DNS name or an IPv4 address, without a port.
pub(super) fn is_host(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    (1..=253).contains(&text.len())
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(fits)
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

/// What a `Host` header may hold: a host, and perhaps a port.
struct Host(Arc<str>);

impl Decode for Host {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let stated = text(node, cx)?;
        let (host, port) = match stated.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (stated, None),
        };
        if is_host(host) && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|p| p != 0)) {
            return Some(Self(Arc::from(stated)));
        }
        refuse(node, "a host", stated, "write a host name, with at most one port", cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "host", "type": "string", "minLength": 1 })
    }
}

/// `/` or `/…`; kept empty or without a slash at its end.
pub(super) struct PathPrefix(pub(super) Arc<str>);

impl Decode for PathPrefix {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let stated = text(node, cx)?;
        let trimmed = stated.strip_suffix('/').unwrap_or(stated);
        let fits = trimmed.is_empty()
            || trimmed.strip_prefix('/').is_some_and(|tail| {
                tail.split('/').all(|part| {
                    let graphic = |b: u8| b.is_ascii_graphic() && !b"{}?#\\*%;".contains(&b);
                    !part.is_empty() && part != "." && part != ".." && part.bytes().all(graphic)
                })
            });
        if fits {
            return Some(Self(Arc::from(trimmed)));
        }
        refuse(
            node,
            "a path prefix",
            stated,
            "write it as it stands in a URL, such as `/rest/v1`",
            cx,
        )
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "path prefix", "type": "string", "pattern": "^/" })
    }
}

struct TlsFields {
    server_name: Option<String>,
    verify: bool,
}

impl Fields for TlsFields {
    const NAME: &'static str = "upstream tls";
    const ABOUT: &'static str = "TLS to an upstream.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let server_name = table.optional::<Host>(
            "server_name",
            "The name in SNI and in the certificate; the first address's host if not stated.",
        );
        let verify = table.or(
            "verify",
            &preset::VERIFY,
            "Whether the certificate is verified; `false` is for development.",
        );
        if verify == Some(false) {
            let span = table.key_span("verify");
            if let Some(cx) = table.context() {
                cx.warning(span, "the upstream's certificate is not verified")
                    .hint("whoever is between can answer in its place");
            }
        }
        Some(Self { server_name: server_name.map(|host| host.0.to_string()), verify: verify? })
    }
}

impl Decode for UpstreamIdentity {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        match &node.kind {
            Kind::Map(_) => IdentityChoice::decode(node, cx).map(|choice| choice.0),
            Kind::Text { .. } => word(node, IDENTITIES, "identity", cx),
            Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float | Kind::List(_) => {
                expected("`pass_through`, `none` or a map", node, cx);
                None
            }
        }
    }

    fn shape(shapes: &mut Shapes) -> Value {
        json!({ "anyOf": [words(IDENTITIES), IdentityChoice::shape(shapes)] })
    }
}

const IDENTITIES: &[(&str, UpstreamIdentity)] = &[
    ("pass_through", UpstreamIdentity::PassThrough { translate: None }),
    ("none", UpstreamIdentity::None),
];

struct IdentityChoice(UpstreamIdentity);

impl Fields for IdentityChoice {
    const NAME: &'static str = "upstream identity";
    const ABOUT: &'static str = "What an upstream learns of the caller.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let which = table.one_of(&["mint", "pass_through"]);
        let mint = table.optional::<MintPolicy>(
            "mint",
            "A fresh token with the verified `sub`, `role`, `org_id`, `org_role`, `org_team`, `key_id`.",
        );
        let pass = table.optional::<TranslateFields>(
            "pass_through",
            "The caller's own token; keys of the `sb_…` kind are translated.",
        );
        Some(Self(match which? {
            "mint" => UpstreamIdentity::Minted(mint?),
            _ => UpstreamIdentity::PassThrough { translate: Some(pass?.0) },
        }))
    }
}

struct TranslateFields(MintPolicy);

impl Fields for TranslateFields {
    const NAME: &'static str = "pass through";
    const ABOUT: &'static str = "The caller's own token is sent on.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        table.required("translate", "How tokens for bearers of `sb_…` keys are minted.").map(Self)
    }
}

impl Fields for MintPolicy {
    const NAME: &'static str = "mint";
    const ABOUT: &'static str = "How tokens for an upstream are minted (HS256).";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let secret = table.required::<At<Secret>>(
            "secret",
            "The upstream's JWT secret, 32 bytes or more (RFC 7518 section 3.2).",
        );
        let lifetime = table.or::<Seconds>(
            "lifetime",
            &preset::MINT_LIFETIME,
            "How long a minted token lives, at most as long as the caller's.",
        );
        let user_role =
            table.or::<Text>("user_role", &preset::MINT_USER_ROLE, "The database role of users.");
        let service_role = table.or::<Text>(
            "service_role",
            &preset::MINT_SERVICE_ROLE,
            "The database role of services.",
        );
        let machine_role = table.or::<Text>(
            "machine_role",
            &preset::MINT_MACHINE_ROLE,
            "The database role of machines.",
        );
        let anonymous_role = table.or::<Text>(
            "anonymous_role",
            &preset::MINT_ANONYMOUS_ROLE,
            "The database role of anonymous callers.",
        );
        let audience = table.optional::<Text>("audience", "`aud`; none if not stated.");
        let secret = secret?;
        if secret.value.expose().len() < 32 {
            let hint = "make one with `openssl rand -base64 48`, and give it to the upstream too";
            table.error(
                secret.span,
                "the secret is shorter than 32 bytes, which HS256 needs",
                hint,
            );
        }
        Some(Self {
            secret: secret.value,
            lifetime: Duration::from_secs(lifetime?.0),
            user_role: arc(user_role?),
            service_role: arc(service_role?),
            machine_role: arc(machine_role?),
            anonymous_role: arc(anonymous_role?),
            audience: audience.map(arc),
        })
    }
}

impl Fields for HealthCheck {
    const NAME: &'static str = "health";
    const ABOUT: &'static str = "An active check of each address; any answer below 500 is healthy.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let path =
            table.or::<At<Text>>("path", &preset::HEALTH_PATH, "The path that is asked with GET.");
        let interval = table.or("interval", &preset::HEALTH_INTERVAL, "Time between two checks.");
        let timeout = table.or("timeout", &preset::HEALTH_TIMEOUT, "Time for an answer.");
        let unhealthy_after = table.or(
            "unhealthy_after",
            &preset::UNHEALTHY_AFTER,
            "Failures in a row that take an address out.",
        );
        let healthy_after = table.or(
            "healthy_after",
            &preset::HEALTHY_AFTER,
            "Successes in a row that put it back.",
        );
        let path = path?;
        if !path.value.0.starts_with('/') {
            table.error(path.span, "a path begins with `/`", "");
        }
        Some(Self {
            path: arc(path.value),
            interval: interval?,
            timeout: timeout?,
            unhealthy_after: unhealthy_after?,
            healthy_after: healthy_after?,
        })
    }
}

impl Fields for Breaker {
    const NAME: &'static str = "breaker";
    const ABOUT: &'static str = "When the circuit of an address opens.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let failures = table.or(
            "failures",
            &preset::BREAKER_FAILURES,
            "Failures in a row (connect errors, timeouts, broken answers) that open it.",
        );
        let open_for = table.or(
            "open_for",
            &preset::BREAKER_OPEN_FOR,
            "How long it stays open before one request is let through to try.",
        );
        Some(Self { failures: failures?, open_for: open_for? })
    }
}
