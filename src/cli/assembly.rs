//! Puts the parts of a process together: clock, metrics, stores, what a snapshot's requests may
//! know. Nothing here waits for a store to be there.

use std::sync::Arc;

use anyhow::Context;
use tokio::runtime::Handle;

use crate::config::settings::{DirectorySettings, Settings};
use crate::domain::clock::Clock;
use crate::policy::Snapshot;
use crate::stores::directory::{Directory, FileDirectory};
use crate::stores::keys::KeyStore;
use crate::stores::node::NodeKnowledge;
use crate::stores::tokens::{VERIFIED_BYTES, VerifiedTokens};
use crate::telemetry::clock::SystemClock;
use crate::telemetry::metrics::Metrics;

/// What lives as long as the process and serves every snapshot.
pub(super) struct Parts {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) keys: KeyStore,
    pub(super) tokens: Arc<VerifiedTokens>,
    pub(super) directory: Arc<Directory>,
}

impl Parts {
    /// Opens what the settings name; tasks run on that runtime.
    pub(super) fn new(settings: &Settings, runtime: Handle) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let metrics = Arc::new(Metrics::new().context("cannot register metrics")?);
        let keys = KeyStore::new(Arc::clone(&clock), Arc::clone(&metrics), runtime)
            .context("cannot set up the fetching of key sets")?;
        let tokens = VerifiedTokens::new(VERIFIED_BYTES, Arc::clone(&clock));
        let directory = Arc::new(match &settings.directory {
            DirectorySettings::File(data) => Directory::File(FileDirectory::new(data)),
            DirectorySettings::Postgres(_) => anyhow::bail!("no directory in PostgreSQL yet"),
        });
        Ok(Self { clock, metrics, keys, tokens, directory })
    }

    /// What requests under the snapshot may know.
    pub(super) fn knowledge(&self, snapshot: &Snapshot) -> NodeKnowledge {
        NodeKnowledge::new(
            self.keys.follow(&snapshot.identity),
            self.tokens.view(),
            Arc::clone(&self.directory),
            Arc::clone(&self.clock),
            Arc::clone(&self.metrics),
        )
    }
}
