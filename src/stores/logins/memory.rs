//! Failed logins in this process: the embedded default, and what a node counts while Redis is away.
//!
//! Bounded: for each kind of subject so many tallies. Where there is no room, one that says nothing
//! any more makes room, or of a few of the oldest the one that says least, so that a lockout is the
//! last to be forgotten. Pairs cannot crowd out addresses, nor these accounts. Imports `domain` and
//! `policy`.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use ahash::RandomState;
use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::domain::login::{AccountHash, Lockout, LoginAttempt, LoginOutcome, LoginSubject};
use crate::policy::logins::{Ladder, LoginMode, LoginPolicy, Spraying, Stuffing, Tally, millis};

use super::{Begun, Ticket, strict, subjects};

/// Tallies of each kind: about 20 MB if all are full.
pub(super) const MOST: usize = 100_000;
/// Addresses that are known to an account.
const KNOWN: usize = 8;
/// How many of the oldest are looked at for one to forget.
const LOOKS: usize = 16;

/// What this process remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryCounts {
    /// Tallies.
    pub tallies: usize,
    /// Tallies that were forgotten before their time.
    pub forgotten: u64,
}

pub(super) struct Memory {
    pairs: Bounded<(AccountHash, IpAddr), Tally>,
    addresses: Bounded<IpAddr, Tally>,
    networks: Bounded<IpAddr, Tally>,
    accounts: Bounded<AccountHash, Tally>,
    known: Bounded<AccountHash, Known>,
    sprayed: Bounded<IpAddr, Sprayed>,
    sprayed_networks: Bounded<IpAddr, Sprayed>,
    overall: Overall,
}

/// Addresses from which an account was signed in, the last used last.
#[derive(Default)]
struct Known(SmallVec<[(IpAddr, u64); 1]>);

/// Accounts that failed from one place.
#[derive(Default)]
struct Sprayed {
    since: u64,
    /// Each with its attempts that failed, or are not over.
    accounts: Vec<(AccountHash, u32)>,
    told: bool,
}

/// All attempts of a window.
#[derive(Default)]
struct Overall {
    since: u64,
    attempts: u64,
    failures: u64,
    told: bool,
}

impl Memory {
    pub(super) fn new(most: usize) -> Self {
        Self {
            pairs: Bounded::new(most),
            addresses: Bounded::new(most),
            networks: Bounded::new(most),
            accounts: Bounded::new(most),
            known: Bounded::new(most),
            sprayed: Bounded::new(most / 4),
            sprayed_networks: Bounded::new(most / 4),
            overall: Overall::default(),
        }
    }

    pub(super) fn begin(
        &mut self,
        attempt: LoginAttempt,
        guards_account: bool,
        policy: &LoginPolicy,
        now: u64,
    ) -> Begun {
        let guards_account = guards_account && !self.is_known(&attempt, now);
        let subjects = subjects(&attempt, guards_account);
        for subject in &subjects {
            let until = self.tally(*subject, &attempt, policy, now).map_or(0, |tally| tally.until);
            if until > now {
                let retry_after = Duration::from_millis(until - now);
                return Begun::Locked { subject: *subject, retry_after };
            }
        }
        let (alarmed, stuffing) = self.overall.look(policy.stuffing.as_ref(), now);
        let strict = strict(policy.stuffing.as_ref()).filter(|_| alarmed);
        let sprayed = self.sprayed(&attempt, policy, now);
        let enforced = policy.spraying.as_ref().is_some_and(|of| of.mode == LoginMode::Enforce);
        let mut lockouts = SmallVec::new();
        for subject in subjects {
            let ladder = hastened(policy.ladder(subject), subject, strict);
            let Some(tally) = self.tally(subject, &attempt, policy, now) else { continue };
            let charged = ladder.charge(tally, now);
            let locks = enforced && sprayed.contains(&subject) && charged.is_none();
            let level = charged.or_else(|| locks.then(|| ladder.lock(tally, now)));
            lockouts.extend(level.map(|level| Lockout {
                subject,
                level,
                lasts: ladder.lasts(level),
            }));
        }
        let here = true;
        Begun::Admitted(Ticket { attempt, lockouts, sprayed, stuffing, guards_account, here })
    }

    pub(super) fn end(
        &mut self,
        ticket: &Ticket,
        outcome: LoginOutcome,
        policy: &LoginPolicy,
        now: u64,
    ) {
        if let Some(stuffing) = &policy.stuffing {
            self.overall.ended(stuffing, outcome, now);
        }
        let attempt = &ticket.attempt;
        if outcome == LoginOutcome::Failure {
            return;
        }
        for subject in subjects(attempt, ticket.guards_account) {
            let lockout = ticket.lockouts.iter().find(|lockout| lockout.subject == subject);
            let ladder = policy.ladder(subject);
            if let Some(tally) = self.tally(subject, attempt, policy, now) {
                ladder.refund(tally, lockout.map(|lockout| lockout.level));
            }
        }
        let Some(account) = attempt.account else { return };
        for (places, place, subject) in [
            (&mut self.sprayed, attempt.address, LoginSubject::Address),
            (&mut self.sprayed_networks, attempt.network, LoginSubject::Network),
        ] {
            if let Some(sprayed) = places.map.get_mut(&place) {
                sprayed.take_back(account, outcome);
                sprayed.told &= !ticket.sprayed.contains(&subject);
            }
        }
        if outcome == LoginOutcome::Success {
            self.pairs.map.remove(&(account, attempt.address));
            let known = self.known.entry(account, |_| now);
            if let Some(known) = known {
                known.0.retain(|(address, _)| *address != attempt.address);
                if known.0.len() >= KNOWN {
                    known.0.remove(0);
                }
                known.0.push((attempt.address, now.saturating_add(millis(policy.known_for))));
            }
        }
    }

    pub(super) fn counts(&self) -> MemoryCounts {
        let maps = [
            (self.pairs.map.len(), self.pairs.forgotten),
            (self.addresses.map.len(), self.addresses.forgotten),
            (self.networks.map.len(), self.networks.forgotten),
            (self.accounts.map.len(), self.accounts.forgotten),
        ];
        let add = |sum: MemoryCounts, (tallies, forgotten): (usize, u64)| MemoryCounts {
            tallies: sum.tallies + tallies,
            forgotten: sum.forgotten + forgotten,
        };
        maps.into_iter().fold(MemoryCounts { tallies: 0, forgotten: 0 }, add)
    }

    fn is_known(&self, attempt: &LoginAttempt, now: u64) -> bool {
        let known = attempt.account.and_then(|account| self.known.map.get(&account));
        let here = |(address, until): &(IpAddr, u64)| *address == attempt.address && *until > now;
        known.is_some_and(|known| known.0.iter().any(here))
    }

    /// The tally of a subject, as it is now.
    fn tally(
        &mut self,
        subject: LoginSubject,
        attempt: &LoginAttempt,
        policy: &LoginPolicy,
        now: u64,
    ) -> Option<&mut Tally> {
        let ladder = policy.ladder(subject);
        // What is locked says most, then what has been locked before.
        let worth = |tally: &Tally| match ladder.ends(*tally) > now {
            true => 1 + u64::from(tally.count) + (u64::from(tally.level) << 32),
            false => 0,
        };
        let tally = match (subject, attempt.account) {
            (LoginSubject::Address, _) => self.addresses.entry(attempt.address, worth),
            (LoginSubject::Network, _) => self.networks.entry(attempt.network, worth),
            (LoginSubject::Pair, Some(account)) => {
                self.pairs.entry((account, attempt.address), worth)
            }
            (LoginSubject::Account, Some(account)) => self.accounts.entry(account, worth),
            (LoginSubject::Pair | LoginSubject::Account, None) => None,
        }?;
        *tally = ladder.aged(*tally, now);
        Some(tally)
    }

    /// Adds the account to those that failed here, and says where they have become too many.
    fn sprayed(
        &mut self,
        attempt: &LoginAttempt,
        policy: &LoginPolicy,
        now: u64,
    ) -> SmallVec<[LoginSubject; 2]> {
        let mut too_many = SmallVec::new();
        let (Some(account), Some(rule)) = (attempt.account, &policy.spraying) else {
            return too_many;
        };
        let Spraying { accounts, network_accounts, window, .. } = rule;
        let worth = |sprayed: &Sprayed| match sprayed.since.saturating_add(millis(*window)) > now {
            true => 1 + sprayed.accounts.len() as u64,
            false => 0,
        };
        for (places, place, most, subject) in [
            (&mut self.sprayed, attempt.address, accounts, LoginSubject::Address),
            (&mut self.sprayed_networks, attempt.network, network_accounts, LoginSubject::Network),
        ] {
            let Some(sprayed) = places.entry(place, worth) else { continue };
            if worth(sprayed) == 0 || sprayed.accounts.is_empty() && !sprayed.told {
                *sprayed = Sprayed { since: now, ..Sprayed::default() };
            }
            let most = usize::try_from(most.get()).unwrap_or(usize::MAX);
            let room = sprayed.accounts.len() < most;
            match sprayed.accounts.iter_mut().find(|(other, _)| *other == account) {
                Some((_, attempts)) => *attempts = attempts.saturating_add(1),
                None if room => sprayed.accounts.push((account, 1)),
                None => {}
            }
            if sprayed.accounts.len() >= most && !sprayed.told {
                sprayed.told = true;
                too_many.push(subject);
            }
        }
        too_many
    }
}

/// The ladder of an address that is locked sooner.
fn hastened(ladder: &Ladder, subject: LoginSubject, strict: Option<u32>) -> Ladder {
    let sooner = strict.filter(|_| subject == LoginSubject::Address);
    let sooner = sooner.and_then(std::num::NonZeroU32::new);
    Ladder { failures: sooner.map_or(ladder.failures, |n| n.min(ladder.failures)), ..*ladder }
}

impl Sprayed {
    /// An attempt did not fail. What proved nothing takes back itself, and no failure for the same
    /// account: else whoever sends something malformed after each guess would never be seen.
    fn take_back(&mut self, account: AccountHash, outcome: LoginOutcome) {
        self.accounts.retain_mut(|(other, attempts)| {
            let ended = *other == account;
            *attempts = attempts.saturating_sub(u32::from(ended));
            !ended || (*attempts > 0 && outcome != LoginOutcome::Success)
        });
    }
}

impl Overall {
    /// Whether most attempts of this window fail, and whether that is news.
    fn look(&mut self, rule: Option<&Stuffing>, now: u64) -> (bool, bool) {
        let Some(rule) = rule else { return (false, false) };
        self.age(rule, now);
        let many = self.failures >= u64::from(rule.failures.get());
        let most = self.failures.saturating_mul(100)
            >= self.attempts.saturating_mul(u64::from(rule.percent.get()));
        let news = many && most && !self.told;
        self.told |= news;
        (self.told, news)
    }

    fn ended(&mut self, rule: &Stuffing, outcome: LoginOutcome, now: u64) {
        self.age(rule, now);
        match outcome {
            LoginOutcome::Failure => {
                self.attempts = self.attempts.saturating_add(1);
                self.failures = self.failures.saturating_add(1);
            }
            LoginOutcome::Success => self.attempts = self.attempts.saturating_add(1),
            LoginOutcome::Neutral => {}
        }
    }

    fn age(&mut self, rule: &Stuffing, now: u64) {
        if now.saturating_sub(self.since) >= millis(rule.window) {
            *self = Self { since: now, ..Self::default() };
        }
    }
}

/// A map with so many entries at most.
struct Bounded<K, V> {
    map: HashMap<K, V, RandomState>,
    /// Keys, roughly the oldest first; some may be gone.
    order: VecDeque<K>,
    most: usize,
    forgotten: u64,
}

impl<K: std::hash::Hash + Eq + Copy, V: Default> Bounded<K, V> {
    fn new(most: usize) -> Self {
        let (map, order) = (HashMap::with_hasher(RandomState::new()), VecDeque::new());
        Self { map, order, most, forgotten: 0 }
    }

    /// The entry of a key; `worth` says what one is worth, 0 for nothing.
    fn entry(&mut self, key: K, worth: impl Fn(&V) -> u64) -> Option<&mut V> {
        if !self.map.contains_key(&key) {
            // Keys of entries that were removed leave with their turn, so that both stay bounded.
            while self.map.len() >= self.most || self.order.len() >= 2 * self.most {
                self.make_room(&worth);
            }
            self.map.insert(key, V::default());
            self.order.push_back(key);
        }
        self.map.get_mut(&key)
    }

    /// Forgets what is worth nothing among some of the oldest, or else the least of them.
    fn make_room(&mut self, worth: &impl Fn(&V) -> u64) {
        let mut least: Option<(u64, K)> = None;
        for _ in 0..LOOKS.min(self.order.len()) {
            let Some(key) = self.order.pop_front() else { break };
            let Some(value) = self.map.get(&key) else { continue };
            let worth = worth(value);
            if worth == 0 {
                self.map.remove(&key);
                continue;
            }
            self.order.push_back(key);
            if least.is_none_or(|(other, _)| worth < other) {
                least = Some((worth, key));
            }
        }
        if let Some((_, key)) = least.filter(|_| self.map.len() >= self.most) {
            self.map.remove(&key);
            self.forgotten = self.forgotten.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn millions_of_subjects_take_no_more_room_and_the_most_telling_stay() {
        let mut map: Bounded<u32, u64> = Bounded::new(100);
        *map.entry(7, |worth| *worth).unwrap() = 1_000;
        for key in 1_000..101_000 {
            *map.entry(key, |worth| *worth).unwrap() = 1;
        }
        assert_eq!(map.map.len(), 100);
        assert!(map.order.len() <= 200, "{}", map.order.len());
        assert_eq!(map.map.get(&7), Some(&1_000));
        assert_eq!(map.forgotten, 100_001 - 100);
    }
}
