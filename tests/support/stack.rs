//! A whole installation: database, PostgREST and the gateway in front of it, with the fixture's
//! organizations in its directory.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::fixture::{ACME, ALICE, BOB, CAROL, GLOBEX};
use super::gateway::{Draft, Gateway};
use super::http::{self, Answer};
use super::keys::{Key, user_claims};
use super::postgres::Postgres;
use super::postgrest::PostgRest;

/// What PostgREST verifies tokens with; the gateway mints with it, and users never see it.
pub(crate) const UPSTREAM_SECRET: &str = "the-secret-between-gateway-and-postgrest";
/// What the users' tokens are signed with.
pub(crate) const USER_SECRET: &str = "the-secret-of-the-authentication-service";
pub(crate) const ISSUER: &str = "https://auth.example.test/auth/v1";
pub(crate) const PUBLISHABLE: &str = "sb_publishable_0123456789abcdef";
/// A member of acme who may only read.
pub(crate) const VERA: &str = "5e4a0000-0000-4000-8000-000000000004";

/// What tests vary.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// The `keys` list of the issuer, as YAML in one line.
    pub(crate) keys: String,
    /// The value of `limits_store`, as YAML in one line.
    pub(crate) limits_store: String,
    /// Requests per hour and user, so that no bucket refills during a test.
    pub(crate) per_user: u32,
    /// The value of `directory`, as YAML in one line.
    pub(crate) directory: String,
    /// The value of the upstream's `canary`, as YAML in one line; off, so that PostgREST's log
    /// shows only what clients asked.
    pub(crate) canary: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            keys: format!("[{{ hs256: {USER_SECRET} }}]"),
            limits_store: "memory".to_owned(),
            per_user: 10_000,
            directory: "{ file: directory.yaml }".to_owned(),
            canary: "off".to_owned(),
        }
    }
}

/// Fields in the order in which they must end.
#[derive(Debug)]
pub(crate) struct Stack {
    pub(crate) gateway: Gateway,
    pub(crate) postgrest: PostgRest,
    pub(crate) postgres: Postgres,
}

impl Stack {
    pub(crate) async fn start(options: &Options) -> Self {
        let postgres = Postgres::start().await;
        let postgrest = PostgRest::start(&postgres, UPSTREAM_SECRET).await;
        let draft = drafted(postgrest.addr(), options);
        Self { gateway: draft.start().await, postgrest, postgres }
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        target: &str,
        token: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Answer {
        let bearer = format!("Bearer {token}");
        let mut all = vec![("Authorization", bearer.as_str())];
        all.extend_from_slice(headers);
        let body = match body {
            Value::Null => String::new(),
            body => {
                all.push(("Content-Type", "application/json"));
                body.to_string()
            }
        };
        http::send(self.gateway.listen(), method, target, &all, body.as_bytes())
            .await
            .unwrap_or_else(|error| panic!("{method} {target}: {error}\n{}", self.gateway.log()))
    }

    pub(crate) async fn get(&self, target: &str, token: &str) -> Answer {
        self.send("GET", target, token, &[], &Value::Null).await
    }
}

/// The configuration in front of a PostgREST at `upstream`, written and not yet started.
pub(crate) fn drafted(upstream: SocketAddr, options: &Options) -> Draft {
    let draft = Draft::new();
    draft.write("gateway.yaml", &gateway_yaml(&draft, upstream, options));
    draft.write("policy.yaml", &policy_yaml(options));
    draft.write("directory.yaml", &directory_yaml());
    draft
}

/// The claims of a user's token, as the configured issuer signs them.
pub(crate) fn claims(user: &str) -> Value {
    let mut claims = user_claims(user);
    claims["iss"] = json!(ISSUER);
    claims
}

/// A good token of a user.
pub(crate) fn token(user: &str) -> String {
    Key::hs256("users", USER_SECRET).mint(&claims(user))
}

pub(crate) fn gateway_yaml(draft: &Draft, upstream: SocketAddr, options: &Options) -> String {
    let Options { keys, limits_store, directory, canary, .. } = options;
    let (listen, admin) = (draft.listen(), draft.admin());
    format!(
        "listen: [{{ address: {listen} }}]
admin: {admin}
server: {{ drain: {drain}s, upgrade_socket: upgrade.sock }}
identity:
  issuers:
    - {{ name: users, iss: {ISSUER}, audience: authenticated, keys: {keys} }}
  api_keys:
    - {{ name: web, publishable: {PUBLISHABLE} }}
directory: {directory}
limits_store: {limits_store}
upstreams:
  rest:
    kind: postgrest
    addresses: [{upstream}]
    identity: {{ mint: {{ secret: {UPSTREAM_SECRET} }} }}
    canary: {canary}
audit: {{ file: audit.jsonl }}
policies: [policy.yaml]
",
        drain = Duration::from_secs(5).as_secs(),
    )
}

pub(crate) fn policy_yaml(options: &Options) -> String {
    format!(
        "plans:
  free: {{ level: 1 }}
roles:
  viewer: {{ permissions: ['*:read'] }}
  editor: {{ inherits: [viewer], permissions: ['*:write', '*:delete'] }}
limits:
  per_user: {{ scope: user, rate: {per_user}/h }}
tables:
  countries: {{ global: read, columns: [code, name] }}
  events: {{ tenant: organization_id, columns: [id, organization_id, project_id, title, starts_at, capacity, meta, tags] }}
  projects: {{ tenant: organization_id, columns: [id, organization_id, name, status, notes, created_at] }}
  secrets: {{ deny: true }}
routes:
  - name: rest
    match: {{ path: '/rest/v1/{{table}}' }}
    upstream: rest
    strip_prefix: /rest/v1
    credential: user
    tenant: [header, default]
    permission: {{ table: table }}
    limits: [per_user]
    audit: all
",
        per_user = options.per_user,
    )
}

pub(crate) fn directory_yaml() -> String {
    let organization = |org: super::fixture::Org, members: &[(&str, &str, &str)]| {
        let members: Vec<String> = members
            .iter()
            .map(|(user, role, joined)| {
                format!("      - {{ user: {user}, role: {role}, joined: {joined} }}\n")
            })
            .collect();
        let (id, slug) = (org.id, org.slug);
        format!(
            "  - id: {id}\n    slug: {slug}\n    plan: free\n    members:\n{}",
            members.concat()
        )
    };
    let acme = organization(
        ACME,
        &[
            (ALICE, "editor", "2026-01-01"),
            (VERA, "viewer", "2026-01-01"),
            (CAROL, "editor", "2026-01-01"),
        ],
    );
    let globex =
        organization(GLOBEX, &[(BOB, "editor", "2026-01-01"), (CAROL, "editor", "2026-02-01")]);
    format!("organizations:\n{acme}{globex}")
}
