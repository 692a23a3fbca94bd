//! The types of expressions, as the Common Expression Language names them, and those of the
//! gateway.
//!
//! May import nothing of other rooms.

use std::fmt;

/// A type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Type {
    Bool,
    Int,
    Uint,
    Double,
    Text,
    Bytes,
    Null,
    Moment,
    Span,
    Address,
    Version,
    List(Box<Type>),
    Map(Box<Type>, Box<Type>),
    /// It may be absent, and is null then.
    Nullable(Box<Type>),
    /// What is not known: the elements of `[]`, and what has a mistake in it that was reported.
    Unknown,
}

impl Type {
    pub(super) fn list(of: Self) -> Self {
        Self::List(Box::new(of))
    }

    pub(super) fn map(from: Self, to: Self) -> Self {
        Self::Map(Box::new(from), Box::new(to))
    }

    pub(super) fn nullable(of: Self) -> Self {
        Self::Nullable(Box::new(of))
    }

    /// Without its absence.
    pub(super) fn present(&self) -> &Self {
        match self {
            Self::Nullable(of) => of,
            other => other,
        }
    }

    /// The type that has the values of both, if there is one.
    pub(super) fn join(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Unknown, known) | (known, Self::Unknown) => Some(known.clone()),
            (Self::Null, Self::Null) => Some(Self::Null),
            (Self::Null, of) | (of, Self::Null) => match of {
                Self::Nullable(_) => Some(of.clone()),
                Self::List(_) | Self::Map(_, _) => None,
                _ => Some(Self::nullable(of.clone())),
            },
            (Self::Nullable(a), b) | (b, Self::Nullable(a)) => {
                a.join(b.present()).map(Self::nullable)
            }
            (Self::List(a), Self::List(b)) => a.join(b).map(Self::list),
            (Self::Map(a, b), Self::Map(c, d)) => Some(Self::map(a.join(c)?, b.join(d)?)),
            (a, b) => (a == b).then(|| a.clone()),
        }
    }

    /// Whether a value of this type may stand where one of the other is wanted.
    pub(super) fn is(&self, wanted: &Self) -> bool {
        match (self, wanted) {
            (Self::Unknown, _) | (_, Self::Unknown) => true,
            (Self::List(a), Self::List(b)) => a.is(b),
            (Self::Map(a, b), Self::Map(c, d)) => a.is(c) && b.is(d),
            (Self::Nullable(a), Self::Nullable(b)) => a.is(b),
            (a, b) => a == b,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Double => "double",
            Self::Text => "string",
            Self::Bytes => "bytes",
            Self::Null => "null",
            Self::Moment => "timestamp",
            Self::Span => "duration",
            Self::Address => "address",
            Self::Version => "version",
            Self::List(of) => return write!(f, "list({of})"),
            Self::Map(from, to) => return write!(f, "map({from}, {to})"),
            Self::Nullable(of) => return write!(f, "{of} or null"),
            Self::Unknown => "any",
        })
    }
}
