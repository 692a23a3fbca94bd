//! What is counted of attempts to sign in.

use prometheus::Registry;

use super::family::{Counters, Label};
use crate::domain::login::{LoginAlarm, LoginOutcome, LoginSubject};

/// Attempts to sign in.
#[derive(Debug, Clone)]
pub struct LoginMetrics {
    attempts: Counters<LoginResult>,
    lockouts: Counters<LoginSubject>,
    alarms: Counters<AlarmLabel>,
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginResult {
    /// Somebody has proven who it is.
    Success,
    /// What was shown was wrong.
    Failure,
    /// Nothing was proven.
    Neutral,
    /// Refused, because something is locked.
    Locked,
    /// It would have been, were the policy enforced.
    Shadow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AlarmLabel {
    Spraying,
    Stuffing,
}

impl LoginMetrics {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            attempts: Counters::register(
                registry,
                "tollgate_login_attempts_total",
                "Attempts to sign in, by what became of them.",
            )?,
            lockouts: Counters::register(
                registry,
                "tollgate_login_lockouts_total",
                "Lockouts after failed logins, by what was locked.",
            )?,
            alarms: Counters::register(
                registry,
                "tollgate_login_alarms_total",
                "Attacks on logins that were recognised.",
            )?,
        })
    }

    /// An attempt came to an end, or was refused.
    pub fn attempted(&self, result: LoginResult) {
        self.attempts.inc(result);
    }

    /// Something was recognised.
    pub fn alarmed(&self, alarm: &LoginAlarm) {
        match alarm {
            LoginAlarm::Lockout(lockout) => self.lockouts.inc(lockout.subject),
            LoginAlarm::Spraying { .. } => self.alarms.inc(AlarmLabel::Spraying),
            LoginAlarm::Stuffing => self.alarms.inc(AlarmLabel::Stuffing),
        }
    }
}

impl From<LoginOutcome> for LoginResult {
    fn from(outcome: LoginOutcome) -> Self {
        match outcome {
            LoginOutcome::Success => Self::Success,
            LoginOutcome::Failure => Self::Failure,
            LoginOutcome::Neutral => Self::Neutral,
        }
    }
}

impl Label for LoginResult {
    const NAME: &'static str = "outcome";
    const ALL: &'static [Self] =
        &[Self::Success, Self::Failure, Self::Neutral, Self::Locked, Self::Shadow];

    fn index(self) -> usize {
        self as usize
    }

    fn value(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Neutral => "neutral",
            Self::Locked => "locked",
            Self::Shadow => "shadow",
        }
    }
}

impl Label for LoginSubject {
    const NAME: &'static str = "subject";
    const ALL: &'static [Self] = &[Self::Pair, Self::Address, Self::Network, Self::Account];

    fn index(self) -> usize {
        self as usize
    }

    fn value(self) -> &'static str {
        self.as_str()
    }
}

impl Label for AlarmLabel {
    const NAME: &'static str = "kind";
    const ALL: &'static [Self] = &[Self::Spraying, Self::Stuffing];

    fn index(self) -> usize {
        self as usize
    }

    fn value(self) -> &'static str {
        match self {
            Self::Spraying => "password_spraying",
            Self::Stuffing => "credential_stuffing",
        }
    }
}
