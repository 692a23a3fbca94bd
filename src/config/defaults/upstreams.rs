//! Defaults of what lies behind the gateway, and what it is told of callers.
//!
//! Each once, with its reason; the module above lists them in the order of the documents. May
//! import nothing of other rooms.

use super::Preset;

pub(in crate::config) const UPSTREAM_IDENTITY: Preset = Preset::new(
    "upstream",
    "identity",
    "pass_through",
    "works with an upstream that verifies the same tokens",
);
pub(in crate::config) const CONNECT_TIMEOUT: Preset =
    Preset::new("upstream", "connect_timeout", "3s", "one lost packet is sent again within it");
pub(in crate::config) const READ_TIMEOUT: Preset =
    Preset::new("upstream", "read_timeout", "30s", "above the statement timeout of most databases");
pub(in crate::config) const RETRIES: Preset =
    Preset::new("upstream", "retries", "1", "a restarted address is passed over once");
pub(in crate::config) const PATH_PREFIX: Preset =
    Preset::new("upstream", "path_prefix", "\"/\"", "the upstream stands at its root");
pub(in crate::config) const VERIFY: Preset = Preset::new(
    "upstream tls",
    "verify",
    "true",
    "without it, anybody between can read and change everything",
);
pub(in crate::config) const MINT_LIFETIME: Preset = Preset::new(
    "mint",
    "lifetime",
    "5m",
    "long enough for a slow request, too short to be worth stealing",
);
pub(in crate::config) const MINT_USER_ROLE: Preset =
    Preset::new("mint", "user_role", "authenticated", "Supabase's name");
pub(in crate::config) const MINT_SERVICE_ROLE: Preset =
    Preset::new("mint", "service_role", "service_role", "Supabase's name");
pub(in crate::config) const MINT_MACHINE_ROLE: Preset = Preset::new(
    "mint",
    "machine_role",
    "authenticated",
    "row-level security lets in by `org_id`, for users and machines alike",
);
pub(in crate::config) const MINT_ANONYMOUS_ROLE: Preset =
    Preset::new("mint", "anonymous_role", "anon", "Supabase's name");
pub(in crate::config) const HEALTH_PATH: Preset =
    Preset::new("health", "path", "/", "every HTTP server answers it somehow");
pub(in crate::config) const HEALTH_INTERVAL: Preset =
    Preset::new("health", "interval", "5s", "an address that is gone is out within ten seconds");
pub(in crate::config) const HEALTH_TIMEOUT: Preset = Preset::new(
    "health",
    "timeout",
    "2s",
    "a server that needs longer to say that it lives is not well",
);
pub(in crate::config) const UNHEALTHY_AFTER: Preset =
    Preset::new("health", "unhealthy_after", "2", "one lost answer is no outage");
pub(in crate::config) const HEALTHY_AFTER: Preset = Preset::new(
    "health",
    "healthy_after",
    "2",
    "a restarting server can answer once and fall over again",
);
pub(in crate::config) const BREAKER_FAILURES: Preset = Preset::new(
    "breaker",
    "failures",
    "5",
    "failures in a row, which a healthy address does not have",
);
pub(in crate::config) const BREAKER_OPEN_FOR: Preset =
    Preset::new("breaker", "open_for", "5s", "a restart takes about as long");
pub(in crate::config) const CANARY_RETRY: Preset =
    Preset::new("canary", "retry", "5s", "a database that starts with the gateway is there soon");
pub(in crate::config) const CANARY_TIMEOUT: Preset = Preset::new(
    "canary",
    "timeout",
    "5s",
    "no row fits, so an index answers at once, and a table without one is read in full",
);
