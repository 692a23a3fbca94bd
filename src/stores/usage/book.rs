//! What each organization has used in its present day and month, for quotas: what this process has
//! admitted, and what all others had brought to the ledger when it was last read. Imports `domain`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ahash::RandomState;
use jiff::civil::Date;
use smallvec::SmallVec;

use crate::domain::clock::Now;
use crate::domain::ids::OrgId;
use crate::domain::usage::{OrganizationUse, Payer, PeriodUse, Used};
use crate::domain::zone::Zone;
use crate::policy::quotas::{Milestone, Period, Reached};

/// Organizations that are known; of others nothing is.
const MOST: usize = 65_536;
/// Locks that requests share; those of one organization share one.
const SHARDS: usize = 16;
/// An organization under a quota is read for so long after its last request.
const WANTED: Duration = Duration::from_secs(3_600);

/// All that is known.
#[derive(Debug)]
pub(super) struct Book {
    /// Of organizations that state none.
    zone: Zone,
    /// What was read counts for so long.
    fresh: Duration,
    shards: [Mutex<HashMap<OrgId, Page, RandomState>>; SHARDS],
    hasher: RandomState,
    pages: AtomicUsize,
}

/// The day and month to which something was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dates {
    pub(super) day: Date,
    pub(super) month: Date,
}

/// The present day and month of an organization, and the seconds since 1970 in which they end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Calendar {
    pub(super) dates: Dates,
    pub(super) day_ends: u64,
    pub(super) month_ends: u64,
}

/// What came of a request that is admitted.
#[derive(Debug, Default)]
pub(super) struct Admitted {
    /// Whether a quota is nearly used up.
    pub(super) near: bool,
    /// Whether it has to be journalled before it is sent on.
    pub(super) strict: bool,
    /// To which periods it is counted, where there was room.
    pub(super) dates: Option<Dates>,
    /// Quotas of which more is reached than this process knew.
    pub(super) news: SmallVec<[News; 1]>,
}

/// More of a quota is reached than this process knew.
#[derive(Debug)]
pub(super) struct News {
    pub(super) milestone: Milestone,
    /// In percent: so much was known.
    pub(super) above: u16,
    /// The first day of the period.
    pub(super) begins: Date,
}

#[derive(Debug)]
struct Page {
    zone: Option<Zone>,
    calendar: Calendar,
    own: Sums,
    others: Sums,
    read: Option<Now>,
    asked: Option<Now>,
    /// What is known to be reached of quotas, in the period that began on a day.
    told: SmallVec<[(Arc<str>, Date, u16); 2]>,
}

/// Of the present day and of the present month.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) day: Used,
    pub(super) month: Used,
}

impl Book {
    pub(super) fn new(zone: Zone, fresh: Duration) -> Self {
        let (shards, hasher) = (<_>::default(), RandomState::new());
        Self { zone, fresh, shards, hasher, pages: AtomicUsize::new(0) }
    }

    /// Counts what this process has admitted, where there is room.
    pub(super) fn count(&self, payer: &Payer, used: Used, now: Now) {
        self.on_page(payer, now, |page| {
            page.own.day.add(used);
            page.own.month.add(used);
        });
    }

    /// Counts more of what was admitted in those periods, as far as they last.
    pub(super) fn count_in(&self, organization: OrgId, of: Dates, used: Used) {
        self.in_periods(organization, of, |sums| sums.add(used));
    }

    /// Takes back what was admitted in those periods and came to nothing.
    pub(super) fn give_back(&self, organization: OrgId, of: Dates, used: Used) {
        self.in_periods(organization, of, |sums| sums.take(used));
    }

    fn in_periods(&self, organization: OrgId, of: Dates, change: impl Fn(&mut Used)) {
        let mut pages = self.shard(organization);
        let Some(page) = pages.get_mut(&organization) else { return };
        if page.calendar.dates.day == of.day {
            change(&mut page.own.day);
        }
        if page.calendar.dates.month == of.month {
            change(&mut page.own.month);
        }
    }

    /// Decides by what is known, and counts a request that is admitted in the same step.
    pub(super) fn admit<E>(
        &self,
        payer: &Payer,
        cost: Used,
        now: Now,
        decide: impl FnOnce(Option<&OrganizationUse>) -> Result<Reached, E>,
    ) -> Result<Admitted, E> {
        let mut pages = self.shard(payer.organization);
        let Some(page) = self.page(&mut pages, payer, now) else {
            let Reached { near, strict, .. } = decide(None)?;
            return Ok(Admitted { near, strict, ..Admitted::default() });
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
                day: of(page.own.day, page.others.day, page.calendar.day_ends),
                month: of(page.own.month, page.others.month, page.calendar.month_ends),
                fresh: now.since(read) <= self.fresh,
            }
        });
        let Reached { near, milestones, strict } = decide(known.as_ref())?;
        page.own.day.add(cost);
        page.own.month.add(cost);
        let news = milestones.into_iter().filter_map(|milestone| page.news(milestone)).collect();
        Ok(Admitted { near, strict, dates: Some(page.calendar.dates), news })
    }

    /// Whether what the ledger says of an organization was never read, and can be kept.
    pub(super) fn unread(&self, payer: &Payer, now: Now) -> bool {
        let unread = self.on_page(payer, now, |page| {
            page.asked = Some(now);
            page.read.is_none()
        });
        unread.unwrap_or(false)
    }

    /// The organizations whose sums are to be read, and of which periods.
    pub(super) fn wanted(&self, now: Now) -> Vec<(OrgId, Dates)> {
        let mut wanted = Vec::new();
        for shard in &self.shards {
            for (organization, page) in lock(shard).iter_mut() {
                if page.asked.is_some_and(|asked| now.since(asked) <= WANTED) {
                    page.turn(now, &self.zone);
                    wanted.push((*organization, page.calendar.dates));
                }
            }
        }
        wanted
    }

    /// What all other processes have used, as the ledger said of those periods.
    pub(super) fn read(&self, organization: OrgId, of: Dates, sums: Sums, now: Now) {
        let mut pages = self.shard(organization);
        let Some(page) = pages.get_mut(&organization) else { return };
        if page.calendar.dates.month == of.month {
            page.others.month = sums.month;
            if page.calendar.dates.day == of.day {
                page.others.day = sums.day;
            }
            page.read = Some(now);
        }
    }

    /// A threshold of a quota could not be told: it is seen again.
    pub(super) fn forget(&self, organization: OrgId, quota: &str) {
        if let Some(page) = self.shard(organization).get_mut(&organization) {
            page.told.retain(|(name, ..)| &**name != quota);
        }
    }

    /// How many organizations are known.
    pub(super) fn len(&self) -> usize {
        self.pages.load(Ordering::Relaxed)
    }

    fn on_page<R>(&self, payer: &Payer, now: Now, act: impl FnOnce(&mut Page) -> R) -> Option<R> {
        let mut pages = self.shard(payer.organization);
        let page = self.page(&mut pages, payer, now)?;
        Some(act(page))
    }

    /// The page of an organization, turned to the present periods of its zone.
    fn page<'p>(
        &self,
        pages: &'p mut HashMap<OrgId, Page, RandomState>,
        payer: &Payer,
        now: Now,
    ) -> Option<&'p mut Page> {
        let page = match pages.entry(payer.organization) {
            Entry::Occupied(page) => page.into_mut(),
            Entry::Vacant(room) => {
                if self.pages.fetch_add(1, Ordering::Relaxed) >= MOST {
                    self.pages.fetch_sub(1, Ordering::Relaxed);
                    return None;
                }
                let zone = payer.zone.as_ref().unwrap_or(&self.zone);
                let calendar = calendar(zone, now.unix_secs(), None);
                room.insert(Page::new(payer.zone.clone(), calendar))
            }
        };
        if page.zone != payer.zone {
            page.zone.clone_from(&payer.zone);
            page.turn_anyhow(now, &self.zone);
        }
        page.turn(now, &self.zone);
        Some(page)
    }

    fn shard(&self, of: OrgId) -> MutexGuard<'_, HashMap<OrgId, Page, RandomState>> {
        // Not the bits by which a page is found in its shard.
        let index = usize::try_from(self.hasher.hash_one(of) >> 48).unwrap_or(0) % SHARDS;
        let [first, ..] = &self.shards;
        lock(self.shards.get(index).unwrap_or(first))
    }
}

fn lock<T>(shard: &Mutex<T>) -> MutexGuard<'_, T> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Page {
    fn new(zone: Option<Zone>, calendar: Calendar) -> Self {
        Self {
            zone,
            calendar,
            own: Sums::default(),
            others: Sums::default(),
            read: None,
            asked: None,
            told: SmallVec::new(),
        }
    }

    /// The first time in a period that so much of a quota is reached, as far as this process knows.
    fn news(&mut self, milestone: Milestone) -> Option<News> {
        let (quota, percent) = (&milestone.quota, milestone.percent);
        let begins = match quota.per {
            Period::Day => self.calendar.dates.day,
            Period::Month => self.calendar.dates.month,
        };
        let above = match self.told.iter_mut().find(|(name, ..)| *name == quota.name) {
            Some((_, at, told)) if *at == begins && *told >= percent => return None,
            Some((_, at, told)) => {
                let above = if *at == begins { *told } else { 0 };
                (*at, *told) = (begins, percent);
                above
            }
            None => {
                self.told.push((Arc::clone(&quota.name), begins, percent));
                0
            }
        };
        Some(News { milestone, above, begins })
    }

    /// To the present periods. A clock that was set back stays in the period: nothing is given twice.
    fn turn(&mut self, now: Now, otherwise: &Zone) {
        if now.unix_secs() >= self.calendar.day_ends {
            self.turn_anyhow(now, otherwise);
        }
    }

    fn turn_anyhow(&mut self, now: Now, otherwise: &Zone) {
        let zone = self.zone.as_ref().unwrap_or(otherwise);
        let before = self.calendar.dates;
        self.calendar = calendar(zone, now.unix_secs(), Some(before.day));
        let Dates { day, month } = self.calendar.dates;
        if day != before.day {
            (self.own.day, self.others.day) = <_>::default();
        }
        if month != before.month {
            (self.own.month, self.others.month) = <_>::default();
        }
    }
}

/// The periods at a time. Never ones before `earliest`: where it is still the day before, after the
/// organization has moved to another zone, its day lasts longer.
pub(super) fn calendar(zone: &Zone, seconds: u64, earliest: Option<Date>) -> Calendar {
    let today = super::table::today(zone, seconds).day;
    let day = earliest.map_or(today, |earliest| earliest.max(today));
    let month = day.first_of_month();
    let end = |after: Result<Date, jiff::Error>| {
        let begin = after.and_then(|day| day.to_zoned(zone.rules().clone())).ok();
        let second = begin.and_then(|zoned| u64::try_from(zoned.timestamp().as_second()).ok());
        second.unwrap_or(u64::MAX)
    };
    let (day_ends, month_ends) = (end(day.tomorrow()), end(day.last_of_month().tomorrow()));
    Calendar { dates: Dates { day, month }, day_ends, month_ends }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;
    use crate::domain::source::Source;
    use crate::policy::quotas::{AfterCrash, Amount, Mode, Quota, Unit, WithoutLedger};

    fn at(time: &str) -> Now {
        let seconds = time.parse::<jiff::Timestamp>().unwrap().as_second();
        Now { unix_micros: u64::try_from(seconds).unwrap() * 1_000_000, mono_nanos: 0 }
    }

    fn calls(calls: u64) -> Used {
        Used { calls, ..Used::default() }
    }

    fn payer(zone: Option<&str>) -> Payer {
        let zone = zone.map(|name| name.parse().unwrap());
        Payer { organization: OrgId::new(uuid::Uuid::nil()), zone, team: None }
    }

    fn book(zone: &str) -> Book {
        Book::new(zone.parse().unwrap(), Duration::from_secs(30))
    }

    fn dates(day: &str) -> Dates {
        let day: Date = day.parse().unwrap();
        Dates { day, month: day.first_of_month() }
    }

    fn seen(book: &Book, time: &str) -> Option<OrganizationUse> {
        seen_in(book, None, time)
    }

    fn seen_in(book: &Book, zone: Option<&str>, time: &str) -> Option<OrganizationUse> {
        let mut seen = None;
        let _ = book.admit(&payer(zone), calls(1), at(time), |known| {
            seen = known.copied();
            Err::<Reached, ()>(())
        });
        seen
    }

    #[test]
    fn periods_end_at_midnight_of_the_zone_also_when_clocks_are_changed() {
        let book = book("Europe/Berlin");
        let begin = "2026-10-24T22:00:00Z";
        assert_eq!(seen(&book, begin), None, "nothing was read");
        let of = payer(None).organization;
        assert_eq!(book.wanted(at(begin)), [(of, dates("2026-10-25"))]);
        let sums = Sums { day: calls(5), month: calls(50) };
        book.read(of, dates("2026-10-25"), sums, at(begin));
        book.count(&payer(None), calls(2), at(begin));
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
    fn an_organization_has_the_periods_of_its_own_zone() {
        let book = book("UTC");
        let of = |number: u128, zone: &str| Payer {
            organization: OrgId::new(uuid::Uuid::from_u128(number)),
            zone: Some(zone.parse().unwrap()),
            team: None,
        };
        // A day of 23 hours there.
        let (berlin, begin) = (of(1, "Europe/Berlin"), at("2026-03-28T23:00:00Z"));
        let (auckland, pago) = (of(2, "Pacific/Auckland"), of(3, "Pacific/Pago_Pago"));
        for payer in [&berlin, &auckland, &pago] {
            assert!(book.unread(payer, begin));
        }
        let mut wanted = book.wanted(begin);
        wanted.sort_by_key(|(organization, _)| *organization.as_uuid());
        let days = wanted.iter().map(|(_, dates)| dates.day.to_string()).collect::<Vec<_>>();
        assert_eq!(days, ["2026-03-29", "2026-03-29", "2026-03-28"]);
        for (organization, dates) in wanted {
            book.read(organization, dates, Sums::default(), begin);
        }
        let resets = |payer: &Payer| {
            let mut resets = None;
            let _ = book.admit(payer, calls(1), begin, |known| {
                resets = known.map(|known| known.day.resets_in.as_secs());
                Err::<Reached, ()>(())
            });
            resets.unwrap() / 3_600
        };
        assert_eq!([&berlin, &auckland, &pago].map(resets), [23, 12, 12]);
    }

    #[test]
    fn an_organization_that_moves_to_another_zone_gets_no_day_twice() {
        let book = book("UTC");
        let (auckland, utc) = (Some("Pacific/Auckland"), Some("UTC"));
        let begin = "2026-11-30T20:00:00Z";
        assert_eq!(seen_in(&book, auckland, begin), None);
        let of = payer(None).organization;
        assert_eq!(book.wanted(at(begin)), [(of, dates("2026-12-01"))]);
        book.read(of, dates("2026-12-01"), Sums::default(), at(begin));
        book.count(&payer(auckland), calls(9), at(begin));
        let known = seen_in(&book, utc, begin).unwrap();
        assert_eq!((known.day.used, known.month.used), (calls(9), calls(9)));
        assert_eq!(known.day.resets_in, Duration::from_secs(28 * 3_600), "it goes on");
        let back = seen_in(&book, auckland, begin).unwrap();
        assert_eq!((back.day.used, back.month.used), (calls(9), calls(9)));
        let next = seen_in(&book, utc, "2026-12-02T00:00:00Z").unwrap();
        assert_eq!((next.day.used, next.month.used), (calls(0), calls(9)));
    }

    #[test]
    fn what_is_refused_counts_nothing_and_what_came_to_nothing_is_given_back_to_its_period_only() {
        let (book, payer) = (book("UTC"), payer(None));
        let (late, early) = (at("2026-11-30T23:59:59Z"), at("2026-12-01T00:00:00Z"));
        let of = dates("2026-11-30");
        for _ in 0..3 {
            let admitted = book.admit(&payer, calls(1), late, |_| Ok::<_, ()>(Reached::default()));
            assert_eq!(admitted.unwrap().dates, Some(of));
        }
        assert!(book.admit(&payer, calls(1), late, |_| Err::<Reached, _>(())).is_err());
        book.read(payer.organization, of, Sums::default(), late);
        book.give_back(payer.organization, of, calls(1));
        assert_eq!(seen(&book, "2026-11-30T23:59:59Z").unwrap().month.used, calls(2));
        book.count(&payer, calls(1), early);
        book.give_back(payer.organization, of, calls(1));
        book.count_in(payer.organization, of, calls(7));
        assert_eq!(seen(&book, "2026-12-01T00:00:00Z").unwrap().month.used, calls(1));
    }

    #[test]
    fn a_share_that_is_reached_is_news_once_in_a_period() {
        let book = book("UTC");
        let quota = Arc::new(Quota {
            name: "q".into(),
            per: Period::Day,
            of: Unit::Calls,
            amount: Amount::Fixed(NonZeroU64::MIN),
            mode: Mode::Hard,
            when_away: WithoutLedger::Serve,
            after_crash: AfterCrash::Lenient,
            thresholds: [50, 80, 100].into(),
            source: Source::built_in(),
        });
        let news = |percent: u16, time: &str| {
            let milestone =
                Milestone { quota: Arc::clone(&quota), percent, used: 1, amount: NonZeroU64::MIN };
            let reached =
                Reached { milestones: [milestone].into_iter().collect(), ..Reached::default() };
            let admitted = book.admit(&payer(None), calls(1), at(time), |_| Ok::<_, ()>(reached));
            admitted.unwrap().news.first().map(|news| (news.above, news.milestone.percent))
        };
        let day = "2026-11-21T00:00:00Z";
        let told: Vec<_> =
            [50, 50, 100, 100, 80].into_iter().map(|percent| news(percent, day)).collect();
        assert_eq!(told, [Some((0, 50)), None, Some((50, 100)), None, None]);
        assert_eq!(news(80, "2026-11-22T00:00:00Z"), Some((0, 80)));
        book.forget(payer(None).organization, "q");
        assert_eq!(news(80, "2026-11-22T00:00:00Z"), Some((0, 80)), "nobody was told");
    }
}
