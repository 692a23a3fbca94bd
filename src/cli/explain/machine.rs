//! `explain --as-key`: a request with the key of a machine whose secret nobody here has.
//!
//! A fresh secret stands in for it, in this process only: everything else of the key is what the
//! directory says, and the request goes through the same checks as one with the real key.

use std::sync::Arc;

use anyhow::anyhow;

use crate::domain::ids::{OrgId, UserId};
use crate::domain::known::{Answer, IssuerIndex, Join, Lookup, Question};
use crate::domain::machine::{KeyId, MachineKey, NewKey};
use crate::domain::organization::{Membership, OrgSelector, Organization};
use crate::domain::principal::VerifiedToken;
use crate::domain::secret::Secret;
use crate::domain::session::{LastUse, Standing};
use crate::domain::trusted::TrustedDevice;
use crate::policy::Snapshot;
use crate::policy::known::{Keys, Known};
use crate::stores::node::{Facts, NodeKnowledge};

use super::super::{Failure, keys};

/// A key, and a secret that stands in for its own.
pub(super) struct StandIn {
    /// The whole key, to be put into the request.
    pub(super) key: Secret,
    known: Arc<MachineKey>,
}

impl StandIn {
    /// Looks the key up.
    pub(super) async fn find(
        id: KeyId,
        snapshot: &Snapshot,
        node: &NodeKnowledge,
    ) -> Result<Self, Failure> {
        let pepper = snapshot.identity.machines.as_ref().ok_or_else(|| {
            Failure::usage("the configuration has no `identity.machines`, and so no keys")
        })?;
        let found = match node.find_out(&Question::MachineKey(id)).await {
            Answer::MachineKey(Lookup::Found(found)) => found,
            Answer::MachineKey(Lookup::Absent) => {
                return Err(Failure::usage(format!("the directory has no key `{id}`")));
            }
            Answer::MachineKey(Lookup::Away(_))
            | Answer::KeysLookedUp
            | Answer::Organization(_)
            | Answer::Membership(_)
            | Answer::Joined { .. } => {
                return Err(anyhow!("the directory cannot be asked for keys").into());
            }
        };
        let new = NewKey::again(id, keys::random()?).map_err(|error| anyhow!("{error}"))?;
        let hash = pepper.hash(new.key.expose());
        let known = Arc::new(MachineKey { hash, previous: None, ..(*found).clone() });
        Ok(Self { key: new.key, known })
    }

    /// What the node knows, and this.
    pub(super) fn beside<'k>(&'k self, facts: &'k Facts<'k>) -> Beside<'k> {
        Beside { facts, known: &self.known }
    }
}

/// What a node knows, with one key in place of its own.
pub(super) struct Beside<'k> {
    facts: &'k Facts<'k>,
    known: &'k Arc<MachineKey>,
}

impl Known for Beside<'_> {
    fn keys(&self, issuer: IssuerIndex, kid: Option<&str>) -> Keys {
        self.facts.keys(issuer, kid)
    }

    fn remembered(&self, token: &str) -> Option<Arc<VerifiedToken>> {
        self.facts.remembered(token)
    }

    fn remember(&self, token: &str, verified: &Arc<VerifiedToken>) {
        self.facts.remember(token, verified);
    }

    fn standing(&self, token: &VerifiedToken) -> Standing {
        self.facts.standing(token)
    }

    fn trusts(&self, user: &UserId, device: TrustedDevice) -> bool {
        self.facts.trusts(user, device)
    }

    fn last_use(&self, token: &VerifiedToken) -> LastUse {
        self.facts.last_use(token)
    }

    fn organization(&self, selector: &OrgSelector) -> Option<Lookup<Arc<Organization>>> {
        self.facts.organization(selector)
    }

    fn membership(&self, user: &UserId, organization: OrgId) -> Option<Lookup<Arc<Membership>>> {
        self.facts.membership(user, organization)
    }

    fn default_membership(&self, user: &UserId) -> Option<Lookup<Arc<Membership>>> {
        self.facts.default_membership(user)
    }

    fn machine_key(&self, id: KeyId) -> Option<Lookup<Arc<MachineKey>>> {
        if id == self.known.id {
            return Some(Lookup::Found(Arc::clone(self.known)));
        }
        self.facts.machine_key(id)
    }

    fn joined(&self, join: &Join) -> Option<Lookup<Arc<Membership>>> {
        self.facts.joined(join)
    }
}
