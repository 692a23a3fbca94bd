//! Levels, and what stands at the ends of lines: two spaces for each level, none at the end.

use super::spacing::Open;

/// Spaces of a level.
const WIDTH: usize = 2;

/// A level: where it began, and where it begins now.
#[derive(Debug, Clone, Copy)]
struct Level {
    old: usize,
    new: usize,
}

/// What a line is part of.
enum Inside {
    /// Of the structure.
    Structure,
    /// A text of several lines (`|`, `>`), deeper than `parent` and moved with its first line.
    Block { parent: Level, first: Option<Level> },
    /// Braces or quotes that were opened on a line before, which was moved so.
    Open(Level),
}

/// Every line with its new indentation; no more than one empty line in between, one end at the end.
pub(super) fn lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut levels: Vec<Level> = Vec::new();
    let mut inside = Inside::Structure;
    let mut open = Open::default();
    let all: Vec<&str> = text.lines().collect();
    let mut empty = 0_usize;
    for (number, line) in all.iter().enumerate() {
        let (indent, rest) = parts(line);
        if let Inside::Block { parent, first } = &mut inside {
            if rest.is_empty() {
                // What is longer than the indentation is part of the text.
                let more = first.map_or(0, |first| indent.saturating_sub(first.old));
                let new = first.filter(|_| more > 0).map_or(0, |first| first.new + more);
                push(&mut out, new, "");
                continue;
            }
            let least = first.map_or(parent.old + 1, |first| first.old);
            if indent >= least {
                let level = *first.get_or_insert(Level { old: indent, new: parent.new + WIDTH });
                push(&mut out, moved(indent, level), rest);
                continue;
            }
            inside = Inside::Structure;
        }
        if let Inside::Open(level) = inside {
            // In quotes, spaces at the end of a line fold away; the line itself is as it was.
            let new = if rest.is_empty() { 0 } else { moved(indent, level) };
            push(&mut out, new, rest.trim_end());
            if !open.after(rest) {
                inside = Inside::Structure;
            }
            continue;
        }
        if rest.trim_end().is_empty() {
            empty += 1;
            continue;
        }
        if empty > 0 && !out.is_empty() {
            out.push('\n');
        }
        empty = 0;
        if rest.starts_with('#') {
            let new = comment(indent, &levels, next(&all, number + 1));
            push(&mut out, new, rest.trim_end());
            continue;
        }
        let line = structure(indent, rest.trim_end(), &mut levels);
        push(&mut out, line.level.new, &line.text);
        if let Some(stated) = block(rest) {
            let parent = line.parent;
            let first = stated.map(|by| Level { old: parent.old + by, new: parent.new + by });
            inside = Inside::Block { parent, first };
        } else if open.after(rest) {
            inside = Inside::Open(line.level);
        }
    }
    out
}

struct Structured {
    level: Level,
    /// What a text that begins in this line is deeper than.
    parent: Level,
    text: String,
}

/// A line of the structure: `- - key: value` opens a level for each dash.
fn structure(indent: usize, rest: &str, levels: &mut Vec<Level>) -> Structured {
    let level = at(indent, levels);
    let (mut parent, mut text, mut left) = (level, String::new(), rest);
    let mut old = indent;
    while let Some(after) = left.strip_prefix("- ") {
        let inner = after.trim_start_matches(' ');
        text.push_str("- ");
        if inner.is_empty() || inner.starts_with('#') {
            left = inner;
            break;
        }
        old += left.len() - inner.len();
        let new = parent.new + WIDTH;
        left = inner;
        // A text after a dash is deeper than the dash.
        if block_alone(inner) {
            break;
        }
        parent = Level { old, new };
        levels.push(parent);
    }
    text.push_str(left);
    Structured { level, parent, text }
}

/// The level at an indentation, opened if it is deeper than the last.
fn at(indent: usize, levels: &mut Vec<Level>) -> Level {
    while levels.last().is_some_and(|last| last.old > indent) {
        levels.pop();
    }
    match levels.last() {
        Some(last) if last.old == indent => *last,
        last => {
            let level = Level { old: indent, new: last.map_or(0, |last| last.new + WIDTH) };
            levels.push(level);
            level
        }
    }
}

/// Where a comment goes: to what it was in line with, which is the next line or a level above.
fn comment(indent: usize, levels: &[Level], next: Option<(usize, &str)>) -> usize {
    let mut then = levels.to_vec();
    let next = next.map(|(next, _)| at(next, &mut then));
    if let Some(next) = next.filter(|next| next.old == indent) {
        return next.new;
    }
    let own = levels.iter().chain(&then).find(|level| level.old == indent);
    match (own, next) {
        (Some(own), _) => own.new,
        (None, Some(next)) => moved(indent, next),
        (None, None) => levels.last().map_or(0, |last| if indent == 0 { 0 } else { last.new }),
    }
}

/// The next line of the structure.
fn next<'t>(all: &[&'t str], from: usize) -> Option<(usize, &'t str)> {
    let mut rest = all.iter().skip(from).map(|line| parts(line));
    rest.find(|(_, rest)| !rest.trim_end().is_empty() && !rest.starts_with('#'))
}

fn parts(line: &str) -> (usize, &str) {
    let rest = line.trim_start_matches(' ');
    (line.len() - rest.len(), rest)
}

fn moved(indent: usize, level: Level) -> usize {
    (indent + level.new).saturating_sub(level.old)
}

fn push(out: &mut String, indent: usize, text: &str) {
    out.extend(std::iter::repeat_n(' ', indent));
    out.push_str(text);
    out.push('\n');
}

/// Whether a text of several lines begins at the end of this line, and by how much it says to be
/// indented, if it does.
pub(super) fn block(line: &str) -> Option<Option<usize>> {
    let line = without_comment(line);
    let at = line.rfind(['|', '>'])?;
    let (before, header) = line.split_at(at);
    let (mut marks, mut digits) = (0, None);
    for c in header.chars().skip(1) {
        match c.to_digit(10) {
            Some(digit) if digits.is_none() => digits = Some(usize::try_from(digit).ok()?),
            None if matches!(c, '+' | '-') && marks == 0 => marks += 1,
            _ => return None,
        }
    }
    // An anchor or a tag may stand before it.
    let before = before.trim_end_matches(' ');
    let before = match before.rsplit_once(' ') {
        Some((head, last)) if last.starts_with(['&', '!']) => head.trim_end_matches(' '),
        _ => before,
    };
    let begins = before.ends_with(':') || before == "-" || before.ends_with(" -");
    begins.then_some(digits)
}

/// Whether what stands after a dash is nothing but the sign of a text of several lines.
pub(super) fn block_alone(inner: &str) -> bool {
    inner.starts_with(['|', '>', '&', '!']) && !inner.contains(": ")
}

fn without_comment(line: &str) -> &str {
    match super::spacing::comment_at(line) {
        Some(at) => line.get(..at).unwrap_or(line).trim_end(),
        None => line.trim_end(),
    }
}
