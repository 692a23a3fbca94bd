//! Impersonation: members of one organization who may act as users of others, to help them.
//!
//! Checked by the tenant stage. May import `domain`.

use std::time::Duration;

use crate::domain::organization::OrgSelector;
use crate::domain::source::Source;

use super::roles::PermissionId;

/// Who may act as somebody else, and how far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImpersonationPolicy {
    /// The organization whose members may.
    pub staff: OrgSelector,
    /// What they must be permitted there.
    pub permission: PermissionId,
    /// How long ago they may have shown a second factor: the time for which they may act.
    pub within: Duration,
    /// Whether they may only look.
    pub read_only: bool,
    /// Where it was written.
    pub source: Source,
}
