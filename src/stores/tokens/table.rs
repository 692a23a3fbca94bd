//! Verified tokens by the hash of their text, bounded in bytes.
//!
//! Parts are locked apart. A look-up takes a read lock, writes nothing but that the entry was used,
//! and reads no clock. Where room is needed, entries leave in their order; one that was used since
//! its last turn has another (second chance: Corbató, 1968). Imports `domain` only.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use hashbrown::HashTable;

use crate::domain::principal::VerifiedToken;

/// Parts of a table that has room for many tokens.
const PARTS: u64 = 64;
/// Bytes that a part has at least: what is evenly spread over few places is not even.
const PART_BYTES: u64 = 64 * 1024;
/// What an entry takes besides its texts: itself and the token.
const ENTRY_BYTES: usize = 1024;

/// A table of tokens.
pub(super) struct Table {
    parts: Box<[RwLock<Part>]>,
    most_per_part: u64,
}

#[derive(Default)]
struct Part {
    places: HashTable<Place>,
    /// The hashes of the entries, the next to leave first.
    turns: VecDeque<u64>,
    bytes: u64,
}

struct Place {
    hash: u64,
    entry: Remembered,
    used: AtomicBool,
}

/// A token, and what it was verified under.
#[derive(Clone)]
pub(super) struct Remembered {
    pub(super) view: u64,
    pub(super) generation: u64,
    pub(super) text: Arc<str>,
    pub(super) token: Arc<VerifiedToken>,
}

impl Remembered {
    fn bytes(&self) -> u64 {
        // What claims say may be as long as the token allows.
        let claims = [&self.token.role, &self.token.session_id];
        let claims: usize = claims.into_iter().flatten().map(|claim| claim.len()).sum();
        u64::try_from(ENTRY_BYTES + self.text.len() + claims).unwrap_or(u64::MAX)
    }
}

impl Table {
    /// A table for that many bytes.
    pub(super) fn new(most_bytes: u64) -> Self {
        let parts = (most_bytes / PART_BYTES).clamp(1, PARTS);
        let most_per_part = most_bytes / parts;
        Self { parts: (0..parts).map(|_| RwLock::default()).collect(), most_per_part }
    }

    /// The token with that hash, if it is the one that is meant. An expired one is found, too, since
    /// to say so is the core's; but it is not used by that.
    pub(super) fn get(
        &self,
        hash: u64,
        now: u64,
        meant: impl Fn(&Remembered) -> bool,
    ) -> Option<Arc<VerifiedToken>> {
        let part = self.part(hash)?.read().unwrap_or_else(PoisonError::into_inner);
        let place = part.places.find(hash, |place| place.hash == hash)?;
        // First what lies elsewhere than the text: the two are fetched at the same time.
        let lives = place.entry.token.expires_at > now;
        if !meant(&place.entry) {
            return None;
        }
        if lives && !place.used.load(Ordering::Relaxed) {
            place.used.store(true, Ordering::Relaxed);
        }
        Some(Arc::clone(&place.entry.token))
    }

    /// Remembers a token; `now` is in seconds since 1970.
    pub(super) fn put(&self, hash: u64, now: u64, entry: Remembered) {
        let Some(part) = self.part(hash) else { return };
        let mut part = part.write().unwrap_or_else(PoisonError::into_inner);
        part.bytes += entry.bytes();
        if let Some(place) = part.places.find_mut(hash, |place| place.hash == hash) {
            let before = std::mem::replace(&mut place.entry, entry).bytes();
            part.bytes = part.bytes.saturating_sub(before);
        } else {
            let place = Place { hash, entry, used: AtomicBool::new(false) };
            part.places.insert_unique(hash, place, |place| place.hash);
            part.turns.push_back(hash);
        }
        part.shrink_to(self.most_per_part, now);
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        for part in &self.parts {
            *part.write().unwrap_or_else(PoisonError::into_inner) = Part::default();
        }
    }

    /// Entries.
    pub(super) fn len(&self) -> usize {
        let len =
            |part: &RwLock<Part>| part.read().unwrap_or_else(PoisonError::into_inner).places.len();
        self.parts.iter().map(len).sum()
    }

    /// What the entries take, as far as it is counted.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.read().unwrap().bytes).sum()
    }

    fn part(&self, hash: u64) -> Option<&RwLock<Part>> {
        // The table itself uses the lowest and the highest bits.
        let spread = usize::try_from((hash >> 32) & 0xffff).unwrap_or(0);
        self.parts.get(spread % self.parts.len())
    }
}

impl Part {
    /// Ends: every turn takes an entry out, or the mark that it was used.
    fn shrink_to(&mut self, most: u64, now: u64) {
        while self.bytes > most {
            let Some(hash) = self.turns.pop_front() else { return };
            let Ok(found) = self.places.find_entry(hash, |place| place.hash == hash) else {
                continue;
            };
            let place = found.get();
            let used = place.used.swap(false, Ordering::Relaxed);
            if used && place.entry.token.expires_at > now {
                self.turns.push_back(hash);
            } else {
                self.bytes = self.bytes.saturating_sub(place.entry.bytes());
                found.remove();
            }
        }
    }
}
