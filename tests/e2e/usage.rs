//! What organizations use comes to the ledger, whoever is killed meanwhile.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use tollgate::domain::clock::Clock;
use tollgate::stores::usage::JOURNAL_EVERY;
use tollgate::telemetry::clock::SystemClock;

use crate::support::fixture::{ACME, ALICE, BOB, GLOBEX};
use crate::support::gateway::{Draft, Gateway, tollgate};
use crate::support::postgres::Postgres;
use crate::support::postgrest::PostgRest;
use crate::support::stack::{Options, UPSTREAM_SECRET, drafted, gateway_yaml, policy_yaml, token};
use crate::support::{eventually, http};

const EVENTS: &str = "/rest/v1/events?select=title";

/// A gateway that counts into a ledger.
fn metered(upstream: &PostgRest, ledger: &Postgres) -> Draft {
    let options = Options::default();
    let draft = drafted(upstream.addr(), &options);
    let metering = format!(
        "metering: {{ postgres: '{}', journal: usage, flush: 1s }}\n",
        ledger.url("ledger")
    );
    let text = gateway_yaml(&draft, upstream.addr(), &options) + &metering;
    draft.write("gateway.yaml", &text);
    draft
}

async fn ledger() -> Postgres {
    let ledger = Postgres::start().await;
    ledger.execute("postgres", "create database ledger").await;
    tollgate(&["migrate", "--database", &ledger.url("ledger")]).await;
    ledger
}

async fn calls(gateway: &Gateway, user: &str, count: u64) {
    let bearer = format!("Bearer {}", token(user));
    for _ in 0..count {
        let headers = [("Authorization", bearer.as_str())];
        let answer = http::get(gateway.listen(), EVENTS, &headers).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

/// `tollgate usage`, as JSON.
async fn usage(gateway: &Gateway, more: &[&str]) -> Vec<Value> {
    let config = gateway.dir().join("gateway.yaml").display().to_string();
    let always = ["usage", "--config", &config, "--from", "2020-01", "--format", "json"];
    let said = tollgate(&[&always, more].concat()).await;
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

async fn told(gateway: &Gateway) -> Vec<(String, u64)> {
    let lines = usage(gateway, &[]).await;
    let told = lines.iter().map(|line| {
        (line["organization"].as_str().unwrap().to_owned(), line["calls"].as_u64().unwrap())
    });
    told.collect()
}

/// Calls that the files of a journal know.
fn journalled(directory: &Path) -> u64 {
    let mut counters: HashMap<String, u64> = HashMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        for line in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let Some(calls) = line["calls"].as_u64() else { continue };
            let known = counters.entry(format!("{path:?} {}", line["subject"])).or_default();
            *known = calls.max(*known);
        }
    }
    counters.values().sum()
}

#[tokio::test]
async fn every_admitted_request_is_in_the_ledger_once_though_nodes_and_ledger_are_killed() {
    let mut ledger = ledger().await;
    let postgres = Postgres::start().await;
    let upstream = PostgRest::start(&postgres, UPSTREAM_SECRET).await;
    let mut one = metered(&upstream, &ledger).start().await;
    let mut two = metered(&upstream, &ledger).start().await;
    for node in [&one, &two] {
        calls(node, ALICE, 40).await;
        calls(node, BOB, 10).await;
        let refused = http::get(node.listen(), EVENTS, &[]).await.unwrap();
        assert_eq!(refused.status, 401, "what is refused does not count");
    }
    let expected = |acme, globex| vec![(ACME.id.to_owned(), acme), (GLOBEX.id.to_owned(), globex)];
    eventually("the first calls in the ledger", async || {
        (told(&one).await == expected(80, 20)).then_some(())
    })
    .await;

    ledger.kill().await;
    for node in [&one, &two] {
        calls(node, ALICE, 30).await;
    }
    eventually("the journal of all calls", async || {
        (journalled(&one.dir().join("usage")) == 80).then_some(())
    })
    .await;
    // `kill -9`, before anything of it can be in the ledger.
    one.kill();
    ledger.restart().await;
    one.restart().await;
    calls(&one, ALICE, 1).await;
    assert!(one.terminate().await.success() && two.terminate().await.success(), "{}", one.log());
    assert_eq!(told(&one).await, expected(141, 20));
    for node in [&one, &two] {
        assert_eq!(journalled(&node.dir().join("usage")), 0, "all of it is in the ledger");
    }
    let lines = usage(&one, &["--organization", "acme", "--by", "user"]).await;
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!((&line["kind"], &line["subject"]), (&"user".into(), &ALICE.into()));
    assert!(line["bytes_out"].as_u64() > Some(1_000) && line["cost"] == 141, "{line}");
    let days = usage(&one, &["--organization", "globex", "--by", "day"]).await;
    assert_eq!(days.iter().filter_map(|day| day["calls"].as_u64()).sum::<u64>(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_killed_under_load_loses_no_more_than_its_journal_is_behind() {
    let ledger = ledger().await;
    let postgres = Postgres::start().await;
    let upstream = PostgRest::start(&postgres, UPSTREAM_SECRET).await;
    let mut gateway = metered(&upstream, &ledger).start().await;
    let clock = Arc::new(SystemClock::new());
    let (sent, ending) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let loads: Vec<_> = (0..4)
        .map(|_| {
            let (clock, sent, ending) =
                (Arc::clone(&clock), Arc::clone(&sent), Arc::clone(&ending));
            let (to, bearer) = (gateway.listen(), format!("Bearer {}", token(ALICE)));
            tokio::spawn(async move {
                let mut answered = Vec::new();
                while !ending.load(Ordering::Relaxed) && answered.len() < 2_000 {
                    sent.fetch_add(1, Ordering::Relaxed);
                    let headers = [("Authorization", bearer.as_str())];
                    let Ok(answer) = http::get(to, EVENTS, &headers).await else { break };
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    answered.push(clock.now());
                }
                answered
            })
        })
        .collect();
    eventually("some load", async || (sent.load(Ordering::Relaxed) > 400).then_some(())).await;
    eventually("a journal", async || {
        (journalled(&gateway.dir().join("usage")) > 200).then_some(())
    })
    .await;
    let killed = clock.now();
    gateway.kill();
    ending.store(true, Ordering::Relaxed);
    let mut answered = Vec::new();
    for load in loads {
        answered.extend(load.await.unwrap());
    }
    gateway.restart().await;
    gateway.terminate().await;
    let counted: u64 = told(&gateway).await.iter().map(|(_, calls)| calls).sum();
    // The interval of the journal, and what a busy machine adds to it.
    let behind = JOURNAL_EVERY + Duration::from_millis(800);
    let certain = answered.iter().filter(|at| killed.since(**at) > behind).count();
    let sent = sent.load(Ordering::Relaxed);
    assert!(counted >= 200 && counted <= sent, "{counted} of {sent}");
    assert!(counted >= certain as u64, "{counted} of {certain}, and {} in all", answered.len());
}

/// A gateway whose organizations have so many calls in a month.
fn under_quota(upstream: &PostgRest, ledger: &Postgres, quota: &str) -> Draft {
    let draft = metered(upstream, ledger);
    let policy = policy_yaml(&Options::default());
    let policy = policy.replace("limits: [per_user]", "limits: [per_user]\n    quotas: [calls]");
    draft.write("policy.yaml", &format!("{policy}quotas:\n  calls: {{ {quota} }}\n"));
    draft
}

/// Shares of quotas that the audit log of a node tells of, in percent.
fn thresholds(gateway: &Gateway) -> Vec<u64> {
    let audit = std::fs::read_to_string(gateway.dir().join("audit.jsonl")).unwrap();
    let lines = audit.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let told = lines.filter(|line| line["event"] == "quota_threshold").map(|line| {
        assert_eq!((&line["organization"], &line["quota"]), (&ACME.id.into(), &"calls".into()));
        assert!(line["used"].as_u64() <= line["amount"].as_u64(), "{line}");
        line["percent"].as_u64().unwrap()
    });
    told.collect()
}

async fn status(gateway: &Gateway, user: &str) -> http::Answer {
    let bearer = format!("Bearer {}", token(user));
    http::get(gateway.listen(), EVENTS, &[("Authorization", bearer.as_str())]).await.unwrap()
}

#[tokio::test]
async fn a_hard_quota_ends_at_its_last_call_over_restarts_and_on_all_nodes() {
    let mut ledger = ledger().await;
    let postgres = Postgres::start().await;
    let upstream = PostgRest::start(&postgres, UPSTREAM_SECRET).await;
    let quota = "per: month, of: calls, amount: 20, thresholds: [25, 80, 100]";
    let mut one = under_quota(&upstream, &ledger, quota).start().await;
    for _ in 0..10 {
        assert_eq!(status(&one, ALICE).await.status, 200);
    }
    eventually("the calls of before", async || {
        (told(&one).await == [(ACME.id.to_owned(), 10)]).then_some(())
    })
    .await;
    // A node that is killed between the claim and the line has the next wait a minute.
    eventually("the first threshold", async || (thresholds(&one) == [25]).then_some(())).await;
    one.restart().await;
    for _ in 0..10 {
        assert_eq!(status(&one, ALICE).await.status, 200, "{}", one.log());
    }
    let refused = status(&one, ALICE).await;
    assert_eq!((refused.status, &refused.json()["code"]), (429, &"quota_exceeded".into()));
    assert_eq!(refused.header("x-tollgate-limit"), Some("calls"));
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!(wait > 0 && wait <= 31 * 86_400, "{wait}");
    assert_eq!(status(&one, BOB).await.status, 200, "it is each organization's own");
    let metrics = eventually("all thresholds in the metrics", async || {
        let metrics = http::get(one.admin(), "/metrics", &[]).await.unwrap().text();
        let told = metrics.contains("tollgate_quota_thresholds_total{percent=\"100\"} 1");
        told.then_some(metrics)
    })
    .await;
    assert!(metrics.contains("tollgate_quota_thresholds_total{percent=\"80\"} 1"), "{metrics}");
    assert!(!metrics.contains("percent=\"25\""), "told before the restart: {metrics}");
    assert!(one.log().contains("reached a share of its quota"), "{}", one.log());
    assert_eq!(thresholds(&one), [25, 80, 100], "once each, over a restart");

    eventually("all calls in the ledger", async || {
        (told(&one).await == [(ACME.id.to_owned(), 20), (GLOBEX.id.to_owned(), 1)]).then_some(())
    })
    .await;
    let config = one.dir().join("gateway.yaml").display().to_string();
    let explain = ["explain", "-c", &config, "GET", EVENTS, "--as"];
    let refused = tollgate(&[&explain[..], &[ALICE]].concat()).await;
    for line in
        ["refused with 429 quota_exceeded", "calls: 20 of 20 calls of the month used, begins"]
    {
        assert!(refused.contains(line), "{refused}");
    }
    let passed = tollgate(&[&explain[..], &[BOB, "--json"]].concat()).await;
    let passed: Value = serde_json::from_str(&passed).unwrap();
    let known = &passed["quotas"][0];
    assert_eq!((&passed["verdict"], &known["used"]), (&"forwarded".into(), &1.into()), "{passed}");
    assert!(known["source"].as_str().unwrap().contains("policy.yaml:"), "{passed}");
    assert!(known["resets_at"].as_str().unwrap().ends_with("-01T00:00:00+00:00"), "{passed}");
    let two = under_quota(&upstream, &ledger, quota).start().await;
    assert_eq!(status(&two, ALICE).await.status, 429, "another node has heard of it");
    assert_eq!(thresholds(&two), [0_u64; 0], "it was told");
    // What is known counts on while the ledger is away; of others, nothing is known.
    ledger.kill().await;
    assert_eq!(status(&one, ALICE).await.status, 429);
    assert_eq!(status(&two, BOB).await.status, 200);
}

#[tokio::test]
async fn what_answers_cost_is_in_the_ledger_and_uses_up_quotas() {
    let ledger = ledger().await;
    let postgres = Postgres::start().await;
    let upstream = PostgRest::start(&postgres, UPSTREAM_SECRET).await;
    let draft = under_quota(&upstream, &ledger, "per: month, of: cost, amount: 100");
    let policy = std::fs::read_to_string(draft.dir().join("policy.yaml")).unwrap();
    // A token for each byte.
    let limit = "rate: 1000000/s, burst: 1000000, cost: { base: 2, per_mebibyte: 1048576 } }";
    let policy = policy.replace("rate: 10000/h }", limit);
    assert!(policy.contains(limit), "{policy}");
    draft.write("policy.yaml", &policy);
    let gateway = draft.start().await;
    let answer = status(&gateway, ALICE).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let refused = eventually("the end of the answer", async || {
        let answer = status(&gateway, ALICE).await;
        (answer.status == 429).then_some(answer)
    })
    .await;
    assert_eq!(refused.json()["code"], "quota_exceeded");
    let line = eventually("the ledger", async || usage(&gateway, &[]).await.pop()).await;
    let told = |key: &str| line[key].as_u64().unwrap();
    assert_eq!(told("cost"), 2 * told("calls") + told("bytes_out"), "{line}");
}

#[tokio::test]
async fn a_quota_says_whether_requests_pass_while_nothing_is_known_and_a_soft_one_lets_them() {
    let mut ledger = ledger().await;
    let postgres = Postgres::start().await;
    let upstream = PostgRest::start(&postgres, UPSTREAM_SECRET).await;
    let soft = "per: day, of: bytes, amount: 10, mode: soft";
    let soft = under_quota(&upstream, &ledger, soft).start().await;
    for _ in 0..3 {
        assert_eq!(status(&soft, ALICE).await.status, 200);
    }
    eventually("the word of what is used up", async || {
        soft.log().contains("reached a share of its quota").then_some(())
    })
    .await;
    ledger.kill().await;
    let strict = "per: day, of: calls, amount: 10, when_away: refuse";
    let strict = under_quota(&upstream, &ledger, strict).start().await;
    let refused = status(&strict, ALICE).await;
    assert_eq!((refused.status, &refused.json()["code"]), (503, &"usage_unavailable".into()));
    assert!(refused.header("retry-after").is_some());
    ledger.restart().await;
    eventually("the ledger", async || (status(&strict, ALICE).await.status == 200).then_some(()))
        .await;
}
