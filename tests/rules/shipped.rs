//! Every file that the repository ships compiles, without warnings.

use std::path::Path;

use tollgate::config::settings::{DirectorySettings, LimitStoreSettings};
use tollgate::config::{self, Loaded};
use tollgate::policy::route::PermissionRule;

/// What production.yaml and the demonstration ask the environment for.
fn environment(name: &str) -> Option<String> {
    let value = match name {
        "SUPABASE_URL" => "https://example.supabase.co",
        "SUPABASE_JWT_SECRET" | "TOLLGATE_DEMO_SECRET" => "a-secret-of-at-least-thirty-two-bytes",
        "SUPABASE_PUBLISHABLE_KEY" => "sb_publishable_0123456789abcdef",
        "SUPABASE_SECRET_KEY" => "sb_secret_0123456789abcdef",
        "DATABASE_URL" => "postgres://gateway:password@db:5432/postgres",
        "REDIS_URL" => "redis://redis:6379/0",
        "LOGIN_PEPPER" => "a-pepper-for-accounts-of-32-bytes-and-more",
        "TOLLGATE_DEMO_UPSTREAM" => "127.0.0.1:3999",
        _ => return None,
    };
    Some(value.to_owned())
}

fn load(path: &str) -> Loaded {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    match config::load(&path, &environment) {
        Ok(loaded) => {
            let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
            assert_eq!(warnings, [""; 0]);
            loaded
        }
        Err(problems) => panic!("{problems}"),
    }
}

#[test]
fn the_development_configuration_needs_no_environment() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/gateway.yaml");
    let loaded = config::load(&path, &|_| None).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(loaded.warnings.is_empty());
    assert!(matches!(loaded.settings.limits, LimitStoreSettings::Memory { .. }));
    let DirectorySettings::File(directory) = &loaded.settings.directory else { panic!("a file") };
    assert_eq!(directory.organizations.len(), 2);
    assert_eq!(directory.memberships.len(), 5);
    assert_eq!(loaded.snapshot.version.0.len(), 16);
    let read: Vec<_> = loaded.files.iter().filter_map(|p| p.file_name()?.to_str()).collect();
    assert_eq!(read, ["gateway.yaml", "base.yaml", "directory.yaml"]);
}

#[test]
fn the_production_configuration_shares_limits_and_directory() {
    let loaded = load("config/production.yaml");
    assert!(matches!(loaded.settings.limits, LimitStoreSettings::Redis(_)));
    assert!(matches!(loaded.settings.directory, DirectorySettings::Postgres(_)));
    assert_eq!(loaded.snapshot.upstreams.len(), 5);
    assert_eq!(loaded.snapshot.identity.issuers.len(), 2);
    assert_eq!(loaded.snapshot.identity.api_keys.len(), 2);
}

#[test]
fn the_demonstration_is_part_of_the_program() {
    let loaded =
        config::load_embedded(&environment).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(loaded.warnings.is_empty());
    let snapshot = &loaded.snapshot;
    assert_eq!(snapshot.upstreams[0].addresses[0].port, 3999);
    let found = snapshot.routes.find("any.example", "/rest/v1/events", &http::Method::GET);
    let tollgate::policy::snapshot::RouteMatch::Route(route) = found else { panic!("a route") };
    assert_eq!(route.permission, PermissionRule::Table("table".into()));
    let write = snapshot.roles.permission("events", "write").unwrap();
    assert!(snapshot.roles.role("admin").unwrap().allows(write));
    assert!(!snapshot.roles.role("viewer").unwrap().allows(write));
    assert_eq!(&*snapshot.roles.role("viewer").unwrap().source.file, "demo/policy.yaml");
}

#[test]
fn the_version_follows_the_contents_of_every_file() {
    let version = |files: &config::Memory| {
        let path = Path::new("demo/gateway.yaml");
        config::load_from(files, path, &environment).unwrap().snapshot.version
    };
    let files = config::embedded();
    let first = version(&files);
    assert_eq!(first, version(&config::embedded()));
    let directory = include_str!("../../config/demo/directory.yaml").replace("alice", "alicia");
    assert_ne!(first, version(&files.with("demo/directory.yaml", directory)));
}
