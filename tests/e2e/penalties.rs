//! Callers that do not wait as they are told, answers that are paid for afterwards, and several limits at
//! once.

use serde_json::{Value, json};

use crate::support::fixture::{ALICE, BOB};
use crate::support::recorder::Recorder;
use crate::support::stack::{Options, drafted, policy_yaml, token};
use crate::support::{eventually, http};

const EVENTS: &str = "/rest/v1/events?select=id";

#[tokio::test]
async fn who_does_not_wait_is_refused_for_longer_and_that_is_on_record() {
    let upstream = Recorder::start().await;
    let options = Options { per_user: 2, ..Options::default() };
    let draft = drafted(upstream.addr(), &options);
    let policy = policy_yaml(&options);
    let stated = policy.replace(
        "per_user: { scope: user,",
        "per_user: { scope: user, penalty: { after: 5, first: 3h, most: 6h },",
    );
    assert_ne!(policy, stated);
    draft.write("policy.yaml", &stated.replace("audit: all", "audit: refusals"));
    let gateway = draft.start().await;
    let get = async |user: &str| {
        let bearer = format!("Bearer {}", token(user));
        http::get(gateway.listen(), EVENTS, &[("Authorization", bearer.as_str())]).await.unwrap()
    };
    for _ in 0..2 {
        assert_eq!(get(ALICE).await.status, 200);
    }
    // The first of them is told when to come, five come before that, and the last of these is
    // told of its penalty.
    let mut answers = Vec::new();
    for _ in 0..6 {
        let answer = get(ALICE).await;
        assert_eq!(answer.status, 429, "{}", answer.text());
        answers.push(answer);
    }
    let last = answers.pop().unwrap();
    for answer in &answers {
        assert_eq!(answer.json()["code"], "rate_limited");
        assert!(wait(answer) <= 1_800, "half an hour for one of two in an hour");
    }
    assert_eq!(last.json()["code"], "rate_limit_penalty", "{}", last.text());
    assert_eq!(last.header("x-tollgate-limit"), Some("per_user"));
    assert!((10_800..=12_960).contains(&wait(&last)), "three hours, and up to a fifth more");
    let told = last.header("ratelimit").unwrap();
    assert!(told.starts_with("\"per_user\";r=0;t=1"), "{told}");
    assert_eq!(get(BOB).await.status, 200, "nobody else is meant");

    let records: Vec<Value> = eventually("six refusals on record", async || {
        let audit = std::fs::read_to_string(gateway.dir().join("audit.jsonl")).ok()?;
        let records = audit.lines().map(|line| serde_json::from_str(line).unwrap());
        let records: Vec<Value> = records.collect();
        (records.len() == 6).then_some(records)
    })
    .await;
    // A record is written when its answer is out, perhaps after that of the next.
    let penalized: Vec<&Value> =
        records.iter().filter(|record| record.get("penalty").is_some()).collect();
    let [record] = penalized.as_slice() else { panic!("{records:?}") };
    assert_eq!((&record["code"], &record["penalty"]), (&json!("rate_limit_penalty"), &json!(1)));
    assert!(record["policy"].as_str().unwrap().contains("policy.yaml:"), "{record}");
    let metrics = http::get(gateway.admin(), "/metrics", &[]).await.unwrap().text();
    for counted in [
        "tollgate_limit_penalties_total{event=\"raised\"} 1",
        "tollgate_limit_penalties_total{event=\"refused\"} 1",
        "tollgate_refusals_total{code=\"rate_limit_penalty\"} 1",
    ] {
        assert!(metrics.contains(counted), "{counted}");
    }
}

#[tokio::test]
async fn who_got_a_large_answer_waits_until_it_is_paid_for() {
    let upstream = Recorder::start().await;
    let options = Options { per_user: 10, ..Options::default() };
    let draft = drafted(upstream.addr(), &options);
    let policy = policy_yaml(&options);
    // Every byte costs a token, or nearly so.
    let stated = policy.replace(
        "per_user: { scope: user,",
        "per_user: { scope: user, cost: { per_mebibyte: 1000000, max_debt: 5 },",
    );
    assert_ne!(policy, stated);
    draft.write("policy.yaml", &stated);
    let gateway = draft.start().await;
    let bearer = format!("Bearer {}", token(ALICE));
    let get = async || {
        http::get(gateway.listen(), EVENTS, &[("Authorization", bearer.as_str())]).await.unwrap()
    };
    let first = get().await;
    assert_eq!(first.status, 200, "{}", first.text());
    assert!(!first.body.is_empty());
    // It is charged when the answer is out.
    let refused = eventually("the charge", async || {
        let answer = get().await;
        (answer.status == 429).then_some(answer)
    })
    .await;
    assert_eq!(refused.json()["code"], "rate_limited");
    // One token, and at most five that are owed, at ten an hour.
    assert!((360..=6 * 360).contains(&wait(&refused)), "{}", wait(&refused));
    let metrics = http::get(gateway.admin(), "/metrics", &[]).await.unwrap().text();
    assert!(!metrics.contains("tollgate_limit_settlements_total 0"), "{metrics}");
}

#[tokio::test]
async fn several_windows_hold_at_once_and_each_tells_the_truth_of_waiting() {
    let upstream = Recorder::start().await;
    let options = Options { per_user: 4, ..Options::default() };
    let draft = drafted(upstream.addr(), &options);
    let policy = policy_yaml(&options)
        .replace("limits:\n  per", "limits:\n  quick: { scope: user, rate: 1/s, burst: 2 }\n  per")
        .replace("limits: [per_user]", "limits: [quick, per_user]");
    draft.write("policy.yaml", &policy);
    let gateway = draft.start().await;
    let bearer = format!("Bearer {}", token(ALICE));
    let get = async || {
        http::get(gateway.listen(), EVENTS, &[("Authorization", bearer.as_str())]).await.unwrap()
    };
    let (mut admitted, mut told) = (0, false);
    loop {
        let answer = get().await;
        if answer.status == 200 {
            admitted += 1;
            let state = answer.header("ratelimit").unwrap();
            assert!(state.contains("\"quick\"") && state.contains("\"per_user\""), "{state}");
            told = false;
            continue;
        }
        assert_eq!(answer.status, 429, "{}", answer.text());
        if answer.header("x-tollgate-limit") == Some("per_user") {
            assert!((600..=900).contains(&wait(&answer)), "{}", wait(&answer));
            break;
        }
        assert_eq!(answer.header("x-tollgate-limit"), Some("quick"));
        assert_eq!(wait(&answer), 1);
        assert!(!told, "it waited as told, and was refused by the same limit");
        // Waiting is what is promised to be enough.
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        told = true;
    }
    assert_eq!(admitted, 4, "what the hour allows, however slowly it is asked for");
}

fn wait(answer: &http::Answer) -> u64 {
    answer.header("retry-after").unwrap().parse().unwrap()
}
