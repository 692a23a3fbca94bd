//! The request as it came beside the request as it is sent, piece by piece, with the reason for
//! every piece that differs.

use http::{HeaderMap, HeaderName};
use serde::Serialize;

use crate::pipeline::{Note, Passed, Trace};
use crate::policy::upstream::UpstreamKind;
use crate::postgrest::Touched;

use super::request::Request;
use super::upstream::value_shown;

/// One piece of a request, on both sides.
#[derive(Debug, Serialize)]
pub(super) struct Piece {
    pub(super) part: Part,
    /// The name of a parameter or field.
    pub(super) name: Option<String>,
    pub(super) came: Option<String>,
    pub(super) sent: Option<String>,
    pub(super) change: Change,
    /// Why it differs.
    pub(super) reasons: Vec<Reason>,
}

/// Which part of a request a piece is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Part {
    Method,
    Path,
    Parameter,
    Header,
    Body,
}

/// What became of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Change {
    Kept,
    Changed,
    Added,
    Removed,
}

/// Why a piece differs.
#[derive(Debug, Serialize)]
pub(super) struct Reason {
    pub(super) text: String,
    /// `file:line` of the policy that made it so.
    pub(super) source: Option<String>,
}

/// What is sent: with `passed` the rest of a request.
pub(super) struct Sent<'s> {
    pub(super) passed: &'s Passed,
    pub(super) headers: &'s HeaderMap,
    pub(super) body: Option<&'s str>,
}

/// All pieces, in the order in which they stand in a request.
pub(super) fn pieces(request: &Request, sent: &Sent<'_>, trace: &Trace) -> Vec<Piece> {
    let method = request.method.as_str();
    let (came_path, came_query) = split(&request.target);
    let (sent_path, sent_query) = split(sent.passed.target());
    let mut pieces = vec![
        piece(Part::Method, None, Some(method.into()), Some(method.into())),
        piece(Part::Path, None, Some(came_path.into()), Some(sent_path.into())),
    ];
    pieces.extend(parameters(came_query, sent_query));
    pieces.extend(headers(&request.headers, sent.headers));
    let body = request.body.as_deref().map(|body| String::from_utf8_lossy(body).into_owned());
    let body = body.filter(|body| !body.is_empty());
    if body.is_some() || sent.body.is_some() {
        pieces.push(piece(Part::Body, None, body, sent.body.map(str::to_owned)));
    }
    let postgrest = sent.passed.upstream().kind == UpstreamKind::Postgrest;
    for note in trace.notes() {
        give_reason(&mut pieces, note);
    }
    for piece in pieces.iter_mut().filter(|piece| piece.reasons.is_empty()) {
        if let Some(text) = usual_reason(piece, postgrest) {
            piece.reasons.push(Reason { text: text.to_owned(), source: None });
        }
    }
    pieces
}

/// The target with the key masked that it may hold.
pub(super) fn without_key(target: &str) -> String {
    let Some((path, query)) = target.split_once('?') else { return target.to_owned() };
    let shown = query.split('&').map(|raw| match read(raw).next() {
        Some(parameter) => parameter.shown(),
        None => raw,
    });
    format!("{path}?{}", shown.collect::<Vec<_>>().join("&"))
}

fn piece(part: Part, name: Option<&str>, came: Option<String>, sent: Option<String>) -> Piece {
    let change = match (&came, &sent) {
        (Some(came), Some(sent)) if came == sent => Change::Kept,
        (Some(_), Some(_)) => Change::Changed,
        (None, _) => Change::Added,
        (_, None) => Change::Removed,
    };
    Piece { part, name: name.map(str::to_owned), came, sent, change, reasons: Vec::new() }
}

fn split(target: &str) -> (&str, &str) {
    target.split_once('?').unwrap_or((target, ""))
}

/// A parameter as it is spelt, and what it says.
struct Parameter<'q> {
    raw: &'q str,
    key: String,
    value: String,
}

impl<'q> Parameter<'q> {
    fn shown(&self) -> &'q str {
        if self.key == "apikey" { "apikey=***" } else { self.raw }
    }
}

/// Parameters side by side: those that say the same, then those of the same name, then what is new.
fn parameters(came: &str, sent: &str) -> Vec<Piece> {
    let came: Vec<Parameter<'_>> = read(came).collect();
    let mut sent: Vec<Option<Parameter<'_>>> = read(sent).map(Some).collect();
    let mut pairs: Vec<Option<Parameter<'_>>> = came.iter().map(|_| None).collect();
    let same: [fn(&Parameter<'_>, &Parameter<'_>) -> bool; 2] = [
        |one, other| one.key == other.key && one.value == other.value,
        |one, other| one.key == other.key,
    ];
    for same in same {
        for (one, pair) in came.iter().zip(&mut pairs).filter(|(_, pair)| pair.is_none()) {
            let is_it = |other: &&mut Option<Parameter<'_>>| {
                other.as_ref().is_some_and(|other| same(one, other))
            };
            *pair = sent.iter_mut().find(is_it).and_then(Option::take);
        }
    }
    let paired = came.into_iter().zip(pairs).map(|(one, other)| {
        let other = other.map(|other| other.shown().to_owned());
        piece(Part::Parameter, Some(&one.key), Some(one.shown().to_owned()), other)
    });
    let mut pieces: Vec<Piece> = paired.collect();
    pieces.extend(
        sent.into_iter()
            .flatten()
            .map(|new| piece(Part::Parameter, Some(&new.key), None, Some(new.raw.to_owned()))),
    );
    pieces
}

fn read(query: &str) -> impl Iterator<Item = Parameter<'_>> {
    query.split('&').filter(|raw| !raw.is_empty()).map(|raw| {
        let (key, value) = raw.split_once('=').unwrap_or((raw, ""));
        // Identifiers may stand in quotes; who reads this sees both spellings.
        let key = decoded(key).trim().trim_matches('"').to_owned();
        Parameter { raw, key, value: decoded(value) }
    })
}

/// For comparing: what is broken stays as it is.
fn decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let hex = after.first_chunk::<2>().and_then(|hex| std::str::from_utf8(hex).ok());
        match (byte, hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(decoded)) => {
                out.push(decoded);
                rest = after.get(2..).unwrap_or_default();
            }
            (b'+', _) => {
                out.push(b' ');
                rest = after;
            }
            (byte, _) => {
                out.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Fields side by side, by name. They are compared before secrets are masked.
fn headers(came: &HeaderMap, sent: &HeaderMap) -> Vec<Piece> {
    let shown = |headers: &HeaderMap, name: &HeaderName| {
        let values: Vec<String> =
            headers.get_all(name).iter().map(|value| value_shown(name, value)).collect();
        (!values.is_empty()).then(|| values.join(", "))
    };
    let new = sent.keys().filter(|name| !came.contains_key(*name));
    let names = came.keys().chain(new);
    names
        .map(|name| {
            let same = came.get_all(name).iter().eq(sent.get_all(name).iter());
            let sides = (shown(came, name), shown(sent, name));
            let mut piece = piece(Part::Header, Some(name.as_str()), sides.0, sides.1);
            if piece.change == Change::Kept && !same {
                piece.change = Change::Changed;
            }
            piece
        })
        .collect()
}

/// Puts what a stage noted to the piece that it is about: the new one of a name before another.
fn give_reason(pieces: &mut [Piece], note: &Note) {
    let Some(touched) = &note.touched else { return };
    let is_it = |piece: &Piece| match touched {
        Touched::Parameter(key) => {
            piece.part == Part::Parameter && piece.name.as_deref() == Some(key.as_ref())
        }
        Touched::Header(name) => piece.part == Part::Header && piece.name.as_deref() == Some(*name),
        Touched::Body => piece.part == Part::Body,
    };
    for change in [Change::Added, Change::Changed, Change::Removed] {
        let found = pieces.iter_mut().find(|piece| piece.change == change && is_it(piece));
        if let Some(piece) = found {
            let source = note.source.as_ref().map(ToString::to_string);
            piece.reasons.push(Reason { text: note.text.clone(), source });
            return;
        }
    }
}

/// Why a piece differs that no stage has noted.
fn usual_reason(piece: &Piece, postgrest: bool) -> Option<&'static str> {
    Some(match (piece.change, piece.part) {
        (Change::Kept, _) => return None,
        (_, Part::Header) => header_reason(piece.name.as_deref()?, piece.change, postgrest),
        (_, Part::Path) => "as the upstream knows it",
        (Change::Removed, Part::Parameter) if piece.name.as_deref() == Some("apikey") => {
            "the key was for the gateway"
        }
        (Change::Removed, Part::Parameter | Part::Body) => "it has no effect on this request",
        (Change::Changed | Change::Added, Part::Parameter | Part::Body) => {
            "printed afresh from what was understood"
        }
        (_, Part::Method) => "the gateway changes no method",
    })
}

fn header_reason(name: &str, change: Change, postgrest: bool) -> &'static str {
    match (name, change) {
        ("authorization", Change::Removed) => "the credential was for the gateway",
        ("authorization", _) => "what the gateway verified, in a token of its own",
        ("apikey", Change::Removed) => "the key was for the gateway",
        ("apikey", _) => "the gateway's key for this upstream",
        ("accept-profile" | "content-profile", _) => "the one schema of the catalogue",
        ("content-type", _) => "the body is sent as JSON",
        ("content-length", _) => "the length of what is sent",
        ("host", _) => "the upstream's own name",
        ("x-request-id" | "traceparent", _) => "the request's id, the same in all logs",
        (name, Change::Added | Change::Changed) if name.starts_with("x-forwarded-") => {
            "where the request came from, as far as trusted proxies tell"
        }
        (_, Change::Removed) if postgrest => "only what the gateway has understood is sent",
        (_, Change::Removed) => "only the gateway may say this, or it was for the gateway",
        (_, _) => "printed afresh from what was understood",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(came: &str, sent: &str) -> Vec<(Option<String>, Option<String>, Change)> {
        parameters(came, sent).into_iter().map(|p| (p.came, p.sent, p.change)).collect()
    }

    #[test]
    fn parameters_stand_beside_what_became_of_them() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            shown(
                "select=*&%22org%22=eq.B&a=gt.1&a=lt.9&limit=5&apikey=sb_x",
                "select=id,a&org=eq.B&a=gt.1&a=lt.9&org=eq.O&order=id&limit=5",
            ),
            [
                (some("select=*"), some("select=id,a"), Change::Changed),
                (some("%22org%22=eq.B"), some("org=eq.B"), Change::Changed),
                (some("a=gt.1"), some("a=gt.1"), Change::Kept),
                (some("a=lt.9"), some("a=lt.9"), Change::Kept),
                (some("limit=5"), some("limit=5"), Change::Kept),
                (some("apikey=***"), None, Change::Removed),
                (None, some("org=eq.O"), Change::Added),
                (None, some("order=id"), Change::Added),
            ]
        );
        assert_eq!(shown("", ""), []);
    }

    #[test]
    fn a_filter_of_the_clients_is_not_taken_for_the_one_that_was_added() {
        let pieces = shown("org=eq.B", "org=eq.O&org=eq.B");
        assert_eq!(pieces[0].1.as_deref(), Some("org=eq.B"));
        assert_eq!((pieces[1].1.as_deref(), pieces[1].2), (Some("org=eq.O"), Change::Added));
    }

    #[test]
    fn secrets_that_differ_are_seen_to_differ_and_not_shown() {
        let field = |value: &'static str| {
            let value = http::HeaderValue::from_static(value);
            HeaderMap::from_iter([(http::header::AUTHORIZATION, value)])
        };
        let pieces = headers(&field("Bearer a.b.c"), &field("Bearer d.e.f"));
        assert_eq!(pieces[0].change, Change::Changed);
        assert_eq!(pieces[0].came.as_deref(), Some("Bearer ***"));
        assert_eq!(pieces[0].sent.as_deref(), Some("Bearer ***"));
    }
}
