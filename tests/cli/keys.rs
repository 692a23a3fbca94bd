//! `tollgate keys` where the directory is a file, and `explain --as-key`. With PostgreSQL:
//! tests/e2e/machines.rs.

use std::fs;
use std::path::Path;

use crate::operations::{POLICY, draft, gateway_yaml};
use crate::support::gateway::Draft;
use crate::tool::{Called, call, call_in};

fn with_machines() -> Draft {
    let draft = draft(&POLICY.replacen("credential: user", "credential: [user, machine]", 1), "");
    let machines = "  machines: { pepper: a pepper of thirty-two bytes or more }\ndirectory:";
    draft.write("gateway.yaml", &gateway_yaml(&draft, "").replacen("directory:", machines, 1));
    draft
}

fn keys(directory: &Path, arguments: &[&str]) -> Called {
    call_in(directory, &[&["keys"], arguments, &["-c", "gateway.yaml"]].concat(), "")
}

fn good(directory: &Path, arguments: &[&str]) -> Called {
    let called = keys(directory, arguments);
    assert_eq!(called.code, 0, "{arguments:?}: {}", called.err);
    called
}

/// Puts an entry under acme, as a person would.
fn paste(draft: &Draft, entry: &str) {
    let file = include_str!("world/directory.yaml");
    let before = "      - { user: dave, role: member, joined: 2024-01-15 }\n";
    assert!(file.contains(before));
    let pasted = file.replacen(before, &format!("{before}    api_keys:\n{entry}"), 1);
    draft.write("directory.yaml", &pasted);
}

/// The entry that was printed besides, and nothing else.
fn entry(text: &str) -> String {
    let lines = text.lines().filter(|line| line.starts_with("      "));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_key_for_a_directory_file_is_printed_with_the_entry_to_paste() {
    let draft = with_machines();
    let dir = draft.dir();
    let create = ["create", "--organization", "acme", "--name", "ci", "--scope", "events:read"];
    let more = ["--expires", "90d", "--address", "10.0.0.0/8"];
    let made = good(dir, &[&create[..], &more[..]].concat());
    let key = made.out.trim().to_owned();
    assert_eq!((made.out.lines().count(), key.len()), (1, 66), "the key and nothing else");
    assert!(!made.err.contains(&key), "it is shown once");
    paste(&draft, &entry(&made.err));
    let listed = good(dir, &["list", "--json"]).json();
    let id = listed[0]["id"].as_str().unwrap().to_owned();
    assert!(key.starts_with(&id));
    assert_eq!(listed[0]["scopes"], serde_json::json!(["events:read"]));
    assert_eq!(listed[0]["organization"], "acme");
    let again = keys(dir, &create);
    assert_eq!(again.code, 2);
    assert!(
        again.err.contains("an active key of the organization is called `ci`"),
        "{}",
        again.err
    );

    let explain = |from: &str, target: &str, header: &str| {
        let arguments = ["explain", "--json", "-c", "gateway.yaml", "GET", target];
        let more = ["--from", from, "-H", header];
        call_in(dir, &[&arguments[..], &more].concat(), "").json()
    };
    let shown = format!("Authorization: Bearer {key}");
    let report = explain("10.1.2.3", "/rest/v1/events", &shown);
    assert_eq!(report["verdict"], "forwarded", "{report}");
    assert_eq!(report["caller"]["kind"], "machine");
    assert_eq!(report["caller"]["api_key"], id.as_str());
    assert!(!report.to_string().contains(&key), "{report}");
    assert_eq!(
        explain("192.0.2.1", "/rest/v1/events", &shown)["refusal"]["code"],
        "invalid_api_key"
    );

    let rotated = good(dir, &["rotate", &id, "--overlap", "24h", "--json"]).json();
    assert_ne!(rotated["key"], key.as_str());
    paste(&draft, rotated["entry"].as_str().unwrap());
    let new = format!("apikey: {}", rotated["key"].as_str().unwrap());
    for shown in [&shown, &new] {
        let report = explain("10.1.2.3", "/rest/v1/events", shown);
        assert_eq!(report["verdict"], "forwarded", "{report}");
    }
    assert!(good(dir, &["list"]).out.contains("active, old secret until"));
    paste(&draft, &good(dir, &["revoke", &id]).out);
    for shown in [&shown, &new] {
        let report = explain("10.1.2.3", "/rest/v1/events", shown);
        assert_eq!(report["refusal"]["code"], "invalid_api_key", "{report}");
    }
    assert!(keys(dir, &["rotate", &id]).err.contains("was revoked"));
    good(dir, &create);
    let directory = fs::read_to_string(dir.join("directory.yaml")).unwrap();
    assert!(!directory.contains(&key), "a directory holds no key");
}

#[test]
fn a_request_is_explained_as_a_key_whose_secret_nobody_has() {
    let draft = with_machines();
    let dir = draft.dir();
    let create = ["create", "--organization", "acme", "--name", "ci", "--scope", "events:read"];
    let made = good(dir, &[&create[..], &["--address", "10.0.0.0/8"]].concat());
    paste(&draft, &entry(&made.err));
    let id = &made.out[..16];
    let explain = |target: &str, from: &str, key: &str| {
        let arguments = ["explain", "--json", "-c", "gateway.yaml", "GET", target];
        call_in(dir, &[&arguments[..], &["--from", from, "--as-key", key]].concat(), "")
    };
    let report = explain("/rest/v1/events", "10.1.2.3", id).json();
    assert_eq!(report["verdict"], "forwarded", "{report}");
    let report = explain("/rest/v1/venues", "10.1.2.3", id).json();
    assert_eq!(report["refusal"]["code"], "permission_denied", "{report}");
    let report = explain("/rest/v1/events", "192.0.2.1", id).json();
    assert_eq!(report["refusal"]["code"], "invalid_api_key", "{report}");
    let unknown = explain("/rest/v1/events", "10.1.2.3", "tgk_000000000000");
    assert!(unknown.err.contains("the directory has no key `tgk_000000000000`"), "{}", unknown.err);
    let whole = explain("/rest/v1/events", "10.1.2.3", made.out.trim());
    assert!(whole.err.contains("rotate it"), "{}", whole.err);
}

#[test]
fn what_makes_no_sense_for_a_key_is_refused_before_one_is_made() {
    let draft = with_machines();
    let base = ["create", "--organization", "acme", "--name", "ci"];
    for (more, wanted) in [
        (&["--scope", "events:reed"][..], "did you mean `events:read`?"),
        (&["--scope", "events"], "write `resource:action`"),
        (&[], "--scope <PERMISSION>"),
        (&["--scope", "*:read", "--limit", "per_user"], "counts users"),
        (&["--scope", "*:read", "--limit", "none"], "the policies have no limit `none`"),
        (&["--scope", "*:read", "--address", "10.1.2.3/8"], "write the network as `10.0.0.0/8`"),
        (&["--scope", "*:read", "--expires", "0d"], "is no time"),
    ] {
        let called = keys(draft.dir(), &[&base[..], more].concat());
        assert_eq!((called.code, called.out.as_str()), (2, ""), "{more:?}: {}", called.err);
        assert!(called.err.contains(wanted), "{more:?}: {}", called.err);
    }
    let unknown = ["create", "--organization", "ghost", "--name", "ci", "--scope", "*:read"];
    let called = keys(draft.dir(), &unknown);
    assert!(called.err.contains("the directory has no organization `ghost`"), "{}", called.err);
    let none = call(&[&["keys"], &base[..], &["--scope", "*:read", "-c", "gateway.yaml"]].concat());
    assert_eq!(none.code, 2);
    assert!(none.err.contains("state `identity.machines`"), "{}", none.err);
}
