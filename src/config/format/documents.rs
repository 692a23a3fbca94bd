//! Whole documents, made up and written in every style that this program's files may be written in,
//! and what formatting makes of them.

use proptest::prelude::*;

use super::{equal, formatted, parsed};

/// A value, and how it is written.
#[derive(Debug, Clone)]
enum Value {
    /// As it stands: a plain or quoted text, a number, a word.
    Scalar(&'static str),
    /// Lines after `|` or `>`, with what stands behind the sign.
    Text { sign: &'static str, lines: Vec<&'static str> },
    /// In brackets, with so many spaces around each comma and inside the brackets.
    Flow { items: Vec<Self>, room: usize },
    /// In braces, likewise.
    Braces { entries: Vec<(&'static str, Self)>, room: usize },
    /// In brackets over several lines, the last where the key is or deeper.
    Lines { items: Vec<Self>, deeper: bool },
    /// One entry a line; keys are made different by their places.
    Map(Vec<Entry>),
    /// One item a line, with so many spaces after the dash; in line with its key or deeper.
    List { items: Vec<Entry>, dash: usize, deeper: bool },
}

/// What stands on a line of its own, with what stands around it.
#[derive(Debug, Clone)]
struct Entry {
    /// Comments and empty lines before it.
    before: Vec<Option<&'static str>>,
    /// Spaces after the colon.
    space: usize,
    value: Value,
    /// A comment at the end of its line, after so many spaces.
    after: Option<(usize, &'static str)>,
    /// Spaces at the end of its line.
    trailing: usize,
}

/// Writes a value in some style.
struct Writer {
    out: String,
    /// Spaces of a level.
    width: usize,
    /// Every comment that was written.
    comments: Vec<String>,
}

impl Writer {
    fn flow(&self, value: &Value) -> String {
        match value {
            Value::Scalar(text) => (*text).to_owned(),
            Value::Flow { items, room } => {
                let items: Vec<String> = items.iter().map(|item| self.flow(item)).collect();
                let room = " ".repeat(*room);
                format!("[{room}{}{room}]", items.join(&format!("{room},{room}")))
            }
            Value::Braces { entries, room } => {
                let entries: Vec<String> = entries
                    .iter()
                    .enumerate()
                    .map(|(at, (key, value))| {
                        format!("{key}{at}: {}{}", " ".repeat(*room), self.flow(value))
                    })
                    .collect();
                let room = " ".repeat(*room);
                format!("{{{room}{}{room}}}", entries.join(&format!("{room},{room}")))
            }
            Value::Text { .. } | Value::Lines { .. } | Value::Map(_) | Value::List { .. } => {
                "{}".to_owned()
            }
        }
    }

    fn before(&mut self, entry: &Entry, indent: usize) {
        for comment in &entry.before {
            if let Some(text) = comment {
                self.comments.push((*text).to_owned());
                self.out += &" ".repeat(indent);
                self.out += text;
            }
            self.out.push('\n');
        }
    }

    fn end(&mut self, entry: &Entry) {
        if let Some((spaces, text)) = entry.after {
            self.comments.push(text.to_owned());
            self.out += &" ".repeat(spaces.max(1));
            self.out += text;
        }
        self.out += &" ".repeat(entry.trailing);
        self.out.push('\n');
    }

    /// What comes after the colon of a key, or after a dash, that stands at `indent`.
    fn value(&mut self, entry: &Entry, indent: usize) {
        match &entry.value {
            Value::Map(entries) if !entries.is_empty() => {
                self.end(entry);
                self.map(entries, indent + self.width);
            }
            Value::List { items, dash, deeper } if !items.is_empty() => {
                self.end(entry);
                let indent = if *deeper { indent + self.width } else { indent };
                self.list(items, *dash, indent);
            }
            Value::Lines { items, deeper } => {
                self.out += &" ".repeat(entry.space.max(1));
                self.out += "[\n";
                for item in items {
                    self.out += &" ".repeat(indent + self.width);
                    self.out += &format!("{},\n", self.flow(item));
                }
                self.out += &" ".repeat(if *deeper { indent + self.width } else { indent });
                self.out.push(']');
                self.end(entry);
            }
            Value::Text { sign, lines } => {
                self.out += &" ".repeat(entry.space.max(1));
                self.out += sign;
                self.out.push('\n');
                for line in lines {
                    if !line.is_empty() {
                        self.out += &" ".repeat(indent + self.width);
                    }
                    self.out += line;
                    self.out.push('\n');
                }
            }
            value => {
                self.out += &" ".repeat(entry.space.max(1));
                self.out += &self.flow(value);
                self.end(entry);
            }
        }
    }

    fn map(&mut self, entries: &[Entry], indent: usize) {
        for (at, entry) in entries.iter().enumerate() {
            self.before(entry, indent);
            self.out += &" ".repeat(indent);
            self.out += &format!("key{at}:");
            self.value(entry, indent);
        }
    }

    fn list(&mut self, items: &[Entry], dash: usize, indent: usize) {
        for item in items {
            self.before(item, indent);
            self.out += &" ".repeat(indent);
            self.out.push('-');
            match &item.value {
                // The first entry of a map stands behind the dash.
                Value::Map(entries) if !entries.is_empty() => {
                    self.out += &" ".repeat(dash);
                    let inner = indent + 1 + dash;
                    if let Some((first, rest)) = entries.split_first() {
                        self.out += "first:";
                        self.value(first, inner);
                        self.map(rest, inner);
                    }
                }
                Value::List { items: inner, dash: within, .. } if !inner.is_empty() => {
                    self.end(item);
                    self.list(inner, *within, indent + self.width);
                }
                _ => self.value(item, indent),
            }
        }
    }
}

fn scalar() -> impl Strategy<Value = Value> {
    let texts = [
        "a",
        "12",
        "true",
        "~",
        "10/s",
        "a b",
        "a:b",
        "a#b",
        "'x: {y,z}  #'",
        "'it''s'",
        r#""a \" # , }""#,
        "\"*:read\"",
        "http://a/b?c=d",
        "${A:-b c}",
        "'['",
        "\"\\\\\"",
        "é ü",
        "-1",
        "a  b",
        "a, b",
        "a [b]",
        "x{y}",
    ];
    proptest::sample::select(texts.to_vec()).prop_map(Value::Scalar)
}

/// What may stand in brackets: texts that need no quotes there.
fn inner() -> impl Strategy<Value = Value> {
    let texts = ["a", "12", "10/s", "a b", "a#b", "'x: {y,z}  #'", "'it''s'", "\"a, ] }\"", "é"];
    proptest::sample::select(texts.to_vec()).prop_map(Value::Scalar)
}

fn comment() -> impl Strategy<Value = &'static str> {
    let texts = [
        "#",
        "# a",
        "#a",
        "#   a: b",
        "# - x",
        "# { a,b }",
        "#! a",
        "# it's",
        "# \"",
        "## a",
        "# é:",
    ];
    proptest::sample::select(texts.to_vec())
}

fn flow() -> impl Strategy<Value = Value> {
    inner().prop_recursive(3, 12, 3, |value| {
        let keyed = (proptest::sample::select(vec!["k", "longer"]), value.clone());
        prop_oneof![
            (proptest::collection::vec(value, 0..4), 0_usize..3)
                .prop_map(|(items, room)| Value::Flow { items, room }),
            (proptest::collection::vec(keyed, 0..4), 0_usize..3)
                .prop_map(|(entries, room)| Value::Braces { entries, room }),
        ]
    })
}

fn text() -> impl Strategy<Value = Value> {
    let signs = ["|", ">", "|-", ">-", "|+"];
    let lines = ["a", "b: c", "- d", "# no comment", "  deeper", "'", "{ x,y }", ""];
    let body = proptest::collection::vec(proptest::sample::select(lines.to_vec()), 0..4);
    (proptest::sample::select(signs.to_vec()), body).prop_map(|(sign, body)| {
        // The first line says how deep the text is, and is not empty.
        let lines = std::iter::once("first").chain(body).collect();
        Value::Text { sign, lines }
    })
}

fn entry(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Entry> {
    let before = proptest::collection::vec(proptest::option::of(comment()), 0..3);
    let after = proptest::option::weighted(0.2, (1_usize..4, comment()));
    (before, 0_usize..4, value, after, 0_usize..3).prop_map(
        |(before, space, value, after, trailing)| Entry { before, space, value, after, trailing },
    )
}

fn value() -> impl Strategy<Value = Value> {
    let lines = (proptest::collection::vec(flow(), 1..4), any::<bool>())
        .prop_map(|(items, deeper)| Value::Lines { items, deeper });
    let leaf = prop_oneof![8 => scalar(), 4 => flow(), 2 => text(), 1 => lines];
    leaf.prop_recursive(4, 24, 4, |value| {
        let entries = || proptest::collection::vec(entry(value.clone()), 1..4);
        prop_oneof![
            entries().prop_map(Value::Map),
            (entries(), 1_usize..4, any::<bool>()).prop_map(|(items, dash, deeper)| Value::List {
                items,
                dash,
                deeper
            }),
        ]
    })
}

/// A document, and its comments in their order.
fn document() -> impl Strategy<Value = (String, Vec<String>)> {
    let entries = proptest::collection::vec(entry(value()), 1..5);
    (entries, 1_usize..6).prop_map(|(entries, width)| {
        let mut writer = Writer { out: String::new(), width, comments: Vec::new() };
        writer.map(&entries, 0);
        (writer.out, writer.comments)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 20_000, ..Default::default() })]

    #[test]
    fn every_document_is_formatted_once_keeps_its_comments_and_says_the_same((text, comments) in document()) {
        let before = parsed(&text);
        prop_assert!(before.is_ok(), "{before:?}\n{text}");
        let once = formatted(&text);
        prop_assert!(once.is_ok(), "{once:?}\n{text}");
        let once = once.unwrap();
        let after = parsed(&once);
        prop_assert!(after.as_ref().is_ok_and(|after| equal(&before.unwrap(), after)), "{text}\n{once}");
        prop_assert_eq!(formatted(&once), Ok(once.clone()), "{}", text);
        // What goes over several lines is as it was.
        if !text.contains(['|', '>']) && !text.contains("[\n") {
            let tidy = |line: &str| {
                let indent = line.len() - line.trim_start_matches(' ').len();
                indent.is_multiple_of(2) && !line.ends_with(' ')
            };
            prop_assert!(once.lines().all(tidy) && !once.contains("\n\n\n"), "{text}\n{once}");
        }
        let mut rest = once.as_str();
        let bare = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
        for comment in comments {
            let found = rest.char_indices().filter(|(_, c)| *c == '#').find(|(at, _)| {
                bare(rest[*at..].lines().next().unwrap_or_default()) == bare(&comment)
            });
            prop_assert!(found.is_some(), "`{}` is gone\n{}\n{}", comment, text, once);
            let (at, _) = found.unwrap();
            rest = &rest[at + 1..];
        }
    }
}
