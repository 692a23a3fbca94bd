//! `tollgate shadow report`, on an audit log as nodes write it.

use crate::golden;
use crate::tool::{Called, call_in};

/// One line of the log.
fn line(second: u32, caller: &str, organization: &str, rest: &str) -> String {
    format!(
        "{{\"id\":\"00000000-0000-0000-0000-0000000000{second:02}\",\
         \"time\":\"2026-11-21T10:00:{second:02}.000000Z\",\"node\":\"n1\",\"seq\":{second},\
         \"request_id\":\"request-{second}\",{caller}{organization}\"method\":\"GET\",\
         \"path\":\"/rest/v1/events\",\"route\":\"rest\",{rest},\"duration_micros\":90}}\n"
    )
}

fn log() -> String {
    let acme = "\"organization\":\"a0000000-0000-4000-8000-000000000001\",";
    let globex = "\"organization\":\"b0000000-0000-4000-8000-000000000002\",";
    let user = |name: &str| format!("\"principal\":\"user\",\"user\":\"{name}\",");
    let limit = "{\"policy\":\"limit\",\"name\":\"tight\",\"source\":\"policy.yaml:9\",\
                 \"stage\":\"limit\",\"code\":\"rate_limited\",\"status\":429}";
    let plan = "{\"policy\":\"condition\",\"name\":\"route rest\",\"source\":\"policy.yaml:20\",\
                \"stage\":\"authorize\",\"code\":\"plan_required\",\"status\":403}";
    let allowed =
        |would: &str| format!("\"decision\":\"allowed\",\"status\":200,\"would\":[{would}]");
    [
        line(1, &user("ann"), acme, &allowed(limit)),
        line(2, &user("ann"), acme, &allowed(&format!("{plan},{limit}"))),
        line(3, &user("bob"), acme, &allowed(limit)),
        line(4, "\"principal\":\"machine\",\"api_key\":\"import\",", globex, &allowed(limit)),
        line(5, "\"principal\":\"anonymous\",", "", &allowed(limit)),
        line(6, &user("bob"), acme, "\"decision\":\"allowed\",\"status\":200"),
        line(
            7,
            &user("cid"),
            acme,
            &format!("\"decision\":\"refused\",\"status\":502,\"code\":\"bad_gateway\",\"would\":[{plan}]"),
        ),
        "{\"id\":\"x\",\"event\":\"quota_threshold\"}\n".to_owned(),
        "{\"id\":\"cut off by a cra".to_owned(),
    ]
    .concat()
}

fn report(arguments: &[&str]) -> Called {
    let place = crate::support::place::TempDir::new();
    place.write("audit.jsonl", &log());
    call_in(place.path(), &[&["shadow", "report", "audit.jsonl"], arguments].concat(), "")
}

#[test]
fn it_says_how_many_who_and_which_by_policy_and_organization() {
    let told = report(&[]);
    assert_eq!((told.code, told.err.as_str()), (0, ""));
    golden::compare("shadow-report", &told.out);
    golden::compare("shadow-report-json", &report(&["--json"]).out);
}

#[test]
fn what_would_not_have_refused_is_told_by_what_it_would_have_done() {
    let acme = "\"organization\":\"a0000000-0000-4000-8000-000000000001\",";
    let ann = "\"principal\":\"user\",\"user\":\"ann\",";
    let table = |rest: &str| {
        format!(
            "{{\"policy\":\"table\",\"name\":\"visits\",\"source\":\"policy.yaml:31\",\
             \"stage\":\"isolate\",{rest}}}"
        )
    };
    let confined = table("\"code\":\"confined\",\"effect\":\"confine\"");
    let escape = table("\"code\":\"rest_tenant_escape\",\"status\":403");
    let event = "{\"policy\":\"rule\",\"name\":\"scans\",\"source\":\"rules.yaml:2\",\
                 \"stage\":\"request_rules\",\"code\":\"scan\",\"effect\":\"event\",\
                 \"severity\":\"low\"}";
    let all = [confined.clone(), format!("{event},{confined}"), confined, escape];
    let lines = all.iter().zip(1..).map(|(would, second)| {
        let rest = format!("\"decision\":\"allowed\",\"status\":200,\"would\":[{would}]");
        line(second, ann, acme, &rest)
    });
    let lines: String = lines.collect();
    let place = crate::support::place::TempDir::new();
    let told = call_in(place.path(), &["shadow", "report", "-"], &lines);
    assert_eq!((told.code, told.err.as_str()), (0, ""));
    golden::compare("shadow-report-effects", &told.out);
}

#[test]
fn it_is_about_a_time_a_policy_or_an_organization_where_one_is_stated() {
    let of = |arguments: &[&str]| -> Vec<(String, u64)> {
        let told = report(&[arguments, &["--json"]].concat()).json();
        let policies = told["policies"].as_array().unwrap().iter();
        policies
            .map(|of| (of["name"].as_str().unwrap().to_owned(), of["requests"].as_u64().unwrap()))
            .collect()
    };
    let named = |name: &str, requests| (name.to_owned(), requests);
    let window = ["--since", "2026-11-21T10:00:02Z", "--until", "2026-11-21T10:00:04Z"];
    assert_eq!(of(&window), [named("tight", 2), named("route rest", 1)]);
    assert_eq!(of(&["--policy", "route rest"]), [named("route rest", 1)]);
    let globex = ["--organization", "b0000000-0000-4000-8000-000000000002"];
    assert_eq!(of(&globex), [named("tight", 1)]);
}

#[test]
fn a_log_that_is_not_there_is_an_error_and_one_without_would_haves_is_told() {
    let place = crate::support::place::TempDir::new();
    let missing = call_in(place.path(), &["shadow", "report", "nothing.jsonl"], "");
    assert_eq!(missing.code, 2);
    assert!(missing.err.contains("cannot open the audit log `nothing.jsonl`"), "{}", missing.err);
    let empty = call_in(place.path(), &["shadow", "report", "-"], "");
    assert_eq!(empty.out, "0 records read\nno policy in shadow would have changed any of them\n");
}
