//! What `tollgate catalog rls` prints, on the example application: with the token that the gateway
//! mints, and the gateway out of the way, the database alone keeps organizations apart.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::fixture::{ACME, ALICE, GLOBEX};
use crate::support::gateway::tollgate;
use crate::support::http::{self, Answer};
use crate::support::place::TempDir;
use crate::support::postgres::{APP, Postgres};
use crate::support::postgrest::PostgRest;
use crate::support::stack::{
    Options, UPSTREAM_SECRET, directory_yaml, drafted, gateway_yaml, token,
};

const COMMUNITY: &str = include_str!("../../deploy/sql/examples/community.sql");
const CATALOGUE: &str = include_str!("../../deploy/sql/examples/community.yaml");

/// Two organizations with a row in tables of every kind: with a tenant column, through a parent,
/// through a parent's parent, the same for all.
const ROWS: &str = "
insert into auth.users (id) values ('a11ce000-0000-4000-8000-000000000001');
insert into profiles (id) values ('a11ce000-0000-4000-8000-000000000001');
insert into countries values ('AT', 'Austria');
insert into organizations (id, slug, name)
    values ('11111111-1111-4111-8111-111111111111', 'acme', 'ACME-ONLY'),
        ('22222222-2222-4222-8222-222222222222', 'globex', 'GLOBEX-ONLY');
insert into venues (organization_id, name) select id, name || '-venue' from organizations;
insert into events (organization_id, venue_id, slug, title, starts_at)
    select o.id, v.id, o.slug, o.name || '-event', now()
    from organizations o join venues v on v.organization_id = o.id;
insert into social_posts (organization_id, author_id, body)
    select id, 'a11ce000-0000-4000-8000-000000000001', name || '-post' from organizations;
insert into comments (post_id, author_id, body)
    select id, author_id, body || '-comment' from social_posts;
insert into comment_reactions (comment_id, user_id, kind)
    select id, author_id, body || '-reaction' from comments;
insert into badges (organization_id, name) select id, name || '-badge' from organizations;
insert into badges (organization_id, name) values (null, 'of-the-platform');
";

/// As it is before the gateway's own roles are let in.
const GRANTS: &str = "
grant usage on schema public to anon, authenticated;
grant select, insert, update, delete on all tables in schema public to authenticated;
grant usage on all sequences in schema public to authenticated;
";

/// The SQL for the example's catalogue, in which badges are also the platform's.
async fn printed() -> String {
    let dir = TempDir::new();
    let catalogue = CATALOGUE.replace(
        "  badges:\n    tenant: organization_id\n",
        "  badges:\n    tenant: organization_id\n    shared_null: true\n",
    );
    assert_ne!(catalogue, CATALOGUE);
    let draft = crate::support::gateway::Draft::new();
    let unused = SocketAddr::from(([127, 0, 0, 1], 1));
    dir.write("gateway.yaml", &gateway_yaml(&draft, unused, &Options::default()));
    dir.write("directory.yaml", &directory_yaml());
    let policy = "plans: { free: { level: 1 } }\n\
                  roles: { viewer: { permissions: ['*:read'] }, editor: { inherits: [viewer] } }\n";
    dir.write("policy.yaml", &format!("{policy}{catalogue}"));
    let config = dir.path().join("gateway.yaml").display().to_string();
    tollgate(&["catalog", "rls", "--config", &config]).await
}

/// The `Authorization` that an upstream gets for a request of a member of acme.
async fn minted() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let gateway = drafted(listener.local_addr().unwrap(), &Options::default()).start().await;
    let bearer = format!("Bearer {}", token(ALICE));
    let upstream = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\
                       Connection: close\r\n\r\n[]";
        stream.write_all(answer).await.unwrap();
        String::from_utf8(head).unwrap()
    };
    let headers = [("Authorization", bearer.as_str())];
    let asked = http::get(gateway.listen(), "/rest/v1/events?select=id", &headers);
    let (head, answer) = tokio::join!(upstream, asked);
    assert_eq!(answer.unwrap().status, 200);
    let field = |line: &str| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("authorization").then(|| value.to_owned())
    };
    head.lines().find_map(field).unwrap_or_else(|| panic!("no token in {head}"))
}

struct World {
    postgrest: PostgRest,
    postgres: Postgres,
    authorization: String,
}

impl World {
    async fn start() -> Self {
        let postgres = Postgres::start().await;
        postgres.execute(APP, "drop schema public cascade; create schema public").await;
        for sql in [COMMUNITY, GRANTS, ROWS] {
            postgres.execute(APP, sql).await;
        }
        let postgrest = PostgRest::start(&postgres, UPSTREAM_SECRET).await;
        Self { postgrest, postgres, authorization: minted().await }
    }

    async fn restarted(self) -> Self {
        let Self { postgres, authorization, .. } = self;
        let postgrest = PostgRest::start(&postgres, UPSTREAM_SECRET).await;
        Self { postgrest, postgres, authorization }
    }

    async fn send(&self, method: &str, target: &str, body: &Value) -> Answer {
        let headers = [
            ("Authorization", self.authorization.as_str()),
            ("Content-Type", "application/json"),
            ("Prefer", "return=representation"),
        ];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let to = self.postgrest.addr();
        http::send(to, method, target, &headers, body.as_bytes()).await.unwrap()
    }

    async fn get(&self, target: &str) -> String {
        let answer = self.send("GET", target, &Value::Null).await;
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        answer.text()
    }

    async fn all_of(&self, org: &str) -> Vec<Value> {
        let query = format!(
            "select 'event' as kind, title as text from events where organization_id = '{org}' \
             union all select 'post', body from social_posts where organization_id = '{org}' \
             union all select 'badge', name from badges where organization_id = '{org}' \
             order by 1, 2"
        );
        self.postgres.rows(APP, &query).await
    }
}

const READS: [&str; 7] = [
    "/organizations?select=name",
    "/events?select=title,venues(name)",
    "/social_posts?select=body,comments(body,comment_reactions(kind))",
    "/comments?select=body",
    "/comment_reactions?select=kind",
    "/badges?select=name",
    "/event_overview?select=title,venue",
];

#[tokio::test]
async fn with_the_minted_token_the_database_alone_keeps_organizations_apart() {
    let world = World::start().await;
    for target in READS {
        let text = world.get(target).await;
        assert!(text.contains(GLOBEX.mark), "nothing to hide yet: {target}: {text}");
    }
    let sql = printed().await;
    // Twice: it can be applied again.
    for _ in 0..2 {
        world.postgres.execute(APP, &sql).await;
    }
    let world = world.restarted().await;
    for target in READS {
        let text = world.get(target).await;
        assert!(text.contains(ACME.mark) && !text.contains(GLOBEX.mark), "{target}: {text}");
    }
    assert!(world.get("/badges?select=name").await.contains("of-the-platform"));
    assert!(world.get("/countries?select=name").await.contains("Austria"));
    let foreign = format!("/events?select=title&organization_id=eq.{}", GLOBEX.id);
    assert_eq!(world.get(&foreign).await, "[]");

    // What is written belongs to the organization, or is refused.
    let before = world.all_of(GLOBEX.id).await;
    let event = json!({ "slug": "new", "title": "new", "starts_at": "2026-01-01Z" });
    let made = world.send("POST", "/events?select=organization_id", &event).await;
    assert_eq!((made.status, made.json()[0]["organization_id"].as_str()), (201, Some(ACME.id)));
    let with = |key: &str, value: Value| {
        let mut changed = event.clone();
        changed["slug"] = json!("other");
        changed[key] = value;
        changed
    };
    let theirs = world.send("POST", "/events", &with("organization_id", json!(GLOBEX.id))).await;
    assert_eq!(theirs.json()["code"], "42501", "{}", theirs.text());
    let moved = world.send("PATCH", "/events", &json!({ "organization_id": GLOBEX.id })).await;
    assert_eq!(moved.json()["code"], "42501", "{}", moved.text());
    let changed = world.send("PATCH", "/social_posts", &json!({ "body": "changed" })).await;
    assert_eq!(changed.json().as_array().unwrap().len(), 1, "{}", changed.text());
    let gone = world.send("DELETE", "/badges?name=neq.x&select=name", &Value::Null).await;
    let gone = gone.text();
    assert!(!gone.contains("of-the-platform") && !gone.contains(GLOBEX.mark), "{gone}");
    assert_eq!(world.all_of(GLOBEX.id).await, before);

    // A foreign key cannot lead to another organization's row, and keeps what it does on delete.
    let venue = "select id from venues where name like 'GLOBEX%'";
    let venue = world.postgres.rows(APP, venue).await.remove(0)["id"].clone();
    let crossing = world.send("POST", "/events", &with("venue_id", venue)).await;
    assert_eq!(crossing.json()["code"], "23503", "{}", crossing.text());
    world.postgres.execute(APP, "delete from venues where name like 'ACME%'").await;
    let left = "select venue_id from events where title = 'ACME-ONLY-event' \
                and organization_id is not null";
    assert_eq!(world.postgres.rows(APP, left).await, [json!({ "venue_id": null })]);
}

#[tokio::test]
async fn without_a_token_of_the_gateway_nothing_is_anybodys() {
    let world = World::start().await;
    world.postgres.execute(APP, &printed().await).await;
    for claims in ["", "{}", r#"{"role":"authenticated","sub":"x"}"#] {
        let client = world.postgres.client(APP).await;
        let script = format!("set role authenticated; set request.jwt.claims = '{claims}'");
        client.batch_execute(&script).await.unwrap();
        for table in ["events", "comments", "organizations"] {
            let count = format!("select count(*) from {table}");
            let seen: i64 = client.query_one(&count, &[]).await.unwrap().get(0);
            assert_eq!(seen, 0, "{table} with {claims:?}");
        }
        // What changes tables is not for callers.
        let call = "select tollgate.drop_policies('public.events')";
        assert!(client.batch_execute(call).await.is_err());
    }
}

#[tokio::test]
async fn where_rows_of_two_organizations_are_mixed_up_nothing_is_changed() {
    let world = World::start().await;
    let mix = "update events set venue_id = (select id from venues where name like 'GLOBEX%')";
    world.postgres.execute(APP, mix).await;
    let client = world.postgres.client(APP).await;
    let error = client.batch_execute(&printed().await).await.unwrap_err();
    let said = error.as_db_error().unwrap();
    assert_eq!(said.code().code(), "23503", "{said}");
    assert!(said.message().contains("events_venue_id_fkey"), "{said}");
    client.batch_execute("rollback").await.unwrap();
    let left = "select polname from pg_policy union all \
                select nspname from pg_namespace where nspname = 'tollgate'";
    assert_eq!(world.postgres.rows(APP, left).await, [Value::Null; 0]);
}

#[tokio::test]
async fn what_was_warned_of_is_gone_afterwards() {
    let postgres = Postgres::start().await;
    postgres.execute(APP, "drop schema public cascade; create schema public").await;
    postgres.execute(APP, COMMUNITY).await;
    postgres.execute(APP, &printed().await).await;
    let url = postgres.url(APP);
    let written = tollgate(&["catalog", "introspect", "--database-url", &url]).await;
    assert!(written.contains("organization_id: venues.organization_id"), "{written}");
    let dir = TempDir::new();
    let draft = crate::support::gateway::Draft::new();
    let unused = SocketAddr::from(([127, 0, 0, 1], 1));
    dir.write("gateway.yaml", &gateway_yaml(&draft, unused, &Options::default()));
    dir.write("directory.yaml", &directory_yaml());
    let policy = "plans: { free: { level: 1 } }\n\
                  roles: { viewer: { permissions: ['*:read'] }, editor: { inherits: [viewer] } }\n";
    dir.write("policy.yaml", &format!("{policy}{written}"));
    let config = Path::new(dir.path()).join("gateway.yaml").display().to_string();
    let check = ["catalog", "check", "--json", "--config", &config, "--database-url", &url];
    let report: Value = serde_json::from_str(&tollgate(&check).await).unwrap();
    let left: Vec<&str> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| {
            let rule = finding["rule"].as_str().unwrap();
            !["unique_without_tenant", "nullable_tenant"].contains(&rule)
        })
        .map(|finding| finding["message"].as_str().unwrap())
        .collect();
    // Where a side has no tenant column, or shares rows, nothing can hold it.
    let known = [
        "comments_parent_id_fkey",
        "event_tags_tag_id_fkey",
        "member_badges_badge_id_fkey",
        "post_tags_tag_id_fkey",
        "session_speakers_session_id_fkey",
    ];
    assert_eq!(left.len(), known.len(), "{left:#?}");
    for (message, key) in left.iter().zip(known) {
        assert!(message.contains(key), "{message}");
    }
}
