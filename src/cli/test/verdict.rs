//! What a case expects, held against what became of it: everything that differs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use serde_json::Value;

use crate::config::suite::{Case, Deciding, Expected, FieldsExpected, SentExpected, Verdict};
use crate::domain::source::Source;
use crate::policy::Snapshot;

use super::super::explain::upstream::value_shown;
use super::outcome::{Ended, Outcome, Sent};
use super::world::World;
use super::would;

/// What is wrong with a case.
#[derive(Debug)]
pub(in crate::cli) struct Mismatch {
    /// At least one.
    pub(super) differences: Vec<Difference>,
    /// The line of the policy that decided.
    pub(super) by: Option<Source>,
}

/// One thing that is not as it should be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference {
    /// What: `target`, `sent x-request-id`; empty where it is the verdict as such.
    pub(super) what: String,
    pub(super) expected: String,
    pub(super) actual: String,
}

impl fmt::Display for Mismatch {
    /// One line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, difference) in self.differences.iter().enumerate() {
            let lead = if index == 0 { "" } else { "; " };
            write!(f, "{lead}{difference}")?;
        }
        self.by.iter().try_for_each(|source| write!(f, "  [{source}]"))
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, expected, actual } = self;
        match what.is_empty() {
            true => write!(f, "expected {expected}, got {actual}"),
            false => write!(f, "expected {what} `{expected}`, got `{actual}`"),
        }
    }
}

/// What differs, if anything does.
pub(in crate::cli) fn mismatch(case: &Case, outcome: &Outcome, world: &World) -> Option<Mismatch> {
    let differences = differences(&case.expected, outcome, &world.snapshot);
    if differences.is_empty() {
        return None;
    }
    let by = match &outcome.ended {
        Ended::Allowed(_) => world.let_through_by(case),
        Ended::Refused { .. } | Ended::Answered { .. } | Ended::Untried(_) => {
            outcome.decided_by.clone()
        }
    };
    Some(Mismatch { differences, by })
}

fn differences(expected: &Expected, outcome: &Outcome, snapshot: &Snapshot) -> Vec<Difference> {
    let mut out = Vec::new();
    let mut say = |what: &str, expected: String, actual: String| {
        if expected != actual {
            out.push(Difference { what: what.to_owned(), expected, actual });
        }
    };
    let actual = actual(&outcome.ended);
    match (&expected.verdict, &outcome.ended) {
        (Verdict::Allowed(due), Ended::Allowed(sent)) => of_sent(due, sent, &mut say),
        (Verdict::Refused { code, status, by }, Ended::Refused { refusal, .. }) => {
            let public = refusal.public();
            let is = public.status.as_u16();
            if public.code != &**code || status.is_some_and(|status| status != is) {
                let status = status.map(|status| format!("{status} ")).unwrap_or_default();
                say("", format!("refused with {status}`{code}`"), actual);
            } else if let Some(by) = by
                && !decides(by, outcome.decided_by.as_ref(), snapshot)
            {
                let is = outcome.decided_by.as_ref();
                let is = is.map_or_else(|| "no line".to_owned(), |source| format!("`{source}`"));
                say("", format!("it to be decided by {}", named(by)), is);
            }
        }
        (Verdict::Answered { status }, Ended::Answered { status: is, .. }) if status == is => {}
        (Verdict::Allowed(_), _) => say("", "sent on".into(), actual),
        (Verdict::Answered { status }, _) => {
            say("", format!("{status} by the gateway itself"), actual);
        }
        (Verdict::Refused { code, .. }, _) => {
            // In shadow, perhaps, and nobody thought of that.
            let would =
                outcome.would.as_slice().iter().find(|would| would.code.as_ref() == &**code);
            let would = would.map(|would| {
                let (policy, name) = (would.policy.as_str(), &would.name);
                format!(" ({policy} `{name}` would refuse it, and is in shadow)")
            });
            say("", format!("refused with `{code}`"), actual + &would.unwrap_or_default());
        }
    }
    if let Some(due) = &expected.permission {
        let is = outcome.permission.as_deref().unwrap_or("none");
        say("the permission", due.to_string(), is.to_owned());
    }
    if let Some(due) = &expected.events {
        let due: Vec<&str> = due.iter().map(AsRef::as_ref).collect();
        let events: Vec<&str> = outcome.events.iter().map(AsRef::as_ref).collect();
        say("the security events", listed(&due), listed(&events));
    }
    if let Some(due) = &expected.rules {
        let due: Vec<&str> = due.iter().map(AsRef::as_ref).collect();
        let met: Vec<&str> = outcome.rules.iter().map(AsRef::as_ref).collect();
        say("the rules", listed(&due), listed(&met));
    }
    if let Some(due) = &expected.would {
        let (due, is) = would::sides(due, outcome.would.as_slice());
        say("what policies in shadow would do", due, is);
    }
    if let Some(answer) = outcome.ended.answer() {
        fields(&expected.answer, answer, "the answer's field", &mut say);
    }
    out
}

fn of_sent(due: &SentExpected, sent: &Sent, say: &mut impl FnMut(&str, String, String)) {
    let mut text = |what: &str, due: Option<&str>, is: &str| {
        if let Some(due) = due {
            say(what, due.to_owned(), is.to_owned());
        }
    };
    text("the upstream", due.upstream.as_deref(), &sent.upstream);
    text("the target", due.target.as_deref(), &sent.target);
    text("the body", due.body.as_deref(), sent.body.as_deref().unwrap_or_default());
    let names: Vec<&str> = sent.charges.iter().map(|(limit, _)| &**limit).collect();
    let limits = due.limits.as_ref();
    let limits = limits.map(|due| listed(&due.iter().map(AsRef::as_ref).collect::<Vec<_>>()));
    text("the limits", limits.as_deref(), &listed(&names));
    if let Some(due) = &due.charges {
        let charged: BTreeMap<Arc<str>, u64> = sent.charges.iter().cloned().collect();
        say("the charges", shown(due), shown(&charged));
    }
    fields(&due.fields, &sent.headers, "the sent field", say);
    for (path, value) in &due.claims {
        let is = sent.claims.as_ref().and_then(|claims| claim(claims, path));
        let is = is.unwrap_or_else(|| "none".to_owned());
        say(&format!("the claim {path}"), value.clone(), is);
    }
}

fn shown(charges: &BTreeMap<Arc<str>, u64>) -> String {
    let each: Vec<String> =
        charges.iter().map(|(limit, cost)| format!("{limit}: {cost}")).collect();
    listed(&each.iter().map(String::as_str).collect::<Vec<_>>())
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// A claim by its path; texts without quotes.
fn claim(claims: &Value, path: &str) -> Option<String> {
    let found = match claims.get(path) {
        Some(found) => found,
        None => path.split('.').try_fold(claims, |at, key| at.get(key))?,
    };
    Some(found.as_str().map_or_else(|| found.to_string(), str::to_owned))
}

fn fields(
    due: &FieldsExpected,
    headers: &HeaderMap,
    what: &str,
    say: &mut impl FnMut(&str, String, String),
) {
    let absent = || "not there".to_owned();
    let joined = |name: &str, text: &dyn Fn(&HeaderValue) -> String| {
        let values: Vec<String> = headers.get_all(name).iter().map(text).collect();
        (!values.is_empty()).then(|| values.join(", "))
    };
    let plain = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    // Keys of upstreams are secrets of the configuration.
    let shown = |name: &str| {
        let parsed = name.parse().ok();
        let text = |value: &HeaderValue| match &parsed {
            Some(name) => value_shown(name, value),
            None => "***".to_owned(),
        };
        joined(name, &text).unwrap_or_else(absent)
    };
    for (name, value) in &due.equal {
        if joined(name, &plain).as_deref() != Some(value) {
            say(&format!("{what} {name}"), value.clone(), shown(name));
        }
    }
    for name in &due.present {
        if !headers.contains_key(name) {
            say(&format!("{what} {name}"), "anything".to_owned(), absent());
        }
    }
    for name in &due.absent {
        if headers.contains_key(name) {
            say(&format!("{what} {name}"), absent(), shown(name));
        }
    }
}

fn actual(ended: &Ended) -> String {
    match ended {
        Ended::Allowed(_) => "sent on".into(),
        Ended::Refused { refusal, .. } => {
            let public = refusal.public();
            format!("{} `{}` ({refusal})", public.status.as_u16(), public.code)
        }
        Ended::Answered { status, .. } => format!("{status} by the gateway itself"),
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
        Deciding::Limit(name) => {
            snapshot.limits.get(name).is_some_and(|limit| limit.source == *source)
        }
        Deciding::Rule(name) => {
            let mut rules = snapshot.rules.all().iter();
            rules.any(|rule| rule.id == *name && rule.source == *source)
        }
        Deciding::Line(end) => ends(&source.to_string(), end),
        Deciding::Role(name) => snapshot.roles.role(name).is_some_and(|role| {
            let mut conditions = role.requires.iter();
            role.source == *source || conditions.any(|condition| condition.source == *source)
        }),
    }
}

/// Whether a path with its line ends so, in whole parts.
fn ends(place: &str, end: &str) -> bool {
    place.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
}

fn named(by: &Deciding) -> String {
    match by {
        Deciding::Route(name) => format!("route `{name}`"),
        Deciding::Gate(name) => format!("gate `{name}`"),
        Deciding::Quota(name) => format!("quota `{name}`"),
        Deciding::Limit(name) => format!("limit `{name}`"),
        Deciding::Rule(name) => format!("rule `{name}`"),
        Deciding::Role(name) => format!("role `{name}`"),
        Deciding::Line(place) => format!("`{place}`"),
    }
}
