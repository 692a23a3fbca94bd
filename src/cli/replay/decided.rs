//! One recorded decision, and the same request decided by another policy, as far as the record goes.
//!
//! What is compared is the way to the end of stage 5: route, caller, organization, permission and
//! conditions. What came after that (isolation, limits, quotas, bodies, upstreams) depends on what no
//! record holds, and counts as passed on both sides.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};
use jiff::Timestamp;

use crate::domain::clock::Now;
use crate::domain::head::Arrival;
use crate::domain::refusal::Refusal;
use crate::pipeline::{Stage, Stop, Trace, decide};
use crate::policy::Snapshot;
use crate::policy::expression::Expression;
use crate::policy::mode::Mode;
use crate::policy::rules::Rule;
use crate::stores::directory::FileDirectory;

use super::super::records::{Record, Verdict};
use super::known::{Recorded, TOKEN};

/// What decides again.
pub(in crate::cli) struct Policy {
    pub(in crate::cli) snapshot: Snapshot,
    pub(in crate::cli) directory: Option<FileDirectory>,
}

/// What became of a request, or becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::cli) struct Outcome {
    pub(in crate::cli) route: Option<String>,
    pub(in crate::cli) end: End,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::cli) enum End {
    /// It got to isolation, limits and what comes after.
    Passed,
    /// Who called was not recorded, and the request gets to where it is asked.
    Reached,
    /// It was refused.
    Refused { code: String, status: u16 },
}

/// A record beside what is decided now.
#[derive(Debug)]
pub(in crate::cli) enum Compared {
    Same,
    Changed {
        from: Outcome,
        to: Outcome,
        /// The line that decides now.
        by: Option<String>,
    },
    /// It cannot be told, for this reason.
    Unknown(&'static str),
}

/// What deciding again came to.
#[derive(Debug)]
pub(in crate::cli) struct Again {
    pub(in crate::cli) compared: Compared,
    /// What becomes of it now, where that can be told.
    pub(in crate::cli) to: Option<Outcome>,
    /// Why it is refused now.
    pub(in crate::cli) refusal: Option<Refusal>,
    /// The time of the record.
    pub(in crate::cli) now: Option<Now>,
}

/// What organizations may ask of their members by themselves.
const DEMANDS: [&str; 4] =
    ["mfa_required", "mfa_expired", "session_expired", "address_not_allowed"];

impl Policy {
    /// Decides a recorded request again.
    pub(in crate::cli) fn compare(&self, record: &Record) -> Compared {
        self.again(record, &mut Trace::new()).compared
    }

    /// The same, with what the stages found in the trace.
    pub(in crate::cli) fn again(&self, record: &Record, trace: &mut Trace) -> Again {
        let unknown = |reason| Again {
            compared: Compared::Unknown(reason),
            to: None,
            refusal: None,
            now: None,
        };
        let (from, unasked) = match recorded(record) {
            Ok(recorded) => recorded,
            Err(reason) => return unknown(reason),
        };
        let (to, refusal, now) = match self.decide(record, &from, unasked, trace) {
            Ok(decided) => decided,
            Err(reason) => return unknown(reason),
        };
        let compared = if to == from {
            Compared::Same
        } else {
            let by = trace.decided_by.as_ref();
            let by = by.or(trace.route.as_ref().map(|route| &route.source));
            Compared::Changed { from, to: to.clone(), by: by.map(ToString::to_string) }
        };
        Again { compared, to: Some(to), refusal, now: Some(now) }
    }

    fn decide(
        &self,
        record: &Record,
        from: &Outcome,
        unasked: bool,
        trace: &mut Trace,
    ) -> Result<(Outcome, Option<Refusal>, Now), &'static str> {
        let at: Timestamp = record.time.parse().map_err(|_| "its time cannot be read")?;
        let micros = u64::try_from(at.as_microsecond()).map_err(|_| "its time cannot be read")?;
        let now = Now { unix_micros: micros, mono_nanos: 0 };
        let identity = &self.snapshot.identity;
        let world = Recorded::of(record, identity, self.directory.as_ref(), now.unix_secs());
        let headers = headers(record, &world).ok_or("its host or team cannot be sent again")?;
        let method: Method = record.method.parse().map_err(|_| "its method cannot be read")?;
        let arrival = Arrival {
            method: &method,
            target: record.path.as_bytes(),
            authority: None,
            version: Version::HTTP_11,
            headers: &headers,
            peer: record.client.ok_or("the client's address is not recorded")?,
            secure: true,
            entropy: 0,
        };
        let decided = decide(&arrival, &self.snapshot, &world, trace, now);
        let route = trace.route.as_ref().map(|route| route.name.to_string());
        let (end, refusal) = match decided {
            Err(Stop::Answered(_))
                if matches!(trace.stage, Stage::RequestRules | Stage::CallerRules) =>
            {
                return Err(RULES);
            }
            Ok(_) | Err(Stop::Answered(_)) => (End::Passed, None),
            Err(Stop::Ask(_)) => return Err("somebody else would have to be asked"),
            Err(Stop::Refused(refusal)) => {
                let end = match trace.stage {
                    Stage::RequestRules | Stage::CallerRules => self.ruled(&refusal, trace)?,
                    stage => refused(&refusal, stage, !unasked, record, &world)?,
                };
                let refusal = matches!(end, End::Refused { .. }).then_some(refusal);
                (end, refusal)
            }
        };
        unclear(from, &end, &world)?;
        let passes = matches!(end, End::Passed | End::Reached);
        if passes && by_rule(record) && !self.rules_look_at_records_only() {
            // The rule that refused it may be among them.
            return Err(RULES);
        }
        Ok((Outcome { route, end }, refusal, now))
    }

    /// Whether no rule that ends requests looks at anything else.
    fn rules_look_at_records_only(&self) -> bool {
        let ends = |rule: &&Arc<Rule>| {
            let refuses = rule.actions.ending.is_some() || rule.actions.second_factor.is_some();
            rule.mode == Mode::Enforce && refuses
        };
        self.snapshot.rules.all().iter().filter(ends).all(|rule| told_by_records(rule))
    }

    /// What the refusal of a rule comes to, if the rule looks at nothing that is not recorded. Whatever
    /// the rules before it make of what is not: the request is not sent on.
    fn ruled(&self, refusal: &Refusal, trace: &Trace) -> Result<End, &'static str> {
        let rules = self.snapshot.rules.all();
        let rule = rules.iter().find(|rule| trace.decided_by.as_ref() == Some(&rule.source));
        if !rule.is_some_and(|rule| told_by_records(rule)) {
            return Err(RULES);
        }
        let public = refusal.public();
        Ok(End::Refused { code: public.code.to_owned(), status: public.status.as_u16() })
    }
}

fn by_rule(record: &Record) -> bool {
    let rules = [Stage::RequestRules, Stage::CallerRules].map(Stage::as_str);
    record.stage.as_deref().is_some_and(|stage| rules.contains(&stage))
}

/// Whether what a rule comes to hangs on nothing that is not recorded.
fn told_by_records(rule: &Rule) -> bool {
    rule.actions.second_factor.is_none() && looks_at_records_only(&rule.when)
}

/// What expressions can look at and every record has, as far as a request got so far.
const RECORDED: [&str; 11] = [
    "request.method",
    "request.path",
    "request.host",
    "client.address",
    "now",
    "route",
    "principal.kind",
    "principal.id",
    "organization.id",
    "organization.plan",
    "membership.role",
];

/// Whether an expression names no variable beside those. It is read as text, in which everything that is
/// neither a literal, a function nor one of them counts as something else.
fn looks_at_records_only(expression: &Expression) -> bool {
    let mut rest = expression.text();
    // Escaped quotes would hide what comes after them.
    if rest.contains('\\') {
        return false;
    }
    while let Some(first) = rest.chars().next() {
        let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.');
        let end = match first {
            '\'' | '"' => rest.get(1..).and_then(|inner| inner.find(first)).map(|end| end + 2),
            _ if word(first) => Some(rest.find(|c| !word(c)).unwrap_or(rest.len())),
            _ => Some(first.len_utf8()),
        };
        let (Some(head), Some(tail)) =
            (end.and_then(|end| rest.get(..end)), end.and_then(|end| rest.get(end..)))
        else {
            return false;
        };
        let called = tail.trim_start().starts_with('(');
        let of = if called { head.rsplit_once('.').map_or("", |(of, _)| of) } else { head };
        let literal = !first.is_alphabetic() || matches!(of, "" | "in" | "true" | "false" | "null");
        if word(first) && !literal && !RECORDED.contains(&of) {
            return false;
        }
        rest = tail;
    }
    true
}

/// What became of the request then, and whether it was refused before anybody was asked who calls.
fn recorded(record: &Record) -> Result<(Outcome, bool), &'static str> {
    if record.impersonated.is_some() {
        return Err("somebody acted as somebody else");
    }
    if record.principal.as_deref() == Some("machine") {
        return Err("the scopes of machines' keys are not recorded");
    }
    if record.host.is_none() {
        return Err("the host is not recorded (by an older version, or none was sent)");
    }
    let passed = Outcome { route: record.route.clone(), end: End::Passed };
    let (Verdict::Refused, Some(code)) = (record.decision, record.code.as_deref()) else {
        return Ok((passed, false));
    };
    let stage = record.stage.as_deref();
    let stage = Stage::ALL.into_iter().find(|of| Some(of.as_str()) == stage);
    let stage = stage.ok_or("the stage that refused is not recorded (by an older version)")?;
    let refused = Outcome {
        end: End::Refused { code: code.to_owned(), status: record.status },
        ..passed.clone()
    };
    match stage {
        Stage::Route => Ok((refused, true)),
        Stage::Edge | Stage::Authenticate | Stage::Tenant => {
            Err("it was refused before caller and organization were known")
        }
        Stage::RequestRules => Ok((refused, true)),
        Stage::CallerRules => Ok((refused, false)),
        Stage::Authorize if record.status >= 500 => Err("something was away, or went wrong"),
        Stage::Authorize => match record.principal {
            Some(_) => Ok((refused, false)),
            None => Err("who called is not recorded"),
        },
        Stage::Isolate | Stage::Limit | Stage::Upstream | Stage::Response => Ok((passed, false)),
    }
}

const RULES: &str = "rules look at header fields and queries, which are not recorded";

/// The request as it was sent, as far as the stages read it.
fn headers(record: &Record, world: &Recorded) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, HeaderValue::from_str(record.host.as_deref()?).ok()?);
    if world.token.is_some() {
        let value = HeaderValue::from_str(&format!("Bearer {TOKEN}")).ok()?;
        headers.insert(header::AUTHORIZATION, value);
    }
    if let Some(organization) = &world.organization {
        let value = HeaderValue::from_str(&organization.id.to_string()).ok()?;
        headers.insert(crate::pipeline::tenant::ORGANIZATION_HEADER, value);
    }
    if let Some(team) = &record.team {
        headers.insert(HeaderName::from_static("x-team-id"), HeaderValue::from_str(team).ok()?);
    }
    Some(headers)
}

/// What a refusal comes to, or why it says nothing.
fn refused(
    refusal: &Refusal,
    stage: Stage,
    asked: bool,
    record: &Record,
    world: &Recorded,
) -> Result<End, &'static str> {
    let public = refusal.public();
    let end = End::Refused { code: public.code.to_owned(), status: public.status.as_u16() };
    if stage == Stage::Route {
        return Ok(end);
    }
    if stage == Stage::Edge {
        return Err("what the edge looks at is not recorded in full");
    }
    if !asked {
        return Ok(End::Reached);
    }
    if stage == Stage::Isolate {
        // Of queries nothing is recorded, and without one the request would be another.
        return Ok(End::Passed);
    }
    if stage == Stage::Authenticate {
        return match (public.code, record.principal.as_deref()) {
            ("wrong_credentials", Some("user" | "service")) if world.token.is_some() => Ok(end),
            _ => Err("the credentials are not recorded"),
        };
    }
    if stage == Stage::Tenant {
        return match public.code {
            "role_unknown" if world.organization.is_some() => Ok(end),
            _ => Err("how the organization was named, and by which issuer, is not recorded"),
        };
    }
    if stage != Stage::Authorize {
        return Err("a stage looked at what is not recorded");
    }
    match public.code {
        "feature_disabled" | "stage_not_reached" if !world.organization_known => {
            Err("features and stages are not recorded, and no directory file has the organization")
        }
        "session_idle" => Err("uses of sessions are not recorded"),
        "mfa_required" | "mfa_expired" if record.device.is_some() => {
            Err("when a device was trusted is not recorded")
        }
        "permission_denied" if !world.rights_known => Err(FURTHER),
        _ => Ok(end),
    }
}

const FURTHER: &str = "further roles, grants and denials of the member are not recorded";

/// Whether a recorded refusal may have had a reason that is not recorded.
fn unclear(from: &Outcome, to: &End, world: &Recorded) -> Result<(), &'static str> {
    let End::Refused { code, .. } = &from.end else { return Ok(()) };
    if from.end == *to {
        return Ok(());
    }
    match code.as_str() {
        "session_idle" => Err("uses of sessions are not recorded"),
        "permission_denied" if !world.rights_known => Err(FURTHER),
        code if DEMANDS.contains(&code) && !world.organization_known => {
            Err("whether the organization itself asked for it is not recorded")
        }
        _ => Ok(()),
    }
}
