//! Roles and permissions, compiled to bit sets.
//!
//! The universe of permissions is closed: every `resource:action` that a route, a table or a role
//! names gets a number when the policy is compiled, wildcards are expanded over it, inheritance is
//! flattened, and a decision is one bit test. `admin` on a resource implies `read`, `write` and
//! `delete` on it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ahash::HashMap;

pub use crate::domain::permission::{IMPLIED_BY_ADMIN, PermissionPattern};
use crate::domain::source::Source;

use super::condition::Requirement;

/// A permission that some policy names, as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PermissionId(u16);

impl PermissionId {
    /// As a position among all permissions.
    pub(super) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// The action on a function of the database.
pub const CALL: &str = "call";

/// A role as it was written.
#[derive(Debug, Clone)]
pub struct RoleDefinition {
    /// Its name, as the directory writes it.
    pub name: Arc<str>,
    /// Names of the roles whose permissions it has too.
    pub inherits: Vec<(Arc<str>, Source)>,
    /// `resource:action`, either side may be `*`.
    pub permissions: Vec<(PermissionPattern, Source)>,
    /// Its rank: whoever has it manages only members whose roles rank below.
    pub level: u32,
    /// What must hold for its permissions to count.
    pub requires: Vec<Requirement>,
    /// Where it was written.
    pub source: Source,
}

/// What is wrong with a set of roles.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoleError {
    /// A role inherits one that is not defined.
    #[error("role `{role}` inherits `{parent}`, which is not defined")]
    UnknownParent {
        /// The heir.
        role: Arc<str>,
        /// The missing one.
        parent: Arc<str>,
        /// Where it is named.
        at: Source,
    },
    /// A role inherits itself, over others or directly.
    #[error("role `{role}` inherits itself: {}", cycle.join(" → "))]
    Cycle {
        /// A role of the cycle.
        role: Arc<str>,
        /// The way round, beginning and ending with the role.
        cycle: Vec<String>,
        /// Where the role is defined.
        at: Source,
    },
    /// A role inherits two that are kept apart.
    #[error("role `{role}` has both `{}` and `{}`, which are kept apart", apart[0], apart[1])]
    Together {
        /// The heir.
        role: Arc<str>,
        /// The two.
        apart: [Arc<str>; 2],
    },
    /// More permissions than fit.
    #[error("more than 65,535 permissions")]
    TooMany,
}

/// All roles, compiled.
#[derive(Debug, Clone, Default)]
pub struct RoleTable {
    roles: BTreeMap<Arc<str>, Arc<Role>>,
    ids: HashMap<Arc<str>, Actions>,
    names: Vec<Arc<str>>,
    /// What some role has.
    granted: Bits,
    separated: Vec<Separation>,
}

/// The permissions on one resource.
type Actions = BTreeMap<Arc<str>, PermissionId>;

/// A set of permissions.
#[derive(Debug, Clone, Default)]
struct Bits(Box<[u64]>);

/// Two roles that nobody may have at once, directly or by inheritance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Separation {
    /// The two.
    pub roles: [Arc<str>; 2],
    /// Where it was written.
    pub source: Source,
}

/// One role, compiled.
#[derive(Debug, Clone)]
pub struct Role {
    /// Its name.
    pub name: Arc<str>,
    /// Where it was written.
    pub source: Source,
    /// Its rank: whoever has it manages only members whose roles rank below.
    pub level: u32,
    /// What must hold for its permissions to count: its own, and what the roles that it inherits
    /// ask for, whose permissions it has.
    pub requires: Vec<Requirement>,
    /// Itself and all roles that it inherits.
    ancestors: BTreeSet<Arc<str>>,
    bits: Bits,
    grants: Vec<Grant>,
}

/// Why a role has permissions: the pattern, and the role that states it.
#[derive(Debug, Clone)]
pub struct Grant {
    /// What it grants.
    pub pattern: PermissionPattern,
    /// The role that states it: this one, or one that it inherits.
    pub role: Arc<str>,
    /// Where that is written.
    pub source: Source,
}

impl RoleTable {
    /// Compiles roles over the permissions that the rest of the policy names. All errors at once.
    pub fn compile(
        definitions: &[RoleDefinition],
        separated: Vec<Separation>,
        named: &BTreeSet<(Arc<str>, Arc<str>)>,
    ) -> Result<Self, Vec<RoleError>> {
        let by_name: BTreeMap<&str, &RoleDefinition> =
            definitions.iter().map(|d| (d.name.as_ref(), d)).collect();
        let mut errors = Vec::new();
        for definition in definitions {
            for (parent, source) in &definition.inherits {
                if !by_name.contains_key(parent.as_ref()) {
                    errors.push(RoleError::UnknownParent {
                        role: definition.name.clone(),
                        parent: parent.clone(),
                        at: source.clone(),
                    });
                }
            }
            if let Some(cycle) = cycle_through(definition, &by_name) {
                errors.push(RoleError::Cycle {
                    role: definition.name.clone(),
                    cycle,
                    at: definition.source.clone(),
                });
            }
        }
        let mut table = Self::default();
        if table.number(definitions, named).is_none() {
            errors.push(RoleError::TooMany);
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        // What stands for all resources is the same for every role that states it.
        let mut wide: BTreeMap<&PermissionPattern, Bits> = BTreeMap::new();
        let mut own: BTreeMap<&str, Bits> = BTreeMap::new();
        let mut granted = table.none();
        for definition in definitions {
            let mut bits = table.none();
            for (pattern, _) in &definition.permissions {
                if &*pattern.resource == "*" {
                    bits.add(wide.entry(pattern).or_insert_with(|| table.expand(pattern)));
                } else if let Some(actions) = table.ids.get(&*pattern.resource) {
                    bits.grant(pattern, &pattern.resource, actions);
                }
            }
            granted.add(&bits);
            own.insert(&definition.name, bits);
        }
        for definition in definitions {
            let mut grants = Vec::new();
            let mut seen = BTreeSet::new();
            collect_grants(definition, &by_name, &mut seen, &mut grants);
            let inherited = seen.iter().filter_map(|name| by_name.get(name));
            let requires = inherited.flat_map(|role| role.requires.iter().cloned()).collect();
            let mut bits = table.none();
            seen.iter().filter_map(|name| own.get(name)).for_each(|own| bits.add(own));
            let role = Role {
                name: definition.name.clone(),
                source: definition.source.clone(),
                level: definition.level,
                requires,
                ancestors: seen.into_iter().map(Arc::from).collect(),
                bits,
                grants,
            };
            table.roles.insert(definition.name.clone(), Arc::new(role));
        }
        (table.separated, table.granted) = (separated, granted);
        let both = |role: &Arc<Role>| {
            table.conflict(std::slice::from_ref(role)).map(|apart| RoleError::Together {
                role: role.name.clone(),
                apart: apart.roles.clone(),
            })
        };
        let errors: Vec<RoleError> = table.roles.values().filter_map(both).collect();
        if errors.is_empty() { Ok(table) } else { Err(errors) }
    }

    /// The role of that name.
    pub fn role(&self, name: &str) -> Option<&Arc<Role>> {
        self.roles.get(name)
    }

    /// All roles, by name.
    pub fn roles(&self) -> impl Iterator<Item = &Arc<Role>> {
        self.roles.values()
    }

    /// Whether any role has the permission.
    pub fn anybody(&self, permission: PermissionId) -> bool {
        self.granted.has(permission)
    }

    /// The names of the roles that rank below a level.
    pub fn below(&self, level: u32) -> Vec<Arc<str>> {
        let below = self.roles.values().filter(|role| role.level < level);
        below.map(|role| Arc::clone(&role.name)).collect()
    }

    /// Two roles among these, inherited ones included, that are kept apart.
    pub fn conflict(&self, roles: &[Arc<Role>]) -> Option<&Separation> {
        let has = |name: &Arc<str>| roles.iter().any(|role| role.ancestors.contains(name));
        self.separated.iter().find(|apart| apart.roles.iter().all(has))
    }

    /// All pairs of roles that are kept apart.
    pub fn separations(&self) -> impl Iterator<Item = &Separation> {
        self.separated.iter()
    }

    /// The permissions that some policy names, in order.
    pub fn permissions(&self) -> impl Iterator<Item = (PermissionId, &Arc<str>)> {
        (0..=u16::MAX).map(PermissionId).zip(&self.names)
    }

    /// The number of a permission, if any policy names it.
    pub fn permission(&self, resource: &str, action: &str) -> Option<PermissionId> {
        self.ids.get(resource)?.get(action).copied()
    }

    /// A permission as policies write it.
    pub fn name(&self, id: PermissionId) -> Arc<str> {
        self.names.get(usize::from(id.0)).cloned().unwrap_or_default()
    }

    fn number(
        &mut self,
        definitions: &[RoleDefinition],
        named: &BTreeSet<(Arc<str>, Arc<str>)>,
    ) -> Option<()> {
        let mut all = named.clone();
        for (pattern, _) in definitions.iter().flat_map(|d| &d.permissions) {
            if &*pattern.resource != "*" && &*pattern.action != "*" {
                all.insert((Arc::from(&*pattern.resource), Arc::from(&*pattern.action)));
            }
        }
        for (resource, action) in all {
            let id = PermissionId(u16::try_from(self.names.len()).ok()?);
            self.names.push(Arc::from(format!("{resource}:{action}")));
            self.ids.entry(resource).or_default().insert(action, id);
        }
        Some(())
    }

    fn none(&self) -> Bits {
        Bits(vec![0; self.names.len().div_ceil(64)].into())
    }

    /// What a pattern grants on any resource.
    fn expand(&self, pattern: &PermissionPattern) -> Bits {
        let mut bits = self.none();
        self.ids.iter().for_each(|(resource, actions)| bits.grant(pattern, resource, actions));
        bits
    }
}

impl Bits {
    fn has(&self, permission: PermissionId) -> bool {
        let word = self.0.get(usize::from(permission.0) / 64).copied().unwrap_or(0);
        word >> (permission.0 % 64) & 1 == 1
    }

    fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, more)| *word |= more);
    }

    /// Those of the actions on a resource that a pattern grants.
    fn grant(&mut self, pattern: &PermissionPattern, resource: &str, actions: &Actions) {
        for (action, id) in actions {
            if let Some(word) = self.0.get_mut(usize::from(id.0) / 64)
                && pattern.grants(resource, action)
            {
                *word |= 1 << (id.0 % 64);
            }
        }
    }
}

impl Role {
    /// Whether the role has the permission.
    pub fn allows(&self, permission: PermissionId) -> bool {
        self.bits.has(permission)
    }

    /// Whether it is the role of that name, or has its permissions.
    pub fn is_or_inherits(&self, name: &str) -> bool {
        self.ancestors.contains(name)
    }

    /// The grant that gives `resource:action`, for explanations.
    pub fn grant_for(&self, resource: &str, action: &str) -> Option<&Grant> {
        self.grants.iter().find(|grant| grant.pattern.grants(resource, action))
    }

    /// All grants, its own first.
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }
}

fn collect_grants<'d>(
    definition: &'d RoleDefinition,
    by_name: &BTreeMap<&str, &'d RoleDefinition>,
    seen: &mut BTreeSet<&'d str>,
    grants: &mut Vec<Grant>,
) {
    if !seen.insert(&definition.name) {
        return;
    }
    grants.extend(definition.permissions.iter().map(|(pattern, source)| Grant {
        pattern: pattern.clone(),
        role: definition.name.clone(),
        source: source.clone(),
    }));
    for (parent, _) in &definition.inherits {
        if let Some(parent) = by_name.get(parent.as_ref()) {
            collect_grants(parent, by_name, seen, grants);
        }
    }
}

/// The way from a role back to itself, if there is one.
fn cycle_through(
    start: &RoleDefinition,
    by_name: &BTreeMap<&str, &RoleDefinition>,
) -> Option<Vec<String>> {
    let mut ways: Vec<(&RoleDefinition, Vec<String>)> = vec![(start, vec![start.name.to_string()])];
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    while let Some((role, way)) = ways.pop() {
        for (parent, _) in &role.inherits {
            let mut way = way.clone();
            way.push(parent.to_string());
            if *parent == start.name {
                return Some(way);
            }
            match by_name.get(parent.as_ref()) {
                Some(next) if seen.insert(&next.name) => ways.push((next, way)),
                Some(_) | None => {}
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(name: &str, inherits: &[&str], permissions: &[&str]) -> RoleDefinition {
        RoleDefinition {
            name: Arc::from(name),
            inherits: inherits.iter().map(|p| (Arc::from(*p), Source::built_in())).collect(),
            permissions: permissions
                .iter()
                .map(|p| (PermissionPattern::parse(p).unwrap(), Source::built_in()))
                .collect(),
            level: 1,
            requires: Vec::new(),
            source: Source::built_in(),
        }
    }

    fn named(permissions: &[&str]) -> BTreeSet<(Arc<str>, Arc<str>)> {
        permissions
            .iter()
            .map(|p| p.split_once(':').map(|(r, a)| (Arc::from(r), Arc::from(a))).unwrap())
            .collect()
    }

    fn allows(table: &RoleTable, role: &str, permission: &str) -> bool {
        let (resource, action) = permission.split_once(':').unwrap();
        let id = table.permission(resource, action).unwrap();
        table.role(role).unwrap().allows(id)
    }

    #[test]
    fn a_role_has_what_it_inherits_and_nothing_else() {
        let named = named(&["events:read", "events:write", "events:delete", "people:read"]);
        let table = RoleTable::compile(
            &[
                role("viewer", &[], &["events:read"]),
                role("member", &["viewer"], &["events:write"]),
            ],
            Vec::new(),
            &named,
        )
        .unwrap();
        assert!(allows(&table, "member", "events:read"));
        assert!(allows(&table, "member", "events:write"));
        assert!(!allows(&table, "viewer", "events:write"));
        assert!(!allows(&table, "member", "events:delete"));
        assert!(!allows(&table, "member", "people:read"));
        let grant = table.role("member").unwrap().grant_for("events", "read").unwrap();
        assert_eq!(&*grant.role, "viewer");
    }

    #[test]
    fn admin_implies_read_write_and_delete_on_its_resource_only() {
        let named = named(&["events:read", "events:delete", "events:export", "people:read"]);
        let table = RoleTable::compile(&[role("boss", &[], &["events:admin"])], Vec::new(), &named)
            .unwrap();
        assert!(allows(&table, "boss", "events:read"));
        assert!(allows(&table, "boss", "events:delete"));
        assert!(!allows(&table, "boss", "events:export"));
        assert!(!allows(&table, "boss", "people:read"));
    }

    #[test]
    fn wildcards_cover_every_named_permission() {
        let named = named(&["events:read", "people:read", "people:write"]);
        let table =
            RoleTable::compile(&[role("auditor", &[], &["*:read"])], Vec::new(), &named).unwrap();
        assert!(allows(&table, "auditor", "events:read"));
        assert!(allows(&table, "auditor", "people:read"));
        assert!(!allows(&table, "auditor", "people:write"));
    }

    #[test]
    fn unknown_parents_and_cycles_are_all_named() {
        let errors = RoleTable::compile(
            &[role("a", &["b"], &[]), role("b", &["a"], &[]), role("c", &["ghost"], &[])],
            Vec::new(),
            &BTreeSet::new(),
        )
        .unwrap_err();
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "role `a` inherits itself: a → b → a",
                "role `b` inherits itself: b → a → b",
                "role `c` inherits `ghost`, which is not defined",
            ]
        );
    }

    #[test]
    fn roles_that_are_kept_apart_do_not_meet_by_inheritance_either() {
        let apart = || {
            let roles = [Arc::from("payer"), Arc::from("approver")];
            vec![Separation { roles, source: Source::built_in() }]
        };
        let roles = [
            role("payer", &[], &[]),
            role("approver", &[], &[]),
            role("chief", &["approver"], &[]),
            role("clerk", &["payer"], &[]),
        ];
        let table = RoleTable::compile(&roles, apart(), &BTreeSet::new()).unwrap();
        let of = |names: &[&str]| -> Vec<Arc<Role>> {
            names.iter().map(|name| Arc::clone(table.role(name).unwrap())).collect()
        };
        assert!(table.conflict(&of(&["chief", "clerk"])).is_some());
        assert!(table.conflict(&of(&["chief", "approver"])).is_none());
        let both = [&roles[..], &[role("boss", &["chief", "clerk"], &[])]].concat();
        let errors = RoleTable::compile(&both, apart(), &BTreeSet::new()).unwrap_err();
        assert_eq!(
            errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["role `boss` has both `payer` and `approver`, which are kept apart"]
        );
    }

    #[test]
    fn more_than_sixty_four_permissions_keep_apart() {
        let all: Vec<String> = (0..130).map(|i| format!("r{i:03}:read")).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let table = RoleTable::compile(
            &[role("x", &[], &["r000:read", "r129:read"])],
            Vec::new(),
            &named(&all),
        )
        .unwrap();
        let granted: Vec<&str> = all.iter().copied().filter(|p| allows(&table, "x", p)).collect();
        assert_eq!(granted, ["r000:read", "r129:read"]);
    }
}
