//! Who calls.

use std::sync::Arc;

use smallvec::SmallVec;

use super::ids::UserId;
use super::known::IssuerIndex;
use super::machine::MachineKey;
use super::organization::OrgSelector;
use super::session::{Marks, Noted};

/// The caller, as far as credentials prove it.
#[derive(Debug, Clone)]
pub enum Principal {
    /// A user with a verified token.
    User {
        /// Their id: the token's `sub`.
        id: UserId,
        /// The token.
        token: Arc<VerifiedToken>,
    },
    /// A service with a secret key.
    Service {
        /// The name of the key in the configuration, or of the issuer of the service token.
        name: Arc<str>,
    },
    /// A machine of one organization, with a key of the gateway.
    Machine {
        /// What the directory knows of the key.
        key: Arc<MachineKey>,
        /// Until when the secret that was shown counts, in seconds since 1970.
        until: Option<u64>,
    },
    /// Nobody in particular: a publishable key, an anonymous token, or no credential.
    Anonymous,
}

impl Principal {
    /// The word for logs, metrics and policies.
    pub fn kind(&self) -> PrincipalKind {
        match self {
            Self::User { .. } => PrincipalKind::User,
            Self::Service { .. } => PrincipalKind::Service,
            Self::Machine { .. } => PrincipalKind::Machine,
            Self::Anonymous => PrincipalKind::Anonymous,
        }
    }

    /// The user's id, if it is a user.
    pub fn user(&self) -> Option<&UserId> {
        match self {
            Self::User { id, .. } => Some(id),
            Self::Service { .. } | Self::Machine { .. } | Self::Anonymous => None,
        }
    }

    /// What tells it apart from others of its kind in the log: a user's id, or that of a key.
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::User { id, .. } => Some(id.as_str()),
            Self::Machine { key, .. } => Some(key.id.as_str()),
            Self::Service { .. } | Self::Anonymous => None,
        }
    }

    /// The token, if it is a user.
    pub fn token(&self) -> Option<&Arc<VerifiedToken>> {
        match self {
            Self::User { token, .. } => Some(token),
            Self::Service { .. } | Self::Machine { .. } | Self::Anonymous => None,
        }
    }

    /// The key, if it is a machine.
    pub fn machine(&self) -> Option<&Arc<MachineKey>> {
        match self {
            Self::Machine { key, .. } => Some(key),
            Self::User { .. } | Self::Service { .. } | Self::Anonymous => None,
        }
    }
}

/// The kinds of principal, as a bounded label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PrincipalKind {
    /// See [`Principal::User`].
    User,
    /// See [`Principal::Service`].
    Service,
    /// See [`Principal::Machine`].
    Machine,
    /// See [`Principal::Anonymous`].
    Anonymous,
}

impl PrincipalKind {
    /// As policies, logs and metrics write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Service => "service",
            Self::Machine => "machine",
            Self::Anonymous => "anonymous",
        }
    }
}

/// A token whose signature and issuer-bound claims were verified. Its times are checked at each
/// use, because it is remembered.
#[derive(Debug)]
pub struct VerifiedToken {
    /// The issuer whose key verified it.
    pub issuer: IssuerIndex,
    /// What revocations know it by.
    pub marks: Marks,
    /// When its use was last noted.
    pub noted: Noted,
    /// `sub`, where it is a valid user id.
    pub subject: Option<UserId>,
    /// `role`: the database role that Supabase and PostgREST read from a token.
    pub role: Option<Arc<str>>,
    /// `session_id`.
    pub session_id: Option<Arc<str>>,
    /// `exp`, in seconds since 1970.
    pub expires_at: u64,
    /// `nbf`, in seconds since 1970.
    pub not_before: Option<u64>,
    /// `iat`, in seconds since 1970.
    pub issued_at: Option<u64>,
    /// Whether a second factor was shown: `aal` is `aal2`.
    pub second_factor: bool,
    /// When the last second factor was shown, by `amr`, in seconds since 1970.
    pub factor_at: Option<u64>,
    /// When the user signed in, by `amr` or `auth_time`, in seconds since 1970.
    pub signed_in_at: Option<u64>,
    /// What it says in the claims in which the policy looks for an organization, in the policy's
    /// order. The other claims are not kept: they would be most of what a user costs in memory.
    pub organizations: Box<[ClaimedOrganization]>,
    /// What it says of roles and of where its user belongs, where the policy reads that.
    pub vouched: Option<Box<Vouched>>,
}

/// What a token says of its user's role and organization, by the places of the policy's lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vouched {
    /// The lines of the mapping of roles that its claim matches, in the order of the file.
    pub lines: SmallVec<[u16; 4]>,
    /// The line of the mail domain of its user.
    pub domain: Option<u16>,
}

impl VerifiedToken {
    /// When its session began, as far as it says: a token without `amr` was issued at that time or
    /// later.
    pub fn began(&self) -> Option<u64> {
        self.signed_in_at.or(self.issued_at)
    }
}

/// What a token says of an organization, in one claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimedOrganization {
    /// Nothing: the claim is absent or `null`.
    None,
    /// This one.
    Named(OrgSelector),
    /// Something that names none.
    Malformed,
}
