//! Signing in at an auth server, as the gateway sees it: for which account, from where, with what
//! outcome, and what follows from too many failures. Pure; imports no other room.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::address::{customer, network};
use super::ids::UserId;
use super::secret::Secret;

/// An account, as somebody who signs in names it, in the one spelling that the auth server looks
/// up. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    kind: u8,
    text: String,
}

impl Account {
    /// By e-mail address. Supabase Auth compares in lower case (`models/user.go`, which lowers each
    /// character by itself, as Go does: a dotted capital I becomes a plain i).
    pub fn email(stated: &str) -> Self {
        Self { kind: b'e', text: stated.trim().chars().map(lower).collect() }
    }

    /// By telephone number. Supabase Auth drops a plus and spaces (`api/phone.go`).
    pub fn phone(stated: &str) -> Self {
        let kept = |c: &char| *c != '+' && !c.is_whitespace();
        Self { kind: b'p', text: stated.chars().filter(kept).collect() }
    }

    /// A user who is signed in already.
    pub fn user(id: &UserId) -> Self {
        Self { kind: b'u', text: id.as_str().to_owned() }
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Account(…)")
    }
}

/// A character in lower case, alone, by Unicode's simple mapping.
fn lower(c: char) -> char {
    if c == '\u{130}' {
        return 'i';
    }
    let mut lower = c.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(one), None) => one,
        (_, _) => c,
    }
}

/// What hashes of accounts are keyed with: all nodes that share their counts share it.
#[derive(Clone, PartialEq, Eq)]
pub struct LoginPepper([u8; 32]);

impl LoginPepper {
    /// From a secret of the operator's.
    pub fn new(secret: &Secret) -> Self {
        Self(blake3::derive_key("tollgate login pepper 1", secret.expose().as_bytes()))
    }

    /// The keyed hash of an account: what is kept and logged in its place.
    pub fn hash(&self, account: &Account) -> AccountHash {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&[account.kind]).update(account.text.as_bytes());
        let mut bits = [0; 16];
        bits.iter_mut().zip(hasher.finalize().as_bytes()).for_each(|(to, from)| *to = *from);
        AccountHash(u128::from_be_bytes(bits))
    }
}

impl fmt::Debug for LoginPepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LoginPepper(…)")
    }
}

/// The keyed hash of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AccountHash(pub u128);

impl fmt::Display for AccountHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Somebody tries to sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoginAttempt {
    /// From where, as customers are counted.
    pub address: IpAddr,
    /// The network around it.
    pub network: IpAddr,
    /// For which account, where one is named.
    pub account: Option<AccountHash>,
}

impl LoginAttempt {
    /// An attempt from an address.
    pub fn new(client: IpAddr, account: Option<AccountHash>) -> Self {
        Self { address: customer(client), network: network(client), account }
    }
}

/// What failures are counted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LoginSubject {
    /// An account at one address.
    Pair,
    /// An address, whatever the account.
    Address,
    /// The network around an address.
    Network,
    /// An account, at all addresses that it was never signed in from.
    Account,
}

impl LoginSubject {
    /// As logs and metrics write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pair => "account_at_address",
            Self::Address => "address",
            Self::Network => "network",
            Self::Account => "account",
        }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginOutcome {
    /// Somebody has proven who it is.
    Success,
    /// What was shown was wrong.
    Failure,
    /// Nothing was proven, either way.
    Neutral,
}

/// A lockout that began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lockout {
    /// Of what.
    pub subject: LoginSubject,
    /// The how many in a row.
    pub level: u32,
    /// For how long.
    pub lasts: Duration,
}

/// What somebody who watches logins wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginAlarm {
    /// A lockout began.
    Lockout(Lockout),
    /// Failures for many accounts came from one address or network.
    Spraying {
        /// From which of the two.
        from: LoginSubject,
        /// For how many accounts.
        accounts: u32,
    },
    /// Most of many attempts fail, from wherever they come.
    Stuffing,
}

impl LoginAlarm {
    /// As logs and metrics write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lockout(_) => "login_lockout",
            Self::Spraying { .. } => "password_spraying",
            Self::Stuffing => "credential_stuffing",
        }
    }
}

/// Why a request of somebody who signs in, or stays signed in, is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoginRefusal {
    /// Its body, or the way it names its grant, has no one reading.
    #[error("a body that the auth server could read in another way: {0}")]
    Ambiguous(&'static str),
    /// Too many failures.
    #[error("locked by {}, retry in {} ms", subject.as_str(), retry_after.as_millis())]
    Locked {
        /// What is locked: for the log only.
        subject: LoginSubject,
        /// When to come back.
        retry_after: Duration,
    },
    /// A session cannot be refreshed now. Never the cause itself: in place of one, so that the
    /// client keeps its session and tries again.
    #[error("the session cannot be refreshed now")]
    Refresh {
        /// When to come back.
        retry_after: Duration,
    },
}

impl LoginRefusal {
    /// The codes of an auth server, so that its clients know them.
    pub(super) fn public(&self) -> (u16, &'static str, &'static str) {
        match self {
            Self::Ambiguous(_) => {
                (400, "bad_json", "send one JSON object in which every key stands once")
            }
            Self::Locked { .. } => {
                (429, "over_request_rate_limit", "too many attempts, wait before the next")
            }
            Self::Refresh { .. } => {
                (503, "refresh_unavailable", "the session cannot be refreshed right now, try again")
            }
        }
    }

    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Ambiguous(_) => None,
            Self::Locked { retry_after, .. } | Self::Refresh { retry_after } => Some(*retry_after),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_one_hash_however_it_is_spelt() {
        let pepper = LoginPepper::new(&Secret::new("a pepper"));
        let email = |text: &str| pepper.hash(&Account::email(text));
        for spelt in ["ann@example.test", "ANN@Example.Test", " ann@example.test\t"] {
            assert_eq!(email(spelt), email("ann@example.test"), "{spelt}");
        }
        assert_eq!(email("KİM@x"), email("kim@x"), "kelvin sign, dotted i");
        assert_eq!(email("ΣΣ@x"), email("σσ@x"), "not as the end of a word");
        let phone = |text: &str| pepper.hash(&Account::phone(text));
        assert_eq!(phone("+49 30 1234"), phone("49301234"));
        assert_ne!(phone("49301234"), email("49301234"));
        let other = LoginPepper::new(&Secret::new("another"));
        assert_ne!(other.hash(&Account::email("ann@x")), email("ann@x"));
        assert!(!format!("{:?}", Account::email("ann@x")).contains("ann"));
    }
}
