//! The server: listeners, threads, signals, draining, hand-over.
//!
//! Pingora runs services on runtimes of its own, one for each service, whose threads do not steal
//! work from each other: stealing was measured to make the slowest requests six times slower.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::HttpServerOptions;
use pingora::prelude::{Opt, Server};
use pingora::protocols::http::v2::server::default_h2_options;
use pingora::proxy::http_proxy;
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, ShutdownSignal, ShutdownSignalWatch};
use pingora::services::listening::Service;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::settings::Settings;

use super::adapter::Adapter;
use super::admin::{Admin, AdminService};
use super::front::Front;
use super::gateway::Gateway;
use super::listen::{by_protocol, claim, endpoint};

/// Between "not ready" and closed listeners: time for a load balancer to look.
const NOTICE: Duration = Duration::from_millis(500);
/// How often a draining process looks whether it is done.
const LOOK: Duration = Duration::from_millis(50);
/// Seconds that a successor waits for the sockets of the process before it.
const HAND_OVER_SECS: usize = 60;
/// Tries of one request that Pingora allows; the upstream's own `retries` is below it.
const MAX_TRIES: usize = 256;
/// Streams of one HTTP/2 connection at the same time.
const H2_STREAMS: u32 = 100;
/// Bytes of one HTTP/2 stream, and of one connection, that may be on their way unread.
const H2_STREAM_WINDOW: u32 = 256 * 1024;
const H2_CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Why the server did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// An address is taken, or not ours.
    #[error("cannot listen on `{address}`: {cause}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        cause: std::io::Error,
    },
    /// A certificate or its key cannot be used.
    #[error("certificate `{certificate}` with key `{key}`: {cause}")]
    Certificate {
        /// The certificate file.
        certificate: String,
        /// The key file.
        key: String,
        /// What is wrong with them.
        cause: String,
    },
    /// `--upgrade` without a socket to hand over on.
    #[error("`--upgrade` needs `server.upgrade_socket` in the configuration")]
    NoUpgradeSocket,
    /// The server's thread could not be started.
    #[error("cannot start the server's thread: {0}")]
    Thread(std::io::Error),
    /// The server's thread ended by a panic.
    #[error("the server ended unexpectedly")]
    Crashed,
}

/// Serves until a signal ends it: SIGTERM drains, SIGINT ends at once, SIGQUIT hands the listening
/// sockets over to a successor that was started with `upgrade`, and drains.
///
/// # Errors
/// If it cannot start; what happens later is logged and served around.
pub fn run(
    gateway: Arc<Gateway>,
    admin: AdminService,
    settings: &Settings,
    upgrade: bool,
) -> Result<(), RunError> {
    if upgrade && settings.server.upgrade_socket.is_none() {
        return Err(RunError::NoUpgradeSocket);
    }
    if !upgrade {
        let addresses = settings.listeners.iter().map(|listener| listener.address);
        for address in addresses.chain(settings.admin) {
            claim(address)?;
        }
    }
    let draining = Arc::clone(&admin.draining);
    let closed = Arc::new(AtomicBool::new(false));
    let opt = Opt { upgrade, ..Opt::default() };
    let mut server = Server::new_with_opt_and_conf(opt, configuration(settings));
    for (listeners, h2c) in by_protocol(&settings.listeners) {
        let app = Front::new(proxy(&server, &gateway, h2c), &gateway, Arc::clone(&closed));
        let mut service = Service::new("gateway".into(), app);
        for listener in listeners {
            service.add_listener(endpoint(listener)?);
        }
        server.add_service(service);
    }
    if let Some(address) = settings.admin {
        let mut service = Service::new("admin".into(), Admin::new(admin.answers));
        service.threads = Some(1);
        service.add_tcp(&address.to_string());
        server.add_service(service);
    }
    server.bootstrap();
    serve(server, &gateway, settings, draining, &closed)
}

/// Runs the server on a thread of its own, so that draining can end when there is nothing left to
/// wait for: Pingora itself always waits for the whole grace period.
fn serve(
    server: Server,
    gateway: &Gateway,
    settings: &Settings,
    draining: Arc<AtomicBool>,
    closed: &AtomicBool,
) -> Result<(), RunError> {
    let (told, events) = channel();
    let signals = Signals {
        draining,
        notice: NOTICE.min(settings.server.drain),
        upgrade_socket: settings.server.upgrade_socket.clone(),
        told: told.clone(),
    };
    let thread = std::thread::Builder::new().name("server".into()).spawn(move || {
        server.run(RunArgs { shutdown_signal: Box::new(signals) });
        // The receiver is gone where draining ended early.
        let _ = told.send(Event::Ended);
    });
    let thread = thread.map_err(RunError::Thread)?;
    if wait(&events, || closed.load(Ordering::Relaxed) && gateway.in_flight() == 0) {
        return Ok(());
    }
    thread.join().map_err(|_| RunError::Crashed)
}

/// Waits for the end. Returns whether it came early: everything that was in flight is done.
fn wait(events: &Receiver<Event>, idle: impl Fn() -> bool) -> bool {
    match events.recv() {
        Ok(Event::Draining) => {}
        Ok(Event::Ended) | Err(_) => return false,
    }
    // Idle twice in a row: a request that was just read counts itself a moment later.
    let mut idle_before = false;
    loop {
        match events.recv_timeout(LOOK) {
            Ok(Event::Ended) | Err(RecvTimeoutError::Disconnected) => return false,
            Ok(Event::Draining) | Err(RecvTimeoutError::Timeout) => {}
        }
        let idle_now = idle();
        if idle_now && idle_before {
            return true;
        }
        idle_before = idle_now;
    }
}

fn configuration(settings: &Settings) -> ServerConf {
    let server = &settings.server;
    let socket = server.upgrade_socket.as_ref().map(|path| path.to_string_lossy().into_owned());
    ServerConf {
        threads: usize::try_from(server.threads.get()).unwrap_or(usize::MAX),
        work_stealing: false,
        upstream_keepalive_pool_size: usize::try_from(server.upstream_pool.get())
            .unwrap_or(usize::MAX),
        grace_period_seconds: Some(server.drain.as_secs()),
        graceful_shutdown_timeout_seconds: Some(1),
        max_retries: MAX_TRIES,
        upgrade_sock: socket.unwrap_or_default(),
        upgrade_sock_connect_accept_max_retries: Some(HAND_OVER_SECS),
        ..ServerConf::default()
    }
}

fn proxy(server: &Server, gateway: &Arc<Gateway>, h2c: bool) -> pingora::proxy::HttpProxy<Adapter> {
    let mut proxy = http_proxy(&server.configuration, Adapter::new(Arc::clone(gateway)));
    let edge = &gateway.current().snapshot.edge;
    let mut options = HttpServerOptions::default();
    options.h2c = h2c;
    // CONNECT is refused like everything else, by the pipeline.
    options.allow_connect_method_proxying = true;
    options.h2_idle_timeout = Some(edge.keepalive_timeout);
    proxy.server_options = Some(options);
    let mut h2 = default_h2_options();
    // What is above the policy's cap gets its 431 from the pipeline; HTTP/2 counts 32 more bytes
    // for each field (RFC 9113 section 6.5.2).
    h2.max_header_list_size(edge.max_header_bytes.saturating_mul(2).saturating_add(16 * 1024));
    h2.max_concurrent_streams(H2_STREAMS);
    h2.initial_window_size(H2_STREAM_WINDOW);
    h2.initial_connection_window_size(H2_CONNECTION_WINDOW);
    proxy.h2_options = Some(h2);
    proxy
}

/// What the thread that waits is told.
enum Event {
    /// A signal came: no new connections.
    Draining,
    /// The server ended.
    Ended,
}

/// Waits for the signals that end the process.
struct Signals {
    draining: Arc<AtomicBool>,
    notice: Duration,
    upgrade_socket: Option<PathBuf>,
    told: Sender<Event>,
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let streams = (
            signal(SignalKind::terminate()),
            signal(SignalKind::interrupt()),
            signal(SignalKind::quit()),
        );
        let (Ok(mut terminate), Ok(mut interrupt), Ok(mut quit)) = streams else {
            tracing::error!("signals cannot be received: ending");
            return ShutdownSignal::FastShutdown;
        };
        loop {
            tokio::select! {
                _ = terminate.recv() => {
                    tracing::info!("SIGTERM: draining");
                    self.drain();
                    tokio::time::sleep(self.notice).await;
                    return ShutdownSignal::GracefulTerminate;
                }
                _ = interrupt.recv() => return ShutdownSignal::FastShutdown,
                _ = quit.recv() => {
                    // Nobody waits for the sockets: going on is better than ending.
                    if !self.upgrade_socket.as_ref().is_some_and(|path| path.exists()) {
                        tracing::error!("SIGQUIT: no successor waits on the upgrade socket");
                        continue;
                    }
                    tracing::info!("SIGQUIT: handing the listening sockets over");
                    self.drain();
                    return ShutdownSignal::GracefulUpgrade;
                }
            }
        }
    }
}

impl Signals {
    fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        let _ = self.told.send(Event::Draining);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_early_when_nothing_is_left_in_flight() {
        let (told, events) = channel();
        told.send(Event::Draining).unwrap();
        assert!(wait(&events, || true));
    }

    #[test]
    fn waiting_lasts_until_the_server_ends_where_something_stays_in_flight() {
        let (told, events) = channel();
        told.send(Event::Draining).unwrap();
        told.send(Event::Ended).unwrap();
        assert!(!wait(&events, || false));
    }
}
