//! Embeds: each led to one table of the catalogue, and confined to the organization there.
//!
//! Called by [`confine`](super::confine()) with a parsed query. An embed is resolved as PostgREST
//! would (`Plan.hs`, `findRel`), over the catalogue's foreign keys alone; where more than one fits,
//! or none, it is refused. What is printed afterwards names table and relationship outright, so
//! that PostgREST has no choice left. Rows of other organizations do not leave a subquery that has
//! the tenant filter; the filter's path names one embed only, because siblings must differ in every
//! name by which PostgREST could find them. May import `domain` and this room.

use std::sync::Arc;

use super::confined::Injection;
use super::field::Field;
use super::filter::{Filter, Operation};
use super::logic::{Connective, Logic, LogicTree};
use super::operator::{Comparison, Truth};
use super::query::{Query, RESERVED};
use super::refusal::{Cap, RestRefusal};
use super::select::{Embed, Join, SelectColumn, SelectItem};
use crate::domain::catalog::{Catalog, ForeignKey, Table, Tenancy};
use crate::domain::ids::OrgId;

/// What the gateway's own embeds are called; a client's may not begin so.
const OWN: &str = "gwp";

/// Resolves and confines the embeds of one request.
pub(super) struct Resolver<'c> {
    catalog: &'c Catalog,
    org: OrgId,
    injections: &'c mut Vec<Injection>,
    /// Tables other than the root from which rows come.
    tables: Vec<Arc<Table>>,
    embeds: u32,
    parents: u32,
    /// Whether embeds are confined; otherwise they are only told apart.
    confines: bool,
}

/// An embed of a level, resolved.
struct Found {
    name: String,
    /// What PostgREST is told to look for.
    target: String,
    table: Arc<Table>,
    spread: bool,
}

/// Where an embed leads.
struct Relationship<'c> {
    table: &'c Arc<str>,
    /// What PostgREST is to look for: the table, or a column of a key into its own table.
    target: &'c Arc<str>,
    /// The constraint, junction or column that says which relationship is meant.
    hint: Option<&'c Arc<str>>,
    /// The foreign key, or the junction.
    over: &'c Arc<str>,
    junction: Option<&'c Arc<Table>>,
    to_one: bool,
}

impl<'c> Resolver<'c> {
    pub(super) fn new(
        catalog: &'c Catalog,
        org: OrgId,
        injections: &'c mut Vec<Injection>,
    ) -> Self {
        let tables = Vec::new();
        Self { catalog, org, injections, tables, embeds: 0, parents: 0, confines: true }
    }

    /// One that says which tables are meant, and leaves their rows alone.
    pub(super) fn telling(
        catalog: &'c Catalog,
        org: OrgId,
        injections: &'c mut Vec<Injection>,
    ) -> Self {
        Self { confines: false, ..Self::new(catalog, org, injections) }
    }

    /// Tables other than the root from which rows come, junctions included.
    pub(super) fn into_tables(self) -> Vec<Arc<Table>> {
        self.tables
    }

    /// Resolves the embeds of a table's query, all levels down, and checks that only columns of
    /// the catalogue are named.
    pub(super) fn level(
        &mut self,
        query: &mut Query,
        table: &Arc<Table>,
        depth: u32,
        path: &str,
    ) -> Result<(), RestRefusal> {
        let filters = || u32::try_from(query.filter_count()).unwrap_or(u32::MAX);
        if depth == 1 && filters() > self.catalog.caps.filters {
            return Err(RestRefusal::TooMany(Cap::Filters));
        }
        let nested = query.logic.iter().map(Logic::depth).max().unwrap_or(0);
        if nested > self.catalog.caps.depth {
            return Err(RestRefusal::TooMany(Cap::LogicLevels));
        }
        let mut found: Vec<Found> = Vec::new();
        for embed in query.embeds_mut() {
            let table = self.embed(embed, table, depth, path)?;
            let (name, target) = (embed.name().to_owned(), embed.target.clone());
            found.push(Found { name, target, table, spread: embed.spread });
        }
        for (at, Found { name, .. }) in found.iter().enumerate() {
            let others = found.iter().enumerate().filter(|(other, _)| *other != at);
            let mut others = others.map(|(_, other)| other);
            // The tenant filter would be read as a question about the embed.
            let tenant = matches!(&table.tenancy, Tenancy::Column { column, .. }
                if column.as_ref() == name);
            if tenant || others.any(|other| [&other.name, &other.target].contains(&name)) {
                return Err(RestRefusal::EmbedTwins(name.clone()));
            }
        }
        let embedded = |name: &str| {
            found.iter().find(|known| known.name == name && !known.spread).map(|known| &known.table)
        };
        check_casts(query, &self.catalog.casts)?;
        check_names(query, table, &embedded)?;
        query.order.iter().flatten().try_for_each(|term| {
            let Some(name) = &term.embed else { return known(table, &term.field) };
            let of = found.iter().find(|embed| embed.name == *name);
            let of = of.ok_or_else(|| RestRefusal::EmbedNotSelected(name.clone()))?;
            known(&of.table, &term.field)
        })
    }

    fn embed(
        &mut self,
        embed: &mut Embed,
        table: &Arc<Table>,
        depth: u32,
        path: &str,
    ) -> Result<Arc<Table>, RestRefusal> {
        self.embeds += 1;
        if self.embeds > self.catalog.caps.embeds {
            return Err(RestRefusal::TooMany(Cap::Embeds));
        }
        if depth > self.catalog.caps.depth {
            return Err(RestRefusal::TooMany(Cap::EmbedLevels));
        }
        let relationship = self.relationship(table, &embed.target, embed.hint.as_deref())?;
        let target = self.table(relationship.table)?;
        if embed.spread && !relationship.to_one {
            return Err(RestRefusal::EmbedUnsupported("many rows spread into one"));
        }
        self.tables.extend(relationship.junction.cloned());
        self.tables.push(Arc::clone(target));
        let name = embed.name().to_owned();
        let sent = relationship.target.as_ref();
        embed.alias = (!embed.spread && name != sent).then_some(name);
        embed.target = sent.to_owned();
        embed.hint = relationship.hint.map(|hint| hint.as_ref().to_owned());
        if !is_plain(embed.name()) || target.name.starts_with(OWN) {
            return Err(RestRefusal::EmbedUnsupported("a name that needs quotes"));
        }
        let path = joined(path, embed.name());
        self.injections.push(Injection::EmbedResolved {
            path: path.as_str().into(),
            table: Arc::clone(&target.name),
            over: Arc::clone(relationship.over),
        });
        let target = Arc::clone(target);
        self.level(&mut embed.inner, &target, depth + 1, &path)?;
        if !self.confines && target.is_tried() {
            return Ok(target);
        }
        if let Some(items) = embed.inner.select.take() {
            embed.inner.select = Some(expanded(items, &target));
        }
        match &target.tenancy {
            // The row that embeds them is their parent, and within the organization itself.
            Tenancy::Through { constraint, parent }
                if parent == &table.name
                    && constraint == relationship.over
                    && relationship.junction.is_none() => {}
            Tenancy::Through { .. } if embed.spread => {
                return Err(RestRefusal::EmbedUnsupported("a spread of rows of a parent"));
            }
            _ => self.confine(&mut embed.inner, &target, &path)?,
        }
        Ok(target)
    }

    /// Adds to a read of a table what keeps it within the organization.
    pub(super) fn confine(
        &mut self,
        query: &mut Query,
        table: &Arc<Table>,
        path: &str,
    ) -> Result<(), RestRefusal> {
        match &table.tenancy {
            Tenancy::Column { column, shared_null } => {
                let own = Filter {
                    field: Field::plain(column.as_ref()),
                    negated: false,
                    operation: Operation::Compare {
                        comparison: Comparison::Equal,
                        quantifier: None,
                        value: self.org.to_string(),
                    },
                };
                if *shared_null {
                    let shared = Filter {
                        field: Field::plain(column.as_ref()),
                        negated: false,
                        operation: Operation::Is(Truth::Null),
                    };
                    let members = vec![LogicTree::Filter(shared), LogicTree::Filter(own)];
                    let connective = Connective::Or;
                    query.logic.push(Logic { negated: false, connective, members });
                } else {
                    query.filters.push(own);
                }
                self.injections.push(Injection::RowsFilter {
                    path: path.into(),
                    column: Arc::clone(column),
                    org: self.org,
                    shared: *shared_null,
                });
                Ok(())
            }
            Tenancy::Through { constraint, parent } => {
                self.through(query, constraint, parent, path)
            }
            Tenancy::Global => Ok(()),
            Tenancy::Denied => Err(RestRefusal::EmbedUnknown(table.name.as_ref().to_owned())),
        }
    }

    /// Leaves only rows whose parent is the organization's, without a trace in the answer: an
    /// embed with nothing selected adds no key. One that selects such an embed would, so that rows
    /// two parents away are out of reach.
    fn through(
        &mut self,
        query: &mut Query,
        constraint: &Arc<str>,
        parent: &Arc<str>,
        path: &str,
    ) -> Result<(), RestRefusal> {
        let table = Arc::clone(self.table(parent)?);
        if matches!(table.tenancy, Tenancy::Through { .. }) {
            return Err(RestRefusal::EmbedUnsupported("rows that belong to a parent of a parent"));
        }
        // PostgREST would group by the parent, under a name that is none there.
        if aggregates(query) {
            return Err(RestRefusal::AggregateUnsupported);
        }
        if self.parents >= self.catalog.caps.embeds {
            return Err(RestRefusal::TooMany(Cap::Embeds));
        }
        // PostgREST finds what a parameter addresses by target as well as by alias, and takes the
        // first: under the name of a client's embed, its filter would come to this one.
        let free = |name: &Arc<str>| query.embeds().all(|embed| embed.name() != name.as_ref());
        let (target, hint) = match (free(&table.name), free(constraint)) {
            (true, _) => (&table.name, Some(constraint)),
            (false, true) => (constraint, None),
            (false, false) => return Err(RestRefusal::EmbedTwins(table.name.as_ref().to_owned())),
        };
        let mut embed = Embed {
            alias: Some(format!("{OWN}{}", self.parents)),
            target: target.as_ref().to_owned(),
            hint: hint.map(|hint| hint.as_ref().to_owned()),
            join: Some(Join::Inner),
            spread: false,
            inner: Query { select: Some(Vec::new()), ..Query::default() },
        };
        self.parents += 1;
        let path = joined(path, embed.name());
        let constraint = Arc::clone(constraint);
        self.injections.push(Injection::ParentEmbed { path: path.as_str().into(), constraint });
        self.confine(&mut embed.inner, &table, &path)?;
        query.select.get_or_insert_default().push(SelectItem::Embed(Box::new(embed)));
        Ok(())
    }

    fn table(&self, name: &str) -> Result<&'c Arc<Table>, RestRefusal> {
        let found = self.catalog.table(name);
        let open = found.filter(|table| is_open(table));
        open.ok_or_else(|| RestRefusal::EmbedUnknown(name.to_owned()))
    }

    /// The one relationship from a table that a target and a hint can mean.
    fn relationship(
        &self,
        table: &Table,
        target: &str,
        hint: Option<&str>,
    ) -> Result<Relationship<'c>, RestRefusal> {
        let name = table.name.as_ref();
        let all = || self.catalog.foreign_keys.values();
        let keys = || all().filter(|key| key.table != key.target);
        let mut found = Vec::new();
        for key in all().filter(|key| key.table == key.target && key.table.as_ref() == name) {
            found.extend(own_relationship(key, target, hint));
        }
        for key in keys() {
            let column = |text: &str| matches!(&key.columns[..], [one] if one.as_ref() == text);
            let constraint = |text: &str| key.constraint.as_ref() == text;
            if !hint.is_none_or(|hint| constraint(hint) || column(hint)) {
                continue;
            }
            let over = &key.constraint;
            if key.table.as_ref() == name {
                if key.target.as_ref() == target || constraint(target) || column(target) {
                    found.push(Relationship::over(&key.target, over, true));
                }
            } else if key.target.as_ref() == name
                && (key.table.as_ref() == target || constraint(target))
            {
                found.push(Relationship::over(&key.table, over, key.one_to_one));
            }
        }
        for here in keys().filter(|key| key.target.as_ref() == name) {
            let there = |key: &&Arc<ForeignKey>| {
                key.table == here.table
                    && key.target.as_ref() == target
                    && key.constraint != here.constraint
                    && hint.is_none_or(|hint| key.table.as_ref() == hint)
            };
            for there in keys().filter(there).filter(|key| key.target.as_ref() != name) {
                let junction = self.catalog.table(&here.table).filter(|table| is_open(table));
                // PostgREST takes a table for a junction if its primary key holds both keys.
                let holds = |junction: &&Arc<Table>| {
                    let mut columns = here.columns.iter().chain(&there.columns);
                    columns.all(|column| junction.primary_key.contains(column))
                };
                if let Some(junction) = junction.filter(holds) {
                    let over = Relationship::over(&there.target, &junction.name, false);
                    found.push(Relationship { junction: Some(junction), ..over });
                }
            }
        }
        let mut found = found.into_iter();
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one),
            (Some(_), Some(_)) => Err(RestRefusal::EmbedAmbiguous(target.to_owned())),
            (None, _) => Err(RestRefusal::EmbedUnknown(target.to_owned())),
        }
    }
}

impl<'c> Relationship<'c> {
    /// One that the name of a key or a junction tells from all others.
    fn over(table: &'c Arc<str>, over: &'c Arc<str>, to_one: bool) -> Self {
        Self { table, target: table, hint: Some(over), over, junction: None, to_one }
    }
}

/// What a key from a table into itself can mean: by its column's name the one row that it points
/// to, by the table's the rows that point here. PostgREST 12 has no other names for these, and none
/// for keys of more than one column and for those that are unique.
fn own_relationship<'c>(
    key: &'c ForeignKey,
    target: &str,
    hint: Option<&str>,
) -> Option<Relationship<'c>> {
    let [column] = &key.columns[..] else { return None };
    let (table, over) = (&key.table, &key.constraint);
    let own = Relationship { table, target: table, hint: None, over, junction: None, to_one: true };
    if key.one_to_one {
        None
    } else if target == column.as_ref() && hint.is_none() {
        Some(Relationship { target: column, ..own })
    } else if target == table.as_ref() && hint.is_none_or(|hint| hint == column.as_ref()) {
        Some(Relationship { hint: Some(column), to_one: false, ..own })
    } else {
        None
    }
}

/// Whether rows are grouped at this level: what is aggregated in a spread embed counts here.
fn aggregates(query: &Query) -> bool {
    query.select.iter().flatten().any(|item| match item {
        SelectItem::Star => false,
        SelectItem::Column(column) => column.aggregation.is_some(),
        SelectItem::Count { .. } => true,
        SelectItem::Embed(embed) => embed.spread && aggregates(&embed.inner),
    })
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn is_open(table: &Table) -> bool {
    !table.columns.is_empty() && table.tenancy != Tenancy::Denied
}

/// A name that stands in a parameter's key as it is.
fn is_plain(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    name.bytes().all(fits)
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && !name.starts_with(OWN)
        && !RESERVED.contains(&name)
}

/// A cast can be a look into the database's own tables (`regclass`), or a function of the schema.
fn check_casts(query: &Query, allowed: &[Arc<str>]) -> Result<(), RestRefusal> {
    let fits = |cast: &Option<String>| {
        cast.iter().all(|cast| allowed.iter().any(|allowed| allowed.as_ref() == cast))
    };
    let allowed = query.select.iter().flatten().all(|item| match item {
        SelectItem::Column(SelectColumn { cast, aggregation, .. }) => {
            fits(cast) && aggregation.iter().all(|made| fits(&made.cast))
        }
        SelectItem::Count { cast, .. } => fits(cast),
        SelectItem::Star | SelectItem::Embed(_) => true,
    });
    if allowed { Ok(()) } else { Err(RestRefusal::CastNotAllowed) }
}

/// Every column that is named has to be in the catalogue; a name that is not could be a function
/// of the row. An embed's name may stand in a filter that asks whether there is any.
fn check_names<'t>(
    query: &Query,
    table: &Table,
    embedded: &impl Fn(&str) -> Option<&'t Arc<Table>>,
) -> Result<(), RestRefusal> {
    for item in query.select.iter().flatten() {
        if let SelectItem::Column(column) = item {
            known(table, &column.field)?;
        }
    }
    let mut visit = |filter: &Filter| {
        let Field { column, path } = &filter.field;
        match (embedded(column), &filter.operation) {
            (None, _) => known(table, &filter.field),
            (Some(_), _) if table.has_column(column) => {
                Err(RestRefusal::EmbedTwins(column.clone()))
            }
            (Some(_), Operation::Is(Truth::Null)) if path.is_empty() => Ok(()),
            (Some(_), _) => Err(RestRefusal::ColumnUnknown(column.clone())),
        }
    };
    query.filters.iter().try_for_each(&mut visit)?;
    query.logic.iter().try_for_each(|logic| logic.try_each_filter(&mut visit))
}

fn known(table: &Table, Field { column, .. }: &Field) -> Result<(), RestRefusal> {
    if table.has_column(column) { Ok(()) } else { Err(RestRefusal::ColumnUnknown(column.clone())) }
}

/// `*` replaced by the catalogue's columns, each of which stands once.
pub(super) fn expanded(items: Vec<SelectItem>, table: &Table) -> Vec<SelectItem> {
    if !items.contains(&SelectItem::Star) {
        return items;
    }
    let mut out = Vec::with_capacity(items.len() + table.columns.len());
    let mut star = false;
    for item in items {
        match item {
            SelectItem::Star if !star => {
                star = true;
                out.retain(|known| !is_plain_column(known));
                let columns = table.columns.iter().map(|column| column.as_ref());
                out.extend(columns.map(SelectColumn::plain).map(SelectItem::Column));
            }
            SelectItem::Star => {}
            _ if star && is_plain_column(&item) => {}
            SelectItem::Column(_) | SelectItem::Count { .. } | SelectItem::Embed(_) => {
                out.push(item);
            }
        }
    }
    out
}

fn is_plain_column(item: &SelectItem) -> bool {
    matches!(item, SelectItem::Column(column) if column.is_plain())
}
