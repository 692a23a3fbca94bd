//! What goes out: a request that can only touch one organization's rows, and what was done to it.
//!
//! Its fields are closed to the rest of the crate, so that nobody else can make one. May import
//! `domain` and this room.

use std::fmt;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::body::BodyRule;
use crate::domain::catalog::Table;
use crate::domain::charge::Shape;
use crate::domain::ids::OrgId;
use crate::domain::source::Source;

/// A request that can only touch one organization's rows. Only
/// [`confine`](super::confine) makes one.
#[derive(Debug, Clone)]
pub struct Confined {
    pub(super) source: Source,
    pub(super) embedded: Vec<Arc<Table>>,
    pub(super) shown: Option<Arc<Table>>,
    pub(super) target: String,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: BodyRule,
    pub(super) injections: Vec<Injection>,
    pub(super) client_conditions: usize,
    pub(super) shape: Shape,
}

impl Confined {
    /// Where the catalogue states the table or function that is asked for.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Further tables from which rows come, junctions included: each needs to be allowed, too.
    pub fn embedded(&self) -> &[Arc<Table>] {
        &self.embedded
    }

    /// The table whose rows a write has come back: to see them is to read them.
    pub fn shown(&self) -> Option<&Arc<Table>> {
        self.shown.as_ref()
    }

    /// Path and query to send, beginning with a slash.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The headers to set, after all [`OWNED_HEADERS`](super::OWNED_HEADERS) were removed.
    pub fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }

    /// What is to become of the body.
    pub fn body(&self) -> &BodyRule {
        &self.body
    }

    /// What the gateway added or changed, for an explanation.
    pub fn injections(&self) -> &[Injection] {
        &self.injections
    }

    /// What the client asked for, as far as limits charge for it.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// How many filters and logic trees the client itself stated; a policy can require one on
    /// updates and deletes.
    pub fn client_conditions(&self) -> usize {
        self.client_conditions
    }
}

/// Something that the gateway added to a request, or changed in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Injection {
    /// A filter at the root, which ANDs with all the client states.
    TenantFilter {
        /// The tenant column.
        column: Arc<str>,
        /// The organization.
        org: OrgId,
    },
    /// The tenant column in every inserted row.
    TenantInRows {
        /// The tenant column.
        column: Arc<str>,
    },
    /// The tenant column in `columns`.
    TenantInColumns {
        /// The tenant column.
        column: Arc<str>,
    },
    /// The tenant column as last term of a limited update's or delete's `order`.
    TenantInOrder {
        /// The tenant column.
        column: Arc<str>,
    },
    /// A filter on rows that are embedded, or on shared rows at the root.
    RowsFilter {
        /// The names that lead to the embed, joined by dots; empty for the root.
        path: Arc<str>,
        /// The tenant column.
        column: Arc<str>,
        /// The organization.
        org: OrgId,
        /// Whether rows that belong to nobody are there, too.
        shared: bool,
    },
    /// A filter on the roles that rank below the writer's own.
    RankFilter {
        /// The column that holds a role.
        column: Arc<str>,
    },
    /// The parent that says whose a row is.
    ParentEmbed {
        /// The names that lead to the embed, joined by dots.
        path: Arc<str>,
        /// The foreign key to it.
        constraint: Arc<str>,
    },
    /// An embed was told which table and relationship it is.
    EmbedResolved {
        /// The names that lead to it, joined by dots.
        path: Arc<str>,
        /// The table.
        table: Arc<str>,
        /// The foreign key, or the junction.
        over: Arc<str>,
    },
    /// The organization as an argument of a function.
    TenantArgument {
        /// The argument.
        argument: Arc<str>,
        /// Whether it stands in the body, not in the query.
        in_body: bool,
    },
    /// `select` was spelled out.
    SelectExpanded,
    /// A planned or estimated count became an exact one.
    CountMadeExact,
}

/// The piece of the sent request in which an injection is seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Touched {
    /// A query parameter of this name.
    Parameter(Arc<str>),
    /// A header field of this name.
    Header(&'static str),
    /// The body.
    Body,
}

impl Injection {
    /// Where it is seen.
    pub fn touched(&self) -> Touched {
        match self {
            Self::TenantFilter { column, .. } => Touched::Parameter(Arc::clone(column)),
            Self::RankFilter { column } => Touched::Parameter(Arc::clone(column)),
            Self::TenantInRows { .. } => Touched::Body,
            Self::TenantInColumns { .. } => Touched::Parameter(Arc::from("columns")),
            Self::TenantInOrder { .. } => Touched::Parameter(Arc::from("order")),
            Self::RowsFilter { path, column, shared, .. } => {
                let name = if *shared { "or" } else { column.as_ref() };
                let dot = if path.is_empty() { "" } else { "." };
                Touched::Parameter(format!("{path}{dot}{name}").into())
            }
            Self::ParentEmbed { .. } | Self::EmbedResolved { .. } => {
                Touched::Parameter(Arc::from("select"))
            }
            Self::TenantArgument { in_body: true, .. } => Touched::Body,
            Self::TenantArgument { argument, .. } => Touched::Parameter(Arc::clone(argument)),
            Self::SelectExpanded => Touched::Parameter(Arc::from("select")),
            Self::CountMadeExact => Touched::Header("prefer"),
        }
    }
}

impl fmt::Display for Injection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TenantFilter { column, org } => {
                write!(f, "filter `{column}=eq.{org}`: only the organization's rows")
            }
            Self::TenantInRows { column } => {
                write!(f, "`{column}` in every row: new rows belong to the organization")
            }
            Self::TenantInColumns { column } => {
                write!(f, "`{column}` in `columns`: PostgREST ignores other keys of the body")
            }
            Self::TenantInOrder { column } => write!(
                f,
                "`{column}` in `order`: PostgREST finds the rows of a limited change again by the \
                 columns of its order alone"
            ),
            Self::RowsFilter { path, column, org, shared } => {
                let shared = if *shared { " and shared ones" } else { "" };
                let at = if path.is_empty() { "at the root" } else { path.as_ref() };
                write!(f, "filter on `{column}` for `{org}` ({at}): only its rows{shared}")
            }
            Self::RankFilter { column } => {
                write!(f, "filter on `{column}`: only roles that rank below the caller's own")
            }
            Self::ParentEmbed { path, constraint } => write!(
                f,
                "inner embed `{path}` over `{constraint}`: only rows whose parent is the \
                 organization's"
            ),
            Self::EmbedResolved { path, table, over } => {
                write!(f, "embed `{path}` is `{table}` over `{over}`: one table, one relationship")
            }
            Self::TenantArgument { argument, .. } => {
                write!(f, "argument `{argument}`: the organization's own, whatever is given")
            }
            Self::SelectExpanded => {
                f.write_str("`select` spelled out: only columns of the catalogue come back")
            }
            Self::CountMadeExact => f.write_str(
                "count made exact: estimates come from statistics over all organizations",
            ),
        }
    }
}
