//! The values that metric labels can have: closed enums, so that a series exists from the start
//! and none can be added by a request.
//!
//! Who counts converts its own words to these (a method, an upstream's kind, a stage); the
//! conversions stand with the counting, because this room knows `domain` only.

use http::{Method, StatusCode};

use super::family::Label;
use crate::domain::escape::{Place, Resource};
use crate::domain::principal::PrincipalKind;

/// What a request wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MethodClass {
    /// GET, HEAD, OPTIONS.
    Read,
    /// POST, PUT, PATCH.
    Write,
    /// DELETE.
    Delete,
    /// Anything else; the edge refuses it.
    Other,
}

impl From<&Method> for MethodClass {
    fn from(method: &Method) -> Self {
        match *method {
            Method::GET | Method::HEAD | Method::OPTIONS => Self::Read,
            Method::POST | Method::PUT | Method::PATCH => Self::Write,
            Method::DELETE => Self::Delete,
            _ => Self::Other,
        }
    }
}

impl Label for MethodClass {
    const NAME: &'static str = "method";
    const ALL: &'static [Self] = &[Self::Read, Self::Write, Self::Delete, Self::Other];

    fn index(self) -> usize {
        self as usize
    }

    fn value(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
            Self::Other => "other",
        }
    }
}

/// The kind of the upstream that a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamLabel {
    /// None: the request ended before one was found.
    None,
    /// PostgREST.
    Postgrest,
    /// Supabase Auth.
    Auth,
    /// Supabase Storage.
    Storage,
    /// Supabase Realtime.
    Realtime,
    /// Supabase Edge Functions.
    Functions,
    /// Anything else that speaks HTTP.
    Http,
}

impl Label for UpstreamLabel {
    const NAME: &'static str = "upstream";
    const ALL: &'static [Self] = &[
        Self::None,
        Self::Postgrest,
        Self::Auth,
        Self::Storage,
        Self::Realtime,
        Self::Functions,
        Self::Http,
    ];

    fn index(self) -> usize {
        self as usize
    }

    fn value(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Postgrest => "postgrest",
            Self::Auth => "auth",
            Self::Storage => "storage",
            Self::Realtime => "realtime",
            Self::Functions => "functions",
            Self::Http => "http",
        }
    }
}

/// The first digit of an answer's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusClass {
    /// 1xx: an upgraded connection.
    Informational,
    /// 2xx.
    Success,
    /// 3xx.
    Redirection,
    /// 4xx.
    ClientError,
    /// 5xx.
    ServerError,
    /// No answer was sent: the client was gone.
    Unanswered,
}

impl From<StatusCode> for StatusClass {
    fn from(status: StatusCode) -> Self {
        match status.as_u16() {
            100..=199 => Self::Informational,
            200..=299 => Self::Success,
            300..=399 => Self::Redirection,
            400..=499 => Self::ClientError,
            500..=599 => Self::ServerError,
            _ => Self::Unanswered,
        }
    }
}

impl Label for StatusClass {
    const NAME: &'static str = "status";
    const ALL: &'static [Self] = &[
        Self::Informational,
        Self::Success,
        Self::Redirection,
        Self::ClientError,
        Self::ServerError,
        Self::Unanswered,
    ];

    fn index(self) -> usize {
        self as usize
    }

    fn value(self) -> &'static str {
        match self {
            Self::Informational => "1xx",
            Self::Success => "2xx",
            Self::Redirection => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
            Self::Unanswered => "none",
        }
    }
}

/// The stages of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StageLabel {
    /// Normalise, refuse what is ambiguous.
    Edge,
    /// Find the route.
    Route,
    /// Rules that see the request.
    RequestRules,
    /// Who calls.
    Authenticate,
    /// For which organization.
    Tenant,
    /// With which right.
    Authorize,
    /// Rules that see the caller.
    CallerRules,
    /// Confined to the organization.
    Isolate,
    /// Charged.
    Limit,
    /// Sent on.
    Upstream,
    /// Answered.
    Response,
}

impl Label for StageLabel {
    const NAME: &'static str = "stage";
    const ALL: &'static [Self] = &[
        Self::Edge,
        Self::Route,
        Self::RequestRules,
        Self::Authenticate,
        Self::Tenant,
        Self::Authorize,
        Self::CallerRules,
        Self::Isolate,
        Self::Limit,
        Self::Upstream,
        Self::Response,
    ];

    fn index(self) -> usize {
        self as usize
    }

    fn value(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Route => "route",
            Self::RequestRules => "request_rules",
            Self::Authenticate => "authenticate",
            Self::Tenant => "tenant",
            Self::Authorize => "authorize",
            Self::CallerRules => "caller_rules",
            Self::Isolate => "isolate",
            Self::Limit => "limit",
            Self::Upstream => "upstream",
            Self::Response => "response",
        }
    }
}

/// What went wrong with one try of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultLabel {
    /// No address was healthy.
    NoAddress,
    /// It could not be connected to.
    Connect,
    /// It did not answer in time.
    Timeout,
    /// It closed early or broke the protocol.
    Broken,
}

impl Label for FaultLabel {
    const NAME: &'static str = "fault";
    const ALL: &'static [Self] = &[Self::NoAddress, Self::Connect, Self::Timeout, Self::Broken];

    fn index(self) -> usize {
        self as usize
    }

    fn value(self) -> &'static str {
        match self {
            Self::NoAddress => "no_address",
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
        }
    }
}

/// Which memory was looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheLabel {
    /// Verified tokens.
    Token,
    /// Organizations and memberships.
    Directory,
}

impl Label for CacheLabel {
    const NAME: &'static str = "cache";
    const ALL: &'static [Self] = &[Self::Token, Self::Directory];

    fn index(self) -> usize {
        self as usize
    }

    fn value(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Directory => "directory",
        }
    }
}

/// What the look into a memory found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheOutcome {
    /// A fresh entry, a remembered absence included.
    Hit,
    /// Nothing that counts.
    Miss,
    /// An entry past its time, served because its source is away.
    Stale,
}

impl Label for CacheOutcome {
    const NAME: &'static str = "outcome";
    const ALL: &'static [Self] = &[Self::Hit, Self::Miss, Self::Stale];

    fn index(self) -> usize {
        self as usize
    }

    fn value(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Stale => "stale",
        }
    }
}

/// How something ended that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Well.
    Ok,
    /// It failed.
    Failed,
}

impl Label for Outcome {
    const NAME: &'static str = "outcome";
    const ALL: &'static [Self] = &[Self::Ok, Self::Failed];

    fn index(self) -> usize {
        self as usize
    }

    fn value(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
        }
    }
}

impl Label for PrincipalKind {
    const NAME: &'static str = "kind";
    const ALL: &'static [Self] = &[Self::User, Self::Service, Self::Machine, Self::Anonymous];

    fn index(self) -> usize {
        self as usize
    }

    fn value(self) -> &'static str {
        self.as_str()
    }
}

impl Label for Place {
    const NAME: &'static str = "place";
    const ALL: &'static [Self] = &[Self::Query, Self::Body];

    fn index(self) -> usize {
        self as usize
    }

    fn value(self) -> &'static str {
        self.as_str()
    }
}

/// What somebody tried to reach in another organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourceLabel {
    /// A table or view.
    Table,
    /// A function.
    Function,
}

impl From<&Resource> for ResourceLabel {
    fn from(resource: &Resource) -> Self {
        match resource {
            Resource::Table(_) => Self::Table,
            Resource::Function(_) => Self::Function,
        }
    }
}

impl Label for ResourceLabel {
    const NAME: &'static str = "resource";
    const ALL: &'static [Self] = &[Self::Table, Self::Function];

    fn index(self) -> usize {
        self as usize
    }

    fn value(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Function => "function",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_order<L: Label + std::fmt::Debug>() {
        for (place, label) in L::ALL.iter().enumerate() {
            assert_eq!(label.index(), place, "{label:?} stands at another place than it says");
        }
    }

    #[test]
    fn every_label_stands_where_its_index_says() {
        in_order::<MethodClass>();
        in_order::<UpstreamLabel>();
        in_order::<StatusClass>();
        in_order::<StageLabel>();
        in_order::<FaultLabel>();
        in_order::<CacheLabel>();
        in_order::<CacheOutcome>();
        in_order::<Outcome>();
        in_order::<Place>();
        in_order::<ResourceLabel>();
    }

    #[test]
    fn a_method_that_the_edge_refuses_is_still_counted() {
        let odd = Method::from_bytes(b"BREW").unwrap();
        assert_eq!(MethodClass::from(&odd), MethodClass::Other);
        assert_eq!(MethodClass::from(&Method::HEAD), MethodClass::Read);
    }
}
