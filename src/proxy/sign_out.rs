//! Sign-outs that pass through: what the auth server ends, the gateway takes back.
//!
//! The auth server ends sessions, and leaves the tokens that it has issued valid to their end. Its
//! `POST /logout?scope=…` is read as Supabase's auth server reads it (`internal/api/logout.go`):
//! `global` where nothing is said, `local`, `others`.

use http::{Method, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::{Error, ErrorSource};

use crate::domain::principal::{Principal, VerifiedToken};
use crate::domain::session::SignOut;

use super::context::Context;

/// What Supabase's auth server says where there is nothing left to end.
const GONE: [&str; 3] = ["session_not_found", "session_expired", "user_not_found"];

/// The upstream answered: if this was a sign-out that it did, what it ended counts no more.
pub(super) fn answered(request: &RequestHeader, response: &ResponseHeader, ctx: &Context) {
    let Some(token) = signing_out(request, ctx) else { return };
    let code = response.headers.get("x-sb-error-code").and_then(|code| code.to_str().ok());
    let scope = scope(request.uri.query());
    if let Some(ended) = ended(scope, response.status, code) {
        ctx.generation.node.sessions().sign_out(ended, token);
    }
}

/// The request is at its end. Pages that sign out and go elsewhere wait for no answer: what they
/// wanted to end was asked for, and counts no more.
pub(super) fn unanswered(request: &RequestHeader, error: Option<&Error>, ctx: &Context) {
    let hung_up = error.is_some_and(|error| *error.esource() == ErrorSource::Downstream);
    let sent = ctx.attempt.as_ref().is_some_and(|attempt| !attempt.answered);
    if !(hung_up && sent) {
        return;
    }
    if let Some(token) = signing_out(request, ctx) {
        ctx.generation.node.sessions().sign_out(scope(request.uri.query()), token);
    }
}

/// Whose sign-out a request is, if it is one.
fn signing_out<'c>(request: &RequestHeader, ctx: &'c Context) -> Option<&'c VerifiedToken> {
    let upstream = ctx.passed.as_ref()?.upstream();
    let asked = upstream.sign_out_revokes
        && request.method == Method::POST
        && request.uri.path().ends_with("/logout");
    match ctx.trace.principal.as_ref().filter(|_| asked)? {
        Principal::User { token, .. } => Some(token),
        Principal::Service { .. } | Principal::Machine { .. } | Principal::Anonymous => None,
    }
}

/// What an answer to a sign-out says has ended.
fn ended(scope: SignOut, status: StatusCode, code: Option<&str>) -> Option<SignOut> {
    if status.is_success() {
        return Some(scope);
    }
    // It takes the session for ended, and so does supabase-js, which ignores these answers.
    let refused =
        [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::NOT_FOUND].contains(&status);
    let gone = code.is_some_and(|code| GONE.contains(&code));
    match scope {
        SignOut::Global | SignOut::Local => refused.then_some(SignOut::Local),
        SignOut::Others => (refused && gone).then_some(SignOut::Local),
    }
}

/// The first that is stated counts. What is spelt in a way that is not understood here, the auth
/// server may understand: then all end.
fn scope(query: Option<&str>) -> SignOut {
    let mut stated = query.into_iter().flat_map(|query| query.split('&'));
    match stated.find_map(|part| part.strip_prefix("scope=")) {
        Some("local") => SignOut::Local,
        Some("others") => SignOut::Others,
        Some(_) | None => SignOut::Global,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_read_as_the_auth_server_reads_it() {
        for (query, wanted) in [
            (None, SignOut::Global),
            (Some("scope=global"), SignOut::Global),
            (Some("scope=local"), SignOut::Local),
            (Some("a=b&scope=others&scope=local"), SignOut::Others),
            (Some("scope=%6Cocal"), SignOut::Global),
            (Some("myscope=local"), SignOut::Global),
        ] {
            assert_eq!(scope(query), wanted, "{query:?}");
        }
    }

    #[test]
    fn what_failed_ends_nothing_and_what_is_gone_ends_the_session_itself() {
        let (all, others) = (SignOut::Global, SignOut::Others);
        for (scope, status, code, wanted) in [
            (all, 204, None, Some(all)),
            (others, 204, None, Some(others)),
            (all, 403, Some("session_not_found"), Some(SignOut::Local)),
            (all, 404, None, Some(SignOut::Local)),
            (others, 403, Some("session_not_found"), Some(SignOut::Local)),
            (others, 401, None, None),
            (all, 400, None, None),
            (all, 429, None, None),
            (all, 500, None, None),
            (all, 503, Some("session_not_found"), None),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(ended(scope, status, code), wanted, "{scope:?} {status} {code:?}");
        }
    }
}
