//! From rules as they are written to the rule book: conditions compiled, names resolved, actions
//! held against their phase.
//!
//! May import `domain` and `policy`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::rule::{Denial, RuleEvent};
use crate::policy::expression::Expression;
use crate::policy::limits::{Limit, Scope};
use crate::policy::mode::Mode;
use crate::policy::rules::{
    Actions, ChargeRule, Diversion, Ending, FactorRule, MOST_RULES, Phase, Rule, RuleBook, Together,
};
use crate::policy::upstream::Upstream;

use super::super::compile::unknown;
use super::super::context::Context;
use super::super::decode::{At, Name};
use super::super::expression;
use super::super::yaml::Span;
use super::actions::{ActionFields, ChargeFields, DivertFields};
use super::{RuleFields, RuleFile, When, place};

/// What rules name.
pub(in crate::config) struct Whole<'w> {
    /// `None` where they were refused.
    pub(in crate::config) upstreams: Option<&'w [(Arc<Upstream>, Span)]>,
    pub(in crate::config) limits: &'w BTreeMap<Name, Arc<Limit>>,
}

/// All files as one list; what two of them call alike is an error that names both places.
pub(in crate::config) fn join(files: Vec<RuleFile>, cx: &mut Context<'_>) -> Vec<At<RuleFields>> {
    let mut all: Vec<At<RuleFields>> = Vec::new();
    let mut seen: BTreeMap<Name, Span> = BTreeMap::new();
    for rule in files.into_iter().flat_map(|file| file.rules) {
        let At { value: id, span } = &rule.value.id;
        if let Some(first) = seen.get(id) {
            cx.error(*span, format!("a second rule is called `{id}`"))
                .related(*first, "the first one")
                .hint("rename one: metrics, tests and the audit log tell rules by id");
        } else {
            seen.insert(id.clone(), *span);
        }
        if all.len() == MOST_RULES {
            cx.error(*span, format!("there are more than {MOST_RULES} rules"));
            break;
        }
        all.push(rule);
    }
    all
}

/// Compiles all rules. Those that are off are checked like the others, and left out.
pub(in crate::config) fn compile(
    stated: &[At<RuleFields>],
    whole: &Whole<'_>,
    cx: &mut Context<'_>,
) -> RuleBook {
    let mut on: Vec<Arc<Rule>> = Vec::new();
    for At { value, span } in stated {
        let RuleFields { id, phase, mode, when, then } = value;
        then.value.fit(*phase, cx);
        let expression = condition(when, *phase, cx);
        let actions = actions(&id.value, *phase, &then.value, whole, cx);
        let place = u16::try_from(on.len()).ok();
        if expression.is_none() {
            cx.refuse(&id.value);
        }
        let (Some(when), Some(place), false) = (expression, place, *mode == Mode::Off) else {
            continue;
        };
        on.push(Arc::new(Rule {
            id: id.value.clone(),
            place,
            phase: *phase,
            mode: *mode,
            when,
            actions,
            source: cx.source(*span),
        }));
    }
    RuleBook::new(on)
}

/// Limits that rules charge, and upstreams that they lead to: for what says that nothing uses them.
pub(in crate::config) fn names(stated: &[At<RuleFields>]) -> impl Iterator<Item = &Name> {
    stated.iter().flat_map(|rule| {
        let then = &rule.value.then.value;
        let limits = then.charge.iter().flat_map(|charge| &charge.to);
        limits.chain(then.upstream.iter().map(|divert| &divert.to)).map(|name| &name.value)
    })
}

/// The expression of a condition.
pub(in crate::config) fn condition(
    At { value: When(text), span }: &At<When>,
    phase: Phase,
    cx: &mut Context<'_>,
) -> Option<Expression> {
    match expression::compile(text, phase) {
        Ok(expression) => Some(expression),
        Err(mistakes) => {
            for mistake in mistakes {
                let at = place::within(cx.text(*span), *span, text, &mistake.range);
                let said = cx.error(at, mistake.message);
                if let Some(hint) = mistake.hint {
                    said.hint(hint);
                }
            }
            None
        }
    }
}

fn actions(
    id: &Name,
    phase: Phase,
    fields: &ActionFields,
    whole: &Whole<'_>,
    cx: &mut Context<'_>,
) -> Actions {
    let deny = fields.deny.as_ref().map(|deny| {
        Ending::Deny(Arc::new(Denial {
            rule: id.clone(),
            status: deny.status,
            code: deny.code.clone(),
            message: deny.message.clone(),
            retry_after: deny.retry_after,
        }))
    });
    let redirect = fields.redirect.clone().map(Ending::Redirect);
    Actions {
        ending: deny.or(redirect),
        second_factor: fields.require.as_ref().map(|require| FactorRule { within: require.within }),
        tags: fields.tags.clone(),
        fields: fields.fields.clone(),
        cost: fields.cost,
        charge: fields.charge.as_ref().map(|charge| charged(charge, whole, cx)),
        divert: fields.upstream.as_ref().and_then(|divert| diverted(divert, phase, whole, cx)),
        audit: fields.audit,
        event: fields.event.as_ref().map(|event| {
            Arc::new(RuleEvent {
                rule: id.clone(),
                kind: event.kind.clone(),
                severity: event.severity,
            })
        }),
    }
}

fn charged(fields: &ChargeFields, whole: &Whole<'_>, cx: &mut Context<'_>) -> ChargeRule {
    let mut to = Vec::new();
    for name in &fields.to {
        match whole.limits.get(&name.value) {
            None => unknown("limit", name, whole.limits.keys(), cx),
            Some(limit) if limit.scope == Scope::Account => {
                let message = format!(
                    "the limit `{}` counts what a body names, which no rule sees",
                    name.value
                );
                cx.error(name.span, message).hint("name it in the `limits` of the route");
            }
            Some(limit) => to.push(Arc::clone(limit)),
        }
    }
    for name in &fields.instead_of {
        if !whole.limits.contains_key(&name.value) {
            unknown("limit", name, whole.limits.keys(), cx);
        }
        if fields.to.iter().any(|other| other.value == name.value) {
            cx.error(name.span, format!("the limit `{}` is charged and spared", name.value))
                .hint("remove it from one of the two");
        }
    }
    ChargeRule { to, instead_of: fields.instead_of.iter().map(|name| name.value.clone()).collect() }
}

fn diverted(
    fields: &DivertFields,
    phase: Phase,
    whole: &Whole<'_>,
    cx: &mut Context<'_>,
) -> Option<Diversion> {
    let upstreams = whole.upstreams?;
    let mut named = |name: &At<Name>| {
        let found = upstreams.iter().find(|(upstream, _)| upstream.name == name.value);
        if found.is_none() {
            unknown("upstream", name, upstreams.iter().map(|(upstream, _)| &upstream.name), cx);
        }
        found.map(|(upstream, _)| Arc::clone(upstream))
    };
    let (from, to) = (named(&fields.from), named(&fields.to));
    let (from, to) = (from?, to?);
    if from.kind != to.kind {
        let message = format!(
            "`{}` is of kind `{}`, and `{}` of kind `{}`",
            from.name,
            from.kind.as_str(),
            to.name,
            to.kind.as_str()
        );
        cx.error(fields.to.span, message)
            .related(fields.from.span, "in place of this one")
            .hint("requests are judged and rewritten for the kind of their route's upstream");
    }
    if from.name == to.name {
        cx.error(fields.to.span, format!("`{}` is no other upstream", to.name));
    }
    let by = fields.by.as_ref();
    if let Some(by) = by
        && phase == Phase::Request
        && matches!(by.value, Together::User | Together::Organization)
    {
        cx.error(by.span, "in the phase `request` nobody knows who calls")
            .hint("state `phase: authenticated`, or `by: address`");
    }
    Some(Diversion {
        from: from.name.clone(),
        to,
        share: fields.share,
        by: by.map_or(Together::Request, |by| by.value),
    })
}
