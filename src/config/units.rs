//! Amounts with units, as people write them: `1MiB`, `30s`, `100/min`.
//!
//! A number without a unit, a fraction and zero are refused: each has led to an outage somewhere.
//! Pure text to number; may import `domain`.

use std::num::NonZeroU32;
use std::time::Duration;

use serde_json::Value;

use crate::domain::charge::Rate;

/// Why a text is not an amount. The text itself is named by the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum UnitError {
    #[error("is zero")]
    Zero,
    #[error("has no unit")]
    NoUnit,
    #[error("has an unknown unit")]
    Unit,
    #[error("is not a whole number with a unit")]
    Number,
    #[error("is too large")]
    Large,
}

/// How to write a size.
pub(super) const SIZE_HINT: &str =
    "write a whole number with `B`, `KiB`, `MiB` or `GiB`, such as `16KiB`";
/// How to write a duration.
pub(super) const DURATION_HINT: &str =
    "write a whole number with `ms`, `s`, `m`, `h` or `d`, such as `250ms` or `10m`";
/// How to write a rate.
pub(super) const RATE_HINT: &str =
    "write a whole number and a period `s`, `min`, `h` or `d`, such as `10/s` or `1000/min`";

/// A rate as directories state it in JSON: `"500/s"`, or `{"rate": "500/s", "burst": 1000}`. Nothing if it
/// is something else.
pub fn stated_rate(stated: &Value) -> Option<Rate> {
    let (text, burst) = match stated {
        Value::String(text) => (text.as_str(), None),
        Value::Object(fields) if fields.keys().all(|key| key == "rate" || key == "burst") => {
            let burst = match fields.get("burst") {
                None => None,
                Some(burst) => Some(NonZeroU32::new(u32::try_from(burst.as_u64()?).ok()?)?),
            };
            (fields.get("rate")?.as_str()?, burst)
        }
        _ => return None,
    };
    let (tokens, period_millis) = rate(text).ok()?;
    Some(Rate { tokens, period_millis, burst: burst.unwrap_or(tokens) })
}

/// `16KiB` → 16384.
pub(super) fn size(text: &str) -> Result<u64, UnitError> {
    amount(text, |unit| match unit {
        "B" => Some(1),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        _ => None,
    })
}

/// `250ms` → a quarter of a second. At most ten years, so that sums cannot overflow.
pub(super) fn duration(text: &str) -> Result<Duration, UnitError> {
    const LONGEST: u64 = 3650 * 86_400_000;
    let millis = amount(text, |unit| match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    })?;
    if millis > LONGEST { Err(UnitError::Large) } else { Ok(Duration::from_millis(millis)) }
}

/// `100/min` → 100 tokens in 60,000 ms.
pub(super) fn rate(text: &str) -> Result<(NonZeroU32, NonZeroU32), UnitError> {
    let (count, period) = text.split_once('/').ok_or(UnitError::NoUnit)?;
    let count = whole(count.trim_end())?;
    let millis = match period.trim_start() {
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(UnitError::Unit),
    };
    let count = u32::try_from(count).map_err(|_| UnitError::Large)?;
    let count = NonZeroU32::new(count).ok_or(UnitError::Zero)?;
    Ok((count, NonZeroU32::new(millis).ok_or(UnitError::Zero)?))
}

fn amount(text: &str, factor: impl Fn(&str) -> Option<u64>) -> Result<u64, UnitError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number = whole(number)?;
    let unit = unit.trim_start();
    if unit.is_empty() {
        return Err(if number == 0 { UnitError::Zero } else { UnitError::NoUnit });
    }
    let Some(factor) = factor(unit) else {
        let fraction = unit.starts_with(['.', ',', '_']);
        return Err(if fraction { UnitError::Number } else { UnitError::Unit });
    };
    if number == 0 {
        return Err(UnitError::Zero);
    }
    number.checked_mul(factor).ok_or(UnitError::Large)
}

fn whole(text: &str) -> Result<u64, UnitError> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(UnitError::Number);
    }
    text.parse().map_err(|_| UnitError::Large)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_have_units() {
        assert_eq!(size("512B"), Ok(512));
        assert_eq!(size("16KiB"), Ok(16_384));
        assert_eq!(size("1 MiB"), Ok(1 << 20));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(size("16"), Err(UnitError::NoUnit));
        assert_eq!(size("16KB"), Err(UnitError::Unit));
        assert_eq!(size("0KiB"), Err(UnitError::Zero));
        assert_eq!(size("1.5MiB"), Err(UnitError::Number));
        assert_eq!(size("-1B"), Err(UnitError::Number));
        assert_eq!(size("99999999999999999999B"), Err(UnitError::Large));
        assert_eq!(duration("0s"), Err(UnitError::Zero));
        assert_eq!(duration("9999999d"), Err(UnitError::Large));
    }

    #[test]
    fn directories_state_rates_as_policies_do_or_not_at_all() {
        use serde_json::json;
        let parts = |stated: Value| {
            stated_rate(&stated)
                .map(|rate| (rate.tokens.get(), rate.period_millis.get(), rate.burst.get()))
        };
        assert_eq!(parts(json!("500/s")), Some((500, 1_000, 500)));
        let both = json!({ "rate": "500/min", "burst": 9 });
        assert_eq!(parts(both), Some((500, 60_000, 9)));
        for odd in [
            json!(500),
            json!("500"),
            json!({}),
            json!({ "rate": 500 }),
            json!({ "rate": "500/s", "burst": 0 }),
            json!({ "rate": "500/s", "burst": "9" }),
            json!({ "rate": "500/s", "brust": 9 }),
        ] {
            assert_eq!(parts(odd.clone()), None, "{odd}");
        }
    }

    #[test]
    fn rates_have_a_count_and_a_period() {
        let parts = |text| rate(text).map(|(count, millis)| (count.get(), millis.get()));
        assert_eq!(parts("100/s"), Ok((100, 1_000)));
        assert_eq!(parts("1000/min"), Ok((1_000, 60_000)));
        assert_eq!(parts("10 / h"), Ok((10, 3_600_000)));
        assert_eq!(parts("0/s"), Err(UnitError::Zero));
        assert_eq!(parts("10/m"), Err(UnitError::Unit));
        assert_eq!(parts("10"), Err(UnitError::NoUnit));
        assert_eq!(parts("x/s"), Err(UnitError::Number));
        assert_eq!(parts("5000000000/s"), Err(UnitError::Large));
    }
}
