//! What an upstream may learn of the caller: verified facts only, ready to be put in a token.

use std::sync::Arc;

use http::HeaderValue;

use super::ids::{OrgId, UserId};
use super::machine::KeyId;
use super::organization::TeamName;
use super::principal::PrincipalKind;

/// The verified caller, as an upstream's token states it. Two equal callers get the same token.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Caller {
    /// Decides the database role.
    pub kind: PrincipalKind,
    /// `sub`.
    pub user: Option<UserId>,
    /// `act` (RFC 8693 section 4.1): who acts as that user.
    pub actor: Option<UserId>,
    /// `org_id`.
    pub org: Option<OrgId>,
    /// `org_role`.
    pub org_role: Option<Arc<str>>,
    /// `org_team`: the team for which the caller's right was proven.
    pub org_team: Option<TeamName>,
    /// `key_id`: the key of a machine.
    pub key: Option<KeyId>,
    /// `session_id`.
    pub session_id: Option<Arc<str>>,
    /// When the caller's own credential expires, in seconds since 1970: no token made from it may
    /// live for longer.
    pub expires_at: Option<u64>,
}

/// A token that was made for an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Minted {
    /// `Bearer …`, marked as sensitive.
    pub authorization: HeaderValue,
    /// Its `exp`, in seconds since 1970.
    pub expires_at: u64,
}
