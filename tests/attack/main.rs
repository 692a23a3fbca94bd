//! Attacks on the isolation, against a real PostgREST and PostgreSQL.
//!
//! `bodies` and `grammar` show that what the gateway sends means to PostgREST what the client
//! wrote; `tenants`, `embeds`, `calls` and `upserts` that a confined request reads and changes one
//! organization's rows only, `table` the same of every known way around, through the built gateway,
//! and `generator` of requests nobody thought of.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test binary: what fails here is meant to fail the test"
)]

#[path = "../support/mod.rs"]
mod support;

mod bodies;
mod calls;
mod embeds;
mod generator;
mod grammar;
mod ranks;
mod shadow;
mod table;
mod tenants;
mod upserts;
mod upstream;
mod wire;
