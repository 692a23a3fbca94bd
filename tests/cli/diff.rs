//! `tollgate diff`: two configurations, and what is decided otherwise.

use crate::golden;
use crate::support::place::TempDir;
use crate::tool::{Called, call_in};

use std::path::Path;
use std::process::Command;

const GATEWAY: &str = include_str!("world/gateway.yaml");
const POLICY: &str = include_str!("world/policy.yaml");
const DIRECTORY: &str = include_str!("world/directory.yaml");

/// The world beside one in which pieces are replaced.
fn diff(gateway: &[(&str, &str)], policy: &[(&str, &str)], arguments: &[&str]) -> Called {
    let replaced = |text: &str, pieces: &[(&str, &str)]| {
        pieces.iter().fold(text.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        })
    };
    let place = TempDir::new();
    for (side, gateway, policy) in [("a", &[][..], &[][..]), ("b", gateway, policy)] {
        std::fs::create_dir_all(place.path().join(side)).unwrap();
        place.write(&format!("{side}/gateway.yaml"), &replaced(GATEWAY, gateway));
        place.write(&format!("{side}/policy.yaml"), &replaced(POLICY, policy));
        place.write(&format!("{side}/directory.yaml"), DIRECTORY);
    }
    call_in(place.path(), &[&["diff", "a", "b/gateway.yaml"], arguments].concat(), "")
}

const GATEWAY_PIECES: [(&str, &str); 3] = [
    ("addresses: [127.0.0.1:15000]", "addresses: [127.0.0.1:15001]"),
    ("      required_claims: [role]\n", ""),
    ("directory:\n", "edge: { requests_per_user: 7 }\ndirectory:\n"),
];

const POLICY_PIECES: [(&str, &str); 13] = [
    ("plans:\n", "# A line more, and an order that is another.\nplans:\n"),
    (
        "  free: { level: 10 }\n  pro: { level: 20 }\n",
        "  pro: { level: 30 }\n  free: { level: 10 }\n",
    ),
    ("permissions: [\"*:read\"]", "permissions: [\"*:read\", events:delete]"),
    (
        "permissions: [events:write]\n",
        "permissions: [venues:write]\n    require: [{ aal: aal2 }]\n",
    ),
    ("    rate: 10/s\n    burst: 20\n", "    rate: 20/s\n    burst: 40\n    mode: shadow\n"),
    (
        "columns: [id, organization_id, title]",
        "columns: [id, organization_id, title, price]\n    write: deny",
    ),
    (
        "    tenant: organization_id\n    columns: [id, organization_id, name]",
        "    global: read\n    columns: [id, name]",
    ),
    ("      tickets_venue_fkey: { venue: venues.id }\n", ""),
    (
        "  - name: files\n    match: { path: \"/files/{path*}\" }",
        "  - name: files\n    match: { path: \"/disk/{path*}\", methods: [GET] }",
    ),
    (
        "    credential: user\n    tenant: [header, default]\n    permission: member\n",
        "    credential: key\n    tenant: none\n",
    ),
    (
        "    permission: { table: table }\n",
        "    permission: { table: table }\n    require: [{ plan: pro }, { feature: x, mode: shadow }]\n",
    ),
    (
        "match: { path: /internal }\n    close: true\n",
        "match: { path: /internal }\n    upstream: files\n    credential: service\n    tenant: none\n",
    ),
    (
        "response:\n",
        "gates: { erasing: { permissions: [events:delete], require: [{ feature: x }] } }\nresponse:\n",
    ),
];

#[test]
fn what_opens_something_is_told_first_with_both_places() {
    let told = diff(&GATEWAY_PIECES, &POLICY_PIECES, &[]);
    assert_eq!((told.code, told.err.as_str()), (3, ""));
    golden::compare("diff", &told.out);
}

#[test]
fn a_difference_is_one_object_for_machines() {
    let told =
        diff(&[], &[("permissions: [\"*:read\"]", "permissions: [\"events:read\"]")], &["--json"]);
    assert_eq!(told.code, 3);
    let json = told.json();
    assert_eq!(json["differs"], true);
    let changes = json["changes"].as_array().unwrap();
    // Members inherit what viewers lose; what administrators may is stated otherwise.
    let lost: Vec<(&str, &str)> = changes
        .iter()
        .map(|of| (of["name"].as_str().unwrap(), of["what"].as_str().unwrap()))
        .collect();
    let what = "loses `tickets:read`, `venues:read`";
    assert_eq!(lost, [("member", what), ("viewer", what)]);
    assert!(changes.iter().all(|of| of["effect"] == "closes"), "{changes:?}");
}

#[test]
fn comments_lines_and_order_are_no_difference() {
    let moved = ("plans:\n", "# Plans.\n\n\nplans:\n");
    let told = diff(&[], &[moved], &[]);
    assert_eq!((told.code, told.out.as_str()), (0, "nothing that is decided differs\n"));
    let wrong = diff(&[], &[("permission: member", "permission: membre")], &[]);
    assert_eq!(wrong.code, 2, "{}", wrong.err);
}

const RULES: &str = "rules:
  - id: old-clients
    when: request.headers.get('x-client-version', '').startsWith('1.')
    then: { deny: { status: 403, code: client_too_old, message: install the present version } }
  - id: crawlers
    when: \"request.headers.get('user-agent', '').contains('crawler')\"
    then: { tag: crawler, cost: 4, audit: 10% }
  - id: removals
    phase: authenticated
    mode: shadow
    when: request.method == 'DELETE'
    then: { require: { aal: aal2, within: 15m } }
";

#[test]
fn rules_are_compared_by_what_they_do() {
    let rules = |text: &str| {
        let place = TempDir::new();
        for (side, rules) in [("a", RULES), ("b", text)] {
            std::fs::create_dir_all(place.path().join(side)).unwrap();
            place
                .write(&format!("{side}/gateway.yaml"), &format!("{GATEWAY}rules: [rules.yaml]\n"));
            place.write(&format!("{side}/policy.yaml"), POLICY);
            place.write(&format!("{side}/directory.yaml"), DIRECTORY);
            place.write(&format!("{side}/rules.yaml"), rules);
        }
        call_in(place.path(), &["diff", "a", "b"], "")
    };
    assert_eq!(rules(RULES).out, "nothing that is decided differs\n");
    let changed = RULES
        .replace("startsWith('1.')", "startsWith('2.')")
        .replace("cost: 4, audit: 10%", "cost: 2, audit: 0.5%")
        .replace("    mode: shadow\n", "");
    let gone = changed.replace("  - id: crawlers", "  - id: robots");
    let told = rules(&gone);
    assert_eq!((told.code, told.err.as_str()), (3, ""));
    golden::compare("diff-rules", &told.out);
}

#[test]
fn what_a_wildcard_granted_before_it_had_a_name_is_not_gained() {
    let editor = "roles:\n  editor: { permissions: [\"tickets:admin\"] }\n";
    let told = diff(&[], &[("roles:\n", editor)], &["--json"]);
    let names: Vec<String> = told.json()["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|of| of["name"].as_str().unwrap().to_owned())
        .collect();
    // Administrators have `*:admin`.
    assert_eq!(names, ["editor"], "{}", told.out);
}

/// Runs a program in a directory, with git's settings of this test and nobody's else.
fn run(program: &str, directory: &Path, arguments: &[&str]) -> Called {
    let ran = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .envs(["GIT_AUTHOR", "GIT_COMMITTER"].map(|who| (format!("{who}_NAME"), "somebody")))
        .envs(["GIT_AUTHOR", "GIT_COMMITTER"].map(|who| (format!("{who}_EMAIL"), "a@b.example")))
        .env_remove("GIT_DIR")
        .output()
        .unwrap();
    Called {
        code: ran.status.code().unwrap_or(-1),
        out: String::from_utf8(ran.stdout).unwrap(),
        err: String::from_utf8(ran.stderr).unwrap(),
    }
}

/// A repository with two commits, and something that is not committed.
fn repository() -> TempDir {
    let place = TempDir::new();
    let policy = |more: &str| POLICY.replace("permissions: [\"*:read\"]", more);
    place.write(
        "config/gateway.yaml",
        &GATEWAY.replace("[policy.yaml]", "[\"../policies/*.yaml\"]"),
    );
    place.write("config/directory.yaml", DIRECTORY);
    place.write("policies/base.yaml", &policy("permissions: [events:read]"));
    let commit = |message| {
        for arguments in [&["add", "-A"][..], &["commit", "-qm", message]] {
            let ran = run("git", place.path(), arguments);
            assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
        }
    };
    assert_eq!(run("git", place.path(), &["init", "-q"]).code, 0);
    commit("first");
    place.write("policies/base.yaml", &policy("permissions: [events:read, tickets:read]"));
    commit("second");
    place.write("policies/base.yaml", POLICY);
    place
}

fn tollgate(directory: &Path, arguments: &[&str]) -> Called {
    run(env!("CARGO_BIN_EXE_tollgate"), directory, arguments)
}

#[test]
fn a_side_can_be_a_revision_of_the_repository() {
    let place = repository();
    let told = tollgate(place.path(), &["diff", "HEAD~1:config", "HEAD:config"]);
    assert_eq!((told.code, told.err.as_str()), (3, ""));
    golden::compare("diff-git", &told.out);
    let told = tollgate(place.path(), &["diff", "HEAD:config/gateway.yaml", "config"]);
    assert!(told.code == 3 && told.out.contains("gains `venues:read`"), "{}{}", told.out, told.err);
    // From a directory below, paths are git's: from the top, or from here with `./`.
    let below = place.path().join("config");
    for side in ["HEAD:config", "HEAD:./gateway.yaml", "HEAD:./"] {
        let told = tollgate(&below, &["diff", side, "HEAD:config/"]);
        assert_eq!((told.code, told.err.as_str()), (0, ""), "{side}: {}", told.out);
    }
    // Nothing is checked out, and nothing is left behind.
    let status = run("git", place.path(), &["status", "--porcelain"]);
    assert_eq!(status.out, " M policies/base.yaml\n");
}

#[test]
fn what_git_does_not_have_is_said_without_hashes() {
    let place = repository();
    let cases = [
        ("HEAD~7:config", "error: there is no revision `HEAD~7`\n"),
        ("--help:config", "error: there is no revision `--help`\n"),
        ("HEAD:nowhere", "error: `HEAD` has no `nowhere`\n"),
    ];
    for (side, said) in cases {
        let told = tollgate(place.path(), &["diff", "--", side, "config"]);
        assert_eq!((told.code, told.err.as_str()), (2, said));
    }
    let told = tollgate(place.path(), &["diff", "HEAD:policies/base.yaml", "config"]);
    assert!(told.code == 2 && told.err.contains("HEAD:/policies/base.yaml:1:1"), "{}", told.err);
    let elsewhere = TempDir::new();
    let told = tollgate(elsewhere.path(), &["diff", "HEAD:config", "config"]);
    assert!(told.code == 2 && told.err.contains("not a git repository"), "{}", told.err);
    // Without a path to search, nothing is found beside the usual places; an empty one has none.
    let told = Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(["diff", "HEAD:config", "config"])
        .env("PATH", elsewhere.path())
        .current_dir(place.path())
        .output()
        .unwrap();
    let err = String::from_utf8(told.stderr).unwrap();
    assert!(told.status.code() == Some(2) && err.contains("cannot run `git`"), "{err}");
}
