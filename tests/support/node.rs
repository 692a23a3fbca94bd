//! Runs a script of `tests/e2e/*.mjs` in Node, with the Supabase clients at hand.

use std::path::Path;

use serde_json::Value;

use super::place::TempDir;
use super::process::{Process, Signal, Spec};

/// Runs `tests/e2e/<script>` and returns the JSON that it prints.
///
/// # Panics
/// When the script fails or prints something else, with all that it printed.
pub(crate) async fn node(script: &str, env: &[(&str, &str)]) -> Value {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let dir = TempDir::new();
    let mut process = Process::spawn(Spec {
        name: "Node",
        program: "node".into(),
        args: vec![tests.join("e2e").join(script).display().to_string()],
        env: env.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        user: None,
        dir: tests,
        log: dir.path().join("node.log"),
        end: Signal::Kill,
    });
    let status = process.ended().await;
    let printed = process.log();
    assert!(status.success(), "{script} ended with {status}:\n{printed}");
    serde_json::from_str(&printed)
        .unwrap_or_else(|error| panic!("{script} printed no JSON ({error}):\n{printed}"))
}
