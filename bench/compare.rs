//! The comparison: the gateway, a bare Pingora pass-through and HAProxy before the same upstream.
//!
//! All run at once, each on the same processor; one at a time is under load, in rounds whose order
//! changes, and every figure is a ratio to the bare proxy of the same round. The rig and the
//! upstream share the other processor. See bench/README.md for what the figures mean.

#![allow(clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods)]

mod children;
mod gateway;
mod load;
mod procfs;
mod report;
mod subjects;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use children::{Directory, Process, Program, free_address};
use clap::Parser;
use load::{Load, Pace};
use report::{Row, Sample, median, table};
use subjects::{Kind, Place, Subject};

/// Compares the gateway with a bare Pingora pass-through before the same upstream.
#[derive(Parser)]
struct Arguments {
    /// Short rounds, to see that the rig works; the figures mean little.
    #[arg(long)]
    quick: bool,
    /// Rounds of each measurement at 64 connections.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds of load in each round.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Requests per second where the rate is fixed.
    #[arg(long, default_value_t = 6000)]
    rate: u32,
    /// What to compare; the bare proxy always takes part.
    #[arg(long, value_enum, value_delimiter = ',')]
    subjects: Vec<Kind>,
    /// Processor for the proxies; the rig and the upstream take the next one.
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// Use the programs as they were built before.
    #[arg(long)]
    no_build: bool,
}

/// The upstream, Redis and the rig are kept off the proxies' processor.
const LOAD_CORE: usize = 1;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if !arguments.no_build {
        build()?;
    }
    procfs::exact_timers();
    pin_this_process(arguments.core + LOAD_CORE)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Whichever ends first, dropping the run ends every child.
    runtime.block_on(async {
        tokio::select! {
            done = run(&arguments) => done,
            signal = interrupted() => bail!("stopped by {}", signal?),
        }
    })
}

async fn interrupted() -> Result<&'static str> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("SIGINT"),
    }
}

fn build() -> Result<()> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--bin", "tollgate"]);
    cargo.args(["--example", "bare_proxy", "--example", "bench_upstream"]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    if !cargo.status()?.success() {
        bail!("the programs to compare do not build");
    }
    Ok(())
}

fn pin_this_process(core: usize) -> Result<()> {
    let pid = std::process::id().to_string();
    let pinned = Command::new("taskset").args(["-a", "-c", "-p", &core.to_string(), &pid]).output();
    if !pinned.context("start `taskset` (Debian: util-linux)")?.status.success() {
        bail!("cannot stay on processor `{core}`: the comparison needs two processors");
    }
    Ok(())
}

async fn run(arguments: &Arguments) -> Result<()> {
    let directory = Directory::create()?;
    let examples = std::env::current_exe()?.parent().map(PathBuf::from).context("no directory")?;
    let upstream = free_address()?;
    let program = Program::new(
        "upstream",
        arguments.core + LOAD_CORE,
        directory.path(),
        &[&examples.join("bench_upstream"), &"--listen", &upstream.to_string()],
    );
    let mut upstream_process = program.start()?;
    upstream_process.ready(upstream, b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n").await?;

    let place = Place {
        examples,
        directory: directory.path().to_owned(),
        upstream,
        proxy_core: arguments.core,
        load_core: arguments.core + LOAD_CORE,
    };
    let mut compared = Vec::new();
    for kind in kinds(arguments) {
        let Some(subject) = Subject::prepare(kind, &place).await? else {
            eprintln!("{}: not installed, left out", kind.name());
            continue;
        };
        compared.push(start(subject, arguments).await?);
    }
    println!("{}", starts(&compared));
    for phase in phases(arguments) {
        let rows = measure(&phase, &compared, arguments).await?;
        println!("{}", table(&phase.title, &rows));
    }
    Ok(())
}

/// The bare proxy first: it is what the others are compared with.
fn kinds(arguments: &Arguments) -> Vec<Kind> {
    let wanted = if arguments.subjects.is_empty() { Kind::ALL } else { &arguments.subjects };
    let others = wanted.iter().copied().filter(|kind| *kind != Kind::Bare);
    std::iter::once(Kind::Bare).chain(others).collect()
}

/// A subject that is running, and what its starts took.
struct Running {
    subject: Subject,
    process: Process,
    to_ready: Duration,
    idle_resident: u64,
}

/// Starts the subject several times; the last one stays.
async fn start(subject: Subject, arguments: &Arguments) -> Result<Running> {
    let times = if arguments.quick { 2 } else { 7 };
    let request = subject.requests.first().context("no request")?.clone();
    let mut to_ready = Vec::new();
    loop {
        let began = Instant::now();
        let mut process = subject.program.start()?;
        let ready = process.ready(subject.address, &request).await?;
        to_ready.push(ready.duration_since(began).as_secs_f64());
        if to_ready.len() < times {
            continue;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let idle_resident = procfs::resident(process.id())?;
        let to_ready = Duration::from_secs_f64(median(to_ready));
        return Ok(Running { subject, process, to_ready, idle_resident });
    }
}

fn starts(compared: &[Running]) -> String {
    let mut text = String::from(
        "\n### Start\n\n| subject | first answer after ms | resident when idle MB |\n|---|---|---|\n",
    );
    for running in compared {
        text.push_str(&format!(
            "| {} | {:.0} | {:.1} |\n",
            running.subject.kind.name(),
            running.to_ready.as_secs_f64() * 1e3,
            running.idle_resident as f64 / 1e6,
        ));
    }
    text
}

struct Phase {
    title: String,
    connections: usize,
    pace: Pace,
    rounds: usize,
}

fn phases(arguments: &Arguments) -> Vec<Phase> {
    let rate = arguments.rate;
    let (rounds, few) = if arguments.quick { (2, 1) } else { (arguments.rounds, 5) };
    let phase =
        |title: String, connections, pace, rounds| Phase { title, connections, pace, rounds };
    vec![
        phase("64 connections, saturated".into(), 64, Pace::Saturated, rounds),
        phase(format!("64 connections, {rate} requests/s"), 64, Pace::PerSecond(rate), rounds),
        phase(format!("1,000 connections, {rate} requests/s"), 1000, Pace::PerSecond(rate), few),
        phase("1,000 connections, saturated".into(), 1000, Pace::Saturated, few),
    ]
}

async fn measure(phase: &Phase, compared: &[Running], arguments: &Arguments) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = compared
        .iter()
        .map(|running| Row { name: running.subject.kind.name().to_owned(), samples: Vec::new() })
        .collect();
    for round in 0..phase.rounds {
        // Forwards and backwards in turn, so that a drift of the machine favours nobody.
        let mut order: Vec<(&Running, &mut Row)> = compared.iter().zip(&mut rows).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for (running, row) in order {
            eprintln!("{}: round {} of {}: {}", phase.title, round + 1, phase.rounds, row.name);
            row.samples.push(sample(phase, running, arguments).await?);
        }
    }
    Ok(rows)
}

async fn sample(phase: &Phase, running: &Running, arguments: &Arguments) -> Result<Sample> {
    let load = Load {
        address: running.subject.address,
        connections: phase.connections,
        pace: phase.pace,
        warm_up: Duration::from_millis(if arguments.quick { 200 } else { 700 }),
        duration: Duration::from_secs_f64(if arguments.quick { 0.5 } else { arguments.seconds }),
        requests: running.subject.requests.clone(),
    };
    let pid = running.process.id();
    let measured = load::drive(&load, || Ok((procfs::cpu_time(pid)?, procfs::resident(pid)?)));
    let outcome = measured.await.with_context(|| running.subject.kind.name())?;
    let cpu = outcome.after.0.saturating_sub(outcome.before.0).as_secs_f64();
    Ok(Sample {
        rate: outcome.rate(),
        p50: outcome.quantile(0.5),
        p99: outcome.quantile(0.99),
        windowed_p99: outcome.windowed_p99(),
        cpu_micros: cpu * 1e6 / outcome.answers.max(1) as f64,
        busy: cpu / outcome.elapsed.as_secs_f64(),
        resident: outcome.after.1,
        refused: outcome.refused(),
    })
}
