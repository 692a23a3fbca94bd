//! Parts of moments and durations, in a time zone.
//!
//! May import nothing of other rooms.

use jiff::SignedDuration;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::fault::Fault;
use super::tree::Node;
use super::value::Value;

/// `moment.getHours('Europe/Berlin')` and its like.
#[derive(Debug)]
pub struct Part {
    /// The moment, or the duration.
    pub of: Node,
    /// What of it.
    pub unit: Unit,
    /// Where; a duration is nowhere.
    pub zone: TimeZone,
}

/// A part of a moment, counted as the Common Expression Language does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// The year.
    FullYear,
    /// The month, from 0.
    Month,
    /// The day of the month, from 1.
    Date,
    /// The day of the month, from 0.
    DayOfMonth,
    /// The day of the week, from 0 for Sunday.
    DayOfWeek,
    /// The day of the year, from 0.
    DayOfYear,
    /// The hour; of a duration, all its hours.
    Hours,
    /// The minute; of a duration, all its minutes.
    Minutes,
    /// The second; of a duration, all its seconds.
    Seconds,
    /// The millisecond.
    Milliseconds,
}

impl Unit {
    /// The unit that a function is called by.
    pub fn named(function: &str) -> Option<Self> {
        Some(match function {
            "getFullYear" => Self::FullYear,
            "getMonth" => Self::Month,
            "getDate" => Self::Date,
            "getDayOfMonth" => Self::DayOfMonth,
            "getDayOfWeek" => Self::DayOfWeek,
            "getDayOfYear" => Self::DayOfYear,
            "getHours" => Self::Hours,
            "getMinutes" => Self::Minutes,
            "getSeconds" => Self::Seconds,
            "getMilliseconds" => Self::Milliseconds,
            _ => return None,
        })
    }

    /// Whether durations have it.
    pub fn of_durations(self) -> bool {
        matches!(self, Self::Hours | Self::Minutes | Self::Seconds)
    }

    pub(super) fn of<'v>(self, of: &Value<'_>, zone: &TimeZone) -> Result<Value<'v>, Fault> {
        match of {
            Value::Moment(moment) => Ok(Value::Int(self.of_moment(*moment, zone))),
            Value::Span(span) => self.of_span(*span).map(Value::Int),
            _ => Err(Fault::WrongType("a moment")),
        }
    }

    fn of_moment(self, moment: Timestamp, zone: &TimeZone) -> i64 {
        let there = zone.to_datetime(moment);
        match self {
            Self::FullYear => there.year().into(),
            Self::Month => i64::from(there.month()) - 1,
            Self::Date => there.day().into(),
            Self::DayOfMonth => i64::from(there.day()) - 1,
            Self::DayOfWeek => there.weekday().to_sunday_zero_offset().into(),
            Self::DayOfYear => i64::from(there.day_of_year()) - 1,
            Self::Hours => there.hour().into(),
            Self::Minutes => there.minute().into(),
            Self::Seconds => there.second().into(),
            Self::Milliseconds => there.millisecond().into(),
        }
    }

    fn of_span(self, span: SignedDuration) -> Result<i64, Fault> {
        match self {
            Self::Hours => Ok(span.as_hours()),
            Self::Minutes => Ok(span.as_mins()),
            Self::Seconds => Ok(span.as_secs()),
            Self::FullYear
            | Self::Month
            | Self::Date
            | Self::DayOfMonth
            | Self::DayOfWeek
            | Self::DayOfYear
            | Self::Milliseconds => Err(Fault::WrongType("a moment")),
        }
    }
}
