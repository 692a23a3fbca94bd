//! A scanner of JSON text (RFC 8259) that finds where values end and copies nothing.
//!
//! Takes what `serde_json` takes, as a test shows, and makes no values of it: a body of some MB is
//! checked at the speed of reading it. May import this room's limits and refusals.

use std::borrow::Cow;

use crate::postgrest::limits::MAX_JSON_DEPTH;
use crate::postgrest::refusal::RestRefusal;

/// What is left of a text.
#[derive(Debug)]
pub(super) struct Scanner<'b> {
    rest: &'b [u8],
}

/// The inside of a string, between its quotes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quoted<'b> {
    pub(super) raw: &'b [u8],
    escaped: bool,
}

/// A value: its exact text, and its inside if it is a string.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value<'b> {
    pub(super) raw: &'b [u8],
    pub(super) string: Option<Quoted<'b>>,
}

const MALFORMED: RestRefusal = RestRefusal::BodyMalformed("not valid json");

impl<'b> Scanner<'b> {
    pub(super) fn new(text: &'b str) -> Self {
        Self { rest: text.as_bytes() }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// How much is left.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    #[inline]
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    /// Whether the next byte is this one, which is then passed over.
    #[inline]
    pub(super) fn take(&mut self, byte: u8) -> bool {
        match self.rest.split_first() {
            Some((first, rest)) if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    #[inline]
    pub(super) fn expect(&mut self, byte: u8) -> Result<(), RestRefusal> {
        if self.take(byte) { Ok(()) } else { Err(MALFORMED) }
    }

    /// Passes over white space.
    #[inline]
    pub(super) fn space(&mut self) {
        while let Some((b' ' | b'\t' | b'\n' | b'\r', rest)) = self.rest.split_first() {
            self.rest = rest;
        }
    }

    #[inline]
    fn skip(&mut self, count: usize) {
        self.rest = self.rest.get(count..).unwrap_or_default();
    }

    /// What was passed over since `start` was what is left.
    #[inline]
    fn since(&self, start: &'b [u8]) -> &'b [u8] {
        start.get(..start.len().saturating_sub(self.rest.len())).unwrap_or_default()
    }

    /// A string.
    #[inline]
    pub(super) fn string(&mut self) -> Result<Quoted<'b>, RestRefusal> {
        self.expect(b'"')?;
        let start = self.rest;
        let mut escaped = false;
        loop {
            self.skip(plain_prefix(self.rest));
            match self.next() {
                Some(b'"') => {
                    let with_quote = self.since(start);
                    let raw = with_quote.split_last().map(|(_, raw)| raw).unwrap_or_default();
                    return Ok(Quoted { raw, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) | None => return Err(MALFORMED),
            }
        }
    }

    fn escape(&mut self) -> Result<(), RestRefusal> {
        match self.next() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(()),
            Some(b'u') => match self.rest.first_chunk::<4>() {
                Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => {
                    self.skip(4);
                    Ok(())
                }
                Some(_) | None => Err(MALFORMED),
            },
            Some(_) | None => Err(MALFORMED),
        }
    }

    /// Any value.
    #[inline]
    pub(super) fn value(&mut self) -> Result<Value<'b>, RestRefusal> {
        let start = self.rest;
        let string = match self.peek() {
            Some(b'"') => Some(self.string()?),
            Some(b'{' | b'[') => {
                self.container()?;
                None
            }
            _ => {
                self.scalar()?;
                None
            }
        };
        Ok(Value { raw: self.since(start), string })
    }

    /// A number, `true`, `false` or `null`.
    #[inline]
    fn scalar(&mut self) -> Result<(), RestRefusal> {
        let word: &[u8] = match self.peek() {
            Some(b'-' | b'0'..=b'9') => return self.number(),
            Some(b't') => b"true",
            Some(b'f') => b"false",
            Some(b'n') => b"null",
            _ => return Err(MALFORMED),
        };
        self.rest = self.rest.strip_prefix(word).ok_or(MALFORMED)?;
        Ok(())
    }

    #[inline]
    fn number(&mut self) -> Result<(), RestRefusal> {
        self.take(b'-');
        // A leading zero stands alone.
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _ = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        Ok(())
    }

    /// One digit at least.
    #[inline]
    fn digits(&mut self) -> Result<(), RestRefusal> {
        let count = self.rest.iter().take_while(|b| b.is_ascii_digit()).count();
        self.skip(count);
        if count == 0 { Err(MALFORMED) } else { Ok(()) }
    }

    /// An object or array, without recursion: one bit for each level that is open.
    fn container(&mut self) -> Result<(), RestRefusal> {
        let mut open = Open::default();
        loop {
            // Here a value begins.
            let ended = match self.peek() {
                Some(b'"') => {
                    self.string()?;
                    true
                }
                Some(bracket @ (b'{' | b'[')) => {
                    self.skip(1);
                    let object = bracket == b'{';
                    open.push(object)?;
                    self.space();
                    if self.take(if object { b'}' } else { b']' }) {
                        open.pop();
                        true
                    } else {
                        if object {
                            self.key()?;
                        }
                        false
                    }
                }
                _ => {
                    self.scalar()?;
                    true
                }
            };
            if !ended {
                continue;
            }
            // Here a value has ended, and perhaps what it stands in.
            loop {
                if open.is_empty() {
                    return Ok(());
                }
                self.space();
                match self.next() {
                    Some(b',') => {
                        self.space();
                        if open.in_object() {
                            self.key()?;
                        }
                        break;
                    }
                    Some(b'}') if open.in_object() => open.pop(),
                    Some(b']') if !open.in_object() => open.pop(),
                    _ => return Err(MALFORMED),
                }
            }
        }
    }

    /// A key and its colon.
    fn key(&mut self) -> Result<(), RestRefusal> {
        self.string()?;
        self.space();
        self.expect(b':')?;
        self.space();
        Ok(())
    }
}

impl<'b> Quoted<'b> {
    /// The text that it stands for.
    pub(super) fn decode(&self) -> Result<Cow<'b, str>, RestRefusal> {
        if !self.escaped {
            return std::str::from_utf8(self.raw).map(Cow::Borrowed).map_err(|_| MALFORMED);
        }
        let quoted = [b"\"", self.raw, b"\""].concat();
        serde_json::from_slice(&quoted).map(Cow::Owned).map_err(|_| MALFORMED)
    }
}

/// The levels that are open, innermost last; a set bit is an object.
#[derive(Debug, Default)]
struct Open {
    depth: u32,
    objects: u64,
}

impl Open {
    fn push(&mut self, object: bool) -> Result<(), RestRefusal> {
        if self.depth == MAX_JSON_DEPTH {
            return Err(RestRefusal::BodyMalformed("nested too deep"));
        }
        self.depth += 1;
        self.objects = self.objects << 1 | u64::from(object);
        Ok(())
    }

    fn pop(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.objects >>= 1;
    }

    fn is_empty(&self) -> bool {
        self.depth == 0
    }

    fn in_object(&self) -> bool {
        self.objects & 1 == 1
    }
}

// The levels have to fit into the bits.
const _: () = assert!(MAX_JSON_DEPTH <= u64::BITS);

/// How many bytes come before the first that has to be escaped in a string: a quote, a backslash
/// or a control character. Eight bytes at a time.
#[inline]
pub(super) fn plain_prefix(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let plain = plain_bytes(u64::from_le_bytes(*word));
        if plain < 8 {
            return index * 8 + plain;
        }
    }
    let plain = rest.iter().take_while(|b| **b >= 0x20 && !matches!(b, b'"' | b'\\'));
    words.len() * 8 + plain.count()
}

/// How many of eight bytes, from the lowest, come before the first quote, backslash or control
/// character: all at once, by the tests for a zero and for a small byte in a word (H. S. Warren,
/// "Hacker's Delight", section 6-1). Such a test can err above the first byte it finds only.
#[inline]
fn plain_bytes(word: u64) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES * 128;
    let zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let quote = zero(word ^ (ONES * b'"' as u64));
    let backslash = zero(word ^ (ONES * b'\\' as u64));
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    let found = (quote | backslash | control) & HIGHS;
    (found.trailing_zeros() / 8) as usize
}

#[cfg(test)]
mod tests;
