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
use crate::support::stack::{Options, UPSTREAM_SECRET, drafted, gateway_yaml, token};
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
