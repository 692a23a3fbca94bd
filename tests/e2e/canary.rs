//! Before a node is ready, an organization that does not exist asks for rows, and gets none.

use serde_json::{Value, json};

use crate::support::gateway::Gateway;
use crate::support::jwks::{Behaviour, Jwks};
use crate::support::keys::{Key, now_secs};
use crate::support::postgres::{APP, Postgres};
use crate::support::postgrest::PostgRest;
use crate::support::stack::{Options, Stack, UPSTREAM_SECRET, drafted, policy_yaml};
use crate::support::{eventually, http};

fn options() -> Options {
    Options { canary: "{ retry: 50ms, timeout: 200ms }".to_owned(), ..Options::default() }
}

/// The status of `/readyz`, and what it says of isolation.
async fn isolation(gateway: &Gateway) -> Option<(u16, Value)> {
    let answer = http::get(gateway.admin(), "/readyz", &[]).await.ok()?;
    let told = answer.json();
    let checks = told["checks"].as_array()?;
    let check = checks.iter().find(|check| check["name"] == "isolation")?;
    Some((answer.status, check.clone()))
}

async fn unready(gateway: &Gateway, wanted: &str) -> String {
    eventually(wanted, async || {
        let (status, check) = isolation(gateway).await?;
        let reason = check["reason"].as_str()?.to_owned();
        (status == 503 && reason.contains(wanted)).then_some(reason)
    })
    .await
}

async fn ready(gateway: &Gateway) {
    eventually("readiness", async || {
        let (status, check) = isolation(gateway).await?;
        (status == 200 && check["state"] == "ready").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_real_database_is_asked_at_the_start_and_after_a_reload() {
    let stack = Stack::start(&options()).await;
    let asked = stack.postgrest.log();
    for table in ["events", "projects"] {
        let request = format!("GET /{table}?");
        assert!(asked.contains(&request), "{asked}");
    }
    assert!(!asked.contains("/secrets") && !asked.contains("GET /countries?"), "{asked}");

    // A catalogue that does not fit the database answers nobody.
    let good = policy_yaml(&options());
    let bad = good.replace("capacity, meta", "capacity, nowhere, meta");
    assert_ne!(good, bad);
    stack.gateway.write("policy.yaml", &bad);
    let reason = unready(&stack.gateway, "`/events?limit=1`").await;
    assert!(reason.contains("`42703`"), "{reason}");
    stack.gateway.write("policy.yaml", &good);
    ready(&stack.gateway).await;
}

#[tokio::test]
async fn rows_for_nobody_keep_the_node_from_getting_ready_until_there_are_none() {
    let upstream = Jwks::serving(&[]).await;
    upstream.behave(Behaviour::Serve(r#"[{"title":"GLOBEX-ONLY"}]"#.to_owned()));
    let gateway = drafted(upstream.addr(), &options()).launch();
    let reason = unready(&gateway, "rows came back").await;
    assert!(!reason.contains("GLOBEX"), "{reason}");
    assert!(!gateway.log().contains("GLOBEX"), "{}", gateway.log());
    upstream.behave(Behaviour::Hang);
    unready(&gateway, "no answer in time").await;
    upstream.behave(Behaviour::Fail(503));
    unready(&gateway, "503").await;
    upstream.behave(Behaviour::Serve("[]".to_owned()));
    ready(&gateway).await;
    // It has held and rests.
    let asked = upstream.fetches();
    upstream.behave(Behaviour::Serve(r#"[{"title":"GLOBEX-ONLY"}]"#.to_owned()));
    ready(&gateway).await;
    assert_eq!(upstream.fetches(), asked);
}

#[tokio::test]
async fn the_example_application_holds_with_its_catalogue() {
    let postgres = Postgres::start().await;
    postgres.execute(APP, "drop schema public cascade; create schema public").await;
    postgres.execute(APP, include_str!("../../deploy/sql/examples/community.sql")).await;
    let grants = "grant usage on schema public to anon, authenticated; \
                  grant select on all tables in schema public to authenticated; \
                  revoke select on notifications from authenticated";
    postgres.execute(APP, grants).await;
    let rows = "insert into organizations (slug, name) values ('a', 'a'), ('b', 'b'); \
                insert into countries values ('AT', 'Austria'); \
                insert into venues (organization_id, name, country_code) \
                    select id, name, 'AT' from organizations";
    postgres.execute(APP, rows).await;
    let postgrest = PostgRest::start(&postgres, UPSTREAM_SECRET).await;
    // PostgREST understands the embeds that the canary asks for, of every kind.
    let token = Key::hs256("gateway", UPSTREAM_SECRET)
        .mint(&json!({ "role": "authenticated", "exp": now_secs() + 60 }));
    let bearer = format!("Bearer {token}");
    for embed in [
        "/countries?select=code,canary_embed:venues!venues_country_code_fkey(id)&limit=100",
        "/events?select=id,canary_embed:venues!events_venue_id_fkey(id)&limit=1",
        "/organizations?select=id,canary_embed:loyalty_programs!loyalty_programs_organization_id_fkey(id)&limit=1",
        "/permissions?select=id,canary_embed:roles!role_permissions(id)&limit=100",
    ] {
        let headers = [("Authorization", bearer.as_str())];
        let answer = http::get(postgrest.addr(), embed, &headers).await.unwrap();
        assert_eq!(answer.status, 200, "{embed}: {}", answer.text());
    }
    let draft = drafted(postgrest.addr(), &options());
    let policy = policy_yaml(&options());
    let (before, rest) = policy.split_once("tables:\n").unwrap();
    let (_, routes) = rest.split_once("routes:\n").unwrap();
    let catalogue = include_str!("../../deploy/sql/examples/community.yaml");
    draft.write("policy.yaml", &format!("{before}routes:\n{routes}\n{catalogue}"));
    let gateway = draft.start().await;
    ready(&gateway).await;
    let asked = postgrest.log();
    for table in ["organizations", "events", "loyalty_transactions", "tags", "event_overview"] {
        assert!(asked.contains(&format!("GET /{table}?")), "{table}: {asked}");
    }
    // A table that the role may not read gives nothing either.
    assert!(asked.contains("GET /notifications?"), "{asked}");
    assert!(!asked.contains("GET /profiles?"), "{asked}");
}
