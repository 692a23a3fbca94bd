//! What a configuration has to pass before it comes into force, and going back to one that was.

use std::fs;

use serde_json::Value;

use crate::golden;
use crate::operations::{POLICY, draft, gateway_yaml};
use crate::support::gateway::{Draft, Gateway};
use crate::support::process::Signal;
use crate::support::{eventually, http};
use crate::tool::{Called, call_in};

const CASES: &str = "\
config: another.yaml
in: acme
cases:
  - name: viewers do not write
    as: { role: viewer }
    request: POST /rest/v1/events
    expect: permission_denied
  - name: what is internal is closed
    as: nobody
    request: GET /internal
    expect: route_closed
";

fn tested(policy: &str, more: &str) -> Draft {
    let draft = draft(policy, &format!("tests: {{ files: ['*.test.yaml']{more} }}\n"));
    draft.write("some.test.yaml", CASES);
    draft
}

/// The policy, in which viewers may write.
fn open() -> String {
    POLICY.replace("permissions: [\"*:read\"]", "permissions: [\"*:read\", \"*:write\"]")
}

async fn version(gateway: &Gateway) -> String {
    let told = http::get(gateway.admin(), "/version", &[]).await.unwrap().json();
    told["snapshot"].as_str().unwrap().to_owned()
}

async fn other_version(gateway: &Gateway, than: &str) -> String {
    eventually("another version", async || {
        let now = version(gateway).await;
        (now != than).then_some(now)
    })
    .await
}

async fn count(gateway: &Gateway, name: &str) -> u64 {
    let text = http::get(gateway.admin(), "/metrics", &[]).await.unwrap().text();
    let name = format!("{name} ");
    text.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_policy_whose_tests_fail_does_not_start_and_says_which_case_where() {
    let mut gateway = tested(&open(), "").launch();
    assert_eq!(gateway.ended().await.code(), Some(2));
    let log = gateway.log();
    for part in ["some.test.yaml:4: viewers do not write", "expected refused with", "policy.yaml:"]
    {
        assert!(log.contains(part), "{part}: {log}");
    }
}

#[tokio::test]
async fn tests_that_are_for_people_alone_keep_nothing_from_starting() {
    let gateway = tested(&open(), ", run: never").start().await;
    assert_eq!(count(&gateway, "tollgate_reloads_refused_by_tests_total").await, 0);
}

#[tokio::test]
async fn a_reload_whose_tests_fail_is_not_published_until_the_policy_or_the_test_is_right() {
    let gateway = tested(POLICY, "").start().await;
    let first = version(&gateway).await;
    gateway.write("policy.yaml", &open());
    eventually("the refused reload", async || {
        (count(&gateway, "tollgate_reloads_refused_by_tests_total").await == 1).then_some(())
    })
    .await;
    assert_eq!(version(&gateway).await, first);
    let failed = "tollgate_reloads_total{outcome=\"failed\"}";
    assert_eq!(count(&gateway, failed).await, 1);
    let log = eventually("the case in the log", async || {
        let log = gateway.log();
        log.contains("viewers do not write").then_some(log)
    })
    .await;
    assert!(log.contains("some.test.yaml:4") && log.contains("its tests do not pass"), "{log}");
    assert!(!log.contains("what is internal is closed"), "{log}");
    // The test was wrong.
    gateway.write("some.test.yaml", &CASES.replace("expect: permission_denied", "expect: allow"));
    other_version(&gateway, &first).await;
}

/// Keeps versions in a directory, and is reached over a socket.
fn keeping(policy: &str) -> Draft {
    let draft = draft(policy, "");
    let more = "snapshots: { directory: kept, socket: control.sock }\n";
    let yaml = gateway_yaml(&draft, more)
        .replace("hs256: a-secret-of-the-tests-that-nobody-may-see", "hs256: '${file:secret}'");
    draft.write("gateway.yaml", &yaml);
    draft.write("secret", "a-secret-of-the-tests-that-nobody-may-see\n");
    draft
}

fn snapshots(gateway: &Gateway, arguments: &[&str]) -> Called {
    call_in(gateway.dir(), &[&["snapshots"], arguments, &["-c", "gateway.yaml"]].concat(), "")
}

async fn status(gateway: &Gateway) -> u16 {
    http::get(gateway.listen(), "/internal", &[]).await.unwrap().status
}

/// A changed policy is in force; the version before it, and it.
async fn changed(gateway: &Gateway) -> [String; 2] {
    let first = version(gateway).await;
    gateway.write("policy.yaml", &POLICY.replace("path: /internal", "path: /elsewhere"));
    let second = other_version(gateway, &first).await;
    // It is kept once it is in force.
    eventually("both versions to be kept", async || {
        snapshots(gateway, &["list"]).out.contains(&second).then_some(())
    })
    .await;
    [first, second]
}

#[tokio::test]
async fn versions_are_listed_compared_and_gone_back_to_until_a_file_changes() {
    let mut gateway = keeping(POLICY).start().await;
    let [first, second] = changed(&gateway).await;
    assert_eq!(status(&gateway).await, 404);

    let listed = snapshots(&gateway, &["list", "--json"]).json();
    let all = listed["snapshots"].as_array().unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!((&all[0]["version"], &all[0]["in_force"]), (&second.clone().into(), &true.into()));
    assert_eq!((&all[0]["reason"], &all[1]["reason"]), (&"a file changed".into(), &"start".into()));

    let diff = snapshots(&gateway, &["diff", &first[..6]]);
    assert_eq!(diff.code, 0, "{}", diff.err);
    let place = format!("{}/", gateway.dir().display());
    let said = diff.out.replace(&first, "FIRST").replace(&second, "SECOND").replace(&place, "");
    golden::compare("snapshots-diff", &said);
    let shown = snapshots(&gateway, &["show", &first, "--file", "policy.yaml"]);
    assert_eq!(shown.out, POLICY, "{}", shown.err);

    let back = snapshots(&gateway, &["rollback"]);
    assert_eq!(back.code, 0, "{}", back.err);
    assert!(back.out.starts_with(&format!("{first} is in force")), "{}", back.out);
    assert_eq!(version(&gateway).await, first);
    assert_eq!(status(&gateway).await, 403);
    assert_eq!(count(&gateway, "tollgate_rollbacks_total").await, 1);
    eventually("the word of it", async || gateway.log().contains("rolled back").then_some(()))
        .await;
    let listed = snapshots(&gateway, &["list"]).out;
    assert!(
        listed.contains("gone back to") && listed.contains("by tollgate snapshots"),
        "{listed}"
    );

    for (version, why) in
        [(Some("zz"), "no version"), (Some(&first[..]), "already"), (None, "older")]
    {
        let arguments: Vec<&str> = ["rollback"].into_iter().chain(version).collect();
        let refused = snapshots(&gateway, &arguments);
        assert_eq!(refused.code, 1);
        assert!(refused.err.contains(why), "{}", refused.err);
    }

    gateway.write("policy.yaml", &POLICY.replace("path: /internal", "path: /nowhere"));
    other_version(&gateway, &first).await;
    assert_eq!(status(&gateway).await, 404);

    // They outlive the process, and no secret is among them.
    gateway.restart().await;
    let listed = snapshots(&gateway, &["list"]).out;
    assert!(listed.contains(&first) && listed.contains(&second), "{listed}");
    for entry in fs::read_dir(gateway.dir().join("kept")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(
            text.contains("${file:secret}") && !text.contains("that-nobody-may-see\\n"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_signal_goes_back_by_one_and_sighup_takes_the_files_again() {
    let gateway = keeping(POLICY).start().await;
    let [first, second] = changed(&gateway).await;
    gateway.signal(Signal::Usr1);
    assert_eq!(other_version(&gateway, &second).await, first);
    // There is nothing older.
    gateway.signal(Signal::Usr1);
    eventually("the word of it", async || gateway.log().contains("not rolled back").then_some(()))
        .await;
    assert_eq!(version(&gateway).await, first);
    gateway.signal(Signal::Hup);
    assert_eq!(other_version(&gateway, &first).await, second);
}

#[test]
fn without_a_socket_it_is_said_how_to_have_one() {
    let draft = draft(POLICY, "");
    let called = call_in(draft.dir(), &["snapshots", "list", "-c", "gateway.yaml"], "");
    assert_eq!(called.code, 2);
    assert!(called.err.contains("`snapshots.socket`"), "{}", called.err);
    let called = call_in(draft.dir(), &["snapshots", "list", "--socket", "nowhere.sock"], "");
    assert_eq!(called.code, 1);
    assert!(called.err.contains("nowhere.sock"), "{}", called.err);
}

/// What the gateway's audit log says of policies.
fn policy_events(gateway: &Gateway) -> Vec<Value> {
    let text = fs::read_to_string(gateway.dir().join("audit.jsonl")).unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok());
    lines.filter(|line: &Value| line["event"] == "policy").collect()
}

/// The same, once there are so many.
async fn so_many_events(gateway: &Gateway, count: usize) -> Vec<Value> {
    eventually("the events of policies", async || {
        let events = policy_events(gateway);
        (events.len() >= count).then_some(events)
    })
    .await
}

/// What a user is answered on the way to files, behind which there is nothing: 502 or 503 for members.
async fn asks(gateway: &Gateway, user: &str) -> u16 {
    let token = call_in(gateway.dir(), &["token", "-c", "gateway.yaml", "--user", user], "");
    let bearer = format!("Bearer {}", token.out.trim_end());
    let headers = [("authorization", bearer.as_str())];
    http::get(gateway.listen(), "/files/a", &headers).await.unwrap().status
}

const DIRECTORY: &str = include_str!("world/directory.yaml");

#[tokio::test]
async fn who_was_taken_out_stays_out_whatever_policy_comes_back() {
    let mut gateway = keeping(POLICY).start().await;
    assert!(asks(&gateway, "bob").await >= 502);
    let [first, second] = changed(&gateway).await;
    gateway.write("directory.yaml", &DIRECTORY.replace("user: bob", "user: erin"));
    let third = other_version(&gateway, &second).await;
    assert_eq!(asks(&gateway, "bob").await, 403);
    eventually("all versions to be kept", async || {
        snapshots(&gateway, &["list"]).out.contains(&third).then_some(())
    })
    .await;

    // The policies are the first ones, the directory is that of today.
    let back = snapshots(&gateway, &["rollback", &first]);
    assert_eq!(back.code, 0, "{}", back.err);
    let said = format!("{first} is in force, with the directory of {third}");
    assert!(back.out.starts_with(&said), "{}", back.out);
    assert_eq!(version(&gateway).await, format!("{first}+{third}"));
    assert_eq!(status(&gateway).await, 403);
    assert_eq!((asks(&gateway, "bob").await, asks(&gateway, "erin").await >= 502), (403, true));
    let listed = snapshots(&gateway, &["list"]).out;
    let line = listed.lines().find(|line| line.starts_with('*')).unwrap();
    assert!(line.contains(&first) && line.contains(&format!("directory of {third}")), "{listed}");

    // It is as it was only if somebody says so.
    let whole = snapshots(&gateway, &["rollback", &first, "--with-directory"]);
    assert!(whole.out.starts_with(&format!("{first} is in force, until")), "{}", whole.out);
    assert_eq!(version(&gateway).await, first);
    assert!(asks(&gateway, "bob").await >= 502);

    // And in the same way after a restart, from what is on the disk.
    gateway.restart().await;
    assert_eq!(version(&gateway).await, third);
    let back = snapshots(&gateway, &["rollback", &first]);
    assert!(back.out.starts_with(&said), "{}{}", back.out, back.err);
    assert_eq!((asks(&gateway, "bob").await, status(&gateway).await), (403, 403));
}

#[tokio::test]
async fn a_version_under_which_the_directory_does_not_fit_is_refused_with_the_line() {
    let draft = keeping(POLICY);
    let yaml = fs::read_to_string(draft.dir().join("gateway.yaml")).unwrap();
    draft.write("gateway.yaml", &format!("{yaml}audit: {{ file: audit.jsonl }}\n"));
    let gateway = draft.start().await;
    let first = version(&gateway).await;
    let with_manager = POLICY.replace("roles:\n", "roles:\n  manager: { inherits: [viewer] }\n");
    gateway.write("policy.yaml", &with_manager);
    let second = other_version(&gateway, &first).await;
    gateway.write("directory.yaml", &DIRECTORY.replace("bob, role: viewer", "bob, role: manager"));
    let third = other_version(&gateway, &second).await;
    so_many_events(&gateway, 2).await;

    let refused = snapshots(&gateway, &["rollback", &first]);
    assert_eq!(refused.code, 1, "{}", refused.out);
    for part in ["unknown role `manager`", "directory.yaml:10:", "`--with-directory`", &third] {
        assert!(refused.err.contains(part), "{part}: {}", refused.err);
    }
    assert_eq!(version(&gateway).await, third);
    assert!(asks(&gateway, "bob").await >= 502);
    // A signal cannot say more: the same.
    let back = snapshots(&gateway, &["rollback", &second]);
    assert_eq!(back.code, 0, "{}", back.err);
    gateway.signal(Signal::Usr1);
    eventually("the word of it", async || gateway.log().contains("not rolled back").then_some(()))
        .await;
    assert_eq!(version(&gateway).await, format!("{second}+{third}"));
    let whole = snapshots(&gateway, &["rollback", &first, "--with-directory"]);
    assert_eq!(whole.code, 0, "{}", whole.err);
    gateway.write("policy.yaml", "routes: 7\n");

    let events = so_many_events(&gateway, 7).await;
    let told = |event: &Value| -> [String; 5] {
        ["action", "by", "outcome", "from", "to"]
            .map(|key| event[key].as_str().unwrap_or_default().to_owned())
    };
    let both = format!("{second}+{third}");
    let wanted = [
        ["reload", "a file changed", "published", &first, &second],
        ["reload", "a file changed", "published", &second, &third],
        ["rollback", "tollgate snapshots", "refused", &third, &first],
        ["rollback", "tollgate snapshots", "published", &third, &both],
        ["rollback", "SIGUSR1", "refused", &both, &first],
        ["rollback", "tollgate snapshots", "published", &both, &first],
        ["reload", "a file changed", "refused", &first, ""],
    ];
    assert_eq!(
        events.iter().map(told).collect::<Vec<_>>(),
        wanted.map(|line| line.map(str::to_owned))
    );
    assert!(events[2]["uid"].is_u64() && events[4]["uid"].is_null(), "{events:?}");
    let why = |event: &Value| event["why"].as_str().unwrap_or_default().to_owned();
    assert!(why(&events[2]).contains("does not fit"), "{}", why(&events[2]));
    assert!(why(&events[6]).contains("policy.yaml:1: "), "{}", why(&events[6]));
}

#[tokio::test]
async fn a_changed_test_of_the_policy_in_force_is_run_and_unpublishes_nothing() {
    let gateway = tested(POLICY, "").start().await;
    let first = version(&gateway).await;
    let failing = |wanted| {
        let gateway = &gateway;
        eventually("the word on the tests", async move || {
            (count(gateway, "tollgate_policy_tests_failing").await == wanted).then_some(())
        })
    };
    assert_eq!(count(&gateway, "tollgate_policy_tests_failing").await, 0);
    gateway.write("some.test.yaml", &CASES.replace("expect: permission_denied", "expect: allow"));
    failing(1).await;
    assert_eq!(version(&gateway).await, first);
    let log = gateway.log();
    assert!(log.contains("do not pass any more") && log.contains("some.test.yaml:4"), "{log}");
    assert_eq!(count(&gateway, "tollgate_reloads_refused_by_tests_total").await, 0);
    gateway.write("some.test.yaml", CASES);
    failing(0).await;
    assert_eq!(version(&gateway).await, first);
}

#[tokio::test]
async fn only_operators_are_told_which_version_decided() {
    let secret = "what-operators-show-and-nobody-else-has";
    let more = format!("edge: {{ tell_version: {{ secret: {secret} }} }}\n");
    let gateway = draft(POLICY, &more).start().await;
    let version = version(&gateway).await;
    // A refusal, an answer that says where nothing is, and one of nobody known.
    for path in ["/internal", "/nowhere", "/files/a"] {
        let told = async |fields: &[(&str, &str)]| {
            let answer = http::get(gateway.listen(), path, fields).await.unwrap();
            answer.header("x-tollgate-policy").map(str::to_owned)
        };
        assert_eq!(told(&[("X-Tollgate-Operator", secret)]).await, Some(version.clone()), "{path}");
        assert_eq!(told(&[]).await, None, "{path}");
        assert_eq!(told(&[("X-Tollgate-Operator", "wrong")]).await, None, "{path}");
        let twice = [("X-Tollgate-Operator", secret), ("X-Tollgate-Operator", "wrong")];
        assert_eq!(told(&twice).await, None, "{path}");
    }
}
