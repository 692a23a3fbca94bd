//! Key sets by URL, against an endpoint that rotates, fails, hangs, and is asked by many at once.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tollgate::domain::clock::Clock;
use tollgate::domain::directory::DirectoryData;
use tollgate::domain::known::{IssuerIndex, Question};
use tollgate::domain::refusal::Refusal;
use tollgate::domain::source::Source;
use tollgate::policy::identity::{Algorithm, ApiKeys, IdentityPolicy, Issuer, JwksSource, KeySet};
use tollgate::policy::known::{Keys, Known};
use tollgate::stores::directory::{Directory, FileDirectory};
use tollgate::stores::keys::{KeyStore, RemoteKeys};
use tollgate::stores::node::{Facts, NodeKnowledge};
use tollgate::stores::sessions::Sessions;
use tollgate::stores::tokens::{VERIFIED_BYTES, VerifiedTokens};
use tollgate::telemetry::metrics::Metrics;

use crate::clock::TestClock;
use crate::support::eventually;
use crate::support::jwks::{Behaviour, Jwks, key_set};
use crate::support::keys::Key;

const WINDOW: Duration = Duration::from_secs(30);

struct World {
    clock: Arc<TestClock>,
    metrics: Arc<Metrics>,
    store: KeyStore,
}

impl World {
    fn new() -> Self {
        let clock = Arc::new(TestClock::new());
        let metrics = Arc::new(Metrics::new().unwrap());
        let store = KeyStore::new(Arc::clone(&clock) as _, Arc::clone(&metrics), Handle::current());
        Self { clock, metrics, store: store.unwrap() }
    }

    fn follow(&self, url: &str) -> Arc<RemoteKeys> {
        let mut sets = self.store.follow(&identity(url, None));
        sets.remove(0).unwrap()
    }

    /// By a discovery document.
    fn discover(&self, url: &str, issuer: &str) -> Arc<RemoteKeys> {
        let mut sets = self.store.follow(&identity(url, Some(issuer)));
        sets.remove(0).unwrap()
    }

    fn node(&self, keys: &Arc<RemoteKeys>) -> NodeKnowledge {
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as _;
        let tokens = VerifiedTokens::new(VERIFIED_BYTES);
        let directory = Directory::File(FileDirectory::new(&DirectoryData::default()));
        NodeKnowledge::new(
            vec![Some(Arc::clone(keys))],
            tokens.view(),
            Arc::new(directory),
            Arc::new(Sessions::in_memory(
                NonZeroU32::MIN,
                Duration::from_secs(60),
                Arc::clone(&clock),
            )),
            clock,
            Arc::clone(&self.metrics),
        )
    }
}

fn identity(url: &str, discovers: Option<&str>) -> IdentityPolicy {
    let jwks = JwksSource {
        url: url.into(),
        discovers: discovers.map(Box::from),
        algorithms: vec![Algorithm::ES256, Algorithm::EdDSA],
        refresh: Duration::from_secs(3600),
        timeout: Duration::from_millis(500),
        unknown_key_window: WINDOW,
    };
    let issuer = Issuer {
        name: "project".into(),
        iss: vec!["https://auth.example".into()],
        audiences: Vec::new(),
        keys: KeySet::default(),
        jwks: Some(jwks),
        required_claims: Vec::new(),
        leeway_secs: 0,
        max_lifetime_secs: None,
        sign_on: Default::default(),
        source: Source::built_in(),
    };
    IdentityPolicy {
        issuers: vec![Arc::new(issuer)],
        api_keys: ApiKeys::default(),
        organization_claims: Vec::new(),
        max_token_bytes: 16_384,
        service_claims: Vec::new(),
        anonymous_claims: Vec::new(),
        service_role: None,
        service_addresses: Vec::new(),
        devices: None,
        machines: None,
        anonymous_role: None,
    }
}

async fn ready(keys: &Arc<RemoteKeys>) {
    eventually("the first fetch", async || keys.is_ready().then_some(())).await;
}

fn has(keys: &Keys, kid: &str) -> bool {
    match keys {
        Keys::Are(set) => set.with_kid(kid).next().is_some(),
        Keys::Ask | Keys::Away => false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_unknown_key_ids_at_once_cost_one_fetch() {
    let world = World::new();
    let jwks = Jwks::serving(&[&Key::es256("a")]).await;
    let keys = world.follow(&jwks.url());
    ready(&keys).await;
    assert_eq!(jwks.fetches(), 1);
    world.clock.advance(WINDOW);

    let guess = |number: u32| {
        let keys = Arc::clone(&keys);
        async move {
            if matches!(keys.keys(Some(&format!("guess-{number}"))), Keys::Ask) {
                keys.look_up().await;
            }
            assert!(has(&keys.settled(), "a"));
        }
    };
    let all: Vec<_> = (0..10_000).map(|number| tokio::spawn(guess(number))).collect();
    for one in all {
        one.await.unwrap();
    }
    assert_eq!(jwks.fetches(), 2);
    assert!(matches!(keys.keys(Some("guess")), Keys::Are(_)), "not its time again");
    world.clock.advance(WINDOW);
    assert!(matches!(keys.keys(Some("guess")), Keys::Ask));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotated_key_is_found_by_the_first_token_that_names_it() {
    let world = World::new();
    let (old, new) = (Key::es256("old"), Key::eddsa("new"));
    let jwks = Jwks::serving(&[&old]).await;
    let keys = world.follow(&jwks.url());
    ready(&keys).await;
    let generation = keys.generation();

    jwks.rotate(&[&old, &new]);
    world.clock.advance(WINDOW);
    let node = world.node(&keys);
    let mut facts = Facts::new(&node, world.clock.now());
    assert!(matches!(facts.keys(IssuerIndex(0), Some("new")), Keys::Ask));
    let question = Question::Key { issuer: IssuerIndex(0), kid: "new".into() };
    facts.find_out(question.clone()).await.unwrap();
    assert!(has(&facts.keys(IssuerIndex(0), Some("new")), "new"));
    assert_eq!(keys.generation(), generation, "a key came, none went");
    // What was answered is not asked again.
    let again = facts.find_out(question).await;
    assert!(matches!(again, Err(Refusal::Internal(_))));
    assert!(matches!(facts.keys(IssuerIndex(0), Some("other")), Keys::Are(_)));

    jwks.rotate(&[&new]);
    world.clock.advance(WINDOW);
    keys.look_up().await;
    assert!(!has(&keys.settled(), "old"));
    assert_ne!(keys.generation(), generation, "what the old key verified counts no more");
}

/// One document that is both: what the endpoint says of itself, and its keys.
fn document(issuer: &str, url: &str, keys: &[&Key]) -> Behaviour {
    let mut both: serde_json::Value = serde_json::from_str(&key_set(keys)).unwrap();
    both["issuer"] = issuer.into();
    both["jwks_uri"] = url.into();
    Behaviour::Serve(both.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_discovery_document_leads_to_the_keys_while_it_names_the_very_issuer() {
    const ISSUER: &str = "https://id.example";
    let world = World::new();
    let (old, new) = (Key::es256("old"), Key::eddsa("new"));
    let jwks = Jwks::serving(&[&old]).await;
    let url = jwks.url();
    let keys = world.discover(&url, ISSUER);
    eventually("a fetch", async || (jwks.fetches() > 0).then_some(())).await;
    assert!(!keys.is_ready(), "it is a key set, and no discovery document");

    jwks.behave(document(ISSUER, &url, &[&old]));
    world.clock.advance(WINDOW);
    keys.look_up().await;
    ready(&keys).await;
    assert!(has(&keys.settled(), "old"));
    for (issuer, at) in [
        ("https://id.example/", url.as_str()),
        ("https://evil.example", url.as_str()),
        (ISSUER, "http://127.0.0.1:1/"),
        (ISSUER, "file:///etc/passwd"),
    ] {
        jwks.behave(document(issuer, at, &[&new]));
        world.clock.advance(WINDOW);
        keys.look_up().await;
        assert!(has(&keys.settled(), "old") && !has(&keys.settled(), "new"), "{issuer} {at}");
    }
    jwks.behave(document(ISSUER, &url, &[&new]));
    world.clock.advance(WINDOW);
    keys.look_up().await;
    assert!(has(&keys.settled(), "new"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_good_keys_stay_whatever_the_endpoint_does() {
    let world = World::new();
    let jwks = Jwks::serving(&[&Key::es256("good")]).await;
    let keys = world.follow(&jwks.url());
    ready(&keys).await;
    let weak = r#"{"keys":[{"kty":"RSA","kid":"weak","n":"AQAB","e":"AQAB"}]}"#;
    let long = format!(r#"{{"keys":[],"pad":"{}"}}"#, "x".repeat(300 * 1024));
    let bad = [
        Behaviour::Fail(500),
        Behaviour::Fail(204),
        Behaviour::Serve("<html>sign in</html>".into()),
        Behaviour::Serve(r#"{"keys":[]}"#.into()),
        Behaviour::Serve(weak.into()),
        Behaviour::Serve(long),
        Behaviour::Hang,
    ];
    for (round, behaviour) in bad.into_iter().enumerate() {
        jwks.behave(behaviour.clone());
        world.clock.advance(WINDOW);
        let fetches = jwks.fetches();
        assert!(matches!(keys.keys(Some("unknown")), Keys::Ask));
        keys.look_up().await;
        assert!(jwks.fetches() > fetches, "{behaviour:?}");
        assert!(has(&keys.keys(Some("good")), "good"), "{behaviour:?}");
        assert!(keys.stats().failures > u64::try_from(round).unwrap(), "{behaviour:?}");
    }
    jwks.rotate(&[&Key::es256("next")]);
    world.clock.advance(WINDOW);
    eventually("the new key", async || {
        keys.look_up().await;
        has(&keys.settled(), "next").then_some(())
    })
    .await;
    assert_eq!(keys.stats().failures, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_is_away_at_start_is_an_outage_until_it_comes_back_by_itself() {
    let world = World::new();
    let jwks = Jwks::serving(&[&Key::es256("a")]).await;
    let good = Key::es256("a");
    jwks.behave(Behaviour::Fail(503));
    let keys = world.follow(&jwks.url());
    eventually("the first failure", async || (keys.stats().failures > 0).then_some(())).await;
    assert!(matches!(keys.keys(Some("a")), Keys::Away));
    assert!(matches!(keys.keys(None), Keys::Away));
    jwks.rotate(&[&good]);
    // Nobody asks: the background tries again on its own.
    ready(&keys).await;
    assert!(has(&keys.keys(Some("a")), "a"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_comes_during_the_first_fetch_waits_for_it_and_no_longer() {
    let world = World::new();
    let jwks = Jwks::serving(&[&Key::es256("a")]).await;
    jwks.behave(Behaviour::Hang);
    let keys = world.follow(&jwks.url());
    eventually("the first fetch", async || (jwks.fetches() > 0).then_some(())).await;
    assert!(matches!(keys.keys(Some("a")), Keys::Ask));
    keys.look_up().await;
    assert!(matches!(keys.settled(), Keys::Away));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_to_another_place_is_not_followed() {
    let world = World::new();
    let elsewhere = Jwks::serving(&[&Key::es256("evil")]).await;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
    let location = elsewhere.url();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let answer = format!(
                "HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\
                 Connection: close\r\n\r\n"
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let keys = world.follow(&url);
    eventually("the first failure", async || (keys.stats().failures > 0).then_some(())).await;
    assert_eq!(elsewhere.fetches(), 0);
    assert!(!keys.is_ready());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_keeps_a_set_whose_source_did_not_change_and_lets_go_of_others() {
    let world = World::new();
    let jwks = Jwks::serving(&[&Key::es256("a")]).await;
    let keys = world.follow(&jwks.url());
    ready(&keys).await;
    let again = world.follow(&jwks.url());
    assert!(Arc::ptr_eq(&keys, &again));
    assert_eq!(jwks.fetches(), 1);
    let other = world.follow(&format!("{}?v=2", jwks.url()));
    assert!(!Arc::ptr_eq(&keys, &other));
}
