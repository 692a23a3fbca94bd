//! What organizations use: by whom, and how much.
//!
//! Imports nothing else of this crate but its ids and principals; what is counted where is the
//! stores' business.

use std::sync::Arc;
use std::time::Duration;

use super::ids::{OrgId, UserId};
use super::machine::KeyId;
use super::organization::{Organization, TeamName};
use super::principal::Principal;
use super::zone::Zone;

/// On whose account a call is counted, inside an organization.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Consumer {
    /// A user.
    User(UserId),
    /// A machine's key.
    Machine(KeyId),
    /// A service, by the name of its key or of the issuer of its token.
    Service(Arc<str>),
    /// Callers that nothing tells apart.
    Anonymous,
    /// Callers for whom there was no room of their own.
    Others,
}

impl Consumer {
    /// On whose account a caller's request goes. Who acts as somebody else pays.
    pub fn of(principal: Option<&Principal>) -> Self {
        match principal {
            Some(Principal::User { id, .. }) => Self::User(id.clone()),
            Some(Principal::Machine { key, .. }) => Self::Machine(key.id),
            Some(Principal::Service { name }) => Self::Service(Arc::clone(name)),
            Some(Principal::Anonymous) | None => Self::Anonymous,
        }
    }

    /// The word of the ledger for its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Machine(_) => "key",
            Self::Service(_) => "service",
            Self::Anonymous => "anonymous",
            Self::Others => "others",
        }
    }

    /// What tells it apart from others of its kind; empty where nothing does.
    pub fn subject(&self) -> &str {
        match self {
            Self::User(id) => id.as_str(),
            Self::Machine(id) => id.as_str(),
            Self::Service(name) => name,
            Self::Anonymous | Self::Others => "",
        }
    }

    /// Reads what [`Self::kind`] and [`Self::subject`] have written.
    pub fn parse(kind: &str, subject: &str) -> Option<Self> {
        match kind {
            "user" => subject.parse().ok().map(Self::User),
            "key" => subject.parse().ok().map(Self::Machine),
            "service" => Some(Self::Service(Arc::from(subject))),
            "anonymous" => Some(Self::Anonymous),
            "others" => Some(Self::Others),
            _ => None,
        }
    }
}

/// The organization, and its team, on whose account a request is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payer {
    /// Its id.
    pub organization: OrgId,
    /// Whose midnight divides its days, if it states that.
    pub zone: Option<Zone>,
    /// Its team that is to bear the costs, if there is one.
    pub team: Option<TeamName>,
}

impl Payer {
    /// As the directory states it.
    pub fn of(organization: &Organization, team: Option<&TeamName>) -> Self {
        let zone = organization.time_zone.clone();
        Self { organization: organization.id, zone, team: team.cloned() }
    }
}

/// How much was used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// Requests that were admitted.
    pub calls: u64,
    /// Bytes of their bodies, without heads.
    pub bytes_in: u64,
    /// Bytes of the bodies of their answers, without heads.
    pub bytes_out: u64,
    /// Cost units: for each request the highest cost that a limit stated for it, 1 where none did;
    /// and the highest that one charged for its answer.
    pub cost: u64,
}

impl Used {
    /// Adds more.
    pub fn add(&mut self, more: Self) {
        self.calls = self.calls.saturating_add(more.calls);
        self.bytes_in = self.bytes_in.saturating_add(more.bytes_in);
        self.bytes_out = self.bytes_out.saturating_add(more.bytes_out);
        self.cost = self.cost.saturating_add(more.cost);
    }

    /// Takes away what was added and came to nothing.
    pub fn take(&mut self, less: Self) {
        self.calls = self.calls.saturating_sub(less.calls);
        self.bytes_in = self.bytes_in.saturating_sub(less.bytes_in);
        self.bytes_out = self.bytes_out.saturating_sub(less.bytes_out);
        self.cost = self.cost.saturating_sub(less.cost);
    }

    /// Raises each number to another count of the same: which is heard first makes no difference,
    /// nor how often.
    pub fn raise(&mut self, other: Self) {
        self.calls = self.calls.max(other.calls);
        self.bytes_in = self.bytes_in.max(other.bytes_in);
        self.bytes_out = self.bytes_out.max(other.bytes_out);
        self.cost = self.cost.max(other.cost);
    }
}

/// What an organization has used in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeriodUse {
    /// How much.
    pub used: Used,
    /// Until the period ends.
    pub resets_in: Duration,
}

/// What an organization has used in the present periods, as far as a node knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrganizationUse {
    /// Since midnight.
    pub day: PeriodUse,
    /// Since the first of the month.
    pub month: PeriodUse,
    /// Whether the ledger was read lately.
    pub fresh: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_is_read_back_from_its_words() {
        let consumers = [
            Consumer::User("auth0|ann".parse().unwrap()),
            Consumer::Machine("tgk_0123456789Ab".parse().unwrap()),
            Consumer::Service(Arc::from("backend")),
            Consumer::Anonymous,
            Consumer::Others,
        ];
        for consumer in consumers {
            let read = Consumer::parse(consumer.kind(), consumer.subject());
            assert_eq!(read, Some(consumer));
        }
        assert_eq!(Consumer::parse("key", "of another form"), None);
        assert_eq!(Consumer::parse("usher", "ann"), None);
    }

    #[test]
    fn raising_twice_in_any_order_is_raising_once() {
        let early = Used { calls: 3, bytes_in: 10, bytes_out: 7, cost: 3 };
        let late = Used { calls: 4, bytes_in: 10, bytes_out: 9, cost: 5 };
        let mut one = early;
        one.raise(late);
        let mut other = late;
        other.raise(early);
        other.raise(early);
        assert_eq!((one, other), (late, late));
    }
}
