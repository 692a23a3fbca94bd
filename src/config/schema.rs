//! JSON Schema of the three kinds of file, described by the same functions that read them.
//!
//! May import nothing of other rooms.

use serde_json::{Value, json};

use super::decode::{Decode, Fields, Shapes};
use super::directory::DirectoryFile;
use super::gateway::Gateway;
use super::policies::PolicyFile;

/// The schema of `gateway.yaml`.
pub fn gateway() -> Value {
    schema::<Gateway>()
}

/// The schema of policy files.
pub fn policy() -> Value {
    schema::<PolicyFile>()
}

/// The schema of directory files.
pub fn directory() -> Value {
    schema::<DirectoryFile>()
}

fn schema<T: Fields>() -> Value {
    let mut shapes = Shapes::default();
    let root = T::shape(&mut shapes);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": format!("Tollgate: {}", T::NAME),
        "$ref": root.get("$ref"),
        "$defs": shapes.0,
    })
}
