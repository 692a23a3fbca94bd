//! Requests as they are sent to tables in shadow: nothing that is enforced is in reach of them, seen
//! with the eyes of `tree`, and what is printed means the same when it is read again.

use std::sync::{Arc, LazyLock};

use tollgate::domain::catalog::{Catalog, Isolation, Table, Tenancy};
use tollgate::domain::source::Source;
use tollgate::postgrest::{Query, RestMethod, RestRequest, as_written, decode_segment};

use super::catalog::{CATALOG, ORG, header_map};
use super::tree::{led_to, read};

/// The catalogue with some of its tables in shadow: one with a key into itself, one side of a
/// junction, rows of a parent, and a name that needs quotes.
static TRIED: LazyLock<Catalog> = LazyLock::new(|| {
    let names = ["events", "comments", "labels", "odd, \"name\""];
    let tried = |(name, table): (&Arc<str>, &Arc<Table>)| {
        let mut table = Table::clone(table);
        if names.contains(&&**name) {
            table.isolation = Isolation::Shadow(Source::built_in());
        }
        (Arc::clone(name), Arc::new(table))
    };
    Catalog { tables: CATALOG.tables.iter().map(tried).collect(), tries: true, ..CATALOG.clone() }
});

/// Whether a request to it may go as it was written.
fn free(table: &Table) -> bool {
    table.is_tried() || table.tenancy == Tenancy::Global
}

pub(super) fn check(method: RestMethod, target: &str, headers: &[(&str, &str)]) {
    let headers = header_map(headers);
    let written = |target: &str| {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let request = RestRequest { method, path, query, headers: &headers };
        as_written(&request, &TRIED, ORG.parse().expect("an id"))
    };
    let Some(sent) = written(target) else { return };
    let text = sent.target();
    assert!(text.bytes().all(|b| b.is_ascii_graphic() && b != b';' && b != b'#'), "{text}");
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    let name = decode_segment(&path[1..]).expect("a name");
    let table = TRIED.table(&name).expect("a table of the catalogue");
    assert!(free(table) && sent.table().is_tried(), "{text}");
    assert!(table.is_tried() || !method.writes(), "{text}");
    assert!(sent.embedded().iter().all(|table| free(table)), "{text}");
    let Some(query) = read(query) else { return };
    check_embeds(&query, table, text);
    // A name of a key that is longer than the client's can make it too long.
    if let Some(again) = written(text) {
        assert_eq!(again.target(), text);
    }
}

fn check_embeds(query: &Query, table: &Table, text: &str) {
    for embed in query.embeds() {
        let target = TRIED.table(&led_to(embed, table).name).expect("a table of the catalogue");
        assert!(free(target), "`{}` in {text}", embed.name());
        // A junction stands as the hint.
        let junction = embed.hint.as_deref().and_then(|hint| TRIED.table(hint));
        assert!(junction.is_none_or(|junction| free(junction)), "`{}` in {text}", embed.name());
        check_embeds(&embed.inner, target, text);
    }
}
