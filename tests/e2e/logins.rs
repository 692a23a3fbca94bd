//! Signing in and staying signed in, with supabase-js and raw requests, at gateways in front of
//! what stands for Supabase Auth.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::eventually;
use crate::support::fixture::{ALICE, BOB};
use crate::support::gateway::{Draft, Gateway, tollgate};
use crate::support::gotrue::{GoTrue, Trouble};
use crate::support::http::{self, Answer};
use crate::support::node::node;
use crate::support::redis::Redis;
use crate::support::stack::{ISSUER, PUBLISHABLE, USER_SECRET, claims, directory_yaml};

const EMAIL: &str = "ann@example.test";

/// What tests vary, as YAML.
#[derive(Debug, Clone, Copy, Default)]
struct Options<'o> {
    /// Lines of `gateway.yaml`.
    gateway: &'o str,
    /// Keys of the route to the auth server.
    route: &'o str,
    /// Lines of the policy file.
    policy: &'o str,
}

async fn gateway(auth: SocketAddr, options: Options<'_>) -> Gateway {
    let draft = Draft::new();
    let (listen, admin) = (draft.listen(), draft.admin());
    let Options { gateway, route, policy } = options;
    draft.write(
        "gateway.yaml",
        &format!(
            "listen: [{{ address: {listen} }}]
admin: {admin}
identity:
  issuers:
    - {{ name: users, iss: {ISSUER}, audience: authenticated, keys: [{{ hs256: {USER_SECRET} }}] }}
  api_keys:
    - {{ name: web, publishable: {PUBLISHABLE} }}
  logins: {{ pepper: a-pepper-for-accounts-of-32-bytes-and-more }}
directory: {{ file: directory.yaml }}
upstreams:
  auth: {{ kind: auth, addresses: ['{auth}'] }}
audit: {{ file: audit.jsonl }}
policies: [policy.yaml]
{gateway}
"
        ),
    );
    draft.write(
        "policy.yaml",
        &format!(
            "plans: {{ free: {{ level: 1 }} }}
roles:
  viewer: {{ permissions: ['events:read'] }}
  editor: {{ inherits: [viewer] }}
permissions: ['events:read']
routes:
  - name: auth
    match: {{ path: '/auth/v1/{{path*}}' }}
    upstream: auth
    strip_prefix: /auth/v1
    credential: key
    tenant: none
{route}
{policy}
"
        ),
    );
    draft.write("directory.yaml", &directory_yaml());
    // Not until it is ready: what it depends on may be away, and is meant to be.
    let gateway = draft.launch();
    for address in [gateway.admin(), gateway.listen()] {
        eventually("a listener", async || TcpStream::connect(address).await.ok()).await;
    }
    gateway
}

#[tokio::test]
async fn limits_of_auth_routes_count_accounts_and_addresses_and_whoever_waits_as_told_is_let_in() {
    let auth = GoTrue::start().await;
    let policy = "logins: {}
limits:
  per_account: { scope: account, rate: 1/s, burst: 2 }
  per_address: { scope: address, rate: 10/h }";
    let options = Options { policy, route: "    limits: [per_address, per_account]", gateway: "" };
    let gateway = gateway(auth.addr(), options).await;
    let recover = async |email: &str| {
        let body = json!({ "email": email }).to_string();
        post(&gateway, "/auth/v1/recover", &[], &body).await
    };
    // As often as it takes: a slow machine gives tokens back meanwhile.
    let mut asked = 0;
    let refused = loop {
        asked += 1;
        let answer = recover(EMAIL).await;
        if answer.status != 200 {
            break answer;
        }
    };
    assert_eq!((refused.status, refused.header("x-tollgate-limit")), (429, Some("per_account")));
    assert_eq!(refused.json()["error_code"], "rate_limited", "{}", refused.text());
    assert_eq!(auth.count(), asked - 1, "the auth server is not asked");
    let told = refused.header("ratelimit").unwrap();
    assert!(told.contains("\"per_account\";r=0") && told.contains("\"per_address\""), "{told}");
    let other = recover("bob@example.test").await;
    assert_eq!(other.status, 200, "{}: another account is not meant", other.text());
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert_eq!(wait, 1);
    // Waiting is what is promised to be enough.
    tokio::time::sleep(std::time::Duration::from_secs(wait)).await;
    let later = recover(&EMAIL.to_uppercase()).await;
    assert_eq!(later.status, 200, "{}", later.text());

    // All of these were charged to the address, whatever the account.
    for number in asked + 2..10 {
        let answer = recover(&format!("user-{number}@example.test")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let refused = recover("somebody@example.test").await;
    assert_eq!((refused.status, refused.header("x-tollgate-limit")), (429, Some("per_address")));
}

#[tokio::test]
async fn a_refresh_that_meets_trouble_of_the_gateway_ends_no_session() {
    let auth = GoTrue::start().await;
    auth.user(EMAIL, ALICE, "right");
    let (hangs, breaks, refuses) =
        (GoTrue::start().await, GoTrue::start().await, GoTrue::start().await);
    hangs.trouble(Some(Trouble::Hangs));
    breaks.trouble(Some(Trouble::Breaks));
    refuses.trouble(Some(Trouble::Says(400, "refresh_token_not_found")));
    // Where nobody listens.
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    let none = Options::default();
    let late = Options {
        gateway: "edge: { body_timeout: 200ms }",
        route: "    read_timeout: 200ms",
        ..none
    };
    let used_up = "limits: { all: { scope: route, rate: 1/h, cost: 1 } }";
    let limited = Options { route: "    limits: [all]", policy: used_up, ..none };
    let guarded = Options { gateway: "edge: { address_guard: { rate: 1/h, burst: 1 } }", ..none };
    let store = format!("limits_store: {{ redis: {{ url: 'redis://{nobody}', timeout: 25ms }} }}");
    let closed = "limits: { all: { scope: route, rate: 1/s, when_away: closed } }";
    let uncounted = Options { gateway: &store, route: "    limits: [all]", policy: closed };

    let mut gateways = Vec::new();
    for (auth, options) in [
        (auth.addr(), none),
        (refuses.addr(), none),
        (hangs.addr(), late),
        (breaks.addr(), none),
        (nobody, none),
        (auth.addr(), limited),
        (auth.addr(), guarded),
        (auth.addr(), uncounted),
    ] {
        gateways.push(gateway(auth, options).await);
    }
    // These two let one request pass.
    for index in [5, 6] {
        let target = "/auth/v1/token?grant_type=refresh_token";
        let headers = [("apikey", PUBLISHABLE)];
        let to = gateways[index].listen();
        http::send(to, "POST", target, &headers, b"{}").await.unwrap();
    }
    let urls: Vec<String> = gateways.iter().map(Gateway::url).collect();
    let session = json!({
        "access_token": "old",
        "refresh_token": format!("of-{ALICE}"),
        "token_type": "bearer",
        "expires_in": 3600,
        "expires_at": claims(ALICE)["exp"],
        "user": { "id": ALICE },
    });
    let env =
        [("URLS", urls.join(" ")), ("KEY", PUBLISHABLE.into()), ("SESSION", session.to_string())];
    let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
    let steps = node("refresh.mjs", &env).await;

    let steps = steps.as_array().unwrap();
    assert_eq!(steps[0]["error"], Value::Null, "{steps:?}");
    assert_eq!((&steps[0]["status"], &steps[0]["signedIn"]), (&json!(200), &json!(true)));
    // What the auth server itself says of the session counts.
    assert_eq!((&steps[1]["status"], &steps[1]["signedIn"]), (&json!(400), &json!(false)));
    for (index, step) in steps.iter().enumerate().skip(2) {
        let log = gateways[index].log();
        assert_eq!(step["status"], 503, "{index}: {step}\n{log}");
        assert_eq!(step["error"]["name"], "AuthRetryableFetchError", "{index}: {step}");
        assert_eq!(step["signedIn"], true, "{index}: {step}");
        let wait: u64 = step["retryAfter"].as_str().expect("a time").parse().unwrap();
        assert!(wait >= 1, "{index}: {step}");
    }
}

/// Low thresholds, so that tests are short; lockouts that last, unless a test says otherwise.
const LOGINS: &str = "logins:
  account_at_address: { failures: 3 }
  address: { failures: 8, again: 1 }
  spraying: { accounts: 5, network_accounts: 50 }
";

const PASSWORD: &str = "/auth/v1/token?grant_type=password";

async fn post(gateway: &Gateway, target: &str, fields: &[(&str, &str)], body: &str) -> Answer {
    let mut all = vec![("apikey", PUBLISHABLE)];
    if !fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
        all.push(("Content-Type", "application/json;charset=UTF-8"));
    }
    all.extend_from_slice(fields);
    http::send(gateway.listen(), "POST", target, &all, body.as_bytes()).await.unwrap()
}

async fn sign_in(gateway: &Gateway, email: &str, password: &str) -> Answer {
    let body = json!({ "email": email, "password": password }).to_string();
    post(gateway, PASSWORD, &[], &body).await
}

/// What everybody is told who is locked out, whatever is locked and whether it exists.
fn is_locked(answer: &Answer) {
    assert_eq!(answer.status, 429, "{}", answer.text());
    let body = answer.json();
    assert_eq!(body["code"], 429, "{body}");
    assert_eq!(body["error_code"], "over_request_rate_limit", "{body}");
    assert_eq!(body["msg"], "too many attempts, wait before the next", "{body}");
    assert_eq!(answer.header("x-sb-error-code"), Some("over_request_rate_limit"));
    assert!(answer.header("x-tollgate-limit").is_none());
    let wait: u64 = answer.header("retry-after").expect("a time").parse().unwrap();
    assert!((1..=3_600).contains(&wait), "{wait}");
}

async fn metric(gateway: &Gateway, name: &str) -> u64 {
    let text = http::get(gateway.admin(), "/metrics", &[]).await.unwrap().text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    line.unwrap_or_else(|| panic!("no `{name}`: {text}"))
}

/// Waits for a count: some are made once the answer has been sent.
async fn counted(gateway: &Gateway, name: &str, wanted: u64) {
    eventually(name, async || (metric(gateway, name).await == wanted).then_some(())).await;
}

async fn audit(gateway: &mut Gateway) -> Vec<Value> {
    assert!(gateway.terminate().await.success(), "{}", gateway.log());
    let audit = std::fs::read_to_string(gateway.dir().join("audit.jsonl")).unwrap();
    audit.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn guarded(auth: &GoTrue) -> Gateway {
    gateway(auth.addr(), Options { policy: LOGINS, ..Options::default() }).await
}

#[tokio::test]
async fn wrong_passwords_lock_an_account_that_exists_and_one_that_does_not_alike() {
    let auth = GoTrue::start().await;
    auth.user(EMAIL, ALICE, "right");
    let mut gateway = guarded(&auth).await;
    for email in [EMAIL, "nobody@example.test"] {
        for spelt in [email, &email.to_uppercase(), email] {
            let answer = sign_in(&gateway, spelt, "wrong").await;
            assert_eq!(answer.status, 400, "{}", answer.text());
            assert_eq!(answer.json()["error_code"], "invalid_credentials");
        }
        let asked = auth.count();
        let upper = email.to_uppercase();
        let forged = [("X-Forwarded-For", "203.0.113.9"), ("Forwarded", "for=203.0.113.9")];
        let more = [("X-Real-IP", "203.0.113.9"), ("CF-Connecting-IP", "203.0.113.9")];
        let right = json!({ "email": upper, "password": "right" }).to_string();
        for fields in [&[][..], &forged, &more] {
            is_locked(&post(&gateway, PASSWORD, fields, &right).await);
        }
        for target in ["/otp", "/recover", "/resend", "/signup", "/verify", "/magiclink"] {
            let target = format!("/auth/v1{target}");
            is_locked(&post(&gateway, &target, &[], &right).await);
        }
        assert_eq!(auth.count(), asked, "the auth server is not asked");
    }
    // Another account at the same address.
    auth.user("bob@example.test", BOB, "right");
    assert_eq!(sign_in(&gateway, "bob@example.test", "right").await.status, 200);

    assert_eq!(metric(&gateway, "tollgate_login_attempts_total{outcome=\"failure\"} ").await, 6);
    assert_eq!(metric(&gateway, "tollgate_login_attempts_total{outcome=\"locked\"} ").await, 18);
    let locked = "tollgate_login_lockouts_total{subject=\"account_at_address\"} ";
    counted(&gateway, locked, 2).await;
    let records = audit(&mut gateway).await;
    let events: Vec<&Value> =
        records.iter().map(|record| &record["security"]).filter(|it| !it.is_null()).collect();
    assert_eq!(events.len(), 2, "{events:?}");
    assert_eq!(events[0]["event"], "login_lockout");
    assert_eq!(events[0]["locked"], "account_at_address");
    assert_eq!((&events[0]["level"], &events[0]["seconds"]), (&json!(1), &json!(30)));
    assert_ne!(events[0]["account"], events[1]["account"]);
    let said = format!("{records:?}{}", gateway.log()).to_lowercase();
    assert!(!said.contains("@example.test"), "{said}");
}

#[tokio::test]
async fn who_hangs_up_before_the_answer_has_guessed_all_the_same() {
    let auth = GoTrue::start().await;
    auth.user(EMAIL, ALICE, "right");
    let gateway = guarded(&auth).await;
    auth.trouble(Some(Trouble::Hangs));
    let body = json!({ "email": EMAIL, "password": "guess" }).to_string();
    let request = format!(
        "POST {PASSWORD} HTTP/1.1\r\nHost: a.test\r\napikey: {PUBLISHABLE}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    for guess in 1..=3 {
        let mut client = TcpStream::connect(gateway.listen()).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        let there = async || (auth.came() == guess).then_some(());
        eventually("the guess at the auth server", there).await;
        drop(client);
        let failures = "tollgate_login_attempts_total{outcome=\"failure\"} ";
        counted(&gateway, failures, guess as u64).await;
    }
    auth.trouble(None);
    is_locked(&sign_in(&gateway, EMAIL, "right").await);
}

#[tokio::test]
async fn supabase_js_is_told_and_a_success_begins_the_count_anew() {
    let auth = GoTrue::start().await;
    auth.user(EMAIL, ALICE, "right");
    let gateway = guarded(&auth).await;
    let with = |password: &str| json!({ "email": EMAIL, "password": password });
    let mut tries = Vec::new();
    for _ in 0..2 {
        tries.extend([with("wrong"), with("wrong"), with("right")]);
    }
    tries.extend([with("wrong"), with("wrong"), with("wrong"), with("right")]);
    let env =
        [("URLS", gateway.url()), ("KEY", PUBLISHABLE.into()), ("TRIES", json!(tries).to_string())];
    let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
    let answers = node("signin.mjs", &env).await;
    let wrong = json!({ "status": 400, "code": "invalid_credentials" });
    let good = json!({ "user": ALICE });
    let locked = json!({ "status": 429, "code": "over_request_rate_limit" });
    let wanted = json!([wrong, wrong, good, wrong, wrong, good, wrong, wrong, wrong, locked]);
    assert_eq!(answers, wanted);
}

#[tokio::test]
async fn decoys_in_a_body_are_refused_and_never_reach_the_auth_server() {
    let auth = GoTrue::start().await;
    auth.user(EMAIL, ALICE, "right");
    let gateway = guarded(&auth).await;
    // As Go reads it, this is about the victim: so much for why it is refused.
    let decoy = format!(r#"{{"email":"decoy@x","password":"a","EMAIL":"{EMAIL}"}}"#);
    let direct =
        http::send(auth.addr(), "POST", "/token?grant_type=password", &[], decoy.as_bytes());
    assert_eq!(direct.await.unwrap().status, 400);
    assert_eq!(auth.asked(EMAIL).len(), 1);

    let mut bodies = vec![decoy];
    for key in ["Email", "eMail", "emaiL", "EMAIl", "\\u0065mail", "E\\u004dAIL", "email"] {
        bodies.push(format!(r#"{{"email":"decoy@x","password":"a","{key}":"{EMAIL}"}}"#));
        bodies.push(format!(r#"{{"{key}":"{EMAIL}","password":"a","email":null}}"#));
    }
    for key in ["paſſword", "PASSWORD", "Paſsword"] {
        bodies.push(format!(r#"{{"email":"{EMAIL}","password":"a","{key}":"right"}}"#));
    }
    bodies.push(format!(r#"{{"email":"decoy@x"}}{{"email":"{EMAIL}"}}"#));
    bodies.push(format!(r#"[{{"email":"{EMAIL}","password":"right"}}]"#));
    bodies.push(format!(r#"{{"email":"{EMAIL}","phone":"49","password":"right"}}"#));
    bodies.push(format!(r#"{{"email":["{EMAIL}"],"password":"right"}}"#));
    bodies.push(format!("\u{feff}{{\"email\":\"{EMAIL}\"}}"));
    bodies.push(String::new());
    let targets = [
        PASSWORD,
        "/auth/v1/token?x=y&grant%5Ftype=pass%77ord",
        "/auth/v1/token/?grant_type=password",
    ];
    for (index, body) in bodies.iter().enumerate() {
        let answer = post(&gateway, targets[index % 3], &[], body).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
        assert_eq!(answer.json()["error_code"], "bad_json", "{body}");
    }
    let good = json!({ "email": EMAIL, "password": "right" }).to_string();
    for (name, value) in [
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Content-Type", "text/plain"),
        ("Content-Encoding", "gzip"),
    ] {
        assert_eq!(post(&gateway, PASSWORD, &[(name, value)], &good).await.status, 400, "{value}");
    }
    let twice = format!("{PASSWORD}&grant_type=refresh_token");
    assert_eq!(post(&gateway, &twice, &[], &good).await.status, 400);
    let large = format!(r#"{{"email":"{EMAIL}","x":"{}"}}"#, "x".repeat(70_000));
    assert_eq!(post(&gateway, PASSWORD, &[], &large).await.status, 413);
    assert_eq!(auth.count(), 1, "nothing of it came through");
    assert_eq!(post(&gateway, PASSWORD, &[], &good).await.status, 200);
}

#[tokio::test]
async fn one_address_that_fails_for_many_accounts_is_recognised_and_locked() {
    let auth = GoTrue::start().await;
    auth.user(EMAIL, ALICE, "right");
    let mut gateway = guarded(&auth).await;
    for user in 0..5 {
        let email = format!("user{user}@example.test");
        assert_eq!(sign_in(&gateway, &email, "Summer2026!").await.status, 400);
    }
    is_locked(&sign_in(&gateway, EMAIL, "right").await);
    let alarm = "tollgate_login_alarms_total{kind=\"password_spraying\"} ";
    counted(&gateway, alarm, 1).await;
    let records = audit(&mut gateway).await;
    let event = records.iter().find(|record| record["security"]["event"] == "password_spraying");
    let event = &event.expect("the event")["security"];
    assert_eq!((&event["severity"], &event["from"]), (&json!("high"), &json!("address")));
    assert_eq!(event["accounts"], 5, "{event}");
    assert!(gateway.log().contains("password_spraying"), "{}", gateway.log());
}

#[tokio::test]
async fn what_is_only_watched_is_counted_and_lets_everybody_through() {
    let auth = GoTrue::start().await;
    auth.user(EMAIL, ALICE, "right");
    let policy = "logins: { mode: shadow, account_at_address: { failures: 3 } }";
    let gateway = gateway(auth.addr(), Options { policy, ..Options::default() }).await;
    for _ in 0..5 {
        assert_eq!(sign_in(&gateway, EMAIL, "wrong").await.status, 400);
    }
    let decoy = r#"{"email":"a@x","EMAIL":"b@x","password":"p"}"#;
    let answer = post(&gateway, PASSWORD, &[], decoy).await;
    assert_eq!(answer.json()["error_code"], "invalid_credentials");
    assert_eq!(metric(&gateway, "tollgate_login_attempts_total{outcome=\"shadow\"} ").await, 2);
    assert_eq!(sign_in(&gateway, EMAIL, "right").await.status, 200);
}

#[tokio::test]
async fn lockouts_hold_at_every_gateway_grow_end_and_outlive_redis() {
    let auth = GoTrue::start().await;
    auth.user(EMAIL, ALICE, "right");
    let mut redis = Redis::start().await;
    let store = format!("limits_store: {{ redis: {{ url: '{}', timeout: 1s }} }}", redis.url());
    let policy = "logins: { account_at_address: { failures: 4, first: 2s, most: 1h } }";
    let options = Options { gateway: &store, policy, ..Options::default() };
    let (mut one, mut other) =
        (gateway(auth.addr(), options).await, gateway(auth.addr(), options).await);
    one.ready().await;
    other.ready().await;
    for gateway in [&one, &other, &one, &other] {
        assert_eq!(sign_in(gateway, EMAIL, "wrong").await.status, 400);
    }
    for gateway in [&one, &other] {
        is_locked(&sign_in(gateway, EMAIL, "right").await);
    }
    // It ends, and one more failure begins a longer one.
    eventually("the end of the lockout", async || {
        (sign_in(&one, EMAIL, "wrong").await.status == 400).then_some(())
    })
    .await;
    is_locked(&sign_in(&other, EMAIL, "right").await);

    let config = one.dir().join("gateway.yaml").display().to_string();
    let shown =
        tollgate(&["logins", "show", "--email", "Ann@Example.test", "--config", &config]).await;
    assert!(shown.contains("account_at_address") && shown.contains(":127.0.0.1"), "{shown}");
    let unlock = ["logins", "unlock", "--email", EMAIL, "--config", &config];
    let said = tollgate(&unlock).await;
    assert!(said.starts_with("forgot "), "{said}");
    assert_eq!(sign_in(&other, EMAIL, "right").await.status, 200);
    assert_eq!(sign_in(&one, EMAIL, "right").await.status, 200);

    for _ in 0..2 {
        assert_eq!(sign_in(&one, EMAIL, "wrong").await.status, 400);
    }
    redis.kill();
    // Each node counts by itself, and answers.
    for gateway in [&one, &other] {
        for _ in 0..4 {
            assert_eq!(sign_in(gateway, EMAIL, "wrong").await.status, 400);
        }
        is_locked(&sign_in(gateway, EMAIL, "right").await);
        assert!(metric(gateway, "tollgate_login_store_away_total ").await >= 4);
    }
    let refresh = format!(r#"{{"refresh_token":"of-{ALICE}"}}"#);
    let target = "/auth/v1/token?grant_type=refresh_token";
    assert_eq!(post(&one, target, &[], &refresh).await.status, 200, "who is signed in stays so");
    let levels: Vec<Value> = audit(&mut one)
        .await
        .iter()
        .filter(|record| record["security"]["event"] == "login_lockout")
        .map(|record| json!([record["security"]["level"], record["security"]["seconds"]]))
        .collect();
    assert!(levels.contains(&json!([2, 4])), "{levels:?}");
}

/// A client at an address, as a proxy that is trusted tells.
async fn from(gateway: &Gateway, address: &str, target: &str, email: &str, secret: &str) -> Answer {
    let body = json!({ "email": email, "password": secret, "token": secret }).to_string();
    post(gateway, target, &[("X-Forwarded-For", address)], &body).await
}

async fn behind_a_proxy(auth: &GoTrue, logins: &str) -> Gateway {
    let trusted = "edge: { trusted_proxies: [127.0.0.0/8] }";
    let policy = format!("logins: {logins}");
    let options = Options { gateway: trusted, policy: &policy, ..Options::default() };
    gateway(auth.addr(), options).await
}

#[tokio::test]
async fn an_account_that_is_guessed_at_from_everywhere_stays_open_to_its_user() {
    let auth = GoTrue::start().await;
    auth.user(EMAIL, ALICE, "right");
    let gateway = behind_a_proxy(&auth, "{ account: { failures: 6 } }").await;
    let home = "203.0.113.5";
    assert_eq!(from(&gateway, home, PASSWORD, EMAIL, "right").await.status, 200);
    for turn in 0..6 {
        let address = format!("198.51.{turn}.9");
        assert_eq!(from(&gateway, &address, PASSWORD, EMAIL, "wrong").await.status, 400);
    }
    is_locked(&from(&gateway, "198.51.100.9", PASSWORD, EMAIL, "right").await);
    is_locked(&from(&gateway, "198.51.100.9", "/auth/v1/verify", EMAIL, "123456").await);
    // Somebody who has written one hop more is nobody else.
    let forged = format!("{home}, 198.51.100.9");
    is_locked(&from(&gateway, &forged, PASSWORD, EMAIL, "right").await);
    assert_eq!(from(&gateway, home, PASSWORD, EMAIL, "wrong").await.status, 400);
    assert_eq!(from(&gateway, home, PASSWORD, EMAIL, "right").await.status, 200);
    assert_eq!(from(&gateway, "198.51.100.9", "/auth/v1/recover", EMAIL, "").await.status, 200);
    assert_eq!(auth.asked(EMAIL).last().map(|asked| asked.address.as_str()), Some("198.51.100.9"));
}

#[tokio::test]
async fn stolen_passwords_tried_from_everywhere_are_recognised_and_lock_addresses_sooner() {
    let auth = GoTrue::start().await;
    let stuffing = "{ stuffing: { failures: 10, percent: 80, address_failures: 2 } }";
    let mut gateway = behind_a_proxy(&auth, stuffing).await;
    for turn in 0..11 {
        let (address, email) = (format!("198.51.{turn}.9"), format!("user{turn}@example.test"));
        assert_eq!(from(&gateway, &address, PASSWORD, &email, "stolen").await.status, 400);
    }
    let kind = "tollgate_login_alarms_total{kind=\"credential_stuffing\"} ";
    counted(&gateway, kind, 1).await;
    for (turn, status) in [(0, 400), (1, 400), (2, 429)] {
        let email = format!("more{turn}@example.test");
        let answer = from(&gateway, "198.51.77.9", PASSWORD, &email, "stolen").await;
        assert_eq!(answer.status, status, "{turn}");
    }
    let records = audit(&mut gateway).await;
    let told: Vec<&Value> =
        records.iter().filter(|it| it["security"]["event"] == "credential_stuffing").collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["security"]["severity"], "high");
}
