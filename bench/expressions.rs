//! What conditions of rules cost: one, a hundred, and a hundred that method and path rule out.

use std::hint::black_box;

use anyhow::{Result, anyhow};
use criterion::Criterion;
use http::{HeaderMap, HeaderValue, Method, header};
use tollgate::config::expression::compile;
use tollgate::domain::clock::{Clock, Now};
use tollgate::policy::expression::scene::{ClientView, RequestView, Scene};
use tollgate::policy::expression::{Expression, Phase};

/// What rules ask, in the order of how often they do.
const TYPICAL: [&str; 5] = [
    "request.method == 'GET' && request.path.startsWith('/rest/v1/') && client.country == 'KP'",
    "request.path.startsWith('/rest/v1/admin') && !cidr(client.address, ['10.0.0.0/8', '192.168.0.0/16'])",
    "request.headers.get('user-agent', '').contains('sqlmap')",
    "'blocked' in tags || request.host == 'old.example.com'",
    "request.method in ['POST', 'PUT', 'PATCH'] && request.size > 1048576",
];

pub(crate) fn measure(criterion: &mut Criterion, clock: &dyn Clock) -> Result<()> {
    let mut headers = HeaderMap::new();
    headers.insert(
        header::USER_AGENT,
        HeaderValue::from_static("Mozilla/5.0 (X11; Linux) Firefox/140.0"),
    );
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    let one = compiled(TYPICAL[0])?;
    let hundred: Vec<Expression> =
        TYPICAL.iter().cycle().take(100).map(|text| compiled(text)).collect::<Result<_>>()?;
    let elsewhere: Vec<Expression> = (0..100)
        .map(|n| {
            compiled(&format!(
                "request.method == 'POST' && request.path.startsWith('/other/{n}/') && sqli(request.params)"
            ))
        })
        .collect::<Result<_>>()?;
    let injections = compiled("sqli(request.params) || xss(request.params)")?;
    let now = clock.now();
    let mut group = criterion.benchmark_group("expressions");
    for (name, expressions) in [
        ("one", std::slice::from_ref(&one)),
        ("100", hundred.as_slice()),
        ("100 that method and path rule out", elsewhere.as_slice()),
        ("injections in parameters", std::slice::from_ref(&injections)),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let scene = scene(&headers, now);
                expressions.iter().filter(|of| black_box(of).holds(&scene) == Ok(true)).count()
            });
        });
    }
    group.bench_function("compile one", |bencher| {
        bencher.iter(|| compile(black_box(TYPICAL[0]), Phase::Request).is_ok());
    });
    group.finish();
    Ok(())
}

fn compiled(text: &str) -> Result<Expression> {
    compile(text, Phase::Request).map_err(|mistakes| anyhow!("{text}: {mistakes:?}"))
}

fn scene(headers: &HeaderMap, now: Now) -> Scene<'_> {
    let request = RequestView {
        id: None,
        method: &Method::GET,
        secure: true,
        host: "api.example.com",
        path: "/rest/v1/todos",
        query: "select=id,title&limit=10",
        headers,
        size: None,
    };
    let client = ClientView { address: std::net::Ipv4Addr::LOCALHOST.into(), country: Some("DE") };
    Scene::new(request, client, now)
}
