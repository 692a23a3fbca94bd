//! `tollgate token`.

use crate::golden;
use crate::tool::{call, call_in, world};

#[test]
fn a_token_is_accepted_by_the_gateway_it_was_made_for() {
    let token = call(&["token", "-c", "gateway.yaml", "--user", "alice"]);
    assert_eq!(token.code, 0, "{}", token.err);
    let token = token.out.trim_end();
    let url = "/rest/v1/events";
    let explained =
        call(&["explain", "--json", "-c", "gateway.yaml", "GET", url, "--token", token]);
    let report = explained.json();
    assert_eq!(report["verdict"], "forwarded", "{report}");
    assert_eq!(report["caller"]["user"], "alice");
}

#[test]
fn a_token_that_has_run_out_is_refused() {
    let claims = r#"{"sub":"alice","exp":1000000000}"#;
    let token = call(&["token", "-c", "gateway.yaml", "--claims", claims]);
    let explained = call(&[
        "explain",
        "--json",
        "-c",
        "gateway.yaml",
        "GET",
        "/rest/v1/events",
        "--token",
        token.out.trim_end(),
    ]);
    let report = explained.json();
    assert_eq!(report["refusal"]["code"], "token_expired", "{report}");
    assert_eq!(report["answer"]["status"], 401);
}

#[test]
fn an_issuer_that_has_public_keys_only_is_politely_declined() {
    let called = call(&["token", "-c", "gateway.yaml", "--user", "alice", "--issuer", "elsewhere"]);
    assert_eq!((called.code, called.out.as_str()), (2, ""));
    golden::compare("token-public-keys", &called.err);
}

#[test]
fn a_secret_of_ones_own_signs_in_the_name_of_an_issuer() {
    let place = crate::support::place::TempDir::new();
    let file = place.write("key", "a-secret-of-the-tests-that-nobody-may-see\n");
    let file = file.to_str().unwrap();
    let arguments = ["token", "-c", "gateway.yaml", "--user", "alice", "--key-file", file];
    let token = call(&arguments);
    assert_eq!(token.code, 0, "{}", token.err);
    let token = token.out.trim_end();
    let explained =
        call(&["explain", "--json", "-c", "gateway.yaml", "GET", "/files/a", "--token", token]);
    assert_eq!(explained.json()["verdict"], "forwarded");
}

#[test]
fn what_is_wrong_with_a_wish_is_said_and_exits_with_2() {
    let cases: [(&[&str], &str); 5] = [
        (&[], "the following required arguments were not provided"),
        (&["--claims", "[1]"], "--claims must be a JSON object"),
        (&["--claims", "{"], "--claims is not JSON"),
        (&["--user", "a", "--issuer", "nobody"], "no issuer `nobody`; its issuers: `tests`"),
        (&["--user", "a", "--lifetime", "soon"], "`soon` is no time: write `90s`"),
    ];
    for (wish, said) in cases {
        let arguments = [&["token", "-c", "gateway.yaml"], wish].concat();
        let called = call_in(&world(), &arguments, "");
        assert_eq!(called.code, 2, "{arguments:?}");
        assert!(called.err.contains(said), "{arguments:?}: {}", called.err);
    }
}
