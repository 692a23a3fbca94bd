//! `explain --request`: a request that was decided, from its record in the audit log, beside what the
//! present policy makes of it. What no record holds is named and not guessed.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;

use crate::config;
use crate::domain::would::WouldHave;
use crate::pipeline::Trace;

use super::super::arguments::Explain;
use super::super::records::{self, Record, Records, Verdict};
use super::super::replay::decided::{Compared, End, Outcome, Policy};
use super::super::replay::policy;
use super::super::{Done, Failure, environment, print};
use super::near::{self, NearMiss};
use super::report::{NoteReport, StageReport, StageVerdict, stages};

/// What is said in every case.
const NOT_KNOWN: &str = "the record holds no query, body or header fields: isolation, rules on them, limits and \
                         quotas are not decided again";

/// The explanation, as data. Its keys are an interface; add to them, do not change them.
#[derive(Debug, Serialize)]
struct Past {
    /// The record, as the log has it.
    record: serde_json::Value,
    present: Present,
}

/// What becomes of the request under the present policy.
#[derive(Debug, Serialize)]
struct Present {
    snapshot: String,
    /// `same`, `differs` or `unknown`.
    compared: &'static str,
    /// Why it is unknown.
    reason: Option<&'static str>,
    verdict: Option<String>,
    decided_by: Option<String>,
    stages: Vec<StageReport>,
    would: Vec<WouldHave>,
    near_misses: Vec<NearMiss>,
    not_known: &'static str,
}

pub(super) fn run(arguments: &Explain, id: &str) -> Result<Done, Failure> {
    let loaded = config::load(&arguments.config.config, &environment)?;
    let files: Vec<PathBuf> = arguments.audit.clone();
    let which = Records { files, since: None, until: None };
    let mut found: Option<Record> = None;
    records::read(&which, &arguments.config.config, |record| {
        if record.request_id.as_deref() == Some(id) {
            found = Some(record);
        }
    })?;
    let record = found.ok_or_else(|| {
        Failure::usage(format!(
            "the audit log has no request `{id}`\n  = hint: routes say what is recorded (`audit`); \
             name rotated files with --audit"
        ))
    })?;
    let past = Past { present: present(&policy(loaded), &record), record: record.raw.clone() };
    print(&if arguments.json {
        format!("{}\n", serde_json::to_string(&past).map_err(anyhow::Error::from)?)
    } else {
        text(&past, &record)
    })?;
    Ok(Done::Well)
}

fn present(policy: &Policy, record: &Record) -> Present {
    let mut trace = Trace::explaining();
    let again = policy.again(record, &mut trace);
    let (compared, reason, verdict) = match &again.compared {
        Compared::Same => ("same", None, again.to.as_ref().map(shown)),
        Compared::Changed { to, .. } => ("differs", None, Some(shown(to))),
        Compared::Unknown(reason) => ("unknown", Some(*reason), None),
    };
    let ended = again.refusal.as_ref().map(|_| StageVerdict::Refused);
    let near_misses = match (&again.refusal, again.now) {
        (Some(refusal), Some(now)) if verdict.is_some() => {
            near::misses(refusal, &policy.snapshot, &trace, now)
        }
        (_, _) => Vec::new(),
    };
    Present {
        snapshot: policy.snapshot.version.to_string(),
        compared,
        reason,
        decided_by: match &again.compared {
            Compared::Unknown(_) => None,
            Compared::Same | Compared::Changed { .. } => {
                let by = trace.decided_by.as_ref();
                let by = by.or(trace.route.as_ref().map(|route| &route.source));
                by.map(ToString::to_string)
            }
        },
        stages: if verdict.is_some() { decided_stages(&trace, ended) } else { Vec::new() },
        would: trace.would.iter().cloned().collect(),
        verdict,
        near_misses,
        not_known: NOT_KNOWN,
    }
}

/// Up to the end of stage 5: what follows was not decided.
fn decided_stages(trace: &Trace, ended: Option<StageVerdict>) -> Vec<StageReport> {
    let all = stages(trace, ended);
    all.into_iter().take_while(|stage| stage.stage != "isolate").collect()
}

fn shown(outcome: &Outcome) -> String {
    match &outcome.end {
        End::Passed => "passed".to_owned(),
        End::Reached => "asks who calls".to_owned(),
        End::Refused { code, status } => format!("refused with {status} {code}"),
    }
}

fn text(past: &Past, record: &Record) -> String {
    let mut out = String::new();
    then(record, &mut out);
    let Present {
        snapshot, compared, reason, verdict, decided_by, stages, would, near_misses, ..
    } = &past.present;
    let _ = writeln!(out, "\nunder the present policy (policy version {snapshot}):");
    match (verdict, reason) {
        (Some(verdict), _) => {
            let by = decided_by.as_ref().map(|by| format!("  [{by}]")).unwrap_or_default();
            let same = if *compared == "same" { "the same" } else { "it differs" };
            let _ = writeln!(out, "  {same}: {verdict}{by}");
        }
        (None, reason) => {
            let _ = writeln!(out, "  it cannot be told: {}", reason.unwrap_or("nobody knows why"));
        }
    }
    for StageReport { stage, verdict, notes } in stages {
        let verdict = match verdict {
            StageVerdict::Passed => "ok",
            StageVerdict::Refused => "refused",
            StageVerdict::Answered => "answered",
            StageVerdict::NotReached => "-",
        };
        let mut lines = notes.iter().map(|NoteReport { text, source }| match source {
            Some(source) => format!("{text}  [{source}]"),
            None => text.clone(),
        });
        let first = lines.next().unwrap_or_default();
        let _ = writeln!(out, "{}", format!("  {stage:13} {verdict:9} {first}").trim_end());
        for line in lines {
            let _ = writeln!(out, "  {:13} {:9} {line}", "", "");
        }
    }
    for would in would {
        let _ = writeln!(out, "  in shadow: {would}  [{}]", would.source);
    }
    for NearMiss { text, source } in near_misses {
        let source = source.as_ref().map(|source| format!("  [{source}]")).unwrap_or_default();
        let _ = writeln!(out, "  near miss: {text}{source}");
    }
    let _ = writeln!(out, "  {NOT_KNOWN}");
    out
}

/// What the record says.
fn then(record: &Record, out: &mut String) {
    let id = record.request_id.as_deref().unwrap_or("without an id");
    let _ = writeln!(out, "request {id} of {}", record.time);
    let host = record.host.as_ref().map(|host| format!(" at {host}")).unwrap_or_default();
    let _ = writeln!(out, "  {} {}{host}", record.method, record.path);
    let from = record.client.map(|client| format!(" from {client}")).unwrap_or_default();
    let _ = writeln!(out, "  {}{from}", record.caller());
    if let Some(organization) = &record.organization {
        let plan = record.plan.as_ref().map(|plan| format!(", plan `{plan}`")).unwrap_or_default();
        let role = record.role.as_ref().map(|role| format!(", role `{role}`")).unwrap_or_default();
        let further = if record.further_rights { " and more" } else { "" };
        let _ = writeln!(out, "  organization {organization}{plan}{role}{further}");
    }
    if let Some(route) = &record.route {
        let permission = record.permission.as_ref();
        let asked = permission.map(|of| format!(", permission `{of}`")).unwrap_or_default();
        let _ = writeln!(out, "  route `{route}`{asked}");
    }
    let verdict = match (record.decision, &record.code) {
        (Verdict::Refused, Some(code)) => format!("refused with {} {code}", record.status),
        (Verdict::Refused, None) => format!("refused with {}", record.status),
        (Verdict::Allowed, _) => format!("allowed, answered {}", record.status),
    };
    let by = record.policy.as_ref().map(|by| format!(", decided by {by}")).unwrap_or_default();
    let version = record.snapshot.as_ref();
    let version = version.map(|of| format!(", policy version {of}")).unwrap_or_default();
    let _ = writeln!(out, "  {verdict}{by}{version}");
    for would in &record.would {
        let _ = writeln!(out, "  in shadow: {would}  [{}]", would.source);
    }
}
