//! The second half of isolation: no byte of a body reaches the upstream but through this gate.
//!
//! The head is decided and charged first, so that a body is read only for callers who may send
//! one. A body for PostgREST is held until it is whole, then rewritten in one piece or refused, so
//! that nothing is written of a body whose last row is refused; other bodies flow through, counted.
//!
//! A body for a table whose isolation is only tried is held as well, judged, and sent as it came.
//!
//! In memory are at most the route's `max_body` of what came and, while it is rewritten, what is
//! sent: for JSON as much again and the tenant in each row, for CSV and forms up to 16 times as
//! much, because column names stand in every row of JSON.

use std::sync::Arc;

use bytes::Bytes;

use crate::domain::login::Account;
use crate::domain::refusal::Refusal;
use crate::domain::source::Source;
use crate::domain::would::{PolicyKind, WouldHave};
use crate::postgrest::{BodyRule, RestRefusal};

use super::isolate::isolation_refusal;
use super::login::Login;
use super::trace::Stage;

/// What may pass as a body.
#[derive(Debug)]
pub struct BodyGate {
    max: u64,
    seen: u64,
    /// What the head announced, for room.
    expected: usize,
    rule: Rule,
}

/// What a head says of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announced {
    /// There is none.
    Nothing,
    /// `Content-Length`.
    Length(u64),
    /// Some, without a length: chunked, or HTTP/2 without a length.
    Unknown,
}

#[derive(Debug)]
enum Rule {
    /// Flows through.
    Flow,
    /// Held until it is whole, then rewritten.
    Hold { rule: BodyRule, held: Vec<u8> },
    /// Held until it is whole, judged, and sent on as it came.
    Try { tried: Box<TriedBody>, held: Vec<u8> },
    /// Of an attempt to sign in: held until it is whole, looked at, and sent on as it came.
    Login { login: Box<Login>, account: Option<Account>, held: Vec<u8> },
}

/// What confinement would make of a body that is sent on as it came.
#[derive(Debug)]
pub(super) struct TriedBody {
    rule: BodyRule,
    table: Arc<str>,
    source: Source,
    would: Option<WouldHave>,
}

impl TriedBody {
    /// Of a request to that table, whose isolation that line says is only tried.
    pub(super) fn new(rule: BodyRule, table: Arc<str>, source: Source) -> Self {
        Self { rule, table, source, would: None }
    }

    fn judge(&mut self, whole: &[u8]) {
        let (Err(refusal), None) = (self.rule.rewrite(whole), &self.would) else { return };
        let stage = Stage::Isolate.as_str();
        let (table, source) = (Arc::clone(&self.table), self.source.clone());
        let refusal = isolation_refusal(refusal);
        self.would = Some(WouldHave::refusal(PolicyKind::Table, table, source, stage, &refusal));
    }
}

/// The most that a body by which somebody signs in may have, whatever the route allows: it is a few
/// hundred bytes, tokens of other sign-in providers and a user's own data excepted.
const MAX_LOGIN_BYTES: u64 = 64 * 1024;

impl BodyGate {
    pub(super) fn plain(max: u64) -> Self {
        Self { max, seen: 0, expected: 0, rule: Rule::Flow }
    }

    pub(super) fn postgrest(max: u64, rule: BodyRule) -> Self {
        Self { max, seen: 0, expected: 0, rule: Rule::Hold { rule, held: Vec::new() } }
    }

    pub(super) fn tried(max: u64, tried: TriedBody) -> Self {
        let rule = Rule::Try { tried: Box::new(tried), held: Vec::new() };
        Self { max, seen: 0, expected: 0, rule }
    }

    /// What confinement would have refused of a body that was sent on as it came.
    pub(super) fn would_have(&mut self) -> Option<WouldHave> {
        match &mut self.rule {
            Rule::Try { tried, .. } => tried.would.take(),
            Rule::Hold { .. } | Rule::Login { .. } | Rule::Flow => None,
        }
    }

    pub(super) fn login(max: u64, login: Login) -> Self {
        let rule = Rule::Login { login: Box::new(login), account: None, held: Vec::new() };
        Self { max: max.min(MAX_LOGIN_BYTES), seen: 0, expected: 0, rule }
    }

    /// The attempt to sign in, and the account that its body names, once it passed.
    pub fn attempt(&self) -> Option<(&Login, Option<&Account>)> {
        match &self.rule {
            Rule::Login { login, account, .. } => Some((login, account.as_ref())),
            Rule::Hold { .. } | Rule::Try { .. } | Rule::Flow => None,
        }
    }

    /// Looks at what the head announced, before a byte is read or an upstream is connected to.
    pub fn announced(&mut self, announced: Announced) -> Result<(), Refusal> {
        let none_allowed = matches!(self.rule, Rule::Hold { rule: BodyRule::None, .. });
        match announced {
            Announced::Nothing | Announced::Length(0) => Ok(()),
            Announced::Length(_) | Announced::Unknown if none_allowed => Err(forbidden()),
            Announced::Length(length) if length > self.max => {
                Err(Refusal::BodyTooLarge { limit: self.max })
            }
            Announced::Length(length) => {
                self.expected = usize::try_from(length).unwrap_or_default();
                Ok(())
            }
            Announced::Unknown => Ok(()),
        }
    }

    /// Whether it is held until it is whole: the upstream may get another length than the client
    /// announced, or nothing at all.
    pub fn holds(&self) -> bool {
        match &self.rule {
            Rule::Hold { rule: BodyRule::Rows(_) | BodyRule::Arguments(_), .. }
            | Rule::Try { .. }
            | Rule::Login { .. } => true,
            Rule::Hold { rule: BodyRule::None, .. } | Rule::Flow => false,
        }
    }

    /// Takes a piece of the body and gives what may go on now: `None` for nothing yet.
    /// `last` says that no further piece follows.
    pub fn pass(&mut self, piece: Option<Bytes>, last: bool) -> Result<Option<Bytes>, Refusal> {
        let length = piece.as_ref().map_or(0, Bytes::len) as u64;
        self.seen = self.seen.saturating_add(length);
        if self.seen > self.max {
            return Err(Refusal::BodyTooLarge { limit: self.max });
        }
        match &mut self.rule {
            Rule::Flow => Ok(piece),
            Rule::Hold { rule, held } => {
                let piece = piece.unwrap_or_default();
                if matches!(rule, BodyRule::None) && !piece.is_empty() {
                    return Err(forbidden());
                }
                let Some(whole) = gather(held, piece, last, self.expected) else {
                    return Ok(None);
                };
                let rewritten = rule.rewrite(&whole).map_err(isolation_refusal)?;
                Ok(rewritten.map(Bytes::from))
            }
            Rule::Try { tried, held } => {
                let Some(whole) = gather(held, piece.unwrap_or_default(), last, self.expected)
                else {
                    return Ok(None);
                };
                tried.judge(&whole);
                Ok(Some(whole))
            }
            Rule::Login { login, account, held } => {
                let Some(whole) = gather(held, piece.unwrap_or_default(), last, self.expected)
                else {
                    return Ok(None);
                };
                *account = login.account(&whole)?;
                Ok(Some(whole))
            }
        }
    }
}

/// The whole of a body, with its last piece; until then, what came is held.
fn gather(held: &mut Vec<u8>, piece: Bytes, last: bool, expected: usize) -> Option<Bytes> {
    if last && held.is_empty() {
        // What comes in one piece needs no copy.
        return Some(piece);
    }
    if held.capacity() == 0 {
        held.reserve_exact(expected);
    }
    held.extend_from_slice(&piece);
    last.then(|| Bytes::from(std::mem::take(held)))
}

fn forbidden() -> Refusal {
    isolation_refusal(RestRefusal::BodyForbidden)
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::domain::catalog::{Catalog, Table, Tenancy};
    use crate::postgrest::{RestMethod, RestRequest, confine};

    const O: &str = "aaaaaaaa-0000-4000-8000-00000000000a";

    fn rule(method: RestMethod) -> BodyRule {
        let columns = ["id", "organization_id"].map(Arc::from).to_vec();
        let tenancy = Tenancy::column(Arc::from("organization_id"));
        let table = Table::new(Arc::from("events"), tenancy, columns, Source::built_in());
        let catalog = Catalog {
            schema: Arc::from("public"),
            tables: [(Arc::clone(&table.name), Arc::new(table))].into(),
            ..Catalog::default()
        };
        let headers = HeaderMap::new();
        let request = RestRequest { method, path: "/events", query: None, headers: &headers };
        confine(&request, &catalog, O.parse().unwrap()).unwrap().body().clone()
    }

    fn held(gate: &BodyGate) -> usize {
        match &gate.rule {
            Rule::Hold { held, .. } | Rule::Login { held, .. } | Rule::Try { held, .. } => {
                held.capacity()
            }
            Rule::Flow => 0,
        }
    }

    fn piece(text: &str) -> Option<Bytes> {
        Some(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn a_body_is_rewritten_the_same_in_one_piece_and_in_many() {
        let body = r#"[{"id":1},{"id":2}]"#;
        let tenant = format!("\"organization_id\":\"{O}\"");
        let sent = format!("[{{\"id\":1,{tenant}}},{{\"id\":2,{tenant}}}]");
        let mut whole = BodyGate::postgrest(1_000, rule(RestMethod::Post));
        assert_eq!(whole.pass(piece(body), true).unwrap().unwrap(), sent);
        for announced in [Announced::Unknown, Announced::Length(body.len() as u64)] {
            let mut gate = BodyGate::postgrest(1_000, rule(RestMethod::Post));
            gate.announced(announced).unwrap();
            for byte in body.split_inclusive(|_: char| true) {
                assert_eq!(gate.pass(piece(byte), false).unwrap(), None);
            }
            assert_eq!(gate.pass(None, true).unwrap().unwrap(), sent);
        }
    }

    #[test]
    fn a_body_over_its_cap_is_refused_and_not_held() {
        let too_large = Refusal::BodyTooLarge { limit: 100 };
        let mut announced = BodyGate::postgrest(100, rule(RestMethod::Post));
        assert_eq!(announced.announced(Announced::Length(101)), Err(too_large.clone()));
        assert_eq!(held(&announced), 0);
        let mut chunked = BodyGate::postgrest(100, rule(RestMethod::Post));
        chunked.announced(Announced::Unknown).unwrap();
        assert_eq!(chunked.pass(piece(&" ".repeat(60)), false), Ok(None));
        assert_eq!(chunked.pass(piece(&" ".repeat(41)), false), Err(too_large.clone()));
        assert!(held(&chunked) <= 60, "the piece that is too much is not kept");
        let mut flowing = BodyGate::plain(100);
        assert_eq!(flowing.pass(piece(&" ".repeat(101)), true), Err(too_large));
    }

    #[test]
    fn what_was_announced_is_the_room_that_is_made() {
        let mut gate = BodyGate::postgrest(1 << 20, rule(RestMethod::Post));
        gate.announced(Announced::Length(100_000)).unwrap();
        assert_eq!(held(&gate), 0, "nothing before the first piece");
        gate.pass(piece(&" ".repeat(50_000)), false).unwrap();
        gate.pass(piece(&" ".repeat(50_000)), false).unwrap();
        assert_eq!(held(&gate), 100_000);
    }

    #[test]
    fn where_no_body_belongs_its_first_byte_is_refused() {
        let mut gate = BodyGate::postgrest(100, rule(RestMethod::Get));
        assert_eq!(gate.announced(Announced::Length(1)), Err(forbidden()));
        assert_eq!(gate.pass(piece("x"), false), Err(forbidden()));
        assert_eq!(held(&gate), 0);
        let mut empty = BodyGate::postgrest(100, rule(RestMethod::Get));
        assert_eq!(empty.pass(None, true), Ok(None));
    }

    #[test]
    fn a_body_that_is_only_tried_is_judged_whole_and_sent_as_it_came() {
        let foreign = "bbbbbbbb-0000-4000-8000-00000000000b";
        for (body, code) in [
            ("{\"id\": 1}".to_owned(), None),
            (
                format!("[{{\"id\":1}}, {{\"organization_id\":\"{foreign}\"}}]"),
                Some("rest_tenant_escape"),
            ),
            ("no json".to_owned(), Some("rest_body_malformed")),
        ] {
            let tried = TriedBody::new(rule(RestMethod::Post), "events".into(), Source::built_in());
            let mut gate = BodyGate::tried(1_000, tried);
            assert!(gate.holds());
            let (first, rest) = body.split_at(3);
            assert_eq!(gate.pass(piece(first), false), Ok(None));
            assert_eq!(gate.pass(piece(rest), true).unwrap().unwrap(), body);
            let would = gate.would_have();
            assert_eq!(would.as_ref().map(|would| would.code.as_ref()), code, "{body}");
        }
        let tried = TriedBody::new(rule(RestMethod::Post), "events".into(), Source::built_in());
        let too_large = Refusal::BodyTooLarge { limit: 3 };
        assert_eq!(BodyGate::tried(3, tried).pass(piece("1234"), true), Err(too_large));
    }

    #[test]
    fn an_escape_is_told_with_what_was_tried() {
        let mut gate = BodyGate::postgrest(1_000, rule(RestMethod::Post));
        let foreign = "bbbbbbbb-0000-4000-8000-00000000000b";
        let body = format!("[{{\"id\":1}},{{\"organization_id\":\"{foreign}\"}}]");
        let refusal = gate.pass(piece(&body), true).unwrap_err();
        let Refusal::Isolation { tenant_escape: Some(escape), .. } = refusal else {
            panic!("{refusal:?}")
        };
        assert_eq!(escape.name.as_ref(), "organization_id");
        assert_eq!(escape.named, Some(foreign.parse().unwrap()));
    }
}
