//! The fixture database: who and what is in it, and how to ask whether it has changed.

use std::collections::BTreeMap;

use serde_json::Value;

use super::postgres::{APP, Postgres};

pub(crate) const SCHEMA: &str = include_str!("schema.sql");

/// One of the two organizations of the fixture.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Org {
    pub(crate) id: &'static str,
    pub(crate) slug: &'static str,
    /// Stands in every text of its rows, and in nothing of the other's.
    pub(crate) mark: &'static str,
}

pub(crate) const ACME: Org =
    Org { id: "11111111-1111-4111-8111-111111111111", slug: "acme", mark: "ACME-ONLY" };
pub(crate) const GLOBEX: Org =
    Org { id: "22222222-2222-4222-8222-222222222222", slug: "globex", mark: "GLOBEX-ONLY" };

/// A member of acme.
pub(crate) const ALICE: &str = "a11ce000-0000-4000-8000-000000000001";
/// A member of globex.
pub(crate) const BOB: &str = "b0b00000-0000-4000-8000-000000000002";
/// A member of both.
pub(crate) const CAROL: &str = "ca401000-0000-4000-8000-000000000003";

/// Every table of the application, and the column its rows are told apart by.
const TABLES: &[(&str, &str)] = &[
    ("countries", "code"),
    ("events", "id"),
    ("profiles", "user_id, organization_id"),
    ("projects", "id"),
    ("secrets", "id"),
];

/// All rows of the application at one moment, by table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Contents(BTreeMap<&'static str, Vec<Value>>);

impl Contents {
    /// Asks the database itself, past PostgREST and the gateway.
    pub(crate) async fn of(postgres: &Postgres) -> Self {
        let mut tables = BTreeMap::new();
        for (table, key) in TABLES {
            let query = format!("select * from {table} order by {key}");
            tables.insert(*table, postgres.rows(APP, &query).await);
        }
        Self(tables)
    }

    /// The rows of one table that belong to `org`.
    pub(crate) fn rows(&self, table: &str, org: Org) -> Vec<&Value> {
        let rows = self.0.get(table).unwrap_or_else(|| panic!("no table `{table}`"));
        rows.iter().filter(|row| row["organization_id"] == org.id).collect()
    }

    /// What is left when everything of `org` is taken away: equal before and after a request of
    /// one of its members, or the request has touched what is not its own.
    pub(crate) fn without(&self, org: Org) -> Self {
        let mut tables = self.0.clone();
        for rows in tables.values_mut() {
            rows.retain(|row| row["organization_id"] != org.id);
        }
        Self(tables)
    }
}
