//! `tollgate replay`: recorded decisions, decided again by another policy. Reads only: nothing is
//! sent, no store and no directory is asked, and at most `--last` records are held.

pub(super) mod decided;
mod known;
mod report;

use std::collections::VecDeque;
use std::path::PathBuf;

use clap::Args;

use crate::config::settings::DirectorySettings;
use crate::config::{self, Loaded};
use crate::stores::directory::FileDirectory;

use super::arguments::ConfigFile;
use super::records::{self, Record, Records};
use super::{Done, Failure, environment, print};
use decided::Policy;
use report::Report;

/// `tollgate replay`.
#[derive(Debug, Args)]
#[command(after_help = "\
Each record is decided again by the configuration: route, credential, organization, permission and
conditions, by what the record says of the caller (role, plan, second factor, address, host) at the time
that it says. Features, stages and further rights are taken from a directory file, if the configuration
has one. What no record holds is not replayed: queries, bodies and header fields, and so neither isolation
nor rules on them, and no limits and quotas, which depend on other requests. What cannot be decided for want of a
fact is counted with its reason and called neither changed nor the same. Nothing is sent.

Examples:
  tollgate replay --config config/next.yaml
  tollgate replay --config config/next.yaml --last 50000 --since 7d
  zcat audit.jsonl.*.gz | tollgate replay --config config/next.yaml --json -

Exit status: 0 no verdict changes, 3 some do, 1 failed, 2 wrong arguments or configuration.")]
pub struct Replay {
    /// Which records.
    #[command(flatten)]
    pub records: Records,
    /// How many at most: the last ones
    #[arg(long, value_name = "COUNT", default_value = "10000",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub last: u32,
    /// The log of another configuration than the one that decides: where the records are
    #[arg(long, value_name = "FILE")]
    pub recorded_by: Option<PathBuf>,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigFile,
}

pub(super) fn run(arguments: &Replay) -> Result<Done, Failure> {
    let config = &arguments.config.config;
    let loaded = config::load(config, &environment)?;
    let policy = policy(loaded);
    let most = usize::try_from(arguments.last).unwrap_or(usize::MAX);
    let mut last: VecDeque<Record> = VecDeque::new();
    let logs = arguments.recorded_by.as_ref().unwrap_or(config);
    let read = records::read(&arguments.records, logs, |record| {
        if last.len() == most {
            last.pop_front();
        }
        last.push_back(record);
    })?;
    let mut report = Report::default();
    for record in &last {
        report.enter(record, &policy.compare(record));
    }
    let told = report.told(read, &policy.snapshot.version);
    print(&if arguments.json {
        format!("{}\n", serde_json::to_string_pretty(&told).map_err(anyhow::Error::from)?)
    } else {
        told.text()
    })?;
    Ok(if told.changes() { Done::Differs } else { Done::Well })
}

/// What decides again: a configuration, with its directory if that is a file.
pub(super) fn policy(loaded: Loaded) -> Policy {
    let directory = match &loaded.settings.directory {
        DirectorySettings::File(data) => Some(FileDirectory::new(data)),
        DirectorySettings::Postgres(_) => None,
    };
    Policy { snapshot: loaded.snapshot, directory }
}
