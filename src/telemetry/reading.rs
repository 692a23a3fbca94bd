//! Numbers that other parts keep by themselves, as they stand when metrics are asked for.
//!
//! A store counts in plain atomics and knows nothing of Prometheus; whoever puts the process
//! together turns its numbers into these.

use std::fmt::{self, Write};

/// One metric and its series.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Its name.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
    /// Its series.
    pub value: Value,
}

/// The series of a metric. Labels are constants or come from the configuration, so that no request
/// can add a series.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Only ever grows.
    Counter(Vec<(Labels, u64)>),
    /// The same, told apart by a number that the configuration states.
    CounterBy(&'static str, Vec<(u16, u64)>),
    /// As of now.
    Gauge(Vec<(Labels, u64)>),
    /// Durations.
    Histogram {
        /// Upper bounds in microseconds, ascending.
        bounds_micros: Vec<u64>,
        /// How many fell between a bound and the one before, and last how many above all; not
        /// cumulative.
        counts: Vec<u64>,
        /// All durations together, in microseconds.
        sum_micros: u64,
    },
}

/// Label names and values.
pub type Labels = &'static [(&'static str, &'static str)];

impl Reading {
    /// A counter without labels.
    pub fn counter(name: &'static str, help: &'static str, value: u64) -> Self {
        Self { name, help, value: Value::Counter(vec![(&[], value)]) }
    }

    /// A gauge without labels.
    pub fn gauge(name: &'static str, help: &'static str, value: u64) -> Self {
        Self { name, help, value: Value::Gauge(vec![(&[], value)]) }
    }

    /// Appends it in Prometheus' text format.
    pub(super) fn write(&self, out: &mut String) -> fmt::Result {
        let (kind, series) = match &self.value {
            Value::Counter(series) => ("counter", series.as_slice()),
            Value::CounterBy(..) => ("counter", [].as_slice()),
            Value::Gauge(series) => ("gauge", series.as_slice()),
            Value::Histogram { .. } => ("histogram", [].as_slice()),
        };
        writeln!(out, "# HELP {} {}", self.name, self.help)?;
        writeln!(out, "# TYPE {} {kind}", self.name)?;
        for (labels, value) in series {
            let labels: Vec<String> =
                labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
            match labels.is_empty() {
                true => writeln!(out, "{} {value}", self.name)?,
                false => writeln!(out, "{}{{{}}} {value}", self.name, labels.join(","))?,
            }
        }
        match &self.value {
            Value::Histogram { bounds_micros, counts, sum_micros } => {
                histogram(self.name, bounds_micros, counts, *sum_micros, out)
            }
            Value::CounterBy(label, series) => {
                for (number, value) in series {
                    writeln!(out, "{}{{{label}=\"{number}\"}} {value}", self.name)?;
                }
                Ok(())
            }
            Value::Counter(_) | Value::Gauge(_) => Ok(()),
        }
    }
}

fn histogram(
    name: &str,
    bounds: &[u64],
    counts: &[u64],
    sum: u64,
    out: &mut String,
) -> fmt::Result {
    let mut below = 0;
    for (bound, count) in bounds.iter().zip(counts) {
        below += count;
        writeln!(out, "{name}_bucket{{le=\"{}\"}} {below}", seconds(*bound))?;
    }
    let all: u64 = counts.iter().sum();
    writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {all}")?;
    writeln!(out, "{name}_sum {}", seconds(sum))?;
    writeln!(out, "{name}_count {all}")
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(reading: &Reading) -> String {
        let mut out = String::new();
        reading.write(&mut out).unwrap();
        out
    }

    #[test]
    fn the_text_is_that_of_prometheus() {
        assert_eq!(
            text(&Reading::gauge("depth", "How deep.", 3)),
            "# HELP depth How deep.\n# TYPE depth gauge\ndepth 3\n"
        );
        let labelled = Reading {
            name: "charges_total",
            help: "Charges.",
            value: Value::Counter(vec![(&[("store", "redis"), ("outcome", "away")], 7)]),
        };
        assert!(text(&labelled).ends_with("charges_total{store=\"redis\",outcome=\"away\"} 7\n"));
    }

    #[test]
    fn buckets_of_a_histogram_are_cumulative_and_in_seconds() {
        let reading = Reading {
            name: "call_seconds",
            help: "Calls.",
            value: Value::Histogram {
                bounds_micros: vec![100, 2_500],
                counts: vec![4, 2, 1],
                sum_micros: 1_500_000,
            },
        };
        let expected = "\
# HELP call_seconds Calls.
# TYPE call_seconds histogram
call_seconds_bucket{le=\"0.0001\"} 4
call_seconds_bucket{le=\"0.0025\"} 6
call_seconds_bucket{le=\"+Inf\"} 7
call_seconds_sum 1.5
call_seconds_count 7
";
        assert_eq!(text(&reading), expected);
    }
}
