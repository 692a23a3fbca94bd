//! What one caller may do in one organization: roles, grants and denials taken together.
//!
//! A denial always wins; a further role or grant never takes anything away. May import `domain`.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::domain::organization::{Membership, TeamName};
use crate::domain::permission::PermissionPattern;

use super::roles::{PermissionId, Role, RoleTable, Separation};

/// The roles that count for one request, and what the membership adds or takes.
#[derive(Debug, Clone)]
pub struct Rights {
    roles: SmallVec<[Arc<Role>; 2]>,
    membership: Option<Arc<Membership>>,
}

/// Why somebody may do something, or may not.
#[derive(Debug, Clone)]
pub enum Right<'r> {
    /// One of the roles allows it; there may be more.
    Role(&'r Arc<Role>),
    /// The membership grants it.
    Grant(&'r PermissionPattern),
    /// The membership denies it.
    Denial(&'r PermissionPattern),
    /// Nothing allows it.
    None,
}

/// Why somebody has no rights at all.
#[derive(Debug, Clone)]
pub enum NoRights<'t> {
    /// The directory names a role that no policy defines.
    UnknownRole(Arc<str>),
    /// Two of the roles are kept apart.
    Conflict(&'t Separation),
}

impl Rights {
    /// Of somebody who is no member: a service, or nobody in particular.
    pub fn of_role(role: Arc<Role>) -> Self {
        Self { roles: SmallVec::from_iter([role]), membership: None }
    }

    /// Of a member, in a team where the request names one.
    pub fn of_member<'t>(
        membership: &Arc<Membership>,
        team: Option<&TeamName>,
        table: &'t RoleTable,
    ) -> Result<Self, NoRights<'t>> {
        let mut roles: SmallVec<[Arc<Role>; 2]> = SmallVec::new();
        let mut add = |name: &Arc<str>| {
            let role = table.role(name).ok_or_else(|| NoRights::UnknownRole(name.clone()))?;
            if !roles.iter().any(|known| known.name == role.name) {
                roles.push(Arc::clone(role));
            }
            Ok(())
        };
        add(&membership.role)?;
        if let Some(more) = &membership.more {
            more.roles.iter().try_for_each(&mut add)?;
            let here = more.teams.iter().filter(|of| team.is_some_and(|team| of.team.covers(team)));
            here.map(|of| &of.role).try_for_each(&mut add)?;
        }
        if roles.len() > 1
            && let Some(apart) = table.conflict(&roles)
        {
            return Err(NoRights::Conflict(apart));
        }
        let more = membership.more.is_some();
        Ok(Self { roles, membership: more.then(|| Arc::clone(membership)) })
    }

    /// The roles that count, that of the membership first.
    pub fn roles(&self) -> &[Arc<Role>] {
        &self.roles
    }

    /// Those of them that allow something.
    pub fn roles_with(&self, permission: PermissionId) -> impl Iterator<Item = &Arc<Role>> {
        self.roles.iter().filter(move |role| role.allows(permission))
    }

    /// The highest rank of the roles that count.
    pub fn level(&self) -> u32 {
        self.roles.iter().map(|role| role.level).max().unwrap_or(0)
    }

    /// The stage that the member has reached.
    pub fn stage(&self) -> Option<&Arc<str>> {
        self.membership.as_ref()?.more.as_ref()?.stage.as_ref()
    }

    /// Whether something is allowed, and by what. `name` is the permission as it is written.
    pub fn to(&self, permission: PermissionId, name: &str) -> Right<'_> {
        let more = self.membership.as_ref().and_then(|membership| membership.more.as_ref());
        let Some(more) = more else { return self.by_role(permission) };
        let (resource, action) = name.split_once(':').unwrap_or((name, ""));
        if let Some(denial) = more.denials.iter().find(|denial| denial.denies(resource, action)) {
            return Right::Denial(denial);
        }
        // A grant comes first: it asks for nothing else, as a role may.
        match more.grants.iter().find(|grant| grant.grants(resource, action)) {
            Some(grant) => Right::Grant(grant),
            None => self.by_role(permission),
        }
    }

    fn by_role(&self, permission: PermissionId) -> Right<'_> {
        self.roles_with(permission).next().map_or(Right::None, Right::Role)
    }
}
