//! The sample upstream of `tollgate demo` and `tollgate sample`: a small part of PostgREST over rows in memory.
//!
//! It holds rows of every organization and confines nothing by itself: what a caller sees is what
//! the filters say, so that a demonstration shows the gateway's work and not the sample's. It
//! speaks what the gateway prints: plain columns, filters, logic trees, order, limit, offset; JSON
//! inserts, updates, deletes. Never part of `tollgate serve`.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use http::{HeaderMap, Method, Response, StatusCode, header};
use pingora::apps::ServerApp;
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::protocols::l4;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::domain::catalog::Catalog;
use crate::domain::organization::Organization;
use crate::postgrest::{Query, parse_query};

mod filter;
mod table;

use table::{Refused, Row, Tables};

/// Bytes of a request body.
const MAX_BODY: usize = 1024 * 1024;
/// Connections at the same time.
const MAX_CONNECTIONS: usize = 256;

/// The sample upstream's application.
#[derive(Debug)]
struct Sample {
    tables: RwLock<Tables>,
}

/// Starts a sample upstream on the runtime that this is called in; port 0 takes a free one. It serves the tables of the catalogue, with some rows for each organization, until
/// the runtime ends.
///
/// # Errors
/// If the address cannot be bound.
pub async fn start(
    at: SocketAddr,
    catalog: &Catalog,
    organizations: &[Organization],
) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(at).await?;
    let address = listener.local_addr()?;
    let tables = Tables::seeded(catalog, organizations);
    tokio::spawn(serve(listener, Arc::new(Sample { tables: RwLock::new(tables) })));
    Ok(address)
}

async fn serve(listener: TcpListener, sample: Arc<Sample>) {
    // Held by this task for good: the sample ends with its runtime.
    let (_running, shutdown) = watch::channel(false);
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let Ok((connection, _)) = listener.accept().await else { continue };
        let (sample, shutdown) = (Arc::clone(&sample), shutdown.clone());
        tokio::spawn(async move {
            let stream: Stream = Box::new(l4::stream::Stream::from(connection));
            sample.process_new(stream, &shutdown).await;
            drop(slot);
        });
    }
}

#[async_trait]
impl ServeHttp for Sample {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let mut body = Vec::new();
        while let Ok(Some(piece)) = session.read_request_body().await {
            body.extend_from_slice(&piece);
            if body.len() > MAX_BODY {
                return refused(&Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "body too large"));
            }
        }
        let request = session.req_header();
        let answer = self.answer(
            &request.method,
            request.uri.path(),
            request.uri.query().unwrap_or_default(),
            &request.headers,
            &body,
        );
        answer.unwrap_or_else(|refusal| refused(&refusal))
    }
}

impl Sample {
    fn answer(
        &self,
        method: &Method,
        path: &str,
        query: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Response<Vec<u8>>, Refused> {
        let name = path.trim_start_matches('/');
        let query = parse_query(query)
            .map_err(|error| Refused::new(StatusCode::BAD_REQUEST, error.to_string()))?;
        let prefer = |word: &str| {
            headers
                .get_all("prefer")
                .iter()
                .filter_map(|value| value.to_str().ok())
                .flat_map(|value| value.split(','))
                .any(|preference| preference.trim() == word)
        };
        let represented = prefer("return=representation");
        match *method {
            Method::GET | Method::HEAD => {
                let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
                let (rows, total) = tables.get(name)?.select(&query)?;
                let total = prefer("count=exact").then_some(total);
                listed(headers, &rows, query.offset.unwrap_or(0), total, *method == Method::HEAD)
            }
            Method::POST => {
                let rows = self.change(name, |table| table.insert(body, &query))?;
                written(StatusCode::CREATED, &rows, represented, headers)
            }
            Method::PATCH => {
                let rows = self.change(name, |table| table.update(body, &query))?;
                written(StatusCode::OK, &rows, represented, headers)
            }
            Method::DELETE => {
                let rows = self.change(name, |table| table.delete(&query))?;
                written(StatusCode::OK, &rows, represented, headers)
            }
            _ => Err(Refused::new(StatusCode::METHOD_NOT_ALLOWED, "method not allowed")),
        }
    }

    fn change(
        &self,
        name: &str,
        change: impl FnOnce(&mut table::Table) -> Result<Vec<Row>, Refused>,
    ) -> Result<Vec<Row>, Refused> {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        change(tables.get_mut(name)?)
    }
}

fn listed(
    headers: &HeaderMap,
    rows: &[Row],
    offset: u64,
    total: Option<usize>,
    head: bool,
) -> Result<Response<Vec<u8>>, Refused> {
    let (media, body) = rendered(headers, rows)?;
    let total = total.map_or("*".to_owned(), |total| total.to_string());
    let range = match rows.len() as u64 {
        0 => format!("*/{total}"),
        count => format!("{offset}-{}/{total}", offset + count - 1),
    };
    let length = body.len();
    let answer = Response::builder()
        .status(StatusCode::OK)
        .header(header::CONTENT_TYPE, media)
        .header(header::CONTENT_LENGTH, length)
        .header(header::CONTENT_RANGE, range)
        .body(if head { Vec::new() } else { body });
    answer.map_err(|_| Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "no answer"))
}

fn written(
    status: StatusCode,
    rows: &[Row],
    represented: bool,
    headers: &HeaderMap,
) -> Result<Response<Vec<u8>>, Refused> {
    let builder = Response::builder();
    let answer = if represented {
        let (media, body) = rendered(headers, rows)?;
        builder
            .status(status)
            .header(header::CONTENT_TYPE, media)
            .header(header::CONTENT_LENGTH, body.len())
            .body(body)
    } else if status == StatusCode::CREATED {
        builder.status(status).header(header::CONTENT_LENGTH, 0).body(Vec::new())
    } else {
        builder.status(StatusCode::NO_CONTENT).body(Vec::new())
    };
    answer.map_err(|_| Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "no answer"))
}

/// The rows as an array, or the one row where an object is asked for.
fn rendered(headers: &HeaderMap, rows: &[Row]) -> Result<(&'static str, Vec<u8>), Refused> {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let object = accept.is_some_and(|accept| accept.starts_with("application/vnd.pgrst.object"));
    let (media, json) = match (object, rows) {
        (false, rows) => ("application/json; charset=utf-8", serde_json::to_vec(rows)),
        (true, [row]) => {
            ("application/vnd.pgrst.object+json; charset=utf-8", serde_json::to_vec(row))
        }
        (true, _) => {
            return Err(Refused {
                status: StatusCode::NOT_ACCEPTABLE,
                code: "PGRST116",
                message: "JSON object requested, multiple (or no) rows returned".into(),
            });
        }
    };
    let failed = |_| Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "rows cannot be written");
    Ok((media, json.map_err(failed)?))
}

fn refused(refusal: &Refused) -> Response<Vec<u8>> {
    let body = json!({
        "code": refusal.code,
        "message": refusal.message,
        "details": Value::Null,
        "hint": Value::Null,
    });
    let body = body.to_string().into_bytes();
    let mut response = Response::new(body);
    *response.status_mut() = refusal.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    let length = response.body().len();
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    response
}

/// The query without what decides about rows: an insert has none.
fn without_rows(query: &Query) -> bool {
    query.filters.is_empty() && query.logic.is_empty()
}

#[cfg(test)]
mod tests;
