//! `${NAME}`, `${NAME:-default}` and `${file:path}` in the texts of a tree.
//!
//! What they stand for is never put into a message. May import nothing of other rooms.

use super::super::yaml::{Entry, Kind, Node, Span};
use super::{Context, Interpolation};

impl Context<'_> {
    /// Replaces every reference in the texts of a tree.
    pub(super) fn interpolate(&mut self, node: &mut Node, interpolation: Interpolation) {
        match &mut node.kind {
            Kind::List(items) => {
                items.iter_mut().for_each(|item| self.interpolate(item, interpolation));
            }
            Kind::Map(entries) => {
                for Entry { value, .. } in entries {
                    self.interpolate(value, interpolation);
                }
            }
            Kind::Text { text, interpolated } if text.contains("${") => match interpolation {
                Interpolation::On => {
                    *interpolated = true;
                    // Empty where something is missing, which has been reported.
                    *text = self.expand(text, node.span).unwrap_or_default();
                }
                Interpolation::Off => {
                    // Empty and interpolated: whoever reads it knows that it was reported.
                    *interpolated = true;
                    text.clear();
                    self.error(node.span, "`${…}` is not read in this file")
                        .hint("variables and secret files are read in gateway.yaml only");
                }
            },
            Kind::Text { .. } | Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float => {}
        }
    }

    /// Replaces `${NAME}`, `${NAME:-default}` and `${file:PATH}`; `$${` stands for `${`.
    fn expand(&mut self, text: &str, span: Span) -> Option<String> {
        let mut whole = true;
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            if let Some(before) = before.strip_suffix('$') {
                out.push_str(before);
                out.push_str("${");
                rest = after;
                continue;
            }
            out.push_str(before);
            let Some((inside, tail)) = after.split_once('}') else {
                self.error(span, "`${` is not closed")
                    .hint("write `${NAME}`, or `$${` for the two characters themselves");
                return None;
            };
            match self.value_of(inside, span) {
                Some(value) => out.push_str(&value),
                None => whole = false,
            }
            rest = tail;
        }
        out.push_str(rest);
        whole.then_some(out)
    }

    fn value_of(&mut self, inside: &str, span: Span) -> Option<String> {
        if let Some(path) = inside.strip_prefix("file:") {
            let path = self.beside(span, path);
            return match self.secret(&path) {
                Ok(text) => Some(text.trim_end_matches(['\r', '\n']).to_owned()),
                Err(error) => {
                    let shown = path.display();
                    self.error(span, format!("cannot read the secret file `{shown}`: {error}"));
                    None
                }
            };
        }
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        let named = !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !named {
            self.error(span, format!("`${{{}}}` names no variable", inside.escape_debug())).hint(
                "write `${NAME}`, `${NAME:-default}` or `${file:path}`; `$${` for the characters",
            );
            return None;
        }
        let value = (self.environment)(name).filter(|value| !value.is_empty());
        match (value, default) {
            (Some(value), _) => Some(value),
            (None, Some(default)) => Some(default.to_owned()),
            (None, None) => {
                self.error(span, format!("the environment variable `{name}` is not set")).hint(
                    format!(
                        "set it, state a default with `${{{name}:-…}}`, or read a file with \
                         `${{file:…}}`"
                    ),
                );
                None
            }
        }
    }
}
