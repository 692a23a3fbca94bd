//! Machines: what `identity` says of their keys, the keys of a directory file, and which routes
//! admit them.
//!
//! May import `domain` and `policy`.

use std::collections::BTreeMap;
use std::str::FromStr;

use ipnet::IpNet;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::domain::ids::OrgId;
use crate::domain::login::LoginPepper;
use crate::domain::machine::{
    InvalidHash, InvalidKey, KeyHash, KeyId, KeyPepper, KeyStatus, MachineKey, PreviousSecret,
};
use crate::domain::permission::PermissionPattern;
use crate::domain::secret::Secret;
use crate::policy::limits::Scope;
use crate::policy::route::{CredentialRule, TenantRule};

use super::compile::unknown;
use super::context::Context;
use super::decode::{At, Decode, Fields, Filled, Name, Shapes, Table};
use super::defaults as preset;
use super::leaf::{parsed, refuse, text, word, words};
use super::routes::{Passage, PermissionFields};
use super::yaml::{Kind, Node, Span};

/// Bytes of a pepper: as many as of the hash that it keys.
const MIN_PEPPER_BYTES: usize = 32;

/// `machines` of `identity`.
pub(super) struct MachineFields(pub(super) KeyPepper, pub(super) LoginPepper);

impl Fields for MachineFields {
    const NAME: &'static str = "machines";
    const ABOUT: &'static str = "Machines with keys of the gateway, `tgk_…`.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let pepper = table.required::<At<Secret>>(
            "pepper",
            "A secret of 32 bytes or more that hashes of keys are keyed with. Another one makes \
             every key that was created before invalid.",
        )?;
        if pepper.value.expose().len() < MIN_PEPPER_BYTES {
            let hint = "make one with `openssl rand -base64 48`, and state it as `${NAME}`";
            table.error(pepper.span, "the pepper is shorter than 32 bytes", hint);
        }
        Some(Self(KeyPepper::new(&pepper.value), LoginPepper::new(&pepper.value)))
    }
}

/// A word, or a word and `machine`.
#[derive(Clone, Copy)]
pub(super) struct CredentialFields {
    pub(super) rule: CredentialRule,
    pub(super) machines: bool,
}

impl Decode for CredentialFields {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let Kind::List(_) = &node.kind else {
            let rule = word(node, CREDENTIALS, "credential", cx)?;
            return Some(Self { rule, machines: rule == CredentialRule::Machine });
        };
        let Filled(listed) = Filled::<At<Listed>>::decode(node, cx)?;
        let machine = |at: &&At<Listed>| at.value.0 == CredentialRule::Machine;
        let machines = listed.iter().any(|at| machine(&at));
        let mut others = listed.iter().filter(|at| !machine(at)).map(|at| at.value.0);
        match (others.next(), others.next(), listed.len()) {
            (None, _, 1) => Some(Self { rule: CredentialRule::Machine, machines }),
            (Some(rule), None, 1 | 2) => Some(Self { rule, machines }),
            _ => {
                cx.error(node.span, "credentials that say more than one of them").hint(
                    "list one of `key`, `user` and `service`, and `machine` if they may, too",
                );
                None
            }
        }
    }

    fn shape(shapes: &mut Shapes) -> Value {
        json!({ "anyOf": [words(CREDENTIALS), Filled::<At<Listed>>::shape(shapes)] })
    }
}

const CREDENTIALS: &[(&str, CredentialRule)] = &[
    ("open", CredentialRule::Open),
    ("key", CredentialRule::Key),
    ("user", CredentialRule::User),
    ("service", CredentialRule::Service),
    ("machine", CredentialRule::Machine),
];

/// What can stand beside others.
struct Listed(CredentialRule);

impl Decode for Listed {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        word(node, CREDENTIALS.get(1..).unwrap_or_default(), "credential", cx).map(Self)
    }

    fn shape(_: &mut Shapes) -> Value {
        words(CREDENTIALS.get(1..).unwrap_or_default())
    }
}

/// What a route that admits machines has to ask for.
pub(super) fn admitted(passage: &Passage, configured: bool, cx: &mut Context<'_>) {
    let At { value: credential, span } = &passage.credential;
    if !credential.machines {
        return;
    }
    if !configured {
        cx.error(*span, "the route admits machines, and nothing says how their keys are hashed")
            .hint("state `identity.machines` in the gateway file");
    }
    if passage.tenant.value == TenantRule::None {
        cx.error(*span, "a machine calls for its organization")
            .related(passage.tenant.span, "the route belongs to none")
            .hint("state `tenant` sources, or take `machine` out");
        return;
    }
    match passage.permission.value {
        PermissionFields::None | PermissionFields::Member => {
            cx.error(*span, "a machine has scopes and is no member")
                .related(passage.permission.span, "nothing here is asked of its scopes")
                .hint("state a permission, or take `machine` out");
        }
        PermissionFields::Named(..)
        | PermissionFields::Table(_)
        | PermissionFields::Function(_) => {}
    }
}

/// A key of a directory file.
pub(super) struct KeyFields {
    id: At<KeyId>,
    name: Name,
    hash: KeyHash,
    previous: Option<PreviousSecret>,
    scopes: Vec<PermissionPattern>,
    addresses: Vec<IpNet>,
    limit: Option<At<Name>>,
    status: KeyStatus,
    expires: Option<Moment>,
}

impl Fields for KeyFields {
    const NAME: &'static str = "machine key";
    const ABOUT: &'static str = "The key of a machine, as `tollgate keys create` prints it.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let id = table.required("id", "Its id: `tgk_` and twelve letters or digits.");
        let name = table.required("name", "What it is called.");
        let hash = table.required("hash", "The keyed hash of the whole key, in hexadecimal.");
        let previous = table.optional::<PreviousFields>(
            "previous",
            "The secret before a rotation, for as long as it counts.",
        );
        let scopes = table.required::<Filled<PermissionPattern>>(
            "scopes",
            "What it may do, as roles write permissions, and nothing else.",
        );
        let addresses =
            table.some("addresses", "Networks from which it may be used; from all if not stated.");
        let limit = table.optional(
            "limit",
            "A limit that its requests are charged to besides those of the route.",
        );
        let status =
            table.or("status", &preset::MACHINE_KEY_STATUS, "`active`, or `revoked`: refused.");
        let expires = table.optional(
            "expires",
            "When it ends: `2027-01-31` (at the beginning of the day, in UTC) or \
             `2027-01-31T12:00:00Z`; never if not stated.",
        );
        Some(Self {
            id: id?,
            name: name?,
            hash: hash?,
            previous: previous.map(|previous| previous.0),
            scopes: scopes?.0,
            addresses,
            limit,
            status: status?,
            expires,
        })
    }
}

struct PreviousFields(PreviousSecret);

impl Fields for PreviousFields {
    const NAME: &'static str = "previous secret";
    const ABOUT: &'static str = "A secret that was replaced.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let hash = table.required("hash", "The keyed hash of the whole key, in hexadecimal.");
        let until = table.required::<Moment>("until", "Until when it counts.");
        Some(Self(PreviousSecret { hash: hash?, until: until?.0 }))
    }
}

/// What keys of a directory may name, and what was listed of them so far.
pub(super) struct Keys {
    pub(super) limits: BTreeMap<Name, Scope>,
    /// Whether the configuration says how keys are hashed.
    pub(super) configured: bool,
}

impl Keys {
    /// The keys of one organization.
    pub(super) fn compile(
        &self,
        organization: OrgId,
        stated: Vec<At<KeyFields>>,
        seen: &mut BTreeMap<KeyId, Span>,
        cx: &mut Context<'_>,
    ) -> Vec<MachineKey> {
        let mut names: BTreeMap<Name, Span> = BTreeMap::new();
        let mut out = Vec::new();
        for At { value: key, span } in stated {
            if !self.configured {
                cx.error(span, "nothing says how the keys of machines are hashed")
                    .hint("state `identity.machines` in the gateway file");
            }
            if let Some(first) = seen.insert(key.id.value, key.id.span) {
                cx.error(key.id.span, format!("two keys have the id `{}`", key.id.value))
                    .related(first, "the first one");
            }
            if key.status == KeyStatus::Active
                && let Some(first) = names.insert(key.name.clone(), span)
            {
                let message = format!("two keys of the organization are called `{}`", key.name);
                cx.error(span, message).related(first, "the first one");
            }
            if let Some(limit) = &key.limit {
                self.limit(limit, cx);
            }
            out.push(MachineKey {
                id: key.id.value,
                name: key.name,
                organization,
                hash: key.hash,
                previous: key.previous,
                scopes: key.scopes,
                addresses: key.addresses,
                limit: key.limit.map(|limit| limit.value),
                status: key.status,
                expires_at: key.expires.map(|moment| moment.0),
            });
        }
        out
    }

    fn limit(&self, limit: &At<Name>, cx: &mut Context<'_>) {
        match self.limits.get(&limit.value) {
            None => unknown("limit", limit, self.limits.keys(), cx),
            Some(scope @ (Scope::User | Scope::Account)) => {
                let message = format!("the limit `{}` counts {}s", limit.value, scope.as_str());
                cx.error(limit.span, message).hint("name one with `scope: key`");
            }
            Some(Scope::Organization | Scope::Key | Scope::Route | Scope::Address) => {}
        }
    }
}

/// A moment, in seconds since 1970.
struct Moment(u64);

impl FromStr for Moment {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        let moment: Timestamp = match text.parse() {
            Ok(moment) => moment,
            Err(_) => text.parse::<Date>()?.to_zoned(TimeZone::UTC)?.timestamp(),
        };
        // What ended before 1970 has ended.
        Ok(Self(u64::try_from(moment.as_second()).unwrap_or(0)))
    }
}

impl Decode for Moment {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        parsed(node, "a moment", "write it as `2027-01-31` or `2027-01-31T12:00:00Z`", cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "moment", "type": "string", "examples": ["2027-01-31", "2027-01-31T12:00:00Z"] })
    }
}

impl Decode for KeyId {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let stated = text(node, cx)?;
        match stated.parse() {
            Ok(id) => Some(id),
            // Whoever pastes a whole key here is about to commit it.
            Err(InvalidKey::Form | InvalidKey::Checksum)
                if crate::domain::machine::looks_like_key(stated) =>
            {
                cx.hide(node);
                cx.error(node.span, "not the id of a key: `tgk_` and twelve letters or digits")
                    .hint("a whole key is a secret: state what stands before its second `_`");
                None
            }
            Err(InvalidKey::Form | InvalidKey::Checksum) => refuse(
                node,
                "the id of a key",
                stated,
                "copy it from what `tollgate keys create` prints",
                cx,
            ),
        }
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "key id", "type": "string", "pattern": "^tgk_[0-9A-Za-z]{12}$" })
    }
}

impl Decode for KeyHash {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        match text(node, cx)?.parse() {
            Ok(hash) => Some(hash),
            Err(InvalidHash) => {
                // It may be the key itself.
                cx.hide(node);
                cx.error(node.span, format!("the hash of a key is {InvalidHash}"))
                    .hint("copy it from what `tollgate keys create` prints");
                None
            }
        }
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "key hash", "type": "string", "pattern": "^[0-9a-f]{64}$" })
    }
}

impl Decode for KeyStatus {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        word(node, STATUSES, "status", cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        words(STATUSES)
    }
}

const STATUSES: &[(&str, KeyStatus)] =
    &[("active", KeyStatus::Active), ("revoked", KeyStatus::Revoked)];
