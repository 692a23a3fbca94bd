//! Ids: one type for each, so that a user's id cannot stand where an organization's belongs.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use uuid::Uuid;

/// An organization's id. Printed in its canonical spelling (lowercase, hyphenated).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrgId(Uuid);

impl OrgId {
    /// Wraps a UUID.
    pub fn new(id: Uuid) -> Self {
        Self(id)
    }

    /// The UUID.
    pub fn as_uuid(&self) -> &Uuid {
        &self.0
    }
}

impl fmt::Display for OrgId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl FromStr for OrgId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Uuid::try_parse(text).map(Self).map_err(|_| InvalidId::new("organization id", text))
    }
}

/// An organization's slug: 1 to 63 of `a-z`, `0-9` and inner hyphens, as in a DNS label (RFC 1123).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrgSlug(Arc<str>);

impl OrgSlug {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for OrgSlug {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let inner = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        let edges = !text.starts_with('-') && !text.ends_with('-');
        if inner && edges && (1..=63).contains(&text.len()) {
            Ok(Self(Arc::from(text)))
        } else {
            Err(InvalidId::new("organization slug", text))
        }
    }
}

impl fmt::Display for OrgSlug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A user's id as their token's `sub` states it: 1 to 255 printable ASCII characters
/// (OpenID Connect Core 2: `sub` must not exceed 255 ASCII characters).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(Arc<str>);

impl UserId {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if (1..=255).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
            Ok(Self(Arc::from(text)))
        } else {
            Err(InvalidId::new("user id", text))
        }
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of one request: UUIDv7, or what a trusted proxy sent (1 to 128 of `A-Za-z0-9._-`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestId(Box<str>);

impl RequestId {
    /// A fresh id for a request that arrived at that time (milliseconds since 1970), from 74
    /// random bits (RFC 9562 section 5.7).
    pub fn fresh(unix_millis: u64, random: [u8; 10]) -> Self {
        let id = uuid::Builder::from_unix_timestamp_millis(unix_millis, &random).into_uuid();
        let mut buffer = Uuid::encode_buffer();
        Self(Box::from(&*id.as_hyphenated().encode_lower(&mut buffer)))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RequestId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if (1..=128).contains(&text.len()) && text.bytes().all(fits) {
            Ok(Self(Box::from(text)))
        } else {
            Err(InvalidId::new("request id", text))
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is not an id of the kind that was wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a valid {kind}")]
pub struct InvalidId {
    kind: &'static str,
    text: Box<str>,
}

impl InvalidId {
    fn new(kind: &'static str, text: &str) -> Self {
        let shown: String = text.chars().take(64).flat_map(char::escape_debug).collect();
        Self { kind, text: shown.into_boxed_str() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_organization_id_is_printed_in_its_canonical_spelling() {
        let id: OrgId = "7B0D3C1E-0000-4000-8000-00000000000A".parse().unwrap();
        assert_eq!(id.to_string(), "7b0d3c1e-0000-4000-8000-00000000000a");
    }

    #[test]
    fn a_slug_is_a_dns_label() {
        for good in ["a", "acme", "a-1", &"x".repeat(63)] {
            assert!(good.parse::<OrgSlug>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a b", "é", &"x".repeat(64)] {
            assert!(bad.parse::<OrgSlug>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_user_id_is_short_printable_ascii() {
        assert!("auth0|abc".parse::<UserId>().is_ok());
        for bad in ["", "a b", "a\n", "é", &"x".repeat(256)] {
            assert!(bad.parse::<UserId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_fresh_request_id_is_a_version_7_uuid_of_its_time() {
        let id = RequestId::fresh(0x0191_2345_6789, [0xff; 10]);
        assert!(id.as_str().starts_with("01912345-6789-7"), "{id}");
        assert_eq!(Uuid::parse_str(id.as_str()).unwrap().get_version_num(), 7);
    }
}
