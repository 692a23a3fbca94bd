//! Failed logins in Redis, shared by all nodes: one script call when an attempt begins, one when it
//! has ended. Every call has a hard deadline, and while Redis is away a breaker answers in its
//! place. Imports `domain`, `policy` and `config`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisError};
use serde::Serialize;
use smallvec::SmallVec;

use crate::config::settings::RedisSettings;
use crate::domain::address::{customer, network};
use crate::domain::clock::{Clock, Now};
use crate::domain::login::{AccountHash, Lockout, LoginAttempt, LoginOutcome, LoginSubject};
use crate::policy::logins::{LoginMode, LoginPolicy, millis};
use crate::stores::cluster::seeds::Seeds;
use crate::stores::cluster::slots::Slot;
use crate::stores::limits::link::Link;
use crate::stores::limits::links::{Call, Links, Reply};
use crate::stores::limits::redis::BadRedisUrl;

use super::{Begun, Ticket, pair_name, strict, subjects};

/// Time for a command of an operator's.
const PATIENCE: Duration = Duration::from_secs(5);
/// Keys that one step of a search looks at.
const STEP: usize = 1_000;

pub(super) struct Shared {
    links: Links,
    keys: Keys,
}

/// Their names share a hash tag: the script may touch them together, in a cluster too.
struct Keys(String);

impl Shared {
    pub(super) fn new(
        settings: &RedisSettings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, BadRedisUrl> {
        Ok(Self {
            links: Links::open(settings, include_str!("attempt.lua"), clock)?,
            keys: Keys::new(&settings.key_prefix),
        })
    }

    pub(super) async fn keep(&self) {
        self.links.keep().await;
    }

    /// `None`: Redis is away.
    pub(super) async fn begin(
        &self,
        attempt: LoginAttempt,
        guards_account: bool,
        policy: &LoginPolicy,
    ) -> Option<Begun> {
        let subjects = subjects(&attempt, guards_account);
        let call = self.call("begin", &attempt, &subjects, policy, None);
        let (reply, link) = self.ask(call).await?;
        let begun = begun(attempt, guards_account, &subjects, policy, &reply);
        if begun.is_none() {
            link.failed(None);
        }
        begun
    }

    pub(super) async fn end(&self, ticket: &Ticket, outcome: LoginOutcome, policy: &LoginPolicy) {
        let act = match outcome {
            LoginOutcome::Success => "success",
            LoginOutcome::Failure => "failure",
            LoginOutcome::Neutral => "neutral",
        };
        let subjects = subjects(&ticket.attempt, ticket.guards_account);
        let call = self.call(act, &ticket.attempt, &subjects, policy, Some(ticket));
        // What is not taken back counts as a failure.
        let _ = self.ask(call).await;
    }

    async fn ask(&self, call: Call) -> Option<(Vec<i64>, Arc<Link>)> {
        match self.links.ask(call).await {
            Reply::Said(values, link) => Some((values, link)),
            Reply::Scattered | Reply::Away => None,
        }
    }

    fn call(
        &self,
        act: &str,
        attempt: &LoginAttempt,
        subjects: &[LoginSubject],
        policy: &LoginPolicy,
        ticket: Option<&Ticket>,
    ) -> Call {
        let mut command = self.links.command();
        command.arg(4 + subjects.len());
        command.arg(self.keys.known(attempt.account));
        command.arg(self.keys.sprayed(attempt.address));
        command.arg(self.keys.sprayed_network(attempt.network)).arg(self.keys.overall());
        for subject in subjects {
            command.arg(self.keys.tally(*subject, attempt));
        }
        let account = attempt.account.map(|account| account.to_string()).unwrap_or_default();
        command.arg(act).arg(attempt.address.to_string()).arg(account);
        command.arg(millis(policy.known_for));
        match (ticket, &policy.spraying) {
            (Some(ticket), _) => {
                let told = |subject| u32::from(ticket.sprayed.contains(&subject));
                command.arg(told(LoginSubject::Address)).arg(told(LoginSubject::Network));
                command.arg(0).arg(0);
            }
            (None, Some(rule)) => {
                command.arg(rule.accounts.get()).arg(rule.network_accounts.get());
                command.arg(millis(rule.window));
                command.arg(u32::from(rule.mode == LoginMode::Enforce));
            }
            (None, None) => {
                command.arg(0).arg(0).arg(0).arg(0);
            }
        }
        match &policy.stuffing {
            Some(rule) => {
                command.arg(rule.failures.get()).arg(rule.percent.get());
                command.arg(millis(rule.window));
            }
            None => {
                command.arg(0).arg(0).arg(0);
            }
        }
        command.arg(strict(policy.stuffing.as_ref()).unwrap_or(0));
        for subject in subjects {
            let ladder = policy.ladder(*subject);
            let locked = ticket.and_then(|ticket| {
                ticket.lockouts.iter().find(|lockout| lockout.subject == *subject)
            });
            command.arg(letter(*subject)).arg(ladder.failures.get()).arg(ladder.again.get());
            command.arg(millis(ladder.within)).arg(millis(ladder.first));
            command.arg(ladder.factor.get()).arg(millis(ladder.most)).arg(millis(ladder.forget));
            command.arg(locked.map_or(0, |lockout| lockout.level));
        }
        Call { slot: self.links.slot(|| self.keys.overall()), command }
    }
}

/// What the script answered; nothing if that is not an answer.
fn begun(
    attempt: LoginAttempt,
    guards_account: bool,
    subjects: &[LoginSubject],
    policy: &LoginPolicy,
    reply: &[i64],
) -> Option<Begun> {
    match reply {
        [0, index, left] => {
            let subject = *subjects.get(usize::try_from(*index).ok()?)?;
            let retry_after = Duration::from_millis(u64::try_from(*left).ok()?);
            Some(Begun::Locked { subject, retry_after })
        }
        [1, knows, address, network, news, levels @ ..] if levels.len() == subjects.len() => {
            let mut lockouts = SmallVec::new();
            for (subject, level) in subjects.iter().zip(levels) {
                let level = u32::try_from(*level).ok()?;
                let lasts = policy.ladder(*subject).lasts(level);
                lockouts.extend((level > 0).then_some(Lockout { subject: *subject, level, lasts }));
            }
            let sprayed = [(*address, LoginSubject::Address), (*network, LoginSubject::Network)];
            let sprayed = sprayed.into_iter().filter(|(is, _)| *is == 1).map(|(_, from)| from);
            Some(Begun::Admitted(Ticket {
                attempt,
                lockouts,
                sprayed: sprayed.collect(),
                stuffing: *news == 1,
                guards_account: guards_account && *knows == 0,
                here: false,
            }))
        }
        _ => None,
    }
}

fn letter(subject: LoginSubject) -> &'static str {
    match subject {
        LoginSubject::Pair => "p",
        LoginSubject::Address => "a",
        LoginSubject::Network => "n",
        LoginSubject::Account => "u",
    }
}

impl Keys {
    fn new(prefix: &str) -> Self {
        Self(format!("{prefix}{{logins}}:"))
    }

    fn name(&self, kind: &str, id: impl std::fmt::Display) -> String {
        format!("{}{kind}:{id}", self.0)
    }

    fn known(&self, account: Option<AccountHash>) -> String {
        account.map_or_else(|| self.name("k", "-"), |account| self.name("k", account))
    }

    fn sprayed(&self, address: IpAddr) -> String {
        self.name("sa", address)
    }

    fn sprayed_network(&self, network: IpAddr) -> String {
        self.name("sn", network)
    }

    fn overall(&self) -> String {
        self.name("o", "all")
    }

    fn tally(&self, subject: LoginSubject, attempt: &LoginAttempt) -> String {
        let kind = letter(subject);
        match (subject, attempt.account) {
            (LoginSubject::Network, _) => self.name(kind, attempt.network),
            (LoginSubject::Pair, Some(account)) => {
                self.name(kind, pair_name(account, attempt.address))
            }
            (LoginSubject::Account, Some(account)) => self.name(kind, account),
            (LoginSubject::Address | LoginSubject::Pair | LoginSubject::Account, _) => {
                self.name("a", attempt.address)
            }
        }
    }
}

/// What an operator names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// Everything that is locked or counted.
    All,
    /// An account, at all addresses.
    Account(AccountHash),
    /// An address, with all accounts there.
    Address(IpAddr),
}

/// What is counted for one subject, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListedLogin {
    /// Of what: as [`LoginSubject::as_str`] says.
    pub subject: &'static str,
    /// The account's hash, the address, or both.
    pub id: String,
    /// Failures that count now.
    pub failures: u32,
    /// Lockouts in a row.
    pub level: u32,
    /// Until when it is locked, in seconds since 1970; 0 if it is not.
    pub locked_until: u64,
}

/// Why an operator's command failed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The URL cannot be used.
    #[error(transparent)]
    Url(#[from] BadRedisUrl),
    /// Redis did not do it.
    #[error("redis does not answer: {0}")]
    Redis(#[from] RedisError),
}

/// Lists what is counted, what is locked for the longest first.
///
/// # Errors
/// If the URL cannot be used or Redis does not answer.
pub async fn list(
    settings: &RedisSettings,
    named: Named,
    now: Now,
) -> Result<Vec<ListedLogin>, AdminError> {
    let (keys, mut connection) = open(settings).await?;
    let mut listed = Vec::new();
    for key in found(&keys, named, &mut connection).await? {
        let Some((subject, id)) = tally_of(&keys, &key) else { continue };
        let raw: Option<String> = redis::cmd("GET").arg(&key).query_async(&mut connection).await?;
        let raw = raw.unwrap_or_default();
        let mut numbers = raw.split(':').map(|number| number.parse::<u64>().unwrap_or_default());
        let mut next = || numbers.next().unwrap_or_default();
        let (count, _since, level, until) = (next(), next(), next(), next());
        let until = if until > now.unix_micros / 1_000 { until.div_ceil(1_000) } else { 0 };
        listed.push(ListedLogin {
            subject: subject.as_str(),
            id,
            failures: u32::try_from(count).unwrap_or(u32::MAX),
            level: u32::try_from(level).unwrap_or(u32::MAX),
            locked_until: until,
        });
    }
    listed.sort_by_key(|one| (std::cmp::Reverse(one.locked_until), one.subject, one.id.clone()));
    Ok(listed)
}

/// Forgets failures and lockouts, and returns how many were forgotten.
///
/// # Errors
/// As [`list`].
pub async fn unlock(settings: &RedisSettings, named: Named) -> Result<u64, AdminError> {
    let (keys, mut connection) = open(settings).await?;
    let mut count = 0;
    for key in found(&keys, named, &mut connection).await? {
        let tally = u64::from(tally_of(&keys, &key).is_some());
        let gone: u64 = redis::cmd("DEL").arg(&key).query_async(&mut connection).await?;
        count += gone * tally;
    }
    Ok(count)
}

async fn open(settings: &RedisSettings) -> Result<(Keys, MultiplexedConnection), AdminError> {
    let seeds = Seeds::of(&settings.place).map_err(BadRedisUrl::because)?;
    let keys = Keys::new(&settings.key_prefix);
    // All keys share a slot, and so a server.
    let client = seeds.primary_of(Slot::of(&keys.overall())).await?;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE));
    let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    Ok((keys, connection))
}

/// The keys of what an operator names. A search goes through all keys of the database, in steps
/// that hold nobody up.
async fn found(
    keys: &Keys,
    named: Named,
    connection: &mut MultiplexedConnection,
) -> Result<Vec<String>, RedisError> {
    let (mut found, pattern) = match named {
        Named::All => (Vec::new(), format!("{}[panu]:*", literal(&keys.0))),
        Named::Account(account) => {
            let own = vec![keys.name("u", account)];
            (own, format!("{}p:{account}:*", literal(&keys.0)))
        }
        Named::Address(address) => {
            let (own, network) = (customer(address), network(address));
            let names = [keys.name("a", own), keys.name("n", network), keys.sprayed(own)];
            let found = names.into_iter().chain([keys.sprayed_network(network)]).collect();
            (found, format!("{}p:*:{own}", literal(&keys.0)))
        }
    };
    let mut cursor = 0_u64;
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(STEP);
        let (next, page): (u64, Vec<String>) = scan.query_async(connection).await?;
        found.extend(page);
        cursor = next;
        if cursor == 0 {
            // A search may find a key twice.
            found.sort_unstable();
            found.dedup();
            let mut there = Vec::new();
            for key in found {
                if redis::cmd("EXISTS").arg(&key).query_async(connection).await? {
                    there.push(key);
                }
            }
            return Ok(there);
        }
    }
}

/// A text that stands for itself in a pattern of Redis'.
fn literal(text: &str) -> String {
    let escaped = text.chars().flat_map(|c| {
        let special = matches!(c, '*' | '?' | '[' | ']' | '\\' | '^');
        special.then_some('\\').into_iter().chain([c])
    });
    escaped.collect()
}

/// Of what a key is the tally, if it is one.
fn tally_of(keys: &Keys, key: &str) -> Option<(LoginSubject, String)> {
    let (kind, id) = key.strip_prefix(&keys.0)?.split_once(':')?;
    let all =
        [LoginSubject::Pair, LoginSubject::Address, LoginSubject::Network, LoginSubject::Account];
    let subject = all.into_iter().find(|subject| letter(*subject) == kind)?;
    Some((subject, id.to_owned()))
}
