//! Tollgate.

pub mod admin;
pub mod cli;
pub mod config;
pub mod domain;
pub mod pipeline;
pub mod policy;
pub mod postgrest;
pub mod proxy;
pub mod stores;
pub mod telemetry;
