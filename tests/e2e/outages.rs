//! The running gateway while what it depends on is killed, paused or changed.

use serde_json::Value;

use crate::support::fixture::{ACME, ALICE, BOB, GLOBEX};
use crate::support::gateway::tollgate;
use crate::support::postgres::{APP, Postgres};
use crate::support::process::Signal;
use crate::support::redis::Redis;
use crate::support::stack::{Options, Stack, policy_yaml, token};
use crate::support::{eventually, http};

const EVENTS: &str = "/rest/v1/events?select=title";

#[tokio::test]
async fn a_limit_holds_to_the_request_and_says_when_to_come_back() {
    let stack = Stack::start(&Options { per_user: 3, ..Options::default() }).await;
    exhausts(&stack, ALICE, 3).await;
    // One user's traffic is not another's.
    assert_eq!(stack.get(EVENTS, &token(BOB)).await.status, 200);
}

#[tokio::test]
async fn limits_in_redis_outlive_the_node_and_a_dead_or_silent_redis_never_hangs_a_request() {
    let mut redis = Redis::start().await;
    let store = format!("{{ redis: {{ url: '{}' }} }}", redis.url());
    let options = Options { per_user: 3, limits_store: store, ..Options::default() };
    let mut stack = Stack::start(&options).await;
    exhausts(&stack, ALICE, 3).await;
    stack.gateway.restart().await;
    assert_eq!(stack.get(EVENTS, &token(ALICE)).await.status, 429, "the buckets are in Redis");
    operated(&stack).await;

    redis.pause();
    // `local_share`: this one node enforces the whole of the limit by itself.
    exhausts(&stack, BOB, 3).await;
    redis.resume();
    redis.kill();
    let answer = stack.get(EVENTS, &token(BOB)).await;
    assert!([200, 429].contains(&answer.status), "{}", answer.text());
    redis.restart().await;
    eventually("limits in Redis again", async || {
        stack.get(EVENTS, &token(ALICE)).await;
        let mut connection = redis.connection().await;
        let keys: Vec<String> =
            redis::cmd("KEYS").arg("*").query_async(&mut connection).await.ok()?;
        (!keys.is_empty()).then_some(())
    })
    .await;
}

/// What an operator can see and change of them from outside.
async fn operated(stack: &Stack) {
    let config = stack.gateway.dir().join("gateway.yaml").display().to_string();
    let limits = async |arguments: &[&str]| {
        tollgate(
            &[&["limits"], arguments, &["--organization", "acme", "--config", &config]].concat(),
        )
        .await
    };
    let shown = limits(&["show", "--json"]).await;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown[0]["id"], &shown[0]["left"]), (&ALICE.into(), &0.into()), "{shown}");
    assert!(limits(&["show"]).await.contains("per_user"));
    let said = limits(&["reset", "--id", ALICE]).await;
    assert!(said.starts_with("filled 1 bucket;"), "{said}");
    // The node forgets within a moment that it was refused.
    eventually("a bucket with tokens", async || {
        (stack.get(EVENTS, &token(ALICE)).await.status == 200).then_some(())
    })
    .await;
    let said = limits(&["set", "--limit", "per_user", "--left", "0"]).await;
    assert!(said.starts_with("set 1 bucket;"), "{said}");
    assert_eq!(stack.get(EVENTS, &token(ALICE)).await.status, 429);
}

async fn exhausts(stack: &Stack, user: &str, allowed: u32) {
    for count in 0..allowed {
        let answer = stack.get(EVENTS, &token(user)).await;
        assert_eq!(answer.status, 200, "request {count}: {}", answer.text());
    }
    let answer = stack.get(EVENTS, &token(user)).await;
    assert_eq!(answer.status, 429, "{}", answer.text());
    assert_eq!(answer.json()["code"], "rate_limited");
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!(wait > 0);
    for name in ["ratelimit", "ratelimit-policy"] {
        let value = answer.header(name).unwrap_or_else(|| panic!("{name}: {:?}", answer.headers));
        assert!(value.contains("per_user"), "{name}: {value}");
    }
}

#[tokio::test]
async fn a_dead_upstream_is_a_503_in_the_shape_that_its_clients_parse() {
    let mut stack = Stack::start(&Options::default()).await;
    let alice = token(ALICE);
    assert_eq!(stack.get(EVENTS, &alice).await.status, 200);
    stack.postgrest.kill();
    let answer = stack.get(EVENTS, &alice).await;
    assert!([502, 503].contains(&answer.status), "{}", answer.text());
    for key in ["code", "message", "details", "hint"] {
        assert!(answer.json().get(key).is_some(), "{key}: {}", answer.text());
    }
    assert!(answer.header("x-request-id").is_some(), "{:?}", answer.headers);
}

#[tokio::test]
async fn a_bad_policy_leaves_the_old_one_running_and_a_good_one_takes_over() {
    let options = Options::default();
    let stack = Stack::start(&options).await;
    let alice = token(ALICE);
    assert_eq!(stack.get(EVENTS, &alice).await.status, 200);

    stack.gateway.write("policy.yaml", "tables: { events: { tennant: x } }\n");
    stack.gateway.signal(Signal::Hup);
    eventually("a message about the mistyped key", async || {
        stack.gateway.log().contains("tennant").then_some(())
    })
    .await;
    assert_eq!(stack.get(EVENTS, &alice).await.status, 200);

    let closed = policy_yaml(&options).replace("'*:read'", "'countries:read'");
    stack.gateway.write("policy.yaml", &closed);
    stack.gateway.signal(Signal::Hup);
    eventually("the new policy", async || {
        (stack.get(EVENTS, &alice).await.status == 403).then_some(())
    })
    .await;
    assert_eq!(stack.get("/rest/v1/countries?select=code", &alice).await.status, 200);
}

#[tokio::test]
async fn a_dead_directory_refuses_nobody_it_has_known_and_calls_nobody_else_a_stranger() {
    let mut postgres = Postgres::start().await;
    postgres.execute("postgres", "create database directory").await;
    let url = postgres.url("directory");
    tollgate(&["migrate", "--database", &url]).await;
    let organizations = [(ACME, ALICE), (GLOBEX, BOB)];
    for (org, user) in organizations {
        let (id, slug) = (org.id, org.slug);
        postgres
            .execute(
                "directory",
                &format!(
                    "insert into tollgate.organizations (id, slug, name, plan) values ('{id}', '{slug}', '{slug}', 'free');
                     insert into tollgate.organization_members (organization_id, user_id, role) values ('{id}', '{user}', 'editor')"
                ),
            )
            .await;
    }
    let options = Options {
        directory: format!("{{ postgres: {{ url: '{url}', ttl: 1s, max_stale: 1h }} }}"),
        ..Options::default()
    };
    let stack = Stack::start(&options).await;
    assert_eq!(stack.get(EVENTS, &token(ALICE)).await.status, 200);
    postgres.kill().await;
    assert_eq!(stack.get(EVENTS, &token(ALICE)).await.status, 200);
    let unknown = stack.get(EVENTS, &token(BOB)).await;
    assert_eq!(unknown.status, 503, "{}", unknown.text());
    assert!(unknown.header("retry-after").is_some(), "{:?}", unknown.headers);
    postgres.restart().await;
    eventually("the directory again", async || {
        (stack.get(EVENTS, &token(BOB)).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_terminated_gateway_answers_what_it_has_begun() {
    let mut stack = Stack::start(&Options::default()).await;
    let alice = token(ALICE);
    // A lock in the database holds a request back for as long as the test wants.
    let holder = stack.postgres.client(APP).await;
    holder.batch_execute("begin; lock table events").await.unwrap();
    let (gateway, bearer) = (stack.gateway.listen(), format!("Bearer {alice}"));
    let slow = tokio::spawn(async move {
        http::get(gateway, EVENTS, &[("Authorization", bearer.as_str())]).await
    });
    eventually("the request waiting in the database", async || {
        let waiting = "select 1 as n from pg_stat_activity where wait_event_type = 'Lock'";
        (!stack.postgres.rows("postgres", waiting).await.is_empty()).then_some(())
    })
    .await;
    stack.gateway.signal(Signal::Term);
    let admin = stack.gateway.admin();
    eventually("the end of being ready", async || {
        let ready = http::get(admin, "/readyz", &[]).await.is_ok_and(|a| a.status == 200);
        (!ready).then_some(())
    })
    .await;
    holder.batch_execute("commit").await.unwrap();
    assert_eq!(slow.await.unwrap().unwrap().status, 200);
    assert!(stack.gateway.ended().await.success(), "{}", stack.gateway.log());
}

#[tokio::test]
async fn a_successor_takes_the_sockets_over_and_no_request_is_refused() {
    let mut stack = Stack::start(&Options::default()).await;
    let (gateway, admin) = (stack.gateway.listen(), stack.gateway.admin());
    let bearer = format!("Bearer {}", token(ALICE));
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    // One connection for each request, without a pause, until the old process has ended.
    let load = tokio::spawn(async move {
        let mut answered = 0;
        while stopped.try_recv().is_err() {
            let answer = http::get(gateway, EVENTS, &[("Authorization", bearer.as_str())]).await;
            assert_eq!(answer.expect("an answer").status, 200);
            answered += 1;
        }
        answered
    });
    let mut old = stack.gateway.succeed();
    let socket = stack.gateway.dir().join("upgrade.sock");
    eventually("a successor that waits", async || socket.exists().then_some(())).await;
    old.signal(Signal::Quit);
    assert!(old.ended().await.success(), "{}", old.log());
    stop.send(()).unwrap();
    assert!(load.await.unwrap() > 0);
    stack.gateway.ready().await;
    let answer = stack.get(EVENTS, &token(ALICE)).await;
    assert_eq!(answer.status, 200, "{}", stack.gateway.log());
    assert_eq!(http::get(admin, "/readyz", &[]).await.unwrap().status, 200);
}

#[tokio::test]
async fn every_request_leaves_one_audit_record_without_its_token() {
    let mut stack = Stack::start(&Options::default()).await;
    let alice = token(ALICE);
    assert_eq!(stack.get(EVENTS, &alice).await.status, 200);
    assert_eq!(stack.get("/rest/v1/secrets", &alice).await.status, 404);
    assert_eq!(stack.get(EVENTS, "abc").await.status, 401);
    assert!(stack.gateway.terminate().await.success(), "{}", stack.gateway.log());
    let audit = std::fs::read_to_string(stack.gateway.dir().join("audit.jsonl")).unwrap();
    let records: Vec<Value> =
        audit.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.len(), 3, "{audit}");
    assert!(audit.contains(ALICE) && !audit.contains(&alice), "{audit}");
}
