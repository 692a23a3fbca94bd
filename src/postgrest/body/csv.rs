//! Rows in CSV (RFC 4180), written as JSON the way PostgREST writes them.
//!
//! As PostgREST 12 reads it (`ApiRequest/Payload.hs`, and the library cassava): the first line
//! names the columns, `NULL` is null even in quotes, everything else is a text, empty lines are
//! passed over. Stricter than PostgREST: every line has to have all fields, and no more. May import
//! this room.

use std::borrow::Cow;

use super::Rows;
use super::members::Found;
use super::writer::Writer;
use crate::postgrest::limits::MAX_SELECT_ITEMS;
use crate::postgrest::refusal::{Cap, RestRefusal};

/// Rewrites a whole body.
pub(super) fn rows(text: &str, writer: &mut Writer<'_>, rows: Rows) -> Result<(), RestRefusal> {
    let mut reader = Reader { rest: text };
    let columns = reader.header(writer)?;
    let most = match rows {
        Rows::One => 1,
        Rows::Several { most } => {
            writer.out.push(b'[');
            most
        }
    };
    let mut count = 0;
    while !reader.rest.is_empty() {
        if reader.blank_line() {
            continue;
        }
        count += 1;
        if rows == Rows::One && count > most {
            return Err(RestRefusal::BodyMalformed("several rows where one belongs"));
        }
        writer.count(count, most)?;
        if count > 1 {
            writer.comma();
        }
        let before = reader.rest.len();
        reader.row(&columns, writer)?;
        let left = reader.rest.len();
        writer.end_row(before.saturating_sub(left), left)?;
    }
    match rows {
        Rows::Several { .. } => writer.out.push(b']'),
        Rows::One if count == 1 => {}
        Rows::One => return Err(RestRefusal::BodyMalformed("no row")),
    }
    Ok(())
}

struct Reader<'b> {
    rest: &'b str,
}

/// What comes behind a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Comma,
    Line,
    Text,
}

impl<'b> Reader<'b> {
    /// The columns of the first line, each of which may stand once.
    fn header(&mut self, writer: &Writer<'_>) -> Result<Vec<Found>, RestRefusal> {
        if self.rest.is_empty() {
            return Err(RestRefusal::BodyMalformed("empty"));
        }
        let mut columns = Vec::new();
        loop {
            let (name, end) = self.field()?;
            let found = writer.find(&name)?;
            if columns.contains(&found) {
                return Err(RestRefusal::BodyKeyRepeated(name.into_owned()));
            }
            columns.push(found);
            if columns.len() > MAX_SELECT_ITEMS {
                return Err(RestRefusal::TooMany(Cap::Columns));
            }
            match end {
                End::Comma => {}
                End::Line => return Ok(columns),
                End::Text => {
                    return Err(RestRefusal::BodyMalformed("a first line without its end"));
                }
            }
        }
    }

    fn row(&mut self, columns: &[Found], writer: &mut Writer<'_>) -> Result<(), RestRefusal> {
        const UNEVEN: RestRefusal =
            RestRefusal::BodyMalformed("a line with more or fewer fields than the first");
        writer.begin_row();
        let mut columns = columns.iter();
        loop {
            let (value, end) = self.field()?;
            let found = columns.next().ok_or(UNEVEN)?;
            let value = Some(value.as_ref()).filter(|value| *value != "NULL");
            writer.text(*found, value)?;
            if end != End::Comma {
                break;
            }
        }
        if columns.next().is_some() { Err(UNEVEN) } else { Ok(()) }
    }

    /// Passes over a line that has one empty field, quoted or not, as PostgREST does.
    fn blank_line(&mut self) -> bool {
        let rest = self.rest.strip_prefix("\"\"").unwrap_or(self.rest);
        let Some(after) = line_end(rest) else { return false };
        self.rest = after;
        true
    }

    fn field(&mut self) -> Result<(Cow<'b, str>, End), RestRefusal> {
        let value = match self.rest.strip_prefix('"') {
            Some(quoted) => self.quoted(quoted)?,
            None => {
                let ends = |b: u8| matches!(b, b'"' | b',' | b'\n' | b'\r');
                let end = self.rest.bytes().position(ends).unwrap_or(self.rest.len());
                let (value, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
                self.rest = rest;
                Cow::Borrowed(value)
            }
        };
        if value.as_bytes().contains(&0) {
            return Err(RestRefusal::BodyMalformed("a NUL in a field"));
        }
        if let Some(rest) = self.rest.strip_prefix(',') {
            self.rest = rest;
            return Ok((value, End::Comma));
        }
        match line_end(self.rest) {
            Some(_) if self.rest.is_empty() => Ok((value, End::Text)),
            Some(rest) => {
                self.rest = rest;
                Ok((value, End::Line))
            }
            None => Err(RestRefusal::BodyMalformed("a quote inside a field")),
        }
    }

    /// A quoted field, from behind its first quote; a quote inside is written twice.
    fn quoted(&mut self, mut inside: &'b str) -> Result<Cow<'b, str>, RestRefusal> {
        let mut value = Cow::Borrowed("");
        loop {
            let open = RestRefusal::BodyMalformed("a quoted field without its end");
            let (piece, rest) = inside.split_once('"').ok_or(open)?;
            match &mut value {
                Cow::Borrowed("") => value = Cow::Borrowed(piece),
                Cow::Borrowed(before) => value = Cow::Owned([*before, piece].concat()),
                Cow::Owned(before) => before.push_str(piece),
            }
            match rest.strip_prefix('"') {
                Some(rest) => {
                    value.to_mut().push('"');
                    inside = rest;
                }
                None => {
                    self.rest = rest;
                    return Ok(value);
                }
            }
        }
    }
}

/// What comes behind the end of a line, if this is one; the end of the text ends a line.
fn line_end(text: &str) -> Option<&str> {
    match text.strip_prefix("\r\n").or_else(|| text.strip_prefix(['\n', '\r'])) {
        Some(rest) => Some(rest),
        None if text.is_empty() => Some(text),
        None => None,
    }
}
