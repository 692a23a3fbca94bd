//! Rules in the binary: what each action does to live requests, what is on record of it, and a rule
//! file that changes while requests are at work.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::fixture::ALICE;
use crate::support::gateway::Gateway;
use crate::support::http::{self, Answer};
use crate::support::keys::{Key, user_claims};
use crate::support::recorder::Recorder;
use crate::support::stack::{
    ISSUER, Options, USER_SECRET, drafted, gateway_yaml, policy_yaml, token,
};

/// Rules that no request of the tests can meet, so that those that follow are among many.
fn many() -> String {
    (0..500)
        .map(|n| {
            format!("  - {{ id: many-{n}, when: \"request.path.startsWith('/many/{n}/')\", then: {{ deny: {{}} }} }}\n")
        })
        .collect()
}

const RULES: &str = "  - id: bot
    when: \"request.headers.get('user-agent', '') == 'bot'\"
    then: { deny: { status: 403, code: bad_bot }, event: { kind: bot, severity: high } }
  - { id: marked, when: \"request.headers.get('x-mark', '') != ''\", then: { tag: marked } }
  - { id: moved, when: request.path.startsWith('/web/old/'), then: { redirect: { origin: \"https://new.example\", status: 308 } } }
  - id: tagged
    phase: authenticated
    when: \"'marked' in tags && request.path.startsWith('/web/')\"
    then:
      request_headers: { set: { X-Marked: \"yes\" }, remove: [X-Mark] }
      charge: { to: [marked] }
      audit: always
  - { id: tried, mode: shadow, when: request.path == '/web/tried', then: { deny: { code: tried } } }
  - id: canary
    phase: authenticated
    when: request.path == '/web/canary'
    then: { upstream: { from: web, to: web-next, share: 30%, by: user } }
  - id: answers
    phase: response
    when: response.status < 500 && request.path == '/web/headers'
    then: { response_headers: { set: { X-Frame-Options: DENY }, remove: [X-Runtime] } }
";

const ROUTE: &str = "  - name: web
    match: { path: '/web/{path*}' }
    upstream: web
    credential: user
    tenant: none
    audit: refusals
";

async fn started(web: &Recorder, next: &Recorder) -> Gateway {
    let options = Options::default();
    let draft = drafted(web.addr(), &options);
    let gateway = gateway_yaml(&draft, web.addr(), &options);
    let upstreams = format!(
        "upstreams:\n  web: {{ kind: http, addresses: [{}], identity: none }}\n  web-next: {{ kind: http, addresses: [{}], identity: none }}\n",
        web.addr(),
        next.addr()
    );
    draft.write(
        "gateway.yaml",
        &(gateway.replace("upstreams:\n", &upstreams) + "rules: [rules.yaml]\n"),
    );
    let limit = "limits:\n  marked: { scope: user, rate: 3/h }\n";
    draft.write("policy.yaml", &(policy_yaml(&options).replace("limits:\n", limit) + ROUTE));
    draft.write("rules.yaml", &format!("rules:\n{}{RULES}", many()));
    draft.start().await
}

async fn get(gateway: &Gateway, target: &str, bearer: &str, more: &[(&str, &str)]) -> Answer {
    let bearer = format!("Bearer {bearer}");
    let mut fields = vec![("Authorization", bearer.as_str())];
    fields.extend_from_slice(more);
    http::get(gateway.listen(), target, &fields)
        .await
        .unwrap_or_else(|error| panic!("{target}: {error}\n{}", gateway.log()))
}

fn records(gateway: &Gateway) -> Vec<Value> {
    let audit = std::fs::read_to_string(gateway.dir().join("audit.jsonl")).unwrap_or_default();
    audit.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[tokio::test]
async fn rules_do_to_live_requests_what_they_say_and_are_on_record() {
    let (web, next) = (Recorder::start().await, Recorder::start().await);
    let gateway = started(&web, &next).await;
    let alice = token(ALICE);

    // In the shape of each upstream's client, before anybody knows who calls.
    let refused =
        http::get(gateway.listen(), "/rest/v1/events", &[("User-Agent", "bot")]).await.unwrap();
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert_eq!(
        (&refused.json()["code"], &refused.json()["hint"]),
        (&json!("bad_bot"), &Value::Null)
    );
    assert!(refused.json()["request_id"].is_string());
    let refused = get(&gateway, "/web/a", &alice, &[("User-Agent", "bot")]).await;
    assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    assert!(!web.has_heard("/web/a"), "a request was sent on that a rule refuses");

    let moved = get(&gateway, "/web/old/page?token=secret", &alice, &[]).await;
    assert_eq!(moved.status, 308);
    assert_eq!(moved.header("location"), Some("https://new.example/web/old/page"));

    // A tag of one phase is seen in the next; the upstream gets the rule's field and not the client's.
    let marked = |n: usize| (format!("/web/marked-{n}"), [("X-Mark", "1"), ("X-Marked", "no")]);
    for n in 0..3 {
        let (target, fields) = marked(n);
        assert_eq!(get(&gateway, &target, &alice, &fields).await.status, 200);
    }
    let [sent] = &web.requests("/web/marked-0")[..] else { panic!("one request") };
    assert_eq!((sent.all("x-marked"), sent.all("x-mark").len()), (vec!["yes"], 0));
    let (target, fields) = marked(3);
    let limited = get(&gateway, &target, &alice, &fields).await;
    assert_eq!((limited.status, limited.header("x-tollgate-limit")), (429, Some("marked")));
    assert_eq!(get(&gateway, "/web/unmarked", &alice, &[]).await.status, 200);

    assert_eq!(get(&gateway, "/web/tried", &alice, &[]).await.status, 200);
    let answered = get(&gateway, "/web/headers", &alice, &[]).await;
    assert_eq!(answered.header("x-frame-options"), Some("DENY"));
    assert_eq!(get(&gateway, "/web/other", &alice, &[]).await.header("x-frame-options"), None);

    let on_record = eventually("the records", async || {
        let records = records(&gateway);
        let find = |wanted: &dyn Fn(&&Value) -> bool| records.iter().find(wanted).cloned();
        let bot = find(&|record| record["code"] == "bad_bot")?;
        let tagged = find(&|record| record["path"] == "/web/marked-0")?;
        let tried = find(&|record| record["path"] == "/web/tried")?;
        Some([bot, tagged, tried])
    });
    let [bot, tagged, tried] = on_record.await;
    let security = &bot["security"];
    assert_eq!((&security["event"], &security["rule"]), (&json!("bot"), &json!("bot")), "{bot}");
    assert!(bot["policy"].as_str().unwrap().contains("rules.yaml:50"), "{bot}");
    assert_eq!(tagged["tags"], json!(["marked"]), "{tagged}");
    let met: Vec<&Value> = tagged["rules"].as_array().unwrap().iter().map(|r| &r["rule"]).collect();
    assert_eq!(met, ["marked", "tagged"]);
    assert_eq!(
        (&tried["would"][0]["name"], &tried["would"][0]["code"]),
        (&json!("tried"), &json!("tried"))
    );
    let metrics = http::get(gateway.admin(), "/metrics", &[]).await.unwrap().text();
    for counted in [
        "tollgate_rules_total{outcome=\"applied\",rule=\"bot\"} 2",
        "tollgate_rules_total{outcome=\"shadow\",rule=\"tried\"} 1",
        "tollgate_rules_total{outcome=\"applied\",rule=\"many-7\"} 0",
        "tollgate_refusals_total{code=\"rule_denied\"} 2",
    ] {
        assert!(metrics.contains(counted), "{counted}\n{metrics}");
    }
}

#[tokio::test]
async fn a_share_of_users_gets_another_upstream_at_every_request() {
    let (web, next) = (Recorder::start().await, Recorder::start().await);
    let gateway = started(&web, &next).await;
    let users: Vec<String> = (0..60).map(|n| format!("c0000000-0000-4000-8000-{n:012}")).collect();
    let mut there: Vec<BTreeSet<&str>> = Vec::new();
    for _ in 0..2 {
        let mut round = BTreeSet::new();
        for user in &users {
            let mut claims = user_claims(user);
            claims["iss"] = json!(ISSUER);
            let before = next.requests("/web/canary").len();
            let bearer = Key::hs256("users", USER_SECRET).mint(&claims);
            assert_eq!(get(&gateway, "/web/canary", &bearer, &[]).await.status, 200);
            if next.requests("/web/canary").len() > before {
                round.insert(user.as_str());
            }
        }
        there.push(round);
    }
    assert_eq!(there[0], there[1], "a user changed sides");
    // 18 of 60; the chance to be further away than this is one in ten thousand.
    assert!((5..=34).contains(&there[0].len()), "{} of 60", there[0].len());
}

#[tokio::test]
async fn a_rule_file_that_changes_is_in_force_at_once_and_a_bad_one_never() {
    let (web, next) = (Recorder::start().await, Recorder::start().await);
    let gateway = started(&web, &next).await;
    let alice = token(ALICE);
    let status = async || get(&gateway, "/web/page", &alice, &[]).await.status;
    assert_eq!(status().await, 200);
    let rules = |condition: &str| {
        format!(
            "rules:\n  - {{ id: closed, when: \"{condition}\", then: {{ deny: {{ status: 410, code: gone }} }} }}\n"
        )
    };
    gateway.write("rules.yaml", &rules("request.path.startsWith('/web/')"));
    eventually("the rule", async || (status().await == 410).then_some(())).await;
    gateway.write("rules.yaml", &rules("request.pth == '/web/'"));
    eventually("the mistake in the log", async || {
        let log = gateway.log();
        (log.contains("rules.yaml:2") && log.contains("request.p")).then_some(())
    })
    .await;
    assert_eq!(status().await, 410, "a bad file took the rules away");
    gateway.write("rules.yaml", &rules("request.path == '/web/other'"));
    eventually("the next rule", async || (status().await == 200).then_some(())).await;
}
