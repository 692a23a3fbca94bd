//! Conditions besides permissions: what a route or a role asks of the caller, the organization and
//! the moment.
//!
//! Compiled by `config`, checked by the authorize stage. May import `domain`.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;
use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;

use crate::domain::source::Source;

use super::expression::Expression;
use super::mode::Mode;

/// A condition, and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// What must hold.
    pub condition: Condition,
    /// What states it: `route rest`, `role admin`, `gate payments`.
    pub of: Arc<str>,
    /// Whether it decides; one that is off is not compiled.
    pub mode: Mode,
    /// Where it was written.
    pub source: Source,
}

/// What must hold besides permissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// The feature is on for the organization, and set so.
    Feature {
        /// The feature.
        name: Arc<str>,
        /// Settings that it must have for the organization.
        settings: Vec<(Arc<str>, Arc<str>)>,
    },
    /// The organization's plan is of at least this level.
    PlanAtLeast {
        /// The plan's name, for the refusal.
        name: Arc<str>,
        /// Its level.
        level: u32,
    },
    /// The caller has shown a second factor: `aal2`.
    SecondFactor {
        /// How long ago at most; in this session where `None`.
        within: Option<Duration>,
        /// A trusted device stands in for it, if it was trusted no longer ago than this.
        device: Option<Duration>,
    },
    /// The caller signed in no longer ago than this.
    SessionAge(Duration),
    /// The session never rested for longer than this.
    SessionIdle(Duration),
    /// The client's address is in one of these.
    Addresses(Vec<IpNet>),
    /// It is one of these hours.
    Hours(Box<Hours>),
    /// The organization or the member has reached this stage, or a later one.
    Stage {
        /// Its name, for the refusal.
        name: Arc<str>,
        /// This stage and those that follow it.
        reached_by: Vec<Arc<str>>,
    },
    /// The expression holds; where it has no answer, it does not.
    When(Box<Expression>),
}

/// Hours of the week, in a time zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours {
    /// On which days.
    pub days: Vec<Weekday>,
    /// From when.
    pub from: Time,
    /// Until when, exclusively. Before `from`, the hours go on into the next day.
    pub until: Time,
    /// Where.
    pub zone: TimeZone,
}

impl Hours {
    /// Whether a moment, in seconds since 1970, is in these hours.
    pub fn contain(&self, unix_secs: u64) -> bool {
        let seconds = i64::try_from(unix_secs).unwrap_or(i64::MAX);
        let Ok(moment) = Timestamp::from_second(seconds) else { return false };
        let there = self.zone.to_datetime(moment);
        let (day, time) = (there.weekday(), there.time());
        if self.from <= self.until {
            return self.days.contains(&day) && self.from <= time && time < self.until;
        }
        let evening = self.days.contains(&day) && self.from <= time;
        let morning = self.days.contains(&day.previous()) && time < self.until;
        evening || morning
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(days: &[Weekday], from: i8, until: i8, zone: &str) -> Hours {
        Hours {
            days: days.to_vec(),
            from: Time::constant(from, 0, 0, 0),
            until: Time::constant(until, 0, 0, 0),
            zone: TimeZone::get(zone).unwrap(),
        }
    }

    fn at(text: &str) -> u64 {
        u64::try_from(text.parse::<Timestamp>().unwrap().as_second()).unwrap()
    }

    #[test]
    fn hours_are_those_of_the_zone_in_summer_and_in_winter() {
        let office = hours(&[Weekday::Monday], 8, 18, "Europe/Berlin");
        for (moment, inside) in [
            ("2026-01-05T06:59:59Z", false),
            ("2026-01-05T07:00:00Z", true),
            ("2026-01-05T17:00:00Z", false),
            ("2026-07-06T06:00:00Z", true),
            ("2026-07-06T16:00:00Z", false),
            ("2026-07-07T08:00:00Z", false),
        ] {
            assert_eq!(office.contain(at(moment)), inside, "{moment}");
        }
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_begins() {
        let night = hours(&[Weekday::Friday], 22, 6, "UTC");
        for (moment, inside) in [
            ("2026-01-02T21:59:59Z", false),
            ("2026-01-02T22:00:00Z", true),
            ("2026-01-03T05:59:59Z", true),
            ("2026-01-03T06:00:00Z", false),
            ("2026-01-03T22:00:00Z", false),
            ("2026-01-02T05:00:00Z", false),
        ] {
            assert_eq!(night.contain(at(moment)), inside, "{moment}");
        }
    }
}
