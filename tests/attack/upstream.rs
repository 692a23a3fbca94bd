//! A PostgREST to send requests to, as written or confined.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use tollgate::domain::catalog::{Catalog, Isolation, Table, Tenancy};
use tollgate::domain::source::Source;
use tollgate::postgrest::{RestMethod, RestRefusal, RestRequest, as_written, confine_below};

use crate::support::fixture::{ALICE, Org};
use crate::support::http::{self as wire, Answer};
use crate::support::keys::{Key, user_claims};
use crate::support::postgres::Postgres;
use crate::support::postgrest::PostgRest;

const SECRET: &str = "a-secret-of-at-least-32-characters!";

/// A request as a client writes it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) url: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: &'a str,
}

/// What is sent in its place.
#[derive(Debug)]
pub(crate) struct Sent {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

pub(crate) struct Upstream {
    postgrest: PostgRest,
    bearer: String,
    catalog: Catalog,
}

impl Upstream {
    /// Tables by name and columns, all with the tenant column `organization_id`.
    pub(crate) async fn start(postgres: &Postgres, tables: &[(&str, &[&str])]) -> Self {
        let tables = tables.iter().map(|(name, columns)| {
            let columns = columns.iter().map(|column| Arc::from(*column)).collect();
            let tenancy = Tenancy::column(Arc::from("organization_id"));
            let table = Table::new(Arc::from(*name), tenancy, columns, Source::built_in());
            (table.name.clone(), Arc::new(table))
        });
        let catalog = Catalog {
            schema: Arc::from("public"),
            tables: BTreeMap::from_iter(tables),
            ..Catalog::default()
        };
        Self::with(postgres, catalog).await
    }

    /// A PostgREST on a database, and what the gateway is to know of it.
    pub(crate) async fn with(postgres: &Postgres, catalog: Catalog) -> Self {
        let postgrest = PostgRest::start(postgres, SECRET).await;
        let bearer = format!("Bearer {}", Key::hs256("legacy", SECRET).mint(&user_claims(ALICE)));
        Self { postgrest, bearer, catalog }
    }

    /// Confines a request, body included.
    pub(crate) fn confine(&self, request: &Request<'_>, org: Org) -> Result<Sent, RestRefusal> {
        self.confine_below(request, org, &[])
    }

    /// Confines a request of somebody whose role ranks above these.
    pub(crate) fn confine_below(
        &self,
        request: &Request<'_>,
        org: Org,
        below: &[&str],
    ) -> Result<Sent, RestRefusal> {
        let headers = header_map(request);
        let asked = asked(request, &headers);
        let below = || below.iter().map(|role| Arc::from(*role)).collect();
        let confined = confine_below(&asked, &self.catalog, org.id.parse().unwrap(), &below)?;
        let body = confined.body().rewrite(request.body.as_bytes())?.unwrap_or_default();
        Ok(Sent {
            method: request.method.to_owned(),
            target: confined.target().to_owned(),
            headers: texts(confined.headers()),
            body,
        })
    }

    /// What is sent in its place while all tables are in shadow.
    pub(crate) fn written(&self, request: &Request<'_>, org: Org) -> Option<Sent> {
        let tried = |(name, table): (&Arc<str>, &Arc<Table>)| {
            let isolation = Isolation::Shadow(Source::built_in());
            (name.clone(), Arc::new(Table { isolation, ..Table::clone(table) }))
        };
        let tables = self.catalog.tables.iter().map(tried).collect();
        let catalog = Catalog { tables, tries: true, ..self.catalog.clone() };
        let headers = header_map(request);
        let written = as_written(&asked(request, &headers), &catalog, org.id.parse().unwrap())?;
        Some(Sent {
            method: request.method.to_owned(),
            target: written.target().to_owned(),
            headers: texts(written.headers()),
            body: request.body.as_bytes().to_vec(),
        })
    }

    pub(crate) async fn send(&self, sent: &Sent) -> Answer {
        let mut headers = vec![("Authorization", self.bearer.as_str())];
        headers.extend(sent.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let to = self.postgrest.addr();
        wire::send(to, &sent.method, &sent.target, &headers, &sent.body).await.unwrap()
    }

    /// Sends the request as it was written, past all isolation.
    pub(crate) async fn send_as_written(&self, request: &Request<'_>) -> Answer {
        let mut headers = vec![("Authorization", self.bearer.as_str())];
        headers.extend_from_slice(request.headers);
        let to = self.postgrest.addr();
        wire::send(to, request.method, request.url, &headers, request.body.as_bytes())
            .await
            .unwrap()
    }
}

fn header_map(request: &Request<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in request.headers {
        headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn asked<'a>(request: &Request<'a>, headers: &'a HeaderMap) -> RestRequest<'a> {
    let (path, query) = match request.url.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (request.url, None),
    };
    let method = http::Method::from_bytes(request.method.as_bytes()).unwrap();
    RestRequest { method: RestMethod::from_http(&method).unwrap(), path, query, headers }
}

fn texts(headers: &[(HeaderName, HeaderValue)]) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
    headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}
