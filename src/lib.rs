//! Tollgate: an edge gateway for Supabase and PostgREST stacks that many organizations share.
//!
//! ```text
//! client ─▶ edge ─▶ route ─▶ authenticate ─▶ tenant ─▶ authorize ─▶ isolate ─▶ limit ─▶ upstream
//! client ◀─ response ◀──────────────────────── audit ◀───────────────────────────────────── ┘
//! ```
//!
//! [`pipeline`] is that line as a function, without I/O; [`proxy`] is the shell around it.
//!
//! The import law, which the test in `tests/tree/` enforces: `domain ← policy ← pipeline`;
//! `postgrest` imports only `domain`, and `pipeline` imports it; `config → policy, domain`;
//! `telemetry → domain` (and the pipeline's stages, to time them); `stores → domain, policy,
//! config, telemetry`; `proxy` and `admin` may import all of these, and only `cli` and `main`
//! import them. Only `proxy` names pingora, only `stores` names redis and postgres, only `config`
//! names the YAML library. `domain`, `policy`, `pipeline` and `postgrest` never await and never
//! read a clock.

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
