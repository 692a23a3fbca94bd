//! Limits and the plans that give them their numbers.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use crate::domain::charge::{Penalty, Rate, Shape, WhenAway};
use crate::domain::source::Source;

use super::mode::Mode;

/// One limit of the policy.
#[derive(Debug, Clone)]
pub struct Limit {
    /// Its unique name; part of every bucket's key, so it survives reloads.
    pub name: Arc<str>,
    /// Whose buckets.
    pub scope: Scope,
    /// Its numbers.
    pub rate: RateSource,
    /// Tokens that a request takes.
    pub cost: Cost,
    /// What happens while the shared store is away.
    pub when_away: WhenAway,
    /// Whether it decides.
    pub mode: Mode,
    /// What becomes of callers that come back too early, again and again.
    pub penalty: Option<Arc<Penalty>>,
    /// Where it was written.
    pub source: Source,
}

/// Tokens that a request takes: so many for any, and more for what it asks of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// For any request.
    pub base: NonZeroU32,
    /// For each embed.
    pub embed: u32,
    /// For a count of all rows that fit.
    pub count: u32,
    /// For rows without a limit.
    pub unlimited: u32,
    /// For rows far from the first.
    pub deep: u32,
    /// What is charged once the answer is known.
    pub after: Option<After>,
}

/// What a request costs besides, by its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct After {
    /// For each second that the upstream took.
    pub per_second: u32,
    /// For each mebibyte of the answer.
    pub per_mebibyte: u32,
    /// What the bucket can owe; as much as it can hold, where that is not stated.
    pub most: Option<NonZeroU32>,
}

impl Cost {
    /// The same for all.
    pub fn flat(base: NonZeroU32) -> Self {
        Self { base, embed: 0, count: 0, unlimited: 0, deep: 0, after: None }
    }

    /// Of a request of that shape.
    pub fn of(&self, shape: &Shape) -> NonZeroU32 {
        let when = |asked: bool, cost: u32| if asked { cost } else { 0 };
        let extra = [
            self.embed.saturating_mul(shape.embeds),
            when(shape.counts, self.count),
            when(shape.unlimited, self.unlimited),
            when(shape.deep, self.deep),
        ];
        self.base.saturating_add(extra.into_iter().fold(0, u32::saturating_add))
    }

    /// The most that a request with so many embeds can cost.
    pub fn most(&self, embeds: u32) -> NonZeroU32 {
        self.of(&Shape { embeds, counts: true, unlimited: true, deep: true })
    }
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
    /// One for each account that requests to auth servers name; others are not charged.
    Account,
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
            Self::Account => "account",
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
