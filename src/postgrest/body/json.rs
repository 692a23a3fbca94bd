//! Rows in JSON, copied while they are scanned.
//!
//! Rows of one body have mostly the same keys in the same order: a key that is spelt as the one at
//! its place in the row before is not looked up again. May import this room.

use super::Rows;
use super::members::Found;
use super::scan::Scanner;
use super::writer::Writer;
use crate::postgrest::limits::MAX_SELECT_ITEMS;
use crate::postgrest::refusal::RestRefusal;

/// Rewrites a whole body.
pub(super) fn rows(text: &str, writer: &mut Writer<'_>, rows: Rows) -> Result<(), RestRefusal> {
    let mut reader = Reader { scan: Scanner::new(text), keys: Vec::new() };
    reader.scan.space();
    match (reader.scan.peek(), rows) {
        (Some(b'{'), _) => reader.row(writer)?,
        (Some(b'['), Rows::Several { most }) => reader.array(writer, most)?,
        (Some(b'['), Rows::One) => {
            return Err(RestRefusal::BodyMalformed("an array where one object belongs"));
        }
        (Some(_), _) => return Err(RestRefusal::BodyMalformed("neither object nor array")),
        (None, _) => return Err(RestRefusal::BodyMalformed("empty")),
    }
    reader.scan.space();
    match reader.scan.is_at_end() {
        true => Ok(()),
        false => Err(RestRefusal::BodyMalformed("something behind the json")),
    }
}

struct Reader<'b> {
    scan: Scanner<'b>,
    /// The keys of the row before, as they are spelt, and what they are.
    keys: Vec<(&'b [u8], Found)>,
}

impl<'b> Reader<'b> {
    fn array(&mut self, writer: &mut Writer<'_>, most: usize) -> Result<(), RestRefusal> {
        self.scan.expect(b'[')?;
        self.scan.space();
        writer.out.push(b'[');
        let mut rows = 0;
        if !self.scan.take(b']') {
            loop {
                rows += 1;
                writer.count(rows, most)?;
                self.row(writer)?;
                self.scan.space();
                if self.scan.take(b']') {
                    break;
                }
                self.scan.expect(b',')?;
                self.scan.space();
                writer.comma();
            }
        }
        writer.out.push(b']');
        Ok(())
    }

    fn row(&mut self, writer: &mut Writer<'_>) -> Result<(), RestRefusal> {
        let before = self.scan.left();
        if !self.scan.take(b'{') {
            return Err(RestRefusal::BodyMalformed("a row that is no object"));
        }
        writer.begin_row();
        self.scan.space();
        if !self.scan.take(b'}') {
            let mut at = 0;
            loop {
                let found = self.key(at, writer)?;
                at += 1;
                self.scan.space();
                self.scan.expect(b':')?;
                self.scan.space();
                let value = self.scan.value()?;
                writer.json(found, value)?;
                self.scan.space();
                if self.scan.take(b'}') {
                    break;
                }
                self.scan.expect(b',')?;
                self.scan.space();
            }
        }
        let left = self.scan.left();
        writer.end_row(before.saturating_sub(left), left)
    }

    #[inline]
    fn key(&mut self, at: usize, writer: &Writer<'_>) -> Result<Found, RestRefusal> {
        let key = self.scan.string()?;
        if let Some((raw, found)) = self.keys.get(at)
            && *raw == key.raw
        {
            return Ok(*found);
        }
        let found = writer.find(&key.decode()?)?;
        match self.keys.get_mut(at) {
            Some(known) => *known = (key.raw, found),
            // Objects with more keys than a table has columns are not worth remembering.
            None if at < MAX_SELECT_ITEMS => self.keys.push((key.raw, found)),
            None => {}
        }
        Ok(found)
    }
}
