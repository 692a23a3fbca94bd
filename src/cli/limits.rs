//! `tollgate limits`: the buckets that nodes share, seen and changed from outside a gateway.

use clap::{Args, Subcommand};

use crate::config;
use crate::config::settings::{DirectorySettings, LimitStoreSettings, RedisSettings};
use crate::domain::ids::OrgId;
use crate::domain::organization::OrgSelector;
use crate::stores::limits::ledger::{Ledger, ShownBucket, Which};

use super::arguments::ConfigFile;
use super::{Done, Failure, environment, print};

/// `tollgate limits`.
#[derive(Debug, Subcommand)]
pub enum Limits {
    /// Show the buckets that are not full, those with the least left first: who uses most
    Show(Show),
    /// Fill buckets and take penalties back, so that those who wait for them need not
    Reset(Reset),
    /// Say how many tokens buckets hold
    Set(Set),
}

/// Help of `tollgate limits`.
pub(super) const AFTER: &str = "\
The store of limits has to be in Redis (limits_store in gateway.yaml): one in memory belongs to its
process.

Examples:
  tollgate limits show --organization acme
  tollgate limits show --limit per_user --top 5
  tollgate limits reset --organization acme --scope user --id 5e4a2f0c-0d8e-4b0a-9d0e-000000000001
  tollgate limits set --organization acme --limit per_organization --left 0";

/// Which buckets.
#[derive(Debug, Args)]
pub struct Selection {
    /// Of this organization, its users and its routes: an id, or a slug of a directory file
    #[arg(long)]
    pub organization: Option<OrgSelector>,
    /// Of subjects of this kind
    #[arg(long, value_parser = ["user", "organization", "key", "route", "address", "account"])]
    pub scope: Option<String>,
    /// Of the subject of this id: a user, the name of a key or a route, an address
    #[arg(long)]
    pub id: Option<Box<str>>,
    /// Of this limit
    #[arg(long)]
    pub limit: Option<Box<str>>,
}

/// `tollgate limits show`.
#[derive(Debug, Args)]
#[command(after_help = "\
`leased` is what nodes have taken in advance; it is missing from `left`, and theirs for two seconds.
`level` is the level of the penalty that the subject was on when last refused, and `blocked` for how
much longer that refuses everything.

Examples:
  tollgate limits show --organization acme
  tollgate limits show --limit per_user --top 5 --json | jq -r '.[].id'")]
pub struct Show {
    /// Which.
    #[command(flatten)]
    pub which: Selection,
    /// How many at most
    #[arg(long, default_value_t = 20)]
    pub top: usize,
    /// Print one JSON list instead of text
    #[arg(long)]
    pub json: bool,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigFile,
}

/// `tollgate limits reset`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tollgate limits reset --organization acme
  tollgate limits reset --scope user --id 5e4a2f0c-0d8e-4b0a-9d0e-000000000001")]
pub struct Reset {
    /// Which.
    #[command(flatten)]
    pub which: Selection,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigFile,
}

/// `tollgate limits set`.
#[derive(Debug, Args)]
#[command(after_help = "\
Buckets that are full are not kept, and cannot be set: nobody has used them lately.

Examples:
  tollgate limits set --organization acme --limit per_organization --left 0")]
pub struct Set {
    /// Which.
    #[command(flatten)]
    pub which: Selection,
    /// Tokens that each holds from now on, at most its burst
    #[arg(long, value_name = "TOKENS")]
    pub left: u32,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigFile,
}

pub(super) fn run(arguments: &Limits) -> Result<Done, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match arguments {
        Limits::Show(show) => runtime.block_on(shown(show)),
        Limits::Reset(reset) => {
            runtime.block_on(changed(&reset.which, &reset.config, None, "filled"))
        }
        Limits::Set(set) => {
            runtime.block_on(changed(&set.which, &set.config, Some(set.left), "set"))
        }
    }
}

async fn shown(show: &Show) -> Result<Done, Failure> {
    let (settings, which) = selected(&show.which, &show.config)?;
    let mut ledger = Ledger::open(&settings).await.map_err(anyhow::Error::from)?;
    let mut found = ledger.list(&which).await.map_err(anyhow::Error::from)?;
    let all = found.len();
    found.truncate(show.top);
    if show.json {
        let json = serde_json::to_string_pretty(&found).map_err(anyhow::Error::from)?;
        print(&format!("{json}\n"))?;
    } else {
        print(&table(&found))?;
        if all > found.len() {
            print(&format!("and {} more: see --top\n", all - found.len()))?;
        }
    }
    Ok(Done::Well)
}

async fn changed(
    which: &Selection,
    config: &ConfigFile,
    left: Option<u32>,
    what: &str,
) -> Result<Done, Failure> {
    if which.organization.is_none() && which.id.is_none() && which.limit.is_none() {
        return Err(Failure::usage(
            "that would change every bucket of everybody: state --organization, --id or --limit",
        ));
    }
    let (settings, which) = selected(which, config)?;
    let mut ledger = Ledger::open(&settings).await.map_err(anyhow::Error::from)?;
    let mut count = 0_usize;
    for bucket in ledger.list(&which).await.map_err(anyhow::Error::from)? {
        let done = match left {
            Some(tokens) => ledger.set(&bucket, u64::from(tokens)).await,
            None => ledger.reset(&bucket).await,
        };
        count += usize::from(done.map_err(anyhow::Error::from)?);
    }
    let buckets = if count == 1 { "bucket" } else { "buckets" };
    print(&format!("{what} {count} {buckets}; all others that fit are full\n"))?;
    Ok(Done::Well)
}

fn selected(stated: &Selection, config: &ConfigFile) -> Result<(RedisSettings, Which), Failure> {
    let settings = config::load(&config.config, &environment)?.settings;
    let LimitStoreSettings::Redis(redis) = settings.limits else {
        return Err(Failure::usage(
            "buckets are kept in the memory of each gateway, where no other process can reach them; \
             to share them, set `limits_store: { redis: … }`",
        ));
    };
    let organization = match &stated.organization {
        Some(selector) => Some(organization(selector, &settings.directory)?),
        None => None,
    };
    let scope = stated.scope.as_deref().map(Box::from);
    let (id, limit) = (stated.id.clone(), stated.limit.clone());
    Ok((redis, Which { organization, scope, id, limit }))
}

fn organization(selector: &OrgSelector, directory: &DirectorySettings) -> Result<OrgId, Failure> {
    match (selector, directory) {
        (OrgSelector::Id(id), _) => Ok(*id),
        (OrgSelector::Slug(slug), DirectorySettings::File(data)) => {
            let found = data.organizations.iter().find(|known| known.slug == *slug);
            found.map(|found| found.id).ok_or_else(|| {
                Failure::usage(format!("the directory has no organization `{slug}`"))
            })
        }
        (OrgSelector::Slug(_), DirectorySettings::Postgres(_)) => Err(Failure::usage(
            "state the organization's id: the directory is a database, which this command does not ask",
        )),
    }
}

fn table(buckets: &[ShownBucket]) -> String {
    let head = [
        "limit",
        "scope",
        "id",
        "organization",
        "left",
        "leased",
        "burst",
        "full in",
        "level",
        "blocked",
    ];
    let mut lines = vec![head.map(str::to_owned)];
    lines.extend(buckets.iter().map(|bucket| {
        [
            printable(&bucket.limit),
            bucket.scope.to_owned(),
            if bucket.id.is_empty() { "-".to_owned() } else { printable(&bucket.id) },
            bucket.organization.clone().unwrap_or_else(|| "-".to_owned()),
            match bucket.debt {
                0 => bucket.left.to_string(),
                debt => format!("-{debt}"),
            },
            bucket.leased.to_string(),
            bucket.burst.to_string(),
            seconds(bucket.full_in_millis),
            bucket.penalty.to_string(),
            seconds(bucket.blocked_millis),
        ]
    }));
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |line: &[String; 10]| {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    lines.iter().map(line).collect()
}

fn seconds(millis: u64) -> String {
    match millis {
        0..10_000 => format!("{}.{}s", millis / 1_000, millis % 1_000 / 100),
        _ => format!("{}s", millis.div_ceil(1_000)),
    }
}

/// Ids come from tokens: nothing in them steers a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
