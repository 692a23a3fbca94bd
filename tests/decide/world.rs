//! A small world to decide in: a configuration from memory, and a node that knows its directory.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use tollgate::config;
use tollgate::config::settings::DirectorySettings;
use tollgate::domain::charge::{Charge, ChargeAnswer};
use tollgate::domain::clock::Now;
use tollgate::domain::directory::DirectoryData;
use tollgate::domain::head::Arrival;
use tollgate::domain::ids::{OrgId, UserId};
use tollgate::domain::known::{IssuerIndex, Join, Lookup, Outage};
use tollgate::domain::machine::{KeyId, MachineKey};
use tollgate::domain::organization::{
    MemberStatus, Membership, OrgSelector, OrgStatus, Organization,
};
use tollgate::domain::principal::VerifiedToken;
use tollgate::domain::refusal::Refusal;
use tollgate::domain::session::{LastUse, Standing};
use tollgate::domain::trusted::{DeviceId, TrustedDevice};
use tollgate::pipeline::response::DirectAnswer;
use tollgate::pipeline::{self, Chargeable, Passed, Settled, Stop, Trace};
use tollgate::policy::Snapshot;
use tollgate::policy::known::{Keys, Known};

/// 2026-09-21 14:13:20 in UTC, a Monday.
pub(crate) const NOW: Now = Now { unix_micros: 1_790_000_000_000_000, mono_nanos: 0 };
const SECRET: &str = "0123456789abcdef0123456789abcdef";
const POLICY: &str = include_str!("policy.yaml");

/// A configuration and what its node knows.
pub(crate) struct World {
    snapshot: Snapshot,
    directory: Arc<DirectoryData>,
    pub(crate) directory_away: bool,
    /// Memberships that were to be made.
    pub(crate) joins: Mutex<Vec<Join>>,
    pub(crate) keys_away: bool,
    pub(crate) standing: Standing,
    /// Devices that were taken back, of whom.
    pub(crate) forgotten: Vec<(UserId, DeviceId)>,
    pub(crate) last_use: LastUse,
}

/// A request in the making.
#[derive(Clone)]
pub(crate) struct Request {
    method: Method,
    target: String,
    host: String,
    headers: HeaderMap,
    peer: String,
    user: Option<String>,
    claims: serde_json::Map<String, serde_json::Value>,
    signed: (&'static str, jsonwebtoken::Header),
}

pub(crate) fn request(method: &str, target: &str) -> Request {
    Request {
        method: method.parse().unwrap(),
        target: target.to_owned(),
        host: "api.test".to_owned(),
        headers: HeaderMap::new(),
        peer: "192.0.2.1".to_owned(),
        user: None,
        claims: serde_json::Map::new(),
        signed: (SECRET, jsonwebtoken::Header::default()),
    }
}

impl Request {
    pub(crate) fn user(mut self, user: &str) -> Self {
        self.user = Some(user.to_owned());
        self
    }

    pub(crate) fn claim_org(self, org: &str) -> Self {
        self.claim("app_metadata", serde_json::json!({ "org_id": org }))
    }

    pub(crate) fn claim(mut self, name: &str, value: serde_json::Value) -> Self {
        self.claims.insert(name.to_owned(), value);
        self
    }

    /// Signed with that secret, under that head.
    pub(crate) fn signed(mut self, secret: &'static str, header: jsonwebtoken::Header) -> Self {
        self.signed = (secret, header);
        self
    }

    pub(crate) fn host(mut self, host: &str) -> Self {
        self.host = host.to_owned();
        self
    }

    pub(crate) fn sent_from(mut self, address: &str) -> Self {
        self.peer = address.to_owned();
        self
    }

    pub(crate) fn field(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).unwrap();
        self.headers.append(HeaderName::from_static(name), value);
        self
    }

    fn finished(&self) -> HeaderMap {
        let mut headers = self.headers.clone();
        headers.insert("host", HeaderValue::from_str(&self.host).unwrap());
        if let Some(user) = &self.user {
            let mut claims = serde_json::json!({
                "iss": "https://issuer.test", "aud": "authenticated", "sub": user,
                "exp": NOW.unix_secs() + 600, "role": "authenticated",
            });
            for (name, value) in &self.claims {
                claims[name] = value.clone();
            }
            let (secret, header) = &self.signed;
            let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
            let token = jsonwebtoken::encode(header, &claims, &key).unwrap();
            let value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
            headers.insert("authorization", value);
        }
        headers
    }
}

/// A token that no key has signed.
pub(crate) fn unverified_token(header: &str, issuer: &str) -> String {
    use base64::Engine as _;
    let encode = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    let claims = serde_json::json!({ "iss": issuer, "sub": "alice", "exp": NOW.unix_secs() + 600 });
    let signature = encode(&[7; 64]);
    format!("{}.{}.{signature}", encode(header.as_bytes()), encode(claims.to_string().as_bytes()))
}

/// What became of a request.
pub(crate) enum Decided {
    Passed {
        target: String,
        charge: Box<Charge>,
    },
    /// By the gateway itself.
    Answered(Box<DirectAnswer>),
    Refused {
        refusal: Refusal,
        decided_by: Option<String>,
    },
}

impl Decided {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Passed { .. } => StatusCode::OK,
            Self::Answered(answer) => answer.status,
            Self::Refused { refusal, .. } => refusal.public().status,
        }
    }

    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Passed { .. } => "passed",
            Self::Answered(_) => "answered",
            Self::Refused { refusal, .. } => refusal.label(),
        }
    }

    pub(crate) fn charge(&self) -> &Charge {
        match self {
            Self::Passed { charge, .. } => charge,
            Self::Refused { refusal, .. } => panic!("refused: {refusal}"),
            Self::Answered(answer) => panic!("answered: {}", answer.status),
        }
    }
}

impl fmt::Display for Decided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed { target, .. } => write!(f, "200 {target}"),
            Self::Answered(answer) => {
                let to = answer.fields.iter().find(|(name, _)| name == "location");
                let to = to.map_or("", |(_, to)| to.to_str().unwrap());
                write!(f, "{} {to}", answer.status.as_u16())
            }
            Self::Refused { refusal, decided_by } => {
                let public = refusal.public();
                write!(f, "{} {}", public.status.as_u16(), public.code)?;
                decided_by.iter().try_for_each(|source| write!(f, " {source}"))
            }
        }
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::of(POLICY, include_str!("directory.yaml"))
    }

    pub(crate) fn of(policy: &str, directory: &str) -> Self {
        Self::behind(include_str!("gateway.yaml"), policy, directory)
    }

    pub(crate) fn behind(gateway: &str, policy: &str, directory: &str) -> Self {
        Self::from(
            config::Memory::new()
                .with("gateway.yaml", gateway)
                .with("directory.yaml", directory)
                .with("policy.yaml", policy),
        )
    }

    pub(crate) fn from(files: config::Memory) -> Self {
        let loaded = config::load_from(&files, Path::new("gateway.yaml"), &|_| None)
            .unwrap_or_else(|problems| panic!("{problems}"));
        let DirectorySettings::File(directory) = loaded.settings.directory else {
            panic!("the directory is a file");
        };
        Self {
            snapshot: loaded.snapshot,
            directory,
            directory_away: false,
            joins: Mutex::default(),
            keys_away: false,
            standing: Standing::Good,
            forgotten: Vec::new(),
            last_use: LastUse::default(),
        }
    }

    /// The line of the policy that begins so.
    pub(crate) fn line_of(&self, beginning: &str) -> usize {
        let begins =
            |line: &str| line.starts_with(beginning) || line.trim_start().starts_with(beginning);
        POLICY.lines().position(begins).unwrap() + 1
    }

    pub(crate) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    pub(crate) fn decide(&self, request: &Request) -> Decided {
        self.traced(request).0
    }

    /// What becomes of a request, and what became known of it.
    pub(crate) fn traced(&self, request: &Request) -> (Decided, Trace) {
        let mut trace = Trace::new();
        let decided = self.decided(request, &mut trace);
        (decided, trace)
    }

    fn decided(&self, request: &Request, trace: &mut Trace) -> Decided {
        match self.chargeable(request, trace) {
            Ok(chargeable) => {
                let charge = Box::new(chargeable.charge().clone());
                let answer = ChargeAnswer::Granted { balances: Default::default() };
                match chargeable.unmetered().settle(answer, trace).unwrap() {
                    Settled::Passed(passed) => {
                        Decided::Passed { target: passed.target().to_owned(), charge }
                    }
                    Settled::ChargeHere(_) => panic!("the store is there"),
                }
            }
            Err(Stop::Refused(refusal)) => Decided::Refused {
                refusal,
                decided_by: trace.decided_by.as_ref().map(ToString::to_string),
            },
            Err(Stop::Answered(answer)) => Decided::Answered(answer),
            Err(other) => panic!("{other:?}"),
        }
    }

    /// What became known of a request up to its charge.
    pub(crate) fn judged(&self, request: &Request) -> (Trace, Chargeable) {
        let mut trace = Trace::new();
        let chargeable = self.chargeable(request, &mut trace).unwrap();
        (trace, chargeable)
    }

    /// What policies in shadow would have refused of a request that passes.
    pub(crate) fn would(&self, request: &Request) -> Vec<String> {
        let (trace, _) = self.judged(request);
        trace.would.iter().map(|would| format!("{would} {}", would.source)).collect()
    }

    /// Settles a request while the store of limits is away.
    pub(crate) fn settle_away(&self, request: &Request) -> Result<Settled, Refusal> {
        let mut trace = Trace::new();
        let chargeable = self.chargeable(request, &mut trace).unwrap();
        chargeable.unmetered().settle(ChargeAnswer::Away(Outage::Limits), &mut trace)
    }

    /// What becomes of a body, in two pieces.
    pub(crate) fn body(&self, request: &Request, text: &str) -> Result<String, Refusal> {
        let mut trace = Trace::new();
        let chargeable = self.chargeable(request, &mut trace).unwrap();
        let answer = ChargeAnswer::Granted { balances: Default::default() };
        let Settled::Passed(mut passed) =
            chargeable.unmetered().settle(answer, &mut trace).unwrap()
        else {
            panic!("the store is there");
        };
        let (first, second) = text.split_at(text.len() / 2);
        let gate = passed.body();
        assert_eq!(gate.pass(Some(first.to_owned().into()), false)?, None);
        let whole = gate.pass(Some(second.to_owned().into()), true)?.unwrap();
        Ok(String::from_utf8(whole.to_vec()).unwrap())
    }

    /// What became known of a request that passes, and what is sent on of it.
    pub(crate) fn passed(&self, request: &Request) -> (Trace, Box<Passed>) {
        let mut trace = Trace::new();
        let chargeable = self.chargeable(request, &mut trace).unwrap();
        let answer = ChargeAnswer::Granted { balances: Default::default() };
        match chargeable.unmetered().settle(answer, &mut trace).unwrap() {
            Settled::Passed(passed) => (trace, passed),
            Settled::ChargeHere(_) => panic!("the store is there"),
        }
    }

    /// The notes of an explanation, each with its line.
    pub(crate) fn explained(&self, request: &Request) -> Vec<String> {
        let mut trace = Trace::explaining();
        drop(self.chargeable(request, &mut trace));
        let shown = |note: &pipeline::Note| match &note.source {
            Some(source) => format!("{} ({source})", note.text),
            None => note.text.clone(),
        };
        trace.notes().iter().map(shown).collect()
    }

    fn chargeable(&self, request: &Request, trace: &mut Trace) -> Result<Chargeable, Stop> {
        let headers = request.finished();
        let arrival = Arrival {
            method: &request.method,
            target: request.target.as_bytes(),
            authority: None,
            version: Version::HTTP_11,
            headers: &headers,
            peer: request.peer.parse().unwrap(),
            secure: true,
            entropy: 7,
        };
        pipeline::decide(&arrival, &self.snapshot, self, trace, NOW)
    }

    fn look_up<T>(&self, found: Option<T>) -> Option<Lookup<Arc<T>>> {
        Some(match (self.directory_away, found) {
            (true, _) => Lookup::Away(Outage::Directory),
            (false, Some(found)) => Lookup::Found(Arc::new(found)),
            (false, None) => Lookup::Absent,
        })
    }
}

impl Known for World {
    fn keys(&self, issuer: IssuerIndex, _kid: Option<&str>) -> Keys {
        if self.keys_away {
            return Keys::Away;
        }
        let issuer = &self.snapshot.identity.issuers[usize::from(issuer.0)];
        Keys::Are(Arc::new(issuer.keys.clone()))
    }

    fn remembered(&self, _token: &str) -> Option<Arc<VerifiedToken>> {
        None
    }

    fn remember(&self, _token: &str, _verified: &Arc<VerifiedToken>) {}

    fn standing(&self, _token: &VerifiedToken) -> Standing {
        self.standing
    }

    fn trusts(&self, user: &UserId, device: TrustedDevice) -> bool {
        !self.forgotten.contains(&(user.clone(), device.id))
    }

    fn last_use(&self, _token: &VerifiedToken) -> LastUse {
        self.last_use
    }

    fn organization(&self, selector: &OrgSelector) -> Option<Lookup<Arc<Organization>>> {
        let organizations = &self.directory.organizations;
        self.look_up(
            organizations
                .iter()
                .find(|org| match selector {
                    OrgSelector::Id(id) => org.id == *id,
                    OrgSelector::Slug(slug) => org.slug == *slug,
                })
                .cloned(),
        )
    }

    fn membership(&self, user: &UserId, org: OrgId) -> Option<Lookup<Arc<Membership>>> {
        let all = &self.directory.memberships;
        self.look_up(all.iter().find(|m| m.user == *user && m.organization == org).cloned())
    }

    fn default_membership(&self, user: &UserId) -> Option<Lookup<Arc<Membership>>> {
        let active = |id: OrgId| {
            let status = |org: &&Organization| org.id == id && org.status == OrgStatus::Active;
            self.directory.organizations.iter().any(|org| status(&org))
        };
        let mine = self.directory.memberships.iter().filter(|m| {
            m.user == *user && m.status == MemberStatus::Active && active(m.organization)
        });
        self.look_up(mine.max_by_key(|m| m.joined_at).cloned())
    }

    fn machine_key(&self, id: KeyId) -> Option<Lookup<Arc<MachineKey>>> {
        self.look_up(self.directory.machine_keys.iter().find(|key| key.id == id).cloned())
    }

    fn joined(&self, join: &Join) -> Option<Lookup<Arc<Membership>>> {
        self.joins.lock().unwrap().push(join.clone());
        self.look_up(Some(join.membership(NOW.unix_secs())))
    }
}
