//! Keys that change while requests come in: no valid token is refused before, during or after.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use serde_json::json;

use crate::support::fixture::ALICE;
use crate::support::http;
use crate::support::jwks::Jwks;
use crate::support::keys::Key;
use crate::support::stack::{Options, Stack, USER_SECRET, claims};

const EVENTS: &str = "/rest/v1/events?select=id&limit=1";

/// A token of its own, so that a signature has to be verified.
fn fresh(key: &Key, number: u32) -> String {
    let mut claims = claims(ALICE);
    claims["jti"] = json!(number);
    key.mint(&claims)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_under_load_refuses_no_valid_token() {
    let (old, new) = (Arc::new(Key::es256("old")), Arc::new(Key::rs256("new")));
    let jwks = Jwks::serving(&[&old]).await;
    let keys = format!("[{{ jwks: '{}', unknown_key_window: 1s }}]", jwks.url());
    let stack = Stack::start(&Options { keys, ..Options::default() }).await;
    let to = stack.gateway.listen();
    let (rotated, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (before, after) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let load = |seed: u32| {
        let (old, new) = (Arc::clone(&old), Arc::clone(&new));
        let (rotated, ended) = (Arc::clone(&rotated), Arc::clone(&ended));
        let (before, after) = (Arc::clone(&before), Arc::clone(&after));
        tokio::spawn(async move {
            for number in 0.. {
                if ended.load(Ordering::SeqCst) {
                    break;
                }
                let since = rotated.load(Ordering::SeqCst);
                let (key, count) = if since { (&new, &after) } else { (&old, &before) };
                let bearer = format!("Bearer {}", fresh(key, seed + number % 3));
                let headers = [("Authorization", bearer.as_str())];
                let answer = http::send(to, "GET", EVENTS, &headers, b"").await.unwrap();
                assert_eq!(answer.status, 200, "{}: {}", key.id, answer.text());
                count.fetch_add(1, Ordering::SeqCst);
            }
        })
    };
    let loads: Vec<_> = (0..4).map(|n| load(n * 1000)).collect();
    let reaches = async |count: &AtomicU32, least: u32| {
        while count.load(Ordering::SeqCst) < least {
            assert!(loads.iter().all(|load| !load.is_finished()), "a request was refused");
            tokio::task::yield_now().await;
        }
    };
    reaches(&before, 40).await;
    // The signer changes in the same moment as its key set: nobody has fetched it yet.
    jwks.rotate(&[&old, &new]);
    rotated.store(true, Ordering::SeqCst);
    reaches(&after, 40).await;
    jwks.rotate(&[&new]);
    let seen = after.load(Ordering::SeqCst);
    reaches(&after, seen + 40).await;
    ended.store(true, Ordering::SeqCst);
    for load in loads {
        load.await.unwrap();
    }
    assert!(jwks.fetches() <= 4, "{} fetches", jwks.fetches());
}

#[tokio::test]
async fn shared_secrets_and_published_keys_count_side_by_side_while_one_follows_the_other() {
    let (shared, published) = (Key::hs256("legacy", USER_SECRET), Key::es256("published"));
    let jwks = Jwks::serving(&[&published]).await;
    let both = format!("[{{ hs256: {USER_SECRET} }}, {{ jwks: '{}' }}]", jwks.url());
    let stack = Stack::start(&Options { keys: both.clone(), ..Options::default() }).await;
    for key in [&shared, &published] {
        assert_eq!(stack.get(EVENTS, &fresh(key, 1)).await.status, 200, "{}", key.id);
    }
    // Once nobody holds a token of the old kind any more, its key goes.
    let yaml = std::fs::read_to_string(stack.gateway.dir().join("gateway.yaml")).unwrap();
    stack
        .gateway
        .write("gateway.yaml", &yaml.replace(&format!("{{ hs256: {USER_SECRET} }}, "), ""));
    crate::support::eventually("the old key is gone", async || {
        (stack.get(EVENTS, &fresh(&shared, 1)).await.status == 401).then_some(())
    })
    .await;
    assert_eq!(stack.get(EVENTS, &fresh(&published, 1)).await.status, 200);
}

#[tokio::test]
async fn a_thousand_made_up_key_ids_cost_one_fetch_in_a_window_and_refuse_nobody() {
    let good = Key::es256("good");
    let jwks = Jwks::serving(&[&good]).await;
    let keys = format!("[{{ jwks: '{}', unknown_key_window: 10m }}]", jwks.url());
    let stack = Stack::start(&Options { keys, ..Options::default() }).await;
    assert_eq!(stack.get(EVENTS, &fresh(&good, 1)).await.status, 200);
    let stranger = Key::es256("stranger");
    for number in 0..1_000 {
        let header = json!({ "alg": "ES256", "kid": format!("made-up-{number}") }).to_string();
        let token = stranger.sign(&header, &claims(ALICE).to_string());
        assert_eq!(stack.get(EVENTS, &token).await.status, 401);
        if number % 50 == 0 {
            assert_eq!(stack.get(EVENTS, &fresh(&good, number)).await.status, 200);
        }
    }
    assert!(jwks.fetches() <= 2, "{} fetches", jwks.fetches());
}
