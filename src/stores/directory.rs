//! Organizations and members: from a file, or from PostgreSQL with a memory in front.
//!
//! The core asks what is [known](Directory::organization) without waiting; the shell
//! [finds out](Directory::find_organization) the rest. An outage is an answer: what was found once
//! serves until `max_stale`, what was not is [`Lookup::Away`], never absent.

use std::sync::Arc;

use crate::domain::clock::Now;
use crate::domain::ids::{OrgId, UserId};
use crate::domain::known::{Join, Lookup};
use crate::domain::machine::{KeyId, MachineKey};
use crate::domain::organization::{Membership, OrgSelector, Organization};

mod connections;
pub mod file;
mod flights;
mod invalidation;
mod joining;
pub mod postgres;
mod rows;
mod shelf;
pub(super) mod url;
mod uses;

pub use file::FileDirectory;
pub use postgres::PostgresStore;

/// Where organizations and members are kept.
pub enum Directory {
    /// In a file: everything is known.
    File(FileDirectory),
    /// In PostgreSQL.
    Postgres(Arc<PostgresStore>),
}

impl Directory {
    /// The organization, if this node knows.
    pub fn organization(
        &self,
        selector: &OrgSelector,
        now: Now,
    ) -> Option<Lookup<Arc<Organization>>> {
        match self {
            Self::File(file) => Some(file.organization(selector)),
            Self::Postgres(postgres) => postgres.organization(selector, now),
        }
    }

    /// The membership, if this node knows.
    pub fn membership(
        &self,
        user: &UserId,
        organization: OrgId,
        now: Now,
    ) -> Option<Lookup<Arc<Membership>>> {
        match self {
            Self::File(file) => Some(file.membership(user, organization)),
            Self::Postgres(postgres) => postgres.membership(user, organization, now),
        }
    }

    /// The user's default membership, if this node knows.
    pub fn default_membership(&self, user: &UserId, now: Now) -> Option<Lookup<Arc<Membership>>> {
        match self {
            Self::File(file) => Some(file.default_membership(user)),
            Self::Postgres(postgres) => postgres.default_membership(user, now),
        }
    }

    /// The key of a machine, if this node knows.
    pub fn machine_key(&self, id: KeyId, now: Now) -> Option<Lookup<Arc<MachineKey>>> {
        match self {
            Self::File(file) => Some(file.machine_key(id)),
            Self::Postgres(postgres) => postgres.machine_key(id, now),
        }
    }

    /// Finds the organization.
    pub async fn find_organization(&self, selector: &OrgSelector) -> Lookup<Arc<Organization>> {
        match self {
            Self::File(file) => file.organization(selector),
            Self::Postgres(postgres) => postgres.find_organization(selector).await,
        }
    }

    /// Finds the membership.
    pub async fn find_membership(
        &self,
        user: &UserId,
        organization: OrgId,
    ) -> Lookup<Arc<Membership>> {
        match self {
            Self::File(file) => file.membership(user, organization),
            Self::Postgres(postgres) => postgres.find_membership(user, organization).await,
        }
    }

    /// Finds the user's default membership.
    pub async fn find_default_membership(&self, user: &UserId) -> Lookup<Arc<Membership>> {
        match self {
            Self::File(file) => file.default_membership(user),
            Self::Postgres(postgres) => postgres.find_default_membership(user).await,
        }
    }

    /// Finds the key of a machine.
    pub async fn find_machine_key(&self, id: KeyId) -> Lookup<Arc<MachineKey>> {
        match self {
            Self::File(file) => file.machine_key(id),
            Self::Postgres(postgres) => postgres.find_machine_key(id).await,
        }
    }

    /// Makes a membership, or brings it up to date; what it is now, and whether this call changed it.
    pub async fn join(&self, join: &Arc<Join>, now: Now) -> (Lookup<Arc<Membership>>, bool) {
        match self {
            Self::File(file) => file.join(join, now),
            Self::Postgres(postgres) => postgres.join(join).await,
        }
    }

    /// The key of a machine was used. Waits for nothing; files do not keep it.
    pub fn machine_key_used(&self, id: KeyId, now: Now) {
        match self {
            Self::File(_) => {}
            Self::Postgres(postgres) => postgres.machine_key_used(id, now),
        }
    }

    /// Whether it can be asked right now: for readiness.
    pub fn is_reachable(&self) -> bool {
        match self {
            Self::File(_) => true,
            Self::Postgres(postgres) => postgres.is_reachable(),
        }
    }
}
