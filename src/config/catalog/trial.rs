//! Tables whose isolation is only tried: who may say so, and what is said of it at load.
//!
//! Such a table is protected by its database alone. That is so only where the database hears of the
//! caller from the caller's own token; behind an upstream with tokens of the gateway's, or without
//! any, the mode is an error. May import `domain` and `policy`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::config::context::Context;
use crate::config::decode::{At, Decode, Name, Shapes};
use crate::config::leaf::{text, word, words};
use crate::config::yaml::{Node, Span};
use crate::policy::upstream::{Upstream, UpstreamIdentity, UpstreamKind};

use super::TableFields;

/// Whether the isolation of a table is enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum TableMode {
    Enforce,
    Shadow,
}

const MODES: &[(&str, TableMode)] =
    &[("enforce", TableMode::Enforce), ("shadow", TableMode::Shadow)];

impl Decode for TableMode {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        if text(node, cx)? == "off" {
            cx.error(node.span, "the isolation of a table cannot be `off`").hint(
                "`mode: shadow` tries it; for rows that are the same for every organization write \
                 `global: read`, and for a table that nobody is to reach `deny: true`",
            );
            return None;
        }
        word(node, MODES, "mode", cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        words(MODES)
    }
}

impl At<TableMode> {
    /// Where it says that isolation is only tried.
    pub(in crate::config) fn trial(&self) -> Option<Span> {
        match self.value {
            TableMode::Shadow => Some(self.span),
            TableMode::Enforce => None,
        }
    }
}

/// Says of each table in shadow that the gateway does not protect it, or that it may not be.
pub(in crate::config) fn told(
    tables: &BTreeMap<Name, At<TableFields>>,
    upstreams: &[(Arc<Upstream>, Span)],
    cx: &mut Context<'_>,
) {
    let databases = upstreams.iter().filter(|(of, _)| of.kind == UpstreamKind::Postgrest);
    let unfit = databases.clone().find_map(|(upstream, span)| match upstream.identity {
        UpstreamIdentity::PassThrough { .. } => None,
        UpstreamIdentity::Minted(_) => Some((upstream, *span, "gets tokens of the gateway's own")),
        UpstreamIdentity::None => Some((upstream, *span, "is not told who calls")),
    });
    let tried = tables.iter().filter_map(|(name, at)| Some((name, at.value.trial?)));
    for (name, span) in tried {
        match unfit {
            Some((upstream, at, why)) => {
                let upstream = &upstream.name;
                let message =
                    format!("`{name}` cannot be in shadow: the upstream `{upstream}` {why}");
                cx.error(span, message).related(at, "the upstream").hint(
                    "nothing but row-level security protects such a table, and it has to see the \
                     caller's own token: write `identity: pass_through`, or enforce the table",
                );
            }
            None => {
                let message =
                    format!("the gateway does not isolate the table `{name}`: it is in shadow");
                cx.warning(span, message).hint(
                    "its rows are as safe as the row-level security of its database; remove \
                     `mode: shadow` to enforce it",
                );
            }
        }
    }
}
