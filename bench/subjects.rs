//! What is compared: how each proxy is set up and what is sent to it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::Result;
use clap::ValueEnum;

use crate::children::{Program, free_address};

/// One contestant.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Pingora and nothing else.
    Bare,
    /// HAProxy, if it is installed.
    Haproxy,
}

impl Kind {
    pub(crate) const ALL: &'static [Self] = &[Self::Bare, Self::Haproxy];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare Pingora",
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
}

/// A contestant that is ready to be started.
pub(crate) struct Subject {
    pub(crate) kind: Kind,
    pub(crate) program: Program,
    pub(crate) address: SocketAddr,
    pub(crate) requests: Arc<[Vec<u8>]>,
}

impl Subject {
    /// Writes the configuration; `None` if the program is not on this machine.
    pub(crate) async fn prepare(kind: Kind, place: &Place) -> Result<Option<Self>> {
        let address = free_address()?;
        let program = match kind {
            Kind::Bare => bare(place, address),
            Kind::Haproxy if !installed("haproxy") => return Ok(None),
            Kind::Haproxy => haproxy(place, address)?,
        };
        let requests = requests();
        Ok(Some(Self { kind, program, address, requests }))
    }
}

fn requests() -> Arc<[Vec<u8>]> {
    let request = "GET /rest/v1/todos?select=id,title&limit=10 HTTP/1.1\r\nHost: bench\r\n\r\n";
    vec![request.as_bytes().to_vec()].into()
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
