//! The gateway's side of the comparison: its configuration, and a thousand made-up callers.
//!
//! Everything that depends on the configuration format is in [`write`].

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;
use uuid::Uuid;

const USERS: u128 = 1000;
const ORGANIZATIONS: u128 = 50;
const ISSUER: &str = "https://bench.example/auth/v1";
/// The project's test key: the comparison needs some key, not a secret one.
const PRIVATE_KEY: &str = include_str!("../tests/fixtures/keys/rsa2048.pem");
const PUBLIC_KEY: &str = include_str!("../tests/fixtures/keys/rsa2048.pub.pem");

/// Where a gateway listens and what it talks to.
pub(crate) struct Addresses {
    pub(crate) listen: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) upstream: SocketAddr,
    /// Where buckets are kept; in the process if `None`.
    pub(crate) redis: Option<SocketAddr>,
}

/// Writes the configuration files and returns the path of the main one.
///
/// `/open/…` goes straight through; `/rest/v1/…` takes the full chain: RS256, membership, role,
/// tenant filter, limits of user, organization and route; `/free/v1/…` all of it but the filter. The bounds are out of reach: what is
/// measured is what deciding costs, not refusing.
pub(crate) fn write(directory: &Path, addresses: &Addresses) -> Result<PathBuf> {
    let Addresses { listen, admin, upstream, redis } = addresses;
    let store = redis.map_or_else(String::new, |redis| {
        format!("limits_store:\n  redis: {{ url: \"redis://{redis}\", timeout: 250ms }}\n")
    });
    let gateway = format!(
        "listen:\n  - address: {listen}\nadmin: {admin}\n\
         server: {{ threads: 1, upstream_pool: 4096 }}\n\
         edge: {{ requests_per_organization: 100000, requests_per_user: 100000, connections_per_address: 100000 }}\n\
         identity:\n  issuers:\n    - name: bench\n      iss: {ISSUER}\n      audience: authenticated\n\
         \x20     keys: [{{ pem: \"${{file:public.pem}}\", algorithm: RS256, kid: bench }}]\n\
         directory: {{ file: directory.yaml }}\n{store}\
         upstreams:\n\
         \x20 rest:\n    kind: postgrest\n    addresses: [\"{upstream}\"]\n\
         \x20   identity: {{ mint: {{ secret: bench-only-secret-of-32-bytes-or-more }} }}\n\
         \x20   canary: off\n\
         \x20 plain: {{ kind: http, addresses: [\"{upstream}\"] }}\n\
         \x20 minted:\n    kind: http\n    addresses: [\"{upstream}\"]\n\
         \x20   identity: {{ mint: {{ secret: bench-only-secret-of-32-bytes-or-more }} }}\n\
         log: {{ format: json, filter: warn }}\n\
         policies: [policy.yaml]\n"
    );
    let policy = "\
plans:
  bench: { level: 10 }
roles:
  viewer: { permissions: [\"*:read\"] }
  member: { inherits: [viewer], permissions: [\"todos:write\"] }
limits:
  per_user: { scope: user, rate: 100000/s, burst: 100000 }
  per_organization: { scope: organization, by_plan: { bench: { rate: 100000/s, burst: 100000 } }, otherwise: 100000/s }
  per_route: { scope: route, rate: 1000000/s, burst: 1000000 }
tables:
  todos: { tenant: organization_id, columns: [id, organization_id, title, done] }
  events:
    tenant: organization_id
    columns: [id, organization_id, project_id, title, starts_at, status]
    fks: { events_project_id_fkey: { project_id: projects.id } }
  projects: { tenant: organization_id, columns: [id, organization_id, name], pk: [id] }
routes:
  - name: open
    match: { path: \"/open/{path*}\" }
    upstream: plain
    credential: open
    tenant: none
    audit: writes_and_refusals
  - name: unconfined
    match: { path: \"/free/v1/{table}\" }
    upstream: minted
    strip_prefix: /free/v1
    credential: user
    tenant: [{ claim: app_metadata.org_id }, header, default]
    permission: { table: table }
    limits: [per_user, per_organization, per_route]
    audit: writes_and_refusals
  - name: rest
    match: { path: \"/rest/v1/{table}\" }
    upstream: rest
    strip_prefix: /rest/v1
    credential: user
    tenant: [{ claim: app_metadata.org_id }, header, default]
    permission: { table: table }
    limits: [per_user, per_organization, per_route]
    audit: writes_and_refusals
";
    let mut people = String::from("organizations:\n");
    for organization in 0..ORGANIZATIONS {
        people.push_str(&format!(
            "  - id: {}\n    slug: org-{organization}\n    plan: bench\n    members:\n",
            organization_id(organization),
        ));
        for user in (0..USERS).filter(|user| user % ORGANIZATIONS == organization) {
            people.push_str(&format!("      - {{ user: {}, role: member }}\n", user_id(user)));
        }
    }
    std::fs::create_dir_all(directory)?;
    std::fs::write(directory.join("policy.yaml"), policy)?;
    std::fs::write(directory.join("directory.yaml"), people)?;
    std::fs::write(directory.join("public.pem"), PUBLIC_KEY)?;
    let path = directory.join("gateway.yaml");
    std::fs::write(&path, gateway).with_context(|| format!("write `{}`", path.display()))?;
    Ok(path)
}

/// One token for each user, shaped like those of Supabase's auth server.
pub(crate) fn tokens(unix_secs: u64) -> Result<Vec<String>> {
    let key = EncodingKey::from_rsa_pem(PRIVATE_KEY.as_bytes())?;
    let mut header = Header::new(Algorithm::RS256);
    header.kid = Some("bench".to_owned());
    let token = |user: u128| {
        let organization = organization_id(user % ORGANIZATIONS);
        let claims = json!({
            "iss": ISSUER, "aud": "authenticated", "sub": user_id(user),
            "iat": unix_secs - 60, "exp": unix_secs + 7200,
            "email": format!("user{user}@bench.example"), "phone": "",
            "app_metadata": {
                "provider": "email", "providers": ["email"], "org_id": organization,
            },
            "user_metadata": { "name": format!("User {user}") },
            "role": "authenticated", "aal": "aal1",
            "amr": [{ "method": "password", "timestamp": unix_secs - 60 }],
            "session_id": Uuid::from_u128(0xa000 << 64 | user), "is_anonymous": false,
        });
        encode(&header, &claims, &key).context("sign a token")
    };
    (0..USERS).map(token).collect()
}

fn user_id(user: u128) -> Uuid {
    Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 | user)
}

fn organization_id(organization: u128) -> Uuid {
    Uuid::from_u128(0x0190_0000_0000_7000_9000_0000_0000_0000 | organization)
}
