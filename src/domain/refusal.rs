//! Why a request ends. One enum, one mapper to status, code and constant public text.
//!
//! The public text never depends on the request; the private cause ([`std::fmt::Display`]) goes to
//! the log and the audit record, next to the request id that the caller was told.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::escape::TenantEscape;
use super::known::Outage;
use super::login::LoginRefusal;
use super::rule::Denial;

/// A decision that ends a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The head can be read in two ways, or breaks a rule of the edge.
    #[error("edge: {0}")]
    Edge(EdgeRefusal),
    /// No route matches host, path and method.
    #[error("no route for this host and path")]
    NoRoute,
    /// A route matches host and path, with other methods (`Allow` names them).
    #[error("the route allows {allow}")]
    MethodNotAllowed {
        /// The methods, as `Allow` lists them (RFC 9110 section 10.2.1).
        allow: Arc<str>,
    },
    /// The route is closed by policy.
    #[error("route `{0}` is closed")]
    RouteClosed(Arc<str>),
    /// The caller showed no credential, or one that does not count here.
    #[error("credentials: {0}")]
    Unauthenticated(CredentialFault),
    /// The organization could not be settled.
    #[error("organization: {0}")]
    Tenant(TenantRefusal),
    /// The caller's role lacks this permission.
    #[error("permission `{permission}` is missing")]
    Forbidden {
        /// The permission, as policies write it.
        permission: Arc<str>,
    },
    /// A condition of the route does not hold.
    #[error("condition not met: {0}")]
    Condition(ConditionRefusal),
    /// Somebody wants to act as somebody else, and may not, or not so.
    #[error("{0}")]
    Impersonation(ImpersonationRefusal),
    /// Somebody signs in, or stays signed in, and cannot now.
    #[error("login: {0}")]
    Login(LoginRefusal),
    /// The caller wants a device to be trusted, and says so in no way that is known.
    #[error("a wish about trusted devices that is malformed, or nobody's")]
    TrustDevice,
    /// The request cannot be confined to the organization.
    #[error("isolation: {code}: {cause}")]
    Isolation {
        /// 4xx.
        status: StatusCode,
        /// Stable code.
        code: &'static str,
        /// Constant public text.
        message: &'static str,
        /// What it tried to reach in another organization, if it did: a security event.
        tenant_escape: Option<Box<TenantEscape>>,
        /// For the log: may name tables and columns, never values.
        cause: Box<str>,
    },
    /// A rule of the policy refuses it.
    #[error("rule `{}` refuses: {}", .0.rule, .0.code)]
    Rule(Arc<Denial>),
    /// The condition of a rule that refuses could not be worked out.
    #[error("rule `{rule}` could not be evaluated: {cause}")]
    RuleFailed {
        /// The rule.
        rule: Arc<str>,
        /// For the log: never a value of the request.
        cause: Box<str>,
    },
    /// A bucket has too little.
    #[error("limit `{limit}` reached, retry in {} ms", retry_after.as_millis())]
    RateLimited {
        /// The limit that refused.
        limit: Arc<str>,
        /// When to come back.
        retry_after: Duration,
    },
    /// The caller came back too early again and again, and is made to wait for it.
    #[error("limit `{limit}`: penalty of level {level}, retry in {} ms", retry_after.as_millis())]
    Penalized {
        /// The limit that refused.
        limit: Arc<str>,
        /// The level that it is on.
        level: u8,
        /// When to come back.
        retry_after: Duration,
    },
    /// The organization has used up what it has in the period.
    #[error("quota `{quota}` used up, it begins again in {} s", resets_in.as_secs())]
    QuotaExceeded {
        /// The quota that refused.
        quota: Arc<str>,
        /// When the period ends.
        resets_in: Duration,
    },
    /// Too many requests of one organization, or connections of one address, at the same time.
    #[error("too many concurrent requests ({0})")]
    TooManyConcurrent(&'static str),
    /// A dependency is away, and the policy says that the request does not pass without it.
    #[error("{0} unavailable")]
    Unavailable(Outage),
    /// The body is larger than the route allows.
    #[error("body larger than {limit} bytes")]
    BodyTooLarge {
        /// The route's cap in bytes.
        limit: u64,
    },
    /// A body that has to be known whole before it is sent on, larger than may come without its
    /// length.
    #[error("a body over {0} bytes without its length")]
    LengthRequired(u64),
    /// The client was too slow.
    #[error("the client was too slow sending its {0}")]
    TooSlow(&'static str),
    /// Every address of the upstream is out, or it broke the protocol.
    #[error("upstream: {0}")]
    Upstream(UpstreamFault),
    /// The gateway is at fault. Refused, because in doubt it refuses.
    #[error("internal: {0}")]
    Internal(&'static str),
}

/// What the edge refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EdgeRefusal {
    /// `Content-Length` with `Transfer-Encoding`, or either repeated or odd (RFC 9112 section 6).
    #[error("ambiguous framing")]
    Framing,
    /// No host, two hosts, or a target that disagrees with `Host` (RFC 9112 section 3.2).
    #[error("missing or ambiguous host")]
    Host,
    /// Dot segments, empty segments, encoded slashes and the like.
    #[error("ambiguous path")]
    Path,
    /// Control characters or invalid bytes in target or headers.
    #[error("control or invalid characters")]
    Characters,
    /// `TRACE`, `CONNECT`, or a method nobody knows.
    #[error("method not allowed")]
    Method,
    /// Header bytes or header count above the cap.
    #[error("header fields too large")]
    HeadTooLarge,
    /// The target is above the cap.
    #[error("target too long")]
    TargetTooLong,
    /// `Expect` with anything but `100-continue`, or a malformed `Upgrade`.
    #[error("unsupported expectation or upgrade")]
    Expectation,
}

/// What is wrong with a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialFault {
    /// There is none, and the route asks for one.
    #[error("none given")]
    Missing,
    /// The route asks for an API key and there is none that counts.
    #[error("no API key")]
    MissingKey,
    /// The API key is not one of the configured ones.
    #[error("unknown API key")]
    UnknownKey,
    /// It is not what the text of a machine's key can be, its checksum included.
    #[error("malformed key of a machine")]
    KeyForm,
    /// It stands in the query, where it ends in logs and histories.
    #[error("key of a machine in the query")]
    KeyInQuery,
    /// The directory has no machine's key of this id, or the configuration has none at all.
    #[error("unknown key of a machine")]
    KeyUnknown,
    /// The id is right and the secret is not.
    #[error("wrong secret for the key of a machine")]
    KeySecret,
    /// The key has ended, or the time in which its old secret counted.
    #[error("expired key of a machine")]
    KeyExpired,
    /// The key was taken back.
    #[error("revoked key of a machine")]
    KeyRevoked,
    /// The key is used from an address it may not be used from.
    #[error("key of a machine from an address that is not allowed")]
    KeyAddress,
    /// It is not a JWT, or its header or claims are not what RFC 7519 and RFC 7515 allow.
    #[error("malformed token")]
    Malformed,
    /// The token is larger than the cap.
    #[error("token too large")]
    TooLarge,
    /// Its algorithm is not one the issuer signs with, `none` included.
    #[error("algorithm not allowed")]
    Algorithm,
    /// No configured issuer has this `iss`.
    #[error("unknown issuer")]
    UnknownIssuer,
    /// No key of the issuer has this `kid`.
    #[error("unknown key id")]
    UnknownKeyId,
    /// The signature is wrong.
    #[error("bad signature")]
    Signature,
    /// `exp` has passed.
    #[error("expired")]
    Expired,
    /// `nbf` lies ahead, or `exp` lies further ahead than the issuer may say.
    #[error("not yet valid, or valid for too long")]
    NotYetValid,
    /// `aud` is not one of the issuer's audiences.
    #[error("wrong audience")]
    Audience,
    /// It is an ID token, or does not say that it is an access token where the issuer's must.
    #[error("not an access token")]
    NotAnAccessToken,
    /// It was issued to a client whose tokens do not count.
    #[error("token of another client")]
    Client,
    /// A claim that the issuer must state is missing or of the wrong type.
    #[error("required claim missing")]
    RequiredClaim,
    /// Two credentials contradict each other.
    #[error("conflicting credentials")]
    Conflict,
    /// It is valid, but not of the kind that the route asks for.
    #[error("not the kind of credential this route asks for")]
    Kind,
    /// A service key from an address it may not be used from.
    #[error("service key from an address that is not allowed")]
    Address,
    /// The token, its session or all of its user's tokens were taken back.
    #[error("revoked")]
    Revoked,
}

/// Why there is no one organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TenantRefusal {
    /// Two sources name different organizations.
    #[error("the request names two organizations")]
    Conflict,
    /// A source is there and is neither an id nor a slug.
    #[error("malformed organization")]
    Malformed,
    /// No source names one, and there is no default.
    #[error("no organization named")]
    Missing,
    /// The named organization does not exist. Told apart from a missing membership in the log only.
    #[error("unknown organization")]
    Unknown,
    /// The user is not a member.
    #[error("not a member")]
    NotAMember,
    /// The tokens of the issuer do not count for the organization, or for none at all.
    #[error("the issuer may not vouch for members of this organization")]
    Issuer,
    /// The token's claims come to no role.
    #[error("the token's claims come to no role")]
    NoRole,
    /// The membership is suspended.
    #[error("membership suspended")]
    MemberSuspended,
    /// The user was invited and has not accepted.
    #[error("membership not accepted")]
    MemberInvited,
    /// The organization is suspended.
    #[error("organization suspended")]
    OrgSuspended,
    /// The request names a team that is malformed, or two.
    #[error("malformed team")]
    Team,
    /// The member has roles that the policy keeps apart.
    #[error("the member has two roles that are kept apart")]
    DutiesConflict,
    /// The organization's plan or the member's role is not one the policy knows.
    #[error("the directory names a role or plan that no policy defines")]
    UnknownRoleOrPlan,
}

/// Why somebody may not act as somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ImpersonationRefusal {
    /// No policy lets anybody, this caller lacks the permission, or somebody of the staff is meant.
    /// Told apart in the log only.
    #[error("not allowed to act as somebody else")]
    NotAllowed,
    /// The user or the reason is malformed, stands twice, or alone.
    #[error("malformed impersonation headers")]
    Malformed,
    /// No reason, or one that says nothing.
    #[error("no reason for acting as somebody else")]
    Reason,
    /// The policy lets the caller look only.
    #[error("acting as somebody else is read-only")]
    ReadOnly,
    /// The route belongs to no organization.
    #[error("acting as somebody else on a route without an organization")]
    NoOrganization,
}

/// Which condition does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConditionRefusal {
    /// The feature is off for the organization.
    #[error("feature `{0}` is not enabled")]
    Feature(Arc<str>),
    /// The organization's plan is below the one wanted.
    #[error("plan `{0}` or above is needed")]
    Plan(Arc<str>),
    /// No second factor was shown.
    #[error("no second factor was shown")]
    SecondFactor,
    /// The second factor was shown too long ago, or nobody knows when.
    #[error("the second factor was shown too long ago")]
    FactorAge,
    /// The caller signed in too long ago, or nobody knows when.
    #[error("the session is too old")]
    SessionAge,
    /// The session was not used for too long.
    #[error("the session was not used for too long")]
    SessionIdle,
    /// The client's address is in none of the networks that are allowed.
    #[error("the address is not in the allowed networks")]
    Address,
    /// It is not one of the hours.
    #[error("outside the allowed hours")]
    Hours,
    /// Neither organization nor member has reached the stage.
    #[error("stage `{0}` is not reached")]
    Stage(Arc<str>),
    /// The expression does not hold.
    #[error("the expression does not hold")]
    Expression,
    /// The expression has no answer, for this reason.
    #[error("the expression has no answer: {0}")]
    Fault(&'static str),
}

/// What went wrong behind the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamFault {
    /// No address of it is healthy, or all circuits are open.
    #[error("no healthy address")]
    NoAddress,
    /// It could not be connected to.
    #[error("connection failed")]
    Connect,
    /// It did not answer in time.
    #[error("timed out")]
    Timeout,
    /// It closed early or broke the protocol.
    #[error("broken answer")]
    Broken,
}

/// What the caller is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicAnswer<'r> {
    /// The status.
    pub status: StatusCode,
    /// The stable code.
    pub code: &'r str,
    /// The constant text.
    pub message: &'r str,
}

impl Refusal {
    /// The one mapping from a refusal to what the caller is told.
    pub fn public(&self) -> PublicAnswer<'_> {
        match self {
            Self::Rule(denial) => {
                PublicAnswer { status: denial.status, code: &denial.code, message: &denial.message }
            }
            other => other.constant(),
        }
    }

    /// The code that the caller is told, for records.
    pub fn code(&self) -> Cow<'static, str> {
        match self {
            Self::Rule(denial) => Cow::Owned(denial.code.to_string()),
            other => Cow::Borrowed(other.label()),
        }
    }

    /// The same for metrics: all codes that rules state are one, so that their number is bounded.
    pub fn label(&self) -> &'static str {
        self.constant().code
    }

    fn constant(&self) -> PublicAnswer<'static> {
        let (status, code, message) = match self {
            Self::Edge(edge) => edge.public(),
            Self::NoRoute => (404, "route_not_found", "there is nothing at this path"),
            Self::MethodNotAllowed { .. } => {
                (405, "method_not_allowed", "this path does not allow the method")
            }
            Self::RouteClosed(_) => (403, "route_closed", "this path is closed"),
            Self::Unauthenticated(fault) => fault.public(),
            Self::Tenant(refusal) => refusal.public(),
            Self::Forbidden { .. } => {
                (403, "permission_denied", "your role does not have the permission for this")
            }
            Self::Impersonation(ImpersonationRefusal::NotAllowed) => {
                (403, "impersonation_not_allowed", "you may not act as somebody else")
            }
            Self::Impersonation(ImpersonationRefusal::Malformed) => (
                400,
                "bad_impersonation",
                "state one `x-impersonate-user`, and one `x-impersonate-reason` with it",
            ),
            Self::Impersonation(ImpersonationRefusal::Reason) => {
                (400, "impersonation_reason", "state a reason of 8 to 200 characters")
            }
            Self::Impersonation(ImpersonationRefusal::ReadOnly) => {
                (403, "impersonation_read_only", "whoever acts as somebody else may only look")
            }
            Self::Impersonation(ImpersonationRefusal::NoOrganization) => {
                (403, "impersonation_not_here", "nobody acts as somebody else on this path")
            }
            Self::Condition(ConditionRefusal::Feature(_)) => {
                (403, "feature_disabled", "this feature is not enabled for your organization")
            }
            Self::Condition(ConditionRefusal::Plan(_)) => {
                (403, "plan_required", "your organization's plan does not include this")
            }
            Self::Condition(ConditionRefusal::SecondFactor) => {
                (403, "mfa_required", "this takes a second factor: complete one and try again")
            }
            Self::Condition(ConditionRefusal::FactorAge) => {
                (403, "mfa_expired", "this takes a recent second factor: show it once more")
            }
            Self::Condition(ConditionRefusal::SessionAge) => {
                (401, "session_expired", "the session is too old: sign in again")
            }
            Self::Condition(ConditionRefusal::SessionIdle) => {
                (401, "session_idle", "the session was not used for too long: sign in again")
            }
            Self::Condition(ConditionRefusal::Address) => {
                (403, "address_not_allowed", "this is not allowed from your address")
            }
            Self::Condition(ConditionRefusal::Hours) => {
                (403, "outside_hours", "this is not allowed at this time")
            }
            Self::Condition(ConditionRefusal::Expression | ConditionRefusal::Fault(_)) => {
                (403, "condition_not_met", "this is not allowed for this request")
            }
            Self::Condition(ConditionRefusal::Stage(_)) => {
                (403, "stage_not_reached", "a later stage has to be reached for this")
            }
            Self::Login(refusal) => refusal.public(),
            Self::TrustDevice => (
                400,
                "bad_trust_device",
                "as a signed-in user, state one `x-trust-device`: `cookie`, `header` or `forget`",
            ),
            Self::Isolation { status, code, message, .. } => {
                return PublicAnswer { status: *status, code, message };
            }
            Self::Rule(_) => (403, "rule_denied", "a rule of this gateway refuses the request"),
            Self::RuleFailed { .. } => {
                (403, "rule_failed", "a rule of this gateway could not judge the request")
            }
            Self::RateLimited { .. } => (429, "rate_limited", "too many requests, slow down"),
            Self::Penalized { .. } => (
                429,
                "rate_limit_penalty",
                "too many requests, and no waiting: come back when `Retry-After` says so",
            ),
            Self::QuotaExceeded { .. } => {
                (429, "quota_exceeded", "your organization has used up its quota for this period")
            }
            Self::TooManyConcurrent(_) => {
                (429, "too_many_concurrent", "too many requests at the same time")
            }
            Self::Unavailable(Outage::Directory) => {
                (503, "directory_unavailable", "the gateway cannot look up organizations right now")
            }
            Self::Unavailable(Outage::Usage) => {
                (503, "usage_unavailable", "the gateway cannot look up quotas right now")
            }
            Self::Unavailable(Outage::Keys) => {
                (503, "keys_unavailable", "the gateway cannot verify tokens right now")
            }
            Self::Unavailable(Outage::Limits) => {
                (503, "limits_unavailable", "the gateway cannot count this request right now")
            }
            Self::Unavailable(Outage::Sessions) => {
                (503, "sessions_unavailable", "the gateway cannot look up sessions right now")
            }
            Self::BodyTooLarge { .. } => (413, "body_too_large", "the request body is too large"),
            Self::LengthRequired(_) => {
                (411, "length_required", "send the length of a body of this size")
            }
            Self::TooSlow(_) => (408, "request_timeout", "the request took too long to arrive"),
            Self::Upstream(UpstreamFault::NoAddress) => {
                (503, "upstream_unavailable", "the service behind the gateway is unavailable")
            }
            Self::Upstream(UpstreamFault::Timeout) => {
                (504, "upstream_timeout", "the service behind the gateway did not answer in time")
            }
            Self::Upstream(UpstreamFault::Connect | UpstreamFault::Broken) => {
                (502, "bad_gateway", "the service behind the gateway did not answer properly")
            }
            Self::Internal(_) => (500, "internal_error", "the gateway failed to decide"),
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        PublicAnswer { status, code, message }
    }

    /// What it tried to reach in another organization, if it did: a security event.
    pub fn tenant_escape(&self) -> Option<&TenantEscape> {
        match self {
            Self::Isolation { tenant_escape, .. } => tenant_escape.as_deref(),
            _ => None,
        }
    }

    /// Whether somebody used what was taken back: a security event.
    pub fn revoked(&self) -> bool {
        matches!(self, Self::Unauthenticated(CredentialFault::Revoked))
    }

    /// Whether somebody used a machine's key that was taken back: a security event.
    pub fn revoked_key(&self) -> bool {
        matches!(self, Self::Unauthenticated(CredentialFault::KeyRevoked))
    }

    /// Whether the connection must be closed after the answer, because what follows on it cannot
    /// be trusted.
    pub fn closes_connection(&self) -> bool {
        match self {
            Self::Edge(_)
            | Self::BodyTooLarge { .. }
            | Self::LengthRequired(_)
            | Self::TooSlow(_) => true,
            Self::NoRoute
            | Self::MethodNotAllowed { .. }
            | Self::RouteClosed(_)
            | Self::Unauthenticated(_)
            | Self::Tenant(_)
            | Self::Forbidden { .. }
            | Self::Condition(_)
            | Self::Impersonation(_)
            | Self::Login(_)
            | Self::TrustDevice
            | Self::Isolation { .. }
            | Self::Rule(_)
            | Self::RuleFailed { .. }
            | Self::RateLimited { .. }
            | Self::Penalized { .. }
            | Self::QuotaExceeded { .. }
            | Self::TooManyConcurrent(_)
            | Self::Unavailable(_)
            | Self::Upstream(_)
            | Self::Internal(_) => false,
        }
    }

    /// How long the caller should wait, for `Retry-After`.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } | Self::Penalized { retry_after, .. } => {
                Some(*retry_after)
            }
            Self::QuotaExceeded { resets_in, .. } => Some(*resets_in),
            Self::Login(refusal) => refusal.retry_after(),
            Self::Rule(denial) => denial.retry_after,
            Self::Unavailable(_)
            | Self::TooManyConcurrent(_)
            | Self::Upstream(UpstreamFault::NoAddress) => Some(Duration::from_secs(1)),
            _ => None,
        }
    }
}

type Public = (u16, &'static str, &'static str);

impl EdgeRefusal {
    fn public(self) -> Public {
        match self {
            Self::Framing => (400, "bad_framing", "the length of the request body is ambiguous"),
            Self::Host => (400, "bad_host", "the host is missing or ambiguous"),
            Self::Path => (400, "bad_path", "the path is not in its one normal spelling"),
            Self::Characters => (400, "bad_characters", "the request has characters it must not"),
            Self::Method => (405, "method_not_allowed", "the method is not allowed"),
            Self::HeadTooLarge => (431, "headers_too_large", "the header fields are too large"),
            Self::TargetTooLong => (414, "uri_too_long", "the path and query are too long"),
            Self::Expectation => (417, "expectation_failed", "the expectation is not supported"),
        }
    }
}

impl CredentialFault {
    fn public(self) -> Public {
        match self {
            Self::Missing => (401, "no_credentials", "a bearer token or API key is needed"),
            Self::MissingKey => (401, "no_api_key", "no API key found in the request"),
            // One answer for all, so that nobody can find out which keys exist.
            Self::UnknownKey
            | Self::Address
            | Self::KeyForm
            | Self::KeyInQuery
            | Self::KeyUnknown
            | Self::KeySecret
            | Self::KeyExpired
            | Self::KeyRevoked
            | Self::KeyAddress => (401, "invalid_api_key", "the API key is invalid"),
            Self::Expired => (401, "token_expired", "the token has expired"),
            Self::Kind => (401, "wrong_credentials", "this path asks for other credentials"),
            Self::Conflict => (401, "conflicting_credentials", "the credentials disagree"),
            Self::Revoked => (401, "session_revoked", "the session has ended: sign in again"),
            Self::Malformed
            | Self::TooLarge
            | Self::Algorithm
            | Self::UnknownIssuer
            | Self::UnknownKeyId
            | Self::Signature
            | Self::NotYetValid
            | Self::Audience
            | Self::NotAnAccessToken
            | Self::Client
            | Self::RequiredClaim => (401, "invalid_token", "the token is invalid"),
        }
    }
}

impl TenantRefusal {
    fn public(self) -> Public {
        match self {
            Self::Conflict => (403, "org_conflict", "the request names two organizations"),
            Self::Malformed => (400, "bad_organization", "the organization is malformed"),
            Self::Missing => (403, "org_required", "the request names no organization"),
            // One answer for both, so that nobody can find out which organizations exist.
            Self::Unknown | Self::NotAMember => {
                (403, "not_a_member", "you are not a member of this organization")
            }
            Self::Issuer => (
                403,
                "issuer_not_accepted",
                "your identity provider does not count for this organization",
            ),
            Self::NoRole => (403, "no_role", "your identity provider gives you no role here"),
            Self::MemberSuspended => (403, "member_suspended", "your membership is suspended"),
            Self::MemberInvited => (403, "member_invited", "your membership is not accepted yet"),
            Self::OrgSuspended => (403, "org_suspended", "the organization is suspended"),
            Self::Team => (400, "bad_team", "the team is malformed"),
            Self::DutiesConflict => {
                (403, "duties_conflict", "your roles may not be held by one person")
            }
            Self::UnknownRoleOrPlan => {
                (403, "role_unknown", "your role or plan is not known to the gateway")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_organization_and_a_foreign_one_are_told_apart_in_the_log_only() {
        let unknown = Refusal::Tenant(TenantRefusal::Unknown);
        let foreign = Refusal::Tenant(TenantRefusal::NotAMember);
        assert_eq!(unknown.public(), foreign.public());
        assert_ne!(unknown.to_string(), foreign.to_string());
    }

    #[test]
    fn an_outage_is_never_an_authentication_error() {
        for outage in [Outage::Directory, Outage::Keys, Outage::Limits, Outage::Sessions] {
            let refusal = Refusal::Unavailable(outage);
            assert_eq!(refusal.public().status, StatusCode::SERVICE_UNAVAILABLE);
            assert!(refusal.retry_after().is_some());
        }
    }

    #[test]
    fn what_breaks_framing_closes_the_connection() {
        assert!(Refusal::Edge(EdgeRefusal::Framing).closes_connection());
        assert!(!Refusal::NoRoute.closes_connection());
    }
}
