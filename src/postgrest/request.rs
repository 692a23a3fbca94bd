//! What comes in: a client's request to a PostgREST upstream.
//!
//! May not import anything of this crate.

use http::HeaderMap;

/// The methods that PostgREST serves on tables, but `OPTIONS`, which the edge answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestMethod {
    /// Reads rows.
    Get,
    /// Reads the headers of a GET.
    Head,
    /// Inserts.
    Post,
    /// Updates.
    Patch,
    /// Upserts one row.
    Put,
    /// Deletes.
    Delete,
}

impl RestMethod {
    /// Reads a method; `None` for those that PostgREST does not serve on tables.
    pub fn from_http(method: &http::Method) -> Option<Self> {
        Some(match *method {
            http::Method::GET => Self::Get,
            http::Method::HEAD => Self::Head,
            http::Method::POST => Self::Post,
            http::Method::PATCH => Self::Patch,
            http::Method::PUT => Self::Put,
            http::Method::DELETE => Self::Delete,
            _ => return None,
        })
    }

    /// Whether rows may change.
    pub fn writes(self) -> bool {
        !matches!(self, Self::Get | Self::Head)
    }

    /// Whether a body belongs to it.
    pub fn has_body(self) -> bool {
        matches!(self, Self::Post | Self::Patch | Self::Put)
    }
}

/// A client's request to a PostgREST upstream, as the route stage hands it over.
#[derive(Debug, Clone, Copy)]
pub struct RestRequest<'a> {
    /// The method.
    pub method: RestMethod,
    /// The path behind the route's prefix, still percent-encoded, with its leading slash.
    pub path: &'a str,
    /// The raw query string, without `?`.
    pub query: Option<&'a str>,
    /// The client's headers.
    pub headers: &'a HeaderMap,
}
