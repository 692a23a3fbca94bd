//! Sessions that end while their tokens still live: two gateways, one Redis, and sign-outs that
//! pass through one of them.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::support::eventually;
use crate::support::fixture::{ALICE, BOB};
use crate::support::gateway::{Draft, Gateway, tollgate};
use crate::support::http::{self, Answer};
use crate::support::jwks::{Behaviour, Jwks};
use crate::support::keys::Key;
use crate::support::recorder::Recorder;
use crate::support::redis::Redis;
use crate::support::stack::{ISSUER, PUBLISHABLE, USER_SECRET, claims, directory_yaml};

/// Within this time every node refuses what was revoked on one.
const SOON: Duration = Duration::from_secs(1);

struct World {
    one: Gateway,
    other: Gateway,
    /// Stands for the auth server: what it answers to a sign-out.
    auth: Jwks,
    redis: Redis,
    upstream: Recorder,
}

impl World {
    async fn start() -> Self {
        let (redis, upstream, auth) =
            (Redis::start().await, Recorder::start().await, Jwks::serving(&[]).await);
        let gateway = async || {
            let draft = Draft::new();
            draft.write("gateway.yaml", &gateway_yaml(&draft, &upstream, &auth, &redis.url()));
            draft.write("policy.yaml", POLICY);
            draft.write("directory.yaml", &directory_yaml());
            draft.start().await
        };
        let (one, other) = (gateway().await, gateway().await);
        let world = Self { one, other, auth, redis, upstream };
        world.caught_up().await;
        world
    }

    async fn caught_up(&self) {
        for gateway in [&self.one, &self.other] {
            eventually("the store being caught up with", async || {
                (!away(gateway).await).then_some(())
            })
            .await;
        }
    }

    async fn sign_out(&self, scope: &str, token: &str) -> Answer {
        let target = format!("/auth/v1/logout{scope}");
        let bearer = format!("Bearer {token}");
        let headers = [("Authorization", bearer.as_str()), ("apikey", PUBLISHABLE)];
        http::send(self.one.listen(), "POST", &target, &headers, b"").await.unwrap()
    }

    /// Both gateways refuse it within a second.
    async fn refuse_soon(&self, token: &str) {
        let both = async {
            for gateway in [&self.one, &self.other] {
                eventually("the refusal", async || {
                    let answer = get(gateway, token).await;
                    (answer.status == 401).then(|| {
                        assert_eq!(answer.json()["code"], "session_revoked", "{}", answer.text());
                    })
                })
                .await;
            }
        };
        tokio::time::timeout(SOON, both).await.expect("within a second");
    }

    async fn serve(&self, token: &str) {
        for gateway in [&self.one, &self.other] {
            let answer = get(gateway, token).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
    }
}

async fn get(gateway: &Gateway, token: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    http::get(gateway.listen(), "/api/me", &[("Authorization", bearer.as_str())]).await.unwrap()
}

async fn metric(gateway: &Gateway, name: &str) -> u64 {
    let text = http::get(gateway.admin(), "/metrics", &[]).await.unwrap().text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    line.unwrap_or_else(|| panic!("no `{name}`: {text}"))
}

async fn away(gateway: &Gateway) -> bool {
    metric(gateway, "tollgate_session_store_away ").await == 1
}

fn token(user: &str, session: &str) -> String {
    let mut claims = claims(user);
    claims["session_id"] = json!(session);
    Key::hs256("users", USER_SECRET).mint(&claims)
}

/// Issued some time ago.
fn old_token(user: &str, session: &str) -> String {
    let mut claims = claims(user);
    claims["session_id"] = json!(session);
    claims["iat"] = json!(claims["iat"].as_u64().unwrap() - 60);
    Key::hs256("users", USER_SECRET).mint(&claims)
}

fn gateway_yaml(draft: &Draft, upstream: &Recorder, auth: &Jwks, redis: &str) -> String {
    let (listen, admin) = (draft.listen(), draft.admin());
    let (upstream, auth) = (upstream.addr(), auth.addr());
    format!(
        "listen: [{{ address: {listen} }}]
admin: {admin}
identity:
  issuers:
    - {{ name: users, iss: {ISSUER}, audience: authenticated, keys: [{{ hs256: {USER_SECRET} }}] }}
  api_keys:
    - {{ name: web, publishable: {PUBLISHABLE} }}
  devices: {{ keys: [{USER_SECRET}] }}
directory: {{ file: directory.yaml }}
sessions: {{ store: {{ redis: {{ url: '{redis}' }} }} }}
upstreams:
  api: {{ kind: http, addresses: [{upstream}] }}
  auth: {{ kind: auth, addresses: [{auth}] }}
audit: {{ file: audit.jsonl }}
policies: [policy.yaml]
"
    )
}

const POLICY: &str = "plans:
  free: { level: 1 }
roles:
  viewer: { permissions: ['events:read'] }
  editor: { inherits: [viewer] }
routes:
  - { name: events, match: { path: /api/events }, upstream: api, credential: user, tenant: [default], permission: 'events:read', require: [{ session_idle: 30m }] }
  - { name: careful, match: { path: /api/careful }, upstream: api, credential: user, tenant: [default], permission: 'events:read', require: [{ aal: aal2, device: 7d }] }
  - { name: socket, match: { path: /socket }, upstream: api, credential: user, tenant: none, websocket: true }
  - { name: api, match: { path: /api/me }, upstream: api, credential: user, tenant: none }
  - name: auth
    match: { path: '/auth/v1/{path*}' }
    upstream: auth
    strip_prefix: /auth/v1
    credential: key
    tenant: none
";

#[tokio::test]
async fn a_sign_out_at_one_gateway_ends_what_its_scope_names_at_the_other_within_a_second() {
    let mut world = World::start().await;
    world.auth.behave(Behaviour::Fail(204));
    let (phone, laptop) = (old_token(ALICE, "phone"), old_token(ALICE, "laptop"));
    let bob = old_token(BOB, "phone-of-bob");
    for token in [&phone, &laptop, &bob] {
        world.serve(token).await;
    }

    assert_eq!(world.sign_out("?scope=local", &phone).await.status, 204);
    world.refuse_soon(&phone).await;
    world.serve(&laptop).await;

    let tablet = old_token(ALICE, "tablet");
    assert_eq!(world.sign_out("?scope=others", &laptop).await.status, 204);
    world.refuse_soon(&tablet).await;
    world.serve(&laptop).await;

    assert_eq!(world.sign_out("", &laptop).await.status, 204);
    world.refuse_soon(&laptop).await;
    // At once, within the same second even.
    world.serve(&token(ALICE, "again")).await;
    world.serve(&bob).await;

    assert!(metric(&world.one, "tollgate_revoked_session_uses_total ").await >= 1);
    assert!(world.one.terminate().await.success(), "{}", world.one.log());
    let audit = std::fs::read_to_string(world.one.dir().join("audit.jsonl")).unwrap();
    let event = audit
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .find(|record| record["code"] == "session_revoked")
        .expect("a record of the use");
    let wanted = json!({ "event": "revoked_session", "severity": "low", "stage": "authenticate" });
    assert_eq!((&event["security"], &event["user"]), (&wanted, &json!(ALICE)));
    let logged = world.one.log();
    assert!(logged.contains("somebody used a session that was revoked"), "{logged}");
}

/// As pages do that sign out and go elsewhere at once.
#[tokio::test]
async fn a_sign_out_whose_client_hangs_up_before_the_answer_ends_what_it_named() {
    let world = World::start().await;
    world.auth.behave(Behaviour::Hang);
    let (phone, laptop) = (old_token(ALICE, "phone"), old_token(ALICE, "laptop"));
    for token in [&phone, &laptop] {
        world.serve(token).await;
    }
    let before = world.auth.fetches();
    let mut client = TcpStream::connect(world.one.listen()).await.unwrap();
    let request = format!(
        "POST /auth/v1/logout?scope=local HTTP/1.1\r\nHost: a.test\r\napikey: {PUBLISHABLE}\r\n\
         Authorization: Bearer {phone}\r\nContent-Length: 0\r\n\r\n"
    );
    client.write_all(request.as_bytes()).await.unwrap();
    let there = async || (world.auth.fetches() > before).then_some(());
    eventually("the sign-out at the auth server", there).await;
    world.serve(&phone).await;
    drop(client);
    world.refuse_soon(&phone).await;
    world.serve(&laptop).await;
}

#[tokio::test]
async fn a_sign_out_closes_the_websockets_of_the_session_at_every_gateway() {
    let world = World::start().await;
    world.auth.behave(Behaviour::Fail(204));
    let (phone, laptop) = (old_token(ALICE, "phone"), old_token(ALICE, "laptop"));
    let (mut ended, mut kept) =
        (socket(&world.other, &phone).await, socket(&world.other, &laptop).await);
    world.sign_out("?scope=local", &phone).await;
    let mut byte = [0; 1];
    let closed = tokio::time::timeout(2 * SOON, ended.read(&mut byte)).await;
    assert!(matches!(closed.expect("closed"), Ok(0) | Err(_)));
    kept.get_mut().write_all(b"still here").await.unwrap();
    eventually("the words upstream", async || world.upstream.has_heard("still here").then_some(()))
        .await;
}

async fn socket(gateway: &Gateway, token: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(gateway.listen()).await.unwrap();
    let head = format!(
        "GET /socket HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
         Authorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut back = BufReader::new(stream);
    assert_eq!(http::answer(&mut back, true).await.unwrap().status, 101);
    back
}

#[tokio::test]
async fn a_sign_out_that_the_auth_server_did_not_do_ends_nothing() {
    let world = World::start().await;
    let (phone, laptop) = (old_token(ALICE, "phone"), old_token(ALICE, "laptop"));
    for status in [500, 503, 400, 429] {
        world.auth.behave(Behaviour::Fail(status));
        assert_eq!(world.sign_out("", &phone).await.status, status);
        world.serve(&phone).await;
    }
    // Gone there: then here, too, but nobody else's.
    world.auth.behave(Behaviour::Fail(403));
    assert_eq!(world.sign_out("", &phone).await.status, 403);
    world.refuse_soon(&phone).await;
    world.serve(&laptop).await;
}

#[tokio::test]
async fn what_was_revoked_stays_so_while_redis_is_killed_and_after_it_came_back_empty() {
    let mut world = World::start().await;
    world.auth.behave(Behaviour::Fail(204));
    let (before, meanwhile) = (old_token(ALICE, "before"), old_token(BOB, "meanwhile"));
    world.sign_out("", &before).await;
    world.refuse_soon(&before).await;

    world.redis.kill();
    eventually("the loss of Redis", async || {
        (away(&world.one).await && away(&world.other).await).then_some(())
    })
    .await;
    let ready = http::get(world.one.admin(), "/readyz", &[]).await.unwrap();
    assert_eq!(ready.status, 200, "{}", ready.text());
    assert!(ready.text().contains("what other nodes revoke is not heard of"), "{}", ready.text());
    for gateway in [&world.one, &world.other] {
        assert_eq!(get(gateway, &before).await.status, 401);
    }
    world.sign_out("", &meanwhile).await;
    assert_eq!(get(&world.one, &meanwhile).await.status, 401);

    world.redis.restart().await;
    world.caught_up().await;
    world.refuse_soon(&before).await;
    world.refuse_soon(&meanwhile).await;
    // A process that has forgotten everything learns it from Redis, which had.
    world.other.restart().await;
    world.caught_up().await;
    world.refuse_soon(&before).await;
    world.refuse_soon(&meanwhile).await;
    world.serve(&token(ALICE, "again")).await;
}

#[tokio::test]
async fn a_command_ends_users_and_sessions_at_running_gateways() {
    let world = World::start().await;
    let config = world.one.dir().join("gateway.yaml").display().to_string();
    let (phone, laptop) = (old_token(ALICE, "phone"), old_token(ALICE, "laptop"));
    let said = tollgate(&["sessions", "revoke", "--session", "phone", "--config", &config]).await;
    assert_eq!(said, "revoked session `phone`\n");
    world.refuse_soon(&phone).await;
    world.serve(&laptop).await;
    tollgate(&["sessions", "revoke", "--user", ALICE, "--config", &config]).await;
    world.refuse_soon(&laptop).await;
}

#[tokio::test]
async fn uses_are_listed_and_a_session_that_rested_too_long_is_refused_until_it_is_begun_anew() {
    let world = World::start().await;
    let config = world.one.dir().join("gateway.yaml").display().to_string();
    let phone = old_token(ALICE, "phone");
    let bearer = format!("Bearer {phone}");
    let firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0";
    let fields = [("Authorization", bearer.as_str()), ("User-Agent", firefox)];
    let events = async |gateway: &Gateway, fields: &[(&str, &str)]| {
        http::get(gateway.listen(), "/api/events", fields).await.unwrap()
    };
    assert_eq!(events(&world.one, &fields).await.status, 200);
    let said = eventually("the list", async || {
        let said = tollgate(&["sessions", "list", "--user", ALICE, "--config", &config]).await;
        said.contains("phone").then_some(said)
    })
    .await;
    for wanted in ["Firefox on Linux", "127.0.0.1", "11111111-1111-4111-8111-111111111111"] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }

    // As if it had rested for an hour; the score is the second of its last use.
    let mut connection = world.redis.connection().await;
    let set = |key: &'static str| format!("tollgate:{{sessions}}:{key}");
    let marks: Vec<(String, f64)> = redis::cmd("ZRANGE")
        .arg((set("seen"), 0, -1, "WITHSCORES"))
        .query_async(&mut connection)
        .await
        .unwrap();
    let [(mark, score)] = &marks[..] else { panic!("{marks:?}") };
    let rested = score.floor() + 60.0 / 2_097_152.0;
    redis::cmd("ZADD")
        .arg((set("seen"), format!("{rested:.17}"), mark))
        .query_async::<()>(&mut connection)
        .await
        .unwrap();
    for gateway in [&world.one, &world.other] {
        eventually("the refusal", async || {
            let answer = events(gateway, &fields).await;
            (answer.status == 401).then(|| assert_eq!(answer.json()["code"], "session_idle"))
        })
        .await;
        // Other requests do not make it young again.
        assert_eq!(get(gateway, &phone).await.status, 200);
        assert_eq!(events(gateway, &fields).await.status, 401);
        let again = format!("Bearer {}", token(ALICE, "again"));
        let answer = events(gateway, &[("Authorization", again.as_str())]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

/// Whether a device stands in for the second factor at each gateway.
async fn careful(world: &World, token: &str, cookie: &str) -> [u16; 2] {
    let bearer = format!("Bearer {token}");
    let headers = [("Authorization", bearer.as_str()), ("Cookie", cookie)];
    let ask = async |gateway: &Gateway| {
        http::get(gateway.listen(), "/api/careful", &headers).await.unwrap().status
    };
    [ask(&world.one).await, ask(&world.other).await]
}

#[tokio::test]
async fn a_device_that_is_trusted_at_one_gateway_is_at_the_other_until_it_is_taken_back_at_either()
{
    let mut world = World::start().await;
    let token = token(ALICE, "laptop");
    assert_eq!(careful(&world, &token, "a=1").await, [403, 403]);
    let mut shown = claims(ALICE);
    shown["aal"] = json!("aal2");
    shown["amr"] = json!([{ "method": "totp", "timestamp": shown["iat"] }]);
    let shown = Key::hs256("users", USER_SECRET).mint(&shown);
    let trust = async |gateway: &Gateway, token: &str, wish: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [("Authorization", bearer.as_str()), ("X-Trust-Device", wish)];
        http::get(gateway.listen(), "/api/me", &headers).await.unwrap()
    };
    let made = async |world: &World| {
        let answer = trust(&world.one, &shown, "cookie").await;
        let set = answer.header("set-cookie").expect("a cookie").to_owned();
        let cookie = set.split(';').next().unwrap().to_owned();
        assert_eq!(careful(world, &token, &format!("a=1; {cookie}; b=2")).await, [200, 200]);
        cookie
    };
    let gone = async |world: &World, cookie: &str| {
        eventually("a device that is not trusted", async || {
            (careful(world, &token, cookie).await == [403, 403]).then_some(())
        })
        .await;
    };

    // The id in the audit log takes one device back.
    let cookie = made(&world).await;
    let id = eventually("the record", async || {
        let audit = std::fs::read_to_string(world.one.dir().join("audit.jsonl")).ok()?;
        let mut lines = audit.lines().rev().filter_map(|line| serde_json::from_str(line).ok());
        lines.find_map(|line: Value| Some(line["device"].as_str()?.to_owned()))
    })
    .await;
    let config = world.one.dir().join("gateway.yaml").display().to_string();
    let said = tollgate(&["sessions", "revoke", "--device", &id, "--config", &config]).await;
    assert_eq!(said, format!("revoked the device `{id}`\n"));
    gone(&world, &cookie).await;

    // The user takes all of them back. What is trusted in the same second ends with them.
    let cookie = made(&world).await;
    let answer = trust(&world.other, &token, "forget").await;
    assert!(answer.header("set-cookie").unwrap().contains("; Max-Age=0;"), "{answer:?}");
    gone(&world, &cookie).await;

    let cookies: Vec<String> = world
        .upstream
        .requests("/api/careful")
        .iter()
        .flat_map(|request| {
            request.all("cookie").into_iter().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    assert!(!cookies.is_empty() && cookies.iter().all(|line| line == "a=1; b=2"), "{cookies:?}");
    assert!(world.one.terminate().await.success(), "{}", world.one.log());
    assert!(!world.one.log().contains("tgd_"), "{}", world.one.log());
}
