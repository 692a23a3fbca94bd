//! A whole directory as data: what a directory file states, and what test fixtures are.

use super::machine::MachineKey;
use super::organization::{Membership, Organization};

/// Organizations, memberships and keys of machines; `config` has checked that ids and slugs are
/// unique and that every membership and key names an organization that is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DirectoryData {
    /// All organizations.
    pub organizations: Vec<Organization>,
    /// All memberships.
    pub memberships: Vec<Membership>,
    /// All keys of machines.
    pub machine_keys: Vec<MachineKey>,
}
