//! From what the entries of the catalogue say, each by itself, to a catalogue: every name that one
//! entry has for another is resolved, or reported where it stands.
//!
//! May import `domain`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::config::compile::{Joined, unknown};
use crate::config::context::Context;
use crate::config::decode::{At, Name};
use crate::config::yaml::Span;
use crate::domain::catalog::{
    Argument, Catalog, ForeignKey, Function, Isolation, Returns, Table, TableKind, Tenancy,
};

use super::functions::FunctionFields;
use super::{ColumnRef, KeyFields, TableFields, TenancyFields, ViaFields};

/// Compiles the catalogue. The result counts only if no error was reported.
pub(crate) fn catalog(joined: &Joined, cx: &mut Context<'_>) -> Catalog {
    let world = World { tables: &joined.tables };
    let foreign_keys = world.foreign_keys(cx);
    for (name, table) in &joined.tables {
        world.own_columns(name, table, cx);
        if let TenancyFields::Through { via } = &table.value.tenancy {
            world.via(name, via, cx);
        }
    }
    let mut functions = BTreeMap::new();
    for (name, function) in &joined.functions {
        let compiled = world.function(name, function, cx);
        functions.insert(name.clone(), Arc::new(compiled));
    }
    let table = |(name, at): (&Name, &At<TableFields>)| {
        let table = table(name, &at.value, at.span, cx);
        (name.clone(), Arc::new(table))
    };
    Catalog {
        schema: joined.schema.clone(),
        tables: joined.tables.iter().map(table).collect(),
        foreign_keys,
        functions,
        casts: joined.casts.clone(),
        caps: joined.caps,
        tries: joined.tables.values().any(|table| table.value.trial.is_some()),
    }
}

fn table(name: &Name, fields: &TableFields, span: Span, cx: &Context<'_>) -> Table {
    let tenancy = match &fields.tenancy {
        TenancyFields::Column { column, shared_null } => {
            Tenancy::Column { column: column.value.clone(), shared_null: *shared_null }
        }
        TenancyFields::Through { via } => Tenancy::Through {
            constraint: via.constraint.value.clone(),
            parent: via.parent.value.clone(),
        },
        TenancyFields::Global => Tenancy::Global,
        TenancyFields::Denied => Tenancy::Denied,
    };
    let isolation = match fields.trial {
        Some(span) => Isolation::Shadow(cx.source(span)),
        None => Isolation::Enforced,
    };
    let kind = if fields.view { TableKind::View } else { TableKind::Table };
    Table {
        kind,
        primary_key: values(&fields.primary_key),
        unique: fields.unique.iter().map(|set| values(&set.value)).collect(),
        writable: fields.writable,
        requires_filter: fields.requires_filter,
        ranks: fields.ranks.as_ref().map(|column| column.value.clone()),
        isolation,
        ..Table::new(name.clone(), tenancy, values(&fields.columns), cx.source(span))
    }
}

fn values(names: &[At<Name>]) -> Vec<Name> {
    names.iter().map(|name| name.value.clone()).collect()
}

/// All tables and views, while names are resolved.
struct World<'j> {
    tables: &'j BTreeMap<Name, At<TableFields>>,
}

impl<'j> World<'j> {
    fn table(&self, name: &At<Name>, cx: &mut Context<'_>) -> Option<&'j TableFields> {
        match self.tables.get(&name.value) {
            Some(table) => Some(&table.value),
            None => {
                unknown("table", name, self.tables.keys(), cx);
                None
            }
        }
    }

    /// The keys of a table name its own columns.
    fn own_columns(&self, name: &Name, table: &At<TableFields>, cx: &mut Context<'_>) {
        let fields = &table.value;
        if matches!(fields.tenancy, TenancyFields::Denied) {
            return;
        }
        let sets = fields.unique.iter().map(|set| &set.value);
        let ranks = fields.ranks.iter();
        for column in [&fields.primary_key].into_iter().chain(sets).flatten().chain(ranks) {
            column_of(name, fields, column, cx);
        }
    }

    fn foreign_keys(&self, cx: &mut Context<'_>) -> BTreeMap<Name, Arc<ForeignKey>> {
        let mut out = BTreeMap::new();
        let mut places: BTreeMap<&Name, Span> = BTreeMap::new();
        for (name, table) in self.tables {
            for (constraint, key) in &table.value.foreign_keys.0 {
                if let Some(first) = places.get(&constraint.value) {
                    cx.error(
                        constraint.span,
                        format!("a second foreign key is called `{}`", constraint.value),
                    )
                    .related(*first, "the first one")
                    .hint("rename the constraint in the database: embeds are told apart by it");
                    continue;
                }
                places.insert(&constraint.value, constraint.span);
                let key = self.foreign_key(name, &table.value, constraint, &key.value, cx);
                if let Some(key) = key {
                    out.insert(constraint.value.clone(), Arc::new(key));
                }
            }
        }
        out
    }

    fn foreign_key(
        &self,
        name: &Name,
        fields: &TableFields,
        constraint: &At<Name>,
        key: &KeyFields,
        cx: &mut Context<'_>,
    ) -> Option<ForeignKey> {
        let pairs = &key.0.0;
        for (column, _) in pairs {
            column_of(name, fields, column, cx);
        }
        let (_, first) = pairs.first()?;
        let target = first.value.value.table.clone();
        let found = self.table(&At { value: target.clone(), span: first.value.span }, cx)?;
        if found.view {
            cx.error(first.value.span, format!("`{target}` is a view"))
                .hint("foreign keys point to tables: remove it");
        }
        let mut columns: Vec<Name> = Vec::new();
        let mut target_columns: Vec<Name> = Vec::new();
        for (column, At { value: At { value: ColumnRef { table, column: to }, span }, .. }) in pairs
        {
            if *table != target {
                cx.error(*span, format!("the foreign key leads to `{table}` and to `{target}`"))
                    .related(first.value.span, "stated here")
                    .hint("all its columns point to columns of one table");
                continue;
            }
            if target_columns.contains(to) {
                cx.error(*span, format!("two columns point to `{table}.{to}`"))
                    .hint("state each column of the other table once");
            }
            // Of a table that cannot be reached no columns are listed.
            if !matches!(found.tenancy, TenancyFields::Denied) {
                column_of(table, found, &At { value: to.clone(), span: *span }, cx);
            }
            columns.push(column.value.clone());
            target_columns.push(to.clone());
        }
        let mine: BTreeSet<&Name> = columns.iter().collect();
        let one_to_one = [&fields.primary_key]
            .into_iter()
            .chain(fields.unique.iter().map(|set| &set.value))
            .any(|set| set.iter().map(|column| &column.value).collect::<BTreeSet<_>>() == mine);
        Some(ForeignKey {
            constraint: constraint.value.clone(),
            table: name.clone(),
            columns,
            target,
            target_columns,
            one_to_one,
        })
    }

    /// The way through parents has to end at a table that knows its organization.
    fn via(&self, name: &Name, via: &ViaFields, cx: &mut Context<'_>) {
        let Some(own) = self.tables.get(name) else { return };
        let keys = &own.value.foreign_keys.0;
        let key = keys.iter().find(|(constraint, _)| constraint.value == via.constraint.value);
        let Some((constraint, key)) = key else {
            unknown("foreign key", &via.constraint, keys.iter().map(|(c, _)| &c.value), cx);
            return;
        };
        if let Some((_, first)) = key.value.0.0.first() {
            let target = &first.value.value.table;
            if *target != via.parent.value {
                let message = format!(
                    "the foreign key `{}` leads to `{target}`, not to `{}`",
                    via.constraint.value, via.parent.value
                );
                cx.error(via.parent.span, message)
                    .related(constraint.span, "the foreign key")
                    .hint(format!("write `to: {target}`, or name another key"));
                return;
            }
        }
        let mut path = vec![name];
        let mut next = &via.parent;
        loop {
            // A table that is not there was reported with the foreign key.
            let Some((name, table)) = self.tables.get_key_value(&next.value) else { return };
            match &table.value.tenancy {
                TenancyFields::Column { .. } => return,
                TenancyFields::Through { .. } if path.contains(&name) => {
                    // Each table of a circle comes here; the first by name reports it.
                    if path.first() == Some(&name) && path.iter().min() == path.first() {
                        path.push(name);
                        let names: Vec<String> =
                            path.iter().map(|name| format!("`{name}`")).collect();
                        let message = format!("{} is a circle", names.join(" → "));
                        cx.error(via.parent.span, message)
                            .hint("one of these tables needs a `tenant` column");
                    }
                    return;
                }
                TenancyFields::Through { via: further } => {
                    path.push(name);
                    next = &further.parent;
                }
                TenancyFields::Global | TenancyFields::Denied => {
                    let what = match table.value.tenancy {
                        TenancyFields::Denied => "cannot be reached",
                        _ => "belongs to no organization",
                    };
                    // The table that names it reports it, once for all that lead there.
                    if path.len() == 1 {
                        cx.error(via.parent.span, format!("the table `{name}` {what}"))
                            .related(table.span, "the table")
                            .hint("the way through parents ends at a table with a `tenant` column");
                    }
                    return;
                }
            }
        }
    }

    fn function(
        &self,
        name: &Name,
        function: &At<FunctionFields>,
        cx: &mut Context<'_>,
    ) -> Function {
        let fields = &function.value;
        let arguments: BTreeMap<Name, Argument> = fields
            .arguments
            .0
            .iter()
            .map(|(argument, source)| (argument.value.clone(), source.value))
            .collect();
        let returns = match &fields.returns {
            None => Returns::Opaque,
            Some(table) => {
                if let Some(found) = self.table(table, cx) {
                    result(fields, &arguments, table, found, cx);
                }
                Returns::Rows { table: table.value.clone(), filtered: fields.filtered }
            }
        };
        Function {
            name: name.clone(),
            arguments,
            returns,
            read_only: fields.read_only,
            source: cx.source(function.span),
        }
    }
}

/// Rows that a function returns go back only to those whose they are.
fn result(
    fields: &FunctionFields,
    arguments: &BTreeMap<Name, Argument>,
    table: &At<Name>,
    found: &TableFields,
    cx: &mut Context<'_>,
) {
    let name = &table.value;
    let forced = arguments.values().any(|argument| *argument == Argument::Tenant);
    match &found.tenancy {
        TenancyFields::Denied => {
            cx.error(table.span, format!("the table `{name}` cannot be reached"))
                .hint("leave `returns` out, or let clients reach the table");
        }
        TenancyFields::Through { .. } | TenancyFields::Global if fields.filtered => {
            cx.error(table.span, format!("the table `{name}` has no tenant column to filter by"))
                .hint("remove `filter_result`, and confine the function by an argument `$tenant`");
        }
        TenancyFields::Column { .. } | TenancyFields::Through { .. }
            if !fields.filtered && !forced =>
        {
            cx.error(table.span, format!("the rows of `{name}` belong to organizations")).hint(
                "remove `unscoped`, and state `filter_result: true` or an argument `$tenant`",
            );
        }
        TenancyFields::Column { .. } | TenancyFields::Through { .. } | TenancyFields::Global => {}
    }
}

/// Reports a column that the table does not list.
fn column_of(table: &Name, fields: &TableFields, column: &At<Name>, cx: &mut Context<'_>) {
    if fields.columns.iter().any(|known| known.value == column.value) {
        return;
    }
    let known = fields.columns.iter().map(|known| known.value.as_ref());
    let hint = match crate::config::decode::nearest(&column.value, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("add it to the `columns` of `{table}`, or remove it here"),
    };
    let message = format!("the column `{}` is not among the columns of `{table}`", column.value);
    cx.error(column.span, message).hint(hint);
}
