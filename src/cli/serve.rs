//! `tollgate serve`: the gateway, until a signal ends it.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use crate::config::Loaded;
use crate::config::settings::{LogFormat, LogSettings};
use crate::proxy;
use crate::telemetry::clock::SystemClock;
use crate::telemetry::log::{self, Shape};

use super::arguments::Serve;
use super::assembly::{self, Assembled};
use super::reload::{self, Reloader, Running, Shell};
use super::{Done, Failure, candidate, control};

/// How long the end of the process waits for the audit log, and for the ledger of usage.
const FLUSH: std::time::Duration = std::time::Duration::from_secs(5);

pub(super) fn run(arguments: &Serve) -> Result<Done, Failure> {
    let path = &arguments.config.config;
    let (loaded, read) = candidate::read(path)?;
    start_log(&loaded.settings.log)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let passed = candidate::tested(&loaded, &read, path, &SystemClock::new())?;
    if passed > 0 {
        tracing::info!(tests.passed = passed, "the tests of the configuration pass");
    }
    let (files, directory) = (loaded.files.clone(), loaded.directory.clone());
    let version = Arc::clone(&loaded.snapshot.version.0);
    let runtime = runtime()?;
    let assembled = assembly::assemble(loaded, runtime.handle())?;
    let (gateway, parts) = (Arc::clone(&assembled.gateway), Arc::clone(&assembled.parts));
    let canary = Arc::clone(&assembled.canary);
    let apply =
        Box::new(move |loaded: Loaded| assembly::install(&gateway, &canary, &parts, loaded));
    let reloader = Reloader::new(
        path.clone(),
        Running {
            settings: assembled.settings.clone(),
            version,
            files,
            texts: read.texts(),
            directory,
        },
        apply,
        Shell {
            clock: Arc::clone(&assembled.parts.clock),
            metrics: Arc::clone(&assembled.parts.metrics),
            audit: assembled.audit.clone(),
        },
    );
    let reloader = reloader.context("cannot open the directory of snapshots")?;
    // Questions wait here while the one before them is answered.
    let (questions, asked) = mpsc::channel(1);
    let (signals, socket) = {
        let _entered = runtime.enter();
        let socket = assembled.settings.snapshots.socket.as_deref();
        let open = |path: &Path| {
            control::open(path).with_context(|| format!("cannot open `{}`", path.display()))
        };
        (reload::signals()?, socket.map(open).transpose()?)
    };
    if let Some(socket) = socket {
        runtime.spawn(control::serve(socket, questions.clone()));
    }
    runtime.spawn(async move {
        // Without a socket nobody asks, and the channel stays open.
        let _questions = questions;
        reloader.keep(signals, asked).await;
    });
    serve(assembled, runtime, arguments.upgrade)
}

/// Runs the gateway until a signal ends it.
pub(super) fn serve(
    assembled: Assembled,
    runtime: Runtime,
    upgrade: bool,
) -> Result<Done, Failure> {
    let Assembled { gateway, admin, settings, parts, limits, audit, usage, canary: _ } = assembled;
    let listeners: Vec<String> =
        settings.listeners.iter().map(|listener| listener.address.to_string()).collect();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        snapshot.version = %gateway.current().snapshot.version,
        listen = %listeners.join(", "),
        admin = settings.admin.map(tracing::field::display),
        threads = settings.server.threads,
        "starting"
    );
    let outcome = proxy::run(gateway, admin, &settings, upgrade);
    runtime.block_on(limits.give_back());
    if let Some(usage) = usage {
        let closing = async { tokio::time::timeout(FLUSH, usage.close()).await };
        if runtime.block_on(closing).is_err() {
            tracing::warn!(
                "usage that is not in the ledger stays in the journal for the next start"
            );
        }
    }
    if let Some(audit) = audit {
        // Requests that were cut off are recorded, too, and thresholds of quotas that usage told of:
        // nothing is accepted any more.
        let closing = async { tokio::time::timeout(FLUSH, audit.close()).await };
        if runtime.block_on(closing).is_err() {
            tracing::error!("the audit log could not be written to its end in time");
        }
    }
    drop(parts);
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    outcome.map_err(anyhow::Error::from)?;
    tracing::info!("ended");
    Ok(Done::Well)
}

/// Where stores and health checks do their work: not on the threads that serve.
pub(super) fn runtime() -> Result<Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("stores")
        .enable_all()
        .build();
    Ok(runtime.context("cannot start a runtime for the stores")?)
}

pub(super) fn start_log(settings: &LogSettings) -> Result<(), Failure> {
    let shape = match settings.format {
        LogFormat::Json => Shape::Json,
        LogFormat::Pretty => Shape::Pretty,
    };
    Ok(log::start(shape, &settings.filter).map_err(anyhow::Error::from)?)
}
