//! What the kernel says about a process: processor time and resident memory.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

/// Processor time of all threads of the process that are alive, to the nanosecond.
///
/// `/proc/<pid>/stat` counts in ticks of 10 ms; the scheduler's own sum per thread does not round.
/// Proxies keep their threads, so that none is lost between two readings.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let tasks = format!("/proc/{pid}/task");
    let mut nanos = 0_u64;
    for task in std::fs::read_dir(&tasks).with_context(|| format!("read `{tasks}`"))? {
        let Ok(text) = std::fs::read_to_string(task?.path().join("schedstat")) else {
            // The thread ended between the two calls.
            continue;
        };
        let on_cpu = text.split_whitespace().next().context("empty schedstat")?;
        nanos += on_cpu.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanos))
}

/// Resident memory in bytes.
pub(crate) fn resident(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read `{path}`"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024)
}

/// Lets timers of this process, and of threads it starts later, fire when they are due.
///
/// The default is up to 50 µs late, which is more than some of the latencies that are measured.
pub(crate) fn exact_timers() {
    // Without it the figures are a little worse for all alike: no reason to stop.
    std::fs::write(Path::new("/proc/self/timerslack_ns"), "1").ok();
}
