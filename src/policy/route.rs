//! Routes: which request goes where, and by which policies.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::Method;

use crate::domain::source::Source;

use super::condition::Requirement;
use super::limits::Limit;
use super::path::PathPattern;
use super::quotas::Quota;
use super::response::ResponsePolicy;
use super::roles::PermissionId;

/// One route.
#[derive(Debug)]
pub struct Route {
    /// Its unique name.
    pub name: Arc<str>,
    /// Which hosts.
    pub host: HostMatch,
    /// Which paths.
    pub path: PathPattern,
    /// Which methods.
    pub methods: MethodMatch,
    /// Where to.
    pub destination: Destination,
    /// What the caller must show.
    pub credential: CredentialRule,
    /// Whether the key of a machine will do as well.
    pub machines: bool,
    /// How the organization is found.
    pub tenant: TenantRule,
    /// Where a request names a team of the organization.
    pub team: Vec<TeamSource>,
    /// What the caller must be allowed to do.
    pub permission: PermissionRule,
    /// What callers would be asked for besides, were it enforced.
    pub shadow_permission: Option<ShadowPermission>,
    /// What else must hold.
    pub conditions: Vec<Requirement>,
    /// What the request is charged to.
    pub limits: Vec<Arc<Limit>>,
    /// What its organization may use in a period.
    pub quotas: Vec<Arc<Quota>>,
    /// Cap on the bytes of a request body.
    pub max_body_bytes: u64,
    /// Time between two reads of the upstream's answer; the upstream's own where `None`.
    pub read_timeout: Option<Duration>,
    /// Whether `Upgrade: websocket` may pass, and what holds for such connections.
    pub websocket: Option<WebsocketPolicy>,
    /// What is added to answers.
    pub response: Arc<ResponsePolicy>,
    /// What is written to the audit log.
    pub audit: AuditRule,
    /// Where it was written.
    pub source: Source,
}

/// What holds for WebSockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebsocketPolicy {
    /// One on which either side says nothing for this long is closed.
    pub idle: Duration,
    /// How long one stays open after the token that opened it has expired.
    pub grace: Duration,
    /// How often it is decided again whether an open one would be let in.
    pub recheck: Duration,
    /// How many a user has open in an organization, on one node.
    pub per_user: NonZeroU32,
    /// How many an organization has open, on one node.
    pub per_organization: NonZeroU32,
}

/// Which hosts a route serves. Compared in lowercase, without the port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostMatch {
    /// All.
    Any,
    /// This one.
    Exact(Box<str>),
    /// One label before this suffix (which begins with a dot): `*.example.com`.
    Subdomain(Box<str>),
}

impl HostMatch {
    /// Whether the host fits.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact.as_ref() == host,
            Self::Subdomain(_) => self.label(host).is_some(),
        }
    }

    /// The label in place of the `*`.
    pub fn label<'h>(&self, host: &'h str) -> Option<&'h str> {
        match self {
            Self::Subdomain(suffix) => host
                .strip_suffix(suffix.as_ref())
                .filter(|label| !label.is_empty() && !label.contains('.')),
            Self::Any | Self::Exact(_) => None,
        }
    }

    /// More specific first.
    pub fn rank(&self) -> u8 {
        match self {
            Self::Exact(_) => 0,
            Self::Subdomain(_) => 1,
            Self::Any => 2,
        }
    }
}

/// Which methods a route serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MethodMatch {
    /// All.
    Any,
    /// These. GET brings HEAD along; OPTIONS always fits, since it shows nothing.
    Listed(Vec<Method>),
}

impl MethodMatch {
    /// Whether the method fits.
    pub fn matches(&self, method: &Method) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(methods) => {
                methods.contains(method)
                    || *method == Method::OPTIONS
                    || (*method == Method::HEAD && methods.contains(&Method::GET))
            }
        }
    }

    /// Whether some method other than OPTIONS fits both.
    pub fn overlaps(&self, other: &Self) -> bool {
        #[cfg(test)]
        crate::domain::steps::step();
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::Listed(a), Self::Listed(b)) => a.iter().any(|method| b.contains(method)),
        }
    }
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// To an upstream.
    Upstream {
        /// Its index in the snapshot.
        upstream: usize,
        /// Taken off the front of the path; empty or `/…` without a slash at its end.
        strip_prefix: Arc<str>,
    },
    /// Nowhere: refused with 403.
    Closed,
}

/// What a caller must show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialRule {
    /// Nothing. A credential that is shown is not looked at.
    Open,
    /// An API key, or any token. A token that is shown must be valid.
    Key,
    /// A user's token, or a service credential.
    User,
    /// A service credential.
    Service,
    /// The key of a machine.
    Machine,
}

/// How the organization is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TenantRule {
    /// The route belongs to no organization.
    None,
    /// All that are present must agree; the default membership counts only where none is.
    Sources(Vec<TenantSource>),
}

/// Where a request can name its organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TenantSource {
    /// A claim of the token, as a path of keys.
    Claim(Vec<Box<str>>),
    /// The `x-organization-id` header: id or slug.
    Header,
    /// The label in place of the `*` in the route's host: a slug.
    Host,
    /// A capture of the route's path: id or slug.
    Path(Arc<str>),
    /// The user's most recently joined active membership.
    Default,
}

/// Where a request can name a team.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TeamSource {
    /// The `x-team-id` header.
    Header,
    /// A capture of the route's path.
    Path(Arc<str>),
}

/// What the caller must be allowed to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PermissionRule {
    /// Nothing.
    None,
    /// To be an active member, with whichever role.
    Member,
    /// This.
    Permission(PermissionId),
    /// What the default map says for the table in this capture of the path: GET and HEAD → `read`,
    /// POST, PUT and PATCH → `write`, DELETE → `delete`.
    Table(Arc<str>),
    /// `call` on the function in this capture of the path.
    Function(Arc<str>),
}

/// A permission that is tried before it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShadowPermission {
    /// The permission.
    pub permission: PermissionId,
    /// Where it was written.
    pub source: Source,
}

/// Which decisions are written to the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditRule {
    /// All.
    All,
    /// Unsafe methods and refusals.
    WritesAndRefusals,
    /// Refusals.
    Refusals,
}
