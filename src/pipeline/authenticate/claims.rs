//! What an issuer must have stated, and when a token counts.
//!
//! Part of the authenticate stage. Times are checked apart from the rest and at every use, because
//! a verified token is remembered and the clock goes on.

use serde_json::{Map, Number, Value};

use crate::domain::clock::Now;
use crate::domain::known::IssuerIndex;
use crate::domain::principal::{ClaimedOrganization, VerifiedToken};
use crate::domain::refusal::CredentialFault;
use crate::domain::session::{Marks, Noted};
use crate::policy::identity::{IdentityPolicy, Issuer};

use super::sign_on;
use super::token::Jwt;

/// The issuer that a token names: byte for byte, or the one for tokens that name none.
pub(super) fn issuer<'i, I>(
    claims: &Map<String, Value>,
    issuers: I,
) -> Result<(IssuerIndex, &'i Issuer), CredentialFault>
where
    I: IntoIterator<Item = &'i Issuer>,
{
    let stated = match claims.get("iss") {
        None => None,
        Some(Value::String(iss)) => Some(iss.as_str()),
        Some(_) => return Err(CredentialFault::Malformed),
    };
    let means = |issuer: &Issuer| match stated {
        None => issuer.iss.is_empty(),
        Some(iss) => issuer.iss.iter().any(|known| known.as_ref() == iss),
    };
    (0..=u16::MAX)
        .map(IssuerIndex)
        .zip(issuers)
        .find(|(_, issuer)| means(issuer))
        .ok_or(CredentialFault::UnknownIssuer)
}

/// Checks what does not change with time, and takes out what later stages read.
pub(super) fn check(
    index: IssuerIndex,
    issuer: &Issuer,
    identity: &IdentityPolicy,
    jwt: &Jwt<'_>,
) -> Result<VerifiedToken, CredentialFault> {
    let claims = &jwt.claims;
    let required = |name: &str| claims.get(name).is_some_and(|value| !value.is_null());
    if !issuer.required_claims.iter().all(|name| required(name)) {
        return Err(CredentialFault::RequiredClaim);
    }
    audience(claims.get("aud"), issuer)?;
    sign_on::usable(claims, jwt.at_jwt, issuer)?;
    let subject = sign_on::subject(claims, issuer, identity)?;
    let session = text(claims, "session_id")?.map(|id| sign_on::session(id, issuer));
    // What makes a bearer a service, or nobody, is the platform's to say, and no organization's.
    let role = text(claims, "role")?.filter(|_| !issuer.sign_on.is_bound());
    let organizations = &identity.organization_claims;
    Ok(VerifiedToken {
        issuer: index,
        marks: Marks::new(subject.as_ref(), session.as_deref(), jwt.signed),
        noted: Noted::default(),
        subject,
        role: role.map(Into::into),
        session_id: session.map(Into::into),
        expires_at: date(claims, "exp")?.ok_or(CredentialFault::RequiredClaim)?,
        not_before: date(claims, "nbf")?,
        issued_at: date(claims, "iat")?,
        second_factor: text(claims, "aal")? == Some("aal2"),
        factor_at: shown(claims, is_second_factor).max(),
        signed_in_at: shown(claims, |_| true).min().or(date(claims, "auth_time")?),
        organizations: organizations.iter().map(|path| organization(claims, path)).collect(),
        vouched: sign_on::vouched(claims, issuer),
    })
}

/// When methods of authentication were used, as Supabase's auth server states it in `amr`: objects
/// with a `method` and a `timestamp`. What is stated otherwise (RFC 8176 has names only) says
/// nothing of the time.
fn shown(claims: &Map<String, Value>, wanted: fn(&str) -> bool) -> impl Iterator<Item = u64> {
    let stated = claims.get("amr").and_then(Value::as_array).into_iter().flatten();
    stated.filter_map(move |entry| {
        let method = entry.get("method").and_then(Value::as_str)?;
        let Some(Value::Number(at)) = entry.get("timestamp") else { return None };
        if wanted(method) { seconds(at) } else { None }
    })
}

/// `otp` is a code by mail or text message that stands in for a password.
fn is_second_factor(method: &str) -> bool {
    matches!(method, "totp" | "phone" | "webauthn" | "hwk") || method.starts_with("mfa/")
}

fn organization(claims: &Map<String, Value>, path: &[Box<str>]) -> ClaimedOrganization {
    match sign_on::at(claims, path) {
        None | Some(Value::Null) => ClaimedOrganization::None,
        Some(Value::String(text)) => match text.parse() {
            Ok(selector) => ClaimedOrganization::Named(selector),
            Err(_) => ClaimedOrganization::Malformed,
        },
        Some(_) => ClaimedOrganization::Malformed,
    }
}

/// Checks the times of a token, verified just now or before.
pub(super) fn in_time(
    token: &VerifiedToken,
    issuer: &Issuer,
    now: Now,
) -> Result<(), CredentialFault> {
    let now = now.unix_secs();
    let latest = now.saturating_add(issuer.leeway_secs);
    if token.expires_at.saturating_add(issuer.leeway_secs) <= now {
        return Err(CredentialFault::Expired);
    }
    let ahead = |time: Option<u64>| time.is_some_and(|time| time > latest);
    let too_long = issuer
        .max_lifetime_secs
        .is_some_and(|lifetime| token.expires_at > latest.saturating_add(lifetime));
    if ahead(token.not_before) || ahead(token.issued_at) || too_long {
        return Err(CredentialFault::NotYetValid);
    }
    Ok(())
}

/// RFC 7519 section 4.1.3: one string, or several.
fn audience(aud: Option<&Value>, issuer: &Issuer) -> Result<(), CredentialFault> {
    let wanted = |aud: &str| issuer.audiences.iter().any(|wanted| wanted.as_ref() == aud);
    let found = match aud {
        None => false,
        Some(Value::String(aud)) => wanted(aud),
        Some(Value::Array(list)) => {
            if !list.iter().all(Value::is_string) {
                return Err(CredentialFault::Malformed);
            }
            list.iter().filter_map(Value::as_str).any(wanted)
        }
        Some(_) => return Err(CredentialFault::Malformed),
    };
    if found || issuer.audiences.is_empty() { Ok(()) } else { Err(CredentialFault::Audience) }
}

fn text<'c>(
    claims: &'c Map<String, Value>,
    name: &str,
) -> Result<Option<&'c str>, CredentialFault> {
    match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(CredentialFault::Malformed),
    }
}

/// A NumericDate (RFC 7519 section 2): seconds since 1970, fractions cut off.
fn date(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>, CredentialFault> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::Number(number)) => {
            seconds(number).map(Some).ok_or(CredentialFault::RequiredClaim)
        }
        Some(_) => Err(CredentialFault::RequiredClaim),
    }
}

fn seconds(number: &Number) -> Option<u64> {
    // Beyond 2^53 a float no longer counts single seconds; nobody means such a date.
    const LIMIT: f64 = 9_007_199_254_740_992.0;
    number.as_u64().filter(|whole| *whole < LIMIT as u64).or_else(|| {
        let fraction = number.as_f64()?;
        (0.0..LIMIT).contains(&fraction).then_some(fraction as u64)
    })
}
