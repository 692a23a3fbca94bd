//! Verdicts that change, grouped; and what was not replayed, with the reason.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::policy::snapshot::SnapshotVersion;

use super::super::records::{Reading, Record, Sample};
use super::decided::{Compared, End, Outcome};

/// Requests that are shown of a group.
const MOST_SAMPLES: usize = 3;
/// What the text says in every case.
const NOT_REPLAYED: &str = "not replayed, because no record holds it: queries, bodies, header fields, rules on them, \
                            isolation, limits and quotas";

type Key = (Outcome, Outcome, Option<String>);

/// Everything, while it is decided.
#[derive(Debug, Default)]
pub(super) struct Report {
    same: u64,
    changed: BTreeMap<Key, (u64, Vec<Sample>)>,
    unknown: BTreeMap<&'static str, u64>,
}

impl Report {
    /// Enters one record.
    pub(super) fn enter(&mut self, record: &Record, compared: &Compared) {
        match compared {
            Compared::Same => self.same += 1,
            Compared::Unknown(reason) => *self.unknown.entry(reason).or_default() += 1,
            Compared::Changed { from, to, by } => {
                let key = (from.clone(), to.clone(), by.clone());
                let (count, samples) = self.changed.entry(key).or_default();
                *count += 1;
                if samples.len() < MOST_SAMPLES {
                    samples.push(Sample::of(record));
                }
            }
        }
    }

    /// The whole, the largest groups first.
    pub(super) fn told(self, read: Reading, version: &SnapshotVersion) -> Told {
        let group = |((from, to, policy), (requests, samples)): (Key, (u64, Vec<Sample>))| Group {
            requests,
            from: shown(&from),
            to: shown(&to),
            policy,
            samples,
        };
        let mut changed: Vec<Group> = self.changed.into_iter().map(group).collect();
        changed.sort_by_key(|group| std::cmp::Reverse(group.requests));
        let unknown = self.unknown.into_iter();
        let unknown: Vec<Unknown> =
            unknown.map(|(reason, requests)| Unknown { reason, requests }).collect();
        Told { read, snapshot: version.to_string(), same: self.same, changed, unknown }
    }
}

fn shown(outcome: &Outcome) -> Side {
    let (verdict, code, status) = match &outcome.end {
        End::Passed => ("passed", None, None),
        End::Reached => ("reached", None, None),
        End::Refused { code, status } => ("refused", Some(code.clone()), Some(*status)),
    };
    Side { route: outcome.route.clone(), verdict, code, status }
}

/// The report, as data. Its keys are an interface; add to them, do not change them.
#[derive(Debug, Serialize)]
pub(super) struct Told {
    #[serde(flatten)]
    read: Reading,
    /// The version of the policy that decided again.
    snapshot: String,
    same: u64,
    changed: Vec<Group>,
    unknown: Vec<Unknown>,
}

#[derive(Debug, Serialize)]
struct Group {
    requests: u64,
    from: Side,
    to: Side,
    /// The line that decides now.
    policy: Option<String>,
    samples: Vec<Sample>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Side {
    route: Option<String>,
    /// `passed`, `refused`, or `reached` where the caller was not recorded.
    verdict: &'static str,
    code: Option<String>,
    status: Option<u16>,
}

#[derive(Debug, Serialize)]
struct Unknown {
    reason: &'static str,
    requests: u64,
}

impl Told {
    /// Whether some verdict changes.
    pub(super) fn changes(&self) -> bool {
        !self.changed.is_empty()
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        let sum = |counts: &mut dyn Iterator<Item = u64>| counts.sum::<u64>();
        let changed = sum(&mut self.changed.iter().map(|group| group.requests));
        let unknown = sum(&mut self.unknown.iter().map(|of| of.requests));
        let replayed = self.same + changed;
        let Reading { records, unreadable, from, to } = &self.read;
        let _ = write!(out, "{replayed} of the last {} decisions replayed", replayed + unknown);
        let _ = write!(out, " ({records} read");
        if *unreadable > 0 {
            let _ = write!(out, ", {unreadable} lines could not be");
        }
        out.push(')');
        if let (Some(from), Some(to)) = (from, to) {
            let _ = write!(out, ", {from} to {to}");
        }
        let _ = writeln!(out, "\npolicy version {}", self.snapshot);
        let _ = writeln!(out, "{NOT_REPLAYED}");
        let _ = writeln!(out, "\n{changed} change, {} do not", self.same);
        for Group { requests, from, to, policy, samples } in &self.changed {
            let policy = policy.as_ref().map(|of| format!("  [{of}]")).unwrap_or_default();
            let _ = writeln!(out, "  {requests}: {} → {}{policy}", from.text(), to.text());
            for Sample { request_id, method, path, .. } in samples {
                let id = request_id.as_deref().unwrap_or("no id");
                let _ = writeln!(out, "    {id}  {method} {path}");
            }
        }
        if unknown > 0 {
            let _ = writeln!(out, "\n{unknown} cannot be told:");
            for Unknown { reason, requests } in &self.unknown {
                let _ = writeln!(out, "  {requests}: {reason}");
            }
        }
        out
    }
}

impl Side {
    fn text(&self) -> String {
        let route = match &self.route {
            Some(route) => format!("route `{route}` "),
            None => String::new(),
        };
        match (&self.code, self.status) {
            (Some(code), Some(status)) => format!("{route}refused with {status} {code}"),
            (_, _) if self.verdict == "reached" => format!("{route}asks who calls"),
            (_, _) => format!("{route}passed"),
        }
    }
}
