//! The names that a body may use: columns or arguments, and which of them is the tenant.
//!
//! Whatever language a body is in, its names are looked up and counted here, so that no two
//! languages differ in what is a tenant, twice, or unknown. May import `domain` and this room.

use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;
use uuid::Uuid;

use super::writer::string;
use super::{ArgumentsRule, RowsRule, Write, canonical};
use crate::domain::catalog::Argument;
use crate::domain::escape::{Place, Resource, TenantEscape};
use crate::domain::ids::OrgId;
use crate::postgrest::refusal::RestRefusal;

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
    /// A member without which a row is refused.
    needed: Option<&'r str>,
    /// The roles that may be given.
    below: &'r [Arc<str>],
    org: OrgId,
    resource: Resource,
    /// What is written of all members.
    printed: Vec<u8>,
}

#[derive(Debug)]
struct Member<'r> {
    name: &'r str,
    role: Role,
    /// Its place in what is written.
    printed: Range<usize>,
}

/// What is done with a member's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It is kept as it stands.
    Kept,
    /// It has to be the organization, and is printed canonically.
    Tenant,
    /// It has to be a role that the writer may give, and is kept as it stands.
    Ranked,
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
        let ranks = rule.table.ranks.as_deref();
        let role = |name: &str| match (read(name), ranks == Some(name)) {
            (false, _) => Role::Dropped,
            (true, true) => Role::Ranked,
            (true, false) => Role::Kept,
        };
        let inserts = matches!(rule.write, Write::Insert | Write::Put);
        let columns = rule.table.columns.iter().map(AsRef::as_ref).filter(|name| *name != tenant);
        let columns = columns.map(|name| Member::new(name, role(name)));
        let members = columns.chain([Member::new(tenant, Role::Tenant)]).collect();
        let resource = Resource::Table(Arc::clone(&rule.table.name));
        let unknown = if rule.columns.is_some() { Unknown::Dropped } else { Unknown::Column };
        Self {
            added: rule.write != Write::Update,
            null_is_nothing: inserts,
            // What the database would give in its place could be any role.
            needed: ranks.filter(|name| inserts || (rule.columns.is_some() && read(name))),
            below: &rule.below,
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
        let id = canonical(org);
        let mut printed = Vec::new();
        for member in &mut members {
            let start = printed.len();
            printed.push(b',');
            string(member.name, &mut printed);
            printed.push(b':');
            if member.role == Role::Tenant {
                string(&id, &mut printed);
            }
            member.printed = start..printed.len();
        }
        let all = members.iter().enumerate();
        let tenants = all.filter(|(_, member)| member.role == Role::Tenant);
        Self {
            tenants: tenants.map(|(index, _)| index).collect(),
            members,
            unknown,
            added: true,
            null_is_nothing: true,
            needed: None,
            below: &[],
            org,
            resource,
            printed,
        }
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

    fn name(&self, index: usize) -> &'r str {
        self.members.get(index).map_or("", |member| member.name)
    }

    /// What is written of a member, from the comma before it: its key and colon, and for a tenant
    /// its value.
    #[inline]
    pub(super) fn printed(&self, index: usize) -> &[u8] {
        let member = self.members.get(index);
        member.and_then(|member| self.printed.get(member.printed.clone())).unwrap_or_default()
    }

    /// Bytes of the longest name.
    pub(super) fn longest(&self) -> usize {
        self.members.iter().map(|member| member.name.len()).max().unwrap_or(0)
    }

    /// The tenants that a row lacks, where they are added.
    pub(super) fn missing(&self, seen: &Seen) -> SmallVec<[usize; 2]> {
        let lacks = |index: &usize| self.added && !seen.contains(*index);
        self.tenants.iter().copied().filter(lacks).collect()
    }

    /// # Errors
    /// If a row lacks what it needs, or has it where PostgREST does not read it.
    pub(super) fn check_row(&self, seen: &Seen) -> Result<(), RestRefusal> {
        let Some(needed) = self.needed else { return Ok(()) };
        let index = self.members.binary_search_by_key(&needed, |member| member.name);
        let given = |index: &usize| seen.contains(*index) && self.role(*index) == Role::Ranked;
        if index.ok().is_some_and(|index| given(&index)) { Ok(()) } else { Err(RestRefusal::Rank) }
    }

    /// Checks a role that is given.
    pub(super) fn check_rank(&self, stated: Option<&str>) -> Result<(), RestRefusal> {
        let fits = |stated| self.below.iter().any(|role| role.as_ref() == stated);
        if stated.is_some_and(fits) { Ok(()) } else { Err(RestRefusal::Rank) }
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
        Self { name, role, printed: 0..0 }
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
        Self { rows: vec![0; members.members.len()], row: 1 }
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

    pub(super) fn next_row(&mut self) {
        self.row += 1;
    }
}
