//! What one caller may do in one organization: roles, grants and denials taken together.
//!
//! A denial always wins; a further role or grant never takes anything away. May import `domain`.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::domain::machine::MachineKey;
use crate::domain::organization::{Membership, TeamName, TeamRole};
use crate::domain::permission::PermissionPattern;

use super::roles::{PermissionId, Role, RoleTable, Separation};

/// The roles that count for one request, and what the membership adds or takes.
#[derive(Debug, Clone)]
pub struct Rights {
    roles: SmallVec<[Arc<Role>; 2]>,
    membership: Option<Arc<Membership>>,
    key: Option<Arc<MachineKey>>,
}

/// Why somebody may do something, or may not.
#[derive(Debug, Clone)]
pub enum Right<'r> {
    /// One of the roles allows it; there may be more.
    Role(&'r Arc<Role>),
    /// The membership grants it.
    Grant(&'r PermissionPattern),
    /// The scopes of the machine's key have it.
    Scope(&'r PermissionPattern),
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
        Self { roles: SmallVec::from_iter([role]), membership: None, key: None }
    }

    /// Of a machine: what its key's scopes say, and nothing of any role.
    pub fn of_machine(key: Arc<MachineKey>) -> Self {
        Self { roles: SmallVec::new(), membership: None, key: Some(key) }
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
        Ok(Self { roles, membership: more.then(|| Arc::clone(membership)), key: None })
    }

    /// The roles that count, that of the membership first.
    pub fn roles(&self) -> &[Arc<Role>] {
        &self.roles
    }

    /// Those of them that allow something.
    pub fn roles_with(&self, permission: PermissionId) -> impl Iterator<Item = &Arc<Role>> {
        self.roles.iter().filter(move |role| role.allows(permission))
    }

    /// The stage that the member has reached.
    pub fn stage(&self) -> Option<&Arc<str>> {
        self.membership.as_ref()?.more.as_ref()?.stage.as_ref()
    }

    /// The teams that the member is in, with the role in each.
    pub fn teams(&self) -> &[TeamRole] {
        let more = self.membership.as_ref().and_then(|membership| membership.more.as_ref());
        more.map_or(&[], |more| &more.teams)
    }

    /// Whether something is allowed, and by what. `name` is the permission as it is written.
    pub fn to(&self, permission: PermissionId, name: &str) -> Right<'_> {
        let parts = || name.split_once(':').unwrap_or((name, ""));
        if let Some(key) = &self.key {
            let (resource, action) = parts();
            let scope = key.scopes.iter().find(|scope| scope.grants(resource, action));
            return scope.map_or(Right::None, Right::Scope);
        }
        let more = self.membership.as_ref().and_then(|membership| membership.more.as_ref());
        // Most members have nothing of their own, and texts need not be looked at.
        let own = more.filter(|more| !(more.denials.is_empty() && more.grants.is_empty()));
        let Some(more) = own else { return self.by_role(permission) };
        let (resource, action) = parts();
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::ids::OrgId;
    use crate::domain::organization::{MemberStatus, MoreRights};
    use crate::domain::source::Source;
    use crate::policy::roles::RoleDefinition;

    const RESOURCES: [&str; 3] = ["events", "deals", "people"];
    const ACTIONS: [&str; 5] = ["read", "write", "delete", "admin", "export"];

    fn pattern() -> impl Strategy<Value = PermissionPattern> {
        let resource = prop::sample::select(vec!["events", "deals", "people", "*"]);
        let action = prop::sample::select(vec!["read", "write", "delete", "admin", "export", "*"]);
        (resource, action).prop_map(|(resource, action)| PermissionPattern {
            resource: resource.into(),
            action: action.into(),
        })
    }

    fn patterns(most: usize) -> impl Strategy<Value = Vec<PermissionPattern>> {
        prop::collection::vec(pattern(), 0..most)
    }

    /// Roles of which each inherits some of those before it.
    fn roles() -> impl Strategy<Value = Vec<RoleDefinition>> {
        let role = (patterns(3), prop::collection::vec(any::<prop::sample::Index>(), 0..3));
        prop::collection::vec(role, 1..6).prop_map(|stated| {
            let definition = |(at, (patterns, parents)): (usize, (Vec<_>, Vec<_>))| {
                let parents: BTreeSet<usize> = match at {
                    0 => BTreeSet::new(),
                    _ => parents.iter().map(|i: &prop::sample::Index| i.index(at)).collect(),
                };
                let name = |at: usize| Arc::from(format!("r{at}"));
                let own = |pattern| (pattern, Source::built_in());
                RoleDefinition {
                    name: name(at),
                    inherits: parents.iter().map(|p| (name(*p), Source::built_in())).collect(),
                    permissions: patterns.into_iter().map(own).collect(),
                    level: 1,
                    requires: Vec::new(),
                    source: Source::built_in(),
                }
            };
            stated.into_iter().enumerate().map(definition).collect()
        })
    }

    fn named() -> BTreeSet<(Arc<str>, Arc<str>)> {
        let pair = |resource: &&'static str| {
            let resource = *resource;
            ACTIONS.map(|action| (Arc::from(resource), Arc::from(action)))
        };
        RESOURCES.iter().flat_map(pair).collect()
    }

    fn member(role: &str, more: MoreRights) -> Arc<Membership> {
        Arc::new(Membership {
            organization: OrgId::new(uuid::Uuid::from_u128(1)),
            user: "u".parse().unwrap(),
            role: role.into(),
            status: MemberStatus::Active,
            joined_at: 0,
            more: Some(Box::new(more)),
        })
    }

    /// What a member may do, by name.
    fn allowed(
        member: &Arc<Membership>,
        team: Option<&str>,
        table: &RoleTable,
    ) -> BTreeSet<String> {
        let team = team.map(|team| team.parse().unwrap());
        let rights = Rights::of_member(member, team.as_ref(), table).unwrap();
        let may = |(id, name): &(PermissionId, &Arc<str>)| {
            matches!(rights.to(*id, name), Right::Role(_) | Right::Grant(_))
        };
        table.permissions().filter(may).map(|(_, name)| name.to_string()).collect()
    }

    /// Whether some role of the line of ancestors states a pattern that grants it.
    fn stated(definitions: &[RoleDefinition], role: &str, permission: &str) -> bool {
        let definition = definitions.iter().find(|d| d.name.as_ref() == role).unwrap();
        let (resource, action) = permission.split_once(':').unwrap();
        definition.permissions.iter().any(|(pattern, _)| pattern.grants(resource, action))
            || definition.inherits.iter().any(|(parent, _)| stated(definitions, parent, permission))
    }

    proptest! {
        #[test]
        fn a_role_grants_what_it_or_an_ancestor_states_and_nothing_else(definitions in roles()) {
            let table = RoleTable::compile(&definitions, Vec::new(), &named()).unwrap();
            for definition in &definitions {
                let plain = member(&definition.name, MoreRights::default());
                let allowed = allowed(&plain, None, &table);
                for (_, name) in table.permissions() {
                    let stated = stated(&definitions, &definition.name, name);
                    prop_assert_eq!(allowed.contains(name.as_ref()), stated, "{}", name);
                }
            }
        }

        #[test]
        fn a_denial_always_wins(
            definitions in roles(),
            grants in patterns(3),
            denials in patterns(4),
        ) {
            let table = RoleTable::compile(&definitions, Vec::new(), &named()).unwrap();
            let all = definitions.iter().map(|d| d.name.clone()).collect();
            let more = MoreRights { roles: all, grants, denials: denials.clone(), ..MoreRights::default() };
            for name in allowed(&member("r0", more), None, &table) {
                let (resource, action) = name.split_once(':').unwrap();
                prop_assert!(!denials.iter().any(|denial| denial.grants(resource, action)), "{}", name);
            }
        }

        #[test]
        fn a_further_role_grant_or_team_never_takes_a_right_away(
            definitions in roles(),
            further in any::<prop::sample::Index>(),
            grants in patterns(3),
            denials in patterns(2),
        ) {
            let table = RoleTable::compile(&definitions, Vec::new(), &named()).unwrap();
            let role = definitions[further.index(definitions.len())].name.clone();
            let less = MoreRights { denials, ..MoreRights::default() };
            let before = allowed(&member("r0", less.clone()), None, &table);
            let team = TeamRole { team: "a".parse().unwrap(), role: role.clone() };
            for more in [
                MoreRights { roles: vec![role], ..less.clone() },
                MoreRights { grants, ..less.clone() },
                MoreRights { teams: vec![team], ..less.clone() },
            ] {
                prop_assert!(allowed(&member("r0", more), Some("a.b"), &table).is_superset(&before));
            }
        }
    }
}
