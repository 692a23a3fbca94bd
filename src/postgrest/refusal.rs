//! Everything this room refuses, each with a stable code, a status and a constant public text.
//!
//! The public text never repeats what the client sent; `Display` may, and is for the log. May not
//! import anything of this crate but `domain`.

use http::StatusCode;

use crate::domain::escape::TenantEscape;

/// Why a request to PostgREST was not let through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestRefusal {
    /// The path is not one clean segment.
    #[error("the path is not a single table name")]
    PathMalformed,
    /// Nothing is served at the root of the API.
    #[error("the root of the API is not served")]
    RootUnavailable,
    /// The table is not in the catalogue, or is denied there.
    #[error("table `{0}` is not in the catalogue, or is denied there")]
    TableUnknown(String),
    /// The function is not in the catalogue, or returns rows of a table that is not.
    #[error("function `{0}` is not in the catalogue")]
    FunctionUnknown(String),
    /// A function is called with POST, and with GET where it changes nothing.
    #[error("the function cannot be called with this method")]
    FunctionMethod,
    /// Parameters on a function whose rows are of no table.
    #[error(
        "select, filters, order or unknown arguments on a function that returns no table's rows"
    )]
    FunctionOpaque,
    /// A `select` on a function's rows without the column by which they are filtered.
    #[error("`select` on a function's rows without the tenant column")]
    FunctionSelect,
    /// An argument that stands twice.
    #[error("argument `{0}` is repeated")]
    ArgumentRepeated(String),

    /// The query string is over its cap.
    #[error("the query string has {0} bytes")]
    QueryTooLong(usize),
    /// A percent sequence is broken, encodes NUL, or the decoded text is not UTF-8.
    #[error("broken percent encoding, NUL or invalid UTF-8 in the path or query")]
    EncodingMalformed,
    /// A raw `;`, which PostgREST reads as a separator.
    #[error("raw `;` in the query string")]
    Semicolon,
    /// A key without `=`.
    #[error("parameter `{0}` has no value")]
    ParameterWithoutValue(String),
    /// A parameter that may stand once only.
    #[error("parameter `{0}` is repeated")]
    ParameterRepeated(&'static str),
    /// A part of the query that does not parse to its end.
    #[error("malformed {part} in `{input}`")]
    Malformed {
        /// Which part.
        part: Part,
        /// The offending text.
        input: String,
    },
    /// A list or tree over its cap.
    #[error("too many {0}")]
    TooMany(Cap),
    /// Filters or limits on an insert, where they have no effect.
    #[error("an insert takes no filters and no limits")]
    InsertWithFilter,
    /// `columns` on a method that takes none.
    #[error("`columns` belongs to inserts and updates")]
    ColumnsMisplaced,
    /// An update or delete of everything, where the catalogue wants a filter.
    #[error("an update or delete without a filter of its own")]
    FilterRequired,
    /// A limited update or delete without an order.
    #[error("limit or offset on an update or delete without order")]
    LimitWithoutOrder,

    /// A column that the catalogue does not list.
    #[error("column `{0}` is not in the catalogue")]
    ColumnUnknown(String),
    /// An embedded resource in `select`, a filter, `order` or a limit.
    #[error("an embed that is not supported: {0}")]
    EmbedUnsupported(&'static str),
    /// No relationship of the catalogue leads to the target.
    #[error("no relationship of the catalogue leads to `{0}`")]
    EmbedUnknown(String),
    /// More than one relationship leads to the target.
    #[error("more than one relationship leads to `{0}`")]
    EmbedAmbiguous(String),
    /// Two embeds side by side that one parameter could mean.
    #[error("the name `{0}` could mean two embeds, or an embed and a column")]
    EmbedTwins(String),
    /// A parameter addresses an embed that is not there.
    #[error("a parameter addresses the embed `{0}`, which `select` does not have")]
    EmbedNotSelected(String),
    /// `column::type`.
    #[error("casts are not allowed")]
    CastNotAllowed,
    /// An aggregate over rows that only an embed of their parent confines.
    #[error("an aggregate over rows that belong to a parent")]
    AggregateUnsupported,
    /// An upsert over a key that is not the catalogue's, or does not hold the tenant column.
    #[error("an upsert over a key that is not unique in the catalogue, or lacks the tenant column")]
    UpsertKey,
    /// `on_conflict` or `Prefer: resolution=…` where they have no effect.
    #[error("`on_conflict` and `resolution` belong together, and to POST")]
    UpsertMisplaced,
    /// A PUT whose filters are not the primary key.
    #[error("the filters of a PUT are not the primary key")]
    PutFilter,
    /// A role that does not rank below the writer's own, or a write that could reach one.
    #[error("a role that does not rank below the writer's own, or a write that could reach one")]
    Rank,
    /// A write to a table that clients may only read.
    #[error("table `{0}` is read-only")]
    TableReadOnly(String),

    /// A media type that the gateway does not ask PostgREST for.
    #[error("no acceptable media type")]
    NotAcceptable,
    /// CSV of a function's rows, of which only some are the organization's.
    #[error("a function's rows as csv")]
    FunctionCsv,
    /// A request for the query plan.
    #[error("query plans are not served")]
    PlanNotAcceptable,
    /// A schema other than the catalogue's.
    #[error("another schema was asked for")]
    ProfileNotAcceptable,
    /// A `Range` header other than `a-b` or `a-`.
    #[error("malformed or repeated range header")]
    RangeMalformed,
    /// A preference that cannot be honoured: `tx=rollback`, or an unknown one with strict handling.
    #[error("preference cannot be honoured: {0}")]
    PreferenceUnsupported(&'static str),

    /// A body that is not JSON by its Content-Type.
    #[error("unsupported or repeated content type")]
    ContentTypeUnsupported,
    /// A compressed body.
    #[error("unsupported content encoding")]
    ContentEncodingUnsupported,
    /// A body where none belongs.
    #[error("a body on a method that takes none")]
    BodyForbidden,
    /// A body that does not parse to its end, or is not one object or, on an insert, several.
    #[error("malformed body: {0}")]
    BodyMalformed(&'static str),
    /// The same key twice in one object.
    #[error("key `{0}` stands twice in one object")]
    BodyKeyRepeated(String),
    /// A CSV body that would become many times as large as JSON.
    #[error("the body grows over its cap as json")]
    BodyGrows,
    /// An argument that the catalogue does not list for the function.
    #[error("argument `{0}` is not in the catalogue")]
    ArgumentUnknown(String),

    /// A value that puts a row into another organization, takes it out of its own, or calls a
    /// function for another one.
    #[error("{0}")]
    TenantEscape(Box<TenantEscape>),
}

/// A part of the query string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A key.
    Key,
    /// `select`.
    Select,
    /// `columns`.
    Columns,
    /// A filter's operator or value.
    Filter,
    /// `and`, `or`.
    Logic,
    /// `order`.
    Order,
    /// `limit`.
    Limit,
    /// `offset`.
    Offset,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Key => "key",
            Self::Select => "select",
            Self::Columns => "columns",
            Self::Filter => "filter",
            Self::Logic => "logic tree",
            Self::Order => "order",
            Self::Limit => "limit",
            Self::Offset => "offset",
        })
    }
}

/// What there was too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cap {
    /// Filters, leaves of logic trees included.
    Filters,
    /// Levels of a logic tree.
    LogicLevels,
    /// Values of an `in` list.
    ListValues,
    /// Items of `select`.
    SelectItems,
    /// Names in `columns`.
    Columns,
    /// Steps of a way into a JSON value.
    JsonSteps,
    /// Terms of `order`.
    OrderTerms,
    /// Embeds.
    Embeds,
    /// Levels of embeds.
    EmbedLevels,
    /// Rows of an insert.
    Rows,
}

impl std::fmt::Display for Cap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Filters => "filters",
            Self::LogicLevels => "levels of logic",
            Self::ListValues => "list values",
            Self::SelectItems => "select items",
            Self::Columns => "columns",
            Self::JsonSteps => "steps into a json value",
            Self::OrderTerms => "order terms",
            Self::Embeds => "embeds",
            Self::EmbedLevels => "levels of embeds",
            Self::Rows => "rows",
        })
    }
}

impl RestRefusal {
    /// The stable code that clients, logs and metrics see.
    pub fn code(&self) -> &'static str {
        self.facts().1
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        self.facts().0
    }

    /// A constant text that helps an honest developer and tells nothing else.
    pub fn public_message(&self) -> &'static str {
        self.facts().2
    }

    /// Whether the caller tried to reach into another organization, which is a security event.
    pub fn is_tenant_escape(&self) -> bool {
        matches!(self, Self::TenantEscape(_))
    }

    /// One table of what each variant is to the outside.
    fn facts(&self) -> (StatusCode, &'static str, &'static str) {
        const BAD: StatusCode = StatusCode::BAD_REQUEST;
        const FORBIDDEN: StatusCode = StatusCode::FORBIDDEN;
        const NOT_FOUND: StatusCode = StatusCode::NOT_FOUND;
        const UNACCEPTABLE: StatusCode = StatusCode::NOT_ACCEPTABLE;
        const MEDIA: StatusCode = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        match self {
            Self::PathMalformed => (
                BAD,
                "rest_path_malformed",
                "the path has to be one table name, without further slashes",
            ),
            Self::RootUnavailable => {
                (NOT_FOUND, "rest_root_unavailable", "nothing is served at the root")
            }
            Self::TableUnknown(_) => (NOT_FOUND, "rest_table_unknown", "no such table"),
            Self::FunctionUnknown(_) => (NOT_FOUND, "rest_function_unknown", "no such function"),
            Self::FunctionMethod => (
                StatusCode::METHOD_NOT_ALLOWED,
                "rest_function_method",
                "call functions with POST, and with GET those that change nothing",
            ),
            Self::FunctionOpaque => (
                BAD,
                "rest_function_opaque",
                "this function takes its own arguments and no `select`, filter, order or limit",
            ),
            Self::FunctionSelect => (
                BAD,
                "rest_function_select",
                "name the column that holds the organization in `select`, too",
            ),
            Self::ArgumentRepeated(_) => {
                (BAD, "rest_argument_repeated", "an argument can be given once")
            }
            Self::QueryTooLong(_) => (
                StatusCode::URI_TOO_LONG,
                "rest_query_too_long",
                "the query string is too long: split the request",
            ),
            Self::EncodingMalformed => (
                BAD,
                "rest_encoding_malformed",
                "the path or query has a broken percent sequence, a NUL or text that is not UTF-8",
            ),
            Self::Semicolon => (
                BAD,
                "rest_semicolon",
                "separate parameters by `&` and encode `;` in values as `%3B`",
            ),
            Self::ParameterWithoutValue(_) => {
                (BAD, "rest_parameter_without_value", "every query parameter needs `=` and a value")
            }
            Self::ParameterRepeated(_) => (
                BAD,
                "rest_parameter_repeated",
                "`select`, `columns`, `on_conflict`, `order`, `limit` and `offset` may stand only once",
            ),
            Self::Malformed { part, .. } => match part {
                Part::Key => (BAD, "rest_key_malformed", "a query parameter's name does not parse"),
                Part::Select => {
                    (BAD, "rest_select_malformed", "`select` does not parse to its end")
                }
                Part::Columns => {
                    (BAD, "rest_columns_malformed", "`columns` does not parse to its end")
                }
                Part::Filter => (
                    BAD,
                    "rest_filter_malformed",
                    "a filter has to be `column=operator.value` with a known operator",
                ),
                Part::Logic => (
                    BAD,
                    "rest_logic_malformed",
                    "a logic tree has to be `or=(column.operator.value,…)` and to end with its bracket",
                ),
                Part::Order => (
                    BAD,
                    "rest_order_malformed",
                    "`order` has to be `column.asc|desc.nullsfirst|nullslast`, separated by commas",
                ),
                Part::Limit => {
                    (BAD, "rest_limit_malformed", "`limit` has to be a whole number from 0")
                }
                Part::Offset => {
                    (BAD, "rest_offset_malformed", "`offset` has to be a whole number from 0")
                }
            },
            Self::TooMany(cap) => match cap {
                Cap::Filters => (BAD, "rest_too_many_filters", "at most 64 filters in one request"),
                Cap::LogicLevels => {
                    (BAD, "rest_logic_too_deep", "`and` and `or` may nest at most 5 deep")
                }
                Cap::ListValues => {
                    (BAD, "rest_list_too_long", "at most 1000 values in an `in` list")
                }
                Cap::SelectItems => (BAD, "rest_select_too_long", "at most 256 items in `select`"),
                Cap::Columns => (BAD, "rest_columns_too_long", "at most 256 names in `columns`"),
                Cap::OrderTerms => (BAD, "rest_order_too_long", "at most 16 terms in `order`"),
                Cap::JsonSteps => {
                    (BAD, "rest_json_path_too_long", "at most 16 steps into a json value")
                }
                Cap::Embeds => (BAD, "rest_too_many_embeds", "too many embeds"),
                Cap::EmbedLevels => (BAD, "rest_embed_too_deep", "embeds are nested too deeply"),
                Cap::Rows => (BAD, "rest_too_many_rows", "at most 20000 rows in one insert"),
            },
            Self::InsertWithFilter => (
                BAD,
                "rest_insert_with_filter",
                "filters, `limit` and `offset` have no effect on an insert: leave them out",
            ),
            Self::ColumnsMisplaced => (
                BAD,
                "rest_columns_misplaced",
                "`columns` belongs to inserts and updates: leave it out",
            ),
            Self::LimitWithoutOrder => (
                BAD,
                "rest_limit_without_order",
                "`limit` or `offset` on an update or delete needs `order` by a unique column",
            ),
            Self::ColumnUnknown(_) => (
                FORBIDDEN,
                "rest_column_unknown",
                "a column is named that does not exist or is not open to clients",
            ),
            Self::EmbedUnsupported(_) => (
                FORBIDDEN,
                "rest_embed_unsupported",
                "this form of embed is not supported here: request the tables one by one",
            ),
            Self::FilterRequired => {
                (BAD, "rest_filter_required", "updates and deletes of this table need a filter")
            }
            Self::EmbedUnknown(_) => (
                BAD,
                "rest_embed_unknown",
                "embed of a table that is not in the catalogue, or over no foreign key of it",
            ),
            Self::EmbedAmbiguous(_) => (
                BAD,
                "rest_embed_ambiguous",
                "more than one relationship fits: say which with a hint, as in `table!constraint(*)`",
            ),
            Self::EmbedTwins(_) => (
                BAD,
                "rest_embed_twins",
                "give every embed an alias of its own that is no other embed's name",
            ),
            Self::EmbedNotSelected(_) => (
                BAD,
                "rest_embed_not_selected",
                "a filter, order or limit addresses an embed that `select` does not have",
            ),
            Self::CastNotAllowed => {
                (FORBIDDEN, "rest_cast_not_allowed", "casts are not allowed here")
            }
            Self::AggregateUnsupported => (
                FORBIDDEN,
                "rest_aggregate_unsupported",
                "no aggregates over rows that belong to a parent: for a count use `Prefer: count=exact`",
            ),
            Self::Rank => (
                FORBIDDEN,
                "rest_rank",
                "state a role that ranks below your own in every row; no upserts and no limits here",
            ),
            Self::UpsertKey => (
                FORBIDDEN,
                "rest_upsert_key",
                "upserts need a unique key that holds the organization: name one in `on_conflict`",
            ),
            Self::UpsertMisplaced => (
                BAD,
                "rest_upsert_misplaced",
                "`on_conflict` and `Prefer: resolution=…` belong together, and to POST",
            ),
            Self::PutFilter => (
                BAD,
                "rest_put_filter",
                "PUT takes one filter `column=eq.value` for each column of the primary key",
            ),
            Self::TableReadOnly(_) => {
                (FORBIDDEN, "rest_table_read_only", "this table is read-only")
            }
            Self::NotAcceptable => (
                UNACCEPTABLE,
                "rest_not_acceptable",
                "accept `application/json`, `application/vnd.pgrst.object+json` or `text/csv`",
            ),
            Self::FunctionCsv => {
                (UNACCEPTABLE, "rest_function_csv", "the rows of this function come as json only")
            }
            Self::PlanNotAcceptable => {
                (UNACCEPTABLE, "rest_plan_not_acceptable", "query plans are not served here")
            }
            Self::ProfileNotAcceptable => {
                (UNACCEPTABLE, "rest_profile_not_acceptable", "this schema is not served here")
            }
            Self::RangeMalformed => (
                BAD,
                "rest_range_malformed",
                "a `Range` header has to be `from-to` or `from-`, once",
            ),
            Self::PreferenceUnsupported(_) => (
                BAD,
                "rest_preference_unsupported",
                "a preference cannot be honoured: leave out `tx=rollback`, and unknown ones with `handling=strict`",
            ),
            Self::ContentTypeUnsupported => {
                (MEDIA, "rest_content_type_unsupported", "send the body as `application/json`")
            }
            Self::ContentEncodingUnsupported => {
                (MEDIA, "rest_content_encoding_unsupported", "send the body uncompressed")
            }
            Self::BodyForbidden => (BAD, "rest_body_forbidden", "this method takes no body"),
            Self::BodyMalformed(_) => (
                BAD,
                "rest_body_malformed",
                "the body has to be one json object or, on an insert, an array of objects",
            ),
            Self::BodyGrows => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "rest_body_grows",
                "the body would grow too much as json: send fewer rows at once",
            ),
            Self::ArgumentUnknown(_) => (
                BAD,
                "rest_argument_unknown",
                "an argument is given that the function does not have",
            ),
            Self::BodyKeyRepeated(_) => {
                (BAD, "rest_body_key_repeated", "a key or column stands twice in the body")
            }
            Self::TenantEscape(_) => (
                FORBIDDEN,
                "rest_tenant_escape",
                "the request names an organization other than the one it is for",
            ),
        }
    }
}
