//! Policies in shadow: what they would have refused is told, and nothing else becomes of it.

use std::time::Duration;

use tollgate::domain::charge::ChargeAnswer;
use tollgate::domain::known::Outage;
use tollgate::domain::usage::{OrganizationUse, PeriodUse, Used};
use tollgate::pipeline::Settled;
use tollgate::pipeline::shadow::Tried;

use crate::world::{Request, World, request};

const POLICY: &str = include_str!("policy.yaml");
const GATEWAY: &str = include_str!("gateway.yaml");
const DIRECTORY: &str = include_str!("directory.yaml");

/// The world with pieces of its policy replaced.
fn world(pieces: &[(&str, &str)]) -> World {
    let policy = pieces.iter().fold(POLICY.to_owned(), |policy, (from, to)| {
        assert!(policy.contains(from), "{from}");
        policy.replace(from, to)
    });
    World::of(&policy, DIRECTORY)
}

fn pro(organization: &str) -> Request {
    let asked = request("GET", "/pro/events?select=id").user("dave");
    asked.field("x-organization-id", organization)
}

fn events(method: &str, user: &str) -> Request {
    request(method, "/rest/v1/events?select=id").user(user)
}

#[test]
fn a_condition_in_shadow_is_told_and_let_through_and_one_that_is_off_is_not_there() {
    let stated = "require: [{ plan: pro }]";
    let tried = world(&[(stated, "require: [{ plan: pro, mode: shadow }]")]);
    let line = tried.line_of(stated);
    assert_eq!(tried.decide(&pro("acme")).code(), "passed");
    let would = format!("condition `route pro`: 403 plan_required policy.yaml:{line}");
    assert_eq!(tried.would(&pro("acme")), [would]);
    assert_eq!(tried.would(&pro("globex")), [""; 0], "what holds is nothing to tell");
    let off = world(&[(stated, "require: [{ plan: pro, mode: off }]")]);
    assert_eq!(off.decide(&pro("acme")).code(), "passed");
    assert_eq!(off.would(&pro("acme")), [""; 0]);
    assert_eq!(world(&[]).decide(&pro("acme")).code(), "plan_required");
}

#[test]
fn a_condition_in_shadow_opens_nothing_that_another_closes() {
    let both = "require: [{ plan: pro }, { feature: absent, mode: shadow }]";
    let both = world(&[("require: [{ plan: pro }]", both)]);
    assert_eq!(both.decide(&pro("acme")).code(), "plan_required");
    let would = both.would(&pro("globex"));
    assert!(would[0].starts_with("condition `route pro`: 403 feature_disabled"), "{would:?}");
}

#[test]
fn a_role_counts_without_what_it_only_tries_to_ask_for() {
    let stated = "viewer: { permissions: [\"*:read\"] }";
    let tried = "viewer: { permissions: [\"*:read\"], require: [{ aal: aal2, mode: shadow }] }";
    let tried = world(&[(stated, tried)]);
    let line = tried.line_of("viewer:");
    let told = [format!("condition `role viewer`: 403 mfa_required policy.yaml:{line}")];
    for user in ["bob", "carol"] {
        assert_eq!(tried.decide(&events("GET", user)).code(), "passed", "{user}");
        assert_eq!(tried.would(&events("GET", user)), told, "{user}");
    }
    assert_eq!(tried.decide(&events("POST", "bob")).code(), "permission_denied");
}

#[test]
fn a_gate_in_shadow_takes_all_its_conditions_along() {
    let gate = |mode: &str| {
        let gate =
            "gates: { closing: { permissions: [\"events:read\"], require: [{ feature: absent }]";
        world(&[("limits:\n", &format!("{gate}{mode} }} }}\nlimits:\n"))])
    };
    let asked = events("GET", "alice");
    assert_eq!(gate("").decide(&asked).code(), "feature_disabled");
    let tried = gate(", mode: shadow");
    assert_eq!(tried.decide(&asked).code(), "passed");
    let would = tried.would(&asked);
    assert!(would[0].starts_with("condition `gate closing`: 403 feature_disabled"), "{would:?}");
    assert_eq!((would.len(), gate(", mode: off").would(&asked).len()), (1, 0));
}

#[test]
fn a_permission_is_tried_beside_the_one_that_decides() {
    let stated = "    permission: { table: table }\n    limits: [per_user, per_org]\n";
    let tried = format!("    shadow_permission: \"events:write\"\n{stated}");
    let tried = world(&[(stated, &tried)]);
    let asked = events("GET", "bob");
    let would = tried.would(&asked);
    assert!(would[0].starts_with("permission `rest`: 403 permission_denied"), "{would:?}");
    let (trace, _) = tried.judged(&asked);
    assert_eq!(trace.permission.as_deref(), Some("events:read"), "what it was allowed by");
    assert_eq!(tried.would(&events("GET", "alice")), [""; 0]);
    assert_eq!(tried.decide(&events("DELETE", "carol")).code(), "permission_denied");
}

#[test]
fn a_limit_in_shadow_is_charged_by_itself_and_changes_nothing_of_what_is_enforced() {
    let tried =
        world(&[("    scope: organization\n", "    scope: organization\n    mode: shadow\n")]);
    let asked = events("GET", "alice");
    let (trace, chargeable) = tried.judged(&asked);
    let names = |charge: &tollgate::domain::charge::Charge| -> Vec<String> {
        charge.buckets.iter().map(|bucket| bucket.limit.to_string()).collect()
    };
    assert_eq!(names(chargeable.charge()), ["per_user"]);
    let [shadow] = chargeable.shadow() else { panic!("{:?}", chargeable.shadow()) };
    assert_eq!(names(shadow.charge()), ["per_org"]);
    assert_eq!(trace.cost, 2, "that of `per_user`");
    // Enforced, it would refuse while its store is away (`when_away: closed`).
    assert!(matches!(tried.settle_away(&asked), Ok(Settled::ChargeHere(_))));
    assert!(matches!(shadow.clone().answered(&ChargeAnswer::Away(Outage::Limits)), Tried::Unknown));
    let refused = ChargeAnswer::Refused {
        bucket: 0,
        retry_after: Duration::from_secs(1),
        penalty: 0,
        balances: Default::default(),
    };
    let Tried::WouldRefuse(would) = shadow.clone().answered(&refused) else {
        panic!("let through")
    };
    assert_eq!(would.to_string(), "limit `per_org`: 429 rate_limited");
    let off = world(&[("    scope: organization\n", "    scope: organization\n    mode: off\n")]);
    let (_, chargeable) = off.judged(&asked);
    assert_eq!((names(chargeable.charge()).len(), chargeable.shadow().len()), (1, 0));
}

#[test]
fn a_quota_in_shadow_tells_what_a_hard_one_would_refuse() {
    let metered =
        format!("{GATEWAY}metering: {{ postgres: \"postgres://u:p@127.0.0.1/x\", journal: j }}\n");
    let of = |mode: &str| {
        let quota =
            format!("quotas: {{ calls: {{ per: day, of: calls, amount: 10, mode: {mode} }} }}");
        let named = "    limits: [per_user, per_org]\n    quotas: [calls]\n";
        let policy = POLICY.replace("    limits: [per_user, per_org]\n", named);
        World::behind(&metered, &format!("{policy}{quota}\n"), DIRECTORY)
    };
    let used = |calls| {
        let used = Used { calls, ..Used::default() };
        let period = PeriodUse { used, resets_in: Duration::from_secs(60) };
        OrganizationUse { day: period, month: period, fresh: true }
    };
    let judged = |mode: &str, calls: u64| {
        let (mut trace, mut chargeable) = of(mode).judged(&events("GET", "alice"));
        let within = chargeable.within(Some(&used(calls)), &mut trace);
        let would: Vec<String> = trace.would.iter().map(ToString::to_string).collect();
        (within.map(|reached| reached.milestones.len()).map_err(|r| r.label()), would)
    };
    let told = vec!["quota `calls`: 429 quota_exceeded".to_owned()];
    assert_eq!(judged("hard", 10), (Err("quota_exceeded"), Vec::new()));
    assert_eq!(judged("shadow", 10), (Ok(0), told), "and no threshold is told");
    assert_eq!(judged("shadow", 9), (Ok(0), Vec::new()));
    assert!(of("off").judged(&events("GET", "alice")).1.quotas().is_empty());
}
