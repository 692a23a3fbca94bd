//! A directory that a file states in full: the embedded default, and test fixtures.
//!
//! Everything is in memory and indexed; a reload replaces it in one step.

use std::cmp::Reverse;
use std::sync::Arc;

use ahash::HashMap;
use arc_swap::ArcSwap;

use crate::domain::directory::DirectoryData;
use crate::domain::ids::{OrgId, OrgSlug, UserId};
use crate::domain::known::Lookup;
use crate::domain::machine::{KeyId, MachineKey};
use crate::domain::organization::{MemberStatus, Membership, OrgSelector, OrgStatus, Organization};

/// A directory in memory.
pub struct FileDirectory {
    index: ArcSwap<Index>,
}

#[derive(Default)]
struct Index {
    by_id: HashMap<OrgId, Arc<Organization>>,
    by_slug: HashMap<OrgSlug, Arc<Organization>>,
    users: HashMap<UserId, User>,
    machine_keys: HashMap<KeyId, Arc<MachineKey>>,
}

#[derive(Default)]
struct User {
    memberships: HashMap<OrgId, Arc<Membership>>,
    default: Option<Arc<Membership>>,
}

impl FileDirectory {
    /// Indexes what a file states.
    pub fn new(data: &DirectoryData) -> Self {
        Self { index: ArcSwap::from_pointee(Index::new(data)) }
    }

    /// Puts another state in its place.
    pub fn replace(&self, data: &DirectoryData) {
        self.index.store(Arc::new(Index::new(data)));
    }

    /// The organization so named.
    pub fn organization(&self, selector: &OrgSelector) -> Lookup<Arc<Organization>> {
        let index = self.index.load();
        let found = match selector {
            OrgSelector::Id(id) => index.by_id.get(id),
            OrgSelector::Slug(slug) => index.by_slug.get(slug),
        };
        lookup(found)
    }

    /// The user's membership in the organization.
    pub fn membership(&self, user: &UserId, organization: OrgId) -> Lookup<Arc<Membership>> {
        let index = self.index.load();
        lookup(index.users.get(user).and_then(|user| user.memberships.get(&organization)))
    }

    /// The user's most recently joined active membership in an active organization.
    pub fn default_membership(&self, user: &UserId) -> Lookup<Arc<Membership>> {
        let index = self.index.load();
        lookup(index.users.get(user).and_then(|user| user.default.as_ref()))
    }

    /// The key of a machine.
    pub fn machine_key(&self, id: KeyId) -> Lookup<Arc<MachineKey>> {
        lookup(self.index.load().machine_keys.get(&id))
    }
}

impl Index {
    fn new(data: &DirectoryData) -> Self {
        let mut index = Self::default();
        for organization in &data.organizations {
            let organization = Arc::new(organization.clone());
            index.by_slug.insert(organization.slug.clone(), Arc::clone(&organization));
            index.by_id.insert(organization.id, organization);
        }
        for membership in &data.memberships {
            let membership = Arc::new(membership.clone());
            let served = index
                .by_id
                .get(&membership.organization)
                .is_some_and(|organization| organization.status == OrgStatus::Active);
            let user = index.users.entry(membership.user.clone()).or_default();
            if served && membership.status == MemberStatus::Active {
                // Ties go to the smaller id, as in the database's `order by`.
                let rank = |m: &Membership| (m.joined_at, Reverse(m.organization));
                let later =
                    user.default.as_ref().is_none_or(|first| rank(first) < rank(&membership));
                if later {
                    user.default = Some(Arc::clone(&membership));
                }
            }
            user.memberships.insert(membership.organization, membership);
        }
        let keys = data.machine_keys.iter().map(|key| (key.id, Arc::new(key.clone())));
        index.machine_keys = keys.collect();
        index
    }
}

fn lookup<T>(found: Option<&Arc<T>>) -> Lookup<Arc<T>> {
    found.map_or(Lookup::Absent, |found| Lookup::Found(Arc::clone(found)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::organization::Demands;

    fn id(number: u128) -> OrgId {
        OrgId::new(uuid::Uuid::from_u128(number))
    }

    fn organization(number: u128, slug: &str, status: OrgStatus) -> Organization {
        Organization {
            id: id(number),
            slug: slug.parse().unwrap(),
            status,
            plan: "free".into(),
            features: BTreeMap::new(),
            demands: Demands::default(),
            stage: None,
        }
    }

    fn membership(number: u128, status: MemberStatus, joined_at: u64) -> Membership {
        Membership {
            organization: id(number),
            user: "u".parse().unwrap(),
            role: "viewer".into(),
            status,
            joined_at,
            more: None,
        }
    }

    fn default_of(data: &DirectoryData) -> Lookup<OrgId> {
        match FileDirectory::new(data).default_membership(&"u".parse().unwrap()) {
            Lookup::Found(membership) => Lookup::Found(membership.organization),
            Lookup::Absent => Lookup::Absent,
            Lookup::Away(outage) => Lookup::Away(outage),
        }
    }

    #[test]
    fn the_default_is_the_latest_active_membership_in_an_active_organization() {
        let organizations = vec![
            organization(1, "a", OrgStatus::Active),
            organization(2, "b", OrgStatus::Active),
            organization(3, "c", OrgStatus::Suspended),
            organization(4, "d", OrgStatus::Active),
        ];
        let memberships = vec![
            membership(2, MemberStatus::Active, 20),
            membership(1, MemberStatus::Active, 10),
            membership(3, MemberStatus::Active, 30),
            membership(4, MemberStatus::Suspended, 40),
        ];
        let mut data = DirectoryData { organizations, memberships, ..<_>::default() };
        assert_eq!(default_of(&data), Lookup::Found(id(2)));
        data.memberships.remove(0);
        assert_eq!(default_of(&data), Lookup::Found(id(1)));
        data.memberships.remove(0);
        assert_eq!(default_of(&data), Lookup::Absent);
    }

    #[test]
    fn organizations_are_found_by_id_and_by_slug_until_they_are_replaced() {
        let organizations = vec![organization(1, "a", OrgStatus::Active)];
        let file = FileDirectory::new(&DirectoryData { organizations, ..<_>::default() });
        let by_slug = OrgSelector::Slug("a".parse().unwrap());
        assert!(matches!(file.organization(&by_slug), Lookup::Found(org) if org.id == id(1)));
        let by_id = OrgSelector::Id(id(1));
        assert!(matches!(file.organization(&by_id), Lookup::Found(_)));
        file.replace(&DirectoryData::default());
        assert_eq!(file.organization(&by_id), Lookup::Absent);
        assert_eq!(file.organization(&by_slug), Lookup::Absent);
    }
}
