//! What expressions say of requests, and what is wrong with those that do not compile.

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::*;
use crate::domain::clock::Now;
use crate::policy::expression::Fault;
use crate::policy::expression::scene::{ClientView, RequestView, Scene};

/// A request as the tests state it.
struct Asked {
    method: Method,
    path: &'static str,
    query: &'static str,
    headers: HeaderMap,
    country: Option<&'static str>,
}

impl Default for Asked {
    fn default() -> Self {
        Self {
            method: Method::GET,
            path: "/rest/v1/events",
            query: "q=a+b&q=%3Cb%3E&limit=10",
            headers: fields(&[
                ("user-agent", "curl/8.5.0"),
                ("accept", "text/html"),
                ("accept", "application/json;q=0.5"),
                ("x-version", "1.2.3"),
            ]),
            country: None,
        }
    }
}

fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers
}

impl Asked {
    fn scene(&self) -> Scene<'_> {
        let request = RequestView {
            id: None,
            method: &self.method,
            secure: true,
            host: "api.example.com",
            path: self.path,
            query: self.query,
            headers: &self.headers,
            size: None,
        };
        let client = ClientView { address: "203.0.113.7".parse().unwrap(), country: self.country };
        // 2026-01-05 10:00:00 UTC, a Monday.
        let now = Now { unix_micros: 1_767_607_200_000_000, mono_nanos: 0 };
        let mut scene = Scene::new(request, client, now);
        scene.route = Some("rest");
        scene.tag("probe".into());
        scene
    }
}

fn compiled(text: &str) -> Expression {
    compile(text, Phase::Request).unwrap_or_else(|mistakes| panic!("{text}: {mistakes:?}"))
}

fn says(text: &str) -> Result<bool, Fault> {
    compiled(text).holds(&Asked::default().scene())
}

#[test]
fn expressions_say_what_the_request_is() {
    for (text, holds) in [
        ("request.method == 'GET'", true),
        ("'GET' == request.method", true),
        ("request.method != 'GET'", false),
        ("request.method in ['POST', 'GET']", true),
        ("request.scheme == 'https' && request.host.endsWith('.example.com')", true),
        ("request.path.startsWith('/rest/v1/')", true),
        ("request.path.matches('^/rest/v[0-9]+/')", true),
        ("request.path.contains('v1')", true),
        ("pathMatch(request.path, '/rest/v1/{table}')", true),
        ("pathMatch(request.path, '/rest/v1/{table}/{row}')", false),
        ("request.headers['user-agent'].startsWith('curl/')", true),
        ("request.headers.accept == 'text/html, application/json;q=0.5'", true),
        ("'x-none' in request.headers", false),
        ("has(request.headers.accept) && !has(request.headers.cookie)", true),
        ("request.headers.get('x-none', 'none') == 'none'", true),
        ("request.params['q'] == ['a b', '<b>']", true),
        ("request.params.q[1] == '<b>'", true),
        ("request.params.exists(name, name == 'limit')", true),
        ("size(request.params) == 2", true),
        ("request.params.all(name, size(request.params[name]) > 0)", true),
        ("cidr(client.address, '203.0.113.0/24')", true),
        ("cidr(client.address, ['10.0.0.0/8', '203.0.113.7'])", true),
        ("cidr('::ffff:10.1.2.3', '10.0.0.0/8')", true),
        ("version(request.headers['x-version']) < version('v1.10')", true),
        ("version('1.0.0-rc.1') < version('1') && version('1.0.0+a') == version('1')", true),
        ("'probe' in tags", true),
        ("route == 'rest'", true),
        ("client.country == 'DE'", false),
        ("client.country != 'DE'", true),
        ("client.country in ['DE', 'FR']", false),
        ("client.country == null && !has(client.country)", true),
        ("[1, 2, 3].filter(n, n > 1).size() == 2", true),
        ("[1, 2, 3].map(n, n >= 2) == [false, true, true]", true),
        ("[1, 2, 3].exists_one(n, n == 2)", true),
        ("(request.secure_ok ? 1 : 2) == 1", true),
    ] {
        let text = text.replace("request.secure_ok", "request.scheme == 'https'");
        assert_eq!(says(&text), Ok(holds), "{text}");
    }
}

#[test]
fn what_is_absent_faults_where_it_is_used() {
    assert_eq!(says("client.country.startsWith('D')"), Err(Fault::Absent("client.country")));
    assert_eq!(says("request.headers['x-none'] == ''"), Err(Fault::MissingKey));
    assert_eq!(says("[1][1] == 1"), Err(Fault::OutOfBounds));
    // What decides absorbs the fault of the other side.
    assert_eq!(says("request.headers['x-none'] == '' && request.scheme == 'http'"), Ok(false));
    assert_eq!(says("request.headers['x-none'] == '' || request.scheme == 'https'"), Ok(true));
    assert_eq!(
        says("request.headers['x-none'] == '' || request.scheme == 'http'"),
        Err(Fault::MissingKey)
    );
}

#[test]
fn an_expression_without_end_is_ended() {
    let list = format!("[{}]", vec!["1"; 40].join(", "));
    let text = format!("{list}.all(a, {list}.all(b, {list}.all(c, a + b + c > 0 || true)))")
        .replace("a + b + c > 0 || true", "a == b || c == a");
    assert_eq!(says(&text), Err(Fault::Steps));
}

/// The marked part of the text, and the message.
fn wrong(text: &str, phase: Phase) -> Vec<(String, String, Option<String>)> {
    let mistakes = compile(text, phase).expect_err(text);
    mistakes
        .into_iter()
        .map(|mistake| (text[mistake.range].to_owned(), mistake.message, mistake.hint))
        .collect()
}

#[test]
fn mistakes_have_a_place_and_a_hint() {
    for (text, part, message, hint) in [
        (
            "request.methd == 'GET'",
            "request.methd",
            "`request` has no field `methd`",
            Some("did you mean `request.method`?"),
        ),
        (
            "requst.method == 'GET'",
            "requst",
            "unknown variable `requst`",
            Some("did you mean `request`?"),
        ),
        (
            "'ü' == 'ü' && request.methd == 'ü'",
            "request.methd",
            "`request` has no field `methd`",
            Some("did you mean `request.method`?"),
        ),
        (
            "request.path.startWith('/a')",
            "request.path.startWith('/a')",
            "unknown function `startWith`",
            Some("did you mean `startsWith`?"),
        ),
        ("request.path", "request.path", "this is string, and must be bool", None),
        ("request.path == 1", "request.path == 1", "string and int are never equal", None),
        ("request.path.startsWith(1)", "1", "this is int, and must be string", None),
        (
            "principal.kind == 'user'",
            "principal.kind",
            "`principal.kind` is not known in phase `request`",
            Some("it is from phase `authenticated` on"),
        ),
        (
            "request == null",
            "request",
            "`request` has fields and is no value by itself",
            Some("write `request.method`"),
        ),
        ("request.path.matches('(')", "'('", "not a pattern: unclosed group", None),
        (
            "request.path.matches(request.host)",
            "request.host",
            "a pattern must be written out",
            Some("it is compiled when the policy is loaded"),
        ),
        (
            "cidr(client.address, '10.0.0.0/33')",
            "'10.0.0.0/33'",
            "`10.0.0.0/33` is not a network",
            Some("write it as `10.0.0.0/8`, `2001:db8::/32` or one address"),
        ),
        (
            "[1, 'a'] == []",
            "'a'",
            "a list of int has an element of string",
            Some("the elements of a list are of one type"),
        ),
    ] {
        let expected = (part.to_owned(), message.to_owned(), hint.map(str::to_owned));
        assert_eq!(wrong(text, Phase::Request), [expected], "{text}");
    }
}

#[test]
fn what_is_no_expression_is_placed() {
    for (text, part) in [("request.method ==", ""), ("a b", "b"), ("", ""), ("(1", "")] {
        let wrong = wrong(text, Phase::Request);
        assert_eq!(wrong[0].0, part, "{wrong:?}");
    }
}

#[test]
fn texts_of_any_depth_are_refused_and_end_nothing() {
    for text in [
        "(".repeat(4_000),
        "[".repeat(4_000),
        "!".repeat(4_000) + "true",
        "-".repeat(4_000) + "1",
        "a".to_owned() + &".f".repeat(4_000),
        "1".to_owned() + &"+1".repeat(4_000),
        "true".to_owned() + &"?true:true".repeat(800),
        "a".to_owned() + &"[0]".repeat(2_600),
        "a".to_owned() + &"{".repeat(4_000),
        "x".repeat(9_000),
    ] {
        let _ = compile(&text, Phase::Request);
    }
}

#[test]
fn the_head_that_an_expression_asks_for_is_found() {
    let admits =
        |text: &str, method: &Method, path: &str| compiled(text).head().admits(method, path);
    let both = "request.method == 'POST' && request.path.startsWith('/rest/v1/')";
    assert!(admits(both, &Method::POST, "/rest/v1/events"));
    assert!(!admits(both, &Method::GET, "/rest/v1/events"));
    assert!(!admits(both, &Method::POST, "/auth/v1/token"));
    let either = "(request.method in ['PUT', 'PATCH'] && request.path == '/a') || \
                  pathMatch(request.path, '/b/{id}')";
    assert!(admits(either, &Method::PUT, "/a") && admits(either, &Method::PUT, "/b/1"));
    assert!(!admits(either, &Method::PUT, "/c"));
    let not = "!(request.method in ['GET', 'HEAD']) && !request.path.startsWith('/x')";
    assert!(admits(not, &Method::POST, "/y") && !admits(not, &Method::HEAD, "/y"));
    // Where a test may be true of something else, nothing is necessary.
    assert!(admits("request.method == 'POST' || route == 'rest'", &Method::GET, "/"));
    // What nothing satisfies admits nothing.
    assert!(!admits("request.path == '/a' && request.path == '/b'", &Method::GET, "/a"));
}
