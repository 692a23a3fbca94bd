//! Before a node is ready, an organization that does not exist asks for rows, and gets none.

use serde_json::Value;

use crate::support::gateway::Gateway;
use crate::support::jwks::{Behaviour, Jwks};
use crate::support::stack::{Options, Stack, drafted, policy_yaml};
use crate::support::{eventually, http};

fn options() -> Options {
    Options { canary: "{ retry: 50ms, timeout: 200ms }".to_owned(), ..Options::default() }
}

/// The status of `/readyz`, and what it says of isolation.
async fn isolation(gateway: &Gateway) -> Option<(u16, Value)> {
    let answer = http::get(gateway.admin(), "/readyz", &[]).await.ok()?;
    let told = answer.json();
    let checks = told["checks"].as_array()?;
    let check = checks.iter().find(|check| check["name"] == "isolation")?;
    Some((answer.status, check.clone()))
}

async fn unready(gateway: &Gateway, wanted: &str) -> String {
    eventually(wanted, async || {
        let (status, check) = isolation(gateway).await?;
        let reason = check["reason"].as_str()?.to_owned();
        (status == 503 && reason.contains(wanted)).then_some(reason)
    })
    .await
}

async fn ready(gateway: &Gateway) {
    eventually("readiness", async || {
        let (status, check) = isolation(gateway).await?;
        (status == 200 && check["state"] == "ready").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_real_database_is_asked_at_the_start_and_after_a_reload() {
    let stack = Stack::start(&options()).await;
    let asked = stack.postgrest.log();
    for table in ["events", "projects"] {
        let request = format!("GET /{table}?");
        assert!(asked.contains(&request), "{asked}");
    }
    assert!(!asked.contains("/secrets") && !asked.contains("GET /countries?"), "{asked}");

    // A catalogue that does not fit the database answers nobody.
    let good = policy_yaml(&options());
    let bad = good.replace("capacity, meta", "capacity, nowhere, meta");
    assert_ne!(good, bad);
    stack.gateway.write("policy.yaml", &bad);
    let reason = unready(&stack.gateway, "`/events?limit=1`").await;
    assert!(reason.contains("`42703`"), "{reason}");
    stack.gateway.write("policy.yaml", &good);
    ready(&stack.gateway).await;
}

#[tokio::test]
async fn rows_for_nobody_keep_the_node_from_getting_ready_until_there_are_none() {
    let upstream = Jwks::serving(&[]).await;
    upstream.behave(Behaviour::Serve(r#"[{"title":"GLOBEX-ONLY"}]"#.to_owned()));
    let gateway = drafted(upstream.addr(), &options()).launch();
    let reason = unready(&gateway, "rows came back").await;
    assert!(!reason.contains("GLOBEX"), "{reason}");
    assert!(!gateway.log().contains("GLOBEX"), "{}", gateway.log());
    upstream.behave(Behaviour::Hang);
    unready(&gateway, "no answer in time").await;
    upstream.behave(Behaviour::Fail(503));
    unready(&gateway, "503").await;
    upstream.behave(Behaviour::Serve("[]".to_owned()));
    ready(&gateway).await;
    // It has held and rests.
    let asked = upstream.fetches();
    upstream.behave(Behaviour::Serve(r#"[{"title":"GLOBEX-ONLY"}]"#.to_owned()));
    ready(&gateway).await;
    assert_eq!(upstream.fetches(), asked);
}
