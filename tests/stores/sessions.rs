//! Revocations: one table of promises for the store in memory and the one in Redis, and what only a
//! real Redis shows.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tollgate::config::settings::{
    RedisPlace, SessionRedis, SessionSettings, SessionStoreSettings, WithoutStore,
};
use tollgate::domain::clock::Clock;
use tollgate::domain::known::IssuerIndex;
use tollgate::domain::principal::VerifiedToken;
use tollgate::domain::secret::Secret;
use tollgate::domain::session::{
    Cutoff, LastUse, Mark, Marks, Noted, Revocation, SignOut, Standing, Use,
};
use tollgate::stores::sessions::{Sessions, list, publish};
use tollgate::telemetry::clock::SystemClock;

use crate::support::eventually;
use crate::support::redis::Redis;
use crate::support::redis_cluster::Cluster;

/// A revocation counts on every node within a second.
const SOON: Duration = Duration::from_secs(1);

struct Node {
    sessions: Arc<Sessions>,
    clock: Arc<dyn Clock>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn settings(store: SessionStoreSettings, when_away: WithoutStore, most: u32) -> SessionSettings {
    SessionSettings {
        store,
        when_away,
        keep: Duration::from_secs(3600),
        max_entries: NonZeroU32::new(most).unwrap(),
    }
}

fn redis(url: &str) -> SessionRedis {
    SessionRedis {
        place: RedisPlace::Server(Secret::new(url)),
        timeout: Duration::from_millis(250),
        key_prefix: "test".into(),
    }
}

impl Node {
    fn start(settings: &SessionSettings) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let sessions = Arc::new(Sessions::new(settings, Arc::clone(&clock)).unwrap());
        let keeper = Arc::clone(&sessions);
        let task = tokio::spawn(async move { keeper.keep().await });
        Self { sessions, clock, task }
    }

    fn of(url: &str, when_away: WithoutStore) -> Self {
        Self::start(&settings(SessionStoreSettings::Redis(redis(url)), when_away, 1_000))
    }

    async fn following(url: &str) -> Self {
        let node = Self::of(url, WithoutStore::Serve);
        node.there().await;
        node
    }

    async fn there(&self) {
        eventually("the log being caught up with", async || {
            (!self.sessions.is_away()).then_some(())
        })
        .await;
    }

    fn standing(&self, token: &VerifiedToken) -> Standing {
        self.sessions.standing(token, self.clock.now())
    }

    async fn refuses(&self, token: &VerifiedToken) {
        eventually("the revocation", async || {
            (self.standing(token) == Standing::Revoked).then_some(())
        })
        .await;
    }

    /// The revocation arrives within a second.
    async fn refuses_soon(&self, token: &VerifiedToken) {
        tokio::time::timeout(SOON, self.refuses(token)).await.expect("within a second");
    }

    fn now(&self) -> u64 {
        self.clock.now().unix_secs()
    }
}

fn token(user: &str, session: &str, issued_at: u64) -> VerifiedToken {
    let id = user.parse().unwrap();
    VerifiedToken {
        issuer: IssuerIndex(0),
        marks: Marks::new(Some(&id), Some(session), &format!("{user}.{session}.{issued_at}")),
        noted: Noted::default(),
        subject: Some(id),
        role: None,
        session_id: Some(session.into()),
        expires_at: issued_at + 3600,
        not_before: None,
        issued_at: Some(issued_at),
        second_factor: false,
        factor_at: None,
        signed_in_at: None,
        organizations: Box::default(),
        vouched: None,
    }
}

#[tokio::test]
async fn each_scope_of_a_sign_out_ends_what_it_names_in_memory_and_in_redis() {
    let server = Redis::start().await;
    let memory = Node::start(&settings(SessionStoreSettings::Memory, WithoutStore::Refuse, 1_000));
    let one = Node::following(&server.url()).await;
    let other = Node::following(&server.url()).await;
    for (number, (signing, asked)) in [(&memory, &memory), (&one, &other)].iter().enumerate() {
        let now = signing.now();
        for (scope, own_ends, others_end) in [
            (SignOut::Local, true, false),
            (SignOut::Global, true, true),
            (SignOut::Others, false, true),
        ] {
            let user = format!("ann-{number}-{scope:?}");
            let own = token(&user, &format!("own-{user}"), now - 60);
            let elsewhere = token(&user, &format!("elsewhere-{user}"), now - 60);
            signing.sessions.sign_out(scope, &own);
            let (ended, left) = match (own_ends, others_end) {
                (true, true) => (vec![&own, &elsewhere], vec![]),
                (true, false) => (vec![&own], vec![&elsewhere]),
                _ => (vec![&elsewhere], vec![&own]),
            };
            for token in ended {
                asked.refuses_soon(token).await;
            }
            for token in left {
                assert_eq!(asked.standing(token), Standing::Good, "{scope:?}");
            }
            let again = token(&user, &format!("again-{user}"), signing.now());
            assert_eq!(asked.standing(&again), Standing::Good, "signed in again: {scope:?}");
        }
    }
}

#[tokio::test]
async fn a_node_that_starts_later_catches_up_and_a_command_reaches_every_node() {
    let server = Redis::start().await;
    let first = Node::following(&server.url()).await;
    let now = first.now();
    // More than one page of the log.
    let ended: Vec<VerifiedToken> =
        (0..900).map(|n| token("ann", &format!("s{n}"), now - 60)).collect();
    for token in &ended {
        first.sessions.sign_out(SignOut::Local, token);
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let user = "bob".parse().unwrap();
    let (mark, cutoff) = (Mark::user(&user), Cutoff::through(now));
    let revocation = Revocation { mark, cutoff, at: now, until: now + 3600 };
    let most = NonZeroU32::new(1_000).unwrap();
    publish(&redis(&server.url()), most, &[revocation], clock).await.unwrap();
    first.refuses_soon(&token("bob", "b", now)).await;

    let second = Node::following(&server.url()).await;
    eventually("the whole log", async || {
        ended.iter().all(|token| second.standing(token) == Standing::Revoked).then_some(())
    })
    .await;
    assert_eq!(second.standing(&token("bob", "b", now)), Standing::Revoked);
    assert_eq!(second.standing(&token("carol", "c", now)), Standing::Good);
}

#[tokio::test]
async fn a_redis_that_comes_back_empty_learns_everything_again_what_happened_meanwhile_included() {
    let mut server = Redis::start().await;
    let one = Node::following(&server.url()).await;
    let other = Node::following(&server.url()).await;
    let now = one.now();
    let (before, meanwhile) = (token("ann", "1", now - 60), token("bob", "2", now - 60));
    one.sessions.sign_out(SignOut::Global, &before);
    other.refuses_soon(&before).await;

    server.kill();
    eventually("the loss of Redis", async || {
        (one.sessions.is_away() && other.sessions.is_away()).then_some(())
    })
    .await;
    one.sessions.sign_out(SignOut::Local, &meanwhile);
    assert_eq!(one.standing(&meanwhile), Standing::Revoked, "here it counts at once");
    assert_eq!(other.standing(&before), Standing::Revoked, "what is known stays known");
    assert_eq!(other.standing(&meanwhile), Standing::Good, "`serve`: by what it knows");

    server.restart().await;
    other.refuses(&meanwhile).await;
    let fresh = Node::following(&server.url()).await;
    fresh.refuses_soon(&before).await;
    fresh.refuses_soon(&meanwhile).await;
}

#[tokio::test]
async fn a_lost_message_and_a_flushed_log_matter_for_less_than_a_second() {
    let server = Redis::start().await;
    let node = Node::following(&server.url()).await;
    let now = node.now();
    let (silent, ended) = (token("ann", "1", now - 60), token("bob", "2", now - 60));
    node.sessions.sign_out(SignOut::Local, &ended);
    let mut connection = server.connection().await;
    // Written behind the nodes' backs: nobody is told.
    let mark = silent.marks.session.unwrap();
    let revocation = Revocation { mark, cutoff: Cutoff::ALWAYS, at: now, until: now + 60 };
    let script = "redis.call('ZADD', KEYS[1], redis.call('HINCRBY', KEYS[2], 'seq', 1), ARGV[1])";
    redis::cmd("EVAL")
        .arg((script, 2, "test:{sessions}:log", "test:{sessions}:known", revocation.to_string()))
        .query_async::<()>(&mut connection)
        .await
        .unwrap();
    node.refuses_soon(&silent).await;

    redis::cmd("FLUSHALL").query_async::<()>(&mut connection).await.unwrap();
    eventually("the log being written anew", async || {
        let left: u64 = redis::cmd("ZCARD")
            .arg("test:{sessions}:log")
            .query_async(&mut connection)
            .await
            .ok()?;
        (left == 2).then_some(())
    })
    .await;
    assert_eq!(node.standing(&ended), Standing::Revoked);
}

#[tokio::test]
async fn where_the_settings_say_so_users_are_refused_until_the_log_was_read() {
    let mut server = Redis::start().await;
    let url = server.url();
    server.kill();
    let node = Node::of(&url, WithoutStore::Refuse);
    let ann = token("ann", "1", node.now() - 60);
    let mut key = token("service", "x", 1);
    (key.marks.user, key.marks.session) = (None, None);
    assert_eq!(node.standing(&ann), Standing::Unknown);
    assert_eq!(node.standing(&key), Standing::Good, "a key is no session");
    server.restart().await;
    node.there().await;
    assert_eq!(node.standing(&ann), Standing::Good);
    server.pause();
    eventually("a silent Redis being noticed", async || {
        (node.standing(&ann) == Standing::Unknown).then_some(())
    })
    .await;
    server.resume();
    node.there().await;
    assert_eq!(node.standing(&ann), Standing::Good);
}

#[tokio::test]
async fn a_full_log_drops_the_oldest_and_refuses_everything_issued_until_then() {
    let server = Redis::start().await;
    let small = |url: &str| {
        let store = SessionStoreSettings::Redis(redis(url));
        Node::start(&settings(store, WithoutStore::Serve, 100))
    };
    let node = small(&server.url());
    node.there().await;
    let now = node.now();
    for n in 0..300 {
        let mark = Mark::session(&format!("s{n}"));
        let at = now - 1_000 + n;
        node.sessions.revoke(Revocation { mark, cutoff: Cutoff::ALWAYS, at, until: now + 60 });
    }
    let mut connection = server.connection().await;
    eventually("a log of its greatest length", async || {
        let length: u64 = redis::cmd("ZCARD")
            .arg("test:{sessions}:log")
            .query_async(&mut connection)
            .await
            .ok()?;
        let sent: Option<u64> = redis::cmd("HGET")
            .arg(("test:{sessions}:known", "seq"))
            .query_async(&mut connection)
            .await
            .ok()?;
        (length == 100 && sent == Some(300)).then_some(())
    })
    .await;
    let fresh = small(&server.url());
    fresh.there().await;
    for (issued, standing) in [(now - 801, Standing::Revoked), (now - 800, Standing::Good)] {
        assert_eq!(fresh.standing(&token("ann", "x", issued)), standing, "{issued}");
    }
    assert_eq!(fresh.standing(&token("ann", "s299", now)), Standing::Revoked);
}

fn used(token: &VerifiedToken, device: &str, at: u64) -> Use {
    Use {
        user: token.subject.clone().unwrap(),
        session: token.session_id.clone().unwrap(),
        began: token.began(),
        organization: None,
        device: device.into(),
        address: [203, 0, 113, 7].into(),
        at,
    }
}

#[tokio::test]
async fn nodes_agree_when_a_session_was_used_and_how_long_it_rested() {
    let server = Redis::start().await;
    let url = server.url();
    let strict = async || {
        let node = Node::of(&url, WithoutStore::Refuse);
        node.there().await;
        node
    };
    let (one, other) = (strict().await, strict().await);
    let mut connection = server.connection().await;
    let now = one.now();
    // Uses have been noted for long.
    eventually("the beginning of notes", async || {
        let known: bool = redis::cmd("HEXISTS")
            .arg(("test:{sessions}:known", "since"))
            .query_async(&mut connection)
            .await
            .ok()?;
        known.then_some(())
    })
    .await;
    redis::cmd("HSET")
        .arg(("test:{sessions}:known", "since", 1))
        .query_async::<()>(&mut connection)
        .await
        .unwrap();

    let ann = token("ann", "phone", now - 40_000);
    for (at, pause) in [(now - 39_940, 60), (now - 7_200, 32_700), (now - 60, 32_700)] {
        one.sessions.used(used(&ann, "Firefox on Linux", at));
        let wanted = LastUse { at, longest_pause: pause };
        eventually("the other node knowing", async || {
            let known = other.sessions.last_use(&ann, other.clock.now());
            (known == wanted).then_some(())
        })
        .await;
    }
    let fresh = strict().await;
    eventually("a new node knowing", async || {
        let known = fresh.sessions.last_use(&ann, fresh.clock.now());
        (known == LastUse { at: now - 60, longest_pause: 32_700 }).then_some(())
    })
    .await;
    let nobody = token("bob", "x", now - 60);
    assert_eq!(fresh.sessions.last_use(&nobody, fresh.clock.now()), LastUse::default());

    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let listed = list(&redis(&url), &"ann".parse().unwrap(), clock).await.unwrap();
    let [session] = &listed[..] else { panic!("{listed:?}") };
    assert_eq!((session.session.as_str(), session.address.as_str()), ("phone", "203.0.113.7"));
    assert_eq!((session.first, session.last), (now - 39_940, now - 60));
}

#[tokio::test]
async fn a_list_of_sessions_keeps_the_hundred_that_were_used_last() {
    let server = Redis::start().await;
    let node = Node::following(&server.url()).await;
    let now = node.now();
    for number in 0..120 {
        let session = token("ann", &format!("s{number}"), now - 10_000);
        node.sessions.used(used(&session, "curl", now - 1_000 + number));
    }
    let user = "ann".parse().unwrap();
    let listed = eventually("the list", async || {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let listed = list(&redis(&server.url()), &user, clock).await.ok()?;
        (listed.first()?.session == "s119").then_some(listed)
    })
    .await;
    assert_eq!(listed.len(), 100);
    assert_eq!(listed.last().unwrap().session, "s20");
}

#[tokio::test]
async fn in_a_cluster_a_revocation_survives_the_death_of_its_primary() {
    let mut cluster = Cluster::failing_over().await;
    let shared = |cluster: &Cluster| {
        let place = RedisPlace::Cluster(cluster.urls().into_iter().map(Secret::new).collect());
        SessionRedis { place, ..redis("") }
    };
    let start = async |cluster: &Cluster| {
        let store = SessionStoreSettings::Redis(shared(cluster));
        let node = Node::start(&settings(store, WithoutStore::Refuse, 1_000));
        node.there().await;
        node
    };
    let (one, other) = (start(&cluster).await, start(&cluster).await);
    let now = one.now();
    let (ann, bob) = (token("ann", "a", now - 60), token("bob", "b", now - 60));
    one.sessions.sign_out(SignOut::Local, &ann);
    other.refuses(&ann).await;

    let name = "test:{sessions}:known";
    let owner = cluster.primary_of(name).await;
    cluster.reshard(name, owner, (owner + 1) % 3).await;
    other.sessions.sign_out(SignOut::Local, &bob);
    one.refuses(&bob).await;

    let owner = cluster.primary_of(name).await;
    cluster.node(owner).kill();
    let carol = token("carol", "c", now - 60);
    one.sessions.sign_out(SignOut::Local, &carol);
    other.refuses(&carol).await;
    let late = start(&cluster).await;
    for token in [&ann, &bob, &carol] {
        late.refuses(token).await;
    }
}
