//! supabase-js, unchanged, in front of a real PostgREST: an application sees and changes its
//! organization's rows, and nothing else of the database moves.

use serde_json::{Value, json};

use crate::support::fixture::{ACME, ALICE, BOB, Contents, GLOBEX, Org};
use crate::support::node::node;
use crate::support::stack::{Options, PUBLISHABLE, Stack, token};

#[tokio::test]
async fn supabase_js_works_on_the_rows_of_its_organization_and_reaches_no_other() {
    let stack = Stack::start(&Options::default()).await;
    let alice = json!({ "ownProject": 1, "ownEvent": 3, "otherProject": 3, "otherEvent": 6 });
    acts_within(&stack, ALICE, ACME, GLOBEX, &alice).await;
    let bob = json!({ "ownProject": 3, "ownEvent": 6, "otherProject": 1, "otherEvent": 1 });
    acts_within(&stack, BOB, GLOBEX, ACME, &bob).await;
}

async fn acts_within(stack: &Stack, user: &str, own: Org, other: Org, ids: &Value) {
    let before = Contents::of(&stack.postgres).await;
    let (url, bearer, ids_text) = (stack.gateway.url(), token(user), ids.to_string());
    let env = [
        ("URL", url.as_str()),
        ("KEY", PUBLISHABLE),
        ("TOKEN", &bearer),
        ("OTHER_ORG", other.id),
        ("MARK", own.mark),
        ("IDS", &ids_text),
    ];
    let steps = node("supabase-crud.mjs", &env).await;
    let after = Contents::of(&stack.postgres).await;

    let everything = steps.to_string();
    assert!(
        !everything.contains(other.mark),
        "{} leaked to {}: {everything}",
        other.slug,
        own.slug
    );
    assert_eq!(after.without(own), before.without(own), "rows outside {} changed", own.slug);

    works(&steps, own, ids, &after);
    is_refused(&steps);
    reaches_nothing(&steps);
}

/// What the application may do has its effect, in the answer and in the database.
fn works(steps: &Value, own: Org, ids: &Value, after: &Contents) {
    let data = |step: &str| &steps[step]["data"];
    for step in
        ["select", "columns", "count", "global", "insert", "insertMany", "update", "delete", "csv"]
    {
        assert!(steps[step]["error"].is_null(), "{step}: {}", steps[step]);
    }
    assert_eq!(data("select").as_array().map(Vec::len), Some(3), "{}", data("select"));
    assert_eq!(data("columns").as_array().map(Vec::len), Some(1), "{}", data("columns"));
    assert_eq!(steps["count"]["count"], 3);
    assert_eq!(data("global").as_array().map(Vec::len), Some(3));
    assert_eq!(data("insert")["organization_id"], own.id);
    assert_eq!(data("update")[0], json!({ "id": ids["ownProject"], "status": "changed" }));
    assert_eq!(data("delete")[0]["id"], ids["ownEvent"]);
    let csv = data("csv").as_str().unwrap_or_default();
    assert_eq!(csv.lines().count(), 3, "a head and two rows: {csv}");

    let projects = after.rows("projects", own);
    let named = |suffix: &str| {
        let name = format!("{}-{suffix}", own.mark);
        projects.iter().filter(|row| row["name"] == name.as_str()).count()
    };
    assert_eq!((named("made"), named("a"), named("b")), (1, 1, 1), "{projects:?}");
    assert_eq!((named("stray"), named("taken")), (0, 0), "{projects:?}");
    let changed = projects.iter().find(|row| row["id"] == ids["ownProject"]);
    assert_eq!(changed.map(|row| &row["status"]), Some(&json!("changed")));
    let events = after.rows("events", own);
    assert!(events.iter().all(|row| row["id"] != ids["ownEvent"] && row["capacity"] == 77));
    assert_eq!(events.len(), 2);
}

/// What the gateway cannot prove to stay inside the organization is refused with a code.
fn is_refused(steps: &Value) {
    let refused =
        ["insertOther", "giveAway", "upsertOther", "embed", "rpc", "searchRpc", "view", "secrets"];
    for step in refused {
        let error = &steps[step]["error"];
        let code = error["code"].as_str().unwrap_or_default();
        assert!(!code.is_empty() && steps[step]["data"].is_null(), "{step}: {}", steps[step]);
        let status = steps[step]["status"].as_u64().unwrap_or_default();
        assert!((400..500).contains(&status), "{step}: {}", steps[step]);
    }
}

/// What names the other organization's rows finds nothing.
fn reaches_nothing(steps: &Value) {
    for step in ["selectOther", "selectOtherById", "updateOther", "deleteOther"] {
        assert_eq!(steps[step]["data"], json!([]), "{step}: {}", steps[step]);
    }
    let updated = steps["updateAll"]["data"].as_array().map(Vec::len);
    assert_eq!(updated, Some(2), "{}", steps["updateAll"]);
}
