//! Signing in at an auth server, as the gateway sees it. Pure; imports no other room.

use std::time::Duration;

/// Why a request of somebody who signs in, or stays signed in, is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoginRefusal {
    /// A session cannot be refreshed now. Never the cause itself: in place of one, so that the
    /// client keeps its session and tries again.
    #[error("the session cannot be refreshed now")]
    Refresh {
        /// When to come back.
        retry_after: Duration,
    },
}

impl LoginRefusal {
    pub(super) fn public(&self) -> (u16, &'static str, &'static str) {
        match self {
            Self::Refresh { .. } => {
                (503, "refresh_unavailable", "the session cannot be refreshed right now, try again")
            }
        }
    }

    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refresh { retry_after } => Some(*retry_after),
        }
    }
}
