//! Policy files: plans, roles, limits, tables. Routes and answers have files of their own.
//!
//! Here each part is read by itself; `compile` joins the files and resolves names. May import
//! `domain` and `policy`.

use std::num::NonZeroU32;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::domain::charge::{Rate, WhenAway};
use crate::policy::limits::Scope;
use crate::policy::roles::PermissionPattern;

use super::answers::ResponseFields;
use super::context::Context;
use super::decode::{At, Decode, Fields, Filled, Name, Named, Shapes, Table, name, shown};
use super::defaults as preset;
use super::leaf::{Pace, Text, text, word, words};
use super::routes::RouteFields;
use super::yaml::Node;

/// One file. Every part may be spread over several.
#[derive(Default)]
pub(super) struct PolicyFile {
    pub(super) schema: Option<At<Text>>,
    pub(super) plans: Named<PlanFields>,
    pub(super) roles: Named<RoleFields>,
    pub(super) limits: Named<LimitFields>,
    pub(super) tables: Named<TableFields>,
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
        let limits = table.some("limits", "Token buckets that routes charge.");
        let tables = table.some(
            "tables",
            "The tables behind PostgREST upstreams; what is not listed does not exist for clients.",
        );
        let routes = table.some(
            "routes",
            "Which request goes where. The most specific host and path wins; the order does not \
             matter.",
        );
        let response = table.optional("response", "What is added to every answer.");
        Some(Self { schema, plans, roles, limits, tables, routes, response })
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
    pub(super) inherits: Vec<At<Name>>,
    pub(super) permissions: Vec<At<PermissionPattern>>,
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
        Some(Self { inherits, permissions })
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

/// A limit.
pub(super) struct LimitFields {
    pub(super) scope: Scope,
    pub(super) rate: LimitRate,
    pub(super) cost: At<NonZeroU32>,
    pub(super) when_away: WhenAway,
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
             `route` and organization, or client `address` (IPv6 by /64).",
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
        let cost = table.or("cost", &preset::LIMIT_COST, "Tokens that one request takes.");
        let when_away = table.or(
            "when_away",
            &preset::WHEN_AWAY,
            "While the shared store is away: `local_share` (this node enforces its share), \
             `closed` (503) or `open` (uncounted).",
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
        Some(Self { scope: scope?, rate: rate?, cost: cost?, when_away: when_away? })
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

fn scopes() -> [(&'static str, Scope); 5] {
    [Scope::User, Scope::Organization, Scope::Key, Scope::Route, Scope::Address]
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

/// A table behind PostgREST.
pub(super) struct TableFields {
    pub(super) tenancy: TenancyFields,
    pub(super) columns: Vec<At<Name>>,
    pub(super) writable: bool,
}

/// How its rows belong to organizations.
pub(super) enum TenancyFields {
    Column(At<Name>),
    Global,
    Denied,
}

impl Fields for TableFields {
    const NAME: &'static str = "table";
    const ABOUT: &'static str = "A table and how its rows belong to organizations.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let which = table.one_of(&["tenant", "global", "deny"]);
        let tenant = table.optional("tenant", "The column that holds the organization's id.");
        let _: Option<ReadOnly> = table.optional(
            "global",
            "`read`: the same rows for every organization, which clients can only read.",
        );
        let deny = table.optional::<At<bool>>("deny", "`true`: not reachable through the gateway.");
        let columns = table.optional::<Filled<At<Name>>>(
            "columns",
            "The columns that clients may name; others do not exist for them.",
        );
        let writable = table.or(
            "writable",
            &preset::WRITABLE,
            "Whether clients may insert, update or delete at all.",
        );
        let which = which?;
        if which == "deny" {
            if let Some(At { value: false, span }) = deny {
                table.error(span, "`deny: false` says nothing", "state `tenant` or `global`");
                return None;
            }
            let others = ["columns", "writable"].into_iter().filter(|key| table.has(key));
            for key in others.collect::<Vec<_>>() {
                let message = format!("`{key}` has no meaning beside `deny`");
                table.error(table.key_span(key), message, "remove it");
            }
            return Some(Self {
                tenancy: TenancyFields::Denied,
                columns: Vec::new(),
                writable: false,
            });
        }
        table.needs("columns", "list the columns that clients may name");
        let columns = columns?.0;
        for (index, column) in columns.iter().enumerate() {
            if columns.iter().take(index).any(|earlier| earlier.value == column.value) {
                table.error(
                    column.span,
                    format!("the column `{}` is listed twice", column.value),
                    "",
                );
            }
        }
        if which == "global" {
            if table.has("writable") {
                let message = "`writable` has no meaning beside `global`";
                table.error(table.key_span("writable"), message, "remove it");
            }
            return Some(Self { tenancy: TenancyFields::Global, columns, writable: false });
        }
        let tenant: At<Name> = tenant?;
        if !columns.iter().any(|column| column.value == tenant.value) {
            let message = format!("the tenant column `{}` is not among the columns", tenant.value);
            table.error(tenant.span, message, "add it to `columns`");
        }
        Some(Self { tenancy: TenancyFields::Column(tenant), columns, writable: writable? })
    }
}

struct ReadOnly;

impl Decode for ReadOnly {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        word(node, &[("read", ())], "access", cx).map(|()| Self)
    }

    fn shape(_: &mut Shapes) -> Value {
        words(&[("read", ())])
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
