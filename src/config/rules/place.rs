//! Where a part of a condition stands in its file: what is wrong is found in the text that YAML
//! makes of it, and shown where it was written.
//!
//! May import nothing of other rooms.

use std::ops::Range;

use super::super::yaml::Span;

/// The place of some bytes of `text`, which stands in `file` at `span`. Quotes, escapes, line breaks
/// and indentation lie between; what cannot be found is shown as the whole.
pub(super) fn within(file: &str, span: Span, text: &str, part: &Range<usize>) -> Span {
    let start = span.offset as usize;
    let Some(written) = file.get(start..) else { return span };
    let mut rest = written.char_indices().peekable();
    let (mut from, mut until) = (None, None);
    for (at, c) in text.char_indices() {
        let found = loop {
            match rest.next() {
                Some((offset, w)) if w == c || (c.is_whitespace() && w.is_whitespace()) => {
                    break Some((offset, w));
                }
                Some(_) => {}
                None => break None,
            }
        };
        let Some((offset, w)) = found else { return span };
        if c.is_whitespace() {
            // Several of the file can be one of the text.
            while rest.peek().is_some_and(|(_, next)| next.is_whitespace())
                && !text
                    .get(at + c.len_utf8()..)
                    .is_some_and(|t| t.starts_with(char::is_whitespace))
            {
                rest.next();
            }
        }
        if at >= part.start && from.is_none() {
            from = Some(offset);
        }
        if at < part.end {
            until = Some(offset + w.len_utf8());
        }
    }
    // What is missing at the end is shown behind the last character.
    let (Some(until), from) = (until, from) else { return span };
    let from = from.unwrap_or(until);
    let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let Some(before) = file.get(..start + from) else { return span };
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Span {
        line: small(line),
        column: small(column),
        offset: small(start + from),
        len: small(until.saturating_sub(from).max(1)),
        ..span
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::yaml::{self, Kind};
    use super::*;

    /// The line, the column, and what stands there.
    fn placed(file: &str, wanted: &str) -> (u32, u32, String) {
        let Some(yaml::Node { kind: Kind::Map(entries), .. }) = yaml::parse(0, file).0 else {
            panic!("a map")
        };
        let node = &entries[0].value;
        let Kind::Text { text, .. } = &node.kind else { panic!("a text") };
        let at = text.find(wanted).unwrap();
        let span = within(file, node.span, text, &(at..at + wanted.len()));
        let stretch = &file[span.offset as usize..][..span.len as usize];
        (span.line, span.column, stretch.to_owned())
    }

    #[test]
    fn a_part_of_a_condition_is_found_however_yaml_writes_it() {
        let cases = [
            ("when: a == wrong\n", (1, 12)),
            ("when: 'a == wrong'\n", (1, 13)),
            ("when: \"a == \\\"x\\\" && wrong\"\n", (1, 22)),
            ("when: 'a == ''x'' && wrong'\n", (1, 22)),
            ("when: |\n  a == b &&\n    wrong\n", (3, 5)),
            ("when: >-\n  a == b &&\n  wrong\n", (3, 3)),
            ("when: a == b &&\n  wrong\n", (2, 3)),
            ("when: |-\n  # wörter\n  ü && wrong\n", (3, 8)),
        ];
        for (file, (line, column)) in cases {
            assert_eq!(placed(file, "wrong"), (line, column, "wrong".to_owned()), "{file}");
        }
    }
}
