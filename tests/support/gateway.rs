//! The built gateway, as an operator runs it: `tollgate serve --config FILE`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use super::http;
use super::place::{Port, TempDir};
use super::process::{Process, Signal, Spec};

/// A gateway that is being configured: its ports are known, its files are not yet complete.
#[derive(Debug)]
pub(crate) struct Draft {
    listen: Port,
    admin: Port,
    dir: TempDir,
    env: Vec<(String, String)>,
}

impl Draft {
    pub(crate) fn new() -> Self {
        let (listen, admin) = (Port::reserve(), Port::reserve());
        Self { listen, admin, dir: TempDir::new(), env: Vec::new() }
    }

    /// Where clients will reach it; for the `listen` of its configuration.
    pub(crate) fn listen(&self) -> SocketAddr {
        self.listen.addr()
    }

    /// The admin listener, whose `/readyz` tells when it is up.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin.addr()
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file of the configuration, by its path relative to `gateway.yaml`.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        self.dir.write(name, text)
    }

    /// Sets an environment variable; nothing else of the test's environment is passed on.
    pub(crate) fn env(&mut self, key: &str, value: &str) {
        self.env.push((key.to_owned(), value.to_owned()));
    }

    /// Starts it on `gateway.yaml`, without waiting for it.
    pub(crate) fn launch(self) -> Gateway {
        let process = launch(self.dir.path(), &self.env, &[]);
        Gateway { process, draft: self }
    }

    /// Starts it and waits until it says that it is ready.
    pub(crate) async fn start(self) -> Gateway {
        let mut gateway = self.launch();
        gateway.ready().await;
        gateway
    }
}

#[derive(Debug)]
pub(crate) struct Gateway {
    process: Process,
    draft: Draft,
}

impl Gateway {
    pub(crate) fn listen(&self) -> SocketAddr {
        self.draft.listen.addr()
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        self.draft.admin.addr()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.listen())
    }

    pub(crate) fn dir(&self) -> &Path {
        self.draft.dir.path()
    }

    /// Waits for `/readyz` to answer 200; panics with the log if the gateway ends first.
    pub(crate) async fn ready(&mut self) {
        let admin = self.admin();
        self.process
            .ready(async || http::get(admin, "/readyz", &[]).await.is_ok_and(|a| a.status == 200))
            .await;
    }

    /// Everything it has printed so far.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// Replaces a file of its configuration.
    pub(crate) fn write(&self, name: &str, text: &str) {
        self.draft.write(name, text);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Asks it to end and waits until it has.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        self.process.signal(Signal::Term);
        self.process.ended().await
    }

    /// Waits until it ends by itself, as it must on a bad configuration.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        self.process.ended().await
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts a successor that waits for this one's sockets. What was this process is returned;
    /// the gateway is the successor from here on.
    pub(crate) fn succeed(&mut self) -> Process {
        let successor = launch(self.draft.dir.path(), &self.draft.env, &["--upgrade"]);
        std::mem::replace(&mut self.process, successor)
    }

    /// Starts it again with the same files, ports and environment.
    pub(crate) async fn restart(&mut self) {
        self.process.kill();
        self.process = launch(self.draft.dir.path(), &self.draft.env, &[]);
        self.ready().await;
    }
}

/// Runs another command of the binary to its end; panics with what it printed when it fails.
pub(crate) async fn tollgate(args: &[&str]) -> String {
    let dir = TempDir::new();
    let mut process = Process::spawn(Spec {
        name: "tollgate",
        program: env!("CARGO_BIN_EXE_tollgate").into(),
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        env: Vec::new(),
        user: None,
        dir: dir.path().to_owned(),
        log: dir.path().join("tollgate.log"),
        end: Signal::Kill,
    });
    let status = process.ended().await;
    assert!(status.success(), "tollgate {args:?} ended with {status}:\n{}", process.log());
    process.log()
}

fn launch(dir: &Path, env: &[(String, String)], more: &[&str]) -> Process {
    let config = dir.join("gateway.yaml").display().to_string();
    let args = [&["serve", "--config", config.as_str()], more].concat();
    Process::spawn(Spec {
        name: "Tollgate",
        program: env!("CARGO_BIN_EXE_tollgate").into(),
        args: args.into_iter().map(str::to_owned).collect(),
        env: env.to_vec(),
        user: None,
        dir: dir.to_owned(),
        log: dir.join(format!("tollgate{}.log", more.concat())),
        end: Signal::Kill,
    })
}
