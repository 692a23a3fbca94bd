//! Keys of machines: their text, and what the directory knows of each.
//!
//! `tgk_` + id (12) + `_` + secret (43) + checksum (6), of the digits `0-9A-Za-z`: like GitHub's
//! tokens a prefix that scanners recognise, and a CRC-32 of all before it as six base-62 digits, so
//! that a mistyped key is refused without being looked up. The secret has 256 bits. What is kept of
//! it is a keyed hash ([`KeyPepper`]); `tgk_` + id names the key to people, logs and upstreams.
//!
//! May import `domain`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use ipnet::IpNet;

use super::ids::OrgId;
use super::permission::PermissionPattern;
use super::secret::Secret;

/// What every key of a machine begins with.
pub const KEY_PREFIX: &str = "tgk_";
/// Bytes of a whole key.
pub const KEY_BYTES: usize = 66;
/// How scanners recognise a whole key.
pub const KEY_PATTERN: &str = r"\btgk_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}\b";

const ID_BYTES: usize = 16;
const SECRET_DIGITS: usize = 43;
const CHECKSUM_DIGITS: usize = 6;

/// Names a key and proves nothing: `tgk_` and twelve digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; ID_BYTES]);

impl KeyId {
    /// The text.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for KeyId {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let digits = text.strip_prefix(KEY_PREFIX).ok_or(InvalidKey::Form)?;
        let bytes = text.as_bytes().try_into().map_err(|_| InvalidKey::Form)?;
        if is_base62(digits) { Ok(Self(bytes)) } else { Err(InvalidKey::Form) }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// A text that is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// Its length or its characters are not those of a key.
    #[error("not of the form `tgk_…`")]
    Form,
    /// It was mistyped, or made up.
    #[error("the checksum is wrong")]
    Checksum,
}

/// Whether a credential can only be meant as the key of a machine.
pub fn looks_like_key(text: &str) -> bool {
    text.starts_with(KEY_PREFIX)
}

/// The id in a whole key whose checksum is right. Nothing else of it is verified.
///
/// # Errors
/// [`InvalidKey`] if it cannot be a key that was ever made.
pub fn id_of(key: &str) -> Result<KeyId, InvalidKey> {
    if key.len() != KEY_BYTES || !key.is_ascii() {
        return Err(InvalidKey::Form);
    }
    let (id, rest) = key.split_at_checked(ID_BYTES).ok_or(InvalidKey::Form)?;
    let id = id.parse()?;
    if !rest.strip_prefix('_').is_some_and(is_base62) {
        return Err(InvalidKey::Form);
    }
    let at = KEY_BYTES - CHECKSUM_DIGITS;
    let (body, stated) = key.split_at_checked(at).ok_or(InvalidKey::Form)?;
    if stated.bytes().eq(checksum(body)) { Ok(id) } else { Err(InvalidKey::Checksum) }
}

/// A key that was just made. It is shown once.
pub struct NewKey {
    /// Its id.
    pub id: KeyId,
    /// The whole key.
    pub key: Secret,
}

impl NewKey {
    /// Makes a key of random bytes.
    ///
    /// # Errors
    /// [`InvalidKey`] never, unless this module is wrong.
    pub fn of(id: [u8; 16], secret: [u8; 32]) -> Result<Self, InvalidKey> {
        let id: String = base62(id).take(ID_BYTES - KEY_PREFIX.len()).map(char::from).collect();
        Self::again(format!("{KEY_PREFIX}{id}").parse()?, secret)
    }

    /// Makes another secret for a key that is there.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn again(id: KeyId, secret: [u8; 32]) -> Result<Self, InvalidKey> {
        let secret: String = base62(secret).take(SECRET_DIGITS).map(char::from).collect();
        let body = format!("{id}_{secret}");
        let checksum: String = checksum(&body).map(char::from).collect();
        let key = format!("{body}{checksum}");
        if id_of(&key)? == id {
            Ok(Self { id, key: Secret::new(key) })
        } else {
            Err(InvalidKey::Form)
        }
    }
}

fn is_base62(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn checksum(body: &str) -> impl Iterator<Item = u8> {
    base62(crc32fast::hash(body.as_bytes()).to_be_bytes()).take(CHECKSUM_DIGITS)
}

/// The digits of a number, the least first, without end.
fn base62<const N: usize>(mut number: [u8; N]) -> impl Iterator<Item = u8> {
    std::iter::repeat_with(move || {
        let mut rest: u16 = 0;
        for byte in &mut number {
            let part = (rest << 8) | u16::from(*byte);
            // Both fit: `rest` is below 62.
            *byte = u8::try_from(part / 62).unwrap_or_default();
            rest = part % 62;
        }
        let digit = u8::try_from(rest).unwrap_or_default();
        match digit {
            0..=9 => b'0' + digit,
            10..=35 => b'A' + digit - 10,
            _ => b'a' + digit - 36,
        }
    })
}

/// What hashes of keys are keyed with: who has read the directory and not the gateway's
/// configuration cannot even check a guess.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPepper([u8; 32]);

impl KeyPepper {
    /// From a secret of the configuration.
    pub fn new(secret: &Secret) -> Self {
        Self(blake3::derive_key("tollgate machine key pepper 1", secret.expose().as_bytes()))
    }

    /// What is kept of a whole key. Its id is hashed with it, so that a hash counts for one id.
    pub fn hash(&self, key: &str) -> KeyHash {
        KeyHash(blake3::keyed_hash(&self.0, key.as_bytes()))
    }
}

impl fmt::Debug for KeyPepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPepper(…)")
    }
}

/// What is kept of a key. Compared in constant time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyHash(blake3::Hash);

impl FromStr for KeyHash {
    type Err = InvalidHash;

    fn from_str(text: &str) -> Result<Self, InvalidHash> {
        blake3::Hash::from_hex(text).map(Self).map_err(|_| InvalidHash)
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_hex())
    }
}

/// A text that is no hash of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not 64 hexadecimal digits")]
pub struct InvalidHash;

/// What the directory knows of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineKey {
    /// Its id.
    pub id: KeyId,
    /// What people call it.
    pub name: Arc<str>,
    /// The one organization that it belongs to.
    pub organization: OrgId,
    /// Of its secret.
    pub hash: KeyHash,
    /// The secret before a rotation, as long as it counts.
    pub previous: Option<PreviousSecret>,
    /// What it may do, and nothing else.
    pub scopes: Vec<PermissionPattern>,
    /// Networks from which it may be used. Empty: all.
    pub addresses: Vec<IpNet>,
    /// A limit of the policy that its requests are charged to besides those of the route.
    pub limit: Option<Arc<str>>,
    /// Whether it is in force.
    pub status: KeyStatus,
    /// When it ends, in seconds since 1970.
    pub expires_at: Option<u64>,
}

/// A secret that was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PreviousSecret {
    /// Of the secret.
    pub hash: KeyHash,
    /// Until when it counts, in seconds since 1970.
    pub until: u64,
}

/// Whether a key is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyStatus {
    /// It is.
    Active,
    /// It was taken back.
    Revoked,
}

impl KeyStatus {
    /// As directories write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Revoked => "revoked",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> NewKey {
        NewKey::of([7; 16], [0xA5; 32]).unwrap()
    }

    #[test]
    fn a_key_is_what_scanners_look_for_and_names_its_id() {
        let new = key();
        let text = new.key.expose();
        let pattern = regex::Regex::new(KEY_PATTERN).unwrap();
        assert!(pattern.is_match(&format!("KEY={text}\n")), "{text}");
        assert_eq!(text.len(), KEY_BYTES);
        assert_eq!(id_of(text), Ok(new.id));
        assert!(text.starts_with(new.id.as_str()));
        assert_eq!(new.id.as_str().parse(), Ok(new.id));
    }

    #[test]
    fn the_form_of_a_key_stays_what_it_is() {
        // Keys are out there: neither digits nor checksum may ever change.
        let wanted = "tgk_FXHXFXHXFXHX_";
        let id = key().id;
        assert_eq!(id.as_str().len(), wanted.len() - 1);
        let checksum: String = checksum("tgk_000000000000_0").map(char::from).collect();
        assert_eq!(checksum.len(), 6);
        let hash = KeyPepper::new(&Secret::new("pepper")).hash("tgk_x");
        assert_eq!(hash.to_string().parse(), Ok(hash));
    }

    #[test]
    fn two_hundred_and_fifty_six_bits_survive_the_digits() {
        let most: Vec<u8> = base62([0xFF; 32]).take(SECRET_DIGITS + 1).collect();
        assert_eq!(most.last(), Some(&b'0'), "43 digits hold the largest secret");
        assert_ne!(most.get(SECRET_DIGITS - 1), Some(&b'0'), "42 would not");
    }

    #[test]
    fn every_single_mistake_is_found_without_a_look_up() {
        let new = key();
        let text = new.key.expose();
        for at in 0..KEY_BYTES {
            let mut wrong = text.as_bytes().to_vec();
            wrong[at] = if wrong[at] == b'x' { b'y' } else { b'x' };
            assert!(id_of(std::str::from_utf8(&wrong).unwrap()).is_err(), "at {at}");
        }
        for wrong in ["", "tgk_", &text[..KEY_BYTES - 1], &format!("{text}0"), &text[4..]] {
            assert_eq!(id_of(wrong), Err(InvalidKey::Form), "{wrong}");
        }
        assert_eq!(id_of(&"ä".repeat(33)), Err(InvalidKey::Form));
    }

    #[test]
    fn a_hash_counts_for_one_pepper_and_one_key() {
        let (one, other) = (Secret::new("pepper one"), Secret::new("pepper two"));
        let text = key().key;
        let hash = KeyPepper::new(&one).hash(text.expose());
        assert_ne!(KeyPepper::new(&other).hash(text.expose()), hash);
        let again = NewKey::again(key().id, [1; 32]).unwrap();
        assert_ne!(KeyPepper::new(&one).hash(again.key.expose()), hash);
        assert!(!format!("{:?}", KeyPepper::new(&one)).contains("pepper one"));
    }
}
