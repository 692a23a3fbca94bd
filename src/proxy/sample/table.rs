//! The sample upstream's tables.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use serde_json::{Map, Value};

use crate::domain::catalog::{self, Catalog, Tenancy};
use crate::domain::organization::Organization;
use crate::postgrest::{Direction, Nulls, OrderTerm, Query, SelectColumn, SelectItem};

use super::filter;

/// Rows of one table.
const MAX_ROWS: usize = 10_000;
/// Rows that each organization begins with, in each table.
const SEED: usize = 4;

/// A row: column → value, in the table's order of columns.
pub(super) type Row = Map<String, Value>;

/// All tables by name.
#[derive(Debug)]
pub(super) struct Tables {
    tables: BTreeMap<Arc<str>, Table>,
}

/// One table.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<Arc<str>>,
    rows: Vec<Row>,
    next_id: u64,
}

/// Why a request is refused.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: Cow<'static, str>,
}

impl Refused {
    pub(super) fn new(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code: "PGRST100", message: message.into() }
    }

    pub(super) fn no_column(column: &str) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code: "42703",
            message: format!("column \"{column}\" does not exist").into(),
        }
    }
}

impl Tables {
    /// The catalogue's tables, with some rows for each organization.
    pub(super) fn seeded(catalog: &Catalog, organizations: &[Organization]) -> Self {
        let tables = catalog.tables.iter().map(|(name, table)| {
            let mut made = Table::new(table);
            match &table.tenancy {
                Tenancy::Column { column, .. } => {
                    for organization in organizations {
                        made.seed(name, organization.slug.as_str(), |row| {
                            row.insert(column.to_string(), organization.id.to_string().into());
                        });
                    }
                }
                Tenancy::Global => made.seed(name, "shared", |_| {}),
                Tenancy::Through { .. } | Tenancy::Denied => {}
            }
            (Arc::clone(name), made)
        });
        Self { tables: tables.collect() }
    }

    pub(super) fn get(&self, name: &str) -> Result<&Table, Refused> {
        self.tables.get(name).ok_or_else(unknown)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Result<&mut Table, Refused> {
        self.tables.get_mut(name).ok_or_else(unknown)
    }
}

fn unknown() -> Refused {
    Refused { status: StatusCode::NOT_FOUND, code: "42P01", message: "no such table".into() }
}

impl Table {
    fn new(table: &catalog::Table) -> Self {
        let mut columns = table.columns.clone();
        if let Tenancy::Column { column: tenant, .. } = &table.tenancy
            && !columns.contains(tenant)
        {
            columns.push(Arc::clone(tenant));
        }
        Self { columns, rows: Vec::new(), next_id: 1 }
    }

    fn seed(&mut self, table: &str, whose: &str, finish: impl Fn(&mut Row)) {
        for number in 1..=SEED {
            let mut row = self.blank();
            for (column, value) in &mut row {
                *value = match column.as_str() {
                    "id" => continue,
                    name if name.ends_with("_id") => number.into(),
                    name if name.ends_with("_at") => {
                        format!("2026-01-{number:02}T09:00:00+00:00").into()
                    }
                    "done" | "archived" | "active" => (number % 2 == 0).into(),
                    "count" | "priority" | "amount" | "position" => number.into(),
                    _ => format!("{whose} {} {number}", table.trim_end_matches('s')).into(),
                };
            }
            finish(&mut row);
            self.rows.push(row);
        }
    }

    /// A row of nulls with the next id.
    fn blank(&mut self) -> Row {
        let mut row: Row =
            self.columns.iter().map(|column| (column.to_string(), Value::Null)).collect();
        if let Some(id) = row.get_mut("id") {
            *id = self.next_id.into();
            self.next_id += 1;
        }
        row
    }

    /// The rows that a query selects, and how many there are without `limit` and `offset`.
    pub(super) fn select(&self, query: &Query) -> Result<(Vec<Row>, usize), Refused> {
        let mut rows = Vec::new();
        for row in &self.rows {
            if filter::holds(row, query)? {
                rows.push(row);
            }
        }
        if let Some(terms) = &query.order {
            for term in terms.iter().rev() {
                self.known(filter::plain(&term.field)?)?;
                rows.sort_by(|a, b| compare(a, b, term));
            }
        }
        let total = rows.len();
        let skip = usize::try_from(query.offset.unwrap_or(0)).unwrap_or(usize::MAX);
        let take = usize::try_from(query.limit.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        let page = rows.into_iter().skip(skip).take(take);
        let picked: Result<Vec<Row>, Refused> = page.map(|row| self.pick(row, query)).collect();
        Ok((picked?, total))
    }

    /// Inserts the body's row or rows.
    pub(super) fn insert(&mut self, body: &[u8], query: &Query) -> Result<Vec<Row>, Refused> {
        if !super::without_rows(query) {
            return Err(Refused::new(StatusCode::BAD_REQUEST, "an insert takes no filters"));
        }
        let given: Vec<Row> = match json(body)? {
            Value::Object(row) => vec![row],
            Value::Array(rows) => rows
                .into_iter()
                .map(|row| match row {
                    Value::Object(row) => Ok(row),
                    _ => Err(malformed()),
                })
                .collect::<Result<_, _>>()?,
            _ => return Err(malformed()),
        };
        if self.rows.len() + given.len() > MAX_ROWS {
            return Err(Refused::new(StatusCode::INSUFFICIENT_STORAGE, "the table is full"));
        }
        given.iter().flat_map(Row::keys).try_for_each(|column| self.known(column))?;
        let mut inserted = Vec::with_capacity(given.len());
        for values in given {
            let mut row = self.blank();
            row.extend(values);
            inserted.push(self.pick(&row, query)?);
            self.rows.push(row);
        }
        Ok(inserted)
    }

    /// Sets the body's columns in the rows that the query selects.
    pub(super) fn update(&mut self, body: &[u8], query: &Query) -> Result<Vec<Row>, Refused> {
        let Value::Object(values) = json(body)? else { return Err(malformed()) };
        values.keys().try_for_each(|column| self.known(column))?;
        let mut updated = Vec::new();
        for index in 0..self.rows.len() {
            let Some(row) = self.rows.get_mut(index) else { break };
            if filter::holds(row, query)? {
                row.extend(values.clone());
                updated.push(index);
            }
        }
        updated
            .into_iter()
            .filter_map(|index| self.rows.get(index))
            .map(|row| self.pick(row, query))
            .collect()
    }

    /// Removes the rows that the query selects.
    pub(super) fn delete(&mut self, query: &Query) -> Result<Vec<Row>, Refused> {
        let mut deleted = Vec::new();
        let mut kept = Vec::with_capacity(self.rows.len());
        for row in &self.rows {
            if filter::holds(row, query)? {
                deleted.push(self.pick(row, query)?);
            } else {
                kept.push(row.clone());
            }
        }
        self.rows = kept;
        Ok(deleted)
    }

    fn known(&self, column: &str) -> Result<(), Refused> {
        let found = self.columns.iter().any(|known| known.as_ref() == column);
        found.then_some(()).ok_or_else(|| Refused::no_column(column))
    }

    fn pick(&self, row: &Row, query: &Query) -> Result<Row, Refused> {
        let Some(items) = &query.select else { return Ok(row.clone()) };
        let mut picked = Row::new();
        for item in items {
            match item {
                SelectItem::Star => picked.extend(row.clone()),
                // The sample's catalogue has no foreign keys.
                SelectItem::Embed(embed) => return Err(Refused::no_column(embed.name())),
                // The sample's values have no types to cast between.
                SelectItem::Column(SelectColumn { alias, field, cast: _, aggregation: None }) => {
                    let column = filter::plain(field)?;
                    self.known(column)?;
                    let name = alias.as_deref().unwrap_or(column).to_owned();
                    picked.insert(name, row.get(column).cloned().unwrap_or_default());
                }
                SelectItem::Column(_) | SelectItem::Count { .. } => {
                    return Err(filter::unsupported());
                }
            }
        }
        Ok(picked)
    }
}

fn compare(a: &Row, b: &Row, term: &OrderTerm) -> std::cmp::Ordering {
    let value = |row: &Row| row.get(&term.field.column).cloned().unwrap_or_default();
    let (a, b) = (value(a), value(b));
    let descending = term.direction == Some(Direction::Descending);
    // PostgreSQL sorts nulls as larger than everything, unless told otherwise.
    let nulls_last = match term.nulls {
        Some(Nulls::Last) => true,
        Some(Nulls::First) => false,
        None => !descending,
    };
    match (a.is_null(), b.is_null()) {
        (true, true) => std::cmp::Ordering::Equal,
        (true, false) if nulls_last => std::cmp::Ordering::Greater,
        (true, false) => std::cmp::Ordering::Less,
        (false, true) if nulls_last => std::cmp::Ordering::Less,
        (false, true) => std::cmp::Ordering::Greater,
        (false, false) => {
            let order = filter::order(&a, &filter::text(&b));
            if descending { order.reverse() } else { order }
        }
    }
}

fn json(body: &[u8]) -> Result<Value, Refused> {
    serde_json::from_slice(body).map_err(|_| malformed())
}

fn malformed() -> Refused {
    Refused {
        status: StatusCode::BAD_REQUEST,
        code: "PGRST102",
        message: "the body is not a JSON object or an array of them".into(),
    }
}
