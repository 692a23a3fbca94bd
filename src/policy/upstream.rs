//! Named upstreams.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::secret::Secret;
use crate::domain::source::Source;

/// A service behind the gateway.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// Its unique name.
    pub name: Arc<str>,
    /// What it speaks: decides isolation and the shape of errors.
    pub kind: UpstreamKind,
    /// Where it listens; at least one.
    pub addresses: Vec<UpstreamAddress>,
    /// TLS to it, with this server name, where it is on.
    pub tls: Option<UpstreamTls>,
    /// The `Host` it is sent; the client's where `None`.
    pub host: Option<Arc<str>>,
    /// Put before the path after a route has stripped its prefix; empty or `/…` without a slash at
    /// its end.
    pub path_prefix: Arc<str>,
    /// What it learns of the caller.
    pub identity: UpstreamIdentity,
    /// The key that is sent as `apikey` (hosted Supabase wants one), instead of the caller's.
    pub api_key: Option<Secret>,
    /// Time to connect, TLS included.
    pub connect_timeout: Duration,
    /// Time between two reads of an answer, where the route says nothing else.
    pub read_timeout: Duration,
    /// Further tries of an idempotent request that got no byte of an answer.
    pub retries: u8,
    /// Health checks, where they are on.
    pub health: Option<HealthCheck>,
    /// When an address is taken out.
    pub breaker: Breaker,
    /// Of a PostgREST upstream: whether its isolation is tried before the node is ready.
    pub canary: Option<CanaryPolicy>,
    /// Of an auth server: whether what a sign-out ends there is revoked here.
    pub sign_out_revokes: bool,
    /// Where it was written.
    pub source: Source,
}

/// One `host:port`. Names are resolved when a connection is made and again at each health check.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UpstreamAddress {
    /// Host name or address.
    pub host: Box<str>,
    /// Port.
    pub port: u16,
}

/// TLS to an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamTls {
    /// The name in SNI and in the certificate.
    pub server_name: Box<str>,
    /// Whether the certificate is verified. Only a development configuration should say no.
    pub verify: bool,
}

/// What an upstream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UpstreamKind {
    /// PostgREST: every request is confined to the organization or refused.
    Postgrest,
    /// Supabase Auth.
    Auth,
    /// Supabase Storage.
    Storage,
    /// Supabase Realtime.
    Realtime,
    /// Supabase Edge Functions.
    Functions,
    /// Anything else that speaks HTTP.
    Http,
}

impl UpstreamKind {
    /// As configurations write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Postgrest => "postgrest",
            Self::Auth => "auth",
            Self::Storage => "storage",
            Self::Realtime => "realtime",
            Self::Functions => "functions",
            Self::Http => "http",
        }
    }
}

/// What an upstream learns of the caller.
#[derive(Debug, Clone)]
pub enum UpstreamIdentity {
    /// A token minted by the gateway with the verified `sub`, `role`, `org_id`, `org_role`, `org_team`.
    Minted(MintPolicy),
    /// The caller's own token, after it was verified. A key of the `sb_` kind is no token: it is
    /// translated into one with this policy, or not sent on.
    PassThrough {
        /// How tokens for bearers of `sb_` keys are minted.
        translate: Option<MintPolicy>,
    },
    /// Nothing.
    None,
}

/// How tokens for an upstream are minted (HS256, the algorithm that PostgREST's `jwt-secret`
/// verifies).
#[derive(Debug, Clone)]
pub struct MintPolicy {
    /// The shared secret, at least 32 bytes (RFC 7518 section 3.2).
    pub secret: Secret,
    /// How long a minted token lives, at most as long as the caller's.
    pub lifetime: Duration,
    /// The database role of users.
    pub user_role: Arc<str>,
    /// The database role of services.
    pub service_role: Arc<str>,
    /// The database role of machines.
    pub machine_role: Arc<str>,
    /// The database role of anonymous callers.
    pub anonymous_role: Arc<str>,
    /// `aud`, where one is stated.
    pub audience: Option<Arc<str>>,
}

/// An active check of each address.
#[derive(Debug, Clone)]
pub struct HealthCheck {
    /// The path that is asked with GET; any answer below 500 is healthy.
    pub path: Arc<str>,
    /// Time between two checks.
    pub interval: Duration,
    /// Time for an answer.
    pub timeout: Duration,
    /// Failures in a row that take an address out.
    pub unhealthy_after: NonZeroU32,
    /// Successes in a row that put it back.
    pub healthy_after: NonZeroU32,
}

/// How the isolation of a PostgREST upstream is tried, at start and after a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanaryPolicy {
    /// Time from one try that failed to the next.
    pub retry: Duration,
    /// Time for the answer to one question.
    pub timeout: Duration,
}

/// When the circuit of an address opens.
#[derive(Debug, Clone)]
pub struct Breaker {
    /// Failures in a row (connect errors, timeouts, broken answers) that open it.
    pub failures: NonZeroU32,
    /// How long it stays open before one request is let through to try.
    pub open_for: Duration,
}
