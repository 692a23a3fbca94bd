//! What the running gateway refuses, with the database asked whether anything moved; and which
//! organization a request of somebody with several belongs to.

use serde_json::{Value, json};

use crate::support::fixture::{ACME, ALICE, BOB, CAROL, Contents, GLOBEX};
use crate::support::http;
use crate::support::jwks::{Behaviour, Jwks};
use crate::support::keys::{Key, now_secs, unsigned};
use crate::support::stack::{Options, Stack, USER_SECRET, VERA, claims, token};

const EVENTS: &str = "/rest/v1/events?select=title";

#[tokio::test]
async fn a_token_that_proves_nothing_is_refused_and_reaches_nothing() {
    let stack = Stack::start(&Options::default()).await;
    let key = Key::hs256("users", USER_SECRET);
    let with = |name: &str, value: Value| {
        let mut changed = claims(ALICE);
        changed[name] = value;
        changed
    };
    let good = claims(ALICE).to_string();
    let mut timeless = claims(ALICE);
    timeless.as_object_mut().unwrap().remove("exp");
    let hs256 = r#"{"alg":"HS256","typ":"JWT"}"#;
    let twice = good.replacen('{', &format!("{{\"sub\":\"{BOB}\","), 1);
    let cases = [
        ("expired", key.mint(&with("exp", json!(now_secs() - 3600))), "token_expired"),
        ("not yet valid", key.mint(&with("nbf", json!(now_secs() + 3600))), "invalid_token"),
        ("text as exp", key.mint(&with("exp", json!("tomorrow"))), "invalid_token"),
        ("no exp", key.mint(&timeless), "invalid_token"),
        ("foreign issuer", key.mint(&with("iss", json!("https://evil.test"))), "invalid_token"),
        ("foreign audience", key.mint(&with("aud", json!("other"))), "invalid_token"),
        ("duplicate claim", key.sign(hs256, &twice), "invalid_token"),
        ("other key", Key::hs256("users", "another-secret").mint(&claims(ALICE)), "invalid_token"),
        ("no signature", format!("{}.", unsigned(r#"{"alg":"none"}"#, &good)), "invalid_token"),
        ("wrong algorithm", key.sign(r#"{"alg":"HS512"}"#, &good), "invalid_token"),
        ("not a token", "abc".to_owned(), "invalid_token"),
    ];
    for (case, token, code) in cases {
        let answer = stack.get(EVENTS, &token).await;
        assert_eq!(answer.status, 401, "{case}: {}", answer.text());
        assert_eq!(answer.json()["code"], code, "{case}: {}", answer.text());
    }
    let none = http::get(stack.gateway.listen(), EVENTS, &[]).await.unwrap();
    assert_eq!((none.status, &none.json()["code"]), (401, &json!("no_credentials")));
    assert!(!stack.postgrest.log().contains("/events"), "{}", stack.postgrest.log());

    let served = stack.get(EVENTS, &token(ALICE)).await;
    assert_eq!(served.status, 200, "{}", served.text());
}

#[tokio::test]
async fn a_member_of_two_organizations_acts_in_the_one_that_is_named() {
    let stack = Stack::start(&Options::default()).await;
    let ask = async |user: &str, organization: Option<&str>| {
        let headers: Vec<(&str, &str)> =
            organization.map(|value| ("x-organization-id", value)).into_iter().collect();
        stack.send("GET", EVENTS, &token(user), &headers, &Value::Null).await
    };
    for (named, own, other) in [
        (Some(ACME.slug), ACME, GLOBEX),
        (Some(ACME.id), ACME, GLOBEX),
        (Some(GLOBEX.slug), GLOBEX, ACME),
        // The organization joined last.
        (None, GLOBEX, ACME),
    ] {
        let answer = ask(CAROL, named).await;
        let text = answer.text();
        assert_eq!(answer.status, 200, "{named:?}: {text}");
        assert!(text.contains(own.mark) && !text.contains(other.mark), "{named:?}: {text}");
    }
    let foreign = ask(ALICE, Some(GLOBEX.slug)).await;
    assert_eq!((foreign.status, &foreign.json()["code"]), (403, &json!("not_a_member")));
    let unknown = ask(ALICE, Some("initech")).await;
    // Whether an organization exists is nothing that a stranger may learn.
    assert_eq!(unknown.json()["code"], foreign.json()["code"]);
    assert_eq!(unknown.status, 403);
}

#[tokio::test]
async fn a_role_without_the_permission_changes_nothing() {
    let stack = Stack::start(&Options::default()).await;
    let before = Contents::of(&stack.postgres).await;
    let vera = token(VERA);
    assert_eq!(stack.get(EVENTS, &vera).await.status, 200);
    let row = json!({ "title": "ACME-ONLY-forbidden" });
    for (method, target, body) in [
        ("POST", "/rest/v1/events", &row),
        ("PATCH", "/rest/v1/events?id=eq.1", &row),
        ("DELETE", "/rest/v1/events?id=eq.1", &Value::Null),
    ] {
        let answer = stack.send(method, target, &vera, &[], body).await;
        assert_eq!(answer.status, 403, "{method}: {}", answer.text());
        assert_eq!(answer.json()["code"], "permission_denied", "{method}");
    }
    assert_eq!(Contents::of(&stack.postgres).await, before);
}

#[tokio::test]
async fn a_client_cannot_speak_in_the_gateways_own_name() {
    let stack = Stack::start(&Options::default()).await;
    let headers = [
        ("x-tollgate-organization", GLOBEX.id),
        ("x_organization_id", GLOBEX.slug),
        ("x-http-method-override", "DELETE"),
        ("Connection", "x-organization-role"),
    ];
    let answer = stack.send("GET", EVENTS, &token(ALICE), &headers, &Value::Null).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.text().contains(ACME.mark) && !answer.text().contains(GLOBEX.mark));
}

#[tokio::test]
async fn bytes_that_two_parsers_could_read_differently_close_the_connection() {
    let stack = Stack::start(&Options::default()).await;
    let bearer = token(ALICE);
    let head = |line: &str, fields: &str| {
        format!("{line} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {bearer}\r\n{fields}\r\n")
    };
    let cases = [
        (
            head("POST /rest/v1/events", "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n")
                + "0\r\n\r\n",
            "400",
        ),
        (head("POST /rest/v1/events", "Content-Length: 2\r\nContent-Length: 3\r\n") + "{}", "400"),
        (head("GET /rest/v1/events", "Host: y\r\n"), "400"),
        (head("GET /rest/v1/%2e%2e/events", ""), "400"),
        (head("GET /rest/v1//events", ""), "400"),
        (head("GET /rest/v1%2fevents", ""), "400"),
        (head("TRACE /rest/v1/events", ""), "405"),
    ];
    for (bytes, status) in cases {
        let line = bytes.lines().next().unwrap().to_owned();
        let answer = http::raw(stack.gateway.listen(), bytes.as_bytes()).await;
        let answer = answer.unwrap_or_else(|error| panic!("{line}: {error}"));
        let text = String::from_utf8_lossy(&answer);
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {text}");
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{line}: {text}");
    }
    assert!(!stack.postgrest.log().contains("/events"), "{}", stack.postgrest.log());
}

#[tokio::test]
async fn keys_from_a_url_are_fetched_once_and_kept_when_the_endpoint_fails() {
    let (first, second, stranger) =
        (Key::es256("first"), Key::rs256("second"), Key::eddsa("third"));
    let jwks = Jwks::serving(&[&first, &second]).await;
    let options = Options { keys: format!("[{{ jwks: '{}' }}]", jwks.url()), ..Options::default() };
    let stack = Stack::start(&options).await;
    for key in [&first, &second] {
        let answer = stack.get(EVENTS, &key.mint(&claims(ALICE))).await;
        assert_eq!(answer.status, 200, "{}: {}", key.id, answer.text());
    }
    assert_eq!(jwks.fetches(), 1);

    jwks.behave(Behaviour::Fail(503));
    for attempt in 0..20 {
        let mut changed = claims(ALICE);
        changed["jti"] = json!(attempt);
        let answer = stack.get(EVENTS, &stranger.mint(&changed)).await;
        assert!([401, 503].contains(&answer.status), "{}", answer.text());
        assert_eq!(stack.get(EVENTS, &first.mint(&changed)).await.status, 200);
    }
    // The unknown key id was worth one more look, for all twenty together.
    assert!(jwks.fetches() <= 2, "{} fetches", jwks.fetches());
}
