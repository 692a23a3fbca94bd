//! The admin listener's answers: is the process alive, is it ready and why not, metrics, version.
//!
//! Pure functions of an [`AdminState`]; `proxy` serves them. Reading them costs a client nothing
//! but the connection, so the listener belongs on an address that only operators reach.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::json;

use crate::telemetry::metrics::Metrics;

const JSON: &str = "application/json";

/// What the admin listener knows.
pub struct AdminState {
    /// What `/metrics` shows.
    pub metrics: Arc<Metrics>,
    /// What `/readyz` asks, in the order in which it tells.
    pub checks: Vec<Check>,
    /// The version of the policy in force.
    pub snapshot_version: Box<dyn Fn() -> String + Send + Sync>,
    /// Set when the process is about to end: it finishes what it has and wants nothing new.
    pub draining: Arc<AtomicBool>,
    /// This node's name.
    pub node: Arc<str>,
}

/// One thing that readiness depends on.
pub struct Check {
    /// Its name, for machines.
    pub name: &'static str,
    /// Looks, without waiting for anything.
    pub look: Box<dyn Fn() -> Condition + Send + Sync>,
}

impl Check {
    /// A check.
    pub fn new(name: &'static str, look: impl Fn() -> Condition + Send + Sync + 'static) -> Self {
        Self { name, look: Box::new(look) }
    }
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// All is well.
    Ready,
    /// Requests are answered, and something is away.
    Degraded(String),
    /// Requests would be refused.
    Unready(String),
}

/// An answer, to be sent as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminAnswer {
    /// The status.
    pub status: StatusCode,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// The body; to be left out for HEAD.
    pub body: Bytes,
}

/// Answers a request to the admin listener.
pub fn answer(state: &AdminState, method: &Method, path: &str) -> AdminAnswer {
    if *method != Method::GET && *method != Method::HEAD {
        let message = "the admin listener answers GET and HEAD";
        return problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message);
    }
    match path {
        "/healthz" => json_answer(StatusCode::OK, &json!({ "alive": true })),
        "/readyz" => readiness(state),
        "/metrics" => metrics(state),
        "/version" => version(state),
        _ => problem(
            StatusCode::NOT_FOUND,
            "not_found",
            "there are /healthz, /readyz, /metrics and /version",
        ),
    }
}

fn readiness(state: &AdminState) -> AdminAnswer {
    let mut ready = true;
    let mut checks = Vec::with_capacity(state.checks.len() + 1);
    let mut tell = |name: &str, condition: Condition| {
        let (word, reason) = match condition {
            Condition::Ready => ("ready", None),
            Condition::Degraded(reason) => ("degraded", Some(reason)),
            Condition::Unready(reason) => {
                ready = false;
                ("unready", Some(reason))
            }
        };
        checks.push(match reason {
            Some(reason) => json!({ "name": name, "state": word, "reason": reason }),
            None => json!({ "name": name, "state": word }),
        });
    };
    if state.draining.load(Ordering::Relaxed) {
        tell("draining", Condition::Unready("the process is ending".into()));
    }
    for check in &state.checks {
        tell(check.name, (check.look)());
    }
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json_answer(status, &json!({ "ready": ready, "checks": checks }))
}

fn metrics(state: &AdminState) -> AdminAnswer {
    match state.metrics.exposition() {
        Ok(text) => AdminAnswer {
            status: StatusCode::OK,
            content_type: "text/plain; version=0.0.4; charset=utf-8",
            body: Bytes::from(text),
        },
        Err(error) => {
            tracing::error!(%error, "metrics cannot be printed");
            let message = "the metrics cannot be printed; the log says why";
            problem(StatusCode::INTERNAL_SERVER_ERROR, "metrics_failed", message)
        }
    }
}

fn version(state: &AdminState) -> AdminAnswer {
    let body = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "snapshot": (state.snapshot_version)(),
        "node": state.node.as_ref(),
    });
    json_answer(StatusCode::OK, &body)
}

fn problem(status: StatusCode, code: &str, message: &str) -> AdminAnswer {
    json_answer(status, &json!({ "code": code, "message": message }))
}

fn json_answer(status: StatusCode, body: &serde_json::Value) -> AdminAnswer {
    let mut text = body.to_string();
    text.push('\n');
    AdminAnswer { status, content_type: JSON, body: Bytes::from(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(checks: Vec<Check>) -> AdminState {
        AdminState {
            metrics: Arc::new(Metrics::new().unwrap()),
            checks,
            snapshot_version: Box::new(|| "abc".into()),
            draining: Arc::new(AtomicBool::new(false)),
            node: Arc::from("test"),
        }
    }

    fn get(state: &AdminState, path: &str) -> (u16, serde_json::Value) {
        let answer = answer(state, &Method::GET, path);
        (answer.status.as_u16(), serde_json::from_slice(&answer.body).unwrap())
    }

    #[test]
    fn readiness_gives_the_reason_of_every_part_that_is_away() {
        let state = state(vec![
            Check::new("snapshot", || Condition::Ready),
            Check::new("directory", || Condition::Unready("never answered".into())),
            Check::new("limits", || Condition::Degraded("redis is away".into())),
        ]);
        let (status, body) = get(&state, "/readyz");
        assert_eq!(status, 503);
        assert_eq!(
            body,
            json!({ "ready": false, "checks": [
                { "name": "snapshot", "state": "ready" },
                { "name": "directory", "state": "unready", "reason": "never answered" },
                { "name": "limits", "state": "degraded", "reason": "redis is away" },
            ]})
        );
    }

    #[test]
    fn something_degraded_is_still_ready() {
        let state = state(vec![Check::new("limits", || Condition::Degraded("away".into()))]);
        assert_eq!(get(&state, "/readyz").0, 200);
    }

    #[test]
    fn a_draining_process_is_alive_and_not_ready() {
        let state = state(Vec::new());
        assert_eq!(get(&state, "/readyz").0, 200);
        state.draining.store(true, Ordering::Relaxed);
        let (status, body) = get(&state, "/readyz");
        assert_eq!((status, &body["checks"][0]["name"]), (503, &json!("draining")));
        assert_eq!(get(&state, "/healthz").0, 200);
    }

    #[test]
    fn nothing_is_changed_through_the_admin_listener() {
        let state = state(Vec::new());
        assert_eq!(answer(&state, &Method::POST, "/readyz").status.as_u16(), 405);
        assert_eq!(get(&state, "/config").0, 404);
    }

    #[test]
    fn the_version_names_build_snapshot_and_node() {
        let (_, body) = get(&state(Vec::new()), "/version");
        assert_eq!(body["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(body["snapshot"], "abc");
        assert_eq!(body["node"], "test");
    }
}
