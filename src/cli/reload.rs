//! Reloads: on SIGHUP and when a file of the configuration changes. A new snapshot comes into
//! force in full or not at all; what was in force stays where the new one has errors.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use crate::config::problem::Problems;
use crate::config::settings::{DirectorySettings, Settings};
use crate::config::{self, Loaded};
use crate::domain::clock::Clock;
use crate::telemetry::labels::Outcome;
use crate::telemetry::metrics::Metrics;

use super::environment;
use super::watch::Watch;

/// Writers that write several files are given this long to finish with the next one.
const QUIET: Duration = Duration::from_millis(100);
/// But no longer than this altogether.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where a snapshot comes into force.
pub(super) type Apply = Box<dyn FnMut(Loaded) + Send>;

/// Reads the configuration again and puts it into force.
pub(super) struct Reloader {
    path: PathBuf,
    /// What the process runs with, whatever the files say since.
    settings: Settings,
    version: Arc<str>,
    files: Vec<PathBuf>,
    apply: Apply,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

/// What a reload came to.
#[derive(Debug)]
pub(super) enum Reloaded {
    /// The files say what is in force already.
    Unchanged,
    /// What they say is in force, but for these settings, which count from the next start.
    Applied { version: Arc<str>, at_next_start: Vec<&'static str> },
    /// They have errors; what was in force stays.
    Failed(Problems),
}

impl Reloader {
    /// For a process that runs with `settings`, under the snapshot of that version.
    pub(super) fn new(
        path: PathBuf,
        running: Running,
        apply: Apply,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let Running { settings, version, files } = running;
        Self { path, settings, version, files, apply, clock, metrics }
    }

    /// Reloads whenever there is reason to, for as long as what this returns is polled. Changes
    /// count from this call on, whenever the first poll comes.
    pub(super) fn keep(mut self, mut hangups: Signal) -> impl Future<Output = ()> + Send {
        let changed = Arc::new(Notify::new());
        let mut watch = self.watch(&changed);
        async move {
            loop {
                let reason = tokio::select! {
                    _ = hangups.recv() => "SIGHUP",
                    () = changed.notified() => {
                        settled(&changed).await;
                        "a file changed"
                    }
                };
                // Files are read here, on a thread that serves no requests.
                let outcome = self.reload();
                self.tell(reason, &outcome);
                if let Some(watch) = &mut watch {
                    follow(watch, &self.files);
                }
            }
        }
    }

    fn watch(&self, changed: &Arc<Notify>) -> Option<Watch> {
        match Watch::new(Arc::clone(changed)) {
            Ok(mut watch) => {
                follow(&mut watch, &self.files);
                Some(watch)
            }
            Err(error) => {
                tracing::warn!(%error, "files cannot be watched; SIGHUP reloads");
                None
            }
        }
    }

    /// Reads the files and puts into force what they say.
    pub(super) fn reload(&mut self) -> Reloaded {
        let loaded = match config::load(&self.path, &environment) {
            Ok(loaded) => loaded,
            Err(problems) => {
                self.metrics.reloaded(Outcome::Failed);
                return Reloaded::Failed(problems);
            }
        };
        self.files.clone_from(&loaded.files);
        let version = Arc::clone(&loaded.snapshot.version.0);
        if version == self.version {
            self.metrics.reloaded(Outcome::Ok);
            return Reloaded::Unchanged;
        }
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        let at_next_start = at_next_start(&self.settings, &loaded.settings);
        (self.apply)(loaded);
        self.version = Arc::clone(&version);
        self.metrics.reloaded(Outcome::Ok);
        self.metrics.snapshot_in_force(&version, self.clock.now().unix_secs());
        Reloaded::Applied { version, at_next_start }
    }

    fn tell(&self, reason: &'static str, outcome: &Reloaded) {
        match outcome {
            Reloaded::Unchanged => {
                tracing::info!(reason, "configuration read again, nothing has changed");
            }
            Reloaded::Applied { version, at_next_start } => {
                tracing::info!(reason, snapshot.version = %version, "configuration reloaded");
                if !at_next_start.is_empty() {
                    let settings = at_next_start.join(", ");
                    tracing::warn!(%settings, "these settings changed and count from the next start");
                }
            }
            Reloaded::Failed(problems) => {
                let version = &self.version;
                tracing::error!(reason, snapshot.version = %version, "configuration not reloaded, the policy in force stays:\n{problems}");
            }
        }
    }
}

/// What a process was started with.
pub(super) struct Running {
    pub(super) settings: Settings,
    pub(super) version: Arc<str>,
    pub(super) files: Vec<PathBuf>,
}

/// SIGHUP from now on: before this it ends the process.
pub(super) fn hangups() -> std::io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// Waits until whoever writes seems to be done.
pub(super) async fn settled(changed: &Notify) {
    let _ = tokio::time::timeout(PATIENCE, quiet(changed)).await;
}

/// Waits until nothing has changed for a moment.
async fn quiet(changed: &Notify) {
    while tokio::time::timeout(QUIET, changed.notified()).await.is_ok() {}
}

fn follow(watch: &mut Watch, files: &[PathBuf]) {
    if let Err(error) = watch.follow(files) {
        tracing::warn!(%error, "some files cannot be watched; SIGHUP reloads");
    }
}

/// The settings that differ and that a running process cannot change.
fn at_next_start(running: &Settings, wanted: &Settings) -> Vec<&'static str> {
    let Settings { listeners, admin, server, directory, limits, sessions, audit, metering, log } =
        running;
    let same_directory = match (directory, &wanted.directory) {
        // Its contents were reloaded.
        (DirectorySettings::File(_), DirectorySettings::File(_)) => true,
        (DirectorySettings::Postgres(a), DirectorySettings::Postgres(b)) => a == b,
        (DirectorySettings::File(_), DirectorySettings::Postgres(_))
        | (DirectorySettings::Postgres(_), DirectorySettings::File(_)) => false,
    };
    [
        ("listen", *listeners == wanted.listeners),
        ("admin", *admin == wanted.admin),
        ("server", *server == wanted.server),
        ("directory", same_directory),
        ("limits_store", *limits == wanted.limits),
        ("sessions", *sessions == wanted.sessions),
        ("audit", *audit == wanted.audit),
        ("metering", *metering == wanted.metering),
        ("log", *log == wanted.log),
    ]
    .into_iter()
    .filter_map(|(name, same)| (!same).then_some(name))
    .collect()
}
