//! What roles may do: the whole matrix of roles and permissions, inheritance included.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::policy::roles::{Role, RoleTable};

use super::change::{Changes, Pair, listed, paired};
use super::gates::conditions;

/// Compares roles.
pub(super) fn compare(before: &RoleTable, after: &RoleTable, changes: &mut Changes) {
    let named = |role: &'_ Arc<Role>| role.name.to_string();
    let a: Vec<(String, &Arc<Role>)> = before.roles().map(|role| (named(role), role)).collect();
    let b: Vec<(String, &Arc<Role>)> = after.roles().map(|role| (named(role), role)).collect();
    let pairs = paired(
        a.iter().map(|(name, role)| (name.as_str(), *role)),
        b.iter().map(|(name, role)| (name.as_str(), *role)),
    );
    for (name, pair) in pairs {
        match pair {
            Pair::Gone(role) => {
                let may = allowed(role, before);
                let mut subject = changes.of("role", name, Some(&role.source), None);
                subject.closes(format!("removed, with {}", shown(&may)));
            }
            Pair::New(role) => {
                let may = allowed(role, after);
                let mut subject = changes.of("role", name, None, Some(&role.source));
                subject.opens(format!("new, with {}", shown(&may)));
            }
            Pair::Both(of, now) => {
                let (had, has) = (allowed(of, before), allowed(now, after));
                let mut subject = changes.of("role", name, Some(&of.source), Some(&now.source));
                let gained = has.difference(&had).filter(|name| differs(of, before, name));
                let gained: Vec<&Arc<str>> = gained.collect();
                let lost = had.difference(&has).filter(|name| differs(now, after, name));
                let lost: Vec<&Arc<str>> = lost.collect();
                if !gained.is_empty() {
                    subject.opens(format!("gains {}", listed(&gained)));
                }
                if !lost.is_empty() {
                    subject.closes(format!("loses {}", listed(&lost)));
                }
                subject.shown("level", of.level, now.level);
                conditions(&of.requires, &now.requires, &mut subject);
            }
        }
    }
    let apart = |table: &RoleTable| -> Vec<String> {
        table.separations().map(|pair| format!("{} and {}", pair.roles[0], pair.roles[1])).collect()
    };
    let mut subject = changes.of("separate", "", None, None);
    subject.closing("the pair", &apart(before), &apart(after));
}

fn allowed(role: &Role, table: &RoleTable) -> BTreeSet<Arc<str>> {
    let allowed = table.permissions().filter(|(id, _)| role.allows(*id));
    allowed.map(|(_, name)| Arc::clone(name)).collect()
}

/// Whether it matters that a role has a permission on the other side, and not on this one. Where a
/// wildcard of it would grant the permission here, and what it is for is there, it only was not named:
/// somebody else's `events:admin` gives nothing to a role with `*:admin`.
fn differs(role: &Role, table: &RoleTable, permission: &str) -> bool {
    let Some((resource, action)) = permission.split_once(':') else { return true };
    let known = |(_, name): (_, &Arc<str>)| name.split(':').next() == Some(resource);
    role.grant_for(resource, action).is_none() || !table.permissions().any(known)
}

fn shown(permissions: &BTreeSet<Arc<str>>) -> String {
    let names: Vec<&Arc<str>> = permissions.iter().collect();
    if names.is_empty() { "no permission".to_owned() } else { listed(&names) }
}
