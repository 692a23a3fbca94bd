//! Reloads: on SIGHUP and when a file of the configuration changes. A new snapshot comes into
//! force in full or not at all; what was in force stays where the new one has errors or its tests do
//! not pass. Versions that were in force are kept, and can be gone back to.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc};

use crate::config::problem::Problems;
use crate::config::settings::{DirectorySettings, Settings};
use crate::config::{self, Loaded, Past};
use crate::domain::clock::Clock;
use crate::policy::snapshot::SnapshotVersion;
use crate::stores::history::{History, RolledBack, Version};
use crate::telemetry::labels::Outcome;
use crate::telemetry::metrics::Metrics;

use super::candidate::{self, Candidate, Unfit};
use super::control::{Ask, Question};
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
    history: History,
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
    Applied { version: Arc<str>, at_next_start: Vec<&'static str>, passed: usize },
    /// They have errors; what was in force stays.
    Failed(Problems),
    /// Their tests do not pass; what was in force stays.
    Untested { version: Arc<str>, report: String },
    /// Something is wrong with the program.
    Broken,
}

impl Reloader {
    /// For a process that runs with `settings`, under the snapshot of that version.
    pub(super) fn new(
        path: PathBuf,
        running: Running,
        apply: Apply,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Self> {
        let Running { settings, version, files, texts } = running;
        let history = History::open(&settings.snapshots)?;
        let mut new = Self { path, settings, version, files, history, apply, clock, metrics };
        new.keep_version("start", texts);
        Ok(new)
    }

    /// Reloads whenever there is reason to, and answers questions about versions, for as long as what
    /// this returns is polled. Changes count from this call on, whenever the first poll comes.
    pub(super) fn keep(
        mut self,
        mut signals: Signals,
        mut questions: mpsc::Receiver<Question>,
    ) -> impl Future<Output = ()> + Send {
        let changed = Arc::new(Notify::new());
        let mut watch = self.watch(&changed);
        async move {
            loop {
                let reason = tokio::select! {
                    _ = signals.hangups.recv() => "SIGHUP",
                    () = changed.notified() => {
                        settled(&changed).await;
                        "a file changed"
                    }
                    _ = signals.back.recv() => {
                        if let Err(why) = self.roll_back(None, "SIGUSR1").await {
                            tracing::error!(reason = "SIGUSR1", "not rolled back: {why}");
                        }
                        continue;
                    }
                    Some((ask, reply)) = questions.recv() => {
                        let told = self.answer(ask).await;
                        // Whoever asked may have left.
                        let _ = reply.send(told);
                        continue;
                    }
                };
                let outcome = self.reload(reason).await;
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

    /// Reads the files, runs their tests, and puts into force what they say. All but the last happens
    /// on a thread of its own: neither requests nor stores wait for it.
    async fn reload(&mut self, reason: &str) -> Reloaded {
        let (path, in_force) = (self.path.clone(), Arc::clone(&self.version));
        let clock = Arc::clone(&self.clock);
        let read = move || candidate::candidate(&path, &in_force, &*clock);
        let candidate = match tokio::task::spawn_blocking(read).await {
            Ok(Ok(candidate)) => candidate,
            Ok(Err(unfit)) => {
                self.metrics.reloaded(Outcome::Failed);
                return self.unfit(unfit);
            }
            Err(error) => {
                self.metrics.reloaded(Outcome::Failed);
                tracing::error!(%error, "the configuration could not be read to its end");
                return Reloaded::Broken;
            }
        };
        let Candidate { loaded, texts, passed } = candidate;
        self.files.clone_from(&loaded.files);
        let version = Arc::clone(&loaded.snapshot.version.0);
        if version == self.version {
            self.metrics.reloaded(Outcome::Ok);
            return Reloaded::Unchanged;
        }
        let at_next_start = self.publish(loaded, &version);
        self.metrics.reloaded(Outcome::Ok);
        self.keep_version(reason, texts);
        Reloaded::Applied { version, at_next_start, passed }
    }

    fn unfit(&mut self, unfit: Unfit) -> Reloaded {
        match unfit {
            Unfit::Errors(problems) => Reloaded::Failed(problems),
            Unfit::Tests { report, version, files } => {
                // A change of a test is reason to try again.
                self.files = files;
                self.metrics.tests_failed();
                Reloaded::Untested { version, report }
            }
        }
    }

    /// Puts a configuration into force, and names the settings that count from the next start.
    fn publish(&mut self, loaded: Loaded, version: &Arc<str>) -> Vec<&'static str> {
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        let at_next_start = at_next_start(&self.settings, &loaded.settings);
        self.metrics.tables_in_shadow(loaded.snapshot.catalog.in_shadow().count());
        (self.apply)(loaded);
        self.version = Arc::clone(version);
        self.metrics.snapshot_in_force(version, self.clock.now().unix_secs());
        at_next_start
    }

    fn keep_version(&mut self, reason: &str, texts: BTreeMap<PathBuf, String>) {
        let version = Version {
            version: self.version.to_string(),
            since: self.clock.now().unix_micros,
            reason: reason.to_owned(),
            rolled_back: None,
            root: self.path.clone(),
            files: texts,
        };
        if let Err(error) = self.history.add(version) {
            tracing::warn!(%error, "the snapshot is kept in memory only");
        }
    }

    /// Puts a version into force that was in force before.
    async fn roll_back(&mut self, wanted: Option<&str>, by: &'static str) -> Result<Value, String> {
        let found = match wanted {
            Some(beginning) => self.history.find(beginning),
            None => self.history.before(&self.version),
        };
        let Version { version, root, files, .. } = found.map_err(|why| why.to_string())?.clone();
        if version == *self.version {
            return Err(format!("`{version}` is in force already"));
        }
        let past = Past::new(files);
        let read = move || config::load_from(&past, &root, &environment);
        let loaded = tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())?;
        // The environment or a secret file may be another than it was.
        let mut loaded = loaded.map_err(|problems| problems.to_string())?;
        let in_force: Arc<str> = version.into();
        loaded.snapshot.version = SnapshotVersion(Arc::clone(&in_force));
        let before = Arc::clone(&self.version);
        self.publish(loaded, &in_force);
        self.metrics.rolled_back();
        let how = RolledBack { at: self.clock.now().unix_micros, by: by.to_owned() };
        if let Err(error) = self.history.rolled_back(&in_force, how) {
            tracing::warn!(%error, "it cannot be written down that a version was gone back to");
        }
        tracing::warn!(
            reason = by,
            snapshot.version = %in_force,
            snapshot.before = %before,
            "rolled back: this version is in force until a file changes or SIGHUP comes"
        );
        Ok(json!({ "version": &*in_force }))
    }

    async fn answer(&mut self, ask: Ask) -> Result<Value, String> {
        match ask {
            Ask::List => {
                let all = self.history.all().map(|version| self.told(version));
                Ok(json!({ "snapshots": all.collect::<Vec<_>>() }))
            }
            Ask::Show { version } => {
                let found = self.history.find(&version).map_err(|why| why.to_string())?;
                let mut told = self.told(found);
                if let Some(told) = told.as_object_mut() {
                    told.insert("texts".into(), json!(found.files));
                }
                Ok(told)
            }
            Ask::Rollback { version } => {
                self.roll_back(version.as_deref(), "tollgate snapshots").await
            }
        }
    }

    fn told(&self, version: &Version) -> Value {
        json!({
            "version": version.version,
            "in_force": version.version == *self.version,
            "since": version.since,
            "reason": version.reason,
            "rolled_back": version.rolled_back,
            "bytes": version.bytes(),
            "files": version.files.keys().collect::<Vec<_>>(),
        })
    }

    fn tell(&self, reason: &'static str, outcome: &Reloaded) {
        match outcome {
            Reloaded::Unchanged => {
                tracing::info!(reason, "configuration read again, nothing has changed");
            }
            Reloaded::Applied { version, at_next_start, passed } => {
                tracing::info!(
                    reason,
                    snapshot.version = %version,
                    tests.passed = passed,
                    "configuration reloaded"
                );
                if !at_next_start.is_empty() {
                    let settings = at_next_start.join(", ");
                    tracing::warn!(%settings, "these settings changed and count from the next start");
                }
            }
            Reloaded::Failed(problems) => {
                let version = &self.version;
                tracing::error!(reason, snapshot.version = %version, "configuration not reloaded, the policy in force stays:\n{problems}");
            }
            Reloaded::Untested { version: refused, report } => {
                let version = &self.version;
                tracing::error!(reason, snapshot.version = %version, snapshot.refused = %refused, "configuration not reloaded, its tests do not pass, the policy in force stays:\n{report}");
            }
            Reloaded::Broken => {}
        }
    }
}

/// What a process was started with.
pub(super) struct Running {
    pub(super) settings: Settings,
    pub(super) version: Arc<str>,
    pub(super) files: Vec<PathBuf>,
    /// What the files say.
    pub(super) texts: BTreeMap<PathBuf, String>,
}

/// The signals that reload and roll back.
pub(super) struct Signals {
    hangups: Signal,
    back: Signal,
}

/// SIGHUP and SIGUSR1 from now on: before this they end the process.
pub(super) fn signals() -> std::io::Result<Signals> {
    let back = signal(SignalKind::user_defined1())?;
    Ok(Signals { hangups: signal(SignalKind::hangup())?, back })
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
    let Settings {
        listeners,
        admin,
        server,
        directory,
        limits,
        sessions,
        audit,
        metering,
        log,
        tests: _,
        snapshots,
    } = running;
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
        ("snapshots", *snapshots == wanted.snapshots),
    ]
    .into_iter()
    .filter_map(|(name, same)| (!same).then_some(name))
    .collect()
}
