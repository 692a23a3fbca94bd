//! What the gateway adds to answers: CORS and security headers.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};

/// The headers of a policy, in the order in which they were written.
#[derive(Debug, Clone, Default)]
pub struct ResponsePolicy {
    /// Set on every answer, the gateway's own included, over what the upstream says.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Removed from upstream answers.
    pub remove: Vec<HeaderName>,
    /// CORS, where it is on.
    pub cors: Option<CorsPolicy>,
}

/// CORS as the Fetch standard defines it (section 3.2).
#[derive(Debug, Clone)]
pub struct CorsPolicy {
    /// Who may read answers.
    pub origins: Origins,
    /// Methods of a preflight's answer.
    pub methods: Vec<Method>,
    /// Request headers of a preflight's answer. Empty: those that the preflight asks for.
    pub allow_headers: Vec<HeaderName>,
    /// Response headers that scripts may read.
    pub expose_headers: Vec<HeaderName>,
    /// Whether browsers send cookies and may read answers to them. Never together with
    /// [`Origins::Any`].
    pub credentials: bool,
    /// How long browsers remember a preflight.
    pub max_age: Duration,
}

/// Which origins may read answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// All, without credentials.
    Any,
    /// These, compared byte for byte (`scheme://host[:port]`, lowercase).
    Listed(Vec<Box<str>>),
}
