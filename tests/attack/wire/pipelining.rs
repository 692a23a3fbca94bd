//! What stands behind a request on the same connection: the next one, judged by itself, or nothing.

use tokio::io::BufReader;

use super::{EDGE, MARK, Wire, statuses, talk};
use crate::support::{eventually, http};

const GOOD: &str = "GET /open/CASE-HERE HTTP/1.1\r\nHost: h\r\n\r\n";
const LAST: &str = "GET /open/CASE-HERE HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
const OLD: &str = "GET /open/CASE-HERE HTTP/1.0\r\nHost: h\r\n\r\n";
const BODY: &str = "POST /open/CASE-HERE HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nabcd";
const AWAITED: &str = "POST /open/CASE-HERE HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\
                       Expect: 100-continue\r\n\r\nabcd";
const NOBODY: &str = "GET /named/CASE-HERE HTTP/1.1\r\nHost: h\r\n\r\n";
const LOST: &str = "GET /nowhere/CASE-HERE HTTP/1.1\r\nHost: h\r\n\r\n";
const ODD: &str = "GET /open//CASE-HERE HTTP/1.1\r\nHost: h\r\n\r\n";
const TRACE: &str = "TRACE /open/CASE-HERE HTTP/1.1\r\nHost: h\r\n\r\n";
const LARGE: &str = "POST /open/CASE-HERE HTTP/1.1\r\nHost: h\r\nContent-Length: 999999\r\n\r\n";
const BARE: &str = "GET /open/CASE-HERE HTTP/1.1\r\nHost: h\nX: y\r\n\r\n";
/// Pingora escapes the blank; of a request that is read ahead nobody sees it before.
const BLANK: &str = "GET /open/CASE-HERE?a b HTTP/1.1\r\nHost: h\r\n\r\n";
const UNREADABLE: &str = "GET /open/CASE-HERE HTTP/1.1\r\nHost : h\r\n\r\n";

#[tokio::test]
async fn every_request_of_a_packet_has_a_verdict_of_its_own() {
    let wire = Wire::start(EDGE).await;
    let cases: &[(&[&str], &[u16])] = &[
        (&[GOOD, LAST], &[200, 200]),
        (&[GOOD; 40], &[200; 40]),
        (&[BODY, GOOD, BODY, LAST], &[200, 200, 200, 200]),
        (&[GOOD, NOBODY, GOOD, LOST, LAST], &[200, 401, 200, 404, 200]),
        (&[NOBODY, LAST], &[401, 200]),
        (&[GOOD, ODD, GOOD], &[200, 400]),
        (&[ODD, GOOD], &[400]),
        (&[GOOD, TRACE, GOOD], &[200, 405]),
        (&[TRACE, GOOD], &[405]),
        (&[GOOD, BARE, GOOD], &[200, 400]),
        (&[GOOD, UNREADABLE, GOOD], &[200, 400]),
        (&[UNREADABLE, GOOD], &[400]),
        (&[BLANK, GOOD], &[400]),
        (&[GOOD, BLANK, LAST], &[200, 200, 200]),
        (&[GOOD, LARGE, GOOD], &[200, 413]),
        (&[LAST, GOOD], &[200]),
        (&[LAST, ODD], &[200]),
        (&[OLD, GOOD], &[200]),
        (&[BODY, "\r\n", LAST], &[200, 200]),
        (&[BODY, "x", LAST], &[200, 405]),
        (&[AWAITED], &[200]),
    ];
    for (number, (requests, expected)) in cases.iter().enumerate() {
        let case = format!("packet{number}.");
        let numbered = requests.iter().enumerate();
        let bytes: String = numbered
            .map(|(place, request)| request.replace("CASE-HERE", &format!("{case}{place}.")))
            .collect();
        let answers = talk(wire.to(), bytes.as_bytes()).await;
        assert_eq!(statuses(&answers), *expected, "{}", bytes.escape_default());
        let seen = wire.upstream.requests(&case);
        let good = answers.iter().filter(|answer| answer.status == 200).map(|answer| answer.text());
        assert!(good.eq(seen.iter().map(|request| request.line())), "{seen:?}");
    }
    wire.finish().await;
}

/// Bytes that follow an upgrade are a WebSocket's where there is one, and nobody's where there is
/// none: an upstream that does not switch would take them for a request that no stage has seen.
#[tokio::test]
async fn what_follows_an_upgrade_is_never_a_request_that_nobody_judged() {
    let wire = Wire::start(EDGE).await;
    let upgrade = |path: &str, more: &str| {
        format!(
            "GET /{path} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
        )
    };
    let hidden =
        |case: &str| format!("GET /{case}-hidden HTTP/1.1\r\nHost: h\r\nX-User-Id: {MARK}\r\n\r\n");
    // The upstream answers 200.
    for pause in [false, true] {
        let case = format!("unswitched{pause}");
        let (head, behind) = (upgrade(&format!("unswitched/{case}"), ""), hidden(&case));
        let answers = if pause {
            super::talk_in_pieces(wire.to(), &[&head, &behind]).await
        } else {
            talk(wire.to(), format!("{head}{behind}").as_bytes()).await
        };
        assert_eq!(answers[0].status, 200, "{:?}", statuses(&answers));
        assert!(!wire.upstream.has_heard(&format!("{case}-hidden")), "{:?}", statuses(&answers));
    }
    // Upgrades that are none, or are not allowed.
    for (number, (path, more, status)) in [
        ("socket", "Content-Length: 4\r\n", 417),
        ("socket", "Content-Length: 0\r\n", 417),
        ("socket", "Transfer-Encoding: chunked\r\n", 417),
        ("socket", "Upgrade: h2c\r\n", 417),
        ("open/socket", "", 403),
        ("rest/v1/events", "", 401),
    ]
    .iter()
    .enumerate()
    {
        let case = format!("refused{number}");
        let bytes =
            format!("{}{}", upgrade(path, &format!("X-Case: {case}\r\n{more}")), hidden(&case));
        let answers = talk(wire.to(), bytes.as_bytes()).await;
        assert_eq!(answers[0].status, *status, "{path} {more}: {:?}", statuses(&answers));
        assert!(!wire.upstream.has_heard(&case), "{path} {more}: {:?}", statuses(&answers));
    }
    // Other protocols are not taken up: the request is one like all others.
    for (number, fields) in [
        "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        "Upgrade: TLS/1.0\r\nConnection: Upgrade\r\n",
        "Upgrade: websocket, h2c\r\nConnection: Upgrade\r\n",
        "Upgrade: websocket\r\n",
    ]
    .iter()
    .enumerate()
    {
        let case = format!("other{number}");
        let bytes = format!(
            "POST /open/{case} HTTP/1.1\r\nHost: h\r\n{fields}Content-Length: 4\r\n\r\nabcd\
             GET /open//{case}-hidden HTTP/1.1\r\nHost: h\r\n\r\n"
        );
        let answers = talk(wire.to(), bytes.as_bytes()).await;
        assert_eq!(statuses(&answers), [200, 400], "{fields}");
        let seen = wire.upstream.requests(&case);
        assert_eq!((seen.len(), seen[0].body.as_slice()), (1, b"abcd".as_slice()), "{fields}");
        for hop in ["upgrade", "http2-settings"] {
            assert_eq!(seen[0].all(hop).len(), 0, "{fields}");
        }
    }
    // A WebSocket that is one: nothing sent before the upgrade is taken for a request, and what is
    // sent after it arrives as it was.
    let mut socket = super::connect(wire.to()).await;
    let early = format!("{}{}", upgrade("socket", ""), hidden("early"));
    super::write(&mut socket, early.as_bytes()).await;
    let mut back = BufReader::new(socket);
    assert_eq!(http::answer(&mut back, true).await.unwrap().status, 101);
    let late = "GET /late-hidden HTTP/1.1\r\n\r\n";
    super::write(back.get_mut(), late.as_bytes()).await;
    eventually("the late bytes upstream", async || wire.upstream.has_heard(late).then_some(()))
        .await;
    assert_eq!(wire.upstream.requests("hidden").len(), 0);
    drop(back);
    wire.finish().await;
}
