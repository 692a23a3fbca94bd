//! The buckets in Redis as an operator sees and changes them, from outside a gateway.
//!
//! Off the request path. What is shown is what Redis knows now; what nodes have leased of it is theirs.
//! Imports `domain` and `config`.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisError, RedisResult, Script};
use serde::Serialize;

use crate::config::settings::RedisSettings;
use crate::domain::charge::Rate;
use crate::domain::ids::OrgId;

use crate::stores::cluster::seeds::Seeds;

use super::bucket::{Bucket, MICRO, capacity, wait};
use super::penalty::Standing;
use super::redis::BadRedisUrl;

/// Time for a connection, and for one answer: somebody waits, and no request does.
const PATIENCE: Duration = Duration::from_secs(5);
/// Keys that one look at Redis goes through.
const PAGE: u32 = 1_000;

/// Which buckets are meant.
#[derive(Debug, Clone, Default)]
pub struct Which {
    /// Of this organization, its users and routes.
    pub organization: Option<OrgId>,
    /// Of this kind of subject: `user`, `organization`, `key`, `route`, `address` or `account`.
    pub scope: Option<Box<str>>,
    /// Of the subject of this id.
    pub id: Option<Box<str>>,
    /// Of this limit.
    pub limit: Option<Box<str>>,
}

/// A bucket, now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownBucket {
    /// The limit.
    pub limit: String,
    /// Whose it is: `user`, `organization`, `key`, `route`, `address` or `account`.
    pub scope: &'static str,
    /// The subject's id; empty where the organization is the subject.
    pub id: String,
    /// The organization, where there is one.
    pub organization: Option<String>,
    /// Tokens left.
    pub left: u64,
    /// Tokens that it owes.
    pub debt: u64,
    /// Tokens that nodes have leased.
    pub leased: u64,
    /// Tokens that it holds when it is full.
    pub burst: u32,
    /// Tokens that come back …
    pub tokens: u32,
    /// … in so many milliseconds.
    pub period_millis: u32,
    /// Until it is full again, in milliseconds.
    pub full_in_millis: u64,
    /// The level of the subject's penalty; 0 is none.
    pub penalty: u8,
    /// How much longer that refuses everything, in milliseconds.
    pub blocked_millis: u64,
    #[serde(skip)]
    key: Arc<str>,
    /// Which of the servers has it.
    #[serde(skip)]
    server: usize,
}

/// Why the buckets cannot be seen or changed. Redis' errors name the address, never the password.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The settings cannot be used.
    #[error(transparent)]
    Url(#[from] BadRedisUrl),
    /// Redis does not answer.
    #[error("redis does not answer: {0}")]
    Redis(#[from] RedisError),
}

/// A look at the buckets.
pub struct Ledger {
    /// To every primary.
    servers: Vec<MultiplexedConnection>,
    prefix: Arc<str>,
    epoch: u64,
}

impl Ledger {
    /// Connects.
    ///
    /// # Errors
    /// If that is not possible within some seconds.
    pub async fn open(settings: &RedisSettings) -> Result<Self, LedgerError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let seeds = Seeds::of(&settings.place).map_err(BadRedisUrl::because)?;
        let mut servers = Vec::new();
        for client in seeds.primaries().await? {
            servers.push(client.get_multiplexed_async_connection_with_config(&config).await?);
        }
        let epoch = u64::try_from(settings.lease.as_micros()).unwrap_or(u64::MAX);
        Ok(Self { servers, prefix: Arc::clone(&settings.key_prefix), epoch })
    }

    /// The buckets that are not full and not forgotten, or that a penalty is kept for: those first
    /// that a penalty blocks, then those with the least left.
    ///
    /// # Errors
    /// If Redis does not answer.
    pub async fn list(&mut self, which: &Which) -> Result<Vec<ShownBucket>, LedgerError> {
        let mut found = Vec::new();
        for server in 0..self.servers.len() {
            self.list_of(server, which, &mut found).await?;
        }
        // A scan may come across a key twice.
        found.sort_by(|a, b| a.key.cmp(&b.key));
        found.dedup_by(|a, b| a.key == b.key);
        found.sort_by_key(|bucket| {
            let part = bucket.left.saturating_mul(1_000) / u64::from(bucket.burst);
            (bucket.blocked_millis == 0, part)
        });
        Ok(found)
    }

    async fn list_of(
        &mut self,
        server: usize,
        which: &Which,
        found: &mut Vec<ShownBucket>,
    ) -> Result<(), LedgerError> {
        let Some(connection) = self.servers.get_mut(server) else { return Ok(()) };
        let (seconds, micros): (u64, u64) = redis::cmd("TIME").query_async(connection).await?;
        let now = seconds.saturating_mul(1_000_000).saturating_add(micros);
        let pattern = pattern(&self.prefix, which.organization);
        let mut cursor: u64 = 0;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(PAGE);
            let (next, keys): (u64, Vec<String>) = scan.query_async(connection).await?;
            let named = |key: String| {
                let name = Name::of(&self.prefix, &key)?;
                name.is(which).then_some((key, name))
            };
            let named: Vec<(String, Name)> = keys.into_iter().filter_map(named).collect();
            if !named.is_empty() {
                // One by one: they may be of several slots.
                let mut get = redis::pipe();
                get.ignore_errors();
                named.iter().for_each(|(key, _)| {
                    get.cmd("GET").arg(key);
                });
                let states: Vec<RedisResult<Option<Vec<u8>>>> = get.query_async(connection).await?;
                let shown = named.into_iter().zip(states).filter_map(|((key, name), state)| {
                    let mut shown =
                        State::read(&state.ok()??)?.shown(key, name, now, self.epoch)?;
                    shown.server = server;
                    Some(shown)
                });
                found.extend(shown);
            }
            cursor = next;
            if cursor == 0 {
                return Ok(());
            }
        }
    }

    /// Makes a bucket hold so many tokens, at most what it can beside what is leased of it.
    ///
    /// # Errors
    /// If Redis does not answer.
    pub async fn set(&mut self, bucket: &ShownBucket, tokens: u64) -> Result<bool, LedgerError> {
        self.write(bucket, tokens, "keep").await
    }

    /// Fills a bucket, but for what is leased of it, and takes its subject's penalty back.
    ///
    /// # Errors
    /// If Redis does not answer.
    pub async fn reset(&mut self, bucket: &ShownBucket) -> Result<bool, LedgerError> {
        self.write(bucket, u64::from(bucket.burst), "forgive").await
    }

    async fn write(
        &mut self,
        bucket: &ShownBucket,
        tokens: u64,
        penalty: &str,
    ) -> Result<bool, LedgerError> {
        let script = Script::new(include_str!("set.lua"));
        let mut call = script.key(bucket.key.as_ref());
        call.arg(tokens.saturating_mul(MICRO)).arg(self.epoch).arg(penalty);
        let Some(connection) = self.servers.get_mut(bucket.server) else { return Ok(false) };
        Ok(call.invoke_async::<i64>(connection).await? == 1)
    }
}

/// Redis' pattern for the keys of an organization, or of all.
fn pattern(prefix: &str, organization: Option<OrgId>) -> String {
    let mut out = String::new();
    for c in prefix.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
            out.push('\\');
        }
        out.push(c);
    }
    out + &match organization {
        Some(organization) => format!("{{{organization}}}:*"),
        None => "{*}:*".to_owned(),
    }
}

/// What the key of a bucket says.
struct Name {
    tag: String,
    scope: &'static str,
    limit: String,
    id: String,
}

impl Name {
    /// `{tag}:kind:length:limit:id`, behind the prefix.
    fn of(prefix: &str, key: &str) -> Option<Self> {
        let rest = key.strip_prefix(prefix)?.strip_prefix('{')?;
        let (tag, rest) = rest.split_once("}:")?;
        let (kind, rest) = rest.split_once(':')?;
        let (length, rest) = rest.split_once(':')?;
        let (limit, id) = rest.split_at_checked(length.parse().ok()?)?;
        let scope = match kind {
            "u" => "user",
            "o" => "organization",
            "k" => "key",
            "r" => "route",
            "a" => "address",
            "h" => "account",
            _ => return None,
        };
        let (tag, limit) = (tag.to_owned(), limit.to_owned());
        Some(Self { tag, scope, limit, id: id.strip_prefix(':')?.to_owned() })
    }

    fn is(&self, which: &Which) -> bool {
        let is = |wanted: &Option<Box<str>>, text: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == text)
        };
        is(&which.scope, self.scope) && is(&which.id, &self.id) && is(&which.limit, &self.limit)
    }

    fn organization(&self) -> Option<String> {
        self.tag.parse::<OrgId>().ok().map(|_| self.tag.clone())
    }
}

/// A bucket as `acquire.lua` packs it.
struct State {
    bucket: Bucket,
    leased: u64,
    before: u64,
    standing: Standing,
}

impl State {
    fn read(raw: &[u8]) -> Option<Self> {
        let (version, rest) = raw.split_first()?;
        let (micros, rest) = rest.split_first_chunk::<8>()?;
        let (at, rest) = rest.split_first_chunk::<8>()?;
        let (tokens, rest) = rest.split_first_chunk::<4>()?;
        let (period, rest) = rest.split_first_chunk::<4>()?;
        let (burst, rest) = rest.split_first_chunk::<4>()?;
        let (leased, rest) = rest.split_first_chunk::<8>()?;
        let (before, rest) = rest.split_first_chunk::<8>()?;
        // Which primary wrote it is for the script to judge.
        let rest = if matches!(version, 3 | 7) { rest.split_first_chunk::<4>()?.1 } else { rest };
        let standing = match (version, rest) {
            (2 | 3, []) => Standing::default(),
            (6 | 7, rest) => standing(rest.try_into().ok()?)?,
            _ => return None,
        };
        let number = |bytes: &[u8; 4]| NonZeroU32::new(u32::from_le_bytes(*bytes));
        let rate =
            Rate { tokens: number(tokens)?, period_millis: number(period)?, burst: number(burst)? };
        // Below zero it owes.
        let owed = f64::from_le_bytes(*micros) < 0.0;
        let micros = whole(&f64::from_le_bytes(*micros).abs().to_le_bytes())?;
        let (micros, debt) = if owed { (0, micros) } else { (micros, 0) };
        let bucket = Bucket { micros, debt, at: whole(at)?, rate };
        let (leased, before) = (whole(leased)?, whole(before)?);
        Some(Self { bucket, leased, before, standing })
    }

    /// What it holds now: what is leased leaves it less room. Nothing where it is full again.
    fn shown(&self, key: String, name: Name, now: u64, epoch: u64) -> Option<ShownBucket> {
        let rate = self.bucket.rate;
        let passed = (now / epoch).saturating_sub(self.bucket.at / epoch);
        let leased = match passed {
            0 => self.leased.saturating_add(self.before),
            1 => self.leased,
            _ => 0,
        };
        let level = self.bucket.at(now, &rate);
        let left = level.micros.min(capacity(&rate).saturating_sub(leased));
        let missing = capacity(&rate).saturating_sub(left).saturating_add(level.debt);
        let blocked = self.standing.blocked_for(now);
        (missing > 0 || blocked > 0 || self.standing.level > 0).then(|| ShownBucket {
            organization: name.organization(),
            limit: name.limit,
            scope: name.scope,
            id: name.id,
            left: left / MICRO,
            debt: level.debt.div_ceil(MICRO),
            leased: leased / MICRO,
            burst: rate.burst.get(),
            tokens: rate.tokens.get(),
            period_millis: rate.period_millis.get(),
            full_in_millis: u64::try_from(wait(missing, &rate).as_millis()).unwrap_or(u64::MAX),
            penalty: self.standing.level,
            blocked_millis: blocked.div_ceil(1_000),
            key: Arc::from(key),
            server: 0,
        })
    }
}

/// How a subject stands with its penalty, as it was when that was written: how long it takes to forget
/// is for the policy to say, and the key is gone when everything is forgotten.
fn standing(raw: &[u8; 19]) -> Option<Standing> {
    let (level, rest) = raw.split_first()?;
    let (strikes, rest) = rest.split_first_chunk::<2>()?;
    let (since, until) = rest.split_first_chunk::<8>()?;
    let (since, until) = (whole(since)?, whole(until.try_into().ok()?)?);
    let (level, blocked) = (level & 127, level & 128 > 0);
    Some(Standing {
        level,
        blocked,
        strikes: u32::from(u16::from_le_bytes(*strikes)),
        since,
        until,
    })
}

/// A whole number that the script keeps as a double.
fn whole(bytes: &[u8; 8]) -> Option<u64> {
    let number = f64::from_le_bytes(*bytes);
    let fits = (0.0..9_007_199_254_740_992.0).contains(&number) && number.fract() == 0.0;
    fits.then(|| format!("{number:.0}").parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_whose_bucket_it_is() {
        let org = "7b0d3c1e-0000-4000-8000-00000000000a";
        let name = Name::of("t:", &format!("t:{{{org}}}:u:8:per:user:ann:x")).unwrap();
        assert_eq!(
            (name.scope, name.limit.as_str(), name.id.as_str()),
            ("user", "per:user", "ann:x")
        );
        assert_eq!(name.organization().as_deref(), Some(org));
        let name = Name::of("t:", "t:{0123456789abcdef}:a:5:guard:2001:db8::").unwrap();
        assert_eq!((name.scope, name.id.as_str()), ("address", "2001:db8::"));
        assert_eq!(name.organization(), None);
        for odd in
            ["", "x:{t}:u:1:a:b", "t:{t}:u:9:a:b", "t:{t}:z:1:a:b", "t:{t}:u:1:ab", "t:sessions"]
        {
            assert!(Name::of("t:", odd).is_none(), "{odd}");
        }
    }

    #[test]
    fn a_bucket_is_read_as_each_kind_of_call_leaves_it() {
        let of = |kind: u8, rest: &[&[u8]]| {
            let mut raw = vec![kind];
            raw.extend_from_slice(&3e6_f64.to_le_bytes());
            raw.extend_from_slice(&5e15_f64.to_le_bytes());
            for number in [1_u32, 1_000, 10] {
                raw.extend_from_slice(&number.to_le_bytes());
            }
            raw.extend_from_slice(&[0; 16]);
            rest.iter().for_each(|part| raw.extend_from_slice(part));
            State::read(&raw)
        };
        let (since, until) = (1e6_f64.to_le_bytes(), 9e6_f64.to_le_bytes());
        let penalty = [&[131, 7, 0][..], &since, &until].concat();
        let writer: &[u8] = &[1, 2, 3, 4];
        for state in [of(2, &[]), of(3, &[writer])] {
            assert_eq!(
                state.map(|state| (state.bucket.micros, state.standing.level)).unwrap(),
                (3_000_000, 0)
            );
        }
        for state in [of(6, &[&penalty]), of(7, &[writer, &penalty])] {
            let wanted = Standing {
                level: 3,
                blocked: true,
                strikes: 7,
                since: 1_000_000,
                until: 9_000_000,
            };
            assert_eq!(state.map(|state| state.standing).unwrap(), wanted);
        }
        for odd in [of(2, &[writer]), of(3, &[]), of(6, &[]), of(7, &[&penalty]), of(4, &[])] {
            assert!(odd.is_none());
        }
    }

    #[test]
    fn a_prefix_is_no_pattern() {
        assert_eq!(pattern("a*[b]?", None), "a\\*\\[b\\]\\?{*}:*");
    }
}
