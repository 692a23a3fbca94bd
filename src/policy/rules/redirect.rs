//! Where a rule sends a client. Constant text, or the request's path behind a constant origin: a
//! client never chooses the host.

use std::sync::Arc;

use http::{HeaderValue, StatusCode};

/// A redirect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
    /// Where to.
    pub to: Location,
}

/// Where a client is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// Always there.
    Constant(HeaderValue),
    /// To the same path of this origin (`scheme://host[:port]`). The query stays behind: it can
    /// hold keys.
    SamePath(Arc<str>),
}

impl Redirect {
    /// The value of `Location` for a request with this path, which begins with a slash and has no
    /// empty segment; `None` where it cannot be one.
    pub fn location(&self, path: &str) -> Option<HeaderValue> {
        match &self.to {
            Location::Constant(to) => Some(to.clone()),
            Location::SamePath(origin) => HeaderValue::from_str(&[origin, path].concat()).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_never_the_clients() {
        let to = |to| Redirect { status: StatusCode::PERMANENT_REDIRECT, to };
        let same = to(Location::SamePath(Arc::from("https://new.example.com")));
        assert_eq!(
            same.location("/a/@evil.example").unwrap(),
            "https://new.example.com/a/@evil.example"
        );
        let constant = to(Location::Constant(HeaderValue::from_static("/maintenance")));
        assert_eq!(constant.location("/anything").unwrap(), "/maintenance");
    }
}
