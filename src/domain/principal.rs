//! Who calls.

use std::sync::Arc;

use super::ids::UserId;
use super::known::IssuerIndex;

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
    /// Nobody in particular: a publishable key, an anonymous token, or no credential.
    Anonymous,
}

impl Principal {
    /// The word for logs, metrics and policies.
    pub fn kind(&self) -> PrincipalKind {
        match self {
            Self::User { .. } => PrincipalKind::User,
            Self::Service { .. } => PrincipalKind::Service,
            Self::Anonymous => PrincipalKind::Anonymous,
        }
    }

    /// The user's id, if it is a user.
    pub fn user(&self) -> Option<&UserId> {
        match self {
            Self::User { id, .. } => Some(id),
            Self::Service { .. } | Self::Anonymous => None,
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
    /// See [`Principal::Anonymous`].
    Anonymous,
}

impl PrincipalKind {
    /// As policies, logs and metrics write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Service => "service",
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
    /// All claims, for claim paths in policies.
    pub claims: serde_json::Map<String, serde_json::Value>,
}
