//! A directory file: organizations and their members, for installations without a database and
//! for the demonstration.
//!
//! May import `domain`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ipnet::IpNet;

use serde_json::{Value, json};

use crate::domain::charge::Rate;
use crate::domain::directory::DirectoryData;
use crate::domain::ids::{OrgId, OrgSlug, UserId};
use crate::domain::machine::KeyId;
use crate::domain::organization::{
    Demands, MemberStatus, Membership, MoreRights, OrgStatus, Organization, SecondFactor, TeamName,
    TeamRole,
};
use crate::domain::permission::PermissionPattern;
use crate::domain::zone::Zone;
use crate::policy::limits::Scope;

use super::compile::unknown;
use super::conditions::IdleTime;
use super::context::Context;
use super::decode::{At, Decode, Fields, Filled, Name, Named, Shapes, Table};
use super::defaults as preset;
use super::leaf::{Seconds, Text, refuse, text, word, words};
use super::machines::{KeyFields, Keys};
use super::yaml::{Kind, Node, Span};

/// The whole file.
pub(super) struct DirectoryFile {
    pub(super) organizations: Vec<At<OrganizationFields>>,
}

impl Fields for DirectoryFile {
    const NAME: &'static str = "directory";
    const ABOUT: &'static str = "Organizations and their members.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let organizations = table.required("organizations", "All organizations.");
        Some(Self { organizations: organizations? })
    }
}

/// An organization.
pub(super) struct OrganizationFields {
    id: At<OrgId>,
    slug: At<OrgSlug>,
    status: OrgStatus,
    plan: At<Name>,
    features: Features,
    limits: Named<Rate>,
    time_zone: Option<Zone>,
    stage: Option<At<Name>>,
    addresses: Vec<IpNet>,
    second_factor: SecondFactorFields,
    trusted_device: Option<Seconds>,
    session_age: Option<Seconds>,
    session_idle: Option<IdleTime>,
    members: Vec<At<MemberFields>>,
    api_keys: Vec<At<KeyFields>>,
}

impl Fields for OrganizationFields {
    const NAME: &'static str = "organization";
    const ABOUT: &'static str = "A tenant.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let id = table.required("id", "Its id, a UUID: what the tenant column of tables holds.");
        let slug = table.required("slug", "Its name in hosts, paths and headers.");
        let status =
            table.or("status", &preset::ORGANIZATION_STATUS, "`active`, or `suspended`: refused.");
        let plan = table.required("plan", "The name of its plan.");
        let features = table.some(
            "features",
            "Features that are switched on for it: a list, or a map from each to its settings.",
        );
        let limits = table.some(
            "limits",
            "Numbers of its own, by the name of the limit, in place of those of the policy.",
        );
        let time_zone = table.optional(
            "time_zone",
            "Where its days and months begin, as `Europe/Berlin`; in `metering.zone` if not stated.",
        );
        let stage = table.optional("stage", "Which of the `stages` of the policy it has reached.");
        let addresses =
            table.some("addresses", "Networks from which it is used; from all if not stated.");
        let second_factor = table.some(
            "second_factor",
            "Of whom it asks a second factor: `nobody`, `everybody`, or a list of roles.",
        );
        let trusted_device = table.optional::<Seconds>(
            "trusted_device",
            "For how long a trusted device stands in for that factor; none does if not stated.",
        );
        let session_age =
            table.optional("session_age", "How long its members stay signed in at most.");
        let session_idle = table
            .optional("session_idle", "How long a session of a member may rest at most, from 2m.");
        let members = table.some("members", "Its members.");
        let api_keys = table.some("api_keys", "The keys of its machines, hashed.");
        Some(Self {
            id: id?,
            slug: slug?,
            status: status?,
            plan: plan?,
            features,
            limits,
            time_zone,
            stage,
            addresses,
            second_factor,
            trusted_device,
            session_age,
            session_idle,
            members,
            api_keys,
        })
    }
}

struct MemberFields {
    user: At<UserId>,
    role: At<Name>,
    roles: Vec<At<Name>>,
    teams: Vec<(At<TeamName>, At<Name>)>,
    grants: Vec<PermissionPattern>,
    denials: Vec<PermissionPattern>,
    stage: Option<At<Name>>,
    status: MemberStatus,
    joined: Day,
}

impl Fields for MemberFields {
    const NAME: &'static str = "member";
    const ABOUT: &'static str = "A user's place in an organization.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let user = table.required("user", "The `sub` of the user's tokens.");
        let role = table.required("role", "The name of the role.");
        let roles = table.some("roles", "Further roles.");
        let teams: Named<Vec<At<Name>>> = table.some(
            "teams",
            "Roles in teams, as `sales.north: [manager]`; those in `sales` count in all its teams.",
        );
        let grants = table.some("grants", "Permissions besides those of the roles.");
        let denials = table.some("denials", "Permissions that no role and no grant gives.");
        let stage = table.optional("stage", "Which of the `stages` of the policy is reached.");
        let teams = named_teams(teams, table);
        let status = table.or(
            "status",
            &preset::MEMBER_STATUS,
            "`active`; `invited` and `suspended` members are refused.",
        );
        let joined = table.or(
            "joined",
            &preset::JOINED,
            "The day on which the user joined: of several organizations, the one joined last is \
             the default.",
        );
        Some(Self {
            user: user?,
            role: role?,
            roles,
            teams,
            grants,
            denials,
            stage,
            status: status?,
            joined: joined?,
        })
    }
}

/// Roles in teams, one by one.
pub(super) fn named_teams(
    teams: Named<Vec<At<Name>>>,
    table: &mut Table<'_, '_>,
) -> Vec<(At<TeamName>, At<Name>)> {
    let mut out = Vec::new();
    for (name, roles) in teams.0 {
        if let Some(team) = named_team(&name, table) {
            out.extend(roles.value.into_iter().map(|role| (team.clone(), role)));
        }
    }
    out
}

fn named_team(name: &At<Name>, table: &mut Table<'_, '_>) -> Option<At<TeamName>> {
    match name.value.parse() {
        Ok(value) => Some(At { value, span: name.span }),
        Err(error) => {
            let message = format!("`{}` is {error}", name.value);
            table.error(name.span, message, "write it as `sales.north`");
            None
        }
    }
}

/// What a directory may name.
pub(super) struct Names {
    pub(super) plans: BTreeSet<Name>,
    pub(super) roles: BTreeSet<Name>,
    pub(super) stages: BTreeSet<Name>,
    pub(super) keys: Keys,
}

impl Names {
    fn role(&self, role: &At<Name>, cx: &mut Context<'_>) {
        if !self.roles.contains(&role.value) {
            unknown("role", role, &self.roles, cx);
        }
    }

    pub(super) fn stage(&self, stage: Option<&At<Name>>, cx: &mut Context<'_>) {
        if let Some(stage) = stage.filter(|stage| !self.stages.contains(&stage.value)) {
            unknown("stage", stage, &self.stages, cx);
        }
    }
}

impl Names {
    /// Numbers of an organization's own: of limits that it has buckets of.
    fn limits(&self, stated: Named<Rate>, cx: &mut Context<'_>) -> BTreeMap<Name, Rate> {
        let mut out = BTreeMap::new();
        for (name, rate) in stated.0 {
            match self.keys.limits.get(&name.value) {
                None => unknown("limit", &name, self.keys.limits.keys(), cx),
                Some(Scope::Key | Scope::Address | Scope::Account) => {
                    let message = format!("`{}` is not counted by organization", name.value);
                    cx.error(name.span, message).hint(
                        "an organization has buckets of limits of `user`, `organization` and `route`",
                    );
                }
                Some(Scope::User | Scope::Organization | Scope::Route) => {
                    out.insert(name.value, rate.value);
                }
            }
        }
        out
    }
}

impl DirectoryFile {
    /// Checks that ids are unique and that plans, roles and stages are defined. With the data come
    /// the places of the memberships, in their order.
    pub(super) fn compile(self, names: &Names, cx: &mut Context<'_>) -> (DirectoryData, Vec<Span>) {
        let mut places = Vec::new();
        let mut data = DirectoryData::default();
        let mut ids: BTreeMap<OrgId, Span> = BTreeMap::new();
        let mut slugs: BTreeMap<OrgSlug, Span> = BTreeMap::new();
        let mut keys_seen: BTreeMap<KeyId, Span> = BTreeMap::new();
        for At { value: organization, .. } in self.organizations {
            let OrganizationFields { id, slug, status, plan, features, stage, members, .. } =
                organization;
            names.stage(stage.as_ref(), cx);
            let second_factor = organization.second_factor.compile(names, cx);
            if let Some(first) = ids.insert(id.value, id.span) {
                cx.error(id.span, format!("two organizations have the id `{}`", id.value))
                    .related(first, "the first one");
            }
            if let Some(first) = slugs.insert(slug.value.clone(), id.span) {
                cx.error(slug.span, format!("two organizations have the slug `{}`", slug.value))
                    .related(first, "the first one");
            }
            // Headers and paths take either; one of the two must be meant.
            if slug.value.as_str().parse::<OrgId>().is_ok() {
                cx.error(slug.span, format!("the slug `{}` reads as an id", slug.value))
                    .hint("choose another name");
            }
            if !names.plans.contains(&plan.value) {
                unknown("plan", &plan, &names.plans, cx);
            }
            let limits = names.limits(organization.limits, cx);
            let keys = names.keys.compile(id.value, organization.api_keys, &mut keys_seen, cx);
            data.machine_keys.extend(keys);
            let mut users: BTreeMap<UserId, Span> = BTreeMap::new();
            for At { value: member, .. } in members {
                let more = member.more(names, cx);
                let MemberFields { user, role, status, joined, .. } = member;
                if let Some(first) = users.insert(user.value.clone(), user.span) {
                    let message = format!("`{}` is twice a member of `{}`", user.value, slug.value);
                    cx.error(user.span, message).related(first, "first here");
                }
                names.role(&role, cx);
                places.push(user.span);
                data.memberships.push(Membership {
                    organization: id.value,
                    user: user.value,
                    role: role.value,
                    status,
                    joined_at: joined.0,
                    more,
                });
            }
            data.organizations.push(Organization {
                id: id.value,
                slug: slug.value,
                status,
                plan: plan.value,
                features: features.0,
                limits,
                time_zone: organization.time_zone,
                demands: Demands {
                    addresses: organization.addresses,
                    second_factor,
                    trusted_device: organization
                        .trusted_device
                        .map(|most| Duration::from_secs(most.0)),
                    session_age: organization.session_age.map(|age| Duration::from_secs(age.0)),
                    session_idle: organization.session_idle.map(|most| most.0),
                },
                stage: stage.map(|stage| stage.value),
            });
        }
        (data, places)
    }
}

impl MemberFields {
    /// What goes beyond one role, with its names checked.
    fn more(&self, names: &Names, cx: &mut Context<'_>) -> Option<Box<MoreRights>> {
        let in_teams = self.teams.iter().map(|(_, role)| role);
        for role in self.roles.iter().chain(in_teams) {
            names.role(role, cx);
        }
        names.stage(self.stage.as_ref(), cx);
        let team = |(team, role): &(At<TeamName>, At<Name>)| TeamRole {
            team: team.value.clone(),
            role: role.value.clone(),
        };
        let more = MoreRights {
            roles: self.roles.iter().map(|role| role.value.clone()).collect(),
            teams: self.teams.iter().map(team).collect(),
            grants: self.grants.clone(),
            denials: self.denials.clone(),
            stage: self.stage.as_ref().map(|stage| stage.value.clone()),
            role_as_of: None,
        };
        (more != MoreRights::default()).then(|| Box::new(more))
    }
}

/// A list of features, or a map from each to its settings.
#[derive(Default)]
struct Features(BTreeMap<Name, BTreeMap<Name, Name>>);

impl Decode for Features {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        if let Kind::List(_) = &node.kind {
            let names = Vec::<Name>::decode(node, cx)?;
            return Some(Self(names.into_iter().map(|name| (name, BTreeMap::new())).collect()));
        }
        let stated = Named::<Named<Text>>::decode(node, cx)?;
        let settings = |settings: Named<Text>| {
            let settings = settings.0.into_iter();
            settings.map(|(key, value)| (key.value, Name::from(value.value.0))).collect()
        };
        let features = stated.0.into_iter().map(|(name, of)| (name.value, settings(of.value)));
        Some(Self(features.collect()))
    }

    fn shape(shapes: &mut Shapes) -> Value {
        json!({ "anyOf": [Vec::<Name>::shape(shapes), Named::<Named<Text>>::shape(shapes)] })
    }
}

#[derive(Default)]
enum SecondFactorFields {
    #[default]
    Nobody,
    Everybody,
    Roles(Vec<At<Name>>),
}

impl SecondFactorFields {
    fn compile(&self, names: &Names, cx: &mut Context<'_>) -> SecondFactor {
        match self {
            Self::Nobody => SecondFactor::Nobody,
            Self::Everybody => SecondFactor::Everybody,
            Self::Roles(roles) => {
                for role in roles {
                    names.role(role, cx);
                }
                SecondFactor::Roles(roles.iter().map(|role| role.value.clone()).collect())
            }
        }
    }
}

impl Decode for SecondFactorFields {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        if let Kind::List(_) = &node.kind {
            return Filled::<At<Name>>::decode(node, cx).map(|roles| Self::Roles(roles.0));
        }
        let everybody = word(node, WHO, "group of members", cx)?;
        Some(if everybody { Self::Everybody } else { Self::Nobody })
    }

    fn shape(shapes: &mut Shapes) -> Value {
        json!({ "anyOf": [words(WHO), Filled::<At<Name>>::shape(shapes)] })
    }
}

const WHO: &[(&str, bool)] = &[("nobody", false), ("everybody", true)];

impl Decode for OrgStatus {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        word(node, ORG_STATUSES, "status", cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        words(ORG_STATUSES)
    }
}

const ORG_STATUSES: &[(&str, OrgStatus)] =
    &[("active", OrgStatus::Active), ("suspended", OrgStatus::Suspended)];

impl Decode for MemberStatus {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        word(node, MEMBER_STATUSES, "status", cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        words(MEMBER_STATUSES)
    }
}

const MEMBER_STATUSES: &[(&str, MemberStatus)] = &[
    ("active", MemberStatus::Active),
    ("invited", MemberStatus::Invited),
    ("suspended", MemberStatus::Suspended),
];

/// A day, in seconds since 1970.
struct Day(u64);

impl Decode for Day {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let stated = text(node, cx)?;
        match days_since_1970(stated) {
            Some(days) => Some(Self(days * 86_400)),
            None => refuse(node, "a day", stated, "write it as `2024-12-31`", cx),
        }
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "day", "type": "string", "format": "date" })
    }
}

/// `YYYY-MM-DD`, from 1970 to 9999.
fn days_since_1970(text: &str) -> Option<u64> {
    let mut parts = text.split('-');
    let mut number = |digits: usize| -> Option<u64> {
        let part = parts.next()?;
        let fits = part.len() == digits && part.bytes().all(|b| b.is_ascii_digit());
        fits.then(|| part.parse().ok()).flatten()
    };
    let (year, month, day) = (number(4)?, number(2)?, number(2)?);
    if parts.next().is_some() || year < 1970 {
        return None;
    }
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let month = usize::try_from(month).ok()?.checked_sub(1)?;
    let length = *lengths.get(month)?;
    if !(1..=length).contains(&day) {
        return None;
    }
    let leaps = |year: u64| year / 4 - year / 100 + year / 400;
    let years = (year - 1970) * 365 + leaps(year - 1) - leaps(1969);
    Some(years + lengths.iter().take(month).sum::<u64>() + day - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_by_the_calendar() {
        assert_eq!(days_since_1970("1970-01-01"), Some(0));
        assert_eq!(days_since_1970("2000-03-01"), Some(11_017));
        assert_eq!(days_since_1970("2024-12-31"), Some(20_088));
        for bad in ["2024-13-01", "2023-02-29", "2024-1-1", "1969-12-31", "2024-01-01-01", ""] {
            assert_eq!(days_since_1970(bad), None, "{bad}");
        }
    }
}
