//! `tollgate catalog`, on a real database: the example application, and one with every oddity.

use std::fs;
use std::path::{Path, PathBuf};

use tollgate::config;
use tollgate::domain::catalog::{Returns, TableKind, Tenancy};

use crate::golden;
use crate::operations::{draft, gateway_yaml};
use crate::support::postgres::Postgres;
use crate::tool::{Called, call, call_in};

const COMMUNITY: &str = include_str!("../../deploy/sql/examples/community.sql");
/// Empty until a test fills it.
const DATABASE: &str = "postgres";

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/sql/examples").join(name)
}

/// The world's policy with another catalogue.
fn policy(catalogue: &str) -> String {
    format!(
        "{catalogue}
plans: {{ free: {{ level: 1 }}, pro: {{ level: 2 }} }}
roles:
  member: {{ permissions: ['*:read'] }}
  admin: {{ inherits: [member], permissions: ['*:admin'] }}
  viewer: {{ permissions: ['*:read'] }}
routes:
  - name: rest
    match: {{ path: '/rest/v1/{{table}}' }}
    upstream: rest
    strip_prefix: /rest/v1
    credential: user
    tenant: [header, default]
    permission: {{ table: table }}
    limits: []
"
    )
}

async fn filled(sql: &str) -> Postgres {
    let postgres = Postgres::start().await;
    postgres.execute(DATABASE, sql).await;
    postgres
}

fn introspect(postgres: &Postgres, more: &[&str]) -> String {
    let url = postgres.url(DATABASE);
    let called = call(&[&["catalog", "introspect", "--database-url", &url], more].concat());
    assert_eq!(called.code, 0, "{}", called.err);
    called.out
}

/// What `catalog check` says of a catalogue.
fn check(postgres: &Postgres, catalogue: &str, more: &[&str]) -> Called {
    let draft = draft(&policy(catalogue), "");
    draft.write("gateway.yaml", &gateway_yaml(&draft, ""));
    let url = postgres.url(DATABASE);
    let arguments = ["catalog", "check", "-c", "gateway.yaml", "--database-url", &url];
    call_in(draft.dir(), &[&arguments[..], more].concat(), "")
}

#[tokio::test]
async fn the_example_is_what_introspection_makes_of_its_database() {
    let postgres = filled(COMMUNITY).await;
    let written = introspect(&postgres, &["--global", "countries", "--global", "permissions"]);
    let file = example("community.yaml");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&file, &written).unwrap();
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    assert!(written == expected, "deploy/sql/examples/community.yaml is not\n{written}");
    let checked = check(&postgres, &written, &[]);
    golden::compare("catalog-check-community", &checked.out);
    assert_eq!(checked.code, 0, "{}{}", checked.out, checked.err);
    let report = check(&postgres, &written, &["--json"]).json();
    assert_eq!(report["ok"], true);
    let findings = report["findings"].as_array().unwrap();
    assert!(findings.iter().all(|finding| finding["severity"] == "warning"));
    let shown = checked.out.lines().filter(|line| line.starts_with("warning[")).count();
    assert_eq!(findings.len(), shown);
}

#[test]
fn the_example_says_whose_rows_are_whose() {
    let text = fs::read_to_string(example("community.yaml")).unwrap();
    let files = config::Memory::new()
        .with("gateway.yaml", gateway_yaml(&crate::support::gateway::Draft::new(), ""))
        .with("directory.yaml", include_str!("world/directory.yaml"))
        .with("policy.yaml", policy(&text));
    let loaded = config::load_from(&files, Path::new("gateway.yaml"), &|_| None)
        .unwrap_or_else(|problems| panic!("{problems}"));
    let catalog = &loaded.snapshot.catalog;
    let tables = catalog.tables.values().filter(|table| table.kind == TableKind::Table);
    assert_eq!(tables.count(), 43);
    let tenancy = |name: &str| &catalog.table(name).unwrap().tenancy;
    assert_eq!(*tenancy("events"), Tenancy::column("organization_id".into()));
    assert_eq!(*tenancy("organizations"), Tenancy::column("id".into()));
    assert!(!catalog.table("organizations").unwrap().writable);
    let Tenancy::Through { parent, .. } = tenancy("comment_reactions") else { panic!("through") };
    assert_eq!(&**parent, "comments");
    assert_eq!(*tenancy("countries"), Tenancy::Global);
    assert_eq!(*tenancy("profiles"), Tenancy::Denied);
    assert_eq!(*tenancy("event_overview"), Tenancy::column("organization_id".into()));
    assert_eq!(*tenancy("leaderboard"), Tenancy::Denied);
    let composite = &catalog.foreign_keys["loyalty_transactions_account_fkey"];
    assert_eq!(composite.columns.len(), 2);
    let offered: Vec<&str> = catalog.functions.keys().map(AsRef::as_ref).collect();
    assert_eq!(offered, ["search_posts", "upcoming_events"]);
    let found = Returns::Rows { table: "social_posts".into(), filtered: true };
    assert_eq!(catalog.function("search_posts").unwrap().returns, found);
}

const ODDITIES: &str = r#"
create table orgs (id uuid primary key);
create table things (
    id int primary key, org_id uuid references orgs (id), "null" text, "odd column" text,
    unique ("null"), unique (org_id, id));
create unique index on things (id) where "null" is not null;
create unique index on things (lower("null"));
create table parts (
    id int primary key, thing_id int not null constraint fk references things (id),
    kind text not null);
-- The same name for another constraint, which no catalogue can tell from the first.
create table scraps (
    id int primary key, part_id int not null constraint fk references parts (id));
create table tenancies (
    id int primary key, landlord uuid not null references orgs (id),
    tenant uuid not null references orgs (id));
create table owned (id int primary key, owner uuid not null references orgs (id));
create table numbered (id int primary key);
create table loose (id int primary key, thing_id int references things (id));
create table nested (
    id int primary key, parent_id int not null references nested (id),
    part_id int not null references parts (id), owned_id int not null references owned (id));
create table measurements (org_id uuid not null, day date not null, value int)
    partition by range (day);
create table measurements_2026 partition of measurements
    for values from ('2026-01-01') to ('2027-01-01');
create table "odd table" (org_id uuid not null);
create view parts_v with (security_invoker = on) as select org_id, kind from parts, things;
create function twice(a int) returns setof things language sql stable as 'select * from things';
create function twice(a text) returns setof things language sql stable as 'select * from things';
create function unnamed(int) returns setof things language sql stable as 'select * from things';
create function one(org_id uuid, min int) returns setof things
    language sql stable as 'select * from things limit 1';
create function pairs(out a int, out b int) returns setof record
    language sql stable as 'select 1, 2';
create procedure sweep() language sql as 'delete from scraps';
"#;

#[tokio::test]
async fn what_is_not_certain_is_denied_and_what_cannot_be_named_is_left_out() {
    let postgres = filled(ODDITIES).await;
    let written = introspect(&postgres, &["--tenant", "org_id"]);
    golden::compare("catalog-introspect-oddities", &written);
    let checked = check(&postgres, &written, &[]);
    assert_eq!(checked.code, 0, "{}{}", checked.out, checked.err);
}

const WRONG: &str = "\
schema: public
tables:
  orgs: { tenant: id, columns: [id, name], pk: [id] }
  things: { tenant: org_id, columns: [id, org_id], pk: [org_id, id], unique: [[org_id]] }
  parts:
    via: { fk: fk, to: things }
    columns: [id, thing_id, kind]
    fks: { fk: { kind: things.id }, gone: { thing_id: things.id } }
  parts_v: { tenant: org_id, columns: [org_id] }
  numbered: { tenant: id, columns: [id] }
  lost: { tenant: org_id, columns: [org_id] }
  loose:
    via: { fk: loose_thing_id_fkey, to: things }
    columns: [id, thing_id]
    fks: { loose_thing_id_fkey: { thing_id: things.id } }
views:
  owned: { tenant: owner, columns: [id, owner] }
rpc:
  twice: { args: { a: client }, returns: things, filter_result: true }
  missing: { unscoped: true }
  one: { args: { org: $tenant, min: $tenant }, returns: parts, read_only: true }
  pairs: { args: { a: $tenant } }
";

#[tokio::test]
async fn a_table_in_shadow_without_row_level_security_is_an_error() {
    let postgres = filled(ODDITIES).await;
    let catalogue = "tables:\n  things: { tenant: org_id, columns: [id, org_id], mode: shadow }\n";
    let draft = draft(&policy(catalogue), "");
    let minted = "{ mint: { secret: another-secret-that-nobody-may-see-either } }";
    let gateway = gateway_yaml(&draft, "");
    assert!(gateway.contains(minted));
    draft.write("gateway.yaml", &gateway.replace(minted, "pass_through"));
    let url = postgres.url(DATABASE);
    let check = || {
        let arguments = ["catalog", "check", "-c", "gateway.yaml", "--database-url", &url];
        call_in(draft.dir(), &arguments, "")
    };
    let checked = check();
    assert_eq!(checked.code, 2, "{}", checked.err);
    golden::compare("catalog-check-shadow", &checked.out);
    postgres.execute(DATABASE, "alter table things enable row level security").await;
    let checked = check();
    assert_eq!(checked.code, 0, "{}{}", checked.out, checked.err);
    assert!(checked.out.contains("column_unlisted"), "{}", checked.out);
}

#[tokio::test]
async fn what_the_catalogue_states_and_the_database_does_not_have_are_errors() {
    let postgres = filled(ODDITIES).await;
    let checked = check(&postgres, WRONG, &[]);
    golden::compare("catalog-check-wrong", &checked.out);
    assert_eq!(checked.code, 2, "{}{}", checked.out, checked.err);
    assert_eq!(check(&postgres, WRONG, &["--json"]).json()["ok"], false);
}

const EVERY_KIND: &str = "\
schema: public
tables:
  orgs: { tenant: id, write: deny, columns: [id], pk: [id] }
  projects: { tenant: org_id, columns: [id, org_id], pk: [id], unique: [[org_id, id]] }
  events:
    tenant: org_id
    columns: [id, org_id, project_id, badge_id, note_id]
    pk: [id]
    fks:
      events_org_id_fkey: { org_id: orgs.id }
      events_project_id_fkey: { project_id: projects.id }
      events_badge_id_fkey: { badge_id: badges.id }
      events_note_id_fkey: { note_id: notes.id }
  badges: { tenant: org_id, shared_null: true, columns: [id, org_id], pk: [id] }
  notes:
    via: { fk: notes_event_id_fkey, to: events }
    columns: [id, event_id]
    fks: { notes_event_id_fkey: { event_id: events.id } }
  remarks:
    via: { fk: remarks_note_id_fkey, to: notes }
    columns: [id, note_id]
    fks: { remarks_note_id_fkey: { note_id: notes.id } }
  log: { tenant: org_id, write: deny, columns: [id, org_id] }
  countries: { global: read, columns: [code] }
  secrets: { deny: true }
views: { totals: { tenant: org_id, columns: [org_id] } }
";

#[test]
fn a_catalogue_is_printed_as_row_level_security() {
    let draft = draft(&policy(EVERY_KIND), "");
    let arguments = ["catalog", "rls", "-c", "gateway.yaml", "--role", "app", "--role", "web"];
    let called = call_in(draft.dir(), &arguments, "");
    assert_eq!(called.code, 0, "{}", called.err);
    let library = include_str!("../../deploy/sql/row_security.sql");
    let (head, statements) = called.out.split_once(library).unwrap();
    assert!(head.trim_end().ends_with("begin;"), "{head}");
    golden::compare("catalog-rls", statements);
}

#[tokio::test]
async fn a_database_that_cannot_be_read_is_said() {
    let postgres = Postgres::start().await;
    let url = postgres.url(DATABASE);
    let run = |more: &[&str]| call(&[&["catalog", "introspect"], more].concat());
    let schema = run(&["--database-url", &url, "--schema", "nowhere"]);
    assert_eq!((schema.code, schema.out.as_str()), (1, ""));
    assert!(schema.err.contains("has no schema `nowhere`"), "{}", schema.err);
    let global = run(&["--database-url", &url, "--global", "nothing"]);
    assert_eq!(global.code, 2);
    assert!(global.err.contains("has no table or view of that name"), "{}", global.err);
    let away = run(&["--database-url", "postgres://nobody@127.0.0.1:1/x"]);
    assert_eq!(away.code, 1);
    assert!(away.err.contains("cannot connect to the database"), "{}", away.err);
    assert_eq!(run(&[]).code, 2);
}
