//! The world of a test: a snapshot, a directory, and for each case a clock and a caller.
//!
//! Callers get real tokens, signed with a key that takes the place of the first issuer's keys, so
//! that a configuration whose keys are elsewhere can be tested like any other. No store is asked:
//! all buckets are full.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use serde_json::{Map, Value, json};

use crate::config::suite::{Asked, Caller, Case, Shown};
use crate::domain::charge::ChargeAnswer;
use crate::domain::clock::Now;
use crate::domain::directory::DirectoryData;
use crate::domain::head::Arrival;
use crate::domain::ids::{OrgId, UserId};
use crate::domain::known::{IssuerIndex, Join, Lookup, Question};
use crate::domain::machine::{InvalidKey, KeyId, KeyStatus, MachineKey, NewKey};
use crate::domain::organization::{MemberStatus, Membership, OrgSelector, Organization};
use crate::domain::principal::VerifiedToken;
use crate::domain::refusal::Refusal;
use crate::domain::session::{LastUse, Standing};
use crate::domain::source::Source;
use crate::domain::trusted::TrustedDevice;
use crate::domain::usage::{OrganizationUse, Payer};
use crate::domain::zone::Zone;
use crate::pipeline::body::Announced;
use crate::pipeline::tenant::ORGANIZATION_HEADER;
use crate::pipeline::{Chargeable, Settled, Stage, Stop, Trace, decide};
use crate::policy::Snapshot;
use crate::policy::identity::{Algorithm, Issuer, KeySet, VerifyingKey};
use crate::policy::known::{Keys, Known};
use crate::policy::quotas::{Period, Unit};
use crate::stores::directory::FileDirectory;
use crate::stores::usage::unused;

use super::super::token;

/// Signs the tokens of tests, inside this process only.
const SECRET: &[u8] = b"the key of tests, known to everybody";
/// Tokens of tests live so long, or as long as their issuer allows.
const LIFETIME: Duration = Duration::from_secs(300);
/// The user behind a role that a case states.
const MEMBER: &str = "member-of-the-case";

/// A snapshot and its directory.
pub(super) struct World {
    pub(super) snapshot: Snapshot,
    directory: FileDirectory,
    /// Where days begin for organizations that state nothing.
    zone: Zone,
}

/// What became of a request.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) ended: Ended,
    /// The line that decided.
    pub(super) decided_by: Option<Source>,
    /// The permission that was looked at.
    pub(super) permission: Option<Arc<str>>,
    /// The caller's role.
    pub(super) role: Option<Arc<str>>,
}

/// How it ended.
#[derive(Debug)]
pub(super) enum Ended {
    Allowed {
        target: String,
        body: Option<String>,
        limits: Vec<Arc<str>>,
    },
    Refused(Refusal),
    /// The gateway answers by itself (a CORS preflight).
    Answered(u16),
    /// It could not be tried.
    Untried(String),
}

impl Ended {
    /// `allow`, or the code of the refusal.
    pub(super) fn word(&self) -> &str {
        match self {
            Self::Allowed { .. } => "allow",
            Self::Refused(refusal) => refusal.public().code,
            Self::Answered(_) => "answered",
            Self::Untried(_) => "untried",
        }
    }
}

impl World {
    /// Puts the key of tests into a snapshot.
    pub(super) fn new(mut snapshot: Snapshot, directory: &DirectoryData, zone: Zone) -> Self {
        if let Some(first) = snapshot.identity.issuers.first_mut() {
            let key = VerifyingKey {
                kid: None,
                algorithm: Algorithm::HS256,
                key: Arc::new(jsonwebtoken::DecodingKey::from_secret(SECRET)),
            };
            let issuer =
                Issuer { keys: KeySet { keys: vec![key] }, jwks: None, ..(**first).clone() };
            *first = Arc::new(issuer);
        }
        Self { snapshot, directory: FileDirectory::new(directory), zone }
    }

    /// Decides the request of a case.
    pub(super) fn decide(&self, case: &Case) -> Outcome {
        self.decided(case, Trace::new()).0
    }

    /// The last line that let a request through to the limits: where to look when it should not
    /// have been.
    pub(super) fn let_through_by(&self, case: &Case) -> Option<Source> {
        let (_, trace) = self.decided(case, Trace::explaining());
        let mut notes = trace.notes().iter().rev();
        notes.find(|note| note.stage == Stage::Authorize)?.source.clone()
    }

    fn decided(&self, case: &Case, mut trace: Trace) -> (Outcome, Trace) {
        let micros = case.at_secs.saturating_mul(1_000_000);
        let now = Now { unix_micros: micros, mono_nanos: 0 };
        let ended = match self.headers(case, now) {
            Ok(headers) => self.ended(case, &headers, now, &mut trace),
            Err(reason) => Ended::Untried(reason),
        };
        let outcome = Outcome {
            ended,
            decided_by: trace.decided_by.clone(),
            permission: trace.permission.clone(),
            role: trace.role.as_ref().map(|role| Arc::clone(&role.name)),
        };
        (outcome, trace)
    }

    fn ended(&self, case: &Case, headers: &HeaderMap, now: Now, trace: &mut Trace) -> Ended {
        let Asked { method, target, .. } = &case.request;
        let arrival = Arrival {
            method,
            target: target.as_bytes(),
            authority: None,
            version: Version::HTTP_11,
            headers,
            peer: case.from,
            secure: true,
            entropy: 0,
        };
        let known = CaseKnown {
            directory: &self.directory,
            member: self.member(case),
            machine: self.machine(case),
        };
        let chargeable = match decide(&arrival, &self.snapshot, &known, trace, now) {
            Ok(chargeable) => chargeable,
            Err(Stop::Refused(refusal)) => return Ended::Refused(refusal),
            Err(Stop::Answered(answer)) => return Ended::Answered(answer.status.as_u16()),
            Err(Stop::Ask(question)) => return Ended::Untried(asked(&question)),
        };
        let limits = chargeable.charge().buckets.iter().map(|b| Arc::clone(&b.limit)).collect();
        let judged = match self.used(case, trace, now) {
            None => Ok(chargeable.unmetered()),
            Some(used) => within(chargeable, &used, trace),
        };
        let body = case.request.body.clone();
        match judged.and_then(|chargeable| sent(chargeable, body, trace)) {
            Ok((target, body)) => Ended::Allowed { target, body, limits },
            Err(refusal) => Ended::Refused(refusal),
        }
    }

    /// What the organization of the request has used, if the case states that.
    fn used(&self, case: &Case, trace: &Trace, now: Now) -> Option<OrganizationUse> {
        if case.used.is_empty() {
            return None;
        }
        let payer = Payer::of(trace.organization.as_ref()?, None);
        let mut known = unused(&payer, &self.zone, now);
        for quota in self.snapshot.routes.iter().flat_map(|route| &route.quotas) {
            let Some(number) = case.used.get(&quota.name) else { continue };
            let period = match quota.per {
                Period::Day => &mut known.day,
                Period::Month => &mut known.month,
            };
            match quota.of {
                Unit::Calls => period.used.calls = *number,
                Unit::Bytes => period.used.bytes_in = *number,
                Unit::Cost => period.used.cost = *number,
            }
        }
        Some(known)
    }

    /// The member that exists for this case only.
    fn member(&self, case: &Case) -> Option<Arc<Membership>> {
        let Caller::Member(member, _) = &case.caller else { return None };
        Some(Arc::new(Membership {
            organization: self.organization(case)?,
            user: MEMBER.parse().ok()?,
            role: Arc::clone(&member.role),
            status: MemberStatus::Active,
            joined_at: 0,
            more: member.more.clone(),
        }))
    }

    /// The key that exists for this case only.
    fn machine(&self, case: &Case) -> Option<Arc<MachineKey>> {
        let Caller::Machine(scopes) = &case.caller else { return None };
        let (pepper, made) = (self.snapshot.identity.machines.as_ref()?, key().ok()?);
        Some(Arc::new(MachineKey {
            id: made.id,
            name: Arc::from("machine of the case"),
            organization: self.organization(case)?,
            hash: pepper.hash(made.key.expose()),
            previous: None,
            scopes: scopes.clone(),
            addresses: Vec::new(),
            limit: None,
            status: KeyStatus::Active,
            expires_at: None,
        }))
    }

    fn organization(&self, case: &Case) -> Option<OrgId> {
        let slug = case.organization.clone()?;
        match self.directory.organization(&OrgSelector::Slug(slug)) {
            Lookup::Found(organization) => Some(organization.id),
            Lookup::Absent | Lookup::Away(_) => None,
        }
    }

    fn headers(&self, case: &Case, now: Now) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        let request = &case.request;
        insert(&mut headers, header::HOST, &request.host)?;
        if let Some(body) = &request.body {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(slug) = &case.organization {
            insert(&mut headers, ORGANIZATION_HEADER, slug.as_str())?;
        }
        if let Some(token) = self.token(&case.caller, now)? {
            insert(&mut headers, header::AUTHORIZATION, &format!("Bearer {token}"))?;
        }
        for (name, value) in &request.headers {
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| format!("`{name}` is no header field"))?;
            insert(&mut headers, name, value)?;
        }
        Ok(headers)
    }

    fn token(&self, caller: &Caller, now: Now) -> Result<Option<String>, String> {
        let identity = &self.snapshot.identity;
        let role = |names: &[Box<str>], what: &str| {
            let role = names.first();
            let role = role.ok_or_else(|| format!("the configuration knows no {what} tokens"))?;
            Ok::<_, String>(Map::from_iter([("role".to_owned(), Value::from(&**role))]))
        };
        let (user, claims) = match caller {
            Caller::Nobody => return Ok(None),
            Caller::Anonymous => (None, role(&identity.anonymous_claims, "anonymous")?),
            Caller::Service => (None, role(&identity.service_claims, "service")?),
            Caller::User(user, shown) => (Some(user.as_str()), claims(shown, now)),
            Caller::Member(_, shown) => (Some(MEMBER), claims(shown, now)),
            Caller::Machine(_) if identity.machines.is_none() => {
                return Err("the configuration knows no keys of machines".into());
            }
            Caller::Machine(_) => {
                let key = key().map_err(|error| error.to_string())?;
                return Ok(Some(key.key.expose().to_owned()));
            }
        };
        let token = token::for_test(identity, user, claims, LIFETIME, now);
        token.map(Some).map_err(|failure| failure.to_string())
    }
}

/// The key of machines of tests, known to everybody; only a case that has one knows it.
fn key() -> Result<NewKey, InvalidKey> {
    NewKey::of([1; 16], [2; 32])
}

/// What a token says of how its user signed in, as Supabase's auth server writes it.
fn claims(shown: &Shown, now: Now) -> Map<String, Value> {
    let ago = |age: Duration| now.unix_secs().saturating_sub(age.as_secs());
    let mut amr = vec![json!({ "method": "password", "timestamp": ago(shown.session_age) })];
    let mut out = Map::new();
    if let Some(age) = shown.factor_age {
        amr.push(json!({ "method": "totp", "timestamp": ago(age) }));
        out.insert("aal".into(), "aal2".into());
    } else {
        out.insert("aal".into(), "aal1".into());
    }
    out.insert("amr".into(), amr.into());
    for (path, value) in &shown.claims {
        put(&mut out, path, value);
    }
    out
}

/// Puts a claim where its path leads.
fn put(claims: &mut Map<String, Value>, path: &str, value: &str) {
    match path.split_once('.') {
        None => {
            claims.insert(path.to_owned(), value.into());
        }
        Some((first, rest)) => {
            let inner = claims.entry(first).or_insert_with(|| Value::Object(Map::new()));
            if let Some(inner) = inner.as_object_mut() {
                put(inner, rest, value);
            }
        }
    }
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) -> Result<(), String> {
    let parsed = HeaderValue::from_str(value);
    let value = parsed.map_err(|_| format!("`{name}` has characters that no field may have"))?;
    headers.insert(name, value);
    Ok(())
}

/// Judges quotas by what is used of them.
fn within(
    mut chargeable: Chargeable,
    used: &OrganizationUse,
    trace: &mut Trace,
) -> Result<Chargeable, Refusal> {
    chargeable.within(Some(used), trace)?;
    Ok(chargeable)
}

/// Charges buckets that are full, and passes the body through its gate.
fn sent(
    chargeable: Chargeable,
    body: Option<String>,
    trace: &mut Trace,
) -> Result<(String, Option<String>), Refusal> {
    let answer = ChargeAnswer::Granted { balances: Default::default() };
    let Settled::Passed(mut passed) = chargeable.settle(answer, trace)? else {
        return Err(Refusal::Internal("a store of a test was away"));
    };
    let length = body.as_ref().map(|body| body.len() as u64);
    let announced = length.map_or(Announced::Nothing, Announced::Length);
    passed.body().announced(announced)?;
    let body = match body {
        None => None,
        Some(body) => passed.body().pass(Some(Bytes::from(body)), true)?,
    };
    let body = body.map(|body| String::from_utf8_lossy(&body).into_owned());
    Ok((passed.target().to_owned(), body))
}

fn asked(question: &Question) -> String {
    match question {
        Question::Key { .. } => "it takes a key that has to be fetched".into(),
        Question::Organization(_)
        | Question::Membership(..)
        | Question::DefaultMembership(_)
        | Question::MachineKey(_)
        | Question::Join(_) => "the directory of a test has to be asked".into(),
    }
}

/// What is known in one case.
struct CaseKnown<'w> {
    directory: &'w FileDirectory,
    member: Option<Arc<Membership>>,
    machine: Option<Arc<MachineKey>>,
}

impl CaseKnown<'_> {
    fn member(&self, user: &UserId) -> Option<Lookup<Arc<Membership>>> {
        let member = self.member.as_ref().filter(|member| member.user == *user)?;
        Some(Lookup::Found(Arc::clone(member)))
    }
}

impl Known for CaseKnown<'_> {
    fn keys(&self, _: IssuerIndex, _: Option<&str>) -> Keys {
        Keys::Are(Arc::default())
    }

    fn remembered(&self, _: &str) -> Option<Arc<VerifiedToken>> {
        None
    }

    fn remember(&self, _: &str, _: &Arc<VerifiedToken>) {}

    /// A test makes its own tokens, and nobody signs out in it.
    fn standing(&self, _token: &VerifiedToken) -> Standing {
        Standing::Good
    }

    fn trusts(&self, _: &UserId, _: TrustedDevice) -> bool {
        true
    }

    fn last_use(&self, _: &VerifiedToken) -> LastUse {
        LastUse::default()
    }

    fn organization(&self, selector: &OrgSelector) -> Option<Lookup<Arc<Organization>>> {
        Some(self.directory.organization(selector))
    }

    fn membership(&self, user: &UserId, org: OrgId) -> Option<Lookup<Arc<Membership>>> {
        let made = self
            .member(user)
            .filter(|found| matches!(found, Lookup::Found(member) if member.organization == org));
        made.or_else(|| Some(self.directory.membership(user, org)))
    }

    fn joined(&self, join: &Join) -> Option<Lookup<Arc<Membership>>> {
        Some(Lookup::Found(Arc::new(join.membership(0))))
    }

    fn machine_key(&self, id: KeyId) -> Option<Lookup<Arc<MachineKey>>> {
        let made = self.machine.as_ref().filter(|made| made.id == id);
        let made = made.map(|made| Lookup::Found(Arc::clone(made)));
        made.or_else(|| Some(self.directory.machine_key(id)))
    }

    fn default_membership(&self, user: &UserId) -> Option<Lookup<Arc<Membership>>> {
        self.member(user).or_else(|| Some(self.directory.default_membership(user)))
    }
}
