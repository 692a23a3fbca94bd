//! Bodies, one promise each.

use proptest::prelude::*;

use super::*;
use crate::domain::catalog::{Argument, Returns, Tenancy};
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

fn in_language(source: BodySource, body: &str) -> Result<String, RestRefusal> {
    apply(&rule(Write::Insert, source, None), body)
}

#[test]
fn csv_becomes_json_as_postgrest_reads_it() {
    let t = format!("\"organization_id\":\"{O}\"");
    for (body, out) in [
        (
            "id,title\n1,a\n2,b\n",
            format!("[{{\"id\":\"1\",\"title\":\"a\",{t}}},{{\"id\":\"2\",\"title\":\"b\",{t}}}]"),
        ),
        ("title\r\na\r\nb", format!("[{{\"title\":\"a\",{t}}},{{\"title\":\"b\",{t}}}]")),
        ("title\ra\rb\r", format!("[{{\"title\":\"a\",{t}}},{{\"title\":\"b\",{t}}}]")),
        ("title\n", "[]".to_owned()),
        ("title\n\n\"\"\n\na\n\n", format!("[{{\"title\":\"a\",{t}}}]")),
        ("id,title\n,\n", format!("[{{\"id\":\"\",\"title\":\"\",{t}}}]")),
        ("id,title\nNULL,\"NULL\"\n", format!("[{{\"id\":null,\"title\":null,{t}}}]")),
        ("id,title\nnull, NULL\n", format!("[{{\"id\":\"null\",\"title\":\" NULL\",{t}}}]")),
        (
            "\"title\"\n\"a,\"\"b\"\"\r\n\\é\"\n",
            format!("[{{\"title\":\"a,\\\"b\\\"\\u000d\\u000a\\\\é\",{t}}}]"),
        ),
        ("organization_id,id\nNULL,1\n", format!("[{{{t},\"id\":\"1\"}}]")),
    ] {
        assert_eq!(in_language(BodySource::Csv, body).unwrap(), out, "{body:?}");
    }
    let own = format!("organization_id\n{}\n", O.to_uppercase());
    assert_eq!(in_language(BodySource::Csv, &own).unwrap(), format!("[{{{t}}}]"));
    let one = apply(&rule(Write::Update, BodySource::Csv, None), "title\na\n").unwrap();
    assert_eq!(one, "{\"title\":\"a\"}");
}

#[test]
fn csv_that_could_be_read_in_two_ways_is_refused() {
    for (body, code) in [
        ("", "rest_body_malformed"),
        ("title", "rest_body_malformed"),
        ("\u{feff}title\na\n", "rest_body_malformed"),
        ("id,title\n1\n", "rest_body_malformed"),
        ("id,title\n1,2,3\n", "rest_body_malformed"),
        ("title\na\"b\n", "rest_body_malformed"),
        ("title\n\"a\"b\n", "rest_body_malformed"),
        ("title\n\"a\n", "rest_body_malformed"),
        ("title\na\0b\n", "rest_body_malformed"),
        ("id,title,id\n1,a,2\n", "rest_body_key_repeated"),
        ("organization_id,\"organization_id\"\nNULL,NULL\n", "rest_body_key_repeated"),
        (" title\na\n", "rest_column_unknown"),
        ("\na\n", "rest_column_unknown"),
        ("title,\na,\n", "rest_column_unknown"),
    ] {
        assert_eq!(in_language(BodySource::Csv, body).unwrap_err().code(), code, "{body:?}");
    }
    for update in ["title\n", "title\na\nb\n"] {
        let refused = apply(&rule(Write::Update, BodySource::Csv, None), update).unwrap_err();
        assert_eq!(refused.code(), "rest_body_malformed");
    }
    let foreign = format!("id,organization_id\n1,{O}\n2,{B}\n");
    assert_eq!(in_language(BodySource::Csv, &foreign), Err(escape(Some(B))));
    let many = format!("id\n{}", "1\n".repeat(MAX_INSERT_ROWS + 1));
    assert_eq!(in_language(BodySource::Csv, &many), Err(RestRefusal::TooMany(Cap::Rows)));
}

#[test]
fn csv_grows_to_a_cap_only() {
    // Each `,` brings a column's name into the JSON.
    let names: Vec<String> =
        (0..60).map(|n| format!("a_rather_long_name_of_a_column_{n:03}")).collect();
    let known = names.iter().map(|name| Arc::from(name.as_str())).collect();
    let column: Arc<str> = Arc::from("organization_id");
    let table =
        Table::new(Arc::from("t"), Tenancy::column(column.clone()), known, Source::built_in());
    let org = O.parse().unwrap();
    let rule = RowsRule::new(Arc::new(table), column, org, Write::Insert, BodySource::Csv, None);
    let rule = BodyRule::Rows(rule);
    let body = |rows: usize| {
        format!("{}\n{}", names.join(","), format!("{}\n", ",".repeat(59)).repeat(rows))
    };
    assert!(rule.rewrite(body(100).as_bytes()).is_ok());
    assert_eq!(rule.rewrite(body(5_000).as_bytes()), Err(RestRefusal::BodyGrows));
}

#[test]
fn forms_become_one_row_of_texts() {
    let t = format!("\"organization_id\":\"{O}\"");
    for (body, out) in [
        ("title=a+b%20c%2B&id=5", format!("{{\"title\":\"a b c+\",\"id\":\"5\",{t}}}")),
        ("title=&id=NULL", format!("{{\"title\":\"\",\"id\":\"NULL\",{t}}}")),
        ("t%69tle==%26%3D%3B", format!("{{\"title\":\"=&=;\",{t}}}")),
    ] {
        assert_eq!(in_language(BodySource::Form, body).unwrap(), out, "{body}");
    }
    let own = format!("organization%5Fid={}", O.replace('-', ""));
    assert_eq!(in_language(BodySource::Form, &own).unwrap(), format!("{{{t}}}"));
    for (body, code) in [
        ("", "rest_body_malformed"),
        ("title", "rest_body_malformed"),
        ("title=a;id=5", "rest_body_malformed"),
        ("title=a&", "rest_body_malformed"),
        ("&title=a", "rest_body_malformed"),
        ("title=%zz", "rest_body_malformed"),
        ("title=%00", "rest_body_malformed"),
        ("title=%ff", "rest_body_malformed"),
        ("title=a&title=b", "rest_body_key_repeated"),
        ("title=a&t%69tle=b", "rest_body_key_repeated"),
        ("+title=a", "rest_column_unknown"),
        ("=a", "rest_column_unknown"),
    ] {
        assert_eq!(in_language(BodySource::Form, body).unwrap_err().code(), code, "{body}");
    }
    let foreign = format!("organization_id={B}&title=a");
    assert_eq!(in_language(BodySource::Form, &foreign), Err(escape(Some(B))));
    assert_eq!(in_language(BodySource::Form, "organization_id=&title=a"), Err(escape(None)));
}

#[test]
fn with_columns_other_keys_are_left_out_and_the_tenant_still_counts() {
    let with = |body: &str| {
        apply(
            &rule(Write::Insert, BodySource::Json, Some(&["id", "title", "organization_id"])),
            body,
        )
    };
    let t = format!("\"organization_id\":\"{O}\"");
    assert_eq!(
        with("[{\"id\":1,\"amount\":2,\"nobody knows\":{\"a\":[]}},{\"nobody knows\":1,\"nobody knows\":2}]").unwrap(),
        format!("[{{\"id\":1,{t}}},{{{t}}}]"),
    );
    assert_eq!(
        with(&format!("{{\"amount\":1,\"organization_id\":\"{B}\"}}")),
        Err(escape(Some(B)))
    );
    assert_eq!(with("{\"amount\":1,\"amount\":2}").unwrap_err().code(), "rest_body_key_repeated");
    assert_eq!(with("{\"nobody knows\":01}").unwrap_err().code(), "rest_body_malformed");
    let moved = apply(
        &rule(Write::UpdateNamingTenant, BodySource::Json, Some(&["organization_id"])),
        "{\"title\":\"x\"}",
    );
    assert_eq!(moved.unwrap(), format!("{{{t}}}"));
}

#[test]
fn an_upsert_of_one_row_takes_no_array() {
    let put = rule(Write::Put, BodySource::Json, None);
    assert_eq!(
        apply(&put, "{\"id\":1}").unwrap(),
        format!("{{\"id\":1,\"organization_id\":\"{O}\"}}")
    );
    assert_eq!(apply(&put, "[{\"id\":1}]").unwrap_err().code(), "rest_body_malformed");
}

fn call(source: BodySource, body: &str) -> Result<String, RestRefusal> {
    let arguments = [
        ("org", Argument::Tenant),
        ("other_org", Argument::Tenant),
        ("day", Argument::Client),
        ("limit", Argument::Client),
    ];
    let function = Function {
        name: Arc::from("org_stats"),
        arguments: arguments.map(|(name, argument)| (Arc::from(name), argument)).into(),
        returns: Returns::Opaque,
        read_only: true,
        source: Source::built_in(),
    };
    let rule = ArgumentsRule::new(Arc::new(function), O.parse().unwrap(), source)?;
    apply(&BodyRule::Arguments(rule), body)
}

#[test]
fn a_calls_tenants_are_forced_whatever_is_given() {
    let both = format!("\"org\":\"{O}\",\"other_org\":\"{O}\"");
    for (source, body, out) in [
        (BodySource::Json, "", format!("{{{both}}}")),
        (BodySource::Json, " {} ", format!("{{{both}}}")),
        (BodySource::Json, "{\"org\":null}", format!("{{{both}}}")),
        (BodySource::Json, "{\"day\":[1, 2]}", format!("{{\"day\":[1, 2],{both}}}")),
        (BodySource::Form, "", format!("{{{both}}}")),
        (
            BodySource::Form,
            "limit=5&day=x+y",
            format!("{{\"limit\":\"5\",\"day\":\"x y\",{both}}}"),
        ),
    ] {
        assert_eq!(call(source, body).unwrap(), out, "{body}");
    }
    let own = format!("{{\"other_org\":\"{}\",\"day\":1}}", O.to_uppercase());
    let out = format!("{{\"other_org\":\"{O}\",\"day\":1,\"org\":\"{O}\"}}");
    assert_eq!(call(BodySource::Json, &own).unwrap(), out);
}

#[test]
fn a_call_for_another_organization_or_with_odd_arguments_is_refused() {
    for (source, body, name, named) in [
        (BodySource::Json, format!("{{\"org\":\"{B}\"}}"), "org", Some(B)),
        (BodySource::Json, format!("{{\"other\\u005forg\":\"{B}\"}}"), "other_org", Some(B)),
        (BodySource::Json, "{\"org\":7}".to_owned(), "org", None),
        (BodySource::Form, format!("day=1&other%5Forg={B}"), "other_org", Some(B)),
        (BodySource::Form, "org=".to_owned(), "org", None),
    ] {
        let escape = TenantEscape {
            resource: Resource::Function(Arc::from("org_stats")),
            name: Arc::from(name),
            place: Place::Body,
            named: named.map(|id| id.parse().unwrap()),
        };
        assert_eq!(call(source, &body), Err(RestRefusal::TenantEscape(Box::new(escape))), "{body}");
    }
    for (source, body, code) in [
        (BodySource::Json, "[]", "rest_body_malformed"),
        (BodySource::Json, "[{}]", "rest_body_malformed"),
        (BodySource::Json, " ", "rest_body_malformed"),
        (BodySource::Json, "1", "rest_body_malformed"),
        (BodySource::Json, "{\"days\":1}", "rest_argument_unknown"),
        (BodySource::Json, "{\"\":1}", "rest_argument_unknown"),
        (BodySource::Json, "{\"day\":1,\"d\\u0061y\":2}", "rest_body_key_repeated"),
        (BodySource::Form, "day=1&day=2", "rest_body_key_repeated"),
        (BodySource::Form, "day", "rest_body_malformed"),
        (BodySource::Csv, "day\n1\n", "rest_content_type_unsupported"),
    ] {
        assert_eq!(call(source, body).unwrap_err().code(), code, "{body}");
    }
}

/// A value's exact text, as a client might write it.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("null".to_owned()),
        Just("-0.0e+10".to_owned()),
        "[1-9][0-9]{0,34}(\\.[0-9]{1,9})?",
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        Just("{ \"a\" : [ 1,\t{\"b\":\"}\"} ], \"a\":2 }".to_owned()),
        Just("[ ]".to_owned()),
    ]
}

/// A row: for each column its value, if it is there; then the order.
fn row() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let key = prop::sample::select(vec!["id", "title", "amount", "q\"uo\te", "organization_id"]);
    prop::collection::vec((key, value()), 0..7).prop_map(|members| {
        let mut row: Vec<(&str, String)> = Vec::new();
        for (key, value) in members {
            if !row.iter().any(|(known, _)| *known == key) {
                let own = if key == "organization_id" { "null".to_owned() } else { value };
                row.push((key, own));
            }
        }
        row
    })
}

/// A key in one of its spellings.
fn spelt(key: &str, escaped: bool) -> String {
    let units = key.chars().map(|c| format!("\\u{:04X}", u32::from(c)));
    if escaped {
        format!("\"{}\"", units.collect::<String>())
    } else {
        serde_json::to_string(key).unwrap()
    }
}

proptest! {
    #[test]
    fn rows_come_out_as_they_went_in_but_for_the_tenant(
        rows in prop::collection::vec(row(), 0..6),
        escaped in any::<bool>(),
        space in prop::sample::select(vec!["", " ", "\n\t", "\r\n "]),
    ) {
        let tenant = format!("\"{O}\"");
        let (mut body, mut expected) = (Vec::new(), Vec::new());
        for row in &rows {
            let member = |(key, value): &(&str, String)| {
                format!("{space}{}{space}:{space}{value}{space}", spelt(key, escaped))
            };
            let members: Vec<String> = row.iter().map(member).collect();
            body.push(format!("{{{space}{}}}", members.join(",")));
            let mut kept: Vec<String> = row.iter().map(|(key, value)| {
                let value = if *key == "organization_id" { &tenant } else { value };
                let key = serde_json::to_string(key).unwrap().replace("\\t", "\\u0009");
                format!("{key}:{value}")
            }).collect();
            if !row.iter().any(|(key, _)| *key == "organization_id") {
                kept.push(format!("\"organization_id\":{tenant}"));
            }
            expected.push(format!("{{{}}}", kept.join(",")));
        }
        let body = format!("{space}[{space}{}{space}]{space}", body.join(&format!("{space},{space}")));
        let out = rewritten(Write::Insert, &body).unwrap();
        prop_assert_eq!(out, format!("[{}]", expected.join(",")));
    }

    #[test]
    fn whatever_is_let_through_holds_the_callers_tenant_once_in_every_row(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"id\"", "\"organization_id\"", "\"organization\\u005fid\"",
            "null", "1", "\"x\"", "\"aaaaaaaa-0000-4000-8000-00000000000a\"",
            "\"bbbbbbbb-0000-4000-8000-00000000000b\"", "{\"id\":1}", "\"title\":", " ",
        ]), 0..16),
    ) {
        if let Ok(out) = rewritten(Write::Insert, &pieces.concat()) {
            let rows = match serde_json::from_str(&out).unwrap() {
                serde_json::Value::Array(rows) => rows,
                row => vec![row],
            };
            for row in &rows {
                prop_assert_eq!(&row["organization_id"], O, "{}", out);
            }
            prop_assert_eq!(out.matches("organization_id").count(), rows.len());
            prop_assert!(!out.contains(B));
        }
    }
}
