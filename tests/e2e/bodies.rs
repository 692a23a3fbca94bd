//! Bodies through the running gateway: large ones, ones in other languages than JSON, and ones
//! that must not reach the database at all.

use std::fmt::Write;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::fixture::{ACME, ALICE, Contents, GLOBEX};
use crate::support::http::{self, Answer};
use crate::support::stack::{Options, Stack, token};

const EVENTS: &str = "/rest/v1/events";

async fn post(stack: &Stack, media: &str, more: &[(&str, &str)], body: &[u8]) -> Answer {
    let bearer = format!("Bearer {}", token(ALICE));
    let fields = [&[("Authorization", bearer.as_str()), ("Content-Type", media)], more].concat();
    http::send(stack.gateway.listen(), "POST", EVENTS, &fields, body).await.unwrap()
}

/// An array of so many rows, of which the last may say more.
fn rows(count: usize, last: &str) -> String {
    let mut body = String::from("[");
    for n in 1..count {
        write!(body, "{{\"title\":\"bulk row {n}\",\"capacity\":{n}}},").unwrap();
    }
    write!(body, "{{\"title\":\"the last\",\"capacity\":0{last}}}]").unwrap();
    body
}

#[tokio::test]
async fn ten_thousand_rows_belong_to_the_callers_organization_or_none_is_written() {
    let stack = Stack::start(&Options::default()).await;
    let before = Contents::of(&stack.postgres).await;
    let escape = rows(10_000, &format!(",\"organization_id\":\"{}\"", GLOBEX.id));
    let broken = rows(10_000, ",");
    let twice = rows(10_000, ",\"title\":\"again\"");
    for (body, status) in [(&escape, 403), (&broken, 400), (&twice, 400)] {
        let answer = post(&stack, "application/json", &[], body.as_bytes()).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(Contents::of(&stack.postgres).await, before);
    }
    let answer = post(&stack, "application/json", &[], rows(10_000, "").as_bytes()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let after = Contents::of(&stack.postgres).await;
    assert_eq!(after.rows("events", ACME).len(), before.rows("events", ACME).len() + 10_000);
    assert_eq!(after.without(ACME), before.without(ACME));
}

#[tokio::test]
async fn csv_and_forms_are_written_as_postgrest_would_write_them() {
    let stack = Stack::start(&Options::default()).await;
    let others = Contents::of(&stack.postgres).await.without(ACME);
    let representation = [("Prefer", "return=representation")];
    let csv = "title,capacity,starts_at\n\"one, \"\"two\"\"\",1,NULL\nthree,2,2026-05-01\n";
    let form = "title=a+b%26c&capacity=3";
    let mut titles = Vec::new();
    for (media, body) in [("text/csv", csv), ("application/x-www-form-urlencoded", form)] {
        let answer = post(&stack, media, &representation, body.as_bytes()).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        for row in answer.json().as_array().unwrap() {
            assert_eq!(row["organization_id"], ACME.id, "{row}");
            titles.push(row["title"].clone());
        }
    }
    assert_eq!(titles, [json!("one, \"two\""), json!("three"), json!("a b&c")]);
    for (media, more, body, status) in [
        ("text/csv", &[][..], format!("title,organization_id\nx,{}\n", GLOBEX.id), 403),
        ("text/csv", &[], "title,title\nx,y\n".to_owned(), 400),
        (
            "application/x-www-form-urlencoded",
            &[],
            format!("title=x&organization_id={}", GLOBEX.id),
            403,
        ),
        ("application/x-www-form-urlencoded", &[], "title=x;capacity=1".to_owned(), 400),
        ("text/plain", &[], "{\"title\":\"x\"}".to_owned(), 415),
        ("application/json", &[("Content-Encoding", "gzip")], "{}".to_owned(), 415),
        ("application/json", &[("Content-Type", "text/csv")], "{}".to_owned(), 415),
        ("application/json", &[], "\u{feff}{}".to_owned(), 400),
    ] {
        let answer = post(&stack, media, more, body.as_bytes()).await;
        assert_eq!(answer.status, status, "{media} {body}: {}", answer.text());
    }
    let after = Contents::of(&stack.postgres).await;
    assert_eq!(after.without(ACME), others);
    assert_eq!(after.rows("events", ACME).len(), 3 + titles.len());
}

#[tokio::test]
async fn what_is_too_large_or_breaks_off_is_not_written() {
    let stack = Stack::start(&Options::default()).await;
    let before = Contents::of(&stack.postgres).await;
    // The route's cap is 1 MiB; the announced length is looked at before a byte is read.
    let large = format!("[{{\"title\":\"x\"}}{}]", " ".repeat(1 << 20));
    let answer = post(&stack, "application/json", &[], large.as_bytes()).await;
    assert_eq!((answer.status, &answer.json()["code"]), (413, &Value::from("body_too_large")));
    let chunked = format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
    // Without one, what is more than the gateway can take whole is not taken.
    let answer = broken_off(&stack, &chunked).await;
    assert!(answer.starts_with("HTTP/1.1 411"), "{answer}");
    // A whole row has arrived, the end of the body has not; PostgREST would take it for whole.
    for sent in ["f\r\n{\"title\":\"x\"} \r\n", "f\r\n[{\"title\":\"x\"}]", "f\r\n[{\"title\""] {
        let answer = broken_off(&stack, sent).await;
        assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
    }
    assert_eq!(Contents::of(&stack.postgres).await, before);
    assert!(!stack.postgrest.log().contains("POST"), "{}", stack.postgrest.log());
}

#[tokio::test]
async fn a_chunked_body_is_written_when_it_is_whole() {
    let stack = Stack::start(&Options::default()).await;
    let before = Contents::of(&stack.postgres).await;
    for (size, body) in
        [(2, rows(2, "")), (700, rows(700, ""))].map(|(count, body)| (count, body.into_bytes()))
    {
        let mut chunked = Vec::new();
        for piece in body.chunks(body.len().div_ceil(7)) {
            chunked.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            chunked.extend_from_slice(piece);
            chunked.extend_from_slice(b"\r\n");
        }
        chunked.extend_from_slice(b"0\r\n\r\n");
        let more = [("Transfer-Encoding", "chunked")];
        let answer = post(&stack, "application/json", &more, &chunked).await;
        assert_eq!(answer.status, 201, "{size}: {}", answer.text());
    }
    let after = Contents::of(&stack.postgres).await;
    assert_eq!(after.rows("events", ACME).len(), before.rows("events", ACME).len() + 702);
    assert_eq!(after.without(ACME), before.without(ACME));
}

/// Sends a chunked body as far as it goes and hangs up; what came back.
async fn broken_off(stack: &Stack, body: &str) -> String {
    let mut stream = TcpStream::connect(stack.gateway.listen()).await.unwrap();
    let head = format!(
        "POST {EVENTS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{body}",
        token(ALICE)
    );
    // The gateway may answer and close before it has read everything.
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.shutdown().await;
    let mut back = Vec::new();
    let _ = stream.read_to_end(&mut back).await;
    String::from_utf8_lossy(&back).into_owned()
}
