//! Defaults of policies: limits and quotas, routes, roles, the catalogue, answers.
//!
//! Each once, with its reason; the module above lists them in the order of the documents. May
//! import nothing of other rooms.

use super::Preset;

pub(in crate::config) const HOURS_DAYS: Preset = Preset::new(
    "hours",
    "days",
    "[mon, tue, wed, thu, fri, sat, sun]",
    "hours without days are meant for every day",
);
pub(in crate::config) const ROLE_LEVEL: Preset =
    Preset::new("role", "level", "1", "below every role that states a rank");
pub(in crate::config) const SCHEMA: Preset =
    Preset::new("policy", "schema", "public", "PostgREST's default");
pub(in crate::config) const COST_BASE: Preset =
    Preset::new("cost", "base", "1", "one request, one token");
pub(in crate::config) const LIMIT_COST: Preset =
    Preset::new("limit", "cost", "1", "one request, one token");
pub(in crate::config) const WHEN_AWAY: Preset =
    Preset::new("limit", "when_away", "local_share", "neither an outage nor a free-for-all");
pub(in crate::config) const PENALTY_AFTER: Preset = Preset::new(
    "penalty",
    "after",
    "10",
    "as many requests as a page sends at once are refused without blame",
);
pub(in crate::config) const PENALTY_FIRST: Preset =
    Preset::new("penalty", "first", "5s", "noticed by whoever goes on, and soon over");
pub(in crate::config) const PENALTY_MOST: Preset =
    Preset::new("penalty", "most", "10m", "after eight levels; whoever mends it is back soon");
pub(in crate::config) const PENALTY_FORGET: Preset =
    Preset::new("penalty", "forget", "10m", "as long as the longest wait");
pub(in crate::config) const LIMIT_MODE: Preset =
    Preset::new("limit", "mode", "enforce", "what is tried first is tried by choice");
pub(in crate::config) const CONDITION_MODE: Preset =
    Preset::new("condition", "mode", "enforce", "what is tried first is tried by choice");
pub(in crate::config) const GATE_MODE: Preset =
    Preset::new("gate", "mode", "enforce", "what is tried first is tried by choice");
pub(in crate::config) const TABLE_MODE: Preset =
    Preset::new("table", "mode", "enforce", "what is tried first is tried by choice");
pub(in crate::config) const QUOTA_MODE: Preset =
    Preset::new("quota", "mode", "hard", "a quota that stops nobody is one by choice");
pub(in crate::config) const QUOTA_AFTER_CRASH: Preset = Preset::new(
    "quota",
    "after_crash",
    "lenient",
    "what a node admits in 200 ms is little, and no request waits for the disk",
);
pub(in crate::config) const QUOTA_THRESHOLDS: Preset = Preset::new(
    "quota",
    "thresholds",
    "[80, 100]",
    "in time to talk about a larger plan, and when there is nothing left",
);
pub(in crate::config) const QUOTA_AWAY: Preset = Preset::new(
    "quota",
    "when_away",
    "serve",
    "what is used is counted and billed all the same; only its end is noticed late",
);
pub(in crate::config) const WRITABLE: Preset =
    Preset::new("table", "writable", "true", "what a role may write is for permissions to say");
pub(in crate::config) const VIEW_WRITABLE: Preset = Preset::new(
    "view",
    "writable",
    "false",
    "what a write through a view comes to is for its query and its triggers to say",
);
pub(in crate::config) const SHARED_NULL: Preset = Preset::new(
    "table",
    "shared_null",
    "false",
    "a row without an organization is nobody's, until somebody says that it is everybody's",
);
pub(in crate::config) const REQUIRE_FILTER: Preset = Preset::new(
    "table",
    "require_filter",
    "false",
    "a change of all of an organization's rows is a request that PostgREST knows",
);
pub(in crate::config) const FILTER_RESULT: Preset = Preset::new(
    "rpc",
    "filter_result",
    "false",
    "only rows of a table with a tenant column can be filtered",
);
pub(in crate::config) const UNSCOPED: Preset = Preset::new(
    "rpc",
    "unscoped",
    "false",
    "a function can do whatever its owner can: somebody has to say that it touches nobody's rows",
);
pub(in crate::config) const READ_ONLY: Preset = Preset::new(
    "rpc",
    "read_only",
    "false",
    "a link or an image can cause a GET, and should change nothing",
);
pub(in crate::config) const CASTS: Preset = Preset::new(
    "policy",
    "casts",
    "[text, varchar, bool, boolean, int2, int4, int8, int, integer, smallint, bigint, numeric, \
     float4, float8, real, date, time, timestamp, timestamptz, interval, uuid, json, jsonb]",
    "plain values: none of these types asks the database what exists",
);
pub(in crate::config) const CAP_DEPTH: Preset = Preset::new(
    "rest caps",
    "depth",
    "5",
    "screens that nest deeper are rare; each level is a join",
);
pub(in crate::config) const CAP_EMBEDS: Preset =
    Preset::new("rest caps", "embeds", "10", "each is a join that the database has to make");
pub(in crate::config) const CAP_FILTERS: Preset =
    Preset::new("rest caps", "filters", "64", "more than any form has fields");
pub(in crate::config) const HOST: Preset =
    Preset::new("match", "host", "\"*\"", "one host name is the common case");
pub(in crate::config) const METHODS: Preset =
    Preset::new("match", "methods", "any", "permissions tell reading from writing");
pub(in crate::config) const STRIP_PREFIX: Preset =
    Preset::new("route", "strip_prefix", "\"/\"", "the path is sent on as it is");
pub(in crate::config) const MAX_BODY: Preset =
    Preset::new("route", "max_body", "1MiB", "rows are small; raise it where files are uploaded");
pub(in crate::config) const WEBSOCKET: Preset = Preset::new(
    "route",
    "websocket",
    "false",
    "an upgraded connection leaves the pipeline behind it",
);
pub(in crate::config) const WEBSOCKET_IDLE: Preset =
    Preset::new("websocket", "idle", "10m", "Supabase's clients send a heartbeat every 30 seconds");
pub(in crate::config) const WEBSOCKET_GRACE: Preset =
    Preset::new("websocket", "grace", "60s", "clients refresh a token about when it expires");
pub(in crate::config) const WEBSOCKET_RECHECK: Preset =
    Preset::new("websocket", "recheck", "30s", "a decision costs microseconds");
pub(in crate::config) const WEBSOCKETS_PER_USER: Preset =
    Preset::new("websocket", "per_user", "20", "some devices with some tabs each");
pub(in crate::config) const WEBSOCKETS_PER_ORGANIZATION: Preset = Preset::new(
    "websocket",
    "per_organization",
    "1000",
    "one organization cannot take all connections of a node",
);
pub(in crate::config) const AUDIT_RULE: Preset =
    Preset::new("route", "audit", "writes_and_refusals", "reads are many and change nothing");
pub(in crate::config) const CORS_METHODS: Preset =
    Preset::new("cors", "methods", "[GET, POST, PUT, PATCH, DELETE]", "what supabase-js sends");
pub(in crate::config) const CORS_CREDENTIALS: Preset =
    Preset::new("cors", "credentials", "false", "supabase-js sends tokens in headers, not cookies");
pub(in crate::config) const CORS_MAX_AGE: Preset =
    Preset::new("cors", "max_age", "10m", "the longest that all browsers honour");
