//! The same over TLS: the protocol that was agreed on is the one that is read.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::{EDGE, Wire};
use crate::support::http2::{END_HEADERS, END_STREAM, Frame, HEADERS, SETTINGS, block, frame};
use crate::support::place::Port;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Sends bytes over TLS, having agreed on a protocol or none, and reads until nothing comes.
fn over_tls(
    to: SocketAddr,
    certificate: &CertificateDer<'static>,
    protocol: &str,
    bytes: &[u8],
) -> Vec<u8> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    if !protocol.is_empty() {
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    }
    let session = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut stream = StreamOwned::new(session, stream);
    let mut back = Vec::new();
    if stream.write_all(bytes).is_ok() {
        // The end may come without a goodbye.
        let _ = stream.read_to_end(&mut back);
    }
    back
}

/// The statuses in the frames of an answer.
fn statuses(mut bytes: &[u8]) -> Vec<u16> {
    let mut all = Vec::new();
    while let [a, b, c, kind, flags, _, _, _, stream, rest @ ..] = bytes {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let Some((payload, after)) = rest.split_at_checked(length) else { break };
        let stream = u32::from(*stream);
        let frame = Frame { kind: *kind, flags: *flags, stream, payload: payload.to_vec() };
        if frame.kind == HEADERS {
            all.extend(frame.status());
        }
        bytes = after;
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_protocol_that_was_agreed_on_is_the_one_that_is_read() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let port = Port::reserve();
    let secure = port.addr();
    let wire = Wire::start_with(EDGE, |draft, yaml| {
        draft.write("certificate.pem", &made.cert.pem());
        draft.write("key.pem", &made.signing_key.serialize_pem());
        let tls = "tls: { certificate: certificate.pem, key: key.pem }";
        yaml.replacen(" }]", &format!(" }}, {{ address: {secure}, {tls} }}]"), 1)
    })
    .await;
    let certificate = made.cert.der().clone();
    let ask = async |protocol: &'static str, bytes: Vec<u8>| {
        let certificate = certificate.clone();
        tokio::task::spawn_blocking(move || over_tls(secure, &certificate, protocol, &bytes))
            .await
            .unwrap()
    };
    let good = |case: &str| {
        format!("GET /open/{case} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").into_bytes()
    };
    for protocol in ["http/1.1", ""] {
        let case = format!("one-{}", protocol.len());
        let back = String::from_utf8(ask(protocol, good(&case)).await).unwrap();
        assert!(back.starts_with("HTTP/1.1 200 "), "{back}");
        assert_eq!(wire.upstream.requests(&case)[0].all("x-forwarded-proto"), ["https"]);
        for (fields, body) in [
            ("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
            ("X: y\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
            ("Host: other\r\n", ""),
        ] {
            let bytes = format!(
                "POST /open/refused HTTP/1.1\r\nHost: h\r\n{fields}\r\n{body}\
                 GET /open/refused-hidden HTTP/1.1\r\nHost: h\r\n\r\n"
            );
            let back = String::from_utf8(ask(protocol, bytes.into_bytes()).await).unwrap();
            assert!(back.starts_with("HTTP/1.1 400 "), "{fields}: {back}");
            assert_eq!(back.matches("HTTP/1.1 ").count(), 1, "{fields}: {back}");
        }
    }
    let head =
        [(":method", "GET"), (":scheme", "https"), (":authority", "h"), (":path", "/open/two")];
    let stream = [
        PREFACE,
        &frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]),
        &frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&head)),
    ]
    .concat();
    assert_eq!(statuses(&ask("h2", stream.clone()).await), [200]);
    assert_eq!(wire.upstream.requests("/two").len(), 1);
    // Each protocol where the other was agreed on.
    assert_eq!(statuses(&ask("h2", good("refused")).await), [0_u16; 0]);
    let mixed = String::from_utf8_lossy(&ask("http/1.1", stream).await).into_owned();
    assert!(mixed.starts_with("HTTP/1.1 400 "), "{mixed}");
    // No TLS at all.
    let plain = crate::support::http::raw(secure, &good("refused")).await.unwrap_or_default();
    assert!(!String::from_utf8_lossy(&plain).contains("HTTP/1.1 200"));
    assert_eq!(wire.upstream.requests("/two").len(), 1);
    assert!(!wire.upstream.has_heard("refused"));
    wire.finish().await;
}
