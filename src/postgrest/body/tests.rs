//! Bodies, one promise each.

use super::*;
use crate::domain::catalog::Tenancy;
use crate::domain::escape::{Place, Resource, TenantEscape};
use crate::domain::source::Source;
use crate::postgrest::refusal::Cap;

const O: &str = "aaaaaaaa-0000-4000-8000-00000000000a";
const B: &str = "bbbbbbbb-0000-4000-8000-00000000000b";

fn rule(write: Write, source: BodySource, columns: Option<&[&str]>) -> BodyRule {
    let column: Arc<str> = Arc::from("organization_id");
    let known = ["id", "title", "amount", "q\"uo\te"].map(Arc::from).to_vec();
    let tenancy = Tenancy::column(column.clone());
    let table = Table::new(Arc::from("events"), tenancy, known, Source::built_in());
    let named = columns.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
    let named: Option<Vec<String>> = named;
    let (table, org) = (Arc::new(table), O.parse().unwrap());
    BodyRule::Rows(RowsRule::new(table, column, org, write, source, named.as_deref()))
}

fn apply(rule: &BodyRule, body: &str) -> Result<String, RestRefusal> {
    let out = rule.rewrite(body.as_bytes())?.expect("a body");
    Ok(String::from_utf8(out).unwrap())
}

/// What the refusal says of an attempt on column `organization_id` of `events`.
fn escape(named: Option<&str>) -> RestRefusal {
    RestRefusal::TenantEscape(Box::new(TenantEscape {
        resource: Resource::Table(Arc::from("events")),
        name: Arc::from("organization_id"),
        place: Place::Body,
        named: named.map(|id| id.parse().unwrap()),
    }))
}

fn rewritten(write: Write, body: &str) -> Result<String, RestRefusal> {
    apply(&rule(write, BodySource::Json, None), body)
}

#[test]
fn an_insert_gets_the_tenant_in_every_row() {
    for (body, out) in [
        ("{}", format!("{{\"organization_id\":\"{O}\"}}")),
        ("[]", "[]".to_owned()),
        (
            " [ {\"id\" : 1 , \"title\":\"x\"},{\"id\":2}]\n",
            format!(
                "[{{\"id\":1,\"title\":\"x\",\"organization_id\":\"{O}\"}},\
                 {{\"id\":2,\"organization_id\":\"{O}\"}}]"
            ),
        ),
        (
            "{\"organization_id\":null,\"id\":1}",
            format!("{{\"organization_id\":\"{O}\",\"id\":1}}"),
        ),
    ] {
        assert_eq!(rewritten(Write::Insert, body).unwrap(), out, "{body}");
    }
}

#[test]
fn values_keep_their_exact_text() {
    let value =
        "{\"z\": [1,\t2], \"a\":\"\\u00e4\\/\", \"z\":12345678901234567890123456789012345.10}";
    let body = format!("{{\"title\":{value},\"amount\":1e2,\"q\\\"uo\\te\":-0.0}}");
    let out = rewritten(Write::Update, &body).unwrap();
    assert_eq!(out, format!("{{\"title\":{value},\"amount\":1e2,\"q\\\"uo\\u0009e\":-0.0}}"));
}

#[test]
fn the_own_tenant_is_accepted_in_any_spelling_and_printed_canonically() {
    let canonical = format!("{{\"organization_id\":\"{O}\"}}");
    for spelling in [
        O.to_owned(),
        O.to_uppercase(),
        O.replace('-', ""),
        format!("{{{O}}}"),
        O.replacen('a', "\\u0061", 1),
    ] {
        for write in [Write::Insert, Write::Update, Write::UpdateNamingTenant] {
            let body = format!("{{\"organization_id\":\"{spelling}\"}}");
            assert_eq!(rewritten(write, &body).unwrap(), canonical, "{body}");
            let body = format!("{{\"organization\\u005fid\":\"{spelling}\"}}");
            assert_eq!(rewritten(write, &body).unwrap(), canonical, "{body}");
        }
    }
}

#[test]
fn another_tenant_is_an_escape() {
    let foreign = format!("\"{B}\"");
    for (value, named) in [
        (foreign.as_str(), Some(B)),
        ("1", None),
        ("[]", None),
        ("{}", None),
        ("\"\"", None),
        ("true", None),
    ] {
        for key in ["organization_id", "organization\\u005fid", "\\u006Frganization_id"] {
            let body = format!("{{\"{key}\":{value}}}");
            for write in [Write::Insert, Write::Update, Write::UpdateNamingTenant] {
                assert_eq!(rewritten(write, &body), Err(escape(named)), "{body}");
            }
            let second = format!("[{{\"id\":1}},{body}]");
            assert_eq!(rewritten(Write::Insert, &second), Err(escape(named)));
        }
    }
    let to_null = rewritten(Write::Update, "{\"organization_id\":null}");
    assert_eq!(to_null, Err(escape(None)));
    assert!(escape(None).is_tenant_escape());
}

#[test]
fn an_update_that_names_the_tenant_in_columns_gets_it() {
    let out = rewritten(Write::UpdateNamingTenant, "{\"id\":1}").unwrap();
    assert_eq!(out, format!("{{\"id\":1,\"organization_id\":\"{O}\"}}"));
    assert_eq!(rewritten(Write::Update, "{\"id\":1}").unwrap(), "{\"id\":1}");
}

#[test]
fn keys_that_stand_twice_or_are_unknown_are_refused() {
    for (body, code) in [
        (
            format!("{{\"organization_id\":\"{O}\",\"organization_id\":\"{O}\"}}"),
            "rest_body_key_repeated",
        ),
        (
            format!("{{\"organization_id\":\"{O}\",\"organization\\u005fid\":\"{B}\"}}"),
            "rest_body_key_repeated",
        ),
        ("{\"id\":1,\"\\u0069d\":2}".to_owned(), "rest_body_key_repeated"),
        ("{\"Organization_id\":1}".to_owned(), "rest_column_unknown"),
        ("{\"organization_id\\u0000\":1}".to_owned(), "rest_column_unknown"),
        ("{\"\":1}".to_owned(), "rest_column_unknown"),
    ] {
        assert_eq!(rewritten(Write::Insert, &body).unwrap_err().code(), code, "{body}");
    }
    assert!(rewritten(Write::Insert, "[{\"id\":1},{\"id\":1}]").is_ok());
}

#[test]
fn what_is_not_one_json_object_or_array_of_objects_is_refused() {
    for body in [
        "",
        " ",
        "1",
        "\"x\"",
        "null",
        "[1]",
        "[[{}]]",
        "[null]",
        "{}{}",
        "[] []",
        "{} x",
        "\u{FEFF}{}",
        "{\"id\":}",
        "{\"id\":1,}",
        "[{},]",
        "{id:1}",
        "{\"id\":'x'}",
        "{\"id\":NaN}",
        "{\"id\":01}",
        "{",
        "/**/{}",
        "{\"id\":1}\u{0}",
        "{\"\\ud800\":1}",
    ] {
        let refused = rewritten(Write::Insert, body).unwrap_err();
        assert_eq!(refused.code(), "rest_body_malformed", "{body}");
    }
    let json = rule(Write::Insert, BodySource::Json, None);
    assert!(json.rewrite(b"{\"title\":\"\xff\"}").is_err());
    assert!(matches!(rewritten(Write::Update, "[{}]"), Err(RestRefusal::BodyMalformed(_))));
    let many = format!("[{}]", vec!["{}"; MAX_INSERT_ROWS + 1].join(","));
    assert_eq!(rewritten(Write::Insert, &many), Err(RestRefusal::TooMany(Cap::Rows)));
}
