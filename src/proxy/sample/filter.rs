//! Which rows a query is about.

use std::cmp::Ordering;

use http::StatusCode;
use serde_json::Value;

use crate::postgrest::{
    Comparison, Connective, Field, Filter, Logic, LogicTree, Operation, Query, Relation, Truth,
};

use super::table::{Refused, Row};

/// Whether all filters and logic trees of the query hold for the row.
pub(super) fn holds(row: &Row, query: &Query) -> Result<bool, Refused> {
    for filter in &query.filters {
        if !filter_holds(row, filter)? {
            return Ok(false);
        }
    }
    for logic in &query.logic {
        if !logic_holds(row, logic)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// How a value compares with a text: as numbers where both are, else as texts.
pub(super) fn order(value: &Value, other: &str) -> Ordering {
    let mine = text(value);
    match (mine.parse::<f64>(), other.parse::<f64>()) {
        (Ok(a), Ok(b)) => a.total_cmp(&b),
        _ => mine.as_str().cmp(other),
    }
}

/// A value as PostgREST reads it in a filter.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn logic_holds(row: &Row, logic: &Logic) -> Result<bool, Refused> {
    let mut any = false;
    let mut all = true;
    for member in &logic.members {
        let held = match member {
            LogicTree::Filter(filter) => filter_holds(row, filter)?,
            LogicTree::Group(logic) => logic_holds(row, logic)?,
        };
        any |= held;
        all &= held;
    }
    let held = match logic.connective {
        Connective::And => all,
        Connective::Or => any,
    };
    Ok(held != logic.negated)
}

fn filter_holds(row: &Row, filter: &Filter) -> Result<bool, Refused> {
    let column = plain(&filter.field)?;
    let value = row.get(column).ok_or_else(|| Refused::no_column(column))?;
    // SQL's unknown: a comparison with null holds neither plainly nor negated.
    let plain = match &filter.operation {
        Operation::Is(truth) => Some(match truth {
            Truth::Null | Truth::Unknown => value.is_null(),
            Truth::True => *value == Value::Bool(true),
            Truth::False => *value == Value::Bool(false),
        }),
        _ if value.is_null() => None,
        Operation::Compare { comparison, quantifier: None, value: other } => {
            Some(compares(value, *comparison, other)?)
        }
        Operation::Relate { relation: Relation::NotEqual, value: other } => {
            Some(order(value, other) != Ordering::Equal)
        }
        Operation::In(values) => {
            Some(values.iter().any(|other| order(value, other) == Ordering::Equal))
        }
        Operation::Compare { quantifier: Some(_), .. }
        | Operation::Relate { .. }
        | Operation::IsDistinct(_)
        | Operation::Search { .. } => return Err(unsupported()),
    };
    Ok(plain.is_some_and(|held| held != filter.negated))
}

fn compares(value: &Value, comparison: Comparison, other: &str) -> Result<bool, Refused> {
    let ordered = order(value, other);
    Ok(match comparison {
        Comparison::Equal => ordered == Ordering::Equal,
        Comparison::Greater => ordered == Ordering::Greater,
        Comparison::GreaterOrEqual => ordered != Ordering::Less,
        Comparison::Less => ordered == Ordering::Less,
        Comparison::LessOrEqual => ordered != Ordering::Greater,
        Comparison::Like => like(&text(value), other),
        Comparison::ILike => like(&text(value).to_lowercase(), &other.to_lowercase()),
        Comparison::Match | Comparison::IMatch => return Err(unsupported()),
    })
}

/// The sample's columns hold no JSON.
pub(super) fn plain(field: &Field) -> Result<&str, Refused> {
    if field.path.is_empty() { Ok(&field.column) } else { Err(unsupported()) }
}

/// `LIKE` with `%` or `*` for any text and `_` for one character.
fn like(text: &str, pattern: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    // matched[i]: the pattern so far matches the first i characters.
    let mut matched = vec![false; text.len() + 1];
    if let Some(first) = matched.first_mut() {
        *first = true;
    }
    for symbol in pattern.chars() {
        let mut next = vec![false; text.len() + 1];
        let mut before = false;
        for (index, reached) in matched.iter().enumerate() {
            let step = match symbol {
                '%' | '*' => *reached || before,
                _ => {
                    let previous = index.checked_sub(1);
                    let fits = previous
                        .and_then(|at| text.get(at))
                        .is_some_and(|character| symbol == '_' || symbol == *character);
                    fits && previous.and_then(|at| matched.get(at)).copied().unwrap_or(false)
                }
            };
            before = step;
            if let Some(slot) = next.get_mut(index) {
                *slot = step;
            }
        }
        matched = next;
    }
    matched.last().copied().unwrap_or(false)
}

pub(super) fn unsupported() -> Refused {
    Refused::new(
        StatusCode::BAD_REQUEST,
        "the sample upstream does not know this operator or function",
    )
}

#[cfg(test)]
mod tests {
    use super::like;

    #[test]
    fn like_matches_any_text_and_single_characters() {
        for (text, pattern, fits) in [
            ("acme event 1", "acme%", true),
            ("acme event 1", "*event*", true),
            ("acme event 1", "acme event _", true),
            ("acme event 12", "acme event _", false),
            ("globex", "acme*", false),
            ("", "%", true),
            ("", "_", false),
        ] {
            assert_eq!(like(text, pattern), fits, "{text} like {pattern}");
        }
    }
}
