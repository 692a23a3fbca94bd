//! Header fields by which a client would speak in the gateway's name, or have it leave out its own.

use std::net::{IpAddr, Ipv4Addr};

use super::{EDGE, MARK, Wire, statuses, talk, talk_from};
use crate::support::recorder::Recorded;

const TRUSTED: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));

fn edge() -> String {
    format!("{EDGE}  trusted_proxies: [{TRUSTED}/32]\n")
}

/// Names that say who asks, from where or what for. Nobody but the gateway says that.
const OWNED: &[&str] = &[
    "x-organization-role",
    "x-organization-name",
    "x-tollgate-organization",
    "x-tollgate-user",
    "x-user-id",
    "x-remote-user",
    "remote-user",
    "x-forwarded",
    "x-forwarded-server",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-user",
    "x-forwarded-email",
    "x-forwarded-client-cert",
    "x-forwarded-anything",
    "x-original-forwarded-for",
    "x-original-host",
    "x-host",
    "forwarded",
    "x-real-ip",
    "x-client-ip",
    "client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "x-cluster-client-ip",
    "x-original-url",
    "x-rewrite-url",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "keep-alive",
    "te",
    "trailer",
    "proxy-connection",
    "proxy-authorization",
    "http2-settings",
    "upgrade",
    "authorization",
    "apikey",
    "x_request_id",
];

/// A name in the spellings that a server behind the gateway could take for it.
fn spellings(name: &str) -> Vec<String> {
    let title: String = name
        .split('-')
        .map(|part| part[..1].to_uppercase() + &part[1..])
        .collect::<Vec<_>>()
        .join("-");
    let mut all = vec![name.to_owned(), name.to_uppercase(), title];
    if name.contains('-') {
        all.push(name.replace('-', "_"));
        all.push(name.replace('-', "_").to_uppercase());
        all.push(name.replacen('-', "_", 1));
    }
    all
}

fn values(request: &Recorded) -> String {
    let pairs = request.fields.iter().map(|(name, value)| format!("{name}: {value}\n"));
    pairs.collect()
}

#[tokio::test]
async fn only_the_gateway_says_who_asks() {
    let wire = Wire::start(&edge()).await;
    let mut wrong = Vec::new();
    let mut number = 0;
    for from in [TRUSTED, STRANGER] {
        for spelling in OWNED.iter().flat_map(|name| spellings(name)) {
            number += 1;
            let case = format!("owned{number}.");
            let value = format!("spoofed-{MARK}");
            // Twice, and with another field between.
            for more in ["", "X: y\r\n"] {
                let bytes = format!(
                    "GET /open/{case} HTTP/1.1\r\nHost: h\r\n{spelling}: {value}\r\n{more}\
                     {spelling}: {value}\r\nConnection: close\r\n\r\n"
                );
                let answers = talk_from(from, wire.to(), &[bytes.as_bytes()], 0).await;
                let seen = wire.upstream.requests(&case);
                let spoofed = seen.iter().any(|request| values(request).contains("spoofed"));
                if spoofed || statuses(&answers).iter().any(|status| ![200, 400].contains(status)) {
                    wrong.push(format!("{spelling} {more} from {from}: {:?}", statuses(&answers)));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    wire.finish().await;
}

#[tokio::test]
async fn only_a_trusted_proxy_says_where_a_request_comes_from() {
    let wire = Wire::start(&edge()).await;
    let id = "0190d6a0-aaaa-7bbb-8ccc-0123456789ab";
    let long = "a".repeat(5_000);
    // Fields, then what the upstream hears when a trusted proxy sends them: of whom, by which
    // scheme, and with which id (none: a fresh one).
    let cases = [
        ("", "127.0.0.2", "http", None),
        ("X-Forwarded-For: 203.0.113.7\r\n", "203.0.113.7", "http", None),
        ("X-Forwarded-For: 10.0.0.1, 203.0.113.7\r\n", "203.0.113.7", "http", None),
        ("X-Forwarded-For: 203.0.113.7, 127.0.0.2\r\n", "203.0.113.7", "http", None),
        (
            "X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-For: 203.0.113.7\r\n",
            "203.0.113.7",
            "http",
            None,
        ),
        ("X-Forwarded-For: 203.0.113.7:4711\r\n", "203.0.113.7", "http", None),
        ("X-Forwarded-For: ::ffff:203.0.113.7\r\n", "203.0.113.7", "http", None),
        ("X-Forwarded-For: [2001:db8::1]:80\r\n", "2001:db8::1", "http", None),
        ("X-Forwarded-For: unknown\r\n", "127.0.0.2", "http", None),
        ("X-Forwarded-For: 203.0.113.7, unknown\r\n", "127.0.0.2", "http", None),
        ("X-Forwarded-For: 203.0.113.7,\r\n", "127.0.0.2", "http", None),
        ("X-Forwarded-For: 0x7f000001\r\n", "127.0.0.2", "http", None),
        ("X-Forwarded-For: 127.1\r\n", "127.0.0.2", "http", None),
        ("X-Forwarded-For: \u{e9}\r\n", "127.0.0.2", "http", None),
        ("X_Forwarded_For: 203.0.113.7\r\n", "127.0.0.2", "http", None),
        ("Forwarded: for=203.0.113.7\r\n", "127.0.0.2", "http", None),
        ("X-Real-IP: 203.0.113.7\r\n", "127.0.0.2", "http", None),
        ("X-Forwarded-Proto: https\r\n", "127.0.0.2", "https", None),
        ("X-Forwarded-Proto: HTTPS\r\n", "127.0.0.2", "https", None),
        ("X-Forwarded-Proto: https, http\r\n", "127.0.0.2", "http", None),
        ("X-Forwarded-Proto: javascript\r\n", "127.0.0.2", "http", None),
        (&format!("X-Request-Id: {id}\r\n"), "127.0.0.2", "http", Some(id)),
        (&format!("X-Request-Id: {long}\r\n"), "127.0.0.2", "http", None),
        ("X-Request-Id:\r\n", "127.0.0.2", "http", None),
        ("X-Request-Id: a b\r\n", "127.0.0.2", "http", None),
        ("X-Request-Id: a\tb\r\n", "127.0.0.2", "http", None),
        ("X-Request-Id: \"><script>\r\n", "127.0.0.2", "http", None),
        ("X-Request-Id: ${jndi:ldap://x}\r\n", "127.0.0.2", "http", None),
        ("X-Request-Id: a\u{e9}\r\n", "127.0.0.2", "http", None),
    ];
    for (number, (fields, client, scheme, kept)) in cases.iter().enumerate() {
        for from in [TRUSTED, STRANGER] {
            let case = format!("from{number}-{from}.");
            let bytes = format!(
                "GET /open/{case} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{fields}\r\n"
            );
            let answers = talk_from(from, wire.to(), &[bytes.as_bytes()], 0).await;
            let shown = format!("{fields} from {from}: {:?}", statuses(&answers));
            let seen = wire.upstream.requests(&case);
            assert_eq!(
                (seen.len(), statuses(&answers).as_slice()),
                (1, [200].as_slice()),
                "{shown}"
            );
            let own = from.to_string();
            let (client, scheme, kept) = match from {
                TRUSTED => (*client, *scheme, *kept),
                _ => (own.as_str(), "http", None),
            };
            assert_eq!(seen[0].all("x-forwarded-for"), [client], "{shown}");
            assert_eq!(seen[0].all("x-forwarded-proto"), [scheme], "{shown}");
            assert_eq!(seen[0].all("x-forwarded-host"), ["h"], "{shown}");
            let ids = seen[0].all("x-request-id");
            assert_eq!(answers[0].header("x-request-id"), Some(ids[0]), "{shown}");
            match kept {
                Some(id) => assert_eq!(ids, [id], "{shown}"),
                None => assert!(ids.len() == 1 && ids[0].len() == 36 && ids[0] != id, "{shown}"),
            }
            for forged in ["x_forwarded_for", "forwarded", "x-real-ip"] {
                assert_eq!(seen[0].all(forged), Vec::<&str>::new(), "{shown}");
            }
        }
    }
    wire.finish().await;
}

/// `Connection` lists what concerns one hop only; what it lists is not for the next.
#[tokio::test]
async fn a_connection_field_cannot_make_the_gateway_leave_out_its_own() {
    let wire = Wire::start(&edge()).await;
    for (number, named) in [
        "authorization",
        "Authorization",
        "host",
        "content-length",
        "Content-Length",
        "transfer-encoding",
        "content-length, transfer-encoding",
        "x-request-id",
        "traceparent",
        "x-forwarded-for, x-forwarded-proto, x-forwarded-host",
        "x-organization-id",
        "content-type",
        "keep-alive, authorization, host",
        "connection",
        "upgrade",
        "te, trailer",
        "close, authorization",
        "authorization;q=1",
        ",,authorization,,",
        "\tauthorization\t",
        "*",
        "",
        "\"authorization\"",
        "authorization\r\nConnection: host",
        "authorization, \u{e9}",
    ]
    .iter()
    .enumerate()
    {
        for (framing, body) in [
            ("Content-Length: 4", "abcd"),
            ("Transfer-Encoding: chunked", "4\r\nabcd\r\n0\r\n\r\n"),
        ] {
            let case = format!("named{number}-{}.", framing.len());
            let bytes = format!(
                "POST /named/{case} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {}\r\n\
                 Content-Type: text/plain\r\n{framing}\r\nConnection: {named}\r\n\r\n{body}\
                 GET /open/{case}-hidden HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
                wire.token
            );
            let answers = talk(wire.to(), bytes.as_bytes()).await;
            let shown = format!("{named} with {framing}: {:?}", statuses(&answers));
            let seen = wire.upstream.requests(&case);
            if statuses(&answers) == [400] {
                assert!(!wire.upstream.has_heard(&case), "{shown}");
                continue;
            }
            let request = &seen[0];
            assert_eq!(answers[0].status, 200, "{shown}");
            assert_eq!(request.body, b"abcd", "{shown}");
            assert_eq!(request.all("authorization"), [format!("Bearer {}", wire.token)], "{shown}");
            for set in ["host", "x-request-id", "traceparent", "x-forwarded-for"] {
                assert_eq!(request.all(set).len(), 1, "{set}: {shown}");
            }
            for hop in ["keep-alive", "upgrade", "te", "trailer", "proxy-connection"] {
                assert_eq!(request.all(hop).len(), 0, "{hop}: {shown}");
            }
        }
    }
    wire.finish().await;
}
