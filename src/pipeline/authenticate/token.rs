//! Reading a JWT (RFC 7519) strictly, before anything in it is believed.
//!
//! Part of the authenticate stage. What RFC 7515 leaves to the reader is refused here: keys and
//! addresses of keys inside the token, critical extensions, nested tokens, names that stand twice,
//! base64 that is not canonical. Reading never looks at a key and never causes a fetch.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::domain::refusal::CredentialFault;
use crate::policy::identity::Algorithm;

use super::json;

/// Bytes of a key id that are looked at; identity providers use up to 64.
const MAX_KID_BYTES: usize = 256;

/// Header parameters that bring or point to a key, change what is signed, or nest a token
/// (RFC 7515 sections 4.1.2 to 4.1.11, RFC 7797, RFC 7516).
const FORBIDDEN: [&str; 8] = ["jku", "jwk", "x5u", "x5c", "crit", "b64", "zip", "cty"];

/// A token that is well-formed, and not yet verified.
#[derive(Debug)]
pub(super) struct Jwt<'t> {
    /// Its header and payload, as they are signed.
    pub(super) signed: &'t str,
    signature: &'t str,
    /// What its header claims; a key must be pinned to the same.
    pub(super) algorithm: Algorithm,
    /// The key it names.
    pub(super) kid: Option<Box<str>>,
    /// Whether it says of itself that it is an access token (RFC 9068 section 2.1).
    pub(super) at_jwt: bool,
    /// Its claims.
    pub(super) claims: Map<String, Value>,
}

impl<'t> Jwt<'t> {
    /// Takes a token apart.
    pub(super) fn read(token: &'t str) -> Result<Self, CredentialFault> {
        let (signed, signature) = token.rsplit_once('.').ok_or(CredentialFault::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(CredentialFault::Malformed)?;
        if payload.contains('.') {
            return Err(CredentialFault::Malformed);
        }
        let header = part(header)?;
        let Head { algorithm, kid, at_jwt } = head(&header)?;
        if signature.is_empty() || URL_SAFE_NO_PAD.decode(signature).is_err() {
            return Err(CredentialFault::Malformed);
        }
        Ok(Self { signed, signature, algorithm, kid, at_jwt, claims: part(payload)? })
    }

    /// Whether the key signed it. The key's own algorithm is used, never the header's.
    pub(super) fn signed_by(&self, key: &crate::policy::identity::VerifyingKey) -> bool {
        let message = self.signed.as_bytes();
        key.algorithm == self.algorithm
            && jsonwebtoken::crypto::verify(self.signature, message, &key.key, key.algorithm)
                .unwrap_or(false)
    }
}

/// Whether a text can only be meant as a JWT: two dots. API keys have none.
pub(super) fn looks_like_jwt(text: &str) -> bool {
    text.bytes().filter(|byte| *byte == b'.').count() == 2
}

fn part(text: &str) -> Result<Map<String, Value>, CredentialFault> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| CredentialFault::Malformed)?;
    json::object(&bytes).ok_or(CredentialFault::Malformed)
}

/// What counts of a header.
struct Head {
    algorithm: Algorithm,
    kid: Option<Box<str>>,
    at_jwt: bool,
}

fn head(header: &Map<String, Value>) -> Result<Head, CredentialFault> {
    if FORBIDDEN.iter().any(|name| header.contains_key(*name)) {
        return Err(CredentialFault::Malformed);
    }
    let at_jwt = match header.get("typ") {
        None => Some(false),
        Some(Value::String(typ)) => access_type(typ),
        Some(_) => None,
    };
    let kid = match header.get("kid") {
        None => None,
        Some(Value::String(kid)) if kid.len() <= MAX_KID_BYTES => Some(kid.as_str().into()),
        Some(_) => return Err(CredentialFault::Malformed),
    };
    let Some(Value::String(algorithm)) = header.get("alg") else {
        return Err(CredentialFault::Malformed);
    };
    let at_jwt = at_jwt.ok_or(CredentialFault::Malformed)?;
    // Names are case-sensitive (RFC 7515 section 4.1.1); `none` is not a name in any case.
    let algorithm = algorithm.parse().map_err(|_| CredentialFault::Algorithm)?;
    Ok(Head { algorithm, kid, at_jwt })
}

/// `JWT` (RFC 7519 section 5.1), or `true` for `at+jwt` (RFC 9068 section 2.1), as media types are
/// compared.
fn access_type(typ: &str) -> Option<bool> {
    let lower = typ.to_ascii_lowercase();
    match lower.strip_prefix("application/").unwrap_or(&lower) {
        "jwt" => Some(false),
        "at+jwt" => Some(true),
        _ => None,
    }
}
