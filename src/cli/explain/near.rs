//! Near misses: what a refused request lacked at the stage that refused it, and who has it or what
//! would satisfy it. Not whether the stages after that one would let it pass.

use serde::Serialize;

use crate::domain::clock::Now;
use crate::domain::principal::{Principal, VerifiedToken};
use crate::domain::refusal::{ConditionRefusal, Refusal};
use crate::domain::source::Source;
use crate::pipeline::Trace;
use crate::policy::Snapshot;
use crate::policy::condition::Requirement;
use crate::policy::roles::Role;

use super::super::roles::{condition, conditions};

/// What was missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct NearMiss {
    pub(super) text: String,
    pub(super) source: Option<String>,
}

/// What would have let the request through the stage that refused it.
pub(super) fn misses(
    refusal: &Refusal,
    snapshot: &Snapshot,
    trace: &Trace,
    now: Now,
) -> Vec<NearMiss> {
    match refusal {
        Refusal::Forbidden { permission } if &**permission == "member" => {
            vec![miss("a member of the organization would be allowed", None)]
        }
        Refusal::Forbidden { permission } => holders(permission, snapshot, trace),
        Refusal::Condition(refusal) => vec![unmet(refusal, snapshot, trace, now)],
        Refusal::MethodNotAllowed { allow } => {
            let route = trace.route.as_ref().map(|route| route.source.to_string());
            vec![NearMiss { text: format!("the path serves {allow}"), source: route }]
        }
        _ => Vec::new(),
    }
}

fn miss(text: impl Into<String>, source: Option<&Source>) -> NearMiss {
    NearMiss { text: text.into(), source: source.map(ToString::to_string) }
}

/// The roles that have the permission, each with the line that grants it.
fn holders(permission: &str, snapshot: &Snapshot, trace: &Trace) -> Vec<NearMiss> {
    let Some((resource, action)) = permission.split_once(':') else { return Vec::new() };
    let Some(id) = snapshot.roles.permission(resource, action) else { return Vec::new() };
    let who = match &trace.principal {
        Some(Principal::Machine { .. }) => "a scope of the key, or by an owner with",
        _ => "with",
    };
    let mut having: Vec<&Role> =
        snapshot.roles.roles().map(AsRef::as_ref).filter(|role| role.allows(id)).collect();
    having.sort_by_key(|role| (role.level, role.name.clone()));
    if having.is_empty() {
        return vec![miss(format!("would be allowed {who} `{permission}`; no role has it"), None)];
    }
    let names: Vec<String> = having.iter().map(|role| format!("`{}`", role.name)).collect();
    let first =
        format!("would be allowed {who} `{permission}`; roles that have it: {}", names.join(", "));
    let by = having.into_iter().filter_map(|role| {
        let grant = role.grant_for(resource, action)?;
        let asked = conditions(&role.requires);
        let asked = if asked.is_empty() {
            String::new()
        } else {
            format!(", which asks for {}", asked.join(", "))
        };
        let text = format!("`{}` by `{}`{asked}", role.name, grant.pattern);
        Some(miss(text, Some(&grant.source)))
    });
    std::iter::once(miss(first, None)).chain(by).collect()
}

/// The condition that does not hold, beside what does.
fn unmet(refusal: &ConditionRefusal, snapshot: &Snapshot, trace: &Trace, now: Now) -> NearMiss {
    let is = present(refusal, trace, now);
    let Some(source) = &trace.decided_by else {
        return miss(format!("the organization itself asks for it: {is}"), None);
    };
    let asked = requirement(source, snapshot)
        .map_or_else(|| refusal.to_string(), |of| format!("asks for {}", condition(of)));
    miss(format!("{asked}; {is}"), Some(source))
}

/// The requirement that stands at a place.
fn requirement<'s>(source: &Source, snapshot: &'s Snapshot) -> Option<&'s Requirement> {
    let of_routes = snapshot.routes.iter().flat_map(|route| &route.conditions);
    let of_roles = snapshot.roles.roles().flat_map(|role| &role.requires);
    let of_gates = snapshot.gates.iter().flat_map(|gate| &gate.requires);
    of_routes.chain(of_roles).chain(of_gates).find(|requirement| requirement.source == *source)
}

/// What is the case instead.
fn present(refusal: &ConditionRefusal, trace: &Trace, now: Now) -> String {
    let organization = trace.organization.as_deref();
    let token = match &trace.principal {
        Some(Principal::User { token, .. }) => Some(token.as_ref()),
        Some(Principal::Service { .. } | Principal::Machine { .. } | Principal::Anonymous)
        | None => None,
    };
    let ago = |at: Option<u64>| at.map(|at| now.unix_secs().saturating_sub(at));
    match refusal {
        ConditionRefusal::Feature(name) => {
            let features = organization.map(|of| &of.features);
            match features.map(|features| (features.get(name), features)) {
                Some((Some(settings), _)) => {
                    let set: Vec<String> =
                        settings.iter().map(|(key, value)| format!("`{key}: {value}`")).collect();
                    let set = if set.is_empty() { "nothing".to_owned() } else { set.join(", ") };
                    format!("the organization has it, with {set} set")
                }
                Some((None, features)) if !features.is_empty() => {
                    let names: Vec<String> = features.keys().map(|of| format!("`{of}`")).collect();
                    format!("the organization has {}", names.join(", "))
                }
                Some((None, _)) | None => "the organization has no features".to_owned(),
            }
        }
        ConditionRefusal::Plan(_) => match organization {
            Some(organization) => format!("the organization has `{}`", organization.plan),
            None => "there is no organization".to_owned(),
        },
        ConditionRefusal::SecondFactor => match token {
            Some(VerifiedToken { second_factor: false, .. }) => {
                "the token does not say `aal2`".into()
            }
            Some(_) => "no trusted device stands in".to_owned(),
            None => "the caller has no token of a user".to_owned(),
        },
        ConditionRefusal::FactorAge => match ago(token.and_then(|token| token.factor_at)) {
            Some(seconds) => format!("the last second factor was shown {seconds} s ago"),
            None => "`amr` does not say when a second factor was shown".to_owned(),
        },
        ConditionRefusal::SessionAge => match ago(token.and_then(|token| token.signed_in_at)) {
            Some(seconds) => format!("the user signed in {seconds} s ago"),
            None => "the token does not say when its user signed in".to_owned(),
        },
        ConditionRefusal::SessionIdle => "the session rested for longer".to_owned(),
        ConditionRefusal::Address => match trace.client {
            Some(client) => format!("the client is {client}"),
            None => "the client is unknown".to_owned(),
        },
        ConditionRefusal::Hours => "it is another time there".to_owned(),
        ConditionRefusal::Expression => "what it asks for is not so".to_owned(),
        ConditionRefusal::Fault(why) => format!("it has no answer: {}", why.replace('_', " ")),
        ConditionRefusal::Stage(_) => {
            match organization.and_then(|organization| organization.stage.as_ref()) {
                Some(stage) => format!("the organization has reached `{stage}`"),
                None => "the organization has reached no stage".to_owned(),
            }
        }
    }
}
