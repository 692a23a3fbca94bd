//! Stage 3, authenticate: who calls.
//!
//! Finds the credentials, verifies each of them, and decides what their bearer is: a user, a
//! service, or nobody in particular. An application key and a user's token may stand together; then
//! the token says who calls. Fetches nothing and waits for nothing: a key that this node lacks is
//! asked for with [`Stop::Ask`].

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, header};

use crate::domain::clock::Now;
use crate::domain::known::Outage;
use crate::domain::principal::{Principal, PrincipalKind, VerifiedToken};
use crate::domain::refusal::{CredentialFault, Refusal};
use crate::domain::session::Standing;
use crate::policy::Snapshot;
use crate::policy::identity::{ApiKeyKind, IdentityPolicy};
use crate::policy::known::Known;
use crate::policy::route::CredentialRule;

use super::Stop;
use super::route::Routed;
use super::rules::Screened;
use super::trace::{Stage, Trace};

mod claims;
mod credentials;
mod json;
mod machine;
mod sign_on;
mod token;
mod verify;

pub use credentials::without_api_key;
use credentials::{Key, Shown, credentials};
use verify::fault;

/// Proof of who calls.
#[derive(Debug)]
pub struct Authenticated<'h> {
    screened: Screened<'h>,
    proven: Proven,
}

/// What the credentials prove.
#[derive(Debug)]
struct Proven {
    principal: Principal,
    api_key: Option<Arc<str>>,
    token: Option<Arc<VerifiedToken>>,
    bearer: Option<HeaderValue>,
}

impl<'h> Authenticated<'h> {
    /// The request, as the stage before left it.
    pub fn routed(&self) -> &Routed<'h> {
        self.screened.routed()
    }

    /// What rules have done to it so far.
    pub(super) fn screened(&self) -> &Screened<'h> {
        &self.screened
    }

    /// Who calls.
    pub fn principal(&self) -> &Principal {
        &self.proven.principal
    }

    /// The name of the application key, where one was shown.
    pub fn api_key(&self) -> Option<&Arc<str>> {
        self.proven.api_key.as_ref()
    }

    /// The token that proved the principal, where it was a token.
    pub fn token(&self) -> Option<&Arc<VerifiedToken>> {
        self.proven.token.as_ref()
    }

    /// That token as an `Authorization` value, for upstreams that want the caller's own.
    pub fn bearer(&self) -> Option<&HeaderValue> {
        self.proven.bearer.as_ref()
    }
}

/// Proves who calls, as far as the route asks for it.
pub fn prove<'h>(
    screened: Screened<'h>,
    snapshot: &Snapshot,
    known: &dyn Known,
    trace: &mut Trace,
    now: Now,
) -> Result<Authenticated<'h>, Stop> {
    trace.enter(Stage::Authenticate);
    let routed = screened.routed();
    let route = Arc::clone(routed.route());
    if route.credential == CredentialRule::Open {
        trace.principal = Some(Principal::Anonymous);
        trace.note(Some(&route.source), || "the route is open; credentials are not read".into());
        return Ok(Authenticated { screened, proven: Proven::nobody() });
    }
    trace.decided_by = Some(route.source.clone());
    let judge = Judge {
        identity: &snapshot.identity,
        known,
        now,
        headers: routed.headers(),
        client: routed.client(),
        machines: route.machines,
    };
    let proven = judge.judge(route.credential, routed.query(), trace)?;
    trace.decided_by = None;
    trace.note(Some(&route.source), || {
        let kind = proven.principal.kind().as_str();
        let user = proven.principal.user().map(|id| format!(" `{id}`")).unwrap_or_default();
        let key = proven.api_key.as_ref().map(|key| format!(", API key `{key}`"));
        format!("the caller is {kind}{user}{}", key.unwrap_or_default())
    });
    Ok(Authenticated { screened, proven })
}

/// Whether the route is content with such a caller.
fn admitted(rule: CredentialRule, kind: PrincipalKind, shown: bool) -> Result<(), CredentialFault> {
    match (rule, kind) {
        (CredentialRule::Open, _)
        | (
            CredentialRule::Key | CredentialRule::User | CredentialRule::Service,
            PrincipalKind::Service,
        )
        | (CredentialRule::Key | CredentialRule::User, PrincipalKind::User)
        | (CredentialRule::Machine, PrincipalKind::Machine) => Ok(()),
        (CredentialRule::Key, PrincipalKind::Anonymous) if shown => Ok(()),
        (CredentialRule::Key, PrincipalKind::Anonymous) => Err(CredentialFault::MissingKey),
        (
            CredentialRule::Key | CredentialRule::User | CredentialRule::Service,
            PrincipalKind::Machine,
        ) => Err(CredentialFault::Kind),
        (CredentialRule::User, PrincipalKind::Anonymous)
        | (CredentialRule::Service, PrincipalKind::Anonymous | PrincipalKind::User)
        | (
            CredentialRule::Machine,
            PrincipalKind::Anonymous | PrincipalKind::User | PrincipalKind::Service,
        ) => Err(if shown { CredentialFault::Kind } else { CredentialFault::Missing }),
    }
}

/// Judges the credentials of one request.
struct Judge<'a> {
    identity: &'a IdentityPolicy,
    known: &'a dyn Known,
    now: Now,
    headers: &'a HeaderMap,
    client: IpAddr,
    /// Whether machines are admitted besides.
    machines: bool,
}

impl Judge<'_> {
    /// What the request's credentials prove, if the route is content with it.
    fn judge(
        &self,
        rule: CredentialRule,
        query: Option<&str>,
        trace: &mut Trace,
    ) -> Result<Proven, Stop> {
        let shown = credentials(self.headers, query).map_err(fault)?;
        let any = shown.key.is_some() || shown.bearer.is_some();
        let proven = self.proven(shown, trace)?;
        trace.api_key.clone_from(&proven.api_key);
        trace.principal = Some(proven.principal.clone());
        match proven.principal.kind() {
            PrincipalKind::Machine if self.machines => {}
            kind => admitted(rule, kind, any).map_err(fault)?,
        }
        Ok(proven)
    }

    /// What the credentials prove together. Each that is shown must be good.
    fn proven(&self, shown: Shown<'_>, trace: &mut Trace) -> Result<Proven, Stop> {
        let key = match &shown.key {
            Some(Key::Opaque(text)) => self.opaque(text, trace)?,
            Some(Key::Machine(text)) => self.machine(text, trace)?,
            Some(Key::Jwt(text)) => {
                let proven = self.token(text, trace)?;
                match proven.principal.kind() {
                    PrincipalKind::Service | PrincipalKind::Anonymous => {}
                    // A user's token in the key's place would be that user's key to everything.
                    PrincipalKind::User | PrincipalKind::Machine => {
                        return Err(fault(CredentialFault::Kind));
                    }
                }
                let name = proven.token.as_ref().and_then(|token| token.role.clone());
                Proven { api_key: name, ..proven }
            }
            None => Proven::nobody(),
        };
        match shown.bearer {
            Some(bearer) => Ok(Proven { api_key: key.api_key, ..self.token(bearer, trace)? }),
            None => Ok(key),
        }
    }

    fn opaque(&self, text: &str, trace: &mut Trace) -> Result<Proven, Stop> {
        let key = self.identity.api_keys.find(text);
        let key = key.ok_or_else(|| fault(CredentialFault::UnknownKey))?;
        trace.note(Some(&key.source), || format!("API key `{}`", key.name));
        let principal = match key.kind {
            ApiKeyKind::Publishable => Principal::Anonymous,
            ApiKeyKind::Secret => self.service(Arc::clone(&key.name))?,
        };
        Ok(Proven { principal, api_key: Some(Arc::clone(&key.name)), ..Proven::nobody() })
    }

    fn token(&self, text: &str, trace: &mut Trace) -> Result<Proven, Stop> {
        let token = verify::verify(text, self.identity, self.known, self.now)?;
        let issuer = self.identity.issuers.get(usize::from(token.issuer.0));
        let issuer = issuer.ok_or_else(|| fault(CredentialFault::UnknownIssuer))?;
        trace.note(Some(&issuer.source), || format!("token of issuer `{}`", issuer.name));
        let is = |roles: &[Box<str>]| {
            token.role.as_deref().is_some_and(|role| roles.iter().any(|r| r.as_ref() == role))
        };
        let principal = if is(&self.identity.service_claims) {
            self.service(Arc::clone(&issuer.name))?
        } else if is(&self.identity.anonymous_claims) {
            Principal::Anonymous
        } else {
            let id = token.subject.clone();
            let id = id.ok_or_else(|| fault(CredentialFault::RequiredClaim))?;
            Principal::User { id, token: Arc::clone(&token) }
        };
        match self.known.standing(&token) {
            Standing::Good => {}
            Standing::Revoked => {
                // Whose it was belongs into the record of its use.
                trace.principal = Some(principal);
                return Err(fault(CredentialFault::Revoked));
            }
            Standing::Unknown => return Err(Refusal::Unavailable(Outage::Sessions).into()),
        }
        let bearer = Some(self.authorization(text)?);
        Ok(Proven { principal, api_key: None, token: Some(token), bearer })
    }

    /// A service, if it calls from where services may.
    fn service(&self, name: Arc<str>) -> Result<Principal, Stop> {
        let from = self.client.to_canonical();
        let allowed = &self.identity.service_addresses;
        if allowed.is_empty() || allowed.iter().any(|net| net.contains(&from)) {
            Ok(Principal::Service { name })
        } else {
            Err(fault(CredentialFault::Address))
        }
    }

    /// `Bearer <token>` in that spelling: the client's own field where it is spelt so.
    fn authorization(&self, token: &str) -> Result<HeaderValue, Stop> {
        let own = self.headers.get(header::AUTHORIZATION);
        let spelt = |value: &&HeaderValue| {
            value.as_bytes().strip_prefix(b"Bearer ") == Some(token.as_bytes())
        };
        let mut value = match own.filter(spelt) {
            Some(value) => value.clone(),
            None => HeaderValue::try_from(format!("Bearer {token}"))
                .map_err(|_| fault(CredentialFault::Malformed))?,
        };
        value.set_sensitive(true);
        Ok(value)
    }
}

impl Proven {
    fn nobody() -> Self {
        Self { principal: Principal::Anonymous, api_key: None, token: None, bearer: None }
    }
}

#[cfg(test)]
mod tests;
