//! Organizations and memberships, as the directory knows them.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::charge::Rate;
use super::ids::{InvalidId, OrgId, OrgSlug, UserId};
use super::permission::PermissionPattern;
use super::zone::Zone;

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
    /// The features that are switched on for it, each with its settings.
    pub features: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Arc<str>>>,
    /// Numbers of its own, by the name of the limit, in place of those that the policy states.
    pub limits: BTreeMap<Arc<str>, Rate>,
    /// Where its days and months begin, for quotas and usage, if it states that.
    pub time_zone: Option<Zone>,
    /// What it asks of its members.
    pub demands: Demands,
    /// The stage that it has reached, as policies name stages.
    pub stage: Option<Arc<str>>,
}

/// What an organization asks of its members, on top of what the policies ask.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Demands {
    /// Networks from which it is used. Empty: all.
    pub addresses: Vec<IpNet>,
    /// Who has to show a second factor.
    pub second_factor: SecondFactor,
    /// How long a trusted device stands in for the second factor; `None`: none does.
    pub trusted_device: Option<Duration>,
    /// How long a member stays signed in at most.
    pub session_age: Option<Duration>,
    /// How long the session of a member may rest at most.
    pub session_idle: Option<Duration>,
}

/// Of whom an organization asks a second factor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SecondFactor {
    /// Of nobody.
    #[default]
    Nobody,
    /// Of all members.
    Everybody,
    /// Of those with one of these roles.
    Roles(Vec<Arc<str>>),
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
    /// What goes beyond one role. Most members have nothing of it.
    pub more: Option<Box<MoreRights>>,
}

/// What a member may do, or may not, beyond one role.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MoreRights {
    /// Further roles in the whole organization.
    pub roles: Vec<Arc<str>>,
    /// Roles in some teams.
    pub teams: Vec<TeamRole>,
    /// Permissions besides those of the roles.
    pub grants: Vec<PermissionPattern>,
    /// Permissions that no role and no grant gives.
    pub denials: Vec<PermissionPattern>,
    /// The stage that the member has reached, as policies name stages.
    pub stage: Option<Arc<str>>,
    /// When an identity provider said the role, in seconds since 1970, if one did.
    pub role_as_of: Option<u64>,
}

impl MoreRights {
    /// The team that bears the costs of a request: the one that it names, if the member is in it;
    /// without a name, the only one that the member is in.
    pub fn bearing<'t>(&'t self, named: Option<&'t TeamName>) -> Option<&'t TeamName> {
        if let Some(named) = named {
            return self.teams.iter().any(|of| of.team.covers(named)).then_some(named);
        }
        let first = &self.teams.first()?.team;
        self.teams.iter().all(|of| of.team == *first).then_some(first)
    }
}

/// A role in one team, or in all teams of a department.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TeamRole {
    /// The team, `sales.north`, or the department that it belongs to, `sales`.
    pub team: TeamName,
    /// The role there.
    pub role: Arc<str>,
}

/// A team or a department: names joined by dots, the widest first, as in `sales.north`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TeamName(Arc<str>);

impl TeamName {
    /// Whether it is this team, or one that it belongs to.
    pub fn covers(&self, team: &Self) -> bool {
        let rest = team.0.strip_prefix(self.0.as_ref());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TeamName {
    type Err = InvalidTeam;

    fn from_str(text: &str) -> Result<Self, InvalidTeam> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let name = |part: &str| !part.is_empty() && part.chars().all(fits);
        let valid = text.len() <= 128 && text.split('.').all(name);
        if valid { Ok(Self(text.into())) } else { Err(InvalidTeam) }
    }
}

impl std::fmt::Display for TeamName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that names no team.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a team: names of letters, digits, `_` and `-`, joined by dots")]
pub struct InvalidTeam;

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
