//! Reloads under load: every request sees one policy, from start to end, and nothing piles up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncWriteExt, BufReader};

use super::{EDGE, Wire, connect, dawdle};
use crate::support::eventually;
use crate::support::http;
use crate::support::process::Signal;

const RELOADS: u32 = 50;

/// What the policy adds to every answer, and the route `named` to its own.
fn policy(version: u32) -> String {
    let policy = super::policy(&crate::support::stack::Options::default());
    let named = "  - name: named\n";
    assert!(policy.contains(named), "{policy}");
    let of_the_route =
        format!("{named}    response: {{ set: {{ X-Of-The-Route: 'v{version}' }} }}\n");
    let versioned = format!(
        "  - name: never\n    match: {{ path: /never/{version} }}\n    close: true\n\
         response: {{ set: {{ X-Of-The-Policy: 'v{version}' }} }}\n"
    );
    policy.replace(named, &of_the_route) + &versioned
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_sees_one_policy_however_often_it_is_reloaded() {
    let wire = Wire::start(&EDGE.replace("300ms", "30s")).await;
    let going = Arc::new(AtomicBool::new(true));
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..2 {
        let (to, going, token) = (wire.to(), Arc::clone(&going), wire.token.clone());
        clients.spawn(async move {
            let mut stream = BufReader::new(connect(to).await);
            let mut count = 0;
            while going.load(Ordering::SeqCst) {
                let request = format!(
                    "POST /named/load{client} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\n\
                     Content-Length: 4\r\n\r\nabcd"
                );
                stream.write_all(request.as_bytes()).await.expect("a connection that stays");
                let answer = http::answer(&mut stream, false).await.expect("an answer");
                assert_eq!(answer.status, 200, "{}", answer.text());
                let (one, other) = ("x-of-the-policy", "x-of-the-route");
                assert_eq!(answer.header(one), answer.header(other), "two policies in one request");
                count += 1;
                dawdle(2).await;
            }
            count
        });
    }
    let mut sizes = Vec::new();
    for version in 1..=RELOADS {
        wire.gateway.write("policy.yaml", &policy(version));
        wire.gateway.signal(Signal::Hup);
        let wanted = format!("v{version}");
        eventually("the new policy", async || {
            let answer = wire.get("/open/probe").await;
            (answer.header("x-of-the-policy") == Some(wanted.as_str())).then_some(())
        })
        .await;
        if version % 10 == 0 {
            let memory = wire.metric("process_resident_memory_bytes").await;
            sizes.push((memory, wire.metric("process_open_fds").await));
        }
    }
    going.store(false, Ordering::SeqCst);
    let served: usize = clients.join_all().await.into_iter().sum();
    assert_eq!(wire.upstream.requests("/load").len(), served);
    assert!(served > 200, "{served} requests under {RELOADS} reloads");
    // The first ten warm the process up.
    let (first, last) = (sizes[0], sizes[sizes.len() - 1]);
    assert!(last.0 < first.0 * 1.3 + 8e6, "memory grows: {sizes:?}");
    assert!(last.1 <= first.1 + 4.0, "descriptors grow: {sizes:?}");
    wire.finish().await;
}
