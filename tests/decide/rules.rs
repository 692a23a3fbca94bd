//! Rules: what each action does to a request, in which order, and what an error comes to.

use std::collections::BTreeSet;
use std::time::Duration;

use http::{HeaderMap, Method, Uri};
use serde_json::json;
use tollgate::config::Memory;
use tollgate::domain::rule::RuleOutcome;
use tollgate::pipeline::response;
use tollgate::pipeline::rules::{AnswerHead, of_answer};

use crate::world::{NOW, Request, World, request};
use crate::{ACME, check};

const MORE: &str = "\
policies: [policy.yaml]
rules: [rules.yaml]
";

/// The world of the other tests with rules and upstreams to choose from.
fn world(rules: &str) -> World {
    let upstreams = "\
upstreams:
  rest-next:
    kind: postgrest
    addresses: [\"127.0.0.1:3001\"]
    identity: { mint: { secret: abcdefghijklmnopqrstuvwxyz0123456789 } }
  auth-next: { kind: auth, addresses: [\"127.0.0.1:9998\"], identity: none }
";
    let gateway = include_str!("gateway.yaml");
    let gateway =
        gateway.replace("upstreams:\n", upstreams).replace("policies: [policy.yaml]\n", MORE);
    // What a rule does not name would be warned of, and no more.
    let limits = "limits:\n  slow: { scope: user, rate: 1/s, burst: 5 }\n";
    let policy = include_str!("policy.yaml").replace("limits:\n", limits);
    World::from(
        Memory::new()
            .with("gateway.yaml", gateway)
            .with("policy.yaml", policy)
            .with("directory.yaml", include_str!("directory.yaml"))
            .with("rules.yaml", format!("rules:\n{rules}")),
    )
}

fn events(user: &str) -> Request {
    request("GET", "/rest/v1/events?select=id&limit=1").user(user)
}

fn passed() -> String {
    format!("200 /events?select=id&organization_id=eq.{ACME}&limit=1")
}

/// The rules that a request met, and what became of each.
fn met(world: &World, asked: &Request) -> Vec<String> {
    let (_, trace) = world.traced(asked);
    let told = |met: &tollgate::pipeline::trace::RuleMet| {
        format!("{} {}", met.rule.id, met.outcome.as_str())
    };
    trace.rules.iter().map(told).collect()
}

#[test]
fn a_rule_refuses_with_its_own_code_and_its_line() {
    let world = world(
        "  - id: bot
    when: \"request.headers.get('user-agent', '') == 'bot'\"
    then: { deny: { status: 429, code: bad_bot, message: go away, retry_after: 30s } }
",
    );
    let (decided, trace) = world.traced(&events("alice").field("user-agent", "bot"));
    check("bot", &decided, "429 bad_bot rules.yaml:2");
    let answer = match &decided {
        crate::world::Decided::Refused { refusal, .. } => {
            assert_eq!(refusal.label(), "rule_denied");
            let kind = Some(tollgate::policy::upstream::UpstreamKind::Postgrest);
            response::refusal(refusal, kind, &world.snapshot().response, &trace)
        }
        other => panic!("{other}"),
    };
    let field = |name: &str| answer.fields.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
    assert_eq!(field("retry-after").unwrap(), "30");
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((&body["code"], &body["message"]), (&json!("bad_bot"), &json!("go away")));
    assert_eq!(body["request_id"], json!(trace.request_id.unwrap().as_str()));
    check("others", &world.decide(&events("alice")), &passed());
}

#[test]
fn a_request_is_refused_before_anybody_knows_who_calls() {
    let world = world("  - { id: all, when: true, then: { deny: {} } }\n");
    check(
        "nobody",
        &world.decide(&request("GET", "/rest/v1/events")),
        "403 rule_denied rules.yaml:2",
    );
    // A path that no route serves is no rule's matter.
    assert_eq!(world.decide(&request("GET", "/nowhere")).code(), "route_not_found");
}

#[test]
fn later_rules_see_the_tags_of_earlier_ones_in_every_phase() {
    let world = world(
        "  - { id: late, when: \"'a' in tags\", then: { deny: {} } }
  - { id: first, when: true, then: { tag: [a, b] } }
  - { id: again, when: \"'b' in tags\", then: { tag: c } }
  - id: caller
    phase: authenticated
    when: \"'c' in tags && principal.id == 'alice'\"
    then: { deny: { code: seen } }
",
    );
    check("alice", &world.decide(&events("alice")), "403 seen rules.yaml:5");
    let (decided, trace) = world.traced(&events("bob"));
    check("bob", &decided, &passed());
    let tags: Vec<&str> = trace.tags.iter().map(AsRef::as_ref).collect();
    assert_eq!(tags, ["a", "b", "c"]);
    assert_eq!(met(&world, &events("bob")), ["first applied", "again applied"]);
}

#[test]
fn redirects_go_where_the_policy_says() {
    let world = world(
        "  - id: moved
    when: request.path.startsWith('/rest/v1/events')
    then: { redirect: { origin: \"https://new.example\", status: 308 } }
  - { id: sorry, when: request.path.startsWith('/auth/'), then: { redirect: { to: /sorry } } }
",
    );
    check("origin", &world.decide(&events("alice")), "308 https://new.example/rest/v1/events");
    let auth = request("GET", "/auth/v1/user").host("evil.example");
    check("constant", &world.decide(&auth), "307 /sorry");
}

#[test]
fn a_second_factor_can_be_asked_for() {
    let world = world(
        "  - id: careful
    phase: authenticated
    when: request.method == 'DELETE'
    then: { require: { aal: aal2, within: 15m } }
",
    );
    let delete = |minutes: Option<u64>| {
        let amr: Vec<_> = minutes
            .map(|ago| json!({ "method": "totp", "timestamp": NOW.unix_secs() - ago * 60 }))
            .into_iter()
            .collect();
        let aal = if minutes.is_some() { "aal2" } else { "aal1" };
        let asked = request("DELETE", "/rest/v1/events").user("alice");
        world.decide(&asked.claim("aal", json!(aal)).claim("amr", json!(amr)))
    };
    check("none", &delete(None), "403 mfa_required rules.yaml:2");
    check("old", &delete(Some(16)), "403 mfa_expired rules.yaml:2");
    check("recent", &delete(Some(14)), &format!("200 /events?organization_id=eq.{ACME}"));
}

#[test]
fn costs_and_limits_follow_the_rules() {
    let world = world(
        "  - { id: dear, when: \"request.headers.get('x-try', '').contains('dear')\", then: { cost: 4 } }
  - { id: ruin, when: \"request.headers.get('x-try', '').contains('ruin')\", then: { cost: 1000 } }
  - id: slow
    phase: authenticated
    when: \"request.headers.get('x-try', '').contains('slow')\"
    then: { charge: { to: [slow], instead_of: [per_user] } }
  - { id: more, when: \"request.headers.get('x-try', '').contains('more')\", then: { charge: { to: [slow, per_user] } } }
",
    );
    for (tried, wanted) in [
        ("none", "per_user 1, per_org 1"),
        ("dear", "per_user 5, per_org 5"),
        // A rule makes a request dear and never impossible.
        ("ruin", "per_user 20, per_org 50"),
        ("slow", "per_org 1, slow 1"),
        ("more", "per_user 1, per_org 1, slow 1"),
        ("slow dear", "per_org 5, slow 5"),
    ] {
        let decided = world.decide(&events("alice").field("x-try", tried));
        let charged: Vec<String> =
            decided.charge().buckets.iter().map(|b| format!("{} {}", b.limit, b.cost)).collect();
        assert_eq!(charged.join(", "), wanted, "{tried}");
    }
}

#[test]
fn a_share_of_users_is_sent_to_another_upstream_and_stays_there() {
    let world = world(
        "  - id: canary
    phase: authenticated
    when: true
    then: { upstream: { from: auth, to: auth-next, share: 25%, by: user } }
",
    );
    let upstream = |user: &str, address: &str| {
        let asked = request("GET", "/auth/v1/user").user(user).sent_from(address);
        let (_, passed) = world.passed(&asked);
        passed.upstream().name.to_string()
    };
    let users: Vec<String> = (0..400).map(|n| format!("user-{n}")).collect();
    let there: BTreeSet<&String> =
        users.iter().filter(|user| upstream(user, "192.0.2.1") == "auth-next").collect();
    assert!((60..=140).contains(&there.len()), "{} of 400", there.len());
    let again: BTreeSet<&String> =
        users.iter().filter(|user| upstream(user, "198.51.100.9") == "auth-next").collect();
    assert_eq!(there, again);
}

#[test]
fn another_upstream_gets_the_request_confined_as_its_own() {
    let world = world(
        "  - { id: next, when: \"'x-next' in request.headers\", then: { upstream: { from: rest, to: rest-next } } }
  - { id: not, when: \"'x-next' in request.headers\", then: { upstream: { from: auth, to: auth-next } } }
",
    );
    let asked = events("alice").field("x-next", "1");
    let (_, passed) = world.passed(&asked);
    assert_eq!(&*passed.upstream().name, "rest-next");
    assert!(passed.target().contains(&format!("organization_id=eq.{ACME}")), "{}", passed.target());
    let (_, passed) = world.passed(&events("alice"));
    assert_eq!(&*passed.upstream().name, "rest");
}

#[test]
fn header_fields_are_set_and_removed_and_the_later_rule_counts() {
    let world = world(
        "  - { id: a, when: true, then: { request_headers: { set: { X-Plan: none, X-Other: a }, remove: [X-Debug] } } }
  - { id: b, phase: authenticated, when: principal.id == 'alice', then: { request_headers: { set: { X-Plan: gold } } } }
",
    );
    let fields = |user: &str| {
        let (_, passed) =
            world.passed(&request("GET", "/auth/v1/user").user(user).field("x-debug", "1"));
        let tollgate::pipeline::isolate::Forward::AllBut(strip) = passed.forward() else {
            panic!("an auth server gets what the client sends");
        };
        assert!(strip.iter().any(|name| name == "x-debug"));
        let plan = passed.fields().iter().find(|(name, _)| name == "x-plan");
        plan.map(|(_, value)| value.to_str().unwrap().to_owned())
    };
    assert_eq!(fields("alice").as_deref(), Some("gold"));
    assert_eq!(fields("bob").as_deref(), Some("none"));
}

#[test]
fn a_condition_without_an_answer_refuses_where_the_rule_is_there_to_refuse() {
    let failing = "request.headers['x-missing'] == 'a'";
    for (then, wanted) in [
        ("deny: { code: mine }", "403 rule_failed rules.yaml:2"),
        ("tag: a", "200"),
        ("redirect: { to: /sorry }", "200"),
        ("cost: 5", "200"),
    ] {
        let world = world(&format!("  - {{ id: r, when: \"{failing}\", then: {{ {then} }} }}\n"));
        let (decided, trace) = world.traced(&events("alice"));
        assert!(decided.to_string().starts_with(wanted), "{then}: {decided}");
        assert_eq!(trace.rules.len(), 1);
        assert_eq!(trace.rules[0].outcome, RuleOutcome::Failed);
    }
}

#[test]
fn a_rule_in_shadow_is_recorded_and_nothing_comes_of_it() {
    let world = world(
        "  - { id: deny, mode: shadow, when: true, then: { deny: { code: bad } } }
  - { id: tag, mode: shadow, when: true, then: { tag: a } }
  - { id: moved, mode: shadow, when: true, then: { redirect: { to: /sorry } } }
  - { id: broken, mode: shadow, when: \"request.headers['x'] == ''\", then: { deny: {} } }
  - { id: seen, when: \"'a' in tags\", then: { deny: {} } }
  - { id: gone, mode: off, when: true, then: { deny: {} } }
  - id: factor
    mode: shadow
    phase: authenticated
    when: true
    then: { require: { aal: aal2 } }
",
    );
    let (decided, trace) = world.traced(&events("alice"));
    check("let through", &decided, &passed());
    let would: Vec<String> = trace.would.iter().map(ToString::to_string).collect();
    assert_eq!(
        would,
        [
            "rule `deny`: 403 bad",
            "rule `moved`: 307 redirect",
            "rule `broken`: 403 rule_failed",
            "rule `factor`: 403 mfa_required",
        ]
    );
    assert_eq!(
        met(&world, &events("alice")),
        ["deny shadow", "tag shadow", "moved shadow", "broken failed", "factor shadow"]
    );
}

#[test]
fn events_and_samples_are_noted_also_where_the_request_ends() {
    let world = world(
        "  - { id: low, when: true, then: { event: { kind: odd } } }
  - { id: high, when: \"'bad' in request.params\", then: { deny: {}, audit: always, event: { kind: attack, severity: high } } }
  - { id: half, when: true, then: { audit: 50% } }
",
    );
    let (_, trace) = world.traced(&request("GET", "/rest/v1/events?bad=1").user("alice"));
    assert_eq!(&*trace.event.unwrap().kind, "attack");
    assert!(trace.sampled);
    let (_, trace) = world.traced(&events("alice"));
    assert_eq!(&*trace.event.unwrap().kind, "odd");
}

#[test]
fn rules_see_the_head_of_an_answer_and_change_it() {
    let world = world(
        "  - { id: mark, when: true, then: { tag: marked } }
  - id: error
    phase: response
    when: response.status >= 500 && 'marked' in tags && principal.id == 'alice' && organization.slug == 'acme'
    then: { response_headers: { set: { Cache-Control: no-store }, remove: [X-Runtime] } }
  - { id: other, phase: response, when: request.method == 'POST', then: { event: { kind: late } } }
",
    );
    let (mut trace, passed) = world.passed(&events("alice"));
    let uri: Uri = "/rest/v1/events?select=id&limit=1".parse().unwrap();
    let mut edits = |status: u16| {
        let (headers, fields) = (HeaderMap::new(), HeaderMap::new());
        let (headers, fields) = (&headers, &fields);
        let took = Duration::from_millis(3);
        let method = &Method::GET;
        let head = AnswerHead { method, uri: &uri, headers, status, fields, took };
        let ruled = of_answer(&passed, &head, world.snapshot(), &mut trace, NOW);
        response::edits(passed.upstream().kind, &passed.route().response, &trace, ruled)
    };
    let good = edits(200);
    assert!(!good.set.iter().any(|(name, _)| name == "cache-control"));
    let bad = edits(503);
    assert!(bad.set.iter().any(|(name, value)| name == "cache-control" && value == "no-store"));
    assert!(bad.remove.iter().any(|name| name == "x-runtime"));
    let applied: Vec<&str> = trace.rules.iter().map(|met| &*met.rule.id).collect();
    assert_eq!(applied, ["mark", "error"]);
}

#[test]
fn an_explanation_names_the_rules_that_apply() {
    let world = world(
        "  - { id: marked, when: true, then: { tag: a } }
  - { id: tried, mode: shadow, when: true, then: { deny: {} } }
",
    );
    let notes = world.explained(&events("alice"));
    for wanted in [
        "rule `marked` applies (rules.yaml:2)",
        "in shadow: rule `tried`: 403 rule_denied (rules.yaml:3)",
    ] {
        assert!(notes.iter().any(|note| note == wanted), "{wanted}: {notes:?}");
    }
}

#[test]
fn five_hundred_rules_are_loaded_and_only_those_that_fit_are_tried() {
    let rules: String = (0..500)
        .map(|n| {
            format!("  - {{ id: r{n}, when: \"request.path.startsWith('/only/{n}/')\", then: {{ deny: {{}} }} }}\n")
        })
        .collect();
    let world = world(&rules);
    assert_eq!(world.snapshot().rules.all().len(), 500);
    let shelf = world.snapshot().rules.of(tollgate::policy::rules::Phase::Request);
    let tried = |path: &str| -> Vec<String> {
        shelf.candidates(&Method::GET, path).map(|rule| rule.id.to_string()).collect()
    };
    assert_eq!(tried("/rest/v1/events"), [""; 0]);
    assert_eq!(tried("/only/77/x"), ["r77"]);
}
