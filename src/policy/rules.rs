//! Rules: conditions in CEL, and what becomes of a request that meets one.
//!
//! What a rule says is decided here; `pipeline::rules` only brings the request. Rules are tried in
//! the order of their files. Those that a request cannot meet, by its method and path, are never
//! looked at: see `index`. May import `domain`.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};

use crate::domain::rule::{Denial, RuleEvent};
use crate::domain::source::Source;

pub use super::expression::Phase;
use super::expression::{Expression, Fault, Scene};
use super::limits::Limit;
use super::mode::Mode;
use super::upstream::Upstream;

mod index;
mod redirect;
mod share;

use index::Index;
pub use redirect::{Location, Redirect};
pub use share::Share;

/// Rules that a configuration has at most.
pub const MOST_RULES: usize = 4_096;

/// One rule.
#[derive(Debug)]
pub struct Rule {
    /// Its unique id.
    pub id: Arc<str>,
    /// Its place among all rules that are on: counters are found by it.
    pub place: u16,
    /// When it is tried.
    pub phase: Phase,
    /// Whether it decides.
    pub mode: Mode,
    /// What must hold for it to apply.
    pub when: Expression,
    /// What it does then.
    pub actions: Actions,
    /// Where it was written.
    pub source: Source,
}

/// What a rule does to a request that meets its condition.
#[derive(Debug, Default)]
pub struct Actions {
    /// How it ends the request, if it does.
    pub ending: Option<Ending>,
    /// Asks for a second factor, and refuses who has not shown one.
    pub second_factor: Option<FactorRule>,
    /// What later rules see.
    pub tags: Vec<Arc<str>>,
    /// Fields of the request to the upstream, or in the last phase of the answer.
    pub fields: FieldEdits,
    /// Tokens that the request costs besides, in each of its limits.
    pub cost: u32,
    /// Limits that it is charged to.
    pub charge: Option<ChargeRule>,
    /// Another upstream.
    pub divert: Option<Diversion>,
    /// How often it is written to the audit log where the route does not ask for it.
    pub audit: Option<Share>,
    /// A security event.
    pub event: Option<Arc<RuleEvent>>,
}

/// How a rule ends a request.
#[derive(Debug)]
pub enum Ending {
    /// Refused.
    Deny(Arc<Denial>),
    /// Sent elsewhere.
    Redirect(Redirect),
}

/// That a second factor was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FactorRule {
    /// How long ago at most; in this session where `None`.
    pub within: Option<Duration>,
}

/// Header fields that are changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldEdits {
    /// Set, over what is there.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Taken off.
    pub remove: Vec<HeaderName>,
}

impl FieldEdits {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }
}

/// Which limits a request is charged to.
#[derive(Debug, Clone)]
pub struct ChargeRule {
    /// Those besides.
    pub to: Vec<Arc<Limit>>,
    /// Those of the route that it is spared.
    pub instead_of: Vec<Arc<str>>,
}

/// Another upstream of the same kind.
#[derive(Debug, Clone)]
pub struct Diversion {
    /// In place of this one: requests to others stay where they are.
    pub from: Arc<str>,
    /// To this one.
    pub to: Arc<Upstream>,
    /// How many of those whose request meets the condition.
    pub share: Share,
    /// What stays together.
    pub by: Together,
}

/// What stays on one side when a share is diverted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Together {
    /// A user, or a machine; others by their address.
    User,
    /// An organization; where there is none, by address.
    Organization,
    /// An address.
    Address,
    /// Nothing: each request by itself.
    Request,
}

/// What a rule says to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// Its condition does not hold.
    Nothing,
    /// It applies.
    Applies,
    /// Its condition has no answer, and it is there to refuse: in doubt it does.
    Refuses(Fault),
    /// Its condition has no answer, and it does nothing.
    Ignored(Fault),
}

impl Rule {
    /// What it says to a request that is among those that can meet it ([`Shelf::candidates`]).
    pub fn judge(&self, scene: &Scene<'_>) -> Judgement {
        match self.when.holds_behind_head(scene) {
            Ok(true) => Judgement::Applies,
            Ok(false) => Judgement::Nothing,
            Err(fault) if self.refuses() => Judgement::Refuses(fault),
            Err(fault) => Judgement::Ignored(fault),
        }
    }

    fn refuses(&self) -> bool {
        self.actions.second_factor.is_some() || matches!(self.actions.ending, Some(Ending::Deny(_)))
    }

    /// Whether what it says counts.
    pub fn enforced(&self) -> bool {
        self.mode == Mode::Enforce
    }
}

/// All rules that are on.
#[derive(Debug, Default)]
pub struct RuleBook {
    all: Vec<Arc<Rule>>,
    request: Shelf,
    authenticated: Shelf,
    response: Shelf,
}

impl RuleBook {
    /// Puts rules, in the order of their files, where they are found by method and path.
    pub fn new(all: Vec<Arc<Rule>>) -> Self {
        let of = |phase: Phase| Shelf::new(all.iter().filter(|rule| rule.phase == phase));
        Self {
            request: of(Phase::Request),
            authenticated: of(Phase::Authenticated),
            response: of(Phase::Response),
            all,
        }
    }

    /// All, in their order: the place of each is its index.
    pub fn all(&self) -> &[Arc<Rule>] {
        &self.all
    }

    /// Those of one phase.
    pub fn of(&self, phase: Phase) -> &Shelf {
        match phase {
            Phase::Request => &self.request,
            Phase::Authenticated => &self.authenticated,
            Phase::Response => &self.response,
        }
    }
}

/// The rules of one phase.
#[derive(Debug, Default)]
pub struct Shelf {
    rules: Vec<Arc<Rule>>,
    index: Index,
}

impl Shelf {
    fn new<'r>(rules: impl Iterator<Item = &'r Arc<Rule>>) -> Self {
        let rules: Vec<Arc<Rule>> = rules.cloned().collect();
        let index = Index::new(rules.iter().map(|rule| rule.when.head()));
        Self { rules, index }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// All of them, in their order.
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    /// Those that a request with this method and path can meet, in their order.
    pub fn candidates(&self, method: &Method, path: &str) -> impl Iterator<Item = &Arc<Rule>> {
        let places = self.index.candidates(method, path);
        places.filter_map(|place| self.rules.get(place))
    }
}
