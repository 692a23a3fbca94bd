//! The request line, before Pingora repairs it. Looks only; refuses nothing by itself.
//! Imports nothing.

/// Looks at a request line as it comes in: Pingora escapes spaces and control characters in a
/// target, so that nobody behind it can see them.
#[derive(Debug, Default)]
pub(super) struct RequestLine {
    pub(super) begun: bool,
    done: bool,
    spaces: u8,
    /// Whether the last byte was a carriage return, which only a line feed may follow.
    returned: bool,
    control: bool,
}

impl RequestLine {
    /// Takes the next bytes of the head; true if the line turns out to be odd.
    pub(super) fn take(&mut self, bytes: &[u8]) -> bool {
        for byte in bytes {
            if self.done {
                return false;
            }
            match byte {
                // Empty lines before the first one are passed over (RFC 9112 section 2.2).
                b'\r' | b'\n' if !self.begun => {}
                b'\n' => {
                    self.done = true;
                    return self.spaces != 2 || self.control || !self.returned;
                }
                b'\r' => {
                    self.control |= self.returned;
                    self.returned = true;
                }
                _ => {
                    self.begun = true;
                    self.spaces = self.spaces.saturating_add(u8::from(*byte == b' '));
                    self.control |= self.returned || byte.is_ascii_control();
                }
            }
        }
        false
    }
}
