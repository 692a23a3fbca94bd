//! The decision: one request, confined to one organization, or refused.
//!
//! Called by the pipeline's isolate stage. Whatever is returned was printed from parsed values;
//! nothing of it is the client's bytes. May import `domain` and this room.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, header};

use super::body::{BodyRule, BodySource, RowsRule, Write};
use super::call::call;
use super::confined::{Confined, Injection};
use super::field::Field;
use super::filter::{Filter, Operation, Place, parse_operation};
use super::headers::{self, ACCEPT_PROFILE, CONTENT_PROFILE};
use super::lexer::Cursor;
use super::order::OrderTerm;
use super::path::{Resource, resource};
use super::percent::encode;
use super::prefer::{PREFER, Preferences, Returning};
use super::print::Printer;
use super::query::{Query, parse_query};
use super::refusal::{Part, RestRefusal};
use super::request::{RestMethod, RestRequest};
use super::resolve::{Resolver, expanded};
use super::select::{SelectColumn, SelectItem};
use super::shape::shape;
use super::upsert;
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
    confine_below(request, catalog, org, &Vec::new)
}

/// The same for somebody whose role ranks above those that `below` names: they are what such a
/// writer gives, changes and takes in tables that hold roles. It is asked for these only.
///
/// # Errors
/// As of [`confine`], and where another role is named or could be reached.
pub fn confine_below(
    request: &RestRequest<'_>,
    catalog: &Catalog,
    org: OrgId,
    below: &dyn Fn() -> Vec<Arc<str>>,
) -> Result<Confined, RestRefusal> {
    let name = match resource(request.path)? {
        Resource::Table(name) => name,
        Resource::Function(name) => return call(request, catalog, org, &name),
    };
    // A table without columns has nothing that a client could name.
    let found = catalog.table(&name).filter(|table| !table.columns.is_empty());
    let Some(table) = found else { return Err(RestRefusal::TableUnknown(name.into_owned())) };
    let tenant = match &table.tenancy {
        Tenancy::Column { column, .. } => Some(column),
        // What belongs to a parent's organization is only read: a write could not be confined.
        Tenancy::Global | Tenancy::Through { .. } => None,
        Tenancy::Denied => return Err(RestRefusal::TableUnknown(name.into_owned())),
    };
    if request.method.writes() && (!table.writable || tenant.is_none()) {
        return Err(RestRefusal::TableReadOnly(name.into_owned()));
    }
    let mut query = parse_query(request.query.unwrap_or_default())?;
    restore_apikey(&mut query, table)?;
    check_written(&query, table, tenant)?;
    check_method(&query, request.method)?;
    let preferences = Preferences::parse(request.headers)?;
    if let Some(tenant) = tenant {
        check_upsert(&mut query, request.method, &preferences, table, tenant, org)?;
    }
    let client_conditions = query.filters.len() + query.logic.len();
    let shape = shape(&query, &preferences, request);
    if table.requires_filter && is_change(request.method) && client_conditions == 0 {
        return Err(RestRefusal::FilterRequired);
    }
    let mut injections = Vec::with_capacity(3);
    let ranks = table.ranks.as_ref().filter(|_| request.method.writes());
    let below = ranks.map(|_| below()).unwrap_or_default();
    if ranks.is_some() {
        check_ranked(&query, request.method, &preferences, &below)?;
    }
    let mut resolver = Resolver::new(catalog, org, &mut injections);
    resolver.level(&mut query, table, 1, "")?;
    let plain = tenant.filter(|_| {
        let shared = matches!(table.tenancy, Tenancy::Column { shared_null: true, .. });
        let read = !request.method.writes();
        is_change(request.method) || request.method == RestMethod::Put || (read && !shared)
    });
    if plain.is_none() && !request.method.writes() {
        if matches!(table.tenancy, Tenancy::Through { .. }) {
            query.select.get_or_insert_with(|| vec![SelectItem::Star]);
        }
        resolver.confine(&mut query, table, "")?;
    }
    let embedded = resolver.into_tables();
    if let Some(column) = ranks.filter(|_| is_change(request.method)) {
        let roles = below.iter().map(|role| role.as_ref().to_owned()).collect();
        let field = Field::plain(column.as_ref());
        query.filters.push(Filter { field, negated: false, operation: Operation::In(roles) });
        injections.push(Injection::RankFilter { column: Arc::clone(column) });
    }
    if preferences.count_made_exact {
        injections.push(Injection::CountMadeExact);
    }
    let body = match tenant {
        Some(tenant) => {
            confine_order(&mut query, request.method, tenant, &mut injections);
            confine_body(&mut query, request, table, tenant, (org, &below), &mut injections)?
        }
        None => BodyRule::None,
    };
    let headers = printed_headers(request, preferences.print(), &catalog.schema, BodySource::Json)?;
    let select = Selection::of(request.method, preferences.returning);
    let returned = request.method.writes() && select == Selection::Expanded;
    if returned && is_csv(&headers) && is_all(&query) {
        query.select = Some(in_order(table));
        injections.push(Injection::SelectExpanded);
    }
    let target =
        print_target(table, query, select, plain.map(|column| (column, org)), &mut injections);
    let source = table.source.clone();
    let shown = returned.then(|| Arc::clone(table));
    Ok(Confined {
        source,
        embedded,
        shown,
        target,
        headers,
        body,
        injections,
        client_conditions,
        shape,
    })
}

fn is_change(method: RestMethod) -> bool {
    matches!(method, RestMethod::Patch | RestMethod::Delete)
}

/// `apikey` is the client's key, unless the table has a column of that name: to drop a filter
/// would widen the request.
pub(super) fn restore_apikey(query: &mut Query, table: &Table) -> Result<(), RestRefusal> {
    let Some(value) = query.apikey.take() else { return Ok(()) };
    if !table.has_column("apikey") {
        return Ok(());
    }
    let mut cursor = Cursor::new(&value);
    let (negated, operation) = parse_operation(&mut cursor, Place::Root)?;
    if !cursor.is_at_end() {
        return Err(RestRefusal::Malformed { part: Part::Filter, input: value });
    }
    query.filters.push(Filter { field: Field::plain("apikey"), negated, operation });
    Ok(())
}

/// What is to be written has to be in the catalogue; the tenant column may always be named.
fn check_written(
    query: &Query,
    table: &Table,
    tenant: Option<&Arc<str>>,
) -> Result<(), RestRefusal> {
    for name in query.columns.iter().flatten() {
        let own = tenant.is_some_and(|tenant| tenant.as_ref() == name);
        if !own && !table.has_column(name) {
            return Err(RestRefusal::ColumnUnknown(name.to_owned()));
        }
    }
    Ok(())
}

/// Parameters that a method does not heed are refused, not dropped.
fn check_method(query: &Query, method: RestMethod) -> Result<(), RestRefusal> {
    let limited = query.limit.is_some() || query.offset.is_some();
    let conditions = !query.filters.is_empty() || !query.logic.is_empty();
    if method.writes() && depends_on_embeds(query) {
        return Err(RestRefusal::EmbedUnsupported("a condition on it in a write"));
    }
    match method {
        RestMethod::Get | RestMethod::Head | RestMethod::Delete if query.columns.is_some() => {
            Err(RestRefusal::ColumnsMisplaced)
        }
        RestMethod::Post if conditions || limited => Err(RestRefusal::InsertWithFilter),
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

/// In a table that holds roles, which rows are written must be told by the role alone: an upsert
/// finds them by a key, and a limited change by its order.
fn check_ranked(
    query: &Query,
    method: RestMethod,
    preferences: &Preferences,
    below: &[Arc<str>],
) -> Result<(), RestRefusal> {
    let limited = query.limit.is_some() || query.offset.is_some();
    let upsert = method == RestMethod::Put || preferences.resolution.is_some();
    if below.is_empty() || upsert || (limited && is_change(method)) {
        return Err(RestRefusal::Rank);
    }
    Ok(())
}

/// Whether an insert may change rows that are there, or a PUT makes one, and by which key.
fn check_upsert(
    query: &mut Query,
    method: RestMethod,
    preferences: &Preferences,
    table: &Table,
    tenant: &Arc<str>,
    org: OrgId,
) -> Result<(), RestRefusal> {
    match (method, preferences.resolution) {
        (RestMethod::Post, Some(_)) => upsert::conflict_key(query, table, tenant),
        (_, Some(_)) => Err(RestRefusal::UpsertMisplaced),
        (_, None) if query.on_conflict.is_some() => Err(RestRefusal::UpsertMisplaced),
        (RestMethod::Put, None) => upsert::put(query, table, tenant, org),
        (_, None) => Ok(()),
    }
}

/// Whether which rows are meant depends on what is embedded: PostgREST embeds after it has written.
fn depends_on_embeds(query: &Query) -> bool {
    let is_embed = |name: &str| query.embeds().any(|embed| !embed.spread && embed.name() == name);
    let visit = |filter: &Filter| if is_embed(&filter.field.column) { Err(()) } else { Ok(()) };
    query.filters.iter().any(|filter| is_embed(&filter.field.column))
        || query.logic.iter().any(|logic| logic.try_each_filter(&mut { visit }).is_err())
        || query.order.iter().flatten().any(|term| term.embed.is_some())
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
    if !terms.iter().any(|term| term.embed.is_none() && term.field.is(tenant)) {
        terms.push(OrderTerm {
            embed: None,
            field: Field::plain(tenant.as_ref()),
            direction: None,
            nulls: None,
        });
        injections.push(Injection::TenantInOrder { column: tenant.clone() });
    }
}

fn confine_body(
    query: &mut Query,
    request: &RestRequest<'_>,
    table: &Arc<Table>,
    tenant: &Arc<str>,
    (org, below): (OrgId, &[Arc<str>]),
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
        RestMethod::Get | RestMethod::Head | RestMethod::Delete => return Ok(BodyRule::None),
        RestMethod::Post | RestMethod::Put => {
            injections.push(Injection::TenantInRows { column: tenant.clone() });
            if let Some(names) = query.columns.as_mut().filter(|names| !names_tenant(names)) {
                names.push(tenant.as_ref().to_owned());
                injections.push(Injection::TenantInColumns { column: tenant.clone() });
            }
            if request.method == RestMethod::Put { Write::Put } else { Write::Insert }
        }
        RestMethod::Patch if query.columns.as_ref().is_some_and(names_tenant) => {
            injections.push(Injection::TenantInRows { column: tenant.clone() });
            Write::UpdateNamingTenant
        }
        RestMethod::Patch => Write::Update,
    };
    let columns = query.columns.as_deref();
    let rule = RowsRule::new(table.clone(), tenant.clone(), org, write, source, columns);
    Ok(BodyRule::Rows(rule.below(below)))
}

/// The fields of a request that is printed anew, all of them. A body goes on in the form of `body`.
pub(super) fn printed_headers(
    request: &RestRequest<'_>,
    prefer: Option<HeaderValue>,
    schema: &str,
    body: BodySource,
) -> Result<Vec<(HeaderName, HeaderValue)>, RestRefusal> {
    let profile = if request.method.writes() { CONTENT_PROFILE } else { ACCEPT_PROFILE };
    headers::profile(request.headers, &profile, schema)?;
    let schema = HeaderValue::from_str(schema).map_err(|_| RestRefusal::ProfileNotAcceptable)?;
    let mut out = Vec::with_capacity(4);
    out.push((profile, schema));
    // A media type that is none of PostgREST's own is a function of the database.
    if let Some(accept) = headers::accept(request.headers)? {
        out.push((header::ACCEPT, accept));
    }
    if let Some(prefer) = prefer {
        out.push((PREFER, prefer));
    }
    if request.method == RestMethod::Get
        && let Some(range) = headers::range(request.headers)?
    {
        out.push((header::RANGE, range));
    }
    if request.method.has_body() {
        out.push((header::CONTENT_TYPE, HeaderValue::from_static(body.media_type())));
    }
    Ok(out)
}

/// Whether a query asks for all columns and nothing else.
pub(super) fn is_all(query: &Query) -> bool {
    query.select.as_deref().is_none_or(|items| items == [SelectItem::Star])
}

/// All columns, for CSV of what was written or is returned by a function: PostgREST writes the
/// first line in the order of the alphabet, as it has the columns from the statement, and the
/// values in the order of `select` (`Query/SqlFragment.hs`, `asCsvHeaderF`).
pub(super) fn in_order(table: &Table) -> Vec<SelectItem> {
    let mut columns: Vec<&str> = table.columns.iter().map(AsRef::as_ref).collect();
    columns.sort_unstable();
    columns.into_iter().map(SelectColumn::plain).map(SelectItem::Column).collect()
}

/// Whether these headers ask for CSV.
pub(super) fn is_csv(headers: &[(HeaderName, HeaderValue)]) -> bool {
    headers.iter().any(|(name, value)| name == header::ACCEPT && value == "text/csv")
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
    query.select = match (selection, query.select.take()) {
        (Selection::Omitted, _) | (Selection::AsStated, None) => None,
        (Selection::AsStated, Some(mut items)) => {
            // Nothing of what is embedded would come back.
            items.retain(|item| !matches!(item, SelectItem::Embed(_)));
            Some(items).filter(|items| !items.is_empty())
        }
        (Selection::Expanded, Some(items)) => {
            if items.contains(&SelectItem::Star) {
                injections.push(Injection::SelectExpanded);
            }
            Some(expanded(items, table))
        }
        (Selection::Expanded, None) => {
            injections.push(Injection::SelectExpanded);
            Some(expanded(vec![SelectItem::Star], table))
        }
    };
    let mut printer = Printer::new(target);
    if let Some(items) = &query.select {
        printer.select(items);
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
