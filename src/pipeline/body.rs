//! The second half of isolation: no byte of a body reaches the upstream but through this gate.
//!
//! The head is decided and charged first, so that a body is read only for callers who may send
//! one. A body for PostgREST is held until it is whole, then rewritten in one piece or refused;
//! other bodies flow through, counted.

use bytes::Bytes;

use crate::domain::refusal::Refusal;
use crate::postgrest::{BodyRule, RestRefusal};

use super::isolate::isolation_refusal;

/// What may pass as a body.
#[derive(Debug)]
pub struct BodyGate {
    max: u64,
    seen: u64,
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
}

impl BodyGate {
    pub(super) fn plain(max: u64) -> Self {
        Self { max, seen: 0, rule: Rule::Flow }
    }

    pub(super) fn postgrest(max: u64, rule: BodyRule) -> Self {
        Self { max, seen: 0, rule: Rule::Hold { rule, held: Vec::new() } }
    }

    /// Looks at what the head announced, before a byte is read or an upstream is connected to.
    pub fn announced(&self, announced: Announced) -> Result<(), Refusal> {
        let none_allowed = matches!(self.rule, Rule::Hold { rule: BodyRule::None, .. });
        match announced {
            Announced::Nothing | Announced::Length(0) => Ok(()),
            Announced::Length(_) | Announced::Unknown if none_allowed => Err(forbidden()),
            Announced::Length(length) if length > self.max => {
                Err(Refusal::BodyTooLarge { limit: self.max })
            }
            Announced::Length(_) | Announced::Unknown => Ok(()),
        }
    }

    /// Whether the upstream gets another length than the client announced.
    pub fn changes_length(&self) -> bool {
        match &self.rule {
            Rule::Hold { rule: BodyRule::Rows(_) | BodyRule::Arguments(_), .. } => true,
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
                held.extend_from_slice(piece.as_deref().unwrap_or_default());
                if !last {
                    return Ok(None);
                }
                let whole = std::mem::take(held);
                let rewritten = rule.rewrite(&whole).map_err(isolation_refusal)?;
                Ok(rewritten.map(Bytes::from))
            }
        }
    }
}

fn forbidden() -> Refusal {
    isolation_refusal(RestRefusal::BodyForbidden)
}
