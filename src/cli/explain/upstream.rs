//! What the upstream would get.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::Value;

use crate::domain::clock::Now;
use crate::domain::refusal::Refusal;
use crate::pipeline::body::Announced;
use crate::pipeline::upstream::IdentityPlan;
use crate::pipeline::{Passed, Trace};
use crate::proxy;
use crate::stores::node::NodeKnowledge;

use super::compare::{self, Sent};
use super::report::UpstreamReport;
use super::request::Request;

/// Fields whose values are secrets, whoever sent them.
const SECRET: [&str; 7] = [
    "authorization",
    "apikey",
    "cookie",
    "x-trusted-device",
    "proxy-authorization",
    "x-api-key",
    "set-cookie",
];

/// The request as it would be sent, or why its body would be refused.
pub(super) fn request(
    mut passed: Passed,
    request: &Request,
    trace: &mut Trace,
    node: &NodeKnowledge,
    now: Now,
) -> Result<UpstreamReport, Refusal> {
    passed.body().announced(announced(request))?;
    let body = passed.body().pass(request.body.clone(), true)?;
    passed.tell_tried(trace);
    let mut headers = proxy::preview(&request.method, &request.headers, &passed, Some(node), now)?;
    if let Some(body) = &body {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    let body = body.map(|body| String::from_utf8_lossy(&body).into_owned());
    let sent = Sent { passed: &passed, headers: &headers, body: body.as_deref() };
    let compared = compare::pieces(request, &sent, trace);
    let upstream = passed.upstream();
    let address = |a: &crate::policy::upstream::UpstreamAddress| format!("{}:{}", a.host, a.port);
    Ok(UpstreamReport {
        name: upstream.name.to_string(),
        kind: upstream.kind.as_str(),
        addresses: upstream.addresses.iter().map(address).collect(),
        method: request.method.to_string(),
        target: passed.target().to_owned(),
        headers: shown(&headers),
        minted_claims: minted_claims(&passed, &headers),
        body,
        idempotent: passed.idempotent(),
        websocket: passed.websocket(),
        compared,
    })
}

/// What the head says of the body. The edge has made sure that it says one thing.
fn announced(request: &Request) -> Announced {
    let length = request.headers.get(header::CONTENT_LENGTH);
    match length.and_then(|length| length.to_str().ok()?.parse().ok()) {
        Some(length) => Announced::Length(length),
        None if request.headers.contains_key(header::TRANSFER_ENCODING) => Announced::Unknown,
        None => Announced::Nothing,
    }
}

/// The claims of the token that the upstream gets, where the gateway minted it.
pub(in crate::cli) fn minted_claims(passed: &Passed, headers: &HeaderMap) -> Option<Value> {
    let IdentityPlan::Mint(_) = passed.identity() else { return None };
    let token = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let payload = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

fn shown(headers: &HeaderMap) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| (name.to_string(), value_shown(name, value))).collect()
}

pub(in crate::cli) fn value_shown(name: &HeaderName, value: &HeaderValue) -> String {
    let text = String::from_utf8_lossy(value.as_bytes());
    if !value.is_sensitive() && !SECRET.contains(&name.as_str()) {
        return text.into_owned();
    }
    match text.split_once(' ') {
        Some((scheme, _)) if *name == header::AUTHORIZATION => format!("{scheme} ***"),
        _ => "***".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_whoever_sent_them() {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_static("Bearer a.b.c"));
        headers.insert("apikey", HeaderValue::from_static("sb_secret_x"));
        headers.insert("accept", HeaderValue::from_static("*/*"));
        let mut marked = HeaderValue::from_static("hidden");
        marked.set_sensitive(true);
        headers.insert("x-own", marked);
        let shown = shown(&headers);
        let text = format!("{shown:?}");
        for secret in ["a.b.c", "sb_secret_x", "hidden"] {
            assert!(!text.contains(secret), "{text}");
        }
        assert!(shown.contains(&("authorization".into(), "Bearer ***".into())));
        assert!(shown.contains(&("accept".into(), "*/*".into())));
    }
}
