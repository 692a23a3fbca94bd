//! Conditions as routes and roles state them; `compile` resolves the names in them.
//!
//! May import `domain` and `policy`.

use std::collections::BTreeMap;
use std::time::Duration;

use ipnet::IpNet;
use jiff::civil::{Time, Weekday};
use serde_json::{Value, json};

use crate::domain::session::NOTED_EVERY_SECS;
use crate::domain::zone::Zone;
use crate::policy::condition::{Condition, Hours, Requirement};
use crate::policy::expression::Phase;
use crate::policy::mode::Mode;

use super::compile::{Joined, unknown};
use super::context::Context;
use super::decode::{At, Decode, Fields, Filled, Name, Named, Shapes, Table};
use super::defaults as preset;
use super::devices::Trusting;
use super::leaf::{Seconds, Text, refuse, text, word, words};
use super::rules::When;
use super::rules::compile as rules;
use super::yaml::Node;

/// One condition.
pub(super) struct ConditionFields {
    what: What,
    mode: Mode,
}

enum What {
    Feature(Name, Vec<(Name, Name)>),
    Plan(At<Name>),
    SecondFactor { within: Option<Duration>, device: Option<At<Seconds>> },
    SessionAge(Duration),
    SessionIdle(Duration),
    Addresses(Vec<IpNet>),
    Hours(Box<Hours>),
    Stage(At<Name>),
    When(At<When>),
}

impl Fields for ConditionFields {
    const NAME: &'static str = "condition";
    const ABOUT: &'static str = "What must hold besides permissions.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        const KINDS: &[&str] = &[
            "feature",
            "plan",
            "aal",
            "session_age",
            "session_idle",
            "addresses",
            "hours",
            "stage",
            "when",
        ];
        let which = table.one_of(KINDS);
        let mode = table.or(
            "mode",
            &preset::CONDITION_MODE,
            "`enforce`; `shadow`: what it would have refused is recorded and let through; or `off`.",
        );
        let feature = table.optional("feature", "The feature is on for the organization.");
        let settings: Named<Text> =
            table.some("settings", "Beside `feature`: what it must be set to for it.");
        let plan = table.optional("plan", "The organization's plan is of at least this level.");
        let aal = table.optional::<Aal>("aal", "`aal2`: the caller has shown a second factor.");
        let within = table.optional::<Seconds>(
            "within",
            "Beside `aal`: how long ago at most, by `amr`; in this session if not stated.",
        );
        let device = table.optional::<At<Seconds>>(
            "device",
            "Beside `aal`: a device that was trusted no longer ago than this stands in for it; none \
             does if not stated.",
        );
        let session_age = table.optional::<Seconds>(
            "session_age",
            "The caller signed in no longer ago than this, by `amr` or `auth_time`.",
        );
        let session_idle = table.optional::<IdleTime>(
            "session_idle",
            "The session never rested for longer than this, as far as the gateway saw it used; at \
             least 2m, because uses are noted once a minute.",
        );
        let addresses = table.optional::<Filled<IpNet>>(
            "addresses",
            "The client's address is in one of these networks.",
        );
        let hours = table.optional::<HoursFields>("hours", "It is one of these hours.");
        let stage = table.optional(
            "stage",
            "The organization or the member has reached this of the `stages`, or a later one.",
        );
        let when = table.optional::<At<When>>(
            "when",
            "The expression holds, in phase `authenticated`; where it has no answer, it does not.",
        );
        for (key, beside) in [("settings", "feature"), ("within", "aal"), ("device", "aal")] {
            if table.has(key) && which.is_some_and(|which| which != beside) {
                let message = format!("`{key}` has a meaning beside `{beside}` only");
                table.error(table.key_span(key), message, "remove it");
            }
        }
        let what = match which? {
            "feature" => {
                let settings = settings.0.into_iter();
                let settings = settings.map(|(key, value)| (key.value, value.value.0.into()));
                feature.map(|name| What::Feature(name, settings.collect()))
            }
            "plan" => plan.map(What::Plan),
            "aal" => {
                let within = within.map(|within| Duration::from_secs(within.0));
                aal.map(|_| What::SecondFactor { within, device })
            }
            "session_age" => session_age.map(|age| What::SessionAge(Duration::from_secs(age.0))),
            "session_idle" => session_idle.map(|most| What::SessionIdle(most.0)),
            "addresses" => addresses.map(|networks| What::Addresses(networks.0)),
            "hours" => hours.map(|hours| What::Hours(Box::new(hours.0))),
            "stage" => stage.map(What::Stage),
            _ => when.map(What::When),
        };
        Some(Self { what: what?, mode: mode? })
    }
}

/// How long a session may rest.
pub(super) struct IdleTime(pub(super) Duration);

impl Decode for IdleTime {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let most = Seconds::decode(node, cx)?.0;
        if most < 2 * NOTED_EVERY_SECS {
            let message = "a session in use would count as at rest: uses are noted once a minute";
            cx.error(node.span, message).hint("state at least `2m`");
            return None;
        }
        Some(Self(Duration::from_secs(most)))
    }

    fn shape(shapes: &mut Shapes) -> Value {
        Seconds::shape(shapes)
    }
}

/// The one assurance level that can be asked for.
pub(super) struct Aal;

impl Decode for Aal {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        word(node, AALS, "assurance level", cx).map(|()| Self)
    }

    fn shape(_: &mut Shapes) -> Value {
        words(AALS)
    }
}

const AALS: &[(&str, ())] = &[("aal2", ())];

struct HoursFields(Hours);

impl Fields for HoursFields {
    const NAME: &'static str = "hours";
    const ABOUT: &'static str = "Hours of the week, in a time zone.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let days = table.or::<Filled<Day>>("days", &preset::HOURS_DAYS, "On which days.");
        let from = table.required::<Clock>("from", "From when, as `08:00`.");
        let until = table.required::<Clock>(
            "until",
            "Until when, exclusively, to `24:00`; before `from`, the hours go on into the next day.",
        );
        let zone = table.required::<Zone>(
            "zone",
            "The time zone by its name in the IANA database, as `Europe/Berlin` or `UTC`.",
        );
        let (days, from, until, zone) = (days?, from?, until?, zone?);
        if from.0 == until.0 {
            table.error(
                table.key_span("until"),
                "the hours end when they begin".to_owned(),
                "for whole days write `from: \"00:00\"` and `until: \"24:00\"`",
            );
            return None;
        }
        let days = days.0.into_iter().map(|day| day.0).collect();
        Some(Self(Hours { days, from: from.0, until: until.0, zone: zone.rules().clone() }))
    }
}

struct Day(Weekday);

impl Decode for Day {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        word(node, DAYS, "day", cx).map(Self)
    }

    fn shape(_: &mut Shapes) -> Value {
        words(DAYS)
    }
}

/// Days, as hours name them.
pub(super) const DAYS: &[(&str, Weekday)] = &[
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

/// A time of the day. The end of the day is its last nanosecond: nothing lies between.
struct Clock(Time);

impl Decode for Clock {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let stated = text(node, cx)?;
        let two = |part: &str| -> Option<i8> {
            let digits = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| part.parse().ok()).flatten()
        };
        let time = match stated.split_once(':') {
            Some(("24", "00")) => Some(Time::MAX),
            Some((hour, minute)) => {
                two(hour).zip(two(minute)).and_then(|(h, m)| Time::new(h, m, 0, 0).ok())
            }
            None => None,
        };
        match time {
            Some(time) => Some(Self(time)),
            None => refuse(node, "a time of the day", stated, "write it as `\"08:00\"`", cx),
        }
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "time of day", "type": "string", "pattern": "^([01][0-9]|2[0-4]):[0-5][0-9]$" })
    }
}

impl Decode for Zone {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let stated = text(node, cx)?;
        match stated.parse() {
            Ok(zone) => Some(zone),
            Err(_) => refuse(
                node,
                "a time zone",
                stated,
                "write its name in the IANA database, such as `Europe/Berlin` or `UTC`",
                cx,
            ),
        }
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "time zone", "type": "string", "examples": ["Europe/Berlin", "UTC"] })
    }
}

/// For how long a device may stand in: no longer than any is trusted.
fn stands_in(most: &At<Seconds>, trusting: Trusting, cx: &mut Context<'_>) -> Option<Duration> {
    match trusting {
        Trusting::For(all) if most.value.0 <= all => {}
        Trusting::For(all) => {
            let message = format!("no device is trusted for longer than {all} seconds");
            let hint = "raise `identity.devices.trusted_for` in the gateway file, or lower this";
            cx.error(most.span, message).hint(hint);
        }
        Trusting::Nobody => {
            cx.error(most.span, "no device is ever trusted")
                .hint("state `identity.devices` in the gateway file");
        }
        Trusting::Unclear => {}
    }
    Some(Duration::from_secs(most.value.0))
}

/// Conditions with the names in them resolved; those that are off are not among them. `of` is what
/// states them.
pub(super) fn requirements(
    of: &str,
    stated: &[At<ConditionFields>],
    joined: &Joined,
    cx: &mut Context<'_>,
) -> Vec<Requirement> {
    let plan_levels: BTreeMap<&Name, u32> =
        joined.plans.iter().map(|(name, plan)| (name, plan.value.level.get())).collect();
    let mut out = Vec::new();
    let of = Name::from(of);
    for At { value: ConditionFields { what, mode }, span } in stated {
        let condition = match what {
            What::Feature(name, settings) => {
                Condition::Feature { name: name.clone(), settings: settings.clone() }
            }
            What::Plan(plan) => match plan_levels.get(&plan.value) {
                Some(level) => Condition::PlanAtLeast { name: plan.value.clone(), level: *level },
                None => {
                    unknown("plan", plan, joined.plans.keys(), cx);
                    continue;
                }
            },
            What::SecondFactor { within, device } => {
                let device = device.as_ref().and_then(|most| stands_in(most, joined.trusting, cx));
                Condition::SecondFactor { within: *within, device }
            }
            What::SessionAge(age) => Condition::SessionAge(*age),
            What::SessionIdle(most) => Condition::SessionIdle(*most),
            What::Addresses(networks) => Condition::Addresses(networks.clone()),
            What::Hours(hours) => Condition::Hours(hours.clone()),
            What::Stage(stage) => {
                let at = joined.stages.iter().position(|known| *known == stage.value);
                let Some(at) = at else {
                    unknown("stage", stage, &joined.stages, cx);
                    continue;
                };
                let reached_by = joined.stages.iter().skip(at).cloned().collect();
                Condition::Stage { name: stage.value.clone(), reached_by }
            }
            What::When(when) => match rules::condition(when, Phase::Authenticated, cx) {
                Some(expression) => Condition::When(Box::new(expression)),
                None => continue,
            },
        };
        if *mode != Mode::Off {
            let (of, source) = (of.clone(), cx.source(*span));
            out.push(Requirement { condition, of, mode: *mode, source });
        }
    }
    out
}
