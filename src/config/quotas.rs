//! Quotas of policy files, and the quotas that routes name. May import `domain` and `policy`.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::policy::quotas::{AfterCrash, Amount, Mode, Period, Quota, Unit, WithoutLedger};
use crate::policy::route::TenantRule;

use super::compile::{Joined, unknown};
use super::context::Context;
use super::decode::{At, Decode, Fields, Name, Named, Shapes, Table};
use super::defaults as preset;
use super::leaf::{word, words};
use super::resolve::Whole;
use super::routes::Passage;
use super::yaml::Node;

/// A quota.
pub(super) struct QuotaFields {
    per: Period,
    of: Unit,
    amount: AmountFields,
    mode: Mode,
    when_away: WithoutLedger,
    after_crash: AfterCrash,
    thresholds: Vec<At<Percent>>,
}

enum AmountFields {
    Fixed(NonZeroU64),
    ByPlan(At<Named<NonZeroU64>>),
}

impl Fields for QuotaFields {
    const NAME: &'static str = "quota";
    const ABOUT: &'static str = "What an organization may use in a calendar period.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let per = table.required(
            "per",
            "The period, in the time zone of the organization or, without, of `metering`.",
        );
        let of = table.required("of", "What is counted: `calls`, `bytes` (in and out) or `cost`.");
        let which = table.one_of(&["amount", "by_plan"]);
        let amount = table.optional("amount", "How much every organization has.");
        let by_plan = table.optional("by_plan", "Instead of `amount`: so much for every plan.");
        let mode = table.or(
            "mode",
            &preset::QUOTA_MODE,
            "When it is used up: `hard` (429 until the period ends), `soft` (served and told), \
             `shadow` (served, and recorded that `hard` would have refused) or `off`.",
        );
        let when_away = table.or(
            "when_away",
            &preset::QUOTA_AWAY,
            "While the ledger is away: `serve` (what this node knows counts) or `refuse` (503).",
        );
        let after_crash = table.or(
            "after_crash",
            &preset::QUOTA_AFTER_CRASH,
            "Of a node that is killed: `lenient` (what it had not journalled is forgiven) or `strict` \
             (each request is journalled before it is sent on).",
        );
        let thresholds = table.or::<Vec<At<Percent>>>(
            "thresholds",
            &preset::QUOTA_THRESHOLDS,
            "Shares of it, in percent, that are told once in a period when they are reached.",
        );
        let amount = match which? {
            "amount" => amount.map(AmountFields::Fixed),
            _ => by_plan.map(AmountFields::ByPlan),
        };
        let (per, of, amount) = (per?, of?, amount?);
        let (mode, when_away) = (mode?, when_away?);
        let (after_crash, thresholds) = (after_crash?, thresholds?);
        Some(Self { per, of, amount, mode, when_away, after_crash, thresholds })
    }
}

impl Decode for NonZeroU64 {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let number = u64::decode(node, cx)?;
        if number == 0 {
            cx.error(node.span, "zero is not allowed")
                .hint("state a number from 1; a quota of nothing is a route with `close: true`");
        }
        Self::new(number)
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "whole number from 1", "type": "integer", "minimum": 1 })
    }
}

/// A share of a quota.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Percent(u16);

impl Decode for Percent {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let number = u64::decode(node, cx)?;
        let percent = u16::try_from(number).ok().filter(|percent| (1..=1_000).contains(percent));
        if percent.is_none() {
            cx.error(node.span, format!("`{number}` is no share of a quota"))
                .hint("state percent, from 1 to 1000");
        }
        percent.map(Self)
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "percent", "type": "integer", "minimum": 1, "maximum": 1000 })
    }
}

/// The thresholds of a quota, ascending.
fn thresholds(stated: &[At<Percent>], mode: Mode, cx: &mut Context<'_>) -> Box<[u16]> {
    let mut all: Vec<u16> = Vec::new();
    for At { value: Percent(percent), span } in stated {
        if all.contains(percent) {
            cx.error(*span, format!("the threshold `{percent}` is listed twice"))
                .hint("remove one");
        } else if matches!(mode, Mode::Hard | Mode::Shadow) && *percent > 100 {
            cx.error(*span, format!("nobody ever reaches {percent} % of a hard quota"))
                .hint("state shares up to 100, or `mode: soft`");
        } else if all.len() == MOST_THRESHOLDS {
            cx.error(*span, format!("a quota has at most {MOST_THRESHOLDS} thresholds"))
                .hint("remove some");
            break;
        }
        all.push(*percent);
    }
    all.sort_unstable();
    all.into()
}

/// Each is a row of the ledger for every organization and period.
const MOST_THRESHOLDS: usize = 8;

const PERIODS: &[(&str, Period)] = &[("day", Period::Day), ("month", Period::Month)];
const UNITS: &[(&str, Unit)] =
    &[("calls", Unit::Calls), ("bytes", Unit::Bytes), ("cost", Unit::Cost)];
const MODES: &[(&str, Mode)] =
    &[("hard", Mode::Hard), ("soft", Mode::Soft), ("shadow", Mode::Shadow), ("off", Mode::Off)];
const AFTER_CRASH: &[(&str, AfterCrash)] =
    &[("lenient", AfterCrash::Lenient), ("strict", AfterCrash::Strict)];
const AWAY: &[(&str, WithoutLedger)] =
    &[("serve", WithoutLedger::Serve), ("refuse", WithoutLedger::Refuse)];

impl Decode for Period {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        word(node, PERIODS, "period", cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        words(PERIODS)
    }
}

impl Decode for Unit {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        word(node, UNITS, "unit", cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        words(UNITS)
    }
}

impl Decode for Mode {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        word(node, MODES, "mode", cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        words(MODES)
    }
}

impl Decode for WithoutLedger {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        word(node, AWAY, "choice", cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        words(AWAY)
    }
}

impl Decode for AfterCrash {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        word(node, AFTER_CRASH, "choice", cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        words(AFTER_CRASH)
    }
}

/// Compiles the quotas.
pub(super) fn compile(joined: &Joined, cx: &mut Context<'_>) -> BTreeMap<Name, Arc<Quota>> {
    let mut out = BTreeMap::new();
    for (name, At { value, span }) in &joined.quotas {
        let amount = match &value.amount {
            AmountFields::Fixed(amount) => Amount::Fixed(*amount),
            AmountFields::ByPlan(stated) => {
                let mut amounts = BTreeMap::new();
                for (plan, amount) in &stated.value.0 {
                    if !joined.plans.contains_key(&plan.value) {
                        unknown("plan", plan, joined.plans.keys(), cx);
                    }
                    amounts.insert(plan.value.clone(), amount.value);
                }
                for plan in joined.plans.keys().filter(|plan| !amounts.contains_key(*plan)) {
                    let message = format!("the quota `{name}` has no amount for the plan `{plan}`");
                    cx.error(stated.span, message).hint("state one: nobody could say what is left");
                }
                Amount::ByPlan(amounts)
            }
        };
        let quota = Quota {
            name: name.clone(),
            per: value.per,
            of: value.of,
            amount,
            mode: value.mode,
            when_away: value.when_away,
            after_crash: value.after_crash,
            thresholds: thresholds(&value.thresholds, value.mode, cx),
            source: cx.source(*span),
        };
        out.insert(name.clone(), Arc::new(quota));
    }
    out
}

/// The quotas that a route names.
pub(super) fn of_route(
    passage: &Passage,
    whole: &Whole<'_>,
    cx: &mut Context<'_>,
) -> Vec<Arc<Quota>> {
    let mut out: Vec<Arc<Quota>> = Vec::new();
    for name in &passage.quotas {
        let Some(quota) = whole.quotas.get(&name.value) else {
            unknown("quota", name, whole.quotas.keys(), cx);
            continue;
        };
        if out.iter().any(|earlier| earlier.name == quota.name) {
            cx.error(name.span, format!("the quota `{}` is listed twice", name.value))
                .hint("remove one");
        }
        if passage.tenant.value == TenantRule::None {
            cx.error(name.span, format!("the quota `{}` can never count here", name.value))
                .hint("quotas are of organizations, and this route knows none");
        }
        if quota.mode != Mode::Off {
            out.push(Arc::clone(quota));
        }
    }
    out
}

/// Nobody counts for quotas without a ledger.
pub(super) fn unmetered(joined: &Joined, cx: &mut Context<'_>) {
    for (name, At { span, .. }) in &joined.quotas {
        cx.error(*span, format!("nothing counts for the quota `{name}`"))
            .hint("state `metering` in the gateway file");
    }
}
