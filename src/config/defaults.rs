//! Every default of the configuration, once, with its reason. Written as the operator would write
//! it and read by the same decoder, so that documents, schema and program cannot disagree.

use serde_json::{Value, json};

use super::yaml::{self, Kind, Node};

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
        yaml::parse(0, self.yaml).0.map_or(Value::Null, |node| value(&node))
    }
}

fn value(node: &Node) -> Value {
    match &node.kind {
        Kind::Null | Kind::Float | Kind::Map(_) => Value::Null,
        Kind::Bool(yes) => json!(yes),
        Kind::Int(number) => i64::try_from(*number).map_or(Value::Null, |number| json!(number)),
        Kind::Text { text, .. } => json!(text),
        Kind::List(items) => items.iter().map(value).collect(),
    }
}

pub(super) const MACHINE_KEY_STATUS: Preset =
    Preset::new("machine key", "status", "active", "a key is listed to be used");
pub(super) const TEST_FROM: Preset =
    Preset::new("test", "from", "192.0.2.1", "an address that is nobody's (RFC 5737)");
pub(super) const TEST_AT: Preset = Preset::new(
    "test",
    "at",
    "\"2026-01-07T12:00:00Z\"",
    "some moment that does not move: a Wednesday at noon",
);
pub(super) const TEST_HOST: Preset =
    Preset::new("request", "host", "api.example.com", "a host that is nobody's (RFC 2606)");
pub(super) const HOURS_DAYS: Preset = Preset::new(
    "hours",
    "days",
    "[mon, tue, wed, thu, fri, sat, sun]",
    "hours without days are meant for every day",
);
pub(super) const ROLE_LEVEL: Preset =
    Preset::new("role", "level", "1", "below every role that states a rank");
pub(super) const IMPERSONATION_WITHIN: Preset =
    Preset::new("impersonation", "within", "30m", "a case takes about as long");
pub(super) const IMPERSONATION_READ_ONLY: Preset = Preset::new(
    "impersonation",
    "read_only",
    "true",
    "to see what a user sees, nobody has to write",
);
pub(super) const LOGIN_MODE: Preset =
    Preset::new("logins", "mode", "enforce", "who states `logins` wants them guarded");
pub(super) const LOGINS_AWAY: Preset = Preset::new(
    "logins",
    "when_away",
    "local",
    "users can sign in, and a guesser gets no further than nodes times the threshold",
);
pub(super) const LOGIN_KNOWN_FOR: Preset = Preset::new(
    "logins",
    "known_for",
    "90d",
    "longer than holidays; an address that somebody else has by then is only spared, not let in",
);
pub(super) const LOGIN_FACTOR: Preset =
    Preset::new("logins", "factor", "2", "30 s, 1 min, 2 min, and after seven lockouts an hour");
pub(super) const LOGIN_FORGET: Preset =
    Preset::new("logins", "forget", "24h", "who comes back tomorrow begins anew");
pub(super) const LOGIN_SEVERITY: Preset = Preset::new(
    "logins",
    "severity",
    "low",
    "people who forgot their passwords are locked at times",
);
pub(super) const LOGIN_PAIR: [Preset; 5] = [
    Preset::new("login account_at_address", "failures", "5", "who knows the password needs fewer"),
    Preset::new(
        "login account_at_address",
        "again",
        "1",
        "the next guess may be the last for a while",
    ),
    Preset::new("login account_at_address", "within", "1h", "slower guesses are few in a day"),
    Preset::new("login account_at_address", "first", "30s", "an honest user waits it out"),
    Preset::new(
        "login account_at_address",
        "most",
        "1h",
        "24 guesses a day; nobody is locked for ever",
    ),
];
pub(super) const LOGIN_ADDRESS: [Preset; 5] = [
    Preset::new("login address", "failures", "50", "an office behind one address fails less often"),
    Preset::new("login address", "again", "10", "its honest users come back at the same time"),
    Preset::new(
        "login address",
        "within",
        "10m",
        "a morning's mistakes are spread out more widely",
    ),
    Preset::new("login address", "first", "30s", "honest users behind the address wait it out"),
    Preset::new("login address", "most", "1h", "240 guesses a day, for all accounts together"),
];
pub(super) const LOGIN_NETWORK: [Preset; 5] = [
    Preset::new("login network", "failures", "200", "as many as four addresses that are locked"),
    Preset::new("login network", "again", "40", "as of its addresses"),
    Preset::new("login network", "within", "10m", "as of its addresses"),
    Preset::new("login network", "first", "30s", "as of its addresses"),
    Preset::new("login network", "most", "15m", "a network has more honest users than an address"),
];
pub(super) const LOGIN_ACCOUNT: [Preset; 5] = [
    Preset::new("login account", "failures", "100", "20 addresses with 5 guesses each"),
    Preset::new("login account", "again", "20", "an attack that goes on is found at once"),
    Preset::new("login account", "within", "1h", "as of the account at one address"),
    Preset::new(
        "login account",
        "first",
        "1m",
        "its user may be at an address that it does not know",
    ),
    Preset::new(
        "login account",
        "most",
        "15m",
        "whoever attacks must not keep its user out for long",
    ),
];
pub(super) const SPRAYING_MODE: Preset =
    Preset::new("login spraying", "mode", "enforce", "the address would be locked soon anyway");
pub(super) const SPRAYING_ACCOUNTS: Preset = Preset::new(
    "login spraying",
    "accounts",
    "20",
    "so many users behind one address do not forget their passwords at once",
);
pub(super) const SPRAYING_NETWORK_ACCOUNTS: Preset = Preset::new(
    "login spraying",
    "network_accounts",
    "60",
    "an attacker with several addresses side by side",
);
pub(super) const SPRAYING_WINDOW: Preset =
    Preset::new("login spraying", "window", "10m", "as failures of an address count together");
pub(super) const SPRAYING_SEVERITY: Preset =
    Preset::new("login spraying", "severity", "high", "honest users do not do this");
pub(super) const STUFFING_MODE: Preset = Preset::new(
    "login stuffing",
    "mode",
    "enforce",
    "while it lasts, most who fail at an address are not its users",
);
pub(super) const STUFFING_FAILURES: Preset =
    Preset::new("login stuffing", "failures", "200", "few enough to be found within minutes");
pub(super) const STUFFING_PERCENT: Preset =
    Preset::new("login stuffing", "percent", "80", "of honest attempts most succeed");
pub(super) const STUFFING_WINDOW: Preset =
    Preset::new("login stuffing", "window", "5m", "an attack lasts longer");
pub(super) const STUFFING_ADDRESS_FAILURES: Preset =
    Preset::new("login stuffing", "address_failures", "5", "as of one account at an address");
pub(super) const STUFFING_SEVERITY: Preset =
    Preset::new("login stuffing", "severity", "high", "lists of stolen passwords are being tried");
pub(super) const HTTP2: Preset = Preset::new(
    "listener",
    "http2",
    "true",
    "browsers and supabase-js open fewer connections with it",
);
pub(super) const THREADS: Preset = Preset::new(
    "server",
    "threads",
    "2",
    "two workers keep a slow handshake from holding up the rest; set it to the number of cores",
);
pub(super) const DRAIN: Preset = Preset::new(
    "server",
    "drain",
    "30s",
    "longer than nearly every request, shorter than the patience of container platforms",
);
pub(super) const UPSTREAM_POOL: Preset = Preset::new(
    "server",
    "upstream_pool",
    "4096",
    "a pool smaller than the busy connections makes each request open a new one",
);
pub(super) const NODE: Preset = Preset::new(
    "server",
    "node",
    "gateway",
    "one name is enough for one node; give each node its own",
);
pub(super) const TRUSTED_PROXIES: Preset =
    Preset::new("edge", "trusted_proxies", "[]", "whoever is trusted can claim any client address");
pub(super) const MAX_HEADER_BYTES: Preset = Preset::new(
    "edge",
    "max_header_bytes",
    "32KiB",
    "holds a 16 KiB token twice, as `apikey` and as bearer",
);
pub(super) const MAX_HEADER_COUNT: Preset =
    Preset::new("edge", "max_header_count", "100", "browsers send about 20");
pub(super) const MAX_TARGET_BYTES: Preset = Preset::new(
    "edge",
    "max_target_bytes",
    "8KiB",
    "RFC 9110 section 4.1 recommends that 8,000 bytes are supported",
);
pub(super) const HEAD_TIMEOUT: Preset = Preset::new(
    "edge",
    "head_timeout",
    "10s",
    "a head is one packet or two; slower ones hold connections",
);
pub(super) const BODY_TIMEOUT: Preset =
    Preset::new("edge", "body_timeout", "30s", "mobile networks pause for seconds, not for longer");
pub(super) const KEEPALIVE_TIMEOUT: Preset =
    Preset::new("edge", "keepalive_timeout", "60s", "as long as common load balancers keep theirs");
pub(super) const REQUESTS_PER_ORGANIZATION: Preset = Preset::new(
    "edge",
    "requests_per_organization",
    "512",
    "one organization cannot take all upstream connections",
);
pub(super) const REQUESTS_PER_USER: Preset = Preset::new(
    "edge",
    "requests_per_user",
    "128",
    "one user cannot take all that their organization may have; a browser has six to a host",
);
pub(super) const CONNECTIONS_PER_ADDRESS: Preset = Preset::new(
    "edge",
    "connections_per_address",
    "256",
    "an office behind one address fits; a flood does not",
);
pub(super) const MAX_TOKEN_BYTES: Preset = Preset::new(
    "identity",
    "max_token_bytes",
    "16KiB",
    "the largest tokens seen, with many groups in them, stay below it",
);
pub(super) const REQUIRED_CLAIMS: Preset = Preset::new(
    "issuer",
    "required_claims",
    "[sub]",
    "a token without a subject proves nobody; legacy Supabase keys have none, so list `role` for them",
);
pub(super) const ISSUER_MEMBERSHIP: Preset =
    Preset::new("issuer", "membership", "require", "whoever vouches for somebody invites nobody");
pub(super) const ISSUER_SYNC: Preset =
    Preset::new("issuer", "sync", "never", "what administrators changed in the directory stays");
pub(super) const ISSUER_CHOOSE: Preset =
    Preset::new("issuer roles", "choose", "first", "one role is what most members have");
pub(super) const ISSUER_OTHERWISE: Preset = Preset::new(
    "issuer roles",
    "otherwise",
    "refuse",
    "groups that nobody thought of give nothing",
);
pub(super) const LEEWAY: Preset =
    Preset::new("issuer", "leeway", "10s", "clocks of synchronised machines differ by less");
pub(super) const FILE_ALGORITHMS: Preset = Preset::new(
    "issuer key",
    "algorithms",
    "[ES256, RS256]",
    "what Supabase Auth signs with, besides shared secrets",
);
pub(super) const JWKS_REFRESH: Preset =
    Preset::new("issuer key", "refresh", "10m", "Supabase caches its key set for as long");
pub(super) const JWKS_TIMEOUT: Preset =
    Preset::new("issuer key", "timeout", "5s", "fetched in the background, so nobody waits for it");
pub(super) const JWKS_WINDOW: Preset = Preset::new(
    "issuer key",
    "unknown_key_window",
    "30s",
    "forged key ids cannot make the gateway ask more often",
);
pub(super) const SERVICE_CLAIMS: Preset =
    Preset::new("service", "claims", "[service_role]", "Supabase's name");
pub(super) const SERVICE_ADDRESSES: Preset = Preset::new(
    "service",
    "addresses",
    "[]",
    "an empty list refuses no address; in production, list your own networks",
);
pub(super) const ANONYMOUS_CLAIMS: Preset =
    Preset::new("anonymous", "claims", "[anon]", "Supabase's name");
pub(super) const DIRECTORY_TTL: Preset = Preset::new(
    "postgres directory",
    "ttl",
    "30s",
    "how long a change may take to be seen where notifications are not set up",
);
pub(super) const DIRECTORY_MAX_STALE: Preset = Preset::new(
    "postgres directory",
    "max_stale",
    "1h",
    "members keep working through a failover of the database",
);
pub(super) const DIRECTORY_NEGATIVE_TTL: Preset = Preset::new(
    "postgres directory",
    "negative_ttl",
    "5s",
    "a new organization is reachable soon; a scan for names does not reach the database",
);
pub(super) const DIRECTORY_TIMEOUT: Preset =
    Preset::new("postgres directory", "timeout", "2s", "a look-up by key takes milliseconds");
pub(super) const DIRECTORY_CAPACITY: Preset =
    Preset::new("postgres directory", "capacity", "100000", "about 50 MB when it is full");
pub(super) const DIRECTORY_CONNECTIONS: Preset =
    Preset::new("postgres directory", "connections", "4", "look-ups are rare and short");
pub(super) const LIMITS_STORE: Preset =
    Preset::new("gateway", "limits_store", "memory", "nothing else has to run; exact for one node");
pub(super) const MAX_BUCKETS: Preset =
    Preset::new("memory store", "max_buckets", "100000", "about 20 MB when it is full");
pub(super) const REDIS_TIMEOUT: Preset = Preset::new(
    "redis store",
    "timeout",
    "25ms",
    "far above a round trip in one data centre, far below what a client notices",
);
pub(super) const REDIS_KEY_PREFIX: Preset = Preset::new(
    "redis store",
    "key_prefix",
    "tollgate",
    "keeps the keys apart from those of other programs",
);
pub(super) const REDIS_NODES: Preset = Preset::new(
    "redis store",
    "nodes",
    "1",
    "one gateway node enforces the whole of a limit while Redis is away",
);
pub(super) const REDIS_ON_FAILOVER: Preset = Preset::new(
    "redis store",
    "on_failover",
    "lenient",
    "what was granted in the moments that the replica missed is worth less than refusing everybody",
);
pub(super) const DEVICE_TRUSTED_FOR: Preset = Preset::new(
    "devices",
    "trusted_for",
    "30d",
    "NIST SP 800-63B section 4.1.3 has everybody authenticate again after 30 days at most",
);
pub(super) const DEVICE_WITHIN: Preset = Preset::new(
    "devices",
    "within",
    "10m",
    "the wish follows the second factor, with time for a form in between",
);
pub(super) const DEVICE_SAME_SITE: Preset = Preset::new(
    "devices",
    "same_site",
    "strict",
    "an application and its API share a site; others have to say so",
);
pub(super) const SESSION_STORE: Preset =
    Preset::new("sessions", "store", "memory", "nothing else has to run; enough for one node");
pub(super) const SESSIONS_AWAY: Preset = Preset::new(
    "sessions",
    "when_away",
    "serve",
    "what this node knows still counts, and an outage of Redis signs nobody out",
);
pub(super) const SESSION_KEEP: Preset = Preset::new(
    "sessions",
    "keep",
    "7d",
    "Supabase Auth issues no token that lives longer than a week",
);
pub(super) const SESSION_ENTRIES: Preset = Preset::new(
    "sessions",
    "max_entries",
    "250000",
    "70 MB of revocations and as much of last uses, when it is full",
);
pub(super) const SESSION_TIMEOUT: Preset = Preset::new(
    "session redis",
    "timeout",
    "250ms",
    "no request waits for it; with a look every 300 ms it stays below a second",
);
pub(super) const SESSION_PREFIX: Preset = Preset::new(
    "session redis",
    "key_prefix",
    "tollgate",
    "keeps the keys apart from those of other programs",
);
pub(super) const UPSTREAM_IDENTITY: Preset = Preset::new(
    "upstream",
    "identity",
    "pass_through",
    "works with an upstream that verifies the same tokens",
);
pub(super) const CONNECT_TIMEOUT: Preset =
    Preset::new("upstream", "connect_timeout", "3s", "one lost packet is sent again within it");
pub(super) const READ_TIMEOUT: Preset =
    Preset::new("upstream", "read_timeout", "30s", "above the statement timeout of most databases");
pub(super) const RETRIES: Preset =
    Preset::new("upstream", "retries", "1", "a restarted address is passed over once");
pub(super) const PATH_PREFIX: Preset =
    Preset::new("upstream", "path_prefix", "\"/\"", "the upstream stands at its root");
pub(super) const VERIFY: Preset = Preset::new(
    "upstream tls",
    "verify",
    "true",
    "without it, anybody between can read and change everything",
);
pub(super) const MINT_LIFETIME: Preset = Preset::new(
    "mint",
    "lifetime",
    "5m",
    "long enough for a slow request, too short to be worth stealing",
);
pub(super) const MINT_USER_ROLE: Preset =
    Preset::new("mint", "user_role", "authenticated", "Supabase's name");
pub(super) const MINT_SERVICE_ROLE: Preset =
    Preset::new("mint", "service_role", "service_role", "Supabase's name");
pub(super) const MINT_MACHINE_ROLE: Preset = Preset::new(
    "mint",
    "machine_role",
    "authenticated",
    "row-level security lets in by `org_id`, for users and machines alike",
);
pub(super) const MINT_ANONYMOUS_ROLE: Preset =
    Preset::new("mint", "anonymous_role", "anon", "Supabase's name");
pub(super) const HEALTH_PATH: Preset =
    Preset::new("health", "path", "/", "every HTTP server answers it somehow");
pub(super) const HEALTH_INTERVAL: Preset =
    Preset::new("health", "interval", "5s", "an address that is gone is out within ten seconds");
pub(super) const HEALTH_TIMEOUT: Preset = Preset::new(
    "health",
    "timeout",
    "2s",
    "a server that needs longer to say that it lives is not well",
);
pub(super) const UNHEALTHY_AFTER: Preset =
    Preset::new("health", "unhealthy_after", "2", "one lost answer is no outage");
pub(super) const HEALTHY_AFTER: Preset = Preset::new(
    "health",
    "healthy_after",
    "2",
    "a restarting server can answer once and fall over again",
);
pub(super) const BREAKER_FAILURES: Preset = Preset::new(
    "breaker",
    "failures",
    "5",
    "failures in a row, which a healthy address does not have",
);
pub(super) const BREAKER_OPEN_FOR: Preset =
    Preset::new("breaker", "open_for", "5s", "a restart takes about as long");
pub(super) const CANARY_RETRY: Preset =
    Preset::new("canary", "retry", "5s", "a database that starts with the gateway is there soon");
pub(super) const CANARY_TIMEOUT: Preset = Preset::new(
    "canary",
    "timeout",
    "5s",
    "no row fits, so an index answers at once, and a table without one is read in full",
);
pub(super) const AUDIT_QUEUE: Preset =
    Preset::new("audit", "queue", "8192", "a second of heavy traffic; about 8 MB when it is full");
pub(super) const METERING_FLUSH: Preset = Preset::new(
    "metering",
    "flush",
    "5s",
    "bills are seconds behind; a statement every 5 s from each node costs nothing",
);
pub(super) const METERING_ZONE: Preset =
    Preset::new("metering", "zone", "UTC", "the same day everywhere, always 24 hours long");
pub(super) const METERING_ROWS: Preset = Preset::new(
    "metering",
    "rows",
    "65536",
    "callers of a few seconds, or of a day while the ledger is away; about 30 MB when it is full",
);
pub(super) const LOG_FORMAT: Preset =
    Preset::new("log", "format", "json", "machines read logs more often than people");
pub(super) const LOG_FILTER: Preset =
    Preset::new("log", "filter", "info", "what an operator wants to know, and no more");
pub(super) const SCHEMA: Preset = Preset::new("policy", "schema", "public", "PostgREST's default");
pub(super) const COST_BASE: Preset = Preset::new("cost", "base", "1", "one request, one token");
pub(super) const LIMIT_COST: Preset = Preset::new("limit", "cost", "1", "one request, one token");
pub(super) const WHEN_AWAY: Preset =
    Preset::new("limit", "when_away", "local_share", "neither an outage nor a free-for-all");
pub(super) const PENALTY_AFTER: Preset = Preset::new(
    "penalty",
    "after",
    "10",
    "as many requests as a page sends at once are refused without blame",
);
pub(super) const PENALTY_FIRST: Preset =
    Preset::new("penalty", "first", "5s", "noticed by whoever goes on, and soon over");
pub(super) const PENALTY_MOST: Preset =
    Preset::new("penalty", "most", "10m", "after eight levels; whoever mends it is back soon");
pub(super) const PENALTY_FORGET: Preset =
    Preset::new("penalty", "forget", "10m", "as long as the longest wait");
pub(super) const QUOTA_MODE: Preset =
    Preset::new("quota", "mode", "hard", "a quota that stops nobody is one by choice");
pub(super) const QUOTA_AFTER_CRASH: Preset = Preset::new(
    "quota",
    "after_crash",
    "lenient",
    "what a node admits in 200 ms is little, and no request waits for the disk",
);
pub(super) const QUOTA_THRESHOLDS: Preset = Preset::new(
    "quota",
    "thresholds",
    "[80, 100]",
    "in time to talk about a larger plan, and when there is nothing left",
);
pub(super) const QUOTA_AWAY: Preset = Preset::new(
    "quota",
    "when_away",
    "serve",
    "what is used is counted and billed all the same; only its end is noticed late",
);
pub(super) const WRITABLE: Preset =
    Preset::new("table", "writable", "true", "what a role may write is for permissions to say");
pub(super) const VIEW_WRITABLE: Preset = Preset::new(
    "view",
    "writable",
    "false",
    "what a write through a view comes to is for its query and its triggers to say",
);
pub(super) const SHARED_NULL: Preset = Preset::new(
    "table",
    "shared_null",
    "false",
    "a row without an organization is nobody's, until somebody says that it is everybody's",
);
pub(super) const REQUIRE_FILTER: Preset = Preset::new(
    "table",
    "require_filter",
    "false",
    "a change of all of an organization's rows is a request that PostgREST knows",
);
pub(super) const FILTER_RESULT: Preset = Preset::new(
    "rpc",
    "filter_result",
    "false",
    "only rows of a table with a tenant column can be filtered",
);
pub(super) const UNSCOPED: Preset = Preset::new(
    "rpc",
    "unscoped",
    "false",
    "a function can do whatever its owner can: somebody has to say that it touches nobody's rows",
);
pub(super) const READ_ONLY: Preset = Preset::new(
    "rpc",
    "read_only",
    "false",
    "a link or an image can cause a GET, and should change nothing",
);
pub(super) const CASTS: Preset = Preset::new(
    "policy",
    "casts",
    "[text, varchar, bool, boolean, int2, int4, int8, int, integer, smallint, bigint, numeric, \
     float4, float8, real, date, time, timestamp, timestamptz, interval, uuid, json, jsonb]",
    "plain values: none of these types asks the database what exists",
);
pub(super) const CAP_DEPTH: Preset = Preset::new(
    "rest caps",
    "depth",
    "5",
    "screens that nest deeper are rare; each level is a join",
);
pub(super) const CAP_EMBEDS: Preset =
    Preset::new("rest caps", "embeds", "10", "each is a join that the database has to make");
pub(super) const CAP_FILTERS: Preset =
    Preset::new("rest caps", "filters", "64", "more than any form has fields");
pub(super) const HOST: Preset =
    Preset::new("match", "host", "\"*\"", "one host name is the common case");
pub(super) const METHODS: Preset =
    Preset::new("match", "methods", "any", "permissions tell reading from writing");
pub(super) const STRIP_PREFIX: Preset =
    Preset::new("route", "strip_prefix", "\"/\"", "the path is sent on as it is");
pub(super) const MAX_BODY: Preset =
    Preset::new("route", "max_body", "1MiB", "rows are small; raise it where files are uploaded");
pub(super) const WEBSOCKET: Preset = Preset::new(
    "route",
    "websocket",
    "false",
    "an upgraded connection leaves the pipeline behind it",
);
pub(super) const WEBSOCKET_IDLE: Preset =
    Preset::new("websocket", "idle", "10m", "Supabase's clients send a heartbeat every 30 seconds");
pub(super) const WEBSOCKET_GRACE: Preset =
    Preset::new("websocket", "grace", "60s", "clients refresh a token about when it expires");
pub(super) const WEBSOCKET_RECHECK: Preset =
    Preset::new("websocket", "recheck", "30s", "a decision costs microseconds");
pub(super) const WEBSOCKETS_PER_USER: Preset =
    Preset::new("websocket", "per_user", "20", "some devices with some tabs each");
pub(super) const WEBSOCKETS_PER_ORGANIZATION: Preset = Preset::new(
    "websocket",
    "per_organization",
    "1000",
    "one organization cannot take all connections of a node",
);
pub(super) const AUDIT_RULE: Preset =
    Preset::new("route", "audit", "writes_and_refusals", "reads are many and change nothing");
pub(super) const CORS_METHODS: Preset =
    Preset::new("cors", "methods", "[GET, POST, PUT, PATCH, DELETE]", "what supabase-js sends");
pub(super) const CORS_CREDENTIALS: Preset =
    Preset::new("cors", "credentials", "false", "supabase-js sends tokens in headers, not cookies");
pub(super) const CORS_MAX_AGE: Preset =
    Preset::new("cors", "max_age", "10m", "the longest that all browsers honour");
pub(super) const ORGANIZATION_STATUS: Preset =
    Preset::new("organization", "status", "active", "that is why it is listed");
pub(super) const MEMBER_STATUS: Preset =
    Preset::new("member", "status", "active", "that is why they are listed");
pub(super) const JOINED: Preset =
    Preset::new("member", "joined", "1970-01-01", "only matters to users of several organizations");

/// All defaults, in the order of the documents.
pub const ALL: &[Preset] = &[
    TEST_FROM,
    TEST_AT,
    TEST_HOST,
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
    QUOTA_MODE,
    QUOTA_AWAY,
    QUOTA_AFTER_CRASH,
    QUOTA_THRESHOLDS,
    CASTS,
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
