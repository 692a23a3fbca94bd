//! Operators and functions over values.
//!
//! What they read and make is paid for. May import `domain` and `policy`.

use std::borrow::Cow;
use std::rc::Rc;

use super::agent;
use super::arithmetic::{self, Sum};
use super::convert;
use super::evaluate::Frame;
use super::fault::Fault;
use super::scene::percent_decoded;
use super::text;
use super::tree::Node;
use super::value::{List, Value};

/// An operator or a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// `a + b`, `a - b`, `a * b`, `a / b`, `a % b`.
    Sum(Sum),
    /// `-a`.
    Negate,
    /// `size(x)`: characters of a text, bytes, elements, keys.
    Size,
    /// `list[at]`.
    Element,
    /// `map[key]`.
    Key,
    /// `map.get(key, default)`.
    Get,
    /// `int(x)`.
    Int,
    /// `uint(x)`.
    Uint,
    /// `double(x)`.
    Double,
    /// `string(x)`.
    Text,
    /// `bytes(text)`.
    Bytes,
    /// `bool(text)`.
    Bool,
    /// `timestamp(x)`.
    Moment,
    /// `duration(text)`.
    Span,
    /// `address(text)`.
    Address,
    /// `version(text)`.
    Version,
    /// `text.lower()`.
    Lower,
    /// `text.trim()`.
    Trim,
    /// `text.split(between)`.
    Split,
    /// `text.urlDecode()`.
    UrlDecode,
    /// `headerList(text)`.
    HeaderList,
    /// `entropy(text)`.
    Entropy,
    /// `agentFamily(text)`.
    AgentFamily,
    /// `agentKind(text)`.
    AgentKind,
}

impl Call {
    /// Its value.
    pub(super) fn value<'v>(
        self,
        arguments: &'v [Node],
        frame: &mut Frame<'v>,
    ) -> Result<Value<'v>, Fault> {
        match arguments {
            [of] => {
                let of = of.value(frame)?;
                self.of_one(of, frame)
            }
            [a, b] => {
                let (a, b) = (a.value(frame)?, b.value(frame)?);
                self.of_two(a, b, frame)
            }
            [map, key, default] if self == Self::Get => {
                let (map, key) = (map.value(frame)?, key.value(frame)?);
                let Value::Map(map) = map else { return Err(Fault::WrongType("a map")) };
                frame.pay(map.cost())?;
                let Some(value) = map.get(&key) else { return default.value(frame) };
                frame.pay(value.copied())?;
                Ok(value)
            }
            _ => Err(Fault::WrongType("a call")),
        }
    }

    fn of_one<'v>(self, of: Value<'v>, frame: &mut Frame<'v>) -> Result<Value<'v>, Fault> {
        frame.pay(of.cost())?;
        match self {
            Self::Negate => arithmetic::negate(&of),
            Self::Size => {
                let size = match &of {
                    Value::Text(text) => text.chars().count(),
                    Value::Bytes(bytes) => bytes.len(),
                    Value::List(list) => list.len(),
                    Value::Map(map) => map.len(),
                    _ => return Err(Fault::WrongType("a text, a list or a map")),
                };
                Ok(Value::Int(i64::try_from(size).map_err(|_| Fault::Overflow)?))
            }
            Self::Int => convert::int(&of),
            Self::Uint => convert::uint(&of),
            Self::Double => convert::double(&of),
            Self::Text => convert::text(of),
            Self::Bytes => Ok(Value::Bytes(match of {
                Value::Text(Cow::Borrowed(text)) => Cow::Borrowed(text.as_bytes()),
                Value::Text(Cow::Owned(text)) => Cow::Owned(text.into_bytes()),
                Value::Bytes(bytes) => bytes,
                _ => return Err(Fault::WrongType("a text")),
            })),
            Self::Bool => convert::bool(&of),
            Self::Moment => convert::moment(&of),
            Self::Span => convert::span(&of),
            Self::Address => match of {
                Value::Text(text) => {
                    text.parse().map(Value::Address).map_err(|_| Fault::Conversion("an address"))
                }
                _ => Err(Fault::WrongType("a text")),
            },
            Self::Version => {
                let Value::Text(text) = of else { return Err(Fault::WrongType("a text")) };
                let version = convert::version(&text).ok_or(Fault::Conversion("a version"))?;
                Ok(Value::Version(Box::new(version)))
            }
            Self::Lower
            | Self::Trim
            | Self::UrlDecode
            | Self::HeaderList
            | Self::Entropy
            | Self::AgentFamily
            | Self::AgentKind => {
                let Value::Text(text) = of else { return Err(Fault::WrongType("a text")) };
                Ok(self.of_text(&text, frame)?.unwrap_or(Value::Text(text)))
            }
            Self::Sum(_) | Self::Element | Self::Key | Self::Get | Self::Split => {
                Err(Fault::WrongType("a call"))
            }
        }
    }

    /// What it makes of a text; `None` where that is the text itself.
    fn of_text<'v>(self, of: &str, frame: &mut Frame<'v>) -> Result<Option<Value<'v>>, Fault> {
        let owned = |text: String| Some(Value::Text(Cow::Owned(text)));
        Ok(match self {
            Self::Lower => {
                // Some letters have a longer small form.
                frame.pay(of.len())?;
                of.chars().any(char::is_uppercase).then(|| of.to_lowercase()).and_then(owned)
            }
            Self::Trim => {
                let trimmed = of.trim();
                if trimmed.len() == of.len() { None } else { owned(trimmed.to_owned()) }
            }
            Self::UrlDecode => match percent_decoded(of) {
                Cow::Borrowed(_) => None,
                Cow::Owned(text) => owned(text),
            },
            Self::HeaderList => {
                let items = text::header_list(of);
                frame.pay(items.len() * size_of::<Value<'_>>())?;
                let items: Rc<[Value<'v>]> =
                    items.into_iter().map(|item| Value::Text(Cow::Owned(item))).collect();
                Some(Value::List(List::Made(items)))
            }
            Self::Entropy => Some(Value::Double(text::entropy(of))),
            Self::AgentFamily => Some(Value::text(agent::of(of).family)),
            Self::AgentKind => Some(Value::text(agent::of(of).kind.as_str())),
            _ => return Err(Fault::WrongType("a function of a text")),
        })
    }

    fn of_two<'v>(
        self,
        a: Value<'v>,
        b: Value<'v>,
        frame: &mut Frame<'v>,
    ) -> Result<Value<'v>, Fault> {
        match (self, a, b) {
            (Self::Sum(sum), a, b) => {
                frame.pay(a.cost() + b.cost())?;
                arithmetic::sum(sum, &a, &b)
            }
            (Self::Element, Value::List(list), Value::Int(at)) => {
                let at = usize::try_from(at).map_err(|_| Fault::OutOfBounds)?;
                let value = list.get(at).ok_or(Fault::OutOfBounds)?;
                frame.pay(value.copied())?;
                Ok(value)
            }
            (Self::Key, Value::Map(map), key) => {
                frame.pay(map.cost())?;
                let value = map.get(&key).ok_or(Fault::MissingKey)?;
                frame.pay(value.copied())?;
                Ok(value)
            }
            (Self::Split, Value::Text(text), Value::Text(between)) => {
                frame.pay(text.len() + between.len())?;
                let parts: Vec<&str> = match between.is_empty() {
                    true => vec![&text],
                    false => text.split(between.as_ref()).collect(),
                };
                frame.pay(parts.len() * size_of::<Value<'_>>())?;
                let own = |part: &str| Value::Text(Cow::Owned(part.to_owned()));
                Ok(Value::List(List::Made(parts.into_iter().map(own).collect())))
            }
            _ => Err(Fault::WrongType("a call")),
        }
    }
}
