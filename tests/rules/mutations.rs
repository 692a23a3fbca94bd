//! Whatever an operator types, the answer is a snapshot or a list of problems, never a panic.

use std::path::Path;

use proptest::prelude::*;
use tollgate::config;

use crate::golden::{environment, good, laid};

/// The pieces that mutations put in: what YAML, units, interpolation and patterns treat specially.
const PIECES: [&str; 24] = [
    "", " ", "\n", "\t", ":", ": ", "- ", "[", "]", "{", "}", "*", "&a ", "*a", "!!x ", "'", "\"",
    "${", "${file:", "0", "-1", "é😀", "\u{0}", "<<: ",
];

#[derive(Debug, Clone)]
struct Mutation {
    at: prop::sample::Index,
    removed: usize,
    piece: &'static str,
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let piece = prop::sample::select(PIECES.to_vec());
    (any::<prop::sample::Index>(), 0usize..12, piece).prop_map(|(at, removed, piece)| Mutation {
        at,
        removed,
        piece,
    })
}

fn mutate(text: &str, mutations: &[Mutation]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for Mutation { at, removed, piece } in mutations {
        let from = at.index(chars.len() + 1);
        let to = (from + removed).min(chars.len());
        chars.splice(from..to, piece.chars());
    }
    chars.into_iter().collect()
}

/// A file with every form of the catalogue.
const CATALOGUE: &str = "\
tables:
  projects: { tenant: org, columns: [id, org], pk: [id], unique: [[org, id]], require_filter: true }
  events:
    tenant: org
    shared_null: true
    columns: [id, org, project_id]
    fks: { e_p: { org: projects.org, project_id: projects.id } }
  comments: { via: { fk: c_e, to: events }, columns: [id, event_id], fks: { c_e: { event_id: events.id } } }
  log: { tenant: org, columns: [id, org], write: deny }
  countries: { global: read, columns: [code] }
  secrets: { deny: true }
views: { totals: { tenant: org, columns: [org], writable: true } }
rpc:
  stats: { args: { org: $tenant, since: client }, read_only: true }
  search: { returns: events, filter_result: true }
  now: { unscoped: true }
casts: [text]
rest_caps: { depth: 3, embeds: 4, filters: 5 }
";

#[test]
fn the_catalogue_that_is_mutated_is_good() {
    let files = laid(&[&crate::golden::here("good")]).with("policy-tables.yaml", CATALOGUE);
    let result = config::load_from(&files, Path::new("gateway.yaml"), &environment);
    assert!(result.is_ok(), "{}", result.unwrap_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_mutation_of_a_good_file_makes_it_panic(
        name in prop::sample::select(vec![
            "gateway.yaml",
            "directory.yaml",
            "policy-limits.yaml",
            "policy-roles.yaml",
            "policy-routes.yaml",
            "policy-tables.yaml",
        ]),
        mutations in prop::collection::vec(mutation(), 1..6),
    ) {
        let text = match name {
            "policy-tables.yaml" => mutate(CATALOGUE, &mutations),
            name => mutate(&good(name), &mutations),
        };
        let files = laid(&[&crate::golden::here("good")]).with(name, text);
        let result = config::load_from(&files, Path::new("gateway.yaml"), &environment);
        if let Err(problems) = result {
            prop_assert!(problems.errors() > 0);
            let said = problems.to_string();
            prop_assert!(!said.contains("an-interpolated-secret"), "{said}");
            for problem in &problems.0 {
                let shown = problem.place.text.chars().count() as u32;
                prop_assert!(problem.place.line == 0 || problem.place.column <= shown + 2, "{said}");
            }
        }
    }
}
