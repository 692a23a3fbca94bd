//! What this node knows without waiting. The core asks; `None` or [`Keys::Ask`] means that the
//! shell has to find out, and the stage returns the matching
//! [`Question`](crate::domain::known::Question).

use std::sync::Arc;

use crate::domain::ids::{OrgId, UserId};
use crate::domain::known::{IssuerIndex, Join, Lookup};
use crate::domain::machine::{KeyId, MachineKey};
use crate::domain::organization::{Membership, OrgSelector, Organization};
use crate::domain::principal::VerifiedToken;
use crate::domain::session::{LastUse, Standing};
use crate::domain::trusted::TrustedDevice;

use super::identity::KeySet;

/// The keys of an issuer, as far as this node has them.
#[derive(Debug, Clone)]
pub enum Keys {
    /// These are all there are to be had now.
    Are(Arc<KeySet>),
    /// A fetch could bring the wanted key and is due: ask for it.
    Ask,
    /// No key of the issuer was ever fetched, and it is not time to try again.
    Away,
}

/// What this node knows.
pub trait Known: Send + Sync {
    /// The fetched keys of an issuer, when a token names `kid`. Keys that the configuration states
    /// are in the snapshot.
    fn keys(&self, issuer: IssuerIndex, kid: Option<&str>) -> Keys;

    /// A token that was verified before. Its times still have to be checked.
    fn remembered(&self, token: &str) -> Option<Arc<VerifiedToken>>;

    /// Remembers a token that was just verified.
    fn remember(&self, token: &str, verified: &Arc<VerifiedToken>);

    /// Whether a verified token still counts. Asked at each use.
    fn standing(&self, token: &VerifiedToken) -> Standing;

    /// Whether a device that the user showed is still trusted.
    fn trusts(&self, user: &UserId, device: TrustedDevice) -> bool;

    /// When the token's session was last used, or may have been without this node's knowledge.
    fn last_use(&self, token: &VerifiedToken) -> LastUse;

    /// The organization so named.
    fn organization(&self, selector: &OrgSelector) -> Option<Lookup<Arc<Organization>>>;

    /// The user's membership in the organization.
    fn membership(&self, user: &UserId, organization: OrgId) -> Option<Lookup<Arc<Membership>>>;

    /// The user's most recently joined active membership in an active organization.
    fn default_membership(&self, user: &UserId) -> Option<Lookup<Arc<Membership>>>;

    /// The machine's key of that id.
    fn machine_key(&self, id: KeyId) -> Option<Lookup<Arc<MachineKey>>>;

    /// What became of a membership that was to be made.
    fn joined(&self, join: &Join) -> Option<Lookup<Arc<Membership>>>;
}
