//! What random requests are made of: tables, columns, texts and conditions.

use super::numbers::Numbers;
use crate::support::fixture::{ACME, GLOBEX};

/// Texts that some parser on the way could take for syntax.
pub(super) const TEXTS: [&str; 32] = [
    "",
    "a",
    "active",
    "ACME-ONLY-new",
    "a,b",
    "(x)",
    "\"q\"",
    "a\"b",
    "a\\b",
    "\\",
    "a.b",
    "not.eq.1",
    " s ",
    "a+b",
    "100%25",
    "*",
    "null",
    "NULL",
    "{1,2}",
    "}",
    "a&b=c",
    "a;b",
    "a#b?c/d",
    "a:b",
    "'; drop table events; --",
    "ä",
    "🦀",
    "line\nbreak\r\n",
    "\t",
    "\u{1}\u{7f}",
    "or=(id.eq.1)",
    "{\"a\":1}",
];

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A key, or a reference to one.
    Id,
    Organization,
    Text,
    Whole,
    Numeric,
    Time,
    Json,
    Texts,
}

pub(super) fn kind_of(column: &str) -> Kind {
    match column {
        "id" | "project_id" | "event_id" | "comment_id" | "label_id" | "manager_id"
        | "friend_id" => Kind::Id,
        "organization_id" => Kind::Organization,
        "capacity" => Kind::Whole,
        "amount" => Kind::Numeric,
        "starts_at" => Kind::Time,
        "meta" => Kind::Json,
        "tags" => Kind::Texts,
        _ => Kind::Text,
    }
}

pub(super) fn columns_of(table: &str) -> &'static [&'static str] {
    match table {
        "events" => &[
            "id",
            "organization_id",
            "project_id",
            "title",
            "capacity",
            "starts_at",
            "meta",
            "tags",
        ],
        "projects" => &["id", "organization_id", "name", "status", "notes"],
        "comments" => &["id", "event_id", "body"],
        "replies" => &["id", "comment_id", "body"],
        "labels" => &["id", "organization_id", "label"],
        "settings" => &["organization_id", "key", "name", "value", "amount", "meta"],
        "staff" => &["id", "organization_id", "name", "manager_id", "friend_id"],
        _ => &["event_id", "label_id"],
    }
}

pub(super) fn order_of(table: &str) -> &'static str {
    match table {
        "event_labels" => "event_id,label_id",
        "settings" => "key",
        _ => "id",
    }
}

/// What else can be selected and ordered by: places within values, and other types.
pub(super) fn fields_of(table: &str) -> &'static [&'static str] {
    match table {
        "events" => &[
            "meta->>mark",
            "meta->n",
            "meta->deep->0->>%22a.b%22",
            "tags->>0",
            "capacity::int8",
            "meta->>n::int8",
        ],
        "projects" => &["id::text", "name->>x"],
        "settings" => &["meta->b", "amount::text"],
        "event_labels" => &["label_id::text"],
        _ => &["id::text"],
    }
}

/// What is made of many rows.
pub(super) fn aggregates_of(table: &str) -> &'static [&'static str] {
    match table {
        "events" => &[
            "n:count()",
            "capacity.sum()",
            "c:capacity.avg()::text",
            "title.max()",
            "m:meta->>n::int8.sum()",
            "t:title::text.min()",
            "s:starts_at.count()",
        ],
        "projects" => &["count()", "name.max()", "i:id.sum()", "notes.count()"],
        "labels" => &["count()", "label.min()"],
        "staff" => &["n:count()::text", "name.max()", "m:manager_id.avg()"],
        "comments" | "replies" => &["count()", "body.max()"],
        _ => &["count()"],
    }
}

/// A condition on a column of a table, as a parameter.
pub(super) fn condition(table: &str, numbers: &mut Numbers) -> String {
    let (column, test) = leaf(table, numbers, &encoded);
    format!("{column}={test}")
}

/// Two conditions in a logic tree.
pub(super) fn tree(table: &str, numbers: &mut Numbers) -> String {
    let word = numbers.one(&["or", "and", "not.or", "not.and"]);
    let mut member = || {
        let (column, test) = leaf(table, numbers, &quoted);
        format!("{column}.{test}")
    };
    format!("{word}=({},{})", member(), member())
}

fn leaf(
    table: &str,
    numbers: &mut Numbers,
    written: &dyn Fn(&str) -> String,
) -> (&'static str, String) {
    let not = numbers.one(&["", "", "not."]);
    if table == "events" && numbers.once_in(8) {
        let (field, test) = numbers.one(&[
            ("meta->>mark", "like.*ONLY*"),
            ("meta->>n", "in.(1,2,4)"),
            ("meta->n", "gt.1"),
            ("meta->deep->1", "is.null"),
            ("tags->>0", "neq.x"),
        ]);
        return (field, format!("{not}{test}"));
    }
    let column = numbers.one(columns_of(table));
    let test = match kind_of(column) {
        Kind::Organization => {
            let id = numbers.one(&[ACME.id, GLOBEX.id]);
            match numbers.below(4) {
                0 => format!("eq.{id}"),
                1 => format!("neq.{id}"),
                2 => format!("in.({},{})", ACME.id, GLOBEX.id),
                _ => "is.null".to_owned(),
            }
        }
        Kind::Text => match numbers.below(4) {
            0 => format!("eq.{}", written(numbers.one(&TEXTS))),
            1 => {
                let (a, b) = (numbers.one(&TEXTS), numbers.one(&TEXTS));
                format!("in.({},{})", quoted(a), quoted(b))
            }
            _ => numbers
                .one(&["like.*e*", "ilike.*ONLY*", "eq.active", "neq.x", "is.null"])
                .to_owned(),
        },
        Kind::Time => numbers.one(&["is.null", "gt.2026-03-01T12:00:00Z"]).to_owned(),
        Kind::Json => numbers.one(&["is.null", "neq.{}"]).to_owned(),
        Kind::Texts => numbers.one(&["is.null", "cs.{}", "eq.{}"]).to_owned(),
        Kind::Id | Kind::Whole | Kind::Numeric => {
            let number = numbers.one(&[0, 1, 2, 3, 4, 5, 7, 10, 20]);
            let operator = numbers.one(&["eq", "neq", "gt", "gte", "lt", "lte"]);
            match numbers.below(4) {
                0 => format!("in.({number},1,2)"),
                1 if column != "id" => "is.null".to_owned(),
                _ => format!("{operator}.{number}"),
            }
        }
    };
    (column, format!("{not}{test}"))
}

/// Percent-encoded, as a value that reaches to the end of its parameter.
pub(super) fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte.is_ascii_alphanumeric() {
            true => out.push(char::from(byte)),
            false => out.push_str(&format!("%{byte:02x}")),
        }
        out
    })
}

/// Quoted for a list or a tree, and percent-encoded.
fn quoted(text: &str) -> String {
    encoded(&format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}
