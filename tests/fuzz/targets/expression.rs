//! Sources of rules: whatever is no expression is refused with a place in it, and what is one has
//! an answer or a fault for any request, within the budget.
//!
//! An input is a line of the request, then the expression.

use http::{HeaderMap, HeaderValue, Method, header};
use tollgate::config::expression::compile;
use tollgate::domain::clock::Now;
use tollgate::policy::expression::Phase;
use tollgate::policy::expression::scene::{ClientView, RequestView, ResponseView, Scene};

use super::Outcome;

const NOW: Now = Now { unix_micros: 1_800_000_000_000_000, mono_nanos: 1 };

pub(super) fn expression(data: &[u8]) -> Outcome {
    let Ok(text) = std::str::from_utf8(data) else { return Outcome::Unasked };
    let Some((line, source)) = text.split_once('\n') else { return Outcome::Unasked };
    let expression = match compile(source, Phase::Response) {
        Ok(expression) => expression,
        Err(mistakes) => {
            assert!(!mistakes.is_empty());
            for mistake in mistakes {
                assert!(source.get(mistake.range.clone()).is_some(), "{mistake:?}");
                assert!(!mistake.message.is_empty());
            }
            return Outcome::Refused;
        }
    };
    let (path, query) = line.split_once('?').unwrap_or((line, ""));
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(line) {
        headers.append(header::USER_AGENT, value.clone());
        headers.append(header::ACCEPT, value.clone());
        headers.append(header::ACCEPT, value);
    }
    for method in [Method::GET, Method::POST] {
        let request = RequestView {
            id: None,
            method: &method,
            secure: true,
            host: "example.com",
            path,
            query,
            headers: &headers,
            size: Some(1),
        };
        let client = ClientView { address: std::net::Ipv4Addr::LOCALHOST.into(), country: None };
        let mut scene = Scene::new(request, client, NOW);
        scene.tag("a".into());
        let took = std::time::Duration::from_millis(1);
        scene.response = Some(ResponseView { status: 200, headers: &headers, took });
        let says = expression.holds(&scene);
        // What the head does not admit does not hold.
        assert!(expression.head().admits(&method, path) || says == Ok(false));
        assert_eq!(says, expression.holds(&scene));
    }
    // What is shown of it is the same expression.
    assert_eq!(compile(expression.text(), Phase::Response).as_ref(), Ok(&expression));
    Outcome::Taken
}
