//! Issuers, their keys, and API keys.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::domain::machine::KeyPepper;
use crate::domain::source::Source;
use crate::domain::trusted::DeviceKey;

use super::sign_on::SignOn;

pub use jsonwebtoken::Algorithm;

/// Who may vouch for callers.
#[derive(Debug, Clone)]
pub struct IdentityPolicy {
    /// Issuers, in the order in which [`IssuerIndex`](crate::domain::known::IssuerIndex) counts.
    pub issuers: Vec<Arc<Issuer>>,
    /// Supabase's publishable and secret keys.
    pub api_keys: ApiKeys,
    /// Claims in which routes look for the organization, as paths of keys, each once.
    pub organization_claims: Vec<Vec<Box<str>>>,
    /// Cap on the bytes of a bearer token.
    pub max_token_bytes: u32,
    /// Values of a token's `role` claim that make its bearer a service (`service_role`).
    pub service_claims: Vec<Box<str>>,
    /// Values of a token's `role` claim that make its bearer nobody in particular (`anon`).
    pub anonymous_claims: Vec<Box<str>>,
    /// The policy role of services, where services may call tenant routes at all.
    pub service_role: Option<Arc<str>>,
    /// From where service credentials may be used. Empty: nowhere is refused.
    pub service_addresses: Vec<IpNet>,
    /// What hashes of machines' keys are keyed with. `None`: there are no such keys.
    pub machines: Option<KeyPepper>,
    /// What devices are trusted with. `None`: none is.
    pub devices: Option<DevicePolicy>,
    /// The policy role of anonymous callers, where they may call tenant routes at all.
    pub anonymous_role: Option<Arc<str>>,
}

/// How devices are trusted: one on which somebody has shown a second factor stands in for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevicePolicy {
    /// The first makes tokens, all of them count.
    pub keys: Vec<DeviceKey>,
    /// How long a device is trusted at most.
    pub trusted_for: Duration,
    /// How long ago the second factor may have been shown when a device is trusted.
    pub within: Duration,
    /// `SameSite` of the cookie (RFC 6265bis section 5.6.7).
    pub same_site: SameSite,
}

/// To which requests browsers add a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameSite {
    /// Requests of pages of the same site.
    Strict,
    /// These, and links that lead to the site.
    Lax,
    /// All.
    None,
}

/// One issuer of tokens.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// The values of `iss` that mean it, byte for byte. Empty: tokens without `iss`.
    pub iss: Vec<Box<str>>,
    /// The values of `aud` of which a token must have one. Empty: not checked.
    pub audiences: Vec<Box<str>>,
    /// Keys from configuration and files.
    pub keys: KeySet,
    /// Keys from a URL.
    pub jwks: Option<JwksSource>,
    /// Claims that must be there, besides `exp`.
    pub required_claims: Vec<Box<str>>,
    /// Allowed clock skew, in seconds.
    pub leeway_secs: u64,
    /// How far ahead `exp` may lie, in seconds; a token that lives for longer is refused.
    pub max_lifetime_secs: Option<u64>,
    /// What it may vouch for besides who somebody is.
    pub sign_on: SignOn,
    /// Where it was written.
    pub source: Source,
}

/// A key set that is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwksSource {
    /// `https://…` (`http://` is for development; `tollgate check` warns).
    pub url: Box<str>,
    /// Where the URL is that of a discovery document (OpenID Connect Discovery section 4): the
    /// issuer that it must name, byte for byte. The keys are where the document says.
    pub discovers: Option<Box<str>>,
    /// Algorithms that its keys may be used with.
    pub algorithms: Vec<Algorithm>,
    /// Time between two background fetches.
    pub refresh: Duration,
    /// Time for an answer.
    pub timeout: Duration,
    /// At most one fetch for unknown key ids in this time.
    pub unknown_key_window: Duration,
}

/// A verifying key. Its algorithm is pinned: the token's header does not choose.
#[derive(Clone)]
pub struct VerifyingKey {
    /// Its `kid`, where it has one.
    pub kid: Option<Box<str>>,
    /// The one algorithm it verifies.
    pub algorithm: Algorithm,
    /// The key material.
    pub key: Arc<jsonwebtoken::DecodingKey>,
}

impl std::fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifyingKey")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// The keys of one issuer.
#[derive(Debug, Clone, Default)]
pub struct KeySet {
    /// In the order in which they are tried where a token names none.
    pub keys: Vec<VerifyingKey>,
}

/// Supabase keys of the `sb_publishable_…` / `sb_secret_…` kind, found by hash.
#[derive(Debug, Clone, Default)]
pub struct ApiKeys {
    by_hash: HashMap<[u8; 32], Arc<ApiKey>>,
}

/// One such key; the key itself is not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its name in the configuration, for limits, logs and audit.
    pub name: Arc<str>,
    /// What it makes of its bearer.
    pub kind: ApiKeyKind,
    /// Where it was written.
    pub source: Source,
}

/// What an API key makes of its bearer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiKeyKind {
    /// Nobody in particular.
    Publishable,
    /// A service.
    Secret,
}

impl ApiKeys {
    /// Adds a key. `false` if that key is already there.
    pub fn insert(&mut self, secret: &str, key: ApiKey) -> bool {
        self.by_hash.insert(*blake3::hash(secret.as_bytes()).as_bytes(), Arc::new(key)).is_none()
    }

    /// Finds a key. Hashing first keeps the comparison's time apart from the secret.
    pub fn find(&self, presented: &str) -> Option<&Arc<ApiKey>> {
        self.by_hash.get(blake3::hash(presented.as_bytes()).as_bytes())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_hash.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_hash.is_empty()
    }
}
