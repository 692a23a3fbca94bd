//! Stage 4, tenant: the one organization that the request is for.
//!
//! Every source of the route that is present must name the same organization; the default
//! membership counts only where none is present. Whoever is not a member learns nothing about the
//! organization, not even that it exists.

use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use smallvec::SmallVec;

use crate::domain::clock::Now;
use crate::domain::ids::{OrgId, UserId};
use crate::domain::known::{Lookup, Question};
use crate::domain::machine::MachineKey;
use crate::domain::organization::{
    MemberStatus, Membership, OrgSelector, OrgStatus, Organization, TeamName,
};
use crate::domain::principal::{ClaimedOrganization, Principal, VerifiedToken};
use crate::domain::refusal::{CredentialFault, ImpersonationRefusal, Refusal, TenantRefusal};
use crate::policy::Snapshot;
use crate::policy::identity::IdentityPolicy;
use crate::policy::known::Known;
use crate::policy::limits::{Limit, Scope};
use crate::policy::mode::Mode;
use crate::policy::rights::{NoRights, Rights};
use crate::policy::roles::Role;
use crate::policy::route::{TeamSource, TenantRule, TenantSource};

use super::Stop;
use super::authenticate::Authenticated;
use super::trace::{Stage, Trace};

mod impersonation;
mod sign_on;

use sign_on::SignedOn;

/// The header that names an organization.
pub const ORGANIZATION_HEADER: HeaderName = HeaderName::from_static("x-organization-id");

/// The header that names a team.
pub const TEAM_HEADER: HeaderName = HeaderName::from_static("x-team-id");

/// Proof that the request is for one organization that the caller may act in, or that its route
/// belongs to none.
#[derive(Debug)]
pub struct Tenanted<'h> {
    authenticated: Authenticated<'h>,
    tenancy: Option<Tenancy>,
    acts_as: Option<UserId>,
}

/// The organization, and the caller's role in it.
#[derive(Debug, Clone)]
pub struct Tenancy {
    organization: Arc<Organization>,
    role: Option<Arc<Role>>,
    rights: Rights,
    own_limit: Option<Arc<Limit>>,
    team: Option<TeamName>,
    plan_level: u32,
}

impl Tenancy {
    /// The organization.
    pub fn organization(&self) -> &Arc<Organization> {
        &self.organization
    }

    /// The caller's role in it; where there are several, the first. Machines have none.
    pub fn role(&self) -> Option<&Arc<Role>> {
        self.role.as_ref()
    }

    /// The limit that the key of a machine is charged to besides those of the route.
    pub fn own_limit(&self) -> Option<&Arc<Limit>> {
        self.own_limit.as_ref()
    }

    /// What the caller may do there.
    pub fn rights(&self) -> &Rights {
        &self.rights
    }

    /// The team that the request names.
    pub fn team(&self) -> Option<&TeamName> {
        self.team.as_ref()
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

    /// The user as whom the caller acts, if it does.
    pub fn acts_as(&self) -> Option<&UserId> {
        self.acts_as.as_ref()
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
    now: Now,
) -> Result<Tenanted<'h>, Stop> {
    trace.enter(Stage::Tenant);
    let route = Arc::clone(authenticated.routed().route());
    let acts_as = impersonation::asked(&authenticated, snapshot, known, trace, now)?;
    let TenantRule::Sources(sources) = &route.tenant else {
        if authenticated.principal().machine().is_some() {
            // Its key belongs to an organization, and says nothing about anything else.
            return Err(credential(CredentialFault::Kind));
        }
        if acts_as.is_some() {
            // There it would change nothing, and look as if it had.
            return Err(Refusal::Impersonation(ImpersonationRefusal::NoOrganization).into());
        }
        if let Principal::User { token, .. } = authenticated.principal() {
            let issuer = sign_on::issuer(token, &snapshot.identity)?;
            if issuer.sign_on.is_bound() {
                // It vouches for members of its organizations, and says nothing about anything else.
                trace.decided_by = Some(issuer.source.clone());
                return Err(refuse(TenantRefusal::Issuer));
            }
        }
        trace.note(Some(&route.source), || "the route belongs to no organization".into());
        return Ok(Tenanted { authenticated, tenancy: None, acts_as: None });
    };
    trace.decided_by = Some(route.source.clone());
    let named = {
        let own = sources.iter().filter(|source| {
            // A token's organization is that of the caller.
            acts_as.is_none() || !matches!(source, TenantSource::Claim(_))
        });
        named_organization(own, &authenticated, snapshot, known, trace)
    };
    let team = named_team(&route.team, &authenticated)?;
    let (organization, standing) = match authenticated.principal() {
        Principal::User { id, token } => {
            let issuer = sign_on::issuer(token, &snapshot.identity)?;
            let named = named.map_err(|stop| sign_on::unknown_too(stop, &issuer.sign_on))?;
            let signed_on = SignedOn { user: id, token, issuer };
            match &acts_as {
                None => signed_on.settle(named, sources, known, trace)?,
                Some(other) => {
                    // What the caller's token says of roles is not said of somebody else.
                    let (organization, membership) = member(other, named, sources, known)?;
                    impersonation::not_among_staff(&organization, snapshot, trace)?;
                    signed_on.admitted(&organization, trace)?;
                    (organization, Standing::Member(membership))
                }
            }
        }
        Principal::Service { .. } => {
            let role = snapshot.identity.service_role.clone();
            let role = role.ok_or_else(|| credential(CredentialFault::Kind))?;
            (named?.ok_or_else(missing)?, Standing::Role(role))
        }
        Principal::Machine { key, .. } => {
            (named?.ok_or_else(missing)?, Standing::Machine(Arc::clone(key)))
        }
        Principal::Anonymous => {
            let role = snapshot.identity.anonymous_role.clone();
            let role = role.ok_or_else(|| credential(CredentialFault::Missing))?;
            (named?.ok_or_else(missing)?, Standing::Role(role))
        }
    };
    trace.organization = Some(Arc::clone(&organization));
    trace.team = match (&standing, authenticated.principal()) {
        // Who acts as somebody else bears the costs, and is in none of the other's teams.
        (Standing::Member(_), _) if acts_as.is_some() => None,
        (Standing::Member(membership), _) => {
            membership.more.as_ref().and_then(|more| more.bearing(team.as_ref())).cloned()
        }
        (Standing::Machine(_), _) | (Standing::Role(_), Principal::Service { .. }) => team.clone(),
        // Nobody knows who that is: no team bears what strangers say.
        (Standing::Role(_), _) => None,
    };
    match organization.status {
        OrgStatus::Active => {}
        OrgStatus::Suspended => return Err(refuse(TenantRefusal::OrgSuspended)),
    }
    let unknown = || refuse(TenantRefusal::UnknownRoleOrPlan);
    let role = match &standing {
        Standing::Member(membership) => Some(&membership.role),
        Standing::Role(name) => Some(name),
        Standing::Machine(_) => None,
    };
    let role = role.map(|name| snapshot.roles.role(name).ok_or_else(unknown)).transpose()?;
    let role = role.cloned();
    let plan = snapshot.plans.get(&organization.plan).ok_or_else(unknown)?;
    trace.role.clone_from(&role);
    trace.further_rights =
        matches!(&standing, Standing::Member(membership) if membership.more.is_some());
    let rights = match (&standing, &role) {
        (Standing::Member(membership), _) => {
            let rights = Rights::of_member(membership, team.as_ref(), &snapshot.roles);
            rights.map_err(|none| no_rights(&none, trace))?
        }
        (Standing::Machine(key), _) => Rights::of_machine(Arc::clone(key)),
        (Standing::Role(_), Some(role)) => Rights::of_role(Arc::clone(role)),
        (Standing::Role(_), None) => return Err(unknown()),
    };
    let own_limit = match &standing {
        Standing::Machine(key) => own_limit(key, snapshot).map_err(|()| unknown())?,
        Standing::Member(_) | Standing::Role(_) => None,
    };
    trace.decided_by = None;
    trace.note(role.as_ref().map(|role| &role.source), || {
        let (slug, id) = (&organization.slug, organization.id);
        let standing = match (&role, &standing) {
            (_, Standing::Machine(key)) => {
                let scopes: Vec<String> = key.scopes.iter().map(|s| format!("`{s}`")).collect();
                format!("scopes {}", scopes.join(", "))
            }
            (Some(role), _) => format!("role `{}`", role.name),
            (None, _) => "no role".to_owned(),
        };
        format!("organization `{slug}` ({id}), plan `{}`, {standing}", plan.name)
    });
    let first = role.as_ref().map(|role| &role.name);
    for further in rights.roles().iter().filter(|further| Some(&further.name) != first) {
        trace.note(Some(&further.source), || match &team {
            Some(team) => format!("further role `{}` (team `{team}`)", further.name),
            None => format!("further role `{}`", further.name),
        });
    }
    let plan_level = plan.level;
    let tenancy = Tenancy { organization, role, rights, own_limit, team, plan_level };
    Ok(Tenanted { authenticated, tenancy: Some(tenancy), acts_as })
}

/// By what somebody stands in an organization.
enum Standing {
    /// As a member.
    Member(Arc<Membership>),
    /// With a role that the configuration gives to all of a kind.
    Role(Arc<str>),
    /// With the scopes of a key.
    Machine(Arc<MachineKey>),
}

/// The limit that a key names. One that cannot be charged to a machine is none.
fn own_limit(key: &MachineKey, snapshot: &Snapshot) -> Result<Option<Arc<Limit>>, ()> {
    let Some(name) = &key.limit else { return Ok(None) };
    let limit = snapshot.limits.get(name).filter(|limit| limit.scope != Scope::User);
    let limit = limit.ok_or(())?;
    Ok((limit.mode != Mode::Off).then(|| Arc::clone(limit)))
}

/// The organization that the sources agree on, if any names one.
fn named_organization<'s>(
    sources: impl Iterator<Item = &'s TenantSource>,
    authenticated: &Authenticated<'_>,
    snapshot: &Snapshot,
    known: &dyn Known,
    trace: &mut Trace,
) -> Result<Option<Arc<Organization>>, Stop> {
    let mut selectors: SmallVec<[OrgSelector; 2]> = SmallVec::new();
    let of_key = authenticated.principal().machine().map(|key| key.organization);
    selectors.extend(of_key.map(OrgSelector::Id));
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
            // Whoever has a key must not find out which other organizations exist.
            Some(Lookup::Absent) if of_key.is_some() && found.is_some() => {
                return Err(refuse(TenantRefusal::Conflict));
            }
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
        TenantSource::Header => single(routed.headers(), &ORGANIZATION_HEADER)
            .map_err(|()| refuse(TenantRefusal::Conflict))?,
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

/// A header that may stand once. What is not text reads as the empty name, which names nothing.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => Ok(Some(value.to_str().unwrap_or_default())),
        (Some(_), Some(_)) => Err(()),
    }
}

/// The team that the sources agree on, if any names one.
fn named_team(
    sources: &[TeamSource],
    authenticated: &Authenticated<'_>,
) -> Result<Option<TeamName>, Stop> {
    let routed = authenticated.routed();
    let mut found: Option<TeamName> = None;
    for source in sources {
        let stated = match source {
            TeamSource::Header => {
                single(routed.headers(), &TEAM_HEADER).map_err(|()| refuse(TenantRefusal::Team))?
            }
            TeamSource::Path(capture) => routed.capture(capture),
        };
        let Some(stated) = stated else { continue };
        let team: TeamName = stated.parse().map_err(|_| refuse(TenantRefusal::Team))?;
        if found.as_ref().is_some_and(|first| *first != team) {
            return Err(refuse(TenantRefusal::Team));
        }
        found = Some(team);
    }
    Ok(found)
}

fn no_rights(none: &NoRights<'_>, trace: &mut Trace) -> Stop {
    match none {
        NoRights::UnknownRole(name) => {
            trace.note(None, || format!("the directory names the role `{name}`"));
            refuse(TenantRefusal::UnknownRoleOrPlan)
        }
        NoRights::Conflict(apart) => {
            trace.decided_by = Some(apart.source.clone());
            trace.note(Some(&apart.source), || {
                format!("`{}` and `{}` are kept apart", apart.roles[0], apart.roles[1])
            });
            refuse(TenantRefusal::DutiesConflict)
        }
    }
}

/// The user's membership in the named organization, or the default one.
fn member(
    user: &UserId,
    named: Option<Arc<Organization>>,
    sources: &[TenantSource],
    known: &dyn Known,
) -> Result<(Arc<Organization>, Arc<Membership>), Stop> {
    let (organization, membership) = match named {
        Some(organization) => match membership(user, organization.id, known)? {
            Lookup::Found(membership) => (organization, membership),
            Lookup::Absent => return Err(refuse(TenantRefusal::NotAMember)),
            Lookup::Away(outage) => return Err(Refusal::Unavailable(outage).into()),
        },
        None if sources.contains(&TenantSource::Default) => default_member(user, known)?,
        None => return Err(missing()),
    };
    in_force(&membership, user, organization.id)?;
    Ok((organization, membership))
}

/// What is known of a membership, or the question.
fn membership(
    user: &UserId,
    organization: OrgId,
    known: &dyn Known,
) -> Result<Lookup<Arc<Membership>>, Stop> {
    let found = known.membership(user, organization);
    found.ok_or_else(|| Stop::Ask(Question::Membership(user.clone(), organization)))
}

/// Whether a membership is that of the user there, and active.
fn in_force(membership: &Membership, user: &UserId, organization: OrgId) -> Result<(), Stop> {
    // What the directory answers must be what was asked: a mix-up there stops here.
    if membership.user != *user || membership.organization != organization {
        return Err(Refusal::Internal("the directory answered for somebody else").into());
    }
    match membership.status {
        MemberStatus::Active => Ok(()),
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
