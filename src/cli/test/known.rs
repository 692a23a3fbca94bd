//! What is known in one case: its directory, its caller, and what is away.

use std::sync::Arc;

use crate::domain::ids::{OrgId, UserId};
use crate::domain::known::{IssuerIndex, Join, Lookup, Outage};
use crate::domain::machine::{KeyId, MachineKey};
use crate::domain::organization::{Membership, OrgSelector, Organization};
use crate::domain::principal::VerifiedToken;
use crate::domain::session::{LastUse, Standing};
use crate::domain::trusted::TrustedDevice;
use crate::policy::known::{Keys, Known};
use crate::stores::directory::FileDirectory;

/// What is known in one case.
pub(super) struct CaseKnown<'w> {
    pub(super) directory: &'w FileDirectory,
    pub(super) member: Option<Arc<Membership>>,
    pub(super) machine: Option<Arc<MachineKey>>,
    /// How the caller's session stands.
    pub(super) standing: Standing,
    /// Whether the directory does not answer.
    pub(super) away: bool,
}

impl CaseKnown<'_> {
    /// What the directory says, unless it is away.
    fn here<T>(&self, says: impl FnOnce() -> Lookup<T>) -> Lookup<T> {
        if self.away { Lookup::Away(Outage::Directory) } else { says() }
    }

    fn member(&self, user: &UserId) -> Option<Lookup<Arc<Membership>>> {
        let member = self.member.as_ref().filter(|member| member.user == *user)?;
        Some(Lookup::Found(Arc::clone(member)))
    }
}

impl Known for CaseKnown<'_> {
    fn keys(&self, _: IssuerIndex, _: Option<&str>) -> Keys {
        Keys::Are(Arc::default())
    }

    fn remembered(&self, _: &str) -> Option<Arc<VerifiedToken>> {
        None
    }

    fn remember(&self, _: &str, _: &Arc<VerifiedToken>) {}

    fn standing(&self, _token: &VerifiedToken) -> Standing {
        self.standing
    }

    fn trusts(&self, _: &UserId, _: TrustedDevice) -> bool {
        true
    }

    fn last_use(&self, _: &VerifiedToken) -> LastUse {
        LastUse::default()
    }

    fn organization(&self, selector: &OrgSelector) -> Option<Lookup<Arc<Organization>>> {
        Some(self.here(|| self.directory.organization(selector)))
    }

    fn membership(&self, user: &UserId, org: OrgId) -> Option<Lookup<Arc<Membership>>> {
        let made = self
            .member(user)
            .filter(|found| matches!(found, Lookup::Found(member) if member.organization == org));
        Some(self.here(|| made.unwrap_or_else(|| self.directory.membership(user, org))))
    }

    fn joined(&self, join: &Join) -> Option<Lookup<Arc<Membership>>> {
        Some(self.here(|| Lookup::Found(Arc::new(join.membership(0)))))
    }

    fn machine_key(&self, id: KeyId) -> Option<Lookup<Arc<MachineKey>>> {
        let made = self.machine.as_ref().filter(|made| made.id == id);
        let made = made.map(|made| Lookup::Found(Arc::clone(made)));
        Some(self.here(|| made.unwrap_or_else(|| self.directory.machine_key(id))))
    }

    fn default_membership(&self, user: &UserId) -> Option<Lookup<Arc<Membership>>> {
        let made = || self.member(user).unwrap_or_else(|| self.directory.default_membership(user));
        Some(self.here(made))
    }
}
