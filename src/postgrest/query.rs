//! The query string as a typed tree.
//!
//! Strict where PostgREST is lenient: no `;`, no parameter without a value, no repeated
//! single-valued parameter, nothing unread after a complete value. May not import anything of this
//! crate but this room.

use super::filter::{Filter, Place, parse_operation};
use super::lexer::Cursor;
use super::limits::{MAX_FILTERS, MAX_QUERY_BYTES};
use super::logic::{Connective, Logic, parse_logic};
use super::order::{OrderTerm, parse_order};
use super::percent::{Plus, decode};
use super::refusal::{Cap, Part, RestRefusal};
use super::select::{SelectItem, parse_columns, parse_select};

/// A parsed query. What is absent was not stated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// `select`.
    pub select: Option<Vec<SelectItem>>,
    /// `columns`: what an insert or update writes.
    pub columns: Option<Vec<String>>,
    /// Filters, all of which have to hold, in the order they were stated.
    pub filters: Vec<Filter>,
    /// Logic trees, all of which have to hold too.
    pub logic: Vec<Logic>,
    /// `order`.
    pub order: Option<Vec<OrderTerm>>,
    /// `limit`.
    pub limit: Option<u64>,
    /// `offset`.
    pub offset: Option<u64>,
    /// The value of a parameter `apikey`, which Supabase's clients may put into the URL and which
    /// PostgREST would read as a filter. Never printed.
    pub apikey: Option<String>,
}

/// Parses a raw, percent-encoded query string.
pub fn parse_query(raw: &str) -> Result<Query, RestRefusal> {
    if raw.len() > MAX_QUERY_BYTES {
        return Err(RestRefusal::QueryTooLong(raw.len()));
    }
    if raw.contains(';') {
        return Err(RestRefusal::Semicolon);
    }
    let mut query = Query::default();
    for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(RestRefusal::ParameterWithoutValue(pair.to_owned()));
        };
        parameter(&mut query, &decode(key, Plus::Space)?, &decode(value, Plus::Space)?)?;
    }
    let mut filters = query.filters.len();
    for logic in &query.logic {
        logic.try_each_filter(&mut |_| {
            filters += 1;
            Ok::<(), RestRefusal>(())
        })?;
    }
    if filters > MAX_FILTERS { Err(RestRefusal::TooMany(Cap::Filters)) } else { Ok(query) }
}

/// Sorts one parameter by its decoded key, as PostgREST does: on the raw text, without regard to
/// quotes, so `"order"` is a column and `order` is not.
fn parameter(query: &mut Query, key: &str, value: &str) -> Result<(), RestRefusal> {
    match key {
        "select" => once(&mut query.select, "select", parse_select(value)?),
        "columns" => once(&mut query.columns, "columns", parse_columns(value)?),
        "on_conflict" => Err(RestRefusal::UpsertUnsupported),
        "order" => once(&mut query.order, "order", parse_order(value)?),
        "limit" => once(&mut query.limit, "limit", number(value, Part::Limit)?),
        "offset" => once(&mut query.offset, "offset", number(value, Part::Offset)?),
        "and" => logic(query, false, Connective::And, value),
        "or" => logic(query, false, Connective::Or, value),
        "not.and" => logic(query, true, Connective::And, value),
        "not.or" => logic(query, true, Connective::Or, value),
        "apikey" => once(&mut query.apikey, "apikey", value.to_owned()),
        _ => filter(query, key, value),
    }
}

fn once<T>(slot: &mut Option<T>, name: &'static str, value: T) -> Result<(), RestRefusal> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(RestRefusal::ParameterRepeated(name)),
    }
}

/// Digits only: PostgREST's reader takes `(1)` and `0x1` too, and ignores what it cannot read.
fn number(text: &str, part: Part) -> Result<u64, RestRefusal> {
    // PostgreSQL's `bigint` is the narrowest type on the way.
    let number = text.parse::<u64>().ok().filter(|number| i64::try_from(*number).is_ok());
    match number {
        Some(number) if text.bytes().all(|b| b.is_ascii_digit()) => Ok(number),
        _ => Err(RestRefusal::Malformed { part, input: text.to_owned() }),
    }
}

fn logic(
    query: &mut Query,
    negated: bool,
    connective: Connective,
    value: &str,
) -> Result<(), RestRefusal> {
    query.logic.push(parse_logic(negated, connective, value)?);
    Ok(())
}

fn filter(query: &mut Query, key: &str, value: &str) -> Result<(), RestRefusal> {
    // A dotted key whose last word is reserved addresses an embed (`projects.order`), and a dot
    // elsewhere too (`projects.id`).
    let last_word = key.rsplit('.').next().unwrap_or(key);
    if matches!(last_word, "order" | "limit" | "offset" | "and" | "or") {
        return Err(RestRefusal::EmbedUnsupported);
    }
    let column = column(key)?;
    let mut cursor = Cursor::new(value);
    let (negated, operation) = parse_operation(&mut cursor, Place::Root)?;
    if !cursor.is_at_end() {
        return Err(RestRefusal::Malformed { part: Part::Filter, input: value.to_owned() });
    }
    query.filters.push(Filter { column, negated, operation });
    Ok(())
}

fn column(key: &str) -> Result<String, RestRefusal> {
    let malformed = || RestRefusal::Malformed { part: Part::Key, input: key.to_owned() };
    let mut cursor = Cursor::new(key);
    let name = cursor.name().ok_or_else(malformed)?.into_owned();
    match cursor.peek() {
        None => Ok(name),
        Some('.') => Err(RestRefusal::EmbedUnsupported),
        Some('-') => Err(RestRefusal::JsonPathUnsupported),
        Some(_) => Err(malformed()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::filter::Operation;
    use super::super::operator::Comparison;
    use super::*;

    fn column_of(raw: &str) -> String {
        parse_query(raw).unwrap().filters.first().unwrap().column.clone()
    }

    #[test]
    fn a_key_is_the_same_column_however_it_is_spelled() {
        for key in [
            "organization_id",
            "\"organization_id\"",
            "%20organization_id",
            "organization%5Fid",
            "+organization_id+",
        ] {
            assert_eq!(column_of(&format!("{key}=eq.1")), "organization_id", "{key}");
        }
        assert_eq!(column_of("\"order\"=eq.1"), "order");
        assert_eq!(column_of("%22a.or%22=eq.1"), "a.or");
        assert_eq!(column_of("%20or=eq.1"), "or");
    }

    #[test]
    fn values_are_decoded_once() {
        let query = parse_query("title=eq.a%2Cb+c%25%2B%3B=&title=neq.").unwrap();
        let values: Vec<_> = query
            .filters
            .iter()
            .map(|filter| match &filter.operation {
                Operation::Compare { comparison: Comparison::Equal, value, .. } => value.as_str(),
                Operation::Relate { value, .. } => value.as_str(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(values, ["a,b c%+;=", ""]);
    }

    #[test]
    fn ambiguous_queries_are_refused() {
        for (raw, code) in [
            ("id=eq.1;id=eq.2", "rest_semicolon"),
            ("select=id&select=id", "rest_parameter_repeated"),
            ("select=id&%73elect=id", "rest_parameter_repeated"),
            ("columns=id&columns=id", "rest_parameter_repeated"),
            ("order=id&order=id", "rest_parameter_repeated"),
            ("limit=1&limit=2", "rest_parameter_repeated"),
            ("offset=1&offset=2", "rest_parameter_repeated"),
            ("on_conflict=id&on_conflict=id", "rest_upsert_unsupported"),
            ("select&select=secret", "rest_parameter_without_value"),
            ("id", "rest_parameter_without_value"),
            ("select=id%00", "rest_encoding_malformed"),
            ("id%00=eq.1", "rest_encoding_malformed"),
            ("id=eq.%ff", "rest_encoding_malformed"),
            ("id=eq.%f", "rest_encoding_malformed"),
            ("projects.id=eq.1", "rest_embed_unsupported"),
            ("projects.or=(id.eq.1)", "rest_embed_unsupported"),
            ("not.projects.or=(id.eq.1)", "rest_embed_unsupported"),
            ("not.not.or=(id.eq.1)", "rest_embed_unsupported"),
            ("projects.order=id", "rest_embed_unsupported"),
            ("data->a=eq.1", "rest_json_path_unsupported"),
            ("id)=eq.1", "rest_key_malformed"),
            ("=eq.1", "rest_key_malformed"),
            ("*=eq.1", "rest_key_malformed"),
            ("%09id=eq.1", "rest_key_malformed"),
            ("id=1", "rest_filter_malformed"),
            ("id=is.nullx", "rest_filter_malformed"),
            ("id=in.(1)x", "rest_filter_malformed"),
            ("limit=", "rest_limit_malformed"),
            ("limit=-1", "rest_limit_malformed"),
            ("limit=+1", "rest_limit_malformed"),
            ("limit=%2B1", "rest_limit_malformed"),
            ("limit=9223372036854775808", "rest_limit_malformed"),
            ("offset=0x1", "rest_offset_malformed"),
            ("select=", "rest_select_malformed"),
            ("order=", "rest_order_malformed"),
        ] {
            assert_eq!(parse_query(raw).unwrap_err().code(), code, "{raw}");
        }
        let long = format!("id=eq.{}", "1".repeat(MAX_QUERY_BYTES));
        assert_eq!(parse_query(&long).unwrap_err().code(), "rest_query_too_long");
    }

    #[test]
    fn filters_are_counted_with_those_in_trees() {
        let tree = format!("or=({})", vec!["id.eq.1"; MAX_FILTERS - 1].join(","));
        assert!(parse_query(&format!("{tree}&id=eq.1")).is_ok());
        let refused = parse_query(&format!("{tree}&id=eq.1&id=eq.2"));
        assert_eq!(refused, Err(RestRefusal::TooMany(Cap::Filters)));
    }

    #[test]
    fn empty_pairs_and_an_empty_query_say_nothing() {
        assert_eq!(parse_query("").unwrap(), Query::default());
        assert_eq!(parse_query("&&").unwrap(), Query::default());
    }
}
