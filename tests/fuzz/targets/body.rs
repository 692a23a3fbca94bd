//! Bodies: valid JSON comes out, the tenant once in every row, everything else as it was.

use std::sync::LazyLock;

use tollgate::postgrest::{Confined, MAX_INSERT_ROWS, RestMethod};

use super::Outcome;
use super::catalog::{CATALOG, ORG, TENANT, confined};
use super::rows::{Row, checked, members};
use super::text::encoded;

const CSV: &str = "text/csv";
const FORM: &str = "application/x-www-form-urlencoded";

static INSERT: LazyLock<Confined> = LazyLock::new(|| write(RestMethod::Post, ""));
static NAMED: LazyLock<Confined> = LazyLock::new(|| write(RestMethod::Post, "?columns=id,meta"));
static CHANGE: LazyLock<Confined> = LazyLock::new(|| write(RestMethod::Patch, "?id=eq.1"));
static INSERT_CSV: LazyLock<Confined> = LazyLock::new(|| of(RestMethod::Post, "/events", CSV));
static INSERT_FORM: LazyLock<Confined> = LazyLock::new(|| of(RestMethod::Post, "/events", FORM));
static CALL: LazyLock<Confined> =
    LazyLock::new(|| of(RestMethod::Post, "/rpc/widen", "application/json"));
static CALL_FORM: LazyLock<Confined> = LazyLock::new(|| of(RestMethod::Post, "/rpc/widen", FORM));

fn write(method: RestMethod, query: &str) -> Confined {
    of(method, &format!("/events{query}"), "application/json")
}

fn of(method: RestMethod, target: &str, media: &str) -> Confined {
    confined(method, target, &[("content-type", media)]).expect("a request that is served")
}

/// Rows in JSON: inserted, inserted in part, and as changes.
pub(super) fn json(data: &[u8]) -> Outcome {
    let given = members(data);
    let mut outcome = Outcome::Refused;
    for (write, always) in [(&*INSERT, true), (&*NAMED, true), (&*CHANGE, false)] {
        let Some(out) = rewritten(write, data) else { continue };
        outcome = Outcome::Taken;
        let rows = checked(&out, TENANT, always);
        // What is taken is JSON for others, too.
        let given = given.as_ref().unwrap_or_else(|| panic!("{:?}", String::from_utf8_lossy(data)));
        assert_eq!(rows.len(), given.len());
        let read = |name: &str| !std::ptr::eq(write, &*NAMED) || matches!(name, "id" | "meta");
        for (row, given) in rows.iter().zip(given) {
            let kept: Vec<_> =
                given.iter().filter(|(name, _)| name != TENANT && read(name)).collect();
            assert_eq!(others(row), kept);
        }
        // Nothing is added but the tenant, and room for it.
        let added = rows.len() * format!(",\"{TENANT}\":\"{ORG}\"").len();
        assert!(out.len() <= data.len() + added, "{} of {}", out.len(), data.len());
    }
    outcome
}

/// CSV of any kind.
pub(super) fn csv(data: &[u8]) -> Outcome {
    let Some(out) = rewritten(&INSERT_CSV, data) else { return Outcome::Refused };
    let rows = checked(&out, TENANT, true);
    assert!(rows.iter().all(|row| row.len() == rows[0].len()), "{rows:?}");
    texts_only(&rows);
    Outcome::Taken
}

/// Forms of any kind.
pub(super) fn form(data: &[u8]) -> Outcome {
    let taken = [(&*INSERT_FORM, TENANT), (&*CALL_FORM, "org")].map(|(write, tenant)| {
        let Some(out) = rewritten(write, data) else { return false };
        texts_only(&checked(&out, tenant, true));
        true
    });
    if taken.contains(&true) { Outcome::Taken } else { Outcome::Refused }
}

/// Well-formed CSV and a form, of these cells: the texts that come out are those that went in.
pub(super) fn cells(data: &[u8]) -> Outcome {
    let Ok(text) = std::str::from_utf8(data) else { return Outcome::Unasked };
    let cells: Vec<&str> = text.split('\u{1f}').collect();
    let quoted = |cell: &&str| format!("\"{}\"", cell.replace('"', "\"\""));
    let mut csv = "title,meta\n".to_owned();
    for pair in cells.chunks(2) {
        let title = pair.first().map(quoted).unwrap_or_default();
        let meta = pair.get(1).map_or("NULL".to_owned(), quoted);
        csv.push_str(&format!("{title},{meta}\n"));
    }
    let Some(out) = rewritten(&INSERT_CSV, csv.as_bytes()) else {
        assert!(text.contains('\0'), "only NUL has no place in CSV");
        return Outcome::Refused;
    };
    let rows = checked(&out, TENANT, true);
    let wanted = cells.chunks(2).map(|pair| {
        let meta = pair.get(1).copied().unwrap_or("NULL");
        [("title", pair[0]), ("meta", meta)].map(|(name, cell)| match cell {
            "NULL" => (name, None),
            cell => (name, Some(cell)),
        })
    });
    assert_eq!(rows.len(), cells.len().div_ceil(2));
    for (row, wanted) in rows.iter().zip(wanted) {
        let found = others(row);
        let found: Vec<_> = found
            .iter()
            .map(|(name, value)| {
                (name.as_str(), serde_json::from_str::<Option<String>>(value).expect("a text"))
            })
            .collect();
        let wanted: Vec<_> =
            wanted.into_iter().map(|(name, cell)| (name, cell.map(str::to_owned))).collect();
        assert_eq!(found, wanted);
    }
    let form = format!("title={}", encoded(data));
    let out = rewritten(&INSERT_FORM, form.as_bytes()).expect("a well-formed form");
    let rows = checked(&out, TENANT, true);
    let found = serde_json::from_str::<String>(&others(&rows[0])[0].1);
    assert_eq!(found.ok().as_deref(), Some(text));
    Outcome::Taken
}

/// The arguments of a call.
pub(super) fn arguments(data: &[u8]) -> Outcome {
    let Some(out) = rewritten(&CALL, data) else { return Outcome::Refused };
    checked(&out, "org", true);
    let rows = checked(&out, "for", true);
    let given = if data.is_empty() { Some(vec![Row::new()]) } else { members(data) };
    let given = given.expect("json");
    let kept: Vec<_> = given[0].iter().filter(|(name, _)| name == "more").collect();
    let found: Vec<_> = rows[0].iter().filter(|(name, _)| name == "more").collect();
    assert_eq!(found, kept);
    Outcome::Taken
}

/// What is sent in place of a body, within the bound that is stated for it.
fn rewritten(write: &Confined, body: &[u8]) -> Option<Vec<u8>> {
    let out = write.body().rewrite(body).ok().flatten()?;
    let longest = CATALOG.tables.values().flat_map(|table| &table.columns).map(|name| name.len());
    let longest = longest.max().unwrap_or(0);
    let bound = 16 * body.len() + (64 * 1024).max(MAX_INSERT_ROWS * (2 * longest + 64));
    assert!(out.capacity() <= 2 * bound, "{} for {}", out.capacity(), body.len());
    Some(out)
}

fn others(row: &Row) -> Vec<&(String, String)> {
    row.iter().filter(|(name, _)| name != TENANT).collect()
}

fn texts_only(rows: &[Row]) {
    for (name, value) in rows.iter().flatten() {
        assert!(serde_json::from_str::<Option<String>>(value).is_ok(), "{name}: {value}");
    }
}
