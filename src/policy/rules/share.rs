//! Shares of requests that are the same for the same caller, on every node and after every reload.

/// A share, in hundredths of a percent: 1 to 10,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share(u16);

impl Share {
    /// All.
    pub const ALL: Self = Self(WHOLE);

    /// So many hundredths of a percent; `None` where that is nothing, or more than all.
    pub fn new(hundredths: u16) -> Option<Self> {
        (1..=WHOLE).contains(&hundredths).then_some(Self(hundredths))
    }

    /// Whether it is all.
    pub fn is_all(self) -> bool {
        self == Self::ALL
    }

    /// Whether a subject belongs to the share of something called `of`. Each `of` takes a share of
    /// its own, so that two of them do not fall on the same subjects.
    pub fn takes(self, of: &str, subject: &[u8]) -> bool {
        self.is_all() || place(of.as_bytes(), subject) < self.0
    }
}

impl std::fmt::Display for Share {
    /// As rules write it: `10%`, `0.5%`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (whole, rest) = (self.0 / 100, self.0 % 100);
        match (rest, rest % 10) {
            (0, _) => write!(f, "{whole}%"),
            (_, 0) => write!(f, "{whole}.{}%", rest / 10),
            (_, _) => write!(f, "{whole}.{rest:02}%"),
        }
    }
}

const WHOLE: u16 = 10_000;

/// A number below [`WHOLE`]: FNV-1a, mixed as in MurmurHash3's `fmix64`, since the last bytes would
/// hardly reach the upper bits. It keeps nobody out and needs no key.
fn place(of: &[u8], subject: &[u8]) -> u16 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in of.iter().chain(&[0]).chain(subject) {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^= hash >> 33;
    u16::try_from(hash % u64::from(WHOLE)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(share: Share, of: &str) -> Vec<u32> {
        (0..10_000).filter(|n: &u32| share.takes(of, n.to_string().as_bytes())).collect()
    }

    #[test]
    fn a_share_is_roughly_as_large_as_it_says_and_always_the_same() {
        for (hundredths, least, most) in
            [(100, 60, 140), (1_000, 900, 1_100), (5_000, 4_800, 5_200)]
        {
            let share = Share::new(hundredths).unwrap();
            let once = taken(share, "canary");
            assert!((least..=most).contains(&once.len()), "{hundredths}: {}", once.len());
            assert_eq!(once, taken(share, "canary"));
        }
        assert_eq!(taken(Share::ALL, "canary").len(), 10_000);
    }

    #[test]
    fn a_larger_share_keeps_those_of_the_smaller_one() {
        let (small, large) = (Share::new(500).unwrap(), Share::new(2_000).unwrap());
        let kept = taken(large, "canary");
        assert!(taken(small, "canary").iter().all(|subject| kept.contains(subject)));
    }

    #[test]
    fn two_shares_do_not_fall_on_the_same_subjects() {
        let share = Share::new(1_000).unwrap();
        let (one, other) = (taken(share, "one"), taken(share, "other"));
        let both = one.iter().filter(|subject| other.contains(subject)).count();
        assert!(both < 200, "{both} of {}", one.len());
    }
}
