//! Listening addresses: whether they can be had, their certificates, their buffers.

use std::net::{SocketAddr, TcpListener};

use pingora::listeners::tls::TlsSettings;
use pingora::listeners::{L4BufferSettings, ListenerConfig};

use crate::config::settings::{Listener, ListenerTls};

use super::server::RunError;

/// Buffers of a client connection. Reading without one saves 60 KiB for each idle connection and
/// costs nothing measurable; a small one for writing joins a head with its body.
const READ_BUFFER: usize = 0;
const WRITE_BUFFER: usize = 1460;

/// Finds out whether an address can be listened on, and which port it is where 0 was asked for.
///
/// # Errors
/// [`RunError::Listen`] if it cannot.
pub fn claim(address: SocketAddr) -> Result<SocketAddr, RunError> {
    let claimed = TcpListener::bind(address).and_then(|listener| listener.local_addr());
    claimed.map_err(|cause| RunError::Listen { address, cause })
}

/// Cleartext listeners with HTTP/2 have to look at the first bytes of each connection; the others
/// need not. Each group is a service.
pub(super) fn by_protocol(listeners: &[Listener]) -> Vec<(Vec<&Listener>, bool)> {
    let (h2c, other): (Vec<_>, Vec<_>) =
        listeners.iter().partition(|listener| listener.http2 && listener.tls.is_none());
    let groups = [(h2c, true), (other, false)];
    groups.into_iter().filter(|(listeners, _)| !listeners.is_empty()).collect()
}

pub(super) fn endpoint(listener: &Listener) -> Result<ListenerConfig, RunError> {
    let buffers = L4BufferSettings::new(READ_BUFFER, WRITE_BUFFER);
    let endpoint = ListenerConfig::tcp(listener.address.to_string()).l4_buffer(buffers);
    match &listener.tls {
        Some(tls) => Ok(endpoint.tls(certificate(tls, listener.http2)?)),
        None => Ok(endpoint),
    }
}

/// Reads the certificate now, because Pingora panics when it finds later that it cannot.
fn certificate(tls: &ListenerTls, http2: bool) -> Result<TlsSettings, RunError> {
    use pingora::tls::{
        ServerConfig, install_default_crypto_provider, load_certs_and_key_files, version,
    };
    let certificate = tls.certificate.to_string_lossy().into_owned();
    let key = tls.key.to_string_lossy().into_owned();
    let wrong = |cause: String| RunError::Certificate {
        certificate: certificate.clone(),
        key: key.clone(),
        cause,
    };
    install_default_crypto_provider();
    let (chain, private) = load_certs_and_key_files(&certificate, &key)
        .map_err(|error| wrong(error.to_string()))?
        .ok_or_else(|| wrong("no certificate, or no private key, in PEM".into()))?;
    ServerConfig::builder_with_protocol_versions(&[&version::TLS12, &version::TLS13])
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| wrong(error.to_string()))?;
    let mut settings =
        TlsSettings::intermediate(&certificate, &key).map_err(|error| wrong(error.to_string()))?;
    if http2 {
        settings.enable_h2();
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(port: u16, http2: bool) -> Listener {
        Listener { address: SocketAddr::from(([127, 0, 0, 1], port)), tls: None, http2 }
    }

    #[test]
    fn only_cleartext_listeners_with_http2_look_at_the_first_bytes() {
        let listeners = [listener(1, true), listener(2, false), listener(3, true)];
        let groups = by_protocol(&listeners);
        let ports: Vec<(Vec<u16>, bool)> = groups
            .into_iter()
            .map(|(group, h2c)| (group.iter().map(|one| one.address.port()).collect(), h2c))
            .collect();
        assert_eq!(ports, [(vec![1, 3], true), (vec![2], false)]);
    }

    #[test]
    fn an_address_that_is_taken_is_an_error_that_names_it() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = claim(address).unwrap_err();
        assert!(error.to_string().contains(&address.to_string()), "{error}");
        let free = claim(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        assert_ne!(free.port(), 0);
    }

    #[test]
    fn a_certificate_that_cannot_be_read_is_an_error_and_no_panic() {
        let tls = ListenerTls { certificate: "/nonexistent.pem".into(), key: "/none.key".into() };
        let error = certificate(&tls, true).err().unwrap();
        assert!(error.to_string().contains("/nonexistent.pem"), "{error}");
    }
}
