//! What a case expects, held against what became of it.

use std::fmt;

use crate::config::suite::{Case, Deciding, Expected, Verdict};
use crate::domain::source::Source;
use crate::policy::Snapshot;

use super::world::{Ended, Outcome, World};

/// How it differs: one line.
#[derive(Debug)]
pub(super) struct Difference {
    expected: String,
    actual: String,
    /// The line of the policy that decided.
    by: Option<Source>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}, got {}", self.expected, self.actual)?;
        self.by.iter().try_for_each(|source| write!(f, "  [{source}]"))
    }
}

/// What differs, if anything does.
pub(super) fn difference(case: &Case, outcome: &Outcome, world: &World) -> Option<Difference> {
    let (expected, actual) = differs(&case.expected, outcome, &world.snapshot)?;
    let by = match &outcome.ended {
        Ended::Allowed { .. } => world.let_through_by(case),
        Ended::Refused(_) | Ended::Answered(_) | Ended::Untried(_) => outcome.decided_by.clone(),
    };
    Some(Difference { expected, actual, by })
}

/// The first thing that differs: what it should be, and what it is.
fn differs(
    Expected { verdict, permission }: &Expected,
    outcome: &Outcome,
    snapshot: &Snapshot,
) -> Option<(String, String)> {
    let actual = actual(&outcome.ended);
    let found = match (verdict, &outcome.ended) {
        (Verdict::Allowed { target, body, limits }, Ended::Allowed { .. }) => {
            let Ended::Allowed { target: sent, body: sent_body, limits: charged } = &outcome.ended
            else {
                return None;
            };
            let quoted = |text: &str| format!("`{text}`");
            let text = |due: &Option<String>, is: &str, what: &str| {
                let due = due.as_deref().filter(|due| *due != is)?;
                Some((format!("{what} {}", quoted(due)), quoted(is)))
            };
            let names = |all: &[std::sync::Arc<str>]| quoted(&all.join(", "));
            let limits = limits.as_ref().filter(|due| *due != charged);
            text(target, sent, "the target")
                .or_else(|| text(body, sent_body.as_deref().unwrap_or_default(), "the body"))
                .or_else(|| {
                    limits.map(|due| (format!("the limits {}", names(due)), names(charged)))
                })
        }
        (Verdict::Refused { code, status, by }, Ended::Refused(refusal)) => {
            let public = refusal.public();
            let is = public.status.as_u16();
            if public.code != &**code || status.is_some_and(|status| status != is) {
                let status = status.map(|status| format!("{status} ")).unwrap_or_default();
                return Some((format!("refused with {status}`{code}`"), actual));
            }
            let by = by.as_ref().filter(|by| !decides(by, outcome.decided_by.as_ref(), snapshot));
            by.map(|by| (format!("it to be decided by {}", named(by)), "another line".into()))
        }
        (Verdict::Allowed { .. }, _) => return Some(("sent on".into(), actual)),
        (Verdict::Refused { code, .. }, _) => {
            return Some((format!("refused with `{code}`"), actual));
        }
    };
    let other = permission.as_ref().filter(|due| outcome.permission.as_ref() != Some(due));
    found.or_else(|| {
        let is = outcome.permission.as_deref().unwrap_or("none");
        other.map(|due| (format!("`{due}` to be asked for"), format!("`{is}`")))
    })
}

fn actual(ended: &Ended) -> String {
    match ended {
        Ended::Allowed { .. } => "sent on".into(),
        Ended::Refused(refusal) => {
            let public = refusal.public();
            format!("{} `{}` ({refusal})", public.status.as_u16(), public.code)
        }
        Ended::Answered(status) => format!("{status} by the gateway itself"),
        Ended::Untried(reason) => format!("nothing: {reason}"),
    }
}

/// Whether that part of the policy, or one of its conditions, is the line that decided.
fn decides(by: &Deciding, source: Option<&Source>, snapshot: &Snapshot) -> bool {
    let Some(source) = source else { return false };
    match by {
        Deciding::Route(name) => {
            let route = snapshot.routes.iter().find(|route| route.name == *name);
            route.is_some_and(|route| {
                let mut conditions = route.conditions.iter();
                route.source == *source || conditions.any(|condition| condition.source == *source)
            })
        }
        Deciding::Gate(name) => snapshot
            .gates
            .named(name)
            .is_some_and(|gate| gate.requires.iter().any(|condition| condition.source == *source)),
        Deciding::Quota(name) => {
            let mut quotas = snapshot.routes.iter().flat_map(|route| &route.quotas);
            quotas.any(|quota| quota.name == *name && quota.source == *source)
        }
        Deciding::Role(name) => snapshot.roles.role(name).is_some_and(|role| {
            let mut conditions = role.requires.iter();
            role.source == *source || conditions.any(|condition| condition.source == *source)
        }),
    }
}

fn named(by: &Deciding) -> String {
    match by {
        Deciding::Route(name) => format!("route `{name}`"),
        Deciding::Gate(name) => format!("gate `{name}`"),
        Deciding::Quota(name) => format!("quota `{name}`"),
        Deciding::Role(name) => format!("role `{name}`"),
    }
}
