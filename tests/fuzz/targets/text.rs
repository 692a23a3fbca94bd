//! The grammar: what parses is printed so that it parses to the same tree.

use tollgate::postgrest::{RestMethod, decode_segment, parse_query, print_query};

use super::Outcome;
use super::catalog::confined;

/// A raw query string.
pub(super) fn query(data: &[u8]) -> Outcome {
    match std::str::from_utf8(data) {
        Ok(raw) => printed(raw),
        Err(_) => Outcome::Unasked,
    }
}

/// The decoded value of `select`.
pub(super) fn select(data: &[u8]) -> Outcome {
    printed(&format!("select={}", encoded(data)))
}

/// The decoded value of a filter at the root.
pub(super) fn filter(data: &[u8]) -> Outcome {
    printed(&format!("id={}", encoded(data)))
}

/// The decoded value of a logic tree.
pub(super) fn logic(data: &[u8]) -> Outcome {
    printed(&format!("not.or={}", encoded(data)))
}

/// The decoded value of `order`.
pub(super) fn order(data: &[u8]) -> Outcome {
    printed(&format!("select=p:projects(name)&p.order={0}&order={0}", encoded(data)))
}

/// A raw path: one that is served leads to a name that is printed as a path that leads there.
pub(super) fn path(data: &[u8]) -> Outcome {
    let Ok(raw) = std::str::from_utf8(data) else { return Outcome::Unasked };
    if let Ok(name) = decode_segment(raw) {
        assert!(!name.contains(['/', '\\', '\0']) && !matches!(&*name, "" | "." | ".."));
        let again = decode_segment(&encoded(name.as_bytes())).map(|name| name.into_owned());
        assert_eq!(again, Ok(name.into_owned()));
    }
    if raw.contains('?') {
        return Outcome::Unasked;
    }
    let Ok(confined) = confined(RestMethod::Get, raw, &[]) else { return Outcome::Refused };
    assert!(confined.target().bytes().all(|b| b.is_ascii_graphic()));
    let target = confined.target().split('?').next().unwrap_or_default();
    // Printing twice changes nothing.
    let again =
        super::catalog::confined(RestMethod::Get, target, &[]).map(|c| c.target().to_owned());
    assert_eq!(again.as_deref(), Ok(confined.target()));
    Outcome::Taken
}

fn printed(raw: &str) -> Outcome {
    let Ok(mut query) = parse_query(raw) else { return Outcome::Refused };
    query.apikey = None;
    let printed = print_query(&query);
    let safe = |b: u8| b.is_ascii_graphic() && !b"\"\\;#?<>^`|{}".contains(&b);
    assert!(printed.bytes().all(safe), "{printed}");
    assert_eq!(parse_query(&printed).as_ref(), Ok(&query), "{printed}");
    assert_eq!(print_query(&query), printed);
    Outcome::Taken
}

/// Every byte percent-encoded, so that it comes to the parser behind.
pub(super) fn encoded(data: &[u8]) -> String {
    data.iter().map(|byte| format!("%{byte:02X}")).collect()
}
