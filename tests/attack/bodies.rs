//! Bodies against PostgREST's own parsers: what the gateway writes in place of a body has to bring
//! the rows that the client's bytes bring, for JSON, CSV and forms.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::support::fixture::ACME;
use crate::support::postgres::{APP, Postgres};
use crate::upstream::{Request, Upstream};

const COLUMNS: &[&str] =
    &["id", "organization_id", "text", "num", "n", "j", "jb", "list", "e", "Odd, (na)me"];

const READ: &str = "select=text,num,n,j,jb,list,e,%22Odd,%20(na)me%22";

const JSON: &str = "application/json";
const CSV: &str = "text/csv";
const FORM: &str = "application/x-www-form-urlencoded";

/// Bodies that both take, or both refuse once the gateway has taken them.
const TAKEN: &[(&str, &str)] = &[
    (JSON, "{}"),
    (JSON, "[]"),
    (JSON, " [ ] "),
    (JSON, "[{}]"),
    (JSON, "[{},{}]"),
    (JSON, r#"{"num":12345678901234567890123456789012345.10,"j":1e400,"jb":1.10}"#),
    (JSON, r#"{"num":1E+2,"n":"7"}"#),
    (JSON, r#"{"num":-0.0,"j":-0.0,"jb":-0.0}"#),
    (JSON, r#"{"num":1e200000}"#),
    (JSON, r#"{"text":5,"j":{"z":1,"a":[ 2 ],"z":3},"list":["a",null]}"#),
    (JSON, r#"{"text":{"a":1},"jb":{"b":1,"a":{"c":[]},"b":2}}"#),
    (JSON, r#"{"text":true,"list":"{x,y}"}"#),
    (JSON, r#"{"text":null,"j":null,"jb":null}"#),
    (JSON, r#"{"text":"\u00e9\ud83e\udd80\n\/\\\"","j":"\u00e9\/"}"#),
    (JSON, r#"{"\u0074ext":"x","Odd, (na)me":"y","\u004fdd, (na)me\u0000":1}"#),
    (JSON, r#"{"Odd, (na)me":" y "}"#),
    (JSON, r#"{"text":"a\u0000b"}"#),
    (JSON, r#"{"j":"a\u0000b"}"#),
    (JSON, r#"{"j":{"a":"\ud800"}}"#),
    (JSON, r#"[{"text":1},{"num":1}]"#),
    (JSON, r#"[{"text":1,"num":2},{"num":1,"text":3}]"#),
    (JSON, r#"{"n":"abc"}"#),
    (CSV, "text,num\na,1\nb,2\n"),
    (CSV, "text,num\r\na,1\r\nb,2"),
    (CSV, "text,num\ra,1\rb,2"),
    (CSV, "text,num\na,NULL\n\"NULL\",2\n"),
    (CSV, "text,num\na,null\n"),
    (CSV, "text,e\n,x\n\"\",y\n"),
    (CSV, "text,num\na,\n"),
    (CSV, "text\n\na\n\"\"\nb\n\n"),
    (CSV, "text,e\n\na,b\n\n\n"),
    (CSV, "text,e\na,\"x,\"\"y\"\"\nz\"\n"),
    (CSV, "text,e\n a , b \n"),
    (CSV, "text,e\n"),
    (CSV, "text,j,jb,list\na,\"{\"\"x\"\": 1}\",\"{\"\"x\"\": 1}\",\"{a,b}\"\n"),
    (CSV, "\"text\",\"Odd, (na)me\"\né,🦀\n"),
    (CSV, "text,e\n\t,\u{7f}\u{1}\\\n"),
    (FORM, "text=a&num=5"),
    (FORM, "text=a+b%20c%2B&num=5"),
    (FORM, "text=NULL&e=NULL"),
    (FORM, "num="),
    (FORM, "text=&list={a,b}&j={\"a\":1}&jb={\"a\":1}"),
    (FORM, "Odd,+(na)me=%C3%A9%F0%9F%A6%80%26%3D%3B%22%5C%0A&text==="),
];

/// Bodies that PostgREST reads in a way of its own, and the gateway refuses.
const REFUSED: &[(&str, &str)] = &[
    (JSON, r#"{"text":1,"text":2}"#),
    (JSON, r#"{"text":1,"\u0074ext":2}"#),
    (CSV, "text,e\na\n"),
    (CSV, "text,e\na,b,c\n"),
    (CSV, "text,text\na,b\n"),
    (FORM, ""),
    (FORM, "text"),
    (FORM, "text=a&text=b"),
    (FORM, "text=a;num=3"),
];

async fn upstream(postgres: &Postgres) -> Upstream {
    // All rows belong to one organization, so that what the gateway adds changes nothing.
    let fill = format!(
        "create table samples (id bigint generated always as identity primary key, \
         organization_id uuid not null default '{}', text text, num numeric, n int, j json, \
         jb jsonb, list text[], e text default 'of the column', \"Odd, (na)me\" text); \
         grant select, insert, update on samples to authenticated;",
        ACME.id,
    );
    postgres.execute(APP, &fill).await;
    Upstream::start(postgres, &[("samples", COLUMNS)]).await
}

/// What a body comes to, as the client wrote it and as the gateway writes it.
async fn compare(upstream: &Upstream, request: &Request<'_>) -> Option<u16> {
    let shown =
        format!("{} {} {:?} {:?}", request.method, request.url, request.headers, request.body);
    let sent = upstream.confine(request, ACME);
    let written = upstream.send_as_written(request).await;
    match sent {
        Ok(sent) => {
            let rewritten = upstream.send(&sent).await;
            let (theirs, ours) = (written.text(), rewritten.text());
            assert_eq!(rewritten.status, written.status, "{shown}\n{sent:?}\n{theirs}\n{ours}");
            if written.status < 300 {
                assert_eq!(ours, theirs, "{shown}\n{sent:?}");
            }
            Some(written.status)
        }
        Err(refusal) => {
            assert!(matches!(refusal.status().as_u16(), 400 | 403), "{shown}: {refusal}");
            None
        }
    }
}

#[tokio::test]
async fn a_rewritten_body_brings_the_rows_that_the_clients_bytes_bring() {
    let postgres = Postgres::start().await;
    let upstream = upstream(&postgres).await;
    let insert = format!("/samples?{READ}");
    let update = format!("/samples?id=eq.1&{READ}");
    let mut statuses = BTreeSet::new();
    for (media, body) in TAKEN {
        let headers = &[("content-type", *media), ("prefer", "return=representation")];
        let request = Request { method: "POST", url: &insert, headers, body };
        let status = compare(&upstream, &request).await;
        if body.contains("(na)me\\u0000") {
            assert_eq!(status, None, "a column that nobody knows");
        } else {
            statuses.insert(status.unwrap_or_else(|| panic!("{media} {body}")));
        }
        // Changes take one object, or one line.
        compare(&upstream, &Request { method: "PATCH", url: &update, ..request }).await;
    }
    assert_eq!(Vec::from_iter(statuses), [201, 400]);
    for (media, body) in REFUSED {
        let headers = &[("content-type", *media), ("prefer", "return=representation")];
        let request = Request { method: "POST", url: &insert, headers, body };
        assert_eq!(upstream.send_as_written(&request).await.status, 201, "{media} {body}");
        let refused = upstream.confine(&request, ACME).unwrap_err();
        assert_eq!(refused.status(), 400, "{media} {body}");
    }
}

#[tokio::test]
async fn with_columns_a_rewritten_body_brings_the_same_rows_too() {
    let postgres = Postgres::start().await;
    let upstream = upstream(&postgres).await;
    let url = format!("/samples?{READ}&columns=text,j,num");
    for body in [
        r#"[{"text":1},{"num":1,"nobody knows":1,"n":5}]"#,
        r#"[{"e":null,"text":"x"},{}]"#,
        r#"{"j":{"a" : 1},"text":"x","n":1.5}"#,
        r#"{"j":{"a":"\ud800"}}"#,
        "[]",
    ] {
        for missing in ["return=representation", "return=representation, missing=default"] {
            let headers = &[("content-type", JSON), ("prefer", missing)];
            let request = Request { method: "POST", url: &url, headers, body };
            assert!(compare(&upstream, &request).await.is_some(), "{body}");
        }
    }
    // Read as JSON by PostgreSQL only, which takes the last of two.
    let headers = &[("content-type", JSON), ("prefer", "return=representation")];
    let twice = Request { method: "POST", url: &url, headers, body: r#"{"text":1,"text":2}"# };
    assert_eq!(upstream.send_as_written(&twice).await.status, 201);
    assert_eq!(upstream.confine(&twice, ACME).unwrap_err().status(), 400);
    // For CSV the parameter is not heeded.
    let headers = &[("content-type", CSV), ("prefer", "return=representation")];
    let request = Request { method: "POST", url: &url, headers, body: "text,n\na,5\n" };
    assert_eq!(compare(&upstream, &request).await, Some(201));
}

#[tokio::test]
async fn random_bodies_bring_the_same_rows() {
    const CASES: usize = 150;
    let postgres = Postgres::start().await;
    let upstream = upstream(&postgres).await;
    let url = format!("/samples?{READ}");
    let mut runner = TestRunner::deterministic();
    let mut created = 0;
    for _ in 0..CASES {
        let (media, body) = body().new_tree(&mut runner).unwrap().current();
        let headers = &[("content-type", media), ("prefer", "return=representation")];
        let request = Request { method: "POST", url: &url, headers, body: &body };
        created += usize::from(compare(&upstream, &request).await == Some(201));
    }
    // Most are taken, or this test would show nothing.
    assert!(created * 2 > CASES, "{created} of {CASES}");
}

fn body() -> impl Strategy<Value = (&'static str, String)> {
    let texts = prop_oneof![
        "[ -~]{0,12}",
        "[\\PC]{0,8}",
        Just("NULL".to_owned()),
        Just("a\"b,c\r\nd".to_owned()),
    ];
    let columns = prop::sample::subsequence(vec!["text", "e", "Odd, (na)me", "j"], 1..=4);
    let rows =
        (columns.prop_shuffle(), prop::collection::vec(prop::collection::vec(texts, 4), 1..4));
    let media = prop::sample::select(vec![JSON, CSV, FORM]);
    (media, rows).prop_map(|(media, (columns, rows))| {
        let body = match media {
            CSV => {
                let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
                let line = |fields: Vec<String>| fields.join(",") + "\n";
                let header = line(columns.iter().map(|name| quoted(name)).collect());
                let lines = rows.iter().map(|row| {
                    line(row.iter().take(columns.len()).map(|text| quoted(text)).collect())
                });
                header + &lines.collect::<String>()
            }
            FORM => {
                let pairs = columns.iter().zip(rows.iter().flatten());
                let pair = |(name, value): (&&str, &String)| {
                    format!("{}={}", encoded(name), encoded(value))
                };
                pairs.map(pair).collect::<Vec<_>>().join("&")
            }
            _ => {
                let object = |row: &Vec<String>| {
                    let members = columns.iter().zip(row);
                    let members =
                        members.map(|(name, value)| ((*name).to_owned(), value.clone().into()));
                    serde_json::Value::Object(members.collect())
                };
                serde_json::to_string_pretty(&rows.iter().map(object).collect::<Vec<_>>()).unwrap()
            }
        };
        (media, body)
    })
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
