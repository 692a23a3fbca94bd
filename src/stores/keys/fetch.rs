//! One GET of a key set, within bounds: time, bytes, redirects.
//!
//! Used by the key store only. Errors name what was wrong and never repeat what the server sent.

use std::sync::Arc;

use reqwest::Url;
use reqwest::redirect::{Attempt, Policy};
use serde::Deserialize;

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
    /// The discovery document cannot be used.
    #[error("the discovery document {0}")]
    Discovery(&'static str),
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

    /// Fetches and reads a key set, from where a discovery document says if the source is one.
    /// Both together have the source's time.
    pub async fn fetch(&self, source: &JwksSource) -> Result<KeySet, FetchError> {
        let both = async {
            let stated = source.url.as_ref();
            let body = match &source.discovers {
                None => self.get(stated).await?,
                Some(issuer) => {
                    let found = keys_of(&self.get(stated).await?, issuer, stated)?;
                    self.get(found.as_str()).await?
                }
            };
            Ok(KeySet::from_jwks(&body, &source.algorithms)?)
        };
        let late = |_| FetchError::Transport("no answer in time".to_owned());
        tokio::time::timeout(source.timeout, both).await.map_err(late)?
    }

    async fn get(&self, url: &str) -> Result<String, FetchError> {
        let mut answer = self.client.get(url).send().await.map_err(transport)?;
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
        let text = String::from_utf8(body);
        Ok(text.map_err(|_| KeySetError::Json("it is not UTF-8".to_owned()))?)
    }
}

/// What counts of a discovery document (OpenID Connect Discovery section 3, RFC 8414 section 2).
#[derive(Deserialize)]
struct Discovered {
    issuer: String,
    jwks_uri: String,
}

/// Where the keys are, by a document that names the right issuer (OpenID Connect Discovery section
/// 4.3). They are no worse protected on their way than the document was.
fn keys_of(document: &str, issuer: &str, from: &str) -> Result<Url, FetchError> {
    let found: Discovered = serde_json::from_str(document)
        .map_err(|_| FetchError::Discovery("is not JSON with `issuer` and `jwks_uri`"))?;
    if found.issuer != issuer {
        return Err(FetchError::Discovery("names another issuer than `iss`"));
    }
    let url = Url::parse(&found.jwks_uri)
        .map_err(|_| FetchError::Discovery("has a `jwks_uri` that is no URL"))?;
    let plain = Url::parse(from).is_ok_and(|from| from.scheme() == "http");
    if url.scheme() != "https" && !(plain && url.scheme() == "http") {
        return Err(FetchError::Discovery("has a `jwks_uri` without TLS"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(FetchError::Discovery("has a `jwks_uri` with a password"));
    }
    Ok(url)
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

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://id.example/realms/crm";
    const FROM: &str = "https://id.example/realms/crm/.well-known/openid-configuration";

    fn keys(document: &str, from: &str) -> Result<String, String> {
        let found = keys_of(document, ISSUER, from);
        found.map(|url| url.to_string()).map_err(|error| error.to_string())
    }

    fn naming(issuer: &str, keys: &str) -> String {
        serde_json::json!({ "issuer": issuer, "jwks_uri": keys, "other": [1] }).to_string()
    }

    #[test]
    fn a_document_of_the_very_issuer_says_where_the_keys_are() {
        let document = naming(ISSUER, "https://keys.example/crm");
        assert_eq!(keys(&document, FROM).as_deref(), Ok("https://keys.example/crm"));
        let plain = naming(ISSUER, "http://127.0.0.1:9/keys");
        assert!(keys(&plain, "http://127.0.0.1:9/.well-known/openid-configuration").is_ok());
    }

    #[test]
    fn a_document_that_could_be_anothers_or_leads_astray_is_refused() {
        for (document, wanted) in [
            ("[]".to_owned(), "is not JSON"),
            ("{\"issuer\":\"x\"}".to_owned(), "is not JSON"),
            (
                format!("{{\"issuer\":\"{ISSUER}\",\"issuer\":\"x\",\"jwks_uri\":\"https://x/\"}}"),
                "is not JSON",
            ),
            (naming("https://id.example/realms/other", "https://keys.example/"), "another issuer"),
            (naming(&format!("{ISSUER}/"), "https://keys.example/"), "another issuer"),
            (naming("https://ID.example/realms/crm", "https://keys.example/"), "another issuer"),
            (naming(ISSUER, "keys"), "no URL"),
            (naming(ISSUER, "http://keys.example/"), "without TLS"),
            (naming(ISSUER, "file:///etc/passwd"), "without TLS"),
            (naming(ISSUER, "https://a:b@keys.example/"), "with a password"),
        ] {
            let refused = keys(&document, FROM).unwrap_err();
            assert!(refused.contains(wanted), "{document}: {refused}");
        }
    }
}
