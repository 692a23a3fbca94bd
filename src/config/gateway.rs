//! `gateway.yaml`: what a node is started with. Listeners, edge, stores and logs are read straight
//! into their settings; identity and upstreams have files of their own.
//!
//! May import `domain` and `policy`.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

use http::HeaderName;
use ipnet::IpNet;
use serde_json::{Value, json};

use crate::domain::charge::Rate;
use crate::domain::secret::Secret;
use crate::domain::zone::Zone;
use crate::policy::edge::{EdgePolicy, TellVersion};

use super::context::Context;
use super::decode::{At, Decode, Fields, Filled, Named, Shapes, Table, expected};
use super::defaults as preset;
use super::identity::IdentityFields;
use super::leaf::{Block, FilePath, SmallSize, Text, arc, refuse, text, word, words};
use super::publish::TestsFields;
use super::redis_place::place;
use super::settings::{
    AuditSettings, DirectoryQueries, LEASE, LimitStoreSettings, Listener, ListenerTls, LogFormat,
    LogSettings, MeteringSettings, OnFailover, PostgresDirectory, RedisSettings, ServerSettings,
    SessionSettings, SnapshotSettings,
};
use super::upstreams::UpstreamFields;
use super::yaml::{Kind, Node};

/// The whole file. A part is missing where it was refused, so that the others are still checked.
pub(super) struct Gateway {
    pub(super) listen: Option<Filled<At<Listener>>>,
    pub(super) admin: Option<At<SocketAddr>>,
    pub(super) server: Option<ServerSettings>,
    pub(super) edge: Option<EdgePolicy>,
    pub(super) identity: Option<IdentityFields>,
    pub(super) directory: Option<DirectoryFields>,
    pub(super) limits_store: Option<LimitStoreSettings>,
    pub(super) sessions: Option<SessionSettings>,
    pub(super) upstreams: Option<Named<UpstreamFields>>,
    pub(super) audit: Option<AuditSettings>,
    pub(super) metering: Option<MeteringSettings>,
    pub(super) log: Option<LogSettings>,
    pub(super) tests: Option<TestsFields>,
    pub(super) snapshots: Option<SnapshotSettings>,
    pub(super) policies: Vec<At<FilePath>>,
    pub(super) rules: Vec<At<FilePath>>,
}

/// Where the directory is.
pub(super) enum DirectoryFields {
    File(At<PathBuf>),
    Postgres(PostgresDirectory),
}

impl Fields for Gateway {
    const NAME: &'static str = "gateway";
    const ABOUT: &'static str = "What a gateway node is started with.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        Some(Self {
            listen: table.required("listen", "Where clients connect."),
            admin: table
                .optional("admin", "Where health and metrics are served; nowhere if not stated."),
            server: table.section("server", "How the process runs."),
            edge: table.section("edge", "Bounds and trust before anybody knows who calls."),
            identity: table.required("identity", "Who may vouch for callers."),
            directory: table.required("directory", "Where organizations and members are kept."),
            limits_store: table.or(
                "limits_store",
                &preset::LIMITS_STORE,
                "Where buckets are kept.",
            ),
            sessions: table.section("sessions", "Where revoked sessions are kept."),
            upstreams: table.required("upstreams", "The services behind the gateway, by name."),
            audit: table.optional("audit", "Where decisions are recorded; nowhere if not stated."),
            metering: table.optional(
                "metering",
                "Where it is counted what organizations use; nowhere if not stated.",
            ),
            log: table.section("log", "How the process logs, to standard error."),
            tests: table.optional(
                "tests",
                "What it has to pass before it comes into force; nothing if not stated.",
            ),
            snapshots: table
                .section("snapshots", "Versions that are kept, to look at and to go back to."),
            policies: table
                .required::<Filled<_>>(
                    "policies",
                    "Policy files, seen from this file; `*` stands for any text in a file's name.",
                )
                .map(|filled| filled.0)
                .unwrap_or_default(),
            rules: table.some(
                "rules",
                "Rule files, seen from this file; `*` stands for any text in a file's name.",
            ),
        })
    }
}

impl Fields for Listener {
    const NAME: &'static str = "listener";
    const ABOUT: &'static str = "One listening address.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let address = table.required("address", "IP address and port.");
        let tls = table.optional("tls", "TLS; cleartext if not stated.");
        let http2 = table.or(
            "http2",
            &preset::HTTP2,
            "HTTP/2 besides HTTP/1.1: by ALPN with TLS, by prior knowledge without.",
        );
        Some(Self { address: address?, tls, http2: http2? })
    }
}

impl Fields for ListenerTls {
    const NAME: &'static str = "listener tls";
    const ABOUT: &'static str = "Certificate files of a listener.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let certificate = table.required::<FilePath>("certificate", "PEM file, leaf first.");
        let key = table.required::<FilePath>("key", "PEM file of the private key.");
        Some(Self { certificate: certificate?.0, key: key?.0 })
    }
}

impl Fields for ServerSettings {
    const NAME: &'static str = "server";
    const ABOUT: &'static str = "How the process runs.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let threads = table.or("threads", &preset::THREADS, "Worker threads.");
        let drain = table.or(
            "drain",
            &preset::DRAIN,
            "After SIGTERM, requests in flight have this long to end.",
        );
        let upgrade_socket = table.optional::<FilePath>(
            "upgrade_socket",
            "Over this socket a successor takes the listening sockets; no hand-over if not stated.",
        );
        let upstream_pool = table.or(
            "upstream_pool",
            &preset::UPSTREAM_POOL,
            "Idle connections kept to all upstreams together.",
        );
        let node = table.or::<Text>(
            "node",
            &preset::NODE,
            "Tells this node apart in logs, audit records and metrics.",
        );
        Some(Self {
            threads: threads?,
            drain: drain?,
            upgrade_socket: upgrade_socket.map(|path| path.0),
            upstream_pool: upstream_pool?,
            node: arc(node?),
        })
    }
}

impl Fields for EdgePolicy {
    const NAME: &'static str = "edge";
    const ABOUT: &'static str = "Bounds and trust before anybody knows who calls.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let trusted_proxies = table.or::<Vec<IpNet>>(
            "trusted_proxies",
            &preset::TRUSTED_PROXIES,
            "Proxies whose `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Request-Id` count.",
        );
        let country_header = table.optional::<HeaderName>(
            "country_header",
            "The field in which trusted proxies name the client's country, such as `cf-ipcountry`, \
             for rules; from others it is taken off.",
        );
        let max_header_bytes = table.or::<SmallSize>(
            "max_header_bytes",
            &preset::MAX_HEADER_BYTES,
            "Cap on the bytes of all header names and values together.",
        );
        let max_header_count = table.or::<NonZeroU32>(
            "max_header_count",
            &preset::MAX_HEADER_COUNT,
            "Cap on the number of header fields.",
        );
        let max_target_bytes = table.or::<SmallSize>(
            "max_target_bytes",
            &preset::MAX_TARGET_BYTES,
            "Cap on the bytes of path and query.",
        );
        let head_timeout = table.or(
            "head_timeout",
            &preset::HEAD_TIMEOUT,
            "Time for a request head to arrive in full.",
        );
        let body_timeout = table.or(
            "body_timeout",
            &preset::BODY_TIMEOUT,
            "Time between two reads of a request body. As a whole it may take this long, and a second more for each KiB.",
        );
        let keepalive_timeout = table.or(
            "keepalive_timeout",
            &preset::KEEPALIVE_TIMEOUT,
            "Idle time of a kept-alive connection: it is closed after this time, at the latest after twice as long.",
        );
        let requests_per_organization = table.or(
            "requests_per_organization",
            &preset::REQUESTS_PER_ORGANIZATION,
            "Requests at the same time for one organization.",
        );
        let requests_per_user = table.or(
            "requests_per_user",
            &preset::REQUESTS_PER_USER,
            "Requests at the same time of one user, whatever the organization.",
        );
        let connections_per_address = table.or(
            "connections_per_address",
            &preset::CONNECTIONS_PER_ADDRESS,
            "Connections at the same time from one address.",
        );
        let address_guard = table.optional::<Rate>(
            "address_guard",
            "Requests from one address, before anything else is looked at; depends on neither \
             Redis nor an identity.",
        );
        let tell_version = table.optional::<TellVersion>(
            "tell_version",
            "Who is told, in `X-Tollgate-Policy` of answers, which version of the policies decided; \
             nobody if not stated.",
        );
        Some(Self {
            trusted_proxies: trusted_proxies?,
            country_header,
            max_header_bytes: max_header_bytes?.0,
            max_header_count: max_header_count?.get(),
            max_target_bytes: max_target_bytes?.0,
            head_timeout: head_timeout?,
            body_timeout: body_timeout?,
            keepalive_timeout: keepalive_timeout?,
            requests_per_organization: requests_per_organization?,
            requests_per_user: requests_per_user?,
            connections_per_address: connections_per_address?,
            address_guard,
            tell_version,
        })
    }
}

impl Fields for DirectoryFields {
    const NAME: &'static str = "directory source";
    const ABOUT: &'static str = "Where organizations and members are kept: a file or PostgreSQL.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let which = table.one_of(&["file", "postgres"]);
        let file = table.optional::<At<FilePath>>("file", "A directory file.");
        let postgres = table.optional("postgres", "A PostgreSQL database.");
        match which? {
            "file" => file.map(|at| Self::File(At { value: at.value.0, span: at.span })),
            _ => postgres.map(Self::Postgres),
        }
    }
}

impl Fields for PostgresDirectory {
    const NAME: &'static str = "postgres directory";
    const ABOUT: &'static str =
        "A directory in PostgreSQL, with the schema that `tollgate migrate` applies.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let url =
            table.required::<At<Secret>>("url", "`postgres://user:password@host:port/database`.");
        let ttl = table.or("ttl", &preset::DIRECTORY_TTL, "How long an entry is fresh.");
        let max_stale = table.or(
            "max_stale",
            &preset::DIRECTORY_MAX_STALE,
            "How long an entry that was once found serves while the database is away.",
        );
        let negative_ttl = table.or(
            "negative_ttl",
            &preset::DIRECTORY_NEGATIVE_TTL,
            "How long the absence of an entry is remembered.",
        );
        let timeout = table.or("timeout", &preset::DIRECTORY_TIMEOUT, "Time for an answer.");
        let capacity = table.or::<NonZeroU32>(
            "capacity",
            &preset::DIRECTORY_CAPACITY,
            "Entries of each kind that are kept in memory.",
        );
        let connections =
            table.or("connections", &preset::DIRECTORY_CONNECTIONS, "Connections to the database.");
        let queries = table.section(
            "queries",
            "Queries for a schema of your own; those that are not stated fit `tollgate migrate`.",
        );
        if let (Some(ttl), Some(max_stale)) = (ttl, max_stale)
            && max_stale < ttl
        {
            let hint = "an entry serves for `max_stale` after it stopped being fresh";
            let span = table.key_span("max_stale");
            table.error(span, "`max_stale` is shorter than `ttl`", hint);
        }
        let url = url?;
        postgres_url(&url, table);
        Some(Self {
            url: url.value,
            ttl: ttl?,
            max_stale: max_stale?,
            negative_ttl: negative_ttl?,
            timeout: timeout?,
            capacity: u64::from(capacity?.get()),
            connections: connections?,
            queries: queries?,
        })
    }
}

impl Fields for DirectoryQueries {
    const NAME: &'static str = "directory queries";
    const ABOUT: &'static str = "Queries of a directory in PostgreSQL.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let fits = Self::default();
        let mut query = |key, default, about: &str| -> Arc<str> {
            table.optional::<Block>(key, about).map_or(default, |block| Arc::from(block.0))
        };
        Some(Self {
            organization_by_id: query(
                "organization_by_id",
                fits.organization_by_id,
                "`$1` uuid → `id uuid, slug text, status text, plan text, features text[]`; optionally \
                 `feature_settings jsonb` (texts by name, by feature), `limits jsonb` (rates, by the name of \
                 the limit), `time_zone text`, `stage text`, \
                 `addresses text[]`, `second_factor text[]` (roles, `*` for everybody), \
                 `trusted_device bigint`, `session_age bigint` and `session_idle bigint` (seconds).",
            ),
            organization_by_slug: query(
                "organization_by_slug",
                fits.organization_by_slug,
                "`$1` text → the same columns.",
            ),
            membership: query(
                "membership",
                fits.membership,
                "`$1` text (user), `$2` uuid → `organization uuid, role text, status text, \
                 joined_at bigint`; optionally `roles`, `grants`, `denials` and `teams` \
                 (`team:role`) as `text[]`, `stage text`, `role_as_of bigint` (seconds since 1970).",
            ),
            default_membership: query(
                "default_membership",
                fits.default_membership,
                "`$1` text (user) → the same columns, at most one row.",
            ),
            join: query(
                "join",
                fits.join,
                "`$1` text (user), `$2` uuid, `$3` text (role), `$4` `text[]` (further roles), `$5` \
                 bigint (seconds since 1970) → makes a membership where there is none; a row if it \
                 did (`membership: create`).",
            ),
            change_role: query(
                "change_role",
                fits.change_role,
                "The same parameters → sets the roles of an active membership whose `role_as_of` is \
                 earlier or null; a row if it did (`sync: login`).",
            ),
            machine_key: query(
                "machine_key",
                fits.machine_key,
                "`$1` text (key id, `tgk_…`) → `organization uuid, name text, hash text, \
                 scopes text[], status text`; optionally `addresses text[]`, `limit_name text`, \
                 `expires_at bigint`, `previous_hash text` with `previous_until bigint`.",
            ),
        })
    }
}

impl Decode for LimitStoreSettings {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        match &node.kind {
            Kind::Text { .. } => {
                word(node, &[("memory", ())], "store", cx)?;
                let empty = Node { span: node.span, kind: Kind::Map(Vec::new()) };
                let MemoryFields { max_buckets } = MemoryFields::decode(&empty, cx)?;
                Some(Self::Memory { max_buckets })
            }
            Kind::Map(_) => StoreFields::decode(node, cx)?.0,
            Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float | Kind::List(_) => {
                expected("`memory` or a map with `redis`", node, cx);
                None
            }
        }
    }

    fn shape(shapes: &mut Shapes) -> Value {
        json!({ "anyOf": [{ "const": "memory" }, StoreFields::shape(shapes)] })
    }
}

struct StoreFields(Option<LimitStoreSettings>);

impl Fields for StoreFields {
    const NAME: &'static str = "limits store";
    const ABOUT: &'static str = "Where buckets are kept.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let which = table.one_of(&["memory", "redis"]);
        let memory = table.optional::<MemoryFields>("memory", "In this process.");
        let redis = table.optional("redis", "In Redis, shared by all nodes.");
        Some(Self(match which? {
            "memory" => memory.map(|m| LimitStoreSettings::Memory { max_buckets: m.max_buckets }),
            _ => redis.map(LimitStoreSettings::Redis),
        }))
    }
}

struct MemoryFields {
    max_buckets: NonZeroU32,
}

impl Fields for MemoryFields {
    const NAME: &'static str = "memory store";
    const ABOUT: &'static str = "Buckets in this process.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let max_buckets = table.or(
            "max_buckets",
            &preset::MAX_BUCKETS,
            "Buckets that are kept; beyond that, new ones share.",
        );
        Some(Self { max_buckets: max_buckets? })
    }
}

impl Fields for RedisSettings {
    const NAME: &'static str = "redis store";
    const ABOUT: &'static str = "Buckets in Redis, shared by all nodes.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let place = place(table);
        let timeout = table.or("timeout", &preset::REDIS_TIMEOUT, "Hard deadline of one call.");
        let key_prefix = table.or("key_prefix", &preset::REDIS_KEY_PREFIX, "Put before every key.");
        let nodes = table.or(
            "nodes",
            &preset::REDIS_NODES,
            "Gateway nodes that share the limits: `local_share` divides by it while Redis is away.",
        );
        let max_buckets = table.or(
            "max_buckets",
            &preset::MAX_BUCKETS,
            "Buckets of which this process keeps what it leased, and those while Redis is away.",
        );
        let on_failover = table.or(
            "on_failover",
            &preset::REDIS_ON_FAILOVER,
            "Buckets on a new primary: `lenient` goes by what the replica knew, `strict` starts them \
             empty.",
        );
        Some(Self {
            place: place?,
            timeout: timeout?,
            key_prefix: key_prefix?,
            nodes: nodes?,
            lease: LEASE,
            max_buckets: max_buckets?,
            on_failover: on_failover?,
        })
    }
}

impl Decode for OnFailover {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        word(node, ON_FAILOVER, "behaviour", cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        words(ON_FAILOVER)
    }
}

const ON_FAILOVER: &[(&str, OnFailover)] =
    &[("lenient", OnFailover::Lenient), ("strict", OnFailover::Strict)];

impl Fields for AuditSettings {
    const NAME: &'static str = "audit";
    const ABOUT: &'static str = "Where decisions are recorded.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let file = table.required::<FilePath>("file", "JSON lines are appended here.");
        let queue = table.or(
            "queue",
            &preset::AUDIT_QUEUE,
            "Records that may wait to be written; beyond that they are dropped and counted.",
        );
        Some(Self { file: file?.0, queue: queue? })
    }
}

impl Fields for MeteringSettings {
    const NAME: &'static str = "metering";
    const ABOUT: &'static str = "Counts what organizations use, for a ledger in PostgreSQL.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let postgres = table.required::<At<Secret>>(
            "postgres",
            "`postgres://user:password@host:port/database` of the ledger, with the schema that \
             `tollgate migrate` applies.",
        );
        let journal = table.required::<FilePath>(
            "journal",
            "A directory on a local disk that outlives the process, for what is not in the ledger \
             yet.",
        );
        let flush = table.or(
            "flush",
            &preset::METERING_FLUSH,
            "How often what was counted is brought to the ledger.",
        );
        let zone = table.or::<Zone>(
            "zone",
            &preset::METERING_ZONE,
            "Days begin at midnight in this time zone, if the organization has none of its own.",
        );
        let rows = table.or(
            "rows",
            &preset::METERING_ROWS,
            "Callers that are counted one by one; beyond that, those of an organization share a \
             counter.",
        );
        let postgres = postgres?;
        postgres_url(&postgres, table);
        Some(Self {
            postgres: postgres.value,
            journal: journal?.0,
            flush: flush?,
            zone: zone?,
            rows: rows?,
        })
    }
}

fn postgres_url(url: &At<Secret>, table: &mut Table<'_, '_>) {
    let schemes = ["postgres://", "postgresql://"];
    if !schemes.iter().any(|scheme| url.value.expose().starts_with(scheme)) {
        let hint = "write `postgres://user:password@host:5432/database`";
        table.error(url.span, "not the URL of a PostgreSQL database", hint);
    }
}

impl Fields for LogSettings {
    const NAME: &'static str = "log";
    const ABOUT: &'static str = "How the process logs, to standard error.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let format = table.or("format", &preset::LOG_FORMAT, "For machines or for people.");
        let filter = table.or::<LogFilter>(
            "filter",
            &preset::LOG_FILTER,
            "A level, or levels by module: `info`, `tollgate=debug,warn`.",
        );
        Some(Self { format: format?, filter: filter?.0 })
    }
}

impl Decode for LogFormat {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        word(node, LOG_FORMATS, "log format", cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        words(LOG_FORMATS)
    }
}

const LOG_FORMATS: &[(&str, LogFormat)] =
    &[("json", LogFormat::Json), ("pretty", LogFormat::Pretty)];

struct LogFilter(Arc<str>);

impl Decode for LogFilter {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let filter = text(node, cx)?;
        match filter.parse::<tracing_subscriber::filter::Targets>() {
            Ok(_) => Some(Self(Arc::from(filter))),
            Err(_) => refuse(
                node,
                "a log filter",
                filter,
                "write a level (`error`, `warn`, `info`, `debug`, `trace`), or `module=level`",
                cx,
            ),
        }
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "log filter", "type": "string", "minLength": 1 })
    }
}
