//! The parts themselves: that they answer, die, return and end as the other tests rely on.

use std::time::Duration;

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{DecodingKey, Validation};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::fixture::{ACME, ALICE, Contents, GLOBEX};
use crate::support::jwks::{Behaviour, Jwks};
use crate::support::keys::{Key, user_claims};
use crate::support::postgres::{APP, Postgres};
use crate::support::postgrest::PostgRest;
use crate::support::process::{Process, Signal, Spec};
use crate::support::redis::Redis;
use crate::support::{http, node, place};

const SECRET: &str = "a-secret-of-at-least-32-characters!";

#[tokio::test]
async fn postgrest_shows_every_organization_to_anyone_with_a_token() {
    let postgres = Postgres::start().await;
    let postgrest = PostgRest::start(&postgres, SECRET).await;
    let before = Contents::of(&postgres).await;
    let token = Key::hs256("legacy", SECRET).mint(&user_claims(ALICE));
    let bearer = format!("Bearer {token}");
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];

    let read = http::get(postgrest.addr(), "/events?select=title", &headers).await.unwrap();
    let text = read.text();
    assert_eq!(read.status, 200);
    assert!(text.contains(ACME.mark) && text.contains(GLOBEX.mark), "{text}");

    let stranger = http::get(postgrest.addr(), "/events", &[]).await.unwrap();
    assert_eq!(stranger.status, 401, "{}", stranger.text());

    let row = json!({ "organization_id": ACME.id, "name": "ACME-ONLY-new" }).to_string();
    let made = http::send(postgrest.addr(), "POST", "/projects", &headers, row.as_bytes()).await;
    assert_eq!(made.unwrap().status, 201);
    let after = Contents::of(&postgres).await;
    assert_eq!(after.rows("projects", ACME).len(), before.rows("projects", ACME).len() + 1);
    assert_eq!(after.without(ACME), before.without(ACME));
    assert!(postgrest.log().contains("POST /projects"), "{}", postgrest.log());
}

/// Why the gateway has all of a body before PostgREST hears of the request.
#[tokio::test]
async fn postgrest_takes_a_chunked_call_that_breaks_off_for_one_without_arguments() {
    let postgres = Postgres::start().await;
    let function = "create function clear_events(org uuid default null) returns void language sql \
                    as 'delete from events where org is null or organization_id = org'; \
                    grant execute on function clear_events to authenticated;";
    postgres.execute(APP, function).await;
    let postgrest = PostgRest::start(&postgres, SECRET).await;
    let token = Key::hs256("legacy", SECRET).mint(&user_claims(ALICE));
    let mut stream = TcpStream::connect(postgrest.addr()).await.unwrap();
    let head = format!(
        "POST /rpc/clear_events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut back = String::new();
    stream.read_to_string(&mut back).await.unwrap();
    assert!(back.starts_with("HTTP/1.1 204"), "{back}");
    assert!(Contents::of(&postgres).await.rows("events", GLOBEX).is_empty());
}

#[tokio::test]
async fn supabase_js_reads_and_prints_json() {
    let postgres = Postgres::start().await;
    let postgrest = PostgRest::start(&postgres, SECRET).await;
    let token = Key::hs256("legacy", SECRET).mint(&user_claims(ALICE));
    let url = format!("http://{}", postgrest.addr());
    let printed =
        node::node("postgrest-direct.mjs", &[("URL", url.as_str()), ("TOKEN", &token)]).await;
    assert_eq!(printed["status"], 200, "{printed}");
    assert_eq!(printed["data"].as_array().map(Vec::len), Some(6), "{printed}");
}

#[tokio::test]
async fn a_killed_postgres_comes_back_with_its_data_and_a_paused_one_answers_late() {
    let mut postgres = Postgres::start().await;
    postgres.execute(APP, "insert into countries values ('FR', 'France')").await;
    let client = postgres.client(APP).await;
    postgres.kill().await;
    assert!(client.simple_query("select 1").await.is_err());
    postgres.restart().await;
    let rows = postgres.rows(APP, "select count(*) as n from countries").await;
    assert_eq!(rows, [json!({ "n": 4 })]);

    let client = postgres.client(APP).await;
    postgres.pause();
    let query = client.simple_query("select 1");
    tokio::pin!(query);
    let early = tokio::time::timeout(Duration::from_millis(200), &mut query).await;
    assert!(early.is_err(), "a paused server has answered");
    postgres.resume();
    assert!(query.await.is_ok());
}

#[tokio::test]
async fn a_killed_redis_comes_back_empty_on_its_port_and_a_paused_one_answers_late() {
    let mut redis = Redis::start().await;
    let mut connection = redis.connection().await;
    let set = redis::cmd("SET").arg("k").arg("v").query_async::<String>(&mut connection).await;
    assert_eq!(set.unwrap(), "OK");
    redis.kill();
    assert!(redis::cmd("PING").query_async::<String>(&mut connection).await.is_err());
    redis.restart().await;
    let mut connection = redis.connection().await;
    let gone = redis::cmd("GET").arg("k").query_async::<Option<String>>(&mut connection).await;
    assert_eq!(gone.unwrap(), None);

    redis.pause();
    let ping = redis::cmd("PING");
    let mut paused = connection.clone();
    let answer = ping.query_async::<String>(&mut paused);
    tokio::pin!(answer);
    let early = tokio::time::timeout(Duration::from_millis(200), &mut answer).await;
    assert!(early.is_err(), "a paused server has answered");
    redis.resume();
    assert_eq!(redis::cmd("PING").query_async::<String>(&mut connection).await.unwrap(), "PONG");
}

#[tokio::test]
async fn the_key_set_server_counts_fetches_and_behaves_as_told() {
    let (old, new) = (Key::es256("old"), Key::eddsa("new"));
    let jwks = Jwks::serving(&[&old]).await;
    let fetch = async || http::get(jwks.addr(), "/auth/v1/.well-known/jwks.json", &[]).await;
    assert_eq!(fetch().await.unwrap().json()["keys"][0]["kid"], "old");
    jwks.rotate(&[&new]);
    assert_eq!(fetch().await.unwrap().json()["keys"][0]["kid"], "new");
    jwks.behave(Behaviour::Fail(503));
    assert_eq!(fetch().await.unwrap().status, 503);
    assert_eq!(jwks.fetches(), 3);
    jwks.behave(Behaviour::Hang);
    assert!(tokio::time::timeout(Duration::from_millis(200), fetch()).await.is_err());
    assert_eq!(jwks.fetches(), 4);
}

#[test]
fn tokens_of_every_algorithm_verify_against_their_exported_key() {
    let keys = [
        Key::hs256("hs", SECRET),
        Key::rs256("rs"),
        Key::ps256("ps"),
        Key::es256("es"),
        Key::eddsa("ed"),
    ];
    let mut validation = Validation::default();
    validation.set_audience(&["authenticated"]);
    for (index, key) in keys.iter().enumerate() {
        let token = key.mint(&user_claims(ALICE));
        validation.algorithms = vec![key.algorithm];
        let verify = |jwk: Value| {
            let jwk: Jwk = serde_json::from_value(jwk).unwrap();
            let key = DecodingKey::from_jwk(&jwk).unwrap();
            jsonwebtoken::decode::<Value>(&token, &key, &validation)
        };
        let verified = verify(key.jwk()).unwrap();
        assert_eq!(verified.header.kid.as_deref(), Some(key.id.as_str()));
        assert_eq!(verified.claims["sub"], ALICE);
        let other = &keys[(index + 1) % keys.len()];
        assert!(verify(other.jwk()).is_err(), "{} verified {}", other.id, key.id);
    }
}

#[tokio::test]
async fn the_raw_client_returns_what_a_server_says_to_broken_bytes() {
    let redis = Redis::start().await;
    let addr = ([127, 0, 0, 1], redis.port()).into();
    let said = http::raw(addr, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    // Redis takes `Host:` for an attack from a browser, and closes.
    assert!(said.starts_with(b"-ERR") || said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

#[tokio::test]
async fn a_child_ends_when_it_is_dropped_and_when_its_parent_is_killed() {
    let dir = place::TempDir::new();
    // A shell that starts a grandchild the way the harness does, then waits to be killed.
    let script = "setpriv --pdeathsig KILL -- sleep 1000 & echo $!; wait";
    let mut parent = Process::spawn(Spec {
        name: "a shell",
        program: "/bin/sh".into(),
        args: vec!["-c".to_owned(), script.to_owned()],
        env: Vec::new(),
        user: None,
        dir: dir.path().to_owned(),
        log: dir.path().join("shell.log"),
        end: Signal::Kill,
    });
    let grandchild: u32 = crate::support::eventually("the shell naming its child", async || {
        parent.log().trim().parse().ok()
    })
    .await;
    let is_sleep = || {
        std::fs::read_link(format!("/proc/{grandchild}/exe"))
            .is_ok_and(|exe| exe.ends_with("sleep") || exe.ends_with("coreutils"))
    };
    crate::support::eventually("the start of the grandchild", async || is_sleep().then_some(()))
        .await;
    parent.kill();
    crate::support::eventually("the end of the orphan", async || (!is_sleep()).then_some(())).await;

    let redis = Redis::start().await;
    let port = redis.port();
    drop(redis);
    assert!(std::net::TcpListener::bind(("127.0.0.1", port)).is_ok());
    let path = dir.path().to_owned();
    drop((parent, dir));
    assert!(!path.exists(), "{} is left behind", path.display());
}
