//! Gates: what must hold for a permission to count, whoever has it.
//!
//! A condition of a route closes the route, and one of a role closes the role; a gate closes a
//! permission, wherever it is asked for: on every route, and for every table that a request embeds.
//! Compiled to one list for each permission. May import `domain`.

use std::sync::Arc;

use super::condition::Requirement;
use super::mode::Mode;
use super::roles::{PermissionId, PermissionPattern, RoleTable};

/// A gate as it was written.
#[derive(Debug, Clone)]
pub struct GateDefinition {
    /// Its name.
    pub name: Arc<str>,
    /// The permissions that it closes. `admin` stands for itself here, not for what it implies.
    pub permissions: Vec<PermissionPattern>,
    /// What opens it: all of it.
    pub requires: Vec<Requirement>,
    /// Whether it decides.
    pub mode: Mode,
}

/// All gates, compiled.
#[derive(Debug, Clone, Default)]
pub struct Gates {
    gates: Vec<GateDefinition>,
    by_permission: Vec<Box<[Requirement]>>,
}

impl Gates {
    /// Spreads gates out over all permissions.
    pub fn compile(gates: Vec<GateDefinition>, roles: &RoleTable) -> Self {
        if gates.is_empty() {
            return Self::default();
        }
        let requires = |permission: &str| -> Box<[Requirement]> {
            let closing = gates.iter().filter(|gate| gate.closes(permission));
            closing.flat_map(GateDefinition::in_force).collect()
        };
        let by_permission = roles.permissions().map(|(_, name)| requires(name)).collect();
        Self { gates, by_permission }
    }

    /// What must hold for the permission.
    pub fn of(&self, permission: PermissionId) -> &[Requirement] {
        self.by_permission.get(permission.index()).map_or(&[], AsRef::as_ref)
    }

    /// The gate of that name.
    pub fn named(&self, name: &str) -> Option<&GateDefinition> {
        self.gates.iter().find(|gate| &*gate.name == name)
    }

    /// All gates.
    pub fn iter(&self) -> impl Iterator<Item = &GateDefinition> {
        self.gates.iter()
    }
}

impl GateDefinition {
    /// Its conditions, none of which decides where the gate does not.
    fn in_force(&self) -> Vec<Requirement> {
        match self.mode {
            Mode::Enforce => self.requires.clone(),
            Mode::Shadow => {
                let tried = |of: &Requirement| Requirement { mode: Mode::Shadow, ..of.clone() };
                self.requires.iter().map(tried).collect()
            }
            Mode::Off => Vec::new(),
        }
    }

    /// Whether the gate closes the permission `resource:action`.
    pub fn closes(&self, permission: &str) -> bool {
        let Some((resource, action)) = permission.split_once(':') else { return false };
        self.permissions.iter().any(|pattern| covers(pattern, resource, action))
    }
}

/// Whether a pattern of a gate means the permission.
pub fn covers(pattern: &PermissionPattern, resource: &str, action: &str) -> bool {
    let fits = |stated: &str, name: &str| stated == "*" || stated == name;
    fits(&pattern.resource, resource) && fits(&pattern.action, action)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::source::Source;
    use crate::policy::condition::Condition;

    fn gate(name: &str, permissions: &[&str]) -> GateDefinition {
        let condition = Condition::Feature { name: name.into(), settings: Vec::new() };
        GateDefinition {
            name: name.into(),
            permissions: permissions.iter().filter_map(|p| PermissionPattern::parse(p)).collect(),
            requires: vec![Requirement {
                condition,
                of: name.into(),
                mode: Mode::Enforce,
                source: Source::built_in(),
            }],
            mode: Mode::Enforce,
        }
    }

    fn features(gates: &Gates, roles: &RoleTable, resource: &str, action: &str) -> Vec<String> {
        let of = gates.of(roles.permission(resource, action).unwrap());
        let name = |requirement: &Requirement| match &requirement.condition {
            Condition::Feature { name, .. } => name.to_string(),
            other => panic!("{other:?}"),
        };
        of.iter().map(name).collect()
    }

    #[test]
    fn every_gate_of_a_permission_has_to_open() {
        let named = [("payments", "read"), ("payments", "admin"), ("events", "read")];
        let named = named.map(|(r, a)| (Arc::from(r), Arc::from(a))).into();
        let roles = RoleTable::compile(&[], Vec::new(), &named).unwrap();
        let gates = vec![gate("pay", &["payments:*"]), gate("careful", &["*:admin"])];
        let gates = Gates::compile(gates, &roles);
        assert_eq!(features(&gates, &roles, "payments", "read"), ["pay"]);
        assert_eq!(features(&gates, &roles, "payments", "admin"), ["pay", "careful"]);
        assert_eq!(features(&gates, &roles, "events", "read"), [""; 0]);
        assert!(gates.named("careful").is_some() && gates.named("absent").is_none());
    }
}
