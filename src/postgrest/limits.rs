//! The caps of the grammar: every list, tree and text that a stranger can make long has one here.
//!
//! A request over a cap is refused, never cut. Imports nothing.

/// Longest query string, in bytes. PostgREST's own server refuses request lines over 64 KiB; the
/// longest that supabase-js builds (an `in` list of some hundred ids) stays far below this.
pub const MAX_QUERY_BYTES: usize = 16 * 1024;

/// Filters in one request, leaves of logic trees included. Each becomes a condition that the
/// planner has to weigh; hand-written requests have fewer than ten.
pub const MAX_FILTERS: usize = 64;

/// How deep `and(…)` and `or(…)` may nest: the parser recurses once per level.
pub const MAX_LOGIC_DEPTH: usize = 5;

/// Members of one logic group, which are not always filters.
pub const MAX_LOGIC_MEMBERS: usize = MAX_FILTERS;

/// Values in one `in.(…)` list. The query length allows some four hundred UUIDs; this bounds lists
/// of one-digit values.
pub const MAX_LIST_VALUES: usize = 1_000;

/// Items in `select`, columns in `columns`: PostgreSQL tables rarely have more, and a result row
/// may not have over 1,664.
pub const MAX_SELECT_ITEMS: usize = 256;

/// How deep embeds may nest, whatever the catalogue allows: the parser recurses once per level.
pub const MAX_EMBED_DEPTH: usize = 10;

/// Steps of one way into a JSON value.
pub const MAX_JSON_STEPS: usize = 16;

/// Terms in `order`.
pub const MAX_ORDER_TERMS: usize = 16;

/// How deep a value of a JSON body may nest. Applications stay below ten; PostgREST's parser recurses.
pub const MAX_JSON_DEPTH: u32 = 64;

/// Rows in one insert. A row can be as short as `{}` and grows by the tenant's column and value,
/// so rows have to be bounded apart from bytes.
pub const MAX_INSERT_ROWS: usize = 20_000;
