//! Examples of every key, for the JSON Schema: those of docs/POLICIES.md, of which a test says that
//! they compile.
//!
//! The document's examples are walked along the schema of their kind, and what stands under a key is
//! an example of that key. So there is one place to write them, and none to keep up. May import
//! nothing of other rooms.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::yaml;

/// Examples of one key; what is more says nothing new.
const MOST: usize = 3;
/// Bytes of one example, as JSON: what is longer is no help in an editor.
const LONGEST: usize = 160;

const DOCUMENT: &str = include_str!("../../docs/POLICIES.md");

/// Examples by the name of a definition and of its key.
#[derive(Debug, Default)]
pub(super) struct Examples(BTreeMap<(String, String), Vec<Value>>);

impl Examples {
    /// Adds those that the document has of a kind of file, along the definitions of its schema.
    pub(super) fn of(&mut self, kind: &str, definitions: &Map<String, Value>) {
        let definitions = Definitions(definitions);
        for text in blocks(DOCUMENT, kind) {
            if let Some(node) = yaml::parse(0, text).0 {
                definitions.walk_named(kind, &node.json(), self);
            }
        }
    }

    /// Puts them into the schema of which these are the definitions.
    pub(super) fn add_to(&self, definitions: &mut Map<String, Value>) {
        for (name, definition) in definitions {
            let properties = definition.get_mut("properties").and_then(Value::as_object_mut);
            for (key, shape) in properties.into_iter().flatten() {
                let Some(shape) = shape.as_object_mut() else { continue };
                let mut all: Vec<Value> =
                    self.0.get(&(name.clone(), key.clone())).cloned().unwrap_or_default();
                let generic = shape.get("examples").and_then(Value::as_array);
                all.extend(generic.into_iter().flatten().cloned());
                keep_short(&mut all);
                if !all.is_empty() {
                    shape.insert("examples".into(), all.into());
                }
            }
        }
    }

    fn add(&mut self, definition: &str, key: &str, value: &Value) {
        let all = self.0.entry((definition.to_owned(), key.to_owned())).or_default();
        if !all.contains(value) {
            all.push(value.clone());
        }
    }
}

/// Leaves the first few that are short, or the shortest.
fn keep_short(all: &mut Vec<Value>) {
    let length = |value: &Value| value.to_string().len();
    let shortest = all.iter().map(length).min().unwrap_or_default();
    all.retain(|value| length(value) <= LONGEST.max(shortest));
    all.truncate(MOST);
}

/// The fenced examples of a kind of file.
fn blocks<'d>(document: &'d str, kind: &str) -> impl Iterator<Item = &'d str> {
    document.split("\n```yaml ").skip(1).filter_map(move |rest| {
        let (info, rest) = rest.split_once('\n')?;
        let (text, _) = rest.split_once("\n```")?;
        (info.split(' ').next() == Some(kind)).then_some(text)
    })
}

struct Definitions<'s>(&'s Map<String, Value>);

impl Definitions<'_> {
    /// The keys of a definition.
    fn keys(&self, name: &str) -> Option<&Map<String, Value>> {
        self.0.get(name)?.get("properties")?.as_object()
    }

    fn walk_named(&self, name: &str, value: &Value, found: &mut Examples) {
        let (Some(keys), Some(entries)) = (self.keys(name), value.as_object()) else { return };
        for (key, value) in entries {
            let Some(shape) = keys.get(key) else { continue };
            found.add(name, key, value);
            self.walk(shape, value, found);
        }
    }

    fn walk(&self, shape: &Value, value: &Value, found: &mut Examples) {
        if let Some(name) = referred(shape) {
            self.walk_named(name, value, found);
        } else if let Some(choices) = shape.get("anyOf").and_then(Value::as_array) {
            if let Some(choice) = choices.iter().find(|choice| self.fits(choice, value)) {
                self.walk(choice, value, found);
            }
        } else if let (Some(items), Some(values)) = (shape.get("items"), value.as_array()) {
            values.iter().for_each(|value| self.walk(items, value, found));
        } else if let (Some(each), Some(entries)) =
            (shape.get("additionalProperties"), value.as_object())
        {
            entries.values().for_each(|value| self.walk(each, value, found));
        }
    }

    /// Whether a value is of the form that a choice has.
    fn fits(&self, shape: &Value, value: &Value) -> bool {
        if let Some(name) = referred(shape) {
            let known = |key: &String| self.keys(name).is_some_and(|keys| keys.contains_key(key));
            return value.as_object().is_some_and(|entries| entries.keys().all(known));
        }
        match shape.get("type").and_then(Value::as_str) {
            Some("array") => value.is_array(),
            Some("object") => value.is_object(),
            _ => !value.is_array() && !value.is_object(),
        }
    }
}

/// The definition that a shape refers to.
fn referred(shape: &Value) -> Option<&str> {
    shape.get("$ref")?.as_str()?.strip_prefix("#/$defs/")
}
