//! From a token's text to a [`VerifiedToken`]: remembered, or checked key by key.
//!
//! Part of the authenticate stage. Keys that the operator wrote down are tried first, so that they
//! work while a key set cannot be fetched. A fetch is asked for only by a token that would count
//! if its signature did.

use std::sync::Arc;

use crate::domain::clock::Now;
use crate::domain::known::{IssuerIndex, Outage, Question};
use crate::domain::principal::VerifiedToken;
use crate::domain::refusal::{CredentialFault, Refusal};
use crate::pipeline::Stop;
use crate::policy::identity::{Algorithm, IdentityPolicy, Issuer, KeySet, VerifyingKey};
use crate::policy::known::{Keys, Known};

use super::claims;
use super::token::Jwt;

/// Keys that are tried for one token. Each costs up to 50 µs.
const MAX_TRIES: usize = 8;

/// Verifies a token.
pub(super) fn verify(
    token: &str,
    identity: &IdentityPolicy,
    known: &dyn Known,
    now: Now,
) -> Result<Arc<VerifiedToken>, Stop> {
    if token.len() > identity.max_token_bytes as usize {
        return Err(fault(CredentialFault::TooLarge));
    }
    if let Some(verified) = known.remembered(token)
        && let Some(issuer) = identity.issuers.get(usize::from(verified.issuer.0))
    {
        claims::in_time(&verified, issuer, now).map_err(fault)?;
        return Ok(verified);
    }
    let jwt = Jwt::read(token).map_err(fault)?;
    let issuers = identity.issuers.iter().map(AsRef::as_ref);
    let (index, issuer) = claims::issuer(&jwt.claims, issuers).map_err(fault)?;
    if !issuer_uses(issuer, jwt.algorithm) {
        return Err(fault(CredentialFault::Algorithm));
    }
    let checked = claims::check(index, issuer, identity, &jwt).and_then(|verified| {
        claims::in_time(&verified, issuer, now)?;
        Ok(Arc::new(verified))
    });
    signature(&jwt, index, issuer, known, checked.as_ref().err().copied())?;
    // Only now: what an unsigned token claims decides nothing, not even its own refusal.
    let verified = checked.map_err(fault)?;
    known.remember(token, &verified);
    Ok(verified)
}

/// Whether some key of the issuer could ever verify the algorithm.
fn issuer_uses(issuer: &Issuer, algorithm: Algorithm) -> bool {
    issuer.keys.keys.iter().any(|key| key.algorithm == algorithm)
        || issuer.jwks.as_ref().is_some_and(|jwks| jwks.algorithms.contains(&algorithm))
}

/// Finds the key that signed the token. `flaw` is what else is wrong with the token.
fn signature(
    jwt: &Jwt<'_>,
    index: IssuerIndex,
    issuer: &Issuer,
    known: &dyn Known,
    flaw: Option<CredentialFault>,
) -> Result<(), Stop> {
    let written = tried(jwt, &issuer.keys);
    // A key that the operator wrote down wins over a fetched one of the same id.
    if written == Tried::Signed || issuer.jwks.is_none() || names_key_of(jwt, &issuer.keys) {
        return written.verdict();
    }
    let set = match (known.keys(index, jwt.kid.as_deref()), flaw) {
        (Keys::Are(set), _) => set,
        (Keys::Ask | Keys::Away, Some(flaw)) => return Err(fault(flaw)),
        (Keys::Ask, None) => {
            let kid = jwt.kid.clone().unwrap_or_default();
            return Err(Stop::Ask(Question::Key { issuer: index, kid }));
        }
        (Keys::Away, None) => return Err(Refusal::Unavailable(Outage::Keys).into()),
    };
    match tried(jwt, &set) {
        Tried::NoSuchKey => written.verdict(),
        fetched => fetched.verdict(),
    }
}

/// What came of trying the keys of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tried {
    Signed,
    /// A key fitted and did not sign it.
    Forged,
    /// The key of that id is pinned to another algorithm.
    OtherAlgorithm,
    NoSuchKey,
}

impl Tried {
    fn verdict(self) -> Result<(), Stop> {
        match self {
            Self::Signed => Ok(()),
            Self::Forged => Err(fault(CredentialFault::Signature)),
            Self::OtherAlgorithm => Err(fault(CredentialFault::Algorithm)),
            Self::NoSuchKey => Err(fault(CredentialFault::UnknownKeyId)),
        }
    }
}

/// Tries the keys that the token may mean: those of its `kid`; where none has it, or it names
/// none, keys without an id; where it names none, also keys with one.
fn tried(jwt: &Jwt<'_>, set: &KeySet) -> Tried {
    let fits = |key: &&VerifyingKey| key.algorithm == jwt.algorithm;
    let named = names_key_of(jwt, set);
    let meant = |key: &&VerifyingKey| match jwt.kid.as_deref() {
        Some(kid) if named => key.kid.as_deref() == Some(kid),
        Some(_) => key.kid.is_none(),
        None => true,
    };
    let mut candidates = set.keys.iter().filter(meant).filter(fits).take(MAX_TRIES).peekable();
    if candidates.peek().is_none() {
        return if named { Tried::OtherAlgorithm } else { Tried::NoSuchKey };
    }
    if candidates.any(|key| jwt.signed_by(key)) { Tried::Signed } else { Tried::Forged }
}

fn names_key_of(jwt: &Jwt<'_>, set: &KeySet) -> bool {
    jwt.kid.as_deref().is_some_and(|kid| set.with_kid(kid).next().is_some())
}

pub(super) fn fault(fault: CredentialFault) -> Stop {
    Refusal::Unauthenticated(fault).into()
}
