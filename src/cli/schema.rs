//! `tollgate schema`: the JSON Schema of a kind of configuration file.

use crate::config::schema;

use super::arguments::{FileKind, Schema};
use super::{Done, Failure, print};

pub(super) fn run(arguments: &Schema) -> Result<Done, Failure> {
    let schema = match arguments.kind {
        FileKind::Gateway => schema::gateway(),
        FileKind::Policy => schema::policy(),
        FileKind::Rules => schema::rules(),
        FileKind::Directory => schema::directory(),
        FileKind::Test => schema::test(),
    };
    let text = serde_json::to_string_pretty(&schema).map_err(anyhow::Error::from)?;
    print(&format!("{text}\n"))?;
    Ok(Done::Well)
}
