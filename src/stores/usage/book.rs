//! What each organization has used in the present day and month, for quotas: what this process has
//! admitted, and what all others had brought to the ledger when it was last read. Imports `domain`.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use smallvec::SmallVec;

use crate::domain::clock::Now;
use crate::domain::ids::OrgId;
use crate::domain::usage::{OrganizationUse, PeriodUse, Used};
use crate::policy::quotas::Period;

/// Organizations that are known; of others nothing is.
const MOST: usize = 65_536;
/// An organization under a quota is read for so long after its last request.
const WANTED: Duration = Duration::from_secs(3_600);

/// All that is known.
#[derive(Debug)]
pub(super) struct Book {
    zone: TimeZone,
    /// What was read counts for so long.
    fresh: Duration,
    pages: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    all: HashMap<OrgId, Page>,
    calendar: Option<Calendar>,
}

/// The present day and month, and the seconds since 1970 in which they end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Calendar {
    pub(super) day: Date,
    pub(super) month: Date,
    day_ends: u64,
    month_ends: u64,
}

#[derive(Debug, Clone)]
struct Page {
    day: Date,
    month: Date,
    own: Sums,
    others: Sums,
    read: Option<Now>,
    asked: Option<Now>,
    /// Thresholds that were told in the present period.
    told: SmallVec<[(std::sync::Arc<str>, Date, u8); 2]>,
}

/// Of the present day and of the present month.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) day: Used,
    pub(super) month: Used,
}

impl Book {
    pub(super) fn new(zone: TimeZone, fresh: Duration) -> Self {
        Self { zone, fresh, pages: Mutex::default() }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts what this process has admitted, where there is room.
    pub(super) fn count(&self, organization: OrgId, used: Used, now: Now) {
        self.on_page(organization, now, |page, _| {
            page.own.day.add(used);
            page.own.month.add(used);
        });
    }

    /// Takes back what was admitted at `then` and came to nothing.
    pub(super) fn give_back(&self, organization: OrgId, used: Used, then: Now, now: Now) {
        let calendar = calendar(&self.zone, then.unix_secs());
        self.on_page(organization, now, |page, _| {
            if page.day == calendar.day {
                page.own.day.take(used);
            }
            if page.month == calendar.month {
                page.own.month.take(used);
            }
        });
    }

    /// Decides by what is known, and counts a request that is admitted in the same step.
    pub(super) fn admit<R, E>(
        &self,
        organization: OrgId,
        cost: Used,
        now: Now,
        decide: impl FnOnce(Option<&OrganizationUse>) -> Result<R, E>,
    ) -> Result<R, E> {
        let mut pages = self.pages();
        let Some((page, calendar)) = pages.page(organization, now, &self.zone) else {
            return decide(None);
        };
        page.asked = Some(now);
        let known = page.read.map(|read| {
            let of = |own: Used, others: Used, ends: u64| {
                let mut used = own;
                used.add(others);
                // Rounded up: who comes then finds the next period.
                let left = ends.saturating_sub(now.unix_secs()).max(1);
                PeriodUse { used, resets_in: Duration::from_secs(left) }
            };
            OrganizationUse {
                day: of(page.own.day, page.others.day, calendar.day_ends),
                month: of(page.own.month, page.others.month, calendar.month_ends),
                fresh: now.since(read) <= self.fresh,
            }
        });
        let decided = decide(known.as_ref())?;
        page.own.day.add(cost);
        page.own.month.add(cost);
        Ok(decided)
    }

    /// Whether what the ledger says of an organization was ever read, or can be kept.
    pub(super) fn unread(&self, organization: OrgId, now: Now) -> bool {
        let unread = self.on_page(organization, now, |page, _| {
            page.asked = Some(now);
            page.read.is_none()
        });
        unread.unwrap_or(false)
    }

    /// The organizations whose sums are to be read, and the days of which.
    pub(super) fn wanted(&self, now: Now) -> (Calendar, Vec<OrgId>) {
        let mut pages = self.pages();
        let calendar = pages.calendar(now, &self.zone);
        let wanted = pages
            .all
            .iter()
            .filter(|(_, page)| page.asked.is_some_and(|asked| now.since(asked) <= WANTED));
        (calendar, wanted.map(|(organization, _)| *organization).collect())
    }

    /// What all other processes have used, as the ledger said of those days.
    pub(super) fn read(&self, organization: OrgId, sums: Sums, of: Calendar, now: Now) {
        self.on_page(organization, now, |page, calendar| {
            if calendar.month == of.month {
                page.others.month = sums.month;
                if calendar.day == of.day {
                    page.others.day = sums.day;
                }
                page.read = Some(now);
            }
        });
    }

    /// Whether a threshold is reached for the first time in the period, as far as this process knows.
    pub(super) fn first(
        &self,
        organization: OrgId,
        (quota, per, reached): &(std::sync::Arc<str>, Period, u8),
        now: Now,
    ) -> bool {
        let first = self.on_page(organization, now, |page, calendar| {
            let begin = match per {
                Period::Day => calendar.day,
                Period::Month => calendar.month,
            };
            match page.told.iter_mut().find(|(name, ..)| name == quota) {
                Some((_, at, told)) if *at == begin && *told >= *reached => false,
                Some(before) => {
                    (before.1, before.2) = (begin, *reached);
                    true
                }
                None => {
                    page.told.push((std::sync::Arc::clone(quota), begin, *reached));
                    true
                }
            }
        });
        first.unwrap_or(false)
    }

    /// How many organizations are known.
    pub(super) fn len(&self) -> usize {
        self.pages().all.len()
    }

    fn on_page<R>(
        &self,
        organization: OrgId,
        now: Now,
        act: impl FnOnce(&mut Page, Calendar) -> R,
    ) -> Option<R> {
        let mut pages = self.pages();
        let (page, calendar) = pages.page(organization, now, &self.zone)?;
        Some(act(page, calendar))
    }
}

impl Pages {
    fn calendar(&mut self, now: Now, zone: &TimeZone) -> Calendar {
        let seconds = now.unix_secs();
        match self.calendar {
            // A clock that was set back stays in the period: nothing is given twice.
            Some(calendar) if seconds < calendar.day_ends => calendar,
            Some(_) | None => *self.calendar.insert(calendar(zone, seconds)),
        }
    }

    /// The page of an organization, turned to the present periods.
    fn page(&mut self, of: OrgId, now: Now, zone: &TimeZone) -> Option<(&mut Page, Calendar)> {
        let calendar = self.calendar(now, zone);
        if self.all.len() >= MOST && !self.all.contains_key(&of) {
            return None;
        }
        let page = self.all.entry(of).or_insert_with(|| Page {
            day: calendar.day,
            month: calendar.month,
            own: Sums::default(),
            others: Sums::default(),
            read: None,
            asked: None,
            told: SmallVec::new(),
        });
        if page.day != calendar.day {
            page.day = calendar.day;
            (page.own.day, page.others.day) = <_>::default();
        }
        if page.month != calendar.month {
            page.month = calendar.month;
            (page.own.month, page.others.month) = <_>::default();
        }
        Some((page, calendar))
    }
}

fn calendar(zone: &TimeZone, seconds: u64) -> Calendar {
    let day = super::table::today(zone, seconds).day;
    let month = day.first_of_month();
    let end = |after: Result<Date, jiff::Error>| {
        let begin = after.and_then(|day| day.to_zoned(zone.clone())).ok();
        let second = begin.and_then(|zoned| u64::try_from(zoned.timestamp().as_second()).ok());
        second.unwrap_or(u64::MAX)
    };
    let (day_ends, month_ends) = (end(day.tomorrow()), end(day.last_of_month().tomorrow()));
    Calendar { day, month, day_ends, month_ends }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str) -> Now {
        let seconds = time.parse::<jiff::Timestamp>().unwrap().as_second();
        Now { unix_micros: u64::try_from(seconds).unwrap() * 1_000_000, mono_nanos: 0 }
    }

    fn calls(calls: u64) -> Used {
        Used { calls, ..Used::default() }
    }

    fn seen(book: &Book, time: &str) -> Option<OrganizationUse> {
        let mut seen = None;
        let organization = OrgId::new(uuid::Uuid::nil());
        let _ = book.admit(organization, calls(1), at(time), |known| {
            seen = known.copied();
            Err::<(), ()>(())
        });
        seen
    }

    #[test]
    fn periods_end_at_midnight_of_the_zone_also_when_clocks_are_changed() {
        let book = Book::new(TimeZone::get("Europe/Berlin").unwrap(), Duration::from_secs(30));
        let organization = OrgId::new(uuid::Uuid::nil());
        let begin = "2026-10-24T22:00:00Z";
        assert_eq!(seen(&book, begin), None, "nothing was read");
        let (calendar, wanted) = book.wanted(at(begin));
        assert_eq!(wanted, [organization]);
        let sums = Sums { day: calls(5), month: calls(50) };
        book.read(organization, sums, calendar, at(begin));
        book.count(organization, calls(2), at(begin));
        let known = seen(&book, begin).unwrap();
        assert_eq!((known.day.used, known.month.used), (calls(7), calls(52)));
        assert_eq!(known.day.resets_in, Duration::from_secs(25 * 3_600), "a day of 25 hours");
        let next = seen(&book, "2026-10-25T23:00:00Z").unwrap();
        assert_eq!((next.day.used, next.month.used), (calls(0), calls(52)));
        assert_eq!(next.month.resets_in, Duration::from_secs(6 * 86_400));
        let month = seen(&book, "2026-10-31T23:00:00Z").unwrap();
        assert_eq!((month.day.used, month.month.used), (calls(0), calls(0)));
        let back = seen(&book, "2026-10-31T22:59:00Z").unwrap();
        assert_eq!(back.month.used, calls(0), "a clock that is set back opens no old period");
    }

    #[test]
    fn what_is_refused_counts_nothing_and_what_came_to_nothing_is_given_back_to_its_period_only() {
        let book = Book::new(TimeZone::UTC, Duration::from_secs(30));
        let organization = OrgId::new(uuid::Uuid::nil());
        let (late, early) = (at("2026-11-30T23:59:59Z"), at("2026-12-01T00:00:00Z"));
        for _ in 0..3 {
            let admitted = book.admit(organization, calls(1), late, |_| Ok::<_, ()>(()));
            assert_eq!(admitted, Ok(()));
        }
        assert_eq!(book.admit(organization, calls(1), late, |_| Err::<(), _>(())), Err(()));
        let (calendar, _) = book.wanted(late);
        book.read(organization, Sums::default(), calendar, late);
        book.give_back(organization, calls(1), late, late);
        assert_eq!(seen(&book, "2026-11-30T23:59:59Z").unwrap().month.used, calls(2));
        book.count(organization, calls(1), early);
        book.give_back(organization, calls(1), late, early);
        assert_eq!(seen(&book, "2026-12-01T00:00:00Z").unwrap().month.used, calls(1));
    }

    #[test]
    fn a_threshold_is_told_once_in_a_period() {
        let book = Book::new(TimeZone::UTC, Duration::from_secs(30));
        let organization = OrgId::new(uuid::Uuid::nil());
        let tell = |reached: u8, time: &str| {
            book.first(organization, &("q".into(), Period::Day, reached), at(time))
        };
        let told: Vec<bool> = [80, 80, 100, 100, 80]
            .into_iter()
            .map(|reached| tell(reached, "2026-11-21T00:00:00Z"))
            .collect();
        assert_eq!(told, [true, false, true, false, false]);
        assert!(tell(80, "2026-11-22T00:00:00Z"));
    }
}
