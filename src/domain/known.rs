//! Questions to the world, and what a node answers to them.
//!
//! The core never waits. A stage asks what this node [knows](crate::policy::known::Known); what it
//! does not know it returns as a [`Question`], the shell awaits the answer and decides again. An
//! outage is an answer like any other.

use std::fmt;
use std::sync::Arc;

use super::ids::{OrgId, UserId};
use super::machine::{KeyId, MachineKey};
use super::organization::{Membership, OrgSelector, Organization};

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
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Directory => "directory",
            Self::Keys => "keys",
            Self::Limits => "limits",
            Self::Sessions => "sessions",
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
}

/// The place of an issuer in the snapshot's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IssuerIndex(pub u16);
