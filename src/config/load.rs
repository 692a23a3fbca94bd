//! The way from a path to a snapshot.
//!
//! May import `domain` and `policy`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::domain::directory::DirectoryData;
use crate::policy::Snapshot;
use crate::policy::rights::{NoRights, Rights};
use crate::policy::roles::RoleTable;
use crate::policy::snapshot::SnapshotVersion;
use crate::policy::upstream::UpstreamKind;

use super::compile::{self, Base};
use super::context::{Context, Environment, Interpolation};
use super::decode::{At, Decode, Filled};
use super::devices::Trusting;
use super::directory::{DirectoryFile, Names};
use super::files::{Disk, Files, Memory};
use super::gateway::{DirectoryFields, Gateway};
use super::leaf::FilePath;
use super::machines::Keys;
use super::policies::PolicyFile;
use super::problem::{Problem, Problems};
use super::quotas;
use super::rules::{self, RuleFile};
use super::settings::{
    DirectorySettings, LimitStoreSettings, Listener, PostgresDirectory, Settings,
};
use super::sign_on::organizations_exist;
use super::yaml::Span;

/// A configuration that can be used.
#[derive(Debug)]
pub struct Loaded {
    /// What the process is started with.
    pub settings: Settings,
    /// What decides.
    pub snapshot: Snapshot,
    /// What somebody should look at.
    pub warnings: Vec<Problem>,
    /// Every file that was read and every directory that a pattern looks into: a change of any of
    /// them is worth a reload.
    pub files: Vec<PathBuf>,
    /// The directory file, where it is one.
    pub directory: Option<PathBuf>,
}

/// Loads a gateway configuration from disk.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn load(path: &Path, environment: Environment<'_>) -> Result<Loaded, Problems> {
    load_from(&Disk, path, environment)
}

/// Loads a gateway configuration from anywhere.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn load_from(
    files: &dyn Files,
    path: &Path,
    environment: Environment<'_>,
) -> Result<Loaded, Problems> {
    let mut cx = Context::new(files, environment);
    let parts = read(path, None, &mut cx).map(|(settings, snapshot, _)| (settings, snapshot));
    finished(parts, cx)
}

/// What was read, if nothing of it is wrong.
pub(super) fn finished(
    parts: Option<(Settings, Snapshot)>,
    cx: Context<'_>,
) -> Result<Loaded, Problems> {
    let (failed, directory) = (cx.failed(), cx.directory_read());
    let (problems, files, version) = cx.finish();
    match parts {
        Some((settings, mut snapshot)) if !failed => {
            snapshot.version = SnapshotVersion(version);
            Ok(Loaded { settings, snapshot, warnings: problems, files, directory })
        }
        Some(_) | None => Err(Problems(problems)),
    }
}

/// Loads the configuration of the demonstration, which is part of the program. It asks the
/// environment for `TOLLGATE_DEMO_UPSTREAM`, the address of a PostgREST to stand before.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn load_embedded(environment: Environment<'_>) -> Result<Loaded, Problems> {
    load_from(&embedded(), Path::new("demo/gateway.yaml"), environment)
}

/// The files of the demonstration.
pub fn embedded() -> Memory {
    Memory::new()
        .with("demo/gateway.yaml", include_str!("../../config/demo/gateway.yaml"))
        .with("demo/policy.yaml", include_str!("../../config/demo/policy.yaml"))
        .with("demo/directory.yaml", include_str!("../../config/demo/directory.yaml"))
}

/// Reads a gateway file and what it names. The result counts only if no error was reported; with
/// it come the names that a directory may use.
pub(super) fn read(
    path: &Path,
    named_at: Option<Span>,
    cx: &mut Context<'_>,
) -> Option<(Settings, Snapshot, Names)> {
    let root = cx.open(path, named_at, Interpolation::On)?;
    let gateway = Gateway::decode(&root, cx)?;
    let mut policies = Vec::new();
    for (path, span) in named_files(&gateway.policies, cx) {
        let node = cx.open(&path, Some(span), Interpolation::Off);
        policies.extend(node.and_then(|node| PolicyFile::decode(&node, cx)));
    }
    let mut rule_files = Vec::new();
    for (path, span) in named_files(&gateway.rules, cx) {
        let node = cx.open(&path, Some(span), Interpolation::Off);
        rule_files.extend(node.and_then(|node| RuleFile::decode(&node, cx)));
    }
    let tests = gateway.tests.map(|tests| tests.found(cx));
    let directory = match gateway.directory {
        Some(DirectoryFields::File(At { value, span })) => {
            let path = cx.directory(&value);
            cx.open(&path, Some(span), Interpolation::Off)
                .and_then(|node| DirectoryFile::decode(&node, cx))
                .map(Directory::File)
        }
        Some(DirectoryFields::Postgres(postgres)) => Some(Directory::Postgres(postgres)),
        None => None,
    };
    let identity = gateway.identity.as_ref();
    let trusting = identity.map_or(Trusting::Unclear, |identity| identity.trusting);
    let mut joined = compile::join(policies, trusting, cx);
    joined.rules = rules::compile::join(rule_files, cx);
    let machines = identity.is_none_or(|identity| identity.machines);
    let names = Names {
        plans: joined.plans.keys().cloned().collect(),
        roles: joined.roles.keys().cloned().collect(),
        stages: joined.stages.iter().cloned().collect(),
        keys: Keys {
            limits: joined.limits.iter().map(|(n, at)| (n.clone(), at.value.scope)).collect(),
            configured: machines,
        },
    };
    let mut stated = None;
    let directory = match directory? {
        Directory::File(file) => {
            let (data, places) = file.compile(&names, cx);
            let named = gateway.identity.as_ref().map(|identity| &*identity.organizations);
            organizations_exist(named.unwrap_or_default(), &data, cx);
            for place in identity.into_iter().flat_map(|identity| &identity.creates) {
                cx.warning(*place, "members are made in memory: the directory is a file")
                    .hint("they are gone after a restart or a reload; use PostgreSQL to keep them");
            }
            let data = Arc::new(data);
            stated = Some((Arc::clone(&data), places));
            DirectorySettings::File(data)
        }
        Directory::Postgres(postgres) => DirectorySettings::Postgres(postgres),
    };
    let base =
        Base { edge: gateway.edge, identity: gateway.identity, upstreams: gateway.upstreams };
    if gateway.metering.is_none() {
        quotas::unmetered(&joined, cx);
    }
    let snapshot = compile::snapshot(base, &joined, cx);
    if let (Some((data, places)), Some(snapshot)) = (&stated, &snapshot) {
        apart(data, places, &snapshot.roles, cx);
    }
    if let (Some(snapshot), Some(limits)) = (&snapshot, &gateway.limits_store) {
        shared_pepper(snapshot, limits, joined.logins.as_ref().map(|stated| stated.span), cx);
    }
    listeners(gateway.listen.as_ref(), gateway.admin.as_ref(), cx);
    let settings = Settings {
        listeners: gateway.listen?.0.into_iter().map(|at| at.value).collect(),
        admin: gateway.admin.map(|at| at.value),
        server: gateway.server?,
        directory,
        limits: gateway.limits_store?,
        sessions: gateway.sessions?,
        audit: gateway.audit,
        metering: gateway.metering,
        log: gateway.log?,
        tests,
        snapshots: gateway.snapshots?,
    };
    Some((settings, snapshot?, names))
}

/// Nodes that share counts of failed logins have to hash accounts alike.
fn shared_pepper(
    snapshot: &Snapshot,
    limits: &LimitStoreSettings,
    stated: Option<Span>,
    cx: &mut Context<'_>,
) {
    let alone = match limits {
        LimitStoreSettings::Memory { .. } => true,
        LimitStoreSettings::Redis(_) => false,
    };
    let without = snapshot.logins.as_ref().is_some_and(|logins| logins.pepper.is_none());
    let guarded = snapshot.upstreams.iter().any(|upstream| upstream.kind == UpstreamKind::Auth);
    if let Some(span) = stated.filter(|_| !alone && without && guarded) {
        cx.error(span, "nodes share their counts of failed logins, and no pepper for accounts")
            .hint("state `identity.logins.pepper` in the gateway file, the same on all nodes");
    }
}

/// Nobody has two roles that are kept apart.
fn apart(data: &DirectoryData, places: &[Span], roles: &RoleTable, cx: &mut Context<'_>) {
    for (membership, place) in data.memberships.iter().zip(places) {
        let membership = Arc::new(membership.clone());
        if let Err(NoRights::Conflict(pair)) = Rights::of_member(&membership, None, roles) {
            let [one, other] = &pair.roles;
            let user = &membership.user;
            cx.error(*place, format!("`{user}` has `{one}` and `{other}`, which are kept apart"))
                .hint("remove one of the roles");
        }
    }
}

enum Directory {
    File(DirectoryFile),
    Postgres(PostgresDirectory),
}

/// The files that the patterns name, each once, in the order of the patterns.
fn named_files(patterns: &[At<FilePath>], cx: &mut Context<'_>) -> Vec<(PathBuf, Span)> {
    let mut out: Vec<(PathBuf, Span)> = Vec::new();
    for At { value: FilePath(pattern), span } in patterns {
        let shown = pattern.display();
        match cx.matching(pattern) {
            Ok(found) if found.is_empty() => {
                cx.error(*span, format!("no file fits `{shown}`"))
                    .hint("paths are seen from the file that states them");
            }
            Ok(found) => {
                for path in found {
                    if !out.iter().any(|(other, _)| *other == path) {
                        out.push((path, *span));
                    }
                }
            }
            Err(error) => {
                cx.error(*span, format!("cannot list `{shown}`: {error}"))
                    .hint("paths are seen from the file that states them");
            }
        }
    }
    out
}

/// Two listeners cannot share an address.
fn listeners(
    listen: Option<&Filled<At<Listener>>>,
    admin: Option<&At<SocketAddr>>,
    cx: &mut Context<'_>,
) {
    let clients = listen.into_iter().flat_map(|listen| &listen.0);
    let all: Vec<(SocketAddr, Span)> = clients
        .map(|at| (at.value.address, at.span))
        .chain(admin.map(|at| (at.value, at.span)))
        .collect();
    for (index, (address, span)) in all.iter().enumerate() {
        // Port 0 asks for a free port, which is another one each time.
        let taken = all.iter().take(index).find(|(other, _)| other == address);
        if let Some((_, first)) = taken.filter(|_| address.port() != 0) {
            cx.error(*span, format!("the address `{address}` is listened on twice"))
                .related(*first, "the first one");
        }
    }
}
