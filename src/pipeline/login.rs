//! Signing in at an auth server: which of its endpoints a request is for, and what a client that
//! refreshes its session may be told.
//!
//! Paths, methods and parameters are those of Supabase Auth (`internal/api/api.go`, `token.go`). It
//! routes by the path's last segments, whatever stands before them at the gateway. May import
//! `domain` and `policy`.

use std::borrow::Cow;
use std::time::Duration;

use http::Method;

use crate::domain::login::LoginRefusal;
use crate::domain::refusal::Refusal;

/// Whether a request refreshes a session: `POST …/token?grant_type=refresh_token`.
pub fn refreshes(method: &Method, path: &str, query: Option<&str>) -> bool {
    *method == Method::POST
        && last(path) == "token"
        && grant(query) == Grant::One("refresh_token".into())
}

/// What a client that refreshes its session is told in place of a refusal: supabase-js takes every
/// answer but 502, 503 and 504 for the end of the session, and none of these refusals is about the
/// session. `None`: it is the client's own doing, or says that it is to come back already.
pub fn spared(refusal: &Refusal) -> Option<Refusal> {
    const SOON: Duration = Duration::from_secs(1);
    let retry_after = match refusal {
        Refusal::RateLimited { retry_after, .. } => *retry_after,
        Refusal::TooManyConcurrent(_)
        | Refusal::LengthRequired(_)
        | Refusal::TooSlow(_)
        | Refusal::Upstream(_)
        | Refusal::Internal(_) => SOON,
        // These are 503 and say when to come back.
        Refusal::Unavailable(_) | Refusal::Login(LoginRefusal::Refresh { .. }) => return None,
        Refusal::Edge(_)
        | Refusal::NoRoute
        | Refusal::MethodNotAllowed { .. }
        | Refusal::RouteClosed(_)
        | Refusal::Unauthenticated(_)
        | Refusal::Tenant(_)
        | Refusal::Forbidden { .. }
        | Refusal::Condition(_)
        | Refusal::Impersonation(_)
        | Refusal::TrustDevice
        | Refusal::Isolation { .. }
        | Refusal::BodyTooLarge { .. } => return None,
    };
    Some(Refusal::Login(LoginRefusal::Refresh { retry_after }))
}

/// The last segment of a path. A slash at its end changes nothing for Go's router.
fn last(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

/// The `grant_type` of a query, as Go's `FormValue` reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Grant<'q> {
    /// There is none.
    Nothing,
    /// This.
    One(Cow<'q, str>),
    /// There are several: readers differ in which one counts.
    Several,
}

fn grant(query: Option<&str>) -> Grant<'_> {
    let parts = query.into_iter().flat_map(|query| query.split('&'));
    let mut stated = parts.filter_map(|part| {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        (unescaped(key) == "grant_type").then(|| unescaped(value))
    });
    match (stated.next(), stated.next()) {
        (None, _) => Grant::Nothing,
        (Some(one), None) => Grant::One(one),
        (Some(_), Some(_)) => Grant::Several,
    }
}

/// Percent encoding undone. What is no encoding stands for itself.
fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.first_chunk::<2>().filter(|_| *first == b'%');
        let byte =
            digits.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok());
        match (byte, first) {
            (Some(byte), _) => {
                out.push(byte);
                rest = after.get(2..).unwrap_or_default();
                continue;
            }
            (None, b'+') => out.push(b' '),
            (None, other) => out.push(*other),
        }
        rest = after;
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::known::Outage;
    use crate::domain::refusal::{CredentialFault, UpstreamFault};

    #[test]
    fn a_refresh_is_known_by_method_path_and_grant_however_they_are_spelt() {
        let refreshed = |target: &str| {
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            refreshes(&Method::POST, path, Some(query))
        };
        for target in [
            "/auth/v1/token?grant_type=refresh_token",
            "/token/?grant_type=refresh_token",
            "/token?x=y&grant_type=refresh%5Ftoken",
            "/token?grant%5ftype=refresh_token&",
        ] {
            assert!(refreshed(target), "{target}");
        }
        for target in [
            "/token?grant_type=password",
            "/token",
            "/tokens?grant_type=refresh_token",
            "/token?grant_type=refresh_token&grant_type=password",
            "/token?Grant_Type=refresh_token",
        ] {
            assert!(!refreshed(target), "{target}");
        }
        assert!(!refreshes(&Method::GET, "/token", Some("grant_type=refresh_token")));
    }

    #[test]
    fn what_is_the_gateways_own_trouble_asks_to_come_back_and_ends_no_session() {
        let limit: std::sync::Arc<str> = "x".into();
        for refusal in [
            Refusal::RateLimited { limit, retry_after: Duration::from_secs(7) },
            Refusal::TooManyConcurrent("organization"),
            Refusal::LengthRequired(1),
            Refusal::TooSlow("body"),
            Refusal::Upstream(UpstreamFault::NoAddress),
            Refusal::Upstream(UpstreamFault::Connect),
            Refusal::Upstream(UpstreamFault::Timeout),
            Refusal::Upstream(UpstreamFault::Broken),
            Refusal::Internal("x"),
        ] {
            let told = spared(&refusal).unwrap_or_else(|| panic!("{refusal:?}"));
            assert_eq!(told.public().status.as_u16(), 503, "{refusal:?}");
            let wanted = refusal.retry_after().unwrap_or(Duration::from_secs(1));
            assert_eq!(told.retry_after(), Some(wanted));
        }
        for outage in [Outage::Directory, Outage::Keys, Outage::Limits, Outage::Sessions] {
            let refusal = Refusal::Unavailable(outage);
            assert_eq!((spared(&refusal), refusal.public().status.as_u16()), (None, 503));
        }
        let own_doing = [Refusal::NoRoute, Refusal::Unauthenticated(CredentialFault::MissingKey)];
        for refusal in own_doing {
            assert_eq!(spared(&refusal), None);
        }
    }
}
