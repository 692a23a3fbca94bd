//! The help texts, in full.

use crate::golden;
use crate::tool::call;

#[test]
fn every_command_explains_itself_with_examples() {
    let commands = [
        "",
        "serve",
        "demo",
        "init",
        "sample",
        "check",
        "test",
        "explain",
        "token",
        "migrate",
        "catalog",
        "catalog introspect",
        "catalog check",
        "catalog rls",
        "roles",
        "roles matrix",
        "roles who-can",
        "diff",
        "replay",
        "shadow",
        "shadow report",
        "sessions",
        "sessions list",
        "sessions revoke",
        "limits",
        "limits show",
        "limits reset",
        "limits set",
        "logins",
        "logins show",
        "logins unlock",
        "keys",
        "keys create",
        "keys list",
        "keys rotate",
        "keys revoke",
        "snapshots",
        "usage",
        "fmt",
        "schema",
    ];
    for command in commands {
        let arguments: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let called = call(&arguments);
        assert_eq!(called.code, 0, "{}", called.err);
        assert!(called.out.contains("Examples:"), "{}", called.out);
        let name = if command.is_empty() { "tollgate" } else { command };
        golden::compare(&format!("help-{}", name.replace(' ', "-")), &called.out);
    }
}

#[test]
fn wrong_arguments_exit_with_2_and_say_what_there_is() {
    let called = call(&["serv"]);
    assert_eq!(called.code, 2);
    assert!(called.err.contains("a similar subcommand exists: 'serve'"), "{}", called.err);
    assert_eq!(call(&[]).code, 2);
    assert_eq!(call(&["explain", "GET"]).code, 2);
}

#[test]
fn what_is_counted_in_memory_is_out_of_reach_and_it_is_said_what_to_do() {
    for arguments in [&["show"][..], &["unlock", "--email", "ann@example.com"]] {
        let called = call(&[&["logins"], arguments, &["-c", "gateway.yaml"]].concat());
        assert_eq!(called.code, 2, "{}", called.err);
        assert!(called.err.contains("limits_store: { redis: … }"), "{}", called.err);
    }
    for arguments in [&["show"][..], &["reset", "--limit", "per_user"]] {
        let called = call(&[&["limits"], arguments, &["-c", "gateway.yaml"]].concat());
        assert_eq!(called.code, 2, "{}", called.err);
        assert!(called.err.contains("limits_store: { redis: … }"), "{}", called.err);
    }
    let all = call(&["limits", "reset", "-c", "gateway.yaml"]);
    assert!(all.code == 2 && all.err.contains("every bucket of everybody"), "{}", all.err);
    let both = ["logins", "show", "--email", "a@x", "--address", "192.0.2.1"];
    assert_eq!(call(&both).code, 2);
}

#[test]
fn the_version_is_that_of_the_package() {
    let called = call(&["--version"]);
    assert_eq!(called.out, concat!("tollgate ", env!("CARGO_PKG_VERSION"), "\n"));
}
