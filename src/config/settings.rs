//! What a process is started with and keeps until its end: addresses, stores, logs. What can be
//! reloaded is in the [`Snapshot`](crate::policy::Snapshot).

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::directory::DirectoryData;
use crate::domain::secret::Secret;
use crate::domain::zone::Zone;

/// Everything that a process is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where clients connect; at least one.
    pub listeners: Vec<Listener>,
    /// Where health and metrics are served.
    pub admin: Option<SocketAddr>,
    /// Threads, draining, hand-over.
    pub server: ServerSettings,
    /// Where organizations and members are kept.
    pub directory: DirectorySettings,
    /// Where buckets are kept.
    pub limits: LimitStoreSettings,
    /// Where revoked sessions are kept.
    pub sessions: SessionSettings,
    /// Where decisions are recorded.
    pub audit: Option<AuditSettings>,
    /// Where it is counted what organizations use.
    pub metering: Option<MeteringSettings>,
    /// How the process logs.
    pub log: LogSettings,
    /// What a configuration has to pass before it comes into force.
    pub tests: Option<TestSettings>,
    /// Versions that are kept.
    pub snapshots: SnapshotSettings,
}

/// What a configuration has to pass before it comes into force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestSettings {
    /// The test files.
    pub files: Vec<PathBuf>,
    /// When they are run.
    pub run: TestRun,
    /// They take no longer than this, or count as failed.
    pub within: Duration,
}

/// When tests of a configuration are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TestRun {
    /// At start and before a reload: what fails does not come into force.
    BeforePublish,
    /// By nobody but people.
    Never,
}

/// Versions of the configuration that are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotSettings {
    /// How many.
    pub keep: NonZeroU32,
    /// How many bytes of files together.
    pub max_bytes: u64,
    /// Where, so that they outlive the process; in memory where `None`.
    pub directory: Option<PathBuf>,
    /// The Unix socket over which they are looked at and gone back to.
    pub socket: Option<PathBuf>,
}

/// One listening address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Address and port.
    pub address: SocketAddr,
    /// TLS, where it is on.
    pub tls: Option<ListenerTls>,
    /// HTTP/2: by ALPN with TLS, by prior knowledge without.
    pub http2: bool,
}

/// Certificate files of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerTls {
    /// PEM, leaf first.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

/// How the process runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSettings {
    /// Worker threads.
    pub threads: NonZeroU32,
    /// After SIGTERM, requests in flight have this long to end.
    pub drain: Duration,
    /// Over this socket a successor takes the listening sockets. `None`: no hand-over.
    pub upgrade_socket: Option<PathBuf>,
    /// Idle connections kept to all upstreams together.
    pub upstream_pool: NonZeroU32,
    /// Tells this node apart in logs, audit records and metrics.
    pub node: Arc<str>,
}

/// Where organizations and members are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DirectorySettings {
    /// In a file, read with the policies and reloaded with them.
    File(Arc<DirectoryData>),
    /// In PostgreSQL.
    Postgres(PostgresDirectory),
}

/// A directory in PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresDirectory {
    /// `postgres://user:password@host:port/database?sslmode=…`.
    pub url: Secret,
    /// How long an entry is fresh.
    pub ttl: Duration,
    /// How long an entry that was once found serves while the database is away.
    pub max_stale: Duration,
    /// How long the absence of an entry is remembered.
    pub negative_ttl: Duration,
    /// Time for an answer.
    pub timeout: Duration,
    /// Entries of each kind that are kept in memory.
    pub capacity: u64,
    /// Connections.
    pub connections: NonZeroU32,
    /// The queries; the defaults fit the schema in `deploy/sql`.
    pub queries: DirectoryQueries,
}

/// Queries of a directory in PostgreSQL. Each returns the columns that its field names, as text
/// where nothing else is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryQueries {
    /// `$1` uuid → `id uuid, slug, status, plan, features text[]`.
    pub organization_by_id: Arc<str>,
    /// `$1` text → the same.
    pub organization_by_slug: Arc<str>,
    /// `$1` text (user), `$2` uuid → `organization uuid, role, status, joined_at bigint`.
    pub membership: Arc<str>,
    /// `$1` text (user) → the same, at most one row.
    pub default_membership: Arc<str>,
    /// `$1` text (user), `$2` uuid, `$3` text (role), `$4` `text[]` (further roles), `$5` bigint
    /// (seconds) → a row, if it made a membership.
    pub join: Arc<str>,
    /// The same, if it changed the role of a membership that says an earlier time, or none.
    pub change_role: Arc<str>,
    /// `$1` text (key id) → `organization uuid, name, hash, scopes text[], status`.
    pub machine_key: Arc<str>,
}

/// Where buckets are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LimitStoreSettings {
    /// In this process.
    Memory {
        /// Buckets that are kept; beyond that, new ones share.
        max_buckets: NonZeroU32,
    },
    /// In Redis, shared by all nodes.
    Redis(RedisSettings),
}

/// Where Redis is. URLs are `redis://…` or `rediss://…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisPlace {
    /// One server, or a name that leads to whichever is the primary.
    Server(Secret),
    /// Some nodes of a Redis Cluster, which know of all others.
    Cluster(Box<[Secret]>),
}

/// How long leases of buckets last: short enough that what a node that died had leased is missed by
/// nobody, long enough that a node that pauses for a moment keeps its own.
pub const LEASE: Duration = Duration::from_secs(2);

/// What a new primary of Redis makes of buckets that it did not write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailover {
    /// They hold what it knows of: what was spent last may be missing, and is there again.
    Lenient,
    /// They start empty, and fill once every lease has ended: nothing is there again.
    Strict,
}

/// A shared store of buckets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisSettings {
    /// Where it is.
    pub place: RedisPlace,
    /// Hard deadline of one call.
    pub timeout: Duration,
    /// Put before every key.
    pub key_prefix: Arc<str>,
    /// Gateway nodes that share the limits: `local_share` divides by it while Redis is away.
    pub nodes: NonZeroU32,
    /// How long a part of a bucket that a node has taken in advance is its own. The same on all
    /// nodes, always: files do not state it.
    pub lease: Duration,
    /// Buckets of which this process keeps what it leased, and those while Redis is away.
    pub max_buckets: NonZeroU32,
    /// What becomes of buckets when another server becomes the primary.
    pub on_failover: OnFailover,
}

/// Where revoked sessions are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSettings {
    /// In this process or in Redis.
    pub store: SessionStoreSettings,
    /// What happens while the shared store has not been caught up with.
    pub when_away: WithoutStore,
    /// How long a revocation is known; no shorter than a token lives.
    pub keep: Duration,
    /// Revocations that are kept; beyond that, everything issued until the oldest is refused.
    pub max_entries: NonZeroU32,
}

/// The place of revoked sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionStoreSettings {
    /// In this process.
    Memory,
    /// In Redis, shared by all nodes.
    Redis(SessionRedis),
}

/// A shared store of sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRedis {
    /// Where it is.
    pub place: RedisPlace,
    /// Hard deadline of one call; no request waits for one.
    pub timeout: Duration,
    /// Put before every key.
    pub key_prefix: Arc<str>,
}

/// What happens while the shared store of sessions has not been caught up with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithoutStore {
    /// What this node knows counts.
    Serve,
    /// Tokens of users are answered 503.
    Refuse,
}

/// Where decisions are recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditSettings {
    /// JSON lines are appended here.
    pub file: PathBuf,
    /// Records that may wait to be written; beyond that they are dropped and counted.
    pub queue: NonZeroU32,
}

/// Where it is counted what organizations use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeteringSettings {
    /// The ledger: `postgres://…`.
    pub postgres: Secret,
    /// A directory for what is not in the ledger yet.
    pub journal: PathBuf,
    /// How often what was counted is brought to the ledger.
    pub flush: Duration,
    /// Whose midnight divides days, if the organization has no zone of its own.
    pub zone: Zone,
    /// Callers that are counted one by one; beyond that, those of an organization share a counter.
    pub rows: NonZeroU32,
}

/// How the process logs, to standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// For machines or for people.
    pub format: LogFormat,
    /// As `RUST_LOG` writes it: `info`, `tollgate=debug,warn`.
    pub filter: Arc<str>,
}

/// For whom the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Coloured text.
    Pretty,
}
