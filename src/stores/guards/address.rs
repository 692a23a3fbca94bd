//! How fast one client address may ask, before anything else is looked at.
//!
//! governor does the counting (GCRA, one word per address); the store below keeps it bounded:
//! addresses that are back at rest are forgotten, and where there is no room for another, new ones
//! share a slot. So a flood from many addresses cannot grow the map, and does not touch those that
//! are known. Imports `domain` only.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ahash::RandomState;
use arc_swap::ArcSwapOption;
use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;
use governor::{Quota, RateLimiter};

use crate::domain::charge::Rate;
use crate::domain::clock::Clock;

use crate::domain::address::customer;

const SHARDS: usize = 32;
/// Slots that addresses without a place of their own share, in each shard.
const SHARED: usize = 32;

/// Asks per address.
#[derive(Debug)]
pub struct AddressGuard {
    limiter: ArcSwapOption<Limiter>,
    max_addresses: NonZeroU32,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct Limiter {
    rate: Rate,
    inner: RateLimiter<IpAddr, Addresses, Shared, NoOpMiddleware<Nanos>>,
}

impl AddressGuard {
    /// A guard that keeps about so many addresses at most.
    pub fn new(max_addresses: NonZeroU32, clock: Arc<dyn Clock>) -> Self {
        Self { limiter: ArcSwapOption::empty(), max_addresses, clock }
    }

    /// Counts one ask of the address; an error says when to come back. The rate is an argument
    /// because it can be reloaded: other numbers than the last time begin with nobody counted.
    pub fn check(&self, address: IpAddr, rate: &Rate) -> Result<(), Duration> {
        let limiter = self.limiter.load();
        match limiter.as_ref().filter(|limiter| limiter.rate == *rate) {
            Some(limiter) => limiter.ask(address),
            None => {
                let fresh = Arc::new(self.limiter(rate));
                self.limiter.store(Some(Arc::clone(&fresh)));
                fresh.ask(address)
            }
        }
    }

    /// Forgets the addresses that are at rest. Call it every few seconds; without it the map stays
    /// within its bound all the same, but gives new addresses shared slots sooner.
    pub fn prune(&self) {
        if let Some(limiter) = self.limiter.load().as_ref() {
            limiter.inner.retain_recent();
            limiter.inner.shrink_to_fit();
        }
    }

    /// Addresses that are kept now.
    pub fn addresses(&self) -> usize {
        self.limiter.load().as_ref().map_or(0, |limiter| limiter.inner.len())
    }

    fn limiter(&self, rate: &Rate) -> Limiter {
        let store = Addresses::new(self.max_addresses);
        let inner = RateLimiter::new(quota(rate), store, Shared(Arc::clone(&self.clock)));
        Limiter { rate: *rate, inner }
    }
}

impl Limiter {
    fn ask(&self, address: IpAddr) -> Result<(), Duration> {
        self.inner.check_key(&customer(address)).map_err(|until| {
            let now = GovernorClock::now(self.inner.clock());
            until.wait_time_from(now)
        })
    }
}

/// governor counts whole intervals of nanoseconds: rounded up, so never faster than the rate.
fn quota(rate: &Rate) -> Quota {
    let period = u64::from(rate.period_millis.get()) * 1_000_000;
    let interval = period.div_ceil(u64::from(rate.tokens.get())).max(1);
    // Its arithmetic is in 64 bits: 292 years for the burst are enough.
    let most = u32::try_from(i64::MAX.unsigned_abs() / interval).unwrap_or(u32::MAX);
    let burst = NonZeroU32::new(rate.burst.get().min(most)).unwrap_or(NonZeroU32::MIN);
    Quota::with_period(Duration::from_nanos(interval))
        // Unreachable: the interval is not zero. In doubt, the strictest there is.
        .unwrap_or_else(|| Quota::per_hour(NonZeroU32::MIN))
        .allow_burst(burst)
}

/// The gateway's clock, for governor.
#[derive(Debug, Clone)]
struct Shared(Arc<dyn Clock>);

impl GovernorClock for Shared {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(self.0.now().mono_nanos)
    }
}

/// governor's state, sharded and bounded.
#[derive(Debug)]
struct Addresses {
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
    most_per_shard: usize,
}

#[derive(Debug)]
struct Shard {
    own: HashMap<IpAddr, Nanos, RandomState>,
    shared: [Option<Nanos>; SHARED],
}

impl Addresses {
    fn new(most: NonZeroU32) -> Self {
        let hasher = RandomState::new();
        let shard = || Shard { own: HashMap::with_hasher(hasher.clone()), shared: [None; SHARED] };
        let shards = std::array::from_fn(|_| Mutex::new(shard()));
        let most_per_shard = usize::try_from(most.get()).unwrap_or(usize::MAX).div_ceil(SHARDS);
        Self { hasher, shards, most_per_shard }
    }

    fn locked(&self) -> impl Iterator<Item = MutexGuard<'_, Shard>> {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl StateStore for Addresses {
    type Key = IpAddr;

    fn measure_and_replace<T, F, E>(&self, key: &IpAddr, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let hash = self.hasher.hash_one(key);
        let part = |shift: u32| usize::try_from((hash >> shift) & 0xffff).unwrap_or(0);
        let Some(shard) = self.shards.get(part(32) % SHARDS) else {
            return f(None).map(|(outcome, _)| outcome);
        };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let full = shard.own.len() >= self.most_per_shard;
        let Shard { own, shared } = &mut *shard;
        if let Some(state) = own.get_mut(key) {
            let (outcome, next) = f(Some(*state))?;
            *state = next;
            return Ok(outcome);
        }
        match shared.get_mut(part(16) % SHARED) {
            // Whoever shared that slot until now brings its state along: moving gives nothing.
            Some(slot) => {
                let (outcome, next) = f(*slot)?;
                if full {
                    *slot = Some(next);
                } else {
                    own.insert(*key, next);
                }
                Ok(outcome)
            }
            None => f(None).map(|(outcome, _)| outcome),
        }
    }
}

impl ShrinkableKeyedStateStore<IpAddr> for Addresses {
    fn retain_recent(&self, drop_below: Nanos) {
        for mut shard in self.locked() {
            shard.own.retain(|_, state| *state > drop_below);
            for slot in &mut shard.shared {
                *slot = slot.filter(|state| *state > drop_below);
            }
        }
    }

    fn shrink_to_fit(&self) {
        for mut shard in self.locked() {
            shard.own.shrink_to_fit();
        }
    }

    fn len(&self) -> usize {
        self.locked().map(|shard| shard.own.len()).sum()
    }

    fn is_empty(&self) -> bool {
        self.locked().all(|shard| shard.own.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::domain::clock::Now;

    #[derive(Default)]
    struct Hands(AtomicU64);

    impl Hands {
        fn advance(&self, millis: u64) {
            self.0.fetch_add(millis * 1_000_000, Ordering::Relaxed);
        }
    }

    impl Clock for Hands {
        fn now(&self) -> Now {
            Now { unix_micros: 0, mono_nanos: self.0.load(Ordering::Relaxed) }
        }
    }

    fn guard(most: u32) -> (AddressGuard, Arc<Hands>) {
        let clock = Arc::new(Hands::default());
        (AddressGuard::new(number(most), clock.clone()), clock)
    }

    fn number(n: u32) -> NonZeroU32 {
        NonZeroU32::new(n).unwrap()
    }

    /// Ten a second, three at once.
    fn rate() -> Rate {
        Rate { tokens: number(10), period_millis: number(1_000), burst: number(3) }
    }

    fn address(n: u32) -> IpAddr {
        IpAddr::from(n.to_be_bytes())
    }

    #[test]
    fn an_address_is_admitted_its_burst_and_again_after_the_wait_it_is_told() {
        let (guard, clock) = guard(1_000);
        for _ in 0..3 {
            assert_eq!(guard.check(address(1), &rate()), Ok(()));
        }
        let wait = guard.check(address(1), &rate()).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        assert_eq!(guard.check(address(2), &rate()), Ok(()), "another address is not affected");
        clock.advance(100);
        assert_eq!(guard.check(address(1), &rate()), Ok(()));
        assert!(guard.check(address(1), &rate()).is_err());
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_as_one() {
        let (guard, _) = guard(1_000);
        let admitted = (0..100_u16)
            .filter(|host| {
                let address = std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, *host);
                guard.check(IpAddr::V6(address), &rate()).is_ok()
            })
            .count();
        assert_eq!(admitted, 3);
    }

    #[test]
    fn a_flood_of_addresses_neither_grows_the_map_nor_touches_those_that_are_known() {
        let (guard, clock) = guard(64);
        assert!(guard.check(address(0), &rate()).is_ok());
        let flood = (1..20_000).filter(|n| guard.check(address(*n), &rate()).is_ok()).count();
        assert!(guard.addresses() <= 64, "{}", guard.addresses());
        assert!(flood <= 64 * 3 + SHARDS * SHARED * 3, "{flood}");
        assert!(guard.check(address(0), &rate()).is_ok());
        clock.advance(10_000);
        guard.prune();
        assert_eq!(guard.addresses(), 0, "all are at rest");
        assert!(guard.check(address(30_000), &rate()).is_ok());
    }

    #[test]
    fn pruning_forgets_nobody_who_is_not_at_rest() {
        let (guard, clock) = guard(1_000);
        for _ in 0..3 {
            assert!(guard.check(address(1), &rate()).is_ok());
        }
        clock.advance(50);
        guard.prune();
        assert!(guard.check(address(1), &rate()).is_err());
    }

    #[test]
    fn any_rate_that_a_policy_can_state_is_counted() {
        let extremes = [1, 2, 999, u32::MAX];
        for tokens in extremes {
            for period in extremes {
                for burst in extremes {
                    let (guard, _) = guard(1);
                    let rate = Rate {
                        tokens: number(tokens),
                        period_millis: number(period),
                        burst: number(burst),
                    };
                    assert_eq!(guard.check(address(1), &rate), Ok(()), "{rate:?}");
                }
            }
        }
    }
}
