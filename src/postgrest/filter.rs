//! Filters: `column=operator.value`, at the root of a query or as leaves of a logic tree.
//!
//! Follows `pOpExpr`, `pListVal` and `pLogicSingleVal` of PostgREST's `ApiRequest/QueryParams.hs`.
//! May not import anything of this crate but this room.

use super::field::Field;
use super::lexer::{Cursor, is_identifier};
use super::limits::MAX_LIST_VALUES;
use super::operator::{Comparison, Quantifier, Relation, Search, Truth};
use super::refusal::{Cap, Part, RestRefusal};

/// A condition on one column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// What is compared.
    pub field: Field,
    /// Whether `not.` stands before the operator.
    pub negated: bool,
    /// The operator and its value.
    pub operation: Operation,
}

/// An operator and its value. Values are the decoded text that PostgREST would hand to PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// `eq`, `like` and the other operators that take `(any)` and `(all)`.
    Compare {
        /// Which.
        comparison: Comparison,
        /// `(any)` or `(all)`: the value is an array literal.
        quantifier: Option<Quantifier>,
        /// The value; in `like` and `ilike` a `*` stands for `%`.
        value: String,
    },
    /// `neq` and the operators on arrays and ranges.
    Relate {
        /// Which.
        relation: Relation,
        /// The value.
        value: String,
    },
    /// `isdistinct`.
    IsDistinct(String),
    /// `in`: equal to one of these. One empty value means that nothing matches.
    In(Vec<String>),
    /// `is`.
    Is(Truth),
    /// Full-text search.
    Search {
        /// Which function parses the query.
        search: Search,
        /// The text search configuration, as in `fts(english)`.
        config: Option<String>,
        /// The query.
        value: String,
    },
}

/// Where a filter stands, which decides where its value ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A query parameter of its own: the value is the rest of it.
    Root,
    /// A leaf of a logic tree: the value ends at a comma or bracket.
    Logic,
}

/// Parses what stands after a filter's column: `operator.value` with its modifiers.
pub(super) fn parse_operation(
    cursor: &mut Cursor<'_>,
    place: Place,
) -> Result<(bool, Operation), RestRefusal> {
    let shown = cursor.clone();
    let malformed = || RestRefusal::Malformed {
        part: Part::Filter,
        input: shown.clone().take_rest().to_owned(),
    };
    let negated = cursor.eat("not.");
    let word = cursor.take_while(|c| c.is_ascii_lowercase());
    let modifier = modifier(cursor).map_err(|()| malformed())?;
    if !cursor.eat(".") {
        return Err(malformed());
    }
    if let Some(comparison) = Comparison::ALL.into_iter().find(|known| known.word() == word) {
        let quantifier = match modifier {
            None => None,
            Some("any") => Some(Quantifier::Any),
            Some("all") => Some(Quantifier::All),
            Some(_) => return Err(malformed()),
        };
        let value = value(cursor, place).ok_or_else(malformed)?;
        let pattern = matches!(comparison, Comparison::Like | Comparison::ILike);
        if pattern && ends_in_escape(&value, quantifier) {
            return Err(malformed());
        }
        return Ok((negated, Operation::Compare { comparison, quantifier, value }));
    }
    if let Some(search) = Search::ALL.into_iter().find(|known| known.word() == word) {
        let config = match modifier.map(|config| config.trim_matches(' ')) {
            Some("") => return Err(malformed()),
            config => config.map(str::to_owned),
        };
        let value = value(cursor, place).ok_or_else(malformed)?;
        return Ok((negated, Operation::Search { search, config, value }));
    }
    if modifier.is_some() {
        return Err(malformed());
    }
    if let Some(relation) = Relation::ALL.into_iter().find(|known| known.word() == word) {
        let value = value(cursor, place).ok_or_else(malformed)?;
        return Ok((negated, Operation::Relate { relation, value }));
    }
    match word {
        "isdistinct" => {
            let value = value(cursor, place).ok_or_else(malformed)?;
            Ok((negated, Operation::IsDistinct(value)))
        }
        "in" => Ok((negated, Operation::In(list(cursor, malformed)?))),
        "is" => {
            let word = cursor.take_while(|c| c.is_ascii_alphabetic() || c == '_');
            // PostgREST from 13 on; older ones know only the long form, which is what is printed.
            if word.eq_ignore_ascii_case("not_null") {
                return Ok((!negated, Operation::Is(Truth::Null)));
            }
            let truth =
                Truth::ALL.into_iter().find(|known| known.word().eq_ignore_ascii_case(word));
            Ok((negated, Operation::Is(truth.ok_or_else(malformed)?)))
        }
        _ => Err(malformed()),
    }
}

/// Whether a pattern of `like` ends in an escape of nothing. PostgreSQL finds that out only where a
/// row fits all before it, and it may try rows of others before it looks at whose they are: the
/// error would tell that there is such a row. In the text of an array it takes PostgreSQL's reading
/// of arrays to know, so that there no escape passes.
fn ends_in_escape(pattern: &str, quantifier: Option<Quantifier>) -> bool {
    match quantifier {
        Some(Quantifier::Any | Quantifier::All) => pattern.contains('\\'),
        None => pattern.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1,
    }
}

/// `(word)` after an operator.
fn modifier<'a>(cursor: &mut Cursor<'a>) -> Result<Option<&'a str>, ()> {
    if !cursor.eat("(") {
        return Ok(None);
    }
    let word = cursor.take_while(is_identifier);
    if cursor.eat(")") { Ok(Some(word)) } else { Err(()) }
}

fn value(cursor: &mut Cursor<'_>, place: Place) -> Option<String> {
    match place {
        Place::Root => Some(cursor.take_rest().to_owned()),
        Place::Logic => logic_value(cursor),
    }
}

/// PostgREST's `pLogicSingleVal`: a quoted value, an array literal, or all up to the next comma or
/// closing bracket.
fn logic_value(cursor: &mut Cursor<'_>) -> Option<String> {
    if let Some(value) = complete_quoted(cursor) {
        return Some(value);
    }
    let mut array = cursor.clone();
    if array.eat("{") {
        let inner = array.take_while(|c| c != '{' && c != '}');
        if array.eat("}") {
            let whole = format!("{{{inner}}}");
            *cursor = array;
            return ends_value(cursor).then_some(whole);
        }
    }
    Some(cursor.take_while(|c| c != ',' && c != ')').to_owned())
}

/// PostgREST's `pListVal`; one empty value stands for the empty list.
fn list(
    cursor: &mut Cursor<'_>,
    malformed: impl Fn() -> RestRefusal,
) -> Result<Vec<String>, RestRefusal> {
    cursor.skip_white();
    if !cursor.eat("(") {
        return Err(malformed());
    }
    cursor.skip_white();
    let mut values = Vec::new();
    loop {
        if values.len() == MAX_LIST_VALUES {
            return Err(RestRefusal::TooMany(Cap::ListValues));
        }
        values.push(match complete_quoted(cursor) {
            Some(value) => value,
            None => cursor.take_while(|c| c != ',' && c != ')').to_owned(),
        });
        if cursor.eat(",") {
            continue;
        }
        if !cursor.eat(")") {
            return Err(malformed());
        }
        cursor.skip_white();
        return Ok(values);
    }
}

/// A quoted value that ends at a comma, a closing bracket or the end; otherwise the quotes belong
/// to a bare value, and nothing is taken.
fn complete_quoted(cursor: &mut Cursor<'_>) -> Option<String> {
    let mut ahead = cursor.clone();
    let value = ahead.quoted()?;
    ends_value(&ahead).then(|| {
        *cursor = ahead;
        value
    })
}

fn ends_value(cursor: &Cursor<'_>) -> bool {
    matches!(cursor.peek(), None | Some(',' | ')'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(text: &str) -> Result<(bool, Operation), RestRefusal> {
        let mut cursor = Cursor::new(text);
        let parsed = parse_operation(&mut cursor, Place::Root)?;
        assert!(cursor.is_at_end() || text.contains("garbage"), "{text}");
        Ok(parsed)
    }

    fn equal(value: &str) -> Operation {
        Operation::Compare {
            comparison: Comparison::Equal,
            quantifier: None,
            value: value.to_owned(),
        }
    }

    #[test]
    fn a_root_value_is_everything_after_the_operator() {
        for value in ["", "1", "a,b", "(x)", "\"q\"", "a\\b", "a.b", "not.eq.1", " s ", "ä\n"] {
            assert_eq!(root(&format!("eq.{value}")).unwrap(), (false, equal(value)));
            assert_eq!(root(&format!("not.eq.{value}")).unwrap(), (true, equal(value)));
        }
    }

    #[test]
    fn a_pattern_does_not_end_in_an_escape_of_nothing() {
        for text in [
            "like.a\\",
            "not.like.a\\",
            "ilike.\\",
            "like.a\\\\\\",
            "like(any).{a\\\\}",
            "ilike(all).{\"a\\\\\"}",
        ] {
            assert!(root(text).is_err(), "{text}");
        }
        let mut tree = Cursor::new("like.\"a\\\\\",id.eq.1)");
        assert!(parse_operation(&mut tree, Place::Logic).is_err());
        for text in ["like.a\\\\", "ilike.50\\%*", "like.\\*", "eq.a\\", "like(any).{a,b}"] {
            assert!(root(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn every_operator_is_known_by_its_word() {
        for comparison in Comparison::ALL {
            for quantifier in [None, Some(Quantifier::Any), Some(Quantifier::All)] {
                let modifier = quantifier.map(|q| format!("({})", q.word())).unwrap_or_default();
                let parsed = root(&format!("{}{modifier}.{{1,2}}", comparison.word())).unwrap();
                let value = "{1,2}".to_owned();
                assert_eq!(parsed, (false, Operation::Compare { comparison, quantifier, value }));
            }
        }
        for relation in Relation::ALL {
            let parsed = root(&format!("{}.{{1}}", relation.word())).unwrap();
            assert_eq!(parsed, (false, Operation::Relate { relation, value: "{1}".to_owned() }));
        }
        for search in Search::ALL {
            let parsed = root(&format!("not.{}( english ).fat & cat", search.word())).unwrap();
            let config = Some("english".to_owned());
            let value = "fat & cat".to_owned();
            assert_eq!(parsed, (true, Operation::Search { search, config, value }));
        }
        for truth in Truth::ALL {
            let parsed = root(&format!("is.{}", truth.word().to_uppercase())).unwrap();
            assert_eq!(parsed, (false, Operation::Is(truth)));
        }
        assert_eq!(root("is.not_null").unwrap(), (true, Operation::Is(Truth::Null)));
        assert_eq!(root("isdistinct.x").unwrap(), (false, Operation::IsDistinct("x".to_owned())));
    }

    #[test]
    fn lists_keep_quoted_commas_and_bare_spaces() {
        for (text, values) in [
            ("in.(\"a,b\",c)", vec!["a,b", "c"]),
            ("in. ( a ,b )", vec!["a ", "b "]),
            ("in.()", vec![""]),
            ("in.(,)", vec!["", ""]),
            ("in.(\"a\"x,\"b\\\"\")", vec!["\"a\"x", "b\""]),
            ("in.(\"open)", vec!["\"open"]),
            ("in.((1,2)", vec!["(1", "2"]),
        ] {
            let values = values.into_iter().map(str::to_owned).collect();
            assert_eq!(root(text).unwrap(), (false, Operation::In(values)), "{text}");
        }
    }

    #[test]
    fn what_is_no_operator_is_refused() {
        for text in [
            "",
            "1",
            "eq",
            "eq(any",
            "eq().1",
            "eq(some).1",
            "noop.1",
            "EQ.1",
            "not.not.eq.1",
            "in.1,2",
            "in.(1",
            "in(any).(1)",
            "is.nul",
            "is(any).null",
            "neq(any).1",
            "fts().x",
            "fts(a-b).x",
            "isdistinct",
            ".eq.1",
            "eq .1",
        ] {
            let refused = root(text).unwrap_err();
            assert!(matches!(refused, RestRefusal::Malformed { part: Part::Filter, .. }), "{text}");
        }
        let long = format!("in.({})", vec!["1"; MAX_LIST_VALUES + 1].join(","));
        assert_eq!(root(&long), Err(RestRefusal::TooMany(Cap::ListValues)));
    }
}
