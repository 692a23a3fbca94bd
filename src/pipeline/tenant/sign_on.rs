//! Users with tokens of identity providers: for which organizations such a token counts, which
//! organization is its user's own, and by what the user stands there.
//!
//! Part of the tenant stage. An organization's own provider vouches for that organization and for
//! nothing else; whatever else it says of its users, it cannot reach into another one.

use std::sync::Arc;

use crate::domain::ids::UserId;
use crate::domain::known::{Join, Lookup, MembershipChange, Question};
use crate::domain::organization::{MemberStatus, Membership, MoreRights, OrgStatus, Organization};
use crate::domain::principal::VerifiedToken;
use crate::domain::refusal::{Refusal, TenantRefusal};
use crate::pipeline::Stop;
use crate::pipeline::trace::Trace;
use crate::policy::identity::{IdentityPolicy, Issuer};
use crate::policy::known::Known;
use crate::policy::route::TenantSource;
use crate::policy::sign_on::{
    Choose, DomainHome, MembershipRule, RoleMapping, SignOn, Sync, names,
};

use super::{Standing, default_member, in_force, membership, missing, refuse};

/// The issuer of a user's token.
pub(super) fn issuer<'i>(
    token: &VerifiedToken,
    identity: &'i IdentityPolicy,
) -> Result<&'i Arc<Issuer>, Stop> {
    let issuer = identity.issuers.get(usize::from(token.issuer.0));
    issuer.ok_or_else(|| Refusal::Internal("a token of no issuer").into())
}

/// A user, the token that proves it, and what its issuer may vouch for.
pub(super) struct SignedOn<'a> {
    pub(super) user: &'a UserId,
    pub(super) token: &'a VerifiedToken,
    pub(super) issuer: &'a Issuer,
}

impl SignedOn<'_> {
    /// By what the user stands in which organization.
    pub(super) fn settle(
        &self,
        named: Option<Arc<Organization>>,
        sources: &[TenantSource],
        known: &dyn Known,
        trace: &mut Trace,
    ) -> Result<(Arc<Organization>, Standing), Stop> {
        let policy = &self.issuer.sign_on;
        let by_default = sources.contains(&TenantSource::Default);
        let organization = match named {
            Some(organization) => organization,
            None if !by_default => return Err(missing()),
            None => match self.own(known, trace)? {
                Some(own) => own,
                None => {
                    let (organization, found) = default_member(self.user, known)?;
                    self.admitted(&organization, trace)?;
                    return self.stands(organization, Some(found), known, trace);
                }
            },
        };
        self.admitted(&organization, trace)?;
        let found = match membership(self.user, organization.id, known)? {
            Lookup::Found(found) => Some(found),
            Lookup::Absent if policy.membership == MembershipRule::Require => {
                return Err(refuse(TenantRefusal::NotAMember));
            }
            Lookup::Absent => None,
            Lookup::Away(outage) => return Err(Refusal::Unavailable(outage).into()),
        };
        self.stands(organization, found, known, trace)
    }

    /// Whether the issuer's tokens count for the organization.
    pub(super) fn admitted(
        &self,
        organization: &Organization,
        trace: &mut Trace,
    ) -> Result<(), Stop> {
        if self.issuer.sign_on.admits(organization) {
            return Ok(());
        }
        trace.decided_by = Some(self.issuer.source.clone());
        Err(refuse(TenantRefusal::Issuer))
    }

    /// The organization that the user belongs to where a request names none.
    fn own(&self, known: &dyn Known, trace: &mut Trace) -> Result<Option<Arc<Organization>>, Stop> {
        let policy = &self.issuer.sign_on;
        let (selector, source) = match (self.domain(), policy.organizations.as_slice()) {
            (Some(home), _) => (&home.organization, &home.source),
            (None, [one]) => (one, &self.issuer.source),
            // The default membership says it.
            (None, _) => return Ok(None),
        };
        match known.organization(selector) {
            Some(Lookup::Found(organization)) => {
                trace.note(Some(source), || match self.domain() {
                    Some(home) => format!("the mail domain `{}` names `{selector}`", home.domain),
                    None => format!("issuer `{}` names `{selector}`", self.issuer.name),
                });
                Ok(Some(organization))
            }
            Some(Lookup::Absent) => {
                trace.decided_by = Some(source.clone());
                Err(refuse(TenantRefusal::Unknown))
            }
            Some(Lookup::Away(outage)) => Err(Refusal::Unavailable(outage).into()),
            None => Err(Stop::Ask(Question::Organization(selector.clone()))),
        }
    }

    /// The line of the user's mail domain.
    fn domain(&self) -> Option<&DomainHome> {
        let at = self.token.vouched.as_ref()?.domain?;
        self.issuer.sign_on.domains.get(usize::from(at))
    }

    /// Whether the organization is one that the issuer can say a role for: that of the user's mail
    /// domain where domains are told apart, and each of its organizations otherwise.
    fn vouches_in(&self, organization: &Organization) -> bool {
        let SignOn { domains, .. } = &self.issuer.sign_on;
        if domains.is_empty() {
            return self.issuer.sign_on.is_bound();
        }
        self.domain().is_some_and(|home| names(&home.organization, organization))
    }

    fn stands(
        &self,
        organization: Arc<Organization>,
        found: Option<Arc<Membership>>,
        known: &dyn Known,
        trace: &mut Trace,
    ) -> Result<(Arc<Organization>, Standing), Stop> {
        if let Some(found) = &found {
            in_force(found, self.user, organization.id)?;
        }
        let policy = &self.issuer.sign_on;
        let vouches = self.vouches_in(&organization);
        let standing = match (policy.membership, found, &policy.roles) {
            (MembershipRule::Token, found, Some(mapping)) if vouches => {
                let roles = self.mapped(mapping, trace)?;
                roles.standing(found, self.user, &organization)
            }
            (MembershipRule::Create, None, Some(mapping)) if vouches => {
                // Nobody joins what is suspended.
                if organization.status == OrgStatus::Suspended {
                    return Err(refuse(TenantRefusal::OrgSuspended));
                }
                let roles = self.mapped(mapping, trace)?;
                let join = self.join(&roles, &organization, MembershipChange::Created);
                Standing::Member(self.joined(join, mapping, known, trace)?)
            }
            (MembershipRule::Create, Some(found), Some(mapping))
                if vouches && policy.sync == Sync::Login =>
            {
                let roles = self.mapped(mapping, trace)?;
                let join = self.join(&roles, &organization, MembershipChange::RoleChanged);
                if roles.are_of(&found) || !newer(&join, &found) {
                    Standing::Member(found)
                } else {
                    Standing::Member(self.joined(join, mapping, known, trace)?)
                }
            }
            (_, Some(found), _) => Standing::Member(found),
            (_, None, _) => return Err(refuse(TenantRefusal::NotAMember)),
        };
        Ok((organization, standing))
    }

    /// What the token says of the user's membership there.
    fn join(
        &self,
        roles: &Mapped<'_>,
        organization: &Organization,
        change: MembershipChange,
    ) -> Join {
        Join {
            user: self.user.clone(),
            organization: organization.id,
            role: Arc::clone(roles.role),
            further: roles.further.iter().map(|role| Arc::clone(role)).collect(),
            as_of: self.token.issued_at.unwrap_or(0),
            change,
        }
    }

    /// The membership, once it was made.
    fn joined(
        &self,
        join: Join,
        mapping: &RoleMapping,
        known: &dyn Known,
        trace: &mut Trace,
    ) -> Result<Arc<Membership>, Stop> {
        let membership = match known.joined(&join) {
            Some(Lookup::Found(membership)) => membership,
            // Whoever took it out, or the organization, in the meantime, meant it.
            Some(Lookup::Absent) => return Err(refuse(TenantRefusal::NotAMember)),
            Some(Lookup::Away(outage)) => return Err(Refusal::Unavailable(outage).into()),
            None => return Err(Stop::Ask(Question::Join(Arc::new(join)))),
        };
        in_force(&membership, self.user, join.organization)?;
        trace.note(Some(&mapping.source), || match join.change {
            MembershipChange::Created => format!("`{}` is made a member", join.user),
            MembershipChange::RoleChanged => format!("the role of `{}` is changed", join.user),
        });
        Ok(membership)
    }

    /// The roles that the token's claims come to.
    fn mapped<'m>(&self, mapping: &'m RoleMapping, trace: &mut Trace) -> Result<Mapped<'m>, Stop> {
        let vouched = self.token.vouched.as_ref();
        let lines = vouched.into_iter().flat_map(|vouched| &vouched.lines);
        let mut lines = lines.filter_map(|at| mapping.lines.get(usize::from(*at))).peekable();
        let claim = || mapping.claim.join(".");
        if lines.peek().is_none() {
            trace.note(Some(&mapping.source), || {
                format!("no value of claim `{}` is mapped", claim())
            });
            let Some(role) = &mapping.otherwise else {
                trace.decided_by = Some(mapping.source.clone());
                return Err(refuse(TenantRefusal::NoRole));
            };
            return Ok(Mapped { role, further: Vec::new() });
        }
        let mut roles: Vec<&Arc<str>> = Vec::new();
        for line in lines {
            trace.note(Some(&line.source), || {
                format!("`{}` in claim `{}`: role `{}`", line.value, claim(), line.role)
            });
            if !roles.contains(&&line.role) {
                roles.push(&line.role);
            }
            if mapping.choose == Choose::First {
                break;
            }
        }
        let mut roles = roles.into_iter();
        let role = roles.next().ok_or(Refusal::Internal("a mapped role was lost"))?;
        Ok(Mapped { role, further: roles.collect() })
    }
}

/// What claims come to.
struct Mapped<'m> {
    role: &'m Arc<str>,
    further: Vec<&'m Arc<str>>,
}

/// Whether the provider said it after what the directory remembers it to have said.
fn newer(join: &Join, found: &Membership) -> bool {
    let before = found.more.as_ref().and_then(|more| more.role_as_of);
    before.is_none_or(|before| before < join.as_of)
}

impl Mapped<'_> {
    /// Whether the membership has these roles and no others in the whole organization.
    fn are_of(&self, found: &Membership) -> bool {
        let further = found.more.as_ref().map(|more| more.roles.as_slice()).unwrap_or_default();
        found.role == *self.role && further.iter().eq(self.further.iter().copied())
    }

    /// The standing of somebody whose roles these are. What the directory grants and denies besides
    /// stays; its own roles do not.
    fn standing(
        &self,
        found: Option<Arc<Membership>>,
        user: &UserId,
        organization: &Organization,
    ) -> Standing {
        let further = || self.further.iter().map(|role| Arc::clone(role)).collect();
        let role = Arc::clone(self.role);
        let membership = match found {
            Some(found) => {
                let mut more = found.more.clone();
                if more.is_some() || !self.further.is_empty() {
                    more.get_or_insert_default().roles = further();
                }
                Membership { role, more, ..(*found).clone() }
            }
            None if self.further.is_empty() => return Standing::Role(role),
            None => Membership {
                organization: organization.id,
                user: user.clone(),
                role,
                status: MemberStatus::Active,
                joined_at: 0,
                more: Some(Box::new(MoreRights { roles: further(), ..MoreRights::default() })),
            },
        };
        Standing::Member(Arc::new(membership))
    }
}

/// A bound issuer's refusal of an organization that the directory does not know is the same as of
/// one that it does: what exists is nobody's business.
pub(super) fn unknown_too(stop: Stop, policy: &SignOn) -> Stop {
    match stop {
        Stop::Refused(Refusal::Tenant(TenantRefusal::Unknown)) if policy.is_bound() => {
            refuse(TenantRefusal::Issuer)
        }
        other => other,
    }
}
