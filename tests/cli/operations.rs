//! docs/OPERATIONS.md against the program: every metric, check and field of the log.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::support::gateway::Draft;
use crate::support::http;

fn document() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/OPERATIONS.md");
    fs::read_to_string(path).unwrap()
}

/// The names in backticks at the start of the rows of the table under a heading.
fn documented(heading: &str) -> BTreeSet<String> {
    let document = document();
    let section = document.split(&format!("\n## {heading}\n")).nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| row.split('`').next().unwrap().to_owned()).collect()
}

/// A gateway of the simplest kind, with what it needs in its directory.
pub(crate) fn draft(policy: &str, more: &str) -> Draft {
    let draft = Draft::new();
    draft.write("gateway.yaml", &gateway_yaml(&draft, more));
    draft.write("directory.yaml", include_str!("world/directory.yaml"));
    draft.write("policy.yaml", policy);
    draft
}

pub(crate) fn gateway_yaml(draft: &Draft, more: &str) -> String {
    let (listen, admin) = (draft.listen(), draft.admin());
    format!(
        "listen: [{{ address: {listen} }}]\nadmin: {admin}\nserver: {{ drain: 1s, node: n1 }}\n\
         identity:\n  issuers:\n    - name: tests\n      \
         keys: [{{ hs256: a-secret-of-the-tests-that-nobody-may-see }}]\n\
         directory: {{ file: directory.yaml }}\n\
         upstreams:\n  rest:\n    kind: postgrest\n    addresses: [127.0.0.1:1]\n    \
         identity: {{ mint: {{ secret: another-secret-that-nobody-may-see-either }} }}\n    \
         canary: off\n  \
         files: {{ kind: http, addresses: [127.0.0.1:1], identity: none }}\n\
         log: {{ format: json, filter: info }}\npolicies: [policy.yaml]\n{more}"
    )
}

pub(crate) const POLICY: &str = include_str!("world/policy.yaml");

#[tokio::test]
async fn the_metrics_are_those_that_are_documented() {
    let gateway = draft(POLICY, "").start().await;
    // Some have series only once there is something to count.
    http::get(gateway.listen(), "/nowhere", &[]).await.unwrap();
    let text = crate::support::eventually("the refusal to be counted", async || {
        let text = http::get(gateway.admin(), "/metrics", &[]).await.unwrap().text();
        text.contains("tollgate_refusals_total{").then_some(text)
    })
    .await;
    let exposed: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|rest| rest.split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(exposed, documented("Metrics"));
}

#[tokio::test]
async fn the_checks_of_readiness_are_those_that_are_documented() {
    let gateway = draft(POLICY, "").start().await;
    let body = http::get(gateway.admin(), "/readyz", &[]).await.unwrap().json();
    let mut told: BTreeSet<String> = body["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| check["name"].as_str().unwrap().to_owned())
        .collect();
    // Told only by a process that is ending.
    told.insert("draining".into());
    assert_eq!(told, documented("Readiness"));
}

#[tokio::test]
async fn the_fields_of_a_requests_log_line_are_those_that_are_documented() {
    let gateway = draft(POLICY, "").start().await;
    http::get(gateway.listen(), "/internal?key=value", &[]).await.unwrap();
    let line = crate::support::eventually("the line of the request", async || {
        gateway
            .log()
            .lines()
            .find(|line| line.contains("\"message\":\"request\""))
            .map(str::to_owned)
    })
    .await;
    assert!(!line.contains("value"), "a query in the log: {line}");
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    let documented = documented("Logs");
    for field in line.as_object().unwrap().keys() {
        assert!(documented.contains(field), "`{field}` is not documented: {line}");
    }
    for field in ["request.id", "http.method", "http.status", "refusal.code", "duration_ms"] {
        assert!(line.get(field).is_some(), "`{field}` is missing: {line}");
    }
}

#[tokio::test]
async fn readiness_says_what_requests_would_fail_for() {
    let closed = POLICY.replace("burst: 20", "burst: 20\n    when_away: closed");
    let away = "limits_store: { redis: { url: \"redis://127.0.0.1:1/0\" } }\n";
    let mut gateway = draft(&closed, away).launch();
    let admin = gateway.admin();
    let body = crate::support::eventually("the admin listener", async || {
        http::get(admin, "/readyz", &[]).await.ok()
    })
    .await;
    assert_eq!(body.status, 503);
    let told = body.json();
    let limits =
        &told["checks"].as_array().unwrap().iter().find(|c| c["name"] == "limits").unwrap();
    assert_eq!(limits["state"], "unready", "{told}");
    assert!(limits["reason"].as_str().unwrap().contains("`per_user`"), "{told}");
    assert_eq!(http::get(admin, "/healthz", &[]).await.unwrap().status, 200);
    gateway.kill();

    // The same, with a limit that this node can enforce by itself: degraded is ready.
    let gateway = draft(POLICY, away).start().await;
    let told = http::get(gateway.admin(), "/readyz", &[]).await.unwrap().json();
    let limits = told["checks"].as_array().unwrap().iter().find(|c| c["name"] == "limits").unwrap();
    assert_eq!(limits["state"], "degraded", "{told}");
}

#[tokio::test]
async fn a_key_set_that_never_came_is_a_reason_not_to_be_ready() {
    let draft = Draft::new();
    let yaml = gateway_yaml(&draft, "").replace(
        "keys: [{ hs256: a-secret-of-the-tests-that-nobody-may-see }]",
        "keys: [{ jwks: \"http://127.0.0.1:1/jwks.json\", algorithms: [ES256] }]",
    );
    draft.write("gateway.yaml", &yaml);
    draft.write("directory.yaml", include_str!("world/directory.yaml"));
    draft.write("policy.yaml", POLICY);
    let gateway = draft.launch();
    let admin = gateway.admin();
    let told = crate::support::eventually("the admin listener", async || {
        Some(http::get(admin, "/readyz", &[]).await.ok()?.json())
    })
    .await;
    let keys = told["checks"].as_array().unwrap().iter().find(|c| c["name"] == "keys").unwrap();
    assert_eq!(keys["state"], "unready", "{told}");
    assert!(keys["reason"].as_str().unwrap().contains("http://127.0.0.1:1/jwks.json"), "{told}");
}
