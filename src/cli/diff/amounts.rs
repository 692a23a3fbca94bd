//! Limits, quotas and plans: numbers by plan.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::sync::Arc;

use crate::domain::charge::{Penalty, Rate, WhenAway};
use crate::policy::Snapshot;
use crate::policy::limits::{Limit, Plan, RateSource};
use crate::policy::quotas::{AfterCrash, Mode, Quota, WithoutLedger};

use super::change::{Changes, Effect, Pair, Subject, paired};
use super::gates;

type Limits = BTreeMap<Arc<str>, Arc<Limit>>;

/// Compares limits.
pub(super) fn limits(before: &Limits, after: &Limits, changes: &mut Changes) {
    fn named(all: &Limits) -> impl Iterator<Item = (&str, &Limit)> {
        all.iter().map(|(name, limit)| (name.as_ref(), limit.as_ref()))
    }
    // A limit works where a route names it, and is told there: by itself it closes nothing.
    for (name, pair) in paired(named(before), named(after)) {
        match pair {
            Pair::Gone(limit) => {
                let mut subject = changes.of("limit", name, Some(&limit.source), None);
                subject.tell(Effect::Neutral, "removed");
            }
            Pair::New(limit) => {
                let mut subject = changes.of("limit", name, None, Some(&limit.source));
                let mode = limit.mode.as_str();
                let rates = pace_of(&limit.rate);
                subject.tell(Effect::Neutral, format!("new, with `mode: {mode}`: {rates}"));
            }
            Pair::Both(a, b) => {
                let mut subject = changes.of("limit", name, Some(&a.source), Some(&b.source));
                limit(a, b, &mut subject);
            }
        }
    }
}

fn limit(a: &Limit, b: &Limit, subject: &mut Subject<'_>) {
    gates::mode(a.mode, b.mode, subject);
    subject.shown("scope", a.scope.as_str(), b.scope.as_str());
    for (of, before, after) in rates(&a.rate, &b.rate) {
        match (before, after) {
            (Some(before), Some(after)) => rate(&of, before, after, subject),
            // The plan is new or gone, which is told by itself.
            (Some(before), None) => {
                subject.tell(Effect::Neutral, format!("{of}: {before} removed"))
            }
            (None, Some(after)) => subject.tell(Effect::Neutral, format!("{of}: {after} added")),
            (None, None) => {}
        }
    }
    subject.differs("what a request costs", &a.cost, &b.cost);
    let away = |when: WhenAway| match when {
        WhenAway::Closed => 0,
        WhenAway::LocalShare => 1,
        WhenAway::Open => 2,
    };
    if a.when_away != b.when_away {
        let effect =
            if away(b.when_away) > away(a.when_away) { Effect::Opens } else { Effect::Closes };
        subject.tell(effect, "what happens while the store is away differs");
    }
    let penalty = |limit: &Limit| limit.penalty.as_deref().map(penalty);
    match (penalty(a), penalty(b)) {
        (Some(before), Some(after)) => subject.shown("penalty", before, after),
        (before, after) => subject.barrier("a penalty", before.is_some(), after.is_some()),
    }
}

fn penalty(penalty: &Penalty) -> String {
    format!("{penalty:?}").trim_start_matches("Penalty ").to_owned()
}

type Sides = (String, Option<Rate>, Option<Rate>);

fn rates(before: &RateSource, after: &RateSource) -> Vec<Sides> {
    let by_plan = |source: &RateSource| match source {
        RateSource::Fixed(_) => None,
        RateSource::ByPlan { rates, otherwise } => Some((rates.clone(), *otherwise)),
    };
    let of = |source: &RateSource, plan: &str| match source {
        RateSource::Fixed(rate) => Some(*rate),
        RateSource::ByPlan { rates, .. } => rates.get(plan).copied(),
    };
    let (a, b) = (by_plan(before), by_plan(after));
    let mut plans: BTreeSet<Arc<str>> = BTreeSet::new();
    plans.extend(a.iter().chain(&b).flat_map(|(rates, _)| rates.keys().cloned()));
    let mut out: Vec<Sides> = plans
        .iter()
        .map(|plan| (format!("plan `{plan}`"), of(before, plan), of(after, plan)))
        .collect();
    let otherwise = |source: &RateSource| match source {
        RateSource::Fixed(rate) => *rate,
        RateSource::ByPlan { otherwise, .. } => *otherwise,
    };
    let last = if plans.is_empty() { "rate" } else { "without an organization" };
    out.push((last.to_owned(), Some(otherwise(before)), Some(otherwise(after))));
    out
}

/// The rates by plan, in one line.
fn pace_of(source: &RateSource) -> String {
    let rates = rates(source, source);
    let named = rates.iter().filter_map(|(of, rate, _)| Some((of, (*rate)?)));
    let named: Vec<String> = named.map(|(of, rate)| format!("{of} {rate}")).collect();
    named.join("; ")
}

fn rate(of: &str, a: Rate, b: Rate, subject: &mut Subject<'_>) {
    if a == b {
        return;
    }
    let pace = |x: Rate, y: Rate| u64::from(x.tokens.get()) * u64::from(y.period_millis.get());
    let (was, is) = (pace(a, b), pace(b, a));
    let effect = match (is.cmp(&was), b.burst.cmp(&a.burst)) {
        (std::cmp::Ordering::Less, std::cmp::Ordering::Less | std::cmp::Ordering::Equal)
        | (std::cmp::Ordering::Equal, std::cmp::Ordering::Less) => Effect::Closes,
        (std::cmp::Ordering::Greater, std::cmp::Ordering::Less)
        | (std::cmp::Ordering::Less, std::cmp::Ordering::Greater) => Effect::Either,
        (std::cmp::Ordering::Equal, std::cmp::Ordering::Equal) => Effect::Neutral,
        (std::cmp::Ordering::Greater | std::cmp::Ordering::Equal, _) => Effect::Opens,
    };
    subject.tell(effect, format!("{of}: {a} → {b}"));
}

/// Compares quotas, as far as some route is under them.
pub(super) fn quotas(before: &Snapshot, after: &Snapshot, changes: &mut Changes) {
    fn used(snapshot: &Snapshot) -> BTreeMap<&str, &Quota> {
        let quotas = snapshot.routes.iter().flat_map(|route| &route.quotas);
        quotas.map(|quota| (quota.name.as_ref(), quota.as_ref())).collect()
    }
    let (a, b) = (used(before), used(after));
    let pairs = paired(
        a.iter().map(|(name, quota)| (*name, *quota)),
        b.iter().map(|(name, quota)| (*name, *quota)),
    );
    for (name, pair) in pairs {
        // That routes come under it, or no longer, is told of them.
        let Pair::Both(a, b) = pair else { continue };
        let mut subject = changes.of("quota", name, Some(&a.source), Some(&b.source));
        quota(a, b, before.plans.keys().chain(after.plans.keys()), &mut subject);
    }
}

fn quota<'p>(
    a: &Quota,
    b: &Quota,
    plans: impl Iterator<Item = &'p Arc<str>>,
    subject: &mut Subject<'_>,
) {
    let refuses = |mode: Mode| mode == Mode::Hard;
    if a.mode != b.mode {
        let effect = match (refuses(a.mode), refuses(b.mode)) {
            (true, false) => Effect::Opens,
            (false, true) => Effect::Closes,
            (true, true) | (false, false) => Effect::Neutral,
        };
        subject.tell(effect, format!("mode: {} → {}", a.mode.as_str(), b.mode.as_str()));
    }
    subject.shown("period", a.per.as_str(), b.per.as_str());
    subject.shown("what is counted", a.of.as_str(), b.of.as_str());
    let mut amounts: BTreeMap<(Option<NonZeroU64>, Option<NonZeroU64>), Vec<&str>> =
        BTreeMap::new();
    for plan in plans.collect::<BTreeSet<_>>() {
        amounts.entry((a.amount(plan), b.amount(plan))).or_default().push(plan);
    }
    for ((before, after), plans) in amounts {
        if let (Some(before), Some(after)) = (before, after) {
            subject.amount(&format!("plan {}", super::change::listed(&plans)), before, after);
        }
    }
    let away = |quota: &Quota| quota.when_away == WithoutLedger::Refuse;
    subject.barrier("refuses while the ledger is away", away(a), away(b));
    let strict = |quota: &Quota| quota.after_crash == AfterCrash::Strict;
    if strict(a) != strict(b) {
        subject.tell(Effect::Neutral, "what becomes of it when a node is killed differs");
    }
    if a.thresholds != b.thresholds {
        subject.tell(Effect::Neutral, "thresholds differ");
    }
}

/// Compares plans.
pub(super) fn plans(
    before: &BTreeMap<Arc<str>, Plan>,
    after: &BTreeMap<Arc<str>, Plan>,
    changes: &mut Changes,
) {
    fn named(all: &BTreeMap<Arc<str>, Plan>) -> impl Iterator<Item = (&str, &Plan)> {
        all.iter().map(|(name, plan)| (name.as_ref(), plan))
    }
    for (name, pair) in paired(named(before), named(after)) {
        match pair {
            Pair::Gone(plan) => changes
                .of("plan", name, Some(&plan.source), None)
                .closes("removed: who has it is refused"),
            Pair::New(plan) => changes.of("plan", name, None, Some(&plan.source)).opens("new"),
            Pair::Both(a, b) => changes
                .of("plan", name, Some(&a.source), Some(&b.source))
                .amount("level", a.level, b.level),
        }
    }
}
