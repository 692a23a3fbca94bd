//! Conversions between types, as the Common Expression Language defines them, and versions.
//!
//! May import nothing of other rooms.

use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};

use super::arithmetic::{in_range, moment as moment_in_range};
use super::fault::Fault;
use super::value::Value;

const WHOLE: &str = "a whole number";

/// `int(x)`. Doubles lose what stands behind the point.
pub(super) fn int<'v>(of: &Value<'_>) -> Result<Value<'v>, Fault> {
    Ok(Value::Int(match of {
        Value::Int(number) => *number,
        Value::Uint(number) => i64::try_from(*number).map_err(|_| Fault::Overflow)?,
        Value::Double(number) => {
            // The bounds are powers of two, and doubles have them exactly.
            let fits =
                *number > -9_223_372_036_854_775_808.0 && *number < 9_223_372_036_854_775_808.0;
            if !fits {
                return Err(Fault::Overflow);
            }
            *number as i64
        }
        Value::Text(text) => text.parse().map_err(|_| Fault::Conversion(WHOLE))?,
        Value::Moment(moment) => moment.as_second(),
        _ => return Err(Fault::WrongType("a number")),
    }))
}

/// `uint(x)`.
pub(super) fn uint<'v>(of: &Value<'_>) -> Result<Value<'v>, Fault> {
    Ok(Value::Uint(match of {
        Value::Uint(number) => *number,
        Value::Int(number) => u64::try_from(*number).map_err(|_| Fault::Overflow)?,
        Value::Double(number) => {
            let fits = *number >= 0.0 && *number < 18_446_744_073_709_551_616.0;
            if !fits {
                return Err(Fault::Overflow);
            }
            *number as u64
        }
        Value::Text(text) => text.parse().map_err(|_| Fault::Conversion(WHOLE))?,
        _ => return Err(Fault::WrongType("a number")),
    }))
}

/// `double(x)`.
pub(super) fn double<'v>(of: &Value<'_>) -> Result<Value<'v>, Fault> {
    Ok(Value::Double(match of {
        Value::Double(number) => *number,
        Value::Int(number) => *number as f64,
        Value::Uint(number) => *number as f64,
        Value::Text(text) => text.parse().map_err(|_| Fault::Conversion("a number"))?,
        _ => return Err(Fault::WrongType("a number")),
    }))
}

/// `bool(text)`: the spellings of CEL.
pub(super) fn bool<'v>(of: &Value<'_>) -> Result<Value<'v>, Fault> {
    match of {
        Value::Bool(value) => Ok(Value::Bool(*value)),
        Value::Text(text) => match text.as_ref() {
            "1" | "t" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
            _ => Err(Fault::Conversion("true or false")),
        },
        _ => Err(Fault::WrongType("a text")),
    }
}

/// `string(x)`.
pub(super) fn text(of: Value<'_>) -> Result<Value<'_>, Fault> {
    Ok(Value::Text(match of {
        Value::Text(text) => text,
        Value::Bool(value) => Cow::Borrowed(if value { "true" } else { "false" }),
        Value::Int(number) => Cow::Owned(number.to_string()),
        Value::Uint(number) => Cow::Owned(number.to_string()),
        Value::Double(number) => Cow::Owned(number.to_string()),
        Value::Bytes(Cow::Borrowed(bytes)) => {
            Cow::Borrowed(str::from_utf8(bytes).map_err(|_| Fault::Conversion("UTF-8"))?)
        }
        Value::Bytes(Cow::Owned(bytes)) => {
            Cow::Owned(String::from_utf8(bytes).map_err(|_| Fault::Conversion("UTF-8"))?)
        }
        Value::Moment(moment) => Cow::Owned(moment.to_string()),
        Value::Span(span) => Cow::Owned(seconds(span)),
        Value::Address(address) => Cow::Owned(address.to_canonical().to_string()),
        Value::Version(version) => Cow::Owned(version.to_string()),
        Value::Null | Value::List(_) | Value::Map(_) => {
            return Err(Fault::WrongType("a value with a spelling"));
        }
    }))
}

/// `timestamp(x)`: RFC 3339, or seconds since 1970.
pub(super) fn moment<'v>(of: &Value<'_>) -> Result<Value<'v>, Fault> {
    match of {
        Value::Moment(moment) => Ok(Value::Moment(*moment)),
        Value::Int(seconds) => moment_in_range(Timestamp::from_second(*seconds)),
        Value::Text(text) => {
            const WHAT: Fault = Fault::Conversion("a time such as `2026-01-31T12:00:00Z`");
            // RFC 3339 alone: no zone names, no dates without a time.
            let digits = text.as_bytes().first().is_some_and(u8::is_ascii_digit);
            if !digits || text.contains('[') {
                return Err(WHAT);
            }
            let parsed: Timestamp = text.parse().map_err(|_| WHAT)?;
            moment_in_range(Ok(parsed))
        }
        _ => Err(Fault::WrongType("a text")),
    }
}

/// `duration(text)`: numbers with the units `h`, `m`, `s`, `ms`, `us`, `ns`, as in `1h30m`.
pub(super) fn span<'v>(of: &Value<'_>) -> Result<Value<'v>, Fault> {
    match of {
        Value::Span(span) => Ok(Value::Span(*span)),
        Value::Text(text) => parsed(text)
            .filter(in_range)
            .map(Value::Span)
            .ok_or(Fault::Conversion("a duration such as `1h30m`")),
        _ => Err(Fault::WrongType("a text")),
    }
}

fn parsed(text: &str) -> Option<SignedDuration> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(SignedDuration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanos: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at_checked(end)?;
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, after) = tail.split_at_checked(unit_end)?;
        let unit: i128 = match unit {
            "h" => 3_600_000_000_000,
            "m" => 60_000_000_000,
            "s" => 1_000_000_000,
            "ms" => 1_000_000,
            "us" | "µs" | "μs" => 1_000,
            "ns" => 1,
            _ => return None,
        };
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && part.is_empty()) || number.len() > 32 {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        nanos = nanos.checked_add(whole.checked_mul(unit)?)?;
        let mut scale = unit;
        for digit in part.chars() {
            scale /= 10;
            nanos = nanos.checked_add(scale.checked_mul(i128::from(digit.to_digit(10)?))?)?;
        }
        rest = after;
    }
    let nanos = if negative { -nanos } else { nanos };
    let seconds = i64::try_from(nanos / 1_000_000_000).ok()?;
    let part = i32::try_from(nanos % 1_000_000_000).ok()?;
    Some(SignedDuration::new(seconds, part))
}

/// A duration as CEL writes it: decimal seconds.
fn seconds(span: SignedDuration) -> String {
    let sign = if span.is_negative() { "-" } else { "" };
    let part = format!("{:09}", span.subsec_nanos().unsigned_abs());
    match part.trim_end_matches('0') {
        "" => format!("{sign}{}s", span.as_secs().unsigned_abs()),
        part => format!("{sign}{}.{part}s", span.as_secs().unsigned_abs()),
    }
}

/// A semantic version (SemVer 2.0.0), also with a `v` before it, and with `.0` left out at its end.
pub(super) fn version(text: &str) -> Option<semver::Version> {
    let text = text.strip_prefix('v').unwrap_or(text);
    if let Ok(version) = semver::Version::parse(text) {
        return Some(version);
    }
    let core = text.find(['-', '+']).unwrap_or(text.len());
    let (numbers, rest) = text.split_at_checked(core)?;
    let missing = match numbers.matches('.').count() {
        0 => ".0.0",
        1 => ".0",
        _ => return None,
    };
    semver::Version::parse(&format!("{numbers}{missing}{rest}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_as_cel_has_them() {
        for (text, seconds) in [
            ("1h30m", "5400s"),
            ("1.5h", "5400s"),
            ("-1.5s", "-1.5s"),
            ("0", "0s"),
            ("100ms20us3ns", "0.100020003s"),
            (".5s", "0.5s"),
            ("+2m", "120s"),
        ] {
            let span = span(&Value::text(text)).unwrap();
            let Value::Text(written) = super::text(span).unwrap() else { panic!("a text") };
            assert_eq!(written, seconds, "{text}");
        }
        for bad in ["", "-", "1", "1x", "s", "1h-2m", "1 h", "1..5s", ".s", "99999999999h"] {
            assert!(span(&Value::text(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn versions_may_be_short_and_begin_with_v() {
        for (text, full) in
            [("1.2.3", "1.2.3"), ("v1", "1.0.0"), ("1.2-rc.1+b", "1.2.0-rc.1+b"), ("2.0", "2.0.0")]
        {
            assert_eq!(version(text).unwrap().to_string(), full, "{text}");
        }
        for bad in ["", "v", "1.2.3.4", "a", "1.x", "-1", "1.2.3 "] {
            assert!(version(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn moments_are_those_of_rfc_3339_and_of_the_years_1_to_9999() {
        assert!(moment(&Value::text("2026-01-31T12:00:00.5+02:00")).is_ok());
        for bad in ["2026-01-31", "2026-01-31T12:00:00", "x", "-000001-01-01T00:00:00Z", ""] {
            assert!(moment(&Value::text(bad)).is_err(), "{bad}");
        }
        assert_eq!(moment(&Value::Int(i64::MAX)).unwrap_err(), Fault::Overflow);
        assert_eq!(moment(&Value::Int(-62_135_596_801)).unwrap_err(), Fault::Overflow);
    }
}
