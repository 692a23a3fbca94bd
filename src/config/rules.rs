//! Rule files: each rule by itself, as it is written. `actions` has what rules do, `compile`
//! resolves names and compiles conditions, `place` finds a condition's mistakes in the file.
//!
//! May import `domain` and `policy`.

use serde_json::{Value, json};

use crate::policy::mode::Mode;
use crate::policy::rules::Phase;

use super::context::Context;
use super::decode::{At, Decode, Fields, Name, Shapes, Table};
use super::defaults as preset;
use super::leaf::{Text, text, word, words};
use super::yaml::{Kind, Node};

mod actions;
pub(super) mod compile;
mod place;

use actions::ActionFields;

/// One file.
#[derive(Default)]
pub(super) struct RuleFile {
    pub(super) rules: Vec<At<RuleFields>>,
}

impl Fields for RuleFile {
    const NAME: &'static str = "rules";
    const ABOUT: &'static str = "A rule file: conditions, and what becomes of requests that meet \
                                 them.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let rules = table.required("rules", "Rules, tried in this order.");
        Some(Self { rules: rules? })
    }
}

/// A rule.
pub(super) struct RuleFields {
    pub(super) id: At<Name>,
    pub(super) phase: Phase,
    pub(super) mode: Mode,
    pub(super) when: At<When>,
    pub(super) then: At<ActionFields>,
}

impl Fields for RuleFields {
    const NAME: &'static str = "rule";
    const ABOUT: &'static str = "A condition, and what becomes of requests that meet it.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let id = table.required("id", "Its name, unique over all files.");
        let _: Option<Text> = table.optional("description", "What it is for, for people.");
        let phase = table.or(
            "phase",
            &preset::RULE_PHASE,
            "When it is tried: `request` (a route was found; nobody knows who calls), \
             `authenticated` (the caller may do what the route asks for), or `response` (the head \
             of the upstream's answer has come).",
        );
        let mode = table.or(
            "mode",
            &preset::RULE_MODE,
            "`enforce`, `shadow` (tried and recorded, without effect) or `off`.",
        );
        let when = table.required(
            "when",
            "What must hold, in the Common Expression Language; `true` for any request.",
        );
        let then = table.required("then", "What becomes of such a request.");
        Some(Self { id: id?, phase: phase?, mode: mode?, when: when?, then: then? })
    }
}

/// The text of a condition.
pub(super) struct When(pub(super) String);

impl Decode for When {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        match &node.kind {
            Kind::Bool(true) => Some(Self("true".to_owned())),
            Kind::Bool(false) => {
                cx.error(node.span, "the rule never applies").hint("write `mode: off`");
                None
            }
            Kind::Null
            | Kind::Int(_)
            | Kind::Float
            | Kind::Text { .. }
            | Kind::List(_)
            | Kind::Map(_) => text(node, cx).map(|text| Self(text.to_owned())),
        }
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({
            "anyOf": [
                { "title": "expression", "type": "string", "minLength": 1 },
                { "const": true },
            ],
        })
    }
}

impl Decode for Phase {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        word(node, &phases(), "phase", cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        words(&phases())
    }
}

fn phases() -> [(&'static str, Phase); 3] {
    [Phase::Request, Phase::Authenticated, Phase::Response].map(|phase| (phase.as_str(), phase))
}
