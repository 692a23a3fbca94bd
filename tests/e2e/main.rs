//! The gateway and the parts around it as real processes, end to end.
//!
//! `support` holds the parts; `parts` shows that they do what the other tests rely on; the other
//! files have the gateway among them.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test binary: what fails here is meant to fail the test"
)]

#[path = "../support/mod.rs"]
mod support;

mod application;
mod bodies;
mod canary;
mod chaos;
mod conservation;
mod errors;
mod escapes;
mod impersonation;
mod logins;
mod machines;
mod outages;
mod parts;
mod penalties;
mod refusals;
mod reloads;
mod rotation;
mod row_security;
mod rules;
mod sessions;
mod shadow;
mod sign_on;
mod supabase;
mod usage;
