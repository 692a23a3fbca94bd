//! JSON Schema of the five kinds of file, described by the same functions that read them.
//!
//! May import nothing of other rooms.

use serde_json::{Map, Value, json};

use super::decode::{Decode, Fields, Shapes};
use super::directory::DirectoryFile;
use super::examples::Examples;
use super::gateway::Gateway;
use super::policies::PolicyFile;
use super::rules::RuleFile;
use super::suite::SuiteFields;

/// The schema of `gateway.yaml`, in which `${…}` may stand for any value.
pub fn gateway() -> Value {
    let mut schema = schema::<Gateway>();
    for definition in schema.get_mut("$defs").and_then(Value::as_object_mut).into_iter().flatten() {
        let properties = definition.1.get_mut("properties").and_then(Value::as_object_mut);
        for (_, property) in properties.into_iter().flatten() {
            interpolated(property);
        }
    }
    schema
}

/// The schema of policy files.
pub fn policy() -> Value {
    schema::<PolicyFile>()
}

/// The schema of rule files.
pub fn rules() -> Value {
    schema::<RuleFile>()
}

/// The schema of directory files.
pub fn directory() -> Value {
    schema::<DirectoryFile>()
}

/// The schema of test files.
pub fn test() -> Value {
    schema::<SuiteFields>()
}

fn schema<T: Fields>() -> Value {
    let mut examples = Examples::default();
    of_kind::<Gateway>(&mut examples);
    of_kind::<PolicyFile>(&mut examples);
    of_kind::<RuleFile>(&mut examples);
    of_kind::<DirectoryFile>(&mut examples);
    of_kind::<SuiteFields>(&mut examples);
    let (root, mut definitions) = described::<T>();
    examples.add_to(&mut definitions);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": format!("Tollgate: {}", T::NAME),
        "$ref": root,
        "$defs": definitions,
    })
}

/// A reference to the definition of a file, and all definitions.
fn described<T: Fields>() -> (Value, Map<String, Value>) {
    let mut shapes = Shapes::default();
    let root = T::shape(&mut shapes);
    (root.get("$ref").cloned().unwrap_or_default(), shapes.0)
}

fn of_kind<T: Fields>(examples: &mut Examples) {
    examples.of(T::NAME, &described::<T>().1);
}

/// Lets a text with `${` stand for any value that is no text of free form.
fn interpolated(shape: &mut Value) {
    let Some(map) = shape.as_object_mut() else { return };
    for inside in ["items", "additionalProperties"] {
        if let Some(inner) = map.get_mut(inside) {
            interpolated(inner);
        }
    }
    if let Some(choices) = map.get_mut("anyOf").and_then(Value::as_array_mut) {
        choices.iter_mut().for_each(interpolated);
    }
    let kind = map.get("type").and_then(Value::as_str);
    let bound = ["enum", "const", "pattern", "format"].iter().any(|key| map.contains_key(*key));
    if !bound && !matches!(kind, Some("integer" | "boolean")) {
        return;
    }
    let mut around = serde_json::Map::new();
    for key in ["title", "description", "default", "examples"] {
        around.extend(map.shift_remove(key).map(|value| (key.to_owned(), value)));
    }
    let bound = std::mem::take(map);
    *map = around;
    map.insert("anyOf".into(), json!([bound, { "type": "string", "pattern": r"\$\{" }]));
}
