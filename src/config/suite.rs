//! Test files: requests to a configuration, and what is to become of each.
//!
//! What stands here is what a test file comes to: one [`Case`] for every request and caller, with
//! matrices spread out. `fields` and `matrix` read the YAML, `compile` checks its names. May import
//! `domain`.

mod compile;
mod expect;
mod fields;
mod matrix;
mod would;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::Method;

use crate::domain::directory::DirectoryData;
use crate::domain::ids::{OrgSlug, UserId};
use crate::domain::known::Outage;
use crate::domain::organization::MoreRights;
use crate::domain::permission::PermissionPattern;
use crate::domain::source::Source;

use super::context::{Context, Environment};
use super::files::{Disk, Files};
use super::load::{Loaded, finished};
use super::problem::Problems;

pub(super) use fields::SuiteFields;
pub use would::WouldExpected;

/// A test file, ready to be run.
#[derive(Debug)]
pub struct Suite {
    /// The configuration that it is about.
    pub loaded: Loaded,
    /// Organizations and members, as the test file or else the configuration states them.
    pub directory: Arc<DirectoryData>,
    /// In the order of the file.
    pub cases: Vec<Case>,
}

/// One request, and what is to become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// What it shows.
    pub name: Arc<str>,
    /// Where it is written.
    pub source: Source,
    /// Who calls.
    pub caller: Caller,
    /// Sent as `x-organization-id`, and where a [`Caller::Member`] is one and whose a
    /// [`Caller::Machine`] is.
    pub organization: Option<OrgSlug>,
    /// The client's address.
    pub from: IpAddr,
    /// The time, in seconds since 1970.
    pub at_secs: u64,
    /// What is asked.
    pub request: Asked,
    /// How many tokens are left in buckets of limits. The others are full.
    pub left: BTreeMap<Arc<str>, u32>,
    /// What its organization has used of quotas. Empty: they are not judged.
    pub used: BTreeMap<Arc<str>, u64>,
    /// What does not answer.
    pub away: Vec<Outage>,
    /// The status of the upstream's answer, for the rules that see it.
    pub answers: u16,
    /// What is to become of it.
    pub expected: Expected,
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Without any credential.
    Nobody,
    /// With a token that says so.
    Anonymous,
    /// With a token that says so.
    Service,
    /// A user of the directory, or of nowhere.
    User(UserId, Shown),
    /// A member that exists for this case only.
    Member(Member, Shown),
    /// A machine that exists for this case only, with a key of these scopes.
    Machine(Vec<PermissionPattern>),
}

/// A member that exists for one case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The role.
    pub role: Arc<str>,
    /// What goes beyond one role.
    pub more: Option<Box<MoreRights>>,
}

/// What a token says besides who it is for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shown {
    /// How long ago a second factor was shown; `None`: none was.
    pub factor_age: Option<Duration>,
    /// How long ago the user signed in.
    pub session_age: Duration,
    /// Whether the session was taken back.
    pub revoked: bool,
    /// Further claims, by the path of their keys.
    pub claims: Vec<(Arc<str>, Arc<str>)>,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// The host.
    pub host: Arc<str>,
    /// Header fields.
    pub headers: BTreeMap<Arc<str>, String>,
    /// The body.
    pub body: Option<String>,
}

/// What is to become of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// How it ends.
    pub verdict: Verdict,
    /// The permission that is looked at, `resource:action`.
    pub permission: Option<Arc<str>>,
    /// Header fields of the answer.
    pub answer: FieldsExpected,
    /// The kinds of security events that it is.
    pub events: Option<Vec<Arc<str>>>,
    /// The rules that it meets, in the order in which they are tried.
    pub rules: Option<Vec<Arc<str>>>,
    /// What policies in shadow would have done, in the order of the stages.
    pub would: Option<Vec<WouldExpected>>,
}

impl Expected {
    fn just(verdict: Verdict) -> Self {
        Self {
            verdict,
            permission: None,
            answer: FieldsExpected::default(),
            events: None,
            rules: None,
            would: None,
        }
    }

    /// Sent on, in whatever form.
    pub fn allowed() -> Self {
        Self::just(Verdict::Allowed(Box::default()))
    }

    /// Refused with that code.
    pub fn refused(code: Arc<str>) -> Self {
        Self::just(Verdict::Refused { code, status: None, by: None })
    }

    /// Refused for want of a permission.
    pub fn denied() -> Self {
        Self::refused(Arc::from("permission_denied"))
    }
}

/// How a request ends. What is `None` may be anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is sent on.
    Allowed(Box<SentExpected>),
    /// It is refused.
    Refused {
        /// The refusal's code.
        code: Arc<str>,
        /// The answer's status.
        status: Option<u16>,
        /// What stands in the line that decided.
        by: Option<Deciding>,
    },
    /// The gateway answers by itself.
    Answered {
        /// The answer's status.
        status: u16,
    },
}

/// What an upstream is to get. What is `None` may be anything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SentExpected {
    /// The upstream.
    pub upstream: Option<Arc<str>>,
    /// Path and query.
    pub target: Option<String>,
    /// Header fields.
    pub fields: FieldsExpected,
    /// Claims of the token that is minted, by the path of their keys.
    pub claims: Vec<(Arc<str>, String)>,
    /// The body.
    pub body: Option<String>,
    /// The limits that are charged, in order.
    pub limits: Option<Vec<Arc<str>>>,
    /// The limits that are charged, and how many tokens.
    pub charges: Option<BTreeMap<Arc<str>, u64>>,
}

/// Header fields, by their names in lowercase.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldsExpected {
    /// With these values.
    pub equal: Vec<(String, String)>,
    /// With any value.
    pub present: Vec<String>,
    /// Not there.
    pub absent: Vec<String>,
}

/// The part of a policy whose line decides: itself, or one of the conditions that it states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deciding {
    /// A route.
    Route(Arc<str>),
    /// A role.
    Role(Arc<str>),
    /// A gate.
    Gate(Arc<str>),
    /// A quota.
    Quota(Arc<str>),
    /// A limit.
    Limit(Arc<str>),
    /// A rule.
    Rule(Arc<str>),
    /// The line whose place ends so.
    Line(Arc<str>),
}

/// Reads a test file and the configuration that it is about, from disk.
///
/// # Errors
/// Everything that is wrong in them, at once.
pub fn load(path: &Path, environment: Environment<'_>) -> Result<Suite, Problems> {
    load_from(&Disk, path, environment)
}

/// Reads a test file and the configuration that it is about, from anywhere.
///
/// # Errors
/// Everything that is wrong in them, at once.
pub fn load_from(
    files: &dyn Files,
    path: &Path,
    environment: Environment<'_>,
) -> Result<Suite, Problems> {
    read(files, path, None, environment)
}

/// Reads a test file, for the cases that it has, and the configuration that they are to be run on,
/// whichever the file names.
///
/// # Errors
/// Everything that is wrong in them, at once.
pub fn load_about(
    files: &dyn Files,
    path: &Path,
    config: &Path,
    environment: Environment<'_>,
) -> Result<Suite, Problems> {
    read(files, path, Some(config), environment)
}

fn read(
    files: &dyn Files,
    path: &Path,
    config: Option<&Path>,
    environment: Environment<'_>,
) -> Result<Suite, Problems> {
    let mut cx = Context::new(files, environment);
    let suite = compile::read(path, config, &mut cx);
    let (parts, rest) = match suite {
        Some((settings, snapshot, directory, cases)) => {
            (Some((settings, snapshot)), Some((directory, cases)))
        }
        None => (None, None),
    };
    let loaded = finished(parts, cx)?;
    let (directory, cases) = rest.unwrap_or_default();
    Ok(Suite { loaded, directory, cases })
}
