//! What one record says of the world at its time, as the core asks for it.

use std::sync::Arc;

use crate::domain::ids::{OrgId, UserId};
use crate::domain::known::{IssuerIndex, Join, Lookup};
use crate::domain::machine::{KeyId, MachineKey};
use crate::domain::organization::{
    Demands, MemberStatus, Membership, OrgSelector, OrgStatus, Organization,
};
use crate::domain::principal::{ClaimedOrganization, VerifiedToken};
use crate::domain::session::{LastUse, Marks, Noted, Standing};
use crate::domain::trusted::TrustedDevice;
use crate::policy::identity::IdentityPolicy;
use crate::policy::known::{Keys, Known};
use crate::stores::directory::FileDirectory;

use super::super::records::Record;

/// What the caller's token is in a replayed request. It was verified then; no key is asked for now.
pub(super) const TOKEN: &str = "recorded.and.verified";

/// The world of one record.
pub(super) struct Recorded {
    pub(super) organization: Option<Arc<Organization>>,
    membership: Option<Arc<Membership>>,
    pub(super) token: Option<Arc<VerifiedToken>>,
    now: u64,
    /// Whether features, stage and demands of the organization are known.
    pub(super) organization_known: bool,
    /// Whether everything that the member may besides the role is known.
    pub(super) rights_known: bool,
}

impl Recorded {
    pub(super) fn of(
        record: &Record,
        identity: &IdentityPolicy,
        directory: Option<&FileDirectory>,
        now: u64,
    ) -> Self {
        let id = record.organization.as_deref().and_then(|id| id.parse::<OrgId>().ok());
        let stated = id.and_then(|id| match directory?.organization(&OrgSelector::Id(id)) {
            Lookup::Found(organization) => Some(organization),
            Lookup::Absent | Lookup::Away(_) => None,
        });
        let organization = id.zip(record.plan.as_deref()).and_then(|(id, plan)| {
            let slug = format!("o-{}", id.as_uuid().simple());
            let unknown = || {
                Some(Organization {
                    id,
                    slug: slug.parse().ok()?,
                    status: OrgStatus::Active,
                    plan: plan.into(),
                    features: std::collections::BTreeMap::new(),
                    limits: std::collections::BTreeMap::new(),
                    time_zone: None,
                    demands: Demands::default(),
                    stage: None,
                })
            };
            let known = stated.as_deref().cloned().or_else(unknown)?;
            Some(Arc::new(Organization { status: OrgStatus::Active, plan: plan.into(), ..known }))
        });
        let user = record.user.as_deref().and_then(|user| user.parse::<UserId>().ok());
        let (membership, rights_known) = member(record, id, user.as_ref(), directory);
        let token = token(record, identity, id, user, now).map(Arc::new);
        let organization_known = stated.is_some();
        Self { organization, membership, token, now, organization_known, rights_known }
    }
}

fn member(
    record: &Record,
    organization: Option<OrgId>,
    user: Option<&UserId>,
    directory: Option<&FileDirectory>,
) -> (Option<Arc<Membership>>, bool) {
    let (Some(organization), Some(user), Some(role)) = (organization, user, &record.role) else {
        return (None, !record.further_rights);
    };
    let stated = match directory.map(|directory| directory.membership(user, organization)) {
        Some(Lookup::Found(found)) => Some(found),
        Some(Lookup::Absent | Lookup::Away(_)) | None => None,
    };
    // Somebody who had nothing besides the role at that time is taken as that, whatever came since.
    let more = stated.as_ref().filter(|_| record.further_rights).and_then(|of| of.more.clone());
    let rights_known = !record.further_rights || more.is_some();
    let membership = Membership {
        organization,
        user: user.clone(),
        role: role.as_str().into(),
        status: MemberStatus::Active,
        joined_at: 0,
        more,
    };
    (Some(Arc::new(membership)), rights_known)
}

/// The token that the caller has shown, as far as it is recorded.
fn token(
    record: &Record,
    identity: &IdentityPolicy,
    organization: Option<OrgId>,
    subject: Option<UserId>,
    now: u64,
) -> Option<VerifiedToken> {
    let role = match record.principal.as_deref()? {
        "user" => None,
        "service" => Some(identity.service_claims.first()?.as_ref().into()),
        "anonymous" if record.api_key.is_some() => {
            Some(identity.anonymous_claims.first()?.as_ref().into())
        }
        _ => return None,
    };
    // Of which issuer is not recorded: one whose tokens count anywhere.
    let issuer = identity.issuers.iter().position(|issuer| !issuer.sign_on.is_bound())?;
    let named = organization.map(|id| ClaimedOrganization::Named(OrgSelector::Id(id)));
    let claims = identity.organization_claims.iter();
    Some(VerifiedToken {
        issuer: IssuerIndex(u16::try_from(issuer).ok()?),
        marks: Marks::new(subject.as_ref(), None, TOKEN),
        noted: Noted::default(),
        subject,
        role,
        session_id: None,
        expires_at: now.saturating_add(60),
        not_before: None,
        issued_at: None,
        second_factor: record.aal.as_deref() == Some("aal2"),
        factor_at: record.factor_at,
        signed_in_at: record.signed_in_at,
        organizations: claims.map(|_| named.clone().unwrap_or(ClaimedOrganization::None)).collect(),
        vouched: None,
    })
}

impl Known for Recorded {
    fn keys(&self, _: IssuerIndex, _: Option<&str>) -> Keys {
        Keys::Away
    }

    fn remembered(&self, token: &str) -> Option<Arc<VerifiedToken>> {
        self.token.clone().filter(|_| token == TOKEN)
    }

    fn remember(&self, _: &str, _: &Arc<VerifiedToken>) {}

    fn standing(&self, _: &VerifiedToken) -> Standing {
        Standing::Good
    }

    fn trusts(&self, _: &UserId, _: TrustedDevice) -> bool {
        false
    }

    fn last_use(&self, _: &VerifiedToken) -> LastUse {
        LastUse { at: self.now, longest_pause: 0 }
    }

    /// Whatever names it: a slug is not recorded.
    fn organization(&self, selector: &OrgSelector) -> Option<Lookup<Arc<Organization>>> {
        let found = self.organization.as_ref().filter(|organization| match selector {
            OrgSelector::Id(id) => *id == organization.id,
            OrgSelector::Slug(_) => true,
        });
        Some(found.map_or(Lookup::Absent, |found| Lookup::Found(Arc::clone(found))))
    }

    fn membership(&self, user: &UserId, organization: OrgId) -> Option<Lookup<Arc<Membership>>> {
        let found = self.membership.as_ref();
        let found = found.filter(|of| of.user == *user && of.organization == organization);
        Some(found.map_or(Lookup::Absent, |found| Lookup::Found(Arc::clone(found))))
    }

    fn default_membership(&self, _: &UserId) -> Option<Lookup<Arc<Membership>>> {
        let found = self.membership.as_ref();
        Some(found.map_or(Lookup::Absent, |found| Lookup::Found(Arc::clone(found))))
    }

    fn machine_key(&self, _: KeyId) -> Option<Lookup<Arc<MachineKey>>> {
        Some(Lookup::Absent)
    }

    fn joined(&self, _: &Join) -> Option<Lookup<Arc<Membership>>> {
        Some(Lookup::Absent)
    }
}
