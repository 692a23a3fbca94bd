//! Heads at the edge: never a panic, and one reading of those that are admitted.
//!
//! An input looks like the head: the request line, then header lines.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::sync::LazyLock;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use tollgate::domain::clock::Now;
use tollgate::domain::head::Arrival;
use tollgate::pipeline::{Trace, edge};
use tollgate::policy::edge::EdgePolicy;

use super::Outcome;

const NOW: Now = Now { unix_micros: 1_800_000_000_000_000, mono_nanos: 1 };

static POLICY: LazyLock<EdgePolicy> = LazyLock::new(|| EdgePolicy {
    trusted_proxies: vec!["10.0.0.0/8".parse().expect("a network")],
    country_header: None,
    max_header_bytes: 32 * 1024,
    max_header_count: 100,
    max_target_bytes: 8192,
    head_timeout: Duration::from_secs(10),
    body_timeout: Duration::from_secs(30),
    keepalive_timeout: Duration::from_secs(60),
    requests_per_organization: NonZeroU32::MIN,
    requests_per_user: NonZeroU32::MIN,
    connections_per_address: NonZeroU32::MIN,
    address_guard: None,
    tell_version: None,
});

pub(super) fn head(data: &[u8]) -> Outcome {
    let mut lines = data.split(|byte| *byte == b'\n');
    let line = lines.next().unwrap_or_default();
    let mut words = line.splitn(2, |byte| *byte == b' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let Ok(method) = Method::from_bytes(method) else { return Outcome::Unasked };
    let mut headers = HeaderMap::new();
    for line in lines {
        let Some(at) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..at], line[at + 1..].trim_ascii());
        let (name, value) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let mut outcome = Outcome::Refused;
    for (peer, version) in [(10, Version::HTTP_11), (192, Version::HTTP_2)] {
        let peer = IpAddr::V4(Ipv4Addr::new(peer, 0, 2, 1));
        let arrival = Arrival {
            method: &method,
            target,
            authority: (version == Version::HTTP_2).then_some("api.example.com"),
            version,
            headers: &headers,
            peer,
            secure: true,
            entropy: 7,
        };
        let mut trace = Trace::explaining();
        let Ok(edged) = edge::admit(&arrival, &POLICY, &mut trace, NOW) else { continue };
        outcome = Outcome::Taken;
        let (path, query) = (edged.path(), edged.query());
        let again = query.map_or(path.to_owned(), |query| format!("{path}?{query}"));
        assert_eq!(again.as_bytes(), target, "what is matched is what was sent");
        assert!(path.starts_with('/') && !path.contains("//") && !path.contains("/../"));
        assert!(!path.contains(['\\', ';', '#']) && path.is_ascii());
        let lower = path.to_ascii_lowercase();
        assert!(!["%2f", "%5c", "%00", "%2e"].iter().any(|odd| lower.contains(odd)), "{path}");
        assert_eq!(edged.host(), edged.host().to_lowercase());
        assert!(!edged.host().is_empty());
        if peer.to_string().starts_with("192") {
            assert_eq!(edged.client(), peer, "a stranger's word for its own address");
        }
    }
    outcome
}
