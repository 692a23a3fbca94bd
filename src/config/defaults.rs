//! Every default of the configuration, once, with its reason. Written as the operator would write
//! it and read by the same decoder, so that documents, schema and program cannot disagree.

mod directory;
mod gateway;
mod identity;
mod logins;
mod policy;
mod rules;
mod upstreams;

use serde_json::Value;

pub(super) use self::directory::*;
pub(super) use self::gateway::*;
pub(super) use self::identity::*;
pub(super) use self::logins::*;
pub(super) use self::policy::*;
pub(super) use self::rules::*;
pub(super) use self::upstreams::*;
use super::yaml;

/// One default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// The part of the configuration.
    pub part: &'static str,
    /// The key.
    pub key: &'static str,
    /// The value, as YAML.
    pub yaml: &'static str,
    /// Why this value.
    pub why: &'static str,
}

impl Preset {
    const fn new(
        part: &'static str,
        key: &'static str,
        yaml: &'static str,
        why: &'static str,
    ) -> Self {
        Self { part, key, yaml, why }
    }

    /// A list of words.
    pub(super) fn words(&self) -> Vec<String> {
        let words = self.json();
        let words = words.as_array().into_iter().flatten();
        words.filter_map(|word| word.as_str().map(str::to_owned)).collect()
    }

    pub(super) fn json(&self) -> Value {
        yaml::parse(0, self.yaml).0.map_or(Value::Null, |node| node.json())
    }
}

/// All defaults, in the order of the documents.
pub const ALL: &[Preset] = &[
    TEST_FROM,
    TEST_AT,
    TEST_HOST,
    TEST_ANSWERS,
    HTTP2,
    THREADS,
    DRAIN,
    UPSTREAM_POOL,
    NODE,
    TRUSTED_PROXIES,
    MAX_HEADER_BYTES,
    MAX_HEADER_COUNT,
    MAX_TARGET_BYTES,
    HEAD_TIMEOUT,
    BODY_TIMEOUT,
    KEEPALIVE_TIMEOUT,
    REQUESTS_PER_ORGANIZATION,
    REQUESTS_PER_USER,
    CONNECTIONS_PER_ADDRESS,
    MAX_TOKEN_BYTES,
    REQUIRED_CLAIMS,
    ISSUER_MEMBERSHIP,
    ISSUER_SYNC,
    ISSUER_CHOOSE,
    ISSUER_OTHERWISE,
    LEEWAY,
    FILE_ALGORITHMS,
    JWKS_REFRESH,
    JWKS_TIMEOUT,
    JWKS_WINDOW,
    SERVICE_CLAIMS,
    SERVICE_ADDRESSES,
    ANONYMOUS_CLAIMS,
    DIRECTORY_TTL,
    DIRECTORY_MAX_STALE,
    DIRECTORY_NEGATIVE_TTL,
    DIRECTORY_TIMEOUT,
    DIRECTORY_CAPACITY,
    DIRECTORY_CONNECTIONS,
    LIMITS_STORE,
    MAX_BUCKETS,
    REDIS_TIMEOUT,
    REDIS_KEY_PREFIX,
    REDIS_NODES,
    REDIS_ON_FAILOVER,
    SESSION_STORE,
    SESSIONS_AWAY,
    SESSION_KEEP,
    SESSION_ENTRIES,
    SESSION_TIMEOUT,
    SESSION_PREFIX,
    UPSTREAM_IDENTITY,
    CONNECT_TIMEOUT,
    READ_TIMEOUT,
    RETRIES,
    PATH_PREFIX,
    VERIFY,
    MINT_LIFETIME,
    MINT_USER_ROLE,
    MINT_SERVICE_ROLE,
    MINT_MACHINE_ROLE,
    MACHINE_KEY_STATUS,
    DEVICE_TRUSTED_FOR,
    DEVICE_WITHIN,
    DEVICE_SAME_SITE,
    MINT_ANONYMOUS_ROLE,
    HEALTH_PATH,
    HEALTH_INTERVAL,
    HEALTH_TIMEOUT,
    UNHEALTHY_AFTER,
    HEALTHY_AFTER,
    BREAKER_FAILURES,
    BREAKER_OPEN_FOR,
    CANARY_RETRY,
    CANARY_TIMEOUT,
    AUDIT_QUEUE,
    METERING_FLUSH,
    METERING_ZONE,
    METERING_ROWS,
    TESTS_RUN,
    TESTS_WITHIN,
    SNAPSHOTS_KEEP,
    SNAPSHOTS_BYTES,
    LOG_FORMAT,
    LOG_FILTER,
    SCHEMA,
    LIMIT_COST,
    COST_BASE,
    WHEN_AWAY,
    PENALTY_AFTER,
    PENALTY_FIRST,
    PENALTY_MOST,
    PENALTY_FORGET,
    LIMIT_MODE,
    CONDITION_MODE,
    GATE_MODE,
    QUOTA_MODE,
    QUOTA_AWAY,
    QUOTA_AFTER_CRASH,
    QUOTA_THRESHOLDS,
    CASTS,
    TABLE_MODE,
    WRITABLE,
    SHARED_NULL,
    REQUIRE_FILTER,
    VIEW_WRITABLE,
    FILTER_RESULT,
    UNSCOPED,
    READ_ONLY,
    CAP_DEPTH,
    CAP_EMBEDS,
    CAP_FILTERS,
    HOST,
    METHODS,
    STRIP_PREFIX,
    MAX_BODY,
    WEBSOCKET,
    WEBSOCKET_IDLE,
    WEBSOCKET_GRACE,
    WEBSOCKETS_PER_USER,
    WEBSOCKETS_PER_ORGANIZATION,
    AUDIT_RULE,
    HOURS_DAYS,
    ROLE_LEVEL,
    IMPERSONATION_WITHIN,
    IMPERSONATION_READ_ONLY,
    LOGIN_MODE,
    LOGINS_AWAY,
    LOGIN_KNOWN_FOR,
    LOGIN_FACTOR,
    LOGIN_FORGET,
    LOGIN_SEVERITY,
    LOGIN_PAIR[0],
    LOGIN_PAIR[1],
    LOGIN_PAIR[2],
    LOGIN_PAIR[3],
    LOGIN_PAIR[4],
    LOGIN_ADDRESS[0],
    LOGIN_ADDRESS[1],
    LOGIN_ADDRESS[2],
    LOGIN_ADDRESS[3],
    LOGIN_ADDRESS[4],
    LOGIN_NETWORK[0],
    LOGIN_NETWORK[1],
    LOGIN_NETWORK[2],
    LOGIN_NETWORK[3],
    LOGIN_NETWORK[4],
    LOGIN_ACCOUNT[0],
    LOGIN_ACCOUNT[1],
    LOGIN_ACCOUNT[2],
    LOGIN_ACCOUNT[3],
    LOGIN_ACCOUNT[4],
    SPRAYING_MODE,
    SPRAYING_ACCOUNTS,
    SPRAYING_NETWORK_ACCOUNTS,
    SPRAYING_WINDOW,
    SPRAYING_SEVERITY,
    STUFFING_MODE,
    STUFFING_FAILURES,
    STUFFING_PERCENT,
    STUFFING_WINDOW,
    STUFFING_ADDRESS_FAILURES,
    STUFFING_SEVERITY,
    RULE_PHASE,
    RULE_MODE,
    DENY_STATUS,
    DENY_CODE,
    DENY_MESSAGE,
    REDIRECT_STATUS,
    DIVERT_SHARE,
    RULE_SEVERITY,
    CORS_METHODS,
    CORS_CREDENTIALS,
    CORS_MAX_AGE,
    ORGANIZATION_STATUS,
    MEMBER_STATUS,
    JOINED,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_yaml_and_has_a_reason() {
        for preset in ALL {
            assert_ne!(preset.json(), Value::Null, "{preset:?}");
            assert!(preset.why.len() > 10, "{preset:?}");
        }
    }
}
