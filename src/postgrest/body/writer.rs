//! The writer of rows: whatever language a body is in, what is sent is written here.
//!
//! May import this room.

use super::members::{Found, Members, Role, Seen, Stated};
use super::scan::{Quoted, Value, plain_prefix};
use crate::postgrest::limits::MAX_INSERT_ROWS;
use crate::postgrest::refusal::{Cap, RestRefusal};

/// A CSV or form body may become so many times as large, and [`FREE_GROWTH`] more: the names of
/// the columns stand in every row of JSON.
const MAX_GROWTH: usize = 16;
const FREE_GROWTH: usize = 64 * 1024;

/// Writes rows as JSON.
#[derive(Debug)]
pub(super) struct Writer<'r> {
    members: Members<'r>,
    seen: Seen,
    /// Members that the row at hand has so far.
    written: usize,
    /// The row at hand began here.
    row_start: usize,
    cap: usize,
    pub(super) out: Vec<u8>,
}

impl<'r> Writer<'r> {
    /// For a body of so many bytes.
    pub(super) fn new(members: Members<'r>, length: usize) -> Self {
        let tenants = MAX_INSERT_ROWS.saturating_mul(2 * members.longest() + 64);
        Self {
            seen: Seen::new(&members),
            written: 0,
            row_start: 0,
            cap: length.saturating_mul(MAX_GROWTH).saturating_add(FREE_GROWTH.max(tenants)),
            out: Vec::with_capacity(length + 128),
            members,
        }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.out
    }

    pub(super) fn find(&self, name: &str) -> Result<Found, RestRefusal> {
        self.members.find(name)
    }

    pub(super) fn begin_row(&mut self) {
        self.row_start = self.out.len();
        self.written = 0;
        self.out.push(b'{');
    }

    /// Closes the row, with the tenant in it. `left` bytes of the body, which was `read` for this
    /// row, are to come.
    pub(super) fn end_row(&mut self, read: usize, left: usize) -> Result<(), RestRefusal> {
        for index in self.members.missing(&self.seen) {
            self.key(index);
            self.tenant();
        }
        self.out.push(b'}');
        self.seen.next_row();
        if self.out.len() > self.cap {
            return Err(RestRefusal::BodyGrows);
        }
        self.make_room(read, left);
        Ok(())
    }

    /// Rows are alike: one look at how a row grows saves most of the moves of a growing buffer.
    fn make_room(&mut self, read: usize, left: usize) {
        let row = self.out.len().saturating_sub(self.row_start) + 1;
        let rows = (left / read.max(1)).min(MAX_INSERT_ROWS);
        let room = row.saturating_mul(rows).min(self.cap.saturating_sub(self.out.len()));
        if self.out.capacity() - self.out.len() < row {
            self.out.reserve_exact(room.max(row));
        }
    }

    /// A member whose value is JSON already.
    #[inline]
    pub(super) fn json(&mut self, found: Found, value: Value<'_>) -> Result<(), RestRefusal> {
        let Found::Member(index) = found else { return Ok(()) };
        self.seen.insert(index, &self.members)?;
        match self.members.role(index) {
            Role::Kept => {
                self.key(index);
                self.out.extend_from_slice(value.raw);
            }
            Role::Dropped => {}
            Role::Tenant => {
                let stated = value.string.as_ref().map(Quoted::decode).transpose()?;
                self.members.check_tenant(
                    index,
                    match &stated {
                        Some(text) => Stated::Text(text),
                        None if value.raw == b"null" => Stated::Null,
                        None => Stated::Other,
                    },
                )?;
                self.key(index);
                self.tenant();
            }
        }
        Ok(())
    }

    /// A member whose value is a text, or `None` for NULL.
    pub(super) fn text(&mut self, found: Found, value: Option<&str>) -> Result<(), RestRefusal> {
        let Found::Member(index) = found else { return Ok(()) };
        self.seen.insert(index, &self.members)?;
        match (self.members.role(index), value) {
            (Role::Dropped, _) => {}
            (Role::Kept, None) => {
                self.key(index);
                self.out.extend_from_slice(b"null");
            }
            (Role::Kept, Some(text)) => {
                self.key(index);
                string(text, &mut self.out);
            }
            (Role::Tenant, value) => {
                let stated = value.map_or(Stated::Null, Stated::Text);
                self.members.check_tenant(index, stated)?;
                self.key(index);
                self.tenant();
            }
        }
        if self.out.len() > self.cap { Err(RestRefusal::BodyGrows) } else { Ok(()) }
    }

    fn tenant(&mut self) {
        self.out.push(b'"');
        self.out.extend_from_slice(self.members.id.as_bytes());
        self.out.push(b'"');
    }

    #[inline]
    fn key(&mut self, index: usize) {
        let Some(member) = self.members.get(index) else { return };
        if self.written > 0 {
            self.out.push(b',');
        }
        self.written += 1;
        if member.plain {
            self.out.push(b'"');
            self.out.extend_from_slice(member.name.as_bytes());
            self.out.extend_from_slice(b"\":");
        } else {
            string(member.name, &mut self.out);
            self.out.push(b':');
        }
    }

    /// Between two rows.
    pub(super) fn comma(&mut self) {
        self.out.push(b',');
    }

    /// # Errors
    /// If so many rows are one too many.
    pub(super) fn count(&self, rows: usize, most: usize) -> Result<(), RestRefusal> {
        if rows > most { Err(RestRefusal::TooMany(Cap::Rows)) } else { Ok(()) }
    }
}

/// Writes a JSON string (RFC 8259 section 7).
fn string(text: &str, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
    let mut rest = text.as_bytes();
    out.push(b'"');
    loop {
        let (plain, special) = rest.split_at_checked(plain_prefix(rest)).unwrap_or((rest, &[]));
        out.extend_from_slice(plain);
        match special.split_first() {
            None => break,
            Some((byte @ (b'"' | b'\\'), after)) => {
                out.extend_from_slice(&[b'\\', *byte]);
                rest = after;
            }
            Some((byte, after)) => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
                rest = after;
            }
        }
    }
    out.push(b'"');
}
