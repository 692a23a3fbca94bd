//! Memberships that identity providers vouch for, in PostgreSQL: made once, brought up to date in
//! the order of the tokens, and never against what somebody decided in the directory.

use std::sync::Arc;

use tollgate::domain::known::{Join, Lookup, MembershipChange, Outage};
use tollgate::domain::organization::{MemberStatus, Membership};

use crate::directory::{ACME, GLOBEX, INITECH, World, id, user};

fn join(name: &str, organization: &str, role: &str, as_of: u64) -> Join {
    Join {
        user: user(name),
        organization: id(organization),
        role: role.into(),
        further: Box::default(),
        as_of,
        change: MembershipChange::Created,
    }
}

fn changed(name: &str, role: &str, further: &[&str], as_of: u64) -> Arc<Join> {
    let further = further.iter().map(|role| Arc::from(*role)).collect();
    let change = MembershipChange::RoleChanged;
    Arc::new(Join { further, change, ..join(name, ACME, role, as_of) })
}

fn found(lookup: Lookup<Arc<Membership>>) -> Arc<Membership> {
    match lookup {
        Lookup::Found(membership) => membership,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_requests_at_once_on_two_nodes_make_one_membership() {
    let world = World::new().await;
    let other = world.another().await;
    assert_eq!(world.member("okta|olga", ACME).await, Lookup::Absent, "remembered as absent");
    assert_eq!(other.member("okta|olga", ACME).await, Lookup::Absent);
    let mut waiting = Vec::new();
    for number in 0..100 {
        // Half of them with a token that is a second younger.
        let join = Arc::new(join("okta|olga", ACME, "viewer", 1_000 + number % 2));
        let store = if number % 4 < 2 { &world.store } else { &other.store };
        let store = Arc::clone(store);
        waiting.push(tokio::spawn(async move { store.join(&join).await }));
    }
    let mut made = 0;
    for one in waiting {
        let (membership, changed) = one.await.unwrap();
        assert_eq!(found(membership).role.as_ref(), "viewer");
        made += u32::from(changed);
    }
    assert_eq!(made, 1, "and one request is told that it did");
    let sql = "select status, joined_at > now() - interval '1 minute' as now, role \
               from tollgate.organization_members where user_id = 'okta|olga'";
    let row = serde_json::json!({ "status": "active", "now": true, "role": "viewer" });
    assert_eq!(world.rows(sql).await, [row]);
    // Known to this node at once, though it had looked and found nobody.
    assert_eq!(found(world.member("okta|olga", ACME).await).status, MemberStatus::Active);
    assert_eq!(world.default_org("okta|olga").await, Lookup::Found(id(ACME)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_decided_in_the_directory_stays() {
    let world = World::new().await;
    for (name, organization, status) in
        [("bob", ACME, MemberStatus::Invited), ("ann", GLOBEX, MemberStatus::Active)]
    {
        let join = Arc::new(join(name, organization, "admin", 9_000));
        let (membership, changed) = world.store.join(&join).await;
        let membership = found(membership);
        assert!(!changed && membership.status == status, "{name}");
        assert_ne!(membership.role.as_ref(), "admin", "{name}");
    }
    let suspended = Arc::new(join("okta|olga", INITECH, "viewer", 1));
    assert_eq!(world.store.join(&suspended).await, (Lookup::Absent, false));
    let nowhere = "99999999-9999-4999-8999-999999999999";
    let nowhere = Arc::new(join("okta|olga", nowhere, "viewer", 1));
    assert_eq!(world.store.join(&nowhere).await, (Lookup::Absent, false));
    assert!(!world.store.join(&changed("bob", "admin", &[], 9_000)).await.1);
    assert_eq!(
        world.store.join(&changed("nobody", "admin", &[], 9_000)).await,
        (Lookup::Absent, false)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_that_was_issued_last_says_the_role_in_whichever_order_they_are_used() {
    let world = World::new().await;
    assert!(world.store.join(&Arc::new(join("okta|olga", ACME, "viewer", 1_000))).await.1);
    for (role, further, as_of, takes) in [
        ("editor", vec!["auditor"], 2_000, true),
        ("admin", vec![], 1_500, false),
        ("admin", vec![], 2_000, false),
        ("viewer", vec![], 2_001, true),
    ] {
        let (membership, done) =
            world.store.join(&changed("okta|olga", role, &further, as_of)).await;
        let membership = found(membership);
        assert_eq!(done, takes, "{role} at {as_of}");
        assert_eq!(membership.role.as_ref() == role, takes, "{role} at {as_of}");
        let more = membership.more.as_ref().unwrap();
        assert_eq!(more.role_as_of, Some(if takes { as_of } else { 2_000 }));
        if takes {
            let roles: Vec<&str> = more.roles.iter().map(AsRef::as_ref).collect();
            assert_eq!(roles, further);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_or_refuses_is_an_outage_and_the_next_try_succeeds() {
    let mut world = World::new().await;
    let away = (Lookup::Away(Outage::Directory), false);
    let olga = || Arc::new(join("okta|olga", ACME, "viewer", 1));
    world.sql("alter table tollgate.organization_members rename to elsewhere").await;
    assert_eq!(world.store.join(&olga()).await, away);
    world.sql("alter table tollgate.elsewhere rename to organization_members").await;
    assert!(world.store.join(&olga()).await.1);
    world.postgres.kill().await;
    world.is_down().await;
    let other = Arc::new(join("okta|otto", ACME, "viewer", 1));
    assert_eq!(world.store.join(&other).await, away);
    world.postgres.restart().await;
    crate::support::eventually("the database's return", async || {
        world.store.is_reachable().then_some(())
    })
    .await;
    assert!(world.store.join(&other).await.1);
}
