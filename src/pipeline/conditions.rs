//! Conditions besides permissions: of the route, of a role, of the organization.
//!
//! Part of the authorize stage, and of the tenant stage where somebody acts as somebody else. What cannot be known does not hold: a token that does not say when
//! a second factor was shown was not shown one recently enough.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::domain::clock::Now;
use crate::domain::organization::SecondFactor;
use crate::domain::principal::{Principal, VerifiedToken};
use crate::domain::refusal::ConditionRefusal;
use crate::domain::trusted::TrustedDevice;
use crate::policy::condition::{Condition, Requirement};
use crate::policy::known::Known;
use crate::policy::mode::Mode;
use crate::policy::rights::Right;
use crate::policy::roles::PermissionId;

use super::authenticate::Authenticated;
use super::rules;
use super::tenant::Tenancy;

/// What conditions are about.
pub(super) struct Circumstances<'t> {
    tenancy: &'t Tenancy,
    /// The user's token; services and anonymous callers show no factors and have no sessions.
    token: Option<&'t Arc<VerifiedToken>>,
    /// What the caller's device was proven to be.
    device: Option<TrustedDevice>,
    client: IpAddr,
    authenticated: &'t Authenticated<'t>,
    known: &'t dyn Known,
    now: Now,
}

impl<'t> Circumstances<'t> {
    pub(super) fn of(
        tenancy: &'t Tenancy,
        authenticated: &'t Authenticated<'_>,
        device: Option<TrustedDevice>,
        known: &'t dyn Known,
        now: Now,
    ) -> Self {
        let token = match authenticated.principal() {
            Principal::User { token, .. } => Some(token),
            Principal::Service { .. } | Principal::Machine { .. } | Principal::Anonymous => None,
        };
        let client = authenticated.routed().client();
        Self { tenancy, token, device, client, authenticated, known, now }
    }

    /// The organization, and the caller's place in it.
    pub(super) fn tenancy(&self) -> &'t Tenancy {
        self.tenancy
    }

    /// The first that does not hold, of those that decide.
    pub(super) fn failing<'r>(
        &self,
        requirements: &'r [Requirement],
    ) -> Option<(&'r Requirement, ConditionRefusal)> {
        self.failing_in(Mode::Enforce, requirements).next()
    }

    /// Those that do not hold, and are only tried.
    pub(super) fn failing_in_shadow<'r>(
        &self,
        requirements: &'r [Requirement],
    ) -> impl Iterator<Item = (&'r Requirement, ConditionRefusal)> {
        self.failing_in(Mode::Shadow, requirements)
    }

    fn failing_in<'r>(
        &self,
        mode: Mode,
        requirements: &'r [Requirement],
    ) -> impl Iterator<Item = (&'r Requirement, ConditionRefusal)> {
        let of_mode = requirements.iter().filter(move |requirement| requirement.mode == mode);
        of_mode.filter_map(|requirement| {
            self.hold(&requirement.condition).err().map(|refusal| (requirement, refusal))
        })
    }

    /// Whether the permission is held, with the conditions of a role that gives it.
    pub(super) fn permits(&self, id: PermissionId, name: &str) -> bool {
        let rights = self.tenancy.rights();
        match rights.to(id, name) {
            Right::Grant(_) | Right::Scope(_) => true,
            Right::Role(_) => {
                rights.roles_with(id).any(|role| self.failing(&role.requires).is_none())
            }
            Right::Denial(_) | Right::None => false,
        }
    }

    /// What the organization asks of everybody, and of its members.
    pub(super) fn demands(&self) -> Result<(), ConditionRefusal> {
        let demands = &self.tenancy.organization().demands;
        if !demands.addresses.is_empty() {
            self.address(&demands.addresses)?;
        }
        if self.token.is_none() {
            return Ok(());
        }
        let asked = match &demands.second_factor {
            SecondFactor::Nobody => false,
            SecondFactor::Everybody => true,
            SecondFactor::Roles(names) => {
                let mut roles = self.tenancy.rights().roles().iter();
                roles.any(|role| names.iter().any(|name| role.is_or_inherits(name)))
            }
        };
        if asked {
            self.second_factor(None, demands.trusted_device)?;
        }
        demands.session_age.map_or(Ok(()), |age| self.session_age(age))?;
        demands.session_idle.map_or(Ok(()), |most| self.session_idle(most))
    }

    fn hold(&self, condition: &Condition) -> Result<(), ConditionRefusal> {
        let organization = self.tenancy.organization();
        match condition {
            Condition::Feature { name, settings } => {
                let on = organization.features.get(name);
                let set = |(key, value): &(Arc<str>, Arc<str>)| {
                    on.and_then(|on| on.get(key)).is_some_and(|stated| stated == value)
                };
                (on.is_some() && settings.iter().all(set))
                    .then_some(())
                    .ok_or_else(|| ConditionRefusal::Feature(Arc::clone(name)))
            }
            Condition::PlanAtLeast { name, level } => (self.tenancy.plan_level() >= *level)
                .then_some(())
                .ok_or_else(|| ConditionRefusal::Plan(Arc::clone(name))),
            Condition::SecondFactor { within, device } => self.second_factor(*within, *device),
            Condition::SessionAge(age) => self.session_age(*age),
            Condition::SessionIdle(most) => self.session_idle(*most),
            Condition::Addresses(networks) => self.address(networks),
            Condition::Hours(hours) => {
                hours.contain(self.now.unix_secs()).then_some(()).ok_or(ConditionRefusal::Hours)
            }
            Condition::Stage { name, reached_by } => {
                let reached = [organization.stage.as_ref(), self.tenancy.rights().stage()];
                let reached = reached.into_iter().flatten().any(|stage| reached_by.contains(stage));
                reached.then_some(()).ok_or_else(|| ConditionRefusal::Stage(Arc::clone(name)))
            }
            Condition::When(expression) => {
                let scene = rules::scene_of_caller(self.authenticated, self.tenancy, self.now);
                match expression.holds(&scene) {
                    Ok(true) => Ok(()),
                    Ok(false) => Err(ConditionRefusal::Expression),
                    Err(fault) => Err(ConditionRefusal::Fault(fault.as_str())),
                }
            }
        }
    }

    /// Whether a second factor was shown, no longer ago than that; or the caller's device was
    /// trusted, no longer ago than the other.
    pub(super) fn second_factor(
        &self,
        within: Option<Duration>,
        device: Option<Duration>,
    ) -> Result<(), ConditionRefusal> {
        factor_shown(self.token.map(Arc::as_ref), within, self.now).or_else(|refusal| {
            let trusted_at = self.device.map(|device| device.trusted_at);
            let stands_in = device.is_some_and(|most| self.is_within(trusted_at, most));
            if stands_in { Ok(()) } else { Err(refusal) }
        })
    }

    fn session_age(&self, age: Duration) -> Result<(), ConditionRefusal> {
        let signed_in = self.token.and_then(|token| token.signed_in_at);
        self.is_within(signed_in, age).then_some(()).ok_or(ConditionRefusal::SessionAge)
    }

    /// What began lately has not rested for long, whatever is known of its uses.
    fn session_idle(&self, most: Duration) -> Result<(), ConditionRefusal> {
        let token = self.token.ok_or(ConditionRefusal::SessionIdle)?;
        let used = self.known.last_use(token);
        let last = used.at.max(token.began().unwrap_or(0));
        let rested = used.longest_pause <= most.as_secs() && self.is_within(Some(last), most);
        rested.then_some(()).ok_or(ConditionRefusal::SessionIdle)
    }

    fn is_within(&self, at: Option<u64>, span: Duration) -> bool {
        is_within(at, span, self.now)
    }

    fn address(&self, networks: &[IpNet]) -> Result<(), ConditionRefusal> {
        let client = self.client.to_canonical();
        let inside = networks.iter().any(|network| network.contains(&client));
        inside.then_some(()).ok_or(ConditionRefusal::Address)
    }
}

/// Whether a token says that a second factor was shown, no longer ago than that.
pub(super) fn factor_shown(
    token: Option<&VerifiedToken>,
    within: Option<Duration>,
    now: Now,
) -> Result<(), ConditionRefusal> {
    let token = token.filter(|token| token.second_factor);
    let token = token.ok_or(ConditionRefusal::SecondFactor)?;
    match within {
        None => Ok(()),
        Some(within) if is_within(token.factor_at, within, now) => Ok(()),
        Some(_) => Err(ConditionRefusal::FactorAge),
    }
}

fn is_within(at: Option<u64>, span: Duration, now: Now) -> bool {
    at.is_some_and(|at| now.unix_secs().saturating_sub(at) <= span.as_secs())
}
