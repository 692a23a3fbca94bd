//! YAML to a tree in which every key and value knows its place. The only file that names the YAML
//! library.
//!
//! What it accepts is YAML 1.2 less what makes policies hard to review: merge keys, several
//! documents, keys that are no text, `yes` and `no` as booleans. Depth, nodes and alias expansion
//! are bounded. May import nothing of other rooms.

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, json};
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy};
use serde_saphyr::{Location, Spanned};

/// A place in one of the files that were opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Span {
    /// Index of the file in the context.
    pub(super) file: u16,
    /// Line, from 1.
    pub(super) line: u32,
    /// Column in characters, from 1.
    pub(super) column: u32,
    /// Byte offset in the file.
    pub(super) offset: u32,
    /// Bytes.
    pub(super) len: u32,
}

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) span: Span,
    pub(super) kind: Kind,
}

impl Node {
    /// As JSON, for the schema. Numbers that are not whole are nowhere in it.
    pub(super) fn json(&self) -> Value {
        match &self.kind {
            Kind::Null | Kind::Float => Value::Null,
            Kind::Bool(yes) => json!(yes),
            Kind::Int(number) => i64::try_from(*number).map_or(Value::Null, |number| json!(number)),
            Kind::Text { text, .. } => json!(text),
            Kind::List(items) => items.iter().map(Self::json).collect(),
            Kind::Map(entries) => {
                entries.iter().map(|entry| (entry.key.clone(), entry.value.json())).collect()
            }
        }
    }
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Int(i128),
    Float,
    /// A text, and whether some of it came from the environment or a secret file.
    Text {
        text: String,
        interpolated: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One key of a map and its value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) span: Span,
    pub(super) value: Node,
}

/// What is wrong with a text that is not YAML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct YamlError {
    pub(super) message: String,
    pub(super) span: Span,
    pub(super) hint: Option<&'static str>,
}

/// Parses one document. A duplicate key is reported beside the tree of what is left, so that it
/// does not hide what else is wrong; otherwise the tree is missing after an error.
pub(super) fn parse(file: u16, text: &str) -> (Option<Node>, Option<YamlError>) {
    #[cfg(test)]
    crate::domain::steps::step();
    let error = match tree(file, text, DuplicateKeyPolicy::Error) {
        Ok(node) => return (Some(node), None),
        Err(error) => error,
    };
    let span = error.location().map_or(Span { file, ..Span::default() }, |at| span(file, at));
    if let serde_saphyr::Error::DuplicateMappingKey { key, .. } = &error {
        let key = key.as_deref().unwrap_or_default();
        let problem = YamlError {
            message: format!("key `{}` is stated twice", key.escape_debug()),
            span,
            hint: Some("remove one of the two"),
        };
        let rest = tree(file, text, DuplicateKeyPolicy::FirstWins).ok();
        return (rest, Some(problem));
    }
    let said = error.to_string();
    let said = said.split(" at line ").next().unwrap_or_default();
    let (message, hint) = explain(said);
    (None, Some(YamlError { message, span, hint }))
}

/// The library's messages that speak of its own options or of Serde, in the operator's words.
fn explain(said: &str) -> (String, Option<&'static str>) {
    if said.contains("multiple YAML documents") {
        return ("a second document begins here".into(), Some("keep one document in a file"));
    }
    if said.contains("merge key") {
        let hint = "state the keys here: what a policy says must be readable where it stands";
        return ("merge keys (`<<`) are not read".into(), Some(hint));
    }
    if said.contains("expected string scalar") {
        return ("a key must be a text".into(), None);
    }
    if said.contains("alias replay") || said.contains("budget") || said.contains("recursion") {
        let hint = "the file is nested too deeply or its aliases stand for too much";
        return ("the file is too large for a policy".into(), Some(hint));
    }
    if said.contains("tab") {
        return (format!("not YAML: {said}"), Some("indent with spaces"));
    }
    (format!("not YAML: {said}"), None)
}

fn tree(
    file: u16,
    text: &str,
    duplicate_keys: DuplicateKeyPolicy,
) -> Result<Node, serde_saphyr::Error> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: 32, max_nodes: 200_000, max_aliases: 256 },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 20_000,
            max_replay_stack_depth: 8,
        },
        merge_keys: MergeKeyPolicy::Error,
        strict_booleans: true,
        with_snippet: false,
        duplicate_keys: duplicate_keys,
    };
    let raw: Raw = serde_saphyr::from_str_with_options(text, options)?;
    Ok(raw.place(file))
}

fn span(file: u16, at: Location) -> Span {
    let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    Span {
        file,
        line: small(at.line()),
        column: small(at.column()),
        offset: small(at.span().byte_offset().unwrap_or(0)),
        len: small(at.span().byte_len().unwrap_or(0)),
    }
}

struct Raw(Spanned<RawKind>);

enum RawKind {
    Leaf(Kind),
    List(Vec<Raw>),
    Map(Vec<(Spanned<String>, Raw)>),
}

impl Raw {
    fn place(self, file: u16) -> Node {
        let at = span(file, self.0.referenced);
        let kind = match self.0.value {
            RawKind::Leaf(kind) => kind,
            RawKind::List(items) => Kind::List(items.into_iter().map(|i| i.place(file)).collect()),
            RawKind::Map(entries) => Kind::Map(
                entries
                    .into_iter()
                    .map(|(key, value)| Entry {
                        span: span(file, key.referenced),
                        key: key.value,
                        value: value.place(file),
                    })
                    .collect(),
            ),
        };
        Node { span: at, kind }
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for RawKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = RawKind;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<RawKind, E> {
        Ok(RawKind::Leaf(Kind::Null))
    }

    fn visit_none<E: Error>(self) -> Result<RawKind, E> {
        Ok(RawKind::Leaf(Kind::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<RawKind, D::Error> {
        RawKind::deserialize(deserializer)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<RawKind, E> {
        Ok(RawKind::Leaf(Kind::Bool(value)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<RawKind, E> {
        Ok(RawKind::Leaf(Kind::Int(value.into())))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<RawKind, E> {
        Ok(RawKind::Leaf(Kind::Int(value.into())))
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<RawKind, E> {
        Ok(RawKind::Leaf(Kind::Int(value)))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<RawKind, E> {
        Ok(RawKind::Leaf(Kind::Float))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<RawKind, E> {
        Ok(RawKind::Leaf(Kind::Text { text: text.to_owned(), interpolated: false }))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<RawKind, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(RawKind::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<RawKind, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(RawKind::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> (String, u32, u32) {
        let error = parse(0, text).1.unwrap();
        (error.message, error.span.line, error.span.column)
    }

    #[test]
    fn every_key_and_value_knows_its_place() {
        let text = "a: 1\nb:\n  - { ü: \"10s\", x: true }\n";
        let (Some(Node { kind: Kind::Map(entries), .. }), None) = parse(3, text) else {
            panic!("a map")
        };
        let [_, b] = &entries[..] else { panic!("two entries") };
        let Kind::List(items) = &b.value.kind else { panic!("a list") };
        let Kind::Map(inner) = &items[0].kind else { panic!("a map") };
        let at = inner[0].value.span;
        assert_eq!((at.file, at.line, at.column), (3, 3, 10));
        assert_eq!(&text[at.offset as usize..][..at.len as usize], "\"10s\"");
        let at = inner[1].span;
        assert_eq!((at.line, at.column), (3, 17));
        assert_eq!(inner[1].value.kind, Kind::Bool(true));
    }

    #[test]
    fn a_duplicate_key_does_not_hide_the_rest() {
        let (node, error) = parse(0, "a: 1\nb: 2\na: 3\n");
        assert!(matches!(node, Some(Node { kind: Kind::Map(entries), .. }) if entries.len() == 2));
        let error = error.unwrap();
        assert_eq!((error.message.as_str(), error.span.line), ("key `a` is stated twice", 3));
    }

    #[test]
    fn what_is_no_yaml_is_placed() {
        assert_eq!(error("a: [1\nb: 2\n").1, 2);
        assert_eq!(error("a: *zz\n").1, 1);
        assert_eq!(error("a: 1\n---\nb: 2\n"), ("a second document begins here".into(), 3, 1));
        assert!(error("a: &x { b: 1 }\nc:\n  <<: *x\n").0.contains("merge keys"));
        assert_eq!(error("? [a]\n: 1\n").0, "a key must be a text");
    }

    #[test]
    fn alias_bombs_and_deep_nests_are_refused() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for i in 1..9 {
            let last = i - 1;
            bomb += &format!("a{i}: &a{i} [{}]\n", vec![format!("*a{last}"); 9].join(", "));
        }
        assert!(parse(0, &bomb).0.is_none());
        assert!(parse(0, &"[".repeat(5_000)).0.is_none());
        assert!(parse(0, &"- ".repeat(5_000)).0.is_none());
    }
}
