//! Permissions as roles, grants and denials write them.
//!
//! May import nothing of this crate.

/// What `admin` on a resource implies.
pub const IMPLIED_BY_ADMIN: [&str; 3] = ["read", "write", "delete"];

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
        #[cfg(test)]
        super::steps::step();
        let resource_fits = &*self.resource == "*" || &*self.resource == resource;
        let action_fits = &*self.action == "*"
            || &*self.action == action
            || (&*self.action == "admin" && IMPLIED_BY_ADMIN.contains(&action));
        resource_fits && action_fits
    }

    /// Whether it takes the permission away. Whoever may not `read` cannot `admin` either: that
    /// would imply it.
    pub fn denies(&self, resource: &str, action: &str) -> bool {
        let implied = action == "admin" && IMPLIED_BY_ADMIN.contains(&&*self.action);
        let resource_fits = &*self.resource == "*" || &*self.resource == resource;
        self.grants(resource, action) || (resource_fits && implied)
    }
}

impl std::fmt::Display for PermissionPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.resource, self.action)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_of_a_part_takes_the_whole() {
        let denied = PermissionPattern::parse("events:delete").unwrap();
        assert!(denied.denies("events", "delete") && denied.denies("events", "admin"));
        assert!(!denied.denies("events", "read") && !denied.denies("people", "admin"));
        let all = PermissionPattern::parse("events:admin").unwrap();
        assert!(["read", "write", "delete", "admin"].iter().all(|a| all.denies("events", a)));
        assert!(!all.denies("events", "export"));
    }
}
