//! Rules that nearly applied, for an explanation: those for want of one part of their condition.
//!
//! Costs nothing where no notes are taken. May import `domain` and `policy`.

use std::sync::Arc;

use crate::pipeline::trace::{Stage, Trace};
use crate::policy::expression::Scene;
use crate::policy::rules::{Rule, Shelf};

/// Rules of a phase that are told; those first that the request could meet by method and path.
const MOST: usize = 8;

/// Notes the rules of a phase that would have applied, were one part of their condition true.
pub(super) fn noted(shelf: &Shelf, scene: &Scene<'_>, stage: Stage, trace: &mut Trace) {
    if !trace.takes_notes() {
        return;
    }
    let nearly = |rule: &Arc<Rule>| {
        let lacking = rule.when.lacking(scene)?;
        let silent = rule.when.holds(scene) == Ok(false);
        silent.then(|| (Arc::clone(rule), shortened(lacking)))
    };
    let (met, other): (Vec<_>, Vec<_>) = shelf
        .rules()
        .iter()
        .partition(|rule| rule.when.head().admits(scene.request.method, scene.request.path));
    let found: Vec<_> = met.into_iter().chain(other).filter_map(nearly).take(MOST).collect();
    if !found.is_empty() && trace.stage != stage {
        trace.enter(stage);
    }
    for (rule, lacking) in found {
        trace.note(Some(&rule.source), || {
            format!("rule `{}` does not apply: `{lacking}` is false", rule.id)
        });
    }
}

/// In one line, which is not too long.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 120;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", line.get(..at).unwrap_or_default()),
        None => line,
    }
}
