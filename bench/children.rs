//! Child processes that never outlive the rig, a directory that goes with it, and free ports.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A temporary directory that is removed with the value.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn create() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("tollgate-bench-{}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| format!("create `{}`", path.display()))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// What to start, and where.
#[derive(Clone)]
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) command: Vec<OsString>,
    /// Processor that it must stay on.
    pub(crate) core: usize,
    /// Directory for its output.
    pub(crate) logs: PathBuf,
}

impl Program {
    pub(crate) fn new(name: &str, core: usize, logs: &Path, command: &[&dyn AsRef<OsStr>]) -> Self {
        let command = command.iter().map(|part| part.as_ref().to_owned()).collect();
        Self { name: name.to_owned(), command, core, logs: logs.to_owned() }
    }

    pub(crate) fn start(&self) -> Result<Process> {
        let log = self.logs.join(format!("{}.log", self.name.replace(' ', "-")));
        let output = File::create(&log)?;
        // `setpriv` has the kernel end the child when the rig dies in a way that runs no
        // destructor. Both wrappers exec, so that the child's id is the program's own.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "taskset", "-c", &self.core.to_string()])
            .args(&self.command)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("start `setpriv` and `taskset` (Debian: util-linux)")?;
        Ok(Process { name: self.name.clone(), child, log })
    }
}

/// A running child; dropping it ends it.
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `request` is answered with 2xx and returns when that was.
    pub(crate) async fn ready(&mut self, address: SocketAddr, request: &[u8]) -> Result<Instant> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let ready = tokio::time::timeout(Duration::from_secs(5), answers(address, request));
            let answer = match ready.await {
                Ok(Ok(Answer::Success)) => return Ok(Instant::now()),
                Ok(Ok(Answer::Other(head))) => head,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer within 5 s".to_owned(),
            };
            if let Some(status) = self.child.try_wait()? {
                bail!("`{}` ended with {status}:\n{}", self.name, self.log_tail());
            }
            if Instant::now() > deadline {
                bail!("`{}` is not ready: {answer}\n{}", self.name, self.log_tail());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

enum Answer {
    Success,
    Other(String),
}

async fn answers(address: SocketAddr, request: &[u8]) -> Result<Answer> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request).await?;
    let mut answer = Vec::new();
    if stream.read_buf(&mut answer).await? == 0 {
        bail!("connection closed without an answer");
    }
    if answer.starts_with(b"HTTP/1.1 2") || answer.starts_with(b"+PONG") {
        return Ok(Answer::Success);
    }
    Ok(Answer::Other(String::from_utf8_lossy(&answer).into_owned()))
}

/// An address on loopback whose port is free now.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}
