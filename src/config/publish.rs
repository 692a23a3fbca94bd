//! What comes before a configuration is in force, and after: the tests that it has to pass, and the
//! versions of it that are kept. May import nothing of other rooms.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::context::Context;
use super::decode::{At, Decode, Fields, Filled, Shapes, Table};
use super::defaults as preset;
use super::files::TEST_SUFFIX;
use super::leaf::{FilePath, Size, word, words};
use super::settings::{SnapshotSettings, TestRun, TestSettings};
use super::yaml::{Node, Span};

/// The tests of a configuration.
pub(super) struct TestsFields {
    files: Filled<At<FilePath>>,
    run: TestRun,
    within: Duration,
}

impl Fields for TestsFields {
    const NAME: &'static str = "tests";
    const ABOUT: &'static str = "The tests that a configuration has to pass before it comes into \
                                 force.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let files = table.required(
            "files",
            "Test files, seen from this file; `*` stands for any text in a file's name. They are run \
             on this configuration, whichever they name themselves.",
        );
        let run = table.or(
            "run",
            &preset::TESTS_RUN,
            "`before_publish`: at start and before a reload; what fails does not come into force. \
             `never`: for `tollgate test` alone.",
        );
        let within = table.or(
            "within",
            &preset::TESTS_WITHIN,
            "They take no longer than this, or count as failed.",
        );
        Some(Self { files: files?, run: run?, within: within? })
    }
}

impl TestsFields {
    /// Finds the files that the patterns name.
    pub(super) fn found(self, cx: &mut Context<'_>) -> TestSettings {
        let mut files: Vec<(PathBuf, Span)> = Vec::new();
        for At { value: FilePath(pattern), span } in &self.files.0 {
            let shown = pattern.display();
            if !pattern.to_string_lossy().ends_with(TEST_SUFFIX) {
                cx.error(*span, format!("`{shown}` names no test files"))
                    .hint(format!("the names of test files end with `{TEST_SUFFIX}`"));
                continue;
            }
            match cx.matching_tests(pattern) {
                Ok(found) if found.is_empty() => {
                    cx.error(*span, format!("no file fits `{shown}`"))
                        .hint("paths are seen from the file that states them");
                }
                Ok(found) => files.extend(found.into_iter().map(|path| (path, *span))),
                Err(error) => {
                    cx.error(*span, format!("cannot list `{shown}`: {error}"))
                        .hint("paths are seen from the file that states them");
                }
            }
        }
        let mut paths: Vec<PathBuf> = Vec::new();
        for (path, _) in files {
            if !paths.contains(&path) {
                cx.involve(&path);
                paths.push(path);
            }
        }
        TestSettings { files: paths, run: self.run, within: self.within }
    }
}

const RUNS: &[(&str, TestRun)] =
    &[("before_publish", TestRun::BeforePublish), ("never", TestRun::Never)];

impl Decode for TestRun {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        word(node, RUNS, "time to run tests", cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        words(RUNS)
    }
}

impl Fields for SnapshotSettings {
    const NAME: &'static str = "snapshots";
    const ABOUT: &'static str = "Versions of the configuration that are kept, to look at and to go \
                                 back to.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let keep = table.or::<NonZeroU32>(
            "keep",
            &preset::SNAPSHOTS_KEEP,
            "How many are kept, at most; the one in force always is.",
        );
        let max_bytes = table.or::<Size>(
            "max_bytes",
            &preset::SNAPSHOTS_BYTES,
            "How many bytes of files they have together, at most.",
        );
        let directory = table.optional::<FilePath>(
            "directory",
            "Where they are kept, so that they outlive the process; in memory if not stated. Only the \
             gateway's user may read it.",
        );
        let socket = table.optional::<FilePath>(
            "socket",
            "The Unix socket over which `tollgate snapshots` reaches this process; none if not \
             stated. Only the gateway's user may use it.",
        );
        Some(Self {
            keep: keep?,
            max_bytes: max_bytes?.0,
            directory: directory.map(|path| path.0),
            socket: socket.map(|path| path.0),
        })
    }
}
