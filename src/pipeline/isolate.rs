//! Stage 6, isolate: the request as the upstream will get it.
//!
//! For a PostgREST upstream the client's bytes end here: the request is parsed, confined to the
//! organization and printed anew, or refused; where nothing but tables in shadow is touched, it is
//! printed anew as it was. For other upstreams the target goes on as it came,
//! without the fields and parameters that only the gateway may send.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::{HeaderName, HeaderValue, header};

use crate::domain::caller::Caller;
use crate::domain::charge::Shape;
use crate::domain::head::{
    APIKEY, TRACEPARENT, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO, X_REQUEST_ID,
};
use crate::domain::principal::Principal;
use crate::domain::refusal::{ImpersonationRefusal, Refusal};
use crate::policy::Snapshot;
use crate::policy::limits::Limit;
use crate::policy::route::Route;
use crate::policy::upstream::{Upstream, UpstreamIdentity, UpstreamKind};
use crate::postgrest::{self, RestMethod, RestRefusal, RestRequest};

use super::authorize::{Authorized, level, may_see};
use super::body::BodyGate;
use super::devices;
use super::edge::Strip;
use super::login::Login;
use super::rules::{Changes, Cleared, Kept};
use super::tenant::Tenancy;
use super::trace::{Stage, Trace};
use super::upstream::IdentityPlan;

mod tried;

/// Proof that the request stays inside its organization, or touches nothing but tables whose
/// isolation is only tried, and the request itself. Owns everything:
/// nothing of the client's head is needed any more.
#[derive(Debug)]
pub struct Isolated {
    pub(super) route: Arc<Route>,
    pub(super) upstream: Arc<Upstream>,
    pub(super) target: String,
    pub(super) forward: Forward,
    pub(super) set: Fields,
    pub(super) identity: IdentityPlan,
    pub(super) body: BodyGate,
    pub(super) websocket: bool,
    pub(super) idempotent: bool,
    /// What it asks of the database.
    pub(super) shape: Shape,
    /// A limit that is charged besides those of the route.
    pub(super) own_limit: Option<Arc<Limit>>,
    /// What rules have done to it.
    pub(super) changes: Changes,
    /// What rules that see the answer are shown of the request.
    pub(super) kept: Option<Box<Kept>>,
}

impl Isolated {
    /// What the request is charged to, each once.
    pub(super) fn limits(&self) -> impl Iterator<Item = &Arc<Limit>> {
        let charged = self.changes.limits(&self.route.limits);
        let own = self.own_limit.iter();
        charged.chain(own.filter(|own| {
            !self.changes.limits(&self.route.limits).any(|limit| limit.name == own.name)
        }))
    }
}

/// Header fields to set.
pub type Fields = Vec<(HeaderName, HeaderValue)>;

/// Which of the client's fields go on.
#[derive(Debug)]
pub enum Forward {
    /// None: the upstream gets only what is set.
    Nothing,
    /// All but these.
    AllBut(Strip),
}

/// Confines the request.
pub fn confine(
    cleared: Cleared<'_>,
    snapshot: &Snapshot,
    trace: &mut Trace,
) -> Result<Isolated, Refusal> {
    trace.enter(Stage::Isolate);
    let authorized = cleared.authorized();
    let tenanted = authorized.tenanted();
    let routed = tenanted.authenticated().routed();
    let (route, upstream) = (routed.route(), cleared.upstream());
    trace.decided_by = Some(route.source.clone());
    let method = routed.method();
    let websocket = routed.edged().websocket();
    if tenanted.acts_as().is_some()
        && matches!(upstream.identity, UpstreamIdentity::PassThrough { .. })
    {
        // It would be told the caller's own name.
        return Err(Refusal::Impersonation(ImpersonationRefusal::NoOrganization));
    }
    if websocket && !(route.websocket.is_some() && upstream.kind != UpstreamKind::Postgrest) {
        return Err(no_websocket("an upgrade on a route without `websocket: true`"));
    }
    // What was opened with a key would outlive its revocation.
    if websocket && tenanted.authenticated().principal().machine().is_some() {
        return Err(no_websocket("an upgrade with the key of a machine"));
    }
    let identity = identity_plan(authorized, upstream);
    let confined = match upstream.kind {
        UpstreamKind::Postgrest => {
            let tenancy = tenanted.tenancy();
            let tenancy = tenancy.ok_or(Refusal::Internal("a database route without a tenant"))?;
            rest(authorized, tenancy, &identity, snapshot, trace)?
        }
        UpstreamKind::Auth
        | UpstreamKind::Storage
        | UpstreamKind::Realtime
        | UpstreamKind::Functions
        | UpstreamKind::Http => plain(authorized, upstream, snapshot)?,
    };
    let (mut set, mut forward) = (confined.set, confined.forward);
    common_fields(authorized, upstream, trace, &mut set);
    if let Some(edits) = cleared.changes().fields() {
        if let Forward::AllBut(strip) = &mut forward {
            strip.extend(edits.remove.iter().cloned());
        }
        set.extend(edits.set.iter().cloned());
    }
    let target = match upstream.path_prefix.as_ref() {
        "" => confined.target,
        prefix => [prefix, &confined.target].concat(),
    };
    let upstream_kind = upstream.kind;
    let (route, upstream) = (Arc::clone(route), Arc::clone(upstream));
    let own_limit = tenanted.tenancy().and_then(|tenancy| tenancy.own_limit().cloned());
    trace.decided_by = None;
    let method = method.clone();
    let (changes, kept) = cleared.left(snapshot);
    Ok(Isolated {
        route,
        upstream,
        changes,
        kept,
        target,
        forward,
        set,
        identity,
        body: confined.body,
        shape: confined.shape,
        websocket,
        own_limit,
        idempotent: match upstream_kind {
            // A DELETE with a limit removes other rows when it is repeated.
            UpstreamKind::Postgrest => method.is_safe(),
            UpstreamKind::Auth
            | UpstreamKind::Storage
            | UpstreamKind::Realtime
            | UpstreamKind::Functions
            | UpstreamKind::Http => method.is_idempotent(),
        },
    })
}

struct Parts {
    target: String,
    forward: Forward,
    set: Fields,
    body: BodyGate,
    shape: Shape,
}

/// A PostgREST request, rewritten.
fn rest(
    authorized: &Authorized<'_>,
    tenancy: &Tenancy,
    identity: &IdentityPlan,
    snapshot: &Snapshot,
    trace: &mut Trace,
) -> Result<Parts, Refusal> {
    let routed = authorized.tenanted().authenticated().routed();
    let method = RestMethod::from_http(routed.method()).ok_or_else(|| {
        Refusal::MethodNotAllowed { allow: "GET, HEAD, POST, PATCH, PUT, DELETE".into() }
    })?;
    let query = routed.query().map(super::authenticate::without_api_key);
    let request = RestRequest {
        method,
        path: routed.inner_path(),
        query: query.as_deref(),
        headers: routed.headers(),
    };
    let below = || snapshot.roles.below(level(authorized));
    let organization = tenancy.organization().id;
    let judged = postgrest::confine_below(&request, &snapshot.catalog, organization, &below);
    let who = (authorized, identity);
    if let Some(parts) = tried::written(&request, &judged, who, snapshot, trace)? {
        return Ok(parts);
    }
    let confined = judged.map_err(isolation_refusal)?;
    for table in confined.embedded().iter().chain(confined.shown()) {
        may_see(authorized, &table.name, snapshot, trace)?;
        trace.note(Some(&table.source), || format!("rows of `{}` come as well", table.name));
    }
    for injection in confined.injections() {
        let source = Some(confined.source());
        trace.note_on(|| Some(injection.touched()), source, || injection.to_string());
    }
    let target = confined.target().to_owned();
    let mut set = Fields::with_capacity(confined.headers().len() + COMMON_FIELDS);
    set.extend_from_slice(confined.headers());
    let body = BodyGate::postgrest(routed.route().max_body_bytes, confined.body().clone());
    let shape = confined.shape();
    Ok(Parts { target, forward: Forward::Nothing, set, body, shape })
}

/// What `postgrest` refuses, in the words of the pipeline.
pub(super) fn isolation_refusal(refusal: RestRefusal) -> Refusal {
    Refusal::Isolation {
        status: refusal.status(),
        code: refusal.code(),
        message: refusal.public_message(),
        cause: refusal.to_string().into_boxed_str(),
        tenant_escape: match refusal {
            RestRefusal::TenantEscape(escape) => Some(escape),
            _ => None,
        },
    }
}

/// Any other request: as it came, without what only the gateway may send.
fn plain(
    authorized: &Authorized<'_>,
    upstream: &Upstream,
    snapshot: &Snapshot,
) -> Result<Parts, Refusal> {
    let routed = authorized.tenanted().authenticated().routed();
    let keeps_key = upstream.kind == UpstreamKind::Realtime;
    let query = routed.query().map(|query| {
        if keeps_key { query.into() } else { super::authenticate::without_api_key(query) }
    });
    let target = match query.as_deref() {
        Some(query) if !query.is_empty() => format!("{}?{query}", routed.inner_path()),
        Some(_) | None => routed.inner_path().to_owned(),
    };
    let mut strip = routed.strip().clone();
    let passes_through = matches!(upstream.identity, UpstreamIdentity::PassThrough { .. });
    // The key of a machine is for the gateway, and for nobody behind it.
    let machine = authorized.tenanted().authenticated().principal().machine().is_some();
    if upstream.api_key.is_some() || !passes_through || machine {
        strip.push(APIKEY);
    }
    strip.push(X_REQUEST_ID);
    strip.push(TRACEPARENT);
    let mut set = Fields::with_capacity(COMMON_FIELDS);
    if let Some(others) = devices::other_cookies(routed.headers()) {
        strip.push(header::COOKIE);
        if !others.is_empty()
            && let Ok(value) = HeaderValue::from_str(&others)
        {
            set.push((header::COOKIE, value));
        }
    }
    let max = routed.route().max_body_bytes;
    let login = match (&snapshot.logins, upstream.kind) {
        (Some(policy), UpstreamKind::Auth) => {
            let principal = authorized.tenanted().authenticated().principal();
            let target = (routed.inner_path(), routed.query());
            Login::of(policy, routed.method(), target, routed.headers(), principal)?
        }
        (_, _) => None,
    };
    let body = login.map_or_else(|| BodyGate::plain(max), |login| BodyGate::login(max, login));
    Ok(Parts { target, forward: Forward::AllBut(strip), set, body, shape: Shape::default() })
}

/// How many fields [`common_fields`] sets at most.
const COMMON_FIELDS: usize = 8;

/// What every upstream gets from the gateway.
fn common_fields(
    authorized: &Authorized<'_>,
    upstream: &Upstream,
    trace: &Trace,
    set: &mut Fields,
) {
    let routed = authorized.tenanted().authenticated().routed();
    let mut put = |name: HeaderName, text: &str| {
        if let Ok(value) = HeaderValue::from_str(text) {
            set.push((name, value));
        }
    };
    if let Some(id) = &trace.request_id {
        put(X_REQUEST_ID, id.as_str());
    }
    if let Some(parent) = &trace.traceparent {
        put(TRACEPARENT, parent);
    }
    match routed.client() {
        IpAddr::V4(address) => put(X_FORWARDED_FOR, &dotted(address)),
        address @ IpAddr::V6(_) => put(X_FORWARDED_FOR, &address.to_string()),
    }
    put(X_FORWARDED_PROTO, if routed.edged().secure() { "https" } else { "http" });
    put(X_FORWARDED_HOST, routed.edged().authority());
    if let Some(key) = &upstream.api_key {
        put(APIKEY, key.expose());
    }
    put(header::HOST, upstream.host.as_deref().unwrap_or(routed.edged().authority()));
}

/// An address as it is usually written; `to_string` takes ten times as long.
fn dotted(address: Ipv4Addr) -> String {
    let mut text = String::with_capacity(15);
    for (index, octet) in address.octets().into_iter().enumerate() {
        if index > 0 {
            text.push('.');
        }
        text.push_str(itoa::Buffer::new().format(octet));
    }
    text
}

/// What the upstream learns of the caller.
fn identity_plan(authorized: &Authorized<'_>, upstream: &Upstream) -> IdentityPlan {
    let tenanted = authorized.tenanted();
    let authenticated = tenanted.authenticated();
    let mint = || {
        let principal = authenticated.principal();
        let token = authenticated.token();
        let tenancy = tenanted.tenancy();
        IdentityPlan::Mint(Caller {
            kind: principal.kind(),
            user: tenanted.acts_as().or(principal.user()).cloned(),
            actor: tenanted.acts_as().and(principal.user()).cloned(),
            org: tenancy.map(|tenancy| tenancy.organization().id),
            org_role: tenancy.and_then(|tenancy| tenancy.role()).map(|role| Arc::clone(&role.name)),
            org_team: tenancy.and_then(|tenancy| tenancy.team().cloned()),
            key: principal.machine().map(|key| key.id),
            session_id: token.and_then(|token| token.session_id.clone()),
            expires_at: match principal {
                Principal::Machine { until, .. } => *until,
                Principal::User { .. } | Principal::Service { .. } | Principal::Anonymous => {
                    token.map(|token| token.expires_at)
                }
            },
        })
    };
    match &upstream.identity {
        UpstreamIdentity::Minted(_) => mint(),
        UpstreamIdentity::PassThrough { translate } => match (authenticated.bearer(), translate) {
            (Some(bearer), _) => IdentityPlan::Bearer(bearer.clone()),
            (None, Some(_)) => mint(),
            (None, None) => IdentityPlan::Nothing,
        },
        UpstreamIdentity::None => IdentityPlan::Nothing,
    }
}

fn no_websocket(cause: &str) -> Refusal {
    Refusal::Isolation {
        status: http::StatusCode::FORBIDDEN,
        code: "websocket_not_allowed",
        message: "this path does not allow WebSockets",
        tenant_escape: None,
        cause: cause.into(),
    }
}
