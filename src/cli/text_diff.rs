//! Two texts beside each other, line by line: what tests expect and get, what versions of a file say.

use std::fmt::Write;

/// Above this many comparisons, what differs is shown as a whole.
const MOST_STEPS: usize = 4_000_000;
/// So many lines that did not change are shown around those that did.
const AROUND: usize = 3;

/// One line of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    Both(String),
    Expected(String),
    Actual(String),
}

/// Lines that changed, and a few around them.
#[derive(Debug)]
pub(super) struct Hunk<'l> {
    /// The number of its first line on the one side, from 1.
    pub(super) from: usize,
    /// And on the other.
    pub(super) to: usize,
    pub(super) lines: &'l [Line],
}

/// What changed, without the lines in between.
pub(super) fn hunks(lines: &[Line]) -> Vec<Hunk<'_>> {
    let mut out: Vec<Hunk<'_>> = Vec::new();
    let changed = |line: &Line| !matches!(line, Line::Both(_));
    let mut at = 0;
    while let Some(first) = lines.iter().skip(at).position(changed).map(|place| at + place) {
        let begin = first.saturating_sub(AROUND).max(at);
        let mut end = first + 1;
        // As long as the next change is near.
        while let Some(next) = lines.iter().skip(end).take(2 * AROUND).position(changed) {
            end += next + 1;
        }
        let end = (end + AROUND).min(lines.len());
        let before = || lines.iter().take(begin);
        out.push(Hunk {
            from: before().filter(|line| !matches!(line, Line::Actual(_))).count() + 1,
            to: before().filter(|line| !matches!(line, Line::Expected(_))).count() + 1,
            lines: lines.get(begin..end).unwrap_or_default(),
        });
        at = end;
    }
    out
}

/// What changed from one text to the other, as hunks of a unified diff.
pub(super) fn unified(before: &str, after: &str, out: &mut String) {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    for hunk in hunks(&compared(&lines(before), &lines(after))) {
        let _ = writeln!(out, "@@ -{} +{} @@", hunk.from, hunk.to);
        for line in hunk.lines {
            let _ = match line {
                Line::Both(text) => writeln!(out, " {text}"),
                Line::Expected(text) => writeln!(out, "-{text}"),
                Line::Actual(text) => writeln!(out, "+{text}"),
            };
        }
    }
}

/// The longest common lines stay, the others are of one side.
pub(super) fn compared(expected: &[String], actual: &[String]) -> Vec<Line> {
    // What most files have in common is at both ends.
    let begin = expected.iter().zip(actual).take_while(|(a, b)| a == b).count();
    let (head, expected) = expected.split_at(begin);
    let (_, actual) = actual.split_at(begin);
    let end = expected.iter().rev().zip(actual.iter().rev()).take_while(|(a, b)| a == b).count();
    let (expected, tail) = expected.split_at(expected.len() - end);
    let (actual, _) = actual.split_at(actual.len() - end);
    let both = |line: &String| Line::Both(line.clone());
    let between = between(expected, actual);
    head.iter().map(both).chain(between).chain(tail.iter().map(both)).collect()
}

fn between(expected: &[String], actual: &[String]) -> Vec<Line> {
    let ours = |line: &String| Line::Expected(line.clone());
    let theirs = |line: &String| Line::Actual(line.clone());
    if expected.len().saturating_mul(actual.len()) > MOST_STEPS {
        return expected.iter().map(ours).chain(actual.iter().map(theirs)).collect();
    }
    let table = common(expected, actual);
    let at = |i: usize, j: usize| table.get(i).and_then(|row| row.get(j)).copied().unwrap_or(0);
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    loop {
        match (expected.get(i), actual.get(j)) {
            (Some(a), Some(b)) if a == b => {
                out.push(Line::Both(a.clone()));
                (i, j) = (i + 1, j + 1);
            }
            (Some(a), Some(_)) if at(i + 1, j) >= at(i, j + 1) => {
                out.push(ours(a));
                i += 1;
            }
            (_, Some(b)) => {
                out.push(theirs(b));
                j += 1;
            }
            (Some(a), None) => {
                out.push(ours(a));
                i += 1;
            }
            (None, None) => return out,
        }
    }
}

/// How many lines are common to what is left on both sides, from each pair of places on.
fn common(expected: &[String], actual: &[String]) -> Vec<Vec<u32>> {
    let mut table = vec![vec![0; actual.len() + 1]; expected.len() + 1];
    for (i, a) in expected.iter().enumerate().rev() {
        for (j, b) in actual.iter().enumerate().rev() {
            let of = |i: usize, j: usize| {
                table.get(i).and_then(|row: &Vec<u32>| row.get(j)).copied().unwrap_or(0)
            };
            let most = if a == b { of(i + 1, j + 1) + 1 } else { of(i + 1, j).max(of(i, j + 1)) };
            if let Some(cell) = table.get_mut(i).and_then(|row| row.get_mut(j)) {
                *cell = most;
            }
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(range: std::ops::Range<u32>) -> Vec<String> {
        range.map(|number| number.to_string()).collect()
    }

    #[test]
    fn hunks_have_what_changed_and_a_few_lines_around_it() {
        let before = texts(0..40);
        let mut after = before.clone();
        after[10] = "ten".into();
        after.insert(12, "more".into());
        after.remove(31);
        let lines = compared(&before, &after);
        let hunks = hunks(&lines);
        let shown: Vec<_> =
            hunks.iter().map(|hunk| (hunk.from, hunk.to, hunk.lines.len())).collect();
        assert_eq!(shown, [(8, 8, 10), (28, 29, 7)]);
    }

    proptest::proptest! {
        #[test]
        fn both_sides_are_there_in_full(
            before in proptest::collection::vec("[abc]", 0..12),
            after in proptest::collection::vec("[abc]", 0..12),
        ) {
            let lines = compared(&before, &after);
            let side = |other: fn(&Line) -> bool| -> Vec<&str> {
                let all = lines.iter().filter(|line| !other(line));
                all.map(|line| match line {
                    Line::Both(text) | Line::Expected(text) | Line::Actual(text) => text.as_str(),
                })
                .collect()
            };
            proptest::prop_assert_eq!(side(|line| matches!(line, Line::Actual(_))), before);
            proptest::prop_assert_eq!(side(|line| matches!(line, Line::Expected(_))), after);
        }
    }
}
