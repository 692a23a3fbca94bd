//! Path patterns of routes: literal segments, `{name}` for one segment, `{name*}` for the rest.
//!
//! A pattern is matched against the path byte for byte: the edge has refused every path that has
//! a second spelling.

use std::fmt;
use std::sync::Arc;

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    text: Arc<str>,
    segments: Vec<Segment>,
    rest: Option<Arc<str>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(Box<str>),
    Capture(Arc<str>),
}

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It does not begin with a slash.
    #[error("a path pattern begins with `/`")]
    NoSlash,
    /// It has an empty segment, a dot segment or a character that no path has.
    #[error("segment `{0}` cannot occur in a path")]
    Segment(Box<str>),
    /// `{name*}` stands before the end.
    #[error("`{{{0}*}}` takes the rest of the path and must come last")]
    RestNotLast(Box<str>),
    /// Braces that do not make a capture.
    #[error("`{0}` is not a capture: write `{{name}}` or `{{name*}}`")]
    Capture(Box<str>),
    /// Two captures of one name.
    #[error("the capture `{0}` occurs twice")]
    Twice(Box<str>),
}

/// What a pattern captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Captured<'p, 'h> {
    pattern: &'p PathPattern,
    path: &'h str,
}

impl PathPattern {
    /// Compiles a pattern.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let Some(tail) = text.strip_prefix('/') else { return Err(PatternError::NoSlash) };
        let mut pattern = Self { text: Arc::from(text), segments: Vec::new(), rest: None };
        let mut names: Vec<&str> = Vec::new();
        let mut parts = tail.split('/').peekable();
        while let Some(part) = parts.next() {
            let last = parts.peek().is_none();
            let Some(inner) = part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) else {
                match part {
                    // A trailing slash is a literal of its own, and only the root has nothing else.
                    "" if last => pattern.segments.push(Segment::Literal(Box::from(""))),
                    _ => pattern.segments.push(Segment::Literal(literal(part)?)),
                }
                continue;
            };
            let (name, rest) = match inner.strip_suffix('*') {
                Some(name) => (name, true),
                None => (inner, false),
            };
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return Err(PatternError::Capture(Box::from(part)));
            }
            if names.contains(&name) {
                return Err(PatternError::Twice(Box::from(name)));
            }
            names.push(name);
            match (rest, last) {
                (true, false) => return Err(PatternError::RestNotLast(Box::from(name))),
                (true, true) => pattern.rest = Some(Arc::from(name)),
                (false, _) => pattern.segments.push(Segment::Capture(Arc::from(name))),
            }
        }
        Ok(pattern)
    }

    /// Matches a path. `{name}` takes one segment that is not empty; `{name*}` takes what is left,
    /// which may be empty.
    pub fn matches<'p, 'h>(&'p self, path: &'h str) -> Option<Captured<'p, 'h>> {
        let mut rest = Some(path.strip_prefix('/')?);
        for segment in &self.segments {
            let (part, tail) = next_segment(rest?);
            rest = tail;
            let fits = match segment {
                Segment::Literal(literal) => part == literal.as_ref(),
                Segment::Capture(_) => !part.is_empty(),
            };
            if !fits {
                return None;
            }
        }
        let fits = self.rest.is_some() || rest.is_none();
        fits.then_some(Captured { pattern: self, path })
    }

    /// Whether the pattern captures a segment or rest of that name.
    pub fn has_capture(&self, name: &str) -> bool {
        self.rest.as_deref() == Some(name)
            || self.segments.iter().any(|s| matches!(s, Segment::Capture(n) if n.as_ref() == name))
    }

    /// What every path that matches begins with.
    pub fn literal_start(&self) -> String {
        let mut start = String::new();
        for segment in &self.segments {
            start.push('/');
            match segment {
                Segment::Literal(literal) => start.push_str(literal),
                Segment::Capture(_) => return start,
            }
        }
        start
    }

    /// Orders patterns so that the more specific comes first: literal before capture before rest,
    /// decided at the first segment that differs.
    pub fn specificity(&self) -> Vec<u8> {
        let mut ranks: Vec<u8> = self
            .segments
            .iter()
            .map(|segment| match segment {
                Segment::Literal(_) => 0,
                Segment::Capture(_) => 1,
            })
            .collect();
        ranks.push(if self.rest.is_some() { 3 } else { 2 });
        ranks
    }

    /// The pattern without the names of its captures. Two patterns of one shape match the same paths,
    /// and of two with a path in common and different shapes one is the more specific.
    pub fn shape(&self) -> String {
        let mut shape = String::with_capacity(self.text.len());
        for segment in &self.segments {
            shape.push('/');
            match segment {
                Segment::Literal(literal) => shape.push_str(literal),
                Segment::Capture(_) => shape.push_str("{}"),
            }
        }
        if self.rest.is_some() {
            shape.push_str("/{*}");
        }
        shape
    }

    /// Whether some path matches both patterns and neither is the more specific.
    pub fn ambiguous_with(&self, other: &Self) -> bool {
        #[cfg(test)]
        crate::domain::steps::step();
        self.rest.is_some() == other.rest.is_some()
            && self.segments.len() == other.segments.len()
            && self.segments.iter().zip(&other.segments).all(|pair| match pair {
                (Segment::Literal(a), Segment::Literal(b)) => a == b,
                (Segment::Capture(_), Segment::Capture(_)) => true,
                (Segment::Literal(_), Segment::Capture(_))
                | (Segment::Capture(_), Segment::Literal(_)) => false,
            })
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<'h> Captured<'_, 'h> {
    /// The text that the capture of that name took, as it stands in the path (percent-encoded).
    pub fn get(&self, name: &str) -> Option<&'h str> {
        let mut rest = self.path.strip_prefix('/').unwrap_or_default();
        for segment in &self.pattern.segments {
            let (part, tail) = next_segment(rest);
            if matches!(segment, Segment::Capture(n) if n.as_ref() == name) {
                return Some(part);
            }
            rest = tail.unwrap_or_default();
        }
        (self.pattern.rest.as_deref() == Some(name)).then_some(rest)
    }
}

/// The first segment, and what follows its slash. Segments are short: a search for the slash byte
/// by byte beats `split_once`.
fn next_segment(path: &str) -> (&str, Option<&str>) {
    let slash = path.bytes().position(|byte| byte == b'/');
    match slash.and_then(|at| Some((path.get(..at)?, path.get(at + 1..)?))) {
        Some((part, tail)) => (part, Some(tail)),
        None => (path, None),
    }
}

fn literal(part: &str) -> Result<Box<str>, PatternError> {
    let fits = |b: u8| {
        b.is_ascii_graphic() && !matches!(b, b'{' | b'}' | b'?' | b'#' | b'\\' | b'*' | b'%' | b';')
    };
    if part.is_empty() || part == "." || part == ".." || !part.bytes().all(fits) {
        return Err(if part.contains(['{', '}']) {
            PatternError::Capture(Box::from(part))
        } else {
            PatternError::Segment(Box::from(part))
        });
    }
    Ok(Box::from(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> PathPattern {
        PathPattern::parse(text).unwrap()
    }

    #[test]
    fn a_capture_takes_one_segment_that_is_not_empty() {
        let p = pattern("/rest/v1/{table}");
        assert_eq!(p.matches("/rest/v1/events").unwrap().get("table"), Some("events"));
        for other in ["/rest/v1", "/rest/v1/", "/rest/v1/a/b", "/rest/v2/events", "/rest/v1/a/"] {
            assert!(p.matches(other).is_none(), "{other}");
        }
    }

    #[test]
    fn a_rest_capture_takes_what_is_left() {
        let p = pattern("/storage/v1/{path*}");
        assert_eq!(p.matches("/storage/v1/a/b").unwrap().get("path"), Some("a/b"));
        assert_eq!(p.matches("/storage/v1/").unwrap().get("path"), Some(""));
        assert!(p.matches("/storage").is_none());
    }

    #[test]
    fn the_root_and_trailing_slashes_are_literal() {
        assert!(pattern("/").matches("/").is_some());
        assert!(pattern("/").matches("/a").is_none());
        assert!(pattern("/a/").matches("/a/").is_some());
        assert!(pattern("/a/").matches("/a").is_none());
        assert!(pattern("/a").matches("/a/").is_none());
    }

    #[test]
    fn malformed_patterns_say_what_is_wrong() {
        let cases = [
            ("rest", PatternError::NoSlash),
            ("/a//b", PatternError::Segment(Box::from(""))),
            ("/a/../b", PatternError::Segment(Box::from(".."))),
            ("/{x*}/b", PatternError::RestNotLast(Box::from("x"))),
            ("/{x", PatternError::Capture(Box::from("{x"))),
            ("/{x}/{x}", PatternError::Twice(Box::from("x"))),
        ];
        for (text, error) in cases {
            assert_eq!(PathPattern::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn patterns_are_ambiguous_only_if_neither_is_more_specific() {
        assert!(pattern("/a/{x}").ambiguous_with(&pattern("/a/{y}")));
        assert!(!pattern("/a/{x}").ambiguous_with(&pattern("/a/b")));
        assert!(!pattern("/a/{x}").ambiguous_with(&pattern("/a/{x*}")));
        assert!(!pattern("/a/{x}").ambiguous_with(&pattern("/b/{x}")));
    }
}
