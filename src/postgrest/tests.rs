//! What the room promises as a whole: the table of requests and verdicts, and properties over
//! generated requests.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::*;
use crate::domain::catalog::{Caps, Catalog, ForeignKey, Table, Tenancy};
use crate::domain::ids::OrgId;
use crate::domain::source::Source;

mod properties;

const O: &str = "aaaaaaaa-0000-4000-8000-00000000000a";
const B: &str = "bbbbbbbb-0000-4000-8000-00000000000b";
const F: &str = "organization_id=eq.aaaaaaaa-0000-4000-8000-00000000000a";
const ALL: &str = "select=id,title,organization_id,%22order%22";

fn org() -> OrgId {
    O.parse().unwrap()
}

fn table(name: &str, tenancy: Tenancy, columns: &[&str], writable: bool) -> (Arc<str>, Arc<Table>) {
    let name: Arc<str> = Arc::from(name);
    let columns = columns.iter().map(|column| Arc::from(*column)).collect();
    let mut table = Table::new(name.clone(), tenancy, columns, Source::built_in());
    table.writable = writable;
    (name, Arc::new(table))
}

fn catalog() -> Catalog {
    let tenant = || Tenancy::column(Arc::from("organization_id"));
    Catalog {
        schema: Arc::from("public"),
        tables: BTreeMap::from([
            table("events", tenant(), &["id", "title", "organization_id", "order"], true),
            table("reports", tenant(), &["id", "apikey"], false),
            table("keys", tenant(), &["id", "apikey"], true),
            table("odd name/ä", Tenancy::column(Arc::from("Org, \"id\"")), &["id"], true),
            table("countries", Tenancy::Global, &["code", "name"], true),
            table("secrets", Tenancy::Denied, &["id"], true),
            table("bare", tenant(), &[], true),
        ]),
        ..Catalog::default()
    }
}

fn send(method: RestMethod, url: &str, headers: &[(&str, &str)]) -> Result<Confined, RestRefusal> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    let (path, query) = match url.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (url, None),
    };
    confine(&RestRequest { method, path, query, headers: &map }, &catalog(), org())
}

fn get(url: &str) -> Result<String, RestRefusal> {
    send(RestMethod::Get, url, &[]).map(|confined| confined.target().to_owned())
}

fn header(confined: &Confined, name: &str) -> Option<String> {
    let mut found = confined.headers().iter().filter(|(known, _)| known == name);
    let value = found.next().map(|(_, value)| value.to_str().unwrap().to_owned());
    assert!(found.next().is_none(), "`{name}` twice");
    value
}

fn rewrite(confined: &Confined, body: &str) -> Result<String, RestRefusal> {
    let out = confined.body().rewrite(body.as_bytes())?.expect("a body");
    Ok(String::from_utf8(out).unwrap())
}

#[test]
fn written_rows_in_csv_have_their_columns_in_the_order_of_postgrests_first_line() {
    let headers = [("accept", "text/csv"), ("prefer", "return=representation")];
    let target = |method, url| send(method, url, &headers).unwrap().target().to_owned();
    for url in ["/events", "/events?select=*"] {
        let spelled = "/events?select=id,%22order%22,organization_id,title";
        assert_eq!(target(RestMethod::Post, url), spelled);
        assert!(target(RestMethod::Delete, url).starts_with(spelled), "{url}");
    }
    assert!(target(RestMethod::Get, "/events").starts_with(&format!("/events?{ALL}")));
}

/// PostgREST finds what a parameter addresses by target as well as by alias.
#[test]
fn the_embed_of_a_parent_has_no_name_of_an_embed_of_the_clients() {
    let mut catalog = catalog();
    let through = Tenancy::Through { constraint: "c_event".into(), parent: "events".into() };
    let (name, comments) = table("comments", through, &["id", "event_id", "about_id"], false);
    catalog.tables.insert(name, comments);
    for (constraint, column) in [("c_event", "event_id"), ("c_about", "about_id")] {
        let constraint: Arc<str> = constraint.into();
        let key = ForeignKey {
            constraint: Arc::clone(&constraint),
            table: "comments".into(),
            columns: vec![column.into()],
            target: "events".into(),
            target_columns: vec!["id".into()],
            one_to_one: false,
        };
        catalog.foreign_keys.insert(constraint, Arc::new(key));
    }
    let headers = HeaderMap::new();
    let confined = |select: &str| {
        let query = format!("select={select}");
        let (method, query) = (RestMethod::Get, Some(query.as_str()));
        let request = RestRequest { method, path: "/comments", query, headers: &headers };
        confine(&request, &catalog, org()).map(|confined| confined.target().to_owned())
    };
    let by_table = confined("e:events!c_about(id)").unwrap();
    assert!(by_table.contains("gwp0:events!c_event!inner()&"), "{by_table}");
    let by_constraint = confined("events!c_about(id)").unwrap();
    assert!(by_constraint.contains("gwp0:c_event!inner()&"), "{by_constraint}");
    assert!(by_constraint.contains(&format!("&events.{F}")), "{by_constraint}");
    let neither = confined("events!c_about(id),c_event(id)").unwrap_err();
    assert_eq!(neither.code(), "rest_embed_twins");
}

#[test]
fn reads_of_a_tenant_table_get_the_tenant_filter() {
    for (url, target) in [
        ("/events", format!("/events?{ALL}&{F}")),
        ("/ev%65nts?", format!("/events?{ALL}&{F}")),
        (
            &format!("/events?select=id&organization_id=eq.{B}"),
            format!("/events?select=id&organization_id=eq.{B}&{F}"),
        ),
        (
            &format!("/events?select=id&organization_id=in.({O},{B})"),
            format!("/events?select=id&organization_id=in.({O},{B})&{F}"),
        ),
        (
            &format!("/events?select=id&organization_id=eq(any).{{{O},{B}}}"),
            format!("/events?select=id&organization_id=eq(any).%7B{O}%2C{B}%7D&{F}"),
        ),
        (
            &format!("/events?select=id&or=(organization_id.eq.{B},id.gt.0)"),
            format!("/events?select=id&{F}&or=(organization_id.eq.{B},id.gt.0)"),
        ),
        (
            &format!("/events?select=id&not.and=(organization_id.eq.{O})"),
            format!("/events?select=id&{F}&not.and=(organization_id.eq.{O})"),
        ),
        (
            &format!("/events?select=id&%22organization_id%22=eq.{B}&%20organization_id=eq.{B}"),
            format!("/events?select=id&organization_id=eq.{B}&organization_id=eq.{B}&{F}"),
        ),
        (
            "/events?select=*,t:title,id&order=id.desc&limit=5&offset=10",
            format!(
                "/events?select=id,title,organization_id,%22order%22,t:title&{F}&order=id.desc&limit=5&offset=10"
            ),
        ),
        ("/events?select=id&apikey=sb_publishable_x", format!("/events?select=id&{F}")),
        ("/reports?select=id&apikey=eq.x", format!("/reports?select=id&%22apikey%22=eq.x&{F}")),
        ("/odd%20name%2Fä", String::new()),
    ] {
        if target.is_empty() {
            assert_eq!(get(url), Err(RestRefusal::PathMalformed), "{url}");
        } else {
            assert_eq!(get(url).as_deref(), Ok(target.as_str()), "{url}");
        }
    }
}

#[test]
fn a_head_is_confined_like_a_get() {
    let head = send(RestMethod::Head, "/events", &[("prefer", "count=planned"), ("range", "junk")])
        .unwrap();
    assert_eq!(head.target(), format!("/events?{ALL}&{F}"));
    assert_eq!(header(&head, "prefer").as_deref(), Some("count=exact"));
    assert_eq!(header(&head, "range"), None);
    assert!(head.injections().contains(&Injection::CountMadeExact));
    assert!(matches!(head.body(), BodyRule::None));
}

#[test]
fn global_tables_are_read_only_and_unfiltered() {
    assert_eq!(get("/countries?code=eq.DE").unwrap(), "/countries?select=code,name&code=eq.DE");
    for method in [RestMethod::Post, RestMethod::Patch, RestMethod::Put, RestMethod::Delete] {
        let refused = send(method, "/countries", &[]).unwrap_err();
        assert_eq!((refused.status().as_u16(), refused.code()), (403, "rest_table_read_only"));
    }
}

#[test]
fn what_is_not_catalogued_does_not_exist() {
    for url in
        ["/secrets", "/nothing", "/Events", "/bare", "/rpc/org_stats", "/rpc/graphql", "/", ""]
    {
        assert_eq!(get(url).unwrap_err().status(), 404, "{url}");
    }
    let denied = get("/secrets").unwrap_err();
    let missing = get("/nothing").unwrap_err();
    assert_eq!(
        (denied.code(), denied.public_message()),
        (missing.code(), missing.public_message())
    );
}

#[test]
fn refused_requests_have_the_status_of_the_table() {
    for (url, status) in [
        ("/events?id=eq.1;title=eq.x", 400),
        ("/events?select&select=secret", 400),
        ("/events?limit=1&limit=2", 400),
        ("/ev%00ents", 400),
        ("/events?id=eq.%00", 400),
        ("/events?id=eq.%ff", 400),
        ("/rpc%2Fbump", 400),
        ("//events", 400),
        ("/events/", 400),
        ("/./events", 400),
        ("/events?select=secret", 403),
        ("/events?select=to_jsonb", 403),
        ("/events?select=count", 403),
        ("/events?secret=eq.1", 403),
        ("/events?or=(secret.eq.1)", 403),
        ("/events?or=(id.eq.1,and(id.eq.2,secret.eq.1))", 403),
        ("/events?order=secret", 403),
        ("/events?select=id::regclass", 403),
        ("/events?select=secret.sum()", 403),
        ("/events?select=secret->a", 403),
        ("/events?select=id.max()::regclass", 403),
        ("/events?select=count()::regclass", 403),
        ("/events?secret->>a=eq.1", 403),
        ("/events?or=(secret->a.is.null)", 403),
        ("/events?order=secret->a", 403),
        ("/events?select=id,projects(name)", 400),
        ("/events?projects=is.null", 403),
        ("/events?order=projects(name)", 400),
        ("/events?projects.id=eq.1", 400),
        ("/events?on_conflict=id", 400),
        ("/events?columns=id", 400),
        ("/%72pc/bump", 404),
    ] {
        assert_eq!(get(url).unwrap_err().status(), status, "{url}");
    }
    for (headers, status) in [
        (("accept", "application/vnd.pgrst.plan+json"), 406),
        (("accept-profile", "private"), 406),
        (("range", "bytes=1-2"), 400),
        (("prefer", "resolution=merge-duplicates"), 400),
    ] {
        let refused = send(RestMethod::Get, "/events", &[headers]).unwrap_err();
        assert_eq!(refused.status(), status, "{headers:?}");
    }
    let put = send(RestMethod::Put, "/events?id=eq.1", &[]).unwrap_err();
    assert_eq!((put.status().as_u16(), put.code()), (403, "rest_upsert_key"));
}

#[test]
fn the_profile_is_always_the_catalogues() {
    let conflicting = [("accept-profile", "public"), ("content-profile", "private")];
    let read = send(RestMethod::Get, "/events", &conflicting).unwrap();
    assert_eq!(header(&read, "accept-profile").as_deref(), Some("public"));
    assert_eq!(header(&read, "content-profile"), None);
    let refused = send(RestMethod::Delete, "/events", &conflicting).unwrap_err();
    assert_eq!(refused.status(), 406);
    let write = send(RestMethod::Delete, "/events", &[("accept-profile", "private")]).unwrap();
    assert_eq!(header(&write, "content-profile").as_deref(), Some("public"));
    assert_eq!(header(&write, "accept-profile"), None);
}

#[test]
fn an_insert_has_no_filter_and_forces_the_tenant() {
    let plain = send(RestMethod::Post, "/events", &[("prefer", "return=minimal")]).unwrap();
    assert_eq!(plain.target(), "/events");
    assert_eq!(header(&plain, "content-type").as_deref(), Some("application/json"));
    assert_eq!(header(&plain, "prefer").as_deref(), Some("return=minimal"));
    assert_eq!(
        rewrite(&plain, "{\"id\":1}").unwrap(),
        format!("{{\"id\":1,\"organization_id\":\"{O}\"}}")
    );
    let escape = rewrite(&plain, &format!("[{{\"id\":1}},{{\"organization_id\":\"{B}\"}}]"));
    assert!(escape.unwrap_err().is_tenant_escape());

    let bulk = send(
        RestMethod::Post,
        "/events?columns=%22id%22%2C%22title%22&select=id",
        &[("prefer", "return=representation, missing=default")],
    )
    .unwrap();
    assert_eq!(bulk.target(), "/events?select=id&columns=id,title,organization_id");

    let naming = send(RestMethod::Post, "/events?columns=organization_id,id", &[]).unwrap();
    assert_eq!(naming.target(), "/events?columns=organization_id,id");
}

#[test]
fn an_update_is_filtered_and_cannot_move_a_row() {
    let plain = send(RestMethod::Patch, "/events?id=eq.1", &[]).unwrap();
    assert_eq!(plain.target(), format!("/events?id=eq.1&{F}"));
    assert_eq!(plain.client_conditions(), 1);
    assert_eq!(rewrite(&plain, "{\"title\":\"x\"}").unwrap(), "{\"title\":\"x\"}");
    let moved = rewrite(&plain, &format!("{{\"organization_id\":\"{B}\"}}")).unwrap_err();
    assert!(moved.is_tenant_escape());

    let through_columns = send(RestMethod::Patch, "/events?columns=organization_id", &[]).unwrap();
    assert_eq!(
        rewrite(&through_columns, "{}").unwrap(),
        format!("{{\"organization_id\":\"{O}\"}}")
    );
}

#[test]
fn a_delete_is_filtered_and_takes_no_body() {
    let delete =
        send(RestMethod::Delete, "/events", &[("prefer", "return=representation")]).unwrap();
    assert_eq!(delete.target(), format!("/events?{ALL}&{F}"));
    assert_eq!(delete.client_conditions(), 0);
    assert!(matches!(delete.body(), BodyRule::None));
}

#[test]
fn a_limited_change_is_ordered_by_the_tenant_too() {
    for method in [RestMethod::Patch, RestMethod::Delete] {
        let limited = send(method, "/events?limit=2&order=title", &[]).unwrap();
        assert_eq!(limited.target(), format!("/events?{F}&order=title,organization_id&limit=2"));
        let offset = send(method, "/events?offset=2&order=organization_id.desc,id", &[]).unwrap();
        assert_eq!(offset.target(), format!("/events?{F}&order=organization_id.desc,id&offset=2"));
        let unordered = send(method, "/events?limit=2", &[]).unwrap_err();
        assert_eq!(unordered, RestRefusal::LimitWithoutOrder);
    }
}

#[test]
fn parameters_without_effect_on_an_insert_are_refused() {
    for query in ["id=eq.1", "or=(id.eq.1)", "limit=1", "offset=1"] {
        let refused = send(RestMethod::Post, &format!("/events?{query}"), &[]).unwrap_err();
        assert_eq!(refused, RestRefusal::InsertWithFilter, "{query}");
    }
}

#[test]
fn only_uncompressed_bodies_in_a_known_language_are_written() {
    for header in [
        ("content-type", "application/vnd.pgrst.object+json"),
        ("content-type", "text/plain"),
        ("content-encoding", "gzip"),
    ] {
        for method in [RestMethod::Post, RestMethod::Patch] {
            assert_eq!(send(method, "/events", &[header]).unwrap_err().status(), 415, "{header:?}");
        }
        assert!(send(RestMethod::Get, "/events", &[header]).is_ok());
    }
}

#[test]
fn a_filter_on_a_column_named_apikey_is_never_dropped() {
    let filtered = send(RestMethod::Delete, "/keys?apikey=eq.x", &[]).unwrap();
    assert_eq!(filtered.target(), format!("/keys?%22apikey%22=eq.x&{F}"));
    assert_eq!(send(RestMethod::Delete, "/keys?apikey=sb_x", &[]).unwrap_err().status(), 400);
}

#[test]
fn odd_names_are_quoted_and_encoded() {
    let mut catalog = catalog();
    let odd = catalog.tables.remove("odd name/ä").unwrap();
    catalog.tables.insert(Arc::from("odd name ä"), odd);
    let headers = HeaderMap::new();
    let request = RestRequest {
        method: RestMethod::Get,
        path: "/odd%20name%20%C3%A4",
        query: Some("select=id"),
        headers: &headers,
    };
    let confined = confine(&request, &catalog, org()).unwrap();
    assert_eq!(
        confined.target(),
        format!("/odd%20name%2F%C3%A4?select=id&%22Org%2C%20%5C%22id%5C%22%22=eq.{O}")
    );
}

#[test]
fn public_texts_never_repeat_the_request() {
    for url in ["/events?s3cr3t=eq.1", "/events?select=s3cr3t", "/s3cr3t", "/events?order=s3cr3t,,"]
    {
        let refused = get(url).unwrap_err();
        assert!(!refused.public_message().contains("s3cr3t"), "{url}");
        assert!(refused.to_string().contains("s3cr3t"), "{url}");
    }
}

#[test]
fn the_caps_of_the_catalogue_count_below_those_of_the_grammar() {
    let caps = Caps { depth: 2, filters: 3, ..Caps::default() };
    let catalog = Catalog { caps, ..catalog() };
    for (query, code) in [
        ("id=eq.1&or=(id.eq.2,id.eq.3)", None),
        ("id=eq.1&or=(id.eq.2,id.eq.3,id.eq.4)", Some("rest_too_many_filters")),
        ("or=(id.eq.1,and(id.eq.2,id.eq.3))", None),
        ("or=(id.eq.1,and(id.eq.2,not.or(id.eq.3)))", Some("rest_logic_too_deep")),
    ] {
        let headers = HeaderMap::new();
        let method = RestMethod::Get;
        let request =
            RestRequest { method, path: "/events", query: Some(query), headers: &headers };
        let refused = confine(&request, &catalog, org()).err();
        assert_eq!(refused.map(|refusal| refusal.code()), code, "{query}");
    }
}

#[test]
fn texts_name_the_caps_as_they_are() {
    for (cap, number) in [
        (Cap::Filters, MAX_FILTERS),
        (Cap::LogicLevels, MAX_LOGIC_DEPTH),
        (Cap::ListValues, MAX_LIST_VALUES),
        (Cap::SelectItems, MAX_SELECT_ITEMS),
        (Cap::Columns, MAX_SELECT_ITEMS),
        (Cap::OrderTerms, MAX_ORDER_TERMS),
        (Cap::Rows, MAX_INSERT_ROWS),
    ] {
        let text = RestRefusal::TooMany(cap).public_message();
        assert!(text.split(' ').any(|word| word == number.to_string()), "{text}");
    }
}
