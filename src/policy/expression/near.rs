//! Near misses: of a conjunction, the one member for want of which it does not hold.
//!
//! For explanations only. The members are those of the tree, which has them in the order of the text;
//! where the text cannot be taken apart into as many, nothing is said. May import `policy`.

use super::Expression;
use super::evaluate::Frame;
use super::scene::Scene;
use super::tree::Test;

impl Expression {
    /// The text of the only one of its `&&`s that does not hold. `None` where it holds, has one
    /// member only, lacks more than one, or has one without an answer.
    pub fn lacking(&self, scene: &Scene<'_>) -> Option<&str> {
        let Test::All(tests) = &*self.test else { return None };
        let mut lacking = None;
        for (at, test) in tests.iter().enumerate() {
            match (test.holds(&mut Frame::new(scene)), lacking) {
                (Ok(true), _) => {}
                (Ok(false), None) => lacking = Some(at),
                (Ok(false), Some(_)) | (Err(_), _) => return None,
            }
        }
        let mut members = Vec::new();
        split(&self.text, &mut members);
        let fits = members.len() == tests.len();
        members.get(lacking?).copied().filter(|_| fits)
    }
}

/// Takes a text apart at each `&&` outside of brackets and quotes, and what is in brackets as a
/// whole again.
fn split<'t>(text: &'t str, out: &mut Vec<&'t str>) {
    let text = text.trim();
    let (mut depth, mut from, mut parts) = (0_u32, 0, Vec::new());
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        at += match rest.as_bytes() {
            [b'\'' | b'"', ..] => quoted(rest, is_raw(text, at)),
            [b'/', b'/', ..] => rest.find('\n').unwrap_or(rest.len()),
            [b'(' | b'[' | b'{', ..] => {
                depth += 1;
                1
            }
            [b')' | b']' | b'}', ..] => {
                depth = depth.saturating_sub(1);
                1
            }
            [b'&', b'&', ..] if depth == 0 => {
                parts.extend(text.get(from..at));
                from = at + 2;
                2
            }
            _ => rest.chars().next().map_or(1, char::len_utf8),
        };
    }
    parts.extend(text.get(from..));
    if let [whole] = parts[..] {
        let inner = whole.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
        let mut members = Vec::new();
        if let Some(inner) = inner.filter(|inner| is_closed(inner)) {
            split(inner, &mut members);
        }
        if members.len() > 1 { out.append(&mut members) } else { out.push(whole) }
    } else {
        parts.into_iter().for_each(|part| split(part, out));
    }
}

/// The length of a quoted text.
fn quoted(text: &str, raw: bool) -> usize {
    let quote = text.get(..1).unwrap_or_default();
    let long = text.get(..3).filter(|three| three.chars().all(|c| quote.contains(c)));
    let quote = long.unwrap_or(quote);
    let mut at = quote.len();
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with(quote) {
            return at + quote.len();
        }
        let mut chars = rest.chars();
        let first = chars.next().map_or(1, char::len_utf8);
        let escaped = rest.starts_with('\\') && !raw;
        at += if escaped { first + chars.next().map_or(0, char::len_utf8) } else { first };
    }
    text.len()
}

/// Whether the quote there begins a text without escapes.
fn is_raw(text: &str, at: usize) -> bool {
    let before = text.get(..at).unwrap_or_default().as_bytes();
    match before {
        [.., word, b'r' | b'R'] => !word.is_ascii_alphanumeric() && *word != b'_',
        [b'r' | b'R'] => true,
        _ => false,
    }
}

/// Whether no bracket of it closes one that stands before it.
fn is_closed(text: &str) -> bool {
    let (mut depth, mut at) = (0_u32, 0);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        at += match rest.as_bytes() {
            [b'\'' | b'"', ..] => quoted(rest, is_raw(text, at)),
            [b'(', ..] => {
                depth += 1;
                1
            }
            [b')', ..] => match depth.checked_sub(1) {
                Some(less) => {
                    depth = less;
                    1
                }
                None => return false,
            },
            _ => rest.chars().next().map_or(1, char::len_utf8),
        };
    }
    depth == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conjunction_is_taken_apart_as_the_tree_has_it() {
        for (text, members) in [
            ("a", &["a"][..]),
            ("a && b", &["a", "b"]),
            ("a && (b && c)", &["a", "b", "c"]),
            ("((a && b)) && !(c && d)", &["a", "b", "!(c && d)"]),
            ("(a || b) && c", &["(a || b)", "c"]),
            ("(a) && (b)", &["(a)", "(b)"]),
            ("x == 'a && b' && y", &["x == 'a && b'", "y"]),
            (r#"x == "\" && " && y"#, &[r#"x == "\" && ""#, "y"]),
            (r"x.matches(r'\') && y", &[r"x.matches(r'\')", "y"]),
            ("x == '''a' && ''' && y", &["x == '''a' && '''", "y"]),
            ("[a, b].exists(i, i && c) && d", &["[a, b].exists(i, i && c)", "d"]),
            ("a // && b\n && ä == 'ä'", &["a // && b", "ä == 'ä'"]),
        ] {
            let mut out = Vec::new();
            split(text, &mut out);
            assert_eq!(out, members, "{text}");
        }
    }
}
