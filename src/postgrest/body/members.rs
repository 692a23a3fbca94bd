//! The names that a body may use, and the writer of rows that are made of them.
//!
//! Whatever language a body is in, its names are looked up here, counted here and printed here, so
//! that no two languages differ in what is a tenant, twice, or unknown. May import `domain` and
//! this room.

use std::sync::Arc;

use smallvec::SmallVec;
use uuid::Uuid;

use super::scan::{Quoted, Value};
use super::{ArgumentsRule, RowsRule, Write, canonical};
use crate::domain::catalog::Argument;
use crate::domain::escape::{Place, Resource, TenantEscape};
use crate::domain::ids::OrgId;
use crate::postgrest::limits::MAX_INSERT_ROWS;
use crate::postgrest::refusal::{Cap, RestRefusal};

/// A CSV or form body may become so many times as large, and [`FREE_GROWTH`] more: the names of
/// the columns stand in every row of JSON.
const MAX_GROWTH: usize = 16;
const FREE_GROWTH: usize = 64 * 1024;

/// The names that a body may use.
#[derive(Debug)]
pub(super) struct Members<'r> {
    /// Sorted by name.
    members: Vec<Member<'r>>,
    /// Those of the members that are the tenant.
    tenants: SmallVec<[usize; 2]>,
    unknown: Unknown,
    /// Whether a tenant that is not stated is added.
    added: bool,
    /// Whether `null` for the tenant states nothing.
    null_is_nothing: bool,
    org: OrgId,
    /// The organization's id.
    id: String,
    resource: Resource,
}

#[derive(Debug)]
struct Member<'r> {
    name: &'r str,
    /// Whether it is printed as it is, without an escape.
    plain: bool,
    role: Role,
}

/// What is done with a member's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It is kept as it stands.
    Kept,
    /// It has to be the organization, and is printed canonically.
    Tenant,
    /// It is left out: PostgREST would not read it.
    Dropped,
}

/// What an unknown name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unknown {
    Column,
    Argument,
    /// Left out, because `columns` says what PostgREST reads.
    Dropped,
}

/// A name that was looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// One of the members.
    Member(usize),
    /// Unknown, and left out.
    Dropped,
}

/// What a body says for the tenant.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stated<'t> {
    Null,
    Text(&'t str),
    Other,
}

impl<'r> Members<'r> {
    pub(super) fn of_rows(rule: &'r RowsRule) -> Self {
        let tenant = rule.tenant_column.as_ref();
        let read = |name: &str| {
            rule.columns.as_ref().is_none_or(|columns| columns.iter().any(|column| column == name))
        };
        let role = |name: &str| if read(name) { Role::Kept } else { Role::Dropped };
        let columns = rule.table.columns.iter().map(AsRef::as_ref).filter(|name| *name != tenant);
        let columns = columns.map(|name| Member::new(name, role(name)));
        let members = columns.chain([Member::new(tenant, Role::Tenant)]).collect();
        let resource = Resource::Table(Arc::clone(&rule.table.name));
        let unknown = if rule.columns.is_some() { Unknown::Dropped } else { Unknown::Column };
        Self {
            added: rule.write != Write::Update,
            null_is_nothing: matches!(rule.write, Write::Insert | Write::Put),
            ..Self::new(members, unknown, rule.org, resource)
        }
    }

    pub(super) fn of_arguments(rule: &'r ArgumentsRule) -> Self {
        let members = rule.function.arguments.iter().map(|(name, argument)| {
            let role = match argument {
                Argument::Client => Role::Kept,
                Argument::Tenant => Role::Tenant,
            };
            Member::new(name, role)
        });
        let resource = Resource::Function(Arc::clone(&rule.function.name));
        Self::new(members.collect(), Unknown::Argument, rule.org, resource)
    }

    fn new(mut members: Vec<Member<'r>>, unknown: Unknown, org: OrgId, resource: Resource) -> Self {
        members.sort_unstable_by_key(|member| member.name);
        let all = members.iter().enumerate();
        let tenants = all.filter(|(_, member)| member.role == Role::Tenant);
        Self {
            tenants: tenants.map(|(index, _)| index).collect(),
            members,
            unknown,
            added: true,
            null_is_nothing: true,
            org,
            id: canonical(org),
            resource,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// Looks a name up.
    pub(super) fn find(&self, name: &str) -> Result<Found, RestRefusal> {
        match (self.members.binary_search_by_key(&name, |member| member.name), self.unknown) {
            (Ok(index), _) => Ok(Found::Member(index)),
            (Err(_), Unknown::Dropped) => Ok(Found::Dropped),
            (Err(_), Unknown::Column) => Err(RestRefusal::ColumnUnknown(name.to_owned())),
            (Err(_), Unknown::Argument) => Err(RestRefusal::ArgumentUnknown(name.to_owned())),
        }
    }

    pub(super) fn role(&self, index: usize) -> Role {
        self.members.get(index).map_or(Role::Dropped, |member| member.role)
    }

    pub(super) fn name(&self, index: usize) -> &'r str {
        self.members.get(index).map_or("", |member| member.name)
    }

    pub(super) fn tenant_id(&self) -> &str {
        &self.id
    }

    /// The tenants that a row lacks, where they are added.
    pub(super) fn missing(&self, seen: &Seen) -> SmallVec<[usize; 2]> {
        let lacks = |index: &usize| self.added && !seen.contains(*index);
        self.tenants.iter().copied().filter(lacks).collect()
    }

    /// Checks what was stated for the tenant.
    pub(super) fn check_tenant(&self, index: usize, stated: Stated<'_>) -> Result<(), RestRefusal> {
        let named = match stated {
            Stated::Null if self.null_is_nothing => return Ok(()),
            Stated::Text(text) => Uuid::try_parse(text).ok(),
            Stated::Null | Stated::Other => None,
        };
        if named == Some(*self.org.as_uuid()) {
            return Ok(());
        }
        Err(RestRefusal::TenantEscape(Box::new(TenantEscape {
            resource: self.resource.clone(),
            name: Arc::from(self.name(index)),
            place: Place::Body,
            named,
        })))
    }
}

impl<'r> Member<'r> {
    fn new(name: &'r str, role: Role) -> Self {
        let plain = name.bytes().all(|b| b >= 0x20 && !matches!(b, b'"' | b'\\'));
        Self { name, plain, role }
    }
}

/// Which members the row at hand has named.
#[derive(Debug)]
pub(super) struct Seen {
    /// The last row in which each stood.
    rows: Vec<usize>,
    row: usize,
}

impl Seen {
    pub(super) fn new(members: &Members<'_>) -> Self {
        Self { rows: vec![0; members.len()], row: 1 }
    }

    fn contains(&self, index: usize) -> bool {
        self.rows.get(index).is_some_and(|row| *row == self.row)
    }

    /// # Errors
    /// If it stood in this row already.
    #[inline]
    pub(super) fn insert(
        &mut self,
        index: usize,
        members: &Members<'_>,
    ) -> Result<(), RestRefusal> {
        match self.rows.get_mut(index) {
            Some(row) if *row != self.row => {
                *row = self.row;
                Ok(())
            }
            Some(_) | None => Err(RestRefusal::BodyKeyRepeated(members.name(index).to_owned())),
        }
    }

    fn next_row(&mut self) {
        self.row += 1;
    }
}

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
        let longest = members.members.iter().map(|member| member.name.len()).max().unwrap_or(0);
        let tenants = MAX_INSERT_ROWS.saturating_mul(2 * longest + 64);
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
        let Some(member) = self.members.members.get(index) else { return };
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
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..0x20 => {
                let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
                out.extend_from_slice(&[
                    b'\\',
                    b'u',
                    b'0',
                    b'0',
                    digit(byte >> 4),
                    digit(byte & 15),
                ]);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}
