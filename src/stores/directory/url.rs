//! A database's address, and the TLS that its `sslmode` asks for.
//!
//! As libpq has it: `disable`, `prefer` and `require` (the last two encrypt and believe any
//! certificate), `verify-full` (a certificate of a public authority, or of `sslrootcert`, for the
//! host's name). Used by the directory and by migrations.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::domain::secret::Secret;

/// Why a database's address cannot be used. Never repeats the address: it holds a password.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    /// Not an address.
    #[error("the database URL is malformed: {0}")]
    Malformed(String),
    /// An `sslmode` that is not one of ours.
    #[error("`sslmode={0}` is not known: use disable, prefer, require or verify-full")]
    SslMode(String),
    /// The file of `sslrootcert` cannot be read.
    #[error("`sslrootcert={path}` holds no usable certificate: {error}")]
    RootCertificate {
        /// The file.
        path: String,
        /// Why.
        error: String,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// An address that was read.
#[derive(Clone)]
pub(in crate::stores) struct Database {
    pub(in crate::stores) config: Config,
    pub(in crate::stores) tls: MakeRustlsConnect,
}

impl Database {
    /// Reads an address.
    pub(in crate::stores) fn parse(url: &Secret) -> Result<Self, UrlError> {
        let (plain, options) = split(url.expose());
        let mut config: Config =
            plain.parse().map_err(|error: tokio_postgres::Error| malformed(&error))?;
        let mode = options.mode.as_deref().unwrap_or("prefer");
        let trust = match (mode, options.root) {
            ("disable", _) => {
                config.ssl_mode(SslMode::Disable);
                Trust::Any
            }
            ("prefer", None) => {
                config.ssl_mode(SslMode::Prefer);
                Trust::Any
            }
            ("require", None) => {
                config.ssl_mode(SslMode::Require);
                Trust::Any
            }
            ("verify-full" | "require" | "prefer", root) => {
                config.ssl_mode(SslMode::Require);
                Trust::Roots(roots(root)?)
            }
            (other, _) => return Err(UrlError::SslMode(other.to_owned())),
        };
        if config.get_application_name().is_none() {
            config.application_name("tollgate");
        }
        Ok(Self { config, tls: MakeRustlsConnect::new(client_config(trust)?) })
    }
}

enum Trust {
    Any,
    Roots(RootCertStore),
}

#[derive(Default)]
struct TlsOptions {
    mode: Option<String>,
    root: Option<String>,
}

/// Takes out the options that the client library does not know in full.
fn split(url: &str) -> (String, TlsOptions) {
    let mut options = TlsOptions::default();
    let Some((address, query)) = url.split_once('?').filter(|_| url.contains("://")) else {
        return (url.to_owned(), options);
    };
    let mut rest = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("sslmode", mode)) => options.mode = Some(mode.to_owned()),
            Some(("sslrootcert", path)) => options.root = Some(path.replace("%2F", "/")),
            _ => rest.push(pair),
        }
    }
    (format!("{address}?{}", rest.join("&")), options)
}

fn malformed(error: &tokio_postgres::Error) -> UrlError {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    UrlError::Malformed(cause.unwrap_or_else(|| error.to_string()))
}

fn roots(path: Option<String>) -> Result<RootCertStore, UrlError> {
    let Some(path) = path else {
        return Ok(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() });
    };
    let failed = |error: String| UrlError::RootCertificate { path: path.clone(), error };
    let mut store = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(&path).map_err(|error| failed(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| failed(error.to_string()))?;
        store.add(certificate).map_err(|error| failed(error.to_string()))?;
    }
    if store.is_empty() { Err(failed("no certificate in it".to_owned())) } else { Ok(store) }
}

fn client_config(trust: Trust) -> Result<ClientConfig, UrlError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    Ok(match trust {
        Trust::Roots(roots) => builder.with_root_certificates(roots).with_no_client_auth(),
        Trust::Any => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate { provider }))
            .with_no_client_auth(),
    })
}

/// Believes any certificate, as `sslmode=require` does: against listeners, not impostors.
#[derive(Debug)]
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<SslMode, String> {
        let parsed = Database::parse(&Secret::new(url));
        parsed.map(|database| database.config.get_ssl_mode()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_sslmode_of_the_url_decides_about_tls() {
        let url = |query: &str| format!("postgres://u:p@db.example:5433/app{query}");
        assert_eq!(parse(&url("")), Ok(SslMode::Prefer));
        assert_eq!(parse(&url("?sslmode=disable")), Ok(SslMode::Disable));
        assert_eq!(parse(&url("?connect_timeout=3&sslmode=require")), Ok(SslMode::Require));
        assert_eq!(parse(&url("?sslmode=verify-full")), Ok(SslMode::Require));
        assert_eq!(parse("host=db.example user=u"), Ok(SslMode::Prefer));
    }

    #[test]
    fn a_url_that_cannot_be_used_is_refused_without_its_password() {
        for (url, wanted) in [
            ("postgres://u:hunter2@db/app?sslmode=verify-ca", "`sslmode=verify-ca` is not known"),
            ("postgres://u:hunter2@db/app?nonsense=1", "malformed"),
            (
                "postgres://u:hunter2@db/app?sslmode=require&sslrootcert=/none",
                "`sslrootcert=/none`",
            ),
        ] {
            let error = parse(url).unwrap_err();
            assert!(error.contains(wanted) && !error.contains("hunter2"), "{error}");
        }
    }
}
