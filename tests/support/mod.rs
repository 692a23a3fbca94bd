//! Real parts for tests: PostgreSQL, Redis, PostgREST, an OpenID provider, a key set server,
//! supabase-js in Node and the built gateway, each a process of its own on a free loopback port, in a
//! temporary directory.
//!
//! Every part waits until it answers before it is handed out, and ends with the value that holds
//! it: on drop, when the test panics, and (by the kernel's parent-death signal) when the test
//! process itself is killed. Nothing here sleeps to let something happen; loops are bounded and
//! wait for a condition.
//!
//! nextest runs each test in a process of its own, so a part is never shared between tests: that
//! costs a start per test (PostgreSQL about 0.3 s from a template, PostgREST 0.2 s, Redis 20 ms)
//! and buys tests that may kill, pause and fill what they use. Put cases that only read into one
//! test function.
//!
//! A test binary includes it with `#[path = "../support/mod.rs"] mod support;`.

#![allow(dead_code, reason = "each test binary uses its own selection of the parts")]

pub(crate) mod fixture;
pub(crate) mod gateway;
pub(crate) mod gotrue;
pub(crate) mod http;
pub(crate) mod http2;
pub(crate) mod jwks;
pub(crate) mod keys;
pub(crate) mod node;
pub(crate) mod place;
pub(crate) mod postgres;
pub(crate) mod postgrest;
pub(crate) mod process;
pub(crate) mod provider;
pub(crate) mod recorder;
pub(crate) mod redis;
pub(crate) mod redis_cluster;
pub(crate) mod stack;

use std::time::Duration;

/// How long a part may take to become what is waited for. Generous, because it only decides how
/// long a broken run takes: no passing test comes near it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

const POLL: Duration = Duration::from_millis(5);

/// Waits until `condition` gives a value.
///
/// # Panics
/// When it has not after [`PATIENCE`], naming `what`.
pub(crate) async fn eventually<T, F>(what: &str, mut condition: F) -> T
where
    F: AsyncFnMut() -> Option<T>,
{
    let looped = async {
        loop {
            if let Some(value) = condition().await {
                return value;
            }
            tokio::time::sleep(POLL).await;
        }
    };
    match tokio::time::timeout(PATIENCE, looped).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen within {PATIENCE:?}"),
    }
}
