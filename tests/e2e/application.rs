//! What applications do with Supabase's client, before the gateway and before PostgREST alone.

use serde_json::Value;

use crate::support::fixture::{ACME, ALICE, Contents};
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
    let draft = drafted(upstream.addr(), &Options::default());
    let policy = policy_yaml(&Options::default());
    let (before, rest) = policy.split_once("tables:\n").unwrap();
    let (_, routes) = rest.split_once("routes:\n").unwrap();
    let before = before.replace("'*:read'", "'*:read', '*:call'");
    draft.write("policy.yaml", &format!("{before}{TABLES}{routes}"));
    let gateway = draft.start().await;
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

async fn run(url: &str, token: &str) -> Vec<Value> {
    let env = [("URL", url), ("TOKEN", token), ("ORG", ACME.id), ("USER", ALICE)];
    let answers = node("application.mjs", &env).await;
    answers.as_array().unwrap().clone()
}
