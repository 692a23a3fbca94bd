//! What a database says about itself: the tables, views and functions of one schema, as
//! `pg_catalog` has them.
//!
//! Read by `tollgate catalog`, never by a gateway that serves: one read-only transaction, so that
//! all of it is of one moment. May import `domain`.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;
use tokio_postgres::{Client, IsolationLevel};

use crate::domain::secret::Secret;

use super::directory::url::{Database as Address, UrlError};
use super::migrate::describe;

/// Time for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Time for everything.
const TOTAL: Duration = Duration::from_secs(60);
/// Objects of one kind; a schema with more of them is no application's.
const MOST: usize = 10_000;

const RELATIONS: &str = include_str!("introspect/relations.sql");
const FUNCTIONS: &str = include_str!("introspect/functions.sql");

/// One schema of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    /// Its name.
    pub name: String,
    /// Its tables and views by name, without partitions and what belongs to extensions.
    pub relations: Vec<Relation>,
    /// Its functions by name, without what belongs to extensions.
    pub functions: Vec<Routine>,
}

impl Schema {
    /// The table or view of that name.
    pub fn relation(&self, name: &str) -> Option<&Relation> {
        self.relations.iter().find(|relation| relation.name == name)
    }
}

/// A table or a view.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Relation {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: RelationKind,
    /// Whether row-level security is on.
    pub row_security: bool,
    /// Of a view: whether it runs with the rights of who asks.
    pub security_invoker: bool,
    /// Its columns in their order.
    #[serde(default)]
    pub columns: Vec<Column>,
    /// Its primary key, unique constraints and foreign keys, by name.
    #[serde(default)]
    pub constraints: Vec<Constraint>,
    /// Its valid indexes, by name.
    #[serde(default)]
    pub indexes: Vec<Index>,
}

impl Relation {
    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The columns of the primary key, if there is one.
    pub fn primary_key(&self) -> Option<&[String]> {
        let mut constraints = self.constraints.iter();
        constraints.find_map(|constraint| match &constraint.kind {
            ConstraintKind::Primary => Some(constraint.columns.as_slice()),
            ConstraintKind::Unique | ConstraintKind::Foreign { .. } => None,
        })
    }

    /// Its foreign keys.
    pub fn foreign_keys(&self) -> impl Iterator<Item = ForeignKey<'_>> {
        self.constraints.iter().filter_map(|constraint| match &constraint.kind {
            ConstraintKind::Foreign { schema, table, target_columns } => Some(ForeignKey {
                name: &constraint.name,
                columns: &constraint.columns,
                schema,
                table,
                target_columns,
            }),
            ConstraintKind::Primary | ConstraintKind::Unique => None,
        })
    }

    /// Whether every one of these columns is `not null`.
    pub fn not_null(&self, columns: &[String]) -> bool {
        columns.iter().all(|name| self.column(name).is_some_and(|column| column.not_null))
    }
}

/// A foreign key of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForeignKey<'r> {
    /// The constraint's name.
    pub name: &'r str,
    /// The columns.
    pub columns: &'r [String],
    /// The schema of the table that it points to.
    pub schema: &'r str,
    /// The table that it points to.
    pub table: &'r str,
    /// The columns there, in the same order.
    pub target_columns: &'r [String],
}

/// The kinds of relations that have rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum RelationKind {
    /// A table.
    #[serde(rename = "r")]
    Table,
    /// A table that is partitioned.
    #[serde(rename = "p")]
    Partitioned,
    /// A table elsewhere.
    #[serde(rename = "f")]
    Foreign,
    /// A view.
    #[serde(rename = "v")]
    View,
    /// A view whose rows are kept.
    #[serde(rename = "m")]
    Materialized,
}

impl RelationKind {
    /// Whether it is a view of either kind.
    pub fn is_view(self) -> bool {
        match self {
            Self::View | Self::Materialized => true,
            Self::Table | Self::Partitioned | Self::Foreign => false,
        }
    }
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type, without a modifier.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Whether it is `not null`.
    pub not_null: bool,
    /// Whether the database numbers it (identity or sequence).
    pub numbered: bool,
}

/// A primary key, unique constraint or foreign key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Constraint {
    /// Its name, which is unique among those of its table.
    pub name: String,
    /// What it is.
    #[serde(flatten)]
    pub kind: ConstraintKind,
    /// Its columns in its order.
    pub columns: Vec<String>,
}

/// The kinds of constraints.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind")]
pub enum ConstraintKind {
    /// A primary key.
    #[serde(rename = "p")]
    Primary,
    /// A unique constraint.
    #[serde(rename = "u")]
    Unique,
    /// A foreign key.
    #[serde(rename = "f")]
    Foreign {
        /// The schema of the table that it points to.
        schema: String,
        /// The table that it points to.
        table: String,
        /// The columns there, in the same order.
        target_columns: Vec<String>,
    },
}

/// An index that is valid.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Index {
    /// Its name.
    pub name: String,
    /// Whether its key is unique.
    pub unique: bool,
    /// Whether it is that of the primary key.
    pub primary: bool,
    /// Whether it holds only some rows.
    pub partial: bool,
    /// Its key columns in its order; `None` is an expression.
    pub columns: Vec<Option<String>>,
}

/// A function or procedure.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Routine {
    /// Its name, which overloaded functions share.
    pub name: String,
    /// Whether it is a plain function: no procedure, aggregate, window or trigger function.
    pub plain: bool,
    /// Whether it runs with its owner's rights.
    pub definer: bool,
    /// Whether it may change something.
    pub volatility: Volatility,
    /// Whether it returns rows.
    pub returns_set: bool,
    /// The type that it returns.
    pub returns: String,
    /// The table or view of this schema whose rows it returns.
    pub returns_rows_of: Option<String>,
    /// What it is called with, in order.
    #[serde(default)]
    pub arguments: Vec<RoutineArgument>,
}

/// What a function promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Volatility {
    /// The same answer for the same arguments, always.
    #[serde(rename = "i")]
    Immutable,
    /// Changes nothing.
    #[serde(rename = "s")]
    Stable,
    /// Nothing.
    #[serde(rename = "v")]
    Volatile,
}

/// An argument that a caller gives.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RoutineArgument {
    /// Its name; empty where it has none.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub type_name: String,
    /// The table or view of this schema whose row it is.
    pub row_of: Option<String>,
}

/// Why a database could not be read.
#[derive(Debug, thiserror::Error)]
pub enum IntrospectError {
    /// The address cannot be used.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The database cannot be reached.
    #[error("cannot connect to the database: {0}")]
    Connect(String),
    /// Something took too long.
    #[error("the database did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The schema is not there.
    #[error("the database has no schema `{0}`; name another with `--schema`")]
    SchemaUnknown(String),
    /// There is too much of something.
    #[error("the schema has more than {MOST} objects of a kind")]
    TooLarge,
    /// A query failed.
    #[error("cannot read the database's catalogue: {0}")]
    Query(String),
}

/// Reads one schema.
///
/// # Errors
/// See [`IntrospectError`].
pub async fn introspect(url: &Secret, schema: &str) -> Result<Schema, IntrospectError> {
    let database = Address::parse(url)?;
    let connecting = database.config.connect(database.tls.clone());
    let (mut client, connection) = timeout(CONNECT, connecting)
        .await
        .map_err(|_| IntrospectError::Timeout(CONNECT))?
        .map_err(|error| IntrospectError::Connect(describe(&error)))?;
    let work = timeout(TOTAL, read(&mut client, schema));
    tokio::select! {
        done = work => done.map_err(|_| IntrospectError::Timeout(TOTAL))?,
        end = connection => {
            let why = end.map_or_else(|error| describe(&error), |()| "it was closed".to_owned());
            Err(IntrospectError::Connect(why))
        }
    }
}

async fn read(client: &mut Client, schema: &str) -> Result<Schema, IntrospectError> {
    let transaction = client
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .await
        .map_err(failed)?;
    let known = "select from pg_catalog.pg_namespace where nspname = $1";
    if transaction.query_opt(known, &[&schema]).await.map_err(failed)?.is_none() {
        return Err(IntrospectError::SchemaUnknown(schema.to_owned()));
    }
    let relations = rows(transaction.query(RELATIONS, &[&schema]).await)?;
    let functions = rows(transaction.query(FUNCTIONS, &[&schema]).await)?;
    Ok(Schema { name: schema.to_owned(), relations, functions })
}

fn failed(error: tokio_postgres::Error) -> IntrospectError {
    IntrospectError::Query(describe(&error))
}

/// Each row is one JSON object.
fn rows<T: DeserializeOwned>(
    found: Result<Vec<tokio_postgres::Row>, tokio_postgres::Error>,
) -> Result<Vec<T>, IntrospectError> {
    let found = found.map_err(failed)?;
    if found.len() > MOST {
        return Err(IntrospectError::TooLarge);
    }
    let one = |row: &tokio_postgres::Row| {
        let value: Value = row.try_get(0).map_err(failed)?;
        serde_json::from_value(value).map_err(|error| IntrospectError::Query(error.to_string()))
    };
    found.iter().map(one).collect()
}
