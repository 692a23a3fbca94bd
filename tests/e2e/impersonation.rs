//! Acting as somebody else: what the upstream is told, what the client sees, what is on record.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::fixture::{ACME, ALICE, BOB};
use crate::support::http;
use crate::support::keys::{Key, now_secs};
use crate::support::recorder::Recorder;
use crate::support::stack::{Options, USER_SECRET, claims, drafted, policy_yaml};

#[tokio::test]
async fn both_identities_are_in_the_token_the_answer_and_the_record() {
    let upstream = Recorder::start().await;
    let draft = drafted(upstream.addr(), &Options::default());
    // The other organization's members are the staff.
    let policy = policy_yaml(&Options::default())
        .replace(
            "roles:\n",
            "impersonation: { staff: globex, permission: support:impersonate }\nroles:\n",
        )
        .replace("'*:delete']", "'*:delete', 'support:impersonate']")
        .replace("audit: all", "audit: refusals");
    draft.write("policy.yaml", &policy);
    let gateway = draft.start().await;
    let mut told = claims(BOB);
    told["aal"] = json!("aal2");
    told["amr"] = json!([{ "method": "totp", "timestamp": now_secs() - 60 }]);
    let bearer = format!("Bearer {}", Key::hs256("users", USER_SECRET).mint(&told));
    let headers = [
        ("Authorization", bearer.as_str()),
        ("X-Organization-Id", "acme"),
        ("X-Impersonate-User", ALICE),
        ("X-Impersonate-Reason", "ticket 4711"),
    ];
    let target = "/rest/v1/events?select=id";
    let answer = http::send(gateway.listen(), "GET", target, &headers, b"").await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("x-tollgate-acting-as"), Some(ALICE));

    let seen = upstream.requests("/events");
    let token = seen[0].all("authorization")[0].strip_prefix("Bearer ").unwrap();
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let minted: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!((&minted["sub"], &minted["act"]["sub"]), (&json!(ALICE), &json!(BOB)));
    assert_eq!((&minted["org_id"], &minted["org_role"]), (&json!(ACME.id), &json!("editor")));
    let passed_on = |name: &str| seen[0].all(name).len();
    assert_eq!((passed_on("x-impersonate-user"), passed_on("x-impersonate-reason")), (0, 0));

    let write = http::send(gateway.listen(), "DELETE", target, &headers, b"").await.unwrap();
    assert_eq!(write.json()["code"], "impersonation_read_only");
    assert_eq!(upstream.requests("/events").len(), 1);

    // A read that the route would not record is on record, and so is what was refused.
    let records: Vec<Value> = eventually("two records", async || {
        let audit = std::fs::read_to_string(gateway.dir().join("audit.jsonl")).ok()?;
        let records = audit.lines().map(|line| serde_json::from_str(line).unwrap());
        let records: Vec<Value> = records.collect();
        (records.len() == 2).then_some(records)
    })
    .await;
    // The answer of the first can be there before its record is, and the other one's comes between.
    for decision in ["allowed", "refused"] {
        let record = records.iter().find(|record| record["decision"] == decision);
        let record = record.unwrap_or_else(|| panic!("no `{decision}` in {records:?}"));
        assert_eq!((&record["user"], &record["impersonated"]), (&json!(BOB), &json!(ALICE)));
        assert_eq!(record["impersonation_reason"], "ticket 4711");
    }
}
