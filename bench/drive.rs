//! The load driver by hand: one load against one address, one line of figures.
//!
//! For questions that the comparison does not ask; `--pid` adds what the process under load used.

#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a measuring tool")]

mod load;
mod procfs;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use load::{Load, Pace};

/// Sends requests and prints rate, latencies and, for `--pid`, cost per request.
#[derive(Parser)]
struct Arguments {
    /// Where to send to.
    address: SocketAddr,
    /// Path and query of the request.
    #[arg(long, default_value = "/rest/v1/todos?select=id,title&limit=10")]
    target: String,
    /// Further request header, as `name: value`.
    #[arg(long = "header")]
    headers: Vec<String>,
    /// Keep-alive connections.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Requests per second; without it as many as go through.
    #[arg(long)]
    rate: Option<u32>,
    /// Seconds before counting.
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    /// Seconds that are counted.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Process whose processor time and memory are read.
    #[arg(long)]
    pid: Option<u32>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    procfs::exact_timers();
    let headers: String = arguments.headers.iter().map(|line| format!("{line}\r\n")).collect();
    let request = format!("GET {} HTTP/1.1\r\nHost: bench\r\n{headers}\r\n", arguments.target);
    let load = Load {
        address: arguments.address,
        connections: arguments.connections,
        pace: arguments.rate.map_or(Pace::Saturated, Pace::PerSecond),
        warm_up: Duration::from_secs_f64(arguments.warm_up),
        duration: Duration::from_secs_f64(arguments.seconds),
        requests: vec![request.into_bytes()].into(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let probe = || arguments.pid.map(procfs::cpu_time).transpose();
    let outcome = runtime.block_on(load::drive(&load, probe))?;
    print!(
        "requests/s {:.0}  p50 {:.0} us  p99 {:.0} us  windowed p99 {:.0} us  max {:.0} us  not 2xx {}",
        outcome.rate(),
        outcome.quantile(0.5).as_secs_f64() * 1e6,
        outcome.quantile(0.99).as_secs_f64() * 1e6,
        outcome.windowed_p99().as_secs_f64() * 1e6,
        outcome.quantile(1.0).as_secs_f64() * 1e6,
        outcome.refused(),
    );
    if let (Some(pid), Some(before), Some(after)) = (arguments.pid, outcome.before, outcome.after) {
        let cpu = after.saturating_sub(before).as_secs_f64();
        print!(
            "  cpu/request {:.2} us  busy {:.2}  resident {:.1} MB",
            cpu * 1e6 / outcome.answers.max(1) as f64,
            cpu / outcome.elapsed.as_secs_f64(),
            procfs::resident(pid)? as f64 / 1e6,
        );
    }
    println!();
    Ok(())
}
