//! What gateways ask of texts: lists in header fields, entropy, injection.
//!
//! May import nothing of other rooms.

use super::evaluate::Frame;
use super::fault::Fault;
use super::value::Value;

/// What is injected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Injection {
    /// SQL.
    Sql,
    /// Scripts into pages.
    Script,
}

impl Injection {
    /// Whether a text, or any in a list or a map, looks like one, as libinjection tells.
    pub(super) fn is_in<'v>(self, of: &Value<'v>, frame: &mut Frame<'v>) -> Result<bool, Fault> {
        frame.step()?;
        match of {
            Value::Text(text) => {
                // It looks at a text several times.
                frame.pay(text.len().saturating_mul(4))?;
                self.detect(text.as_bytes())
            }
            Value::List(list) => {
                for item in list.iter() {
                    if self.is_in(&item, frame)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Value::Map(map) => {
                frame.pay(map.cost())?;
                for key in map.keys().iter() {
                    let value = map.get(&key).unwrap_or(Value::Null);
                    if self.is_in(&key, frame)? || self.is_in(&value, frame)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Value::Null
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Uint(_)
            | Value::Double(_)
            | Value::Bytes(_)
            | Value::Moment(_)
            | Value::Span(_)
            | Value::Address(_)
            | Value::Version(_) => Ok(false),
        }
    }

    fn detect(self, text: &[u8]) -> Result<bool, Fault> {
        // The library takes slices by index. Should one be wrong, this text has no answer, and the
        // request is decided as the rule says of faults.
        let found = std::panic::catch_unwind(|| match self {
            Self::Sql => libinjectionrs::detect_sqli(text).is_injection(),
            Self::Script => libinjectionrs::detect_xss(text).is_injection(),
        });
        found.map_err(|_| Fault::Detector)
    }
}

/// The members of a list in a header field (RFC 9110 section 5.6.1): between commas, those in quoted
/// strings aside, without the white space around them; empty ones are none.
pub(super) fn header_list(field: &str) -> Vec<String> {
    let mut members = Vec::new();
    let (mut start, mut quoted, mut escaped) = (0, false, false);
    let mut add = |from: usize, to: usize| {
        let member = field.get(from..to).unwrap_or_default().trim_matches([' ', '\t']);
        if !member.is_empty() {
            members.push(member.to_owned());
        }
    };
    for (at, byte) in field.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => {
                add(start, at);
                start = at + 1;
            }
            _ => {}
        }
    }
    add(start, field.len());
    members
}

/// Shannon entropy, in bits for each byte: 0 for one letter again and again, up to 8.
pub(super) fn entropy(text: &str) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in text.bytes() {
        if let Some(count) = counts.get_mut(usize::from(byte)) {
            *count += 1;
        }
    }
    let all = text.len() as f64;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f64::from(*count) / all)
        .map(|share| -share * share.log2())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_in_fields_end_at_commas_outside_of_quotes() {
        assert_eq!(
            header_list("a, b;q=\"1,2\" ,, \"x\\\",y\""),
            ["a", "b;q=\"1,2\"", "\"x\\\",y\""]
        );
        assert!(header_list(" , ").is_empty());
    }

    #[test]
    fn entropy_is_in_bits_for_each_byte() {
        assert_eq!(entropy(""), 0.0);
        assert_eq!(entropy("aaaa"), 0.0);
        assert_eq!(entropy("abcd"), 2.0);
    }
}
