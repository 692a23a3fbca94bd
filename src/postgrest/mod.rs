//! PostgREST requests: parsed, confined to one organization, printed afresh, or refused.
//!
//! ```text
//! path, query, headers ──parse──▶ typed tree ──check, inject──▶ typed tree ──print──▶ what is sent
//! ```
//!
//! Called by the pipeline's isolate stage with the catalogue and the organization; the body is
//! rewritten later, when it has arrived, by the rule that [`confine`] returns. No byte of the
//! client's is sent on: what does not parse to its end, is not in the catalogue or is not supported
//! has a [`RestRefusal`]. Pure: never awaits, never reads a clock; imports only `domain`.
//!
//! Served: columns, JSON paths, aggregates, embeds over the foreign keys of the catalogue, filters and
//! logic trees, `order`, `limit`, `offset`; inserts and updates in JSON, CSV and forms; deletes; calls of functions.

mod body;
mod call;
mod confine;
mod confined;
mod field;
mod filter;
mod headers;
mod lexer;
mod limits;
mod logic;
mod operator;
mod order;
mod path;
mod percent;
mod prefer;
mod print;
mod query;
mod refusal;
mod request;
mod resolve;
mod select;
mod shape;
#[cfg(test)]
mod tests;
mod upsert;
mod written;

pub use body::{
    ArgumentsRule, BodyRule, BodySource, Member, MemberValue, RowsRule, object_members,
};
pub use confine::{confine, confine_below};
pub use confined::{Confined, Injection, Touched};
pub use field::{Field, JsonKey, JsonStep};
pub use filter::{Filter, Operation};
pub use headers::OWNED_HEADERS;
pub use limits::*;
pub use logic::{Connective, Logic, LogicTree};
pub use operator::{Comparison, Quantifier, Relation, Search, Truth};
pub use order::{Direction, Nulls, OrderTerm};
pub use path::decode_segment;
pub use print::print_query;
pub use query::{Query, parse_query};
pub use refusal::{Cap, Part, RestRefusal};
pub use request::{RestMethod, RestRequest};
pub use select::{Aggregate, Aggregation, Embed, Join, SelectColumn, SelectItem};
pub use shape::DEEP_OFFSET;
pub use written::{Written, as_written};
