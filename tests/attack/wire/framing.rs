//! Where a request ends: no two readings of it, and no second request hidden in the first.

use Reading::{Body, Refused, Swallowed};

use super::{EDGE, MARK, Wire, statuses, talk, talk_in_pieces};
use crate::support::http::Answer;
use crate::support::recorder::Recorded;

/// A second request, where a body may or may not be.
fn hidden(case: &str) -> String {
    format!("GET /open/{case}-hidden HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
}

/// Framing that is refused, whatever stands behind it.
fn ambiguous() -> Vec<String> {
    let mut all = Vec::new();
    let length = "Content-Length: 4\r\n";
    // Beside a length, no spelling of a transfer coding is anything but refused.
    for coding in [
        "Transfer-Encoding: chunked\r\n",
        "transfer-encoding: chunked\r\n",
        "TRANSFER-ENCODING: CHUNKED\r\n",
        "Transfer-Encoding:chunked\r\n",
        "Transfer-Encoding:\tchunked\r\n",
        "Transfer-Encoding:  chunked \t\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: \r\n",
        "Transfer-Encoding:\r\n",
    ] {
        all.push(format!("{length}{coding}"));
        all.push(format!("{coding}{length}"));
        all.push(format!("{length}X-Between: 1\r\n{coding}"));
        all.push(format!("{coding}X-Between: 1\r\n{length}"));
    }
    // With a length and without one.
    for coding in [
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding\t: chunked\r\n",
        " Transfer-Encoding: chunked\r\n",
        "\tTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: identity, chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: chunked,\r\n",
        "Transfer-Encoding: ,chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunkedx\r\n",
        "Transfer-Encoding: chunked;q=1\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: 'chunked'\r\n",
        "Transfer-Encoding: chunk\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
        "Transfer-Encoding: chunked\x0b\r\n",
        "Transfer-Encoding: \x0cchunked\r\n",
        "Transfer-Encoding: chunked\x00\r\n",
        "Transfer-Encoding\x00: chunked\r\n",
        "Transfer-Encoding: chun\x00ked\r\n",
        "Transfer-Encoding: \u{a0}chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: identity\r\ntransfer-encoding: chunked\r\n",
        "Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "Transfer-Encoding:\r\n\tchunked\r\n",
        "Transfer-Encoding: x\r\n chunked\r\n",
        "X-Folded: x\r\n Transfer-Encoding: chunked\r\n",
        "X-Folded: x\r\n\tTransfer-Encoding: chunked\r\n",
        "X: y\nTransfer-Encoding: chunked\r\n",
        "X: y\rTransfer-Encoding: chunked\r\n",
        "X: y\r\rTransfer-Encoding: chunked\r\n",
        "X: y\n\rTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\n",
        "Transfer-Encoding: chunked\r\r\n",
        "Transfer-Encoding: chunked\rX: y\r\n",
        "X: \x00y\r\nTransfer-Encoding: chunked\r\n",
        ": chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer\u{2011}Encoding: chunked\r\n",
        "Transfer Encoding: chunked\r\nX: y\r\n",
    ] {
        all.push(coding.to_owned());
        all.push(format!("{length}{coding}"));
        all.push(format!("{coding}{length}"));
    }
    for lengths in [
        "Content-Length: 4\r\nContent-Length: 5\r\n",
        "Content-Length: 4\r\nContent-Length: 4\r\n",
        "Content-Length: 4\r\ncontent-length: 0\r\n",
        "Content-Length: 4, 4\r\n",
        "Content-Length: 4, 5\r\n",
        "Content-Length: 4,\r\n",
        "Content-Length: +4\r\n",
        "Content-Length: -4\r\n",
        "Content-Length: -0\r\n",
        "Content-Length: 0x4\r\n",
        "Content-Length: 4.0\r\n",
        "Content-Length: 4e0\r\n",
        "Content-Length: 4 4\r\n",
        "Content-Length: 4;\r\n",
        "Content-Length: \"4\"\r\n",
        "Content-Length: four\r\n",
        "Content-Length: \u{664}\r\n",
        "Content-Length:\r\n",
        "Content-Length: \r\n",
        "Content-Length: 18446744073709551620\r\n",
        "Content-Length: 18446744073709551615\r\n",
        "Content-Length: 9223372036854775808\r\n",
        "Content-Length: 99999999999999999999999999999999999999\r\n",
        "Content-Length: 0000000000000000000000000004\r\n",
        "Content-Length : 4\r\n",
        "Content-Length\t: 4\r\n",
        " Content-Length: 4\r\n",
        "Content-Length:\r\n 4\r\n",
        "Content-Length: 4\r\n 0\r\n",
        "Content-Length: 4\n",
        "X: y\nContent-Length: 4\r\n",
        "X: y\rContent-Length: 4\r\n",
        "Content-Length: 4\x00\r\n",
        "Content-Length: \x0b4\r\n",
        "Content-Length\x00: 4\r\n",
    ] {
        all.push(lengths.to_owned());
    }
    all
}

/// What the edge says, and what is said of a head that is none.
const FRAMING: [&str; 3] = ["bad_framing", "bad_characters", "malformed_head"];

#[tokio::test]
async fn a_head_whose_end_has_two_readings_reaches_nobody() {
    let wire = Wire::start(EDGE).await;
    let cases = ambiguous();
    let mut wrong = Vec::new();
    for (number, fields) in cases.iter().enumerate() {
        let case = format!("case{number}.");
        for (path, credential) in
            [("/open/framed", String::new()), ("/rest/v1/events", bearer(&wire.token))]
        {
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: h\r\n{credential}X-Case: {case}\r\n\
                 Content-Type: application/json\r\n{fields}\r\n"
            );
            let bytes = format!("{head}0\r\n\r\n{}", hidden(&case));
            let answers = talk(wire.to(), bytes.as_bytes()).await;
            let shown = head.escape_default();
            let code = answers.first().map(|answer| answer.json()["code"].clone());
            let framing = code.is_some_and(|code| FRAMING.iter().any(|known| code == *known));
            if statuses(&answers) != [400] || !framing || wire.upstream.has_heard(&case) {
                wrong.push(format!("{:?}: {shown}", statuses(&answers)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(!wire.upstream.has_heard("/framed") && !wire.upstream.has_heard("/events"));
    wire.finish().await;
}

/// What a body on the wire means.
enum Reading {
    /// Exactly this, and a second request behind it.
    Body(&'static str),
    /// Exactly this; what stands behind it is its trailer.
    Swallowed(&'static str),
    /// Nothing: no request comes to its end.
    Refused,
}

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

const BODIES: &[(&str, &str, Reading)] = &[
    ("", "", Body("")),
    ("Content-Length: 0\r\n", "", Body("")),
    ("Content-Length: 4\r\n", "abcd", Body("abcd")),
    ("content-length:4\r\n", "abcd", Body("abcd")),
    ("CONTENT-LENGTH: \t 4 \t\r\n", "abcd", Body("abcd")),
    ("Content-Length: 04\r\n", "abcd", Body("abcd")),
    ("Content-Length: 5\r\n", "0\r\n\r\n", Body("0\r\n\r\n")),
    (CHUNKED, "0\r\n\r\n", Body("")),
    (CHUNKED, "4\r\nabcd\r\n0\r\n\r\n", Body("abcd")),
    (CHUNKED, "1\r\na\r\n3\r\nbcd\r\n000\r\n\r\n", Body("abcd")),
    (CHUNKED, "0004\r\nabcd\r\n0\r\n\r\n", Body("abcd")),
    (CHUNKED, "a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", Body("01234567890123456789")),
    (CHUNKED, "4;name=value\r\nabcd\r\n0;last\r\n\r\n", Body("abcd")),
    (CHUNKED, "4;\"\r\nabcd\r\n0\r\n\r\n", Body("abcd")),
    ("transfer-encoding:chunked\r\n", "4\r\nabcd\r\n0\r\n\r\n", Body("abcd")),
    ("Transfer-Encoding: \tChunked \t\r\n", "4\r\nabcd\r\n0\r\n\r\n", Body("abcd")),
    // Trailers are read and go nowhere.
    (CHUNKED, "4\r\nabcd\r\n0\r\nContent-Length: 9\r\nX-User-Id: me\r\n\r\n", Body("abcd")),
    (CHUNKED, "4\r\nabcd\r\n0\r\n: x\r\n\r\n", Body("abcd")),
    (CHUNKED, "4\r\nabcd\r\n0\r\n", Swallowed("abcd")),
    // Pingora's leniencies: blanks around a size, anything in an extension, no digit for zero.
    (CHUNKED, "4 \r\nabcd\r\n0\r\n\r\n", Body("abcd")),
    (CHUNKED, "4\t\r\nabcd\r\n0\r\n\r\n", Body("abcd")),
    (CHUNKED, "4;a\x00b\r\nabcd\r\n0\r\n\r\n", Body("abcd")),
    (CHUNKED, "\r\nabcd\r\n0\r\n\r\n", Body("")),
    (CHUNKED, "g\r\nabcd\r\n0\r\n\r\n", Refused),
    (CHUNKED, " 4\r\nabcd\r\n0\r\n\r\n", Refused),
    (CHUNKED, "\t4\r\nabcd\r\n0\r\n\r\n", Refused),
    (CHUNKED, "+4\r\nabcd\r\n0\r\n\r\n", Refused),
    (CHUNKED, "-4\r\nabcd\r\n0\r\n\r\n", Refused),
    (CHUNKED, "0x4\r\nabcd\r\n0\r\n\r\n", Refused),
    (CHUNKED, "4h\r\nabcd\r\n0\r\n\r\n", Refused),
    (CHUNKED, "4.0\r\nabcd\r\n0\r\n\r\n", Refused),
    (CHUNKED, "4,4\r\nabcd\r\n0\r\n\r\n", Refused),
    (CHUNKED, "\u{664}\r\nabcd\r\n0\r\n\r\n", Refused),
    (CHUNKED, "ffffffffffffffff\r\nabcd\r\n0\r\n\r\n", Refused),
    (CHUNKED, "fffffffffffffff4\r\nabcd\r\n0\r\n\r\n", Refused),
    (CHUNKED, "10000000000000004\r\nabcd\r\n0\r\n\r\n", Refused),
    (CHUNKED, "7fffffffffffffff\r\nabcd\r\n0\r\n\r\n", Refused),
    (CHUNKED, "4\nabcd\r\n0\r\n\r\n", Refused),
    (CHUNKED, "4\rabcd\r\n0\r\n\r\n", Refused),
    (CHUNKED, "4\r\r\nabcd\r\n0\r\n\r\n", Refused),
    (CHUNKED, "4;a\nabcd\r\n0\r\n\r\n", Refused),
    (CHUNKED, "4;a\rb\r\nabcd\r\n0\r\n\r\n", Refused),
    (CHUNKED, "4\r\nabcd\n0\r\n\r\n", Refused),
    (CHUNKED, "4\r\nabcd\r0\r\n\r\n", Refused),
    (CHUNKED, "4\r\nabcd0\r\n\r\n", Refused),
    (CHUNKED, "4\r\nabcde\r\n0\r\n\r\n", Refused),
    (CHUNKED, "4\r\nabc\r\n0\r\n\r\n", Refused),
    (CHUNKED, "4\r\nabcd\r\n0\n\n", Refused),
    (CHUNKED, "4\r\nabcd\r\n0\r\n\n", Refused),
    (CHUNKED, "4\r\nabcd\r\n0\r\n\r", Refused),
    (CHUNKED, "4\r\nabcd\r\n", Refused),
    (CHUNKED, "4\r\nabcd\r\n-0\r\n\r\n", Refused),
    (CHUNKED, "4\r\nabcd\r\n0\r\nA: x\n\r\n", Refused),
];

#[tokio::test]
async fn a_body_is_read_in_one_way_and_what_follows_it_is_the_next_request() {
    let wire = Wire::start(&EDGE.replace("body_timeout: 5s", "body_timeout: 500ms")).await;
    let mut wrong = Vec::new();
    for (number, (fields, body, reading)) in BODIES.iter().enumerate() {
        for cut in [false, true] {
            let case = format!("body{number}-{cut}.");
            let head = format!("POST /open/{case} HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
            let behind = hidden(&case);
            let answers = if cut {
                talk_in_pieces(wire.to(), &[&head, body, &behind]).await
            } else {
                talk(wire.to(), format!("{head}{body}{behind}").as_bytes()).await
            };
            let seen = wire.upstream.requests(&case);
            let right = match reading {
                Body(body) => seen.len() == 2 && begins(&seen, body) && consistent(&answers, &seen),
                Swallowed(body) => {
                    seen.len() == 1 && begins(&seen, body) && consistent(&answers, &seen)
                }
                Refused => {
                    seen.is_empty() && statuses(&answers).iter().all(|status| *status >= 400)
                }
            };
            if !right {
                let shown = format!("{fields}{body}").escape_default().to_string();
                wrong.push(format!("{:?} {seen:?}: {shown}", statuses(&answers)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    wire.finish().await;
}

fn begins(seen: &[Recorded], body: &str) -> bool {
    seen.first().is_some_and(|first| first.body == body.as_bytes())
}

/// Whether every request that the upstream has got was answered with its own answer, in order.
fn consistent(answers: &[Answer], seen: &[Recorded]) -> bool {
    let good = answers.iter().filter(|answer| answer.status == 200).map(Answer::text);
    good.eq(seen.iter().map(Recorded::line))
}

/// What is put into a good request at random places.
const PIECES: &[&str] = &[
    "\r\n",
    "\n",
    "\r",
    "\0",
    " ",
    "\t",
    ":",
    ",",
    ";",
    "0",
    "4",
    "f",
    "\r\n\r\n",
    "\r\n ",
    "\x0b",
    "é",
    "Content-Length: 4\r\n",
    "Content-Length: 0\r\n",
    "Transfer-Encoding: chunked\r\n",
    "chunked",
    "Connection: close\r\n",
    "Connection: content-length\r\n",
    "Upgrade: websocket\r\n",
    "Expect: 100-continue\r\n",
    "Host: other\r\n",
    "HTTP/1.0",
    "HTTP/1.1",
    "HTTP/2.0",
    "GET",
    "/",
    "//",
    "0\r\n\r\n",
    "http://other/",
    "%0d%0a",
    "#",
    "\\",
];

/// Whatever is sent: every request that the upstream gets has one reading, and its own answer.
#[tokio::test]
async fn random_bytes_in_two_requests_never_make_a_third() {
    let wire = Wire::start(&EDGE.replace("body_timeout: 5s", "body_timeout: 300ms")).await;
    let mut random = Random(0x5eed_0f31_7e57);
    let (mut served, mut refused) = (0, 0);
    for round in 0..30 {
        let mut talks = tokio::task::JoinSet::new();
        for number in 0..40 {
            let case = format!("random{round}.{number}.");
            let bytes = random.mutated(&format!(
                "POST /open/{case} HTTP/1.1\r\nHost: h\r\nContent-Type: text/plain\r\n{}{}",
                [
                    "Content-Length: 4\r\n\r\nabcd",
                    "Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n"
                ][number % 2],
                hidden(&case),
            ));
            let to = wire.to();
            talks.spawn(async move { (talk(to, &bytes).await, bytes, case) });
        }
        for (answers, bytes, case) in talks.join_all().await {
            let seen = wire.upstream.requests(&case);
            let shown = || format!("{:?} {seen:?} {}", statuses(&answers), bytes.escape_ascii());
            let good = answers.iter().filter(|answer| answer.status == 200);
            let own = good.clone().filter(|answer| answer.text().contains(&case)).cloned();
            assert!(consistent(&own.collect::<Vec<_>>(), &seen), "{}", shown());
            assert!(good.clone().count() <= 2, "{}", shown());
            served += good.count();
            refused += statuses(&answers).iter().filter(|status| **status != 200).count();
        }
    }
    assert!(served > 300 && refused > 300, "{served} served, {refused} refused");
    // Those whose name was changed, too. The first is the one that showed that all is well.
    assert_eq!(wire.upstream.requests("").len(), served + 1);
    wire.finish().await;
}

/// xorshift64*: the same bytes in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap() % bound
    }

    /// One to three changes anywhere but in what tells the case.
    fn mutated(&mut self, text: &str) -> Vec<u8> {
        let mut bytes = text.as_bytes().to_vec();
        for _ in 0..=self.below(3) {
            let piece = PIECES[self.below(PIECES.len())].as_bytes();
            let at = self.below(bytes.len());
            let gone = if self.below(2) == 0 { 0 } else { 1 + self.below(3) };
            let end = bytes.len().min(at + gone);
            bytes.splice(at..end, piece.iter().copied());
        }
        bytes
    }
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\nCookie: session={MARK}\r\n")
}
