//! The path: one segment that names a table.
//!
//! May not import anything of this crate but this room.

use std::borrow::Cow;

use super::percent::{Plus, decode};
use super::refusal::RestRefusal;

/// What a path leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Resource<'a> {
    /// `/events`: a table or view.
    Table(Cow<'a, str>),
    /// `/rpc/org_stats`: a function.
    Function(Cow<'a, str>),
}

/// The decoded name in a path such as `/events` or `/rpc/org_stats`.
pub(super) fn resource(path: &str) -> Result<Resource<'_>, RestRefusal> {
    let path = path.strip_prefix('/').unwrap_or(path);
    if path.is_empty() {
        return Err(RestRefusal::RootUnavailable);
    }
    let mut segments = path.split('/');
    let first = decode_segment(segments.next().unwrap_or_default())?;
    match (segments.next(), segments.next()) {
        (None, _) => Ok(Resource::Table(first)),
        (Some(second), None) => match (first.as_ref(), decode_segment(second)) {
            ("rpc", Ok(name)) => Ok(Resource::Function(name)),
            (_, Ok(_)) => Err(RestRefusal::PathMalformed),
            (_, Err(refusal)) => Err(refusal),
        },
        (Some(_), Some(_)) => Err(RestRefusal::PathMalformed),
    }
}

/// The decoded text of one path segment.
///
/// # Errors
/// A [`RestRefusal`] where it is malformed, empty, a dot segment or holds a slash.
pub fn decode_segment(raw: &str) -> Result<Cow<'_, str>, RestRefusal> {
    let decoded = decode(raw, Plus::Plus)?;
    match decoded.as_ref() {
        "" | "." | ".." => Err(RestRefusal::PathMalformed),
        name if name.contains(['/', '\\']) => Err(RestRefusal::PathMalformed),
        _ => Ok(decoded),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_segment_is_a_table_and_one_behind_rpc_a_function() {
        assert_eq!(resource("/events").unwrap(), Resource::Table("events".into()));
        assert_eq!(resource("/ev%65nts").unwrap(), Resource::Table("events".into()));
        assert_eq!(resource("/a+b%20c").unwrap(), Resource::Table("a+b c".into()));
        assert_eq!(resource("/rpc/org_stats").unwrap(), Resource::Function("org_stats".into()));
        assert_eq!(resource("/%72pc/bump").unwrap(), Resource::Function("bump".into()));
    }

    #[test]
    fn everything_else_is_refused() {
        for (path, code) in [
            ("", "rest_root_unavailable"),
            ("/", "rest_root_unavailable"),
            ("//events", "rest_path_malformed"),
            ("/events/", "rest_path_malformed"),
            ("/./events", "rest_path_malformed"),
            ("/..", "rest_path_malformed"),
            ("/%2e%2e", "rest_path_malformed"),
            ("/rpc%2Fbump", "rest_path_malformed"),
            ("/a%5Cb", "rest_path_malformed"),
            ("/a/b", "rest_path_malformed"),
            ("/rpc/a/b", "rest_path_malformed"),
            ("/rpc/", "rest_path_malformed"),
            ("/ev%00ents", "rest_encoding_malformed"),
            ("/ev%ff", "rest_encoding_malformed"),
        ] {
            assert_eq!(resource(path).unwrap_err().code(), code, "{path}");
        }
    }
}
