//! Where token buckets are kept, and how a request is charged to them: all or none.
//!
//! The shell charges what stage 7 of the pipeline worked out, and hands the answer back in.
//! Imports `domain`, `config` and `telemetry`.

mod bucket;
pub mod memory;
