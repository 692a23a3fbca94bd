//! Where a head ends, as far as one can tell from its bytes. Looks only; refuses nothing by itself.
//! Imports nothing.

/// Follows a head as it comes in, to its blank line (RFC 9112 section 2.1).
#[derive(Debug, Default)]
pub(super) struct BlankLine {
    line: Line,
    /// Whether a line that is not empty has come: empty ones before it are passed over.
    begun: bool,
    reached: bool,
    beyond: bool,
}

/// What the line that is being read holds so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Line {
    #[default]
    Nothing,
    Return,
    Text,
}

impl BlankLine {
    /// Takes the next bytes.
    pub(super) fn take(&mut self, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n').filter(|_| !self.reached)
        {
            let (line, rest) = bytes.split_at_checked(end + 1).unwrap_or((bytes, &[]));
            self.extend(line.get(..end).unwrap_or_default());
            match self.line {
                Line::Text => self.begun = true,
                Line::Nothing | Line::Return => self.reached = self.begun,
            }
            self.line = Line::Nothing;
            bytes = rest;
        }
        self.beyond |= self.reached && !bytes.is_empty();
        self.extend(bytes);
    }

    fn extend(&mut self, bytes: &[u8]) {
        self.line = match (self.line, bytes) {
            (line, []) => line,
            (Line::Nothing, [b'\r']) => Line::Return,
            _ => Line::Text,
        };
    }

    /// Whether the head came to its end, and nothing after it.
    pub(super) fn is_last(&self) -> bool {
        self.reached && !self.beyond
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_blank_line_is_last_only_where_nothing_follows_it_however_the_head_is_cut() {
        for (head, last) in [
            ("GET / HTTP/1.1\r\nhost: x\r\n\r\n", true),
            ("GET / HTTP/1.1\nhost: x\n\n", true),
            ("\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nhost: x\r\n", false),
            ("GET / HTTP/1.1\r\nhost: x\r\n\r", false),
            ("GET / HTTP/1.1\r\nhost: x\r\n\r\nG", false),
            ("GET / HTTP/1.1\r\nhost: x\r\n\r\n\r\n", false),
            ("GET /1 HTTP/1.1\r\na: b\r\n\r\nGET /2 HTTP/1.1\r\na: b\r\n\r\n", false),
            ("POST / HTTP/1.1\r\ncontent-length: 4\r\n\r\na\r\n\r\n", false),
            ("\r\n\r\n", false),
            ("", false),
        ] {
            for cut in 0..=head.len() {
                let mut blank = BlankLine::default();
                let (one, other) = head.as_bytes().split_at(cut);
                blank.take(one);
                blank.take(other);
                assert_eq!(blank.is_last(), last, "{head:?} cut at {cut}");
            }
        }
    }
}
