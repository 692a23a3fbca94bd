//! From what a database says of itself to how its rows belong to organizations.
//!
//! Only what is certain is derived: a column of the tenant's name, a foreign key that cannot be
//! null. The rest is denied, with the reason, for somebody to decide.

use std::collections::{BTreeMap, BTreeSet};

use crate::stores::introspect::{ForeignKey, Relation, RelationKind, Routine, Schema, Volatility};

/// A catalogue that is still to be printed.
#[derive(Debug)]
pub(super) struct Derived<'s> {
    pub(super) schema: &'s str,
    pub(super) tables: Vec<Entry<'s>>,
    pub(super) views: Vec<Entry<'s>>,
    pub(super) functions: Vec<Callable<'s>>,
    /// Tables and views whose names no policy can state.
    pub(super) left_out: Vec<&'s str>,
}

/// A table or view.
#[derive(Debug)]
pub(super) struct Entry<'s> {
    pub(super) relation: &'s Relation,
    pub(super) tenancy: Tenancy<'s>,
    /// What somebody should know, one remark a line.
    pub(super) remarks: Vec<String>,
    pub(super) columns: Vec<&'s str>,
    pub(super) primary_key: Vec<&'s str>,
    pub(super) unique: Vec<Vec<&'s str>>,
    pub(super) foreign_keys: Vec<ForeignKey<'s>>,
}

/// How its rows belong to organizations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tenancy<'s> {
    /// Its rows name the organization in this column.
    Column(&'s str),
    /// Its rows are the organizations; this column is their id.
    Root(&'s str),
    /// Its rows belong to a parent.
    Through(ForeignKey<'s>),
    /// Somebody said so.
    Global,
    /// Nothing was certain.
    Denied,
}

/// A function.
#[derive(Debug)]
pub(super) struct Callable<'s> {
    pub(super) name: &'s str,
    /// Its arguments; `true` for those that are the organization's id.
    pub(super) arguments: Vec<(&'s str, bool)>,
    /// The table whose rows it returns.
    pub(super) returns: Option<&'s str>,
    pub(super) read_only: bool,
    /// Why it is not offered; empty if it is.
    pub(super) doubts: Vec<String>,
}

/// Decides for every table, view and function.
pub(super) fn derive<'s>(schema: &'s Schema, tenant: &str, global: &[String]) -> Derived<'s> {
    let mut world = World {
        schema,
        tenant,
        owners: BTreeMap::new(),
        tenancies: BTreeMap::new(),
        remarks: BTreeMap::new(),
    };
    world.constraints();
    world.columns(global);
    world.parents();
    world.views(global);
    let (named, left_out): (Vec<&Relation>, Vec<&Relation>) =
        schema.relations.iter().partition(|relation| is_name(&relation.name));
    let (views, tables) = named
        .into_iter()
        .map(|relation| world.entry(relation))
        .partition(|entry| entry.relation.kind.is_view());
    let left_out = left_out.into_iter().map(|relation| relation.name.as_str()).collect();
    Derived { schema: &schema.name, tables, views, functions: world.functions(), left_out }
}

/// Whether a policy can name it: see the names of `config`.
pub(super) fn is_name(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    (1..=64).contains(&text.len()) && text.bytes().all(fits)
}

/// Whether it can stand in `table.column`.
fn is_part(text: &str) -> bool {
    is_name(text) && !text.contains('.')
}

struct World<'s, 't> {
    schema: &'s Schema,
    tenant: &'t str,
    /// The table that each constraint's name stays with: they have to be different.
    owners: BTreeMap<&'s str, &'s str>,
    tenancies: BTreeMap<&'s str, Tenancy<'s>>,
    remarks: BTreeMap<&'s str, Vec<String>>,
}

impl<'s> World<'s, '_> {
    fn tables(&self) -> impl Iterator<Item = &'s Relation> + use<'s> {
        self.schema
            .relations
            .iter()
            .filter(|relation| !relation.kind.is_view() && is_name(&relation.name))
    }

    fn remark(&mut self, relation: &'s Relation, remark: String) {
        self.remarks.entry(&relation.name).or_default().push(remark);
    }

    fn constraints(&mut self) {
        for table in self.tables() {
            for key in table.foreign_keys() {
                self.owners.entry(key.name).or_insert(&table.name);
            }
        }
    }

    /// Tables that name the organization, and the table of organizations itself.
    fn columns(&mut self, global: &[String]) {
        let roots = self.roots();
        for table in self.tables() {
            if global.contains(&table.name) {
                self.tenancies.insert(&table.name, Tenancy::Global);
                continue;
            }
            let named = table.columns.iter().find(|column| column.name == self.tenant);
            let tenancy = match (named, roots.get(table.name.as_str())) {
                (Some(column), _) => Tenancy::Column(&column.name),
                (None, Some(key)) => {
                    self.remark(table, "The organizations themselves.".to_owned());
                    Tenancy::Root(key)
                }
                (None, None) => match self.other_name(table, &roots) {
                    Some(column) => Tenancy::Column(column),
                    None => continue,
                },
            };
            if let Tenancy::Column(column) = tenancy
                && !table.not_null(&[column.to_owned()])
            {
                self.remark(
                    table,
                    format!(
                        "`{column}` can be null. Such rows are nobody's, or everybody's with \
                         `shared_null: true`."
                    ),
                );
            }
            self.tenancies.insert(&table.name, tenancy);
        }
    }

    /// The tables that columns of the tenant's name point to, with the column there.
    fn roots(&self) -> BTreeMap<&'s str, &'s str> {
        let keys = self.tables().flat_map(Relation::foreign_keys);
        keys.filter(|key| key.schema == self.schema.name)
            .filter_map(|key| match (key.columns, key.target_columns) {
                ([column], [target]) if column == self.tenant => Some((key.table, target.as_str())),
                _ => None,
            })
            .collect()
    }

    /// The column of another name that holds the organization's id, if there is exactly one.
    fn other_name(&self, table: &'s Relation, roots: &BTreeMap<&str, &str>) -> Option<&'s str> {
        let mut found = table.foreign_keys().filter_map(|key| match key.columns {
            [column] if key.schema == self.schema.name && roots.contains_key(key.table) => {
                Some(column)
            }
            _ => None,
        });
        let column = found.next()?;
        let only = found.next().is_none();
        (only && table.not_null(std::slice::from_ref(column))).then_some(column)
    }

    /// Tables whose rows belong to a parent, by the shortest way.
    fn parents(&mut self) {
        loop {
            let mut found = Vec::new();
            for table in self.tables() {
                if self.tenancies.contains_key(table.name.as_str()) {
                    continue;
                }
                let ways: Vec<ForeignKey<'s>> =
                    table.foreign_keys().filter(|key| self.leads(table, key)).collect();
                let Some(way) = ways.first() else { continue };
                let others: Vec<String> =
                    ways.iter().skip(1).map(|key| format!("`{}`", key.name)).collect();
                found.push((table, *way, others));
            }
            if found.is_empty() {
                return;
            }
            for (table, way, others) in found {
                self.tenancies.insert(&table.name, Tenancy::Through(way));
                if !others.is_empty() {
                    let others = others.join(", ");
                    self.remark(table, format!("It could belong through {others} as well."));
                }
            }
        }
    }

    /// Whether a foreign key leads every row to a table that is known to belong.
    fn leads(&self, table: &Relation, key: &ForeignKey<'_>) -> bool {
        let belongs = match self.tenancies.get(key.table) {
            Some(Tenancy::Column(_) | Tenancy::Through(_)) => true,
            // Who has several organizations belongs to none of them for certain.
            Some(Tenancy::Root(_) | Tenancy::Global | Tenancy::Denied) | None => false,
        };
        belongs && self.left_out(table, key).is_none() && table.not_null(key.columns)
    }

    fn views(&mut self, global: &[String]) {
        for view in self.schema.relations.iter().filter(|relation| relation.kind.is_view()) {
            if global.contains(&view.name) {
                self.tenancies.insert(&view.name, Tenancy::Global);
                continue;
            }
            let column = view.columns.iter().find(|column| column.name == self.tenant);
            match (column, view.kind, view.security_invoker) {
                (Some(column), RelationKind::View, true) => {
                    self.tenancies.insert(&view.name, Tenancy::Column(&column.name));
                }
                (Some(_), RelationKind::View, false) => self.remark(
                    view,
                    format!(
                        "It runs with its owner's rights. After `alter view {} set \
                         (security_invoker = true)`, `tenant: {}` can stand here.",
                        view.name, self.tenant
                    ),
                ),
                (Some(_), _, _) => self.remark(
                    view,
                    "A materialized view holds the rows of all organizations, whatever \
                     row-level security says."
                        .to_owned(),
                ),
                (None, _, _) => {
                    self.remark(view, format!("It has no column `{}`.", self.tenant));
                }
            }
        }
    }

    fn entry(&self, relation: &'s Relation) -> Entry<'s> {
        let mut remarks = self.remarks.get(relation.name.as_str()).cloned().unwrap_or_default();
        let tenancy = self.tenancies.get(relation.name.as_str()).copied();
        let Some(tenancy) = tenancy else {
            if remarks.is_empty() {
                remarks.push(format!(
                    "It has no column `{}`, and no foreign key that cannot be null leads to a \
                     table that has one.",
                    self.tenant
                ));
            }
            return Entry {
                relation,
                tenancy: Tenancy::Denied,
                remarks,
                columns: Vec::new(),
                primary_key: Vec::new(),
                unique: Vec::new(),
                foreign_keys: Vec::new(),
            };
        };
        let (columns, left_out): (Vec<&str>, Vec<&str>) =
            relation.columns.iter().map(|column| column.name.as_str()).partition(|c| is_part(c));
        for column in left_out {
            remarks.push(format!("Left out: the column {column:?}, which no policy can name."));
        }
        let mut foreign_keys = Vec::new();
        for key in relation.foreign_keys() {
            match self.left_out(relation, &key) {
                None => foreign_keys.push(key),
                Some(why) => {
                    remarks.push(format!("Left out: the foreign key {:?}, {why}.", key.name));
                }
            }
        }
        let listed = |names: &'s [String]| -> Option<Vec<&'s str>> {
            names
                .iter()
                .all(|name| is_part(name))
                .then(|| names.iter().map(AsRef::as_ref).collect())
        };
        let mut unique: Vec<Vec<&str>> = Vec::new();
        for index in relation.indexes.iter().filter(|i| i.unique && !i.primary && !i.partial) {
            let names: Option<Vec<&str>> = index.columns.iter().map(|c| c.as_deref()).collect();
            let names = names.filter(|names| names.iter().all(|name| is_part(name)));
            unique.extend(names.filter(|names| !unique.contains(names)));
        }
        Entry {
            relation,
            tenancy,
            remarks,
            columns,
            primary_key: relation.primary_key().and_then(listed).unwrap_or_default(),
            unique,
            foreign_keys,
        }
    }

    /// Why a foreign key cannot stand in the catalogue.
    fn left_out(&self, relation: &Relation, key: &ForeignKey<'_>) -> Option<String> {
        if key.schema != self.schema.name {
            return Some(format!("which leads to `{}.{}`", key.schema, key.table));
        }
        let parts = key.columns.iter().chain(key.target_columns).map(String::as_str);
        if !is_name(key.name) || !parts.chain([key.table]).all(is_part) {
            return Some("which no policy can name".to_owned());
        }
        match self.owners.get(key.name) {
            Some(owner) if *owner != relation.name => {
                Some(format!("whose name is taken by one of `{owner}`"))
            }
            Some(_) | None => None,
        }
    }

    fn functions(&self) -> Vec<Callable<'s>> {
        let mut names: BTreeMap<&str, usize> = BTreeMap::new();
        for function in &self.schema.functions {
            *names.entry(&function.name).or_default() += 1;
        }
        let mut seen = BTreeSet::new();
        let plain = self.schema.functions.iter().filter(|function| function.plain);
        plain
            .filter(|function| seen.insert(function.name.as_str()))
            .map(|function| {
                let overloaded = names.get(function.name.as_str()).is_some_and(|count| *count > 1);
                self.function(function, overloaded)
            })
            .collect()
    }

    fn function(&self, function: &'s Routine, overloaded: bool) -> Callable<'s> {
        let mut doubts = Vec::new();
        let mut doubt = |holds: bool, why: &str| {
            if holds {
                doubts.push(why.to_owned());
            }
        };
        let named = function.arguments.iter().all(|argument| is_name(&argument.name));
        let computed = matches!(function.arguments.as_slice(), [one] if one.row_of.is_some());
        let changes = function.volatility == Volatility::Volatile;
        let returns = function
            .returns_rows_of
            .as_deref()
            .filter(|name| matches!(self.tenancies.get(name), Some(Tenancy::Column(_))));
        doubt(overloaded, "several functions have its name");
        doubt(
            !named || !is_name(&function.name),
            "an argument has no name that a policy can state",
        );
        doubt(computed, "it computes a column of a row");
        doubt(function.definer, "it runs with its owner's rights");
        doubt(changes, "it may change rows");
        doubt(returns.is_none(), "what it returns cannot be filtered by organization");
        let arguments = function.arguments.iter();
        Callable {
            name: &function.name,
            arguments: arguments
                .map(|argument| (argument.name.as_str(), argument.name == self.tenant))
                .collect(),
            returns,
            read_only: !changes,
            doubts,
        }
    }
}
