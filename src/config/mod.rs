//! From YAML to policy: reading, interpolating, checking, compiling; every error at once, each
//! with file, line, column, the line itself and a hint.
//!
//! `yaml` makes a tree in which every value knows its place; `decode` reads typed values from it
//! and describes them for the schema; `gateway`, `policies`, `routes` and their neighbours state
//! the keys; `compile` and `resolve` join the files into one snapshot. The types of the YAML never
//! leave this room. May import `policy` and `domain`.

mod answers;
mod catalog;
mod compile;
mod conditions;
mod context;
mod decode;
pub mod defaults;
mod devices;
mod directory;
mod examples;
pub mod expression;
mod files;
mod foreign;
pub mod format;
mod gateway;
#[cfg(test)]
mod growth;
mod identity;
mod leaf;
mod load;
mod logins;
mod machines;
mod mode;
mod penalty;
mod policies;
pub mod problem;
mod publish;
mod queries;
mod quotas;
mod redis_place;
mod resolve;
mod routes;
mod rules;
pub mod schema;
mod sessions;
pub mod settings;
mod sign_on;
pub mod suite;
mod tell_version;
mod units;
mod upstreams;
mod yaml;

pub use context::Environment;
pub use decode::nearest;
pub use files::{Disk, Files, Memory, Past, Reading, TEST_SUFFIX};
pub use load::{Loaded, embedded, load, load_embedded, load_from};
pub use problem::{Problem, Problems};
pub use units::stated_rate;
