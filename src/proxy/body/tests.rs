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
fn an_error_body_that_is_no_json_or_too_large_is_replaced() {
    let large = vec![b' '; MAX_ERROR_BODY + 1];
    for pieces in [&[b"<html>".as_slice()][..], &[large.as_slice(), b"{}"], &[b""]] {
        let replaced = told(pieces);
        assert_eq!(replaced["code"], "upstream_error");
    }
}
