//! Key material: what a JWKS document (RFC 7517), a PEM file or a shared secret becomes.
//!
//! A key is pinned to one algorithm when it is read, so that a token's header never chooses. What
//! is malformed or weak is refused; what is well-formed and meant for others (encryption keys,
//! curves and algorithms that the issuer may not use) is passed over. Pure: imports only the
//! types of [`identity`](super::identity).

use std::collections::HashSet;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use serde::Deserialize;

use super::identity::{Algorithm, KeySet, VerifyingKey};

/// Keys in one JWKS document; beyond that it is refused.
const MAX_KEYS: usize = 64;
/// Bits of an RSA modulus (RFC 7518 section 3.3; the upper bound caps the cost of a check).
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// What is wrong with one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A shared secret that is easier to guess than the hash.
    #[error("the secret is shorter than {least} bytes, which {algorithm:?} needs")]
    ShortSecret {
        /// The algorithm.
        algorithm: Algorithm,
        /// Bytes it needs (RFC 7518 section 3.2).
        least: usize,
    },
    /// An HMAC secret for a public-key algorithm, or the other way round.
    #[error("a key of this type cannot be used with {0:?}")]
    WrongType(Algorithm),
    /// An RSA modulus that is too small or too large.
    #[error("the RSA key has {0} bits; 2048 to 8192 are accepted")]
    RsaBits(usize),
    /// A member that its type asks for is missing or not base64url of the right length.
    #[error("the key's `{0}` is missing or malformed")]
    Member(&'static str),
    /// Not a PEM of a public key.
    #[error("not a PEM public key (`BEGIN PUBLIC KEY` or `BEGIN RSA PUBLIC KEY`)")]
    Pem,
    /// A private key where a public one belongs.
    #[error("this is a private key; give the public one only")]
    Private,
    /// A symmetric key in a set whose issuer signs with none.
    #[error("a symmetric key is not accepted: no HS algorithm is allowed for this issuer")]
    Symmetric,
}

/// What is wrong with a key set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Not JSON, or not a JWKS document.
    #[error("not a JSON Web Key Set: {0}")]
    Json(String),
    /// No key of it can be used.
    #[error("the key set holds no signing key for the allowed algorithms")]
    Empty,
    /// More keys than anybody has.
    #[error("the key set holds more than {MAX_KEYS} keys")]
    TooMany,
    /// Two keys with one id.
    #[error("the key id `{0}` is there twice")]
    DuplicateKid(Box<str>),
    /// One key is bad.
    #[error("key {index} of the set: {error}")]
    Key {
        /// Its place in the document, from 0.
        index: usize,
        /// What is wrong with it.
        error: KeyError,
    },
}

impl VerifyingKey {
    /// A shared secret for HS256, HS384 or HS512.
    pub fn hmac(secret: &[u8], algorithm: Algorithm, kid: Option<&str>) -> Result<Self, KeyError> {
        let least = hmac_bytes(algorithm).ok_or(KeyError::WrongType(algorithm))?;
        if secret.len() < least {
            return Err(KeyError::ShortSecret { algorithm, least });
        }
        Ok(Self::new(kid, algorithm, DecodingKey::from_secret(secret)))
    }

    /// A public key in PEM. The key must be of the type and curve that the algorithm needs.
    pub fn pem(pem: &str, algorithm: Algorithm, kid: Option<&str>) -> Result<Self, KeyError> {
        if pem.contains("PRIVATE KEY-----") {
            return Err(KeyError::Private);
        }
        let public = ["-----BEGIN PUBLIC KEY-----", "-----BEGIN RSA PUBLIC KEY-----"];
        if !public.iter().any(|begin| pem.contains(begin)) {
            return Err(KeyError::Pem);
        }
        let wrong = |_| KeyError::WrongType(algorithm);
        let bytes = pem.as_bytes();
        let key = match Family::of(algorithm) {
            Family::Hmac => return Err(KeyError::WrongType(algorithm)),
            Family::Rsa => {
                let key = DecodingKey::from_rsa_pem(bytes).map_err(wrong)?;
                let der = key.try_get_as_bytes().map_err(wrong)?;
                let components = DEFAULT_PROVIDER.key_utils.rsa_pub_components_from_public_key;
                let (n, _) = components(der).map_err(|_| KeyError::WrongType(algorithm))?;
                in_range(&n)?;
                key
            }
            Family::Ec { coordinate } => {
                let key = DecodingKey::from_ec_pem(bytes).map_err(wrong)?;
                let point = key.try_get_as_bytes().map_err(wrong)?;
                let fits = point.len() == 1 + 2 * coordinate && point.first() == Some(&4);
                fits.then_some(key).ok_or(KeyError::WrongType(algorithm))?
            }
            Family::Ed => {
                let key = DecodingKey::from_ed_pem(bytes).map_err(wrong)?;
                let fits = key.try_get_as_bytes().is_ok_and(|point| point.len() == ED25519_BYTES);
                fits.then_some(key).ok_or(KeyError::WrongType(algorithm))?
            }
        };
        Ok(Self::new(kid, algorithm, key))
    }

    fn new(kid: Option<&str>, algorithm: Algorithm, key: DecodingKey) -> Self {
        Self { kid: kid.map(Box::from), algorithm, key: Arc::new(key) }
    }
}

impl KeySet {
    /// Reads a JWKS document. Only `allowed` algorithms come of it; a key that states none gives
    /// one verifying key for each allowed algorithm that fits it.
    ///
    /// # Errors
    /// The whole document is refused if one of its signing keys is malformed or weak, holds
    /// private parts, or shares its id with another; and if nothing usable is left
    /// ([`KeySetError::Empty`]).
    pub fn from_jwks(json: &str, allowed: &[Algorithm]) -> Result<Self, KeySetError> {
        let document: Document =
            serde_json::from_str(json).map_err(|error| KeySetError::Json(error.to_string()))?;
        if document.keys.len() > MAX_KEYS {
            return Err(KeySetError::TooMany);
        }
        let mut kids = HashSet::new();
        let mut keys = Vec::new();
        for (index, jwk) in document.keys.iter().enumerate() {
            if let Some(kid) = &jwk.kid
                && !kids.insert(kid.as_str())
            {
                return Err(KeySetError::DuplicateKid(kid.as_str().into()));
            }
            let made = jwk.keys(allowed).map_err(|error| KeySetError::Key { index, error })?;
            keys.extend(made);
        }
        if keys.is_empty() { Err(KeySetError::Empty) } else { Ok(Self { keys }) }
    }

    /// The keys with this id.
    pub fn with_kid<'k>(&'k self, kid: &'k str) -> impl Iterator<Item = &'k VerifyingKey> {
        self.keys.iter().filter(move |key| key.kid.as_deref() == Some(kid))
    }

    /// Whether every key of `before` is still there, unchanged.
    pub fn keeps_all_of(&self, before: &Self) -> bool {
        before.keys.iter().all(|old| self.keys.iter().any(|new| same_key(old, new)))
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Jwk>,
}

/// RFC 7517 section 4 and RFC 7518 section 6. Members of other key types are left out; serde
/// refuses a member that is there twice.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
    d: Option<serde::de::IgnoredAny>,
}

impl Jwk {
    fn keys(&self, allowed: &[Algorithm]) -> Result<Vec<VerifyingKey>, KeyError> {
        let signs = self.purpose.as_deref().is_none_or(|purpose| purpose == "sig");
        let verifies = self
            .key_ops
            .as_ref()
            .is_none_or(|ops| ops.iter().any(|operation| operation == "verify"));
        if !signs || !verifies {
            return Ok(Vec::new());
        }
        if self.d.is_some() {
            return Err(KeyError::Private);
        }
        let stated = match self.alg.as_deref() {
            None => None,
            Some(name) => match name.parse::<Algorithm>() {
                Ok(algorithm) => Some(algorithm),
                Err(_) => return Ok(Vec::new()),
            },
        };
        let Some((key, fits)) = self.material(allowed)? else { return Ok(Vec::new()) };
        if let Some(algorithm) = stated
            && !fits.contains(&algorithm)
        {
            return Err(KeyError::WrongType(algorithm));
        }
        let wanted = fits.iter().filter(|algorithm| {
            allowed.contains(algorithm) && stated.is_none_or(|stated| stated == **algorithm)
        });
        wanted.map(|algorithm| self.verifying(*algorithm, &key)).collect()
    }

    /// The key, and the algorithms that its type and curve fit. `None`: not a kind we know.
    fn material(&self, allowed: &[Algorithm]) -> Result<Option<Material>, KeyError> {
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => {
                let n = member(self.n.as_deref(), "n", None)?;
                let e = member(self.e.as_deref(), "e", None)?;
                in_range(&n)?;
                if !sound_exponent(&e) {
                    return Err(KeyError::Member("e"));
                }
                Ok(Some((DecodingKey::from_rsa_raw_components(&n, &e), &RSA)))
            }
            ("EC", Some("P-256")) => Ok(Some((self.point(32)?, &[Algorithm::ES256]))),
            ("EC", Some("P-384")) => Ok(Some((self.point(48)?, &[Algorithm::ES384]))),
            ("OKP", Some("Ed25519")) => {
                let x = member(self.x.as_deref(), "x", Some(ED25519_BYTES))?;
                Ok(Some((DecodingKey::from_ed_der(&x), &[Algorithm::EdDSA])))
            }
            ("oct", _) => {
                if !allowed.iter().any(|algorithm| hmac_bytes(*algorithm).is_some()) {
                    return Err(KeyError::Symmetric);
                }
                let secret = member(self.k.as_deref(), "k", None)?;
                Ok(Some((DecodingKey::from_secret(&secret), &HMAC)))
            }
            _ => Ok(None),
        }
    }

    fn point(&self, coordinate: usize) -> Result<DecodingKey, KeyError> {
        let x = member(self.x.as_deref(), "x", Some(coordinate))?;
        let y = member(self.y.as_deref(), "y", Some(coordinate))?;
        // The uncompressed form of SEC 1 section 2.3.3.
        Ok(DecodingKey::from_ec_der(&[&[4], x.as_slice(), y.as_slice()].concat()))
    }

    fn verifying(&self, algorithm: Algorithm, key: &DecodingKey) -> Result<VerifyingKey, KeyError> {
        let kid = self.kid.as_deref();
        match Family::of(algorithm) {
            Family::Hmac => {
                let secret = key.try_get_as_bytes().map_err(|_| KeyError::Member("k"))?;
                VerifyingKey::hmac(secret, algorithm, kid)
            }
            Family::Rsa | Family::Ec { .. } | Family::Ed => {
                Ok(VerifyingKey::new(kid, algorithm, key.clone()))
            }
        }
    }
}

fn same_key(a: &VerifyingKey, b: &VerifyingKey) -> bool {
    use jsonwebtoken::DecodingKeyKind::{RsaModulusExponent, SecretOrDer};
    let material = match (a.key.kind(), b.key.kind()) {
        (SecretOrDer(a), SecretOrDer(b)) => a == b,
        (RsaModulusExponent { n, e }, RsaModulusExponent { n: other_n, e: other_e }) => {
            n == other_n && e == other_e
        }
        (SecretOrDer(_), RsaModulusExponent { .. })
        | (RsaModulusExponent { .. }, SecretOrDer(_)) => false,
    };
    material && a.kid == b.kid && a.algorithm == b.algorithm
}

type Material = (DecodingKey, &'static [Algorithm]);

const HMAC: [Algorithm; 3] = [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
const RSA: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];
const ED25519_BYTES: usize = 32;

enum Family {
    Hmac,
    Rsa,
    Ec { coordinate: usize },
    Ed,
}

impl Family {
    fn of(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::ES256 => Self::Ec { coordinate: 32 },
            Algorithm::ES384 => Self::Ec { coordinate: 48 },
            Algorithm::EdDSA => Self::Ed,
            _ if hmac_bytes(algorithm).is_some() => Self::Hmac,
            // `Algorithm` is non-exhaustive; what is none of the above fails as an RSA key.
            _ => Self::Rsa,
        }
    }
}

/// Bytes of the hash behind an HMAC algorithm: the least a secret must have.
fn hmac_bytes(algorithm: Algorithm) -> Option<usize> {
    match algorithm {
        Algorithm::HS256 => Some(32),
        Algorithm::HS384 => Some(48),
        Algorithm::HS512 => Some(64),
        _ => None,
    }
}

fn member(
    text: Option<&str>,
    name: &'static str,
    bytes: Option<usize>,
) -> Result<Vec<u8>, KeyError> {
    text.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
        .filter(|decoded| !decoded.is_empty() && bytes.is_none_or(|bytes| decoded.len() == bytes))
        .ok_or(KeyError::Member(name))
}

fn in_range(modulus: &[u8]) -> Result<(), KeyError> {
    let mut significant = modulus.iter().skip_while(|byte| **byte == 0);
    let bits = match significant.next() {
        None => 0,
        Some(first) => 8 - first.leading_zeros() as usize + 8 * significant.count(),
    };
    if RSA_BITS.contains(&bits) { Ok(()) } else { Err(KeyError::RsaBits(bits)) }
}

/// Odd and above one; 33 bits are what the verifier takes.
fn sound_exponent(exponent: &[u8]) -> bool {
    let value = exponent.iter().try_fold(0_u64, |value, byte| {
        value.checked_mul(256).and_then(|value| value.checked_add(u64::from(*byte)))
    });
    value.is_some_and(|value| value % 2 == 1 && (3..1 << 33).contains(&value))
}

#[cfg(test)]
mod tests;
