//! Signing in at an auth server: which of its endpoints a request is for, and what a client that
//! refreshes its session may be told.
//!
//! Paths, methods and parameters are those of Supabase Auth (`internal/api/api.go`, `token.go`). It
//! routes by the path's last segments, whatever stands before them at the gateway. May import
//! `domain`, `policy` and `postgrest`, whose scanner of JSON reads the bodies.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};

use crate::domain::ids::UserId;
use crate::domain::login::{Account, LoginOutcome, LoginRefusal};
use crate::domain::principal::Principal;
use crate::domain::refusal::Refusal;
use crate::policy::logins::{LoginMode, LoginPolicy};

mod body;

/// An endpoint by which somebody signs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `POST /token?grant_type=password`.
    Password,
    /// `POST /token` with any other grant but `refresh_token`: `id_token`, `pkce`, `web3`.
    Grant,
    /// `POST /verify`: a code that was sent.
    Verify,
    /// `POST /factors/{id}/verify`: a second factor.
    Factor,
    /// `POST /otp`, `/magiclink`, `/recover`, `/resend`: a code is to be sent.
    Send,
    /// `POST /signup`.
    SignUp,
    /// `PUT /user`: its own data, the password among them.
    User,
}

/// What is known of an attempt to sign in, before its body is read.
#[derive(Debug)]
pub struct Login {
    endpoint: Endpoint,
    /// Where the caller is signed in already: the account that the endpoint is about.
    user: Option<UserId>,
    policy: Arc<LoginPolicy>,
}

impl Login {
    /// Whether a request is an attempt to sign in.
    ///
    /// # Errors
    /// If its head can be read in two ways.
    pub(super) fn of(
        policy: &Arc<LoginPolicy>,
        method: &Method,
        target: (&str, Option<&str>),
        headers: &HeaderMap,
        principal: &Principal,
    ) -> Result<Option<Self>, Refusal> {
        let strict = policy.mode == LoginMode::Enforce;
        let (path, query) = target;
        let endpoint = match endpoint(method, path, query) {
            Some(endpoint) => endpoint,
            // A form may name another grant than the query does.
            None if is_refresh(method, path, query) && body::may_be_form(headers) => {
                Endpoint::Grant
            }
            None => return Ok(None),
        };
        let several = *method == Method::POST && grant(query) == Grant::Several;
        let checked = match several {
            true => Err(LoginRefusal::Ambiguous("a grant that is stated twice")),
            false => body::check_type(headers),
        };
        if strict {
            checked.map_err(Refusal::Login)?;
        }
        let user = match endpoint {
            Endpoint::Factor | Endpoint::User => principal.user().cloned(),
            Endpoint::Password
            | Endpoint::Grant
            | Endpoint::Verify
            | Endpoint::Send
            | Endpoint::SignUp => None,
        };
        Ok(Some(Self { endpoint, user, policy: Arc::clone(policy) }))
    }

    /// The policy that the request began under.
    pub fn policy(&self) -> &Arc<LoginPolicy> {
        &self.policy
    }

    /// What its body says of the account.
    ///
    /// # Errors
    /// If the body can be read in two ways; where the policy only watches, never.
    pub(super) fn account(&self, body: &[u8]) -> Result<Option<Account>, Refusal> {
        let stated = match (body::account(body), self.policy.mode) {
            (Ok(stated), _) => stated,
            (Err(refusal), LoginMode::Enforce) => return Err(Refusal::Login(refusal)),
            (Err(_), LoginMode::Shadow) => None,
        };
        Ok(match self.endpoint {
            // Who changes an address has the account that the token says.
            Endpoint::Factor | Endpoint::User => self.user.as_ref().map(Account::user),
            Endpoint::Password
            | Endpoint::Grant
            | Endpoint::Verify
            | Endpoint::Send
            | Endpoint::SignUp => stated,
        })
    }

    /// Whether a lockout of an account everywhere holds here. Not where a code is only sent, so
    /// that nobody can keep somebody else from recovering an account.
    pub fn guards_account(&self) -> bool {
        match self.endpoint {
            Endpoint::Password | Endpoint::Grant | Endpoint::Verify | Endpoint::Factor => true,
            Endpoint::Send | Endpoint::SignUp | Endpoint::User => false,
        }
    }

    /// What an attempt counts as whose client did not wait for the answer: a failure, where a right
    /// guess changes something that shows elsewhere.
    pub fn hung_up(&self) -> LoginOutcome {
        match self.endpoint {
            Endpoint::Password
            | Endpoint::Grant
            | Endpoint::Verify
            | Endpoint::Factor
            | Endpoint::User => LoginOutcome::Failure,
            Endpoint::Send | Endpoint::SignUp => LoginOutcome::Neutral,
        }
    }

    /// What an answer says of the attempt.
    pub fn outcome(&self, status: StatusCode, code: Option<&str>) -> LoginOutcome {
        outcome(self.endpoint, status, code)
    }
}

/// Codes of Supabase Auth by which something that was shown was wrong
/// (`internal/api/apierrors/errorcode.go`).
const WRONG: [&str; 12] = [
    "invalid_credentials",
    "otp_expired",
    "mfa_verification_failed",
    "mfa_verification_rejected",
    "mfa_challenge_expired",
    "bad_code_verifier",
    "flow_state_not_found",
    "flow_state_expired",
    "reauthentication_not_valid",
    "identity_not_found",
    "user_not_found",
    "invite_not_found",
];

/// Codes that tell whether an account exists.
const TELLING: [&str; 6] = [
    "user_already_exists",
    "email_exists",
    "phone_exists",
    "otp_disabled",
    "user_not_found",
    "signup_disabled",
];

fn outcome(endpoint: Endpoint, status: StatusCode, code: Option<&str>) -> LoginOutcome {
    let proves = match endpoint {
        Endpoint::Password | Endpoint::Grant | Endpoint::Verify | Endpoint::Factor => true,
        Endpoint::Send | Endpoint::SignUp | Endpoint::User => false,
    };
    if status.is_success() {
        return if proves { LoginOutcome::Success } else { LoginOutcome::Neutral };
    }
    let wrong = match (endpoint, code) {
        _ if !status.is_client_error() => false,
        (Endpoint::Send | Endpoint::SignUp, Some(code)) => TELLING.contains(&code),
        (_, Some(code)) => WRONG.contains(&code),
        // Old versions state no code.
        (_, None) => proves && matches!(status.as_u16(), 400 | 401 | 403 | 404 | 422),
    };
    if wrong { LoginOutcome::Failure } else { LoginOutcome::Neutral }
}

/// The endpoint that a request is for.
fn endpoint(method: &Method, path: &str, query: Option<&str>) -> Option<Endpoint> {
    let path = unescaped(path).to_ascii_lowercase();
    let mut segments = path.trim_end_matches('/').rsplit('/');
    let mut next = || segments.next().unwrap_or_default();
    let (last, before, first) = (next(), next(), next());
    match (method, last) {
        // The token endpoint of its OAuth server is for applications.
        (&Method::POST, "token") if before != "oauth" => match grant(query) {
            Grant::One(grant) if grant == "password" => Some(Endpoint::Password),
            Grant::One(grant) if grant == "refresh_token" => None,
            Grant::One(_) | Grant::Nothing | Grant::Several => Some(Endpoint::Grant),
        },
        (&Method::POST, "verify") if first == "factors" => Some(Endpoint::Factor),
        (&Method::POST, "verify") => Some(Endpoint::Verify),
        (&Method::POST, "otp" | "magiclink" | "recover" | "resend") => Some(Endpoint::Send),
        (&Method::POST, "signup") => Some(Endpoint::SignUp),
        (&Method::PUT, "user") => Some(Endpoint::User),
        _ => None,
    }
}

/// Whether a request refreshes a session: `POST …/token?grant_type=refresh_token`.
pub fn refreshes(method: &Method, path: &str, query: Option<&str>) -> bool {
    *method == Method::POST
        && last(path) == "token"
        && grant(query) == Grant::One("refresh_token".into())
}

/// The same, however the path is spelt.
fn is_refresh(method: &Method, path: &str, query: Option<&str>) -> bool {
    let path = unescaped(path).to_ascii_lowercase();
    refreshes(method, &path, query) && !path.trim_end_matches('/').ends_with("/oauth/token")
}

/// What a client that refreshes its session is told in place of a refusal: supabase-js takes every
/// answer but 502, 503 and 504 for the end of the session, and none of these refusals is about the
/// session. `None`: it is the client's own doing, or says that it is to come back already.
pub fn spared(refusal: &Refusal) -> Option<Refusal> {
    const SOON: Duration = Duration::from_secs(1);
    let retry_after = match refusal {
        Refusal::RateLimited { retry_after, .. } | Refusal::Penalized { retry_after, .. } => {
            *retry_after
        }
        Refusal::QuotaExceeded { resets_in, .. } => *resets_in,
        Refusal::Rule(denial) if denial.status == StatusCode::TOO_MANY_REQUESTS => {
            denial.retry_after.unwrap_or(SOON)
        }
        Refusal::TooManyConcurrent(_)
        | Refusal::RuleFailed { .. }
        | Refusal::LengthRequired(_)
        | Refusal::TooSlow(_)
        | Refusal::Upstream(_)
        | Refusal::Internal(_) => SOON,
        // These are 503 and say when to come back.
        Refusal::Unavailable(_) | Refusal::Login(_) => return None,
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
        | Refusal::Rule(_)
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
    fn a_form_cannot_pass_for_a_refresh() {
        let ladder = |failures| crate::policy::logins::Ladder {
            failures,
            again: failures,
            within: Duration::from_secs(60),
            first: Duration::from_secs(60),
            factor: failures,
            most: Duration::from_secs(60),
            forget: Duration::from_secs(60),
        };
        let one = std::num::NonZeroU32::MIN;
        let policy = |mode| {
            Arc::new(LoginPolicy {
                mode,
                when_away: crate::policy::logins::LoginsAway::Local,
                known_for: Duration::from_secs(60),
                pair: ladder(one),
                address: ladder(one),
                network: ladder(one),
                account: ladder(one),
                spraying: None,
                stuffing: None,
                severity: crate::domain::audit::Severity::Low,
                pepper: None,
                source: crate::domain::source::Source::built_in(),
            })
        };
        let of = |mode, path: &str, media: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(media));
            let target = (path, Some("grant_type=refresh_token"));
            let login =
                Login::of(&policy(mode), &Method::POST, target, &headers, &Principal::Anonymous);
            login.map(|login| login.map(|login| login.endpoint))
        };
        for path in ["/token", "/auth/v1/token/", "/tok%65n", "/TOKEN"] {
            for media in [
                "application/x-www-form-urlencoded",
                "Application/X-WWW-Form-Urlencoded; charset=utf-8",
                "multipart/form-data; boundary=x",
            ] {
                let refused = of(LoginMode::Enforce, path, media);
                assert!(matches!(refused, Err(Refusal::Login(_))), "{path} {media}");
                let watched = of(LoginMode::Shadow, path, media);
                assert_eq!(watched.unwrap(), Some(Endpoint::Grant), "{path} {media}");
            }
            for media in ["application/json", "text/plain;charset=UTF-8"] {
                assert_eq!(of(LoginMode::Enforce, path, media).unwrap(), None, "{path} {media}");
            }
        }
        let oauth = of(LoginMode::Enforce, "/oauth/token", "application/x-www-form-urlencoded");
        assert_eq!(oauth.unwrap(), None);
    }

    #[test]
    fn endpoints_are_known_by_method_and_path_however_they_are_spelt() {
        let at = |method: &Method, target: &str| {
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            endpoint(method, path, Some(query))
        };
        for (target, wanted) in [
            ("/token?grant_type=password", Some(Endpoint::Password)),
            ("/auth/v1/token/?grant_type=pass%77ord", Some(Endpoint::Password)),
            ("/tok%65n?a=b&grant%5Ftype=password", Some(Endpoint::Password)),
            ("/token?grant_type=pkce", Some(Endpoint::Grant)),
            ("/token", Some(Endpoint::Grant)),
            ("/token?grant_type=refresh_token&grant_type=password", Some(Endpoint::Grant)),
            ("/token?grant_type=refresh_token", None),
            ("/oauth/token?grant_type=authorization_code", None),
            ("/verify", Some(Endpoint::Verify)),
            ("/factors/6a/verify", Some(Endpoint::Factor)),
            ("/factors/6a/challenge", None),
            ("/otp", Some(Endpoint::Send)),
            ("/recover/", Some(Endpoint::Send)),
            ("/resend", Some(Endpoint::Send)),
            ("/signup", Some(Endpoint::SignUp)),
            ("/logout", None),
            ("/user", None),
            ("/", None),
        ] {
            assert_eq!(at(&Method::POST, target), wanted, "{target}");
        }
        assert_eq!(at(&Method::PUT, "/auth/v1/user"), Some(Endpoint::User));
        assert_eq!(at(&Method::GET, "/verify?token=x"), None);
    }

    #[test]
    fn an_answer_says_whether_what_was_shown_was_wrong() {
        use LoginOutcome::{Failure, Neutral, Success};
        for (endpoint, status, code, wanted) in [
            (Endpoint::Password, 200, None, Success),
            (Endpoint::Password, 400, Some("invalid_credentials"), Failure),
            (Endpoint::Password, 400, None, Failure),
            (Endpoint::Password, 400, Some("email_not_confirmed"), Neutral),
            (Endpoint::Password, 400, Some("validation_failed"), Neutral),
            (Endpoint::Password, 429, None, Neutral),
            (Endpoint::Password, 429, Some("over_request_rate_limit"), Neutral),
            (Endpoint::Password, 500, Some("invalid_credentials"), Neutral),
            (Endpoint::Verify, 403, Some("otp_expired"), Failure),
            (Endpoint::Factor, 422, Some("mfa_verification_failed"), Failure),
            (Endpoint::Factor, 200, None, Success),
            (Endpoint::Grant, 404, Some("flow_state_not_found"), Failure),
            (Endpoint::Send, 200, None, Neutral),
            (Endpoint::Send, 422, Some("otp_disabled"), Failure),
            (Endpoint::Send, 400, None, Neutral),
            (Endpoint::SignUp, 200, None, Neutral),
            (Endpoint::SignUp, 422, Some("user_already_exists"), Failure),
            (Endpoint::User, 200, None, Neutral),
            (Endpoint::User, 422, Some("reauthentication_not_valid"), Failure),
            (Endpoint::User, 401, None, Neutral),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(outcome(endpoint, status, code), wanted, "{endpoint:?} {status} {code:?}");
        }
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
