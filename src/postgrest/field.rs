//! Fields: a column, or a place within the JSON, array or composite value that a column holds.
//!
//! Follows `pField` and `pJsonPath` of PostgREST's `ApiRequest/QueryParams.hs`. May not import
//! anything of this crate but this room.

use super::lexer::Cursor;
use super::limits::MAX_JSON_STEPS;
use super::refusal::{Cap, RestRefusal};

/// A column, or with a path a place within its value, as in `meta->tags->>0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The column.
    pub column: String,
    /// The way into its value; empty for the value itself.
    pub path: Vec<JsonStep>,
}

/// One step into a JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonStep {
    /// `->>`: what is found there comes as text.
    pub as_text: bool,
    /// Where the step goes.
    pub key: JsonKey,
}

/// A member of a JSON object, or an element of an array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JsonKey {
    /// The member of this name.
    Name(String),
    /// The element at this index, from the end if it is negative.
    Index(i32),
}

impl Field {
    /// A column as it is.
    pub fn plain(column: impl Into<String>) -> Self {
        Self { column: column.into(), path: Vec::new() }
    }

    /// Whether it is this column, and not something within its value.
    pub fn is(&self, column: &str) -> bool {
        self.path.is_empty() && self.column == column
    }
}

/// Reads the steps after a column, if there are any. `None` where one is malformed.
pub(super) fn json_path(cursor: &mut Cursor<'_>) -> Result<Option<Vec<JsonStep>>, RestRefusal> {
    let mut path = Vec::new();
    loop {
        let as_text = if cursor.eat("->>") {
            true
        } else if cursor.eat("->") {
            false
        } else {
            return Ok(Some(path));
        };
        if path.len() == MAX_JSON_STEPS {
            return Err(RestRefusal::TooMany(Cap::JsonSteps));
        }
        let Some(key) = key(cursor) else { return Ok(None) };
        path.push(JsonStep { as_text, key });
    }
}

/// Digits that end the step are an index, like in PostgREST; anything else is a name.
fn key(cursor: &mut Cursor<'_>) -> Option<JsonKey> {
    let mut ahead = cursor.clone();
    let negative = ahead.eat("-");
    let digits = ahead.take_while(|c| c.is_ascii_digit());
    let ends = ahead.starts_with("->")
        || ahead.starts_with("::")
        || matches!(ahead.peek(), None | Some('.' | ',' | ')'));
    if !digits.is_empty() && ends {
        *cursor = ahead;
        let index: i32 = digits.parse().ok()?;
        return Some(JsonKey::Index(if negative { -index } else { index }));
    }
    cursor.name().map(|name| JsonKey::Name(name.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Option<Vec<JsonStep>>, &str) {
        let mut cursor = Cursor::new(text);
        (json_path(&mut cursor).unwrap(), cursor.take_rest())
    }

    fn name(as_text: bool, name: &str) -> JsonStep {
        JsonStep { as_text, key: JsonKey::Name(name.to_owned()) }
    }

    fn index(as_text: bool, index: i32) -> JsonStep {
        JsonStep { as_text, key: JsonKey::Index(index) }
    }

    #[test]
    fn steps_are_names_or_indexes_as_postgrest_reads_them() {
        for (text, path, rest) in [
            ("", vec![], ""),
            ("->a->>b", vec![name(false, "a"), name(true, "b")], ""),
            ("->0->>-1,x", vec![index(false, 0), index(true, -1)], ",x"),
            ("->>0::int", vec![index(true, 0)], "::int"),
            ("->0)", vec![index(false, 0)], ")"),
            ("->\"0\".eq", vec![name(false, "0")], ".eq"),
            ("->0a", vec![name(false, "0a")], ""),
            ("->0 ,a", vec![name(false, "0")], ",a"),
            ("->>\"a.b\"", vec![name(true, "a.b")], ""),
            ("->a.b", vec![name(false, "a")], ".b"),
        ] {
            assert_eq!(read(text), (Some(path), rest), "{text}");
        }
    }

    #[test]
    fn steps_to_nowhere_and_endless_ways_are_refused() {
        for text in ["->", "->>", "->>>a", "->\"\"", "->-", "->99999999999", "->\"a", "->(a)"] {
            assert_eq!(read(text).0, None, "{text}");
        }
        let mut long = Cursor::new("->a->a->a->a->a->a->a->a->a->a->a->a->a->a->a->a->a");
        assert_eq!(json_path(&mut long), Err(RestRefusal::TooMany(Cap::JsonSteps)));
    }
}
