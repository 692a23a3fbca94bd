//! A directory that a file states in full: the embedded default, and test fixtures.
//!
//! Everything is in memory and indexed; a reload replaces it in one step. Members who were let in by
//! their identity provider are in memory only, and gone with it.

use std::cmp::Reverse;
use std::sync::{Arc, PoisonError, RwLock};

use ahash::HashMap;
use arc_swap::ArcSwap;

use crate::domain::clock::Now;
use crate::domain::directory::DirectoryData;
use crate::domain::ids::{OrgId, OrgSlug, UserId};
use crate::domain::known::{Join, Lookup, MembershipChange, Outage};
use crate::domain::machine::{KeyId, MachineKey};
use crate::domain::organization::{MemberStatus, Membership, OrgSelector, OrgStatus, Organization};

/// A directory in memory.
pub struct FileDirectory {
    index: ArcSwap<Index>,
    joined: RwLock<HashMap<UserId, Vec<Arc<Membership>>>>,
}

/// Users who may join besides those of the file; beyond that, joining is an outage.
const MOST_JOINED: usize = 65_536;

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
        Self { index: ArcSwap::from_pointee(Index::new(data)), joined: RwLock::default() }
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
        match index.users.get(user).and_then(|user| user.memberships.get(&organization)) {
            None if index.by_id.contains_key(&organization) => {
                lookup(self.joined(user).iter().find(|joined| joined.organization == organization))
            }
            stated => lookup(stated),
        }
    }

    /// Makes a membership beside those of the file, or brings one of those up to date. What the file
    /// states stays as it is.
    pub fn join(&self, join: &Join, now: Now) -> (Lookup<Arc<Membership>>, bool) {
        let index = self.index.load();
        let stated = index.users.get(&join.user);
        if let Some(stated) = stated.and_then(|user| user.memberships.get(&join.organization)) {
            return (Lookup::Found(Arc::clone(stated)), false);
        }
        let serves = |id| index.by_id.get(id).is_some_and(|org| org.status == OrgStatus::Active);
        if !serves(&join.organization) {
            return (Lookup::Absent, false);
        }
        let mut joined = self.joined.write().unwrap_or_else(PoisonError::into_inner);
        if joined.len() >= MOST_JOINED && !joined.contains_key(&join.user) {
            return (Lookup::Away(Outage::Directory), false);
        }
        let of_user = joined.entry(join.user.clone()).or_default();
        let found = of_user.iter_mut().find(|member| member.organization == join.organization);
        match (found, join.change) {
            (None, MembershipChange::Created) => {
                let made = Arc::new(join.membership(now.unix_secs()));
                of_user.push(Arc::clone(&made));
                (Lookup::Found(made), true)
            }
            (None, MembershipChange::RoleChanged) => (Lookup::Absent, false),
            (Some(found), MembershipChange::Created) => (Lookup::Found(Arc::clone(found)), false),
            (Some(found), MembershipChange::RoleChanged) => {
                let before = found.more.as_ref().and_then(|more| more.role_as_of);
                let newer = before.is_none_or(|before| before < join.as_of);
                if newer {
                    *found = Arc::new(join.membership(found.joined_at));
                }
                (Lookup::Found(Arc::clone(found)), newer)
            }
        }
    }

    fn joined(&self, user: &UserId) -> Vec<Arc<Membership>> {
        let joined = self.joined.read().unwrap_or_else(PoisonError::into_inner);
        joined.get(user).cloned().unwrap_or_default()
    }

    /// The user's most recently joined active membership in an active organization.
    pub fn default_membership(&self, user: &UserId) -> Lookup<Arc<Membership>> {
        let index = self.index.load();
        let stated = index.users.get(user).and_then(|user| user.default.as_ref());
        let serves = |joined: &Arc<Membership>| {
            let organization = index.by_id.get(&joined.organization);
            organization.is_some_and(|organization| organization.status == OrgStatus::Active)
        };
        let joined = self.joined(user).into_iter().filter(serves);
        let latest = joined.chain(stated.cloned()).max_by_key(|member| rank(member));
        lookup(latest.as_ref())
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

/// Ties go to the smaller id, as in the database's `order by`.
fn rank(membership: &Membership) -> (u64, Reverse<OrgId>) {
    (membership.joined_at, Reverse(membership.organization))
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
            limits: BTreeMap::new(),
            time_zone: None,
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

    #[test]
    fn who_joins_is_a_member_in_memory_beside_those_whom_the_file_states() {
        let organizations = vec![
            organization(1, "a", OrgStatus::Active),
            organization(2, "b", OrgStatus::Suspended),
        ];
        let memberships = vec![membership(1, MemberStatus::Suspended, 10)];
        let file =
            FileDirectory::new(&DirectoryData { organizations, memberships, ..<_>::default() });
        let now = Now { unix_micros: 50_000_000, mono_nanos: 0 };
        let join = |user: &str, number, role: &str, as_of, change| {
            let (user, role) = (user.parse().unwrap(), role.into());
            let join = Join {
                user,
                organization: id(number),
                role,
                further: Box::default(),
                as_of,
                change,
            };
            let (found, changed) = file.join(&join, now);
            let role = match found {
                Lookup::Found(member) => Some((member.role.to_string(), member.status)),
                Lookup::Absent => None,
                Lookup::Away(outage) => panic!("{outage}"),
            };
            (role, changed)
        };
        let active = |role: &str| Some((role.to_owned(), MemberStatus::Active));
        let (made, changed) = (MembershipChange::Created, MembershipChange::RoleChanged);
        assert_eq!(
            join("u", 1, "admin", 9, made),
            (Some(("viewer".into(), MemberStatus::Suspended)), false)
        );
        assert_eq!(join("v", 2, "admin", 9, made), (None, false), "suspended");
        assert_eq!(join("v", 3, "admin", 9, made), (None, false), "unknown");
        assert_eq!(join("v", 1, "admin", 9, changed), (None, false), "not a member yet");
        assert_eq!(join("v", 1, "viewer", 5, made), (active("viewer"), true));
        assert_eq!(join("v", 1, "admin", 9, made), (active("viewer"), false), "made already");
        assert_eq!(join("v", 1, "admin", 5, changed), (active("viewer"), false), "not newer");
        assert_eq!(join("v", 1, "admin", 6, changed), (active("admin"), true));
        let user = "v".parse().unwrap();
        assert!(matches!(file.membership(&user, id(1)), Lookup::Found(m) if m.joined_at == 50));
        assert!(matches!(file.default_membership(&user), Lookup::Found(_)));
        file.replace(&DirectoryData::default());
        assert_eq!(file.membership(&user, id(1)), Lookup::Absent, "its organization is gone");
        assert_eq!(file.default_membership(&user), Lookup::Absent);
    }
}
