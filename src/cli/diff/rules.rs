//! Rules: which there are, what they are about, and what they do.

use crate::policy::mode::Mode;
use crate::policy::rules::{Actions, Ending, Location, Rule, RuleBook};

use super::change::{Changes, Effect, Pair, Subject, listed, paired};
use super::gates;

/// Compares rules.
pub(super) fn compare(before: &RuleBook, after: &RuleBook, changes: &mut Changes) {
    fn named(book: &RuleBook) -> impl Iterator<Item = (&str, &Rule)> {
        book.all().iter().map(|rule| (rule.id.as_ref(), rule.as_ref()))
    }
    for (id, pair) in paired(named(before), named(after)) {
        match pair {
            Pair::Gone(rule) => {
                let mut subject = changes.of("rule", id, Some(&rule.source), None);
                subject.tell(effect(rule, Effect::Opens), format!("removed: {}", told(rule)));
            }
            Pair::New(rule) => {
                let mut subject = changes.of("rule", id, None, Some(&rule.source));
                subject.tell(effect(rule, Effect::Closes), format!("new: {}", told(rule)));
            }
            Pair::Both(a, b) => {
                let mut subject = changes.of("rule", id, Some(&a.source), Some(&b.source));
                rule(a, b, &mut subject);
            }
        }
    }
    order(before, after, changes);
}

fn rule(a: &Rule, b: &Rule, subject: &mut Subject<'_>) {
    if refuses(a) || refuses(b) {
        gates::mode(a.mode, b.mode, subject);
    } else {
        subject.shown("mode", a.mode.as_str(), b.mode.as_str());
    }
    subject.shown("phase", a.phase.as_str(), b.phase.as_str());
    if a.when.text() != b.when.text() {
        let effect = effect(b, Effect::Either).min(effect(a, Effect::Either));
        subject.tell(effect, format!("when: {} → {}", a.when.text(), b.when.text()));
    }
    let (of, now) = (done(&a.actions), done(&b.actions));
    if of != now {
        let effect = match (refuses(a), refuses(b)) {
            (false, true) => effect(b, Effect::Closes),
            (true, false) => effect(a, Effect::Opens),
            (true, true) | (false, false) => Effect::Either,
        };
        subject.tell(effect, format!("{of} → {now}"));
    }
}

/// Rules of one phase are tried in their order: the first that ends a request decides.
fn order(before: &RuleBook, after: &RuleBook, changes: &mut Changes) {
    let shared = |of: &RuleBook, other: &RuleBook| -> Vec<String> {
        let there = |id: &str| other.all().iter().any(|rule| &*rule.id == id);
        let ids = of.all().iter().filter(|rule| there(&rule.id));
        ids.map(|rule| rule.id.to_string()).collect()
    };
    let (of, now) = (shared(before, after), shared(after, before));
    if of != now {
        let what = format!("are tried in another order: {}", listed(&now));
        changes.of("rules", "", None, None).tell(Effect::Either, what);
    }
}

/// What a rule does to requests by being there.
fn effect(rule: &Rule, refusing: Effect) -> Effect {
    match rule.mode {
        Mode::Shadow | Mode::Off => Effect::Neutral,
        Mode::Enforce if refuses(rule) => refusing,
        Mode::Enforce => Effect::Either,
    }
}

fn refuses(rule: &Rule) -> bool {
    rule.actions.second_factor.is_some() || matches!(rule.actions.ending, Some(Ending::Deny(_)))
}

fn told(rule: &Rule) -> String {
    let tried = match rule.mode {
        Mode::Enforce => "",
        Mode::Shadow => ", in shadow",
        Mode::Off => ", off",
    };
    format!("when {}: {}{tried}", rule.when.text(), done(&rule.actions))
}

/// What it does, in one line.
fn done(actions: &Actions) -> String {
    let mut all: Vec<String> = Vec::new();
    match &actions.ending {
        Some(Ending::Deny(denial)) => {
            all.push(format!("refuses with {} {}", denial.status.as_u16(), denial.code));
        }
        Some(Ending::Redirect(redirect)) => {
            let to = match &redirect.to {
                Location::Constant(value) => String::from_utf8_lossy(value.as_bytes()).into_owned(),
                Location::SamePath(origin) => format!("the same path of {origin}"),
            };
            all.push(format!("redirects with {} to {to}", redirect.status.as_u16()));
        }
        None => {}
    }
    if let Some(factor) = actions.second_factor {
        let within = factor.within.map(|within| format!(" of the last {} s", within.as_secs()));
        all.push(format!("asks for a second factor{}", within.unwrap_or_default()));
    }
    if !actions.tags.is_empty() {
        all.push(format!("tags {}", listed(&actions.tags)));
    }
    let names: Vec<&http::HeaderName> =
        actions.fields.set.iter().map(|(name, _)| name).chain(&actions.fields.remove).collect();
    if !names.is_empty() {
        all.push(format!("changes {}", listed(&names)));
    }
    if actions.cost > 0 {
        all.push(format!("costs {} more", actions.cost));
    }
    if let Some(charge) = &actions.charge {
        let to: Vec<&str> = charge.to.iter().map(|limit| limit.name.as_ref()).collect();
        let spared = match charge.instead_of.as_slice() {
            [] => String::new(),
            names => format!(" instead of {}", listed(names)),
        };
        all.push(format!("charges {}{spared}", listed(&to)));
    }
    if let Some(diverted) = &actions.divert {
        let (from, to) = (&diverted.from, &diverted.to.name);
        all.push(format!("diverts {} from `{from}` to `{to}`", diverted.share));
    }
    if let Some(share) = actions.audit {
        all.push(format!("records {share}"));
    }
    if let Some(event) = &actions.event {
        all.push(format!("raises `{}` ({})", event.kind, event.severity.as_str()));
    }
    if all.is_empty() { "does nothing".to_owned() } else { all.join(", ") }
}
