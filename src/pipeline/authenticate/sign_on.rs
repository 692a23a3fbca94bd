//! What a token of an identity provider says beyond the times and audiences of every token: which
//! kind it is and for which client, by which id the directory knows its user, and which lines of
//! the policy its claims match.
//!
//! Part of the authenticate stage; done once for each token. What comes of it in an organization,
//! the tenant stage decides.

use serde_json::{Map, Value};
use smallvec::SmallVec;

use crate::domain::ids::UserId;
use crate::domain::mail::MailDomain;
use crate::domain::principal::Vouched;
use crate::domain::refusal::CredentialFault;
use crate::policy::identity::{IdentityPolicy, Issuer};
use crate::policy::sign_on::{Choose, RoleMapping, TokenUse};

/// Claims that ID tokens have and access tokens do not (OpenID Connect Core sections 2 and 3.3.2.11;
/// Financial-grade API part 2 for `s_hash`).
const OF_ID_TOKENS: [&str; 4] = ["nonce", "at_hash", "c_hash", "s_hash"];

/// Checks that a token is of the kind, and for a client, that the policy takes.
pub(super) fn usable(
    claims: &Map<String, Value>,
    at_jwt: bool,
    issuer: &Issuer,
) -> Result<(), CredentialFault> {
    let of_kind = match issuer.sign_on.tokens {
        TokenUse::Any => true,
        TokenUse::Access => !OF_ID_TOKENS.iter().any(|name| claims.contains_key(*name)),
        TokenUse::AtJwt => at_jwt,
    };
    if !of_kind {
        return Err(CredentialFault::NotAnAccessToken);
    }
    let clients = &issuer.sign_on.clients;
    if clients.is_empty() {
        return Ok(());
    }
    // RFC 9068 section 2.2 and OpenID Connect Core section 2. Where both are there, both count.
    let stated = ["client_id", "azp"].map(|name| claims.get(name));
    let allowed = |client: &Value| {
        client.as_str().is_some_and(|client| clients.iter().any(|known| known.as_ref() == client))
    };
    let mut stated = stated.into_iter().flatten().peekable();
    if stated.peek().is_some() && stated.all(allowed) {
        Ok(())
    } else {
        Err(CredentialFault::Client)
    }
}

/// The directory's id of the token's user. `None`: it has none that counts.
pub(super) fn subject(
    claims: &Map<String, Value>,
    issuer: &Issuer,
    identity: &IdentityPolicy,
) -> Result<Option<UserId>, CredentialFault> {
    let rule = &issuer.sign_on.user;
    let stated = if rule.claim.is_empty() { claims.get("sub") } else { at(claims, &rule.claim) };
    let stated = match stated {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(stated)) => stated,
        Some(_) => return Err(CredentialFault::Malformed),
    };
    let iss = issuer.iss.first().map(AsRef::as_ref);
    let id = rule.id(&issuer.name, iss, stated);
    // Nobody states an id that another issuer's users are known by.
    Ok(id.filter(|id| {
        let others = identity.issuers.iter().filter(|other| other.name != issuer.name);
        !others.into_iter().any(|other| other.sign_on.user.owns(&other.name, id.as_str()))
    }))
}

/// The id of the token's session, told apart from those of other issuers.
pub(super) fn session(stated: &str, issuer: &Issuer) -> Box<str> {
    if issuer.sign_on.is_bound() {
        format!("{}|{stated}", issuer.name).into()
    } else {
        stated.into()
    }
}

/// The lines of the policy that the claims match.
pub(super) fn vouched(claims: &Map<String, Value>, issuer: &Issuer) -> Option<Box<Vouched>> {
    let sign_on = &issuer.sign_on;
    sign_on.reads_claims().then(|| {
        let lines = sign_on.roles.as_ref().map(|mapping| lines(claims, mapping));
        let domain = domain(claims).and_then(|domain| sign_on.home_of(&domain));
        Box::new(Vouched { lines: lines.unwrap_or_default(), domain })
    })
}

/// The lines that a value of the claim matches, as many as count.
fn lines(claims: &Map<String, Value>, mapping: &RoleMapping) -> SmallVec<[u16; 4]> {
    let stated: &[Value] = match at(claims, &mapping.claim) {
        Some(Value::Array(list)) => list,
        Some(one) => std::slice::from_ref(one),
        None => &[],
    };
    let matches = |value: &str| stated.iter().any(|stated| stated.as_str() == Some(value));
    let most = match mapping.choose {
        Choose::First => 1,
        Choose::All => usize::MAX,
    };
    let numbered = (0..=u16::MAX).zip(&mapping.lines);
    numbered.filter(|(_, line)| matches(&line.value)).map(|(at, _)| at).take(most).collect()
}

/// The domain of the user's mail address, if the issuer has verified it.
fn domain(claims: &Map<String, Value>) -> Option<MailDomain> {
    let verified = claims.get("email_verified") == Some(&Value::Bool(true));
    let address = claims.get("email")?.as_str()?;
    if verified { MailDomain::of_address(address) } else { None }
}

/// The value at a path of keys.
pub(super) fn at<'c>(claims: &'c Map<String, Value>, path: &[Box<str>]) -> Option<&'c Value> {
    let (first, rest) = path.split_first()?;
    let mut value = claims.get(first.as_ref())?;
    for key in rest {
        value = value.as_object()?.get(key.as_ref())?;
    }
    Some(value)
}
