//! `tollgate migrate`, and the directory that it makes, as `tollgate explain` reads it.

use crate::operations::{POLICY, draft, gateway_yaml};
use crate::support::postgres::{APP, Postgres};
use crate::tool::{call, call_in};

const MEMBERS: &str = "
    insert into tollgate.organizations (id, slug, plan)
        values ('a0000000-0000-4000-8000-000000000001', 'acme', 'free');
    insert into tollgate.organization_members (organization_id, user_id, role)
        values ('a0000000-0000-4000-8000-000000000001', 'alice', 'member');
";

#[tokio::test]
async fn a_database_is_looked_at_then_migrated_once_and_its_members_are_found() {
    let mut postgres = Postgres::start().await;
    let url = postgres.url(APP);
    let draft = draft(POLICY, "");
    let yaml = gateway_yaml(&draft, "");
    let with = format!("directory: {{ postgres: {{ url: \"{url}\" }} }}");
    draft.write("gateway.yaml", &yaml.replace("directory: { file: directory.yaml }", &with));
    let run = |arguments: &[&str]| call_in(draft.dir(), arguments, "");

    let migrate = ["migrate", "--config", "gateway.yaml"];
    let looked = run(&[&migrate[..], &["--dry-run"]].concat());
    assert_eq!(looked.code, 0, "{}", looked.err);
    assert!(looked.out.contains("0001_directory.sql: would be applied"), "{}", looked.out);
    let schemas = "select nspname from pg_namespace where nspname = 'tollgate'";
    assert!(postgres.rows(APP, schemas).await.is_empty(), "a dry run made something");
    let applied = run(&migrate);
    assert_eq!(applied.code, 0, "{}", applied.err);
    assert!(applied.out.contains("0001_directory.sql: applied\n"), "{}", applied.out);
    let again = run(&["migrate", "--database", &url]);
    assert!(again.out.lines().all(|line| line.ends_with(": applied before")), "{}", again.out);

    postgres.execute(APP, MEMBERS).await;
    let explain =
        ["explain", "--json", "-c", "gateway.yaml", "GET", "/rest/v1/events", "--as", "alice"];
    let report = run(&explain).json();
    assert_eq!(report["verdict"], "forwarded", "{report}");
    assert_eq!(report["organization"]["slug"], "acme");
    assert_eq!(report["role"]["name"], "member");

    postgres.kill().await;
    let report = run(&explain).json();
    assert_eq!(report["refusal"]["code"], "directory_unavailable", "{report}");
    assert_eq!(report["answer"]["status"], 503);
    let failed = run(&migrate);
    assert_eq!(failed.code, 1);
    assert!(failed.err.contains("cannot connect to the database"), "{}", failed.err);
}

#[test]
fn a_directory_file_needs_no_migration_and_that_is_said() {
    let called = call(&["migrate", "-c", "gateway.yaml"]);
    assert_eq!(called.code, 2);
    assert!(called.err.contains("is a file: there is no database to migrate"), "{}", called.err);
}
