//! Attempts to sign in: counted before the auth server is asked, settled by the head of its answer.
//!
//! Nothing of this touches other requests but one look at an empty place. The answer never waits:
//! what the store is told of its outcome, it is told beside it.

use std::sync::Arc;

use pingora::http::ResponseHeader;
use pingora::{Error, ErrorSource};
use smallvec::SmallVec;

use crate::domain::audit::{SecurityEvent, Severity};
use crate::domain::known::Outage;
use crate::domain::login::{
    AccountHash, LoginAlarm, LoginAttempt, LoginOutcome, LoginRefusal, LoginSubject,
};
use crate::domain::refusal::Refusal;
use crate::pipeline::Passed;
use crate::policy::logins::{LoginMode, LoginPolicy};
use crate::stores::logins::{Begun, Ticket};
use crate::telemetry::logins::LoginResult;

use super::context::Context;
use super::gateway::Gateway;

/// An attempt that was charged, until its request is over.
pub(super) struct AtLogin {
    ticket: Ticket,
    policy: Arc<LoginPolicy>,
    /// Known with the head of the answer, or when there will be none.
    outcome: Option<LoginOutcome>,
}

/// The account that a request to an auth server names.
pub(super) fn account(gateway: &Gateway, passed: &mut Passed) -> Option<AccountHash> {
    let (login, account) = passed.body().attempt()?;
    let pepper = login.policy().pepper.as_ref().unwrap_or(gateway.logins.pepper());
    account.map(|account| pepper.hash(account))
}

/// Charges an attempt, if the request is one.
pub(super) async fn begin(
    gateway: &Gateway,
    ctx: &mut Context,
    passed: &mut Passed,
) -> Result<(), Refusal> {
    let Some((login, account)) = passed.body().attempt() else { return Ok(()) };
    let policy = Arc::clone(login.policy());
    let client = ctx.trace.client.ok_or(Refusal::Internal("a login without an address"))?;
    let pepper = policy.pepper.as_ref().unwrap_or(gateway.logins.pepper());
    let attempt = LoginAttempt::new(client, account.map(|account| pepper.hash(account)));
    let begun = gateway.logins.begin(attempt, login.guards_account(), &policy, ctx.resumed).await;
    ctx.resumed = gateway.now();
    let refusal = match begun {
        Begun::Admitted(ticket) => {
            ctx.login = Some(Box::new(AtLogin { ticket, policy, outcome: None }));
            return Ok(());
        }
        Begun::Locked { subject, retry_after } => {
            Refusal::Login(LoginRefusal::Locked { subject, retry_after })
        }
        Begun::Away => Refusal::Unavailable(Outage::Limits),
    };
    match policy.mode {
        LoginMode::Enforce => {
            gateway.metrics.logins.attempted(LoginResult::Locked);
            ctx.trace.decided_by = Some(policy.source.clone());
            Err(refusal)
        }
        LoginMode::Shadow => {
            gateway.metrics.logins.attempted(LoginResult::Shadow);
            tracing::info!(
                target: "tollgate::security",
                mode = "shadow",
                request.id = ctx.trace.request_id.as_ref().map(|id| id.as_str()),
                refusal.cause = %refusal,
                "a login would have been refused"
            );
            Ok(())
        }
    }
}

/// The head of the upstream's answer is there.
pub(super) fn answered(gateway: &Gateway, response: &ResponseHeader, ctx: &mut Context) {
    let Some(at) = &mut ctx.login else { return };
    let Some(passed) = &mut ctx.passed else { return };
    let Some((login, _)) = passed.body().attempt() else { return };
    let code = response.headers.get("x-sb-error-code").and_then(|code| code.to_str().ok());
    let outcome = login.outcome(response.status, code);
    at.outcome = Some(outcome);
    settle(gateway, at, outcome);
}

/// The request is at its end, and nothing came of it yet: whoever hung up has guessed all the same,
/// and may learn elsewhere whether it was right; what the auth server did not answer proved nothing.
pub(super) fn unanswered(gateway: &Gateway, error: Option<&Error>, ctx: &mut Context) {
    let Some(at) = ctx.login.as_mut().filter(|at| at.outcome.is_none()) else { return };
    let hung_up = error.is_some_and(|error| *error.esource() == ErrorSource::Downstream);
    let attempt = ctx.passed.as_mut().and_then(|passed| passed.body().attempt());
    let outcome = match attempt {
        Some((login, _)) if hung_up => login.hung_up(),
        Some(_) | None => LoginOutcome::Neutral,
    };
    at.outcome = Some(outcome);
    settle(gateway, at, outcome);
}

fn settle(gateway: &Gateway, at: &AtLogin, outcome: LoginOutcome) {
    gateway.metrics.logins.attempted(outcome.into());
    if gateway.logins.end_here(&at.ticket, outcome, &at.policy) {
        return;
    }
    let (logins, policy) = (Arc::clone(&gateway.logins), Arc::clone(&at.policy));
    let ticket = at.ticket.clone();
    gateway.background.spawn(async move { logins.end(&ticket, outcome, &policy).await });
}

impl AtLogin {
    /// What is to be told of it, the gravest first.
    pub(super) fn alarms(&self) -> SmallVec<[LoginAlarm; 2]> {
        let mut alarms = SmallVec::new();
        if self.ticket.stuffing {
            alarms.push(LoginAlarm::Stuffing);
        }
        if self.outcome != Some(LoginOutcome::Failure) {
            return alarms;
        }
        for from in &self.ticket.sprayed {
            let spraying = self.policy.spraying.as_ref();
            let accounts = spraying.map_or(0, |rule| match from {
                LoginSubject::Network => rule.network_accounts.get(),
                LoginSubject::Pair | LoginSubject::Address | LoginSubject::Account => {
                    rule.accounts.get()
                }
            });
            alarms.push(LoginAlarm::Spraying { from: *from, accounts });
        }
        let lockouts = self.ticket.lockouts.iter().rev();
        alarms.extend(lockouts.map(|lockout| LoginAlarm::Lockout(*lockout)));
        alarms
    }

    /// The account's hash, where one was named.
    pub(super) fn account(&self) -> Option<AccountHash> {
        self.ticket.attempt.account
    }

    /// An alarm as a security event.
    pub(super) fn event(&self, alarm: LoginAlarm, stage: &'static str) -> SecurityEvent {
        let severity = match alarm {
            LoginAlarm::Lockout(_) => Some(self.policy.severity),
            LoginAlarm::Spraying { .. } => self.policy.spraying.as_ref().map(|rule| rule.severity),
            LoginAlarm::Stuffing => self.policy.stuffing.as_ref().map(|rule| rule.severity),
        };
        SecurityEvent::login(alarm, self.account(), severity.unwrap_or(Severity::High), stage)
    }
}
