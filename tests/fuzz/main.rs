//! Every fuzz target over its corpus and some thousands of mutations of it, the same each time.
//!
//! `TOLLGATE_SEED` tries others, `TOLLGATE_MUTATIONS` says how many. `make fuzz` goes further: it
//! follows the branches that an input takes (see `libfuzzer.rs`).

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    reason = "a test binary: what fails here is meant to fail the test"
)]

mod mutate;
mod targets;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

use mutate::{Numbers, mutated, shrunk};
use targets::{Outcome, TARGETS, Target};

const SEED: u64 = 20;
const MUTATIONS: u64 = 8_000;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus")
}

/// The committed inputs of a target, in the order of their names.
fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(directory().join(target.name)).expect(target.name);
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

fn tried(target: &Target, input: &[u8]) -> Option<Outcome> {
    panic::catch_unwind(AssertUnwindSafe(|| (target.run)(input))).ok()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

#[test]
fn no_input_breaks_a_promise_of_the_parsers() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !QUIET.get() {
            usual(info);
        }
    }));
    let seed = number("TOLLGATE_SEED").unwrap_or(SEED);
    let mutations = number("TOLLGATE_MUTATIONS").unwrap_or(MUTATIONS);
    for target in TARGETS {
        let corpus = corpus(target);
        let mut numbers = Numbers(seed);
        let (mut taken, mut refused) = (0, 0);
        let mutated = (0..mutations).map(|_| mutated(&corpus, &mut numbers));
        for input in corpus.iter().cloned().chain(mutated) {
            QUIET.set(true);
            let outcome = tried(target, &input);
            let Some(outcome) = outcome else {
                let small = shrunk(&input, |input| tried(target, input).is_none());
                QUIET.set(false);
                let shown = small.escape_ascii();
                eprintln!("`{}` with TOLLGATE_SEED={seed} fails for b\"{shown}\"", target.name);
                (target.run)(&small);
                panic!("it failed before");
            };
            QUIET.set(false);
            taken += u64::from(outcome == Outcome::Taken);
            refused += u64::from(outcome == Outcome::Refused);
        }
        // A target that gets through nothing shows nothing.
        let (name, few) = (target.name, mutations / 500);
        assert!(taken > few && refused > 0, "`{name}` took {taken} and refused {refused}");
    }
}

#[test]
fn every_target_has_a_corpus_that_it_takes() {
    let listed: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    let entries = std::fs::read_dir(directory()).unwrap();
    let found = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(listed, found);
    for target in TARGETS {
        let taken =
            corpus(target).iter().filter(|input| (target.run)(input) == Outcome::Taken).count();
        assert!(taken > 1, "`{}` takes {taken} of its corpus", target.name);
    }
}

#[test]
fn a_failing_input_is_made_as_small_as_it_fails() {
    let fails = |input: &[u8]| input.windows(2).any(|two| two == b"(\"") && input.contains(&b';');
    assert_eq!(shrunk(b"select=a,b(\"c\")&x;y=1", fails), b"(\";".to_vec());
}
