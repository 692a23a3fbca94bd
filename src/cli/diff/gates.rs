//! Gates, and conditions wherever they stand.

use crate::policy::condition::Requirement;
use crate::policy::gates::{GateDefinition, Gates};
use crate::policy::mode::Mode;

use super::super::roles::condition;
use super::change::{Changes, Effect, Pair, Subject, paired};

/// Compares gates.
pub(super) fn compare(before: &Gates, after: &Gates, changes: &mut Changes) {
    let named = |gate: &GateDefinition| gate.name.to_string();
    let (a, b): (Vec<_>, Vec<_>) = (
        before.iter().map(|gate| (named(gate), gate)).collect(),
        after.iter().map(|gate| (named(gate), gate)).collect(),
    );
    fn by_name<'x>(
        all: &'x [(String, &'x GateDefinition)],
    ) -> impl Iterator<Item = (&'x str, &'x GateDefinition)> {
        all.iter().map(|(name, gate)| (name.as_str(), *gate))
    }
    for (name, pair) in paired(by_name(&a), by_name(&b)) {
        let place = |gate: &GateDefinition| gate.requires.first().map(|of| of.source.clone());
        let (gone, new) = match pair {
            Pair::Gone(gate) => (Some(gate), None),
            Pair::New(gate) => (None, Some(gate)),
            Pair::Both(before, after) => (Some(before), Some(after)),
        };
        let (from, to) = (gone.and_then(place), new.and_then(place));
        let mut subject = changes.of("gate", name, from.as_ref(), to.as_ref());
        match (gone, new) {
            (Some(gate), None) => enforced(gate.mode, &mut subject, Effect::Opens, "removed"),
            (None, Some(gate)) => enforced(gate.mode, &mut subject, Effect::Closes, "new"),
            (Some(before), Some(after)) => {
                mode(before.mode, after.mode, &mut subject);
                let shown = |gate: &GateDefinition| -> Vec<String> {
                    gate.permissions.iter().map(ToString::to_string).collect()
                };
                subject.closing("permission", &shown(before), &shown(after));
                conditions(&before.requires, &after.requires, &mut subject);
            }
            (None, None) => {}
        }
    }
}

/// What is in shadow, or off, closes nothing.
fn enforced(mode: Mode, subject: &mut Subject<'_>, effect: Effect, what: &str) {
    match mode {
        Mode::Enforce => subject.tell(effect, what),
        Mode::Shadow | Mode::Off => {
            subject.tell(Effect::Neutral, format!("{what}, with `mode: {}`", mode.as_str()));
        }
    }
}

/// The mode of something that refuses.
pub(super) fn mode(before: Mode, after: Mode, subject: &mut Subject<'_>) {
    if before == after {
        return;
    }
    let effect = match (before, after) {
        (Mode::Enforce, _) => Effect::Opens,
        (_, Mode::Enforce) => Effect::Closes,
        (_, _) => Effect::Neutral,
    };
    subject.tell(effect, format!("mode: {} → {}", before.as_str(), after.as_str()));
}

/// Compares what must hold.
pub(super) fn conditions(before: &[Requirement], after: &[Requirement], subject: &mut Subject<'_>) {
    let find = |all: &[Requirement], wanted: &Requirement| {
        all.iter().find(|of| of.condition == wanted.condition).map(|of| of.mode)
    };
    for requirement in before {
        let asked = condition(requirement);
        match find(after, requirement) {
            None => {
                let effect = effect_of(requirement.mode, Effect::Opens);
                subject.tell(effect, format!("no longer asks for {asked}"));
            }
            Some(now) if now != requirement.mode => {
                let effect = match now {
                    Mode::Enforce => Effect::Closes,
                    Mode::Shadow | Mode::Off => Effect::Opens,
                };
                let (before, after) = (requirement.mode.as_str(), now.as_str());
                subject.tell(effect, format!("asks for {asked}: {before} → {after}"));
            }
            Some(_) => {}
        }
    }
    for requirement in after.iter().filter(|of| find(before, of).is_none()) {
        let tried = if requirement.mode == Mode::Shadow { ", in shadow" } else { "" };
        let effect = effect_of(requirement.mode, Effect::Closes);
        subject.tell(effect, format!("asks for {}{tried}", condition(requirement)));
    }
}

fn effect_of(mode: Mode, enforced: Effect) -> Effect {
    match mode {
        Mode::Enforce => enforced,
        Mode::Shadow | Mode::Off => Effect::Neutral,
    }
}
