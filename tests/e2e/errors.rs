//! What PostgREST and PostgreSQL say of requests that fail, as it arrives at the client.

use serde_json::{Value, json};

use crate::support::fixture::{ALICE, GLOBEX};
use crate::support::stack::{Options, Stack, token};

#[tokio::test]
async fn errors_of_the_database_quote_no_row() {
    let stack = Stack::start(&Options::default()).await;
    let limit = "alter table events add constraint capacity_limit check (capacity < 1000); \
                 alter table events add constraint no_overlap unique (title);";
    stack.postgres.execute(crate::support::postgres::APP, limit).await;
    let alice = token(ALICE);
    let single = [("Accept", "application/vnd.pgrst.object+json")];
    let events = "/rest/v1/events";
    for (method, target, headers, body, status, code) in [
        // Of B's: its id, its title.
        ("POST", events, &[][..], json!({ "id": 4, "title": "x" }), 409, "23505"),
        ("POST", events, &[], json!({ "title": "GLOBEX-ONLY-kickoff" }), 409, "23505"),
        ("PATCH", "/rest/v1/events?id=eq.1", &[], json!({ "id": 4 }), 409, "23505"),
        ("POST", events, &[], json!({ "title": "x", "project_id": 99_999 }), 409, "23503"),
        ("POST", events, &[], json!({ "title": "x", "capacity": 5_000 }), 400, "23514"),
        ("PATCH", "/rest/v1/events?id=lt.9", &[], json!({ "title": null }), 400, "23502"),
        ("PATCH", "/rest/v1/events?id=lt.9", &[], json!({ "capacity": 5_000 }), 400, "23514"),
        ("POST", events, &[], json!({ "title": "x", "capacity": "many" }), 400, "22P02"),
        ("POST", events, &[], json!({ "title": "x", "starts_at": "2026-99-99" }), 400, "22008"),
        ("GET", "/rest/v1/events?id=eq.x", &[], Value::Null, 400, "22P02"),
        ("GET", "/rest/v1/events?title=match.(", &[], Value::Null, 400, "2201B"),
        ("GET", "/rest/v1/events?id=gt.1", &single, Value::Null, 406, "PGRST116"),
        ("GET", "/rest/v1/events?id=eq.4", &single, Value::Null, 406, "PGRST116"),
    ] {
        let answer = stack.send(method, target, &alice, headers, &body).await;
        let (text, said) = (answer.text(), answer.json());
        assert_eq!((answer.status, &said["code"]), (status, &json!(code)), "{target}: {text}");
        assert!(said["message"].is_string() && said["hint"].is_null(), "{target}: {text}");
        match code {
            // By this text supabase-js finds out that there was no row.
            "PGRST116" => {
                let details = said["details"].as_str().unwrap();
                let count = if target.contains("eq.4") { "0" } else { "2" };
                assert_eq!(details, format!("The result contains {count} rows"));
            }
            _ => assert!(said["details"].is_null(), "{target}: {text}"),
        }
        for mark in [GLOBEX.mark, GLOBEX.id, "ACME-ONLY"] {
            assert!(!text.contains(mark), "{target}: {text}");
        }
        assert_eq!(answer.header("content-location"), None, "{target}");
    }
}
