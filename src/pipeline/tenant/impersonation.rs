//! Acting as somebody else: a header names the user, another the reason.
//!
//! Part of the tenant stage. The caller stays the principal, to whom limits are charged and of whom
//! the record tells; rights, and what the upstream sees, are those of the user who is acted as.

use std::sync::Arc;

use http::{HeaderName, Method};

use crate::domain::clock::Now;
use crate::domain::ids::UserId;
use crate::domain::known::{Lookup, Question};
use crate::domain::organization::{MemberStatus, OrgStatus, Organization};
use crate::domain::principal::Principal;
use crate::domain::refusal::{ImpersonationRefusal, Refusal};
use crate::pipeline::Stop;
use crate::pipeline::authenticate::Authenticated;
use crate::pipeline::conditions::Circumstances;
use crate::pipeline::trace::{Impersonated, Trace};
use crate::policy::Snapshot;
use crate::policy::impersonation::ImpersonationPolicy;
use crate::policy::known::Known;
use crate::policy::rights::Rights;
use crate::policy::sign_on::names;

use super::{Tenancy, single};

/// The header that names the user who is acted as.
const USER_HEADER: HeaderName = HeaderName::from_static("x-impersonate-user");
/// The header that says why.
const REASON_HEADER: HeaderName = HeaderName::from_static("x-impersonate-reason");
/// A reason that says something, and no novel.
const REASON: std::ops::RangeInclusive<usize> = 8..=200;

/// The user as whom the caller acts, where the request says so and the policy lets it.
pub(super) fn asked(
    authenticated: &Authenticated<'_>,
    snapshot: &Snapshot,
    known: &dyn Known,
    trace: &mut Trace,
    now: Now,
) -> Result<Option<UserId>, Stop> {
    let headers = authenticated.routed().headers();
    let malformed = || refuse(ImpersonationRefusal::Malformed);
    let user = single(headers, &USER_HEADER).map_err(|()| malformed())?;
    let reason = single(headers, &REASON_HEADER).map_err(|()| malformed())?;
    let Some(user) = user else {
        // Whoever gives a reason means to act as somebody.
        return if reason.is_some() { Err(malformed()) } else { Ok(None) };
    };
    let user: UserId = user.parse().map_err(|_| malformed())?;
    let policy = snapshot.impersonation.as_ref();
    let policy = policy.ok_or_else(|| refuse(ImpersonationRefusal::NotAllowed))?;
    trace.decided_by = Some(policy.source.clone());
    let reason = reason.filter(|reason| REASON.contains(&reason.len()));
    let reason = reason.ok_or_else(|| refuse(ImpersonationRefusal::Reason))?;
    // Kept before anything is granted: a refused attempt is told with its reason, too.
    trace.impersonated = Some(Impersonated { user: user.clone(), reason: Arc::from(reason) });
    may(authenticated, policy, snapshot, known, trace, now)?;
    let routed = authenticated.routed();
    let looks = [Method::GET, Method::HEAD, Method::OPTIONS].contains(routed.method());
    if policy.read_only && (!looks || routed.edged().websocket()) {
        return Err(refuse(ImpersonationRefusal::ReadOnly));
    }
    trace.note(Some(&policy.source), || format!("the caller acts as `{user}`: {reason}"));
    Ok(Some(user))
}

/// Refuses to act as somebody in the staff's own organization: whoever may only help would have the
/// rights of those who say who may.
pub(super) fn not_among_staff(
    organization: &Organization,
    snapshot: &Snapshot,
    trace: &mut Trace,
) -> Result<(), Stop> {
    let policy = snapshot.impersonation.as_ref();
    let policy = policy.ok_or_else(|| refuse(ImpersonationRefusal::NotAllowed))?;
    if names(&policy.staff, organization) {
        trace.decided_by = Some(policy.source.clone());
        return Err(refuse(ImpersonationRefusal::NotAllowed));
    }
    Ok(())
}

/// Whether the caller is a member of the staff with the permission, and has shown a second factor.
fn may(
    authenticated: &Authenticated<'_>,
    policy: &ImpersonationPolicy,
    snapshot: &Snapshot,
    known: &dyn Known,
    trace: &mut Trace,
    now: Now,
) -> Result<(), Stop> {
    let not_allowed = || refuse(ImpersonationRefusal::NotAllowed);
    let Principal::User { id, .. } = authenticated.principal() else { return Err(not_allowed()) };
    let organization = match known.organization(&policy.staff) {
        Some(Lookup::Found(organization)) => organization,
        Some(Lookup::Absent) => return Err(not_allowed()),
        Some(Lookup::Away(outage)) => return Err(Refusal::Unavailable(outage).into()),
        None => return Err(Stop::Ask(Question::Organization(policy.staff.clone()))),
    };
    let membership = match known.membership(id, organization.id) {
        Some(Lookup::Found(membership)) => membership,
        Some(Lookup::Absent) => return Err(not_allowed()),
        Some(Lookup::Away(outage)) => return Err(Refusal::Unavailable(outage).into()),
        None => return Err(Stop::Ask(Question::Membership(id.clone(), organization.id))),
    };
    let active = membership.user == *id
        && membership.organization == organization.id
        && membership.status == MemberStatus::Active
        && organization.status == OrgStatus::Active;
    let role = snapshot.roles.role(&membership.role);
    let plan = snapshot.plans.get(&organization.plan);
    let rights = Rights::of_member(&membership, None, &snapshot.roles);
    let (true, Some(role), Some(plan), Ok(rights)) = (active, role, plan, rights) else {
        return Err(not_allowed());
    };
    let role = Some(Arc::clone(role));
    let plan_level = plan.level;
    let tenancy = Tenancy { organization, role, rights, own_limit: None, team: None, plan_level };
    let here = Circumstances::of(&tenancy, authenticated, None, known, now);
    if !here.permits(policy.permission, &snapshot.roles.name(policy.permission)) {
        return Err(not_allowed());
    }
    if let Some((requirement, refusal)) = here.failing(snapshot.gates.of(policy.permission)) {
        trace.decided_by = Some(requirement.source.clone());
        return Err(Refusal::Condition(refusal).into());
    }
    here.demands().map_err(Refusal::Condition)?;
    here.second_factor(Some(policy.within), None).map_err(Refusal::Condition)?;
    Ok(())
}

fn refuse(refusal: ImpersonationRefusal) -> Stop {
    Refusal::Impersonation(refusal).into()
}
