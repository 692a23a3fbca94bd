//! The domain of an e-mail address, read so that two readers cannot disagree on it.
//!
//! What counts is the exact domain of a plain address (RFC 5321 section 4.1.2 without quoted local
//! parts, comments, address literals and routes). Whatever could be read in two ways names no
//! domain. Pure; imports no other room.

use std::fmt;
use std::str::FromStr;

/// Bytes of an address (RFC 5321 section 4.5.3.1.3, without the angle brackets).
const MAX_ADDRESS: usize = 254;
/// Bytes of what stands before the `@` (RFC 5321 section 4.5.3.1.1).
const MAX_LOCAL: usize = 64;
/// Bytes of a name (RFC 1035 section 2.3.4, without the root's dot).
const MAX_DOMAIN: usize = 253;

/// A mail domain in its one spelling: lowercase ASCII, internationalised labels as `xn--…`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MailDomain(Box<str>);

/// A text that is no mail domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a mail domain: two or more labels in lowercase, as in `acme.com`")]
pub struct InvalidDomain;

impl MailDomain {
    /// The domain of an address. `None`: it is not a plain address.
    pub fn of_address(address: &str) -> Option<Self> {
        let (local, domain) = address.split_once('@')?;
        // RFC 5322 section 3.2.3: words of `atext`, joined by dots.
        let atext = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c);
        let word = |word: &str| !word.is_empty() && word.chars().all(atext);
        let plain =
            address.len() <= MAX_ADDRESS && local.len() <= MAX_LOCAL && local.split('.').all(word);
        if plain { domain.to_ascii_lowercase().parse().ok() } else { None }
    }

    /// The domain in ASCII.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MailDomain {
    type Err = InvalidDomain;

    /// An internationalised domain in either of its spellings. What its normal form (UTS 46) would
    /// change, such as full-width letters, is refused rather than changed.
    fn from_str(text: &str) -> Result<Self, InvalidDomain> {
        let ascii = idna::domain_to_ascii_strict(text).map_err(|_| InvalidDomain)?;
        let (unicode, sound) = idna::domain_to_unicode(&ascii);
        let label = |label: &str| {
            let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            let edges = !label.starts_with('-') && !label.ends_with('-');
            (1..=63).contains(&label.len()) && edges && label.bytes().all(fits)
        };
        let numeric = |label: &str| label.bytes().all(|b| b.is_ascii_digit());
        let named = ascii.split('.').all(label)
            && ascii.rsplit_once('.').is_some_and(|(_, top)| !numeric(top));
        let settled = sound.is_ok() && (text == ascii || text == unicode);
        if named && settled && ascii.len() <= MAX_DOMAIN {
            Ok(Self(ascii.into()))
        } else {
            Err(InvalidDomain)
        }
    }
}

impl fmt::Display for MailDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(address: &str) -> Option<String> {
        MailDomain::of_address(address).map(|domain| domain.to_string())
    }

    #[test]
    fn a_plain_address_has_its_exact_domain() {
        for (address, domain) in [
            ("ann@acme.com", "acme.com"),
            ("Ann.O'Neil+crm@ACME.Com", "acme.com"),
            ("a@sub.acme.com", "sub.acme.com"),
            ("a@bücher.example", "xn--bcher-kva.example"),
            ("a@xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("a@XN--BCHER-KVA.example", "xn--bcher-kva.example"),
            // A lookalike is another domain: its first letter is Cyrillic.
            ("a@\u{430}cme.com", "xn--cme-5cd.com"),
        ] {
            assert_eq!(of(address).as_deref(), Some(domain), "{address}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_names_no_domain() {
        let long_local = format!("{}@acme.com", "a".repeat(65));
        let long_label = format!("a@{}.com", "a".repeat(64));
        for address in [
            "",
            "acme.com",
            "@acme.com",
            "a@",
            "x@acme.com@evil.org",
            "\"x@acme.com\"@evil.org",
            "\"x\"@acme.com",
            "x(comment)@acme.com",
            "x@acme.com(comment)",
            "x@(comment)acme.com",
            "x@acme.com.",
            "x@.acme.com",
            "x@acme..com",
            ".x@acme.com",
            "x..y@acme.com",
            "x @acme.com",
            " x@acme.com",
            "x@acme.com ",
            "x@acme.com\n",
            "x@acme.com\0.evil.org",
            "x%evil.org@acme.com\u{200b}",
            "<x@acme.com>",
            "X <x@acme.com>",
            "x@acme.com,y@evil.org",
            "x@acme.com;y@evil.org",
            "x@[192.0.2.1]",
            "x@192.0.2.1",
            "x@localhost",
            "x@acme_corp.com",
            "x@-acme.com",
            "x@acme-.com",
            // Full-width letters, an ideographic full stop, a soft hyphen, a zero-width joiner.
            "x@\u{ff41}cme.com",
            "x@acme\u{3002}com",
            "x@ac\u{ad}me.com",
            "x@ac\u{200d}me.com",
            // Not what the encoding of a name comes to.
            "x@xn--acme.com",
            "x@xn--.com",
            "j\u{f6}rg@acme.com",
            &long_local,
            &long_label,
        ] {
            assert_eq!(of(address), None, "{address:?}");
        }
    }

    #[test]
    fn a_stated_domain_has_one_spelling() {
        assert!("acme.com".parse::<MailDomain>().is_ok());
        for odd in ["Acme.com", "acme.com.", "*.acme.com", "acme", "@acme.com", "acme.com/x", ""] {
            assert_eq!(odd.parse::<MailDomain>(), Err(InvalidDomain), "{odd}");
        }
    }
}
