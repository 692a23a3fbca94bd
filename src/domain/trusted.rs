//! Trusted devices: a device on which somebody has shown a second factor may stand in for one, for
//! a stated time.
//!
//! A device holds a token that the gateway made: when it was trusted, an id to take it back by, and
//! a keyed hash over both and the user. Nothing is kept of it anywhere else. Pure; imports no other
//! room.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::ids::UserId;
use super::secret::Secret;

/// How a token of a device begins: scanners for secrets know it by this.
pub const DEVICE_PREFIX: &str = "tgd_";
/// The first byte of a token, so that its form can change.
const VERSION: u8 = 1;
/// Version, time, id.
const SIGNED: usize = 1 + 8 + 8;
const BYTES: usize = SIGNED + blake3::OUT_LEN;

/// What names a device in the audit log and takes it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeviceId(u64);

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for DeviceId {
    type Err = InvalidDevice;

    fn from_str(text: &str) -> Result<Self, InvalidDevice> {
        let digits = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let id = u64::from_str_radix(text, 16).ok().filter(|_| digits);
        id.map(Self).ok_or(InvalidDevice)
    }
}

/// A text that names no device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the id of a device: 16 hexadecimal digits, as the audit log has them")]
pub struct InvalidDevice;

/// A device that a user was shown to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrustedDevice {
    /// Its id.
    pub id: DeviceId,
    /// When it was trusted, in seconds since 1970.
    pub trusted_at: u64,
}

/// What tokens of devices are made and proven with.
#[derive(Clone, PartialEq, Eq)]
pub struct DeviceKey([u8; 32]);

impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceKey(…)")
    }
}

impl DeviceKey {
    /// From a secret of the configuration.
    pub fn new(secret: &Secret) -> Self {
        Self(blake3::derive_key("tollgate trusted device 1", secret.expose().as_bytes()))
    }

    /// An id that no other request makes, for a device that is trusted now.
    pub fn device(&self, request: &str, token: u128, now: u64) -> TrustedDevice {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(b"id").update(&token.to_be_bytes()).update(&now.to_be_bytes());
        let hash = hasher.update(request.as_bytes()).finalize();
        let mut id = [0; 8];
        id.iter_mut().zip(hash.as_bytes()).for_each(|(to, from)| *to = *from);
        TrustedDevice { id: DeviceId(u64::from_be_bytes(id)), trusted_at: now }
    }

    /// The token of a user's device.
    pub fn token(&self, device: TrustedDevice, user: &UserId) -> Secret {
        let signed = signed(device);
        let mut bytes = signed.to_vec();
        bytes.extend_from_slice(self.hash(&signed, user).as_bytes());
        Secret::new(format!("{DEVICE_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// The device whose token this is, if this key made it for that user. Takes the same time
    /// whatever is wrong with it.
    pub fn proven(&self, token: &str, user: &UserId) -> Option<TrustedDevice> {
        let bytes = URL_SAFE_NO_PAD.decode(token.strip_prefix(DEVICE_PREFIX)?).ok()?;
        let bytes: [u8; BYTES] = bytes.try_into().ok()?;
        let (said, hash) = bytes.split_first_chunk::<SIGNED>()?;
        let hash: [u8; blake3::OUT_LEN] = hash.try_into().ok()?;
        let (version, rest) = said.split_first()?;
        let (at, id) = rest.split_first_chunk::<8>()?;
        let id = id.try_into().ok()?;
        let genuine = self.hash(said, user) == blake3::Hash::from_bytes(hash);
        (genuine && *version == VERSION).then(|| TrustedDevice {
            id: DeviceId(u64::from_be_bytes(id)),
            trusted_at: u64::from_be_bytes(*at),
        })
    }

    /// The user is hashed and not in the token: it means nothing beside anybody else's.
    fn hash(&self, signed: &[u8; SIGNED], user: &UserId) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(b"of").update(signed).update(user.as_str().as_bytes()).finalize()
    }
}

fn signed(device: TrustedDevice) -> [u8; SIGNED] {
    let mut out = [VERSION; SIGNED];
    let fields = device.trusted_at.to_be_bytes().into_iter().chain(device.id.0.to_be_bytes());
    out.iter_mut().skip(1).zip(fields).for_each(|(to, from)| *to = from);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(secret: &str) -> DeviceKey {
        DeviceKey::new(&Secret::new(secret))
    }

    fn user(id: &str) -> UserId {
        id.parse().unwrap()
    }

    #[test]
    fn a_device_is_proven_to_its_user_and_key_only() {
        let one = key("one");
        let device = one.device("request", 7, 1_000);
        let token = one.token(device, &user("ann"));
        assert_eq!(one.proven(token.expose(), &user("ann")), Some(device));
        assert_eq!(one.proven(token.expose(), &user("bob")), None);
        assert_eq!(key("two").proven(token.expose(), &user("ann")), None);
        assert_eq!(device.id.to_string().parse(), Ok(device.id));
        assert!(!token.expose().contains("ann"));
    }

    #[test]
    fn every_change_of_a_token_is_found() {
        let key = key("one");
        let token = key.token(key.device("request", 7, 1_000), &user("ann"));
        let token = token.expose();
        for at in 0..token.len() {
            let mut wrong = token.as_bytes().to_vec();
            wrong[at] = if wrong[at] == b'A' { b'B' } else { b'A' };
            let wrong = String::from_utf8(wrong).unwrap();
            assert_eq!(key.proven(&wrong, &user("ann")), None, "{wrong}");
        }
        for wrong in ["", "tgd_", &token[..token.len() - 1], &format!("{token}A"), &token[4..]] {
            assert_eq!(key.proven(wrong, &user("ann")), None, "{wrong}");
        }
    }

    #[test]
    fn two_requests_trust_two_devices() {
        let key = key("one");
        let made = [("a", 1, 1), ("b", 1, 1), ("a", 2, 1), ("a", 1, 2)];
        let ids: std::collections::HashSet<DeviceId> =
            made.iter().map(|(request, token, now)| key.device(request, *token, *now).id).collect();
        assert_eq!(ids.len(), made.len());
    }

    #[test]
    fn the_form_of_a_token_stays_what_it_is() {
        // Tokens are out there for weeks: whoever changes the form adds a version.
        let key = key("one");
        let device = TrustedDevice { id: DeviceId(1), trusted_at: 2 };
        let token = key.token(device, &user("ann"));
        let wanted = "tgd_AQAAAAAAAAACAAAAAAAAAAFUOwaptJVcoegK2yQBatazg3k6LTFlfcXhryAon3F7JQ";
        assert_eq!(token.expose(), wanted);
    }
}
