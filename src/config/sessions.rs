//! The `sessions` part of `gateway.yaml`.
//!
//! May import `domain` and `policy`.

use serde_json::{Value, json};

use super::context::Context;
use super::decode::{Decode, Fields, Shapes, Table, expected};
use super::defaults as preset;
use super::leaf::{Seconds, word, words};
use super::redis_place::place;
use super::settings::{SessionRedis, SessionSettings, SessionStoreSettings, WithoutStore};
use super::yaml::{Kind, Node};

impl Fields for SessionSettings {
    const NAME: &'static str = "sessions";
    const ABOUT: &'static str = "Where revoked sessions are kept.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let store = table.or("store", &preset::SESSION_STORE, "In this process or in Redis.");
        let when_away = table.or(
            "when_away",
            &preset::SESSIONS_AWAY,
            "What happens while Redis has not been caught up with: `serve` by what this node knows, \
             or `refuse` tokens of users with 503.",
        );
        let keep = table.or::<Seconds>(
            "keep",
            &preset::SESSION_KEEP,
            "How long a revocation is known; no shorter than a token lives.",
        );
        let max_entries = table.or(
            "max_entries",
            &preset::SESSION_ENTRIES,
            "Revocations that are kept; beyond that, everything issued until the oldest is refused.",
        );
        Some(Self {
            store: store?,
            when_away: when_away?,
            keep: std::time::Duration::from_secs(keep?.0),
            max_entries: max_entries?,
        })
    }
}

impl Decode for SessionStoreSettings {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        match &node.kind {
            Kind::Text { .. } => word(node, MEMORY, "store", cx).map(|()| Self::Memory),
            Kind::Map(_) => StoreFields::decode(node, cx).map(|store| Self::Redis(store.0)),
            Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float | Kind::List(_) => {
                expected("`memory` or a map with `redis`", node, cx);
                None
            }
        }
    }

    fn shape(shapes: &mut Shapes) -> Value {
        json!({ "anyOf": [{ "const": "memory" }, StoreFields::shape(shapes)] })
    }
}

const MEMORY: &[(&str, ())] = &[("memory", ())];

struct StoreFields(SessionRedis);

impl Fields for StoreFields {
    const NAME: &'static str = "session store";
    const ABOUT: &'static str = "A store of sessions that nodes share.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        table.required("redis", "In Redis 6 or newer, shared by all nodes.").map(Self)
    }
}

impl Fields for SessionRedis {
    const NAME: &'static str = "session redis";
    const ABOUT: &'static str = "Sessions in Redis, shared by all nodes.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let place = place(table);
        let timeout = table.or(
            "timeout",
            &preset::SESSION_TIMEOUT,
            "Hard deadline of one call; no request waits for one.",
        );
        let key_prefix = table.or("key_prefix", &preset::SESSION_PREFIX, "Put before every key.");
        Some(Self { place: place?, timeout: timeout?, key_prefix: key_prefix? })
    }
}

impl Decode for WithoutStore {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        word(node, CHOICES, "choice", cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        words(CHOICES)
    }
}

const CHOICES: &[(&str, WithoutStore)] =
    &[("serve", WithoutStore::Serve), ("refuse", WithoutStore::Refuse)];
