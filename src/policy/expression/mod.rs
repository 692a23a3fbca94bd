//! Expressions of rules and conditions: the Common Expression Language, checked and compiled by
//! `config`, evaluated here over what is borrowed from the request.
//!
//! An expression is a tree of typed operations. It copies nothing that it is not asked for, reads
//! no clock and cannot loop: every evaluation keeps within a budget of steps and of bytes, and what
//! it cannot answer is a [`Fault`], never a guess. `head` finds what method and path must be for it
//! to hold, so that rules can be indexed. May import `domain` and `policy`.

use std::fmt;
use std::sync::Arc;

pub mod agent;
pub mod arithmetic;
pub mod call;
mod convert;
pub mod evaluate;
pub mod fault;
pub mod head;
pub mod moment;
mod near;
pub mod scene;
pub mod text;
pub mod tree;
pub mod value;
mod variable;

pub use evaluate::{SIZE_BUDGET, STEP_BUDGET};
pub use fault::Fault;
pub use head::HeadFilter;
pub use scene::Scene;

use evaluate::Frame;
use tree::Test;

/// What is known when an expression is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// The request, before anybody knows who calls.
    Request,
    /// The caller and the organization as well.
    Authenticated,
    /// The answer as well.
    Response,
}

impl Phase {
    /// As rules name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Authenticated => "authenticated",
            Self::Response => "response",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A compiled condition. Cheap to clone; equal to another if it says the same in the same phase.
#[derive(Clone)]
pub struct Expression {
    text: Arc<str>,
    phase: Phase,
    test: Arc<Test>,
    head: HeadFilter,
}

impl Expression {
    /// Of a tree whose types were checked.
    pub fn new(text: Arc<str>, phase: Phase, test: Test) -> Self {
        let head = HeadFilter::of(&test);
        Self { text, phase, test: Arc::new(test), head }
    }

    /// Whether it holds.
    ///
    /// # Errors
    /// [`Fault`] where it has no answer: something that it reads is absent, a number does not fit,
    /// the budget is spent.
    pub fn holds(&self, scene: &Scene<'_>) -> Result<bool, Fault> {
        // What cannot hold has no fault either: `&&` with something false is false.
        if !self.head.admits(scene.request.method, scene.request.path) {
            return Ok(false);
        }
        self.holds_behind_head(scene)
    }

    /// Whether it holds for a request that its head admits, as who has asked an index knows.
    ///
    /// # Errors
    /// As [`Expression::holds`].
    pub fn holds_behind_head(&self, scene: &Scene<'_>) -> Result<bool, Fault> {
        self.test.holds(&mut Frame::new(scene))
    }

    /// What method and path must be for it to hold.
    pub fn head(&self) -> &HeadFilter {
        &self.head
    }

    /// What has to be known to evaluate it.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.phase == other.phase && self.text == other.text
    }
}

impl Eq for Expression {}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expression").field("text", &self.text).field("phase", &self.phase).finish()
    }
}
