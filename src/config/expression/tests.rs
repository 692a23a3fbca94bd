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
fn functions_say_what_their_reference_says() {
    for (text, holds) in [
        ("1 + 2 * 3 - 4 / 2 == 5 && 7 % 3 == 1 && -(-1) == 1", true),
        ("1.5 + 0.5 == 2.0 && 'a' + 'b' == 'ab' && [1] + [2] == [1, 2]", true),
        ("2u * 3u == 6u && b'a' + b'b' == b'ab'", true),
        ("int('42') == 42 && int(2.9) == 2 && uint('5') == 5u && double('0.5') == 0.5", true),
        ("int(timestamp('1970-01-01T00:01:00Z')) == 60", true),
        ("string(1) + string(true) + string(2u) == '1true2'", true),
        ("string(duration('1h30m')) == '5400s'", true),
        ("string(timestamp('2026-01-31T13:00:00+01:00')) == '2026-01-31T12:00:00Z'", true),
        ("bool('t') && size(bytes('ü')) == 2 && size('ü') == 1", true),
        ("now == timestamp(1767607200) && now.getDayOfWeek() == 1", true),
        ("now.getHours() == 10 && now.getHours('Europe/Berlin') == 11", true),
        ("now - duration('10h') == timestamp('2026-01-05T00:00:00Z')", true),
        ("duration('90m').getHours() == 1 && duration('90m').getMinutes() == 90", true),
        ("hours(now, 'mon-fri 08:00-18:00 UTC')", true),
        ("hours(now, 'mon-fri 08:00-11:00 Europe/Berlin')", false),
        ("client.address == address('::ffff:203.0.113.7')", true),
        ("string(client.address) == '203.0.113.7'", true),
        ("headerList(request.headers.accept) == ['text/html', 'application/json;q=0.5']", true),
        ("isVersion('1.2') && !isVersion('one')", true),
        ("version('1.10.0') > version('1.9.9')", true),
        ("sqli(\"1' OR '1'='1\") && !sqli('hello world')", true),
        ("xss('<script>alert(1)</script>') && !xss('a < b')", true),
        ("xss(request.params) == xss('<b>')", true),
        ("sqli(request.params)", false),
        ("entropy('abcd') == 2.0", true),
        ("agentFamily(request.headers['user-agent']) == 'curl'", true),
        ("agentKind(request.headers['user-agent']) == 'tool'", true),
        ("' A '.trim().lower() == 'a' && 'a,b'.split(',') == ['a', 'b']", true),
        ("'%3Cb%3e'.urlDecode() == '<b>'", true),
        ("[1, 2, 3].map(n, n > 1, n * 2) == [4, 6]", true),
        ("{'a': 1}.a == 1 && {1: 'x'}[1] == 'x' && !(2 in {1: 'x'})", true),
    ] {
        assert_eq!(says(text), Ok(holds), "{text}");
    }
}

#[test]
fn numbers_that_do_not_fit_are_faults() {
    for (text, fault) in [
        ("size(request.path) * 9223372036854775807 > 0", Fault::Overflow),
        ("1 / (size(request.path) - size(request.path)) > 0", Fault::DivisionByZero),
        ("int(request.headers['user-agent']) > 0", Fault::Conversion("a whole number")),
        ("uint(-size(request.path)) > 0u", Fault::Overflow),
        ("{request.path: 1, request.path: 2}.size() > 0", Fault::DuplicateKey),
        ("now + duration('87600000h') > now", Fault::Overflow),
        ("version(request.path) > version('1')", Fault::Conversion("a version")),
    ] {
        assert_eq!(says(text), Err(fault), "{text}");
    }
}

#[test]
fn every_function_of_the_reference_has_an_example_that_compiles() {
    for function in super::functions::FUNCTIONS {
        let example = compiled(function.example);
        assert!(function.example.contains(function.name), "{}", function.name);
        // Whatever it says, it says it of any request.
        let _ = example.holds(&Asked::default().scene());
    }
}

#[test]
fn texts_that_are_too_large_for_the_budget_are_a_fault() {
    let double = "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]";
    let long = "x".repeat(2_000);
    let text =
        format!("{double}.all(a, {double}.all(b, size(string(a) + '{long}' + string(b)) > 1))");
    assert_eq!(says(&text), Err(Fault::Size));
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
    let has = wrong("has(request.headers['origin'])", Phase::Request);
    assert_eq!(has[0].1, "`has` takes a field, as in `has(client.country)`");
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
