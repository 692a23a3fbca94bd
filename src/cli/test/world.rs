//! The world of a test: a snapshot, a directory, and for each case a clock and a caller.
//!
//! Callers get real tokens, signed with a key that takes the place of the first issuer's keys, so
//! that a configuration whose keys are elsewhere can be tested like any other. No store is asked:
//! buckets hold what the case says.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use serde_json::{Map, Value, json};

use crate::config::suite::{Asked, Caller, Case, Shown};
use crate::domain::audit::SecurityEvent;
use crate::domain::clock::Now;
use crate::domain::directory::DirectoryData;
use crate::domain::head::Arrival;
use crate::domain::ids::OrgId;
use crate::domain::known::{Lookup, Outage, Question};
use crate::domain::machine::{InvalidKey, KeyStatus, MachineKey, NewKey};
use crate::domain::organization::{MemberStatus, Membership, OrgSelector};
use crate::domain::refusal::Refusal;
use crate::domain::session::Standing;
use crate::domain::source::Source;
use crate::domain::usage::{OrganizationUse, Payer};
use crate::domain::zone::Zone;
use crate::pipeline::tenant::ORGANIZATION_HEADER;
use crate::pipeline::{Stage, Stop, Trace, decide, response};
use crate::policy::Snapshot;
use crate::policy::identity::{Algorithm, Issuer, KeySet, VerifyingKey};
use crate::policy::quotas::{Period, Unit};
use crate::policy::route::Destination;
use crate::stores::directory::FileDirectory;
use crate::stores::usage::unused;

use super::super::token;
use super::known::CaseKnown;
use super::outcome::{self, Ended, Judged, Outcome};

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

    /// Decides the request of a case, and says what every stage found.
    pub(super) fn explained(&self, case: &Case) -> (Outcome, Trace) {
        self.decided(case, Trace::explaining())
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
        let mut charged = Vec::new();
        let ended = match self.headers(case, now) {
            Ok(headers) => {
                let request =
                    outcome::Request { snapshot: &self.snapshot, case, headers: &headers, now };
                self.ended(&request, &mut charged, &mut trace)
            }
            Err(reason) => Ended::Untried(reason),
        };
        let event = match &ended {
            Ended::Refused { refusal, .. } => {
                SecurityEvent::of_refusal(refusal, trace.stage.as_str())
            }
            Ended::Allowed(_) | Ended::Answered { .. } | Ended::Untried(_) => None,
        };
        let raised = trace.event.as_ref();
        let raised = raised.map(|event| SecurityEvent::of_rule(event, trace.stage.as_str()));
        let event = event.or(raised);
        let outcome = Outcome {
            ended,
            charged,
            events: event.iter().map(|event| Arc::from(event.kind())).collect(),
            rules: trace.rules.iter().map(|met| Arc::clone(&met.rule.id)).collect(),
            would: trace.would.clone(),
            decided_by: trace.decided_by.clone(),
            permission: trace.permission.clone(),
            role: trace.role.as_ref().map(|role| Arc::clone(&role.name)),
        };
        (outcome, trace)
    }

    fn ended(
        &self,
        request: &outcome::Request<'_>,
        charged: &mut Vec<Arc<str>>,
        trace: &mut Trace,
    ) -> Ended {
        let outcome::Request { case, headers, now, .. } = *request;
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
        let away = |outage| case.away.contains(&outage);
        let known = CaseKnown {
            directory: &self.directory,
            member: self.member(case),
            machine: self.machine(case),
            standing: match &case.caller {
                Caller::User(_, shown) | Caller::Member(_, shown) if shown.revoked => {
                    Standing::Revoked
                }
                _ if away(Outage::Sessions) => Standing::Unknown,
                _ => Standing::Good,
            },
            away: away(Outage::Directory),
        };
        let chargeable = match decide(&arrival, &self.snapshot, &known, trace, now) {
            Ok(chargeable) => chargeable,
            Err(Stop::Refused(refusal)) => return self.refused(refusal, trace),
            Err(Stop::Answered(answer)) => return Ended::answered(&answer),
            Err(Stop::Ask(question)) => return Ended::Untried(asked(&question)),
        };
        let buckets = chargeable.charge().buckets.iter();
        charged.extend(buckets.map(|bucket| Arc::clone(&bucket.limit)));
        match outcome::sent(chargeable, request, self.judged_by(case, trace, now), trace) {
            Ok(sent) => Ended::Allowed(Box::new(sent)),
            Err(refusal) => self.refused(refusal, trace),
        }
    }

    fn refused(&self, refusal: Refusal, trace: &Trace) -> Ended {
        let route = trace.route.as_ref();
        let policy = route.map_or(&self.snapshot.response, |route| &route.response);
        let kind = route.and_then(|route| match &route.destination {
            Destination::Upstream { upstream, .. } => self.snapshot.upstreams.get(*upstream),
            Destination::Closed => None,
        });
        let answer = response::refusal(&refusal, kind.map(|upstream| upstream.kind), policy, trace);
        Ended::Refused { refusal, answer: answer.fields.into_iter().collect() }
    }

    /// By what quotas are judged.
    fn judged_by(&self, case: &Case, trace: &Trace, now: Now) -> Judged {
        if case.away.contains(&Outage::Usage) {
            return Judged::Unknown;
        }
        self.used(case, trace, now).map_or(Judged::Not, |used| Judged::By(Box::new(used)))
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
