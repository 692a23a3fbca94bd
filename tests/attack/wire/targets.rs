//! Methods, paths and hosts: one spelling, or none.

use super::{EDGE, MARK, Wire, statuses, talk};
use crate::support::http;

/// Request lines with what they are answered with; `200` reaches the upstream as the path behind it.
const LINES: &[(&str, u16, &str)] = &[
    ("GET /open/CASE HTTP/1.1", 200, "/CASE"),
    ("GET /open/CASE?a=b&c=%00%2e//../?#", 400, ""),
    ("GET /open/CASE?a=b&c=/../%2f//?\\;% HTTP/1.1", 200, "/CASE?a=b&c=/../%2f//?\\;%"),
    ("GET /open/CASE/ HTTP/1.1", 200, "/CASE/"),
    ("GET /open/CASE/%20%3B%C3%A9 HTTP/1.1", 200, "/CASE/%20%3B%C3%A9"),
    ("GET http://h/open/CASE HTTP/1.1", 200, "/CASE"),
    ("GET HTTP://h/open/CASE HTTP/1.1", 200, "/CASE"),
    ("GET http://other/open/CASE HTTP/1.1", 400, ""),
    ("GET http://h:80/open/CASE HTTP/1.1", 400, ""),
    ("GET http://h@other/open/CASE HTTP/1.1", 400, ""),
    ("GET http://user:UNMISTAKABLE@h/open/CASE HTTP/1.1", 400, ""),
    ("GET http:///open/CASE HTTP/1.1", 400, ""),
    ("GET http:/open/CASE HTTP/1.1", 400, ""),
    ("GET http:\\\\h\\open\\CASE HTTP/1.1", 400, ""),
    ("GET //h/open/CASE HTTP/1.1", 400, ""),
    ("GET ///open/CASE HTTP/1.1", 400, ""),
    ("GET ftp://other/open/CASE HTTP/1.1", 400, ""),
    ("GET file:///open/CASE HTTP/1.1", 400, ""),
    ("GET open/CASE HTTP/1.1", 400, ""),
    ("GET ./open/CASE HTTP/1.1", 400, ""),
    ("GET \\open\\CASE HTTP/1.1", 400, ""),
    ("GET ?CASE HTTP/1.1", 400, ""),
    ("GET * HTTP/1.1", 400, ""),
    ("OPTIONS * HTTP/1.1", 400, ""),
    ("GET /open//CASE HTTP/1.1", 400, ""),
    ("GET /open/CASE// HTTP/1.1", 400, ""),
    ("GET /open/./CASE HTTP/1.1", 400, ""),
    ("GET /open/CASE/. HTTP/1.1", 400, ""),
    ("GET /open/CASE/.. HTTP/1.1", 400, ""),
    ("GET /open/../open/CASE HTTP/1.1", 400, ""),
    ("GET /open/x/../CASE HTTP/1.1", 400, ""),
    ("GET /rest/v1/../../open/CASE HTTP/1.1", 400, ""),
    ("GET /open/%2e/CASE HTTP/1.1", 400, ""),
    ("GET /open/%2E%2e/open/CASE HTTP/1.1", 400, ""),
    ("GET /open/.%2e/open/CASE HTTP/1.1", 400, ""),
    ("GET /open/%252e%252e/open/CASE HTTP/1.1", 400, ""),
    ("GET /open/%25%32%65/CASE HTTP/1.1", 400, ""),
    ("GET /open%2fCASE HTTP/1.1", 400, ""),
    ("GET /open%2FCASE HTTP/1.1", 400, ""),
    ("GET /open%5cCASE HTTP/1.1", 400, ""),
    ("GET /open/CASE%5C..%5c HTTP/1.1", 400, ""),
    ("GET /open\\CASE HTTP/1.1", 400, ""),
    ("GET /open/CASE\\..\\ HTTP/1.1", 400, ""),
    ("GET /open/CASE;x=y HTTP/1.1", 400, ""),
    ("GET /open;x/CASE HTTP/1.1", 400, ""),
    ("GET /open/..;/open/CASE HTTP/1.1", 400, ""),
    ("GET /open/CASE%00 HTTP/1.1", 400, ""),
    ("GET /open/CASE%00.js HTTP/1.1", 400, ""),
    ("GET /open/CASE%0d%0aX:y HTTP/1.1", 400, ""),
    ("GET /open/CASE%7f HTTP/1.1", 400, ""),
    ("GET /open/CASE%1F HTTP/1.1", 400, ""),
    ("GET /open/CASE% HTTP/1.1", 400, ""),
    ("GET /open/CASE%2 HTTP/1.1", 400, ""),
    ("GET /open/CASE%zz HTTP/1.1", 400, ""),
    ("GET /open/CASE%u002e HTTP/1.1", 400, ""),
    ("GET /open/CASE%c0%ae%c0%ae/ HTTP/1.1", 200, "/CASE%c0%ae%c0%ae/"),
    ("GET /%6fpen/CASE HTTP/1.1", 400, ""),
    ("GET /open/CASE%41 HTTP/1.1", 400, ""),
    ("GET /open/CASE#fragment HTTP/1.1", 400, ""),
    ("GET /open/CASE?a#fragment HTTP/1.1", 400, ""),
    ("GET #/open/CASE HTTP/1.1", 400, ""),
    ("GET /open/CASE\u{e9} HTTP/1.1", 400, ""),
    ("GET /open/CASE?\u{e9} HTTP/1.1", 400, ""),
    ("GET /open/\u{2025}/CASE HTTP/1.1", 400, ""),
    ("GET /open/\u{ff0e}\u{ff0e}/CASE HTTP/1.1", 400, ""),
    ("GET /open/CASE\0 HTTP/1.1", 400, ""),
    ("GET /open/CASE?\0 HTTP/1.1", 400, ""),
    ("GET /open/CASE?a\tb HTTP/1.1", 400, ""),
    ("GET /open/CASE?a\rb HTTP/1.1", 400, ""),
    ("GET /open/CASE?a\x0bb HTTP/1.1", 400, ""),
    ("GET /open/CASE?a\x7fb HTTP/1.1", 400, ""),
    ("GET /open/CASE?a b HTTP/1.1", 400, ""),
    ("GET /open/CASE b HTTP/1.1", 400, ""),
    ("GET /open/CASE HTTP/1.1 HTTP/1.1", 400, ""),
    ("GET  /open/CASE HTTP/1.1", 400, ""),
    ("GET /open/CASE  HTTP/1.1", 400, ""),
    ("GET /open/CASE HTTP/1.1 ", 400, ""),
    (" GET /open/CASE HTTP/1.1", 400, ""),
    ("\tGET /open/CASE HTTP/1.1", 400, ""),
    ("GET\t/open/CASE\tHTTP/1.1", 400, ""),
    ("GET\x0b/open/CASE HTTP/1.1", 400, ""),
    ("GET /open/CASE\tHTTP/1.1", 400, ""),
    ("GET/open/CASE HTTP/1.1", 400, ""),
    ("GET /open/CASE", 400, ""),
    ("GET /open/CASE ", 400, ""),
    ("/open/CASE HTTP/1.1", 400, ""),
    ("GET /open/CASE HTTP", 400, ""),
    ("GET /open/CASE HTTP/", 400, ""),
    ("GET /open/CASE HTTP/1", 400, ""),
    ("GET /open/CASE HTTP/1.", 400, ""),
    ("GET /open/CASE HTTP/0.9", 400, ""),
    ("GET /open/CASE HTTP/1.2", 400, ""),
    ("GET /open/CASE HTTP/1.10", 400, ""),
    ("GET /open/CASE HTTP/01.1", 400, ""),
    ("GET /open/CASE HTTP/11.1", 400, ""),
    ("GET /open/CASE HTTP/2.0", 400, ""),
    ("GET /open/CASE HTTP/2", 400, ""),
    ("GET /open/CASE HTTP/3.0", 400, ""),
    ("GET /open/CASE http/1.1", 400, ""),
    ("GET /open/CASE HTTP/1,1", 400, ""),
    ("GET /open/CASE XTTP/1.1", 400, ""),
    ("GET /open/CASE HTTP/+1.1", 400, ""),
    ("PRI * HTTP/2.0", 400, ""),
    ("TRACE /open/CASE HTTP/1.1", 405, ""),
    ("TRACK /open/CASE HTTP/1.1", 405, ""),
    ("DEBUG /open/CASE HTTP/1.1", 405, ""),
    ("PROPFIND /open/CASE HTTP/1.1", 405, ""),
    ("PURGE /open/CASE HTTP/1.1", 405, ""),
    ("CONNECT /open/CASE HTTP/1.1", 405, ""),
    ("CONNECT h:443 HTTP/1.1", 405, ""),
    ("CONNECT h HTTP/1.1", 405, ""),
    ("CONNECT UNMISTAKABLE@h:443 HTTP/1.1", 400, ""),
    ("CONNECT http://h/open/CASE HTTP/1.1", 405, ""),
    ("get /open/CASE HTTP/1.1", 405, ""),
    ("Get /open/CASE HTTP/1.1", 405, ""),
    ("GETT /open/CASE HTTP/1.1", 405, ""),
    ("GET\u{e9} /open/CASE HTTP/1.1", 400, ""),
    ("G\0ET /open/CASE HTTP/1.1", 400, ""),
    ("G(ET /open/CASE HTTP/1.1", 400, ""),
    ("PATCH /open/CASE HTTP/1.1", 200, "/CASE"),
    ("PUT /open/CASE HTTP/1.1", 200, "/CASE"),
    ("DELETE /open/CASE HTTP/1.1", 200, "/CASE"),
    ("OPTIONS /open/CASE HTTP/1.1", 200, "/CASE"),
    ("GET /OPEN/CASE HTTP/1.1", 404, ""),
    ("GET /elsewhere/CASE HTTP/1.1", 404, ""),
    ("GET /rest/v1/events HTTP/1.1", 401, ""),
    ("GET /REST/v1/events HTTP/1.1", 404, ""),
];

#[tokio::test]
async fn a_request_line_has_one_reading_or_none() {
    let wire = Wire::start(EDGE).await;
    let mut wrong = Vec::new();
    for (number, (line, status, target)) in LINES.iter().enumerate() {
        for version in ["", " over HTTP/1.0"] {
            let case = format!("line{number}{}.", version.len());
            let mut line = line.replace("CASE", &case);
            if !version.is_empty() {
                line = line.replace("HTTP/1.1", "HTTP/1.0");
            }
            let bytes = format!("{line}\r\nHost: h\r\nConnection: close\r\n\r\n");
            let answers = talk(wire.to(), bytes.as_bytes()).await;
            let seen = wire.upstream.requests(&case);
            let sent: Vec<String> = match *status {
                200 => vec![target.replace("CASE", &case)],
                _ => Vec::new(),
            };
            let right = seen.iter().map(|request| &request.target).eq(&sent)
                && seen.iter().all(|request| request.all("host") == ["h"])
                && statuses(&answers) == [*status];
            if !right || (sent.is_empty() && wire.upstream.has_heard(&case)) {
                wrong.push(format!("{:?} {seen:?}: {}", statuses(&answers), line.escape_default()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    wire.finish().await;
}

/// `Host` fields, and what the upstream gets as its `Host`, if it gets anything.
const HOSTS: &[(&str, Option<&str>)] = &[
    ("Host: h\r\n", Some("h")),
    ("Host:h\r\n", Some("h")),
    ("host: \th \t\r\n", Some("h")),
    ("Host: h:80\r\n", Some("h:80")),
    ("Host: H.Example.COM\r\n", Some("H.Example.COM")),
    ("Host: 127.0.0.1:8080\r\n", Some("127.0.0.1:8080")),
    ("Host: [::1]:8080\r\n", Some("[::1]:8080")),
    ("", None),
    ("Host: h.example.com.\r\n", None),
    ("Host: h.\r\n", None),
    ("Host: .\r\n", None),
    ("Host: .h\r\n", None),
    ("Host: h..com\r\n", None),
    ("Host:\r\n", None),
    ("Host: \r\n", None),
    ("Host: h\r\nHost: h\r\n", None),
    ("Host: h\r\nHost: other\r\n", None),
    ("Host: h\r\nhost: other\r\n", None),
    ("Host: h\r\nHost:\r\n", None),
    ("Host : h\r\n", None),
    (" Host: h\r\n", None),
    ("X: y\r\n Host: h\r\n", None),
    ("Host: h\r\n other\r\n", None),
    ("Host: h, other\r\n", None),
    ("Host: h other\r\n", None),
    ("Host: user@h\r\n", None),
    ("Host: user:UNMISTAKABLE@h\r\n", None),
    ("Host: h:\r\n", Some("h:")),
    ("Host: h:port\r\n", None),
    ("Host: h:80:80\r\n", None),
    ("Host: h:-1\r\n", None),
    ("Host: h:+80\r\n", None),
    ("Host: h:123456\r\n", None),
    ("Host: h:80@other\r\n", None),
    ("Host: :80\r\n", None),
    ("Host: h/path\r\n", None),
    ("Host: h\\other\r\n", None),
    ("Host: h?x\r\n", None),
    ("Host: h#x\r\n", None),
    ("Host: h%2eother\r\n", None),
    ("Host: h\0other\r\n", None),
    ("Host: h\u{e9}\r\n", None),
    ("Host: h\u{3002}com\r\n", None),
    ("Host: h;other\r\n", None),
    ("Host: \"h\"\r\n", None),
    ("Host: <h>\r\n", None),
    ("Host: http://h\r\n", None),
    ("Host: [::1\r\n", None),
    ("Host: ::1\r\n", None),
    ("Host: [::1]x\r\n", None),
    ("Host: [h]\r\n", None),
    ("Host: [::1%25lo]\r\n", None),
    ("Host: h\r\nX-Forwarded-Host: other\r\n", Some("h")),
    ("Host: h\r\nX-Host: other\r\nX-Original-Host: other\r\n", Some("h")),
];

#[tokio::test]
async fn a_host_is_one_name_or_the_request_is_refused() {
    let wire = Wire::start(EDGE).await;
    let mut wrong = Vec::new();
    let long = format!("Host: {}\r\n", "h".repeat(254));
    let hosts = HOSTS.iter().copied().chain([(long.as_str(), None)]);
    for (number, (fields, host)) in hosts.enumerate() {
        let case = format!("host{number}.");
        let bytes = format!("GET /open/{case} HTTP/1.1\r\n{fields}Connection: close\r\n\r\n");
        let answers = talk(wire.to(), bytes.as_bytes()).await;
        let seen = wire.upstream.requests(&case);
        let right = match host {
            Some(host) => {
                let told = seen.iter().all(|request| {
                    request.all("host") == [host] && request.all("x-forwarded-host") == [host]
                });
                seen.len() == 1 && told && statuses(&answers) == [200]
            }
            None => !wire.upstream.has_heard(&case) && statuses(&answers) == [400],
        };
        if !right {
            wrong.push(format!("{:?} {seen:?}: {}", statuses(&answers), fields.escape_default()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    wire.finish().await;
}

#[tokio::test]
async fn what_is_too_long_or_too_many_has_a_status_of_its_own() {
    let wire = Wire::start(EDGE).await;
    let long = |length: usize| "x".repeat(length);
    let field = |length: usize| format!("X-Long: {MARK}{}\r\n", long(length));
    let fields = |count: usize| "X-Many: 1\r\n".repeat(count);
    let names = |count: usize| (0..count).map(|n| format!("X-{n}: 1\r\n")).collect::<String>();
    let cookies = |count: usize| format!("Cookie: a={MARK}\r\n").repeat(count);
    for (target, more, status) in [
        (long(7_000), String::new(), 200),
        (long(9_000), String::new(), 414),
        (long(2_000_000), String::new(), 400),
        (format!("x?{}", long(9_000)), String::new(), 414),
        (long(1), field(16_000), 200),
        (long(1), field(40_000), 431),
        (long(1), field(900_000), 431),
        (long(1), field(2_000_000), 400),
        (long(1), format!("{}: 1\r\n", long(40_000)), 431),
        (long(1), format!("{}: 1\r\n", long(70_000)), 400),
        (long(1), fields(90), 200),
        (long(1), fields(120), 431),
        (long(1), fields(300), 400),
        (long(1), fields(20_000), 400),
        (long(1), names(120), 431),
        (long(1), names(5_000), 400),
        (long(1), cookies(120), 431),
    ] {
        let bytes =
            format!("GET /open/{target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{more}\r\n");
        let answers = talk(wire.to(), bytes.as_bytes()).await;
        let shown = format!("{} and {} bytes", target.len(), more.len());
        assert_eq!(statuses(&answers), [status], "{shown}");
        let served = http::get(wire.to(), "/open/between", &[]).await.unwrap();
        assert_eq!(served.status, 200, "{shown}");
    }
    wire.finish().await;
}
