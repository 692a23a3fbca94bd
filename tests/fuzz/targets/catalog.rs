//! The catalogue behind all targets: tables of every kind, and functions.

use std::sync::{Arc, LazyLock};

use http::{HeaderMap, HeaderName, HeaderValue};
use tollgate::domain::catalog::{Argument, Catalog, ForeignKey, Function, Returns, Table, Tenancy};
use tollgate::domain::ids::OrgId;
use tollgate::domain::source::Source;
use tollgate::postgrest::{Confined, RestMethod, RestRefusal, RestRequest, confine};

/// The organization that every request is for.
pub(super) const ORG: &str = "11111111-1111-4111-8111-111111111111";
pub(super) const TENANT: &str = "organization_id";

pub(super) static CATALOG: LazyLock<Catalog> = LazyLock::new(catalog);

/// Confines a request for the organization.
pub(super) fn confined(
    method: RestMethod,
    target: &str,
    headers: &[(&str, &str)],
) -> Result<Confined, RestRefusal> {
    let map = header_map(headers);
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let org: OrgId = ORG.parse().expect("an id");
    confine(&RestRequest { method, path, query, headers: &map }, &CATALOG, org)
}

/// Those that can be.
pub(super) fn header_map(headers: &[(&str, &str)]) -> HeaderMap {
    let headers = headers.iter().filter_map(|(name, value)| {
        let name = HeaderName::try_from(*name).ok()?;
        Some((name, HeaderValue::from_str(value).ok()?))
    });
    let mut map = HeaderMap::new();
    headers.for_each(|(name, value)| {
        map.append(name, value);
    });
    map
}

fn catalog() -> Catalog {
    let own = || Tenancy::column(TENANT.into());
    let through = |constraint: &str, parent: &str| Tenancy::Through {
        constraint: constraint.into(),
        parent: parent.into(),
    };
    let shared = Tenancy::Column { column: TENANT.into(), shared_null: true };
    let tables = [
        (
            "events",
            own(),
            &["id", TENANT, "project_id", "parent_id", "title", "meta"][..],
            &["id"][..],
        ),
        ("projects", own(), &["id", TENANT, "name", "owner id"], &["id"]),
        ("settings", own(), &[TENANT, "key", "value"], &[TENANT, "key"]),
        ("comments", through("comments_event_id_fkey", "events"), &["id", "event_id"], &["id"]),
        ("replies", through("replies_comment_id_fkey", "comments"), &["id", "comment_id"], &["id"]),
        ("labels", shared, &["id", TENANT, "label"], &["id"]),
        (
            "event_labels",
            through("event_labels_event_id_fkey", "events"),
            &["event_id", "label_id"],
            &["event_id", "label_id"],
        ),
        ("countries", Tenancy::Global, &["code", "name"], &["code"]),
        ("odd, \"name\"", own(), &["id", TENANT, "order", "ä.(b)", "apikey"], &["id"]),
        ("secrets", Tenancy::Denied, &["id"], &["id"]),
    ];
    let names = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect::<Vec<_>>();
    let tables = tables.into_iter().map(|(name, tenancy, columns, key)| {
        let mut table = Table::new(name.into(), tenancy, names(columns), Source::built_in());
        table.primary_key = names(key);
        (Arc::clone(&table.name), Arc::new(table))
    });
    let keys = [
        ("events", "project_id", "projects"),
        ("events", "parent_id", "events"),
        ("comments", "event_id", "events"),
        ("replies", "comment_id", "comments"),
        ("event_labels", "event_id", "events"),
        ("event_labels", "label_id", "labels"),
    ];
    let keys = keys.into_iter().map(|(table, column, target)| {
        let constraint: Arc<str> = format!("{table}_{column}_fkey").into();
        let key = ForeignKey {
            constraint: Arc::clone(&constraint),
            table: table.into(),
            columns: names(&[column]),
            target: target.into(),
            target_columns: names(&["id"]),
            one_to_one: false,
        };
        (constraint, Arc::new(key))
    });
    let rows = || Returns::Rows { table: "events".into(), filtered: true };
    let (tenant, client) = (Argument::Tenant, Argument::Client);
    let functions = [
        ("titles", vec![("longest", client), ("org", tenant)], Returns::Opaque, true),
        ("search", vec![("term", client), ("odd, \"one\"", client)], rows(), true),
        ("widen", vec![("more", client), ("org", tenant), ("for", tenant)], rows(), false),
    ];
    let functions = functions.into_iter().map(|(name, arguments, returns, read_only)| {
        let arguments = arguments.into_iter().map(|(name, argument)| (name.into(), argument));
        let function = Function {
            name: name.into(),
            arguments: arguments.collect(),
            returns,
            read_only,
            source: Source::built_in(),
        };
        (Arc::clone(&function.name), Arc::new(function))
    });
    Catalog {
        schema: "public".into(),
        tables: tables.collect(),
        foreign_keys: keys.collect(),
        functions: functions.collect(),
        casts: vec!["text".into(), "int8".into()],
        ..Catalog::default()
    }
}
