//! Reloads of a running gateway: what counts at once, what waits, what is kept.

use crate::operations::{POLICY, draft, gateway_yaml};
use crate::support::gateway::Gateway;
use crate::support::process::Signal;
use crate::support::{eventually, http};

async fn status(gateway: &Gateway, path: &str) -> u16 {
    http::get(gateway.listen(), path, &[]).await.unwrap().status
}

async fn version(gateway: &Gateway) -> String {
    let told = http::get(gateway.admin(), "/version", &[]).await.unwrap().json();
    told["snapshot"].as_str().unwrap().to_owned()
}

async fn reloads(gateway: &Gateway, outcome: &str) -> u64 {
    let text = http::get(gateway.admin(), "/metrics", &[]).await.unwrap().text();
    let series = format!("tollgate_reloads_total{{outcome=\"{outcome}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&series)).unwrap().parse().unwrap()
}

/// The same policy without its closed route.
fn opened() -> String {
    POLICY.replace("path: /internal", "path: /elsewhere")
}

#[tokio::test]
async fn a_changed_policy_counts_without_a_signal_and_shows_its_version() {
    let gateway = draft(POLICY, "").start().await;
    assert_eq!(status(&gateway, "/internal").await, 403);
    let before = version(&gateway).await;
    gateway.write("policy.yaml", &opened());
    eventually("the new policy", async || {
        (status(&gateway, "/internal").await == 404).then_some(())
    })
    .await;
    assert_ne!(version(&gateway).await, before);
    // It is counted once it is in force.
    eventually("one reload", async || (reloads(&gateway, "ok").await == 1).then_some(())).await;
    assert_eq!(reloads(&gateway, "failed").await, 0);
}

#[tokio::test]
async fn a_policy_with_errors_changes_nothing_and_the_log_says_where() {
    let gateway = draft(POLICY, "").start().await;
    let before = version(&gateway).await;
    gateway.write("policy.yaml", &POLICY.replace("inherits: [viewer]", "inherits: [ghost]"));
    eventually("the failed reload", async || (reloads(&gateway, "failed").await > 0).then_some(()))
        .await;
    assert_eq!(version(&gateway).await, before);
    assert_eq!(status(&gateway, "/internal").await, 403);
    let log = gateway.log();
    assert!(log.contains("`ghost`") && log.contains("policy.yaml:9"), "{log}");
    // And it goes on from there.
    gateway.write("policy.yaml", &opened());
    eventually("the policy that is right again", async || {
        (status(&gateway, "/internal").await == 404).then_some(())
    })
    .await;
}

#[tokio::test]
async fn sighup_reloads_even_where_nothing_has_changed() {
    let gateway = draft(POLICY, "").start().await;
    let before = version(&gateway).await;
    gateway.signal(Signal::Hup);
    eventually("the reload", async || (reloads(&gateway, "ok").await == 1).then_some(())).await;
    assert_eq!(version(&gateway).await, before);
}

#[tokio::test]
async fn a_member_who_is_added_to_the_directory_file_gets_in() {
    let gateway = draft(POLICY, "").start().await;
    let token = crate::tool::call(&[
        "token",
        "-c",
        gateway.dir().join("gateway.yaml").to_str().unwrap(),
        "--user",
        "erin",
    ]);
    let bearer = format!("Bearer {}", token.out.trim_end());
    let ask = async || {
        let headers = [("authorization", bearer.as_str())];
        http::get(gateway.listen(), "/files/a", &headers).await.unwrap().status
    };
    assert_eq!(ask().await, 403);
    let directory = include_str!("world/directory.yaml");
    let with = directory.replace("user: bob, role: viewer", "user: erin, role: viewer");
    gateway.write("directory.yaml", &with);
    // Nothing listens behind the gateway: past the gate it is 502 or 503.
    eventually("erin to get in", async || (ask().await >= 502).then_some(())).await;
}

#[tokio::test]
async fn settings_that_need_a_restart_are_named_and_the_rest_is_reloaded() {
    let draft = draft(POLICY, "");
    let other = gateway_yaml(&draft, "").replace("node: n1", "node: n2");
    let gateway = draft.start().await;
    gateway.write("gateway.yaml", &other);
    eventually("the word in the log", async || {
        let log = gateway.log();
        let named = log.lines().find(|line| line.contains("count from the next start"))?;
        assert!(named.contains("\"settings\":\"server\""), "{named}");
        Some(())
    })
    .await;
    assert_eq!(reloads(&gateway, "ok").await, 1);
}

#[tokio::test]
async fn a_configuration_with_errors_does_not_start_and_exits_with_2() {
    let draft = draft("routes: 7\n", "");
    let mut gateway = draft.launch();
    assert_eq!(gateway.ended().await.code(), Some(2));
    assert!(gateway.log().contains("policy.yaml:1"), "{}", gateway.log());
}

#[tokio::test]
async fn an_address_that_is_taken_is_said_and_exits_with_1() {
    let first = draft(POLICY, "").start().await;
    let second = draft(POLICY, "");
    let yaml = gateway_yaml(&second, "")
        .replace(&second.listen().to_string(), &first.listen().to_string());
    second.write("gateway.yaml", &yaml);
    let mut second = second.launch();
    assert_eq!(second.ended().await.code(), Some(1));
    assert!(second.log().contains("cannot listen on"), "{}", second.log());
}

#[tokio::test]
async fn sigterm_is_said_by_readiness_before_the_end() {
    let mut gateway = draft(POLICY, "").start().await;
    let admin = gateway.admin();
    gateway.signal(Signal::Term);
    let told = eventually("the word that it is ending", async || {
        let answer = http::get(admin, "/readyz", &[]).await.ok()?;
        (answer.status == 503).then(|| answer.json())
    })
    .await;
    assert_eq!(told["checks"][0]["name"], "draining", "{told}");
    assert!(gateway.ended().await.success());
}
