//! What rewriting a bulk insert costs, by bytes of the body that came.

use std::hint::black_box;
use std::sync::Arc;

use anyhow::Result;
use criterion::{Criterion, Throughput};
use http::{HeaderMap, HeaderValue, header};
use tollgate::domain::catalog::{Catalog, Table, Tenancy};
use tollgate::domain::ids::OrgId;
use tollgate::domain::source::Source;
use tollgate::postgrest::{RestMethod, RestRequest, confine};

const ROWS: u32 = 10_000;

const COLUMNS: [&str; 10] = [
    "id",
    "organization_id",
    "project_id",
    "title",
    "starts_at",
    "capacity",
    "meta",
    "tags",
    "notes",
    "status",
];

/// Measures rows of about 300 bytes, rows of about 30, and CSV.
pub(crate) fn measure(criterion: &mut Criterion) -> Result<()> {
    let catalog = catalog();
    let organization: OrgId = "a0000000-0000-4000-8000-000000000001".parse()?;
    let mut group = criterion.benchmark_group("bodies");
    for (name, content_type, body) in [
        ("wide rows in json", "application/json", array(wide_row)),
        ("narrow rows in json", "application/json", array(narrow_row)),
        ("rows in csv", "text/csv", csv()),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        let (method, path) = (RestMethod::Post, "/events");
        let request = RestRequest { method, path, query: None, headers: &headers };
        let confined = confine(&request, &catalog, organization)?;
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(format!("{ROWS} {name}"), |bencher| {
            bencher.iter(|| {
                let rewritten = confined.body().rewrite(black_box(body.as_bytes()));
                assert!(rewritten.is_ok(), "`{name}` was refused: {rewritten:?}");
                rewritten
            });
        });
    }
    group.finish();
    Ok(())
}

fn catalog() -> Catalog {
    let tenancy = Tenancy::column(Arc::from("organization_id"));
    let columns = COLUMNS.map(Arc::from).to_vec();
    let table = Table::new(Arc::from("events"), tenancy, columns, Source::built_in());
    Catalog {
        schema: Arc::from("public"),
        tables: [(Arc::clone(&table.name), Arc::new(table))].into(),
        ..Catalog::default()
    }
}

fn array(row: impl Fn(u32) -> String) -> String {
    let rows: Vec<String> = (0..ROWS).map(row).collect();
    format!("[{}]", rows.join(","))
}

fn wide_row(n: u32) -> String {
    format!(
        "{{\"project_id\":{n},\"title\":\"Event number {n} of the year\",\
         \"starts_at\":\"2026-03-01T09:00:00+00:00\",\"capacity\":{},\
         \"meta\":{{\"room\":\"R{n}\",\"floor\":3,\"seats\":[1,2,3]}},\"tags\":[\"a\",\"b\"],\
         \"notes\":\"A longer text that says what it is about, with \\\"quotes\\\" and a line\\nbreak.\",\
         \"status\":\"active\"}}",
        n % 500
    )
}

fn narrow_row(n: u32) -> String {
    format!("{{\"title\":\"E{n}\",\"capacity\":{}}}", n % 500)
}

fn csv() -> String {
    let line = |n: u32| {
        format!(
            "{n},Event number {n} of the year,2026-03-01T09:00:00+00:00,{},\
             \"{{\"\"room\"\":\"\"R{n}\"\"}}\",\"{{a,b}}\",A longer text of what it is about,active\n",
            n % 500
        )
    };
    let header = "project_id,title,starts_at,capacity,meta,tags,notes,status\n".to_owned();
    header + &(0..ROWS).map(line).collect::<String>()
}
