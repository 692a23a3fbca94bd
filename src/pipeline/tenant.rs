//! Stage 4, tenant: the one organization that the request is for.
//!
//! Every source of the route that is present must name the same organization; the default
//! membership counts only where none is present. Whoever is not a member learns nothing about the
//! organization, not even that it exists.

use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use smallvec::SmallVec;

use crate::domain::ids::UserId;
use crate::domain::known::{Lookup, Question};
use crate::domain::organization::{MemberStatus, Membership, OrgSelector, OrgStatus, Organization};
use crate::domain::principal::{ClaimedOrganization, Principal, VerifiedToken};
use crate::domain::refusal::{CredentialFault, Refusal, TenantRefusal};
use crate::policy::Snapshot;
use crate::policy::identity::IdentityPolicy;
use crate::policy::known::Known;
use crate::policy::roles::Role;
use crate::policy::route::{TenantRule, TenantSource};

use super::Stop;
use super::authenticate::Authenticated;
use super::trace::{Stage, Trace};

/// The header that names an organization.
pub const ORGANIZATION_HEADER: HeaderName = HeaderName::from_static("x-organization-id");

/// Proof that the request is for one organization that the caller may act in, or that its route
/// belongs to none.
#[derive(Debug)]
pub struct Tenanted<'h> {
    authenticated: Authenticated<'h>,
    tenancy: Option<Tenancy>,
}

/// The organization, and the caller's role in it.
#[derive(Debug, Clone)]
pub struct Tenancy {
    organization: Arc<Organization>,
    role: Arc<Role>,
    plan_level: u32,
}

impl Tenancy {
    /// The organization.
    pub fn organization(&self) -> &Arc<Organization> {
        &self.organization
    }

    /// The caller's role in it.
    pub fn role(&self) -> &Arc<Role> {
        &self.role
    }

    /// The level of its plan.
    pub fn plan_level(&self) -> u32 {
        self.plan_level
    }
}

impl<'h> Tenanted<'h> {
    /// Who calls.
    pub fn authenticated(&self) -> &Authenticated<'h> {
        &self.authenticated
    }

    /// For which organization; `None` where the route belongs to none.
    pub fn tenancy(&self) -> Option<&Tenancy> {
        self.tenancy.as_ref()
    }
}

/// Settles the organization.
pub fn settle<'h>(
    authenticated: Authenticated<'h>,
    snapshot: &Snapshot,
    known: &dyn Known,
    trace: &mut Trace,
) -> Result<Tenanted<'h>, Stop> {
    trace.enter(Stage::Tenant);
    let route = Arc::clone(authenticated.routed().route());
    let TenantRule::Sources(sources) = &route.tenant else {
        trace.note(Some(&route.source), || "the route belongs to no organization".into());
        return Ok(Tenanted { authenticated, tenancy: None });
    };
    trace.decided_by = Some(route.source.clone());
    let named = named_organization(sources, &authenticated, snapshot, known, trace)?;
    let (organization, role_name) = match authenticated.principal() {
        Principal::User { id, .. } => member(id, named, sources, known)?,
        Principal::Service { .. } => {
            let role = snapshot.identity.service_role.clone();
            (named.ok_or_else(missing)?, role.ok_or_else(|| credential(CredentialFault::Kind))?)
        }
        Principal::Anonymous => {
            let role = snapshot.identity.anonymous_role.clone();
            let role = role.ok_or_else(|| credential(CredentialFault::Missing))?;
            (named.ok_or_else(missing)?, role)
        }
    };
    trace.organization = Some(Arc::clone(&organization));
    match organization.status {
        OrgStatus::Active => {}
        OrgStatus::Suspended => return Err(refuse(TenantRefusal::OrgSuspended)),
    }
    let (role, plan) =
        match (snapshot.roles.role(&role_name), snapshot.plans.get(&organization.plan)) {
            (Some(role), Some(plan)) => (Arc::clone(role), plan),
            (None, _) | (_, None) => return Err(refuse(TenantRefusal::UnknownRoleOrPlan)),
        };
    trace.role = Some(Arc::clone(&role));
    trace.decided_by = None;
    trace.note(Some(&role.source), || {
        format!(
            "organization `{}` ({}), plan `{}`, role `{}`",
            organization.slug, organization.id, plan.name, role.name
        )
    });
    let tenancy = Tenancy { organization, role, plan_level: plan.level };
    Ok(Tenanted { authenticated, tenancy: Some(tenancy) })
}

/// The organization that the sources agree on, if any names one.
fn named_organization(
    sources: &[TenantSource],
    authenticated: &Authenticated<'_>,
    snapshot: &Snapshot,
    known: &dyn Known,
    trace: &mut Trace,
) -> Result<Option<Arc<Organization>>, Stop> {
    let mut selectors: SmallVec<[OrgSelector; 2]> = SmallVec::new();
    for source in sources {
        let Some(selector) = selector(source, authenticated, &snapshot.identity)? else { continue };
        trace.note(None, || format!("{} names `{selector}`", source_name(source)));
        if !selectors.contains(&selector) {
            selectors.push(selector);
        }
    }
    let mut found: Option<Arc<Organization>> = None;
    for selector in selectors {
        let organization = match known.organization(&selector) {
            Some(Lookup::Found(organization)) => organization,
            Some(Lookup::Absent) => return Err(refuse(TenantRefusal::Unknown)),
            Some(Lookup::Away(outage)) => return Err(Refusal::Unavailable(outage).into()),
            None => return Err(Stop::Ask(Question::Organization(selector))),
        };
        match &found {
            Some(first) if first.id != organization.id => {
                return Err(refuse(TenantRefusal::Conflict));
            }
            Some(_) => {}
            None => found = Some(organization),
        }
    }
    Ok(found)
}

/// What one source says. A source that is present and malformed is refused, never skipped.
fn selector(
    source: &TenantSource,
    authenticated: &Authenticated<'_>,
    identity: &IdentityPolicy,
) -> Result<Option<OrgSelector>, Stop> {
    let routed = authenticated.routed();
    let text = match source {
        TenantSource::Claim(path) => {
            let Some(token) = authenticated.token() else { return Ok(None) };
            return claim(token, path, identity);
        }
        TenantSource::Header => header(routed.headers())?,
        TenantSource::Host => routed.host_label(),
        TenantSource::Path(capture) => routed.capture(capture),
        TenantSource::Default => None,
    };
    text.map(|text| text.parse().map_err(|_| refuse(TenantRefusal::Malformed))).transpose()
}

fn source_name(source: &TenantSource) -> String {
    match source {
        TenantSource::Claim(path) => format!("claim `{}`", path.join(".")),
        TenantSource::Header => format!("header `{ORGANIZATION_HEADER}`"),
        TenantSource::Host => "host".into(),
        TenantSource::Path(capture) => format!("path segment `{capture}`"),
        TenantSource::Default => "default membership".into(),
    }
}

fn claim(
    token: &VerifiedToken,
    path: &[Box<str>],
    identity: &IdentityPolicy,
) -> Result<Option<OrgSelector>, Stop> {
    let mut claims = identity.organization_claims.iter().zip(&token.organizations);
    match claims.find(|(kept, _)| kept.as_slice() == path) {
        Some((_, ClaimedOrganization::None)) => Ok(None),
        Some((_, ClaimedOrganization::Named(selector))) => Ok(Some(selector.clone())),
        Some((_, ClaimedOrganization::Malformed)) => Err(refuse(TenantRefusal::Malformed)),
        None => Err(Refusal::Internal("a claim of the policy was not kept").into()),
    }
}

fn header(headers: &HeaderMap) -> Result<Option<&str>, Stop> {
    let mut values = headers.get_all(ORGANIZATION_HEADER).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            value.to_str().map(Some).map_err(|_| refuse(TenantRefusal::Malformed))
        }
        (Some(_), Some(_)) => Err(refuse(TenantRefusal::Conflict)),
    }
}

/// The user's membership in the named organization, or the default one.
fn member(
    user: &UserId,
    named: Option<Arc<Organization>>,
    sources: &[TenantSource],
    known: &dyn Known,
) -> Result<(Arc<Organization>, Arc<str>), Stop> {
    let (organization, membership) = match named {
        Some(organization) => {
            let membership = match known.membership(user, organization.id) {
                Some(Lookup::Found(membership)) => membership,
                Some(Lookup::Absent) => return Err(refuse(TenantRefusal::NotAMember)),
                Some(Lookup::Away(outage)) => return Err(Refusal::Unavailable(outage).into()),
                None => {
                    return Err(Stop::Ask(Question::Membership(user.clone(), organization.id)));
                }
            };
            (organization, membership)
        }
        None if sources.contains(&TenantSource::Default) => default_member(user, known)?,
        None => return Err(missing()),
    };
    // What the directory answers must be what was asked: a mix-up there stops here.
    if membership.user != *user || membership.organization != organization.id {
        return Err(Refusal::Internal("the directory answered for somebody else").into());
    }
    match membership.status {
        MemberStatus::Active => Ok((organization, Arc::clone(&membership.role))),
        MemberStatus::Suspended => Err(refuse(TenantRefusal::MemberSuspended)),
        MemberStatus::Invited => Err(refuse(TenantRefusal::MemberInvited)),
    }
}

fn default_member(
    user: &UserId,
    known: &dyn Known,
) -> Result<(Arc<Organization>, Arc<Membership>), Stop> {
    let membership = match known.default_membership(user) {
        Some(Lookup::Found(membership)) => membership,
        Some(Lookup::Absent) => return Err(missing()),
        Some(Lookup::Away(outage)) => return Err(Refusal::Unavailable(outage).into()),
        None => return Err(Stop::Ask(Question::DefaultMembership(user.clone()))),
    };
    let selector = OrgSelector::Id(membership.organization);
    match known.organization(&selector) {
        Some(Lookup::Found(organization)) => Ok((organization, membership)),
        Some(Lookup::Absent) => Err(missing()),
        Some(Lookup::Away(outage)) => Err(Refusal::Unavailable(outage).into()),
        None => Err(Stop::Ask(Question::Organization(selector))),
    }
}

fn refuse(refusal: TenantRefusal) -> Stop {
    Refusal::Tenant(refusal).into()
}

fn missing() -> Stop {
    refuse(TenantRefusal::Missing)
}

fn credential(fault: CredentialFault) -> Stop {
    Refusal::Unauthenticated(fault).into()
}
