//! Operators and functions over values.
//!
//! May import `domain` and `policy`.

use super::evaluate::Frame;
use super::fault::Fault;
use super::tree::Node;
use super::value::Value;

/// An operator or a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// `size(x)`: characters of a text, bytes, elements, keys.
    Size,
    /// `list[at]`.
    Element,
    /// `map[key]`.
    Key,
    /// `map.get(key, default)`.
    Get,
    /// `version(text)`.
    Version,
}

impl Call {
    /// Its value.
    pub(super) fn value<'v>(
        self,
        arguments: &'v [Node],
        frame: &mut Frame<'v>,
    ) -> Result<Value<'v>, Fault> {
        let mut arguments = arguments.iter();
        let mut next = |frame: &mut Frame<'v>| {
            arguments.next().ok_or(Fault::WrongType("a call"))?.value(frame)
        };
        match self {
            Self::Size => {
                let of = next(frame)?;
                let size = match &of {
                    Value::Text(text) => {
                        frame.pay(text.len())?;
                        text.chars().count()
                    }
                    Value::Bytes(bytes) => bytes.len(),
                    Value::List(list) => list.len(),
                    Value::Map(map) => {
                        frame.pay(map.size())?;
                        map.len()
                    }
                    _ => return Err(Fault::WrongType("a text, a list or a map")),
                };
                Ok(Value::Int(i64::try_from(size).map_err(|_| Fault::Overflow)?))
            }
            Self::Element => match (next(frame)?, next(frame)?) {
                (Value::List(list), Value::Int(at)) => {
                    let at = usize::try_from(at).map_err(|_| Fault::OutOfBounds)?;
                    list.get(at).ok_or(Fault::OutOfBounds)
                }
                _ => Err(Fault::WrongType("a list")),
            },
            Self::Key => match (next(frame)?, next(frame)?) {
                (Value::Map(map), key) => {
                    frame.pay(map.size())?;
                    map.get(&key).ok_or(Fault::MissingKey)
                }
                _ => Err(Fault::WrongType("a map")),
            },
            Self::Version => match next(frame)? {
                Value::Text(text) => {
                    frame.pay(text.len())?;
                    let version = version(&text).ok_or(Fault::Conversion("a version"))?;
                    Ok(Value::Version(Box::new(version)))
                }
                _ => Err(Fault::WrongType("a text")),
            },
            Self::Get => match (next(frame)?, next(frame)?) {
                (Value::Map(map), key) => {
                    frame.pay(map.size())?;
                    match map.get(&key) {
                        Some(value) => Ok(value),
                        None => next(frame),
                    }
                }
                _ => Err(Fault::WrongType("a map")),
            },
        }
    }
}

/// A semantic version (SemVer 2.0.0), also with a `v` before it, and with `.0` left out at its end.
pub fn version(text: &str) -> Option<semver::Version> {
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
