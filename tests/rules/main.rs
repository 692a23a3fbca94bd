//! Configurations, good and bad, read as an operator would have them read.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test binary: what fails here is meant to fail the test"
)]

mod compiled;
mod documents;
mod golden;
mod mutations;
mod refusals;
mod shipped;
