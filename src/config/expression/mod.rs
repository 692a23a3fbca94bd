//! Expressions of rules and conditions: read, checked and compiled. The only room that names the
//! parser of the Common Expression Language.
//!
//! `parse` makes the syntax tree, `check` gives everything in it a type and makes the operations
//! that `policy::expression` evaluates, `variables` and `functions` are the tables of what there is
//! to ask. A name that is not in them, a type that does not fit and what a phase does not have are
//! mistakes with a place in the text. May import `policy` and `domain`.

use std::ops::Range;

use crate::policy::expression::{Expression, Phase};

mod calls;
mod check;
#[cfg(test)]
mod differential;
mod functions;
mod gateway;
mod parse;
#[cfg(test)]
mod tests;
mod types;
mod variables;

/// Something that is wrong with an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where in the text, in bytes.
    pub range: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Mistake {
    fn new(range: Range<usize>, message: impl Into<String>) -> Self {
        Self { range, message: message.into(), hint: None }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Compiles an expression that holds or does not, for a phase.
///
/// # Errors
/// All [`Mistake`]s in it.
pub fn compile(text: &str, phase: Phase) -> Result<Expression, Vec<Mistake>> {
    parse::parsed(text, |tree, places| {
        check::condition(text, phase, &tree, &places)
            .map(|test| Expression::new(text.into(), phase, test))
    })
}

/// The variables and the functions, as tables in Markdown.
pub fn reference() -> String {
    let mut out = String::from("| variable | type | from phase | meaning |\n|---|---|---|---|\n");
    for known in variables::VARIABLES {
        let (name, kind) = (known.variable.name(), known.kind.of());
        out += &format!("| `{name}` | {kind} | `{}` | {} |\n", known.since, known.about);
    }
    out += "\n| function | meaning | example |\n|---|---|---|\n";
    for function in functions::FUNCTIONS {
        let (signature, about, example) = (function.signature, function.about, function.example);
        out += &format!("| `{signature}` | {about} | `{example}` |\n");
    }
    out
}
