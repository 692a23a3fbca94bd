//! Modes of policies, as files state them. May import `policy`.

use serde_json::Value;

use crate::policy::mode::Mode;

use super::context::Context;
use super::decode::{Decode, Shapes};
use super::leaf::{word, words};
use super::yaml::Node;

const MODES: &[(&str, Mode)] =
    &[("enforce", Mode::Enforce), ("shadow", Mode::Shadow), ("off", Mode::Off)];

impl Decode for Mode {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        word(node, MODES, "mode", cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        words(MODES)
    }
}
