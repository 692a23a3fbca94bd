//! Percent encoding, both ways, as PostgREST's server reads it.
//!
//! Decoding is strict where PostgREST is lenient: a broken sequence, NUL or invalid UTF-8 is
//! refused. Encoding leaves only what no parser on the way can read differently. May not import
//! anything of this crate but this room.

use std::borrow::Cow;

use super::refusal::RestRefusal;

/// What a `+` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plus {
    /// A space, as in query strings.
    Space,
    /// Itself, as in paths.
    Plus,
}

/// Decodes one path segment, key or value.
pub(super) fn decode(raw: &str, plus: Plus) -> Result<Cow<'_, str>, RestRefusal> {
    if raw.bytes().any(|b| b == 0) {
        return Err(RestRefusal::EncodingMalformed);
    }
    if !raw.bytes().any(|b| b == b'%' || b == b'+') {
        return Ok(Cow::Borrowed(raw));
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let high = bytes.next().and_then(hex).ok_or(RestRefusal::EncodingMalformed)?;
                let low = bytes.next().and_then(hex).ok_or(RestRefusal::EncodingMalformed)?;
                match high << 4 | low {
                    0 => return Err(RestRefusal::EncodingMalformed),
                    decoded => out.push(decoded),
                }
            }
            b'+' if plus == Plus::Space => out.push(b' '),
            other => out.push(other),
        }
    }
    String::from_utf8(out).map(Cow::Owned).map_err(|_| RestRefusal::EncodingMalformed)
}

/// Appends `text`, percent-encoding all but unreserved characters, `*`, `:` and `@`.
pub(super) fn encode(text: &str, out: &mut String) {
    // Most names and values need no encoding.
    if text.bytes().all(is_plain) {
        return out.push_str(text);
    }
    for byte in text.bytes() {
        if is_plain(byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(digit(byte >> 4));
            out.push(digit(byte & 15));
        }
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'*' | b':' | b'@')
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

fn digit(value: u8) -> char {
    char::from_digit(u32::from(value), 16).unwrap_or('0').to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_what_it_encodes() {
        for text in ["", "a b", "ä,(\"\\%+&;=#/", "\u{1F980}", "\n\t"] {
            let mut encoded = String::new();
            encode(text, &mut encoded);
            assert!(encoded.is_ascii());
            assert_eq!(decode(&encoded, Plus::Space).unwrap(), text);
            assert_eq!(decode(&encoded, Plus::Plus).unwrap(), text);
        }
    }

    #[test]
    fn refuses_broken_sequences_nul_and_invalid_utf8() {
        for raw in ["%", "%a", "%zz", "a%0", "%00", "a\0", "%ff", "%c3%28", "%ed%a0%80", "%+1"] {
            assert_eq!(decode(raw, Plus::Space), Err(RestRefusal::EncodingMalformed), "{raw}");
        }
    }

    #[test]
    fn a_plus_is_a_space_only_in_queries() {
        assert_eq!(decode("a+b", Plus::Space).unwrap(), "a b");
        assert_eq!(decode("a+b", Plus::Plus).unwrap(), "a+b");
        assert_eq!(decode("a%2Bb", Plus::Space).unwrap(), "a+b");
    }
}
