//! The catalogue: what the gateway knows about the tables, views and functions behind a PostgREST
//! upstream.
//!
//! The isolate stage rewrites only what stands here; what is not in the catalogue does not exist
//! for a client. Pure data, compiled by `config`, read by `postgrest` and `pipeline`.
//!
//! May not import anything of this crate outside `domain`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::source::Source;

/// All that one PostgREST upstream offers, by exact (case-sensitive) names.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// The one schema that requests are sent to (`Accept-Profile`, `Content-Profile`).
    pub schema: Arc<str>,
    /// Tables and views by name.
    pub tables: BTreeMap<Arc<str>, Arc<Table>>,
    /// Foreign keys between them, by constraint name: the edges along which embeds are resolved.
    pub foreign_keys: BTreeMap<Arc<str>, Arc<ForeignKey>>,
    /// Functions that clients may call.
    pub functions: BTreeMap<Arc<str>, Arc<Function>>,
    /// Type names that a client may cast to (`select=a::text`), in lowercase.
    pub casts: Vec<Arc<str>>,
    /// How large a request may be.
    pub caps: Caps,
    /// Whether the isolation of any table is only tried.
    pub tries: bool,
}

impl Catalog {
    /// The table or view of that exact name.
    pub fn table(&self, name: &str) -> Option<&Arc<Table>> {
        self.tables.get(name)
    }

    /// The function of that exact name.
    pub fn function(&self, name: &str) -> Option<&Arc<Function>> {
        self.functions.get(name)
    }

    /// The tables whose isolation is only tried, each with the line that says so.
    pub fn in_shadow(&self) -> impl Iterator<Item = (&Arc<Table>, &Source)> {
        self.tables.values().filter(|_| self.tries).filter_map(|table| match &table.isolation {
            Isolation::Shadow(source) => Some((table, source)),
            Isolation::Enforced => None,
        })
    }

    /// The foreign keys that begin or end at a table.
    pub fn foreign_keys_of(&self, table: &str) -> impl Iterator<Item = &Arc<ForeignKey>> {
        self.foreign_keys
            .values()
            .filter(move |key| key.table.as_ref() == table || key.target.as_ref() == table)
    }
}

/// How large a PostgREST request may be. Beyond these it is refused before any work is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// Levels of embeds, and apart from them of logic groups.
    pub depth: u32,
    /// Embeds in one request.
    pub embeds: u32,
    /// Filters in one request, those within logic trees included.
    pub filters: u32,
}

impl Default for Caps {
    fn default() -> Self {
        Self { depth: 5, embeds: 10, filters: 64 }
    }
}

/// One table or view and how it belongs to organizations.
#[derive(Debug, Clone)]
pub struct Table {
    /// Its name in the database.
    pub name: Arc<str>,
    /// Whether it is a table or a view.
    pub kind: TableKind,
    /// How its rows belong to organizations.
    pub tenancy: Tenancy,
    /// The columns a client may name. A column that is not listed does not exist for a client,
    /// which keeps computed columns (functions of the row) out.
    pub columns: Vec<Arc<str>>,
    /// The primary key; empty where there is none.
    pub primary_key: Vec<Arc<str>>,
    /// Other sets of columns that are unique in the whole table.
    pub unique: Vec<Vec<Arc<str>>>,
    /// Whether clients may insert, update or delete at all.
    pub writable: bool,
    /// Whether an update or delete must state a filter of its own.
    pub requires_filter: bool,
    /// The column that holds a role, where writers give, change and take only roles that rank below
    /// their own.
    pub ranks: Option<Arc<str>>,
    /// Whether requests are confined to the organization's rows.
    pub isolation: Isolation,
    /// Where the catalogue says so.
    pub source: Source,
}

/// Whether requests are confined to the organization's rows of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Isolation {
    /// They are, or refused.
    Enforced,
    /// Where everything that a request touches is so and the database hears of its caller from the
    /// caller's own token, it is sent as it was written, and what confinement would have made of it
    /// is recorded. This line says so.
    Shadow(Source),
}

/// What stands behind a name in the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableKind {
    /// A table.
    Table,
    /// A view: filters reach it, its own query is the database's business.
    View,
}

impl Table {
    /// A writable table of which nothing but its columns and its tenancy is known.
    pub fn new(name: Arc<str>, tenancy: Tenancy, columns: Vec<Arc<str>>, source: Source) -> Self {
        Self {
            name,
            kind: TableKind::Table,
            tenancy,
            columns,
            primary_key: Vec::new(),
            unique: Vec::new(),
            writable: true,
            requires_filter: false,
            ranks: None,
            isolation: Isolation::Enforced,
            source,
        }
    }

    /// Whether its isolation is only tried.
    pub fn is_tried(&self) -> bool {
        matches!(self.isolation, Isolation::Shadow(_))
    }

    /// Whether clients may name this column.
    pub fn has_column(&self, name: &str) -> bool {
        self.columns.iter().any(|column| column.as_ref() == name)
    }
}

impl Tenancy {
    /// That column holds the organization's id, and every row has one.
    pub fn column(column: Arc<str>) -> Self {
        Self::Column { column, shared_null: false }
    }
}

/// How rows of a table belong to organizations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tenancy {
    /// This column holds the organization's id; every request is confined to it.
    Column {
        /// The column.
        column: Arc<str>,
        /// Whether rows whose column is NULL may be read by every organization.
        shared_null: bool,
    },
    /// Its rows belong to whom their parent row belongs: read through an inner embed of the
    /// parent, never written.
    Through {
        /// The foreign key's constraint, of this table.
        constraint: Arc<str>,
        /// The table it points to.
        parent: Arc<str>,
    },
    /// The same rows for every organization, read-only.
    Global,
    /// Not reachable through the gateway.
    Denied,
}

/// A foreign key: an edge between two tables of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignKey {
    /// The constraint's name.
    pub constraint: Arc<str>,
    /// The table that holds it.
    pub table: Arc<str>,
    /// Its columns there.
    pub columns: Vec<Arc<str>>,
    /// The table it points to.
    pub target: Arc<str>,
    /// The columns there, in the same order.
    pub target_columns: Vec<Arc<str>>,
    /// Whether its columns are unique in its table, so that the way back leads to one row at most.
    pub one_to_one: bool,
}

/// A function that clients may call as `/rpc/<name>`.
#[derive(Debug, Clone)]
pub struct Function {
    /// Its name in the database.
    pub name: Arc<str>,
    /// Its arguments by name; one that is not listed cannot be given.
    pub arguments: BTreeMap<Arc<str>, Argument>,
    /// What it returns.
    pub returns: Returns,
    /// Whether it changes nothing, so that it may be called with GET.
    pub read_only: bool,
    /// Where the catalogue says so.
    pub source: Source,
}

/// Where a function's argument comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Argument {
    /// From the client.
    Client,
    /// The organization's id, whatever the client says; a client that names another is refused.
    Tenant,
}

/// What a function returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Returns {
    /// A value, or rows of no catalogued table: nothing can be selected from it or filtered.
    Opaque,
    /// Rows of a table: it can be selected from and filtered like that table.
    Rows {
        /// The table.
        table: Arc<str>,
        /// Whether the tenant filter is put over what it returns.
        filtered: bool,
    },
}
