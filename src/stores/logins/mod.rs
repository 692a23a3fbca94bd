//! Counts of failed logins: in this process, or in Redis for all nodes.
//!
//! An attempt is charged before the auth server is asked, as if it failed, and what did not fail is
//! taken back when its answer is there: so many guesses that are sent at the same time cannot get
//! past a lockout that none of them has begun yet, and a node that dies forgives nothing. The sums
//! are [`Ladder`](crate::policy::logins::Ladder)'s; `attempt.lua` does the same in Redis.
//! Imports `domain`, `policy` and `config`.

mod memory;
mod redis;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use smallvec::SmallVec;
use uuid::Uuid;

use crate::config::settings::LimitStoreSettings;
use crate::domain::clock::{Clock, Now};
use crate::domain::login::{
    AccountHash, Lockout, LoginAttempt, LoginOutcome, LoginPepper, LoginSubject,
};
use crate::domain::secret::Secret;
use crate::policy::logins::{LoginMode, LoginPolicy, LoginsAway, Stuffing};

use super::limits::redis::BadRedisUrl;

use self::memory::Memory;
pub use self::memory::MemoryCounts;
use self::redis::Shared;
pub use self::redis::{AdminError, ListedLogin, Named, list, unlock};

/// What counts failed logins.
pub struct Logins {
    memory: Mutex<Memory>,
    shared: Option<Box<Shared>>,
    /// Where the configuration states none: of this process.
    pepper: LoginPepper,
    clock: Arc<dyn Clock>,
    away: AtomicU64,
}

/// What the store says of an attempt.
#[derive(Debug)]
pub enum Begun {
    /// It was charged.
    Admitted(Ticket),
    /// Something is locked. Nothing was charged.
    Locked {
        /// What.
        subject: LoginSubject,
        /// For how long.
        retry_after: Duration,
    },
    /// The shared store is away, and the policy wants it.
    Away,
}

/// An attempt that was charged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The attempt.
    pub attempt: LoginAttempt,
    /// The lockouts that it begins if it fails.
    pub lockouts: SmallVec<[Lockout; 2]>,
    /// Where failures for many accounts come from, if it fails.
    pub sprayed: SmallVec<[LoginSubject; 2]>,
    /// With it, most attempts were found to fail.
    pub stuffing: bool,
    guards_account: bool,
    here: bool,
}

/// What a store counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoginStats {
    /// What this process remembers.
    pub memory: MemoryCounts,
    /// Attempts that the shared store did not count, because it was away.
    pub away: u64,
}

/// The subjects of an attempt: always in this order.
fn subjects(attempt: &LoginAttempt, guards_account: bool) -> SmallVec<[LoginSubject; 4]> {
    let mut subjects = SmallVec::new();
    if attempt.account.is_some() {
        subjects.push(LoginSubject::Pair);
    }
    subjects.extend([LoginSubject::Address, LoginSubject::Network]);
    if attempt.account.is_some() && guards_account {
        subjects.push(LoginSubject::Account);
    }
    subjects
}

impl Logins {
    /// Opens the store, beside that of the limits. Does no I/O: one in Redis is away until
    /// [`Logins::keep`] runs.
    ///
    /// # Errors
    /// If the URL of Redis cannot be used.
    pub fn new(settings: &LimitStoreSettings, clock: Arc<dyn Clock>) -> Result<Self, BadRedisUrl> {
        let shared = match settings {
            LimitStoreSettings::Memory { .. } => None,
            LimitStoreSettings::Redis(settings) => {
                Some(Box::new(Shared::new(settings, Arc::clone(&clock))?))
            }
        };
        let random = format!("{}{}", Uuid::new_v4(), Uuid::new_v4());
        let pepper = LoginPepper::new(&Secret::new(random));
        let memory = Mutex::new(Memory::new(memory::MOST));
        Ok(Self { memory, shared, pepper, clock, away: AtomicU64::new(0) })
    }

    /// Keeps the connection to a shared store, for as long as it is polled: spawn it once. Ends at
    /// once where there is nothing to keep.
    pub async fn keep(&self) {
        if let Some(shared) = &self.shared {
            shared.keep().await;
        }
    }

    /// What hashes are keyed with where the configuration does not say.
    pub fn pepper(&self) -> &LoginPepper {
        &self.pepper
    }

    /// Somebody tries to sign in. Waits no longer than the shared store's deadline.
    pub async fn begin(
        &self,
        attempt: LoginAttempt,
        guards_account: bool,
        policy: &LoginPolicy,
        now: Now,
    ) -> Begun {
        if let Some(shared) = &self.shared {
            if let Some(begun) = shared.begin(attempt, guards_account, policy).await {
                return begun;
            }
            self.away.fetch_add(1, Ordering::Relaxed);
            match policy.when_away {
                LoginsAway::Closed => return Begun::Away,
                LoginsAway::Local => {}
            }
        }
        self.memory().begin(attempt, guards_account, policy, now.unix_micros / 1_000)
    }

    /// It ended, if it was charged in this process: no waiting for that.
    pub fn end_here(&self, ticket: &Ticket, outcome: LoginOutcome, policy: &LoginPolicy) -> bool {
        if ticket.here {
            let now = self.clock.now().unix_micros / 1_000;
            self.memory().end(ticket, outcome, policy, now);
        }
        ticket.here
    }

    /// It ended. Where the shared store does not answer, what was charged there stays, and counts
    /// as a failure.
    pub async fn end(&self, ticket: &Ticket, outcome: LoginOutcome, policy: &LoginPolicy) {
        if self.end_here(ticket, outcome, policy) {
            return;
        }
        if let Some(shared) = &self.shared {
            shared.end(ticket, outcome, policy).await;
        }
    }

    /// What happened since the start.
    pub fn stats(&self) -> LoginStats {
        LoginStats { memory: self.memory().counts(), away: self.away.load(Ordering::Relaxed) }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an account and an address are called in a store.
fn pair_name(account: AccountHash, address: IpAddr) -> String {
    format!("{account}:{address}")
}

/// How many failures lock an address, while most attempts fail and while they do not.
fn strict(stuffing: Option<&Stuffing>) -> Option<u32> {
    let enforced = stuffing.filter(|stuffing| stuffing.mode == LoginMode::Enforce);
    enforced.map(|stuffing| stuffing.address_failures.get())
}
