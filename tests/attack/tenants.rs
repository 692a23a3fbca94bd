//! Confined requests against a database of two organizations without row-level security: what
//! comes back, and what has changed, belongs to the caller's organization only.

use crate::support::fixture::{ACME, Contents, GLOBEX};
use crate::support::postgres::Postgres;
use crate::upstream::{Request, Upstream};

const EVENTS: &[&str] =
    &["id", "organization_id", "project_id", "title", "starts_at", "capacity", "meta", "tags"];
const PROJECTS: &[&str] = &["id", "organization_id", "name", "status", "notes"];

const B: &str = GLOBEX.id;

async fn upstream(postgres: &Postgres) -> Upstream {
    Upstream::start(postgres, &[("events", EVENTS), ("projects", PROJECTS)]).await
}

fn get<'a>(url: &'a str, headers: &'a [(&'a str, &'a str)]) -> Request<'a> {
    Request { method: "GET", url, headers, body: "" }
}

#[tokio::test]
async fn no_read_shows_or_counts_a_row_of_another_organization() {
    let postgres = Postgres::start().await;
    let upstream = upstream(&postgres).await;
    for (url, rows) in [
        ("/events".to_owned(), 3),
        ("/events?select=*,t:title".to_owned(), 3),
        (format!("/events?organization_id=eq.{B}"), 0),
        (format!("/events?%22organization_id%22=eq.{B}"), 0),
        (format!("/events?%20organization%5Fid=eq.{B}"), 0),
        (format!("/events?organization_id=in.({},{B})", ACME.id), 3),
        (format!("/events?organization_id=eq(any).{{{},{B}}}", ACME.id), 3),
        (format!("/events?organization_id=neq.{}", ACME.id), 0),
        (format!("/events?or=(organization_id.eq.{B},id.gt.0)"), 3),
        (format!("/events?not.and=(organization_id.eq.{})", ACME.id), 0),
        ("/events?not.or=(id.lt.0)&or=(id.is.null,id.not.is.null)".to_owned(), 3),
        ("/events?order=id.desc&limit=2".to_owned(), 2),
        ("/events?order=organization_id.desc&offset=2".to_owned(), 1),
        ("/events?title=like.*".to_owned(), 3),
        ("/events?id=eq.4".to_owned(), 0),
    ] {
        for headers in [
            &[("prefer", "count=exact")][..],
            &[("prefer", "count=planned")],
            &[("prefer", "count=estimated"), ("accept", "text/csv")],
            &[("accept", "application/vnd.pgrst.array+json;nulls=stripped")],
        ] {
            let sent = upstream.confine(&get(&url, headers), ACME).unwrap();
            let answer = upstream.send(&sent).await;
            let text = answer.text();
            assert!(matches!(answer.status, 200 | 206), "{url}: {} {text}", answer.status);
            assert!(!text.contains(GLOBEX.mark) && !text.contains("Globex"), "{url}: {text}");
            let range = answer.header("content-range").unwrap().to_owned();
            let total = range.split('/').next_back().unwrap().parse::<usize>();
            assert!(total.is_err() || total.is_ok_and(|total| total <= 3), "{url}: {range}");
            if !text.contains("\r\n") && text.starts_with('[') {
                assert_eq!(answer.json().as_array().map(Vec::len), Some(rows), "{url}: {text}");
            }
        }
        let head = Request { method: "HEAD", ..get(&url, &[("prefer", "count=exact")]) };
        let answer = upstream.send(&upstream.confine(&head, ACME).unwrap()).await;
        let range = answer.header("content-range").unwrap();
        let total: usize = range.split('/').next_back().unwrap().parse().unwrap();
        assert!(total <= 3, "{url}: {range}");
    }
}

#[tokio::test]
async fn no_write_reaches_a_row_of_another_organization() {
    let postgres = Postgres::start().await;
    let upstream = upstream(&postgres).await;
    let others = Contents::of(&postgres).await.without(ACME);
    let own = format!("{{\"title\":\"x\",\"organization_id\":\"{}\"}}", ACME.id.replace('-', ""));
    let representation = &[("prefer", "return=representation")][..];
    let requests = [
        ("POST", "/events", "{\"title\":\"x\"}", Some(1)),
        ("POST", "/events", "[{\"title\":\"x\"},{\"title\":\"y\"}]", Some(2)),
        ("POST", "/events", own.as_str(), Some(1)),
        ("POST", "/events", "{\"title\":\"x\",\"organization_id\":null}", Some(1)),
        (
            "POST",
            "/events?columns=\"title\",\"capacity\"",
            "[{\"title\":\"x\",\"capacity\":1},{\"title\":\"y\",\"capacity\":2}]",
            Some(2),
        ),
        (
            "POST",
            "/events?columns=title&select=id,title",
            "{\"title\":\"x\",\"capacity\":7}",
            Some(1),
        ),
        ("POST", "/events", "[]", Some(0)),
        ("PATCH", "/events?id=eq.1", "{\"capacity\":11}", Some(1)),
        ("PATCH", "/events?id=eq.4", "{\"capacity\":11}", Some(0)),
        ("PATCH", "/events?id=eq.2", own.as_str(), Some(1)),
        ("PATCH", "/events?id=eq.2&columns=organization_id", "{}", Some(1)),
        ("PATCH", "/events?id=eq.2", "{}", Some(0)),
        ("PATCH", "/events?order=capacity&limit=9", "{\"tags\":[\"t\"]}", None),
        ("PATCH", "/events", "{\"capacity\":30}", None),
        ("DELETE", "/events?id=eq.4", "", Some(0)),
        ("DELETE", "/events?order=capacity.desc,id&limit=9&title=eq.x", "", None),
        ("DELETE", "/events?or=(id.gt.3,id.lt.4)", "", None),
        ("DELETE", "/events", "", Some(0)),
    ];
    for (method, url, body, rows) in requests {
        let sent = upstream.confine(&Request { method, url, headers: representation, body }, ACME);
        let sent = sent.unwrap();
        let answer = upstream.send(&sent).await;
        let text = answer.text();
        assert!(matches!(answer.status, 200 | 201), "{method} {url}: {} {text}", answer.status);
        assert!(!text.contains(GLOBEX.mark) && !text.contains(B), "{method} {url}: {text}");
        if let Some(rows) = rows {
            assert_eq!(
                answer.json().as_array().map(Vec::len),
                Some(rows),
                "{method} {url}: {text}"
            );
        }
        let now = Contents::of(&postgres).await;
        assert_eq!(now.without(ACME), others, "{method} {url}: {sent:?}");
    }
}

#[tokio::test]
async fn a_limited_delete_with_only_a_filter_takes_rows_of_others_and_a_confined_one_does_not() {
    let postgres = Postgres::start().await;
    let upstream = upstream(&postgres).await;
    let others = Contents::of(&postgres).await.without(ACME);
    // Both organizations have an event with capacity 10.
    let url = "/events?order=capacity&limit=2&capacity=eq.10";
    let confined = Request { method: "DELETE", url, headers: &[], body: "" };
    let answer = upstream.send(&upstream.confine(&confined, ACME).unwrap()).await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    let now = Contents::of(&postgres).await;
    assert_eq!(now.rows("events", ACME).len(), 2);
    assert_eq!(now.without(ACME), others);

    let url =
        format!("/events?order=capacity&limit=2&capacity=eq.20&organization_id=eq.{}", ACME.id);
    let filtered_only = Request { method: "DELETE", url: &url, headers: &[], body: "" };
    assert_eq!(upstream.send_as_written(&filtered_only).await.status, 204);
    let now = Contents::of(&postgres).await;
    assert_ne!(now.without(ACME), others, "the fact that this refusal to trust a filter rests on");
}

#[tokio::test]
async fn numbers_of_any_length_arrive_as_they_were_written() {
    let postgres = Postgres::start().await;
    let upstream = upstream(&postgres).await;
    let number = "12345678901234567890123456789012345.6789012345678901234567890";
    let body = format!("{{\"title\":\"x\",\"meta\":{{\"n\":{number},\"k\":\"\\u00e4\"}}}}");
    let headers = &[("prefer", "return=representation")];
    let request = Request { method: "POST", url: "/events?select=meta", headers, body: &body };
    let answer = upstream.send(&upstream.confine(&request, ACME).unwrap()).await;
    assert_eq!(answer.status, 201);
    assert!(answer.text().contains(number), "{}", answer.text());
    assert!(answer.text().contains('ä'), "{}", answer.text());
}
