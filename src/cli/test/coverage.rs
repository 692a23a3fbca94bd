//! Which parts of a policy some case reached, and which none did.
//!
//! A part is reached by a case that was decided with it: a route by a request that it fits, a role by
//! a caller who has it or one that inherits it, a limit by a charge, a quota or a condition by being
//! judged, a table by a request for its rows, a rule by a request that meets it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::domain::catalog::Tenancy;
use crate::domain::source::Source;
use crate::pipeline::Trace;
use crate::policy::Snapshot;
use crate::policy::condition::{Condition, Requirement};
use crate::policy::limits::Scope;

use super::outcome::Outcome;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Route,
    Role,
    Condition,
    Table,
    Limit,
    Quota,
    Rule,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Route,
        Self::Role,
        Self::Condition,
        Self::Table,
        Self::Limit,
        Self::Quota,
        Self::Rule,
    ];

    fn plural(self) -> &'static str {
        match self {
            Self::Route => "routes",
            Self::Role => "roles",
            Self::Condition => "conditions",
            Self::Table => "tables",
            Self::Limit => "limits",
            Self::Quota => "quotas",
            Self::Rule => "rules",
        }
    }

    fn as_str(self) -> &'static str {
        self.plural().trim_end_matches('s')
    }
}

/// A part of a policy, by where it is written: two configurations that share a file share its parts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    kind: Kind,
    source: Source,
    name: Arc<str>,
}

/// Every part, and whether some case reached it.
#[derive(Debug, Default)]
pub(super) struct Coverage(BTreeMap<Part, bool>);

impl Coverage {
    /// The parts of a policy, of which none is reached yet.
    pub(super) fn add(&mut self, snapshot: &Snapshot) {
        for part in parts(snapshot) {
            self.0.entry(part).or_insert(false);
        }
    }

    /// A case was decided.
    pub(super) fn reached(&mut self, snapshot: &Snapshot, outcome: &Outcome, trace: &Trace) {
        let notes = trace.notes().iter().filter_map(|note| note.source.as_ref());
        let sources: BTreeSet<&Source> = notes.chain(outcome.decided_by.as_ref()).collect();
        let roles = snapshot.roles.roles().filter(|role| {
            Some(&role.name) == outcome.role.as_ref() || sources.contains(&role.source)
        });
        let roles: Vec<_> = roles.collect();
        let table = trace.permission.as_ref().and_then(|of| Some(of.rsplit_once(':')?.0));
        for (part, reached) in &mut self.0 {
            *reached |= match part.kind {
                Kind::Route => trace.route.as_ref().is_some_and(|of| of.source == part.source),
                Kind::Role => roles.iter().any(|role| role.is_or_inherits(&part.name)),
                Kind::Condition | Kind::Quota => sources.contains(&part.source),
                Kind::Rule => trace.rules.iter().any(|met| met.rule.source == part.source),
                Kind::Table => {
                    let own = snapshot.catalog.table(&part.name);
                    let own = own.is_some_and(|own| own.source == part.source);
                    own && (table == Some(&*part.name) || sources.contains(&part.source))
                }
                Kind::Limit => {
                    let own = snapshot.limits.get(&part.name);
                    own.is_some_and(|own| own.source == part.source)
                        && outcome.charged.contains(&part.name)
                }
            };
        }
    }

    /// How much is reached, in percent, rounded down: 100 is all of it.
    pub(super) fn percent(&self) -> u8 {
        let reached = self.0.values().filter(|reached| **reached).count();
        let percent = (reached * 100).checked_div(self.0.len()).unwrap_or(100);
        u8::try_from(percent).unwrap_or(100)
    }

    /// A line for each kind, and one for each part that no case reached.
    pub(super) fn text(&self) -> String {
        let reached = self.0.values().filter(|reached| **reached).count();
        let mut out = format!("coverage: {}% ({reached} of {})\n", self.percent(), self.0.len());
        for kind in Kind::ALL {
            let of_kind = || self.0.iter().filter(|(part, _)| part.kind == kind);
            let (all, reached) = (of_kind().count(), of_kind().filter(|(_, r)| **r).count());
            if all == 0 {
                continue;
            }
            let _ = writeln!(out, "  {}: {reached} of {all}", kind.plural());
            for (part, _) in of_kind().filter(|(_, reached)| !**reached) {
                let _ = writeln!(out, "    {}: {} is not reached", part.source, shown(part));
            }
        }
        out
    }

    pub(super) fn object(&self) -> Value {
        let missed = self.0.iter().filter(|(_, reached)| !**reached);
        let missed: Vec<Value> = missed
            .map(|(part, _)| {
                json!({
                    "kind": part.kind.as_str(),
                    "name": &*part.name,
                    "at": part.source.to_string(),
                })
            })
            .collect();
        let reached = self.0.len() - missed.len();
        json!({
            "percent": self.percent(),
            "reached": reached,
            "parts": self.0.len(),
            "missed": missed,
        })
    }
}

fn shown(part: &Part) -> String {
    match part.kind {
        Kind::Condition => part.name.to_string(),
        kind => format!("{} `{}`", kind.as_str(), part.name),
    }
}

fn parts(snapshot: &Snapshot) -> Vec<Part> {
    let part = |kind, name: &Arc<str>, source: &Source| Part {
        kind,
        source: source.clone(),
        name: Arc::clone(name),
    };
    let mut out = Vec::new();
    let mut conditions: Vec<&Requirement> = Vec::new();
    for route in snapshot.routes.iter() {
        out.push(part(Kind::Route, &route.name, &route.source));
        conditions.extend(&route.conditions);
        out.extend(route.quotas.iter().map(|of| part(Kind::Quota, &of.name, &of.source)));
    }
    for role in snapshot.roles.roles() {
        out.push(part(Kind::Role, &role.name, &role.source));
        conditions.extend(&role.requires);
    }
    conditions.extend(snapshot.gates.iter().flat_map(|gate| &gate.requires));
    for requirement in conditions {
        let name = Arc::from(condition(&requirement.condition));
        out.push(Part { kind: Kind::Condition, source: requirement.source.clone(), name });
    }
    // Nobody reaches a table that is closed.
    let tables = snapshot.catalog.tables.values().filter(|of| of.tenancy != Tenancy::Denied);
    out.extend(tables.map(|of| part(Kind::Table, &of.name, &of.source)));
    // Those of accounts are charged by bodies of logins, which no test signs in with.
    let limits = snapshot.limits.values().filter(|of| of.scope != Scope::Account);
    out.extend(limits.map(|of| part(Kind::Limit, &of.name, &of.source)));
    let rules = snapshot.rules.all().iter();
    out.extend(rules.map(|rule| part(Kind::Rule, &rule.id, &rule.source)));
    out
}

fn condition(condition: &Condition) -> String {
    match condition {
        Condition::Feature { name, .. } => format!("the feature `{name}`"),
        Condition::PlanAtLeast { name, .. } => format!("the plan `{name}`"),
        Condition::SecondFactor { .. } => "the second factor".into(),
        Condition::SessionAge(_) => "the age of the session".into(),
        Condition::SessionIdle(_) => "the rest of the session".into(),
        Condition::Addresses(_) => "the addresses".into(),
        Condition::Hours(_) => "the hours".into(),
        Condition::Stage { name, .. } => format!("the stage `{name}`"),
        Condition::When(_) => "the expression".into(),
    }
}
