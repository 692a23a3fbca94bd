//! The Unix socket over which `tollgate snapshots` reaches a gateway: one line of JSON there, one line
//! back. Only the gateway's user may use it; there is no other way to change anything from outside.

use std::fs::{self, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream as Blocking;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

/// No question is longer.
const MOST_ASKED: u64 = 4096;
/// No answer is: all files of a version, as JSON.
const MOST_TOLD: u64 = 512 * 1024 * 1024;
/// Whoever has connected asks within this time.
const PATIENCE: Duration = Duration::from_secs(5);
/// A gateway answers within this time: reading a configuration takes a part of a second.
const ANSWER: Duration = Duration::from_secs(60);

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Ask {
    /// All versions that are kept, without their files.
    List,
    /// One, with its files.
    Show { version: String },
    /// Put one into force; the one before the one in force where none is named. The directory file
    /// stays as it is, unless it is to be taken back, too.
    Rollback {
        version: Option<String>,
        #[serde(default)]
        with_directory: bool,
    },
}

/// A question, of whom it is, and where its answer goes: what was asked for, or why not.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) ask: Ask,
    /// The id of the user, as the kernel says.
    pub(super) uid: Option<u32>,
    pub(super) reply: oneshot::Sender<Result<Value, String>>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Told {
    Ok(Value),
    Error(String),
}

/// Opens the socket. What a process that has ended left behind is replaced.
pub(super) fn open(path: &Path) -> io::Result<UnixListener> {
    match fs::symlink_metadata(path) {
        Ok(there) if there.file_type().is_socket() => fs::remove_file(path)?,
        Ok(_) => return Err(io::Error::other("is there, and is no socket")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers, one after the other, for as long as it is polled.
pub(super) async fn serve(listener: UnixListener, questions: mpsc::Sender<Question>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Err(error) = answer(stream, &questions).await {
                    tracing::warn!(%error, "a question over the control socket was not answered");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the control socket cannot be used");
                tokio::time::sleep(PATIENCE).await;
            }
        }
    }
}

async fn answer(stream: UnixStream, questions: &mpsc::Sender<Question>) -> io::Result<()> {
    let uid = stream.peer_cred().ok().map(|of| of.uid());
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut read = tokio::io::BufReader::new(read.take(MOST_ASKED));
    tokio::time::timeout(PATIENCE, read.read_line(&mut line)).await??;
    let told = match serde_json::from_str::<Ask>(&line) {
        Ok(ask) => {
            let (reply, answered) = oneshot::channel();
            let gone = || io::Error::other("the gateway is ending");
            questions.send(Question { ask, uid, reply }).await.map_err(|_| gone())?;
            match answered.await.map_err(|_| gone())? {
                Ok(told) => Told::Ok(told),
                Err(why) => Told::Error(why),
            }
        }
        Err(error) => Told::Error(format!("not a question: {error}")),
    };
    let mut text = serde_json::to_vec(&told)?;
    text.push(b'\n');
    tokio::time::timeout(PATIENCE, write.write_all(&text)).await?
}

/// Asks the gateway behind a socket.
pub(super) fn ask(socket: &Path, ask: &Ask) -> anyhow::Result<Value> {
    let shown = socket.display();
    let mut stream = Blocking::connect(socket)
        .with_context(|| format!("cannot reach a gateway over `{shown}`"))?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(ask)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut told = String::new();
    BufReader::new(stream.take(MOST_TOLD))
        .read_line(&mut told)
        .with_context(|| format!("the gateway behind `{shown}` does not answer"))?;
    match serde_json::from_str(&told).context("the gateway's answer cannot be read")? {
        Told::Ok(value) => Ok(value),
        Told::Error(why) => Err(anyhow::anyhow!(why)),
    }
}
