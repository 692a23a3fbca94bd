//! Calls: `/rpc/<name>`, with the arguments that the catalogue knows and the organization's own.
//!
//! Called by [`confine`](super::confine()). By POST the arguments are the body, by GET they share
//! the query string with filters: what is an argument's name is an argument. A client may leave
//! the organization out or name its own; naming another is an escape. What a function returns can
//! be selected from only where the catalogue says of which table its rows are. May import `domain`
//! and this room.

use std::sync::Arc;

use uuid::Uuid;

use super::body::{ArgumentsRule, BodyRule, BodySource};
use super::confine::{in_order, is_all, is_csv, printed_headers};
use super::confined::{Confined, Injection};
use super::percent::{Plus, decode, encode};
use super::prefer::Preferences;
use super::print::Printer;
use super::query::{Query, RESERVED, parse_query};
use super::refusal::RestRefusal;
use super::request::{RestMethod, RestRequest};
use super::resolve::{Resolver, expanded};
use super::select::SelectItem;
use super::shape::shape;
use crate::domain::catalog::{Argument, Catalog, Function, Returns, Tenancy};
use crate::domain::escape::{Place, Resource, TenantEscape};
use crate::domain::ids::OrgId;

/// Arguments that a client gives in the query, by name.
type Given = Vec<(Arc<str>, String)>;

/// Confines a call of a function to an organization, or refuses it.
pub(super) fn call(
    request: &RestRequest<'_>,
    catalog: &Catalog,
    org: OrgId,
    name: &str,
) -> Result<Confined, RestRefusal> {
    let unknown = || RestRefusal::FunctionUnknown(name.to_owned());
    let function = catalog.function(name).ok_or_else(unknown)?;
    let by_get = match request.method {
        RestMethod::Get | RestMethod::Head if function.read_only => true,
        RestMethod::Post => false,
        RestMethod::Get
        | RestMethod::Head
        | RestMethod::Patch
        | RestMethod::Put
        | RestMethod::Delete => return Err(RestRefusal::FunctionMethod),
    };
    let raw = request.query.unwrap_or_default();
    let (arguments, rest) = if by_get { split(raw, function)? } else { (Given::new(), raw.into()) };
    let mut query = parse_query(&rest)?;
    // It is the client's key, and a function has no column of that name.
    query.apikey = None;
    let preferences = Preferences::parse(request.headers)?;
    let client_conditions = query.filters.len() + query.logic.len();
    let shape = shape(&query, &preferences, request);
    let mut injections = Vec::new();
    if preferences.count_made_exact {
        injections.push(Injection::CountMadeExact);
    }
    let all = is_all(&query);
    let mut resolver = Resolver::new(catalog, org, &mut injections);
    match &function.returns {
        Returns::Opaque if query == Query::default() => {}
        Returns::Opaque => return Err(RestRefusal::FunctionOpaque),
        Returns::Rows { table, filtered } => {
            let table = catalog.table(table).ok_or_else(unknown)?;
            if query.columns.is_some() {
                return Err(RestRefusal::ColumnsMisplaced);
            }
            resolver.level(&mut query, table, 1, "")?;
            let items = query.select.take().unwrap_or_else(|| vec![SelectItem::Star]);
            let items = expanded(items, table);
            match (&table.tenancy, filtered) {
                (Tenancy::Denied, _) => return Err(unknown()),
                (_, false) => {}
                // PostgREST takes no more of a function's rows than what is selected, so that
                // there would be nothing to filter by.
                (Tenancy::Column { column, .. }, true) if !selects(&items, column) => {
                    return Err(RestRefusal::FunctionSelect);
                }
                (Tenancy::Through { .. }, true) => {
                    return Err(RestRefusal::EmbedUnsupported(
                        "rows of a function and their parent",
                    ));
                }
                (_, true) => resolver.confine(&mut query, table, "")?,
            }
            query.select = Some(items);
        }
    }
    let embedded = resolver.into_tables();
    let body = match by_get {
        true => BodyRule::None,
        false => {
            let source = BodySource::from_content_type(request.headers)?;
            BodyRule::Arguments(ArgumentsRule::new(Arc::clone(function), org, source)?)
        }
    };
    for (name, argument) in &function.arguments {
        if *argument == Argument::Tenant {
            let (argument, in_body) = (Arc::clone(name), !by_get);
            injections.push(Injection::TenantArgument { argument, in_body });
        }
    }
    let headers = printed_headers(request, preferences.print(), &catalog.schema, BodySource::Json)?;
    if is_csv(&headers) {
        match &function.returns {
            // PostgREST takes the first line of CSV from the rows before they are filtered
            // (`Query/SqlFragment.hs`, `asCsvHeaderF`): without any there is none, so that it tells
            // whether the function has found rows of others.
            Returns::Rows { filtered: true, .. } => return Err(RestRefusal::FunctionCsv),
            Returns::Rows { table, filtered: false } if all => {
                let table = catalog.table(table).ok_or_else(unknown)?;
                query.select = Some(in_order(table));
            }
            Returns::Rows { .. } | Returns::Opaque => {}
        }
    }
    let target = print(function, by_get.then_some(arguments), &query, org)?;
    let source = function.source.clone();
    Ok(Confined {
        source,
        embedded,
        shown: None,
        target,
        headers,
        body,
        injections,
        client_conditions,
        shape,
    })
}

fn selects(items: &[SelectItem], wanted: &str) -> bool {
    items.iter().any(|item| {
        matches!(item, SelectItem::Column(column)
        if column.field.is(wanted) && column.aggregation.is_none())
    })
}

/// Arguments by name, and what is left of the query string. Names of PostgREST's own parameters
/// are never arguments: it looks for those first.
fn split(raw: &str, function: &Function) -> Result<(Given, String), RestRefusal> {
    if raw.contains(';') {
        return Err(RestRefusal::Semicolon);
    }
    let mut arguments = Given::new();
    let mut rest = String::with_capacity(raw.len());
    for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let key = decode(key, Plus::Space)?;
        let known = function.arguments.get_key_value(key.as_ref());
        let Some((name, _)) = known.filter(|(name, _)| !RESERVED.contains(&name.as_ref())) else {
            if !rest.is_empty() {
                rest.push('&');
            }
            rest.push_str(pair);
            continue;
        };
        if arguments.iter().any(|(earlier, _)| earlier == name) {
            return Err(RestRefusal::ArgumentRepeated(name.as_ref().to_owned()));
        }
        arguments.push((Arc::clone(name), decode(value, Plus::Space)?.into_owned()));
    }
    Ok((arguments, rest))
}

fn print(
    function: &Function,
    arguments: Option<Given>,
    query: &Query,
    org: OrgId,
) -> Result<String, RestRefusal> {
    let mut target = String::with_capacity(256);
    target.push_str("/rpc/");
    encode(&function.name, &mut target);
    target.push('?');
    let mut printer = Printer::new(target);
    if let Some(given) = arguments {
        for (name, argument) in &function.arguments {
            let value = given.iter().find(|(known, _)| known == name).map(|(_, value)| value);
            match argument {
                Argument::Client => {
                    if let Some(value) = value {
                        printer.argument(name, value);
                    }
                }
                Argument::Tenant => {
                    if let Some(value) = value {
                        own(function, name, value, org)?;
                    }
                    printer.argument(name, &org.to_string());
                }
            }
        }
    }
    if let Some(items) = &query.select {
        printer.select(items);
    }
    printer.rest(query, None);
    let mut target = printer.finish();
    if target.ends_with('?') {
        target.pop();
    }
    Ok(target)
}

/// Whether the client's value for the organization is its own.
fn own(function: &Function, name: &Arc<str>, value: &str, org: OrgId) -> Result<(), RestRefusal> {
    let named = Uuid::try_parse(value).ok();
    if named.is_some_and(|named| named == *org.as_uuid()) {
        return Ok(());
    }
    Err(RestRefusal::TenantEscape(Box::new(TenantEscape {
        resource: Resource::Function(Arc::clone(&function.name)),
        name: Arc::clone(name),
        place: Place::Query,
        named,
    })))
}
