//! That reading a configuration takes work in proportion to its size. Counted, not timed.

use std::path::Path;

use crate::domain::steps;

use super::files::Memory;
use super::load_from;

const GATEWAY: &str = "\
listen: [{ address: 127.0.0.1:0 }]
identity:
  issuers: [{ name: main, iss: https://issuer.example, keys: [{ hs256: 0123456789abcdef0123456789abcdef }] }]
directory: { file: directory.yaml }
upstreams: { web: { kind: http, addresses: [\"127.0.0.1:9\"] } }
policies: [policy.yaml]
rules: [rules.yaml]
";

/// A configuration in which there are `n` of everything.
fn files(n: usize) -> Memory {
    let each = |of: &dyn Fn(usize) -> String| (0..n).map(of).collect::<String>();
    let roles = each(&|i| {
        let inherits = match i % 10 {
            0 => String::new(),
            _ => format!("inherits: [r{}], ", i - 1),
        };
        format!("  r{i}: {{ {inherits}permissions: [\"*:read\", \"thing-{i}:use\"] }}\n")
    });
    let limits = each(&|i| format!("  l{i}: {{ scope: user, rate: 1/s }}\n"));
    let tables =
        each(&|i| format!("  t{i}: {{ tenant: organization_id, columns: [organization_id] }}\n"));
    let routes = each(&|i| {
        format!(
            "  - {{ name: w{i}, match: {{ path: \"/w{i}/{{rest*}}\" }}, upstream: web, credential: user, \
             tenant: [header], permission: thing-{i}:use, limits: [l{i}] }}\n"
        )
    });
    let rules = each(&|i| {
        format!("  - {{ id: x{i}, when: \"request.host == 'h{i}'\", then: {{ tag: t{i} }} }}\n")
    });
    let organizations = each(&|i| {
        format!(
            "  - id: 00000000-0000-4000-8000-{i:012}\n    slug: o{i}\n    plan: p\n    members: [{{ user: u{i}, role: r{i} }}]\n"
        )
    });
    let policy = format!(
        "plans: {{ p: {{ level: 1 }} }}\nroles:\n{roles}limits:\n{limits}tables:\n{tables}routes:\n{routes}"
    );
    Memory::new()
        .with("gateway.yaml", GATEWAY)
        .with("policy.yaml", policy)
        .with("rules.yaml", format!("rules:\n{rules}"))
        .with("directory.yaml", format!("organizations:\n{organizations}"))
}

fn steps_of(n: usize) -> u64 {
    let files = files(n);
    steps::of(|| {
        let loaded = load_from(&files, Path::new("gateway.yaml"), &|_| None).unwrap();
        assert_eq!(loaded.snapshot.routes.iter().count(), n);
        assert_eq!(loaded.snapshot.rules.all().len(), n);
        assert_eq!(loaded.snapshot.roles.roles().count(), n);
    })
}

#[test]
fn twice_as_large_a_configuration_takes_twice_as_many_steps() {
    let (one, two) = (steps_of(40), steps_of(80));
    assert!(one > 40, "steps are counted: {one}");
    assert!(two < one * 5 / 2, "{one} steps, then {two}");
}
