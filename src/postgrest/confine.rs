//! The decision: one request, confined to one organization, or refused.
//!
//! Called by the pipeline's isolate stage. Whatever is returned was printed from parsed values;
//! nothing of it is the client's bytes. May import `domain` and this room.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, header};

use super::body::{BodyRule, BodySource, RowsRule, Write};
use super::confined::{Confined, Injection};
use super::filter::{Filter, Place, parse_operation};
use super::headers::{self, ACCEPT_PROFILE, CONTENT_PROFILE};
use super::lexer::Cursor;
use super::order::OrderTerm;
use super::path::table_name;
use super::percent::encode;
use super::prefer::{PREFER, Preferences, Returning};
use super::print::Printer;
use super::query::{Query, parse_query};
use super::refusal::{Part, RestRefusal};
use super::request::{RestMethod, RestRequest};
use super::select::SelectItem;
use crate::domain::catalog::{Catalog, Table, Tenancy};
use crate::domain::ids::OrgId;

/// Confines a request to an organization, or refuses it.
///
/// # Errors
/// A [`RestRefusal`] for everything that is not understood to its end, not in the catalogue, or not
/// supported.
pub fn confine(
    request: &RestRequest<'_>,
    catalog: &Catalog,
    org: OrgId,
) -> Result<Confined, RestRefusal> {
    let name = table_name(request.path)?;
    // A table without columns has nothing that a client could name.
    let found = catalog.table(&name).filter(|table| !table.columns.is_empty());
    let Some(table) = found else { return Err(RestRefusal::TableUnknown(name.into_owned())) };
    let tenant = match &table.tenancy {
        Tenancy::Column { column, shared_null: false } => Some(column),
        Tenancy::Global => None,
        Tenancy::Column { shared_null: true, .. } | Tenancy::Through { .. } | Tenancy::Denied => {
            return Err(RestRefusal::TableUnknown(name.into_owned()));
        }
    };
    if request.method.writes() && (!table.writable || tenant.is_none()) {
        return Err(RestRefusal::TableReadOnly(name.into_owned()));
    }
    if request.method == RestMethod::Put {
        return Err(RestRefusal::PutUnsupported);
    }
    let mut query = parse_query(request.query.unwrap_or_default())?;
    restore_apikey(&mut query, table)?;
    check_columns(&query, table, tenant)?;
    check_method(&query, request.method)?;
    let preferences = Preferences::parse(request.headers)?;
    let client_conditions = query.filters.len() + query.logic.len();
    let mut injections = Vec::with_capacity(3);
    if preferences.count_made_exact {
        injections.push(Injection::CountMadeExact);
    }
    let body = match tenant {
        Some(tenant) => {
            confine_order(&mut query, request.method, tenant, &mut injections);
            confine_body(&mut query, request, table, tenant, org, &mut injections)?
        }
        None => BodyRule::None,
    };
    let headers = confined_headers(request, &preferences, &catalog.schema)?;
    let select = Selection::of(request.method, preferences.returning);
    let filter = tenant.filter(|_| request.method != RestMethod::Post);
    let target =
        print_target(table, query, select, filter.map(|column| (column, org)), &mut injections);
    Ok(Confined { table: table.clone(), target, headers, body, injections, client_conditions })
}

/// `apikey` is the client's key, unless the table has a column of that name: to drop a filter
/// would widen the request.
fn restore_apikey(query: &mut Query, table: &Table) -> Result<(), RestRefusal> {
    let Some(value) = query.apikey.take() else { return Ok(()) };
    if !table.has_column("apikey") {
        return Ok(());
    }
    let mut cursor = Cursor::new(&value);
    let (negated, operation) = parse_operation(&mut cursor, Place::Root)?;
    if !cursor.is_at_end() {
        return Err(RestRefusal::Malformed { part: Part::Filter, input: value });
    }
    query.filters.push(Filter { column: "apikey".to_owned(), negated, operation });
    Ok(())
}

/// Every column that is named has to be in the catalogue; a name that is not could be a function
/// of the row. The tenant column may always be named in `columns`.
fn check_columns(
    query: &Query,
    table: &Table,
    tenant: Option<&Arc<str>>,
) -> Result<(), RestRefusal> {
    let known = |name: &str| {
        if table.has_column(name) {
            Ok(())
        } else {
            Err(RestRefusal::ColumnUnknown(name.to_owned()))
        }
    };
    for item in query.select.iter().flatten() {
        match item {
            SelectItem::Star => {}
            SelectItem::Column { column, .. } => known(column)?,
        }
    }
    for name in query.columns.iter().flatten() {
        if tenant.is_none_or(|tenant| tenant.as_ref() != name) {
            known(name)?;
        }
    }
    query.filters.iter().try_for_each(|filter| known(&filter.column))?;
    let mut visit = |filter: &Filter| known(&filter.column);
    query.logic.iter().try_for_each(|logic| logic.try_each_filter(&mut visit))?;
    query.order.iter().flatten().try_for_each(|term| known(&term.column))
}

/// Parameters that a method does not heed are refused, not dropped.
fn check_method(query: &Query, method: RestMethod) -> Result<(), RestRefusal> {
    let limited = query.limit.is_some() || query.offset.is_some();
    let conditions = !query.filters.is_empty() || !query.logic.is_empty();
    match method {
        RestMethod::Get | RestMethod::Head | RestMethod::Delete if query.columns.is_some() => {
            Err(RestRefusal::ColumnsMisplaced)
        }
        RestMethod::Post if conditions || limited || query.order.is_some() => {
            Err(RestRefusal::InsertWithFilter)
        }
        RestMethod::Patch | RestMethod::Delete if limited && query.order.is_none() => {
            Err(RestRefusal::LimitWithoutOrder)
        }
        RestMethod::Get
        | RestMethod::Head
        | RestMethod::Post
        | RestMethod::Patch
        | RestMethod::Put
        | RestMethod::Delete => Ok(()),
    }
}

/// PostgREST selects the rows of a limited update or delete with all filters, but then changes
/// every row of the table that agrees with one of them in the columns of `order`
/// (`Query/QueryBuilder.hs`, `pgrst_affected_rows`). With the tenant among these columns no other
/// organization's row agrees.
fn confine_order(
    query: &mut Query,
    method: RestMethod,
    tenant: &Arc<str>,
    injections: &mut Vec<Injection>,
) {
    let limited = query.limit.is_some() || query.offset.is_some();
    if !limited || !method.writes() {
        return;
    }
    let terms = query.order.get_or_insert_default();
    if !terms.iter().any(|term| term.column == tenant.as_ref()) {
        terms.push(OrderTerm { column: tenant.as_ref().to_owned(), direction: None, nulls: None });
        injections.push(Injection::TenantInOrder { column: tenant.clone() });
    }
}

fn confine_body(
    query: &mut Query,
    request: &RestRequest<'_>,
    table: &Arc<Table>,
    tenant: &Arc<str>,
    org: OrgId,
    injections: &mut Vec<Injection>,
) -> Result<BodyRule, RestRefusal> {
    let names_tenant =
        |names: &Vec<String>| names.iter().any(|name| name.as_str() == tenant.as_ref());
    if matches!(request.method, RestMethod::Get | RestMethod::Head | RestMethod::Delete) {
        return Ok(BodyRule::None);
    }
    let source = BodySource::from_content_type(request.headers)?;
    if source != BodySource::Json {
        // PostgREST heeds it for JSON only; the body that is sent is JSON.
        query.columns = None;
    }
    let write = match request.method {
        RestMethod::Get | RestMethod::Head | RestMethod::Delete | RestMethod::Put => {
            return Ok(BodyRule::None);
        }
        RestMethod::Post => {
            injections.push(Injection::TenantInRows { column: tenant.clone() });
            if let Some(names) = query.columns.as_mut().filter(|names| !names_tenant(names)) {
                names.push(tenant.as_ref().to_owned());
                injections.push(Injection::TenantInColumns { column: tenant.clone() });
            }
            Write::Insert
        }
        RestMethod::Patch if query.columns.as_ref().is_some_and(names_tenant) => {
            injections.push(Injection::TenantInRows { column: tenant.clone() });
            Write::UpdateNamingTenant
        }
        RestMethod::Patch => Write::Update,
    };
    let columns = query.columns.as_deref();
    Ok(BodyRule::Rows(RowsRule::new(table.clone(), tenant.clone(), org, write, source, columns)))
}

fn confined_headers(
    request: &RestRequest<'_>,
    preferences: &Preferences,
    schema: &str,
) -> Result<Vec<(HeaderName, HeaderValue)>, RestRefusal> {
    let profile = if request.method.writes() { CONTENT_PROFILE } else { ACCEPT_PROFILE };
    headers::profile(request.headers, &profile, schema)?;
    let schema = HeaderValue::from_str(schema).map_err(|_| RestRefusal::ProfileNotAcceptable)?;
    let mut out = Vec::with_capacity(4);
    out.push((profile, schema));
    if let Some(accept) = headers::accept(request.headers)? {
        out.push((header::ACCEPT, accept));
    }
    if let Some(prefer) = preferences.print() {
        out.push((PREFER, prefer));
    }
    match request.method {
        RestMethod::Get => {
            if let Some(range) = headers::range(request.headers)? {
                out.push((header::RANGE, range));
            }
        }
        RestMethod::Post | RestMethod::Patch => {
            out.push((header::CONTENT_TYPE, HeaderValue::from_static("application/json")));
        }
        RestMethod::Head | RestMethod::Put | RestMethod::Delete => {}
    }
    Ok(out)
}

/// How `select` is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Selection {
    /// Rows come back: every column by name.
    Expanded,
    /// Only a row's key comes back, in a header: as stated, if stated.
    AsStated,
    /// Nothing comes back.
    Omitted,
}

impl Selection {
    fn of(method: RestMethod, returning: Option<Returning>) -> Self {
        match (method.writes(), returning) {
            (false, _) | (true, Some(Returning::Representation)) => Self::Expanded,
            (true, Some(Returning::HeadersOnly)) => Self::AsStated,
            (true, Some(Returning::Minimal) | None) => Self::Omitted,
        }
    }
}

fn print_target(
    table: &Table,
    mut query: Query,
    selection: Selection,
    filter: Option<(&Arc<str>, OrgId)>,
    injections: &mut Vec<Injection>,
) -> String {
    let mut target = String::with_capacity(256);
    target.push('/');
    encode(&table.name, &mut target);
    target.push('?');
    let mut printer = Printer::new(target);
    match (selection, query.select.take()) {
        (Selection::Omitted, _) | (Selection::AsStated, None) => {}
        (Selection::AsStated, Some(items)) => printer.select(&items),
        (Selection::Expanded, Some(items)) if !items.contains(&SelectItem::Star) => {
            printer.select(&items);
        }
        (Selection::Expanded, Some(items)) => {
            printer.select(&expanded(items, table));
            injections.push(Injection::SelectExpanded);
        }
        (Selection::Expanded, None) => {
            printer.select_columns(table.columns.iter().map(AsRef::as_ref));
            injections.push(Injection::SelectExpanded);
        }
    }
    let mut buffer = uuid::Uuid::encode_buffer();
    let injected = filter.map(|(column, org)| {
        injections.push(Injection::TenantFilter { column: column.clone(), org });
        let id: &str = org.as_uuid().as_hyphenated().encode_lower(&mut buffer);
        (column.as_ref(), id)
    });
    printer.rest(&query, injected);
    let mut target = printer.finish();
    if target.ends_with('?') {
        target.pop();
    }
    target
}

/// `*` replaced by the catalogue's columns, each of which stands once.
fn expanded(items: Vec<SelectItem>, table: &Table) -> Vec<SelectItem> {
    let mut out = Vec::with_capacity(items.len() + table.columns.len());
    let mut star = false;
    for item in items {
        match item {
            SelectItem::Star if !star => {
                star = true;
                out.retain(|known| !matches!(known, SelectItem::Column { alias: None, .. }));
                out.extend(table.columns.iter().map(|column| SelectItem::Column {
                    alias: None,
                    column: column.as_ref().to_owned(),
                }));
            }
            SelectItem::Star => {}
            SelectItem::Column { alias: None, .. } if star => {}
            SelectItem::Column { .. } => out.push(item),
        }
    }
    out
}
