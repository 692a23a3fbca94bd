//! Tables that hold roles, against a real PostgREST: nobody gives, changes or takes a role that does
//! not rank below the own one.

use std::collections::BTreeMap;
use std::sync::Arc;

use tollgate::domain::catalog::{Catalog, Table, Tenancy};
use tollgate::domain::source::Source;

use crate::support::fixture::ACME;
use crate::support::postgres::{APP, Postgres};
use crate::upstream::{Request, Upstream};

const SCHEMA: &str = "
create table club_members (
    user_id text primary key,
    organization_id uuid not null,
    role text default 'owner',
    note text not null default ''
);
insert into club_members values
    ('olga', '11111111-1111-4111-8111-111111111111', 'owner', 'same'),
    ('adam', '11111111-1111-4111-8111-111111111111', 'admin', 'same'),
    ('mia', '11111111-1111-4111-8111-111111111111', 'member', 'same'),
    ('vera', '11111111-1111-4111-8111-111111111111', 'viewer', 'same'),
    ('nobody', '11111111-1111-4111-8111-111111111111', null, 'same'),
    ('bob', '22222222-2222-4222-8222-222222222222', 'member', 'same');
grant select, insert, update, delete on club_members to authenticated;
";

/// What an administrator ranks above.
const BELOW: &[&str] = &["member", "viewer"];

async fn world() -> (Postgres, Upstream) {
    let postgres = Postgres::start().await;
    postgres.execute(APP, SCHEMA).await;
    let columns = ["user_id", "organization_id", "role", "note"].map(Arc::from).to_vec();
    let tenancy = Tenancy::column("organization_id".into());
    let mut table = Table::new("club_members".into(), tenancy, columns, Source::built_in());
    table.primary_key = vec!["user_id".into()];
    table.unique = vec![vec!["organization_id".into(), "user_id".into()]];
    table.ranks = Some("role".into());
    let tables = BTreeMap::from([(Arc::clone(&table.name), Arc::new(table))]);
    let catalog = Catalog { schema: "public".into(), tables, ..Catalog::default() };
    let upstream = Upstream::with(&postgres, catalog).await;
    (postgres, upstream)
}

async fn roles(postgres: &Postgres) -> Vec<String> {
    let sql = "select concat_ws(' ', user_id, coalesce(role, '-'), note) as line
        from club_members order by 1";
    let rows = postgres.rows(APP, sql).await;
    rows.iter().map(|row| row["line"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn changes_reach_only_rows_whose_role_ranks_below() {
    let (postgres, upstream) = world().await;
    for (method, url, body) in [
        ("PATCH", "/club_members", r#"{"note":"changed"}"#),
        ("PATCH", "/club_members?role=eq.owner", r#"{"note":"hacked"}"#),
        ("PATCH", "/club_members?or=(role.eq.owner,user_id.eq.adam)", r#"{"note":"hacked"}"#),
        ("PATCH", "/club_members?role=is.null", r#"{"role":"member"}"#),
        ("PATCH", "/club_members?user_id=eq.mia", r#"{"role":"viewer"}"#),
        ("PATCH", "/club_members?user_id=eq.mia&columns=note", r#"{"role":"owner","note":"kept"}"#),
        ("DELETE", "/club_members?user_id=eq.olga", ""),
        ("DELETE", "/club_members?user_id=in.(adam,vera)", ""),
    ] {
        let request = Request { method, url, headers: &[], body };
        let sent = upstream.confine_below(&request, ACME, BELOW).unwrap();
        let answer = upstream.send(&sent).await;
        assert_eq!(answer.status, 204, "{method} {url}: {}", answer.text());
    }
    assert_eq!(
        roles(&postgres).await,
        [
            "adam admin same",
            "bob member same",
            "mia viewer kept",
            "nobody - same",
            "olga owner same"
        ]
    );
}

#[tokio::test]
async fn only_roles_that_rank_below_are_given() {
    let (postgres, upstream) = world().await;
    for (method, url, headers, body) in [
        ("POST", "/club_members", &[][..], r#"{"user_id":"x","role":"owner"}"#),
        ("POST", "/club_members", &[], r#"{"user_id":"x","role":"admin"}"#),
        ("POST", "/club_members", &[], r#"{"user_id":"x","role":"o\u0077ner"}"#),
        ("POST", "/club_members", &[], r#"{"user_id":"x","role":"Member"}"#),
        ("POST", "/club_members", &[], r#"{"user_id":"x","role":null}"#),
        ("POST", "/club_members", &[], r#"{"user_id":"x","role":["member"]}"#),
        // The database would give what it has as default.
        ("POST", "/club_members", &[], r#"{"user_id":"x"}"#),
        ("POST", "/club_members?columns=user_id", &[], r#"{"user_id":"x","role":"member"}"#),
        ("POST", "/club_members", &[], r#"[{"user_id":"x","role":"member"},{"user_id":"y"}]"#),
        ("POST", "/club_members", &[("content-type", "text/csv")], "user_id,role\nx,owner\n"),
        ("POST", "/club_members", &[("content-type", "text/csv")], "user_id,role\nx,NULL\n"),
        ("POST", "/club_members", &[("content-type", "text/csv")], "user_id\nx\n"),
        (
            "POST",
            "/club_members",
            &[("content-type", "application/x-www-form-urlencoded")],
            "user_id=x&role=owner",
        ),
        // An upsert finds rows by their key, whatever their role is.
        (
            "POST",
            "/club_members?on_conflict=organization_id,user_id",
            &[("prefer", "resolution=merge-duplicates")],
            r#"{"user_id":"olga","role":"member"}"#,
        ),
        ("PATCH", "/club_members?user_id=eq.mia", &[], r#"{"role":"owner"}"#),
        ("PATCH", "/club_members?user_id=eq.mia", &[], r#"{"role":null}"#),
        ("PATCH", "/club_members?user_id=eq.mia&columns=role", &[], r#"{"note":"x"}"#),
        ("PATCH", "/club_members?order=note&limit=1", &[], r#"{"note":"x"}"#),
        ("DELETE", "/club_members?order=note&limit=1", &[], ""),
    ] {
        let request = Request { method, url, headers, body };
        let refusal = upstream.confine_below(&request, ACME, BELOW).unwrap_err();
        assert_eq!((refusal.code(), refusal.status().as_u16()), ("rest_rank", 403), "{url} {body}");
    }
    let before = roles(&postgres).await;
    // Whoever ranks above nobody writes nothing; reading is not affected.
    let insert = r#"{"user_id":"x","role":"viewer"}"#;
    let request = Request { method: "POST", url: "/club_members", headers: &[], body: insert };
    assert_eq!(upstream.confine(&request, ACME).unwrap_err().code(), "rest_rank");
    let read =
        Request { method: "GET", url: "/club_members?role=eq.owner", headers: &[], body: "" };
    let answer = upstream.send(&upstream.confine(&read, ACME).unwrap()).await;
    assert_eq!(answer.json().as_array().unwrap().len(), 1);
    assert_eq!(roles(&postgres).await, before);

    let several = r#"[{"user_id":"x","role":"viewer"},{"user_id":"y","role":"member"}]"#;
    let request = Request { body: several, ..request };
    let sent = upstream.confine_below(&request, ACME, BELOW).unwrap();
    assert_eq!(upstream.send(&sent).await.status, 201);
    assert_eq!(roles(&postgres).await.len(), before.len() + 2);
}
