//! The sample service, asked with printed requests.

use std::collections::BTreeMap;

use super::*;
use crate::domain::catalog::{Table, Tenancy};
use crate::domain::organization::{Demands, OrgStatus};
use crate::domain::source::Source;

const ACME: &str = "00000000-0000-4000-8000-00000000000a";
const GLOBEX: &str = "00000000-0000-4000-8000-00000000000b";

fn sample() -> Sample {
    let columns = ["id", "organization_id", "title", "created_at"].map(Arc::from).into();
    let tenancy = Tenancy::column("organization_id".into());
    let table = Table::new("events".into(), tenancy, columns, Source::built_in());
    let mut catalog = Catalog::default();
    catalog.tables.insert("events".into(), Arc::new(table));
    let organization = |id: &str, slug: &str| Organization {
        id: id.parse().unwrap(),
        slug: slug.parse().unwrap(),
        status: OrgStatus::Active,
        plan: "free".into(),
        features: BTreeMap::new(),
        limits: BTreeMap::new(),
        time_zone: None,
        demands: Demands::default(),
        stage: None,
    };
    let organizations = [organization(ACME, "acme"), organization(GLOBEX, "globex")];
    Sample { tables: RwLock::new(Tables::seeded(&catalog, &organizations)) }
}

fn ask(sample: &Sample, method: Method, query: &str, body: &str) -> (u16, Value) {
    let mut headers = HeaderMap::new();
    headers.insert("prefer", header::HeaderValue::from_static("return=representation"));
    let answer = sample.answer(&method, "/events", query, &headers, body.as_bytes());
    let answer = answer.unwrap_or_else(|refusal| refused(&refusal));
    let body = serde_json::from_slice(answer.body()).unwrap_or_default();
    (answer.status().as_u16(), body)
}

fn count(answer: &(u16, Value)) -> usize {
    answer.1.as_array().map_or(0, Vec::len)
}

#[test]
fn it_shows_all_rows_to_whoever_states_no_filter() {
    let all = ask(&sample(), Method::GET, "", "");
    assert_eq!((all.0, count(&all)), (200, 8));
    let titles = all.1.to_string();
    assert!(titles.contains("acme") && titles.contains("globex"), "{titles}");
}

#[test]
fn filters_select_order_and_pages_are_what_the_query_says() {
    let sample = sample();
    let query = format!("select=title&organization_id=eq.{ACME}&order=id.desc&limit=2&offset=1");
    let (status, rows) = ask(&sample, Method::GET, &query, "");
    assert_eq!(status, 200);
    assert_eq!(rows, json!([{"title": "acme event 3"}, {"title": "acme event 2"}]));
    let either = ask(&sample, Method::GET, "or=(id.eq.1,title.like.globex*)", "");
    assert_eq!(count(&either), 5);
}

#[test]
fn writes_touch_the_rows_that_the_filters_select() {
    let sample = sample();
    let row = format!(r#"{{"title":"new","organization_id":"{ACME}"}}"#);
    let (status, inserted) = ask(&sample, Method::POST, "", &row);
    assert_eq!(status, 201);
    assert_eq!(inserted.pointer("/0/id"), Some(&json!(9)));
    let acme = format!("organization_id=eq.{ACME}");
    let updated = ask(&sample, Method::PATCH, &acme, r#"{"title":"same"}"#);
    assert_eq!(count(&updated), 5);
    let deleted = ask(&sample, Method::DELETE, &acme, "");
    assert_eq!(count(&deleted), 5);
    let rest = ask(&sample, Method::GET, "", "");
    assert_eq!(count(&rest), 4);
    assert!(!rest.1.to_string().contains("same"));
}

#[test]
fn what_it_does_not_know_is_an_error_in_postgrests_shape() {
    let sample = sample();
    for (query, code) in [("nothing=eq.1", "42703"), ("select=nothing", "42703")] {
        let (status, body) = ask(&sample, Method::GET, query, "");
        assert_eq!((status, body.get("code")), (400, Some(&json!(code))), "{query}");
    }
    assert_eq!(ask(&sample, Method::POST, "", "[1]").0, 400);
}

#[tokio::test]
async fn it_answers_over_http() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let catalog = Catalog::default();
    let address = start((std::net::Ipv4Addr::LOCALHOST, 0).into(), &catalog, &[]).await.unwrap();
    let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = b"GET /events HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    client.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("42P01"), "{answer}");
}
