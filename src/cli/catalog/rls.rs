//! A catalogue as row-level security: SQL that lets the database hold by itself what the gateway
//! holds, by the claims of the token that the gateway mints. The same catalogue gives the same
//! text, and the text can be applied again.

use std::sync::Arc;

use crate::domain::catalog::{Catalog, ForeignKey, Table, TableKind, Tenancy};

/// What the printed statements call.
const LIBRARY: &str = include_str!("../../../deploy/sql/row_security.sql");

/// What `org_id` of the verified token is; the subquery makes it one value for a statement.
const ORGANIZATION: &str = "(select tollgate.organization_id())";

/// All statements, in one transaction. `roles` are those that the minted tokens name.
pub(super) fn text(catalog: &Catalog, roles: &[String]) -> String {
    let roles: Vec<String> = roles.iter().map(|role| quoted(role)).collect();
    let printer = Printer { catalog, roles: roles.join(", ") };
    let mut out = format!(
        "-- Written by `tollgate catalog rls`. Review it, and try it on a copy first: it locks the \
         tables\n-- that it changes, and fails as a whole where rows of two organizations are \
         mixed up.\n\nbegin;\n\n{LIBRARY}"
    );
    for table in catalog.tables.values() {
        printer.table(table, &mut out);
    }
    out.push_str("\nnotify pgrst, 'reload schema';\n\ncommit;\n");
    out
}

struct Printer<'c> {
    catalog: &'c Catalog,
    roles: String,
}

impl Printer<'_> {
    fn table(&self, table: &Table, out: &mut String) {
        let name = &table.name;
        match (&table.tenancy, table.kind) {
            (Tenancy::Denied, _) => {
                out.push_str(&format!("\n-- `{name}`: not in reach of clients, left as it is.\n"));
            }
            (_, TableKind::View) => {
                out.push_str(&format!("\n-- `{name}`: what its tables let the caller see.\n"));
                let view = literal(&self.qualified(name));
                out.push_str(&format!("select tollgate.run_as_invoker({view});\n"));
            }
            (Tenancy::Global, TableKind::Table) => {
                self.open(table, "the same for all, read-only", out);
                self.permit(table, "select", "using (true)", out);
            }
            (Tenancy::Column { column, shared_null }, TableKind::Table) => {
                self.by_column(table, column, *shared_null, out);
            }
            (Tenancy::Through { .. }, TableKind::Table) => self.by_parent(table, out),
        }
    }

    fn by_column(&self, table: &Table, column: &str, shared_null: bool, out: &mut String) {
        self.open(table, &format!("by `{column}`"), out);
        let own = format!("{} = {ORGANIZATION}", quoted(column));
        let check = format!("with check ({own})");
        if shared_null {
            let seen = format!("using ({own} or {} is null)", quoted(column));
            self.wall(table, "read", "select", &seen, out);
            self.wall(table, "insert", "insert", &check, out);
            self.wall(table, "update", "update", &format!("using ({own})\n    {check}"), out);
            self.wall(table, "delete", "delete", &format!("using ({own})"), out);
            self.permit(table, "select", &seen, out);
            if table.writable {
                self.write(table, &own, out);
            }
        } else {
            let both = format!("using ({own})\n    {check}");
            self.wall(table, "all", "all", &both, out);
            match table.writable {
                true => self.permit(table, "all", &both, out),
                false => self.permit(table, "select", &format!("using ({own})"), out),
            }
        }
        let relation = self.qualified(&table.name);
        // The key of the organizations themselves is no other row's.
        let is_key = matches!(table.primary_key.as_slice(), [key] if key.as_ref() == column);
        if is_key {
            return;
        }
        out.push_str(&format!(
            "alter table {relation} alter column {} set default tollgate.organization_id();\n",
            quoted(column)
        ));
        for key in self.own_keys(table) {
            self.confine(table, column, key, out);
        }
        let with = |others: &[Arc<str>]| -> Vec<String> {
            let others = others.iter().map(AsRef::as_ref).filter(|other| *other != column);
            [column].into_iter().chain(others).map(str::to_owned).collect()
        };
        let mut indexes = vec![with(&table.primary_key)];
        for key in self.own_keys(table).filter(|key| self.holds_rows_of_organizations(key)) {
            indexes.push(with(&key.columns));
        }
        indexes.dedup();
        for names in indexes {
            self.index(table, &names, out);
        }
    }

    /// Rows that belong to a parent: the way to it, up to the table that knows its organization.
    fn by_parent(&self, table: &Table, out: &mut String) {
        let Some((last, joins)) = self.way(table) else { return };
        let Tenancy::Column { column, .. } = &last.tenancy else { return };
        self.open(table, &format!("through its parent, by `{column}` of `{}`", last.name), out);
        let (Some(first), rest) = (joins.first(), joins.get(1..).unwrap_or_default()) else {
            return;
        };
        let mut way = format!("select from {} p1", self.qualified(&first.target));
        for (key, number) in rest.iter().zip(2..) {
            let target = self.qualified(&key.target);
            let on = pairs(key, &format!("p{number}"), &format!("p{}", number - 1));
            way.push_str(&format!("\n        join {target} p{number} on {on}"));
        }
        let own = pairs(first, "p1", &quoted(&table.name));
        let tenant = format!("p{}.{} = {ORGANIZATION}", joins.len(), quoted(column));
        let exists = format!("exists (\n        {way}\n        where {own} and {tenant})");
        let both = format!("using ({exists})\n    with check ({exists})");
        self.wall(table, "all", "all", &both, out);
        self.permit(table, "select", &format!("using ({exists})"), out);
        let names: Vec<String> = first.columns.iter().map(|name| name.to_string()).collect();
        self.index(table, &names, out);
    }

    /// The table at the end of the way through parents, and the foreign keys that lead there.
    fn way<'t>(&'t self, table: &'t Table) -> Option<(&'t Table, Vec<&'t ForeignKey>)> {
        let mut joins = Vec::new();
        let mut at = table;
        while let Tenancy::Through { constraint, parent } = &at.tenancy {
            joins.push(self.catalog.foreign_keys.get(constraint)?.as_ref());
            at = self.catalog.table(parent)?;
        }
        Some((at, joins))
    }

    fn own_keys<'t>(&'t self, table: &'t Table) -> impl Iterator<Item = &'t ForeignKey> {
        let keys = self.catalog.foreign_keys.values();
        keys.map(AsRef::as_ref).filter(|key| key.table == table.name)
    }

    /// Whether a foreign key leads to rows of which each belongs to one of many organizations.
    fn holds_rows_of_organizations(&self, key: &ForeignKey) -> bool {
        self.catalog.table(&key.target).is_some_and(|target| match &target.tenancy {
            Tenancy::Column { column, .. } => !key.target_columns.contains(column),
            Tenancy::Through { .. } => true,
            Tenancy::Global | Tenancy::Denied => false,
        })
    }

    fn confine(&self, table: &Table, column: &str, key: &ForeignKey, out: &mut String) {
        if !self.holds_rows_of_organizations(key) {
            return;
        }
        let target = self.catalog.table(&key.target).map(|target| &target.tenancy);
        match target {
            Some(Tenancy::Column { column: theirs, shared_null: false }) => {
                out.push_str(&format!(
                    "select tollgate.confine_foreign_key({}, {}, {}, {});\n",
                    literal(&self.qualified(&table.name)),
                    literal(&key.constraint),
                    literal(column),
                    literal(theirs),
                ));
            }
            Some(Tenancy::Column { shared_null: true, .. }) => out.push_str(&format!(
                "-- `{}` may lead to rows that all organizations share, so it cannot hold the \
                 tenant.\n",
                key.constraint
            )),
            Some(Tenancy::Through { .. }) => out.push_str(&format!(
                "-- `{}` can lead to another organization's row until `{}` has a tenant column.\n",
                key.constraint, key.target
            )),
            Some(Tenancy::Global | Tenancy::Denied) | None => {}
        }
    }

    fn open(&self, table: &Table, how: &str, out: &mut String) {
        let relation = self.qualified(&table.name);
        out.push_str(&format!(
            "\n-- `{}`: {how}.\nalter table {relation} enable row level security;\n\
             select tollgate.drop_policies({});\n",
            table.name,
            literal(&relation)
        ));
    }

    /// A restrictive policy holds whatever else other policies allow.
    fn wall(&self, table: &Table, name: &str, command: &str, rule: &str, out: &mut String) {
        let relation = self.qualified(&table.name);
        out.push_str(&format!(
            "create policy tollgate_wall_{name} on {relation} as restrictive for {command}\n    \
             {rule};\n"
        ));
    }

    /// A permissive policy lets the gateway's callers in.
    fn permit(&self, table: &Table, command: &str, rule: &str, out: &mut String) {
        let relation = self.qualified(&table.name);
        out.push_str(&format!(
            "create policy tollgate_{command} on {relation} for {command} to {}\n    {rule};\n",
            self.roles
        ));
    }

    fn write(&self, table: &Table, own: &str, out: &mut String) {
        self.permit(table, "insert", &format!("with check ({own})"), out);
        self.permit(table, "update", &format!("using ({own})\n    with check ({own})"), out);
        self.permit(table, "delete", &format!("using ({own})"), out);
    }

    fn index(&self, table: &Table, names: &[String], out: &mut String) {
        let relation = literal(&self.qualified(&table.name));
        let names: Vec<String> = names.iter().map(|name| literal(name)).collect();
        let names = names.join(", ");
        out.push_str(&format!(
            "select tollgate.ensure_index({relation}, array[{names}]::name[]);\n"
        ));
    }

    fn qualified(&self, name: &str) -> String {
        format!("{}.{}", quoted(&self.catalog.schema), quoted(name))
    }
}

/// `there.id = here.parent_id and …`
fn pairs(key: &ForeignKey, there: &str, here: &str) -> String {
    let pairs = key.columns.iter().zip(&key.target_columns);
    let pairs: Vec<String> = pairs
        .map(|(column, target)| format!("{there}.{} = {here}.{}", quoted(target), quoted(column)))
        .collect();
    pairs.join(" and ")
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
