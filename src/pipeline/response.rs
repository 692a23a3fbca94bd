//! Stage 9, response: what the gateway adds to answers, and its own answers.
//!
//! Errors have the shape that the client of the upstream parses. Their text is constant; the
//! request id ties them to the log.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use smallvec::SmallVec;

use crate::domain::head::X_REQUEST_ID;
use crate::domain::refusal::{CredentialFault, Refusal};
use crate::policy::response::{CorsPolicy, Origins, ResponsePolicy};
use crate::policy::rules::FieldEdits;
use crate::policy::upstream::UpstreamKind;

use super::rules::AnswerRuled;
use super::trace::Trace;

pub mod error_body;
pub mod rate_limit;

/// An answer that the gateway makes by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectAnswer {
    /// The status.
    pub status: StatusCode,
    /// The fields, `Content-Length` excepted.
    pub fields: AnswerFields,
    /// The body.
    pub body: Bytes,
}

/// Header fields of an answer.
pub type AnswerFields = Vec<(HeaderName, HeaderValue)>;

/// What changes in an upstream's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edits {
    /// Taken off first.
    pub remove: SmallVec<[HeaderName; 8]>,
    /// Set afterwards, over what the upstream says.
    pub set: AnswerFields,
    /// Added to `Vary`, so that caches keep answers to different origins apart.
    pub vary_origin: bool,
}

/// The answer to a refused request.
pub fn refusal(
    refusal: &Refusal,
    kind: Option<UpstreamKind>,
    policy: &ResponsePolicy,
    trace: &Trace,
) -> DirectAnswer {
    let public = refusal.public();
    let mut fields = own_fields(policy, trace).set;
    let (content_type, body) = error_body::render(&public, kind, trace.request_id.as_ref());
    fields.push((header::CONTENT_TYPE, HeaderValue::from_static(content_type)));
    fields.push((header::CACHE_CONTROL, HeaderValue::from_static("no-store")));
    if let Some(wait) = refusal.retry_after() {
        fields.push((header::RETRY_AFTER, HeaderValue::from(rate_limit::whole_seconds(wait))));
    }
    match refusal {
        Refusal::MethodNotAllowed { allow } => {
            if let Ok(value) = HeaderValue::from_str(allow) {
                fields.push((header::ALLOW, value));
            }
        }
        Refusal::Unauthenticated(fault) => {
            fields.push((header::WWW_AUTHENTICATE, challenge(*fault)));
        }
        Refusal::RateLimited { limit, .. }
        | Refusal::Penalized { limit, .. }
        | Refusal::QuotaExceeded { quota: limit, .. } => {
            if let Ok(value) = HeaderValue::from_str(limit) {
                fields.push((HeaderName::from_static("x-tollgate-limit"), value));
            }
        }
        _ => {}
    }
    if kind == Some(UpstreamKind::Auth) {
        // supabase-js reads this field before the body.
        fields.push((
            HeaderName::from_static("x-sb-error-code"),
            HeaderValue::from_str(public.code).unwrap_or(HeaderValue::from_static("refused")),
        ));
    }
    DirectAnswer { status: public.status, fields, body }
}

/// RFC 6750 section 3: no error code where no credential was shown.
fn challenge(fault: CredentialFault) -> HeaderValue {
    HeaderValue::from_static(match fault {
        CredentialFault::Missing | CredentialFault::MissingKey => "Bearer",
        _ => "Bearer error=\"invalid_token\"",
    })
}

/// The answer that sends a client elsewhere, because a rule says so.
pub(super) fn redirect(
    status: StatusCode,
    location: HeaderValue,
    policy: &ResponsePolicy,
    trace: &Trace,
) -> DirectAnswer {
    let mut fields = own_fields(policy, trace).set;
    fields.push((header::LOCATION, location));
    DirectAnswer { status, fields, body: Bytes::new() }
}

/// What changes in the answer of an upstream.
pub fn edits(
    kind: UpstreamKind,
    policy: &ResponsePolicy,
    trace: &Trace,
    ruled: AnswerRuled,
) -> Edits {
    let mut edits = own_fields(policy, trace);
    edits.remove.extend(policy.remove.iter().cloned());
    edits.remove.push(header::CONNECTION);
    if kind == UpstreamKind::Postgrest {
        // It echoes the injected filter.
        edits.remove.push(header::CONTENT_LOCATION);
    }
    if policy.cors.is_some() {
        edits.remove.extend(CORS_FIELDS);
    }
    let FieldEdits { set, remove } = ruled.into_edits();
    // What a rule takes off, the policy's own `set` does not put back.
    edits.set.retain(|(name, _)| !remove.contains(name));
    edits.remove.extend(remove);
    edits.set.extend(set);
    edits
}

const CORS_FIELDS: [HeaderName; 3] = [
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
];

/// Room for the fields that the gateway adds by itself, refusals included.
const OWN_FIELDS: usize = 12;

fn own_fields(policy: &ResponsePolicy, trace: &Trace) -> Edits {
    let mut set = AnswerFields::with_capacity(policy.set.len() + OWN_FIELDS);
    set.extend(policy.set.iter().cloned());
    if let Some(id) = trace.request_id.as_ref()
        && let Ok(value) = HeaderValue::from_str(id.as_str())
    {
        set.push((X_REQUEST_ID, value));
    }
    if let Some(of) = &trace.impersonated
        && let Ok(value) = HeaderValue::from_str(of.user.as_str())
    {
        set.push((HeaderName::from_static("x-tollgate-acting-as"), value));
    }
    if let Some(version) = &trace.told_version
        && let Ok(value) = HeaderValue::from_str(version)
    {
        set.push((HeaderName::from_static("x-tollgate-policy"), value));
    }
    if let Some(trust) = &trace.trust {
        set.push(trust.field.clone());
    }
    rate_limit::fields(&trace.limits, &mut set);
    let mut vary_origin = false;
    if let Some(cors) = &policy.cors {
        vary_origin = cors.origins != Origins::Any;
        allow_origin(cors, trace.origin.as_ref(), &mut set);
    }
    Edits { remove: SmallVec::new(), set, vary_origin }
}

/// Fetch standard section 3.2.3.
fn allow_origin(cors: &CorsPolicy, origin: Option<&HeaderValue>, set: &mut AnswerFields) -> bool {
    let Some(origin) = origin else { return false };
    let allowed = match &cors.origins {
        Origins::Any => HeaderValue::from_static("*"),
        Origins::Listed(origins) => {
            if !origins.iter().any(|listed| listed.as_bytes() == origin.as_bytes()) {
                return false;
            }
            origin.clone()
        }
    };
    set.push((header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed));
    if cors.credentials {
        let yes = HeaderValue::from_static("true");
        set.push((header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes));
    }
    if let Some(value) = joined(cors.expose_headers.iter().map(HeaderName::as_str)) {
        set.push((header::ACCESS_CONTROL_EXPOSE_HEADERS, value));
    }
    true
}

/// The answer to a CORS preflight; `None` where the policy has no CORS, so that the upstream's own
/// answer counts. An origin that is not allowed gets an answer that allows nothing.
pub(super) fn preflight(
    policy: &ResponsePolicy,
    headers: &HeaderMap,
    trace: &Trace,
) -> Option<DirectAnswer> {
    let cors = policy.cors.as_ref()?;
    let mut fields = AnswerFields::new();
    fields.extend(policy.set.iter().cloned());
    fields.push((header::VARY, HeaderValue::from_static(PREFLIGHT_VARY)));
    if allow_origin(cors, trace.origin.as_ref(), &mut fields) {
        if let Some(value) = joined(cors.methods.iter().map(http::Method::as_str)) {
            fields.push((header::ACCESS_CONTROL_ALLOW_METHODS, value));
        }
        let asked = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS);
        let allowed = joined(cors.allow_headers.iter().map(HeaderName::as_str));
        if let Some(value) = allowed.or_else(|| asked.cloned()) {
            fields.push((header::ACCESS_CONTROL_ALLOW_HEADERS, value));
        }
        let max_age = HeaderValue::from(cors.max_age.as_secs());
        fields.push((header::ACCESS_CONTROL_MAX_AGE, max_age));
    }
    if let Some(id) = trace.request_id.as_ref()
        && let Ok(value) = HeaderValue::from_str(id.as_str())
    {
        fields.push((X_REQUEST_ID, value));
    }
    Some(DirectAnswer { status: StatusCode::NO_CONTENT, fields, body: Bytes::new() })
}

const PREFLIGHT_VARY: &str =
    "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";

fn joined<'n>(names: impl Iterator<Item = &'n str>) -> Option<HeaderValue> {
    let text = names.collect::<Vec<_>>().join(", ");
    (!text.is_empty()).then(|| HeaderValue::from_str(&text).ok()).flatten()
}

#[cfg(test)]
mod tests;
