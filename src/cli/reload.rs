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

use crate::config::Loaded;
use crate::config::problem::Problems;
use crate::config::settings::Settings;
use crate::domain::clock::Clock;
use crate::domain::published::{ChangedBy, PolicyAction};
use crate::stores::audit::AuditLog;
use crate::stores::history::{History, RolledBack, Version};
use crate::telemetry::labels::Outcome;
use crate::telemetry::metrics::Metrics;

use super::candidate::{self, Candidate, Unfit};
use super::control::{Ask, Question};
use super::rollback::{self, Data, Directory};
use super::watch::Watch;

mod settings;
mod tell;
#[cfg(test)]
mod tests;

use settings::at_next_start;
use tell::first_line;

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
    /// The version of the policies: another than `version` where the directory is not that of it.
    kept: Arc<str>,
    /// The directory file in force, if it is one.
    data: Option<Data>,
    files: Vec<PathBuf>,
    history: History,
    apply: Apply,
    shell: Shell,
}

/// What a reloader tells of what it does.
pub(super) struct Shell {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) audit: Option<AuditLog>,
}

/// What a reload came to.
#[derive(Debug)]
pub(super) enum Reloaded {
    /// The files say what is in force already, and its tests pass.
    Unchanged { passed: usize },
    /// The same, but its tests do not pass, as they stand now. It stays in force.
    Doubtful { report: String },
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
        shell: Shell,
    ) -> std::io::Result<Self> {
        let Running { settings, version, files, texts, directory } = running;
        let history = History::open(&settings.snapshots)?;
        let (kept, data) = (Arc::clone(&version), None);
        let mut new = Self { path, settings, version, kept, data, files, history, apply, shell };
        new.keep_version("start", texts, directory);
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
                let by = tokio::select! {
                    _ = signals.hangups.recv() => ChangedBy::Hangup,
                    () = changed.notified() => {
                        settled(&changed).await;
                        ChangedBy::Files
                    }
                    _ = signals.back.recv() => {
                        // What came of it is in the log.
                        let _ = self.roll_back(None, Directory::Stays, ChangedBy::User1).await;
                        continue;
                    }
                    Some(Question { ask, uid, reply }) = questions.recv() => {
                        let told = self.answer(ask, uid).await;
                        // Whoever asked may have left.
                        let _ = reply.send(told);
                        continue;
                    }
                };
                let before = Arc::clone(&self.version);
                let outcome = self.reload(by).await;
                self.tell(by, before, &outcome);
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
    async fn reload(&mut self, by: ChangedBy) -> Reloaded {
        let (path, clock) = (self.path.clone(), Arc::clone(&self.shell.clock));
        let read = move || candidate::candidate(&path, &*clock);
        let candidate = match tokio::task::spawn_blocking(read).await {
            Ok(Ok(candidate)) => candidate,
            Ok(Err(unfit)) => return self.unfit(unfit),
            Err(error) => {
                self.shell.metrics.reloaded(Outcome::Failed);
                tracing::error!(%error, "the configuration could not be read to its end");
                return Reloaded::Broken;
            }
        };
        let Candidate { loaded, texts, passed } = candidate;
        self.files.clone_from(&loaded.files);
        let version = Arc::clone(&loaded.snapshot.version.0);
        self.shell.metrics.tests_pass(true);
        if version == self.version {
            self.shell.metrics.reloaded(Outcome::Ok);
            return Reloaded::Unchanged { passed };
        }
        let directory = loaded.directory.clone();
        let at_next_start = self.publish(loaded);
        self.shell.metrics.reloaded(Outcome::Ok);
        self.kept = Arc::clone(&version);
        self.keep_version(by.as_str(), texts, directory);
        Reloaded::Applied { version, at_next_start, passed }
    }

    fn unfit(&mut self, unfit: Unfit) -> Reloaded {
        let metrics = &self.shell.metrics;
        match unfit {
            Unfit::Errors(problems) => {
                metrics.reloaded(Outcome::Failed);
                Reloaded::Failed(problems)
            }
            Unfit::Tests { report, version, files } => {
                // A change of a test is reason to try again.
                self.files = files;
                if version == self.version {
                    metrics.reloaded(Outcome::Ok);
                    metrics.tests_pass(false);
                    return Reloaded::Doubtful { report };
                }
                metrics.reloaded(Outcome::Failed);
                metrics.tests_failed();
                Reloaded::Untested { version, report }
            }
        }
    }

    /// Puts a configuration into force, and names the settings that count from the next start.
    fn publish(&mut self, loaded: Loaded) -> Vec<&'static str> {
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        let at_next_start = at_next_start(&self.settings, &loaded.settings);
        self.version = Arc::clone(&loaded.snapshot.version.0);
        let Shell { clock, metrics, .. } = &self.shell;
        metrics.tables_in_shadow(loaded.snapshot.catalog.in_shadow().count());
        (self.apply)(loaded);
        metrics.snapshot_in_force(&self.version, clock.now().unix_secs());
        at_next_start
    }

    fn keep_version(
        &mut self,
        reason: &str,
        texts: BTreeMap<PathBuf, String>,
        directory: Option<PathBuf>,
    ) {
        let version = Version {
            version: self.version.to_string(),
            since: self.shell.clock.now().unix_micros,
            reason: reason.to_owned(),
            rolled_back: None,
            root: self.path.clone(),
            files: texts,
            directory,
        };
        // Where the directory is a database, the last file stays the newest that there was.
        self.data = Data::of(&version).or(self.data.take());
        if let Err(error) = self.history.add(version) {
            tracing::warn!(%error, "the snapshot is kept in memory only");
        }
    }

    /// Puts a version into force that was in force before, and says what came of it.
    async fn roll_back(
        &mut self,
        wanted: Option<&str>,
        directory: Directory,
        by: ChangedBy,
    ) -> Result<Value, String> {
        let found = match wanted {
            Some(beginning) => self.history.find(beginning),
            None => self.history.before(&self.kept),
        };
        let (found, to) = match found {
            Ok(found) => (Ok(found.clone()), Some(Arc::from(found.version.as_str()))),
            Err(why) => (Err(why.to_string()), None),
        };
        let before = Arc::clone(&self.version);
        let outcome = match found {
            Ok(kept) => self.put_back(kept, directory, by).await,
            Err(why) => Err(why),
        };
        match &outcome {
            Ok(told) => {
                tracing::warn!(
                    reason = by.as_str(),
                    snapshot.version = %self.version,
                    snapshot.before = %before,
                    "rolled back: this version is in force until a file changes or SIGHUP comes"
                );
                let to = Some(Arc::clone(&self.version));
                self.record(PolicyAction::Rollback, by, before, to, None);
                Ok(told.clone())
            }
            Err(why) => {
                tracing::error!(reason = by.as_str(), "not rolled back: {why}");
                self.record(PolicyAction::Rollback, by, before, to, Some(first_line(why)));
                Err(why.clone())
            }
        }
    }

    async fn put_back(
        &mut self,
        kept: Version,
        directory: Directory,
        by: ChangedBy,
    ) -> Result<Value, String> {
        let whole = directory == Directory::Stays || self.version == self.kept;
        if kept.version == *self.kept && whole {
            return Err(format!("`{}` is in force already", kept.version));
        }
        let today = self.data.clone();
        let version: Arc<str> = kept.version.as_str().into();
        let compile = move || rollback::compiled(&kept, today, directory);
        let compiled = tokio::task::spawn_blocking(compile).await;
        let back = compiled.map_err(|error| error.to_string())??;
        let other = (*back.version() != version).then(|| back.data.as_ref().map(|d| &*d.of));
        let told = json!({ "version": &*version, "directory_of": other.flatten() });
        let rollback::Back { loaded, data } = back;
        self.publish(loaded);
        self.data = data.or(self.data.take());
        self.kept = Arc::clone(&version);
        self.shell.metrics.rolled_back();
        // They passed when it came into force.
        self.shell.metrics.tests_pass(true);
        let at = self.shell.clock.now().unix_micros;
        let how = RolledBack { at, by: by.as_str().to_owned() };
        if let Err(error) = self.history.rolled_back(&version, how) {
            tracing::warn!(%error, "it cannot be written down that a version was gone back to");
        }
        Ok(told)
    }

    async fn answer(&mut self, ask: Ask, uid: Option<u32>) -> Result<Value, String> {
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
            Ask::Rollback { version, with_directory } => {
                let directory = if with_directory { Directory::GoesBack } else { Directory::Stays };
                let by = ChangedBy::Command { uid };
                self.roll_back(version.as_deref(), directory, by).await
            }
        }
    }

    fn told(&self, version: &Version) -> Value {
        let in_force = version.version == *self.kept;
        let other = self.data.as_ref().filter(|_| in_force && self.version != self.kept);
        json!({
            "version": version.version,
            "in_force": in_force,
            "directory_of": other.map(|data| &*data.of),
            "since": version.since,
            "reason": version.reason,
            "rolled_back": version.rolled_back,
            "bytes": version.bytes(),
            "files": version.files.keys().collect::<Vec<_>>(),
        })
    }
}

/// What a process was started with.
pub(super) struct Running {
    pub(super) settings: Settings,
    pub(super) version: Arc<str>,
    pub(super) files: Vec<PathBuf>,
    /// What the files say.
    pub(super) texts: BTreeMap<PathBuf, String>,
    /// The directory file, if it is one.
    pub(super) directory: Option<PathBuf>,
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
