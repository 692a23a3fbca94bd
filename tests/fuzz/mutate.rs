//! Inputs out of inputs: mutations from a seed, and a failing one made smaller.

/// SplitMix64.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % (end.max(1) as u64)).unwrap()
    }
}

/// Bytes that parsers of this room look out for.
const BYTES: &[u8] = b"()[]{}\"\\,.:;&=+%!*<>-#?/ \t\r\n\0'~\x1f\x7f\xc3\xa4\xff019aA_";

/// One of the inputs with up to six changes, some of them pieces of the others.
pub(crate) fn mutated(corpus: &[Vec<u8>], numbers: &mut Numbers) -> Vec<u8> {
    let mut input = corpus[numbers.below(corpus.len())].clone();
    let most = numbers.below(6) + 1;
    for _ in 0..=numbers.below(most) {
        let at = numbers.below(input.len() + 1);
        let end = (at + 1 + numbers.below(8)).min(input.len());
        match numbers.below(7) {
            0 if at < input.len() => input[at] ^= 1 << numbers.below(8),
            1 if at < input.len() => input[at] = BYTES[numbers.below(BYTES.len())],
            2 => input.insert(at, BYTES[numbers.below(BYTES.len())]),
            3 if at < end => drop(input.drain(at..end)),
            4 if at < end => {
                let piece = input[at..end].to_vec();
                for _ in 0..=numbers.below(3) {
                    input.splice(at..at, piece.iter().copied());
                }
            }
            _ => {
                let other = &corpus[numbers.below(corpus.len())];
                let from = numbers.below(other.len() + 1);
                let to = (from + 1 + numbers.below(24)).min(other.len());
                let until = if numbers.below(2) == 0 { at } else { end.max(at) };
                input.splice(at..until, other[from.min(to)..to].iter().copied());
            }
        }
    }
    input
}

/// The input without all that it fails without.
pub(crate) fn shrunk(input: &[u8], fails: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut input = input.to_vec();
    let mut piece = input.len().div_ceil(2).max(1);
    loop {
        let (mut at, mut smaller) = (0, false);
        while at < input.len() {
            let mut less = input.clone();
            less.drain(at..(at + piece).min(input.len()));
            if fails(&less) {
                (input, smaller) = (less, true);
            } else {
                at += piece;
            }
        }
        if piece == 1 && !smaller {
            return input;
        }
        piece = (piece / 2).max(1);
    }
}
