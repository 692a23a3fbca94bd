//! The reports of `tollgate test`: for people, for CI servers, coverage, and `--watch`.

use std::collections::BTreeMap;
use std::fs;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use crate::expectations::place;
use crate::golden;
use crate::support::eventually;
use crate::support::place::TempDir;
use crate::support::process::{Process, Signal, Spec};
use crate::tool::{Called, call_in};

/// Three that pass and three that do not, among names that break formats.
const CASES: &str = "\
config: gateway.yaml
in: acme
cases:
  - name: a viewer reads
    as: { role: viewer }
    request: GET /rest/v1/events
    expect: allow
  - name: 'a target & its <parameters> # TODO'
    as: { role: viewer }
    request: GET /rest/v1/events?select=id&order=id
    expect: { target: /events?select=title&order=id }
  - name: what is written
    as: { role: member }
    request: { line: POST /rest/v1/events, body: '{\"title\":\"kickoff\"}' }
    expect: { body: '{\"title\":\"kickoff\",\"organization_id\":\"b\"}' }
  - name: a quota of \"quotes\"
    as: { role: viewer }
    request: GET /files/a
    expect: { charges: { strict: 2, per_user: 1 } }
  - name: nobody is let in
    as: nobody
    request: GET /rest/v1/events
    expect: allow
  - name: the last is fine
    as: { user: alice }
    request: GET /rest/v1/events?select=id,tickets(id)
    expect: allow
";

fn run(arguments: &[&str]) -> Called {
    run_in(&filled(), arguments)
}

fn filled() -> TempDir {
    let place = place();
    place.write("a.test.yaml", CASES);
    place.write("b.test.yaml", "config: gateway.yaml\ncases: 7\n");
    place
}

fn run_in(place: &TempDir, arguments: &[&str]) -> Called {
    call_in(place.path(), &[&["test", "a.test.yaml", "b.test.yaml"], arguments].concat(), "")
}

#[test]
fn people_see_what_differs_line_by_line_and_where_it_was_decided() {
    let called = run(&[]);
    assert_eq!((called.code, called.err.as_str()), (2, ""));
    // A pipe is no terminal.
    assert!(!called.out.contains('\u{1b}'), "{}", called.out);
    golden::compare("test-text", &called.out);
}

/// The attributes of an element, as whoever reads XML gets them.
fn attributes(start: &BytesStart<'_>) -> BTreeMap<String, String> {
    let each = start.attributes().map(|attribute| {
        let attribute = attribute.unwrap();
        let value = quick_xml::escape::unescape(std::str::from_utf8(&attribute.value).unwrap());
        let name = String::from_utf8(attribute.key.as_ref().to_vec()).unwrap();
        (name, value.unwrap().into_owned())
    });
    each.collect()
}

#[test]
fn ci_servers_read_junit_back_with_every_case_and_every_number() {
    let called = run(&["--format", "junit"]);
    assert_eq!((called.code, called.err.as_str()), (2, ""));
    golden::compare("test-junit", &called.out);
    let mut reader = Reader::from_str(&called.out);
    reader.config_mut().check_end_names = true;
    let (mut open, mut cases, mut counts) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let event = reader.read_event().unwrap();
        let (start, empty) = match &event {
            Event::Eof => break,
            Event::End(_) => {
                open.pop();
                continue;
            }
            Event::Start(start) => (start, false),
            Event::Empty(start) => (start, true),
            _ => continue,
        };
        let name = String::from_utf8(start.name().as_ref().to_vec()).unwrap();
        let of = attributes(start);
        match name.as_str() {
            "testsuites" | "testsuite" => {
                let number = |key: &str| of[key].parse::<u32>().unwrap();
                counts.push((number("tests"), number("failures"), number("errors")));
            }
            "testcase" => cases.push((of["name"].clone(), "passed".to_owned())),
            "failure" | "error" => cases.last_mut().unwrap().1 = of["message"].clone(),
            other => panic!("{other}"),
        }
        if !empty {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
    assert_eq!(counts, [(7, 3, 1), (6, 3, 0), (1, 0, 1)]);
    let names: Vec<&str> = cases.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names[1], "a target & its <parameters> # TODO");
    assert_eq!(names[3], "a quota of \"quotes\"");
    let failed: Vec<bool> = cases.iter().map(|(_, state)| state != "passed").collect();
    assert_eq!(failed, [false, true, true, false, true, false, true]);
    assert!(cases[4].1.contains("expected sent on, got 401"), "{}", cases[4].1);
}

#[test]
fn tap_has_a_plan_a_point_for_each_case_and_a_reason_for_each_that_fails() {
    let called = run(&["--format", "tap", "--coverage"]);
    assert_eq!((called.code, called.err.as_str()), (2, ""));
    golden::compare("test-tap", &called.out);
    let mut lines = called.out.lines();
    assert_eq!(lines.next(), Some("TAP version 14"));
    assert_eq!(lines.next(), Some("1..7"));
    let points =
        called.out.lines().filter(|line| line.starts_with("ok ") || line.starts_with("not ok "));
    let numbers: Vec<String> = points
        .map(|line| line.trim_start_matches("not ").split(' ').nth(1).unwrap().to_owned())
        .collect();
    assert_eq!(numbers, ["1", "2", "3", "4", "5", "6", "7"]);
}

#[test]
fn coverage_names_what_no_case_reached_and_too_little_of_it_fails() {
    let place = filled();
    let called = call_in(place.path(), &["test", "a.test.yaml", "--coverage"], "");
    golden::compare("test-coverage", &called.out);
    let fine = CASES.replace("expect: { target: /events?select=title&order=id }", "expect: allow");
    let fine = fine.replace(
        "expect: { body: '{\"title\":\"kickoff\",\"organization_id\":\"b\"}' }",
        "expect: allow",
    );
    let fine = fine.replace(
        "as: nobody\n    request: GET /rest/v1/events\n    expect: allow",
        "as: nobody\n    request: GET /rest/v1/events\n    expect: no_credentials",
    );
    place.write("a.test.yaml", &fine);
    let least = |percent: &str| {
        call_in(place.path(), &["test", "a.test.yaml", "--min-coverage", percent], "")
    };
    let (few, many) = (least("10"), least("100"));
    assert_eq!((few.code, few.err.as_str()), (0, ""), "{}", few.out);
    assert_eq!(many.code, 2);
    assert!(many.err.contains("100% is asked for"), "{}", many.err);
    let report = call_in(place.path(), &["test", "a.test.yaml", "--coverage", "--json"], "").json();
    let missed = report["coverage"]["missed"].as_array().unwrap();
    assert!(
        missed.iter().any(|part| part["kind"] == "route" && part["name"] == "closed"),
        "{missed:?}"
    );
    let parts = report["coverage"]["parts"].as_u64().unwrap();
    assert_eq!(report["coverage"]["reached"].as_u64().unwrap() + missed.len() as u64, parts);
}

#[test]
fn a_filter_runs_the_cases_that_it_names_and_says_if_there_are_none() {
    let called = run(&["--filter", "is fine"]);
    assert!(
        called.out.starts_with("a.test.yaml: 1 passed\n")
            || called.out.contains("a.test.yaml: 1 passed\n"),
        "{}",
        called.out
    );
    let place = filled();
    let none = call_in(place.path(), &["test", "a.test.yaml", "--filter", "nowhere"], "");
    assert_eq!((none.code, none.out.as_str()), (2, ""));
    assert!(none.err.contains("no case has `nowhere` in its name"), "{}", none.err);
}

/// A command that watches, in that place.
fn watching(place: &TempDir, arguments: &[&str]) -> Process {
    Process::spawn(Spec {
        name: "tollgate",
        program: env!("CARGO_BIN_EXE_tollgate").into(),
        args: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
        env: Vec::new(),
        user: None,
        dir: place.path().to_owned(),
        log: place.path().join("out.log"),
        end: Signal::Kill,
    })
}

async fn says(place: &TempDir, times: usize, what: &str) {
    let log = place.path().join("out.log");
    eventually(what, async || {
        let said = fs::read_to_string(&log).unwrap_or_default();
        let rounds = said.matches("watching for changes").count();
        (rounds >= times && said.contains(what)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn watched_tests_run_again_with_a_change_of_the_policy_and_of_the_cases() {
    let place = place();
    place.write("a.test.yaml", "config: gateway.yaml\nin: acme\ncases:\n  - { name: a read, as: { role: viewer }, request: GET /rest/v1/events, expect: allow }\n");
    let _watching = watching(&place, &["test", "--watch", "a.test.yaml"]);
    says(&place, 1, "a.test.yaml: 1 passed\n").await;
    let policy = fs::read_to_string(place.path().join("policy.yaml")).unwrap();
    place.write("policy.yaml", &policy.replace("\"*:read\"", "venues:read"));
    says(&place, 2, "permission `events:read` is missing").await;
    // It goes on after a mistake.
    place.write("policy.yaml", &policy.replace("roles:", "rolse:"));
    says(&place, 3, "did you mean `roles`?").await;
    place.write("policy.yaml", &policy);
    let cases = fs::read_to_string(place.path().join("a.test.yaml")).unwrap();
    place.write("a.test.yaml", &format!("{cases}{}", cases.lines().last().unwrap()));
    says(&place, 4, "a.test.yaml: 2 passed\n").await;
}

#[tokio::test]
async fn a_watched_configuration_is_checked_again_until_it_is_right() {
    let place = place();
    let policy = fs::read_to_string(place.path().join("policy.yaml")).unwrap();
    place.write("policy.yaml", &policy.replace("inherits: [viewer]", "inherits: [ghost]"));
    let _watching = watching(&place, &["check", "--watch", "--config", "gateway.yaml"]);
    says(&place, 1, "`ghost`").await;
    place.write("policy.yaml", &policy);
    says(&place, 2, "gateway.yaml: ok").await;
}
