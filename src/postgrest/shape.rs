//! What a request asks of the database, as far as limits charge for it.
//!
//! Read from what the client stated, before anything is added. May import `domain` and this room.

use http::{HeaderMap, header};

use super::prefer::Preferences;
use super::query::Query;
use super::request::{RestMethod, RestRequest};
use crate::domain::charge::Shape;

/// From this row on, the database reads and throws away what comes before.
pub const DEEP_OFFSET: u64 = 1_000;

/// The shape of a request.
pub(super) fn shape(query: &Query, preferences: &Preferences, request: &RestRequest<'_>) -> Shape {
    let reads = matches!(request.method, RestMethod::Get | RestMethod::Head);
    // PostgREST heeds it where it reads.
    let range = reads.then(|| range(request.headers)).flatten();
    let (from, to) = range.unwrap_or((0, None));
    let offset = query.offset.unwrap_or(0).max(from);
    Shape {
        embeds: embeds(query),
        counts: preferences.count,
        unlimited: reads && query.limit.is_none() && to.is_none(),
        deep: offset >= DEEP_OFFSET,
    }
}

/// A range that is malformed is refused elsewhere.
fn range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let (from, to) = headers.get(header::RANGE)?.to_str().ok()?.split_once('-')?;
    Some((from.parse().ok()?, to.parse().ok()))
}

fn embeds(query: &Query) -> u32 {
    let inner = |embed: &super::select::Embed| embeds(&embed.inner).saturating_add(1);
    query.embeds().map(inner).fold(0, u32::saturating_add)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::postgrest::query::parse_query;

    fn of(method: RestMethod, query: &str, fields: &[(&'static str, &'static str)]) -> Shape {
        let field = |(name, value): &(&'static str, &'static str)| {
            (name.parse().unwrap(), HeaderValue::from_static(value))
        };
        let headers: HeaderMap = fields.iter().map(field).collect();
        let request =
            RestRequest { method, path: "/events", query: Some(query), headers: &headers };
        let preferences = Preferences::parse(&headers).unwrap();
        shape(&parse_query(query).unwrap(), &preferences, &request)
    }

    #[test]
    fn a_request_asks_for_what_it_states() {
        let one = Shape::default();
        let all = Shape { unlimited: true, ..one };
        for (query, fields, wanted) in [
            ("select=id&limit=10", &[][..], one),
            ("select=id", &[], all),
            ("select=id,projects(id,owner(id)),tags(*)&limit=1", &[], Shape { embeds: 3, ..one }),
            ("limit=1", &[("prefer", "count=exact")], Shape { counts: true, ..one }),
            ("limit=1", &[("prefer", "count=planned")], Shape { counts: true, ..one }),
            ("limit=1&offset=999", &[], one),
            ("limit=1&offset=1000", &[], Shape { deep: true, ..one }),
            ("", &[("range", "0-9")], one),
            ("", &[("range", "2000-")], Shape { deep: true, ..all }),
        ] {
            assert_eq!(of(RestMethod::Get, query, fields), wanted, "{query} {fields:?}");
        }
        assert_eq!(of(RestMethod::Post, "", &[("range", "2000-")]), one, "a write reads nothing");
    }
}
