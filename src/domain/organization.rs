//! Organizations and memberships, as the directory knows them.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::Arc;

use super::ids::{InvalidId, OrgId, OrgSlug, UserId};

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organization {
    /// Its id.
    pub id: OrgId,
    /// Its slug.
    pub slug: OrgSlug,
    /// Whether it may be served.
    pub status: OrgStatus,
    /// The name of its plan, as policies name plans.
    pub plan: Arc<str>,
    /// The features that are switched on for it.
    pub features: BTreeSet<Arc<str>>,
}

impl FromStr for OrgSelector {
    type Err = InvalidId;

    /// An id or a slug. A slug that looks like an id is an id.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text.parse() {
            Ok(id) => Ok(Self::Id(id)),
            Err(_) => text.parse().map(Self::Slug),
        }
    }
}

/// Whether an organization may be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrgStatus {
    /// It may.
    Active,
    /// It was suspended: members get `403 org_suspended`.
    Suspended,
}

/// A user's place in an organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The organization.
    pub organization: OrgId,
    /// The user.
    pub user: UserId,
    /// The name of the role, as policies name roles.
    pub role: Arc<str>,
    /// Whether it is in force.
    pub status: MemberStatus,
    /// When the user joined, in seconds since 1970: the most recent active one is the default.
    pub joined_at: u64,
}

/// Whether a membership is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberStatus {
    /// It is.
    Active,
    /// The user was invited and has not accepted.
    Invited,
    /// It was suspended: the member gets `403 member_suspended`.
    Suspended,
}

/// How a request names an organization.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum OrgSelector {
    /// By id.
    Id(OrgId),
    /// By slug.
    Slug(OrgSlug),
}

impl std::fmt::Display for OrgSelector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Slug(slug) => slug.fmt(f),
        }
    }
}
