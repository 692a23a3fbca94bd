//! Values while an expression is evaluated: borrowed from the request or the expression where
//! that is possible.
//!
//! May import `domain` and `policy`.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use jiff::{SignedDuration, Timestamp};

use crate::domain::organization::TeamRole;
use crate::policy::roles::Role;

use super::fault::Fault;
use super::scene::Params;

/// A value. The wide tag keeps it in whole words: with one of a byte, moving a value copies what is
/// behind the byte across the words, and reading that waits until it is in the cache.
#[derive(Debug, Clone)]
#[repr(u64)]
pub enum Value<'v> {
    /// `null`: what is absent.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number that is not negative.
    Uint(u64),
    /// A number of double precision (IEEE 754).
    Double(f64),
    /// A text.
    Text(Cow<'v, str>),
    /// Bytes.
    Bytes(Cow<'v, [u8]>),
    /// A moment.
    Moment(Timestamp),
    /// A stretch of time.
    Span(SignedDuration),
    /// An address.
    Address(IpAddr),
    /// A semantic version.
    Version(Box<semver::Version>),
    /// A list.
    List(List<'v>),
    /// A map.
    Map(Map<'v>),
}

/// A list, as it lies in memory.
#[derive(Debug, Clone)]
pub enum List<'v> {
    /// Written out in the expression.
    Constant(&'v [Constant]),
    /// Made while evaluating.
    Made(Rc<[Value<'v>]>),
    /// Names.
    Names(&'v [Arc<str>]),
    /// Names of roles.
    Roles(&'v [Arc<Role>]),
    /// Names of teams.
    Teams(&'v [TeamRole]),
}

/// A map, as it lies in memory.
#[derive(Debug, Clone)]
pub enum Map<'v> {
    /// Nothing.
    Empty,
    /// Written out in the expression.
    Constant(&'v [(Constant, Constant)]),
    /// Made while evaluating.
    Made(Rc<[(Value<'v>, Value<'v>)]>),
    /// Header fields.
    Headers(&'v HeaderMap),
    /// Query parameters, each with its values.
    Params(&'v Params),
    /// Features, each with its settings.
    Features(&'v BTreeMap<Arc<str>, BTreeMap<Arc<str>, Arc<str>>>),
    /// Settings of a feature.
    Settings(&'v BTreeMap<Arc<str>, Arc<str>>),
}

/// A value that is written out in an expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Constant {
    /// `null`.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number that is not negative.
    Uint(u64),
    /// A number of double precision.
    Double(f64),
    /// A text.
    Text(Box<str>),
    /// Bytes.
    Bytes(Box<[u8]>),
    /// A moment.
    Moment(Timestamp),
    /// A stretch of time.
    Span(SignedDuration),
    /// An address.
    Address(IpAddr),
    /// A semantic version.
    Version(Box<semver::Version>),
    /// A list.
    List(Box<[Constant]>),
    /// A map.
    Map(Box<[(Constant, Constant)]>),
}

impl Constant {
    /// The value, borrowed.
    pub fn value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::Int(*value),
            Self::Uint(value) => Value::Uint(*value),
            Self::Double(value) => Value::Double(*value),
            Self::Text(text) => Value::Text(Cow::Borrowed(text)),
            Self::Bytes(bytes) => Value::Bytes(Cow::Borrowed(bytes)),
            Self::Moment(moment) => Value::Moment(*moment),
            Self::Span(span) => Value::Span(*span),
            Self::Address(address) => Value::Address(*address),
            Self::Version(version) => Value::Version(version.clone()),
            Self::List(items) => Value::List(List::Constant(items)),
            Self::Map(entries) => Value::Map(Map::Constant(entries)),
        }
    }

    /// What a value is, to be kept in an expression.
    pub fn of(value: &Value<'_>) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Int(value) => Self::Int(*value),
            Value::Uint(value) => Self::Uint(*value),
            Value::Double(value) => Self::Double(*value),
            Value::Text(text) => Self::Text(text.as_ref().into()),
            Value::Bytes(bytes) => Self::Bytes(bytes.as_ref().into()),
            Value::Moment(moment) => Self::Moment(*moment),
            Value::Span(span) => Self::Span(*span),
            Value::Address(address) => Self::Address(*address),
            Value::Version(version) => Self::Version(version.clone()),
            Value::List(list) => Self::List(list.iter().map(|item| Self::of(&item)).collect()),
            Value::Map(map) => {
                let keys = map.keys();
                let entry = |key: Value<'_>| Some((Self::of(&key), Self::of(&map.get(&key)?)));
                Self::Map(keys.iter().filter_map(entry).collect())
            }
        }
    }
}

impl<'v> Value<'v> {
    /// A text that is borrowed.
    pub(super) fn text(text: &'v str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }

    /// Bytes that copying it costs.
    pub(super) fn copied(&self) -> usize {
        match self {
            Self::Text(Cow::Owned(text)) => text.len(),
            Self::Bytes(Cow::Owned(bytes)) => bytes.len(),
            _ => 0,
        }
    }

    /// Bytes that looking at it costs.
    pub(super) fn cost(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::List(list) => list.len() * size_of::<Value<'_>>(),
            Self::Map(map) => map.cost(),
            Self::Null
            | Self::Bool(_)
            | Self::Int(_)
            | Self::Uint(_)
            | Self::Double(_)
            | Self::Moment(_)
            | Self::Span(_)
            | Self::Address(_)
            | Self::Version(_) => 0,
        }
    }

    /// Which of two values of one type comes first; `None` where one is no number.
    pub(super) fn order(&self, other: &Self) -> Result<Option<Ordering>, Fault> {
        Ok(match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(b)),
            (Self::Uint(a), Self::Uint(b)) => Some(a.cmp(b)),
            (Self::Double(a), Self::Double(b)) => a.partial_cmp(b),
            (Self::Text(a), Self::Text(b)) => Some(a.cmp(b)),
            (Self::Bytes(a), Self::Bytes(b)) => Some(a.cmp(b)),
            (Self::Moment(a), Self::Moment(b)) => Some(a.cmp(b)),
            (Self::Span(a), Self::Span(b)) => Some(a.cmp(b)),
            (Self::Version(a), Self::Version(b)) => Some(a.cmp_precedence(b)),
            _ => return Err(Fault::WrongType("comparable")),
        })
    }
}

impl<'v> List<'v> {
    /// How many elements.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Constant(items) => items.len(),
            Self::Made(items) => items.len(),
            Self::Names(names) => names.len(),
            Self::Roles(roles) => roles.len(),
            Self::Teams(teams) => teams.len(),
        }
    }

    /// One element.
    pub(super) fn get(&self, at: usize) -> Option<Value<'v>> {
        match self {
            Self::Constant(items) => items.get(at).map(Constant::value),
            Self::Made(items) => items.get(at).cloned(),
            Self::Names(names) => names.get(at).map(|name| Value::text(name)),
            Self::Roles(roles) => roles.get(at).map(|role| Value::text(&role.name)),
            Self::Teams(teams) => teams.get(at).map(|of| Value::text(of.team.as_str())),
        }
    }

    /// All elements.
    pub(super) fn iter(&self) -> impl Iterator<Item = Value<'v>> + '_ {
        (0..self.len()).map_while(|at| self.get(at))
    }
}

impl<'v> Map<'v> {
    /// How many keys.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::Constant(entries) => entries.len(),
            Self::Made(entries) => entries.len(),
            Self::Headers(headers) => headers.keys_len(),
            Self::Params(params) => params.names().len(),
            Self::Features(features) => features.len(),
            Self::Settings(settings) => settings.len(),
        }
    }

    /// Whether it has no keys.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            // Telling the names of parameters apart takes longer than to see that there is one.
            Self::Params(params) => params.count() == 0,
            Self::Empty
            | Self::Constant(_)
            | Self::Made(_)
            | Self::Headers(_)
            | Self::Features(_)
            | Self::Settings(_) => self.len() == 0,
        }
    }

    /// Bytes that a search through it looks at.
    pub(super) fn cost(&self) -> usize {
        match self {
            Self::Empty => 0,
            // Looked up by hash, or in order.
            Self::Headers(_) | Self::Features(_) | Self::Settings(_) => size_of::<Value<'_>>(),
            Self::Params(params) => params.count() * 2 * size_of::<&str>(),
            Self::Constant(entries) => entries.len() * 2 * size_of::<Constant>(),
            Self::Made(entries) => entries.len() * 2 * size_of::<Value<'_>>(),
        }
    }

    /// All keys, in the order of the map.
    pub(super) fn keys(&self) -> List<'v> {
        List::Made(match self {
            Self::Empty => Rc::from([]),
            Self::Constant(entries) => entries.iter().map(|(key, _)| key.value()).collect(),
            Self::Made(entries) => entries.iter().map(|(key, _)| key.clone()).collect(),
            Self::Headers(headers) => {
                headers.keys().map(|name| Value::text(name.as_str())).collect()
            }
            Self::Params(params) => params.names().into_iter().map(Value::text).collect(),
            Self::Features(features) => features.keys().map(|name| Value::text(name)).collect(),
            Self::Settings(settings) => settings.keys().map(|name| Value::text(name)).collect(),
        })
    }

    /// Whether it has a key.
    pub(super) fn has(&self, key: &Value<'_>) -> bool {
        match (self, key) {
            (Self::Headers(headers), Value::Text(name)) => headers.contains_key(name.as_ref()),
            (Self::Params(params), Value::Text(name)) => params.values(name).next().is_some(),
            (map, key) => map.get(key).is_some(),
        }
    }

    /// The value of a key. Header fields of one name are one value, joined as RFC 9110 section
    /// 5.3 has it, cookies as RFC 9113 section 8.2.3 has them.
    pub(super) fn get(&self, key: &Value<'_>) -> Option<Value<'v>> {
        let text = || match key {
            Value::Text(text) => Some(text.as_ref()),
            _ => None,
        };
        match self {
            Self::Empty => None,
            Self::Constant(entries) => {
                let found = entries.iter().find(|(at, _)| same_key(&at.value(), key));
                found.map(|(_, value)| value.value())
            }
            Self::Made(entries) => {
                let found = entries.iter().find(|(at, _)| same_key(at, key));
                found.map(|(_, value)| value.clone())
            }
            Self::Headers(headers) => {
                let name = HeaderName::from_bytes(text()?.as_bytes()).ok()?;
                field(headers, &name).map(Value::Text)
            }
            Self::Params(params) => {
                let values: Rc<[Value<'v>]> = params.values(text()?).map(Value::text).collect();
                (!values.is_empty()).then_some(Value::List(List::Made(values)))
            }
            Self::Features(features) => {
                features.get(text()?).map(|settings| Value::Map(Map::Settings(settings)))
            }
            Self::Settings(settings) => settings.get(text()?).map(|value| Value::text(value)),
        }
    }
}

/// The value of a header field.
pub(super) fn field<'v>(headers: &'v HeaderMap, name: &HeaderName) -> Option<Cow<'v, str>> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    let Some(second) = values.next() else {
        return Some(text(first));
    };
    let between = if name == header::COOKIE { "; " } else { ", " };
    let mut joined = text(first).into_owned();
    for value in std::iter::once(second).chain(values) {
        joined.push_str(between);
        joined.push_str(&text(value));
    }
    Some(Cow::Owned(joined))
}

/// Bytes that are no UTF-8 become U+FFFD. Most are ASCII, which is found out faster by itself.
fn text(value: &HeaderValue) -> Cow<'_, str> {
    std::str::from_utf8(value.as_bytes())
        .map_or_else(|_| String::from_utf8_lossy(value.as_bytes()), Cow::Borrowed)
}

/// Whether two keys are the same. Those of one map are of one type.
pub(super) fn same_key(a: &Value<'_>, b: &Value<'_>) -> bool {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a), Value::Int(b)) => a == b,
        (Value::Uint(a), Value::Uint(b)) => a == b,
        (Value::Text(a), Value::Text(b)) => a == b,
        _ => false,
    }
}
