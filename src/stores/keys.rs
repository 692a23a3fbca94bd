//! Key sets by URL: fetched in the background, never on a request's own account.
//!
//! One task for each URL fetches at start, before `refresh` has passed, after failures with
//! backoff, and when a token names an unknown key, at most once in `unknown_key_window`. Requests
//! that need such a key wait for the task together. The last good keys stay whatever the endpoint
//! does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use crate::domain::clock::{Clock, Now};
use crate::policy::identity::{IdentityPolicy, JwksSource, KeySet};
use crate::policy::known::Keys;
use crate::telemetry::labels::Outcome;
use crate::telemetry::metrics::Metrics;

mod fetch;

pub use fetch::{FetchError, Fetcher};

/// First wait after a failed fetch; it doubles up to [`MAX_BACKOFF`].
const MIN_BACKOFF: Duration = Duration::from_secs(1);
/// Longest wait after a failed fetch.
const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// All key sets of this process. A reload keeps those whose source did not change.
pub struct KeyStore {
    fetcher: Fetcher,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    runtime: Handle,
    sets: Mutex<Vec<Weak<RemoteKeys>>>,
}

impl KeyStore {
    /// A store whose tasks run on that runtime.
    ///
    /// # Errors
    /// [`FetchError::Client`] if TLS cannot be set up.
    pub fn new(
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        runtime: Handle,
    ) -> Result<Self, FetchError> {
        let fetcher = Fetcher::new()?;
        Ok(Self { fetcher, clock, metrics, runtime, sets: Mutex::default() })
    }

    /// The key sets of a snapshot's issuers, in their order. Sets that are new begin to be
    /// fetched; a set whose last holder is dropped is fetched no more.
    pub fn follow(&self, identity: &IdentityPolicy) -> Vec<Option<Arc<RemoteKeys>>> {
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        sets.retain(|set| set.strong_count() > 0);
        let mut followed = Vec::with_capacity(identity.issuers.len());
        for issuer in &identity.issuers {
            followed.push(issuer.jwks.as_ref().map(|source| self.set(source, &mut sets)));
        }
        followed
    }

    fn set(&self, source: &JwksSource, sets: &mut Vec<Weak<RemoteKeys>>) -> Arc<RemoteKeys> {
        let same = |set: &Arc<RemoteKeys>| set.state.source == *source;
        if let Some(set) = sets.iter().filter_map(Weak::upgrade).find(same) {
            return set;
        }
        let state = Arc::new(State {
            source: source.clone(),
            fetcher: self.fetcher.clone(),
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
            current: ArcSwapOption::empty(),
            generation: AtomicU64::new(0),
            progress: Mutex::new(Progress::default()),
            wanted: Notify::new(),
            rounds: watch::Sender::new(0),
        });
        let task = self.runtime.spawn(run(Arc::clone(&state))).abort_handle();
        let set = Arc::new(RemoteKeys { state, task });
        sets.push(Arc::downgrade(&set));
        set
    }
}

/// One key set by URL.
pub struct RemoteKeys {
    state: Arc<State>,
    task: AbortHandle,
}

impl Drop for RemoteKeys {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct State {
    source: JwksSource,
    fetcher: Fetcher,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    current: ArcSwapOption<KeySet>,
    generation: AtomicU64,
    progress: Mutex<Progress>,
    wanted: Notify,
    /// Counts the rounds of the task: a fetch, or the finding that none is due.
    rounds: watch::Sender<u64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    fetching: bool,
    /// When a fetch was last begun because of an unknown key, or with no keys at all.
    asked_at: Option<Now>,
    stats: KeyStats,
}

/// How a key set fares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyStats {
    /// Fetches that were begun.
    pub fetches: u64,
    /// Fetches that failed in a row; the keys are those of the last good one.
    pub failures: u64,
    /// When the keys were fetched.
    pub fetched_at: Option<Now>,
}

impl RemoteKeys {
    /// What there is, when a token names `kid`.
    pub fn keys(&self, kid: Option<&str>) -> Keys {
        let current = self.state.current.load_full();
        let missing = match (&current, kid) {
            (Some(set), Some(kid)) => set.with_kid(kid).next().is_none(),
            (Some(_), None) => false,
            (None, _) => true,
        };
        if missing && self.state.due() { Keys::Ask } else { settled(current) }
    }

    /// What there is, after [`look_up`](Self::look_up).
    pub fn settled(&self) -> Keys {
        settled(self.state.current.load_full())
    }

    /// Counts how often keys were taken away or replaced: what was verified under another count
    /// was verified with keys that may no longer count.
    pub fn generation(&self) -> u64 {
        self.state.generation.load(Ordering::Acquire)
    }

    /// Waits until the keys were fetched, or it was found not to be their time.
    pub async fn look_up(&self) {
        let mut rounds = self.state.rounds.subscribe();
        self.state.wanted.notify_one();
        // The task bounds its fetches itself; this bounds the wait should it be gone.
        let patience = self.state.source.timeout.saturating_add(Duration::from_secs(1));
        if tokio::time::timeout(patience, rounds.changed()).await.is_err() {
            tracing::warn!(url = %self.state.source.url, "no word from the key set's fetch");
        }
    }

    /// How it fares.
    pub fn stats(&self) -> KeyStats {
        self.state.progress().stats
    }

    /// Whether keys were ever fetched: for readiness.
    pub fn is_ready(&self) -> bool {
        self.state.current.load().is_some()
    }

    /// Where the keys come from.
    pub fn url(&self) -> &str {
        &self.state.source.url
    }
}

fn settled(current: Option<Arc<KeySet>>) -> Keys {
    current.map_or(Keys::Away, Keys::Are)
}

impl State {
    fn progress(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether waiting could bring a key that is not there: a fetch is under way, or one may be
    /// begun.
    fn due(&self) -> bool {
        let progress = *self.progress();
        progress.fetching || self.window_passed(&progress)
    }

    fn window_passed(&self, progress: &Progress) -> bool {
        let window = self.source.unknown_key_window;
        progress.asked_at.is_none_or(|asked| self.clock.now().since(asked) >= window)
    }

    /// Fetches once and says how it went.
    async fn fetch(&self, asked: bool) -> Outcome {
        let first = self.current.load().is_none();
        {
            let mut progress = self.progress();
            progress.fetching = true;
            progress.stats.fetches += 1;
            if asked || first {
                progress.asked_at = Some(self.clock.now());
            }
        }
        let fetched = self.fetcher.fetch(&self.source).await;
        let outcome = match fetched {
            Ok(set) => {
                self.replace(set);
                Outcome::Ok
            }
            Err(error) => {
                let kept = self.current.load().is_some();
                let url = &self.source.url;
                tracing::warn!(%url, %error, keys.kept = kept, "a key set could not be fetched");
                Outcome::Failed
            }
        };
        self.metrics.lookups.jwks_fetched(outcome);
        let mut progress = self.progress();
        progress.fetching = false;
        match outcome {
            Outcome::Ok => {
                progress.stats.failures = 0;
                // Keys may be rotated as soon as they were fetched for the first time.
                if first && !asked {
                    progress.asked_at = None;
                }
                progress.stats.fetched_at = Some(self.clock.now());
            }
            Outcome::Failed => progress.stats.failures += 1,
        }
        outcome
    }

    fn replace(&self, set: KeySet) {
        let set = Arc::new(set);
        let before = self.current.swap(Some(Arc::clone(&set)));
        let lost = before.is_some_and(|before| !set.keeps_all_of(&before));
        if lost {
            tracing::info!(url = %self.source.url, "keys were taken out of a key set");
            self.generation.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// The life of a key set.
async fn run(state: Arc<State>) {
    let mut backoff = MIN_BACKOFF;
    let mut asked = false;
    loop {
        let pause = match state.fetch(asked).await {
            Outcome::Ok => {
                backoff = MIN_BACKOFF;
                state.source.refresh
            }
            Outcome::Failed => {
                let pause = backoff.min(state.source.refresh);
                backoff = (backoff * 2).min(MAX_BACKOFF);
                pause
            }
        };
        state.rounds.send_modify(|rounds| *rounds += 1);
        asked = wait(&state, pause).await;
    }
}

/// Waits for the next fetch; `true` if an unknown key is what it is for.
async fn wait(state: &State, pause: Duration) -> bool {
    let timer = tokio::time::sleep(pause);
    tokio::pin!(timer);
    loop {
        tokio::select! {
            () = &mut timer => return false,
            () = state.wanted.notified() => {
                let progress = *state.progress();
                if state.window_passed(&progress) {
                    return true;
                }
                // Whoever asked learns that it is not the time, and goes on with what there is.
                state.rounds.send_modify(|rounds| *rounds += 1);
            }
        }
    }
}
