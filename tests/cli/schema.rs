//! `tollgate schema`: what it prints is a JSON Schema, and one that the shipped files keep to.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::tool::call;

fn schema(kind: &str) -> Value {
    let called = call(&["schema", kind]);
    assert_eq!(called.code, 0, "{}", called.err);
    called.json()
}

/// The YAML files of the repository, by kind.
fn shipped() -> Vec<(&'static str, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut out = Vec::new();
    let packs = fs::read_dir(root.join("policies")).unwrap().map(|entry| entry.unwrap().path());
    let packs = packs.filter(|path| path.is_dir());
    let others = ["config", "config/demo", "policies", "tests/cli/world"].map(|it| root.join(it));
    for directory in packs.chain(others) {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let kind = match name.as_str() {
                "bad.yaml" => continue,
                "directory.yaml" => "directory",
                _ if name.ends_with(".test.yaml") => "test",
                _ if name.contains("policy") || directory == root.join("policies") => "policy",
                _ => "gateway",
            };
            if name.ends_with(".yaml") {
                out.push((kind, path));
            }
        }
    }
    out
}

#[test]
fn every_shipped_file_keeps_to_the_schema_of_its_kind() {
    let shipped = shipped();
    assert!(shipped.len() >= 10, "{shipped:?}");
    for (kind, path) in shipped {
        let schema = schema(kind);
        let text = fs::read_to_string(&path).unwrap();
        let value: Value = serde_saphyr::from_str(&text).unwrap();
        let faults = faults(&schema, &schema, &value, "");
        assert!(faults.is_empty(), "{}: {}", path.display(), faults.join("\n"));
    }
}

#[test]
fn a_mistyped_key_does_not_keep_to_it() {
    let mistyped = [
        ("gateway", "listn"),
        ("policy", "role"),
        ("directory", "organisations"),
        ("test", "case"),
    ];
    for (kind, key) in mistyped {
        let schema = schema(kind);
        let value = serde_json::json!({ key: [] });
        assert!(!faults(&schema, &schema, &value, "").is_empty(), "{kind}");
    }
}

#[test]
fn every_part_that_a_schema_refers_to_is_there_and_every_word_in_it_is_known() {
    for kind in ["gateway", "policy", "directory", "test"] {
        let schema = schema(kind);
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert!(words(&schema, &schema) > 10, "{kind}");
    }
    assert_eq!(call(&["schema"]).json(), schema("gateway"));
}

/// Counts the schemas inside a schema, and fails on a keyword that draft 2020-12 does not have.
fn words(root: &Value, schema: &Value) -> usize {
    let Some(schema) = schema.as_object() else {
        assert!(schema.is_boolean(), "{schema}");
        return 1;
    };
    let mut count = 1;
    for (word, value) in schema {
        count += match word.as_str() {
            "$schema" | "title" | "description" | "default" | "examples" | "const" | "enum"
            | "pattern" | "format" | "minLength" | "maxLength" | "minimum" | "maximum"
            | "minItems" | "maxItems" | "minProperties" | "maxProperties" | "required"
            | "uniqueItems" | "exclusiveMinimum" => 0,
            "type" => usize::from(!value.is_string() && !value.is_array()) * 1_000,
            "$ref" => usize::from(resolve(root, value).is_null()) * 1_000,
            "items" | "additionalProperties" | "propertyNames" | "not" => words(root, value),
            "anyOf" | "oneOf" | "allOf" => {
                value.as_array().unwrap().iter().map(|one| words(root, one)).sum()
            }
            "properties" | "$defs" | "patternProperties" => {
                value.as_object().unwrap().values().map(|one| words(root, one)).sum()
            }
            other => panic!("`{other}` is no keyword that these tests know"),
        };
    }
    assert!(count < 1_000, "a type or reference that leads nowhere in {schema:?}");
    count
}

fn resolve<'s>(root: &'s Value, reference: &Value) -> &'s Value {
    let pointer = reference.as_str().unwrap().strip_prefix('#').unwrap();
    root.pointer(pointer).unwrap_or(&Value::Null)
}

/// Where a value does not keep to a schema: the part of JSON Schema that ours use.
fn faults(root: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let Some(schema) = schema.as_object() else {
        return if schema.as_bool() == Some(false) {
            vec![format!("{at}: not allowed")]
        } else {
            vec![]
        };
    };
    let mut out = Vec::new();
    // What the environment gives is not known here.
    if value.as_str().is_some_and(|text| text.contains("${")) {
        return out;
    }
    if let Some(reference) = schema.get("$ref") {
        out.extend(faults(root, resolve(root, reference), value, at));
    }
    if let Some(kind) = schema.get("type")
        && !is_of(kind, value)
    {
        out.push(format!("{at}: {value} is not of type {kind}"));
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array)
        && !values.contains(value)
    {
        out.push(format!("{at}: {value} is none of {values:?}"));
    }
    if let Some(constant) = schema.get("const")
        && constant != value
    {
        out.push(format!("{at}: {value} is not {constant}"));
    }
    for word in ["anyOf", "oneOf"] {
        if let Some(choices) = schema.get(word).and_then(Value::as_array) {
            let tried: Vec<_> = choices.iter().map(|one| faults(root, one, value, at)).collect();
            if tried.iter().all(|faults| !faults.is_empty()) {
                out.push(format!("{at}: {value} fits no choice: {tried:?}"));
            }
        }
    }
    if let Some(object) = value.as_object() {
        out.extend(object_faults(root, schema, object, at));
    }
    if let (Some(items), Some(list)) = (schema.get("items"), value.as_array()) {
        for (index, item) in list.iter().enumerate() {
            out.extend(faults(root, items, item, &format!("{at}[{index}]")));
        }
    }
    out
}

fn object_faults(
    root: &Value,
    schema: &serde_json::Map<String, Value>,
    object: &serde_json::Map<String, Value>,
    at: &str,
) -> Vec<String> {
    let mut out = Vec::new();
    for required in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
        if !object.contains_key(required.as_str().unwrap()) {
            out.push(format!("{at}: {required} is missing"));
        }
    }
    let own = schema.get("properties").and_then(Value::as_object);
    for (key, value) in object {
        let inner = format!("{at}.{key}");
        let stated = own.and_then(|own| own.get(key));
        if let Some(schema) = stated.or_else(|| schema.get("additionalProperties")) {
            out.extend(faults(root, schema, value, &inner));
        }
    }
    out
}

fn is_of(kind: &Value, value: &Value) -> bool {
    if let Some(kinds) = kind.as_array() {
        return kinds.iter().any(|kind| is_of(kind, value));
    }
    match kind.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        // Dates and sizes are texts that YAML may take for something else.
        "string" => value.is_string() || value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("`{other}` is no type"),
    }
}
