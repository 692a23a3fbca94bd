//! What deciding a request costs, stage by stage, without a socket.
//!
//! A stage takes the proof of the one before it, so that each is measured with all before it: what
//! it costs itself is the difference to the line above. The callers and the policy are those of
//! the comparison; their tokens have been verified before.

mod bodies;
mod expressions;
mod gateway;
mod known;
mod requests;
mod rights;
mod ruled;
mod usage;

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion};
use http::{HeaderMap, HeaderValue, Method, Version, header};
use tollgate::config::settings::DirectorySettings;
use tollgate::config::{Loaded, load};
use tollgate::domain::clock::{Clock, Now};
use tollgate::domain::directory::DirectoryData;
use tollgate::domain::head::Arrival;
use tollgate::pipeline::{
    Stop, Trace, authenticate, authorize, decide, edge, isolate, route, rules, tenant,
};
use tollgate::policy::Snapshot;
use tollgate::stores::directory::{Directory, FileDirectory};
use tollgate::stores::limits::LimitStore;
use tollgate::stores::node::{Facts, NodeKnowledge};
use tollgate::stores::sessions::Sessions;
use tollgate::stores::tokens::VerifiedTokens;
use tollgate::telemetry::clock::SystemClock;
use tollgate::telemetry::metrics::Metrics;

const TARGET: &[u8] = b"/rest/v1/todos?select=id,title&limit=10";

fn main() -> Result<()> {
    let bench = Bench::prepare().context("prepare the benches")?;
    let mut criterion = Criterion::default().configure_from_args();
    stages(&mut criterion, &bench);
    let Bench { snapshot, node, clock, heads, .. } = &bench;
    known::measure(&mut criterion, snapshot, node, clock, heads)?;
    rights::measure(&mut criterion, &bench.clock, |loaded, people| {
        knowledge(loaded, people, &bench.clock)
    })?;
    bodies::measure(&mut criterion)?;
    requests::measure(&mut criterion)?;
    ruled::measure(&mut criterion)?;
    usage::measure(&mut criterion)?;
    expressions::measure(&mut criterion, clock.as_ref())?;
    criterion.final_summary();
    Ok(())
}

struct Bench {
    snapshot: Snapshot,
    node: NodeKnowledge,
    limits: LimitStore,
    clock: Arc<dyn Clock>,
    heads: Vec<HeaderMap>,
}

impl Bench {
    fn prepare() -> Result<Self> {
        let directory =
            std::env::temp_dir().join(format!("tollgate-stages-{}", std::process::id()));
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, 10));
        let addresses =
            gateway::Addresses { listen: nowhere, admin, upstream: nowhere, redis: None };
        let path = gateway::write(&directory, &addresses)?;
        let loaded = load(&path, &|name| std::env::var(name).ok());
        std::fs::remove_dir_all(&directory)?;
        let loaded = loaded?;
        let DirectorySettings::File(people) = &loaded.settings.directory else {
            bail!("the directory should be a file");
        };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let node = knowledge(&loaded, people, &clock)?;
        let limits = LimitStore::new(&loaded.settings.limits, Arc::clone(&clock))?;
        let tokens = gateway::tokens(clock.now().unix_secs())?;
        let heads = tokens.iter().map(|token| headers(token)).collect::<Result<_>>()?;
        Ok(Self { snapshot: loaded.snapshot, node, limits, clock, heads })
    }

    /// Measures `of` on the requests of all callers in turn.
    fn measure(
        &self,
        group: &mut BenchmarkGroup<'_, WallTime>,
        name: &str,
        of: impl Fn(&Arrival<'_>, &mut Trace, Now) -> Result<(), Stop>,
    ) {
        let mut heads = self.heads.iter().cycle();
        let now = self.clock.now();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let Some(headers) = heads.next() else { return false };
                let mut trace = Trace::new();
                let passed = of(&arrival(headers), &mut trace, now);
                // A refusal would be measured instead of the stage.
                assert!(passed.is_ok(), "`{name}` was refused: {passed:?}");
                black_box(&trace);
                true
            });
        });
    }
}

/// What a node knows that fetches no keys.
fn knowledge(
    loaded: &Loaded,
    people: &DirectoryData,
    clock: &Arc<dyn Clock>,
) -> Result<NodeKnowledge> {
    let tokens = VerifiedTokens::new(64 << 20);
    Ok(NodeKnowledge::new(
        loaded.snapshot.identity.issuers.iter().map(|_| None).collect(),
        tokens.view(),
        Arc::new(Directory::File(FileDirectory::new(people))),
        Arc::new(Sessions::new(&loaded.settings.sessions, Arc::clone(clock))?),
        Arc::clone(clock),
        Arc::new(Metrics::new()?),
    ))
}

fn headers(token: &str) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, HeaderValue::from_static("bench.example"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static("bench"));
    headers.insert(header::AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}"))?);
    Ok(headers)
}

fn arrival(headers: &HeaderMap) -> Arrival<'_> {
    Arrival {
        method: &Method::GET,
        target: TARGET,
        authority: None,
        version: Version::HTTP_11,
        headers,
        peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        secure: false,
        entropy: 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef,
    }
}

fn stages(criterion: &mut Criterion, bench: &Bench) {
    let Bench { snapshot, node, .. } = bench;
    let mut group = criterion.benchmark_group("stages");
    bench.measure(&mut group, "edge", |arrival, trace, now| {
        black_box(edge::admit(arrival, &snapshot.edge, trace, now)?);
        Ok(())
    });
    bench.measure(&mut group, "edge to route", |arrival, trace, now| {
        let edged = edge::admit(arrival, &snapshot.edge, trace, now)?;
        black_box(route::find(edged, snapshot, trace)?);
        Ok(())
    });
    bench.measure(&mut group, "edge to authenticate", |arrival, trace, now| {
        let edged = edge::admit(arrival, &snapshot.edge, trace, now)?;
        let routed = route::find(edged, snapshot, trace)?;
        let screened = rules::of_request(routed, snapshot, trace, now)?;
        black_box(authenticate::prove(screened, snapshot, &Facts::new(node, now), trace, now)?);
        Ok(())
    });
    bench.measure(&mut group, "edge to tenant", |arrival, trace, now| {
        let facts = Facts::new(node, now);
        let edged = edge::admit(arrival, &snapshot.edge, trace, now)?;
        let routed = route::find(edged, snapshot, trace)?;
        let screened = rules::of_request(routed, snapshot, trace, now)?;
        let authenticated = authenticate::prove(screened, snapshot, &facts, trace, now)?;
        black_box(tenant::settle(authenticated, snapshot, &facts, trace, now)?);
        Ok(())
    });
    bench.measure(&mut group, "edge to authorize", |arrival, trace, now| {
        let facts = Facts::new(node, now);
        let edged = edge::admit(arrival, &snapshot.edge, trace, now)?;
        let routed = route::find(edged, snapshot, trace)?;
        let screened = rules::of_request(routed, snapshot, trace, now)?;
        let authenticated = authenticate::prove(screened, snapshot, &facts, trace, now)?;
        let tenanted = tenant::settle(authenticated, snapshot, &facts, trace, now)?;
        black_box(authorize::check(tenanted, snapshot, &facts, trace, now)?);
        Ok(())
    });
    bench.measure(&mut group, "edge to isolate", |arrival, trace, now| {
        let facts = Facts::new(node, now);
        let edged = edge::admit(arrival, &snapshot.edge, trace, now)?;
        let routed = route::find(edged, snapshot, trace)?;
        let screened = rules::of_request(routed, snapshot, trace, now)?;
        let authenticated = authenticate::prove(screened, snapshot, &facts, trace, now)?;
        let tenanted = tenant::settle(authenticated, snapshot, &facts, trace, now)?;
        let authorized = authorize::check(tenanted, snapshot, &facts, trace, now)?;
        let cleared = rules::of_caller(authorized, snapshot, trace, now)?;
        black_box(isolate::confine(cleared, snapshot, trace)?);
        Ok(())
    });
    bench.measure(&mut group, "decide", |arrival, trace, now| {
        black_box(decide(arrival, snapshot, &Facts::new(node, now), trace, now)?);
        Ok(())
    });
    bench.measure(&mut group, "decide and charge in process", |arrival, trace, now| {
        let chargeable = decide(arrival, snapshot, &Facts::new(node, now), trace, now)?;
        // Moving time: the bounds are out of reach, the buckets still have to fill.
        let answer = bench.limits.try_now(chargeable.charge(), bench.clock.now());
        if let Some(answer) = answer {
            black_box(chargeable.settle(answer, trace)?);
        }
        Ok(())
    });
    group.finish();
}
