//! Policy files: plans, roles, limits. The catalogue, routes and answers have files of their own.
//!
//! Here each part is read by itself; `compile` joins the files and resolves names. May import
//! `domain` and `policy`.

use std::num::NonZeroU32;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::domain::charge::{Penalty, Rate, WhenAway};
use crate::domain::organization::OrgSelector;
use crate::policy::limits::{After, Cost, Scope};
use crate::policy::mode::Mode;
use crate::policy::roles::PermissionPattern;

use super::answers::ResponseFields;
use super::catalog::functions::{CapFields, FunctionFields, TypeName};
use super::catalog::{TableFields, ViewFields};
use super::conditions::ConditionFields;
use super::context::Context;
use super::decode::{At, Decode, Fields, Filled, Name, Named, Shapes, Table, name, shown};
use super::defaults as preset;
use super::leaf::{Pace, Seconds, Text, text, word, words};
use super::logins::LoginFields;
use super::penalty::PenaltyFields;
use super::quotas::QuotaFields;
use super::routes::RouteFields;
use super::yaml::{Kind, Node};

/// One file. Every part may be spread over several.
#[derive(Default)]
pub(super) struct PolicyFile {
    pub(super) schema: Option<At<Text>>,
    pub(super) plans: Named<PlanFields>,
    pub(super) roles: Named<RoleFields>,
    pub(super) separate: Vec<At<Vec<At<Name>>>>,
    pub(super) permissions: Vec<PlainPermission>,
    pub(super) gates: Named<GateFields>,
    pub(super) stages: Option<At<Vec<At<Name>>>>,
    pub(super) impersonation: Option<At<ImpersonationFields>>,
    pub(super) logins: Option<At<LoginFields>>,
    pub(super) limits: Named<LimitFields>,
    pub(super) quotas: Named<QuotaFields>,
    pub(super) tables: Named<TableFields>,
    pub(super) views: Named<ViewFields>,
    pub(super) rpc: Named<FunctionFields>,
    pub(super) casts: Option<At<Vec<TypeName>>>,
    pub(super) rest_caps: Option<At<CapFields>>,
    pub(super) routes: Vec<At<RouteFields>>,
    pub(super) response: Option<At<ResponseFields>>,
}

impl Fields for PolicyFile {
    const NAME: &'static str = "policy";
    const ABOUT: &'static str = "A policy file. Every part may be spread over several files.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let schema = table.or_later(
            "schema",
            &preset::SCHEMA,
            "The database schema that requests to PostgREST are sent to.",
        );
        let plans = table.some("plans", "Subscription tiers, as the directory names them.");
        let roles = table.some("roles", "Roles of members, as the directory names them.");
        let separate = table.some(
            "separate",
            "Pairs of roles that nobody may have at once: `[requester, approver]`.",
        );
        let permissions = table.some(
            "permissions",
            "Permissions that no route and no table asks for, because applications do.",
        );
        let gates = table.some(
            "gates",
            "What must hold for permissions to count, whichever role has them and whichever route \
             asks for them.",
        );
        let stages = table.optional(
            "stages",
            "The stages of a journey, first to last; the directory says which one is reached.",
        );
        let impersonation = table.optional(
            "impersonation",
            "Who may act as somebody else, to help them; nobody if not stated.",
        );
        let logins = table.optional(
            "logins",
            "How failed logins at upstreams of kind `auth` are counted; not at all if not stated.",
        );
        let limits = table.some("limits", "Token buckets that routes charge.");
        let quotas = table.some(
            "quotas",
            "What organizations may use in a calendar period, by the ledger of `metering`.",
        );
        let tables = table.some(
            "tables",
            "The tables behind PostgREST upstreams; what is not listed does not exist for clients.",
        );
        let views = table.some(
            "views",
            "The views behind PostgREST upstreams; what is not listed does not exist for clients.",
        );
        let rpc = table.some(
            "rpc",
            "The functions that clients may call as `/rpc/<name>`; others do not exist for them.",
        );
        let casts = table.or_later(
            "casts",
            &preset::CASTS,
            "Types that clients may cast a column to: `select=id::text`.",
        );
        let rest_caps = table.optional("rest_caps", "How large a request to PostgREST may be.");
        let routes = table.some(
            "routes",
            "Which request goes where. The most specific host and path wins; the order does not \
             matter.",
        );
        let response = table.optional("response", "What is added to every answer.");
        Some(Self {
            schema,
            plans,
            roles,
            separate,
            permissions,
            gates,
            stages,
            impersonation,
            logins,
            limits,
            quotas,
            tables,
            views,
            rpc,
            casts,
            rest_caps,
            routes,
            response,
        })
    }
}

/// A subscription tier.
pub(super) struct PlanFields {
    pub(super) level: NonZeroU32,
}

impl Fields for PlanFields {
    const NAME: &'static str = "plan";
    const ABOUT: &'static str = "A subscription tier.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let level = table.required(
            "level",
            "Its rank: `require: [{ plan: pro }]` holds for every plan of at least pro's level.",
        );
        Some(Self { level: level? })
    }
}

/// A role.
pub(super) struct RoleFields {
    pub(super) level: Option<NonZeroU32>,
    pub(super) inherits: Vec<At<Name>>,
    pub(super) permissions: Vec<At<PermissionPattern>>,
    pub(super) require: Vec<At<ConditionFields>>,
}

impl Fields for RoleFields {
    const NAME: &'static str = "role";
    const ABOUT: &'static str = "A role and what it may do.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let inherits = table.some("inherits", "Roles whose permissions it has too.");
        let permissions = table.some(
            "permissions",
            "`resource:action`; either side may be `*`. `admin` on a resource implies `read`, \
             `write` and `delete`.",
        );
        let level = table.or(
            "level",
            &preset::ROLE_LEVEL,
            "Its rank: a role manages only those that rank below it.",
        );
        let require = table.some(
            "require",
            "What must hold for its permissions to count, such as `{ aal: aal2 }`; those of roles \
             that it inherits must hold too.",
        );
        Some(Self { level, inherits, permissions, require })
    }
}

/// A gate.
pub(super) struct GateFields {
    pub(super) permissions: Filled<At<PermissionPattern>>,
    pub(super) require: Filled<At<ConditionFields>>,
    pub(super) mode: Mode,
}

impl Fields for GateFields {
    const NAME: &'static str = "gate";
    const ABOUT: &'static str = "What must hold for permissions to count.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let permissions = table.required(
            "permissions",
            "`resource:action`; either side may be `*`. Here `admin` stands for itself only.",
        );
        let require = table.required("require", "What must hold: all of it.");
        let mode = table.or(
            "mode",
            &preset::GATE_MODE,
            "`enforce`; `shadow`: what it would have refused is recorded and let through; or `off`.",
        );
        Some(Self { permissions: permissions?, require: require?, mode: mode? })
    }
}

impl Decode for PermissionPattern {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let stated = text(node, cx)?;
        let pattern = Self::parse(stated);
        if pattern.is_none() {
            cx.error(node.span, format!("`{}` is not a permission", shown(stated)))
                .hint("write `resource:action`, such as `events:read`; either side may be `*`");
        }
        pattern
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "permission", "type": "string", "pattern": "^[^:]+:[^:]+$" })
    }
}

/// Who may act as somebody else.
pub(super) struct ImpersonationFields {
    pub(super) staff: OrgSelector,
    pub(super) permission: At<PlainPermission>,
    pub(super) within: Seconds,
    pub(super) read_only: bool,
}

impl Fields for ImpersonationFields {
    const NAME: &'static str = "impersonation";
    const ABOUT: &'static str = "Who may act as somebody else, to help them, and how far.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let staff = table.required("staff", "The organization whose members may: its slug or id.");
        let permission = table.required("permission", "What they must be permitted there.");
        let within = table.or(
            "within",
            &preset::IMPERSONATION_WITHIN,
            "How long ago they may have shown a second factor, by `amr`: the time for which they \
             may act.",
        );
        let read_only =
            table.or("read_only", &preset::IMPERSONATION_READ_ONLY, "Whether they may only look.");
        Some(Self {
            staff: staff?,
            permission: permission?,
            within: within?,
            read_only: read_only?,
        })
    }
}

/// A limit.
pub(super) struct LimitFields {
    pub(super) scope: Scope,
    pub(super) rate: LimitRate,
    pub(super) cost: At<Cost>,
    pub(super) when_away: WhenAway,
    pub(super) mode: Mode,
    pub(super) penalty: Option<Penalty>,
}

/// Where a limit's numbers come from.
pub(super) enum LimitRate {
    Fixed(At<Rate>),
    ByPlan { rates: At<Named<Rate>>, otherwise: At<Rate> },
}

impl Fields for LimitFields {
    const NAME: &'static str = "limit";
    const ABOUT: &'static str =
        "A token bucket: how fast it fills, how much it holds, and whose it is.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let scope = table.required(
            "scope",
            "Whose buckets: one for each `user` of an organization, `organization`, API `key`, \
             `route` and organization, client `address` (IPv6 by /64), or `account` that a request to an \
             auth server names.",
        );
        let which = table.one_of(&["rate", "by_plan"]);
        let pace = table.optional::<At<Pace>>("rate", "Tokens that come back in a period: `10/s`.");
        let burst = table.optional::<NonZeroU32>(
            "burst",
            "Tokens that an idle caller can spend at once; the count of the rate if not stated.",
        );
        let by_plan = table
            .optional::<At<Named<Rate>>>("by_plan", "Instead of `rate`: a rate for every plan.");
        let otherwise = table.optional::<At<Rate>>(
            "otherwise",
            "Beside `by_plan`: the rate where there is no organization.",
        );
        let cost = table.or(
            "cost",
            &preset::LIMIT_COST,
            "Tokens that a request takes, or what they depend on.",
        );
        let when_away = table.or(
            "when_away",
            &preset::WHEN_AWAY,
            "While the shared store is away: `local_share` (this node enforces its share), \
             `closed` (503) or `open` (uncounted).",
        );
        let mode = table.or(
            "mode",
            &preset::LIMIT_MODE,
            "`enforce`; `shadow`: charged by itself, and what it would have refused is recorded and \
             let through; or `off`.",
        );
        let penalty = table.optional::<PenaltyFields>(
            "penalty",
            "Who comes back before `Retry-After`, again and again, waits longer and longer.",
        );
        let (other, beside) = match which {
            Some("rate") => ("otherwise", "rate"),
            _ => ("burst", "by_plan"),
        };
        if which.is_some() && table.has(other) {
            let message = format!("`{other}` has no meaning beside `{beside}`");
            table.error(table.key_span(other), message, "remove it");
        }
        if which == Some("by_plan") {
            table.needs("otherwise", "state the rate for calls without an organization");
        }
        let rate = match which? {
            "rate" => pace.map(|At { value, span }| {
                LimitRate::Fixed(At { value: value.with_burst(burst), span })
            }),
            _ => by_plan
                .zip(otherwise)
                .map(|(rates, otherwise)| LimitRate::ByPlan { rates, otherwise }),
        };
        let penalty = penalty.map(|penalty| penalty.0);
        let (scope, rate, cost) = (scope?, rate?, cost?);
        Some(Self { scope, rate, cost, when_away: when_away?, mode: mode?, penalty })
    }
}

impl Decode for Cost {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        match &node.kind {
            Kind::Map(_) => CostFields::decode(node, cx).map(|cost| cost.0),
            Kind::Null
            | Kind::Bool(_)
            | Kind::Int(_)
            | Kind::Float
            | Kind::Text { .. }
            | Kind::List(_) => NonZeroU32::decode(node, cx).map(Self::flat),
        }
    }

    fn shape(shapes: &mut Shapes) -> Value {
        json!({ "anyOf": [NonZeroU32::shape(shapes), CostFields::shape(shapes)] })
    }
}

struct CostFields(Cost);

impl Fields for CostFields {
    const NAME: &'static str = "cost";
    const ABOUT: &'static str = "Tokens that a request takes, by what it asks of PostgREST and by its \
                                 answer; what is not stated adds none.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let base = table.or("base", &preset::COST_BASE, "For any request.");
        let mut extra = |key, about: &str| -> u32 {
            table.optional::<NonZeroU32>(key, about).map_or(0, NonZeroU32::get)
        };
        let embed = extra("embed", "For each embed.");
        let count = extra("count", "For `Prefer: count`: all rows that fit are counted.");
        let unlimited = extra("unlimited", "For a read without `limit` or the end of a `Range`.");
        let deep = extra("deep", "For an `offset` of 1000 rows or more.");
        let per_second = extra("per_second", "Afterwards, for each second that the upstream took.");
        let per_mebibyte = extra("per_mebibyte", "Afterwards, for each MiB of the answer.");
        let most = table.optional::<NonZeroU32>(
            "max_debt",
            "Beside `per_second` and `per_mebibyte`: what the bucket owes at most; the burst if not \
             stated.",
        );
        let stated = table.has("per_second") || table.has("per_mebibyte");
        if most.is_some() && !stated {
            let hint = "state `per_second` or `per_mebibyte`, or remove it";
            table.error(table.key_span("max_debt"), "nothing is charged afterwards", hint);
        }
        let after = (per_second > 0 || per_mebibyte > 0).then_some(After {
            per_second,
            per_mebibyte,
            most,
        });
        Some(Self(Cost { base: base?, embed, count, unlimited, deep, after }))
    }
}

impl Decode for Scope {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        word(node, &scopes(), "scope", cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        words(&scopes())
    }
}

fn scopes() -> [(&'static str, Scope); 6] {
    [Scope::User, Scope::Organization, Scope::Key, Scope::Route, Scope::Address, Scope::Account]
        .map(|scope| (scope.as_str(), scope))
}

impl Decode for WhenAway {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        word(node, WHEN_AWAY, "behaviour", cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        words(WHEN_AWAY)
    }
}

const WHEN_AWAY: &[(&str, WhenAway)] = &[
    ("local_share", WhenAway::LocalShare),
    ("closed", WhenAway::Closed),
    ("open", WhenAway::Open),
];

/// A permission without wildcards.
pub(super) struct PlainPermission(pub(super) Name, pub(super) Name);

impl Decode for PlainPermission {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        plain_permission(node, cx).map(|(resource, action)| Self(resource, action))
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "permission", "type": "string", "pattern": "^[^:*]+:[^:*]+$" })
    }
}

/// A permission that a route asks for, without wildcards.
pub(super) fn plain_permission(node: &Node, cx: &mut Context<'_>) -> Option<(Arc<str>, Arc<str>)> {
    let stated = text(node, cx)?;
    let pattern = PermissionPattern::decode(node, cx)?;
    if &*pattern.resource == "*" || &*pattern.action == "*" {
        cx.error(node.span, format!("`{}` stands for many permissions", shown(stated)))
            .hint("a route asks for one; wildcards belong to roles");
        return None;
    }
    let resource = name(&pattern.resource, node.span, cx);
    let action = name(&pattern.action, node.span, cx);
    resource.zip(action)
}
