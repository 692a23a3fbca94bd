//! `tollgate demo`, and every request that it says to try, really sent.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::eventually;
use crate::support::http::{self, Answer};
use crate::support::place::TempDir;
use crate::support::process::{Process, Signal, Spec};

/// A demo that runs, on ports of its own.
struct Demo {
    process: Process,
    _place: TempDir,
}

impl Demo {
    /// Starts it; `out` is what it printed when it was complete, as `complete` says.
    async fn start(json: bool, complete: impl Fn(&str) -> bool) -> (Self, String) {
        let place = TempDir::new();
        let mut args = vec!["demo".to_owned()];
        for option in ["--listen", "--admin"] {
            args.extend([option.to_owned(), "127.0.0.1:0".to_owned()]);
        }
        if json {
            args.push("--json".to_owned());
        }
        let mut process = Process::spawn(Spec {
            name: "the demo",
            program: env!("CARGO_BIN_EXE_tollgate").into(),
            args,
            env: vec![("TMPDIR".to_owned(), place.path().display().to_string())],
            user: None,
            dir: place.path().to_owned(),
            log: place.path().join("printed"),
            end: Signal::Kill,
        });
        let printed = place.path().join("printed");
        let read = || std::fs::read_to_string(&printed).unwrap_or_default();
        process.ready(async || complete(&read())).await;
        let out = read();
        (Self { process, _place: place }, out)
    }
}

fn address(url: &Value) -> SocketAddr {
    url.as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap()
}

async fn send(demo: &Value, request: &Value) -> Vec<Answer> {
    let user = request["user"].as_str().unwrap();
    let bearer = format!("Bearer {}", demo["tokens"][user].as_str().unwrap());
    let body = request["body"].as_str().unwrap_or_default();
    let mut headers = vec![("authorization", bearer.as_str())];
    if !body.is_empty() {
        headers.push(("content-type", "application/json"));
    }
    let (method, target) =
        (request["method"].as_str().unwrap(), request["target"].as_str().unwrap());
    let mut answers = Vec::new();
    for _ in 0..request["times"].as_u64().unwrap() {
        let gateway = address(&demo["gateway"]);
        answers.push(http::send(gateway, method, target, &headers, body.as_bytes()).await.unwrap());
    }
    answers
}

#[tokio::test]
async fn one_line_of_json_tells_scripts_everything_and_every_request_does_what_it_says() {
    let (mut demo, out) = Demo::start(true, |out| out.ends_with('\n')).await;
    assert_eq!(out.lines().count(), 1, "{out}");
    let told: Value = serde_json::from_str(&out).unwrap();
    let mut answers = BTreeMap::new();
    for request in told["requests"].as_array().unwrap() {
        let got = send(&told, request).await;
        let last = got.last().unwrap();
        assert_eq!(u64::from(last.status), request["status"].as_u64().unwrap(), "{request}");
        answers.insert(request["shows"].as_str().unwrap().to_owned(), got);
    }
    let id = |slug: &str| {
        let organizations = told["organizations"].as_array().unwrap();
        let found = organizations.iter().find(|organization| organization["slug"] == slug);
        found.unwrap()["id"].clone()
    };
    for (shows, slug) in [("own_rows", "acme"), ("other_rows", "globex")] {
        let rows = answers[shows][0].json();
        let rows = rows.as_array().unwrap();
        assert!(!rows.is_empty(), "{shows}");
        assert!(rows.iter().all(|row| row["organization_id"] == id(slug)), "{rows:?}");
    }
    assert_eq!(answers["isolation"][0].json(), serde_json::json!([]));
    assert_eq!(answers["permission"][0].json()["code"], "permission_denied");
    let limited = &answers["rate_limit"];
    assert_eq!(limited.iter().filter(|answer| answer.status == 200).count(), 10);
    let refused = limited.last().unwrap();
    assert_eq!(refused.json()["code"], "rate_limited");
    assert!(refused.header("retry-after").is_some());
    assert_eq!(refused.header("x-tollgate-limit"), Some("per_user"));
    // What was planted is nowhere.
    let all = send(&told, &told["requests"][1]).await;
    assert!(!all[0].text().contains("planted"), "{}", all[0].text());

    let admin = address(&told["admin"]);
    assert_eq!(http::get(admin, "/readyz", &[]).await.unwrap().status, 200);
    // Counted after the answer is sent.
    eventually("the refusal to be counted", async || {
        let metrics = http::get(admin, "/metrics", &[]).await.unwrap().text();
        metrics.contains("tollgate_refusals_total{code=\"permission_denied\"} 1").then_some(())
    })
    .await;

    let audit = told["audit_file"].as_str().unwrap().to_owned();
    let place = Path::new(&audit).parent().unwrap().to_owned();
    assert!(place.exists());
    demo.process.signal(Signal::Term);
    assert!(demo.process.ended().await.success());
    assert!(!place.exists(), "the demo leaves its directory behind");
}

#[tokio::test]
async fn what_is_printed_to_be_pasted_does_what_is_said_of_it() {
    let (demo, out) = Demo::start(false, |out| out.contains("Ctrl-C")).await;
    let lines = || out.lines().map(str::trim);
    let variables: Vec<&str> = lines()
        .filter(|line| line.split_once('=').is_some_and(|(n, _)| n.chars().all(char::is_uppercase)))
        .collect();
    assert_eq!(variables.len(), 5, "{out}");
    let paste = |line: &str| {
        let script = format!("{}\n{line}", variables.join("\n"));
        let ran = Command::new("bash").args(["-c", &script]).output().unwrap();
        assert!(ran.status.success(), "{line}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap()
    };
    let curls: Vec<String> = lines().filter(|line| line.contains("curl ")).map(paste).collect();
    let statuses: Vec<&str> =
        curls.iter().map(|out| out.split_whitespace().nth(1).unwrap()).collect();
    assert_eq!(statuses, ["200", "200", "200", "403", "403", "200"]);
    assert!(curls[0].contains("acme event") && !curls[0].contains("globex event"));
    assert!(curls[1].contains("globex event") && !curls[1].contains("acme event"));
    assert!(curls[2].trim_end().ends_with("[]"), "{}", curls[2]);
    assert!(curls[5].trim_end().ends_with("429"), "{}", curls[5]);
    let explained: Vec<String> =
        lines().filter(|line| line.contains(" explain --demo ")).map(paste).collect();
    let heads: Vec<&str> = explained
        .iter()
        .map(|out| out.lines().next().unwrap().rsplit_once(" → ").unwrap().1)
        .collect();
    assert_eq!(
        heads,
        [
            "sent on to upstream `rest`",
            "sent on to upstream `rest`",
            "sent on to upstream `rest`",
            "refused with 403 rest_tenant_escape",
            "refused with 403 permission_denied",
            "sent on to upstream `rest`",
        ]
    );
    drop(demo);
}
