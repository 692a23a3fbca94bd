//! `select` and `columns`: what comes back, and what is written.
//!
//! Follows `pFieldForest` and `pColumns` of PostgREST's `ApiRequest/QueryParams.hs`. May not
//! import anything of this crate but this room.

use std::borrow::Cow;

use super::lexer::Cursor;
use super::limits::MAX_SELECT_ITEMS;
use super::refusal::{Cap, Part, RestRefusal};

/// One item of `select`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SelectItem {
    /// `*`.
    Star,
    /// `column` or `alias:column`.
    Column {
        /// The key in the answer, where it is not the column's name.
        alias: Option<String>,
        /// The column.
        column: String,
    },
}

/// Parses the whole of a decoded `select`.
pub(super) fn parse_select(text: &str) -> Result<Vec<SelectItem>, RestRefusal> {
    let mut cursor = Cursor::new(text);
    let mut items = Vec::with_capacity(8);
    loop {
        if items.len() == MAX_SELECT_ITEMS {
            return Err(RestRefusal::TooMany(Cap::SelectItems));
        }
        cursor.skip_white();
        items.push(item(&mut cursor, text)?);
        cursor.skip_white();
        if cursor.is_at_end() {
            return Ok(items);
        }
        if !cursor.eat(",") {
            return Err(unsupported_or_malformed(&cursor, text));
        }
    }
}

fn item(cursor: &mut Cursor<'_>, whole: &str) -> Result<SelectItem, RestRefusal> {
    if cursor.eat("*") {
        return Ok(SelectItem::Star);
    }
    if cursor.starts_with("...") {
        return Err(RestRefusal::EmbedUnsupported);
    }
    let first = cursor.name().ok_or_else(|| malformed(whole))?;
    if cursor.starts_with("::") || !cursor.eat(":") {
        return Ok(SelectItem::Column { alias: None, column: first.into_owned() });
    }
    // An embed's alias is part of filter paths, so aliases keep to names that no path can contain
    // twice and that cannot stand for a name of the gateway's own.
    let plain = !first.starts_with('_') && !first.contains(['.', ',', '"']);
    if !plain {
        return Err(malformed(whole));
    }
    let column = cursor.name().ok_or_else(|| malformed(whole))?;
    Ok(SelectItem::Column { alias: Some(first.into_owned()), column: column.into_owned() })
}

/// What follows a complete item and is no comma: a form of the grammar that is not served, which
/// deserves its own code, or garbage.
fn unsupported_or_malformed(cursor: &Cursor<'_>, whole: &str) -> RestRefusal {
    match cursor.peek() {
        Some('(') if whole.trim_matches([' ', '\t']).ends_with("count()") => {
            RestRefusal::AggregateUnsupported
        }
        Some('(' | '!') => RestRefusal::EmbedUnsupported,
        Some('.') => RestRefusal::AggregateUnsupported,
        Some('-') => RestRefusal::JsonPathUnsupported,
        Some(':') if cursor.starts_with("::") => RestRefusal::CastNotAllowed,
        _ => malformed(whole),
    }
}

fn malformed(whole: &str) -> RestRefusal {
    RestRefusal::Malformed { part: Part::Select, input: whole.to_owned() }
}

/// Parses the whole of a decoded `columns`.
pub(super) fn parse_columns(text: &str) -> Result<Vec<String>, RestRefusal> {
    let malformed = || RestRefusal::Malformed { part: Part::Columns, input: text.to_owned() };
    let mut cursor = Cursor::new(text);
    let mut names = Vec::with_capacity(8);
    loop {
        if names.len() == MAX_SELECT_ITEMS {
            return Err(RestRefusal::TooMany(Cap::Columns));
        }
        cursor.skip_white();
        names.push(cursor.name().map(Cow::into_owned).ok_or_else(malformed)?);
        cursor.skip_white();
        if cursor.is_at_end() {
            return Ok(names);
        }
        if !cursor.eat(",") {
            return Err(malformed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str) -> SelectItem {
        SelectItem::Column { alias: None, column: name.to_owned() }
    }

    #[test]
    fn plain_columns_stars_and_aliases_are_read() {
        assert_eq!(
            parse_select("*, id,\t\"Odd, (na)me\" , t:title").unwrap(),
            [
                SelectItem::Star,
                column("id"),
                column("Odd, (na)me"),
                SelectItem::Column { alias: Some("t".to_owned()), column: "title".to_owned() },
            ]
        );
    }

    #[test]
    fn forms_that_are_not_served_have_a_code_of_their_own() {
        for (text, refusal) in [
            ("id,projects(name)", RestRefusal::EmbedUnsupported),
            ("id,projects (name)", RestRefusal::EmbedUnsupported),
            ("id,\"projects\"(name)", RestRefusal::EmbedUnsupported),
            ("p:projects!inner(name)", RestRefusal::EmbedUnsupported),
            ("...projects(name)", RestRefusal::EmbedUnsupported),
            ("id,projects(id)x", RestRefusal::EmbedUnsupported),
            ("count()", RestRefusal::AggregateUnsupported),
            ("n:count()", RestRefusal::AggregateUnsupported),
            ("id.sum()", RestRefusal::AggregateUnsupported),
            ("data->a", RestRefusal::JsonPathUnsupported),
            ("data->>a", RestRefusal::JsonPathUnsupported),
            ("secret::regclass", RestRefusal::CastNotAllowed),
            ("a:secret::text", RestRefusal::CastNotAllowed),
        ] {
            assert_eq!(parse_select(text), Err(refusal), "{text}");
        }
    }

    #[test]
    fn garbage_and_suspicious_aliases_are_refused() {
        for text in [
            "",
            ",",
            "id,",
            "id)",
            "id x!",
            "id\"",
            "*x",
            "\"*\"",
            "_a:id",
            "\"a.b\":id",
            "\"a,b\":id",
            "a:b:id",
            ":id",
        ] {
            let refused = parse_select(text).unwrap_err();
            let known =
                matches!(refused, RestRefusal::Malformed { .. } | RestRefusal::EmbedUnsupported);
            assert!(known, "{text}: {refused:?}");
        }
    }

    #[test]
    fn columns_are_read_as_supabase_js_quotes_them() {
        assert_eq!(parse_columns("\"a\",\"b c\"").unwrap(), ["a", "b c"]);
        assert_eq!(parse_columns("a , b").unwrap(), ["a", "b"]);
        for text in ["", "a,", "a;b", "a.b", "*", "a,\"b"] {
            assert!(parse_columns(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lists_over_the_cap_are_refused() {
        let long = vec!["a"; MAX_SELECT_ITEMS + 1].join(",");
        assert_eq!(parse_select(&long), Err(RestRefusal::TooMany(Cap::SelectItems)));
        assert_eq!(parse_columns(&long), Err(RestRefusal::TooMany(Cap::Columns)));
    }
}
