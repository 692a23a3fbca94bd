//! Questions to the world, and what a node answers to them.
//!
//! The core never waits. A stage asks what this node [knows](crate::policy::known::Known); what it
//! does not know it returns as a [`Question`], the shell awaits the answer and decides again. An
//! outage is an answer like any other.

use std::fmt;
use std::sync::Arc;

use super::ids::{OrgId, UserId};
use super::machine::{KeyId, MachineKey};
use super::organization::{MemberStatus, Membership, MoreRights, OrgSelector, Organization};

/// The answer of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup<T> {
    /// It is there.
    Found(T),
    /// The directory is sure that it is not.
    Absent,
    /// The directory could not be asked and nothing fresh enough is remembered.
    Away(Outage),
}

/// Which dependency did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outage {
    /// The organization directory.
    Directory,
    /// The key set of an issuer, before any key of it was ever fetched.
    Keys,
    /// The shared store of rate limits.
    Limits,
    /// The shared store of sessions.
    Sessions,
    /// The ledger of usage.
    Usage,
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Directory => "directory",
            Self::Keys => "keys",
            Self::Limits => "limits",
            Self::Sessions => "sessions",
            Self::Usage => "usage",
        })
    }
}

/// What a stage needs and this node does not know yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Question {
    /// The key of that id, of that issuer (its index in the snapshot).
    Key {
        /// Index of the issuer in the snapshot.
        issuer: IssuerIndex,
        /// The token's `kid`.
        kid: Box<str>,
    },
    /// The organization so named.
    Organization(OrgSelector),
    /// The user's membership in the organization.
    Membership(UserId, OrgId),
    /// The membership that counts where a request names no organization.
    DefaultMembership(UserId),
    /// The machine's key of that id.
    MachineKey(KeyId),
    /// Make this membership, or bring it up to date, and say what it is now.
    Join(Arc<Join>),
}

/// A membership that an identity provider vouches for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Join {
    /// Whose.
    pub user: UserId,
    /// In which organization.
    pub organization: OrgId,
    /// The role.
    pub role: Arc<str>,
    /// Further roles.
    pub further: Box<[Arc<str>]>,
    /// When the provider said so, in seconds since 1970: what it said later counts.
    pub as_of: u64,
    /// What is to be done.
    pub change: MembershipChange,
}

/// What an identity provider's word does to a membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MembershipChange {
    /// It is made, where there is none.
    Created,
    /// Its role is brought up to date.
    RoleChanged,
}

impl MembershipChange {
    /// As the audit log writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::RoleChanged => "role_changed",
        }
    }
}

impl Join {
    /// The membership as it is once it was made, for a user who joined then.
    pub fn membership(&self, joined_at: u64) -> Membership {
        let more = MoreRights {
            roles: self.further.to_vec(),
            role_as_of: Some(self.as_of),
            ..MoreRights::default()
        };
        Membership {
            organization: self.organization,
            user: self.user.clone(),
            role: Arc::clone(&self.role),
            status: MemberStatus::Active,
            joined_at,
            more: Some(Box::new(more)),
        }
    }
}

/// The answer to a [`Question`] about the directory; key questions are answered by the key set.
#[derive(Debug, Clone)]
pub enum Answer {
    /// The key set was refreshed, or it was not its time yet: look again, and be content.
    KeysLookedUp,
    /// About an organization.
    Organization(Lookup<Arc<Organization>>),
    /// About a membership, stated or default.
    Membership(Lookup<Arc<Membership>>),
    /// About a machine's key.
    MachineKey(Lookup<Arc<MachineKey>>),
    /// About a membership that was to be made.
    Joined {
        /// What it is now.
        membership: Lookup<Arc<Membership>>,
        /// Whether this very question changed it.
        changed: bool,
    },
}

/// The place of an issuer in the snapshot's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IssuerIndex(pub u16);
