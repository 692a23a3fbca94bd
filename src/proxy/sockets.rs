//! Open WebSockets: how many somebody may have, and when each of them ends.
//!
//! A WebSocket is decided on once, at its handshake. It ends a grace after the token that opened it,
//! unless a newer token of the same session was seen by then, which it goes on with; and at once when
//! its token is taken back. Kept while the socket is open; as many as connections are.

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

/// Whose sockets are counted together.
type User = (Option<OrgId>, UserId);

/// All open WebSockets of this node.
pub(super) struct Sockets {
    users: Concurrency<User>,
    organizations: Concurrency<OrgId>,
    sessions: Arc<Sessions>,
    open: IntGauge,
}

/// The sockets that a token opened, by session; those of no session have the empty one.
#[derive(Default)]
struct Sessions {
    sockets: Mutex<HashMap<Arc<str>, Vec<Socket>>>,
    /// How many there are, so that requests need no lock where there are none.
    count: AtomicU64,
}

struct Socket {
    token: Arc<VerifiedToken>,
    grace: Duration,
    until: Option<u64>,
    /// How long it may go on from when this was said.
    left: watch::Sender<Duration>,
}

/// Who opens a socket.
pub(super) struct Opener {
    pub(super) organization: Option<OrgId>,
    pub(super) user: Option<UserId>,
    pub(super) token: Option<Arc<VerifiedToken>>,
    /// When it ends at the latest, in seconds since 1970, whatever token comes after this one: for
    /// those who act as somebody else.
    pub(super) until: Option<u64>,
}

/// A socket's place; given back when it is dropped.
pub(super) struct Open {
    sessions: Arc<Sessions>,
    /// Where a token opened it: the token's session, and the end's other half.
    session: Option<(Arc<str>, watch::Receiver<Duration>)>,
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

    /// Lets a socket in; with its place comes its end, if it has one.
    pub(super) fn enter(
        &self,
        opener: Opener,
        policy: &WebsocketPolicy,
        now: Now,
    ) -> Result<(Open, Option<End>), Refusal> {
        let Opener { organization, user, token, until } = opener;
        let user = user.map(|user| self.users.enter((organization, user), policy.per_user));
        let user = user.transpose();
        let user = user.map_err(|_| Refusal::TooManyConcurrent("WebSockets of the user"))?;
        let place = organization.map(|id| self.organizations.enter(id, policy.per_organization));
        let organization = place.transpose();
        let organization = organization
            .map_err(|_| Refusal::TooManyConcurrent("WebSockets of the organization"))?;
        let (session, end) = match token {
            None => (None, None),
            Some(token) => {
                let left = left(token.expires_at, policy.grace, until, now);
                let (sender, receiver) = watch::channel(left);
                let end: End = Box::pin(ended(receiver.clone()));
                let session = token.session_id.clone().unwrap_or_default();
                let socket = Socket { token, grace: policy.grace, until, left: sender };
                self.sessions.lock().entry(Arc::clone(&session)).or_default().push(socket);
                self.sessions.count.fetch_add(1, Ordering::Relaxed);
                (Some((session, receiver)), Some(end))
            }
        };
        self.open.inc();
        let sessions = Arc::clone(&self.sessions);
        let open = self.open.clone();
        Ok((Open { sessions, session, open, _user: user, _organization: organization }, end))
    }

    /// A token counted: the sockets of its session that its predecessors opened go on with it.
    pub(super) fn refreshed(&self, token: &VerifiedToken, now: Now) {
        if self.sessions.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let Some(session) = &token.session_id else { return };
        let mut sockets = self.sessions.lock();
        for socket in sockets.get_mut(session).into_iter().flatten() {
            let newer = token.expires_at > socket.token.expires_at;
            let same = token.subject == socket.token.subject && token.issuer == socket.token.issuer;
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
            if revoked(&socket.token) {
                socket.left.send_replace(Duration::ZERO);
            }
        }
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
        let Some((session, receiver)) = self.session.take() else { return };
        let mut sockets = self.sessions.lock();
        let Some(of_session) = sockets.get_mut(&session) else { return };
        let before = of_session.len();
        of_session.retain(|socket| !socket.left.subscribe().same_channel(&receiver));
        let gone = before.saturating_sub(of_session.len());
        if of_session.is_empty() {
            sockets.remove(&session);
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
