//! The commands of the built binary: what they print, what they exit with, and that what they
//! promise happens.
//!
//! What is printed stands in full under `golden/`, with ids and times masked;
//! `UPDATE_GOLDEN=1 cargo nextest run --test cli` writes what is printed today: review it as you
//! would review code.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test binary: what fails here is meant to fail the test"
)]

#[path = "../support/mod.rs"]
mod support;

mod catalog;
mod check;
mod demo;
mod diff;
mod expectations;
mod explain;
mod format;
mod golden;
mod help;
mod init;
mod keys;
mod migrate;
mod operations;
mod packs;
mod policy_tests;
mod publishing;
mod reload;
mod replay;
mod reports;
mod roles;
mod schema;
mod shadow;
mod tables;
mod token;
mod tool;
mod tutorial;
