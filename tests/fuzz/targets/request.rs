//! Whole requests: never a panic, and what comes out is the organization's.
//!
//! An input looks like the request: `METHOD /path?query`, header lines, an empty line, the body.

use tollgate::domain::catalog::{Argument, Returns, Tenancy};
use tollgate::postgrest::{BodyRule, Confined, OWNED_HEADERS, RestMethod, decode_segment};

use super::Outcome;
use super::catalog::{CATALOG, ORG, TENANT, confined};
use super::rows::checked;
use super::shadow;
use super::tree::{check_embeds, is_confined, read, sent};

/// A request of any kind.
pub(super) fn request(data: &[u8]) -> Outcome {
    let Ok(text) = std::str::from_utf8(data) else { return Outcome::Unasked };
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let Some((method, target)) = lines.next().and_then(|line| line.split_once(' ')) else {
        return Outcome::Unasked;
    };
    let method = http::Method::from_bytes(method.as_bytes()).ok();
    let Some(method) = method.as_ref().and_then(RestMethod::from_http) else {
        return Outcome::Unasked;
    };
    let headers: Vec<_> = lines.filter_map(|line| line.split_once(": ")).collect();
    check(method, target, &headers, body.as_bytes())
}

/// The headers that PostgREST heeds, one in a line, on a read and on a write.
pub(super) fn headers(data: &[u8]) -> Outcome {
    let Ok(text) = std::str::from_utf8(data) else { return Outcome::Unasked };
    let headers: Vec<_> = text.lines().filter_map(|line| line.split_once(": ")).collect();
    let read = check(RestMethod::Get, "/events", &headers, b"");
    let write = check(RestMethod::Post, "/settings", &headers, b"{\"key\":\"a\"}");
    if read == Outcome::Taken { read } else { write }
}

/// The query of a call by GET.
pub(super) fn call(data: &[u8]) -> Outcome {
    let Ok(query) = std::str::from_utf8(data) else { return Outcome::Unasked };
    let opaque = check(RestMethod::Get, &format!("/rpc/titles?{query}"), &[], b"");
    let rows = check(RestMethod::Get, &format!("/rpc/search?{query}"), &[], b"");
    if opaque == Outcome::Taken { opaque } else { rows }
}

fn check(method: RestMethod, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Outcome {
    shadow::check(method, target, headers);
    let Ok(confined) = confined(method, target, headers) else { return Outcome::Refused };
    for (name, value) in confined.headers() {
        assert!(OWNED_HEADERS.contains(&name.as_str()), "{name}");
        let text = value.to_str().expect("ascii");
        let looks = ["planned", "estimated", "tx=", "params=", "pgrst.plan", "q="];
        assert!(!looks.iter().any(|look| text.contains(look)), "{name}: {text}");
    }
    let path = confined.target().split('?').next().unwrap_or_default();
    match path.strip_prefix("/rpc/") {
        Some(name) => check_call(method, name, &confined),
        None => check_table(method, path, &confined),
    }
    match confined.body().rewrite(body) {
        Ok(None) => assert!(matches!(confined.body(), BodyRule::None) && body.is_empty()),
        Ok(Some(out)) => {
            let insert = matches!(method, RestMethod::Post | RestMethod::Put);
            match path.strip_prefix("/rpc/") {
                Some(name) => {
                    let function = CATALOG.function(name).expect("a function of the catalogue");
                    for (argument, kind) in &function.arguments {
                        if *kind == Argument::Tenant {
                            checked(&out, argument, true);
                        }
                    }
                }
                None => drop(checked(&out, TENANT, insert)),
            }
        }
        Err(_) => return Outcome::Refused,
    }
    Outcome::Taken
}

fn check_table(method: RestMethod, path: &str, confined: &Confined) {
    let Some(query) = sent(confined) else { return };
    let name = decode_segment(&path[1..]).expect("a name");
    let table = CATALOG.table(&name).expect("a table of the catalogue");
    let own = matches!(table.tenancy, Tenancy::Column { .. });
    match method {
        RestMethod::Get | RestMethod::Head => assert!(is_confined(&query, table), "{query:?}"),
        RestMethod::Patch | RestMethod::Delete | RestMethod::Put => {
            let mut plain = table.as_ref().clone();
            plain.tenancy = Tenancy::column(TENANT.into());
            assert!(own && is_confined(&query, &plain), "{query:?}");
        }
        RestMethod::Post => assert!(own),
    }
    if (query.limit.is_some() || query.offset.is_some()) && method.writes() {
        let terms = query.order.as_deref().unwrap_or_default();
        assert!(terms.iter().any(|term| term.field.is(TENANT) && term.embed.is_none()));
    }
    if query.columns.is_some() && matches!(method, RestMethod::Post | RestMethod::Put) {
        assert!(query.columns.iter().flatten().any(|name| name == TENANT), "{query:?}");
    }
    check_embeds(&query, table, confined.embedded());
}

fn check_call(method: RestMethod, name: &str, confined: &Confined) {
    let function = CATALOG.function(name).expect("a function of the catalogue");
    let given = confined.target().split_once('?').map_or("", |(_, query)| query);
    let (mut arguments, mut rest) = (Vec::new(), Vec::new());
    for pair in given.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').expect("a value");
        let key = decode_segment(key).expect("a name").into_owned();
        let argument = function.arguments.get(key.as_str());
        match argument.filter(|_| !method.writes()) {
            Some(argument) => arguments.push((key, *argument, value)),
            None => rest.push(pair),
        }
    }
    if !method.writes() {
        for (name, _) in function.arguments.iter().filter(|(_, kind)| **kind == Argument::Tenant) {
            let stated = arguments.iter().filter(|(known, ..)| known == name.as_ref());
            assert_eq!(stated.map(|(.., value)| *value).collect::<Vec<_>>(), [ORG]);
        }
    }
    let Some(query) = read(&rest.join("&")) else { return };
    if let Returns::Rows { table, .. } = &function.returns {
        let table = &CATALOG.tables[table];
        assert!(is_confined(&query, table), "{query:?}");
        check_embeds(&query, table, confined.embedded());
    }
}
