//! Arithmetic of the Common Expression Language: numbers that do not fit are faults, never
//! wrapped; doubles follow IEEE 754.
//!
//! May import nothing of other rooms.

use std::borrow::Cow;
use std::rc::Rc;

use jiff::{SignedDuration, Timestamp};

use super::fault::Fault;
use super::value::{List, Value};

/// An arithmetic operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sum {
    /// `+`.
    Add,
    /// `-`.
    Subtract,
    /// `*`.
    Multiply,
    /// `/`.
    Divide,
    /// `%`.
    Remainder,
}

/// `-a`.
pub(super) fn negate<'v>(of: &Value<'_>) -> Result<Value<'v>, Fault> {
    match of {
        Value::Int(number) => number.checked_neg().map(Value::Int).ok_or(Fault::Overflow),
        Value::Double(number) => Ok(Value::Double(-number)),
        _ => Err(Fault::WrongType("a number")),
    }
}

/// `a + b` and its like.
pub(super) fn sum<'v>(sum: Sum, a: &Value<'v>, b: &Value<'v>) -> Result<Value<'v>, Fault> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => int(sum, *a, *b).map(Value::Int),
        (Value::Uint(a), Value::Uint(b)) => uint(sum, *a, *b).map(Value::Uint),
        (Value::Double(a), Value::Double(b)) => double(sum, *a, *b).map(Value::Double),
        (Value::Moment(a), Value::Span(b)) => match sum {
            Sum::Add => moment(a.checked_add(*b)),
            Sum::Subtract => moment(a.checked_sub(*b)),
            Sum::Multiply | Sum::Divide | Sum::Remainder => Err(Fault::WrongType("a number")),
        },
        (Value::Span(a), Value::Moment(b)) if sum == Sum::Add => moment(b.checked_add(*a)),
        (Value::Moment(a), Value::Moment(b)) if sum == Sum::Subtract => {
            Ok(Value::Span(a.duration_since(*b)))
        }
        (Value::Span(a), Value::Span(b)) => {
            let made = match sum {
                Sum::Add => a.checked_add(*b),
                Sum::Subtract => a.checked_sub(*b),
                Sum::Multiply | Sum::Divide | Sum::Remainder => None,
            };
            made.filter(in_range).map(Value::Span).ok_or(Fault::Overflow)
        }
        (Value::Text(a), Value::Text(b)) if sum == Sum::Add => {
            Ok(Value::Text(Cow::Owned([a.as_ref(), b.as_ref()].concat())))
        }
        (Value::Bytes(a), Value::Bytes(b)) if sum == Sum::Add => {
            Ok(Value::Bytes(Cow::Owned([a.as_ref(), b.as_ref()].concat())))
        }
        (Value::List(a), Value::List(b)) if sum == Sum::Add => {
            let both: Rc<[Value<'v>]> = a.iter().chain(b.iter()).collect();
            Ok(Value::List(List::Made(both)))
        }
        _ => Err(Fault::WrongType("a number")),
    }
}

/// Durations are those of `google.protobuf.Duration`: ten thousand years.
pub(super) fn in_range(span: &SignedDuration) -> bool {
    span.as_secs().unsigned_abs() <= 315_576_000_000
}

/// Moments are those of `google.protobuf.Timestamp`: of the years 1 to 9999.
pub(super) fn moment<'v>(moment: Result<Timestamp, jiff::Error>) -> Result<Value<'v>, Fault> {
    const FIRST: i64 = -62_135_596_800;
    let moment = moment.map_err(|_| Fault::Overflow)?;
    if moment.as_second() < FIRST {
        return Err(Fault::Overflow);
    }
    Ok(Value::Moment(moment))
}

/// Arithmetic of whole numbers of one type.
macro_rules! whole {
    ($name:ident, $number:ty) => {
        fn $name(sum: Sum, a: $number, b: $number) -> Result<$number, Fault> {
            if matches!(sum, Sum::Divide | Sum::Remainder) && b == 0 {
                return Err(Fault::DivisionByZero);
            }
            let made = match sum {
                Sum::Add => a.checked_add(b),
                Sum::Subtract => a.checked_sub(b),
                Sum::Multiply => a.checked_mul(b),
                Sum::Divide => a.checked_div(b),
                Sum::Remainder => a.checked_rem(b),
            };
            made.ok_or(Fault::Overflow)
        }
    };
}

whole!(int, i64);
whole!(uint, u64);

fn double(sum: Sum, a: f64, b: f64) -> Result<f64, Fault> {
    match sum {
        Sum::Add => Ok(a + b),
        Sum::Subtract => Ok(a - b),
        Sum::Multiply => Ok(a * b),
        Sum::Divide => Ok(a / b),
        Sum::Remainder => Err(Fault::WrongType("a whole number")),
    }
}
