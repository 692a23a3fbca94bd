//! Puts the parts of a process together: clock, metrics, stores, what a snapshot's requests may
//! know. Nothing here waits for a store to be there.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::Handle;

use crate::admin::{self, AdminState};
use crate::config::Loaded;
use crate::config::settings::{DirectorySettings, Settings};
use crate::domain::clock::Clock;
use crate::pipeline::response::DirectAnswer;
use crate::policy::Snapshot;
use crate::proxy::canary::Canary;
use crate::proxy::{self, AdminService, Gateway};
use crate::stores::audit::AuditLog;
use crate::stores::directory::{Directory, FileDirectory, PostgresStore};
use crate::stores::guards::address::AddressGuard;
use crate::stores::keys::KeyStore;
use crate::stores::limits::LimitStore;
use crate::stores::logins::Logins;
use crate::stores::node::NodeKnowledge;
use crate::stores::sessions::Sessions;
use crate::stores::tokens::{VERIFIED_BYTES, VerifiedTokens};
use crate::stores::usage::Usage;
use crate::telemetry::clock::SystemClock;
use crate::telemetry::metrics::Metrics;

use super::{readiness, readings};

/// Client addresses whose rate is counted one by one; beyond that they share.
const MAX_ADDRESSES: NonZeroU32 = NonZeroU32::MIN.saturating_add(131_071);
/// How often addresses at rest are forgotten.
const PRUNE: Duration = Duration::from_secs(5);

/// What lives as long as the process and serves every snapshot.
pub(super) struct Parts {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
    keys: KeyStore,
    tokens: Arc<VerifiedTokens>,
    pub(super) sessions: Arc<Sessions>,
    /// A directory that is a store of its own. One from a file belongs to its snapshot.
    shared_directory: Option<Arc<Directory>>,
}

impl Parts {
    /// Opens what the settings name; tasks run on that runtime.
    pub(super) fn new(settings: &Settings, runtime: &Handle) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let metrics = Arc::new(Metrics::new().context("cannot register metrics")?);
        let keys = KeyStore::new(Arc::clone(&clock), Arc::clone(&metrics), runtime.clone())
            .context("cannot set up the fetching of key sets")?;
        let tokens = VerifiedTokens::new(VERIFIED_BYTES);
        let sessions = Sessions::new(&settings.sessions, Arc::clone(&clock));
        let sessions = Arc::new(sessions.context("cannot open the store of sessions")?);
        let keeper = Arc::clone(&sessions);
        runtime.spawn(async move { keeper.keep().await });
        let shared_directory = match &settings.directory {
            DirectorySettings::File(_) => None,
            DirectorySettings::Postgres(postgres) => {
                let store = PostgresStore::start(
                    postgres,
                    Arc::clone(&clock),
                    Arc::clone(&metrics),
                    runtime,
                );
                let store = store.context("cannot open the directory")?;
                Some(Arc::new(Directory::Postgres(store)))
            }
        };
        Ok(Self { clock, metrics, keys, tokens, sessions, shared_directory })
    }

    /// How many verified tokens are in memory, roughly.
    pub(super) fn tokens_remembered(&self) -> u64 {
        self.tokens.count()
    }

    /// What requests may know under a snapshot that was loaded with these settings. A directory
    /// file comes into force together with its snapshot, never before or after it; `before` is the
    /// directory in force, which stays where the settings want one of another kind.
    pub(super) fn knowledge(
        &self,
        snapshot: &Snapshot,
        settings: &Settings,
        before: Option<&Arc<Directory>>,
    ) -> NodeKnowledge {
        let from_file = || match &settings.directory {
            DirectorySettings::File(data) => Some(Directory::File(FileDirectory::new(data))),
            DirectorySettings::Postgres(_) => None,
        };
        let directory = match (&self.shared_directory, from_file(), before) {
            (Some(shared), _, _) => Arc::clone(shared),
            (None, Some(file), _) => Arc::new(file),
            (None, None, Some(before)) => Arc::clone(before),
            // Whoever begins with a directory in a database has opened it above.
            (None, None, None) => Arc::new(Directory::File(FileDirectory::new(&<_>::default()))),
        };
        NodeKnowledge::new(
            self.keys.follow(&snapshot.identity),
            self.tokens.view(),
            directory,
            Arc::clone(&self.sessions),
            Arc::clone(&self.clock),
            Arc::clone(&self.metrics),
        )
    }
}

/// A gateway that is ready to run, and what goes with it.
pub(super) struct Assembled {
    pub(super) gateway: Arc<Gateway>,
    pub(super) admin: AdminService,
    pub(super) settings: Settings,
    pub(super) parts: Arc<Parts>,
    pub(super) limits: Arc<LimitStore>,
    pub(super) audit: Option<AuditLog>,
    pub(super) usage: Option<Usage>,
    pub(super) canary: Arc<Canary>,
}

/// Builds everything that the configuration names; tasks run on that runtime.
pub(super) fn assemble(loaded: Loaded, runtime: &Handle) -> anyhow::Result<Assembled> {
    let Loaded { settings, snapshot, .. } = loaded;
    let parts = Arc::new(Parts::new(&settings, runtime)?);
    let limits = LimitStore::new(&settings.limits, Arc::clone(&parts.clock));
    let limits = Arc::new(limits.context("cannot open the store of limits")?);
    let keeper = Arc::clone(&limits);
    runtime.spawn(async move { keeper.keep().await });
    let logins = Logins::new(&settings.limits, Arc::clone(&parts.clock));
    let logins = Arc::new(logins.context("cannot open the store of logins")?);
    let keeper = Arc::clone(&logins);
    runtime.spawn(async move { keeper.keep().await });
    let addresses = Arc::new(AddressGuard::new(MAX_ADDRESSES, Arc::clone(&parts.clock)));
    runtime.spawn(prune(Arc::clone(&addresses)));
    let audit = settings.audit.as_ref().map(|audit| {
        let node = Arc::clone(&settings.server.node);
        AuditLog::start(audit, node, Arc::clone(&parts.clock))
            .with_context(|| format!("cannot open the audit log `{}`", audit.file.display()))
    });
    let audit = audit.transpose()?;
    let usage = settings.metering.as_ref().map(|metering| {
        let node = Arc::clone(&settings.server.node);
        Usage::start(metering, node, Arc::clone(&parts.clock), audit.clone())
            .with_context(|| format!("cannot count usage in `{}`", metering.journal.display()))
    });
    let usage = usage.transpose()?;
    if let Some(usage) = &usage {
        runtime.spawn(usage.clone().keep());
    }
    let snapshot = Arc::new(snapshot);
    let node = Arc::new(parts.knowledge(&snapshot, &settings, None));
    parts.metrics.tables_in_shadow(snapshot.catalog.in_shadow().count());
    parts.metrics.snapshot_in_force(&snapshot.version.0, parts.clock.now().unix_secs());
    let gateway = Gateway::new(proxy::Parts {
        snapshot,
        node,
        limits: Arc::clone(&limits),
        logins: Arc::clone(&logins),
        addresses: Arc::clone(&addresses),
        audit: audit.clone(),
        usage: usage.clone(),
        metrics: Arc::clone(&parts.metrics),
        clock: Arc::clone(&parts.clock),
        background: runtime.clone(),
    });
    runtime.spawn(Arc::clone(&gateway).end_sockets());
    runtime.spawn(Arc::clone(&gateway).recheck_sockets());
    readings::add(&parts, &limits, &logins, audit.as_ref());
    readings::add_usage(&parts, usage.as_ref());
    let canary = Canary::new();
    runtime.spawn(Arc::clone(&canary).keep(Arc::clone(&gateway)));
    let version = Arc::clone(&gateway);
    let state = AdminState {
        metrics: Arc::clone(&parts.metrics),
        checks: readiness::checks(
            &gateway,
            &canary,
            &limits,
            &parts.sessions,
            Arc::clone(&parts.clock),
            &settings.listeners,
        ),
        snapshot_version: Box::new(move || version.current().snapshot.version.to_string()),
        draining: Arc::new(AtomicBool::new(false)),
        node: Arc::clone(&settings.server.node),
    };
    let admin = served(state);
    Ok(Assembled { gateway, admin, settings, parts, limits, audit, usage, canary })
}

/// The admin room's answers, for the shell to serve.
fn served(state: AdminState) -> AdminService {
    let draining = Arc::clone(&state.draining);
    let answers = move |method: &http::Method, path: &str| {
        let answer = admin::answer(&state, method, path);
        let content_type = http::HeaderValue::from_static(answer.content_type);
        DirectAnswer {
            status: answer.status,
            fields: [(http::header::CONTENT_TYPE, content_type)].into_iter().collect(),
            body: answer.body,
        }
    };
    AdminService { answers: Box::new(answers), draining }
}

/// Forgets the addresses that are at rest, for as long as it is polled.
async fn prune(addresses: Arc<AddressGuard>) {
    let mut rounds = tokio::time::interval(PRUNE);
    loop {
        rounds.tick().await;
        addresses.prune();
    }
}

/// Puts a configuration that was loaded again into force.
pub(super) fn install(gateway: &Gateway, canary: &Canary, parts: &Parts, loaded: Loaded) {
    let before = gateway.current();
    let node = parts.knowledge(&loaded.snapshot, &loaded.settings, Some(before.node.directory()));
    gateway.install(Arc::new(loaded.snapshot), Arc::new(node));
    canary.again();
}
