//! Defaults of the process: listeners, edge, stores, records and logs.
//!
//! Each once, with its reason; the module above lists them in the order of the documents. May
//! import nothing of other rooms.

use super::Preset;

pub(in crate::config) const HTTP2: Preset = Preset::new(
    "listener",
    "http2",
    "true",
    "browsers and supabase-js open fewer connections with it",
);
pub(in crate::config) const THREADS: Preset = Preset::new(
    "server",
    "threads",
    "2",
    "two workers keep a slow handshake from holding up the rest; set it to the number of cores",
);
pub(in crate::config) const DRAIN: Preset = Preset::new(
    "server",
    "drain",
    "30s",
    "longer than nearly every request, shorter than the patience of container platforms",
);
pub(in crate::config) const UPSTREAM_POOL: Preset = Preset::new(
    "server",
    "upstream_pool",
    "4096",
    "a pool smaller than the busy connections makes each request open a new one",
);
pub(in crate::config) const NODE: Preset = Preset::new(
    "server",
    "node",
    "gateway",
    "one name is enough for one node; give each node its own",
);
pub(in crate::config) const TRUSTED_PROXIES: Preset =
    Preset::new("edge", "trusted_proxies", "[]", "whoever is trusted can claim any client address");
pub(in crate::config) const MAX_HEADER_BYTES: Preset = Preset::new(
    "edge",
    "max_header_bytes",
    "32KiB",
    "holds a 16 KiB token twice, as `apikey` and as bearer",
);
pub(in crate::config) const MAX_HEADER_COUNT: Preset =
    Preset::new("edge", "max_header_count", "100", "browsers send about 20");
pub(in crate::config) const MAX_TARGET_BYTES: Preset = Preset::new(
    "edge",
    "max_target_bytes",
    "8KiB",
    "RFC 9110 section 4.1 recommends that 8,000 bytes are supported",
);
pub(in crate::config) const HEAD_TIMEOUT: Preset = Preset::new(
    "edge",
    "head_timeout",
    "10s",
    "a head is one packet or two; slower ones hold connections",
);
pub(in crate::config) const BODY_TIMEOUT: Preset =
    Preset::new("edge", "body_timeout", "30s", "mobile networks pause for seconds, not for longer");
pub(in crate::config) const KEEPALIVE_TIMEOUT: Preset =
    Preset::new("edge", "keepalive_timeout", "60s", "as long as common load balancers keep theirs");
pub(in crate::config) const REQUESTS_PER_ORGANIZATION: Preset = Preset::new(
    "edge",
    "requests_per_organization",
    "512",
    "one organization cannot take all upstream connections",
);
pub(in crate::config) const REQUESTS_PER_USER: Preset = Preset::new(
    "edge",
    "requests_per_user",
    "128",
    "one user cannot take all that their organization may have; a browser has six to a host",
);
pub(in crate::config) const CONNECTIONS_PER_ADDRESS: Preset = Preset::new(
    "edge",
    "connections_per_address",
    "256",
    "an office behind one address fits; a flood does not",
);
pub(in crate::config) const DIRECTORY_TTL: Preset = Preset::new(
    "postgres directory",
    "ttl",
    "30s",
    "how long a change may take to be seen where notifications are not set up",
);
pub(in crate::config) const DIRECTORY_MAX_STALE: Preset = Preset::new(
    "postgres directory",
    "max_stale",
    "1h",
    "members keep working through a failover of the database",
);
pub(in crate::config) const DIRECTORY_NEGATIVE_TTL: Preset = Preset::new(
    "postgres directory",
    "negative_ttl",
    "5s",
    "a new organization is reachable soon; a scan for names does not reach the database",
);
pub(in crate::config) const DIRECTORY_TIMEOUT: Preset =
    Preset::new("postgres directory", "timeout", "2s", "a look-up by key takes milliseconds");
pub(in crate::config) const DIRECTORY_CAPACITY: Preset =
    Preset::new("postgres directory", "capacity", "100000", "about 50 MB when it is full");
pub(in crate::config) const DIRECTORY_CONNECTIONS: Preset =
    Preset::new("postgres directory", "connections", "4", "look-ups are rare and short");
pub(in crate::config) const LIMITS_STORE: Preset =
    Preset::new("gateway", "limits_store", "memory", "nothing else has to run; exact for one node");
pub(in crate::config) const MAX_BUCKETS: Preset =
    Preset::new("memory store", "max_buckets", "100000", "about 20 MB when it is full");
pub(in crate::config) const REDIS_TIMEOUT: Preset = Preset::new(
    "redis store",
    "timeout",
    "25ms",
    "far above a round trip in one data centre, far below what a client notices",
);
pub(in crate::config) const REDIS_KEY_PREFIX: Preset = Preset::new(
    "redis store",
    "key_prefix",
    "tollgate",
    "keeps the keys apart from those of other programs",
);
pub(in crate::config) const REDIS_NODES: Preset = Preset::new(
    "redis store",
    "nodes",
    "1",
    "one gateway node enforces the whole of a limit while Redis is away",
);
pub(in crate::config) const REDIS_ON_FAILOVER: Preset = Preset::new(
    "redis store",
    "on_failover",
    "lenient",
    "what was granted in the moments that the replica missed is worth less than refusing everybody",
);
pub(in crate::config) const AUDIT_QUEUE: Preset =
    Preset::new("audit", "queue", "8192", "a second of heavy traffic; about 8 MB when it is full");
pub(in crate::config) const METERING_FLUSH: Preset = Preset::new(
    "metering",
    "flush",
    "5s",
    "bills are seconds behind; a statement every 5 s from each node costs nothing",
);
pub(in crate::config) const METERING_ZONE: Preset =
    Preset::new("metering", "zone", "UTC", "the same day everywhere, always 24 hours long");
pub(in crate::config) const METERING_ROWS: Preset = Preset::new(
    "metering",
    "rows",
    "65536",
    "callers of a few seconds, or of a day while the ledger is away; about 30 MB when it is full",
);
pub(in crate::config) const LOG_FORMAT: Preset =
    Preset::new("log", "format", "json", "machines read logs more often than people");
pub(in crate::config) const LOG_FILTER: Preset =
    Preset::new("log", "filter", "info", "what an operator wants to know, and no more");
pub(in crate::config) const TESTS_RUN: Preset =
    Preset::new("tests", "run", "before_publish", "whoever names tests wants them to count");
pub(in crate::config) const TESTS_WITHIN: Preset =
    Preset::new("tests", "within", "10s", "10,000 cases take about a second");
pub(in crate::config) const SNAPSHOTS_KEEP: Preset =
    Preset::new("snapshots", "keep", "10", "the changes of a day, or of an incident");
pub(in crate::config) const SNAPSHOTS_BYTES: Preset = Preset::new(
    "snapshots",
    "max_bytes",
    "64MiB",
    "far above what ten versions of large policies take",
);
