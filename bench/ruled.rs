//! What rules cost a request: a hundred of typical conditions that it could meet and does not, a
//! hundred that it cannot meet by its method and path, a hundred that it does, and none. Each with
//! the stages before it (`edge`, `route`), which are measured alone beside them.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::{Context, Result};
use criterion::Criterion;
use http::{HeaderMap, HeaderValue, Method, Version, header};
use tollgate::config::{Memory, load_from};
use tollgate::domain::clock::{Clock, Now};
use tollgate::domain::head::Arrival;
use tollgate::pipeline::{Stop, Trace, edge, route, rules};
use tollgate::policy::Snapshot;
use tollgate::telemetry::clock::SystemClock;

const RULES: usize = 100;

/// What a rule of each kind asks; `N` stands for its number. The last of each is false.
const TYPICAL: [&str; 8] = [
    "request.method == 'GET' && request.headers.get('x-client-version', '') == 'N'",
    "request.path.startsWith('/open/') && 'n' in request.params && client.address == client.address && request.host == 'N.example'",
    "cidr(client.address, ['10.N.0.0/16', '192.168.N.0/24'])",
    "request.headers.get('user-agent', '').contains('crawler-N')",
    "pathMatch(request.path, '/open/N/{rest*}')",
    "request.method in ['POST', 'GET'] && request.headers.get('accept', '').startsWith('text/N')",
    "client.country in ['XN', 'YN']",
    "request.size != null && request.size > N000000",
];

const POLICY: &str = "\
routes:
  - { name: open, match: { path: \"/open/{path*}\" }, upstream: web, credential: open, tenant: none }
";

const GATEWAY: &str = "\
listen: [{ address: 127.0.0.1:0 }]
identity:
  issuers: [{ name: main, iss: https://issuer.example, keys: [{ hs256: 0123456789abcdef0123456789abcdef }] }]
directory: { file: directory.yaml }
upstreams: { web: { kind: http, addresses: [\"127.0.0.1:9\"] } }
policies: [policy.yaml]
";

/// The condition of the rule of each number.
type Conditions<'c> = dyn Fn(usize) -> String + 'c;

/// Measures requests under rules.
pub(crate) fn measure(criterion: &mut Criterion) -> Result<()> {
    let numbered = |text: &str, number: usize| text.replace('N', &(number % 200).to_string());
    let typical = |number: usize| {
        let text = TYPICAL.get(number % TYPICAL.len()).copied().unwrap_or("false");
        numbered(text, number)
    };
    let elsewhere = |number: usize| {
        let path = numbered("request.path.startsWith('/closed/N/') && ", number);
        let posted = "request.method == 'POST' && ";
        format!(
            "{}{}",
            if number.is_multiple_of(2) { path.as_str() } else { posted },
            typical(number)
        )
    };
    let met = |_: usize| "request.path.startsWith('/open/')".to_owned();
    let cases: [(&str, Option<&Conditions<'_>>); 4] = [
        ("none", None),
        ("100 that could be met", Some(&typical)),
        ("100 of other methods and paths", Some(&elsewhere)),
        ("100 that are met", Some(&met)),
    ];
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, HeaderValue::from_static("bench.example"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static("supabase-js/2.58.0"));
    headers.insert("x-client-version", HeaderValue::from_static("2.14.3"));
    let arrival = Arrival {
        method: &Method::GET,
        target: b"/open/todos?select=id,title&limit=10",
        authority: None,
        version: Version::HTTP_11,
        headers: &headers,
        peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        secure: false,
        entropy: 7,
    };
    let now = SystemClock::new().now();
    let mut group = criterion.benchmark_group("rules");
    for (name, condition) in cases {
        let snapshot = loaded(condition).context(name)?;
        // A refusal would be measured instead of the stage.
        screened(&arrival, &snapshot, now).map_err(|stop| anyhow::anyhow!("{name}: {stop:?}"))?;
        group.bench_function(name, |bencher| {
            bencher.iter(|| screened(&arrival, &snapshot, now).is_ok());
        });
    }
    group.finish();
    Ok(())
}

fn screened(arrival: &Arrival<'_>, snapshot: &Snapshot, now: Now) -> Result<(), Stop> {
    let mut trace = Trace::new();
    let edged = edge::admit(arrival, &snapshot.edge, &mut trace, now)?;
    let routed = route::find(edged, snapshot, &mut trace)?;
    black_box(rules::of_request(routed, snapshot, &mut trace, now)?);
    Ok(())
}

fn loaded(condition: Option<&Conditions<'_>>) -> Result<Snapshot> {
    let mut files = Memory::new()
        .with("gateway.yaml", GATEWAY)
        .with("policy.yaml", POLICY)
        .with("directory.yaml", "organizations: []\n");
    if let Some(condition) = condition {
        let each = (0..RULES).map(|number| {
            format!(
                "  - {{ id: r{number}, when: \"{}\", then: {{ tag: t }} }}\n",
                condition(number)
            )
        });
        files = files
            .with("rules.yaml", format!("rules:\n{}", each.collect::<String>()))
            .with("gateway.yaml", format!("{GATEWAY}rules: [rules.yaml]\n"));
    }
    let loaded = load_from(&files, Path::new("gateway.yaml"), &|_| None)
        .map_err(|problems| anyhow::anyhow!("{problems}"))?;
    Ok(loaded.snapshot)
}
