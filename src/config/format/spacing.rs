//! Spaces inside lines: one after `:` and `,`, room in braces and none in brackets, one before and
//! after the sign of a comment.

use super::indent::{block, block_alone};

/// What is open at the end of a line.
#[derive(Debug, Default)]
pub(super) struct Open {
    depth: usize,
    quote: Option<char>,
}

impl Open {
    /// Reads one more line; whether something is open after it.
    pub(super) fn after(&mut self, line: &str) -> bool {
        let mut before = ' ';
        let mut characters = line.chars().peekable();
        while let Some(c) = characters.next() {
            match (self.quote, c) {
                (Some('"'), '\\') => {
                    characters.next();
                }
                (Some('\''), '\'') if characters.peek() == Some(&'\'') => {
                    characters.next();
                }
                (Some(quote), c) if c == quote => self.quote = None,
                (Some(_), _) => {}
                (None, '#') if before == ' ' => break,
                (None, '"' | '\'') if begins(before) => self.quote = Some(c),
                (None, '{' | '[') if self.depth > 0 || begins(before) => self.depth += 1,
                (None, '}' | ']') => self.depth = self.depth.saturating_sub(1),
                (None, _) => {}
            }
            before = c;
        }
        self.depth > 0 || self.quote.is_some()
    }
}

/// Whether a quote or a brace after this character begins something, and is not part of a text.
fn begins(before: char) -> bool {
    matches!(before, ' ' | '{' | '[' | ',' | ':')
}

/// Where the comment of a line begins.
pub(super) fn comment_at(line: &str) -> Option<usize> {
    let (mut before, mut quote, mut skip) = (' ', None, false);
    for (at, c) in line.char_indices() {
        if skip {
            skip = false;
        } else {
            match (quote, c) {
                (Some('"'), '\\') => skip = true,
                (Some(open), c) if c == open => quote = None,
                (Some(_), _) => {}
                (None, '#') if before == ' ' => return Some(at),
                (None, '"' | '\'') if begins(before) => quote = Some(c),
                (None, _) => {}
            }
        }
        before = c;
    }
    None
}

/// Room in braces, none in brackets, one space after commas: on lines that open and close all of
/// theirs.
pub(super) fn inside(text: &str) -> String {
    each(text, |line| {
        let (indent, rest) = line.split_at(line.len() - line.trim_start_matches(' ').len());
        let (code, comment) = rest.split_at(comment_at(rest).unwrap_or(rest.len()));
        if !code.contains(['{', '[']) {
            return line.to_owned();
        }
        format!("{indent}{}{comment}", flow(code))
    })
}

fn flow(code: &str) -> String {
    let mut out = String::with_capacity(code.len() + 8);
    let (mut depth, mut quote, mut before) = (0_usize, None, ' ');
    let mut characters = code.chars().peekable();
    let trim = |out: &mut String| out.truncate(out.trim_end_matches(' ').len());
    while let Some(c) = characters.next() {
        match (quote, c) {
            (Some('"'), '\\') => {
                out.push(c);
                out.extend(characters.next());
            }
            (Some(open), c) => {
                out.push(c);
                if c == open {
                    quote = None;
                }
            }
            (None, '"' | '\'') if begins(before) => {
                out.push(c);
                quote = Some(c);
            }
            (None, '{' | '[') if depth > 0 || begins(before) => {
                depth += 1;
                out.push(c);
                while characters.next_if_eq(&' ').is_some() {}
                let closes = characters.peek().is_some_and(|next| matches!(next, '}' | ']'));
                if c == '{' && !closes {
                    out.push(' ');
                }
            }
            (None, '}' | ']') if depth > 0 => {
                depth -= 1;
                trim(&mut out);
                if c == '}' && !out.ends_with('{') {
                    out.push(' ');
                }
                out.push(c);
            }
            (None, ',') if depth > 0 => {
                trim(&mut out);
                out.push(',');
                while characters.next_if_eq(&' ').is_some() {}
                if characters.peek().is_some_and(|next| !matches!(next, '}' | ']')) {
                    out.push(' ');
                }
            }
            (None, ':') if depth > 0 && characters.peek() == Some(&' ') => {
                out.push_str(": ");
                while characters.next_if_eq(&' ').is_some() {}
            }
            (None, c) => out.push(c),
        }
        before = out.chars().next_back().unwrap_or(' ');
    }
    out
}

/// One space after the key of a line, and on both sides of the sign of a comment.
pub(super) fn around(text: &str) -> String {
    each(text, |line| {
        let (code, comment) = line.split_at(comment_at(line).unwrap_or(line.len()));
        let code = one_after_key(code);
        let sign = comment.len() - comment.trim_start_matches('#').len();
        let (sign, said) = comment.split_at(sign);
        let room = if said.is_empty() || said.starts_with([' ', '!', '-', '=']) { "" } else { " " };
        format!("{code}{sign}{room}{said}")
    })
}

fn one_after_key(code: &str) -> String {
    let body = code.trim_start_matches(' ');
    let quoted = body.trim_start_matches("- ").starts_with(['"', '\'', '{', '[', '?']);
    let Some(at) = code.find(": ").filter(|_| !quoted) else { return code.to_owned() };
    let (key, value) = code.split_at(at + 1);
    let value = value.trim_start_matches(' ');
    match value.is_empty() {
        true => code.to_owned(),
        false => format!("{key} {value}"),
    }
}

/// Changes the lines that stand by themselves: not those of texts of several lines, nor those that
/// are inside of what a line before opened.
fn each(text: &str, change: impl Fn(&str) -> String) -> String {
    let mut out = String::with_capacity(text.len());
    let mut open = Open::default();
    let mut deeper: Option<usize> = None;
    for line in text.lines() {
        let rest = line.trim_start_matches(' ');
        let indent = line.len() - rest.len();
        let kept = deeper.is_some_and(|than| rest.is_empty() || indent > than);
        if !kept {
            deeper = None;
        }
        let was_open = !kept && (open.depth > 0 || open.quote.is_some());
        let is_open = !kept && open.after(rest);
        match kept || was_open || is_open || rest.is_empty() {
            true => out.push_str(line),
            false => out.push_str(&change(line)),
        }
        out.push('\n');
        if !kept && !was_open && block(rest).is_some() {
            deeper = Some(indent + key_at(rest));
        }
    }
    out
}

/// Where the key of a line stands behind its dashes: a text that begins there is deeper than that.
fn key_at(rest: &str) -> usize {
    let mut at = 0;
    let mut left = rest;
    while let Some(after) = left.strip_prefix("- ") {
        let inner = after.trim_start_matches(' ');
        if block_alone(inner) {
            break;
        }
        at += left.len() - inner.len();
        left = inner;
    }
    at
}
