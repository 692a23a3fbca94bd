//! Limits and the plans that give them their numbers.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use crate::domain::charge::{Rate, WhenAway};
use crate::domain::source::Source;

/// One limit of the policy.
#[derive(Debug, Clone)]
pub struct Limit {
    /// Its unique name; part of every bucket's key, so it survives reloads.
    pub name: Arc<str>,
    /// Whose buckets.
    pub scope: Scope,
    /// Its numbers.
    pub rate: RateSource,
    /// Tokens that one request takes.
    pub cost: NonZeroU32,
    /// What happens while the shared store is away.
    pub when_away: WhenAway,
    /// Where it was written.
    pub source: Source,
}

/// Whose buckets a limit keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// One for each user of an organization; callers that are no users are not charged.
    User,
    /// One for each organization; calls without an organization are not charged.
    Organization,
    /// One for each API key; calls without a key are not charged.
    Key,
    /// One for each route and organization.
    Route,
    /// One for each client address (IPv6 by /64).
    Address,
}

impl Scope {
    /// As policies write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Organization => "organization",
            Self::Key => "key",
            Self::Route => "route",
            Self::Address => "address",
        }
    }
}

/// Where a limit's numbers come from.
#[derive(Debug, Clone)]
pub enum RateSource {
    /// The same for all.
    Fixed(Rate),
    /// From the organization's plan; `config` has made sure that every plan states one.
    /// Calls without an organization use `otherwise`.
    ByPlan {
        /// By plan name.
        rates: BTreeMap<Arc<str>, Rate>,
        /// Where there is no organization.
        otherwise: Rate,
    },
}

/// A subscription tier.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its name, as the directory writes it.
    pub name: Arc<str>,
    /// Its rank: a condition `plan: pro` holds for every plan of at least pro's level.
    pub level: u32,
    /// Where it was written.
    pub source: Source,
}
