//! Error bodies in the shape that the client of each kind of upstream parses.
//!
//! PostgREST: `{code, message, details, hint}` (PostgREST, `Error.hs`). Auth: `{code, error_code,
//! msg}` (Supabase Auth, `internal/api/errors.go`). Storage: `{statusCode, error, message}`.
//! Everything else: problem details (RFC 9457).

use bytes::Bytes;
use serde::Serialize;

use crate::domain::ids::RequestId;
use crate::domain::refusal::PublicAnswer;
use crate::policy::upstream::UpstreamKind;

const JSON: &str = "application/json; charset=utf-8";
const PROBLEM: &str = "application/problem+json";

#[derive(Serialize)]
struct Rest<'a> {
    code: &'a str,
    message: &'a str,
    details: Option<&'a str>,
    hint: Option<&'a str>,
    request_id: Option<&'a str>,
}

#[derive(Serialize)]
struct Auth<'a> {
    code: u16,
    error_code: &'a str,
    msg: &'a str,
    request_id: Option<&'a str>,
}

#[derive(Serialize)]
struct Storage<'a> {
    #[serde(rename = "statusCode")]
    status_code: String,
    error: &'a str,
    message: &'a str,
    request_id: Option<&'a str>,
}

#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    code: &'a str,
    // Supabase's clients read this member wherever an error comes from.
    message: &'a str,
    request_id: Option<&'a str>,
}

/// Renders the body; returns its media type too.
pub fn render(
    public: &PublicAnswer,
    kind: Option<UpstreamKind>,
    request_id: Option<&RequestId>,
) -> (&'static str, Bytes) {
    let (status, code, message) = (public.status.as_u16(), public.code, public.message);
    let request_id = request_id.map(RequestId::as_str);
    let (content_type, body) = match kind {
        Some(UpstreamKind::Postgrest) => {
            (JSON, json(&Rest { code, message, details: None, hint: None, request_id }))
        }
        Some(UpstreamKind::Auth) => {
            (JSON, json(&Auth { code: status, error_code: code, msg: message, request_id }))
        }
        Some(UpstreamKind::Storage) => {
            let status_code = status.to_string();
            (JSON, json(&Storage { status_code, error: code, message, request_id }))
        }
        Some(UpstreamKind::Realtime | UpstreamKind::Functions | UpstreamKind::Http) | None => {
            let r#type = "about:blank";
            (PROBLEM, json(&Problem { r#type, title: message, status, code, message, request_id }))
        }
    };
    (content_type, body)
}

fn json(value: &impl Serialize) -> Bytes {
    // Plain structs of text and numbers always serialise; an empty body would still carry the
    // status.
    serde_json::to_vec(value).map(Bytes::from).unwrap_or_default()
}
