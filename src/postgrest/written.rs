//! Requests to tables whose isolation is only tried: as their clients wrote them.
//!
//! Called by the pipeline's isolate stage beside [`confine`](super::confine()), whose verdict it
//! lets nobody feel. Written means: the same tree, printed without what confinement adds, so that
//! here, too, no byte of a head is the client's and PostgREST reads what was read here. Which tables
//! a request touches has to be known to the end: embeds are led to one table each and named outright,
//! columns have to be in the catalogue, because a name that is not could be a function of the row.
//! What does not parse, is not in the catalogue, or touches any table that is enforced has no written
//! form. May import `domain` and this room.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::body::BodySource;
use super::confine::{printed_headers, restore_apikey};
use super::confined::Injection;
use super::path::{Resource, resource};
use super::percent::encode;
use super::prefer::{Returning, Stated, stated};
use super::print::Printer;
use super::query::parse_query;
use super::refusal::RestRefusal;
use super::request::RestRequest;
use super::resolve::{Resolver, expanded};
use super::select::SelectItem;
use super::shape::shape;
use crate::domain::catalog::{Catalog, Table, Tenancy};
use crate::domain::charge::Shape;
use crate::domain::ids::OrgId;

/// A request as its client wrote it, which touches nothing but tables in shadow and what is the same
/// for all. Only [`as_written`] makes one.
#[derive(Debug, Clone)]
pub struct Written {
    table: Arc<Table>,
    embedded: Vec<Arc<Table>>,
    shown: Option<Arc<Table>>,
    target: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    takes_body: bool,
    injections: Vec<Injection>,
    shape: Shape,
}

impl Written {
    /// The table in shadow that the path names, or else the first that is embedded.
    pub fn table(&self) -> &Arc<Table> {
        &self.table
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

    /// Whether a body belongs to it, of the media type that its headers state.
    pub fn takes_body(&self) -> bool {
        self.takes_body
    }

    /// What is said more plainly than the client said it, for an explanation.
    pub fn injections(&self) -> &[Injection] {
        &self.injections
    }

    /// What the client asked for, as far as limits charge for it.
    pub fn shape(&self) -> Shape {
        self.shape
    }
}

/// The request as it was written, if everything that it touches is in shadow or the same for all.
///
/// `org` is not looked at for anything but the spelling of what is never sent.
pub fn as_written(request: &RestRequest<'_>, catalog: &Catalog, org: OrgId) -> Option<Written> {
    if !catalog.tries {
        return None;
    }
    written(request, catalog, org).ok().flatten()
}

/// `None` where a table is enforced; an error where it cannot be told which are touched.
fn written(
    request: &RestRequest<'_>,
    catalog: &Catalog,
    org: OrgId,
) -> Result<Option<Written>, RestRefusal> {
    // What a function touches is not known, whichever rows it returns.
    let Resource::Table(name) = resource(request.path)? else { return Ok(None) };
    let found = catalog.table(&name).filter(|table| !table.columns.is_empty());
    let Some(table) = found.filter(|table| is_free(table)) else { return Ok(None) };
    if request.method.writes() && !table.is_tried() {
        return Ok(None);
    }
    let mut query = parse_query(request.query.unwrap_or_default())?;
    restore_apikey(&mut query, table)?;
    let Some(Stated { preferences, header: prefer }) = stated(request.headers) else {
        return Ok(None);
    };
    let shape = shape(&query, &preferences, request);
    let mut injections = Vec::new();
    let mut resolver = Resolver::telling(catalog, org, &mut injections);
    resolver.level(&mut query, table, 1, "")?;
    let embedded = resolver.into_tables();
    let Some(tried) = [table].into_iter().chain(&embedded).find(|table| table.is_tried()) else {
        return Ok(None);
    };
    if !embedded.iter().all(|table| is_free(table)) {
        return Ok(None);
    }
    let tried = Arc::clone(tried);
    if !table.is_tried() {
        let items = query.select.take().unwrap_or_else(|| vec![SelectItem::Star]);
        query.select = Some(expanded(items, table));
    }
    let takes_body = request.method.has_body();
    let body = match takes_body {
        true => BodySource::from_content_type(request.headers)?,
        false => BodySource::Json,
    };
    let headers = printed_headers(request, prefer, &catalog.schema, body)?;
    let mut target = String::with_capacity(256);
    target.push('/');
    encode(&table.name, &mut target);
    target.push('?');
    let mut printer = Printer::new(target);
    if let Some(items) = &query.select {
        printer.select(items);
    }
    printer.rest(&query, None);
    let mut target = printer.finish();
    if target.ends_with('?') {
        target.pop();
    }
    let shows = preferences.returning == Some(Returning::Representation);
    let shown = (request.method.writes() && shows).then(|| Arc::clone(table));
    Ok(Some(Written {
        table: tried,
        embedded,
        shown,
        target,
        headers,
        takes_body,
        injections,
        shape,
    }))
}

/// Whether nothing is to be enforced of reads of it.
fn is_free(table: &Table) -> bool {
    match table.tenancy {
        Tenancy::Column { .. } | Tenancy::Through { .. } => table.is_tried(),
        Tenancy::Global => true,
        Tenancy::Denied => false,
    }
}
