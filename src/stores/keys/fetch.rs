//! One GET of a key set, within bounds: time, bytes, redirects.
//!
//! Used by the key store only. Errors name what was wrong and never repeat what the server sent.

use std::sync::Arc;

use reqwest::redirect::{Attempt, Policy};

use crate::policy::identity::{JwksSource, KeySet};
use crate::policy::keys::KeySetError;

/// Bytes of a key set document; real ones have a few thousand.
const MAX_BYTES: usize = 256 * 1024;
/// Redirects that are followed, to the same scheme and host only.
const MAX_REDIRECTS: usize = 3;

/// Why a key set could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// TLS could not be set up.
    #[error("the HTTP client cannot be built: {0}")]
    Client(String),
    /// No connection, no answer, or none in time.
    #[error("{0}")]
    Transport(String),
    /// Not a 200.
    #[error("the server answered {0}")]
    Status(u16),
    /// Too long.
    #[error("the answer is longer than {MAX_BYTES} bytes")]
    TooLarge,
    /// Not a usable key set.
    #[error(transparent)]
    Keys(#[from] KeySetError),
}

/// An HTTP client for key sets.
#[derive(Debug, Clone)]
pub struct Fetcher {
    client: reqwest::Client,
}

impl Fetcher {
    /// A client that trusts the web's certificate authorities and takes no proxy from the
    /// environment.
    pub fn new() -> Result<Self, FetchError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| FetchError::Client(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(Policy::custom(same_place))
            .no_proxy()
            .referer(false)
            .user_agent(concat!("tollgate/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| FetchError::Client(error.to_string()))?;
        Ok(Self { client })
    }

    /// Fetches and reads a key set.
    pub async fn fetch(&self, source: &JwksSource) -> Result<KeySet, FetchError> {
        let get = self.client.get(source.url.as_ref()).timeout(source.timeout);
        let mut answer = get.send().await.map_err(transport)?;
        if answer.status() != http::StatusCode::OK {
            return Err(FetchError::Status(answer.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(transport)? {
            if body.len() + chunk.len() > MAX_BYTES {
                return Err(FetchError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        let text = std::str::from_utf8(&body)
            .map_err(|_| KeySetError::Json("it is not UTF-8".to_owned()))?;
        Ok(KeySet::from_jwks(text, &source.algorithms)?)
    }
}

/// A redirect may tidy up a path; it may not lead to another scheme, host or port.
fn same_place(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let same =
        attempt.previous().last().is_some_and(|last| last.origin() == attempt.url().origin());
    if same && attempt.previous().len() <= MAX_REDIRECTS {
        attempt.follow()
    } else {
        attempt.stop()
    }
}

/// What reqwest says, with its causes: on their own its messages only say that it failed.
fn transport(error: reqwest::Error) -> FetchError {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    FetchError::Transport(text)
}
