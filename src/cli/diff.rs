//! `tollgate diff`: what changes between two configurations in terms of what is decided. Both are
//! compiled; what is compared is what requests would meet, not how it is written.

mod amounts;
mod catalog;
mod change;
mod gates;
mod gateway;
mod rights;
mod routes;
mod rules;

use std::path::{Path, PathBuf};

use clap::Args;

use crate::config::{self, Loaded};
use crate::policy::Snapshot;

use super::{Done, Failure, environment, git, print};
use change::Changes;

/// `tollgate diff`.
#[derive(Debug, Args)]
#[command(after_help = "\
Both configurations are compiled, with the environment of this process, and what requests would meet is
compared: routes, what roles may do (inherited rights included), conditions, gates, limits and
quotas by plan, rules, the catalogue, issuers and upstreams. What opens something comes first.
Secrets, keys, the directory and how answers are decorated in detail are not compared.

`REVISION:PATH` is read from the git repository around this directory, as `git show` reads it: nothing
is checked out. Secret files are those of today.

Examples:
  tollgate diff config/production.yaml config/next.yaml
  tollgate diff /etc/tollgate config --json | jq '.changes[] | select(.effect == \"opens\")'
  tollgate diff HEAD~1:config config                   what the working copy changes since then
  tollgate diff origin/main:config HEAD:config --json  what a branch changes, for CI

Exit status: 0 nothing differs, 3 something does, 1 failed, 2 wrong arguments or configuration.")]
pub struct Diff {
    /// The configuration before: a gateway file, or a directory with a `gateway.yaml`, here or in a
    /// revision (`HEAD~1:config`)
    #[arg(value_name = "A")]
    pub before: PathBuf,
    /// The configuration after
    #[arg(value_name = "B")]
    pub after: PathBuf,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

pub(super) fn run(arguments: &Diff) -> Result<Done, Failure> {
    let (before, after) = (load(&arguments.before)?, load(&arguments.after)?);
    let changes = compared(&before.snapshot, &after.snapshot);
    print(&if arguments.json {
        let versions = (&before.snapshot.version, &after.snapshot.version);
        let report = changes.report(versions);
        format!("{}\n", serde_json::to_string_pretty(&report).map_err(anyhow::Error::from)?)
    } else {
        changes.text()
    })?;
    Ok(if changes.is_empty() { Done::Well } else { Done::Differs })
}

fn load(path: &Path) -> Result<Loaded, Failure> {
    let revision = path.to_str().filter(|_| !path.exists()).and_then(|text| text.split_once(':'));
    if let Some((revision, path)) = revision.filter(|(revision, _)| !revision.is_empty()) {
        let (files, file) = git::Revision::open(revision, path)?;
        return Ok(config::load_from(&files, &file, &environment)?);
    }
    let file = if path.is_dir() { path.join("gateway.yaml") } else { path.to_owned() };
    Ok(config::load(&file, &environment)?)
}

/// Everything that differs, in order.
fn compared(before: &Snapshot, after: &Snapshot) -> Changes {
    let mut changes = Changes::default();
    routes::compare(before, after, &mut changes);
    rights::compare(&before.roles, &after.roles, &mut changes);
    gates::compare(&before.gates, &after.gates, &mut changes);
    amounts::limits(&before.limits, &after.limits, &mut changes);
    amounts::quotas(before, after, &mut changes);
    amounts::plans(&before.plans, &after.plans, &mut changes);
    rules::compare(&before.rules, &after.rules, &mut changes);
    catalog::compare(&before.catalog, &after.catalog, &mut changes);
    gateway::compare(before, after, &mut changes);
    changes.sort();
    changes
}
