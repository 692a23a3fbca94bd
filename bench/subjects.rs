//! What is compared: how each proxy is set up and what is sent to it.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::ValueEnum;

use crate::children::{Process, Program, free_address};
use crate::gateway::{Addresses, tokens, write};

/// One contestant.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Pingora and nothing else.
    Bare,
    /// The gateway, on a route that asks for nothing.
    Open,
    /// The gateway with the full chain but for the isolation, buckets in the process.
    Unconfined,
    /// The gateway with the full chain, buckets in the process.
    Full,
    /// The same, asked for an embed with filters, an order and a limit.
    Embeds,
    /// The gateway with the full chain, buckets in Redis.
    Redis,
    /// HAProxy, if it is installed.
    Haproxy,
}

impl Kind {
    pub(crate) const ALL: &'static [Self] = &[
        Self::Bare,
        Self::Open,
        Self::Unconfined,
        Self::Full,
        Self::Embeds,
        Self::Redis,
        Self::Haproxy,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare Pingora",
            Self::Open => "Tollgate, pass-through",
            Self::Unconfined => "Tollgate, chain without isolation",
            Self::Full => "Tollgate, full chain in process",
            Self::Embeds => "Tollgate, full chain, an embed",
            Self::Redis => "Tollgate, full chain with Redis",
            Self::Haproxy => "HAProxy",
        }
    }
}

/// Where the programs are and what they share.
pub(crate) struct Place {
    /// Directory of the built examples; the gateway is one above.
    pub(crate) examples: PathBuf,
    /// Directory for configuration and logs.
    pub(crate) directory: PathBuf,
    pub(crate) upstream: SocketAddr,
    pub(crate) proxy_core: usize,
    pub(crate) load_core: usize,
}

/// A contestant that is ready to be started.
pub(crate) struct Subject {
    pub(crate) kind: Kind,
    pub(crate) program: Program,
    pub(crate) address: SocketAddr,
    pub(crate) requests: Arc<[Vec<u8>]>,
    /// What it needs besides the upstream; ends with it.
    pub(crate) _beside: Option<Process>,
}

impl Subject {
    /// Writes the configuration; `None` if the program is not on this machine.
    pub(crate) async fn prepare(kind: Kind, place: &Place) -> Result<Option<Self>> {
        let address = free_address()?;
        let mut beside = None;
        let program = match kind {
            Kind::Bare => bare(place, address),
            Kind::Open | Kind::Unconfined | Kind::Full | Kind::Embeds => {
                gateway(kind, place, address, None)?
            }
            Kind::Redis if !installed("redis-server") => return Ok(None),
            Kind::Redis => {
                let redis = free_address()?;
                let mut process = redis_server(place, redis).start()?;
                process.ready(redis, b"PING\r\n").await?;
                beside = Some(process);
                gateway(kind, place, address, Some(redis))?
            }
            Kind::Haproxy if !installed("haproxy") => return Ok(None),
            Kind::Haproxy => haproxy(place, address)?,
        };
        let requests = requests(kind)?;
        Ok(Some(Self { kind, program, address, requests, _beside: beside }))
    }
}

/// What an application's list asks for.
const EMBEDS: &str = "/rest/v1/events?select=id,title,starts_at,project:projects(id,name)\
    &status=eq.active&starts_at=gte.2026-01-01&order=starts_at.desc&limit=20";

/// The same heads for all but for the path, whose first part picks the gateway's route.
fn requests(kind: Kind) -> Result<Arc<[Vec<u8>]>> {
    let target = match kind {
        Kind::Open => "/open/v1/todos?select=id,title&limit=10",
        Kind::Unconfined => "/free/v1/todos?select=id,title&limit=10",
        Kind::Embeds => EMBEDS,
        Kind::Bare | Kind::Full | Kind::Redis | Kind::Haproxy => {
            "/rest/v1/todos?select=id,title&limit=10"
        }
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let tokens = tokens(now)?;
    Ok(tokens.iter().map(|token| request(target, token)).collect())
}

/// The head of a read with the token.
fn request(target: &str, token: &str) -> Vec<u8> {
    format!(
        "GET {target} HTTP/1.1\r\nHost: bench.example\r\nAccept: application/json\r\n\
         User-Agent: bench\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
    .into_bytes()
}

fn gateway(
    kind: Kind,
    place: &Place,
    listen: SocketAddr,
    redis: Option<SocketAddr>,
) -> Result<Program> {
    let directory = place.directory.join(kind.name().replace(' ', "-"));
    let addresses = Addresses { listen, admin: free_address()?, upstream: place.upstream, redis };
    let configuration = write(&directory, &addresses)?;
    let binary = place.examples.join("../tollgate");
    let command: [&dyn AsRef<OsStr>; 4] = [&binary, &"serve", &"--config", &configuration];
    Ok(Program::new(kind.name(), place.proxy_core, &place.directory, &command))
}

fn redis_server(place: &Place, address: SocketAddr) -> Program {
    let port = address.port().to_string();
    let command: [&dyn AsRef<OsStr>; 9] = [
        &"redis-server",
        &"--bind",
        &"127.0.0.1",
        &"--port",
        &port,
        &"--save",
        &"",
        &"--appendonly",
        &"no",
    ];
    Program::new("redis", place.load_core, &place.directory, &command)
}

fn installed(program: &str) -> bool {
    let mut version = Command::new(program);
    version.arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

fn bare(place: &Place, address: SocketAddr) -> Program {
    Program::new(
        Kind::Bare.name(),
        place.proxy_core,
        &place.directory,
        &[
            &place.examples.join("bare_proxy"),
            &"--listen",
            &address.to_string(),
            &"--upstream",
            &place.upstream.to_string(),
        ],
    )
}

fn haproxy(place: &Place, address: SocketAddr) -> Result<Program> {
    let upstream = place.upstream;
    let text = format!(
        "global\n  nbthread 1\n  maxconn 4000\n\
         defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
         \x20 http-reuse always\n\
         frontend in\n  bind {address}\n  default_backend out\n\
         backend out\n  server upstream {upstream} pool-max-conn 4096\n"
    );
    let path = place.directory.join("haproxy.cfg");
    std::fs::write(&path, text)?;
    let command: [&dyn AsRef<std::ffi::OsStr>; 4] = [&"haproxy", &"-db", &"-f", &path];
    Ok(Program::new(Kind::Haproxy.name(), place.proxy_core, &place.directory, &command))
}
