//! Upserts and PUT, on a database of two organizations without row-level security.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use tollgate::domain::catalog::{Catalog, Table, Tenancy};
use tollgate::domain::source::Source;

use crate::support::fixture::{ACME, GLOBEX};
use crate::support::postgres::Postgres;
use crate::upstream::{Request, Upstream};

const SCHEMA: &str = "
create table settings (
    organization_id uuid not null,
    key text not null,
    value text,
    primary key (organization_id, key)
);
create table pages (
    id bigint primary key,
    organization_id uuid not null,
    slug text not null unique,
    name text,
    title text,
    unique (organization_id, name)
);
insert into settings values
    ('11111111-1111-4111-8111-111111111111', 'theme', 'ACME-ONLY-theme'),
    ('22222222-2222-4222-8222-222222222222', 'theme', 'GLOBEX-ONLY-theme'),
    ('22222222-2222-4222-8222-222222222222', 'only', 'GLOBEX-ONLY-only');
insert into pages values
    (1, '11111111-1111-4111-8111-111111111111', 'a', 'home', 'ACME-ONLY-page'),
    (2, '22222222-2222-4222-8222-222222222222', 'b', 'home', 'GLOBEX-ONLY-page');
grant select, insert, update, delete on all tables in schema public to authenticated;
";

fn catalog() -> Catalog {
    let table = |name: &str, columns: &[&str], key: &[&str], unique: &[&[&str]]| {
        let names = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect::<Vec<_>>();
        let tenancy = Tenancy::column("organization_id".into());
        let mut table = Table::new(name.into(), tenancy, names(columns), Source::built_in());
        table.primary_key = names(key);
        table.unique = unique.iter().map(|columns| names(columns)).collect();
        (Arc::clone(&table.name), Arc::new(table))
    };
    let settings = ["organization_id", "key", "value"];
    let pages = ["id", "organization_id", "slug", "name", "title"];
    Catalog {
        schema: "public".into(),
        tables: BTreeMap::from([
            table("settings", &settings, &["organization_id", "key"], &[]),
            table("pages", &pages, &["id"], &[&["slug"], &["organization_id", "name"]]),
        ]),
        ..Catalog::default()
    }
}

/// The rows of the other organization.
async fn others(postgres: &Postgres) -> Vec<Value> {
    let query = "select 's' as t, to_jsonb(s) as r from settings s union all \
                 select 'p', to_jsonb(p) from pages p order by 1, 2";
    let all = postgres.rows("app", query).await;
    all.into_iter().filter(|row| row["r"]["organization_id"] != ACME.id).collect()
}

const MERGE: &[(&str, &str)] = &[("prefer", "resolution=merge-duplicates,return=representation")];
const IGNORE: &[(&str, &str)] =
    &[("prefer", "resolution=ignore-duplicates"), ("prefer", "return=representation")];

#[tokio::test]
async fn an_upsert_meets_the_organizations_own_rows_only() {
    let postgres = Postgres::start().await;
    postgres.execute("app", SCHEMA).await;
    let upstream = Upstream::with(&postgres, catalog()).await;
    let before = others(&postgres).await;
    let put = format!("/settings?organization_id=eq.{}&key=eq.size", ACME.id);
    for (method, url, headers, body, changed) in [
        ("POST", "/settings", MERGE, "{\"key\":\"theme\",\"value\":\"x\"}", "\"x\""),
        (
            "POST",
            "/settings",
            MERGE,
            "[{\"key\":\"only\",\"value\":\"y\"},{\"key\":\"z\",\"value\":\"y\"}]",
            "only",
        ),
        (
            "POST",
            "/settings?on_conflict=organization_id,key",
            MERGE,
            "{\"key\":\"theme\",\"value\":\"w\"}",
            "\"w\"",
        ),
        (
            "POST",
            "/settings?on_conflict=key,organization_id&columns=key,value",
            MERGE,
            "{\"key\":\"theme\",\"value\":\"v\"}",
            "\"v\"",
        ),
        ("POST", "/settings", IGNORE, "{\"key\":\"theme\",\"value\":\"no\"}", "[]"),
        (
            "POST",
            "/pages?on_conflict=organization_id,name",
            MERGE,
            "{\"id\":9,\"slug\":\"c\",\"name\":\"home\",\"title\":\"t\"}",
            "\"t\"",
        ),
        (
            "PUT",
            "/settings?key=eq.color",
            MERGE.get(..0).unwrap(),
            "{\"key\":\"color\",\"value\":\"red\"}",
            "",
        ),
        (
            "PUT",
            put.as_str(),
            &[("prefer", "return=representation")],
            "{\"key\":\"size\",\"value\":\"xl\"}",
            "xl",
        ),
        (
            "PUT",
            "/settings?key=eq.only",
            &[("prefer", "return=representation")],
            "{\"key\":\"only\",\"value\":\"mine\"}",
            "mine",
        ),
    ] {
        let request = Request { method, url, headers, body };
        let sent = upstream.confine(&request, ACME).unwrap_or_else(|e| panic!("{url}: {e}"));
        let answer = upstream.send(&sent).await;
        let text = answer.text();
        assert!(answer.status < 300, "{method} {url}: {} {sent:?}: {text}", answer.status);
        assert!(text.contains(changed) && !text.contains(GLOBEX.mark), "{method} {url}: {text}");
        assert_eq!(others(&postgres).await, before, "{method} {url}: {sent:?}");
    }
    // What is unique in the whole table is refused by the database, and says nothing of the row.
    let body = "{\"id\":2,\"slug\":\"d\",\"name\":\"new\",\"title\":\"t\"}";
    let url = "/pages?on_conflict=organization_id,name";
    let request = Request { method: "POST", url, headers: MERGE, body };
    let answer = upstream.send(&upstream.confine(&request, ACME).unwrap()).await;
    assert_eq!(answer.status, 409, "{}", answer.text());
    assert_eq!(others(&postgres).await, before);
}

#[tokio::test]
async fn upserts_that_could_meet_rows_of_others_are_refused() {
    let postgres = Postgres::start().await;
    let upstream = Upstream::with(&postgres, catalog()).await;
    let b = GLOBEX.id;
    let escape = format!("{{\"key\":\"theme\",\"organization_id\":\"{b}\"}}");
    let put_escape = format!("/settings?organization_id=eq.{b}&key=eq.theme");
    for (method, url, headers, body, code) in [
        ("POST", "/pages", MERGE, "{\"id\":2}", "rest_upsert_key"),
        ("POST", "/pages", IGNORE, "{\"id\":2}", "rest_upsert_key"),
        ("POST", "/pages?on_conflict=id", MERGE, "{\"id\":2}", "rest_upsert_key"),
        ("POST", "/pages?on_conflict=slug", MERGE, "{\"slug\":\"b\"}", "rest_upsert_key"),
        ("POST", "/pages?on_conflict=organization_id", MERGE, "{}", "rest_upsert_key"),
        ("POST", "/pages?on_conflict=organization_id,slug", MERGE, "{}", "rest_upsert_key"),
        ("POST", "/settings?on_conflict=key", MERGE, "{}", "rest_upsert_key"),
        ("POST", "/settings", MERGE, escape.as_str(), "rest_tenant_escape"),
        ("POST", "/settings?on_conflict=organization_id,key", &[], "{}", "rest_upsert_misplaced"),
        ("GET", "/settings?on_conflict=organization_id,key", &[], "", "rest_upsert_misplaced"),
        ("PATCH", "/settings?key=eq.theme", MERGE, "{}", "rest_upsert_misplaced"),
        ("PUT", "/pages?id=eq.2", &[], "{\"id\":2}", "rest_upsert_key"),
        ("PUT", put_escape.as_str(), &[], "{\"key\":\"theme\"}", "rest_tenant_escape"),
        ("PUT", "/settings?key=eq.theme", &[], escape.as_str(), "rest_tenant_escape"),
        ("PUT", "/settings", &[], "{\"key\":\"theme\"}", "rest_put_filter"),
        ("PUT", "/settings?key=gt.a", &[], "{\"key\":\"theme\"}", "rest_put_filter"),
        ("PUT", "/settings?key=not.eq.a", &[], "{\"key\":\"theme\"}", "rest_put_filter"),
        ("PUT", "/settings?key=eq.a&value=eq.b", &[], "{\"key\":\"a\"}", "rest_put_filter"),
        ("PUT", "/settings?key=eq.a&or=(key.eq.b)", &[], "{\"key\":\"a\"}", "rest_put_filter"),
        ("PUT", "/settings?key=eq.a&limit=1", &[], "{\"key\":\"a\"}", "rest_put_filter"),
        ("PUT", "/settings?key=eq.a", &[], "[{\"key\":\"a\"}]", "rest_body_malformed"),
    ] {
        let request = Request { method, url, headers, body };
        let refusal = upstream.confine(&request, ACME).expect_err(url);
        assert_eq!(refusal.code(), code, "{method} {url}: {refusal}");
    }
}
