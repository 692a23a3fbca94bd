//! When keys of machines were last used: noted by requests without waiting, written together.
//!
//! A key is noted at most once in [`PACE`] on each node. Everything is bounded; what does not fit
//! is not noted, and the next use is.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use moka::sync::Cache;
use tokio_postgres::{Client, Error};

use crate::domain::clock::Now;
use crate::domain::machine::KeyId;

/// Seconds between two notes of one key.
const PACE: u64 = 60;
/// Keys whose last note is remembered.
const REMEMBERED: u64 = 65_536;
/// Notes that may wait to be written.
const MOST_WAITING: usize = 65_536;

/// The gateway's user needs `insert`, `update` and `select` on this table, and nothing else to write.
const WRITE: &str = "
    insert into tollgate.api_key_uses (key_id, last_used_at)
    select used.id, to_timestamp(used.at::double precision)
    from unnest($1::text[], $2::bigint[]) used(id, at)
    join tollgate.api_keys k on k.id = used.id
    on conflict (key_id) do update
    set last_used_at = greatest(api_key_uses.last_used_at, excluded.last_used_at)";

/// Uses that are not written yet.
pub(super) struct Uses {
    noted: Cache<KeyId, Arc<AtomicU64>>,
    waiting: Mutex<HashMap<KeyId, i64>>,
}

impl Uses {
    pub(super) fn new() -> Self {
        Self { noted: Cache::new(REMEMBERED), waiting: Mutex::default() }
    }

    /// Notes a use.
    pub(super) fn note(&self, id: KeyId, now: Now) {
        let now = now.unix_secs();
        let noted = self.noted.get_with(id, Arc::default);
        let before = noted.load(Ordering::Relaxed);
        if now.saturating_sub(before) < PACE {
            return;
        }
        let mine = noted.compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if mine.is_ok() && (waiting.len() < MOST_WAITING || waiting.contains_key(&id)) {
            waiting.insert(id, i64::try_from(now).unwrap_or(i64::MAX));
        }
    }

    /// Uses that wait to be written.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Writes what was noted. What cannot be written is given up: a later use says more.
    pub(super) async fn write(&self, client: &Client) -> Result<(), Error> {
        let waiting = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *waiting)
        };
        if waiting.is_empty() {
            return Ok(());
        }
        let ids: Vec<&str> = waiting.keys().map(KeyId::as_str).collect();
        let at: Vec<i64> = waiting.values().copied().collect();
        client.execute(WRITE, &[&ids, &at]).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Now {
        Now { unix_micros: secs * 1_000_000, mono_nanos: 0 }
    }

    #[test]
    fn a_key_is_noted_once_a_minute_with_its_latest_use() {
        let uses = Uses::new();
        let id: KeyId = "tgk_0123456789Ab".parse().unwrap();
        let waiting = || uses.waiting.lock().unwrap().get(&id).copied();
        for (secs, wanted) in [(1_000, 1_000), (1_001, 1_000), (1_059, 1_000), (1_060, 1_060)] {
            uses.note(id, at(secs));
            assert_eq!(waiting(), Some(wanted), "{secs}");
        }
        uses.waiting.lock().unwrap().clear();
        uses.note(id, at(1_061));
        assert_eq!(waiting(), None);
    }

    #[test]
    fn a_flood_of_keys_is_noted_up_to_the_cap_and_those_that_wait_keep_their_place() {
        let uses = Uses::new();
        let id = |number: u64| format!("tgk_{number:012}").parse::<KeyId>().unwrap();
        for number in 0..3 * REMEMBERED {
            uses.note(id(number), at(1_000));
        }
        uses.noted.run_pending_tasks();
        assert_eq!(uses.waiting(), MOST_WAITING);
        assert!(uses.noted.entry_count() <= REMEMBERED, "{}", uses.noted.entry_count());
        uses.note(id(0), at(2_000));
        assert_eq!(uses.waiting.lock().unwrap().get(&id(0)), Some(&2_000));
    }
}
