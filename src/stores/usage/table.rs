//! The counters in memory: a row for each day, organization, team and caller, up to a cap. What finds no
//! room is counted on a common row of its organization; what finds none there either is lost, and
//! counted as such. Imports `domain` only.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ahash::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use jiff::Timestamp;
use jiff::civil::Date;

use crate::domain::clock::Now;
use crate::domain::ids::OrgId;
use crate::domain::organization::TeamName;
use crate::domain::usage::{Consumer, Payer, Used};
use crate::domain::zone::Zone;

/// Locks that requests share.
const SHARDS: usize = 16;
/// Zones whose present day a shard keeps in mind.
const ZONES: usize = 8;

/// What a counter counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) day: Date,
    pub(super) organization: OrgId,
    pub(super) consumer: Consumer,
    pub(super) team: Option<TeamName>,
}

/// The counters.
#[derive(Debug)]
pub(super) struct Table {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
    /// Of organizations that state none.
    zone: Zone,
    /// Callers of one shard.
    most: usize,
    /// Calls that are counted on the common row of their organization.
    pub(super) overflowed: AtomicU64,
    /// Calls that are counted nowhere.
    pub(super) lost: AtomicU64,
}

#[derive(Debug, Default)]
struct Shard {
    rows: HashTable<Row>,
    /// Rows that have grown since they were last asked for.
    grown: Vec<(u64, Key)>,
    /// The latest last.
    todays: Vec<(Zone, Today)>,
}

#[derive(Debug)]
struct Row {
    hash: u64,
    key: Key,
    used: Used,
    grown: bool,
}

/// A day and the seconds since 1970 that it lasts.
#[derive(Debug, Clone)]
pub(super) struct Today {
    pub(super) day: Date,
    seconds: std::ops::Range<u64>,
}

impl Table {
    /// A table with room for so many callers, whose days are those of `zone` unless their
    /// organization has another.
    pub(super) fn new(rows: usize, zone: Zone) -> Self {
        Self {
            shards: <_>::default(),
            hasher: RandomState::new(),
            zone,
            most: rows.div_ceil(SHARDS),
            overflowed: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        }
    }

    /// Counts a request.
    pub(super) fn count(&self, payer: &Payer, consumer: &Consumer, used: Used, now: Now) {
        if self.add(payer, consumer, used, now, self.most) {
            return;
        }
        if self.add(payer, &Consumer::Others, used, now, 2 * self.most) {
            self.overflowed.fetch_add(used.calls, Ordering::Relaxed);
        } else {
            self.lost.fetch_add(used.calls, Ordering::Relaxed);
        }
    }

    fn add(&self, payer: &Payer, consumer: &Consumer, used: Used, now: Now, most: usize) -> bool {
        let (of, team) = (payer.organization, &payer.team);
        // What finds no room of its own is on one row of the organization.
        let team = team.as_ref().filter(|_| *consumer != Consumer::Others);
        let hash = self.hasher.hash_one((of, consumer, team));
        let Some(mut shard) = self.shard(hash) else { return false };
        let day = shard.day(payer.zone.as_ref().unwrap_or(&self.zone), now.unix_secs());
        let Shard { rows, grown, .. } = &mut *shard;
        let same = |row: &Row| {
            let key = &row.key;
            key.organization == of
                && key.consumer == *consumer
                && key.day == day
                && key.team.as_ref() == team
        };
        let full = rows.len() >= most;
        let row = match rows.entry(hash, same, |row| row.hash) {
            Entry::Occupied(row) => row.into_mut(),
            Entry::Vacant(_) if full => return false,
            Entry::Vacant(room) => {
                let consumer = consumer.clone();
                let key = Key { day, organization: of, consumer, team: team.cloned() };
                let row = Row { hash, key, used: Used::default(), grown: false };
                room.insert(row).into_mut()
            }
        };
        row.used.add(used);
        if !row.grown {
            row.grown = true;
            grown.push((hash, row.key.clone()));
        }
        true
    }

    /// The rows that have grown since the last call, as they stand now.
    pub(super) fn grown(&self) -> Vec<(Key, Used)> {
        let shards = self.shards.iter().flat_map(|shard| lock(shard).grown());
        shards.collect()
    }

    /// The same, and begins anew: no row is continued.
    pub(super) fn renew(&self) -> Vec<(Key, Used)> {
        let renewed = self.shards.iter().flat_map(|shard| {
            let mut shard = lock(shard);
            let last = shard.grown();
            shard.rows = HashTable::new();
            last
        });
        renewed.collect()
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).rows.len()).sum()
    }

    /// The day that it is where nothing else is stated.
    pub(super) fn day(&self, now: Now) -> Date {
        today(&self.zone, now.unix_secs()).day
    }

    fn shard(&self, hash: u64) -> Option<MutexGuard<'_, Shard>> {
        // Not the bits by which the row is found in its shard.
        let index = usize::try_from(hash >> 48).unwrap_or(0) % SHARDS;
        self.shards.get(index).map(lock)
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shard {
    fn grown(&mut self) -> Vec<(Key, Used)> {
        let Self { rows, grown, .. } = self;
        let taken = grown.drain(..).filter_map(|(hash, key)| {
            let row = rows.find_mut(hash, |row| row.key == key)?;
            row.grown = false;
            Some((key, row.used))
        });
        taken.collect()
    }

    /// The day at a time; worked out once for each day and zone, while there are not too many.
    fn day(&mut self, zone: &Zone, seconds: u64) -> Date {
        let same =
            |(known, today): &&(Zone, Today)| today.seconds.contains(&seconds) && known == zone;
        if let Some((_, today)) = self.todays.iter().find(same) {
            return today.day;
        }
        let today = today(zone, seconds);
        let day = today.day;
        self.todays.retain(|(known, _)| known != zone);
        if self.todays.len() >= ZONES {
            self.todays.remove(0);
        }
        self.todays.push((zone.clone(), today));
        day
    }
}

/// The day of a zone at a time, with its first second and the one behind its last: 23 to 25 hours
/// where clocks are changed.
pub(super) fn today(zone: &Zone, seconds: u64) -> Today {
    let zone = zone.rules();
    let at = i64::try_from(seconds).ok().and_then(|at| Timestamp::from_second(at).ok());
    let local = at.unwrap_or(Timestamp::MAX).to_zoned(zone.clone());
    let day = local.date();
    let second = |zoned: Option<jiff::Zoned>| {
        zoned.and_then(|zoned| u64::try_from(zoned.timestamp().as_second()).ok())
    };
    let begin = second(local.start_of_day().ok()).unwrap_or(seconds);
    let tomorrow = day.tomorrow().ok().and_then(|day| day.to_zoned(zone.clone()).ok());
    let end = second(tomorrow).unwrap_or(seconds.saturating_add(1));
    Today { day, seconds: begin..end }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Used = Used { calls: 1, bytes_in: 2, bytes_out: 3, cost: 4 };

    fn at(time: &str) -> Now {
        let seconds = time.parse::<Timestamp>().unwrap().as_second();
        Now { unix_micros: u64::try_from(seconds).unwrap() * 1_000_000, mono_nanos: 0 }
    }

    fn user(number: usize) -> Consumer {
        Consumer::User(format!("user-{number}").parse().unwrap())
    }

    fn organization(number: u128) -> OrgId {
        OrgId::new(uuid::Uuid::from_u128(number))
    }

    fn payer(number: u128) -> Payer {
        Payer { organization: organization(number), zone: None, team: None }
    }

    #[test]
    fn rows_are_given_when_they_have_grown_with_all_that_they_hold() {
        let table = Table::new(100, Zone::utc());
        let now = at("2026-11-21T12:00:00Z");
        let count = || table.count(&payer(1), &user(1), ONE, now);
        count();
        count();
        table.count(&payer(2), &user(1), ONE, now);
        assert_eq!(table.grown().len(), 2);
        assert_eq!(table.grown(), []);
        count();
        let key = Key {
            day: table.day(now),
            organization: organization(1),
            consumer: user(1),
            team: None,
        };
        let used = Used { calls: 3, bytes_in: 6, bytes_out: 9, cost: 12 };
        assert_eq!(table.grown(), [(key.clone(), used)]);
        count();
        assert_eq!(table.renew().len(), 1);
        count();
        assert_eq!(table.grown(), [(key, ONE)], "a renewed table begins at nothing");
    }

    #[test]
    fn a_call_counts_for_the_day_of_the_zone_also_where_clocks_are_changed() {
        let berlin = "Europe/Berlin".parse().unwrap();
        let table = Table::new(100, berlin);
        let days = [
            ("2026-03-28T22:59:59Z", "2026-03-28"),
            ("2026-03-28T23:00:00Z", "2026-03-29"),
            // A day of 23 hours.
            ("2026-03-29T21:59:59Z", "2026-03-29"),
            ("2026-03-29T22:00:00Z", "2026-03-30"),
            ("2026-10-24T22:00:00Z", "2026-10-25"),
            // One of 25.
            ("2026-10-25T22:59:59Z", "2026-10-25"),
            ("2026-10-25T23:00:00Z", "2026-10-26"),
            // The clock was set back.
            ("2026-10-25T12:00:00Z", "2026-10-25"),
        ];
        for (time, day) in days {
            table.count(&payer(1), &user(1), ONE, at(time));
            let grown: Vec<String> =
                table.grown().into_iter().map(|(key, _)| key.day.to_string()).collect();
            assert_eq!(grown, [day], "{time}");
        }
    }

    #[test]
    fn an_organization_has_the_days_of_its_own_zone_however_many_there_are() {
        let table = Table::new(100, Zone::utc());
        let zones = [
            ("Pacific/Auckland", "2026-11-22"),
            ("America/New_York", "2026-11-21"),
            ("Pacific/Kiritimati", "2026-11-22"),
            ("Pacific/Pago_Pago", "2026-11-21"),
            ("Asia/Tokyo", "2026-11-21"),
            ("Australia/Sydney", "2026-11-21"),
            ("Pacific/Fiji", "2026-11-22"),
            ("Asia/Kolkata", "2026-11-21"),
            ("Europe/Berlin", "2026-11-21"),
        ];
        for _ in 0..2 {
            for (zone, day) in zones {
                let payer = Payer { zone: Some(zone.parse().unwrap()), ..payer(1) };
                table.count(&payer, &user(1), ONE, at("2026-11-21T12:30:00Z"));
                let [(key, _)] = <[_; 1]>::try_from(table.grown()).unwrap();
                assert_eq!(key.day.to_string(), day, "{zone}");
            }
        }
    }

    #[test]
    fn midnight_that_does_not_exist_begins_the_day_later() {
        // Clocks went from 00:00 to 01:00 here.
        let table = Table::new(100, "America/Sao_Paulo".parse().unwrap());
        assert_eq!(table.day(at("2018-11-04T02:59:59Z")).to_string(), "2018-11-03");
        assert_eq!(table.day(at("2018-11-04T03:00:00Z")).to_string(), "2018-11-04");
    }

    #[test]
    fn a_flood_of_callers_is_counted_on_one_row_and_of_organizations_is_counted_as_lost() {
        let table = Table::new(SHARDS, Zone::utc());
        let now = at("2026-11-21T12:00:00Z");
        for number in 0..10_000 {
            table.count(&payer(1), &user(number), ONE, now);
        }
        let rows = table.grown();
        let of = |others: bool| -> u64 {
            let rows = rows.iter().filter(|(key, _)| (key.consumer == Consumer::Others) == others);
            rows.map(|(_, used)| used.calls).sum()
        };
        assert_eq!(of(true), table.overflowed.load(Ordering::Relaxed));
        assert_eq!(of(true) + of(false), 10_000);
        assert!(table.len() <= SHARDS + 1, "{}", table.len());
        for number in 0..10_000 {
            table.count(&payer(number), &user(1), ONE, now);
        }
        let lost = table.lost.load(Ordering::Relaxed);
        assert!(lost > 0 && table.len() <= 2 * SHARDS, "{lost} {}", table.len());
        let before: u64 = rows.iter().map(|(_, used)| used.calls).sum();
        table.renew();
        assert_eq!(before, 10_000);
        table.count(&payer(9_999), &user(1), ONE, now);
        assert_eq!(table.len(), 1, "there is room again");
    }
}
