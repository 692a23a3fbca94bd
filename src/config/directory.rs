//! A directory file: organizations and their members, for installations without a database and
//! for the demonstration.
//!
//! May import `domain`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::domain::directory::DirectoryData;
use crate::domain::ids::{OrgId, OrgSlug, UserId};
use crate::domain::organization::{MemberStatus, Membership, OrgStatus, Organization};

use super::compile::unknown;
use super::context::Context;
use super::decode::{At, Decode, Fields, Name, Shapes, Table};
use super::defaults as preset;
use super::leaf::{refuse, text, word, words};
use super::yaml::{Node, Span};

/// The whole file.
pub(super) struct DirectoryFile {
    organizations: Vec<At<OrganizationFields>>,
}

impl Fields for DirectoryFile {
    const NAME: &'static str = "directory";
    const ABOUT: &'static str = "Organizations and their members.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let organizations = table.required("organizations", "All organizations.");
        Some(Self { organizations: organizations? })
    }
}

struct OrganizationFields {
    id: At<OrgId>,
    slug: At<OrgSlug>,
    status: OrgStatus,
    plan: At<Name>,
    features: Vec<Name>,
    members: Vec<At<MemberFields>>,
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
        let features = table.some("features", "Features that are switched on for it.");
        let members = table.some("members", "Its members.");
        Some(Self { id: id?, slug: slug?, status: status?, plan: plan?, features, members })
    }
}

struct MemberFields {
    user: At<UserId>,
    role: At<Name>,
    status: MemberStatus,
    joined: Day,
}

impl Fields for MemberFields {
    const NAME: &'static str = "member";
    const ABOUT: &'static str = "A user's place in an organization.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let user = table.required("user", "The `sub` of the user's tokens.");
        let role = table.required("role", "The name of the role.");
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
        Some(Self { user: user?, role: role?, status: status?, joined: joined? })
    }
}

impl DirectoryFile {
    /// Checks that ids are unique and that plans and roles are defined.
    pub(super) fn compile(
        self,
        plans: &BTreeSet<Name>,
        roles: &BTreeSet<Name>,
        cx: &mut Context<'_>,
    ) -> DirectoryData {
        let mut data = DirectoryData::default();
        let mut seen: Vec<(OrgId, OrgSlug, Span)> = Vec::new();
        for At { value: organization, .. } in self.organizations {
            let OrganizationFields { id, slug, status, plan, features, members } = organization;
            for (other_id, other_slug, first) in &seen {
                if *other_id == id.value {
                    cx.error(id.span, format!("two organizations have the id `{}`", id.value))
                        .related(*first, "the first one");
                }
                if *other_slug == slug.value {
                    cx.error(
                        slug.span,
                        format!("two organizations have the slug `{}`", slug.value),
                    )
                    .related(*first, "the first one");
                }
            }
            // Headers and paths take either; one of the two must be meant.
            if slug.value.as_str().parse::<OrgId>().is_ok() {
                cx.error(slug.span, format!("the slug `{}` reads as an id", slug.value))
                    .hint("choose another name");
            }
            seen.push((id.value, slug.value.clone(), id.span));
            if !plans.contains(&plan.value) {
                unknown("plan", &plan, plans, cx);
            }
            let mut users: Vec<(UserId, Span)> = Vec::new();
            for At { value: member, .. } in members {
                let MemberFields { user, role, status, joined } = member;
                if let Some((_, first)) = users.iter().find(|(other, _)| *other == user.value) {
                    let message = format!("`{}` is twice a member of `{}`", user.value, slug.value);
                    cx.error(user.span, message).related(*first, "first here");
                }
                users.push((user.value.clone(), user.span));
                if !roles.contains(&role.value) {
                    unknown("role", &role, roles, cx);
                }
                data.memberships.push(Membership {
                    organization: id.value,
                    user: user.value,
                    role: role.value,
                    status,
                    joined_at: joined.0,
                });
            }
            data.organizations.push(Organization {
                id: id.value,
                slug: slug.value,
                status,
                plan: plan.value,
                features: features.into_iter().collect(),
            });
        }
        data
    }
}

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
