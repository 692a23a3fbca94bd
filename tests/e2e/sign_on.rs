//! Two organizations with identity providers of their own, real ones: who is let in, as whom, in
//! which role, and what becomes of everybody while keys are rotated and a provider goes away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use serde_json::{Value, json};

use crate::support::fixture::{ACME, ALICE, GLOBEX};
use crate::support::gateway::tollgate;
use crate::support::postgres::Postgres;
use crate::support::postgrest::PostgRest;
use crate::support::provider::{AUDIENCE, Provider};
use crate::support::stack::{Options, Stack, UPSTREAM_SECRET, drafted, gateway_yaml, token};
use crate::support::{eventually, http};

const EVENTS: &str = "/rest/v1/events?select=title,organization_id";

/// A gateway whose directory is in a database of its own, and two providers.
struct World {
    stack: Stack,
    directory: Postgres,
    acme: Provider,
    globex: Provider,
}

impl World {
    async fn start() -> Self {
        let groups = json!({ "olga": ["crm-users"], "otto": ["others"], "ute": ["crm-users"] });
        let (directory, postgres, acme, globex) = tokio::join!(
            Postgres::start(),
            Postgres::start(),
            Provider::start("RS256", &groups),
            Provider::start("ES256", &groups),
        );
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
        // So long that nothing but a notification can explain a change.
        let options = Options {
            directory: format!("{{ postgres: {{ url: '{url}', ttl: 1h, max_stale: 2h }} }}"),
            ..Options::default()
        };
        let postgrest = PostgRest::start(&postgres, UPSTREAM_SECRET).await;
        let draft = drafted(postgrest.addr(), &options);
        let bound = |name: &str, provider: &Provider, organization: &str, more: &str| {
            let iss = provider.issuer();
            let found = format!(
                "discovery: '{iss}/.well-known/openid-configuration', unknown_key_window: 1s"
            );
            let map = "[{ value: crm-users, role: viewer }, { value: crm-editors, role: editor }]";
            format!(
                "    - {{ name: {name}, iss: '{iss}', audience: '{AUDIENCE}', keys: [{{ {found} }}],\n\
                 \x20       organizations: [{organization}], tokens: at+jwt, clients: [olga, otto, ute],\n\
                 \x20       {more}, roles: {{ claim: groups, map: {map} }} }}\n"
            )
        };
        let issuers = bound("acme-idp", &acme, "acme", "membership: create, sync: login")
            + &bound("globex-idp", &globex, GLOBEX.id, "membership: token, user: { as: uuid }");
        let gateway = gateway_yaml(&draft, postgrest.addr(), &options);
        let issuers = format!("{issuers}  api_keys:\n");
        draft.write("gateway.yaml", &gateway.replacen("  api_keys:\n", &issuers, 1));
        let stack = Stack { gateway: draft.start().await, postgrest, postgres };
        let world = Self { stack, directory, acme, globex };
        eventually("the directory's listener", async || {
            let sql = "select 1 from pg_stat_activity where query ilike 'listen%'";
            (!world.directory.rows("directory", sql).await.is_empty()).then_some(())
        })
        .await;
        world
    }

    async fn members(&self) -> Vec<Value> {
        let sql = "select user_id, role, status, organization_id as org \
                   from tollgate.organization_members order by user_id";
        self.directory.rows("directory", sql).await
    }

    async fn code(&self, token: &str, organization: &str) -> Value {
        let headers = [("x-organization-id", organization)];
        let answer = self.stack.send("GET", EVENTS, token, &headers, &Value::Null).await;
        if answer.status == 200 { json!(200) } else { answer.json()["code"].clone() }
    }

    /// The records of the audit log that tell of a membership.
    fn recorded(&self) -> Vec<Value> {
        let path = self.stack.gateway.dir().join("audit.jsonl");
        let log = std::fs::read_to_string(path).unwrap_or_default();
        let lines = log.lines().filter_map(|line| serde_json::from_str(line).ok());
        lines.filter(|record: &Value| !record["membership"].is_null()).collect()
    }
}

fn rows_of(answer: &http::Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let rows = answer.json();
    let mut organizations: Vec<Value> =
        rows.as_array().unwrap().iter().map(|row| row["organization_id"].clone()).collect();
    organizations.dedup();
    organizations
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_of_two_providers_are_let_into_their_own_organization_and_into_no_other() {
    let world = World::start().await;
    // A hundred requests of somebody whom nobody has heard of, with ten tokens.
    let mut tokens = Vec::new();
    for _ in 0..10 {
        tokens.push(world.acme.token("olga").await);
    }
    let to = world.stack.gateway.listen();
    let waiting: Vec<_> = (0..100)
        .map(|number| {
            let bearer = format!("Bearer {}", tokens[number % tokens.len()]);
            tokio::spawn(async move {
                http::get(to, EVENTS, &[("Authorization", &bearer)]).await.unwrap()
            })
        })
        .collect();
    for one in waiting {
        assert_eq!(rows_of(&one.await.unwrap()), [json!(ACME.id)]);
    }
    let olga = json!({ "user_id": "acme-idp|olga", "role": "viewer", "status": "active",
                       "org": ACME.id });
    assert_eq!(world.members().await, [olga]);
    let record = eventually("the record", async || world.recorded().pop()).await;
    assert_eq!(world.recorded().len(), 1, "one membership, one record");
    let told = ["membership", "user", "organization", "role"].map(|key| record[key].clone());
    assert_eq!(json!(told), json!(["created", "acme-idp|olga", ACME.id, "viewer"]));

    // The same subject at the other provider is somebody else, whom no directory has to know.
    let other = world.globex.token("olga").await;
    assert_eq!(rows_of(&world.stack.get(EVENTS, &other).await), [json!(GLOBEX.id)]);
    assert_eq!(world.members().await.len(), 1);
    for (token, own, foreign) in [(&tokens[0], ACME, GLOBEX), (&other, GLOBEX, ACME)] {
        assert_eq!(world.code(token, own.slug).await, 200);
        for name in [foreign.id, foreign.slug, "nobody"] {
            assert_eq!(world.code(token, name).await, "issuer_not_accepted", "{name}");
        }
    }
    for provider in [&world.acme, &world.globex] {
        let stranger = provider.token("otto").await;
        assert_eq!(world.stack.get(EVENTS, &stranger).await.json()["code"], "no_role");
    }
    // An explanation names the line, and makes nobody a member.
    let ute = world.acme.token("ute").await;
    let config = world.stack.gateway.dir().join("gateway.yaml").display().to_string();
    let url = format!("http://localhost{EVENTS}");
    let said = tollgate(&["explain", "GET", &url, "--token", &ute, "--config", &config]).await;
    for wanted in [
        "token of issuer `acme-idp`",
        "issuer `acme-idp` names `acme`",
        "`crm-users` in claim `groups`: role `viewer`",
        "`acme-idp|ute` is made a member",
    ] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    assert_eq!(world.members().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_follows_the_provider_until_an_administrator_suspends_it() {
    let world = World::start().await;
    let write = async |token: &str| {
        let body = json!({ "title": "a fair" });
        world.stack.send("POST", "/rest/v1/events", token, &[], &body).await.status
    };
    let old = world.acme.token("olga").await;
    assert_eq!(world.stack.get(EVENTS, &old).await.status, 200);
    assert_eq!(write(&old).await, 403);
    world.acme.set_groups("olga", &json!(["crm-editors"])).await;
    // Tokens count in whole seconds: one of a later second says the new role.
    eventually("the new role", async || {
        let token = world.acme.token("olga").await;
        (write(&token).await == 201).then_some(())
    })
    .await;
    assert_eq!(world.members().await[0]["role"], "editor");
    // The older token takes nothing back.
    assert_eq!(world.stack.get(EVENTS, &old).await.status, 200);
    assert_eq!(world.members().await[0]["role"], "editor");
    let changes = eventually("two records", async || {
        let recorded = world.recorded();
        (recorded.len() == 2).then_some(recorded)
    })
    .await;
    assert_eq!(changes[1]["membership"], "role_changed");

    world.acme.set_groups("olga", &json!(["others"])).await;
    let none = world.acme.token("olga").await;
    assert_eq!(world.stack.get(EVENTS, &none).await.json()["code"], "no_role");
    world.acme.set_groups("olga", &json!(["crm-users"])).await;
    let suspend = "update tollgate.organization_members set status = 'suspended'";
    world.directory.execute("directory", suspend).await;
    eventually("the suspension", async || {
        let token = world.acme.token("olga").await;
        (world.code(&token, "acme").await == "member_suspended").then_some(())
    })
    .await;
    assert_eq!(world.members().await[0]["status"], "suspended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_at_both_providers_under_load_refuses_nobody_and_their_end_neither() {
    let world = Arc::new(World::start().await);
    let ended = Arc::new(AtomicBool::new(false));
    let served = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
    // Four clients at a time, each with a fresh token for each request.
    let loads: Vec<_> = (0..4)
        .map(|number| {
            let (world, ended) = (Arc::clone(&world), Arc::clone(&ended));
            let served = Arc::clone(&served);
            tokio::spawn(async move {
                let which = number % 2;
                let provider = [&world.acme, &world.globex][which];
                while !ended.load(Ordering::SeqCst) {
                    let token = provider.token("olga").await;
                    let answer = world.stack.get(EVENTS, &token).await;
                    assert_eq!(answer.status, 200, "{}: {}", provider.issuer(), answer.text());
                    served[which].fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let more = async |least: u32| {
        let from = [0, 1].map(|which: usize| served[which].load(Ordering::SeqCst));
        while [0, 1]
            .iter()
            .any(|which| served[*which].load(Ordering::SeqCst) < from[*which] + least)
        {
            assert!(loads.iter().all(|load| !load.is_finished()), "a request was refused");
            tokio::task::yield_now().await;
        }
    };
    more(15).await;
    // Once for each: a key that nobody knows yet is fetched at most once in a window, so a provider
    // that signs with two new ones within it has to publish them first.
    for provider in [&world.acme, &world.globex] {
        provider.announce_key().await;
    }
    more(15).await;
    for provider in [&world.acme, &world.globex] {
        provider.retire_keys().await;
    }
    more(15).await;
    ended.store(true, Ordering::SeqCst);
    for load in loads {
        load.await.unwrap();
    }
    // With the providers gone, the last good keys verify what was issued before.
    let unused = [world.acme.token("ute").await, world.globex.token("ute").await];
    let mut world = Arc::into_inner(world).unwrap();
    world.acme.kill();
    world.globex.kill();
    for token in &unused {
        let answer = world.stack.get(EVENTS, token).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    // And nobody else is touched by it: the platform's own issuer goes on.
    let own = world.stack.get(EVENTS, &token(ALICE)).await;
    assert_eq!(own.json()["code"], "org_required", "alice is in no directory here: {}", own.text());
}
