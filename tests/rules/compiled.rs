//! Good YAML and what it compiles to.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use tollgate::config::settings::{DirectorySettings, LimitStoreSettings};
use tollgate::config::{self, Loaded, Memory};
use tollgate::domain::catalog::{Argument, Caps, Returns, TableKind, Tenancy};
use tollgate::policy::condition::Condition;
use tollgate::policy::limits::RateSource;
use tollgate::policy::response::Origins;
use tollgate::policy::route::{Destination, PermissionRule, Route, TenantRule, TenantSource};
use tollgate::policy::snapshot::RouteMatch;
use tollgate::policy::upstream::UpstreamIdentity;

use crate::golden::{environment, good, here, laid};

fn with(name: &str, text: &str) -> Loaded {
    loaded(&laid(&[&here("good")]).with(name, text))
}

fn loaded(files: &Memory) -> Loaded {
    config::load_from(files, Path::new("gateway.yaml"), &environment)
        .unwrap_or_else(|problems| panic!("{problems}"))
}

fn names(names: &[Arc<str>]) -> String {
    names.join(" ")
}

/// The good gateway file with more of it.
fn gateway(more: &str) -> Loaded {
    with("gateway.yaml", &format!("{}{more}", good("gateway.yaml")))
}

#[test]
fn what_is_not_stated_has_its_default() {
    let Loaded { settings, snapshot, .. } = gateway("");
    assert_eq!(settings.listeners[0].address, SocketAddr::from(([127, 0, 0, 1], 8080)));
    assert!(settings.listeners[0].http2);
    assert_eq!(settings.server.drain, Duration::from_secs(30));
    assert_eq!(settings.admin, None);
    assert_eq!(settings.audit, None);
    let LimitStoreSettings::Memory { max_buckets } = settings.limits else { panic!("memory") };
    assert_eq!(max_buckets.get(), 100_000);
    assert_eq!(snapshot.edge.max_header_bytes, 32 * 1024);
    assert_eq!(snapshot.edge.address_guard, None);
    assert_eq!(*snapshot.identity.service_claims, [Box::from("service_role")]);
    assert_eq!(snapshot.identity.issuers[0].leeway_secs, 10);
    assert_eq!(*snapshot.identity.issuers[0].required_claims, [Box::from("sub")]);
    let upstream = &snapshot.upstreams[0];
    assert!(matches!(upstream.identity, UpstreamIdentity::PassThrough { translate: None }));
    assert_eq!((upstream.retries, &*upstream.path_prefix), (1, ""));
}

#[test]
fn variables_and_secret_files_are_put_in_place() {
    let text = good("gateway.yaml")
        .replace("127.0.0.1:8080", "\"127.0.0.1:${PORT:-9000}\"")
        .replace("\"${JWT_SECRET}\"", "\"${file:secrets/jwt}\"")
        + "server: { threads: \"${THREADS:-7}\", node: \"$${node}\" }\n";
    let files = laid(&[&here("good")])
        .with("gateway.yaml", text)
        .with("secrets/jwt", "a-secret-in-a-file-of-thirty-two-bytes\r\n");
    let Loaded { settings, files, .. } = loaded(&files);
    assert_eq!(settings.listeners[0].address.port(), 9000);
    assert_eq!(settings.server.threads.get(), 7);
    assert_eq!(&*settings.server.node, "${node}");
    assert!(files.contains(&PathBuf::from("secrets/jwt")));
}

#[test]
fn the_directory_of_a_pattern_is_watched_too() {
    let Loaded { files, .. } = gateway("");
    assert!(files.contains(&PathBuf::from(".")), "{files:?}");
    assert!(files.contains(&PathBuf::from("policy-roles.yaml")), "{files:?}");
}

#[test]
fn a_directory_file_becomes_organizations_and_memberships() {
    let text = good("directory.yaml")
        + "      - { user: bob, role: viewer, status: invited, joined: 2024-01-02 }\n";
    let Loaded { settings, .. } = with("directory.yaml", &text);
    let DirectorySettings::File(data) = &settings.directory else { panic!("a file") };
    assert_eq!(data.organizations[0].slug.as_str(), "acme");
    let joined: Vec<(&str, u64)> =
        data.memberships.iter().map(|m| (m.user.as_str(), m.joined_at)).collect();
    assert_eq!(joined, [("alice", 0), ("bob", 1_704_153_600)]);
}

#[test]
fn every_plan_has_its_rate() {
    let Loaded { snapshot, .. } = gateway("");
    let RateSource::ByPlan { rates, otherwise } = &snapshot.limits["per_org"].rate else {
        panic!("by plan")
    };
    assert_eq!(rates["free"].tokens.get(), 100);
    assert_eq!(rates["pro"].period_millis.get(), 60_000);
    // A burst that is not stated is the count of the rate.
    assert_eq!((rates["pro"].burst.get(), otherwise.burst.get()), (1000, 10));
}

#[test]
fn tables_and_permissions_make_a_closed_world() {
    let text = "tables:\n  events: { tenant: org, columns: [id, org] }\n  \
                countries: { global: read, columns: [code] }\n  secrets: { deny: true }\n";
    let Loaded { snapshot, .. } = with("policy-tables.yaml", text);
    let table = |name: &str| snapshot.catalog.table(name).unwrap();
    assert_eq!(table("events").tenancy, Tenancy::column("org".into()));
    assert!(table("events").writable);
    assert_eq!(table("countries").tenancy, Tenancy::Global);
    assert!(!table("countries").writable);
    assert_eq!(table("secrets").tenancy, Tenancy::Denied);
    let roles = &snapshot.roles;
    assert!(roles.permission("countries", "read").is_some());
    assert!(roles.permission("secrets", "read").is_none());
    let export = roles.permission("reports", "export").unwrap();
    assert!(roles.role("admin").unwrap().allows(export));
    assert!(!roles.role("viewer").unwrap().allows(export));
}

#[test]
fn the_catalogue_tells_whose_rows_are_whose_and_where_embeds_lead() {
    let text = "\
tables:
  projects: { tenant: org, columns: [id, org, name], pk: [id], unique: [[org, name], [org, id]] }
  events:
    tenant: org
    shared_null: true
    require_filter: true
    columns: [id, org, project_id]
    fks: { events_project_fkey: { org: projects.org, project_id: projects.id } }
  badges:
    via: { fk: badges_event_fkey, to: events }
    columns: [event_id, name]
    pk: [event_id]
    fks: { badges_event_fkey: { event_id: events.id }, badges_owner_fkey: { name: users.id } }
  prizes:
    via: { fk: prizes_badge_fkey, to: badges }
    columns: [id, badge]
    fks: { prizes_badge_fkey: { badge: badges.event_id } }
  log: { tenant: org, columns: [id, org], write: deny }
  users: { deny: true }
views:
  totals: { tenant: org, columns: [org, total] }
  names: { tenant: org, columns: [org, name], writable: true }
";
    let Loaded { snapshot, .. } = with("policy-tables.yaml", text);
    let catalog = &snapshot.catalog;
    let table = |name: &str| catalog.table(name).unwrap();
    assert_eq!(names(&table("projects").primary_key), "id");
    assert_eq!(names(&table("projects").unique[0]), "org name");
    let events = table("events");
    assert_eq!(events.tenancy, Tenancy::Column { column: "org".into(), shared_null: true });
    assert!(events.requires_filter && events.writable);
    let constraint = "prizes_badge_fkey".into();
    let through = Tenancy::Through { constraint, parent: "badges".into() };
    assert_eq!(table("prizes").tenancy, through);
    assert!(!table("prizes").writable && !table("log").writable);
    let composite = &catalog.foreign_keys["events_project_fkey"];
    assert_eq!((&*composite.table, &*composite.target), ("events", "projects"));
    assert_eq!(names(&composite.columns), "org project_id");
    assert_eq!(names(&composite.target_columns), "org id");
    assert!(!composite.one_to_one && catalog.foreign_keys["badges_event_fkey"].one_to_one);
    let ways: Vec<&str> =
        catalog.foreign_keys_of("badges").map(|key| key.constraint.as_ref()).collect();
    assert_eq!(ways, ["badges_event_fkey", "badges_owner_fkey", "prizes_badge_fkey"]);
    assert_eq!((table("totals").kind, table("totals").writable), (TableKind::View, false));
    assert!(table("names").writable);
    assert_eq!(catalog.caps, Caps { depth: 5, embeds: 10, filters: 64 });
    assert!(catalog.casts.iter().any(|cast| cast.as_ref() == "timestamptz"));
}

#[test]
fn functions_say_where_their_arguments_come_from() {
    let text = "\
tables: { events: { tenant: org, columns: [id, org] }, countries: { global: read, columns: [code] } }
rpc:
  stats: { args: { org: $tenant, since: client } }
  search: { args: { q: client }, returns: events, filter_result: true, read_only: true }
  near: { returns: countries, unscoped: true }
casts: [text]
rest_caps: { depth: 2, filters: 9 }
";
    let Loaded { snapshot, .. } = with("policy-tables.yaml", text);
    let catalog = &snapshot.catalog;
    let stats = catalog.function("stats").unwrap();
    assert_eq!(stats.arguments["org"], Argument::Tenant);
    assert_eq!(stats.arguments["since"], Argument::Client);
    assert_eq!((&stats.returns, stats.read_only), (&Returns::Opaque, false));
    let search = catalog.function("search").unwrap();
    assert_eq!(search.returns, Returns::Rows { table: "events".into(), filtered: true });
    assert!(search.read_only);
    let near = &catalog.function("near").unwrap().returns;
    assert_eq!(*near, Returns::Rows { table: "countries".into(), filtered: false });
    assert_eq!(names(&catalog.casts), "text");
    assert_eq!(catalog.caps, Caps { depth: 2, embeds: 10, filters: 9 });
}

/// Looked up by the beginnings of their paths; a look at one after the other says what is due.
#[test]
fn a_request_finds_the_most_specific_route_that_fits() {
    let paths = [
        "/",
        "/{x*}",
        "/a",
        "/a/{x}",
        "/a/{x*}",
        "/a/b",
        "/a/b/{x}",
        "/a/b/{x*}",
        "/ab",
        "/ab/{x*}",
        "/ab/c",
        "/b/{x}/c",
        "/b/{x}/c/{y*}",
    ];
    let mut text = String::from("permissions: [\"reports:export\"]\nroutes:\n");
    for (number, (path, host)) in paths
        .iter()
        .flat_map(|path| ["*", "*.example.com", "b.example.com"].map(|h| (path, h)))
        .enumerate()
    {
        let methods = ["[GET]", "[GET, POST]", "[POST]"][number % 3];
        text += &format!(
            "  - {{ name: r{number}, match: {{ host: \"{host}\", path: \"{path}\", methods: {methods} }}, \
             close: true }}\n"
        );
    }
    let files = laid(&[&here("good")]).with("policy-routes.yaml", text);
    let routes = loaded(&files).snapshot.routes;
    let parts = ["", "/", "/a", "/ab", "/abc", "/b", "/c"];
    let mut found = 0;
    for [first, second, third] in parts.iter().flat_map(|first| {
        parts.iter().flat_map(move |second| parts.map(|third| [*first, *second, third]))
    }) {
        let path = format!("{first}{second}{third}");
        for host in ["localhost", "a.example.com", "b.example.com"] {
            for method in [Method::GET, Method::POST, Method::DELETE] {
                let fits = |route: &&Arc<Route>| {
                    route.host.matches(host) && route.path.matches(&path).is_some()
                };
                let due = routes.iter().find(fits).map(|first| {
                    let same = |route: &&Arc<Route>| {
                        route.host.rank() == first.host.rank()
                            && (Arc::ptr_eq(route, first) || first.path.ambiguous_with(&route.path))
                    };
                    let alike: Vec<_> = routes.iter().filter(fits).filter(same).collect();
                    let serves = |route: &&&Arc<Route>| route.methods.matches(&method);
                    alike.iter().find(serves).copied().ok_or(alike.len())
                });
                match (routes.find(host, &path, &method), due) {
                    (RouteMatch::Nothing, None) => {}
                    (RouteMatch::Route(route), Some(Ok(due))) => {
                        found += 1;
                        assert!(Arc::ptr_eq(route, due), "{host} {path}");
                    }
                    (RouteMatch::OtherMethods(others), Some(Err(due))) => {
                        assert_eq!(others.len(), due, "{host} {path}");
                    }
                    (said, due) => panic!("{method} {host} {path}: {said:?}, not {due:?}"),
                }
            }
        }
    }
    assert!(found > 1_000, "{found}");
}

#[test]
fn a_route_carries_everything_that_it_states() {
    let text = "routes:\n  - name: export\n    match: { host: \"*.example.com\", path: \
                \"/o/{org}/export\", methods: [POST] }\n    upstream: rest2\n    strip_prefix: /o\n    \
                credential: key\n    tenant: [{ claim: app_metadata.org_id }, host, { path: org }]\n    \
                permission: reports:export\n    require: [{ feature: exports }, { plan: pro }]\n    \
                limits: [per_org, per_user]\n    max_body: 5MiB\n    read_timeout: 2m\n    \
                response: { set: { X-A: route }, remove: [Via] }\n";
    let files = laid(&[&here("good")])
        .with("policy-routes.yaml", text)
        .with(
            "policy-response.yaml",
            "response: { set: { X-A: all, X-B: all }, remove: [Server] }\n",
        )
        .with("gateway.yaml", good("gateway.yaml").replace("  web:\n", "  rest2:\n"));
    let Loaded { snapshot, warnings, .. } = loaded(&files);
    assert_eq!(warnings.len(), 1, "the upstream `rest` is unused: {warnings:?}");
    let post = snapshot.routes.find("acme.example.com", "/o/x/export", &Method::POST);
    let RouteMatch::Route(route) = post else { panic!("a route") };
    let get = snapshot.routes.find("acme.example.com", "/o/x/export", &Method::GET);
    assert!(matches!(get, RouteMatch::OtherMethods(_)));
    let expected = Destination::Upstream { upstream: 1, strip_prefix: "/o".into() };
    assert_eq!(route.destination, expected);
    let claim = TenantSource::Claim(vec!["app_metadata".into(), "org_id".into()]);
    let sources = vec![claim, TenantSource::Host, TenantSource::Path("org".into())];
    assert_eq!(route.tenant, TenantRule::Sources(sources));
    let export = snapshot.roles.permission("reports", "export").unwrap();
    assert_eq!(route.permission, PermissionRule::Permission(export));
    let plan = Condition::PlanAtLeast { name: "pro".into(), level: 20 };
    let feature = Condition::Feature { name: "exports".into(), settings: Vec::new() };
    let conditions: Vec<&Condition> = route.conditions.iter().map(|r| &r.condition).collect();
    assert_eq!(conditions, [&feature, &plan]);
    assert_eq!(&*route.limits[1].name, "per_user");
    assert_eq!(route.max_body_bytes, 5 << 20);
    assert_eq!(route.read_timeout, Some(Duration::from_secs(120)));
    let set: Vec<(&str, &str)> =
        route.response.set.iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
    assert_eq!(set, [("x-b", "all"), ("x-a", "route")]);
    assert_eq!(route.response.remove, ["server", "via"]);
    assert_eq!(snapshot.response.remove, ["server"]);
    assert_eq!(route.source.to_string(), "policy-routes.yaml:2");
}

#[test]
fn a_wildcard_origin_is_allowed_without_credentials() {
    let Loaded { snapshot, .. } =
        with("policy-more.yaml", "response: { cors: { origins: [\"*\"] } }\n");
    let cors = snapshot.response.cors.as_ref().unwrap();
    assert_eq!(cors.origins, Origins::Any);
    assert!(!cors.credentials);
}

#[test]
fn aliases_stand_for_what_they_name() {
    let text = "tables:\n  events: { tenant: org, columns: &columns [id, org, title] }\n  \
                notes: { tenant: org, columns: *columns }\n";
    let Loaded { snapshot, .. } = with("policy-tables.yaml", text);
    assert_eq!(snapshot.catalog.table("notes").unwrap().columns.len(), 3);
}
