//! HTTP/2: heads that no library would send, bodies that break off, floods.

use super::{EDGE, MARK, Wire};
use crate::support::http2::{
    CONTINUATION, Client, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, SETTINGS, WINDOW_UPDATE,
    block, frame,
};
use crate::support::{eventually, http};

type Field = (&'static str, &'static str);

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "http");
const AUTHORITY: (&str, &str) = (":authority", "h");

/// Heads that are good but for one thing. `CASE` stands for a name; none of these has a body.
fn heads() -> Vec<(Vec<Field>, Option<u16>)> {
    let path = (":path", "/open/CASE");
    let with =
        |more: &[(&'static str, &'static str)]| [&[METHOD, SCHEME, AUTHORITY, path], more].concat();
    let at = |path: &'static str| vec![METHOD, SCHEME, AUTHORITY, (":path", path)];
    let under = |authority: &'static str| vec![METHOD, SCHEME, (":authority", authority), path];
    let by = |method: &'static str| vec![(":method", method), SCHEME, AUTHORITY, path];
    let scheme = |scheme: &'static str| vec![METHOD, (":scheme", scheme), AUTHORITY, path];
    let mut all = vec![
        (with(&[]), Some(200)),
        (with(&[("te", "trailers")]), Some(200)),
        (with(&[("cookie", "a=UNMISTAKABLE"), ("cookie", "b=2")]), Some(200)),
        (with(&[("host", "h")]), Some(200)),
        (vec![METHOD, SCHEME, path, ("host", "h")], Some(200)),
        // The library drops fragments before anybody sees them.
        (at("/open/CASE#f"), Some(200)),
        (at("/open/CASE?a#f"), Some(200)),
        (scheme(""), Some(200)),
    ];
    let refused = [
        at("open/CASE"),
        at(""),
        at("*"),
        at("?CASE"),
        at("//open/CASE"),
        at("/open//CASE"),
        at("/open/../open/CASE"),
        at("/open/%2e%2e/CASE"),
        at("/open%2fCASE"),
        at("/open\\CASE"),
        at("/open/CASE b"),
        at("/open/CASE?a b"),
        at("/open/CASE\0"),
        at("/open/CASE?\0"),
        at("/open/CASE?\t"),
        at("/open/CASE?\u{e9}"),
        at("/open/CASE\r\nX-Injected: 1"),
        at("/open/CASE HTTP/1.1\r\nHost: h\r\n\r\nGET /CASE-hidden"),
        at("/open/CASE?a HTTP/1.1\r\nHost: h\r\n\r\nGET /CASE-hidden"),
        at("http://other/open/CASE"),
        at("http://h/open/CASE"),
        vec![SCHEME, AUTHORITY, path],
        vec![METHOD, AUTHORITY, path],
        vec![METHOD, SCHEME, AUTHORITY],
        vec![METHOD, SCHEME, path],
        vec![METHOD, METHOD, SCHEME, AUTHORITY, path],
        vec![METHOD, SCHEME, SCHEME, AUTHORITY, path],
        vec![METHOD, SCHEME, AUTHORITY, AUTHORITY, path],
        vec![METHOD, SCHEME, AUTHORITY, path, path],
        vec![METHOD, SCHEME, AUTHORITY, path, (":path", "/open/other")],
        vec![METHOD, SCHEME, AUTHORITY, ("x-first", "1"), path],
        with(&[(":status", "200")]),
        with(&[(":unknown", "1")]),
        with(&[(":", "1")]),
        with(&[(":protocol", "websocket")]),
        with(&[("host", "other")]),
        with(&[("host", "h"), ("host", "h")]),
        with(&[("host", "h"), ("host", "other")]),
        with(&[("host", "")]),
        vec![METHOD, SCHEME, path, ("host", "h"), ("host", "other")],
        vec![METHOD, SCHEME, path, ("host", "user@h")],
        vec![METHOD, SCHEME, path, ("host", "h/other")],
        under(""),
        under("user@h"),
        under("user:UNMISTAKABLE@h"),
        under("h/open"),
        under("h other"),
        under("h:port"),
        under("h:80:80"),
        under("h."),
        under("h\r\nX-Injected: 1"),
        under("h\0"),
        under("h,other"),
        by(""),
        by("get"),
        by("TRACE"),
        by("CONNECT"),
        by("PRI"),
        by("GET / HTTP/1.1\r\nHost: h\r\n\r\nGET"),
        by("GET /CASE-hidden"),
        vec![(":method", "CONNECT"), (":authority", "h:443")],
        vec![(":method", "CONNECT"), (":protocol", "websocket"), SCHEME, AUTHORITY, path],
        scheme("http://h/open/hidden"),
        scheme("ht tp"),
        scheme("http\r\nX-Injected: 1"),
        with(&[("connection", "close")]),
        with(&[("connection", "x-organization-id")]),
        with(&[("keep-alive", "timeout=5")]),
        with(&[("proxy-connection", "close")]),
        with(&[("transfer-encoding", "chunked")]),
        with(&[("transfer-encoding", "identity")]),
        with(&[("upgrade", "websocket")]),
        with(&[("upgrade", "h2c")]),
        with(&[("te", "gzip")]),
        with(&[("te", "trailers, gzip")]),
        with(&[("X-Upper", "1")]),
        with(&[("Content-Length", "4")]),
        with(&[("Transfer-Encoding", "chunked")]),
        with(&[("", "1")]),
        with(&[("x y", "1")]),
        with(&[("x:y", "1")]),
        with(&[("x\ny", "1")]),
        with(&[("x\0y", "1")]),
        with(&[("x\u{e9}", "1")]),
        with(&[("x-injected", "1\r\nX-Organization-Id: 2")]),
        with(&[("x-injected", "1\nX-Organization-Id: 2")]),
        with(&[("x-injected", "1\r")]),
        with(&[("x-injected", "1\0")]),
        with(&[("x-injected: 1\r\nx-organization-id", "2")]),
        with(&[("content-length", "4")]),
        with(&[("content-length", "0"), ("content-length", "4")]),
        with(&[("content-length", "+0")]),
        with(&[("content-length", "0, 0")]),
        with(&[("content-length", "-0")]),
        with(&[("content-length", "0x0")]),
        with(&[("content-length", "")]),
        with(&[("content-length", "99999999999999999999")]),
        with(&[("expect", "other")]),
    ];
    all.extend(refused.into_iter().map(|head| (head, None)));
    all
}

#[tokio::test]
async fn a_head_of_http2_has_one_reading_or_none() {
    let wire = Wire::start(EDGE).await;
    let mut wrong = Vec::new();
    for (number, (head, served)) in heads().into_iter().enumerate() {
        let case = format!("stream{number}.");
        let named: Vec<(&str, String)> =
            head.iter().map(|(name, value)| (*name, value.replace("CASE", &case))).collect();
        let mut fields: Vec<(&str, &str)> =
            named.iter().map(|(name, value)| (*name, value.as_str())).collect();
        fields.push(("x-case", &case));
        let mut client = Client::connect(wire.to()).await;
        client.head(1, &fields, true).await;
        let status = client.outcome(1).await;
        let seen = wire.upstream.requests(&case);
        let right = match served {
            Some(served) => status == Some(served) && seen.len() == 1,
            None => {
                status.is_none_or(|status| (400..500).contains(&status))
                    && !wire.upstream.has_heard(&case)
            }
        };
        if !right {
            wrong.push(format!("{status:?} {seen:?}: {head:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    wire.finish().await;
}

/// A head with a body, to a table or to a service that gets what comes.
fn post<'a>(
    path: &'a str,
    bearer: &'a str,
    more: &[(&'a str, &'a str)],
) -> Vec<(&'a str, &'a str)> {
    let head = [(":method", "POST"), SCHEME, AUTHORITY, (":path", path)];
    let rest = [("authorization", bearer), ("content-type", "application/json")];
    [&head, rest.as_slice(), more].concat()
}

#[tokio::test]
async fn a_body_over_http2_reaches_the_upstream_whole_or_not_at_all() {
    let wire = Wire::start(EDGE).await;
    let bearer = format!("Bearer {}", wire.token);
    let body = format!("[{{\"title\":\"{MARK}\"}},{{\"title\":\"second\"}}]");
    let length = body.len().to_string();
    let half = body.len() / 2;
    let (first, second) = body.as_bytes().split_at(half);
    for path in ["/rest/v1/events", "/named/flows"] {
        let held = path.starts_with("/rest");
        let sent = if held { "/events" } else { "/flows" };
        for more in [&[][..], &[("content-length", length.as_str())]] {
            let before = wire.upstream.requests(sent).len();
            let mut client = Client::connect(wire.to()).await;
            client.head(1, &post(path, &bearer, more), false).await;
            client.data(1, first, false).await;
            client.data(1, b"", false).await;
            client.data(1, second, true).await;
            assert_eq!(client.outcome(1).await, Some(200), "{path}");
            let seen = wire.upstream.requests(sent);
            assert_eq!(seen.len(), before + 1, "{path}");
            let said = String::from_utf8_lossy(&seen[before].body).into_owned();
            assert_eq!(said.matches("organization_id").count(), if held { 2 } else { 0 }, "{said}");
            assert!(said.contains("second"), "{said}");
        }
        // Trailers go nowhere.
        for trailer in
            [("x-user-id", "spoofed"), ("content-length", "9"), (":path", "/CASE-hidden")]
        {
            let before = wire.upstream.requests(sent).len();
            let mut client = Client::connect(wire.to()).await;
            client.head(1, &post(path, &bearer, &[]), false).await;
            client.data(1, body.as_bytes(), false).await;
            client.head(1, &[trailer], true).await;
            let status = client.outcome(1).await;
            drop(client);
            wire.comes_to_rest().await;
            let seen = wire.upstream.requests(sent).len() - before;
            assert_eq!(seen, usize::from(status == Some(200)), "{path} {trailer:?}: {status:?}");
            assert!(!wire.upstream.has_heard(trailer.1) || trailer.1 == "9", "{path} {trailer:?}");
        }
        // Bodies that are not what their head says, or do not come to their end.
        let quiet = if held { path } else { "/named/quiet" };
        for (case, length, ends) in [
            ("too short", "999", true),
            ("too long", "9", true),
            ("too long at once", "1", false),
            ("odd length", "+9", true),
            ("reset", "", false),
            ("gone", "", false),
        ] {
            let more = [("content-length", length)];
            let more = if length.is_empty() { &[][..] } else { &more };
            let before = wire.upstream.requests("").len();
            let mut client = Client::connect(wire.to()).await;
            client.head(1, &post(quiet, &bearer, more), false).await;
            client.data(1, first, false).await;
            if case == "reset" {
                client.reset(1).await;
            }
            if case == "gone" {
                drop(client);
            } else {
                client.data(1, second, ends).await;
                let status = if case == "reset" { None } else { client.outcome(1).await };
                assert!(status.is_none_or(|status| status >= 400), "{path} {case}: {status:?}");
                drop(client);
            }
            wire.comes_to_rest().await;
            assert_eq!(wire.upstream.requests("").len(), before, "{path} {case}");
            let heads = wire.upstream.count("/events");
            assert!(!held || heads == wire.upstream.requests("/events").len(), "{path} {case}");
        }
    }
    wire.finish().await;
}

#[tokio::test]
async fn a_flood_of_frames_costs_the_flooder_its_connection_and_nobody_else() {
    let wire = Wire::start(EDGE).await;
    let get = |path: &'static str| block(&[METHOD, SCHEME, AUTHORITY, (":path", path)]);
    let whole = END_HEADERS | END_STREAM;
    let large = "x".repeat(16_000);
    let many: Vec<(String, &str)> = (0..200).map(|n| (format!("x-{n}"), "1")).collect();
    let many: Vec<(&str, &str)> =
        many.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let mut floods: Vec<(&str, Vec<u8>)> = Vec::new();
    let resets = (0..5_000_u32).flat_map(|n| {
        let stream = 2 * n + 1;
        [
            frame(HEADERS, whole, stream, &get("/open/hang-reset")),
            frame(3, 0, stream, &8_u32.to_be_bytes()),
        ]
        .concat()
    });
    floods.push(("resets", resets.collect()));
    let broken = (0..5_000_u32).flat_map(|n| {
        // An update by nothing makes the server reset the stream.
        let stream = 2 * n + 1;
        [
            frame(HEADERS, whole, stream, &get("/open/hang-made-to-reset")),
            frame(WINDOW_UPDATE, 0, stream, &[0; 4]),
        ]
        .concat()
    });
    floods.push(("made to reset", broken.collect()));
    let start = frame(HEADERS, END_STREAM, 1, &get("/open/continued"));
    let more = frame(CONTINUATION, 0, 1, &block(&[("x-more", &large)]));
    floods.push(("continuations", [start.clone(), more.repeat(1_000)].concat()));
    let none = frame(CONTINUATION, 0, 1, &[]);
    floods.push(("empty continuations", [start, none.repeat(20_000)].concat()));
    floods.push(("pings", frame(PING, 0, 0, &[0; 8]).repeat(20_000)));
    floods.push(("settings", frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]).repeat(20_000)));
    let update = frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes());
    floods.push(("window updates", update.repeat(2)));
    floods.push(("a frame that is too large", frame(HEADERS, whole, 1, &[0; 20_000])));
    floods.push(("an even stream", frame(HEADERS, whole, 2, &get("/open/even"))));
    floods.push(("data before a head", frame(0, END_STREAM, 1, b"abcd")));
    floods.push(("a bad table index", frame(HEADERS, whole, 1, &[0xff, 0xff, 0x7f])));
    let empty = frame(
        HEADERS,
        END_HEADERS,
        1,
        &block(&[(":method", "POST"), SCHEME, AUTHORITY, (":path", "/open/empties")]),
    );
    floods.push(("empty data", [empty, frame(0, 0, 1, b"").repeat(20_000)].concat()));
    for (name, bytes) in floods {
        let mut client = Client::connect(wire.to()).await;
        client.send(&bytes).await;
        // While it goes on, others are served.
        let served = http::get(wire.to(), "/open/between", &[]).await;
        assert_eq!(served.unwrap().status, 200, "{name}");
        assert!(wire.metric("tollgate_requests_in_flight").await <= 300.0, "{name}");
        drop(client);
        wire.comes_to_rest().await;
    }
    // Open streams are bounded: what is beyond is refused and does not reach the upstream.
    let mut client = Client::connect(wire.to()).await;
    for n in 0..200_u32 {
        client.send(&frame(HEADERS, whole, 2 * n + 1, &get("/open/hang-many"))).await;
    }
    let mut refused = 0;
    while refused < 100 {
        let frame = client.next().await.unwrap();
        assert_ne!(frame.kind, GOAWAY);
        refused += usize::from(frame.kind == 3 && frame.payload == 7_u32.to_be_bytes());
    }
    eventually("a hundred streams upstream", async || {
        (wire.upstream.requests("/hang-many").len() == 100).then_some(())
    })
    .await;
    drop(client);
    // Heads over the caps have a status; far over them they have none.
    for (fields, status) in [(&[("x-large", large.as_str()); 3][..], 431), (&many, 431)] {
        let mut client = Client::connect(wire.to()).await;
        let head = [&[METHOD, SCHEME, AUTHORITY, (":path", "/open/large")], fields].concat();
        let block = block(&head);
        let (first, rest) = block.split_at(block.len().min(16_384));
        let last = if rest.is_empty() { END_HEADERS } else { 0 };
        client.send(&frame(HEADERS, END_STREAM | last, 1, first)).await;
        let mut parts = rest.chunks(16_384).peekable();
        while let Some(part) = parts.next() {
            let last = if parts.peek().is_none() { END_HEADERS } else { 0 };
            client.send(&frame(CONTINUATION, last, 1, part)).await;
        }
        assert_eq!(client.outcome(1).await, Some(status));
    }
    assert!(!wire.upstream.has_heard("/large"));
    wire.finish().await;
}
