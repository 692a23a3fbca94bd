//! What becomes of bodies that are held and sent again.

use super::*;

fn told(pieces: &[&[u8]]) -> serde_json::Value {
    let mut body = ErrorBody::default();
    for (index, bytes) in pieces.iter().enumerate() {
        let last = index + 1 == pieces.len();
        let mut piece = Some(Bytes::copy_from_slice(bytes));
        body.pass(&mut piece, last);
        if last {
            return serde_json::from_slice(&piece.unwrap()).unwrap();
        }
        assert!(piece.is_none(), "nothing is told before the end");
    }
    unreachable!()
}

#[test]
fn an_error_body_keeps_its_code_and_message_only() {
    let whole = told(&[
        br#"{"code":"23505","details":"Key (id)=(1) "#,
        br#"already exists.","hint":"try 2","message":"duplicate key"}"#,
    ]);
    assert_eq!(
        whole,
        serde_json::json!({
            "code": "23505", "message": "duplicate key", "details": null, "hint": null
        })
    );
}

#[test]
fn how_many_rows_there_were_is_told_and_no_other_detail() {
    let details = |code: &str, details: &str| {
        let body = format!("{{\"code\":\"{code}\",\"message\":\"m\",\"details\":{details}}}");
        let told = told(&[body.as_bytes()]);
        assert_eq!((&told["code"], &told["message"]), (&code.into(), &"m".into()));
        told["details"].clone()
    };
    assert_eq!(details("PGRST116", "\"The result contains 0 rows\""), "The result contains 0 rows");
    for (code, text) in [
        ("PGRST117", "\"The result contains 0 rows\""),
        ("PGRST116", "\"The result contains rows\""),
        ("PGRST116", "\"The result contains  rows\""),
        ("PGRST116", "\"The result contains a secret rows\""),
        ("PGRST116", "\"The result contains 1 rows and more\""),
        ("PGRST201", "[{\"relationship\":\"events\"}]"),
        ("23505", "null"),
    ] {
        assert!(details(code, text).is_null(), "{code} {text}");
    }
}

#[test]
fn an_error_body_that_is_no_json_or_too_large_is_replaced() {
    let large = vec![b' '; MAX_ERROR_BODY + 1];
    for pieces in [&[b"<html>".as_slice()][..], &[large.as_slice(), b"{}"], &[b""]] {
        let replaced = told(pieces);
        assert_eq!(replaced["code"], "upstream_error");
    }
}

/// A gate that holds, and says at the end what it was shown.
#[derive(Default)]
struct Holding(Vec<u8>);

impl Holding {
    fn pass(&mut self, piece: Option<Bytes>, last: bool) -> Result<Option<Bytes>, Refusal> {
        self.0.extend_from_slice(piece.as_deref().unwrap_or_default());
        Ok(last.then(|| Bytes::from(format!("<{}>", String::from_utf8_lossy(&self.0)))))
    }
}

fn send(body: &mut RequestBody, gate: &mut Holding, bytes: &str, last: bool) -> Option<Bytes> {
    let mut piece = Some(Bytes::copy_from_slice(bytes.as_bytes()));
    body.pass_by(true, |fresh, last| gate.pass(fresh, last), &mut piece, last).unwrap();
    piece
}

#[test]
fn a_held_body_goes_on_in_one_piece_at_its_end() {
    let (mut body, mut gate) = (RequestBody::default(), Holding::default());
    let nothing_yet = Some(Bytes::new());
    assert_eq!(send(&mut body, &mut gate, "ab", false), nothing_yet);
    assert_eq!(send(&mut body, &mut gate, "cd", true), Some(Bytes::from("<abcd>")));
}

#[test]
fn a_retry_after_the_whole_body_sends_the_rewritten_one_again() {
    let (mut body, mut gate) = (RequestBody::default(), Holding::default());
    send(&mut body, &mut gate, "ab", false);
    send(&mut body, &mut gate, "cd", true);
    body.restart();
    assert_eq!(send(&mut body, &mut gate, "abcd", true), Some(Bytes::from("<abcd>")));
    assert_eq!(gate.0, b"abcd", "the gate saw every byte once");
}

#[test]
fn a_retry_in_the_middle_of_the_body_does_not_show_the_gate_its_first_half_twice() {
    let (mut body, mut gate) = (RequestBody::default(), Holding::default());
    send(&mut body, &mut gate, "ab", false);
    body.restart();
    // What was read so far comes again, then the rest.
    send(&mut body, &mut gate, "ab", false);
    assert_eq!(send(&mut body, &mut gate, "cd", true), Some(Bytes::from("<abcd>")));
    assert_eq!(gate.0, b"abcd");
}

#[test]
fn a_body_that_flows_is_counted_once_and_sent_in_every_try() {
    let mut body = RequestBody::default();
    let mut counted = 0;
    for _ in 0..2 {
        let mut piece = Some(Bytes::from("abc"));
        let count = |fresh: Option<Bytes>, _| {
            counted += fresh.as_ref().map_or(0, Bytes::len);
            Ok(fresh)
        };
        body.pass_by(false, count, &mut piece, true).unwrap();
        assert_eq!(piece, Some(Bytes::from("abc")));
        body.restart();
    }
    assert_eq!(counted, 3);
}

#[test]
fn a_piece_that_the_gate_keeps_back_does_not_flow_on() {
    let mut body = RequestBody::default();
    let mut piece = Some(Bytes::from("abc"));
    body.pass_by(false, |_, _| Ok(None), &mut piece, false).unwrap();
    assert_eq!(piece, Some(Bytes::new()));
}
