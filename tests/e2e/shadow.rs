//! Policies in shadow, on the built binary: who would be hit is on record, and nobody is.

use serde_json::Value;

use crate::support::fixture::{ALICE, BOB};
use crate::support::recorder::Recorder;
use crate::support::redis::Redis;
use crate::support::stack::{Options, drafted, policy_yaml, token};
use crate::support::{eventually, http};

const EVENTS: &str = "/rest/v1/events?select=id";

#[tokio::test]
async fn who_a_limit_and_a_condition_in_shadow_would_hit_is_reported_and_nobody_is_hit() {
    let upstream = Recorder::start().await;
    let options = Options { per_user: 20, ..Options::default() };
    let draft = drafted(upstream.addr(), &options);
    let policy = policy_yaml(&options);
    let stated = policy
        .replace("tables:\n", "  tight: { scope: user, rate: 3/h, mode: shadow }\ntables:\n")
        .replace(
            "limits: [per_user]",
            "limits: [per_user, tight]\n    require: [{ feature: beta, mode: shadow }]",
        )
        .replace("audit: all", "audit: refusals");
    draft.write("policy.yaml", &stated);
    let gateway = draft.start().await;
    let get = async |user: &str| {
        let bearer = format!("Bearer {}", token(user));
        http::get(gateway.listen(), EVENTS, &[("Authorization", bearer.as_str())]).await.unwrap()
    };
    for taken in 1..=5 {
        let answer = get(ALICE).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let told = answer.header("ratelimit").unwrap_or_default().to_owned();
        assert!(!told.contains("tight"), "clients are told of what is enforced: {told}");
        assert!(told.contains(&format!("\"per_user\";r={}", 20 - taken)), "{told}");
    }
    assert_eq!(get(BOB).await.status, 200);

    let records: Vec<Value> = eventually("six requests on record", async || {
        let audit = std::fs::read_to_string(gateway.dir().join("audit.jsonl")).ok()?;
        let records = audit.lines().map(|line| serde_json::from_str(line).unwrap());
        let records: Vec<Value> = records.collect();
        (records.len() == 6).then_some(records)
    })
    .await;
    let entries = |name: &str| {
        let would = records.iter().flat_map(|record| record["would"].as_array().unwrap());
        would.filter(|would| would["name"] == name).count()
    };
    assert_eq!((entries("tight"), entries("route rest")), (2, 6));
    assert!(records.iter().all(|record| record["decision"] == "allowed"));
    let told = std::process::Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(["shadow", "report", "--json", "audit.jsonl"])
        .current_dir(gateway.dir())
        .output()
        .unwrap();
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    let policies = told["policies"].as_array().unwrap().iter();
    let counted: Vec<(&str, u64, usize)> = policies
        .map(|of| {
            let organizations = of["organizations"].as_array().unwrap().len();
            (of["name"].as_str().unwrap(), of["requests"].as_u64().unwrap(), organizations)
        })
        .collect();
    assert_eq!(counted, [("route rest", 6, 2), ("tight", 2, 1)], "{told:#}");
    let again = std::process::Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(["replay", "-c", "gateway.yaml", "--json"])
        .current_dir(gateway.dir())
        .output()
        .unwrap();
    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(
        (&again["same"], &again["changed"]),
        (&6.into(), &Value::Array(Vec::new())),
        "{again:#}"
    );
    let metrics = http::get(gateway.admin(), "/metrics", &[]).await.unwrap().text();
    for counted in [
        "tollgate_would_refuse_total{code=\"rate_limited\",policy=\"limit\"} 2",
        "tollgate_would_refuse_total{code=\"feature_disabled\",policy=\"condition\"} 6",
        "tollgate_shadow_limits_unknown_total 0",
    ] {
        assert!(metrics.contains(counted), "{counted}\n{metrics}");
    }
}

/// A store that has to be asked: nobody waits for it, and what it says too late is counted.
#[tokio::test]
async fn a_limit_in_shadow_on_a_shared_store_is_told_or_counted_as_unknown() {
    let mut redis = Redis::start().await;
    let upstream = Recorder::start().await;
    let store = format!("{{ redis: {{ url: '{}', timeout: 1s }} }}", redis.url());
    let options = Options { limits_store: store, ..Options::default() };
    let draft = drafted(upstream.addr(), &options);
    let stated = policy_yaml(&options)
        .replace("tables:\n", "  tight: { scope: user, rate: 3/h, mode: shadow }\ntables:\n")
        .replace("limits: [per_user]", "limits: [tight]");
    draft.write("policy.yaml", &stated);
    let gateway = draft.start().await;
    let get = async || {
        let bearer = format!("Bearer {}", token(ALICE));
        http::get(gateway.listen(), EVENTS, &[("Authorization", bearer.as_str())]).await.unwrap()
    };
    for _ in 0..8 {
        assert_eq!(get().await.status, 200);
    }
    let (told, unknown) = eventually("eight requests on record", async || {
        let audit = std::fs::read_to_string(gateway.dir().join("audit.jsonl")).ok()?;
        let told = audit.matches("\"name\":\"tight\"").count();
        let metrics = http::get(gateway.admin(), "/metrics", &[]).await.ok()?.text();
        let name = "tollgate_shadow_limits_unknown_total ";
        let line = metrics.lines().find(|line| line.starts_with(name))?;
        let unknown: usize = line.trim_start_matches(name).parse().ok()?;
        (audit.lines().count() == 8).then_some((told, unknown))
    })
    .await;
    assert!(told <= 5, "three of eight fit: {told}");
    assert!(told + unknown >= 5, "{told} told, {unknown} unknown");
    let explained = || {
        let told = std::process::Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .args(["explain", "-c", "gateway.yaml", "--json", "GET", EVENTS, "--as", ALICE])
            .current_dir(gateway.dir())
            .output()
            .unwrap();
        let told: Value = serde_json::from_slice(&told.stdout).unwrap();
        told["limits"][0].clone()
    };
    let limit = explained();
    assert_eq!((&limit["limit"], &limit["mode"]), (&"tight".into(), &"shadow".into()));
    assert!(limit["balance"]["left"].as_i64().unwrap() <= 3, "{limit}");
    redis.kill();
    assert_eq!(get().await.status, 200, "an outage of its store is nothing");
    assert!(explained()["balance"]["unknown"].is_string());
}
