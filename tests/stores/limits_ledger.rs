//! Buckets as an operator sees and changes them, while nodes charge them.

use tollgate::domain::charge::{Charge, Subject};
use tollgate::stores::limits::ledger::{Ledger, ShownBucket, Which};

use crate::limits_world::{World, bucket, burst_of, left, of, rate, settings, user};

const ORG_A: &str = "7b0d3c1e-0000-4000-8000-00000000000a";
const ORG_B: &str = "7b0d3c1e-0000-4000-8000-00000000000b";

fn organization(id: &str) -> Subject {
    Subject::Organization(id.parse().unwrap())
}

fn member(name: &str, org: &str) -> Subject {
    Subject::User(name.parse().unwrap(), Some(org.parse().unwrap()))
}

async fn seen(ledger: &mut Ledger, which: Which) -> Vec<(String, String, u64, u32)> {
    let fields = |bucket: ShownBucket| (bucket.limit, bucket.id, bucket.left, bucket.burst);
    ledger.list(&which).await.unwrap().into_iter().map(fields).collect()
}

fn of_a() -> Which {
    Which { organization: Some(ORG_A.parse().unwrap()), ..Which::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_sees_who_has_least_left_and_fills_or_empties_buckets() {
    let mut world = World::redis().await;
    let url = world.real().url();
    let charge = |subject: Subject, limit: &str, burst: u32| -> Charge {
        of([bucket(limit, subject, burst_of(burst))])
    };
    let (ann, bob) = (member("ann", ORG_A), member("bob", ORG_A));
    for (charge, times) in [
        (charge(ann.clone(), "per_user", 10), 9),
        (charge(bob, "per_user", 10), 2),
        (charge(organization(ORG_A), "per_org", 100), 30),
        (charge(member("ann", ORG_B), "per_user", 10), 1),
        (charge(user("cy"), "per_user", 10), 4),
    ] {
        assert_eq!(world.admitted(&charge, times).await, times);
    }
    let mut ledger = Ledger::open(&settings(&url)).await.unwrap();
    let row = |limit: &str, id: &str, left, burst| (limit.to_owned(), id.to_owned(), left, burst);
    assert_eq!(
        seen(&mut ledger, of_a()).await,
        [row("per_user", "ann", 1, 10), row("per_org", "", 70, 100), row("per_user", "bob", 8, 10)]
    );
    assert_eq!(seen(&mut ledger, Which::default()).await.len(), 5);
    let only = |which: Which| Which { id: Some("ann".into()), ..which };
    assert_eq!(seen(&mut ledger, only(Which::default())).await.len(), 2);
    let users = Which { scope: Some("user".into()), ..of_a() };
    assert_eq!(seen(&mut ledger, users).await.len(), 2);

    // Another node sees at once what was set.
    let anns = ledger.list(&only(of_a())).await.unwrap().remove(0);
    let asked = charge(ann, "per_user", 10);
    assert!(ledger.set(&anns, 4).await.unwrap());
    assert_eq!(left(&world.charge_at(1, &asked).await), [3]);
    assert!(ledger.set(&anns, 1_000).await.unwrap());
    assert_eq!(seen(&mut ledger, only(of_a())).await, [], "it is full");
    assert_eq!(left(&world.charge_at(1, &asked).await), [9], "and holds no more than that");
    assert!(ledger.set(&anns, 0).await.unwrap());
    assert_eq!(world.admitted(&asked, 3).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_is_shown_as_it_fills_and_is_gone_once_it_is_full() {
    let mut world = World::redis().await;
    let url = world.real().url();
    let charge = of([bucket("quick", user("ann"), rate(10, 1_000, 5))]);
    assert_eq!(world.admitted(&charge, 5).await, 5);
    let mut ledger = Ledger::open(&settings(&url)).await.unwrap();
    let first = ledger.list(&Which::default()).await.unwrap().remove(0);
    assert!(first.full_in_millis <= 500 && first.organization.is_none(), "{first:?}");
    crate::support::eventually("a full bucket", async || {
        ledger.list(&Which::default()).await.unwrap().is_empty().then_some(())
    })
    .await;
}
