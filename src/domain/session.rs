//! What can be taken back: the tokens of a user, the tokens of a session, one token.
//!
//! A [`Mark`] names one of these by a hash, so that stores and logs of revocations hold no id of
//! anybody, and a look-up hashes nothing: a token's marks are worked out once, when it is verified.
//! Pure; imports no other room.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ids::{OrgId, UserId};
use super::principal::VerifiedToken;
use super::trusted::DeviceId;

/// A user, a session or a token: the first 128 bits of a BLAKE3 hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mark(u128);

impl Mark {
    /// The user, whoever vouches for them: the directory, too, knows them by this id only.
    pub fn user(user: &UserId) -> Self {
        Self::of(b'u', user.as_str())
    }

    /// The session.
    pub fn session(id: &str) -> Self {
        Self::of(b's', id)
    }

    /// The token with this header and payload, whatever its signature: an ECDSA signature has a
    /// second spelling that everybody can work out.
    pub fn token(signed: &str) -> Self {
        Self::of(b't', signed)
    }

    /// The devices that this user trusted.
    pub fn devices(user: &UserId) -> Self {
        Self::of(b'd', user.as_str())
    }

    /// One device.
    pub fn device(id: DeviceId) -> Self {
        Self::of(b'D', &id.to_string())
    }

    /// What says that this session or token stays when its user's others end.
    pub fn kept(self) -> Self {
        Self(!self.0)
    }

    fn of(kind: u8, text: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[kind]).update(text.as_bytes());
        let mut bits = [0; 16];
        bits.iter_mut().zip(hasher.finalize().as_bytes()).for_each(|(to, from)| *to = *from);
        Self(u128::from_be_bytes(bits))
    }

    /// The bits, to spread marks by.
    pub fn bits(self) -> u128 {
        self.0
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for Mark {
    type Err = BadRevocation;

    fn from_str(text: &str) -> Result<Self, BadRevocation> {
        let digits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let bits = u128::from_str_radix(text, 16).ok().filter(|_| digits);
        bits.map(Self).ok_or(BadRevocation)
    }
}

/// The marks of a verified token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    /// Of its subject.
    pub user: Option<Mark>,
    /// Of its session.
    pub session: Option<Mark>,
    /// Of itself.
    pub token: Mark,
}

impl Marks {
    /// The marks of a token with that header and payload.
    pub fn new(user: Option<&UserId>, session: Option<&str>, signed: &str) -> Self {
        Self {
            user: user.map(Mark::user),
            session: session.map(Mark::session),
            token: Mark::token(signed),
        }
    }

    /// The session, or the token where it names none.
    pub fn own(&self) -> Mark {
        self.session.unwrap_or(self.token)
    }

    /// Whether it is of somebody: what is a key to a service is taken back by itself only.
    pub fn of_somebody(&self) -> bool {
        self.user.is_some() || self.session.is_some()
    }
}

/// Which tokens a revocation ends, by when they were issued. Tokens count in whole seconds: each
/// second has a place before it and a place after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cutoff(u64);

impl Cutoff {
    /// All tokens, whenever issued.
    pub const ALWAYS: Self = Self(u64::MAX);

    /// Tokens issued in that second (since 1970) or before.
    pub fn through(secs: u64) -> Self {
        Self(secs.saturating_mul(2).saturating_add(1))
    }

    /// Tokens issued before that second. In the second itself, those of sessions that began
    /// earlier: whoever signs in again at once is not signed out again.
    pub fn before(secs: u64) -> Self {
        Self(secs.saturating_mul(2))
    }

    /// Whether it ends a token. One that does not say when it was issued is ended.
    pub fn covers(self, token: &VerifiedToken) -> bool {
        let Some(issued) = token.issued_at.filter(|_| self != Self::ALWAYS) else { return true };
        let at = issued.saturating_mul(2);
        at < self.0 || (at == self.0 && token.signed_in_at.is_some_and(|began| began < issued))
    }

    /// Whether it ends what was made in that second (since 1970).
    pub fn covers_second(self, secs: u64) -> bool {
        secs.saturating_mul(2) < self.0
    }

    /// As stores keep it.
    pub fn raw(self) -> u64 {
        self.0
    }

    /// From what a store kept.
    pub fn from_raw(raw: u64) -> Self {
        Self(raw)
    }
}

/// One thing taken back, as all nodes learn it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revocation {
    /// What.
    pub mark: Mark,
    /// Which of its tokens; for a [kept](Mark::kept) session, which cutoffs it is spared.
    pub cutoff: Cutoff,
    /// When it was taken back, in seconds since 1970.
    pub at: u64,
    /// Until when it has to be known: no token that it ends lives longer.
    pub until: u64,
}

impl fmt::Display for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}:{}", self.mark, self.cutoff.0, self.until, self.at)
    }
}

impl FromStr for Revocation {
    type Err = BadRevocation;

    fn from_str(text: &str) -> Result<Self, BadRevocation> {
        let mut parts = text.split(':');
        let mark = parts.next().ok_or(BadRevocation)?.parse()?;
        let mut number = || parts.next()?.parse::<u64>().ok();
        let read = number().zip(number()).zip(number());
        let ((cutoff, until), at) = read.ok_or(BadRevocation)?;
        if parts.next().is_some() {
            return Err(BadRevocation);
        }
        Ok(Self { mark, cutoff: Cutoff(cutoff), at, until })
    }
}

/// What is not a revocation as stores write them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a revocation")]
pub struct BadRevocation;

/// What this node knows of a token's standing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing was taken back.
    Good,
    /// It was taken back, or its session or its user's tokens were.
    Revoked,
    /// The revocations of the other nodes are not known, and the settings say that this matters.
    Unknown,
}

/// Of one session, the uses within so many seconds are noted once.
pub const NOTED_EVERY_SECS: u64 = 60;

/// A session was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// Whose it is.
    pub user: UserId,
    /// The session.
    pub session: Arc<str>,
    /// When it began, as far as its token says, in seconds since 1970.
    pub began: Option<u64>,
    /// For which organization.
    pub organization: Option<OrgId>,
    /// On what kind of device.
    pub device: Box<str>,
    /// From where.
    pub address: IpAddr,
    /// When, in seconds since 1970.
    pub at: u64,
}

/// What is known of a session's uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LastUse {
    /// When it was last used, or may have been, in seconds since 1970.
    pub at: u64,
    /// The longest time between two uses before that, in seconds. A session that rested for too
    /// long once does not become young again by another use.
    pub longest_pause: u64,
}

/// When a token's use was last noted, so that most uses cost one look at this number.
#[derive(Debug, Default)]
pub struct Noted(AtomicU64);

impl Noted {
    /// Whether a use at that time (seconds since 1970) is to be noted; if so, the next are not.
    pub fn due(&self, now: u64) -> bool {
        let last = self.0.load(Ordering::Relaxed);
        now >= last.saturating_add(NOTED_EVERY_SECS)
            && self.0.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// How far a sign-out goes, as Supabase's auth server has it (`scope`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignOut {
    /// All sessions of the user.
    Global,
    /// This session.
    Local,
    /// All sessions of the user but this one.
    Others,
}

impl SignOut {
    /// What it takes back, now (seconds since 1970). What is taken back is kept for `keep` seconds.
    pub fn revocations(self, token: &VerifiedToken, now: u64, keep: u64) -> Vec<Revocation> {
        let marks = &token.marks;
        let until = now.saturating_add(keep).max(token.expires_at.saturating_add(LEEWAY_SECS));
        let of = |mark, cutoff| Revocation { mark, cutoff, at: now, until };
        let own = of(marks.own(), Cutoff::ALWAYS);
        let all = marks.user.map(|user| of(user, Cutoff::before(now)));
        match self {
            Self::Local => vec![own],
            Self::Global => all.into_iter().chain([own]).collect(),
            // First what is spared: nobody may look in between.
            Self::Others => {
                all.into_iter().flat_map(|all| [of(marks.own().kept(), all.cutoff), all]).collect()
            }
        }
    }
}

/// Tokens count a little longer than they say.
const LEEWAY_SECS: u64 = 3600;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::known::IssuerIndex;

    fn token(issued_at: Option<u64>, signed_in_at: Option<u64>) -> VerifiedToken {
        let user = "ann".parse().unwrap();
        VerifiedToken {
            issuer: IssuerIndex(0),
            marks: Marks::new(Some(&user), Some("s"), "a.b"),
            noted: Noted::default(),
            subject: Some(user),
            role: None,
            session_id: Some("s".into()),
            expires_at: 4_000,
            not_before: None,
            issued_at,
            second_factor: false,
            factor_at: None,
            signed_in_at,
            organizations: Box::default(),
            vouched: None,
        }
    }

    #[test]
    fn a_cutoff_ends_what_was_issued_before_it_and_spares_who_signs_in_again_at_once() {
        let cutoff = Cutoff::before(100);
        for (issued, signed_in, ended) in [
            (Some(99), None, true),
            (Some(100), Some(99), true),
            (Some(100), Some(100), false),
            (Some(100), None, false),
            (Some(101), Some(50), false),
            (None, Some(200), true),
        ] {
            assert_eq!(cutoff.covers(&token(issued, signed_in)), ended, "{issued:?} {signed_in:?}");
        }
        assert!(Cutoff::through(100).covers(&token(Some(100), Some(100))));
        assert!(!Cutoff::through(100).covers(&token(Some(101), Some(100))));
        assert!(Cutoff::ALWAYS.covers(&token(Some(u64::MAX), None)));
    }

    #[test]
    fn a_revocation_reads_back_as_it_was_written() {
        let revocation = Revocation {
            mark: Mark::session("1f8e"),
            cutoff: Cutoff::ALWAYS,
            at: 1_700_000_000,
            until: 1_700_600_000,
        };
        assert_eq!(revocation.to_string().parse(), Ok(revocation));
        for bad in [
            "",
            "x",
            "00:1:2:3",
            &format!("{revocation}:1"),
            "+0000000000000000000000000000001:1:1:1",
        ] {
            assert_eq!(bad.parse::<Revocation>(), Err(BadRevocation), "{bad}");
        }
    }

    #[test]
    fn a_user_a_session_and_a_token_of_one_spelling_are_three_marks() {
        let marks = [Mark::user(&"x".parse().unwrap()), Mark::session("x"), Mark::token("x")];
        let kept = marks.map(Mark::kept);
        let all: std::collections::HashSet<Mark> = marks.into_iter().chain(kept).collect();
        assert_eq!(all.len(), 6);
    }

    #[test]
    fn a_sign_out_takes_back_what_its_scope_says() {
        let token = token(Some(100), Some(100));
        let marks = |scope: SignOut| -> Vec<Mark> {
            scope.revocations(&token, 200, 60).iter().map(|one| one.mark).collect()
        };
        let (user, session) = (token.marks.user.unwrap(), token.marks.session.unwrap());
        assert_eq!(marks(SignOut::Local), [session]);
        assert_eq!(marks(SignOut::Global), [user, session]);
        assert_eq!(marks(SignOut::Others), [session.kept(), user]);
        let until = SignOut::Local.revocations(&token, 200, 60).first().unwrap().until;
        assert!(until > token.expires_at, "known for as long as the token lives");
    }
}
