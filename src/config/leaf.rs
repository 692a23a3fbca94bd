//! The smallest values of a configuration: texts, numbers, amounts, words.
//!
//! May import `domain`.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::domain::charge::Rate;
use crate::domain::secret::Secret;

use super::context::Context;
use super::decode::{Decode, Fields, Name, Shapes, Table, expected, listed, name, nearest, shown};
use super::units::{self, UnitError};
use super::yaml::{Kind, Node};

/// Any text that is not empty and has no control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text(pub(super) String);

/// A text of several lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block(pub(super) String);

/// A path beside the file that states it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FilePath(pub(super) PathBuf);

/// A whole number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size(pub(super) u64);

/// A size that memory is set aside for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SmallSize(pub(super) u32);

/// A number from 0 to 10.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Few(pub(super) u8);

/// A duration of whole seconds, for what tokens count in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seconds(pub(super) u64);

impl Decode for Text {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let text = text(node, cx)?;
        if text.chars().any(char::is_control) {
            cx.error(node.span, "the text has a control character, such as a line break");
            return None;
        }
        Some(Self(text.to_owned()))
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "text", "type": "string", "minLength": 1 })
    }
}

impl Decode for Block {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        text(node, cx).map(|text| Self(text.to_owned()))
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "text, also of several lines", "type": "string", "minLength": 1 })
    }
}

/// A text that must not be shown.
impl Decode for Secret {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        cx.hide(node);
        Text::decode(node, cx).map(|text| Secret::new(text.0))
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "secret", "type": "string", "minLength": 1 })
    }
}

/// A [`Name`].
impl Decode for Name {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let text = text(node, cx)?;
        name(text, node.span, cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "name", "type": "string", "pattern": "^[A-Za-z0-9_.-]{1,64}$" })
    }
}

impl Decode for FilePath {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let text = Text::decode(node, cx)?;
        Some(Self(cx.beside(node.span, &text.0)))
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "path", "type": "string", "minLength": 1 })
    }
}

impl Decode for bool {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        match &node.kind {
            Kind::Bool(value) => Some(*value),
            Kind::Text { text, interpolated: true } if text == "true" => Some(true),
            Kind::Text { text, interpolated: true } if text == "false" => Some(false),
            Kind::Null | Kind::Int(_) | Kind::Float => wrong("`true` or `false`", node, cx),
            Kind::Text { .. } | Kind::List(_) | Kind::Map(_) => {
                wrong("`true` or `false`", node, cx)
            }
        }
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "`true` or `false`", "type": "boolean" })
    }
}

impl Decode for u64 {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let number = match &node.kind {
            Kind::Int(number) => u64::try_from(*number).ok(),
            Kind::Text { text, interpolated: true } => text.trim().parse().ok(),
            Kind::Null | Kind::Bool(_) | Kind::Float => None,
            Kind::Text { .. } | Kind::List(_) | Kind::Map(_) => None,
        };
        match number {
            Some(number) => Some(number),
            None => wrong("a whole number", node, cx),
        }
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "whole number", "type": "integer", "minimum": 0 })
    }
}

impl Decode for NonZeroU32 {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let number = u64::decode(node, cx)?;
        if number == 0 {
            cx.error(node.span, "zero is not allowed")
                .hint("state a number from 1; there is no value that means “without bound”");
            return None;
        }
        match u32::try_from(number).ok().and_then(NonZeroU32::new) {
            Some(number) => Some(number),
            None => {
                cx.error(node.span, format!("`{number}` is too large"));
                None
            }
        }
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "whole number from 1", "type": "integer", "minimum": 1, "maximum": u32::MAX })
    }
}

impl Decode for Few {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let number = u64::decode(node, cx)?;
        match u8::try_from(number) {
            Ok(few @ 0..=10) => Some(Self(few)),
            Ok(_) | Err(_) => {
                cx.error(node.span, format!("`{number}` is too large"))
                    .hint("state a number from 0 to 10");
                None
            }
        }
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "whole number from 0 to 10", "type": "integer", "minimum": 0, "maximum": 10 })
    }
}

impl Decode for Size {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        amount(node, "a size", units::SIZE_HINT, units::size, cx).map(Self)
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "size", "type": "string", "pattern": "^[0-9]+ ?(B|KiB|MiB|GiB)$" })
    }
}

impl Decode for SmallSize {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let Size(size) = Size::decode(node, cx)?;
        match u32::try_from(size) {
            Ok(small) if small <= 64 << 20 => Some(Self(small)),
            Ok(_) | Err(_) => {
                cx.error(node.span, "the size is above 64MiB, which no client needs here");
                None
            }
        }
    }

    fn shape(shapes: &mut Shapes) -> Value {
        Size::shape(shapes)
    }
}

impl Decode for Duration {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        amount(node, "a duration", units::DURATION_HINT, units::duration, cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "duration", "type": "string", "pattern": "^[0-9]+ ?(ms|s|m|h|d)$" })
    }
}

impl Decode for Seconds {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let duration = Duration::decode(node, cx)?;
        if duration.subsec_millis() == 0 {
            return Some(Self(duration.as_secs()));
        }
        refuse_as(node, "a duration of whole seconds", "tokens count in seconds", cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "duration, whole seconds", "type": "string", "pattern": "^[0-9]+ ?(ms|s|m|h|d)$" })
    }
}

/// `10/s`, whose burst is its count, or `{ rate: 10/s, burst: 20 }`.
impl Decode for Rate {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        match &node.kind {
            Kind::Map(_) => RateFields::decode(node, cx)?.rate(),
            Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float | Kind::Text { .. } => {
                let pace = Pace::decode(node, cx)?;
                Some(pace.with_burst(None))
            }
            Kind::List(_) => wrong("a rate", node, cx),
        }
    }

    fn shape(shapes: &mut Shapes) -> Value {
        json!({ "anyOf": [Pace::shape(shapes), RateFields::shape(shapes)] })
    }
}

/// A rate without its burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    tokens: NonZeroU32,
    period_millis: NonZeroU32,
}

impl Pace {
    pub(super) fn with_burst(self, burst: Option<NonZeroU32>) -> Rate {
        let Self { tokens, period_millis } = self;
        Rate { tokens, period_millis, burst: burst.unwrap_or(tokens) }
    }
}

impl Decode for Pace {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        amount(node, "a rate", units::RATE_HINT, units::rate, cx)
            .map(|(tokens, period_millis)| Self { tokens, period_millis })
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "rate", "type": "string", "pattern": "^[0-9]+ ?/ ?(s|min|h|d)$" })
    }
}

struct RateFields {
    pace: Option<Pace>,
    burst: Option<NonZeroU32>,
}

impl RateFields {
    fn rate(&self) -> Option<Rate> {
        self.pace.map(|pace| pace.with_burst(self.burst))
    }
}

impl Fields for RateFields {
    const NAME: &'static str = "rate";
    const ABOUT: &'static str = "How many tokens come back, and how many may be spent at once.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let pace = table.required("rate", "Tokens that come back in a period, such as `10/s`.");
        let burst = table.optional(
            "burst",
            "Tokens that an idle caller can spend at once; the count of the rate if not stated.",
        );
        Some(Self { pace, burst })
    }
}

/// One of a closed set of words.
pub(super) fn word<T: Clone>(
    node: &Node,
    words: &[(&str, T)],
    kind: &str,
    cx: &mut Context<'_>,
) -> Option<T> {
    let text = text(node, cx)?;
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Some(value.clone());
    }
    let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let hint = match nearest(text, names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if names.len() == 1 => format!("write {}", listed(&names)),
        None => format!("write one of {}", listed(&names)),
    };
    let message = match node.kind {
        Kind::Text { interpolated: true, .. } => format!("unknown {kind} in the interpolated text"),
        _ => format!("unknown {kind} `{}`", shown(text)),
    };
    cx.error(node.span, message).hint(hint);
    None
}

/// The schema of a closed set of words.
pub(super) fn words<T>(words: &[(&str, T)]) -> Value {
    let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    json!({ "enum": names })
}

/// A text that is not empty.
pub(super) fn text<'n>(node: &'n Node, cx: &mut Context<'_>) -> Option<&'n str> {
    match &node.kind {
        Kind::Text { text, interpolated } if text.trim().is_empty() => {
            // What was interpolated and is missing has been reported.
            if !interpolated {
                cx.error(node.span, "the text is empty");
            }
            None
        }
        Kind::Text { text, .. } => Some(text),
        Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float => wrong("a text", node, cx),
        Kind::List(_) | Kind::Map(_) => wrong("a text", node, cx),
    }
}

/// Anything that the standard library or a crate can parse.
pub(super) fn parsed<T: FromStr>(
    node: &Node,
    kind: &str,
    hint: &str,
    cx: &mut Context<'_>,
) -> Option<T> {
    let text = text(node, cx)?;
    match text.parse() {
        Ok(value) => Some(value),
        Err(_) => refuse(node, kind, text, hint, cx),
    }
}

/// Says that a text is not what it should be; shows what was interpolated never.
pub(super) fn refuse<T>(
    node: &Node,
    kind: &str,
    text: &str,
    hint: &str,
    cx: &mut Context<'_>,
) -> Option<T> {
    let interpolated = matches!(node.kind, Kind::Text { interpolated: true, .. });
    let message = match interpolated {
        true => format!("the interpolated text is not {kind}"),
        false => format!("`{}` is not {kind}", shown(text)),
    };
    let said = cx.error(node.span, message);
    if !hint.is_empty() {
        said.hint(hint);
    }
    None
}

/// The same for what was read and does not fit.
fn refuse_as<T>(node: &Node, kind: &str, hint: &str, cx: &mut Context<'_>) -> Option<T> {
    let stated = text(node, cx)?;
    refuse(node, kind, stated, hint, cx)
}

fn amount<T>(
    node: &Node,
    kind: &str,
    hint: &str,
    parse: impl Fn(&str) -> Result<T, UnitError>,
    cx: &mut Context<'_>,
) -> Option<T> {
    let number;
    let text = match &node.kind {
        Kind::Text { .. } => text(node, cx)?.trim(),
        Kind::Int(value) => {
            number = value.to_string();
            &number
        }
        Kind::Null | Kind::Bool(_) | Kind::Float => return wrong(kind, node, cx),
        Kind::List(_) | Kind::Map(_) => return wrong(kind, node, cx),
    };
    match parse(text) {
        Ok(value) => Some(value),
        Err(UnitError::Zero) => {
            cx.error(node.span, format!("{kind} of zero is not allowed"))
                .hint("there is no value that means “without bound”");
            None
        }
        Err(error) => {
            let interpolated = matches!(node.kind, Kind::Text { interpolated: true, .. });
            let what = if interpolated {
                "the interpolated text".to_owned()
            } else {
                format!("`{}`", shown(text))
            };
            cx.error(node.span, format!("{what} is not {kind}: it {error}")).hint(hint);
            None
        }
    }
}

fn wrong<T>(what: &str, node: &Node, cx: &mut Context<'_>) -> Option<T> {
    expected(what, node, cx);
    None
}

/// Texts of the domain.
pub(super) fn arc(text: Text) -> Arc<str> {
    Arc::from(text.0)
}
