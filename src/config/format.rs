//! YAML as this program's own files have it: two spaces for each level, one after what separates, no
//! space at the ends of lines, no more than one empty line.
//!
//! Only white space changes, so comments and the order of keys stay. What comes out is parsed and
//! compared with what went in, and each kind of change that would alter the document is left out. May
//! import nothing of other rooms.

#[cfg(test)]
mod documents;
mod indent;
mod spacing;

use super::yaml::{self, Kind, Node};

/// Why a text is not formatted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotFormatted {
    /// It cannot be read.
    #[error("line {line}: {message}")]
    NoYaml {
        /// The line, from 1.
        line: u32,
        /// What is wrong.
        message: String,
    },
    /// It would not be the same document.
    #[error("formatting would change what the file says; please report the file")]
    Changed,
}

/// The text, formatted.
///
/// # Errors
/// If it is not YAML, or its meaning would change.
pub fn formatted(text: &str) -> Result<String, NotFormatted> {
    let before = parsed(text)?;
    let mut out = text.replace("\r\n", "\n");
    for step in [indent::lines, spacing::inside, spacing::around] {
        let next = step(&out);
        if is_same(&before, text, &next) {
            out = next;
        }
    }
    match is_same(&before, text, &out) {
        true => Ok(out),
        false => Err(NotFormatted::Changed),
    }
}

fn parsed(text: &str) -> Result<Node, NotFormatted> {
    match yaml::parse(0, text) {
        (Some(node), None) => Ok(node),
        (_, Some(error)) => {
            Err(NotFormatted::NoYaml { line: error.span.line, message: error.message })
        }
        (None, None) => Err(NotFormatted::NoYaml { line: 1, message: "the file is empty".into() }),
    }
}

/// Whether both texts are one document: the same values, and the same characters but for white space,
/// which includes all comments.
fn is_same(before: &Node, text: &str, after: &str) -> bool {
    let bare = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
    bare(text) == bare(after)
        && matches!(yaml::parse(0, after), (Some(after), None) if equal(before, &after))
}

fn equal(a: &Node, b: &Node) -> bool {
    match (&a.kind, &b.kind) {
        (Kind::List(a), Kind::List(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b))
        }
        (Kind::Map(a), Kind::Map(b)) => {
            let same =
                |(a, b): (&yaml::Entry, &yaml::Entry)| a.key == b.key && equal(&a.value, &b.value);
            a.len() == b.len() && a.iter().zip(b).all(same)
        }
        (a, b) => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn becomes(from: &str, to: &str) {
        assert_eq!(formatted(from).as_deref(), Ok(to));
        assert_eq!(formatted(to).as_deref(), Ok(to));
    }

    #[test]
    fn levels_have_two_spaces_and_comments_go_along() {
        becomes(
            "a:\n    # about b\n    b:\n         - x: 1\n           y: 2\n         -   z: 3\n             w: 4\n# end\n",
            "a:\n  # about b\n  b:\n    - x: 1\n      y: 2\n    - z: 3\n      w: 4\n# end\n",
        );
        becomes("a:\n- x\n- y:\n    z: 1\n", "a:\n- x\n- y:\n    z: 1\n");
    }

    #[test]
    fn what_separates_has_one_space_and_braces_have_room() {
        becomes("a:   {b: 1,c:  [ 1,2 ],d: {}}   #x\n", "a: { b: 1, c: [1, 2], d: {} }   # x\n");
        becomes("a: '{b:1,  c}'\nb: \"[ x,y ]\"\n", "a: '{b:1,  c}'\nb: \"[ x,y ]\"\n");
        becomes("-   a\n-   b:   c\n", "- a\n- b: c\n");
    }

    #[test]
    fn empty_lines_and_ends_of_lines_are_tidy() {
        becomes("\n\na: 1  \r\n\r\n\r\n\r\nb: 2", "a: 1\n\nb: 2\n");
    }

    #[test]
    fn texts_of_several_lines_keep_every_character() {
        becomes(
            "a:\n    b: |\n        x  \n\n\n          y\n    c: >-\n        folded\n        text\n",
            "a:\n  b: |\n    x  \n\n\n      y\n  c: >-\n    folded\n    text\n",
        );
        becomes("a: \"x\n    y\"\nb: 1\n", "a: \"x\n    y\"\nb: 1\n");
        becomes("- |\n    {a:1}\n- b\n", "- |\n  {a:1}\n- b\n");
    }

    #[test]
    fn lists_over_several_lines_stay_as_they_are_inside() {
        becomes(
            "a:\n    b: [\n        x,\n        y,\n    ]\n    c: 1\n",
            "a:\n  b: [\n      x,\n      y,\n  ]\n  c: 1\n",
        );
    }

    #[test]
    fn what_is_no_yaml_is_refused_with_its_line() {
        assert!(matches!(formatted("a: 1\nb: [\n"), Err(NotFormatted::NoYaml { .. })));
        assert!(matches!(formatted("a: 1\na: 2\n"), Err(NotFormatted::NoYaml { line: 2, .. })));
    }

    fn yaml() -> impl proptest::strategy::Strategy<Value = String> {
        use proptest::prelude::*;
        let piece = prop_oneof![
            "[a-c]{1,2}: ?[a-c0-9]{0,2}",
            "[a-c]: [|>][+-]?",
            "- {1,3}[a-c]",
            "-  [a-c]: [0-9]",
            "[a-c]: \\{[a-c]: *1,[a-c]: *\\[ *1 ,2\\]\\}",
            "[a-c]: '[a-c ,{}#]{0,5}'",
            " *#[a-z ]{0,4}",
            "",
        ];
        let line = (0_usize..9, piece, " {0,2}")
            .prop_map(|(indent, piece, end)| format!("{:indent$}{piece}{end}\n", ""));
        proptest::collection::vec(line, 1..8).prop_map(|lines| lines.concat())
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { cases: 2_000, ..Default::default() })]

        #[test]
        fn whatever_is_yaml_means_the_same_afterwards_and_is_formatted_once(text in yaml()) {
            if let Ok(once) = formatted(&text) {
                proptest::prop_assert_eq!(formatted(&once), Ok(once.clone()), "{}", text);
                let (before, after) = (parsed(&text).unwrap(), parsed(&once).unwrap());
                proptest::prop_assert!(equal(&before, &after));
            }
        }
    }
}
