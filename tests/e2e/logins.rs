//! Signing in and staying signed in, with supabase-js and raw requests, at gateways in front of
//! what stands for Supabase Auth.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::fixture::ALICE;
use crate::support::gateway::{Draft, Gateway};
use crate::support::gotrue::{GoTrue, Trouble};
use crate::support::http;
use crate::support::node::node;
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
    eventually("the admin listener", async || {
        http::get(gateway.admin(), "/metrics", &[]).await.ok().map(drop)
    })
    .await;
    gateway
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
