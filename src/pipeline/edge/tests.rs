//! The edge, as tables of heads.

use std::num::NonZeroU32;
use std::time::Duration;

use http::HeaderMap;

use super::*;

fn policy() -> EdgePolicy {
    EdgePolicy {
        trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
        country_header: Some(HeaderName::from_static("cf-ipcountry")),
        max_header_bytes: 32 * 1024,
        max_header_count: 100,
        max_target_bytes: 8192,
        head_timeout: Duration::from_secs(10),
        body_timeout: Duration::from_secs(30),
        keepalive_timeout: Duration::from_secs(60),
        requests_per_organization: NonZeroU32::new(100).unwrap(),
        requests_per_user: NonZeroU32::new(100).unwrap(),
        connections_per_address: NonZeroU32::new(100).unwrap(),
        address_guard: None,
        tell_version: None,
    }
}

struct Head {
    method: Method,
    target: Vec<u8>,
    authority: Option<&'static str>,
    version: Version,
    headers: HeaderMap,
    peer: IpAddr,
}

fn head(target: &str) -> Head {
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("api.example.com"));
    Head {
        method: Method::GET,
        target: target.as_bytes().to_vec(),
        authority: None,
        version: Version::HTTP_11,
        headers,
        peer: "192.0.2.7".parse().unwrap(),
    }
}

impl Head {
    fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.append(name, HeaderValue::from_static(value));
        self
    }

    fn arrival(&self) -> Arrival<'_> {
        Arrival {
            method: &self.method,
            target: &self.target,
            authority: self.authority,
            version: self.version,
            headers: &self.headers,
            peer: self.peer,
            secure: false,
            entropy: 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10,
        }
    }
}

const NOW: Now = Now { unix_micros: 1_700_000_000_000_000, mono_nanos: 0 };

fn refusal(head: &Head) -> Option<EdgeRefusal> {
    match admit(&head.arrival(), &policy(), &mut Trace::new(), NOW) {
        Ok(_) => None,
        Err(Refusal::Edge(refusal)) => Some(refusal),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_path_with_a_second_spelling_is_refused() {
    let bad = [
        "",
        "*",
        "rest",
        "//",
        "//events",
        "/a//b",
        "/./a",
        "/a/..",
        "/a/.",
        "/../a",
        "/%2e/a",
        "/%2E%2e/a",
        "/a%2fb",
        "/a%2Fb",
        "/a%5cb",
        "/a\\b",
        "/a%00b",
        "/a%0ab",
        "/a%252fb",
        "/%61dmin",
        "/a%7Eb",
        "/a%zz",
        "/a%2",
        "/a%",
        "/a;b=c",
        "/a%7f",
    ];
    for target in bad {
        assert_eq!(refusal(&head(target)), Some(EdgeRefusal::Path), "{target}");
    }
    for target in ["/", "/a", "/a/", "/a/b?x=%2e%2F//../;", "/a%20b", "/%C3%A9", "/100%25", "/a:b"]
    {
        assert_eq!(refusal(&head(target)), None, "{target}");
    }
}

#[test]
fn fragments_controls_and_raw_bytes_are_refused() {
    for target in ["/a#b", "/a b", "/a\tb", "/a?b=é", "/a\u{7f}", "/a?x=\0"] {
        assert_eq!(refusal(&head(target)), Some(EdgeRefusal::Characters), "{target:?}");
    }
}

#[test]
fn ambiguous_framing_is_refused() {
    let bad = [
        head("/").with("content-length", "1").with("transfer-encoding", "chunked"),
        head("/").with("content-length", "1").with("content-length", "1"),
        head("/").with("content-length", "1, 1"),
        head("/").with("content-length", "+1"),
        head("/").with("content-length", "0x1"),
        head("/").with("content-length", ""),
        head("/").with("transfer-encoding", "chunked").with("transfer-encoding", "chunked"),
        head("/").with("transfer-encoding", "gzip, chunked"),
        head("/").with("transfer-encoding", "identity"),
        head("/").with("transfer-encoding", "xchunked"),
        Head { version: Version::HTTP_10, ..head("/").with("transfer-encoding", "chunked") },
        Head { version: Version::HTTP_2, ..head("/").with("transfer-encoding", "chunked") },
    ];
    for head in bad {
        assert_eq!(refusal(&head), Some(EdgeRefusal::Framing), "{:?}", head.headers);
    }
    assert_eq!(refusal(&head("/").with("content-length", "12")), None);
    assert_eq!(refusal(&head("/").with("transfer-encoding", "Chunked")), None);
}

#[test]
fn a_host_is_there_once_and_agrees_with_the_target() {
    let mut none = head("/");
    none.headers.remove("host");
    let mut odd = head("/");
    odd.headers.insert("host", HeaderValue::from_static("a,b"));
    let bad = [
        none,
        odd,
        head("/").with("host", "api.example.com"),
        Head { authority: Some("other.example.com"), ..head("/") },
    ];
    for head in bad {
        assert_eq!(refusal(&head), Some(EdgeRefusal::Host), "{:?}", head.headers);
    }
    let agreed = Head { authority: Some("API.example.com"), ..head("/") };
    let edged_host = admit(&agreed.arrival(), &policy(), &mut Trace::new(), NOW).unwrap().host;
    assert_eq!(&*edged_host, "api.example.com");
}

#[test]
fn a_host_may_carry_a_port_and_be_an_address() {
    for (host, name) in
        [("a.b:80", "a.b"), ("[::1]:8080", "::1"), ("127.0.0.1", "127.0.0.1"), ("A-b", "a-b")]
    {
        let mut head = head("/");
        head.headers.insert("host", HeaderValue::from_static(host));
        let edged = admit(&head.arrival(), &policy(), &mut Trace::new(), NOW).unwrap();
        assert_eq!(edged.host(), name);
    }
    for host in ["a:b", "[::1", "[::1]x", "a:123456", "user@host", ""] {
        let mut head = head("/");
        head.headers.insert("host", HeaderValue::from_static(host));
        assert_eq!(refusal(&head), Some(EdgeRefusal::Host), "{host}");
    }
}

#[test]
fn an_authority_keeps_its_port_for_the_upstream() {
    let mut head = Head { version: Version::HTTP_2, ..head("/") };
    head.headers.remove("host");
    head.authority = Some("API.example.com:8443");
    let edged = admit(&head.arrival(), &policy(), &mut Trace::new(), NOW).unwrap();
    assert_eq!((edged.host(), edged.authority()), ("api.example.com", "API.example.com:8443"));
}

#[test]
fn only_the_seven_common_methods_pass() {
    for method in ["TRACE", "CONNECT", "PROPFIND", "get"] {
        let head = Head { method: method.parse().unwrap(), ..head("/") };
        assert_eq!(refusal(&head), Some(EdgeRefusal::Method), "{method}");
    }
}

#[test]
fn spoofable_fields_are_stripped_in_every_spelling() {
    let head = head("/")
        .with("x-forwarded-for", "1.2.3.4")
        .with("x_forwarded_for", "1.2.3.4")
        .with("forwarded", "for=1.2.3.4")
        .with("x-tollgate-user", "root")
        .with("x_organization_id", "other")
        .with("x-organization-id", "acme")
        .with("x-http-method-override", "DELETE")
        .with("connection", "close, x-secret")
        .with("x-secret", "1")
        .with("x-fine", "1");
    let edged = admit(&head.arrival(), &policy(), &mut Trace::new(), NOW).unwrap();
    let mut names: Vec<&str> = edged.strip().iter().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "connection",
            "forwarded",
            "x-forwarded-for",
            "x-http-method-override",
            "x-organization-id",
            "x-secret",
            "x-tollgate-user",
            "x_forwarded_for",
            "x_organization_id",
        ]
    );
}

#[test]
fn the_client_is_the_rightmost_hop_that_is_not_trusted() {
    let cases = [
        ("192.0.2.7", "203.0.113.9", "192.0.2.7"),
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "6.6.6.6, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("10.0.0.1", "203.0.113.9, garbage, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "203.0.113.9:4711", "203.0.113.9"),
        ("10.0.0.1", "[2001:db8::1]:443", "2001:db8::1"),
        ("::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9"),
    ];
    for (peer, field, client) in cases {
        let head = Head { peer: peer.parse().unwrap(), ..head("/").with("x-forwarded-for", field) };
        let edged = admit(&head.arrival(), &policy(), &mut Trace::new(), NOW).unwrap();
        assert_eq!(edged.client(), client.parse::<IpAddr>().unwrap(), "{peer} {field}");
    }
}

#[test]
fn a_request_id_is_kept_from_trusted_proxies_only() {
    let mut trace = Trace::new();
    let head = head("/").with("x-request-id", "abc-1");
    admit(&head.arrival(), &policy(), &mut trace, NOW).unwrap();
    assert_ne!(trace.request_id.unwrap().as_str(), "abc-1");
    let mut trace = Trace::new();
    let head = Head { peer: "10.0.0.1".parse().unwrap(), ..head };
    admit(&head.arrival(), &policy(), &mut trace, NOW).unwrap();
    assert_eq!(trace.request_id.unwrap().as_str(), "abc-1");
}

#[test]
fn a_trace_goes_on_with_this_hop_as_its_parent() {
    let given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let mut trace = Trace::new();
    admit(&head("/").with("traceparent", given).arrival(), &policy(), &mut trace, NOW).unwrap();
    let passed_on = trace.traceparent.unwrap();
    assert!(passed_on.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"), "{passed_on}");
    assert!(!passed_on.contains("00f067aa0ba902b7"), "{passed_on}");
    assert!(passed_on.ends_with("-01"));
}

#[test]
fn heads_above_the_caps_are_refused_with_their_own_codes() {
    let long = format!("/{}", "a".repeat(9000));
    assert_eq!(refusal(&head(&long)), Some(EdgeRefusal::TargetTooLong));
    let mut big = head("/");
    big.headers.insert("x-big", HeaderValue::from_bytes(&vec![b'a'; 40_000]).unwrap());
    assert_eq!(refusal(&big), Some(EdgeRefusal::HeadTooLarge));
}

#[test]
fn a_websocket_is_asked_for_properly_or_not_at_all() {
    let asked = |extra: &[(&'static str, &'static str)]| {
        let head = head("/").with("upgrade", "websocket").with("connection", "Upgrade");
        extra.iter().fold(head, |head, (name, value)| head.with(name, value))
    };
    let good = asked(&[("sec-websocket-key", "x")]);
    assert!(admit(&good.arrival(), &policy(), &mut Trace::new(), NOW).unwrap().websocket());
    assert_eq!(refusal(&asked(&[])), Some(EdgeRefusal::Expectation));
    let framed = asked(&[("sec-websocket-key", "x"), ("content-length", "5")]);
    assert_eq!(refusal(&framed), Some(EdgeRefusal::Expectation));
    let h2c = head("/").with("upgrade", "h2c").with("connection", "upgrade, http2-settings");
    let edged_h2c = admit(&h2c.arrival(), &policy(), &mut Trace::new(), NOW).unwrap();
    assert!(!edged_h2c.websocket());
    assert!(edged_h2c.strip().contains(&header::UPGRADE));
}
