//! The operators of filters, by kind of operand, each with the word that PostgREST knows it by.
//!
//! The table of `ApiRequest/Types.hs` and `Query/SqlFragment.hs`. May not import anything of this
//! crate.

/// Operators that take `(any)` and `(all)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `eq`: `=`.
    Equal,
    /// `gt`: `>`.
    Greater,
    /// `gte`: `>=`.
    GreaterOrEqual,
    /// `lt`: `<`.
    Less,
    /// `lte`: `<=`.
    LessOrEqual,
    /// `like`.
    Like,
    /// `ilike`.
    ILike,
    /// `match`: `~`.
    Match,
    /// `imatch`: `~*`.
    IMatch,
}

impl Comparison {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Equal,
        Self::Greater,
        Self::GreaterOrEqual,
        Self::Less,
        Self::LessOrEqual,
        Self::Like,
        Self::ILike,
        Self::Match,
        Self::IMatch,
    ];

    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Self::Equal => "eq",
            Self::Greater => "gt",
            Self::GreaterOrEqual => "gte",
            Self::Less => "lt",
            Self::LessOrEqual => "lte",
            Self::Like => "like",
            Self::ILike => "ilike",
            Self::Match => "match",
            Self::IMatch => "imatch",
        }
    }
}

/// `(any)` or `(all)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantifier {
    /// One element of the array is enough.
    Any,
    /// All elements.
    All,
}

impl Quantifier {
    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::All => "all",
        }
    }
}

/// Operators that take one value and no quantifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// `neq`: `<>`.
    NotEqual,
    /// `cs`: `@>`.
    Contains,
    /// `cd`: `<@`.
    ContainedIn,
    /// `ov`: `&&`.
    Overlaps,
    /// `sl`: `<<`.
    StrictlyLeft,
    /// `sr`: `>>`.
    StrictlyRight,
    /// `nxr`: `&<`.
    NotExtendsRight,
    /// `nxl`: `&>`.
    NotExtendsLeft,
    /// `adj`: `-|-`.
    Adjacent,
}

impl Relation {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::NotEqual,
        Self::Contains,
        Self::ContainedIn,
        Self::Overlaps,
        Self::StrictlyLeft,
        Self::StrictlyRight,
        Self::NotExtendsRight,
        Self::NotExtendsLeft,
        Self::Adjacent,
    ];

    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Self::NotEqual => "neq",
            Self::Contains => "cs",
            Self::ContainedIn => "cd",
            Self::Overlaps => "ov",
            Self::StrictlyLeft => "sl",
            Self::StrictlyRight => "sr",
            Self::NotExtendsRight => "nxr",
            Self::NotExtendsLeft => "nxl",
            Self::Adjacent => "adj",
        }
    }
}

/// What `is` compares with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    /// `null`.
    Null,
    /// `true`.
    True,
    /// `false`.
    False,
    /// `unknown`.
    Unknown,
}

impl Truth {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Null, Self::True, Self::False, Self::Unknown];

    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::True => "true",
            Self::False => "false",
            Self::Unknown => "unknown",
        }
    }
}

/// The full-text operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Search {
    /// `fts`: `to_tsquery`.
    Query,
    /// `plfts`: `plainto_tsquery`.
    Plain,
    /// `phfts`: `phraseto_tsquery`.
    Phrase,
    /// `wfts`: `websearch_to_tsquery`.
    Web,
}

impl Search {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Query, Self::Plain, Self::Phrase, Self::Web];

    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Self::Query => "fts",
            Self::Plain => "plfts",
            Self::Phrase => "phfts",
            Self::Web => "wfts",
        }
    }
}
