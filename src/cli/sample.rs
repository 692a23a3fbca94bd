//! `tollgate sample`: the demonstration's upstream for a configuration of one's own, so that it can be
//! tried before there is a database.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use anyhow::Context;
use clap::Args;

use crate::config;
use crate::config::settings::DirectorySettings;
use crate::domain::catalog::Tenancy;
use crate::policy::upstream::{Upstream, UpstreamKind};
use crate::proxy::sample;

use super::arguments::ConfigFile;
use super::{Done, Failure, environment, print, serve};

/// `tollgate sample`.
#[derive(Debug, Args)]
#[command(after_help = "\
It stands in for PostgREST: the tables of the catalogue, with four rows for each organization of the
directory file, in memory until the process ends. It understands plain columns, filters, order, limits,
inserts, updates and deletes, no embeds and no functions. It confines nothing and asks nobody who they
are: whatever stays apart, the gateway keeps apart.

Examples:
  tollgate sample
  tollgate sample --config config/gateway.yaml --listen 127.0.0.1:3001")]
pub struct Sample {
    /// Where it answers: the first address of the configuration's first PostgREST upstream by default
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigFile,
}

pub(super) fn run(arguments: &Sample) -> Result<Done, Failure> {
    let loaded = config::load(&arguments.config.config, &environment)?;
    let DirectorySettings::File(directory) = &loaded.settings.directory else {
        return Err(Failure::usage(
            "rows are made up for the organizations of a directory file, and this directory is a \
             database: use PostgREST",
        ));
    };
    let listen = match arguments.listen {
        Some(listen) => listen,
        None => upstream(&loaded.snapshot.upstreams)?,
    };
    let catalog = &loaded.snapshot.catalog;
    let tables: Vec<String> = catalog
        .tables
        .iter()
        .filter(|(_, table)| !matches!(table.tenancy, Tenancy::Denied))
        .map(|(name, _)| format!("`{name}`"))
        .collect();
    let runtime = serve::runtime()?;
    runtime.block_on(async {
        let at = sample::start(listen, catalog, &directory.organizations)
            .await
            .with_context(|| format!("cannot listen on {listen}"))?;
        print(&format!("sample upstream on {at}, with {}\n", tables.join(", ")))?;
        // A signal ends the process, and the rows with it.
        std::future::pending().await
    })
}

/// Where the gateway looks for PostgREST.
fn upstream(upstreams: &[Arc<Upstream>]) -> Result<SocketAddr, Failure> {
    let postgrest = upstreams.iter().find(|upstream| upstream.kind == UpstreamKind::Postgrest);
    let address = postgrest.and_then(|upstream| upstream.addresses.first());
    let resolved = address.map(|at| (&*at.host, at.port).to_socket_addrs());
    resolved.and_then(|found| found.ok()?.next()).ok_or_else(|| {
        Failure::usage(
            "the configuration has no PostgREST upstream with an address: add `--listen`",
        )
    })
}
