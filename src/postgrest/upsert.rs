//! Upserts: inserts that may change a row that is there, and PUT.
//!
//! Called by [`confine`](super::confine()). Which row an upsert changes is decided by a unique key
//! and not by any filter, so that the key itself has to hold the tenant column: with the
//! organization forced into every row, no row of another can then be met. May import `domain` and
//! this room.

use std::sync::Arc;

use uuid::Uuid;

use super::filter::{Filter, Operation};
use super::operator::Comparison;
use super::query::Query;
use super::refusal::RestRefusal;
use crate::domain::catalog::Table;
use crate::domain::escape::{Place, Resource, TenantEscape};
use crate::domain::ids::OrgId;

/// Checks the key of an insert with `Prefer: resolution=…`: that of `on_conflict`, or the primary
/// key.
pub(super) fn conflict_key(
    query: &Query,
    table: &Table,
    tenant: &Arc<str>,
) -> Result<(), RestRefusal> {
    let stated: Option<Vec<&str>> =
        query.on_conflict.as_ref().map(|names| names.iter().map(String::as_str).collect());
    let primary = || table.primary_key.iter().map(AsRef::as_ref).collect();
    let key: Vec<&str> = stated.unwrap_or_else(primary);
    let same = |known: &Vec<Arc<str>>| {
        !known.is_empty()
            && known.len() == key.len()
            && known.iter().all(|column| key.contains(&column.as_ref()))
    };
    let unique = same(&table.primary_key) || table.unique.iter().any(same);
    match unique && key.contains(&tenant.as_ref()) {
        true => Ok(()),
        false => Err(RestRefusal::UpsertKey),
    }
}

/// Checks a PUT: its filters name the primary key, all of it, and nothing else. The tenant's is
/// taken out; it is put in again as everywhere.
pub(super) fn put(
    query: &mut Query,
    table: &Table,
    tenant: &Arc<str>,
    org: OrgId,
) -> Result<(), RestRefusal> {
    let only_filters = query.logic.is_empty()
        && query.order.is_none()
        && query.limit.is_none()
        && query.offset.is_none()
        && query.columns.is_none();
    if !table.primary_key.contains(tenant) {
        return Err(RestRefusal::UpsertKey);
    }
    let mut named: Vec<&str> = Vec::with_capacity(query.filters.len());
    for filter in &query.filters {
        let Some(value) = equals(filter) else { return Err(RestRefusal::PutFilter) };
        let column = filter.field.column.as_str();
        if named.contains(&column) || !table.primary_key.iter().any(|key| key.as_ref() == column) {
            return Err(RestRefusal::PutFilter);
        }
        if column == tenant.as_ref() {
            own(table, tenant, value, org)?;
        }
        named.push(column);
    }
    let missing = |key: &&Arc<str>| *key != tenant && !named.contains(&key.as_ref());
    if !only_filters || table.primary_key.iter().any(|key| missing(&key)) {
        return Err(RestRefusal::PutFilter);
    }
    query.filters.retain(|filter| filter.field.column != tenant.as_ref());
    Ok(())
}

fn equals(filter: &Filter) -> Option<&str> {
    match &filter.operation {
        Operation::Compare { comparison: Comparison::Equal, quantifier: None, value }
            if !filter.negated && filter.field.path.is_empty() =>
        {
            Some(value)
        }
        _ => None,
    }
}

fn own(table: &Table, tenant: &Arc<str>, value: &str, org: OrgId) -> Result<(), RestRefusal> {
    let named = Uuid::try_parse(value).ok();
    if named.is_some_and(|named| named == *org.as_uuid()) {
        return Ok(());
    }
    Err(RestRefusal::TenantEscape(Box::new(TenantEscape {
        resource: Resource::Table(Arc::clone(&table.name)),
        name: Arc::clone(tenant),
        place: Place::Query,
        named,
    })))
}
