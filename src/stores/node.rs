//! What this node knows, for the core; and finding out what it does not, for the shell.
//!
//! [`NodeKnowledge`] belongs to one snapshot and puts keys, verified tokens and the directory
//! behind [`Known`]. [`Facts`] is one request's view of it: what was found out for this request
//! counts for it, even where the node did not keep it, so that deciding again makes headway.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::domain::clock::{Clock, Now};
use crate::domain::ids::{OrgId, UserId};
use crate::domain::known::{Answer, IssuerIndex, Join, Lookup, MembershipChange, Question};
use crate::domain::machine::{KeyId, MachineKey};
use crate::domain::organization::{Membership, OrgSelector, Organization};
use crate::domain::principal::VerifiedToken;
use crate::domain::refusal::Refusal;
use crate::domain::session::{LastUse, Standing};
use crate::domain::trusted::TrustedDevice;
use crate::policy::identity::KeySet;
use crate::policy::known::{Keys, Known};
use crate::telemetry::labels::{CacheLabel, CacheOutcome};
use crate::telemetry::metrics::Metrics;

use super::directory::Directory;
use super::keys::RemoteKeys;
use super::sessions::Sessions;
use super::tokens::{MINTED_BYTES, MintedTokens, TokenView};

/// Questions that one request may have answered. The pipeline asks at most seven: two keys, two
/// organizations, a membership, the organization of a default membership, a membership to be made; or the key of a machine
/// and five organizations.
const MAX_QUESTIONS: usize = 8;

/// What this node knows, under one snapshot.
pub struct NodeKnowledge {
    keys: Vec<Option<Arc<RemoteKeys>>>,
    tokens: TokenView,
    minted: MintedTokens,
    directory: Arc<Directory>,
    sessions: Arc<Sessions>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

impl NodeKnowledge {
    /// Brings together what a snapshot's requests may know. `keys` are those of its issuers, in
    /// their order; `tokens` is a fresh view.
    pub fn new(
        keys: Vec<Option<Arc<RemoteKeys>>>,
        tokens: TokenView,
        directory: Arc<Directory>,
        sessions: Arc<Sessions>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let minted = MintedTokens::new(MINTED_BYTES, Arc::clone(&clock));
        Self { keys, tokens, minted, directory, sessions, clock, metrics }
    }

    /// Tokens minted under this snapshot.
    pub fn minted(&self) -> &MintedTokens {
        &self.minted
    }

    /// The key sets that are fetched, for readiness and statistics.
    pub fn remote_keys(&self) -> impl Iterator<Item = &Arc<RemoteKeys>> {
        self.keys.iter().flatten()
    }

    /// The directory.
    pub fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// What was taken back.
    pub fn sessions(&self) -> &Arc<Sessions> {
        &self.sessions
    }

    /// Finds the answer to a question. Waits for as long as its source's timeout says.
    pub async fn find_out(&self, question: &Question) -> Answer {
        match question {
            Question::Key { issuer, kid: _ } => {
                if let Some(keys) = self.remote(*issuer) {
                    keys.look_up().await;
                }
                Answer::KeysLookedUp
            }
            Question::Organization(selector) => {
                Answer::Organization(self.directory.find_organization(selector).await)
            }
            Question::Membership(user, organization) => {
                Answer::Membership(self.directory.find_membership(user, *organization).await)
            }
            Question::DefaultMembership(user) => {
                Answer::Membership(self.directory.find_default_membership(user).await)
            }
            Question::Join(join) => {
                let (membership, changed) = self.directory.join(join, self.clock.now()).await;
                Answer::Joined { membership, changed }
            }
            Question::MachineKey(id) => {
                Answer::MachineKey(self.directory.find_machine_key(*id).await)
            }
        }
    }

    fn remote(&self, issuer: IssuerIndex) -> Option<&Arc<RemoteKeys>> {
        self.keys.get(usize::from(issuer.0)).and_then(Option::as_ref)
    }

    /// One number for the keys of all issuers: it changes when any of them loses a key.
    fn generation(&self) -> u64 {
        self.remote_keys().map(|keys| keys.generation()).fold(0, u64::wrapping_add)
    }

    fn looked(&self, cache: CacheLabel, hit: bool) {
        let outcome = if hit { CacheOutcome::Hit } else { CacheOutcome::Miss };
        self.metrics.lookups.looked(cache, outcome);
    }
}

/// What one request knows: what the node knows, and what was found out for it.
pub struct Facts<'n> {
    node: &'n NodeKnowledge,
    /// When the request came, or the last answer to a question of its.
    now: Now,
    /// Read before any key is: a token that is verified while keys change is not found later.
    generation: u64,
    answers: SmallVec<[(Question, Answer); 2]>,
}

impl<'n> Facts<'n> {
    /// Begins a request.
    pub fn new(node: &'n NodeKnowledge, now: Now) -> Self {
        Self { node, now, generation: node.generation(), answers: SmallVec::new() }
    }

    /// The time at which to decide: waiting for an answer takes some.
    pub fn now(&self) -> Now {
        self.now
    }

    /// Finds out what the core asked for.
    ///
    /// # Errors
    /// [`Refusal::Internal`] if it was answered before, or the request asks for too much: deciding
    /// again would go round in circles.
    pub async fn find_out(&mut self, question: Question) -> Result<(), Refusal> {
        let answered = self.answers.iter().any(|(asked, _)| *asked == question);
        if answered || self.answers.len() >= MAX_QUESTIONS {
            return Err(Refusal::Internal("a question was asked again after it was answered"));
        }
        let answer = self.node.find_out(&question).await;
        self.now = self.node.clock.now();
        self.answers.push((question, answer));
        Ok(())
    }

    /// Takes note of how it would be: for explanations, which change nothing.
    pub fn suppose(&mut self, join: Arc<Join>) {
        let membership = Lookup::Found(Arc::new(join.membership(self.now.unix_secs())));
        self.answers.push((Question::Join(join), Answer::Joined { membership, changed: false }));
    }

    /// What this request did to a membership.
    pub fn membership_change(&self) -> Option<MembershipChange> {
        self.answer(|question, answer| match (question, answer) {
            (Question::Join(join), Answer::Joined { changed: true, .. }) => Some(join.change),
            _ => None,
        })
    }

    fn answer<T>(&self, pick: impl Fn(&Question, &Answer) -> Option<T>) -> Option<T> {
        self.answers.iter().find_map(|(question, answer)| pick(question, answer))
    }

    fn looked<T>(&self, found: Option<T>) -> Option<T> {
        self.node.looked(CacheLabel::Directory, found.is_some());
        found
    }
}

impl Known for Facts<'_> {
    fn keys(&self, issuer: IssuerIndex, kid: Option<&str>) -> Keys {
        let Some(remote) = self.node.remote(issuer) else {
            return Keys::Are(Arc::new(KeySet::default()));
        };
        let looked_up = self.answer(|question, _| match question {
            Question::Key { issuer: asked, .. } => (*asked == issuer).then_some(()),
            Question::Organization(_)
            | Question::Membership(..)
            | Question::DefaultMembership(_)
            | Question::MachineKey(_)
            | Question::Join(_) => None,
        });
        if looked_up.is_some() { remote.settled() } else { remote.keys(kid) }
    }

    fn remembered(&self, token: &str) -> Option<Arc<VerifiedToken>> {
        let found = self.node.tokens.get(token, self.generation, self.now);
        self.node.looked(CacheLabel::Token, found.is_some());
        found
    }

    fn remember(&self, token: &str, verified: &Arc<VerifiedToken>) {
        self.node.tokens.put(token, self.generation, self.now, verified);
    }

    fn standing(&self, token: &VerifiedToken) -> Standing {
        self.node.sessions.standing(token, self.now)
    }

    fn trusts(&self, user: &UserId, device: TrustedDevice) -> bool {
        self.node.sessions.trusts(user, device, self.now)
    }

    fn last_use(&self, token: &VerifiedToken) -> LastUse {
        self.node.sessions.last_use(token, self.now)
    }

    fn organization(&self, selector: &OrgSelector) -> Option<Lookup<Arc<Organization>>> {
        let told = self.answer(|question, answer| match (question, answer) {
            (Question::Organization(asked), Answer::Organization(found)) if asked == selector => {
                Some(found.clone())
            }
            _ => None,
        });
        told.or_else(|| self.looked(self.node.directory.organization(selector, self.now)))
    }

    fn membership(&self, user: &UserId, organization: OrgId) -> Option<Lookup<Arc<Membership>>> {
        let told = self.answer(|question, answer| match (question, answer) {
            (Question::Membership(who, which), Answer::Membership(found))
                if who == user && *which == organization =>
            {
                Some(found.clone())
            }
            _ => None,
        });
        told.or_else(|| self.looked(self.node.directory.membership(user, organization, self.now)))
    }

    fn default_membership(&self, user: &UserId) -> Option<Lookup<Arc<Membership>>> {
        let told = self.answer(|question, answer| match (question, answer) {
            (Question::DefaultMembership(who), Answer::Membership(found)) if who == user => {
                Some(found.clone())
            }
            _ => None,
        });
        told.or_else(|| self.looked(self.node.directory.default_membership(user, self.now)))
    }

    fn machine_key(&self, id: KeyId) -> Option<Lookup<Arc<MachineKey>>> {
        let told = self.answer(|question, answer| match (question, answer) {
            (Question::MachineKey(asked), Answer::MachineKey(found)) if *asked == id => {
                Some(found.clone())
            }
            _ => None,
        });
        told.or_else(|| self.looked(self.node.directory.machine_key(id, self.now)))
    }

    fn joined(&self, join: &Join) -> Option<Lookup<Arc<Membership>>> {
        self.answer(|question, answer| match (question, answer) {
            (Question::Join(asked), Answer::Joined { membership, .. }) if **asked == *join => {
                Some(membership.clone())
            }
            _ => None,
        })
    }
}
