//! What applications do with Supabase's client, before the gateway and before PostgREST alone.

use serde_json::Value;

use crate::support::fixture::{ACME, ALICE, Contents};
use crate::support::gateway::Gateway;
use crate::support::http;
use crate::support::keys::{Key, user_claims};
use crate::support::node::node;
use crate::support::postgres::{APP, Postgres};
use crate::support::postgrest::PostgRest;
use crate::support::stack::{Options, UPSTREAM_SECRET, drafted, policy_yaml, token};

const ALONE: &str = "
delete from events where organization_id <> '11111111-1111-4111-8111-111111111111';
delete from projects where organization_id <> '11111111-1111-4111-8111-111111111111';
delete from profiles where organization_id <> '11111111-1111-4111-8111-111111111111';
";

const TABLES: &str = "tables:
  profiles: { tenant: organization_id, columns: [user_id, organization_id, display_name], pk: [user_id, organization_id] }
  events:
    tenant: organization_id
    columns: [id, organization_id, project_id, title, starts_at, capacity, meta, tags]
    pk: [id]
    fks: { events_project_id_fkey: { project_id: projects.id } }
  projects: { tenant: organization_id, columns: [id, organization_id, name, status, notes], pk: [id] }
rpc:
  search_events: { args: { term: client }, returns: events, filter_result: true, read_only: true }
routes:
  - name: rpc
    match: { path: '/rest/v1/rpc/{function}' }
    upstream: rest
    strip_prefix: /rest/v1
    credential: user
    tenant: [header, default]
    permission: { function: function }
";

#[tokio::test]
async fn an_application_cannot_tell_the_gateway_from_a_database_of_its_own() {
    let (both, alone) = tokio::join!(Postgres::start(), Postgres::start());
    alone.execute(APP, ALONE).await;
    let upstream = PostgRest::start(&both, UPSTREAM_SECRET).await;
    let own = PostgRest::start(&alone, UPSTREAM_SECRET).await;
    let gateway = before(&upstream, "'*:read', '*:call'").await;
    let others = Contents::of(&both).await.without(ACME);

    let through = run(&format!("http://{}/rest/v1", gateway.listen()), &token(ALICE)).await;
    let minted = Key::hs256("legacy", UPSTREAM_SECRET).mint(&user_claims(ALICE));
    let directly = run(&format!("http://{}", own.addr()), &minted).await;

    for (one, other) in through.iter().zip(&directly) {
        assert_eq!(one, other);
    }
    assert_eq!(through.len(), directly.len());
    assert_eq!(Contents::of(&both).await.without(ACME), others);
}

#[tokio::test]
async fn a_role_embeds_only_what_it_may_read() {
    let postgres = Postgres::start().await;
    let upstream = PostgRest::start(&postgres, UPSTREAM_SECRET).await;
    let gateway = before(&upstream, "'events:read', '*:call'").await;
    let bearer = format!("Bearer {}", token(ALICE));
    let get = async |target: &str| {
        let headers = [("Authorization", bearer.as_str())];
        http::send(gateway.listen(), "GET", target, &headers, b"").await.unwrap()
    };
    assert_eq!(get("/rest/v1/events?select=id").await.status, 200);
    for target in [
        "/rest/v1/projects",
        "/rest/v1/events?select=id,projects(name)",
        "/rest/v1/events?select=id,projects()",
        "/rest/v1/rpc/search_events?term=e&select=organization_id,projects(name)",
    ] {
        let answer = get(target).await;
        assert_eq!(
            (answer.status, answer.json()["code"].as_str()),
            (403, Some("permission_denied")),
            "{target}"
        );
    }
}

/// A gateway whose viewers have these permissions, and editors those and all on writing.
async fn before(upstream: &PostgRest, viewer: &str) -> Gateway {
    let draft = drafted(upstream.addr(), &Options::default());
    let policy = policy_yaml(&Options::default());
    let (start, rest) = policy.split_once("tables:\n").unwrap();
    let (_, routes) = rest.split_once("routes:\n").unwrap();
    let start = start.replace("'*:read'", viewer);
    draft.write("policy.yaml", &format!("{start}{TABLES}{routes}"));
    draft.start().await
}

async fn run(url: &str, token: &str) -> Vec<Value> {
    let env = [("URL", url), ("TOKEN", token), ("ORG", ACME.id), ("USER", ALICE)];
    let answers = node("application.mjs", &env).await;
    answers.as_array().unwrap().clone()
}
