//! A table whose isolation is only tried, beside one that is enforced: through the built gateway, a
//! PostgREST that is passed the users' own tokens, and a PostgreSQL whose row-level security binds
//! the first and, to show what the gateway alone holds, not the second.

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::fixture::{ACME, ALICE, CAROL, Contents, GLOBEX};
use crate::support::gateway::Gateway;
use crate::support::http::{self, Answer};
use crate::support::postgres::{APP, Postgres};
use crate::support::postgrest::PostgRest;
use crate::support::stack::{
    Options, UPSTREAM_SECRET, USER_SECRET, drafted, gateway_yaml, policy_yaml, token,
};

/// Users see the events of all organizations that they belong to, as an application without a
/// gateway has it. Functions of the row, which PostgREST takes for columns and relationships.
const ROW_SECURITY: &str = "
create table members (user_id text, organization_id uuid);
insert into members select user_id::text, organization_id from profiles;
grant select on members to authenticated;
alter table events enable row level security;
create policy of_members on events to authenticated using (organization_id in (
    select m.organization_id from members m
    where m.user_id = current_setting('request.jwt.claims', true)::json ->> 'sub'));
create function project_names(events) returns text language sql stable security definer
    as 'select string_agg(name, '','') from projects';
create function all_projects(events) returns setof projects language sql stable security definer
    as 'select * from projects';
create table event_projects (event_id bigint references events (id),
    project_id bigint references projects (id), organization_id uuid,
    primary key (event_id, project_id));
insert into event_projects select e.id, p.id, e.organization_id from events e cross join projects p;
grant select on event_projects to authenticated;
";

struct World {
    gateway: Gateway,
    postgrest: PostgRest,
    postgres: Postgres,
}

impl World {
    async fn start() -> Self {
        let postgres = Postgres::start().await;
        postgres.execute(APP, ROW_SECURITY).await;
        let postgrest = PostgRest::start(&postgres, USER_SECRET).await;
        let options = Options::default();
        let draft = drafted(postgrest.addr(), &options);
        let minted = format!("identity: {{ mint: {{ secret: {UPSTREAM_SECRET} }} }}");
        let gateway = gateway_yaml(&draft, postgrest.addr(), &options);
        assert!(gateway.contains(&minted));
        draft.write("gateway.yaml", &gateway.replace(&minted, "identity: pass_through"));
        let events = "events: { tenant: organization_id,";
        let keys = "mode: shadow, pk: [id], \
                    fks: { events_project_id_fkey: { project_id: projects.id } },";
        let junction = "  event_projects: { tenant: organization_id, mode: shadow, \
                        columns: [event_id, project_id, organization_id], \
                        pk: [event_id, project_id], fks: { \
                        event_projects_event_id_fkey: { event_id: events.id }, \
                        event_projects_project_id_fkey: { project_id: projects.id } } }\n";
        let policy = policy_yaml(&options);
        let policy = policy
            .replace(events, &format!("{events} {keys}"))
            .replace(
                "  projects: { tenant: organization_id,",
                "  projects: { tenant: organization_id, pk: [id],",
            )
            .replace("  secrets: {", &format!("{junction}  secrets: {{"));
        draft.write("policy.yaml", &policy);
        Self { gateway: draft.start().await, postgrest, postgres }
    }

    async fn send(&self, user: &str, method: &str, target: &str, body: &Value) -> Answer {
        let target = format!("/rest/v1{target}");
        self.with(user, method, &target, &[("Prefer", "return=representation")], body).await
    }

    async fn with(
        &self,
        user: &str,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: &Value,
    ) -> Answer {
        let bearer = format!("Bearer {}", token(user));
        let mut headers =
            vec![("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
        headers.extend_from_slice(fields);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        http::send(self.gateway.listen(), method, target, &headers, body.as_bytes()).await.unwrap()
    }

    async fn get(&self, user: &str, target: &str) -> Answer {
        self.send(user, "GET", target, &Value::Null).await
    }

    /// The answer of PostgREST itself.
    async fn direct(&self, user: &str, target: &str) -> Answer {
        let bearer = format!("Bearer {}", token(user));
        let headers = [("Authorization", bearer.as_str())];
        http::get(self.postgrest.addr(), target, &headers).await.unwrap()
    }

    /// `policy name code` of what policies in shadow would have done, in the order of requests.
    async fn told(&self, requests: usize) -> Vec<String> {
        eventually("all requests on record", async || {
            let audit = std::fs::read_to_string(self.gateway.dir().join("audit.jsonl")).ok()?;
            let records: Vec<Value> =
                audit.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let decisions = records.iter().filter(|record| record.get("decision").is_some());
            if decisions.clone().count() < requests {
                return None;
            }
            let would =
                decisions.flat_map(|record| record["would"].as_array().into_iter().flatten());
            let text = |would: &Value, key: &str| would[key].as_str().unwrap().to_owned();
            Some(
                would
                    .map(|of| {
                        format!("{} {} {}", text(of, "policy"), text(of, "name"), text(of, "code"))
                    })
                    .collect(),
            )
        })
        .await
    }
}

#[tokio::test]
async fn in_shadow_the_database_alone_decides_and_what_isolation_would_do_is_on_record() {
    let world = World::start().await;
    // A member of both, whose requests are for globex: confined, she would miss what she sees now.
    let all = "/events?select=id,title&order=id";
    let answer = world.get(CAROL, all).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.text().contains(ACME.mark) && answer.text().contains(GLOBEX.mark));
    assert_eq!(answer.text(), world.direct(CAROL, all).await.text());
    let own = world.get(ALICE, all).await.text();
    assert!(own.contains(ACME.mark) && !own.contains(GLOBEX.mark), "{own}");
    // Isolation would refuse this body; the database knows that she may.
    let made = json!({ "title": "made", "organization_id": ACME.id });
    let made = world.send(CAROL, "POST", "/events", &made).await;
    assert_eq!((made.status, made.json()[0]["organization_id"].as_str()), (201, Some(ACME.id)));
    // And this one the database refuses, by its own word.
    let theirs = json!({ "title": "theirs", "organization_id": GLOBEX.id });
    let theirs = world.send(ALICE, "POST", "/events", &theirs).await;
    assert_eq!(theirs.json()["code"], "42501", "{}", theirs.text());
    let moved = json!({ "organization_id": GLOBEX.id });
    let moved =
        world.send(CAROL, "PATCH", "/events?title=eq.made&select=organization_id", &moved).await;
    assert_eq!(moved.json(), json!([{ "organization_id": GLOBEX.id }]));
    let confined = "table events confined";
    let escape = "table events rest_tenant_escape";
    assert_eq!(world.told(5).await, [confined, confined, escape, escape, confined]);

    let report = std::process::Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(["shadow", "report", "--json", "audit.jsonl"])
        .current_dir(world.gateway.dir())
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    let policies = report["policies"].as_array().unwrap().iter();
    let counted: Vec<(&str, u64)> = policies
        .map(|of| (of["effect"].as_str().unwrap(), of["requests"].as_u64().unwrap()))
        .collect();
    assert_eq!(counted, [("refuse", 2), ("confine", 3)], "{report:#}");
    let metrics = http::get(world.gateway.admin(), "/metrics", &[]).await.unwrap().text();
    for line in [
        "tollgate_shadow_tables 2",
        "tollgate_would_confine_total 3",
        "tollgate_would_refuse_total{code=\"rest_tenant_escape\",policy=\"table\"} 2",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    assert!(world.gateway.log().contains("the gateway does not isolate the table `events`"));
}

#[tokio::test]
async fn no_way_leads_through_a_table_in_shadow_to_one_that_is_enforced() {
    let world = World::start().await;
    let before = Contents::of(&world.postgres).await;
    let theirs =
        |text: &str| text.contains("GLOBEX-ONLY-project") || text.contains("GLOBEX-ONLY-notes");
    for path in ["/projects?select=name", "/events?select=project_names"] {
        assert!(theirs(&world.direct(ALICE, path).await.text()), "nothing to hide: {path}");
    }
    for target in [
        "/projects?select=name",
        "/projects?select=name,events(id)",
        "/events?select=id,projects(name,notes)",
        "/events?select=id,...projects(name)",
        "/events?select=id,p:projects(name)",
        "/events?select=id,p:projects!inner(name)",
        "/events?select=id,projects!left(name)",
        "/events?select=id,events_project_id_fkey(name)",
        "/events?select=id,project_id(name)",
        "/events?select=id,%70rojects(name)",
        "/events?%73elect=id,projects(name)",
        "/events?select=id,%22projects%22(name)",
        "/events?select=id,projects(name)&projects.organization_id=eq.22222222-2222-4222-8222-222222222222",
        "/events?select=id,projects(name)&projects.or=(id.gt.0)",
        "/events?select=id,projects()&projects.name=like.GLOBEX*",
        "/events?select=id,event_projects(projects(name))",
        "/event_projects?select=projects(name)",
        "/event_projects?select=...projects(name),events(title)",
        "/event_projects?select=events(title,projects(name))",
        "/events?select=id,x:projects!event_projects(name)",
        "/events?select=id;select=projects(name)",
        "/events?select=id&select=projects(name)",
        "/events?select=id&select[]=projects(name)",
        "/events?select=id%26select%3Dprojects(name)",
        "/events?select=id,project_names",
        "/events?select=id,n:project_names",
        "/events?select=id,project_names::text",
        "/events?select=*,project_names",
        "/events?select=id,all_projects(name)",
        "/events?select=id,...all_projects(name)",
        "/events?select=id&project_names=like.*GLOBEX*",
        "/events?select=id&or=(project_names.like.*GLOBEX*)",
        "/events?select=id&order=project_names",
        "/events?select=id,projects(name)&order=projects(name).desc",
        "/events/../projects?select=name",
        "/events%2f..%2fprojects?select=name",
        "/%65vents/?select=id,projects(name)",
        "//events?select=id,projects(name)",
        "/rpc/all_projects",
        "/rpc/search_events?term=GLOBEX",
        "/secrets",
        "/project_events",
        "/",
    ] {
        for method in ["GET", "POST", "PATCH", "DELETE"] {
            let body = match method {
                "POST" | "PATCH" => json!({ "title": "ACME-ONLY-new" }),
                _ => Value::Null,
            };
            let at = if method == "GET" { target.to_owned() } else { written(target) };
            let answer = world.send(ALICE, method, &at, &body).await;
            assert!(!theirs(&answer.text()), "{method} {at}: {}", answer.text());
        }
    }
    // What a head asks for besides.
    for fields in [
        &[("Accept-Profile", "private")][..],
        &[("Accept", "application/vnd.pgrst.plan; options=verbose")],
        &[("Prefer", "params=single-object"), ("X-HTTP-Method-Override", "DELETE")],
        &[("Prefer", "count=planned, tx=rollback")],
        &[("Range", "0-1000"), ("Range-Unit", "items")],
        &[("X-Tollgate-Organization", "globex"), ("Role", "service_role")],
    ] {
        let target = "/rest/v1/events?select=id,projects(name)";
        let answer = world.with(ALICE, "GET", target, fields, &Value::Null).await;
        assert!(!theirs(&answer.text()), "{fields:?}: {}", answer.text());
    }
    let after = Contents::of(&world.postgres).await;
    assert_eq!(after.rows("projects", GLOBEX), before.rows("projects", GLOBEX));
    assert_eq!(after.rows("events", GLOBEX), before.rows("events", GLOBEX), "row-level security");
}

/// The same for a write, of one row.
fn written(target: &str) -> String {
    let mark = if target.contains('?') { '&' } else { '?' };
    format!("{target}{mark}id=eq.3")
}
