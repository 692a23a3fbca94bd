//! What a connection does between and under requests.

use tokio::io::AsyncWriteExt;

use super::*;

const REST: Duration = Duration::from_secs(90);

fn pair(head_timeout: Duration) -> (tokio::io::DuplexStream, Stream) {
    let (client, server) = tokio::io::duplex(4096);
    let watched = Watched::new(Box::new(server), head_timeout, REST, Box::new(()));
    (client, Box::new(watched))
}

#[tokio::test(start_paused = true)]
async fn a_head_that_comes_in_drops_ends_with_408() {
    let (mut client, mut server) = pair(Duration::from_secs(10));
    let reader = tokio::spawn(async move {
        let mut buf = [0; 64];
        loop {
            if let Err(error) = server.read(&mut buf).await {
                return error.kind();
            }
        }
    });
    for _ in 0..5 {
        client.write_all(b"G").await.unwrap();
        tokio::time::advance(Duration::from_secs(3)).await;
    }
    assert_eq!(reader.await.unwrap(), io::ErrorKind::TimedOut);
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
    assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{answer}");
    assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_request_in_progress_and_an_idle_connection_are_not_timed_by_the_head() {
    let (mut client, mut server) = pair(Duration::from_secs(10));
    let mut buf = [0; 4];
    client.write_all(b"head").await.unwrap();
    server.read_exact(&mut buf).await.unwrap();
    Watched::set_in_request(&server, true);
    tokio::time::advance(Duration::from_secs(60)).await;
    client.write_all(b"body").await.unwrap();
    server.read_exact(&mut buf).await.unwrap();
    Watched::set_in_request(&server, false);
    let waiting = tokio::spawn(async move {
        let mut buf = [0; 4];
        server.read_exact(&mut buf).await.map(|_| buf)
    });
    tokio::time::sleep(Duration::from_secs(60)).await;
    client.write_all(b"next").await.unwrap();
    assert_eq!(&waiting.await.unwrap().unwrap(), b"next");
}

#[tokio::test(start_paused = true)]
async fn a_connection_may_idle_after_a_request_that_read_nothing_but_its_head() {
    let (mut client, mut server) = pair(Duration::from_secs(10));
    let mut buf = [0; 4];
    client.write_all(b"head").await.unwrap();
    server.read_exact(&mut buf).await.unwrap();
    Watched::set_in_request(&server, true);
    Watched::set_in_request(&server, false);
    let waiting = tokio::spawn(async move {
        let mut buf = [0; 4];
        server.read_exact(&mut buf).await.map(|_| buf)
    });
    tokio::time::sleep(Duration::from_secs(60)).await;
    client.write_all(b"next").await.unwrap();
    assert_eq!(&waiting.await.unwrap().unwrap(), b"next");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_rests_for_too_long_ends_and_one_that_does_not_goes_on() {
    let (mut client, mut server) = pair(Duration::from_secs(10));
    let reader = tokio::spawn(async move {
        let (mut buf, mut requests) = ([0; 4], 0);
        while server.read(&mut buf).await.unwrap() > 0 {
            Watched::set_in_request(&server, true);
            requests += 1;
            Watched::set_in_request(&server, false);
        }
        requests
    });
    // Together far longer than one rest may be.
    for _ in 0..5 {
        client.write_all(b"head").await.unwrap();
        tokio::time::sleep(REST * 2 / 3).await;
    }
    tokio::time::sleep(REST / 4).await;
    assert!(!reader.is_finished());
    tokio::time::sleep(REST * 5 / 4).await;
    assert!(reader.is_finished());
    assert_eq!(reader.await.unwrap(), 5);
}

const HEAD: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

/// Reads what is there, as Pingora reads a head, and takes so many heads from it.
async fn heads(server: &mut Stream, count: usize) {
    let mut buf = [0; 4096];
    assert!(server.read(&mut buf).await.unwrap() > 0);
    for _ in 0..count {
        Watched::set_in_request(server, true);
        Watched::set_in_request(server, false);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_rests_until_the_first_byte_of_the_next_request() {
    let (mut client, mut server) = pair(Duration::from_secs(10));
    for _ in 0..3 {
        client.write_all(HEAD).await.unwrap();
        heads(&mut server, 1).await;
        let resting = tokio::spawn(Watched::rest(server));
        tokio::time::sleep(REST / 2).await;
        assert!(!resting.is_finished());
        client.write_all(b"GET").await.unwrap();
        server = resting.await.unwrap().unwrap();
        let mut buf = [0; 3];
        server.read_exact(&mut buf).await.unwrap();
        assert_eq!(&buf, b"GET");
        client.write_all(&HEAD[3..]).await.unwrap();
        heads(&mut server, 1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_read_ahead_is_not_waited_for() {
    for sent in [[HEAD, HEAD].concat(), [HEAD, b"GET"].concat(), [HEAD, b"\r\n"].concat()] {
        let (mut client, mut server) = pair(Duration::from_secs(10));
        client.write_all(&sent).await.unwrap();
        heads(&mut server, 1).await;
        let server = Watched::rest(server).await.unwrap();
        // Nor is anything later: nobody knows how much is left of what was read ahead.
        let mut server = Watched::rest(server).await.unwrap();
        client.write_all(HEAD).await.unwrap();
        heads(&mut server, 1).await;
        assert!(Watched::rest(server).await.is_some());
    }
    let (mut client, mut server) = pair(Duration::from_secs(10));
    client.write_all(HEAD).await.unwrap();
    // Two heads can only come of one if the first was read before.
    heads(&mut server, 2).await;
    assert!(Watched::rest(server).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_connection_with_a_body_is_left_to_pingora() {
    let (mut client, mut server) = pair(Duration::from_secs(10));
    client.write_all(HEAD).await.unwrap();
    let mut buf = [0; 4096];
    assert!(server.read(&mut buf).await.unwrap() > 0);
    Watched::set_in_request(&server, true);
    client.write_all(b"body").await.unwrap();
    assert_eq!(server.read(&mut buf).await.unwrap(), 4);
    Watched::set_in_request(&server, false);
    assert!(Watched::rest(server).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_rest_ends_with_the_client_or_with_its_time() {
    let (mut client, mut server) = pair(Duration::from_secs(10));
    client.write_all(HEAD).await.unwrap();
    heads(&mut server, 1).await;
    let resting = tokio::spawn(Watched::rest(server));
    drop(client);
    assert!(resting.await.unwrap().is_none());
    let (mut client, mut server) = pair(Duration::from_secs(10));
    client.write_all(HEAD).await.unwrap();
    heads(&mut server, 1).await;
    assert!(Watched::rest(server).await.is_none());
}

#[test]
fn a_request_line_that_pingora_would_repair_is_odd_however_it_is_cut() {
    for (lines, odd) in [
        (&["GET / HTTP/1.1\r\n"][..], false),
        (&["\r\n", "GE", "T / HT", "TP/1.1\r\nA: b c d\r\n"], false),
        (&["GET /a b HTTP/1.1\r\n"], true),
        (&["GET  / HTTP/1.1\r\n"], true),
        (&["GET ", "/ ", "x HTTP/1.1", "\r\n"], true),
        (&["GET /\r\n"], true),
        (&["GET / HTTP/1.1\n"], true),
        (&["GET / HTTP/1.1", "\r", "\n"], false),
        (&["GET / HTTP/1.1\r\r\n"], true),
        (&["GET /?a\r", "b HTTP/1.1\r\n"], true),
        (&["GET /?a\0b HTTP/1.1\r\n"], true),
        (&["GET /?a\tb HTTP/1.1\r\n"], true),
    ] {
        let mut line = RequestLine::default();
        let found = lines.iter().fold(false, |odd, piece| odd | line.take(piece.as_bytes()));
        assert_eq!(found, odd, "{lines:?}");
    }
}

#[tokio::test]
async fn pingoras_own_answer_to_a_bad_head_is_replaced_and_no_other() {
    let (mut client, mut server) = pair(Duration::from_secs(10));
    server.write_all(b"HTTP/1.1 400 Bad Request\r\nServer: Pingora\r\n\r\n").await.unwrap();
    drop(server);
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(!answer.contains("Pingora"), "{answer}");
    assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{answer}");

    let (mut client, mut server) = pair(Duration::from_secs(10));
    Watched::set_in_request(&server, true);
    server.write_all(b"HTTP/1.1 400 mine\r\n\r\n").await.unwrap();
    drop(server);
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("mine"), "{answer}");
}

#[tokio::test]
async fn a_short_http1_request_is_told_from_http2_without_waiting_for_more() {
    let (mut client, mut server) = pair(Duration::from_secs(10));
    client.write_all(b"GET /").await.unwrap();
    let mut peeked = [0; 24];
    assert!(server.try_peek(&mut peeked).await.unwrap());
    assert_ne!(peeked, *PREFACE);
    let mut buf = [0; 5];
    server.read_exact(&mut buf).await.unwrap();
    assert_eq!(&buf, b"GET /", "what was looked at is read again");
}

#[tokio::test]
async fn the_http2_preface_is_recognised_and_read_again() {
    let (mut client, mut server) = pair(Duration::from_secs(10));
    client.write_all(PREFACE).await.unwrap();
    let mut peeked = [0; 24];
    assert!(server.try_peek(&mut peeked).await.unwrap());
    assert_eq!(peeked, *PREFACE);
    let mut buf = [0; 24];
    server.read_exact(&mut buf).await.unwrap();
    assert_eq!(buf, *PREFACE);
}
