//! The databases that random writes change, and how they are compared and put back.

use std::sync::Arc;

use tokio_postgres::Client;
use tollgate::domain::catalog::{Argument, Catalog, Function, Returns, Table, Tenancy};
use tollgate::domain::source::Source;

use super::words::columns_of;
use crate::embeds::{self, World};
use crate::support::fixture::ACME;
use crate::support::postgres::APP;

/// What the writes need besides the tables of the reads. Times of the database's own would differ.
const MORE: &str = "
alter table projects drop column created_at;
create table settings (
    organization_id uuid not null,
    key text not null,
    name text,
    value text default 'of the column',
    amount numeric,
    meta jsonb,
    primary key (organization_id, key),
    unique (organization_id, name)
);
insert into settings (organization_id, key, name, value) values
    ('11111111-1111-4111-8111-111111111111', 'theme', 'a', 'ACME-ONLY-theme'),
    ('22222222-2222-4222-8222-222222222222', 'theme', 'a', 'GLOBEX-ONLY-theme'),
    ('22222222-2222-4222-8222-222222222222', 'only', 'b', 'GLOBEX-ONLY-only');
-- A cascade from the one organization's rows to the other's is the database's business.
update events set project_id = 4 where id = 5;
create function org_titles(longest int, org uuid) returns setof text language sql stable as
$$ select title from events where organization_id = org and length(title) <= longest $$;
create function rename_event(event bigint, title text, org uuid) returns bigint language sql as $$
    update events e set title = rename_event.title
    where e.id = event and e.organization_id = org returning e.id
$$;
create function widen_events(more int, org uuid) returns setof events language sql as $$
    update events e set capacity = capacity + more where e.organization_id = org returning e.*
$$;
grant select, insert, update, delete on settings to authenticated;
grant execute on all functions in schema public to authenticated;
";

/// What the gateway adds to requests is a default where there is one organization.
const MORE_ALONE: &str = "
delete from settings where organization_id <> 'ACME';
alter table projects alter organization_id set default 'ACME';
alter table events alter organization_id set default 'ACME';
alter table settings alter organization_id set default 'ACME';
alter table labels alter organization_id set default 'ACME';
create or replace function org_titles(longest int, org uuid default 'ACME') returns setof text
language sql stable as
$$ select title from events where organization_id = org and length(title) <= longest $$;
create or replace function rename_event(event bigint, title text, org uuid default 'ACME')
returns bigint language sql as $$
    update events e set title = rename_event.title
    where e.id = event and e.organization_id = org returning e.id
$$;
create or replace function widen_events(more int, org uuid default 'ACME') returns setof events
language sql as $$
    update events e set capacity = capacity + more where e.organization_id = org returning e.*
$$;
";

/// All tables, and whether a row `r` of one is the organization's.
const TABLES: [(&str, &str); 9] = [
    ("projects", "r.organization_id is not distinct from 'ACME'"),
    ("events", "r.organization_id is not distinct from 'ACME'"),
    ("settings", "r.organization_id is not distinct from 'ACME'"),
    ("labels", "r.organization_id is not distinct from 'ACME'"),
    (
        "comments",
        "exists (select from events e where e.id = event_id and organization_id = 'ACME')",
    ),
    (
        "replies",
        "exists (select from comments c join events e on e.id = c.event_id \
         where c.id = comment_id and organization_id = 'ACME')",
    ),
    (
        "event_labels",
        "exists (select from events e where e.id = event_id and organization_id = 'ACME')",
    ),
    ("secrets", "false"),
    ("profiles", "false"),
];

/// All rows of a database at one moment, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) own: String,
    pub(super) others: String,
}

/// Two databases that start alike, but for the other organization's rows.
pub(super) struct Places {
    pub(super) world: World,
    both: Client,
    alone: Client,
    rows_query: String,
    reset_script: String,
}

impl Places {
    pub(super) async fn new() -> Self {
        let alone = MORE_ALONE.replace("ACME", ACME.id);
        let world = World::with(catalog(), MORE, &alone).await;
        let keep: String = TABLES
            .iter()
            .map(|(name, _)| format!("create table initial.{name} as table {name};"))
            .collect();
        let keep = format!("create schema initial; {keep}");
        let (both, alone) = (world.database.client(APP).await, world.other.client(APP).await);
        for client in [&both, &alone] {
            client.batch_execute(&keep).await.unwrap();
        }
        let all = TABLES.map(|(name, own)| {
            format!("select '{name}' as t, r::text as r, {own} as own from {name} r")
        });
        let text = |own: &str| {
            format!("coalesce(string_agg(t || r, E'\\n' order by t, r) filter (where {own}), '')")
        };
        let all = all.join(" union all ").replace("ACME", ACME.id);
        // A statement that fails may have taken numbers that its other plan takes not.
        let sequences = ["projects", "events"].map(|name| {
            format!("setval('{name}_id_seq', (select greatest(1000, max(id)) from {name}))")
        });
        let rows_query = format!(
            "select {}, {}, {} from ({all}) x",
            text("own"),
            text("not own"),
            sequences.join(", ")
        );
        let refill: String = TABLES
            .iter()
            .map(|(name, _)| {
                format!("delete from {name}; insert into {name} select * from initial.{name};")
            })
            .collect();
        let reset_script =
            format!("begin; set local session_replication_role = replica; {refill} commit;");
        Self { world, both, alone, rows_query, reset_script }
    }

    /// Puts both back to how they were, and tells how that is.
    pub(super) async fn reset(&self) -> Rows {
        let script = &self.reset_script;
        let (both, alone) =
            tokio::join!(self.both.batch_execute(script), self.alone.batch_execute(script));
        both.and(alone).unwrap();
        self.rows().await.0
    }

    /// The rows of both organizations, and those of one alone. New rows get the same numbers in
    /// both places from here.
    pub(super) async fn rows(&self) -> (Rows, Rows) {
        tokio::join!(self.rows_of(&self.both), self.rows_of(&self.alone))
    }

    async fn rows_of(&self, client: &Client) -> Rows {
        let row = client.query_one(&self.rows_query, &[]).await.unwrap();
        Rows { own: row.get(0), others: row.get(1) }
    }
}

fn catalog() -> Catalog {
    let mut catalog = embeds::catalog();
    let names = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect::<Vec<_>>();
    let tenancy = Tenancy::column("organization_id".into());
    let columns = names(columns_of("settings"));
    let mut settings = Table::new("settings".into(), tenancy, columns, Source::built_in());
    settings.primary_key = names(&["organization_id", "key"]);
    settings.unique = vec![names(&["organization_id", "name"])];
    catalog.tables.insert("settings".into(), Arc::new(settings));
    let (tenant, client) = (Argument::Tenant, Argument::Client);
    let rows = || Returns::Rows { table: "events".into(), filtered: true };
    let functions = [
        ("search_events", vec![("term", client)], rows(), true),
        ("org_titles", vec![("longest", client), ("org", tenant)], Returns::Opaque, true),
        ("widen_events", vec![("more", client), ("org", tenant)], rows(), false),
        (
            "rename_event",
            vec![("event", client), ("title", client), ("org", tenant)],
            Returns::Opaque,
            false,
        ),
    ];
    for (name, arguments, returns, read_only) in functions {
        let arguments = arguments.into_iter().map(|(name, argument)| (name.into(), argument));
        let function = Function {
            name: name.into(),
            arguments: arguments.collect(),
            returns,
            read_only,
            source: Source::built_in(),
        };
        catalog.functions.insert(name.into(), Arc::new(function));
    }
    catalog
}
