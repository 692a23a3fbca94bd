//! Properties over generated requests and bodies.

use proptest::prelude::*;

use super::*;
use crate::domain::catalog::Isolation;

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z_][a-z0-9_]{0,6}",
        1 => Just("order".to_owned()),
        1 => Just("not".to_owned()),
        1 => Just("and".to_owned()),
        1 => Just("select".to_owned()),
        2 => "[^\u{0}*]{1,6}",
    ]
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9]{0,5}",
        "[ ,()\"\\\\{}.%+&=;*:a\\t\\n'-]{0,8}",
        "[^\u{0}]{0,6}",
        Just("{1,2}".to_owned()),
        Just("\"q\"".to_owned()),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    let quantifier = prop::option::of(prop::sample::select(vec![Quantifier::Any, Quantifier::All]));
    let config = prop::option::of("[a-z_$]{1,6}");
    prop_oneof![
        (prop::sample::select(Comparison::ALL.to_vec()), quantifier, value()).prop_map(
            |(comparison, quantifier, value)| {
                // What a pattern may not end in.
                let pattern = matches!(comparison, Comparison::Like | Comparison::ILike);
                let value = if pattern { value.replace('\\', "") } else { value };
                Operation::Compare { comparison, quantifier, value }
            },
        ),
        (prop::sample::select(Relation::ALL.to_vec()), value())
            .prop_map(|(relation, value)| Operation::Relate { relation, value }),
        value().prop_map(Operation::IsDistinct),
        prop::collection::vec(value(), 1..4).prop_map(Operation::In),
        prop::sample::select(Truth::ALL.to_vec()).prop_map(Operation::Is),
        (prop::sample::select(Search::ALL.to_vec()), config, value())
            .prop_map(|(search, config, value)| Operation::Search { search, config, value }),
    ]
}

fn filter() -> impl Strategy<Value = Filter> {
    (field(), any::<bool>(), operation()).prop_map(|(field, negated, operation)| Filter {
        field,
        negated,
        operation,
    })
}

fn logic() -> impl Strategy<Value = Logic> {
    let connective = || prop::sample::select(vec![Connective::And, Connective::Or]);
    let leaf = filter().prop_map(LogicTree::Filter);
    let tree = leaf.prop_recursive(3, 12, 3, move |inner| {
        (any::<bool>(), connective(), prop::collection::vec(inner, 1..4)).prop_map(
            |(negated, connective, members)| {
                LogicTree::Group(Logic { negated, connective, members })
            },
        )
    });
    (any::<bool>(), connective(), prop::collection::vec(tree, 1..4))
        .prop_map(|(negated, connective, members)| Logic { negated, connective, members })
}

fn select() -> impl Strategy<Value = Vec<SelectItem>> {
    let alias = prop::option::of("[a-z][a-z0-9 ä:()]{0,4}[a-z]");
    let aggregation = (prop::sample::select(Aggregate::ALL.to_vec()), cast())
        .prop_map(|(function, cast)| Aggregation { function, cast });
    let column = (alias.clone(), field(), cast(), prop::option::of(aggregation)).prop_map(
        |(alias, field, cast, aggregation)| {
            SelectItem::Column(SelectColumn { alias, field, cast, aggregation })
        },
    );
    let count = (alias, cast()).prop_map(|(alias, cast)| SelectItem::Count { alias, cast });
    let item = prop_oneof![1 => Just(SelectItem::Star), 4 => column, 1 => count];
    prop::collection::vec(item, 1..5)
}

fn cast() -> impl Strategy<Value = Option<String>> {
    prop::option::of(prop::sample::select(vec!["text".to_owned(), "int4".to_owned()]))
}

fn field() -> impl Strategy<Value = Field> {
    let key = prop_oneof![
        3 => name().prop_map(JsonKey::Name),
        1 => "[0-9]{1,3}".prop_map(JsonKey::Name),
        2 => (-1000..1000).prop_map(JsonKey::Index),
    ];
    let step = (any::<bool>(), key).prop_map(|(as_text, key)| JsonStep { as_text, key });
    let path = prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(step, 1..4)];
    (name(), path).prop_map(|(column, path)| Field { column, path })
}

fn order() -> impl Strategy<Value = Vec<OrderTerm>> {
    let direction = prop::sample::select(vec![Direction::Ascending, Direction::Descending]);
    let nulls = prop::sample::select(vec![Nulls::First, Nulls::Last]);
    let term = (field(), prop::option::of(direction), prop::option::of(nulls))
        .prop_map(|(field, direction, nulls)| OrderTerm { embed: None, field, direction, nulls });
    prop::collection::vec(term, 1..4)
}

prop_compose! {
    fn query()(
        select in prop::option::of(select()),
        columns in prop::option::of(prop::collection::vec(name(), 1..4)),
        filters in prop::collection::vec(filter(), 0..4),
        logic in prop::collection::vec(logic(), 0..3),
        order in prop::option::of(order()),
        limit in prop::option::of(0..=i64::MAX as u64),
        offset in prop::option::of(0..=i64::MAX as u64),
    ) -> Query {
        Query { select, columns, on_conflict: None, filters, logic, order, limit, offset, apikey: None }
    }
}

/// A catalogue in which every generated name is a column of `t`.
fn catalog_of(query: &Query) -> Catalog {
    let mut columns = vec!["id".to_owned(), "organization_id".to_owned()];
    for item in query.select.iter().flatten() {
        if let SelectItem::Column(column) = item {
            columns.push(column.field.column.clone());
        }
    }
    columns.extend(query.columns.iter().flatten().cloned());
    columns.extend(query.filters.iter().map(|filter| filter.field.column.clone()));
    for logic in &query.logic {
        let mut visit = |filter: &Filter| {
            columns.push(filter.field.column.clone());
            Ok::<(), ()>(())
        };
        logic.try_each_filter(&mut visit).unwrap();
    }
    columns.extend(query.order.iter().flatten().map(|term| term.field.column.clone()));
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let tenancy = Tenancy::column(Arc::from("organization_id"));
    Catalog {
        schema: Arc::from("public"),
        casts: vec![Arc::from("text"), Arc::from("int4")],
        tables: BTreeMap::from([table("t", tenancy, &columns, true)]),
        ..Catalog::default()
    }
}

fn confined(method: RestMethod, target: &str, catalog: &Catalog) -> Result<Confined, RestRefusal> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers = HeaderMap::from_iter([(
        HeaderName::from_static("prefer"),
        HeaderValue::from_static("return=representation"),
    )]);
    confine(&RestRequest { method, path, query: Some(query), headers: &headers }, catalog, org())
}

/// The same, with its table in shadow.
fn in_shadow(catalog: &Catalog) -> Catalog {
    let tried = |(name, table): (&Arc<str>, &Arc<Table>)| {
        let isolation = Isolation::Shadow(Source::built_in());
        (Arc::clone(name), Arc::new(Table { isolation, ..Table::clone(table) }))
    };
    Catalog { tables: catalog.tables.iter().map(tried).collect(), ..catalog.clone() }
}

fn written(method: RestMethod, target: &str, catalog: &Catalog) -> Option<Written> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers = HeaderMap::new();
    as_written(&RestRequest { method, path, query: Some(query), headers: &headers }, catalog, org())
}

fn tenant_filters(query: &Query) -> usize {
    let own = parse_query(F).unwrap().filters.remove(0);
    query.filters.iter().filter(|filter| **filter == own).count()
}

fn query_of(confined: &Confined) -> Query {
    parse_query(confined.target().split_once('?').unwrap().1).unwrap()
}

proptest! {
    #[test]
    fn what_is_printed_parses_to_the_same_tree(query in query()) {
        let printed = print_query(&query);
        prop_assert!(printed.bytes().all(|b| b.is_ascii_graphic() && !b"\"\\;#?{}<>^`|".contains(&b)), "{}", printed);
        prop_assert_eq!(parse_query(&printed), Ok(query), "{}", printed);
    }

    #[test]
    fn what_parses_is_printed_stably(raw in "([a-z%\"2,().=&!*{}\\\\ -]|select=|or=|and=|order=|=eq\\.|=in\\.\\(|id\\.eq\\.){0,24}") {
        if let Ok(mut query) = parse_query(&raw) {
            query.apikey = None;
            prop_assert_eq!(parse_query(&print_query(&query)), Ok(query));
        }
    }

    #[test]
    fn no_query_string_makes_the_parser_panic(raw in "\\PC{0,64}") {
        let _ = parse_query(&raw);
    }

    #[test]
    fn a_confined_request_has_one_more_tenant_filter_and_nothing_else_changes(
        query in query(),
        method in prop::sample::select(vec![RestMethod::Get, RestMethod::Head, RestMethod::Patch, RestMethod::Delete]),
    ) {
        let catalog = catalog_of(&query);
        let target = format!("/t?{}", print_query(&query));
        if let Ok(once) = confined(method, &target, &catalog) {
            let sent = query_of(&once);
            prop_assert_eq!(tenant_filters(&sent), tenant_filters(&query) + 1);
            prop_assert_eq!(sent.filters.len(), query.filters.len() + 1);
            prop_assert_eq!(&sent.logic, &query.logic);
            let twice = confined(method, once.target(), &catalog).unwrap();
            prop_assert_eq!(twice.target(), once.target().replacen(F, &format!("{F}&{F}"), 1));
        } else {
            let refused_for_method = query.columns.is_some() || query.order.is_none();
            prop_assert!(refused_for_method);
        }
    }

    #[test]
    fn what_is_sent_in_shadow_is_the_clients_own_tree_and_of_no_table_that_is_enforced(
        query in query(),
        method in prop::sample::select(vec![RestMethod::Get, RestMethod::Post, RestMethod::Patch, RestMethod::Delete]),
    ) {
        let enforced = catalog_of(&query);
        let target = format!("/t?{}", print_query(&query));
        prop_assert!(written(method, &target, &enforced).is_none());
        let listed = Catalog { tries: true, ..enforced.clone() };
        prop_assert!(written(method, &target, &listed).is_none());
        let sent = written(method, &target, &in_shadow(&listed)).unwrap();
        let (path, sent) = sent.target().split_once('?').unwrap_or((sent.target(), ""));
        prop_assert_eq!(path, "/t");
        prop_assert_eq!(parse_query(sent), Ok(query));
    }

    #[test]
    fn a_rewritten_body_names_the_tenant_once_and_keeps_every_value(
        rows in prop::collection::vec(prop::collection::btree_map(
            prop::sample::select(vec!["id", "title", "order", "organization_id"]),
            prop_oneof!["[1-9][0-9]{0,40}(\\.[0-9]{1,30})?", Just("\"\\u0041\\n\"".to_owned()), Just("[1, {\"id\":2}]".to_owned()), Just("null".to_owned())],
            0..4,
        ), 0..5),
    ) {
        let rows: Vec<Vec<(&str, String)>> = rows.into_iter().map(|row| {
            row.into_iter().map(|(key, value)| match key {
                "organization_id" => (key, format!("\"{}\"", O.to_uppercase())),
                _ => (key, value),
            }).collect()
        }).collect();
        let objects: Vec<String> = rows.iter().map(|row| {
            let members: Vec<String> = row.iter().map(|(key, value)| format!(" \"{key}\" : {value}")).collect();
            format!("{{{}}}", members.join(","))
        }).collect();
        let insert = send(RestMethod::Post, "/events", &[]).unwrap();
        let out = rewrite(&insert, &format!("[{}]", objects.join(" , "))).unwrap();
        let expected: Vec<String> = rows.iter().map(|row| {
            let mut members: Vec<String> = row.iter().map(|(key, value)| match *key {
                "organization_id" => format!("\"{key}\":\"{O}\""),
                _ => format!("\"{key}\":{value}"),
            }).collect();
            if !row.iter().any(|(key, _)| *key == "organization_id") {
                members.push(format!("\"organization_id\":\"{O}\""));
            }
            format!("{{{}}}", members.join(","))
        }).collect();
        prop_assert_eq!(out, format!("[{}]", expected.join(",")));
    }

    #[test]
    fn no_body_makes_the_rewriter_panic_or_lose_the_tenant(body in "[\\[\\]{}\",:a-d0-9\\\\u ]{0,32}") {
        let insert = send(RestMethod::Post, "/events", &[]).unwrap();
        if let Ok(out) = rewrite(&insert, &body) {
            let rows = out.matches(O).count();
            let parsed: serde_json::Value = serde_json::from_str(&out).unwrap();
            prop_assert_eq!(rows, parsed.as_array().map_or(1, Vec::len));
        }
    }
}
