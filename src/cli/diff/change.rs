//! One change, and how changes are told: what opens something comes first.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Write as _};

use serde::Serialize;

use crate::domain::source::Source;
use crate::policy::snapshot::SnapshotVersion;

/// What a change does to requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Effect {
    /// Some pass that did not, or as somebody they were not.
    Opens,
    /// It can be either: for the reader to say.
    Either,
    /// Some do not pass that did.
    Closes,
    /// The same pass; what is recorded or added to answers differs.
    Neutral,
}

/// One change. Its keys are an interface; add to them, do not change them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Change {
    pub(super) effect: Effect,
    /// What kind of thing.
    pub(super) kind: &'static str,
    /// Its name.
    pub(super) name: String,
    /// What changes.
    pub(super) what: String,
    /// Where it stands in either configuration.
    pub(super) before: Option<String>,
    pub(super) after: Option<String>,
}

/// All changes.
#[derive(Debug, Default)]
pub(super) struct Changes(Vec<Change>);

/// A thing that is in one configuration or in both.
pub(super) enum Pair<'x, T> {
    Gone(&'x T),
    New(&'x T),
    Both(&'x T, &'x T),
}

/// Things by name.
pub(super) fn paired<'x, T: 'x>(
    before: impl Iterator<Item = (&'x str, &'x T)>,
    after: impl Iterator<Item = (&'x str, &'x T)>,
) -> Vec<(&'x str, Pair<'x, T>)> {
    let mut all: BTreeMap<&str, (Option<&T>, Option<&T>)> = BTreeMap::new();
    for (name, thing) in before {
        all.entry(name).or_default().0 = Some(thing);
    }
    for (name, thing) in after {
        all.entry(name).or_default().1 = Some(thing);
    }
    let pair = |(name, of)| match of {
        (Some(before), Some(after)) => Some((name, Pair::Both(before, after))),
        (Some(before), None) => Some((name, Pair::Gone(before))),
        (None, Some(after)) => Some((name, Pair::New(after))),
        (None, None) => None,
    };
    all.into_iter().filter_map(pair).collect()
}

/// One thing whose changes are told.
pub(super) struct Subject<'c> {
    changes: &'c mut Changes,
    kind: &'static str,
    name: String,
    before: Option<String>,
    after: Option<String>,
}

impl Changes {
    /// Begins with a thing.
    pub(super) fn of(
        &mut self,
        kind: &'static str,
        name: &str,
        before: Option<&Source>,
        after: Option<&Source>,
    ) -> Subject<'_> {
        let shown = |source: Option<&Source>| source.map(ToString::to_string);
        let name = name.to_owned();
        Subject { changes: self, kind, name, before: shown(before), after: shown(after) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn sort(&mut self) {
        self.0.sort();
    }

    /// For machines.
    pub(super) fn report(&self, versions: (&SnapshotVersion, &SnapshotVersion)) -> impl Serialize {
        serde_json::json!({
            "differs": !self.0.is_empty(),
            "before": versions.0.to_string(),
            "after": versions.1.to_string(),
            "changes": self.0,
        })
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        if self.0.is_empty() {
            return "nothing that is decided differs\n".to_owned();
        }
        let mut out = String::new();
        for (effect, title) in [
            (Effect::Opens, "opens"),
            (Effect::Either, "may open or close"),
            (Effect::Closes, "closes"),
            (Effect::Neutral, "decides nothing else"),
        ] {
            let mut of_it = self.0.iter().filter(|change| change.effect == effect).peekable();
            if of_it.peek().is_none() {
                continue;
            }
            if !out.is_empty() {
                out.push('\n');
            }
            let _ = writeln!(out, "{title}:");
            for Change { kind, name, what, before, after, .. } in of_it {
                let place = match (before, after) {
                    (Some(before), Some(after)) if before == after => format!("  [{before}]"),
                    (Some(before), Some(after)) => format!("  [{before} → {after}]"),
                    (Some(place), None) | (None, Some(place)) => format!("  [{place}]"),
                    (None, None) => String::new(),
                };
                let name = if name.is_empty() { String::new() } else { format!(" `{name}`") };
                let _ = writeln!(out, "  {kind}{name}: {what}{place}");
            }
        }
        out
    }
}

impl Subject<'_> {
    /// A change of it.
    pub(super) fn tell(&mut self, effect: Effect, what: impl Into<String>) {
        self.changes.0.push(Change {
            effect,
            kind: self.kind,
            name: self.name.clone(),
            what: what.into(),
            before: self.before.clone(),
            after: self.after.clone(),
        });
    }

    pub(super) fn opens(&mut self, what: impl Into<String>) {
        self.tell(Effect::Opens, what);
    }

    pub(super) fn closes(&mut self, what: impl Into<String>) {
        self.tell(Effect::Closes, what);
    }

    /// Something of which more lets more through.
    pub(super) fn amount<T: PartialOrd + Display>(&mut self, what: &str, before: T, after: T) {
        if before != after {
            let effect = if after > before { Effect::Opens } else { Effect::Closes };
            self.tell(effect, format!("{what}: {before} → {after}"));
        }
    }

    /// Something of which nobody can say in general what it does.
    pub(super) fn differs<T: PartialEq + ?Sized>(&mut self, what: &str, before: &T, after: &T) {
        if before != after {
            self.tell(Effect::Either, format!("{what} differs"));
        }
    }

    /// The same, where both can be shown.
    pub(super) fn shown<T: PartialEq + Display>(&mut self, what: &str, before: T, after: T) {
        if before != after {
            self.tell(Effect::Either, format!("{what}: {before} → {after}"));
        }
    }

    /// A choice that closes something where it is made.
    pub(super) fn barrier(&mut self, what: &str, before: bool, after: bool) {
        match (before, after) {
            (false, true) => self.closes(what.to_owned()),
            (true, false) => self.opens(format!("no longer: {what}")),
            (true, true) | (false, false) => {}
        }
    }

    /// A list of which every element lets something through.
    pub(super) fn opening<T: Ord + Display>(&mut self, what: &str, before: &[T], after: &[T]) {
        let (gone, new) = apart(before, after);
        if !new.is_empty() {
            self.opens(format!("{what} {} added", listed(&new)));
        }
        if !gone.is_empty() {
            self.closes(format!("{what} {} removed", listed(&gone)));
        }
    }

    /// A list of which every element keeps something out.
    pub(super) fn closing<T: Ord + Display>(&mut self, what: &str, before: &[T], after: &[T]) {
        let (gone, new) = apart(before, after);
        if !gone.is_empty() {
            self.opens(format!("{what} {} removed", listed(&gone)));
        }
        if !new.is_empty() {
            self.closes(format!("{what} {} added", listed(&new)));
        }
    }
}

/// What is only in the first, and what is only in the second.
fn apart<'x, T: Ord>(before: &'x [T], after: &'x [T]) -> (Vec<&'x T>, Vec<&'x T>) {
    let before: BTreeSet<&T> = before.iter().collect();
    let after: BTreeSet<&T> = after.iter().collect();
    let gone = before.difference(&after).copied().collect();
    (gone, after.difference(&before).copied().collect())
}

/// Names, in backticks.
pub(super) fn listed<T: Display>(names: &[T]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}
