//! Answers of the gateway itself.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::charge::{Balance, Rate};
use crate::domain::ids::RequestId;
use crate::pipeline::limit::LimitState;

use super::*;

fn cors(origins: Origins, credentials: bool) -> ResponsePolicy {
    ResponsePolicy {
        set: vec![(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))],
        remove: vec![header::SERVER],
        cors: Some(CorsPolicy {
            origins,
            methods: vec![http::Method::GET, http::Method::POST],
            allow_headers: Vec::new(),
            expose_headers: vec![HeaderName::from_static("ratelimit")],
            credentials,
            max_age: Duration::from_secs(600),
        }),
    }
}

fn trace(origin: &'static str) -> Trace {
    let mut trace = Trace::new();
    trace.origin = Some(HeaderValue::from_static(origin));
    trace.request_id = Some("r-1".parse::<RequestId>().unwrap());
    trace
}

fn field<'a>(fields: &'a AnswerFields, name: &str) -> Option<&'a str> {
    fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.to_str().unwrap())
}

#[test]
fn a_listed_origin_may_read_and_another_may_not() {
    let policy = cors(Origins::Listed(vec!["https://app.example.com".into()]), true);
    let good = edits(
        UpstreamKind::Http,
        &policy,
        &trace("https://app.example.com"),
        AnswerRuled::nothing(),
    );
    assert_eq!(field(&good.set, "access-control-allow-origin"), Some("https://app.example.com"));
    assert_eq!(field(&good.set, "access-control-allow-credentials"), Some("true"));
    assert!(good.vary_origin);
    let bad = edits(
        UpstreamKind::Http,
        &policy,
        &trace("https://evil.example.com"),
        AnswerRuled::nothing(),
    );
    assert_eq!(field(&bad.set, "access-control-allow-origin"), None);
    assert!(bad.remove.contains(&header::ACCESS_CONTROL_ALLOW_ORIGIN));
}

#[test]
fn a_preflight_of_a_foreign_origin_allows_nothing() {
    let policy = cors(Origins::Listed(vec!["https://app.example.com".into()]), false);
    let mut headers = HeaderMap::new();
    headers.insert("access-control-request-headers", HeaderValue::from_static("apikey"));
    let good = preflight(&policy, &headers, &trace("https://app.example.com")).unwrap();
    assert_eq!(field(&good.fields, "access-control-allow-methods"), Some("GET, POST"));
    assert_eq!(field(&good.fields, "access-control-allow-headers"), Some("apikey"));
    let bad = preflight(&policy, &headers, &trace("null")).unwrap();
    assert_eq!(bad.status, StatusCode::NO_CONTENT);
    assert_eq!(field(&bad.fields, "access-control-allow-origin"), None);
    assert_eq!(field(&bad.fields, "access-control-allow-methods"), None);
}

#[test]
fn postgrest_answers_lose_the_location_that_echoes_the_filter() {
    let edits = edits(
        UpstreamKind::Postgrest,
        &ResponsePolicy::default(),
        &Trace::new(),
        AnswerRuled::nothing(),
    );
    assert!(edits.remove.contains(&header::CONTENT_LOCATION));
}

#[test]
fn a_refused_limit_says_its_name_and_when_to_come_back() {
    let mut trace = trace("https://x");
    let nz = |n| NonZeroU32::new(n).unwrap();
    trace.limits.push(LimitState {
        limit: Arc::from("per_user"),
        rate: Rate { tokens: nz(10), period_millis: nz(60_000), burst: nz(5) },
        balance: Balance { remaining: 0, full_in: Duration::from_millis(29_001) },
    });
    let limited = Refusal::RateLimited {
        limit: Arc::from("per_user"),
        retry_after: Duration::from_millis(5_001),
    };
    let answer =
        refusal(&limited, Some(UpstreamKind::Postgrest), &ResponsePolicy::default(), &trace);
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(field(&answer.fields, "retry-after"), Some("6"));
    assert_eq!(field(&answer.fields, "x-tollgate-limit"), Some("per_user"));
    assert_eq!(field(&answer.fields, "ratelimit-policy"), Some("\"per_user\";q=10;w=60"));
    assert_eq!(field(&answer.fields, "ratelimit"), Some("\"per_user\";r=0;t=30"));
}

#[test]
fn the_fields_of_limits_read_back_as_structured_fields() {
    let nz = |n| NonZeroU32::new(n).unwrap();
    let mut trace = trace("https://x");
    // What policies call limits: every name that they may have is a string as it stands.
    let states = [("per_user", 10, 60_000, 0, 29_001), ("per-org.2", u32::MAX, 1, 7, 0)];
    for (name, tokens, period, remaining, full_in) in states {
        trace.limits.push(LimitState {
            limit: Arc::from(name),
            rate: Rate { tokens: nz(tokens), period_millis: nz(period), burst: nz(5) },
            balance: Balance { remaining, full_in: Duration::from_millis(full_in) },
        });
    }
    let edits =
        edits(UpstreamKind::Http, &ResponsePolicy::default(), &trace, AnswerRuled::nothing());
    let read = |name: &str| -> Vec<(String, Vec<(String, i64)>)> {
        let text = field(&edits.set, name).expect("a field");
        let list = sfv::Parser::new(text).parse::<sfv::List>().expect("a structured list");
        let entries = list.into_iter().map(|entry| match entry {
            sfv::ListEntry::Item(item) => {
                let name = item.bare_item.as_string().expect("a string").as_str().to_owned();
                let number = |value: &sfv::BareItem| value.as_integer().map(i64::from).unwrap();
                let params = item.params.iter();
                (
                    name,
                    params.map(|(key, value)| (key.as_str().to_owned(), number(value))).collect(),
                )
            }
            sfv::ListEntry::InnerList(_) => panic!("an inner list"),
        });
        entries.collect()
    };
    let wanted = |one: [(&str, i64); 2], other: [(&str, i64); 2]| {
        let params =
            |params: [(&str, i64); 2]| params.map(|(key, value)| (key.to_owned(), value)).to_vec();
        vec![("per_user".to_owned(), params(one)), ("per-org.2".to_owned(), params(other))]
    };
    assert_eq!(
        read("ratelimit-policy"),
        wanted([("q", 10), ("w", 60)], [("q", i64::from(u32::MAX)), ("w", 1)])
    );
    assert_eq!(read("ratelimit"), wanted([("r", 0), ("t", 30)], [("r", 7), ("t", 0)]));
}

#[test]
fn errors_have_the_shape_of_the_upstream() {
    let text = |kind| {
        let answer =
            refusal(&Refusal::NoRoute, kind, &ResponsePolicy::default(), &trace("https://x"));
        String::from_utf8(answer.body.to_vec()).unwrap()
    };
    assert_eq!(
        text(Some(UpstreamKind::Postgrest)),
        r#"{"code":"route_not_found","message":"there is nothing at this path","details":null,"hint":null,"request_id":"r-1"}"#
    );
    assert_eq!(
        text(Some(UpstreamKind::Auth)),
        r#"{"code":404,"error_code":"route_not_found","msg":"there is nothing at this path","request_id":"r-1"}"#
    );
    assert_eq!(
        text(Some(UpstreamKind::Storage)),
        r#"{"statusCode":"404","error":"route_not_found","message":"there is nothing at this path","request_id":"r-1"}"#
    );
    assert_eq!(
        text(None),
        r#"{"type":"about:blank","title":"there is nothing at this path","status":404,"code":"route_not_found","message":"there is nothing at this path","request_id":"r-1"}"#
    );
}
