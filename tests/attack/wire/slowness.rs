//! Clients that are slow on purpose, and those that send too much: the right status or a close, in
//! bounded time, while others are served.

use std::io::ErrorKind;

use tokio::io::AsyncReadExt;
use tokio::task::JoinSet;

use super::{EDGE, LOCALHOST, Wire, connect, statuses, talk_from, write};
use crate::support::http2::Client;
use crate::support::{PATIENCE, eventually};

/// One limit for all that a client may be slow in.
const LIMIT: &str = "  head_timeout: 600ms
  body_timeout: 600ms
  keepalive_timeout: 600ms
  connections_per_address: 64
  requests_per_organization: 4096
  requests_per_user: 4096
";

/// Bytes one by one, each long before any wait for it would end.
async fn drip(wire: &Wire, at_once: String, slowly: &str) -> Vec<u16> {
    let mut pieces = vec![at_once.as_bytes()];
    pieces.extend(slowly.as_bytes().chunks(1));
    statuses(&talk_from(LOCALHOST, wire.to(), &pieces, 60).await)
}

#[tokio::test]
async fn a_client_that_drips_is_told_so_and_left() {
    let wire = Wire::start(LIMIT).await;
    let head = |path: &str, more: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\n{more}\r\n",
            wire.token
        )
    };
    let dots = format!("{{\"title\":\"{}\"}}", ".".repeat(60));
    let chunks = format!("{:x}\r\n{dots}\r\n0\r\n\r\n", dots.len());
    let length = format!("Content-Length: {}\r\n", dots.len());
    let chunked = "Transfer-Encoding: chunked\r\n";
    let slow_head = head("/open/slow-head", "");
    let served = async || assert_eq!(wire.get("/open/others").await.status, 200);
    let (one, two, three, four, five, six, ()) = tokio::join!(
        drip(&wire, String::new(), &slow_head),
        drip(&wire, "GET /open/slow-head HTTP/1.1\r\nHost: h\r\nX: ".into(), &slow_head),
        drip(&wire, head("/rest/v1/events", &length), &dots),
        drip(&wire, head("/rest/v1/events", chunked), &chunks),
        drip(&wire, head("/open/slow-body", &length), &dots),
        drip(&wire, head("/open/slow-body", chunked), &chunks),
        served(),
    );
    assert_eq!((one, two), (vec![408], vec![408]));
    assert_eq!((three, four), (vec![408], vec![408]));
    assert_eq!((five, six), (vec![408], vec![408]));
    assert!(!wire.upstream.has_heard("slow-head") && !wire.upstream.has_heard("/events"));
    assert_eq!(wire.upstream.requests("slow").len(), 0);
    wire.finish().await;
}

#[tokio::test]
async fn a_client_that_says_nothing_is_left() {
    let wire = Wire::start(LIMIT).await;
    let token = &wire.token;
    let mut quiet = JoinSet::new();
    for bytes in [
        String::new(),
        "\r\n".to_owned(),
        "G".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n".to_owned(),
        "GET /open/quiet HTTP/1.1\r\nHost: h\r\n".to_owned(),
        "GET /open/quiet HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        "POST /open/quiet HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab".to_owned(),
        "POST /open/quiet HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nab"
            .to_owned(),
        format!(
            "POST /rest/v1/events HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\n\
             Content-Length: 4\r\nContent-Type: application/json\r\n\r\n{{"
        ),
    ] {
        let to = wire.to();
        quiet.spawn(async move {
            let mut stream = connect(to).await;
            write(&mut stream, bytes.as_bytes()).await;
            let mut back = Vec::new();
            let closed = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut back)).await;
            assert!(closed.is_ok(), "{bytes} is still open");
        });
    }
    quiet.join_all().await;
    // HTTP/2: a connection without a stream, and one with a body that does not go on.
    let mut idle = Client::connect(wire.to()).await;
    let mut stuck = Client::connect(wire.to()).await;
    let bearer = format!("Bearer {}", wire.token);
    let post = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "h"),
        (":path", "/rest/v1/events"),
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    stuck.head(1, &post, false).await;
    stuck.data(1, b"{", false).await;
    assert_eq!(stuck.outcome(1).await, Some(408));
    assert!(!wire.upstream.has_heard("/events"));
    let mut left = idle.next().await;
    while left.is_ok() {
        left = idle.next().await;
    }
    assert_ne!(left.map_err(|error| error.kind()), Err(ErrorKind::TimedOut));
    drop(stuck);
    wire.finish().await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_gives_its_answer_up() {
    let wire = Wire::start(LIMIT).await;
    let mut one = connect(wire.to()).await;
    write(&mut one, b"GET /open/much HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let mut other = Client::connect(wire.to()).await;
    let get =
        [(":method", "GET"), (":scheme", "http"), (":authority", "h"), (":path", "/open/much")];
    other.head(1, &get, true).await;
    eventually("both asked for", async || {
        (wire.upstream.requests("/much").len() == 2).then_some(())
    })
    .await;
    // Both are there still, and nothing is at work for them.
    eventually("nothing at work", async || {
        (wire.metric("tollgate_requests_in_flight").await == 0.0).then_some(())
    })
    .await;
    drop((one, other));
    wire.finish().await;
}

#[tokio::test]
async fn one_address_cannot_take_all_connections() {
    let wire = Wire::start(&LIMIT.replace("64", "16")).await;
    let mut held = Vec::new();
    for _ in 0..16 {
        held.push(connect(wire.to()).await);
    }
    let mut beyond = connect(wire.to()).await;
    let mut back = Vec::new();
    let _ = beyond.read_to_end(&mut back).await;
    assert!(back.is_empty());
    let other = "GET /open/other HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".as_bytes();
    let answers = talk_from([127, 0, 0, 9].into(), wire.to(), &[other], 0).await;
    assert_eq!(statuses(&answers), [200]);
    drop(held);
    wire.finish().await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_with_and_without_its_length() {
    let wire = Wire::start(EDGE).await;
    let token = &wire.token;
    let large = "x".repeat(200_000);
    let chunk = format!("{:x}\r\n{large}\r\n", large.len());
    let rows = format!("[{{\"title\":\"{large}\"}}]");
    let open = "/open/large";
    let rest = "/rest/v1/events";
    for (path, framing, body, statuses_of) in [
        (open, "Content-Length: 200000", large.clone(), vec![413]),
        (open, "Content-Length: 200000\r\nExpect: 100-continue", String::new(), vec![413]),
        (open, "Content-Length: 999999999999999999", String::new(), vec![413]),
        (open, "Transfer-Encoding: chunked", format!("{chunk}0\r\n\r\n"), vec![413]),
        (open, "Transfer-Encoding: chunked", chunk.repeat(20), vec![413]),
        (rest, "Content-Length: 999999999999999999", String::new(), vec![413]),
        (rest, "Content-Length: 20000000", rows.repeat(100), vec![413]),
        (rest, "Transfer-Encoding: chunked", chunk.repeat(20), vec![411, 413]),
    ] {
        let bytes = format!(
            "POST {path} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\n{framing}\r\n\r\n{body}"
        );
        let answers = talk_from(LOCALHOST, wire.to(), &[bytes.as_bytes()], 0).await;
        let shown = format!("{path} {framing} {}: {:?}", body.len(), statuses(&answers));
        assert!(answers.len() == 1 && statuses_of.contains(&answers[0].status), "{shown}");
        assert_eq!(wire.upstream.requests("large").len(), 0, "{shown}");
        assert!(path == open || !wire.upstream.has_heard("/events"), "{shown}");
        assert_eq!(wire.get("/open/others").await.status, 200, "{shown}");
    }
    wire.finish().await;
}
