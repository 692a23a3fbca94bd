//! The query string as a typed tree.
//!
//! Strict where PostgREST is lenient: no `;`, no parameter without a value, no repeated
//! single-valued parameter, nothing unread after a complete value. May not import anything of this
//! crate but this room.

use std::borrow::Cow;

use super::field::{Field, json_path};
use super::filter::{Filter, Place, parse_operation};
use super::lexer::Cursor;
use super::limits::{MAX_FILTERS, MAX_QUERY_BYTES};
use super::logic::{Connective, Logic, parse_logic};
use super::order::{OrderTerm, parse_order};
use super::percent::{Plus, decode};
use super::refusal::{Cap, Part, RestRefusal};
use super::select::{Embed, SelectItem, parse_columns, parse_select};

/// A parsed query. What is absent was not stated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// `select`.
    pub select: Option<Vec<SelectItem>>,
    /// `columns`: what an insert or update writes.
    pub columns: Option<Vec<String>>,
    /// `on_conflict`: the key by which an upsert finds rows that are there.
    pub on_conflict: Option<Vec<String>>,
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
    // Those that address embeds, for when `select` has been read.
    let mut addressed = Vec::new();
    for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(RestRefusal::ParameterWithoutValue(pair.to_owned()));
        };
        let (key, value) = (decode(key, Plus::Space)?, decode(value, Plus::Space)?);
        parameter(&mut query, &key, value, &mut addressed)?;
    }
    for (key, value) in addressed {
        let Key { path, last } = key;
        let level = query.level(&path)?;
        level.take(last, &value)?;
    }
    if query.filter_count() > MAX_FILTERS {
        Err(RestRefusal::TooMany(Cap::Filters))
    } else {
        Ok(query)
    }
}

impl Query {
    /// The embeds of its `select`.
    pub fn embeds(&self) -> impl Iterator<Item = &Embed> {
        self.select.iter().flatten().filter_map(|item| match item {
            SelectItem::Embed(embed) => Some(embed.as_ref()),
            SelectItem::Star | SelectItem::Column(_) | SelectItem::Count { .. } => None,
        })
    }

    /// The embeds of its `select`, to be changed.
    pub(super) fn embeds_mut(&mut self) -> impl Iterator<Item = &mut Embed> {
        self.select.iter_mut().flatten().filter_map(|item| match item {
            SelectItem::Embed(embed) => Some(embed.as_mut()),
            SelectItem::Star | SelectItem::Column(_) | SelectItem::Count { .. } => None,
        })
    }

    /// Filters on all levels, leaves of logic trees included.
    pub fn filter_count(&self) -> usize {
        let mut count = self.filters.len();
        for logic in &self.logic {
            let counted: Result<(), RestRefusal> = logic.try_each_filter(&mut |_| {
                count += 1;
                Ok(())
            });
            debug_assert!(counted.is_ok(), "counting refuses nothing");
        }
        count + self.embeds().map(|embed| embed.inner.filter_count()).sum::<usize>()
    }

    /// What is asked of the embed to which a path of names leads.
    fn level(&mut self, path: &[String]) -> Result<&mut Query, RestRefusal> {
        let Some((first, rest)) = path.split_first() else { return Ok(self) };
        // Where more than one goes by a name, the resolver refuses the request.
        let embed = self.embeds_mut().find(|embed| embed.name() == first);
        embed.ok_or_else(|| RestRefusal::EmbedNotSelected(first.clone()))?.inner.level(rest)
    }

    fn take(&mut self, last: Last, value: &str) -> Result<(), RestRefusal> {
        match last {
            Last::Order => once(&mut self.order, "order", parse_order(value)?),
            Last::Limit => once(&mut self.limit, "limit", number(value, Part::Limit)?),
            Last::Offset => once(&mut self.offset, "offset", number(value, Part::Offset)?),
            Last::Logic { negated, connective } => {
                self.logic.push(parse_logic(negated, connective, value)?);
                Ok(())
            }
            Last::Field(field) => {
                let mut cursor = Cursor::new(value);
                let (negated, operation) = parse_operation(&mut cursor, Place::Root)?;
                if !cursor.is_at_end() {
                    let input = value.to_owned();
                    return Err(RestRefusal::Malformed { part: Part::Filter, input });
                }
                self.filters.push(Filter { field, negated, operation });
                Ok(())
            }
        }
    }
}

/// Where a parameter leads, and what it is there.
struct Key {
    /// Names of embeds, outermost first; none for the root.
    path: Vec<String>,
    last: Last,
}

enum Last {
    Field(Field),
    Order,
    Limit,
    Offset,
    Logic { negated: bool, connective: Connective },
}

impl Key {
    /// Takes a key apart, as PostgREST's `pTreePath` and `pLogicPath` do.
    fn parse(key: &str) -> Result<Self, RestRefusal> {
        let malformed = || RestRefusal::Malformed { part: Part::Key, input: key.to_owned() };
        let mut cursor = Cursor::new(key);
        let mut names: Vec<(String, bool)> = Vec::with_capacity(2);
        let path = loop {
            let bare = cursor.peek() != Some('"');
            let name = cursor.name().ok_or_else(malformed)?.into_owned();
            names.push((name, bare));
            match cursor.peek() {
                Some('.') => cursor.eat("."),
                _ => break json_path(&mut cursor)?.ok_or_else(malformed)?,
            };
        };
        if !cursor.is_at_end() {
            return Err(malformed());
        }
        let (last, _) = names.pop().ok_or_else(malformed)?;
        // PostgREST looks for these words in the raw text, before it reads any name.
        let word = key.rsplit('.').next().unwrap_or(key);
        let connective = match word {
            "and" => Some(Connective::And),
            "or" => Some(Connective::Or),
            _ => None,
        };
        let last = match connective {
            Some(connective) => {
                // `not` stands first or last on the way.
                let is_not = |name: Option<&(String, bool)>| {
                    name.is_some_and(|(name, bare)| *bare && name == "not")
                };
                let negated = if is_not(names.last()) {
                    names.pop();
                    true
                } else if is_not(names.first()) {
                    names.remove(0);
                    true
                } else {
                    false
                };
                Last::Logic { negated, connective }
            }
            None if !names.is_empty() && word == "order" => Last::Order,
            None if !names.is_empty() && word == "limit" => Last::Limit,
            None if !names.is_empty() && word == "offset" => Last::Offset,
            None => Last::Field(Field { column: last, path }),
        };
        if names.iter().any(|(name, bare)| *bare && RESERVED.contains(&name.as_str())) {
            return Err(malformed());
        }
        Ok(Self { path: names.into_iter().map(|(name, _)| name).collect(), last })
    }
}

/// Words that mean something else than an embed on the way to one.
pub(super) const RESERVED: [&str; 10] =
    ["select", "columns", "on_conflict", "order", "limit", "offset", "and", "or", "not", "apikey"];

/// Sorts one parameter by its decoded key, as PostgREST does: on the raw text, without regard to
/// quotes, so `"order"` is a column and `order` is not.
fn parameter<'v>(
    query: &mut Query,
    key: &str,
    value: Cow<'v, str>,
    addressed: &mut Vec<(Key, Cow<'v, str>)>,
) -> Result<(), RestRefusal> {
    match key {
        "select" => once(&mut query.select, "select", parse_select(&value)?),
        "columns" => once(&mut query.columns, "columns", parse_columns(&value)?),
        "on_conflict" => once(&mut query.on_conflict, "on_conflict", parse_columns(&value)?),
        "order" => query.take(Last::Order, &value),
        "limit" => query.take(Last::Limit, &value),
        "offset" => query.take(Last::Offset, &value),
        "apikey" => once(&mut query.apikey, "apikey", value.into_owned()),
        _ => {
            let key = Key::parse(key)?;
            if key.path.is_empty() {
                query.take(key.last, &value)
            } else {
                addressed.push((key, value));
                Ok(())
            }
        }
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

#[cfg(test)]
mod tests {
    use super::super::filter::Operation;
    use super::super::operator::Comparison;
    use super::*;

    fn column_of(raw: &str) -> String {
        parse_query(raw).unwrap().filters.first().unwrap().field.column.clone()
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
            ("on_conflict=id&on_conflict=id", "rest_parameter_repeated"),
            ("select&select=secret", "rest_parameter_without_value"),
            ("id", "rest_parameter_without_value"),
            ("select=id%00", "rest_encoding_malformed"),
            ("id%00=eq.1", "rest_encoding_malformed"),
            ("id=eq.%ff", "rest_encoding_malformed"),
            ("id=eq.%f", "rest_encoding_malformed"),
            ("projects.id=eq.1", "rest_embed_not_selected"),
            ("projects.or=(id.eq.1)", "rest_embed_not_selected"),
            ("not.projects.or=(id.eq.1)", "rest_embed_not_selected"),
            ("not.not.or=(id.eq.1)", "rest_key_malformed"),
            ("projects.order=id", "rest_embed_not_selected"),
            ("select=projects(id)&order.id=eq.1", "rest_key_malformed"),
            ("select=projects(id)&projects.limit=1&projects.limit=2", "rest_parameter_repeated"),
            ("data->=eq.1", "rest_key_malformed"),
            ("data->a.b=eq.1", "rest_key_malformed"),
            ("data->a.or=(id.eq.1)", "rest_key_malformed"),
            ("data->a.order=id", "rest_key_malformed"),
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
