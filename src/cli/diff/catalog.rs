//! The catalogue: tables, their columns, how their rows belong to organizations, functions.

use std::sync::Arc;

use crate::domain::catalog::{Catalog, ForeignKey, Function, Table, Tenancy};
use crate::policy::mode::Mode;

use super::change::{Changes, Effect, Pair, Subject, listed, paired};
use super::gates;

/// Compares catalogues.
pub(super) fn compare(before: &Catalog, after: &Catalog, changes: &mut Changes) {
    let pairs = paired(
        before.tables.iter().map(|(name, table)| (name.as_ref(), table.as_ref())),
        after.tables.iter().map(|(name, table)| (name.as_ref(), table.as_ref())),
    );
    for (name, pair) in pairs {
        match pair {
            Pair::Gone(table) => {
                let mut subject = changes.of("table", name, Some(&table.source), None);
                let effect = if denied(table) { Effect::Neutral } else { Effect::Closes };
                subject.tell(effect, format!("removed: {}", tenancy(&table.tenancy)));
            }
            Pair::New(table) => {
                let mut subject = changes.of("table", name, None, Some(&table.source));
                let effect = if denied(table) { Effect::Neutral } else { Effect::Opens };
                let columns = listed(&table.columns);
                let of = tenancy(&table.tenancy);
                let with =
                    if columns.is_empty() { String::new() } else { format!(", with {columns}") };
                let tried = if table.is_tried() { ", with `mode: shadow`" } else { "" };
                subject.tell(effect, format!("new: {of}{with}{tried}"));
            }
            Pair::Both(of, now) => {
                let mut subject = changes.of("table", name, Some(&of.source), Some(&now.source));
                table(of, now, &mut subject);
            }
        }
    }
    let pairs = paired(
        before.functions.iter().map(|(name, function)| (name.as_ref(), function.as_ref())),
        after.functions.iter().map(|(name, function)| (name.as_ref(), function.as_ref())),
    );
    for (name, pair) in pairs {
        match pair {
            Pair::Gone(of) => {
                changes.of("function", name, Some(&of.source), None).closes("removed")
            }
            Pair::New(of) => changes.of("function", name, None, Some(&of.source)).opens("new"),
            Pair::Both(of, now) => {
                let mut subject = changes.of("function", name, Some(&of.source), Some(&now.source));
                function(of, now, &mut subject);
            }
        }
    }
    keys(before, after, changes);
    let mut subject = changes.of("catalogue", "", None, None);
    subject.shown("schema", &before.schema, &after.schema);
    subject.opening("cast to", &before.casts, &after.casts);
    subject.amount("levels of embeds", before.caps.depth, after.caps.depth);
    subject.amount("embeds of a request", before.caps.embeds, after.caps.embeds);
    subject.amount("filters of a request", before.caps.filters, after.caps.filters);
}

fn denied(table: &Table) -> bool {
    table.tenancy == Tenancy::Denied
}

fn table(a: &Table, b: &Table, subject: &mut Subject<'_>) {
    if a.tenancy != b.tenancy {
        let effect = match (&a.tenancy, &b.tenancy) {
            (_, Tenancy::Denied) => Effect::Closes,
            (Tenancy::Denied, _) | (_, Tenancy::Global) => Effect::Opens,
            (
                Tenancy::Column { column: of, shared_null: was },
                Tenancy::Column { column: now, shared_null: is },
            ) if of == now => {
                if *is && !*was {
                    Effect::Opens
                } else {
                    Effect::Closes
                }
            }
            (_, _) => Effect::Either,
        };
        let (of, now) = (tenancy(&a.tenancy), tenancy(&b.tenancy));
        subject.tell(effect, format!("its rows: {of} → {now}"));
    }
    gates::mode(mode(a), mode(b), subject);
    subject.opening("column", &a.columns, &b.columns);
    subject.barrier("read-only", !a.writable, !b.writable);
    subject.barrier("changes need a filter", a.requires_filter, b.requires_filter);
    match (&a.ranks, &b.ranks) {
        (Some(of), Some(now)) => subject.shown("column of roles", of, now),
        (of, now) => subject.barrier("roles in it are ranked", of.is_some(), now.is_some()),
    }
    subject.differs("whether it is a table or a view", &a.kind, &b.kind);
    subject.differs("the primary key", &a.primary_key, &b.primary_key);
    subject.differs("the list of unique columns", &a.unique, &b.unique);
}

fn mode(of: &Table) -> Mode {
    if of.is_tried() { Mode::Shadow } else { Mode::Enforce }
}

fn tenancy(of: &Tenancy) -> String {
    match of {
        Tenancy::Column { column, shared_null: false } => format!("by `{column}`"),
        Tenancy::Column { column, shared_null: true } => {
            format!("by `{column}`, and those of nobody for all")
        }
        Tenancy::Through { constraint, parent } => format!("through `{constraint}` of `{parent}`"),
        Tenancy::Global => "the same for all, read-only".to_owned(),
        Tenancy::Denied => "not reachable".to_owned(),
    }
}

fn function(a: &Function, b: &Function, subject: &mut Subject<'_>) {
    let names = |of: &Function| of.arguments.keys().cloned().collect::<Vec<Arc<str>>>();
    subject.opening("argument", &names(a), &names(b));
    for (name, of) in &a.arguments {
        if b.arguments.get(name).is_some_and(|now| now != of) {
            let what = format!("who states the argument `{name}` differs");
            subject.tell(Effect::Either, what);
        }
    }
    subject.differs("what it returns", &a.returns, &b.returns);
    subject.barrier("called with POST only", !a.read_only, !b.read_only);
}

fn keys(before: &Catalog, after: &Catalog, changes: &mut Changes) {
    fn named(catalog: &Catalog) -> impl Iterator<Item = (&str, &ForeignKey)> {
        catalog.foreign_keys.iter().map(|(name, key)| (name.as_ref(), key.as_ref()))
    }
    for (name, pair) in paired(named(before), named(after)) {
        let way = |key: &ForeignKey| format!("{} → {}", key.table, key.target);
        let mut subject = changes.of("foreign key", name, None, None);
        match pair {
            Pair::Gone(key) => subject.closes(format!("removed: embeds along {}", way(key))),
            Pair::New(key) => subject.opens(format!("new: embeds along {}", way(key))),
            Pair::Both(of, now) => subject.differs("what it joins", of, now),
        }
    }
}
