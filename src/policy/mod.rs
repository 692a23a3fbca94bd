//! The compiled policy: what `config` makes of the YAML, what `pipeline` decides by.
//!
//! Everything here is immutable, valid by construction and carries its [`Source`], so that a
//! decision can name the line that made it. May import `domain` only; never awaits, never reads a
//! clock.
//!
//! [`Source`]: crate::domain::source::Source

pub mod condition;
pub mod edge;
pub mod expression;
pub mod gates;
pub mod identity;
pub mod impersonation;
pub mod keys;
pub mod known;
pub mod limits;
pub mod logins;
pub mod mode;
pub mod path;
mod prefixes;
pub mod quotas;
pub mod response;
pub mod rights;
pub mod roles;
pub mod route;
pub mod rules;
pub mod sign_on;
pub mod snapshot;
pub mod upstream;

pub use snapshot::Snapshot;
