//! Clients that vanish, wherever they are: nothing of them is left.

use std::time::Duration;

use socket2::SockRef;
use tokio::io::AsyncReadExt;
use tokio::task::JoinSet;

use super::{EDGE, MARK, Wire, connect, write};
use crate::support::{eventually, http};

/// What an organization may have at work: the places must all come back.
const PLACES: usize = 8;

/// How far clients come, by the bytes that they send.
fn ends(token: &str) -> Vec<String> {
    let head = |line: &str| {
        format!(
            "{line} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\nCookie: a={MARK}\r\n\
             Content-Type: application/json\r\n"
        )
    };
    vec![
        String::new(),
        "GET".to_owned(),
        head("GET /open/gone"),
        format!("{}Content-Length: 100\r\n\r\n", head("POST /open/gone")),
        format!("{}Content-Length: 100\r\n\r\n{{\"a\":", head("POST /open/gone")),
        format!(
            "{}Content-Length: 100\r\n\r\n{{\"title\":\"gone-{MARK}",
            head("POST /rest/v1/events")
        ),
        format!("{}Transfer-Encoding: chunked\r\n\r\n4\r\n{{\"ti", head("POST /rest/v1/events")),
        format!("{}Transfer-Encoding: chunked\r\n\r\n4\r\nab", head("POST /open/gone")),
        format!("{}Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n", head("POST /open/gone")),
        format!("{}Expect: 100-continue\r\nContent-Length: 100\r\n\r\n", head("POST /open/gone")),
        format!("{}\r\n", head("GET /open/hang")),
        format!("{}\r\n", head("GET /named/hang")),
        format!("{}Content-Length: 4\r\n\r\nabcd", head("POST /named/hang")),
        format!("{}\r\n", head("GET /open/halfway")),
        format!("{}\r\n", head("GET /named/halfway")),
        format!("{0}\r\n{0}\r\n{0}\r\n", head("GET /named/hang")),
        format!("{}\r\nGET /open", head("GET /open/soon")),
        format!(
            "{}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\nframes",
            head("GET /socket")
        ),
    ]
}

#[tokio::test]
async fn nothing_is_left_of_clients_that_vanish() {
    nothing_is_left("requests_per_organization").await;
}

#[tokio::test]
async fn the_places_of_a_user_are_free_again_too() {
    nothing_is_left("requests_per_user").await;
}

async fn nothing_is_left(key: &str) {
    let edge = EDGE.replace(&format!("{key}: 4096"), &format!("{key}: {PLACES}"));
    let wire = Wire::start(&edge).await;
    let ends = ends(&wire.token);
    let mut vanished = 0;
    for round in 0..20_usize {
        let mut clients = JoinSet::new();
        for (number, bytes) in ends.iter().cloned().enumerate() {
            let to = wire.to();
            clients.spawn(async move {
                let mut stream = connect(to).await;
                write(&mut stream, bytes.as_bytes()).await;
                if (round + number) % 3 > 0 {
                    // Some see the beginning of an answer.
                    let mut some = [0; 1024];
                    let read = stream.read(&mut some);
                    let _ = tokio::time::timeout(Duration::from_millis(20), read).await;
                }
                if (round + number).is_multiple_of(2) {
                    // A reset instead of an orderly end.
                    let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                }
            });
        }
        vanished += clients.join_all().await.len();
    }
    assert!(vanished >= 300, "{vanished}");
    wire.comes_to_rest().await;
    // What is left are connections that are kept for the next request.
    let kept = ends.len();
    eventually("the end of requests that nobody waits for", async || {
        (wire.upstream.open() <= kept).then_some(())
    })
    .await;
    assert!(!wire.upstream.has_heard("gone-"), "a body that did not come to its end was sent on");

    // All places are free again, and there are no more than before.
    let bearer = format!("Bearer {}", wire.token);
    let mut hanging = Vec::new();
    for _ in 0..PLACES {
        let mut stream = connect(wire.to()).await;
        let head =
            format!("GET /named/hang-last HTTP/1.1\r\nHost: h\r\nAuthorization: {bearer}\r\n\r\n");
        write(&mut stream, head.as_bytes()).await;
        hanging.push(stream);
    }
    eventually("all places taken", async || {
        (wire.upstream.requests("/hang-last").len() == PLACES).then_some(())
    })
    .await;
    let more = http::get(wire.to(), "/named/more", &[("Authorization", &bearer)]).await.unwrap();
    assert_eq!(more.status, 429, "{}", more.text());
    drop(hanging);
    wire.comes_to_rest().await;
    let again = http::get(wire.to(), "/named/again", &[("Authorization", &bearer)]).await.unwrap();
    assert_eq!(again.status, 200, "{}", again.text());
    wire.finish().await;
}
