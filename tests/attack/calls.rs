//! Calls of functions, on a database of two organizations without row-level security.

use std::collections::BTreeMap;
use std::sync::Arc;

use tollgate::domain::catalog::{Argument, Catalog, Function, Returns, Table, Tenancy};
use tollgate::domain::source::Source;

use crate::support::fixture::{ACME, Contents, GLOBEX};
use crate::support::postgres::Postgres;
use crate::upstream::{Request, Upstream};

/// `search_events(term)` is in the fixture: it finds events of all organizations.
const FUNCTIONS: &str = "
create function org_titles(org uuid, longest int default 100) returns setof text
language sql stable as
$$ select title from events where organization_id = org and length(title) <= longest $$;
create function everything() returns setof events
language sql stable security definer as 'select * from events';
create function rename_event(org uuid, event bigint, title text) returns bigint
language sql as $$
    update events e set title = rename_event.title
    where e.id = event and e.organization_id = org returning e.id
$$;
grant execute on all functions in schema public to authenticated;
";

const COLUMNS: [&str; 8] =
    ["id", "organization_id", "project_id", "title", "starts_at", "capacity", "meta", "tags"];

fn catalog() -> Catalog {
    let columns = COLUMNS.iter().map(|column| Arc::from(*column)).collect();
    let tenancy = Tenancy::column("organization_id".into());
    let events = Table::new("events".into(), tenancy, columns, Source::built_in());
    let rows = || Returns::Rows { table: "events".into(), filtered: true };
    let (tenant, client) = (Argument::Tenant, Argument::Client);
    let functions = [
        ("search_events", vec![("term", client)], rows(), true),
        ("everything", vec![], rows(), true),
        ("org_titles", vec![("org", tenant), ("longest", client)], Returns::Opaque, true),
        (
            "rename_event",
            vec![("org", tenant), ("event", client), ("title", client)],
            Returns::Opaque,
            false,
        ),
    ];
    let functions = functions.into_iter().map(|(name, arguments, returns, read_only)| {
        let arguments = arguments.into_iter().map(|(name, argument)| (name.into(), argument));
        let (name, source): (Arc<str>, _) = (name.into(), Source::built_in());
        let function = Function {
            name: Arc::clone(&name),
            arguments: arguments.collect(),
            returns,
            read_only,
            source,
        };
        (name, Arc::new(function))
    });
    Catalog {
        schema: "public".into(),
        tables: BTreeMap::from([("events".into(), Arc::new(events))]),
        functions: functions.collect(),
        ..Catalog::default()
    }
}

async fn world() -> (Postgres, Upstream) {
    let postgres = Postgres::start().await;
    postgres.execute("app", FUNCTIONS).await;
    let upstream = Upstream::with(&postgres, catalog()).await;
    (postgres, upstream)
}

#[tokio::test]
async fn a_call_sees_and_changes_the_organizations_rows_only() {
    let (postgres, upstream) = world().await;
    let others = Contents::of(&postgres).await.without(ACME);
    let form = &[("content-type", "application/x-www-form-urlencoded")][..];
    let own = format!("/rpc/org_titles?org={}", ACME.id.to_uppercase());
    for (method, url, headers, body, expected) in [
        ("GET", "/rpc/search_events?term=kick", &[][..], "", "ACME-ONLY-kickoff"),
        (
            "GET",
            "/rpc/search_events?term=e&select=title,organization_id&title=like.*view&limit=1",
            &[],
            "",
            "review",
        ),
        ("POST", "/rpc/search_events", &[], "{\"term\":\"e\"}", "ACME-ONLY-review"),
        (
            "POST",
            "/rpc/search_events?select=id,t:title,o:organization_id&order=id.desc",
            form,
            "term=e",
            "review",
        ),
        ("GET", "/rpc/everything", &[], "", "ACME-ONLY-party"),
        ("POST", "/rpc/everything?or=(id.gt.0,id.lt.0)", &[], "", "ACME-ONLY-party"),
        ("GET", "/rpc/org_titles", &[], "", "ACME-ONLY-kickoff"),
        ("GET", own.as_str(), &[], "", "ACME-ONLY-kickoff"),
        ("GET", "/%72pc/org_titles?%6Congest=99", &[], "", "ACME-ONLY-kickoff"),
        ("POST", "/rpc/org_titles", &[], "{}", "ACME-ONLY-kickoff"),
        ("POST", "/rpc/org_titles", &[], "", "ACME-ONLY-kickoff"),
        ("POST", "/rpc/org_titles", form, "longest=99", "ACME-ONLY-kickoff"),
        ("POST", "/rpc/rename_event", &[], "{\"event\":1,\"title\":\"ACME-ONLY-new\"}", "1"),
        ("POST", "/rpc/rename_event", &[], "{\"event\":4,\"title\":\"x\"}", "null"),
    ] {
        let request = Request { method, url, headers, body };
        let sent = upstream.confine(&request, ACME).unwrap_or_else(|e| panic!("{url}: {e}"));
        let answer = upstream.send(&sent).await;
        let text = answer.text();
        assert_eq!(answer.status, 200, "{method} {url}: {sent:?}: {text}");
        assert!(text.contains(expected), "{method} {url}: {sent:?}: {text}");
        assert!(!text.contains(GLOBEX.mark) && !text.contains(GLOBEX.id), "{url}: {text}");
        assert_eq!(Contents::of(&postgres).await.without(ACME), others, "{method} {url}");
    }
}

#[tokio::test]
async fn calls_that_name_another_organization_or_what_is_not_catalogued_are_refused() {
    let (_postgres, upstream) = world().await;
    let b = GLOBEX.id;
    let object = format!("{{\"org\":\"{b}\"}}");
    let form = format!("org={b}");
    for (method, url, body, code) in [
        ("GET", format!("/rpc/org_titles?org={b}"), "", "rest_tenant_escape"),
        ("GET", format!("/rpc/org_titles?%6Frg={b}"), "", "rest_tenant_escape"),
        ("GET", "/rpc/org_titles?org=".to_owned(), "", "rest_tenant_escape"),
        ("GET", format!("/rpc/org_titles?org={}&org={b}", ACME.id), "", "rest_argument_repeated"),
        ("GET", format!("/rpc/org_titles?org=eq.{b}"), "", "rest_tenant_escape"),
        ("POST", "/rpc/org_titles".to_owned(), object.as_str(), "rest_tenant_escape"),
        ("POST", format!("/rpc/org_titles?org={b}"), "{}", "rest_filter_malformed"),
        ("POST", "/rpc/org_titles".to_owned(), form.as_str(), "rest_body_malformed"),
        ("POST", "/rpc/org_titles".to_owned(), "[{}]", "rest_body_malformed"),
        ("POST", "/rpc/org_titles".to_owned(), "{\"other\":1}", "rest_argument_unknown"),
        (
            "POST",
            "/rpc/org_titles".to_owned(),
            "{\"longest\":1,\"longest\":2}",
            "rest_body_key_repeated",
        ),
        ("POST", "/rpc/org_titles?select=x".to_owned(), "{}", "rest_function_opaque"),
        ("GET", "/rpc/org_titles?limit=1".to_owned(), "", "rest_function_opaque"),
        ("GET", "/rpc/search_events?term=a&select=secret".to_owned(), "", "rest_column_unknown"),
        ("GET", "/rpc/search_events?term=a&select=title".to_owned(), "", "rest_function_select"),
        ("GET", "/rpc/search_events?other=eq.a".to_owned(), "", "rest_column_unknown"),
        ("GET", "/rpc/rename_event?event=1&title=x".to_owned(), "", "rest_function_method"),
        ("DELETE", "/rpc/rename_event".to_owned(), "", "rest_function_method"),
        ("GET", "/rpc/count_events".to_owned(), "", "rest_function_unknown"),
        ("POST", "/rpc/graphql".to_owned(), "{}", "rest_function_unknown"),
        ("GET", "/rpc/".to_owned(), "", "rest_path_malformed"),
        ("GET", "/rpc%2Forg_titles".to_owned(), "", "rest_path_malformed"),
    ] {
        let request = Request { method, url: &url, headers: &[], body };
        let refusal = upstream.confine(&request, ACME).expect_err(&url);
        assert_eq!(refusal.code(), code, "{method} {url}: {refusal}");
    }
}
