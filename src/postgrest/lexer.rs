//! The words of PostgREST's grammar: identifiers, quoted values, white space.
//!
//! Follows `pFieldName`, `pIdentifier`, `pQuotedValue` and `ws` of PostgREST's
//! `ApiRequest/QueryParams.hs`, without their habit of ignoring what comes after. May not import
//! anything of this crate.

use std::borrow::Cow;

/// What is left to read of a decoded text.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { rest: text }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    /// Takes this text if it comes next.
    pub(super) fn eat(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    pub(super) fn starts_with(&self, text: &str) -> bool {
        self.rest.starts_with(text)
    }

    /// Takes everything.
    pub(super) fn take_rest(&mut self) -> &'a str {
        std::mem::take(&mut self.rest)
    }

    pub(super) fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !belongs(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        self.rest = rest;
        taken
    }

    /// PostgREST's `ws`: spaces and tabs.
    pub(super) fn skip_white(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    /// A quoted value, if a complete one comes next; otherwise nothing is taken.
    pub(super) fn quoted(&mut self) -> Option<String> {
        let mut chars = self.rest.strip_prefix('"')?.chars();
        let mut value = String::new();
        loop {
            match chars.next()? {
                '"' => break,
                '\\' => value.push(chars.next()?),
                other => value.push(other),
            }
        }
        self.rest = chars.as_str();
        Some(value)
    }

    /// A column, table or alias name, quoted or not; `None` where there is none. The empty name
    /// and `*`, which PostgREST reads as all columns even when quoted, are no names.
    pub(super) fn name(&mut self) -> Option<Cow<'a, str>> {
        let name = match self.peek() {
            Some('"') => Cow::Owned(self.quoted()?),
            _ => self.bare_name()?,
        };
        (!name.is_empty() && name != "*").then_some(name)
    }

    /// Pieces of letters, digits, `_`, `$` and inner spaces, joined by dashes. Each piece is
    /// trimmed. A dash before `>` begins a JSON path.
    fn bare_name(&mut self) -> Option<Cow<'a, str>> {
        let mut end = self.rest.len();
        let mut chars = self.rest.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            let belongs = match c {
                '-' => chars.peek().is_none_or(|(_, next)| *next != '>'),
                _ => is_identifier(c),
            };
            if !belongs {
                end = at;
                break;
            }
        }
        let (name, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        if !name.contains([' ', '-']) {
            return Some(Cow::Borrowed(name));
        }
        let pieces: Vec<&str> = name.split('-').map(|piece| piece.trim_matches(' ')).collect();
        (!pieces.iter().any(|piece| piece.is_empty())).then(|| Cow::Owned(pieces.join("-")))
    }
}

/// PostgREST's `pIdentifierChar`.
pub(super) fn is_identifier(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || matches!(c, '_' | ' ' | '$')
        || (!c.is_ascii() && c.is_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_postgrest_reads_them() {
        for (text, name, rest) in [
            ("id", "id", ""),
            (" identifier with spaces ", "identifier with spaces", ""),
            ("with-dashes", "with-dashes", ""),
            ("a - b", "a-b", ""),
            ("data->>x", "data", "->>x"),
            ("123.eq", "123", ".eq"),
            ("$,b", "$", ",b"),
            ("größe", "größe", ""),
            ("\":\"", ":", ""),
            ("\" a \"x", " a ", "x"),
            ("\"pro\\jects\"", "projects", ""),
            ("\"a\\\"b\"", "a\"b", ""),
        ] {
            let mut cursor = Cursor::new(text);
            assert_eq!(cursor.name().as_deref(), Some(name), "{text}");
            assert_eq!(cursor.take_rest(), rest, "{text}");
        }
    }

    #[test]
    fn what_is_no_name_is_not_taken_for_one() {
        for text in ["", "  ", ":", "\"\"", "\"*\"", "*", "\"open", "\"open\\", "a--b", "a-", ".x"]
        {
            assert_eq!(Cursor::new(text).name(), None, "{text}");
        }
    }
}
