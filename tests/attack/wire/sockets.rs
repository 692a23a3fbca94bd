//! WebSockets: who may open how many, when they end, and that a reload leaves them alone.

use serde_json::json;
use tokio::io::{AsyncReadExt, BufReader};
use tokio::net::TcpStream;

use super::{Wire, connect, write};
use crate::support::eventually;
use crate::support::fixture::{ALICE, BOB, CAROL};
use crate::support::http;
use crate::support::keys::{Key, now_secs};
use crate::support::stack::{USER_SECRET, claims};

/// A token of a session that ends so many seconds from now.
fn token_of(user: &str, session: &str, seconds: u64) -> String {
    let mut claims = claims(user);
    claims["session_id"] = json!(session);
    claims["exp"] = json!(now_secs() + seconds);
    Key::hs256("users", USER_SECRET).mint(&claims)
}

/// A handshake, and its answer's status.
async fn open(wire: &Wire, path: &str, token: &str) -> (BufReader<TcpStream>, u16) {
    let mut socket = connect(wire.to()).await;
    let head = format!(
        "GET /socket/{path} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
         Authorization: Bearer {token}\r\n\r\n"
    );
    write(&mut socket, head.as_bytes()).await;
    let mut back = BufReader::new(socket);
    let status = http::answer(&mut back, true).await.unwrap().status;
    (back, status)
}

/// A request with a token, which counts.
async fn refreshed(wire: &Wire, token: &str) {
    let bearer = format!("Bearer {token}");
    let headers = [("Authorization", bearer.as_str())];
    let answer = http::get(wire.to(), "/named/refreshed", &headers).await.unwrap();
    assert_eq!(answer.status, 200);
}

/// Whether bytes still reach the upstream.
async fn speaks(wire: &Wire, socket: &mut BufReader<TcpStream>, text: &str) {
    write(socket.get_mut(), text.as_bytes()).await;
    eventually("the bytes upstream", async || wire.upstream.has_heard(text).then_some(())).await;
}

/// Waits until the gateway closes.
async fn closed(socket: &mut BufReader<TcpStream>) {
    let mut rest = Vec::new();
    let reading = socket.read_to_end(&mut rest);
    let ended = tokio::time::timeout(crate::support::PATIENCE, reading).await;
    assert!(ended.is_ok(), "never closed");
    assert!(rest.is_empty(), "{}", rest.escape_ascii());
}

async fn gauge(wire: &Wire, wanted: f64) {
    eventually("the gauge of WebSockets", async || {
        (wire.metric("tollgate_websockets_open").await == wanted).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_socket_ends_with_its_token_unless_the_session_goes_on() {
    let wire = Wire::start(super::EDGE).await;
    // The grace of the route is one second.
    let (mut left, status) = open(&wire, "left", &token_of(ALICE, "left", 2)).await;
    assert_eq!(status, 101);
    let (mut kept, status) = open(&wire, "kept", &token_of(ALICE, "kept", 2)).await;
    assert_eq!(status, 101);
    speaks(&wire, &mut left, "left-speaks").await;
    gauge(&wire, 2.0).await;
    // A newer token of the session; one of another user that claims the session changes nothing.
    refreshed(&wire, &token_of(ALICE, "kept", 600)).await;
    refreshed(&wire, &token_of(BOB, "left", 600)).await;
    closed(&mut left).await;
    // It was opened later, and would have ended by the end of this one.
    let (mut marker, _) = open(&wire, "marker", &token_of(ALICE, "marker", 2)).await;
    closed(&mut marker).await;
    speaks(&wire, &mut kept, "kept-speaks").await;
    gauge(&wire, 1.0).await;
    drop(kept);
    gauge(&wire, 0.0).await;
    wire.finish().await;
}

#[tokio::test]
async fn a_user_and_an_organization_have_as_many_sockets_as_the_route_lets_them() {
    let wire = Wire::start(super::EDGE).await;
    let token = token_of(ALICE, "many", 600);
    let mut sockets = Vec::new();
    for number in 0..3 {
        let (socket, status) = open(&wire, &format!("few/{number}"), &token).await;
        assert_eq!(status, 101);
        sockets.push(socket);
    }
    assert_eq!(open(&wire, "few/3", &token).await.1, 429);
    // Others are not affected, and a place comes back when a socket is closed.
    let (bob, status) = open(&wire, "few/bob", &token_of(BOB, "bob", 600)).await;
    assert_eq!(status, 101);
    sockets.pop();
    eventually("a place", async || (open(&wire, "few/4", &token).await.1 == 101).then_some(()))
        .await;
    drop((sockets, bob));
    gauge(&wire, 0.0).await;
    wire.finish().await;
}

#[tokio::test]
async fn a_socket_on_which_nobody_speaks_is_closed() {
    let wire = Wire::start(super::EDGE).await;
    let (mut silent, status) = open(&wire, "silent/x", &token_of(ALICE, "silent", 600)).await;
    assert_eq!(status, 101);
    closed(&mut silent).await;
    gauge(&wire, 0.0).await;
    wire.finish().await;
}

#[tokio::test]
async fn a_socket_ends_when_its_handshake_would_pass_no_more() {
    let wire = Wire::start(super::EDGE).await;
    // The token ends first: what a handshake says about time is not asked again.
    let of = |user: &str| token_of(user, user, 600);
    let (mut left, status) = open(&wire, "checked/left", &of(ALICE)).await;
    assert_eq!(status, 101);
    let (mut kept, status) = open(&wire, "checked/kept", &of(CAROL)).await;
    assert_eq!(status, 101);
    let (mut brief, status) = open(&wire, "checked/brief", &token_of(CAROL, "brief", 1)).await;
    assert_eq!(status, 101);
    refreshed(&wire, &token_of(CAROL, "brief", 600)).await;

    // A member leaves.
    let directory = std::fs::read_to_string(wire.gateway.dir().join("directory.yaml")).unwrap();
    let line = directory.lines().find(|line| line.contains(ALICE)).unwrap();
    wire.gateway.write("directory.yaml", &directory.replace(&format!("{line}\n"), ""));
    closed(&mut left).await;
    let logged = "a WebSocket ends: it would not be let in any more";
    eventually("the reason in the log", async || wire.gateway.log().contains(logged).then_some(()))
        .await;
    speaks(&wire, &mut kept, "kept-speaks").await;
    speaks(&wire, &mut brief, "brief-speaks").await;

    // The policy asks for more.
    let policy = std::fs::read_to_string(wire.gateway.dir().join("policy.yaml")).unwrap();
    let (before, after) = policy.split_once("name: checked-sockets").unwrap();
    let after = after.replacen("credential: user", "credential: service", 1);
    wire.gateway.write("policy.yaml", &format!("{before}name: checked-sockets{after}"));
    closed(&mut kept).await;
    closed(&mut brief).await;
    gauge(&wire, 0.0).await;
    wire.finish().await;
}

#[tokio::test]
async fn a_thousand_sockets_outlive_a_reload() {
    let wire = Wire::start(super::EDGE).await;
    let mut sockets = Vec::new();
    for number in 0..1_000 {
        let token = token_of(ALICE, &format!("session-{number}"), 600);
        let (socket, status) = open(&wire, &format!("all/{number}"), &token).await;
        assert_eq!(status, 101, "{number}");
        sockets.push(socket);
    }
    gauge(&wire, 1_000.0).await;
    let policy = std::fs::read_to_string(wire.gateway.dir().join("policy.yaml")).unwrap();
    wire.gateway
        .write("policy.yaml", &policy.replace("path: '/unswitched/{path*}'", "path: /gone"));
    eventually("the new policy", async || {
        (wire.get("/unswitched/x").await.status == 404).then_some(())
    })
    .await;
    for (number, socket) in sockets.iter_mut().enumerate() {
        write(socket.get_mut(), format!("<after-{number}>").as_bytes()).await;
    }
    eventually("the word of every socket", async || {
        (wire.upstream.count("<after-") == sockets.len()).then_some(())
    })
    .await;
    assert_eq!(wire.metric("tollgate_websockets_open").await, 1_000.0);
    drop(sockets);
    gauge(&wire, 0.0).await;
    // Not `finish`: a thousand tokens are many secrets to look for.
    wire.comes_to_rest().await;
    assert_eq!(wire.upstream.flaws(), Vec::<String>::new());
}
