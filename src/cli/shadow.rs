//! `tollgate shadow`: what policies in shadow would have refused, by the audit log.

mod report;

use clap::{Args, Subcommand};

use super::arguments::ConfigFile;
use super::records::{self, Records};
use super::{Done, Failure, print};
use report::Report;

/// `tollgate shadow`.
#[derive(Debug, Subcommand)]
pub enum Shadow {
    /// Show whom each policy in shadow would have refused, how often, and which requests
    Report(ReportArguments),
}

/// Help of `tollgate shadow`.
pub(super) const AFTER: &str = "\
A policy with `mode: shadow` is judged, recorded and let through. See docs/POLICIES.md.

Examples:
  tollgate shadow report
  tollgate shadow report --since 24h --json";

/// `tollgate shadow report`.
#[derive(Debug, Args)]
#[command(after_help = "\
Read from the audit log, whose records hold what policies in shadow would have refused. A node records
at most 100 requests a second for that alone, so a busy hour may have had more than are counted here:
`tollgate_would_refuse_total` has them all. That the isolation of a table in shadow would have confined a
request and not refused it is no reason for a record: `tollgate_would_confine_total` counts it. Requests that another policy refused are counted apart: the
one in shadow would have changed nothing for them.

Examples:
  tollgate shadow report
  tollgate shadow report --since 24h
  tollgate shadow report --since 2026-11-21T08:00:00Z --until 2026-11-21T09:00:00Z audit.jsonl
  zcat audit.jsonl.*.gz | tollgate shadow report --json -")]
pub struct ReportArguments {
    /// Which records.
    #[command(flatten)]
    pub records: Records,
    /// Of this policy only, by its name in the report
    #[arg(long, value_name = "NAME")]
    pub policy: Option<String>,
    /// Of this organization only, by its id
    #[arg(long, value_name = "ID")]
    pub organization: Option<String>,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigFile,
}

pub(super) fn run(arguments: &Shadow) -> Result<Done, Failure> {
    let Shadow::Report(arguments) = arguments;
    let mut report = Report::default();
    let wanted = |stated: &Option<String>, is: Option<&str>| {
        stated.as_deref().is_none_or(|stated| Some(stated) == is)
    };
    let read = records::read(&arguments.records, &arguments.config.config, |record| {
        if !wanted(&arguments.organization, record.organization.as_deref()) {
            return;
        }
        for would in &record.would {
            if wanted(&arguments.policy, Some(&would.name)) {
                report.enter(would, &record);
            }
        }
    })?;
    let told = report.told(read);
    print(&if arguments.json {
        format!("{}\n", serde_json::to_string_pretty(&told).map_err(anyhow::Error::from)?)
    } else {
        told.text()
    })?;
    Ok(Done::Well)
}
