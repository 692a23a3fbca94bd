//! The bare Pingora pass-through: the floor that the gateway is compared with.
//!
//! It runs with the same server settings and the same allocator as `tollgate serve` and overrides
//! nothing but the upstream address, so that what is left of a difference is what the gateway does.
//! It may not import the gateway: it must stay what Pingora alone costs.

#![allow(clippy::disallowed_methods, reason = "the clock is the gateway's, which is not here")]

mod gate;

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use clap::Parser;
use gate::{Gate, Pass};
use pingora::listeners::{L4BufferSettings, ListenerConfig};
use pingora::prelude::{HttpPeer, ProxyHttp, Session, http_proxy_service};
use pingora::server::Server;
use pingora::server::configuration::ServerConf;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A Pingora proxy that does nothing but pass requests on.
#[derive(Parser)]
struct Arguments {
    /// Address to listen on.
    #[arg(long)]
    listen: SocketAddr,
    /// Address of the upstream.
    #[arg(long)]
    upstream: SocketAddr,
    /// Threads of the proxy service.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Idle upstream connections that are kept.
    #[arg(long, default_value_t = 4096)]
    pool: usize,
    /// Read buffer of a client connection in bytes; 0 reads without one.
    #[arg(long, default_value_t = 0)]
    read_buffer: usize,
    /// Write buffer of a client connection in bytes; 0 writes without one.
    #[arg(long, default_value_t = 1460)]
    write_buffer: usize,
    /// Let the threads steal work from each other.
    #[arg(long)]
    work_stealing: bool,
    /// Tasks that accept on the listening socket.
    #[arg(long, default_value_t = 1)]
    listener_tasks: usize,
    /// Requests that may be worked on at once; without it, all.
    ///
    /// For the many-connections question: see bench/README.md.
    #[arg(long)]
    in_progress: Option<usize>,
}

struct Bare {
    upstream: SocketAddr,
    in_progress: Option<Arc<Gate>>,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = Option<Pass>;

    fn new_ctx(&self) -> Self::CTX {
        None
    }

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        ctx: &mut Self::CTX,
    ) -> pingora::Result<Box<HttpPeer>> {
        if let Some(gate) = &self.in_progress {
            *ctx = gate.enter().await;
        }
        Ok(Box::new(HttpPeer::new(self.upstream, false, String::new())))
    }
}

fn main() {
    let arguments = Arguments::parse();
    let configuration = ServerConf {
        threads: arguments.threads,
        work_stealing: arguments.work_stealing,
        listener_tasks_per_fd: arguments.listener_tasks,
        upstream_keepalive_pool_size: arguments.pool,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, configuration);
    server.bootstrap();
    let bare =
        Bare { upstream: arguments.upstream, in_progress: arguments.in_progress.map(Gate::new) };
    let mut service = http_proxy_service(&server.configuration, bare);
    let buffers = L4BufferSettings::new(arguments.read_buffer, arguments.write_buffer);
    service.add_listener(ListenerConfig::tcp(arguments.listen.to_string()).l4_buffer(buffers));
    server.add_service(service);
    server.run_forever();
}
