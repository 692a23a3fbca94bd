//! Sessions: what was taken back, on this node and on all others.
//!
//! The authenticate stage asks [`Sessions::standing`] at each use of a token: one to three looks
//! into a table of this process, never further. Where the settings name Redis, the table follows a
//! log there in the background: [`Sessions::keep`]. Imports `domain` and `config`.
//!
//! A revocation counts on this node at once, and on the others as soon as they have read it. What
//! a node knows it writes back whenever it connects, so that a Redis that lost its data learns it
//! again.

mod redis;
mod revocations;
mod shared_uses;
mod sieve;
mod uses;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::config::settings::{SessionSettings, SessionStoreSettings, WithoutStore};
use crate::domain::clock::{Clock, Now};
use crate::domain::ids::UserId;
use crate::domain::principal::VerifiedToken;
use crate::domain::session::{Cutoff, LastUse, Mark, Revocation, SignOut, Standing, Use};
use crate::domain::trusted::TrustedDevice;

use self::redis::SharedLog;
pub use self::redis::{BadSessionUrl, PublishError, publish};
use self::revocations::Revocations;
use self::shared_uses::SharedUses;
pub use self::shared_uses::{ListedSession, list};
use self::uses::Uses;

/// How often what has ended is forgotten.
const PRUNE: Duration = Duration::from_secs(30);

/// What was taken back, as far as this node knows.
pub struct Sessions {
    revocations: Arc<Revocations>,
    uses: Arc<Uses>,
    place: Place,
    without: WithoutStore,
    keep: u64,
    clock: Arc<dyn Clock>,
    revoked: AtomicU64,
}

enum Place {
    Memory,
    Redis(Box<Shared>),
}

/// What nodes share.
struct Shared {
    log: SharedLog,
    uses: SharedUses,
}

/// What a store of sessions counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionStats {
    /// Revocations in memory.
    pub known: u64,
    /// Revocations that this node made.
    pub revoked: u64,
    /// Revocations that were forgotten before their time, because there were too many.
    pub overflowed: u64,
    /// Everything issued until then (seconds since 1970) is refused for that reason; 0 if nothing.
    pub refused_before: u64,
    /// Times that the shared log was caught up with from its beginning.
    pub caught_up: u64,
    /// Times that the shared log could not be read.
    pub failures: u64,
    /// Whether the shared log is away.
    pub away: bool,
    /// Sessions whose last use is known.
    pub in_use: u64,
    /// Uses of sessions that were not shared, because too many waited.
    pub uses_dropped: u64,
}

impl Sessions {
    /// Opens the store. Does no I/O: one in Redis is away until [`Sessions::keep`] runs.
    ///
    /// # Errors
    /// If the URL of Redis cannot be used.
    pub fn new(settings: &SessionSettings, clock: Arc<dyn Clock>) -> Result<Self, BadSessionUrl> {
        let revocations = Arc::new(Revocations::new(settings.max_entries));
        let most = settings.max_entries;
        let uses = Arc::new(Uses::new(most, clock.now().unix_secs()));
        let (without, keep) = (settings.when_away, settings.keep.as_secs());
        let place = match &settings.store {
            SessionStoreSettings::Memory => Place::Memory,
            SessionStoreSettings::Redis(redis) => {
                let table = Arc::clone(&revocations);
                let log = SharedLog::new(redis, most, table, Arc::clone(&clock))?;
                let seen = Arc::clone(&uses);
                let uses = SharedUses::new(redis, most, without, seen, Arc::clone(&clock))?;
                Place::Redis(Box::new(Shared { log, uses }))
            }
        };
        Ok(Self { revocations, uses, place, without, keep, clock, revoked: AtomicU64::new(0) })
    }

    /// A store of this process, with room for so many revocations.
    pub fn in_memory(max_entries: NonZeroU32, keep: Duration, clock: Arc<dyn Clock>) -> Self {
        Self {
            revocations: Arc::new(Revocations::new(max_entries)),
            uses: Arc::new(Uses::new(max_entries, clock.now().unix_secs())),
            place: Place::Memory,
            without: WithoutStore::Serve,
            keep: keep.as_secs(),
            clock,
            revoked: AtomicU64::new(0),
        }
    }

    /// Whether a verified token still counts. Waits for nothing and allocates nothing.
    pub fn standing(&self, token: &VerifiedToken, now: Now) -> Standing {
        if self.revocations.end(token) {
            return Standing::Revoked;
        }
        match (&self.place, self.without) {
            (Place::Memory, _) | (Place::Redis(_), WithoutStore::Serve) => Standing::Good,
            (Place::Redis(shared), WithoutStore::Refuse) => {
                // A key to a service is no session; without it, nobody could sign in.
                match token.marks.of_somebody() && shared.log.is_away(now) {
                    true => Standing::Unknown,
                    false => Standing::Good,
                }
            }
        }
    }

    /// Whether a user's device is still trusted.
    pub fn trusts(&self, user: &UserId, device: TrustedDevice, now: Now) -> bool {
        let away = match (&self.place, self.without) {
            (Place::Redis(shared), WithoutStore::Refuse) => shared.log.is_away(now),
            (Place::Redis(_) | Place::Memory, _) => false,
        };
        let marks = [Mark::devices(user), Mark::device(device.id)];
        !away && !self.revocations.ended(marks, device.trusted_at)
    }

    /// None of the user's devices is trusted any more; none was trusted for longer than that.
    pub fn forget_devices(&self, user: &UserId, trusted_for: Duration) {
        let now = self.clock.now().unix_secs();
        let until = now.saturating_add(trusted_for.as_secs().max(self.keep));
        let (mark, cutoff) = (Mark::devices(user), Cutoff::through(now));
        self.revoke(Revocation { mark, cutoff, at: now, until });
    }

    /// Takes something back: here at once, on the other nodes as soon as they hear of it.
    pub fn revoke(&self, revocation: Revocation) {
        self.revocations.add(revocation);
        self.revoked.fetch_add(1, Ordering::Relaxed);
        match &self.place {
            Place::Memory => {}
            Place::Redis(shared) => shared.log.tell(revocation),
        }
    }

    /// A session was used. Waits for nothing: other nodes hear of it within seconds.
    pub fn used(&self, one: Use) {
        match &self.place {
            Place::Memory => self.uses.noted(&one, true),
            Place::Redis(shared) => {
                // While uses elsewhere are not heard of, what looks like a rest may be none.
                let heard = !shared.uses.is_away(self.clock.now());
                self.uses.noted(&one, heard || self.without == WithoutStore::Refuse);
                self.uses.wait(one);
            }
        }
    }

    /// When a session was last used. Of one that this node knows nothing of, when it may have been:
    /// as late as the settings let an outage count, and never where they refuse.
    pub fn last_use(&self, token: &VerifiedToken, now: Now) -> LastUse {
        let known = token.marks.session.and_then(|session| self.uses.get(session));
        let mut known = known.unwrap_or_default();
        if self.without == WithoutStore::Serve {
            known.at = known.at.max(match &self.place {
                Place::Redis(shared) if shared.uses.is_away(now) => now.unix_secs(),
                Place::Redis(_) | Place::Memory => self.uses.since(),
            });
        }
        known
    }

    /// Somebody signed out.
    pub fn sign_out(&self, scope: SignOut, token: &VerifiedToken) {
        let now = self.clock.now().unix_secs();
        for revocation in scope.revocations(token, now, self.keep) {
            self.revoke(revocation);
        }
    }

    /// Follows the shared log and forgets what has ended, for as long as it is polled: spawn it
    /// once, on the runtime that is to do the I/O.
    pub async fn keep(&self) {
        let prune = async {
            let mut rounds = tokio::time::interval(PRUNE);
            loop {
                rounds.tick().await;
                self.revocations.prune(self.clock.now().unix_secs());
            }
        };
        match &self.place {
            Place::Memory => prune.await,
            Place::Redis(shared) => tokio::join!(prune, shared.log.follow(), shared.uses.share()).0,
        }
    }

    /// Whether the revocations of other nodes do not arrive: for readiness.
    pub fn is_away(&self) -> bool {
        match &self.place {
            Place::Memory => false,
            Place::Redis(shared) => shared.log.is_away(self.clock.now()),
        }
    }

    /// What happens while that is so.
    pub fn when_away(&self) -> WithoutStore {
        self.without
    }

    /// What happened since the start.
    pub fn stats(&self) -> SessionStats {
        let (caught_up, failures) = match &self.place {
            Place::Memory => (0, 0),
            Place::Redis(shared) => shared.log.stats(),
        };
        SessionStats {
            known: self.revocations.len(),
            revoked: self.revoked.load(Ordering::Relaxed),
            overflowed: self.revocations.overflowed(),
            refused_before: self.revocations.floor(),
            caught_up,
            failures,
            away: self.is_away(),
            in_use: self.uses.count(),
            uses_dropped: self.uses.dropped(),
        }
    }
}
