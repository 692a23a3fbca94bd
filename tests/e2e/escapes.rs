//! Attempts to reach into another organization, as those who watch over the gateway see them.

use serde_json::{Value, json};

use crate::support::fixture::{ACME, ALICE, Contents, GLOBEX};
use crate::support::http;
use crate::support::stack::{Options, Stack, token};

#[tokio::test]
async fn an_escape_in_a_body_is_told_to_metrics_log_and_audit_and_nothing_is_written() {
    let mut stack = Stack::start(&Options::default()).await;
    let before = Contents::of(&stack.postgres).await;
    let alice = token(ALICE);
    let rows = json!([
        { "title": "a-title-nobody-may-log" },
        { "title": "another-one", "organization_id": GLOBEX.id },
    ]);
    let answer = stack.send("POST", "/rest/v1/events", &alice, &[], &rows).await;
    assert_eq!((answer.status, &answer.json()["code"]), (403, &json!("rest_tenant_escape")));
    let told = answer.text();
    assert!(!told.contains("events") && !told.contains(GLOBEX.id), "{told}");
    // What only filters by another organization is confined, and is no event.
    let filtered = format!("/rest/v1/events?organization_id=eq.{}", GLOBEX.id);
    assert_eq!(stack.get(&filtered, &alice).await.json(), json!([]));
    assert_eq!(Contents::of(&stack.postgres).await, before);

    let metrics = http::get(stack.gateway.admin(), "/metrics", &[]).await.unwrap().text();
    for (resource, place, count) in
        [("table", "body", 1), ("table", "query", 0), ("function", "body", 0)]
    {
        let line = format!(
            "tollgate_tenant_escapes_total{{place=\"{place}\",resource=\"{resource}\"}} {count}"
        );
        assert!(metrics.contains(&line), "{line}");
    }

    assert!(stack.gateway.terminate().await.success(), "{}", stack.gateway.log());
    let event = json!({
        "event": "tenant_escape", "severity": "high", "stage": "upstream", "place": "body",
        "table": "events", "column": "organization_id", "named": GLOBEX.id,
    });
    let audit = std::fs::read_to_string(stack.gateway.dir().join("audit.jsonl")).unwrap();
    let records: Vec<Value> =
        audit.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let events: Vec<&Value> =
        records.iter().filter(|record| record.get("security").is_some()).collect();
    let [record] = events.as_slice() else { panic!("{audit}") };
    assert_eq!(record["security"], event);
    assert_eq!((&record["user"], &record["organization"]), (&json!(ALICE), &json!(ACME.id)));
    assert_eq!((&record["decision"], &record["status"]), (&json!("refused"), &json!(403)));

    let log = stack.gateway.log();
    let warning = log.lines().find(|line| line.contains("tollgate::security"));
    let warning = warning.unwrap_or_else(|| panic!("{log}"));
    for part in ["WARN", "tenant_escape", "organization_id", GLOBEX.id, ACME.id, ALICE] {
        assert!(warning.contains(part), "{part}: {warning}");
    }
    for data in ["a-title-nobody-may-log", "another-one", alice.as_str()] {
        assert!(!log.contains(data) && !audit.contains(data), "{data}");
    }
}
