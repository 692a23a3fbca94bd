//! Tokens that were verified, and tokens that were minted: so that a signature is checked, and
//! made, once per token and not once per request.
//!
//! Read by the authenticate stage through [`NodeKnowledge`](super::node::NodeKnowledge), and by
//! the shell before it sends a request on. Both memories are bounded in bytes, and the core still
//! checks the times of what it finds.

mod table;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ahash::RandomState;
use moka::Expiry;
use moka::sync::Cache;

use crate::domain::caller::{Caller, Minted};
use crate::domain::clock::{Clock, Now};
use crate::domain::principal::VerifiedToken;

use self::table::{Remembered, Table};

/// Bytes of verified tokens that are kept: about 20,000 tokens of a usual size.
pub const VERIFIED_BYTES: u64 = 64 * 1024 * 1024;
/// Bytes of minted tokens that are kept.
pub const MINTED_BYTES: u64 = 16 * 1024 * 1024;
/// Bytes of a token that are hashed.
const HASHED: usize = 64;

/// Verified tokens of this process.
///
/// They are found by a keyed 64-bit hash, which is no identity: what is found is compared with what
/// was asked for, to the last byte, before it counts. A collision costs another verification.
pub struct VerifiedTokens {
    table: Table,
    hasher: RandomState,
    views: AtomicU64,
}

/// What verified tokens are read and written through. Views do not see each other's tokens: a
/// snapshot has its own, so that a token which the policies before it accepted counts no more.
#[derive(Clone)]
pub struct TokenView {
    tokens: Arc<VerifiedTokens>,
    view: u64,
}

impl VerifiedTokens {
    /// A memory of that many bytes.
    pub fn new(max_bytes: u64) -> Arc<Self> {
        let (table, hasher) = (Table::new(max_bytes), RandomState::new());
        Arc::new(Self { table, hasher, views: AtomicU64::new(0) })
    }

    /// A view that sees no token yet.
    pub fn view(self: &Arc<Self>) -> TokenView {
        let view = self.views.fetch_add(1, Ordering::Relaxed);
        TokenView { tokens: Arc::clone(self), view }
    }

    /// Forgets all tokens of all views.
    pub fn clear(&self) {
        self.table.clear();
    }

    /// How many tokens are remembered.
    pub fn count(&self) -> u64 {
        u64::try_from(self.table.len()).unwrap_or(u64::MAX)
    }
}

impl TokenView {
    /// The token, if it was verified through this view under the same `generation` of keys.
    pub fn get(&self, token: &str, generation: u64, now: Now) -> Option<Arc<VerifiedToken>> {
        let hash = self.hash(token, generation);
        self.tokens.table.get(hash, now.unix_secs(), |found| {
            found.view == self.view
                && found.generation == generation
                && found.text.as_ref() == token
        })
    }

    /// Remembers a token. `generation` is that of the keys at the time before it was verified.
    pub fn put(&self, token: &str, generation: u64, now: Now, verified: &Arc<VerifiedToken>) {
        let now = now.unix_secs();
        if verified.expires_at <= now {
            return;
        }
        let (text, verified) = (Arc::from(token), Arc::clone(verified));
        let entry = Remembered { view: self.view, generation, text, token: verified };
        self.tokens.table.put(self.hash(token, generation), now, entry);
    }

    /// The end of a token is of its signature, in which no two tokens of one signer are alike.
    fn hash(&self, token: &str, generation: u64) -> u64 {
        let token = token.as_bytes();
        let end = token.last_chunk::<HASHED>().map_or(token, |end| end);
        self.tokens.hasher.hash_one((self.view, generation, end))
    }
}

/// Tokens that were minted for upstreams, under one snapshot.
pub struct MintedTokens {
    cache: Cache<(Arc<str>, Caller), Minted, RandomState>,
}

impl MintedTokens {
    /// A memory of that many bytes.
    pub fn new(max_bytes: u64, clock: Arc<dyn Clock>) -> Self {
        // Half of its life is left to the upstream and to slow requests.
        let half = |entry: &Minted, now: Now| {
            let now = now.unix_secs();
            now + entry.expires_at.saturating_sub(now) / 2
        };
        let cache = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|_, entry: &Minted| {
                u32::try_from(512 + entry.authorization.len()).unwrap_or(u32::MAX)
            })
            .expire_after(AtExpiry { clock, until: half })
            .build_with_hasher(RandomState::new());
        Self { cache }
    }

    /// The caller's token for that upstream; `mint` makes one where none is at hand.
    ///
    /// # Errors
    /// Those of `mint`.
    pub fn get_or_mint<E>(
        &self,
        upstream: &Arc<str>,
        caller: &Caller,
        mint: impl FnOnce() -> Result<Minted, E>,
    ) -> Result<Minted, E> {
        let key = (Arc::clone(upstream), caller.clone());
        if let Some(minted) = self.cache.get(&key) {
            return Ok(minted);
        }
        let minted = mint()?;
        self.cache.insert(key, minted.clone());
        Ok(minted)
    }

    /// How many tokens are kept, roughly.
    pub fn count(&self) -> u64 {
        self.cache.entry_count()
    }
}

/// Lets entries leave at a time of theirs, in seconds since 1970.
struct AtExpiry<V> {
    clock: Arc<dyn Clock>,
    until: fn(&V, Now) -> u64,
}

impl<V> AtExpiry<V> {
    fn left(&self, entry: &V) -> Option<Duration> {
        let now = self.clock.now();
        Some(Duration::from_secs((self.until)(entry, now).saturating_sub(now.unix_secs())))
    }
}

impl<K, V> Expiry<K, V> for AtExpiry<V> {
    fn expire_after_create(&self, _: &K, entry: &V, _: Instant) -> Option<Duration> {
        self.left(entry)
    }

    fn expire_after_update(
        &self,
        _: &K,
        entry: &V,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.left(entry)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::domain::known::IssuerIndex;
    use crate::domain::principal::PrincipalKind;
    use crate::domain::session::{Marks, Noted};
    use crate::telemetry::clock::SystemClock;

    fn verified(expires_at: u64) -> Arc<VerifiedToken> {
        Arc::new(VerifiedToken {
            issuer: IssuerIndex(0),
            marks: Marks::new(None, None, "a.b"),
            noted: Noted::default(),
            subject: None,
            role: None,
            session_id: None,
            expires_at,
            not_before: None,
            second_factor: false,
            factor_at: None,
            signed_in_at: None,
            issued_at: None,
            organizations: Box::default(),
            vouched: None,
        })
    }

    fn clock() -> Arc<dyn Clock> {
        Arc::new(SystemClock::new())
    }

    fn now() -> Now {
        clock().now()
    }

    fn in_an_hour() -> u64 {
        clock().now().unix_secs() + 3600
    }

    #[test]
    fn a_token_is_found_under_the_view_and_keys_it_was_verified_with() {
        let tokens = VerifiedTokens::new(VERIFIED_BYTES);
        let view = tokens.view();
        let token = verified(in_an_hour());
        view.put("a.b.c", 1, now(), &token);
        assert!(Arc::ptr_eq(&view.get("a.b.c", 1, now()).unwrap(), &token));
        assert!(view.get("a.b.c", 2, now()).is_none(), "keys were taken away since");
        assert!(view.get("a.b.d", 1, now()).is_none());
        assert!(tokens.view().get("a.b.c", 1, now()).is_none(), "another snapshot");
        tokens.clear();
        assert!(view.get("a.b.c", 1, now()).is_none());
    }

    #[test]
    fn an_expired_token_is_not_kept() {
        let view = VerifiedTokens::new(VERIFIED_BYTES).view();
        view.put("a.b.c", 0, now(), &verified(1));
        assert!(view.get("a.b.c", 0, now()).is_none());
    }

    #[test]
    fn the_memory_is_bounded_in_bytes() {
        let tokens = VerifiedTokens::new(10_000);
        let view = tokens.view();
        for number in 0..1000 {
            view.put(&format!("a.b.{number}"), 0, now(), &verified(in_an_hour()));
        }
        assert!(tokens.table.bytes() <= 10_000);
        assert!((5..20).contains(&tokens.count()), "{}", tokens.count());
        assert!(view.get("a.b.999", 0, now()).is_some());
    }

    #[test]
    fn tokens_that_end_alike_are_not_taken_for_each_other() {
        let view = VerifiedTokens::new(VERIFIED_BYTES).view();
        let end = "x".repeat(HASHED);
        view.put(&format!("a.b.{end}"), 0, now(), &verified(in_an_hour()));
        assert!(view.get(&format!("a.c.{end}"), 0, now()).is_none());
        assert!(view.get(&format!("a.b.{end}"), 0, now()).is_some());
    }

    #[test]
    fn an_expired_token_has_no_second_chance() {
        let tokens = VerifiedTokens::new(10_000);
        let view = tokens.view();
        let (early, late) = (now(), Now { unix_micros: now().unix_micros * 2, mono_nanos: 0 });
        view.put("a.b.old", 0, early, &verified(in_an_hour()));
        for number in 0..100 {
            view.get("a.b.old", 0, late);
            view.put(&format!("a.b.{number}"), 0, early, &verified(in_an_hour()));
        }
        assert!(view.get("a.b.old", 0, early).is_none());
    }

    #[test]
    fn who_comes_again_stays_while_others_pass_through() {
        let view = VerifiedTokens::new(10_000).view();
        let token = verified(in_an_hour());
        view.put("a.b.regular", 0, now(), &token);
        for number in 0..1000 {
            assert!(view.get("a.b.regular", 0, now()).is_some(), "{number}");
            view.put(&format!("a.b.{number}"), 0, now(), &token);
        }
    }

    #[test]
    fn a_token_that_is_put_again_takes_its_place_and_no_other() {
        let tokens = VerifiedTokens::new(10_000);
        let view = tokens.view();
        for _ in 0..100 {
            view.put("a.b.c", 0, now(), &verified(in_an_hour()));
        }
        let once = tokens.table.bytes();
        assert_eq!(tokens.count(), 1);
        assert!(once < 2_000, "{once}");
    }

    #[test]
    fn the_memory_of_minted_tokens_is_bounded_in_bytes() {
        let minted = MintedTokens::new(10_000, clock());
        let (rest, expires_at): (Arc<str>, u64) = ("rest".into(), in_an_hour());
        for number in 0..1000 {
            let user = Some(format!("user-{number}").parse().unwrap());
            let caller = Caller {
                kind: PrincipalKind::User,
                user,
                org: None,
                org_role: None,
                org_team: None,
                key: None,
                actor: None,
                session_id: None,
                expires_at: None,
            };
            let authorization = HeaderValue::from_static("Bearer a.b.c");
            let made = || Ok::<_, ()>(Minted { authorization, expires_at });
            minted.get_or_mint(&rest, &caller, made).unwrap();
        }
        minted.cache.run_pending_tasks();
        assert!(minted.cache.weighted_size() <= 10_000);
        assert!((1..20).contains(&minted.count()), "{}", minted.count());
    }

    #[test]
    fn a_minted_token_is_made_once_for_equal_callers_and_apart_for_different_ones() {
        let minted = MintedTokens::new(MINTED_BYTES, clock());
        let caller = |org_role: &str| Caller {
            kind: PrincipalKind::User,
            user: Some("u".parse().unwrap()),
            org: None,
            org_role: Some(org_role.into()),
            org_team: None,
            key: None,
            actor: None,
            session_id: None,
            expires_at: None,
        };
        let make = |text: &'static str, expires_at| {
            move || {
                let authorization = HeaderValue::from_static(text);
                Ok::<_, ()>(Minted { authorization, expires_at })
            }
        };
        let rest: Arc<str> = "rest".into();
        let (later, editor, viewer) = (in_an_hour(), caller("editor"), caller("viewer"));
        let first = minted.get_or_mint(&rest, &editor, make("one", later)).unwrap();
        assert_eq!(minted.get_or_mint(&rest, &editor, make("two", later)), Ok(first));
        let other = minted.get_or_mint(&rest, &viewer, make("three", later)).unwrap();
        assert_eq!(other.authorization, "three");
        let other = minted.get_or_mint(&"auth".into(), &editor, make("four", later)).unwrap();
        assert_eq!(other.authorization, "four");
        assert_eq!(minted.get_or_mint(&rest, &caller("x"), || Err(())), Err(()));
    }

    #[test]
    fn a_minted_token_at_the_end_of_its_life_is_made_anew() {
        let minted = MintedTokens::new(MINTED_BYTES, clock());
        let nobody = Caller {
            kind: PrincipalKind::Anonymous,
            user: None,
            org: None,
            org_role: None,
            org_team: None,
            key: None,
            actor: None,
            session_id: None,
            expires_at: None,
        };
        let ending = |text: &'static str| {
            let expires_at = clock().now().unix_secs() + 1;
            Ok::<_, ()>(Minted { authorization: HeaderValue::from_static(text), expires_at })
        };
        let rest: Arc<str> = "rest".into();
        minted.get_or_mint(&rest, &nobody, || ending("one")).unwrap();
        let again = minted.get_or_mint(&rest, &nobody, || ending("two")).unwrap();
        assert_eq!(again.authorization, "two");
    }
}
