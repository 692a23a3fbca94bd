//! What parsing, confining and printing a PostgREST request costs.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;

use anyhow::Result;
use criterion::Criterion;
use http::HeaderMap;
use tollgate::domain::catalog::{Catalog, ForeignKey, Table, Tenancy};
use tollgate::domain::ids::OrgId;
use tollgate::domain::source::Source;
use tollgate::postgrest::{RestMethod, RestRequest, confine};

const TYPICAL: &str = "select=id,title,starts_at,project:projects(id,name)&status=eq.active\
    &starts_at=gte.2026-01-01&order=starts_at.desc&limit=20";

/// Five embeds, twenty filters.
const HEAVY: &str = "select=id,title,starts_at,project:projects!inner(id,name,owner:people(id,name)),\
    comments(id,body,author:people!comments_person_id_fkey(name)),venue:venues(id,name)\
    &status=in.(active,planned,%22on%20hold%22)&capacity=gte.10&capacity=lt.500&title=ilike.*kick*\
    &or=(status.eq.active,and(capacity.gt.20,starts_at.gte.2026-01-01),not.and(id.eq.1,id.eq.2))\
    &and=(id.gt.0,or(title.like.a*,title.like.b*,title.is.null))\
    &project.status=eq.active&project.name=not.like.x*&project.owner.name=neq.nobody\
    &comments.body=not.is.null&comments.or=(id.gt.5,body.like.*a*)&comments.order=id.desc\
    &comments.limit=5&venue.name=neq.none&order=project(name).asc,starts_at.desc.nullslast&limit=50";

/// Measures a usual and a large request.
pub(crate) fn measure(criterion: &mut Criterion) -> Result<()> {
    let (catalog, headers) = (catalog(), HeaderMap::new());
    let organization: OrgId = "a0000000-0000-4000-8000-000000000001".parse()?;
    let mut group = criterion.benchmark_group("requests");
    for (name, query) in [("typical", TYPICAL), ("five embeds, twenty filters", HEAVY)] {
        let (method, path) = (RestMethod::Get, "/events");
        let request = RestRequest { method, path, query: Some(query), headers: &headers };
        confine(&request, &catalog, organization)?;
        group.bench_function(name, |bencher| {
            bencher.iter(|| confine(black_box(&request), &catalog, organization));
        });
    }
    group.finish();
    Ok(())
}

fn catalog() -> Catalog {
    let columns =
        ["id", "organization_id", "title", "name", "status", "starts_at", "capacity", "body"];
    let tables = ["events", "projects", "people", "comments", "venues"].map(|name| {
        let tenancy = Tenancy::column(Arc::from("organization_id"));
        let columns = columns.map(Arc::from).to_vec();
        let table = Table::new(Arc::from(name), tenancy, columns, Source::built_in());
        (Arc::clone(&table.name), Arc::new(table))
    });
    let keys = [
        ("events", "project_id", "projects"),
        ("events", "venue_id", "venues"),
        ("projects", "owner_id", "people"),
        ("comments", "event_id", "events"),
        ("comments", "person_id", "people"),
    ];
    let keys = keys.map(|(table, column, target)| {
        let constraint: Arc<str> = format!("{table}_{column}_fkey").into();
        let key = ForeignKey {
            constraint: Arc::clone(&constraint),
            table: Arc::from(table),
            columns: vec![Arc::from(column)],
            target: Arc::from(target),
            target_columns: vec![Arc::from("id")],
            one_to_one: false,
        };
        (constraint, Arc::new(key))
    });
    Catalog {
        schema: Arc::from("public"),
        tables: BTreeMap::from(tables),
        foreign_keys: BTreeMap::from(keys),
        ..Catalog::default()
    }
}
