//! A configured catalogue against the database that it describes: what is stated and not there,
//! and what the database allows that no gateway can see.

use std::collections::BTreeSet;

use crate::domain::catalog::{
    Argument, Catalog, ForeignKey, Function, Isolation, Returns, Table, TableKind, Tenancy,
};
use crate::domain::source::Source;
use crate::stores::introspect::{Relation, Routine, Schema, Volatility};

use super::finding::{Finding, Rule};

/// Looks at everything that the catalogue lets clients reach.
pub(super) fn compare(catalog: &Catalog, schema: &Schema) -> Vec<Finding> {
    let mut comparison = Comparison { catalog, schema, found: Vec::new() };
    for table in catalog.tables.values().filter(|table| table.tenancy != Tenancy::Denied) {
        comparison.table(table);
    }
    for function in catalog.functions.values() {
        comparison.function(function);
    }
    comparison.found
}

struct Comparison<'c> {
    catalog: &'c Catalog,
    schema: &'c Schema,
    found: Vec<Finding>,
}

impl Comparison<'_> {
    fn say(&mut self, rule: Rule, source: &Source, message: String, hint: impl Into<String>) {
        let (source, hint) = (source.clone(), hint.into());
        self.found.push(Finding { rule, message, hint, source });
    }

    fn table(&mut self, table: &Table) {
        let name = &table.name;
        let schema = self.schema;
        let Some(relation) = schema.relation(name) else {
            let message = format!("the schema `{}` has no table or view `{name}`", schema.name);
            self.say(Rule::TableMissing, &table.source, message, "remove it, or correct its name");
            return;
        };
        let (is, should) = match (table.kind, relation.kind.is_view()) {
            (TableKind::Table, true) => ("a view", "views"),
            (TableKind::View, false) => ("a table", "tables"),
            (TableKind::Table, false) | (TableKind::View, true) => ("", ""),
        };
        if !is.is_empty() {
            let hint = format!("list it under `{should}`");
            self.say(Rule::KindDiffers, &table.source, format!("`{name}` is {is}"), hint);
            return;
        }
        for column in table.columns.iter().filter(|column| relation.column(column).is_none()) {
            let message = format!("`{name}` has no column `{column}`");
            let hint = "remove it, or correct its name: every request that selects all columns \
                        fails";
            self.say(Rule::ColumnMissing, &table.source, message, hint);
        }
        if table.kind == TableKind::View {
            if !relation.security_invoker {
                let message = format!("the view `{name}` runs with its owner's rights");
                let hint = format!(
                    "row-level security does not count in it: `alter view {name} set \
                     (security_invoker = true)`"
                );
                self.say(Rule::OwnersRights, &table.source, message, hint);
            }
            return;
        }
        self.keys(table, relation);
        let catalog = self.catalog;
        for key in catalog.foreign_keys.values().filter(|key| key.table == *name) {
            self.foreign_key(table, relation, key);
        }
        match &table.tenancy {
            Tenancy::Column { column, shared_null } => {
                self.tenant(table, relation, column, *shared_null);
            }
            Tenancy::Through { constraint, .. } => self.through(table, relation, constraint),
            Tenancy::Global | Tenancy::Denied => return,
        }
        if let Isolation::Shadow(source) = &table.isolation {
            self.in_shadow(table, relation, source);
        } else if !relation.row_security {
            let message = format!("row-level security of `{name}` is off");
            let hint = "what goes past the gateway reads all rows: see `tollgate catalog rls`";
            self.say(Rule::RowSecurityOff, &table.source, message, hint);
        }
    }

    /// A table that the database alone protects, in front of an application that was there before.
    fn in_shadow(&mut self, table: &Table, relation: &Relation, source: &Source) {
        let name = &table.name;
        if !relation.row_security {
            let message =
                format!("nothing protects `{name}`: it is in shadow, without row-level security");
            let hint = "remove `mode: shadow`, or `enable row level security` first";
            self.say(Rule::ShadowUnprotected, source, message, hint);
        }
        let actual = relation.columns.iter().map(|column| column.name.as_str());
        let unlisted: BTreeSet<&str> = actual.filter(|column| !table.has_column(column)).collect();
        if !unlisted.is_empty() {
            let message =
                format!("`{name}` has columns that are not listed: {}", columns(&unlisted));
            let hint = "in shadow too a request that names one is refused, because it could be a \
                        function: add to `columns` what clients use";
            self.say(Rule::ColumnUnlisted, &table.source, message, hint);
        }
    }

    /// Keys are what upserts are checked by.
    fn keys(&mut self, table: &Table, relation: &Relation) {
        let stated = set(&table.primary_key);
        let actual = relation.primary_key().map(set).unwrap_or_default();
        if !stated.is_empty() && stated != actual {
            let message = format!(
                "the primary key of `{}` is {}, not {}",
                table.name,
                columns(&actual),
                columns(&stated)
            );
            self.say(Rule::KeyMissing, &table.source, message, "correct `pk`");
        }
        for key in &table.unique {
            let stated = set(key);
            let unique = relation.indexes.iter().any(|index| {
                let whole = index.unique && !index.partial;
                let names: Option<BTreeSet<&str>> =
                    index.columns.iter().map(|column| column.as_deref()).collect();
                whole && names.is_some_and(|names| names == stated)
            });
            if !unique {
                let message =
                    format!("nothing keeps {} unique in `{}`", columns(&stated), table.name);
                self.say(Rule::KeyMissing, &table.source, message, "correct `unique`");
            }
        }
    }

    fn foreign_key(&mut self, table: &Table, relation: &Relation, key: &ForeignKey) {
        let name = &key.constraint;
        let Some(actual) = relation.foreign_keys().find(|actual| actual.name == name.as_ref())
        else {
            let message = format!("`{}` has no foreign key `{name}`", table.name);
            let hint = "remove it, or correct its name: embeds along it fail";
            self.say(Rule::ForeignKeyDiffers, &table.source, message, hint);
            return;
        };
        let stated: BTreeSet<(&str, &str)> = pairs(&key.columns, &key.target_columns);
        let pointed = pairs(actual.columns, actual.target_columns);
        let elsewhere = actual.table != key.target.as_ref() || actual.schema != self.schema.name;
        if elsewhere || stated != pointed {
            let (columns, targets) = (actual.columns.join(", "), actual.target_columns.join(", "));
            let message = format!(
                "the foreign key `{name}` of `{}` leads from ({columns}) to {}.{}({targets})",
                table.name, actual.schema, actual.table
            );
            self.say(Rule::ForeignKeyDiffers, &table.source, message, "correct it in `fks`");
            return;
        }
        self.crossing(table, key);
    }

    /// A foreign key that does not hold the organization can lead to another organization's row.
    fn crossing(&mut self, table: &Table, key: &ForeignKey) {
        let Some(target) = self.catalog.table(&key.target) else { return };
        let own = match &table.tenancy {
            Tenancy::Column { column, .. } => Some(column),
            // The way to its parent is what it belongs by.
            Tenancy::Through { constraint, .. } if *constraint == key.constraint => return,
            Tenancy::Through { .. } => None,
            Tenancy::Global | Tenancy::Denied => return,
        };
        let theirs = match &target.tenancy {
            Tenancy::Column { column, .. } => Some(column),
            Tenancy::Through { .. } => None,
            Tenancy::Global | Tenancy::Denied => return,
        };
        let mut held = key.columns.iter().zip(&key.target_columns);
        if held.any(|(column, to)| Some(column) == own && Some(to) == theirs) {
            return;
        }
        let message = format!(
            "the foreign key `{}` can lead from one organization's `{}` to another's `{}`",
            key.constraint, table.name, key.target
        );
        let hint = match (own, theirs) {
            (Some(_), Some(_)) => "make it hold the tenant column: see `tollgate catalog rls`",
            (None, _) | (_, None) => {
                "only tenant columns on both sides, held by the key, can rule that out"
            }
        };
        self.say(Rule::CrossingForeignKey, &table.source, message, hint);
    }

    fn tenant(&mut self, table: &Table, relation: &Relation, column: &str, shared_null: bool) {
        let name = &table.name;
        let of = relation.column(column).map(|column| column.type_name.as_str());
        if let Some(of) = of.filter(|of| !holds_an_id(of)) {
            let message = format!("the tenant column `{column}` of `{name}` is of the type `{of}`");
            self.say(Rule::ColumnDiffers, &table.source, message, ID_HINT);
        }
        let nullable = relation.column(column).is_some_and(|column| !column.not_null);
        if nullable && !shared_null {
            let message = format!("the tenant column `{column}` of `{name}` can be null");
            let hint = format!(
                "such rows are nobody's: `alter table {name} alter column {column} set not null`, \
                 or state `shared_null: true`"
            );
            self.say(Rule::NullableTenant, &table.source, message, hint);
        }
        for index in relation.indexes.iter().filter(|index| index.unique && table.writable) {
            let names: Vec<&str> = index.columns.iter().filter_map(|c| c.as_deref()).collect();
            if names.contains(&column) || (index.primary && unguessable(relation, &names)) {
                continue;
            }
            let message = format!("`{}` is unique across organizations", index.name);
            let hint = format!(
                "an insert into `{name}` tells whether another organization has such a row: put \
                 `{column}` into it"
            );
            self.say(Rule::UniqueWithoutTenant, &table.source, message, hint);
        }
        if !leads(relation, &[column]) {
            let message = format!("no index of `{name}` begins with `{column}`");
            let hint = "every request is filtered by it: see `tollgate catalog rls`";
            self.say(Rule::IndexMissing, &table.source, message, hint);
        }
    }

    fn through(&mut self, table: &Table, relation: &Relation, constraint: &str) {
        let Some(way) = relation.foreign_keys().find(|key| key.name == constraint) else { return };
        let name = &table.name;
        if !relation.not_null(way.columns) {
            let message = format!("the way from `{name}` to its parent can be null");
            let hint = format!(
                "such rows are nobody's: `alter table {name} alter column … set not null` on ({})",
                way.columns.join(", ")
            );
            self.say(Rule::NullableParent, &table.source, message, hint);
        }
        let names: Vec<&str> = way.columns.iter().map(String::as_str).collect();
        if !leads(relation, &names) {
            let message = format!("no index of `{name}` begins with ({})", names.join(", "));
            let hint = "every request joins by it: see `tollgate catalog rls`";
            self.say(Rule::IndexMissing, &table.source, message, hint);
        }
    }

    fn function(&mut self, function: &Function) {
        let name = &function.name;
        let (schema, source) = (self.schema, &function.source);
        let found: Vec<&Routine> =
            schema.functions.iter().filter(|routine| routine.name == name.as_ref()).collect();
        let routine = match found.as_slice() {
            [] => {
                let message = format!("the schema `{}` has no function `{name}`", schema.name);
                self.say(Rule::FunctionMissing, source, message, "remove it, or correct its name");
                return;
            }
            [one] => *one,
            [_, ..] => {
                let message = format!("the schema has {} functions `{name}`", found.len());
                let hint = "PostgREST chooses one by the arguments: give them different names";
                self.say(Rule::FunctionDiffers, source, message, hint);
                return;
            }
        };
        for (argument, from) in &function.arguments {
            let known = routine.arguments.iter().find(|a| a.name == argument.as_ref());
            let Some(known) = known else {
                let message = format!("the function `{name}` has no argument `{argument}`");
                self.say(Rule::FunctionDiffers, source, message, "remove it, or correct its name");
                continue;
            };
            if *from == Argument::Tenant && !holds_an_id(&known.type_name) {
                let message = format!(
                    "the argument `{argument}` of `{name}` is of the type `{}`",
                    known.type_name
                );
                self.say(Rule::FunctionDiffers, source, message, ID_HINT);
            }
        }
        if let Returns::Rows { table, .. } = &function.returns
            && routine.returns_rows_of.as_deref() != Some(table.as_ref())
        {
            let message = format!("the function `{name}` returns `{}`", routine.returns);
            let hint = format!("correct `returns: {table}`, or leave it out");
            self.say(Rule::FunctionDiffers, source, message, hint);
        }
        if function.read_only && routine.volatility == Volatility::Volatile {
            let message = format!("the function `{name}` is volatile: it may change rows");
            let hint = "declare it `stable`, or remove `read_only`";
            self.say(Rule::FunctionDiffers, source, message, hint);
        }
        if routine.definer {
            let message = format!("the function `{name}` runs with its owner's rights");
            let hint = "row-level security does not count in it: declare it `security invoker`, \
                        or review what it does with its arguments";
            self.say(Rule::OwnersRights, source, message, hint);
        }
    }
}

const ID_HINT: &str = "the organization's id is a uuid";

fn holds_an_id(type_name: &str) -> bool {
    ["uuid", "text", "character varying"].contains(&type_name)
}

/// Whether nobody can name another organization's key: it is random, or the database counts it.
fn unguessable(relation: &Relation, names: &[&str]) -> bool {
    names.iter().any(|name| {
        let column = relation.column(name);
        column.is_some_and(|column| column.type_name == "uuid" || column.numbered)
    })
}

/// Whether an index over all rows begins with these columns, in any order.
fn leads(relation: &Relation, names: &[&str]) -> bool {
    relation.indexes.iter().filter(|index| !index.partial).any(|index| {
        let first: BTreeSet<Option<&str>> =
            index.columns.iter().take(names.len()).map(|column| column.as_deref()).collect();
        first == names.iter().map(|name| Some(*name)).collect()
    })
}

fn set<S: AsRef<str>>(names: &[S]) -> BTreeSet<&str> {
    names.iter().map(AsRef::as_ref).collect()
}

fn pairs<'a, S: AsRef<str>>(columns: &'a [S], targets: &'a [S]) -> BTreeSet<(&'a str, &'a str)> {
    columns.iter().map(AsRef::as_ref).zip(targets.iter().map(AsRef::as_ref)).collect()
}

fn columns(names: &BTreeSet<&str>) -> String {
    let names: Vec<&str> = names.iter().copied().collect();
    format!("({})", names.join(", "))
}
