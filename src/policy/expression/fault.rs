//! Why an expression has no answer. Carries nothing of the request, so that it may be logged.
//!
//! May import nothing of other rooms.

/// Why an expression has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Fault {
    /// A map has no such key.
    #[error("a map has no such key: ask `key in map` first, or `map.get(key, default)`")]
    MissingKey,
    /// A list is not that long.
    #[error("a list has no such element: ask `size(list)` first")]
    OutOfBounds,
    /// Something absent was used as if it were there.
    #[error("`{0}` is absent: ask `has({0})` first")]
    Absent(&'static str),
    /// A map literal states a key twice.
    #[error("a map literal states a key twice")]
    DuplicateKey,
    /// A number, a time or a duration is out of range.
    #[error("a number, a time or a duration is out of range")]
    Overflow,
    /// A number was divided by zero.
    #[error("a number was divided by zero")]
    DivisionByZero,
    /// A text is not what it was to be converted to.
    #[error("a text is not {0}")]
    Conversion(&'static str),
    /// A value has another type than the one that was checked.
    #[error("a value is not {0}")]
    WrongType(&'static str),
    /// The detector of injections gave up on a text.
    #[error("the detector of injections gave up on a text")]
    Detector,
    /// More steps than an evaluation may take.
    #[error("the expression takes more than {} steps", super::STEP_BUDGET)]
    Steps,
    /// More bytes than an evaluation may look at and make.
    #[error("the expression handles more than {} bytes", super::SIZE_BUDGET)]
    Size,
}

impl Fault {
    /// Whether the evaluation as a whole ends: `false &&` and `true ||` do not absorb it.
    pub fn is_final(self) -> bool {
        match self {
            Self::Steps | Self::Size => true,
            Self::MissingKey
            | Self::OutOfBounds
            | Self::Absent(_)
            | Self::DuplicateKey
            | Self::Overflow
            | Self::DivisionByZero
            | Self::Conversion(_)
            | Self::WrongType(_)
            | Self::Detector => false,
        }
    }

    /// The word for metrics and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MissingKey => "missing_key",
            Self::OutOfBounds => "out_of_bounds",
            Self::Absent(_) => "absent",
            Self::DuplicateKey => "duplicate_key",
            Self::Overflow => "overflow",
            Self::DivisionByZero => "division_by_zero",
            Self::Conversion(_) => "conversion",
            Self::WrongType(_) => "wrong_type",
            Self::Detector => "detector",
            Self::Steps => "step_budget",
            Self::Size => "size_budget",
        }
    }
}
