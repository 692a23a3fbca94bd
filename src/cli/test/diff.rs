//! What was expected beside what was got, line by line.

use serde_json::Value;

use super::super::text_diff::{Line, compared};
use super::verdict::Difference;

/// The lines of a difference, where it is worth to see it line by line: a target with its parameters,
/// JSON, a text of several lines.
pub(super) fn lines(difference: &Difference) -> Option<Vec<Line>> {
    let Difference { expected, actual, .. } = difference;
    let (expected, actual) = (pieces(expected), pieces(actual));
    (expected.len() > 1 && actual.len() > 1).then(|| compared(&expected, &actual))
}

fn pieces(text: &str) -> Vec<String> {
    if let Some(pretty) = pretty(text) {
        return pretty.lines().map(str::to_owned).collect();
    }
    if text.starts_with('/') && !text.contains(char::is_whitespace) {
        return parameters(text);
    }
    text.lines().map(str::to_owned).collect()
}

fn pretty(text: &str) -> Option<String> {
    let parsed: Value = serde_json::from_str(text).ok()?;
    match parsed {
        Value::Object(_) | Value::Array(_) => serde_json::to_string_pretty(&parsed).ok(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// A target: its path, then a line for each parameter.
fn parameters(target: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut rest = target;
    while let Some(at) = rest.char_indices().skip(1).find(|(_, c)| matches!(c, '?' | '&')) {
        let (piece, after) = rest.split_at(at.0);
        out.push(piece.to_owned());
        rest = after;
    }
    out.push(rest.to_owned());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(expected: &str, actual: &str) -> Option<Vec<String>> {
        let difference =
            Difference { what: "x".into(), expected: expected.into(), actual: actual.into() };
        let show = |line: &Line| match line {
            Line::Both(text) => format!("  {text}"),
            Line::Expected(text) => format!("- {text}"),
            Line::Actual(text) => format!("+ {text}"),
        };
        lines(&difference).map(|lines| lines.iter().map(show).collect())
    }

    #[test]
    fn a_target_is_compared_by_its_parameters() {
        let shown = shown("/events?select=id&b=2", "/events?select=title&b=2&c=3");
        let due = ["  /events", "- ?select=id", "+ ?select=title", "  &b=2", "+ &c=3"];
        assert_eq!(shown.unwrap(), due);
    }

    #[test]
    fn json_is_compared_by_its_keys_and_not_by_its_spaces() {
        let shown = shown(r#"{"a":1,"b":[2]}"#, r#"{ "a": 1, "b": [3] }"#);
        let due = ["  {", "    \"a\": 1,", "    \"b\": [", "-     2", "+     3", "    ]", "  }"];
        assert_eq!(shown.unwrap(), due);
    }

    #[test]
    fn what_has_one_line_on_a_side_is_not_cut() {
        assert_eq!(shown("sent on", "403 `x`"), None);
        assert_eq!(shown("/events", "/events?select=id"), None);
    }
}
