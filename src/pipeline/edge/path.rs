//! The one spelling of a path. A path that has a second one is refused, not repaired: routes match
//! bytes, and the upstream decodes them in its own way.

use crate::domain::refusal::EdgeRefusal;

/// Splits a target into path and query and makes sure that the path has one spelling.
pub(super) fn split(target: &[u8]) -> Result<(&str, Option<&str>), EdgeRefusal> {
    let text = std::str::from_utf8(target).map_err(|_| EdgeRefusal::Characters)?;
    // Without a way out early, sixteen bytes are looked at together.
    let printable = |ok, byte: u8| ok & byte.is_ascii_graphic() & (byte != b'#');
    if !text.bytes().fold(true, printable) {
        return Err(EdgeRefusal::Characters);
    }
    let (path, query) = match target.iter().position(|byte| *byte == b'?') {
        Some(at) => (text.get(..at).unwrap_or_default(), text.get(at + 1..)),
        None => (text, None),
    };
    let rest = path.strip_prefix('/').ok_or(EdgeRefusal::Path)?;
    if path.bytes().any(|b| matches!(b, b'\\' | b';')) || !escapes_are_plain(path.as_bytes()) {
        return Err(EdgeRefusal::Path);
    }
    let mut segments = rest.as_bytes().split(|byte| *byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        if matches!(segment, b"." | b"..") || (segment.is_empty() && !last) {
            return Err(EdgeRefusal::Path);
        }
    }
    Ok((path, query))
}

/// Whether every percent escape is a pair of hex digits that stands for something that has to be
/// escaped: no unreserved character (RFC 3986 section 2.3; dots are among them), no slash, no
/// backslash, no control character, and no percent sign before two hex digits (double encoding).
fn escapes_are_plain(path: &[u8]) -> bool {
    let mut rest = path;
    while let Some(at) = rest.iter().position(|b| *b == b'%') {
        let Some([_, high, low, after @ ..]) = rest.get(at..) else { return false };
        let (Some(high), Some(low)) = (hex(*high), hex(*low)) else { return false };
        let byte = high << 4 | low;
        let unreserved = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        let twice =
            byte == b'%' && matches!(after, [a, b, ..] if hex(*a).is_some() && hex(*b).is_some());
        if unreserved || twice || byte.is_ascii_control() || matches!(byte, b'/' | b'\\') {
            return false;
        }
        rest = after;
    }
    true
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
