//! Numbers from a seed, and how the environment names seeds and counts.

use std::hash::{BuildHasher, Hasher, RandomState};

/// SplitMix64.
pub(super) struct Numbers(u64);

impl Numbers {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Once in so many times.
    pub(super) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub(super) fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }

    /// About one in `times` of these, in their order.
    pub(super) fn some<T: Copy>(&mut self, of: &[T], times: u64) -> Vec<T> {
        of.iter().copied().filter(|_| self.once_in(times)).collect()
    }
}

/// A number from the environment.
pub(super) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

/// `TOLLGATE_SEED`, or one that nobody knows.
pub(super) fn seed() -> u64 {
    number("TOLLGATE_SEED").unwrap_or_else(|| RandomState::new().build_hasher().finish())
}
