//! Roles and permissions, compiled to bit sets.
//!
//! The universe of permissions is closed: every `resource:action` that a route, a table or a role
//! names gets a number when the policy is compiled, wildcards are expanded over it, inheritance is
//! flattened, and a decision is one bit test. `admin` on a resource implies `read`, `write` and
//! `delete` on it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::domain::source::Source;

/// A permission that some policy names, as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PermissionId(u16);

/// What `admin` on a resource implies.
pub const IMPLIED_BY_ADMIN: [&str; 3] = ["read", "write", "delete"];
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
    /// Where it was written.
    pub source: Source,
}

/// `resource:action`; either side may be `*`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PermissionPattern {
    /// Resource or `*`.
    pub resource: Box<str>,
    /// Action or `*`.
    pub action: Box<str>,
}

impl PermissionPattern {
    /// Parses `resource:action`. `None` if it is anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (resource, action) = text.split_once(':')?;
        let word = |s: &str| {
            s == "*"
                || (!s.is_empty()
                    && s.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.')))
        };
        (word(resource) && word(action))
            .then(|| Self { resource: resource.into(), action: action.into() })
    }

    /// Whether it grants the permission.
    pub fn grants(&self, resource: &str, action: &str) -> bool {
        let resource_fits = &*self.resource == "*" || &*self.resource == resource;
        let action_fits = &*self.action == "*"
            || &*self.action == action
            || (&*self.action == "admin" && IMPLIED_BY_ADMIN.contains(&action));
        resource_fits && action_fits
    }
}

impl std::fmt::Display for PermissionPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.resource, self.action)
    }
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
    /// More permissions than fit.
    #[error("more than 65,535 permissions")]
    TooMany,
}

/// All roles, compiled.
#[derive(Debug, Clone, Default)]
pub struct RoleTable {
    roles: BTreeMap<Arc<str>, Arc<Role>>,
    ids: HashMap<Arc<str>, BTreeMap<Arc<str>, PermissionId>>,
    names: Vec<Arc<str>>,
}

/// One role, compiled.
#[derive(Debug, Clone)]
pub struct Role {
    /// Its name.
    pub name: Arc<str>,
    /// Where it was written.
    pub source: Source,
    bits: Box<[u64]>,
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
        for definition in definitions {
            let mut grants = Vec::new();
            collect_grants(definition, &by_name, &mut BTreeSet::new(), &mut grants);
            let bits = table.expand(&grants);
            let role = Role {
                name: definition.name.clone(),
                source: definition.source.clone(),
                bits,
                grants,
            };
            table.roles.insert(definition.name.clone(), Arc::new(role));
        }
        Ok(table)
    }

    /// The role of that name.
    pub fn role(&self, name: &str) -> Option<&Arc<Role>> {
        self.roles.get(name)
    }

    /// All roles, by name.
    pub fn roles(&self) -> impl Iterator<Item = &Arc<Role>> {
        self.roles.values()
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

    fn expand(&self, grants: &[Grant]) -> Box<[u64]> {
        let mut bits = vec![0u64; self.names.len().div_ceil(64)];
        for (resource, actions) in &self.ids {
            for (action, id) in actions {
                let granted = grants.iter().any(|grant| grant.pattern.grants(resource, action));
                if let Some(word) = bits.get_mut(usize::from(id.0) / 64)
                    && granted
                {
                    *word |= 1 << (id.0 % 64);
                }
            }
        }
        bits.into_boxed_slice()
    }
}

impl Role {
    /// Whether the role has the permission.
    pub fn allows(&self, permission: PermissionId) -> bool {
        let word = self.bits.get(usize::from(permission.0) / 64).copied().unwrap_or(0);
        word >> (permission.0 % 64) & 1 == 1
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
        let table = RoleTable::compile(&[role("boss", &[], &["events:admin"])], &named).unwrap();
        assert!(allows(&table, "boss", "events:read"));
        assert!(allows(&table, "boss", "events:delete"));
        assert!(!allows(&table, "boss", "events:export"));
        assert!(!allows(&table, "boss", "people:read"));
    }

    #[test]
    fn wildcards_cover_every_named_permission() {
        let named = named(&["events:read", "people:read", "people:write"]);
        let table = RoleTable::compile(&[role("auditor", &[], &["*:read"])], &named).unwrap();
        assert!(allows(&table, "auditor", "events:read"));
        assert!(allows(&table, "auditor", "people:read"));
        assert!(!allows(&table, "auditor", "people:write"));
    }

    #[test]
    fn unknown_parents_and_cycles_are_all_named() {
        let errors = RoleTable::compile(
            &[role("a", &["b"], &[]), role("b", &["a"], &[]), role("c", &["ghost"], &[])],
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
    fn more_than_sixty_four_permissions_keep_apart() {
        let all: Vec<String> = (0..130).map(|i| format!("r{i:03}:read")).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let table =
            RoleTable::compile(&[role("x", &[], &["r000:read", "r129:read"])], &named(&all))
                .unwrap();
        let granted: Vec<&str> = all.iter().copied().filter(|p| allows(&table, "x", p)).collect();
        assert_eq!(granted, ["r000:read", "r129:read"]);
    }
}
