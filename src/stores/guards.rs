//! Guards that depend on neither Redis nor an identity: how fast one address may ask before
//! anybody knows who it is, and how much anybody may have open at the same time.
//!
//! The shell asks them when a connection is accepted, before the edge stage, and once the
//! organization is known. Nothing here waits. Imports `domain` only.

pub mod address;
pub mod concurrency;
