//! `tollgate explain`: one request through the code of the live path, up to where it would be sent
//! on; nothing is sent, nothing is charged.

mod balances;
mod compare;
mod machine;
mod near;
mod past;
mod quotas;
mod report;
mod request;
mod sides;
mod text;
pub(super) mod upstream;

use std::net::IpAddr;

use http::Version;

use crate::config::settings::Settings;
use crate::config::{self, Loaded};
use crate::domain::head::Arrival;
use crate::domain::known::Question;
use crate::domain::refusal::Refusal;
use crate::domain::usage::OrganizationUse;
use crate::pipeline::response::DirectAnswer;
use crate::pipeline::{Chargeable, Passed, Settled, Stop, Trace, decide, response};
use crate::policy::Snapshot;
use crate::policy::mode::Mode;
use crate::stores::limits::memory::MemoryStore;
use crate::stores::node::{Facts, NodeKnowledge};

use super::arguments::Explain;
use super::assembly::Parts;
use super::{Done, Failure, demo, environment, print, token};
use machine::StandIn;
use report::{LimitReport, Report, RequestLine, StageVerdict, UpstreamReport, Verdict};
use request::Request;

pub(super) fn run(arguments: &Explain) -> Result<Done, Failure> {
    if let Some(id) = &arguments.past {
        return past::run(arguments, id);
    }
    let loaded = match arguments.demo {
        true => demo::load_for_explain()?,
        false => config::load(&arguments.config.config, &environment)?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let parts = Parts::new(&loaded.settings, runtime.handle())?;
    let made = match &arguments.as_user {
        Some(user) => Some(token::for_user(&loaded.snapshot.identity, user, parts.clock.now())?),
        None => None,
    };
    let node = parts.knowledge(&loaded.snapshot, &loaded.settings, None);
    let machine = match arguments.as_key {
        Some(id) => Some(runtime.block_on(StandIn::find(id, &loaded.snapshot, &node))?),
        None => None,
    };
    let shown = machine.as_ref().map(|machine| machine.key.expose());
    let shown = shown.or(made.as_deref()).or(arguments.token.as_deref());
    let request = Request::from(arguments, shown)?;
    let asked = Asked { request: &request, from: arguments.from, machine: machine.as_ref() };
    let report = runtime.block_on(explain(&loaded, &parts, &node, &asked));
    // A fetch that still runs must not keep the answer from being printed.
    runtime.shutdown_background();
    let text = if arguments.json {
        format!("{}\n", serde_json::to_string(&report).map_err(anyhow::Error::from)?)
    } else {
        text::text(&report)
    };
    print(&text)?;
    Ok(Done::Well)
}

/// What the request comes to.
enum End {
    Forwarded(UpstreamReport),
    Refused(Refusal),
    Answered(Box<DirectAnswer>),
}

/// The request, and who makes it.
struct Asked<'a> {
    request: &'a Request,
    from: IpAddr,
    machine: Option<&'a StandIn>,
}

async fn explain(
    loaded: &Loaded,
    parts: &Parts,
    node: &NodeKnowledge,
    asked: &Asked<'_>,
) -> Report {
    let request = asked.request;
    let snapshot = &loaded.snapshot;
    let mut trace = Trace::explaining();
    let (mut limits, mut quotas) = (Vec::new(), Vec::new());
    let arrival = Arrival {
        method: &request.method,
        target: request.target.as_bytes(),
        authority: None,
        version: Version::HTTP_11,
        headers: &request.headers,
        peer: asked.from,
        secure: request.secure,
        entropy: uuid::Uuid::new_v4().as_u128(),
    };
    let mut facts = Facts::new(node, parts.clock.now());
    let decided = ask_and_decide(&arrival, snapshot, &mut facts, asked.machine, &mut trace);
    let end = match decided.await {
        Ok(chargeable) => {
            limits = charged(&chargeable, &trace);
            balanced(&mut limits, &chargeable, &loaded.settings).await;
            let known = quotas::known(&chargeable, &loaded.settings, &trace, facts.now()).await;
            quotas = quotas::reports(&chargeable, &known, &trace);
            match settle(chargeable, known.ok().map(|told| told.used).as_ref(), parts, &mut trace) {
                Ok(passed) => {
                    upstream::request(passed, request, &mut trace, node, parts.clock.now())
                        .map_or_else(End::Refused, End::Forwarded)
                }
                Err(refusal) => End::Refused(refusal),
            }
        }
        Err(Stop::Refused(refusal)) => End::Refused(refusal),
        Err(Stop::Answered(answer)) => End::Answered(answer),
        Err(Stop::Ask(_)) => End::Refused(Refusal::Internal("a question was left open")),
    };
    let near_misses = match &end {
        End::Refused(refusal) => near::misses(refusal, snapshot, &trace, facts.now()),
        End::Forwarded(_) | End::Answered(_) => Vec::new(),
    };
    Report { limits, quotas, near_misses, ..report(request, snapshot, &trace, end) }
}

/// The core decides, and asks until it knows enough, as it does for live requests.
async fn ask_and_decide(
    arrival: &Arrival<'_>,
    snapshot: &Snapshot,
    facts: &mut Facts<'_>,
    machine: Option<&StandIn>,
    trace: &mut Trace,
) -> Result<Chargeable, Stop> {
    loop {
        let now = facts.now();
        let decided = match machine {
            None => decide(arrival, snapshot, facts, trace, now),
            Some(machine) => decide(arrival, snapshot, &machine.beside(facts), trace, now),
        };
        match decided {
            Err(Stop::Ask(Question::Join(join))) => facts.suppose(join),
            Err(Stop::Ask(question)) => facts.find_out(question).await?,
            decided => return decided,
        }
        trace.restart();
    }
}

/// Judges quotas by what is known, and charges buckets of its own that are full: what is left over of
/// the shared ones is nobody's business here, and nothing of them is spent.
fn settle(
    mut chargeable: Chargeable,
    known: Option<&OrganizationUse>,
    parts: &Parts,
    trace: &mut Trace,
) -> Result<Passed, Refusal> {
    chargeable.within(known, trace)?;
    let buckets = MemoryStore::new(std::num::NonZeroU32::MIN.saturating_add(63));
    let answer = buckets.take(chargeable.charge(), parts.clock.now());
    match chargeable.settle(answer, trace)? {
        Settled::Passed(passed) => Ok(*passed),
        Settled::ChargeHere(_) => Err(Refusal::Internal("a store in this process was away")),
    }
}

fn charged(chargeable: &Chargeable, trace: &Trace) -> Vec<LimitReport> {
    let route = trace.route.as_ref();
    let tried = chargeable.shadow().iter().flat_map(|limit| {
        let source = Some(limit.limit().source.to_string());
        let buckets = limit.charge().buckets.iter();
        buckets.map(move |bucket| report::limit(bucket, Mode::Shadow, source.clone()))
    });
    chargeable
        .charge()
        .buckets
        .iter()
        .map(|bucket| {
            let limit = route.and_then(|r| r.limits.iter().find(|l| l.name == bucket.limit));
            report::limit(bucket, Mode::Enforce, limit.map(|limit| limit.source.to_string()))
        })
        .chain(tried)
        .collect()
}

/// Says of each limit what its bucket holds now, where that can be read.
async fn balanced(limits: &mut [LimitReport], chargeable: &Chargeable, settings: &Settings) {
    let tried = chargeable.shadow().iter().flat_map(|limit| &limit.charge().buckets);
    let buckets: Vec<_> = chargeable.charge().buckets.iter().chain(tried).collect();
    let balances = balances::of(&buckets, settings).await;
    for (limit, balance) in limits.iter_mut().zip(balances.into_iter().flatten()) {
        limit.balance = Some(balance);
    }
}

fn report(request: &Request, snapshot: &Snapshot, trace: &Trace, end: End) -> Report {
    let (verdict, ended) = match &end {
        End::Forwarded(_) => (Verdict::Forwarded, None),
        End::Refused(_) => (Verdict::Refused, Some(StageVerdict::Refused)),
        End::Answered(_) => (Verdict::Answered, Some(StageVerdict::Answered)),
    };
    let route = trace.route.as_ref();
    let decided_by = trace.decided_by.as_ref().or(route.map(|route| &route.source));
    let mut report = Report {
        request: RequestLine {
            method: request.method.to_string(),
            host: request.host(),
            target: compare::without_key(&request.target),
        },
        verdict,
        request_id: trace.request_id.as_ref().map(|id| id.as_str().to_owned()),
        snapshot: snapshot.version.to_string(),
        decided_by: decided_by.map(ToString::to_string),
        stages: report::stages(trace, ended),
        caller: report::caller(trace),
        organization: report::organization(trace),
        role: report::role(trace),
        permission: trace.permission.as_ref().map(ToString::to_string),
        would: trace.would.iter().cloned().collect(),
        near_misses: Vec::new(),
        limits: Vec::new(),
        quotas: Vec::new(),
        refusal: None,
        answer: None,
        upstream: None,
    };
    match end {
        End::Forwarded(upstream) => report.upstream = Some(upstream),
        End::Refused(refusal) => {
            let policy = route.map_or(&snapshot.response, |route| &route.response);
            let kind = kind(snapshot, trace);
            report.answer = Some(report::answer(&response::refusal(&refusal, kind, policy, trace)));
            report.refusal = Some(report::refusal(&refusal));
        }
        End::Answered(answer) => report.answer = Some(report::answer(&answer)),
    }
    report
}

/// The kind of the upstream that the route leads to: it shapes errors.
fn kind(snapshot: &Snapshot, trace: &Trace) -> Option<crate::policy::upstream::UpstreamKind> {
    use crate::policy::route::Destination;
    match &trace.route.as_ref()?.destination {
        Destination::Upstream { upstream, .. } => {
            snapshot.upstreams.get(*upstream).map(|upstream| upstream.kind)
        }
        Destination::Closed => None,
    }
}
