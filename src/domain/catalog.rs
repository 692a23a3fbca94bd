//! The catalogue: what the gateway knows about the tables behind a PostgREST upstream.
//!
//! The isolate stage rewrites only what stands here; a table, view or function that is not in the
//! catalogue does not exist for a client. Pure data, compiled by `config`, read by `postgrest`
//! and `pipeline`.
//!
//! May not import anything of this crate outside `domain`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::source::Source;

/// All tables of one PostgREST upstream, by their exact (case-sensitive) names.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// The one schema that requests are sent to (`Accept-Profile`, `Content-Profile`).
    pub schema: Arc<str>,
    /// Tables by name.
    pub tables: BTreeMap<Arc<str>, Arc<Table>>,
}

impl Catalog {
    /// The table of that exact name.
    pub fn table(&self, name: &str) -> Option<&Arc<Table>> {
        self.tables.get(name)
    }
}

/// One table and how it belongs to organizations.
#[derive(Debug, Clone)]
pub struct Table {
    /// Its name in the database.
    pub name: Arc<str>,
    /// How its rows belong to organizations.
    pub tenancy: Tenancy,
    /// The columns a client may name. A column that is not listed does not exist for a client,
    /// which keeps computed columns (functions of the row) out.
    pub columns: Vec<Arc<str>>,
    /// Whether clients may insert, update or delete at all.
    pub writable: bool,
    /// Where the catalogue says so.
    pub source: Source,
}

impl Table {
    /// Whether clients may name this column.
    pub fn has_column(&self, name: &str) -> bool {
        self.columns.iter().any(|column| column.as_ref() == name)
    }
}

/// How rows of a table belong to organizations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tenancy {
    /// This column holds the organization's id; every request is confined to it.
    Column(Arc<str>),
    /// The same rows for every organization, read-only.
    Global,
    /// Not reachable through the gateway.
    Denied,
}
