//! What the stores promise: the same tests for the one in this process and the one behind a
//! server, and what only a real server shows, by killing, pausing and confusing it.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test binary: what fails here is meant to fail the test"
)]

#[path = "../support/mod.rs"]
mod support;

mod clock;
mod directory;
mod joining;
mod keys;
mod limits;
mod limits_cluster;
mod limits_failover;
mod limits_leases;
mod limits_ledger;
mod limits_model;
mod limits_model_slots;
mod limits_penalty;
mod limits_redis;
mod limits_settlement;
mod limits_world;
mod logins;
mod machine_keys;
mod sessions;
mod usage;
