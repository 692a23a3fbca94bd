//! Keys of machines from their making to their end: the built commands, the built gateway, a real
//! PostgreSQL for the directory and another behind PostgREST.

use serde_json::{Value, json};

use crate::support::fixture::{ACME, BOB, GLOBEX};
use crate::support::gateway::tollgate;
use crate::support::postgres::Postgres;
use crate::support::postgrest::PostgRest;
use crate::support::stack::{
    Options, Stack, UPSTREAM_SECRET, drafted, gateway_yaml, policy_yaml, token,
};
use crate::support::{eventually, http};

const EVENTS: &str = "/rest/v1/events?select=title,organization_id";
const PEPPER: &str = "a pepper of thirty-two bytes or more";

/// A gateway whose directory is in a database of its own.
struct World {
    stack: Stack,
    directory: Postgres,
}

impl World {
    async fn start() -> Self {
        let directory = Postgres::start().await;
        directory.execute("postgres", "create database directory").await;
        let url = directory.url("directory");
        tollgate(&["migrate", "--database", &url]).await;
        for org in [ACME, GLOBEX] {
            let (id, slug) = (org.id, org.slug);
            let sql = format!(
                "insert into tollgate.organizations (id, slug, plan) values ('{id}', '{slug}', 'free')"
            );
            directory.execute("directory", &sql).await;
        }
        let member = format!(
            "insert into tollgate.organization_members (organization_id, user_id, role) \
             values ('{}', '{BOB}', 'editor')",
            GLOBEX.id
        );
        directory.execute("directory", &member).await;
        // So long that nothing but a notification can explain a change.
        let options = Options {
            directory: format!("{{ postgres: {{ url: '{url}', ttl: 1h, max_stale: 2h }} }}"),
            ..Options::default()
        };
        let postgres = Postgres::start().await;
        let postgrest = PostgRest::start(&postgres, UPSTREAM_SECRET).await;
        let draft = drafted(postgrest.addr(), &options);
        let gateway = gateway_yaml(&draft, postgrest.addr(), &options);
        let machines = format!("  machines: {{ pepper: {PEPPER} }}\ndirectory:");
        draft.write("gateway.yaml", &gateway.replacen("directory:", &machines, 1));
        let policy = policy_yaml(&options)
            .replace("credential: user", "credential: [user, machine]")
            .replace("limits:\n", "limits:\n  tight: { scope: key, rate: 2/h }\n");
        draft.write("policy.yaml", &policy);
        let stack = Stack { gateway: draft.start().await, postgrest, postgres };
        let world = Self { stack, directory };
        eventually("the directory's listener", async || {
            let sql = "select 1 from pg_stat_activity where query ilike 'listen%'";
            (!world.directory.rows("directory", sql).await.is_empty()).then_some(())
        })
        .await;
        world
    }

    /// Runs `tollgate keys` with this gateway's configuration.
    async fn keys(&self, arguments: &[&str]) -> String {
        let config = self.stack.gateway.dir().join("gateway.yaml").display().to_string();
        tollgate(&[&["keys"], arguments, &["--config", &config]].concat()).await
    }

    /// A new key of acme, with its id.
    async fn create(&self, name: &str, more: &[&str]) -> (String, String) {
        let arguments = ["create", "--json", "--organization", "acme", "--name", name];
        let made = self.keys(&[&arguments[..], more].concat()).await;
        parts(&made)
    }

    async fn code(&self, key: &str) -> Value {
        let answer = self.stack.get(EVENTS, key).await;
        if answer.status == 200 { json!(200) } else { answer.json()["code"].clone() }
    }

    async fn becomes(&self, key: &str, wanted: Value) {
        eventually(&format!("{wanted}"), async || (self.code(key).await == wanted).then_some(()))
            .await;
    }
}

fn parts(printed: &str) -> (String, String) {
    let made: Value =
        serde_json::from_str(printed.trim()).unwrap_or_else(|e| panic!("{e}: {printed}"));
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    (text("key"), text("id"))
}

#[tokio::test]
async fn a_key_is_made_used_rotated_and_revoked_and_every_step_counts_at_once() {
    let world = World::start().await;
    // This node is asked before the key is there, and remembers nothing that would hide it.
    let (key, id) = world.create("ci", &["--scope", "events:read"]).await;
    let answer = world.stack.get(EVENTS, &key).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let rows = answer.json();
    let rows = rows.as_array().unwrap();
    assert!(!rows.is_empty());
    assert!(rows.iter().all(|row| row["organization_id"] == ACME.id), "{rows:?}");
    let write =
        world.stack.send("POST", "/rest/v1/events", &key, &[], &json!({ "title": "x" })).await;
    assert_eq!((write.status, write.json()["code"].clone()), (403, json!("permission_denied")));
    let foreign = [("x-organization-id", GLOBEX.slug)];
    let foreign = world.stack.send("GET", EVENTS, &key, &foreign, &Value::Null).await;
    assert_eq!(foreign.json()["code"], "org_conflict");
    // People go on as before.
    assert_eq!(world.stack.get(EVENTS, &token(BOB)).await.status, 200);

    let (second, same) = parts(&world.keys(&["rotate", &id, "--overlap", "1h", "--json"]).await);
    assert_eq!(same, id);
    world.becomes(&second, json!(200)).await;
    assert_eq!(world.code(&key).await, json!(200), "both count while they overlap");
    let (third, _) = parts(&world.keys(&["rotate", &id, "--json"]).await);
    world.becomes(&second, json!("invalid_api_key")).await;
    assert_eq!(world.code(&key).await, json!("invalid_api_key"));
    assert_eq!(world.code(&third).await, json!(200));

    eventually("its last use", async || {
        let listed = world.keys(&["list", "--json"]).await;
        let listed: Value = serde_json::from_str(listed.trim()).unwrap();
        listed[0]["last_used_at"].is_i64().then_some(())
    })
    .await;
    world.keys(&["revoke", &id]).await;
    world.becomes(&third, json!("invalid_api_key")).await;
    assert!(world.keys(&["list"]).await.contains("revoked"));

    eventually("the decisions in the audit log", async || {
        let log = std::fs::read_to_string(world.stack.gateway.dir().join("audit.jsonl")).ok()?;
        let records = || log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let machine = |record: &Value| record["principal"] == "machine" && record["api_key"] == *id;
        let refused = |record: &Value| {
            record["security"]["event"] == "revoked_key" && record["api_key"] == *id
        };
        assert!(!log.contains(&key) && !log.contains(&third));
        (records().any(|r| machine(&r)) && records().any(|r| refused(&r))).then_some(())
    })
    .await;
    let log = world.stack.gateway.log();
    assert!(!log.contains(&key) && !log.contains(&third));
    assert!(log.contains("revoked key of a machine"), "{log}");
    assert!(log.contains("somebody used a key that was revoked"), "{log}");
    let metrics = http::get(world.stack.gateway.admin(), "/metrics", &[]).await.unwrap().text();
    for counted in ["tollgate_callers_total{kind=\"machine\"} ", "tollgate_revoked_key_uses_total "]
    {
        let line = metrics.lines().find_map(|line| line.strip_prefix(counted));
        assert!(line.unwrap().parse::<u64>().unwrap() > 0, "{counted}");
    }
}

#[tokio::test]
async fn a_dead_directory_refuses_no_key_that_it_has_known_and_calls_no_other_bad() {
    let mut world = World::start().await;
    let (known, _) = world.create("known", &["--scope", "*:read"]).await;
    let (unknown, _) = world.create("unknown", &["--scope", "*:read"]).await;
    assert_eq!(world.code(&known).await, json!(200));
    world.directory.kill().await;
    assert_eq!(world.code(&known).await, json!(200));
    assert_eq!(world.code(&unknown).await, json!("directory_unavailable"));
    let mistyped = format!("{}x", &known[..known.len() - 1]);
    let mistyped = if mistyped == known { known.replace("tgk_", "tgk_A") } else { mistyped };
    assert_eq!(world.code(&mistyped).await, json!("invalid_api_key"));
    world.directory.restart().await;
    world.becomes(&unknown, json!(200)).await;
}

#[tokio::test]
async fn a_key_ends_with_its_time_its_networks_its_limit_and_its_organization() {
    let world = World::start().await;
    let (short, _) = world.create("short", &["--scope", "*:read", "--expires", "1s"]).await;
    world.becomes(&short, json!("invalid_api_key")).await;
    let (away, _) = world.create("away", &["--scope", "*:read", "--address", "192.0.2.0/24"]).await;
    assert_eq!(world.code(&away).await, json!("invalid_api_key"));
    let (tight, _) = world.create("tight", &["--scope", "*:read", "--limit", "tight"]).await;
    for wanted in [json!(200), json!(200), json!("rate_limited")] {
        assert_eq!(world.code(&tight).await, wanted);
    }
    let (key, _) = world.create("other", &["--scope", "*:read", "--address", "127.0.0.1"]).await;
    assert_eq!(world.code(&key).await, json!(200), "each key has its own bucket, or none");
    let in_query = format!("{EVENTS}&apikey={key}");
    let answer = http::get(world.stack.gateway.listen(), &in_query, &[]).await.unwrap();
    assert_eq!((answer.status, answer.json()["code"].clone()), (401, json!("invalid_api_key")));

    let suspend = "update tollgate.organizations set status = 'suspended' where slug = 'acme'";
    world.directory.execute("directory", suspend).await;
    world.becomes(&key, json!("org_suspended")).await;
    // With its organization goes its key.
    world
        .directory
        .execute("directory", "delete from tollgate.organizations where slug = 'acme'")
        .await;
    world.becomes(&key, json!("invalid_api_key")).await;
}
