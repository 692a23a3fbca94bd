//! Open WebSockets: how many somebody may have, and when each of them ends.
//!
//! A WebSocket is decided on once, at its handshake. It ends a grace after the token that opened it,
//! unless a newer token of the same session was seen by then, which it goes on with; at once when its
//! token is taken back; and soon after its handshake would not be let in any more. Kept while the
//! socket is open; as many as connections are.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::IntGauge;
use tokio::sync::watch;

use crate::domain::clock::Now;
use crate::domain::ids::{OrgId, UserId};
use crate::domain::principal::VerifiedToken;
use crate::domain::refusal::Refusal;
use crate::policy::route::WebsocketPolicy;
use crate::stores::guards::concurrency::{Concurrency, Permit};

use super::gateway::MAX_OPEN;
use super::handshake::Handshake;

/// Whose sockets are counted together.
type User = (Option<OrgId>, UserId);

/// All open WebSockets of this node.
pub(super) struct Sockets {
    users: Concurrency<User>,
    organizations: Concurrency<OrgId>,
    sessions: Arc<Sessions>,
    open: IntGauge,
}

/// The sockets by the session of the token that opened them, or by their own name.
#[derive(Default)]
struct Sessions {
    sockets: Mutex<HashMap<Arc<str>, Vec<Socket>>>,
    /// How many there are, so that requests need no lock where there are none.
    count: AtomicU64,
}

struct Socket {
    token: Option<Arc<VerifiedToken>>,
    grace: Duration,
    until: Option<u64>,
    /// How long it may go on from when this was said.
    left: watch::Sender<Duration>,
    handshake: Arc<Handshake>,
    recheck: Duration,
    checked: Now,
}

/// A socket whose handshake is to be decided on again.
pub(super) struct Due {
    pub(super) handshake: Arc<Handshake>,
    left: watch::Sender<Duration>,
}

impl Due {
    /// Ends the socket.
    pub(super) fn end(self) {
        self.left.send_replace(Duration::ZERO);
    }
}

/// Who opens a socket.
pub(super) struct Opener {
    pub(super) organization: Option<OrgId>,
    pub(super) user: Option<UserId>,
    pub(super) token: Option<Arc<VerifiedToken>>,
    /// When it ends at the latest, in seconds since 1970, whatever token comes after this one: for
    /// those who act as somebody else.
    pub(super) until: Option<u64>,
    pub(super) handshake: Arc<Handshake>,
}

/// A socket's place; given back when it is dropped.
pub(super) struct Open {
    sessions: Arc<Sessions>,
    /// Where it is kept, and the end's other half.
    session: Arc<str>,
    left: watch::Receiver<Duration>,
    open: IntGauge,
    _user: Option<Permit<User>>,
    _organization: Option<Permit<OrgId>>,
}

/// Is ready when a socket's time is over.
pub(super) type End = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

impl Sockets {
    pub(super) fn new(open: IntGauge) -> Self {
        Self {
            users: Concurrency::new(MAX_OPEN),
            organizations: Concurrency::new(MAX_OPEN),
            sessions: Arc::default(),
            open,
        }
    }

    /// Lets a socket in; with its place comes its end.
    pub(super) fn enter(
        &self,
        opener: Opener,
        policy: &WebsocketPolicy,
        now: Now,
    ) -> Result<(Open, End), Refusal> {
        let Opener { organization, user, token, until, handshake } = opener;
        let user = user.map(|user| self.users.enter((organization, user), policy.per_user));
        let user = user.transpose();
        let user = user.map_err(|_| Refusal::TooManyConcurrent("WebSockets of the user"))?;
        let place = organization.map(|id| self.organizations.enter(id, policy.per_organization));
        let organization = place.transpose();
        let organization = organization
            .map_err(|_| Refusal::TooManyConcurrent("WebSockets of the organization"))?;
        let (sender, receiver) = watch::channel(match &token {
            Some(token) => left(token.expires_at, policy.grace, until, now),
            // Only what its handshake says ends it.
            None => Duration::MAX,
        });
        let session = token.as_ref().and_then(|token| token.session_id.clone());
        let session = session.unwrap_or_else(|| handshake.name());
        let socket = Socket {
            token,
            grace: policy.grace,
            until,
            left: sender,
            handshake,
            recheck: policy.recheck,
            checked: now,
        };
        self.sessions.lock().entry(Arc::clone(&session)).or_default().push(socket);
        self.sessions.count.fetch_add(1, Ordering::Relaxed);
        let end: End = Box::pin(ended(receiver.clone()));
        self.open.inc();
        let open = Open {
            sessions: Arc::clone(&self.sessions),
            session,
            left: receiver,
            open: self.open.clone(),
            _user: user,
            _organization: organization,
        };
        Ok((open, end))
    }

    /// A token counted: the sockets of its session that its predecessors opened go on with it.
    pub(super) fn refreshed(&self, token: &VerifiedToken, now: Now) {
        if self.sessions.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let Some(session) = &token.session_id else { return };
        let mut sockets = self.sessions.lock();
        for socket in sockets.get_mut(session).into_iter().flatten() {
            let Some(old) = &socket.token else { continue };
            let newer = token.expires_at > old.expires_at;
            let same = token.subject == old.subject && token.issuer == old.issuer;
            if newer && same {
                let left = left(token.expires_at, socket.grace, socket.until, now);
                socket.left.send_replace(left);
            }
        }
    }
}

impl Sockets {
    /// Ends the sockets whose token counts no more.
    pub(super) fn end_those(&self, revoked: impl Fn(&VerifiedToken) -> bool) {
        if self.sessions.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        for socket in self.sessions.lock().values().flatten() {
            if socket.token.as_deref().is_some_and(&revoked) {
                socket.left.send_replace(Duration::ZERO);
            }
        }
    }

    /// Those whose handshake is to be decided on again by now.
    pub(super) fn due(&self, now: Now) -> Vec<Due> {
        if self.sessions.count.load(Ordering::Relaxed) == 0 {
            return Vec::new();
        }
        let mut sockets = self.sessions.lock();
        let due = sockets.values_mut().flatten().filter(|s| now.since(s.checked) >= s.recheck);
        let due = due.map(|socket| {
            socket.checked = now;
            Due { handshake: Arc::clone(&socket.handshake), left: socket.left.clone() }
        });
        due.collect()
    }
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Vec<Socket>>> {
        // Each change is one step: a panic elsewhere leaves none half done.
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.open.dec();
        let mut sockets = self.sessions.lock();
        let Some(of_session) = sockets.get_mut(&self.session) else { return };
        let before = of_session.len();
        of_session.retain(|socket| !socket.left.subscribe().same_channel(&self.left));
        let gone = before.saturating_sub(of_session.len());
        if of_session.is_empty() {
            sockets.remove(&self.session);
        }
        let gone = u64::try_from(gone).unwrap_or(u64::MAX);
        self.sessions.count.fetch_sub(gone, Ordering::Relaxed);
    }
}

fn left(expires_at: u64, grace: Duration, until: Option<u64>, now: Now) -> Duration {
    let span = |at: u64| Duration::from_secs(at.saturating_sub(now.unix_secs()));
    let left = span(expires_at).saturating_add(grace);
    until.map_or(left, |until| left.min(span(until)))
}

async fn ended(mut left: watch::Receiver<Duration>) {
    loop {
        let time = *left.borrow_and_update();
        tokio::select! {
            () = tokio::time::sleep(time) => return,
            changed = left.changed() => {
                if changed.is_err() {
                    // It was closed: nobody waits for this.
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_lasts_for_its_token_and_a_grace_but_no_longer_than_somebody_may_act_as_another() {
        let now = Now { unix_micros: 1_000_000_000, mono_nanos: 0 };
        let secs =
            |expires_at, until| left(expires_at, Duration::from_secs(60), until, now).as_secs();
        assert_eq!(secs(1_600, None), 660);
        assert_eq!(secs(900, None), 60);
        assert_eq!(secs(1_600, Some(1_300)), 300);
        assert_eq!(secs(1_600, Some(9_000)), 660);
        assert_eq!(secs(1_600, Some(500)), 0);
    }
}
