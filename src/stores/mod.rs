//! What the gateway keeps and looks up: buckets, guards, the audit log, usage, organizations, keys,
//! verified tokens. In this process, or in Redis and PostgreSQL.
//!
//! Called by the shell before and after the core decides; the core itself only sees values. The
//! only room that may name redis and tokio-postgres. Imports `domain`, `policy`, `config` and
//! `telemetry`.

pub mod audit;
mod cluster;
pub mod directory;
pub mod guards;
pub mod history;
pub mod introspect;
pub mod keys;
pub mod limits;
pub mod logins;
pub mod machine_keys;
pub mod migrate;
pub mod node;
pub mod sessions;
pub mod tokens;
pub mod usage;
