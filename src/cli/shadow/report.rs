//! What policies in shadow would have done, added up by policy, organization and caller. Bounded:
//! what has no place any more is counted in one number, and the report says so.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::super::records::{Reading, Record, Sample, Verdict, Would};

/// Policies that are told apart.
const MOST_POLICIES: usize = 1_000;
/// Organizations of a policy that are told apart.
const MOST_ORGANIZATIONS: usize = 2_000;
/// Callers of an organization that are told apart.
const MOST_CALLERS: usize = 100;
/// Requests that are shown of an organization.
const MOST_SAMPLES: usize = 3;
/// Organizations of a policy, and callers of one, that the text has.
const TOP: usize = 10;

/// Everything, while it is read.
#[derive(Debug, Default)]
pub(super) struct Report {
    policies: BTreeMap<Would, Tally>,
    /// Would-haves of policies that had no place.
    untold: u64,
}

#[derive(Debug, Default)]
struct Tally {
    requests: u64,
    refused_anyway: u64,
    first: String,
    last: String,
    organizations: BTreeMap<Option<String>, Hit>,
    other_organizations: u64,
}

#[derive(Debug, Default)]
struct Hit {
    requests: u64,
    callers: BTreeMap<String, u64>,
    other_callers: u64,
    samples: Vec<Sample>,
}

impl Report {
    /// Enters what one policy would have done to one request.
    pub(super) fn enter(&mut self, would: &Would, record: &Record) {
        if self.policies.len() >= MOST_POLICIES && !self.policies.contains_key(would) {
            self.untold += 1;
            return;
        }
        let tally = self.policies.entry(would.clone()).or_default();
        if record.decision == Verdict::Refused {
            tally.refused_anyway += 1;
            return;
        }
        tally.requests += 1;
        if tally.first.is_empty() || record.time < tally.first {
            tally.first.clone_from(&record.time);
        }
        if record.time > tally.last {
            tally.last.clone_from(&record.time);
        }
        let full = tally.organizations.len() >= MOST_ORGANIZATIONS;
        if full && !tally.organizations.contains_key(&record.organization) {
            tally.other_organizations += 1;
            return;
        }
        tally.organizations.entry(record.organization.clone()).or_default().enter(record);
    }

    /// The whole, in order: what would refuse most comes first.
    pub(super) fn told(self, read: Reading) -> Told {
        let mut policies: Vec<Policy> =
            self.policies.into_iter().map(|(would, tally)| Policy::of(would, tally)).collect();
        // What would only be confined last: it is every request to a table.
        policies
            .sort_by_key(|policy| (policy.effect == "confine", std::cmp::Reverse(policy.requests)));
        Told { read, policies, untold: self.untold }
    }
}

impl Hit {
    fn enter(&mut self, record: &Record) {
        self.requests += 1;
        let caller = record.caller();
        if self.callers.len() < MOST_CALLERS || self.callers.contains_key(&caller) {
            *self.callers.entry(caller).or_default() += 1;
        } else {
            self.other_callers += 1;
        }
        if self.samples.len() < MOST_SAMPLES {
            self.samples.push(Sample::of(record));
        }
    }
}

/// The report, as data. Its keys are an interface; add to them, do not change them.
#[derive(Debug, Serialize)]
pub(super) struct Told {
    #[serde(flatten)]
    read: Reading,
    policies: Vec<Policy>,
    /// Would-haves of policies beyond those that are told apart.
    untold: u64,
}

#[derive(Debug, Serialize)]
struct Policy {
    policy: String,
    name: String,
    source: String,
    /// Of what it would have answered.
    status: Option<u16>,
    code: String,
    /// `refuse`, `event` or `confine`.
    effect: String,
    /// Requests that were let through and that it would have met so.
    requests: u64,
    /// Requests that were refused by something else as well.
    refused_anyway: u64,
    first: Option<String>,
    last: Option<String>,
    organizations: Vec<Organization>,
    /// Requests of organizations beyond those that are told apart.
    other_organizations: u64,
}

#[derive(Debug, Serialize)]
struct Organization {
    /// `None`: requests for no organization.
    organization: Option<String>,
    requests: u64,
    callers: Vec<Caller>,
    /// Requests of callers beyond those that are told apart.
    other_callers: u64,
    samples: Vec<Sample>,
}

#[derive(Debug, Serialize)]
struct Caller {
    caller: String,
    requests: u64,
}

impl Policy {
    fn of(would: Would, tally: Tally) -> Self {
        let organization = |(organization, hit): (Option<String>, Hit)| {
            let caller = |(caller, requests)| Caller { caller, requests };
            let mut callers: Vec<Caller> = hit.callers.into_iter().map(caller).collect();
            callers.sort_by_key(|caller| std::cmp::Reverse(caller.requests));
            let Hit { requests, other_callers, samples, .. } = hit;
            Organization { organization, requests, callers, other_callers, samples }
        };
        let mut organizations: Vec<Organization> =
            tally.organizations.into_iter().map(organization).collect();
        organizations.sort_by_key(|organization| std::cmp::Reverse(organization.requests));
        let Would { policy, name, source, code, status, effect } = would;
        let effect = effect.unwrap_or_else(|| "refuse".to_owned());
        let stated = |time: String| (!time.is_empty()).then_some(time);
        Self {
            policy,
            name,
            source,
            status,
            code,
            effect,
            requests: tally.requests,
            refused_anyway: tally.refused_anyway,
            first: stated(tally.first),
            last: stated(tally.last),
            organizations,
            other_organizations: tally.other_organizations,
        }
    }
}

impl Told {
    /// For people.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        let Reading { records, unreadable, from, to } = &self.read;
        let _ = write!(out, "{records} records read");
        if let (Some(from), Some(to)) = (from, to) {
            let _ = write!(out, ", {from} to {to}");
        }
        if *unreadable > 0 {
            let _ = write!(out, "; {unreadable} lines could not be read");
        }
        out.push('\n');
        if self.policies.is_empty() {
            out.push_str("no policy in shadow would have changed any of them\n");
        }
        for policy in &self.policies {
            policy.text(&mut out);
        }
        if self.untold > 0 {
            let _ = writeln!(out, "\nand {} of policies beyond the first 1000", self.untold);
        }
        out
    }
}

impl Policy {
    fn text(&self, out: &mut String) {
        let Self { policy, name, source, status, code, requests, refused_anyway, .. } = self;
        let _ = writeln!(out, "\n{policy} `{name}`  [{source}]");
        let requests = counted(*requests, "request");
        let _ = match (self.effect.as_str(), status) {
            ("refuse", Some(status)) => {
                write!(out, "  would refuse {requests} with {status} {code}")
            }
            ("confine", _) => write!(out, "  would confine {requests} to the organization's rows"),
            ("event", _) => write!(out, "  would raise the event {code} for {requests}"),
            (effect, _) => write!(out, "  would {effect} {requests}: {code}"),
        };
        if let (Some(first), Some(last)) = (&self.first, &self.last) {
            let _ = write!(out, ", {first} to {last}");
        }
        out.push('\n');
        if *refused_anyway > 0 {
            let _ = writeln!(out, "  and {refused_anyway} that were refused anyway");
        }
        for organization in self.organizations.iter().take(TOP) {
            organization.text(out);
        }
        let rest = self.organizations.iter().skip(TOP);
        let more: u64 = rest.map(|of| of.requests).sum::<u64>() + self.other_organizations;
        if more > 0 {
            let _ = writeln!(out, "  other organizations: {more}");
        }
    }
}

impl Organization {
    fn text(&self, out: &mut String) {
        let name = match &self.organization {
            Some(id) => format!("organization {id}"),
            None => "no organization".to_owned(),
        };
        let shown: Vec<String> = self
            .callers
            .iter()
            .take(TOP)
            .map(|caller| format!("{} ({})", caller.caller, caller.requests))
            .collect();
        let rest = self.callers.iter().skip(TOP).map(|caller| caller.requests);
        let more = rest.sum::<u64>() + self.other_callers;
        let more = if more > 0 { format!(", others ({more})") } else { String::new() };
        let _ = writeln!(out, "  {name}: {} by {}{more}", self.requests, shown.join(", "));
        for Sample { request_id, method, path, .. } in &self.samples {
            let id = request_id.as_deref().unwrap_or("no id");
            let _ = writeln!(out, "    {id}  {method} {path}");
        }
    }
}

fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
