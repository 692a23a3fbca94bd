//! Defaults of who calls: issuers and their keys, machines, services, support, devices and
//! sessions.
//!
//! Each once, with its reason; the module above lists them in the order of the documents. May
//! import nothing of other rooms.

use super::Preset;

pub(in crate::config) const MACHINE_KEY_STATUS: Preset =
    Preset::new("machine key", "status", "active", "a key is listed to be used");
pub(in crate::config) const IMPERSONATION_WITHIN: Preset =
    Preset::new("impersonation", "within", "30m", "a case takes about as long");
pub(in crate::config) const IMPERSONATION_READ_ONLY: Preset = Preset::new(
    "impersonation",
    "read_only",
    "true",
    "to see what a user sees, nobody has to write",
);
pub(in crate::config) const MAX_TOKEN_BYTES: Preset = Preset::new(
    "identity",
    "max_token_bytes",
    "16KiB",
    "the largest tokens seen, with many groups in them, stay below it",
);
pub(in crate::config) const REQUIRED_CLAIMS: Preset = Preset::new(
    "issuer",
    "required_claims",
    "[sub]",
    "a token without a subject proves nobody; legacy Supabase keys have none, so list `role` for them",
);
pub(in crate::config) const ISSUER_MEMBERSHIP: Preset =
    Preset::new("issuer", "membership", "require", "whoever vouches for somebody invites nobody");
pub(in crate::config) const ISSUER_SYNC: Preset =
    Preset::new("issuer", "sync", "never", "what administrators changed in the directory stays");
pub(in crate::config) const ISSUER_CHOOSE: Preset =
    Preset::new("issuer roles", "choose", "first", "one role is what most members have");
pub(in crate::config) const ISSUER_OTHERWISE: Preset = Preset::new(
    "issuer roles",
    "otherwise",
    "refuse",
    "groups that nobody thought of give nothing",
);
pub(in crate::config) const LEEWAY: Preset =
    Preset::new("issuer", "leeway", "10s", "clocks of synchronised machines differ by less");
pub(in crate::config) const FILE_ALGORITHMS: Preset = Preset::new(
    "issuer key",
    "algorithms",
    "[ES256, RS256]",
    "what Supabase Auth signs with, besides shared secrets",
);
pub(in crate::config) const JWKS_REFRESH: Preset =
    Preset::new("issuer key", "refresh", "10m", "Supabase caches its key set for as long");
pub(in crate::config) const JWKS_TIMEOUT: Preset =
    Preset::new("issuer key", "timeout", "5s", "fetched in the background, so nobody waits for it");
pub(in crate::config) const JWKS_WINDOW: Preset = Preset::new(
    "issuer key",
    "unknown_key_window",
    "30s",
    "forged key ids cannot make the gateway ask more often",
);
pub(in crate::config) const SERVICE_CLAIMS: Preset =
    Preset::new("service", "claims", "[service_role]", "Supabase's name");
pub(in crate::config) const SERVICE_ADDRESSES: Preset = Preset::new(
    "service",
    "addresses",
    "[]",
    "an empty list refuses no address; in production, list your own networks",
);
pub(in crate::config) const ANONYMOUS_CLAIMS: Preset =
    Preset::new("anonymous", "claims", "[anon]", "Supabase's name");
pub(in crate::config) const DEVICE_TRUSTED_FOR: Preset = Preset::new(
    "devices",
    "trusted_for",
    "30d",
    "NIST SP 800-63B section 4.1.3 has everybody authenticate again after 30 days at most",
);
pub(in crate::config) const DEVICE_WITHIN: Preset = Preset::new(
    "devices",
    "within",
    "10m",
    "the wish follows the second factor, with time for a form in between",
);
pub(in crate::config) const DEVICE_SAME_SITE: Preset = Preset::new(
    "devices",
    "same_site",
    "strict",
    "an application and its API share a site; others have to say so",
);
pub(in crate::config) const SESSION_STORE: Preset =
    Preset::new("sessions", "store", "memory", "nothing else has to run; enough for one node");
pub(in crate::config) const SESSIONS_AWAY: Preset = Preset::new(
    "sessions",
    "when_away",
    "serve",
    "what this node knows still counts, and an outage of Redis signs nobody out",
);
pub(in crate::config) const SESSION_KEEP: Preset = Preset::new(
    "sessions",
    "keep",
    "7d",
    "Supabase Auth issues no token that lives longer than a week",
);
pub(in crate::config) const SESSION_ENTRIES: Preset = Preset::new(
    "sessions",
    "max_entries",
    "250000",
    "70 MB of revocations and as much of last uses, when it is full",
);
pub(in crate::config) const SESSION_TIMEOUT: Preset = Preset::new(
    "session redis",
    "timeout",
    "250ms",
    "no request waits for it; with a look every 300 ms it stays below a second",
);
pub(in crate::config) const SESSION_PREFIX: Preset = Preset::new(
    "session redis",
    "key_prefix",
    "tollgate",
    "keeps the keys apart from those of other programs",
);
