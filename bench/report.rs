//! Medians, ratios to the first subject of the same round, and the tables that show them.

use std::fmt::Write;
use std::time::Duration;

/// What one subject did in one round.
#[derive(Clone)]
pub(crate) struct Sample {
    pub(crate) rate: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) windowed_p99: Duration,
    /// Processor time per request in microseconds.
    pub(crate) cpu_micros: f64,
    /// Share of one processor that was used.
    pub(crate) busy: f64,
    pub(crate) resident: u64,
    pub(crate) refused: u64,
}

/// All rounds of one subject.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) samples: Vec<Sample>,
}

/// The table of one phase, in Markdown; the first row is what the others are compared with.
pub(crate) fn table(title: &str, rows: &[Row]) -> String {
    let mut text = format!("\n### {title}\n\n");
    text.push_str(
        "| subject | requests/s | p50 µs | p99 µs | windowed p99 µs | CPU-µs/request | lowest to highest CPU ratio | MB | busy | not 2xx |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
    );
    let Some(floor) = rows.first() else { return text };
    for row in rows {
        let cpu = ratios(row, floor, |sample| sample.cpu_micros);
        let (low, high) = (cpu.first().copied(), cpu.last().copied());
        let refused: u64 = row.samples.iter().map(|sample| sample.refused).sum();
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {:.2} to {:.2} | {} | {:.2} | {refused} |",
            row.name,
            cell(row, floor, 0, |sample| sample.rate),
            cell(row, floor, 0, |sample| micros(sample.p50)),
            cell(row, floor, 0, |sample| micros(sample.p99)),
            cell(row, floor, 0, |sample| micros(sample.windowed_p99)),
            cell(row, floor, 1, |sample| sample.cpu_micros),
            low.unwrap_or(f64::NAN),
            high.unwrap_or(f64::NAN),
            cell(row, floor, 1, |sample| sample.resident as f64 / 1e6),
            median(row.samples.iter().map(|sample| sample.busy).collect()),
        )
        // Writing to a string cannot fail.
        .ok();
    }
    text
}

/// The median, and behind it the median of the ratios to the floor.
fn cell(row: &Row, floor: &Row, digits: usize, of: impl Fn(&Sample) -> f64) -> String {
    let middle = median(row.samples.iter().map(&of).collect());
    let ratio = median(ratios(row, floor, of));
    format!("{middle:.digits$} ({ratio:.2})")
}

/// Ratios round by round, ascending: both were measured within seconds of each other.
fn ratios(row: &Row, floor: &Row, of: impl Fn(&Sample) -> f64) -> Vec<f64> {
    let mut ratios: Vec<f64> = std::iter::zip(&row.samples, &floor.samples)
        .map(|(sample, floor)| of(sample) / of(floor))
        .collect();
    ratios.sort_by(f64::total_cmp);
    ratios
}

/// The middle value; of an even number the lower middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
