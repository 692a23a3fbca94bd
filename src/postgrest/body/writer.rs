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
    /// The row at hand began here.
    row_start: usize,
    /// Whether it has no member yet.
    row_empty: bool,
    cap: usize,
    pub(super) out: Vec<u8>,
}

impl<'r> Writer<'r> {
    /// For a body of so many bytes.
    pub(super) fn new(members: Members<'r>, length: usize) -> Self {
        let tenants = MAX_INSERT_ROWS.saturating_mul(2 * members.longest() + 64);
        Self {
            seen: Seen::new(&members),
            row_start: 0,
            row_empty: true,
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
        self.row_empty = true;
        self.out.push(b'{');
    }

    /// Closes the row, with the tenant in it. `left` bytes of the body, which was `read` for this
    /// row, are to come.
    pub(super) fn end_row(&mut self, read: usize, left: usize) -> Result<(), RestRefusal> {
        self.members.check_row(&self.seen)?;
        for index in self.members.missing(&self.seen) {
            self.begin_member(index);
        }
        self.out.push(b'}');
        self.seen.next_row();
        if self.out.len() > self.cap {
            return Err(RestRefusal::BodyGrows);
        }
        if self.row_start <= 1 {
            self.make_room(read, left);
        }
        Ok(())
    }

    /// Rows are alike: one look at how the first grows saves the moves of a growing buffer.
    fn make_room(&mut self, read: usize, left: usize) {
        let row = self.out.len().saturating_sub(self.row_start) + 1;
        let rows = (left / read.max(1)).min(MAX_INSERT_ROWS);
        self.out.reserve_exact(row.saturating_mul(rows).min(self.cap));
    }

    /// A member whose value is JSON already.
    #[inline]
    pub(super) fn json(&mut self, found: Found, value: Value<'_>) -> Result<(), RestRefusal> {
        let Found::Member(index) = found else { return Ok(()) };
        self.seen.insert(index, &self.members)?;
        match self.members.role(index) {
            Role::Kept => {
                self.begin_member(index);
                self.out.extend_from_slice(value.raw);
            }
            Role::Ranked => {
                let stated = value.string.as_ref().map(Quoted::decode).transpose()?;
                self.members.check_rank(stated.as_deref())?;
                self.begin_member(index);
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
                self.begin_member(index);
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
            (Role::Ranked, value) => {
                self.members.check_rank(value)?;
                self.begin_member(index);
                string(value.unwrap_or_default(), &mut self.out);
            }
            (Role::Kept, None) => {
                self.begin_member(index);
                self.out.extend_from_slice(b"null");
            }
            (Role::Kept, Some(text)) => {
                self.begin_member(index);
                string(text, &mut self.out);
            }
            (Role::Tenant, value) => {
                let stated = value.map_or(Stated::Null, Stated::Text);
                self.members.check_tenant(index, stated)?;
                self.begin_member(index);
            }
        }
        if self.out.len() > self.cap { Err(RestRefusal::BodyGrows) } else { Ok(()) }
    }

    /// Writes a member up to its value; of a tenant all.
    #[inline]
    fn begin_member(&mut self, index: usize) {
        let printed = self.members.printed(index);
        let comma = usize::from(std::mem::replace(&mut self.row_empty, false));
        self.out.extend_from_slice(printed.get(comma..).unwrap_or_default());
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
pub(super) fn string(text: &str, out: &mut Vec<u8>) {
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
