//! `tollgate snapshots`: the versions of the configuration that a gateway keeps, what changed between
//! them, and going back to one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::config;

use super::arguments::ConfigFile;
use super::control::{Ask, ask};
use super::text_diff;
use super::{Done, Failure, environment, print};

pub(super) const AFTER: &str = "\
A gateway keeps the versions that were in force (`snapshots` in the gateway file), and is reached
over the Unix socket that `snapshots.socket` names, by its own user. What it went back to stays in
force until a file of the configuration changes, a SIGHUP comes, or it is started anew. SIGUSR1 to
the gateway goes back by one version. The directory file is data, and stays as it is: who was taken
out stays out. Where it does not fit the older policies, nothing changes, unless it is taken back as
well (--with-directory).

Examples:
  tollgate snapshots list
  tollgate snapshots diff 4f1d…                  what has changed since
  tollgate snapshots rollback                    to the one before the one in force
  tollgate snapshots rollback 4f1d --socket /run/tollgate/control.sock";

/// `tollgate snapshots`.
#[derive(Debug, Subcommand)]
pub enum Snapshots {
    /// List the versions that are kept, the newest first
    List(List),
    /// Show the files of a version
    Show(Show),
    /// Show what changed in the files from one version to another
    Diff(Diff),
    /// Put a version into force that was in force before
    Rollback(Rollback),
}

/// Which gateway.
#[derive(Debug, Args)]
pub struct Gateway {
    /// The gateway's socket, instead of the one that the configuration names
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigFile,
}

/// `tollgate snapshots list`.
#[derive(Debug, Args)]
pub struct List {
    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
    /// The gateway.
    #[command(flatten)]
    pub gateway: Gateway,
}

/// `tollgate snapshots show`.
#[derive(Debug, Args)]
pub struct Show {
    /// The version, or the beginning of it
    #[arg(id = "which", value_name = "VERSION")]
    pub version: String,
    /// Print the text of this file only
    #[arg(long, value_name = "PATH")]
    pub file: Option<PathBuf>,
    /// The gateway.
    #[command(flatten)]
    pub gateway: Gateway,
}

/// `tollgate snapshots diff`.
#[derive(Debug, Args)]
pub struct Diff {
    /// The version, or the beginning of it
    pub from: String,
    /// The other; the one in force if it is left out
    pub to: Option<String>,
    /// The gateway.
    #[command(flatten)]
    pub gateway: Gateway,
}

/// `tollgate snapshots rollback`.
#[derive(Debug, Args)]
pub struct Rollback {
    /// The version, or the beginning of it; the one before the one in force if it is left out
    #[arg(id = "which", value_name = "VERSION")]
    pub version: Option<String>,
    /// Take the directory file back as well: organizations, members and keys as they were then
    #[arg(long)]
    pub with_directory: bool,
    /// The gateway.
    #[command(flatten)]
    pub gateway: Gateway,
}

/// What the gateway tells of a version.
#[derive(Debug, Deserialize)]
struct Told {
    version: String,
    in_force: bool,
    /// The version whose directory is in force with it, where that is another.
    directory_of: Option<String>,
    /// Microseconds since 1970.
    since: i64,
    reason: String,
    rolled_back: Option<RolledBack>,
    bytes: u64,
    files: Vec<PathBuf>,
    #[serde(default)]
    texts: BTreeMap<PathBuf, String>,
}

#[derive(Debug, Deserialize)]
struct RolledBack {
    at: i64,
    by: String,
}

pub(super) fn run(arguments: &Snapshots) -> Result<Done, Failure> {
    match arguments {
        Snapshots::List(List { json, gateway }) => {
            let told = gateway.ask(&Ask::List)?;
            print(&if *json { format!("{told}\n") } else { list(told)? })?;
        }
        Snapshots::Show(Show { version, file, gateway }) => {
            let told = gateway.version(version)?;
            print(&show(&told, file.as_ref())?)?;
        }
        Snapshots::Diff(Diff { from, to, gateway }) => {
            let to = match to {
                Some(to) => to.clone(),
                None => gateway.in_force()?,
            };
            let (from, to) = (gateway.version(from)?, gateway.version(&to)?);
            print(&diff(&from, &to))?;
        }
        Snapshots::Rollback(Rollback { version, with_directory, gateway }) => {
            let (version, with_directory) = (version.clone(), *with_directory);
            let told = gateway.ask(&Ask::Rollback { version, with_directory })?;
            let text = |key| told.get(key).and_then(Value::as_str);
            let version = text("version").unwrap_or_default();
            let other = text("directory_of").map(with_directory_of).unwrap_or_default();
            print(&format!(
                "{version} is in force{other}, until a file changes or SIGHUP comes\n"
            ))?;
        }
    }
    Ok(Done::Well)
}

impl Gateway {
    fn ask(&self, question: &Ask) -> Result<Value, Failure> {
        let socket = match &self.socket {
            Some(socket) => socket.clone(),
            None => {
                let loaded = config::load(&self.config.config, &environment)?;
                let socket = loaded.settings.snapshots.socket;
                socket.ok_or_else(|| {
                    Failure::usage("the configuration names no `snapshots.socket`, over which its gateway is reached")
                })?
            }
        };
        Ok(ask(&socket, question)?)
    }

    fn version(&self, version: &str) -> Result<Told, Failure> {
        let told = self.ask(&Ask::Show { version: version.to_owned() })?;
        Ok(serde_json::from_value(told).context("the gateway's answer cannot be read")?)
    }

    fn in_force(&self) -> Result<String, Failure> {
        let told = all(self.ask(&Ask::List)?)?;
        let one = told.into_iter().find(|told| told.in_force);
        one.map(|told| told.version).ok_or_else(|| Failure::usage("no version is in force"))
    }
}

fn all(told: Value) -> Result<Vec<Told>, Failure> {
    let all = told.get("snapshots").cloned().unwrap_or_default();
    Ok(serde_json::from_value(all).context("the gateway's answer cannot be read")?)
}

fn list(told: Value) -> Result<String, Failure> {
    let mut out = String::new();
    for told in all(told)? {
        let mark = if told.in_force { "*" } else { " " };
        let files = told.files.len();
        let _ = write!(
            out,
            "{mark} {}  {}  {files} files, {} bytes  {}",
            told.version,
            when(told.since),
            told.bytes,
            told.reason
        );
        if let Some(RolledBack { at, by }) = &told.rolled_back {
            let _ = write!(out, ", gone back to {} by {by}", when(*at));
        }
        if let Some(other) = &told.directory_of {
            out.push_str(&with_directory_of(other));
        }
        out.push('\n');
    }
    out.push_str("* is in force\n");
    Ok(out)
}

/// That the directory is not that of the version.
fn with_directory_of(other: &str) -> String {
    format!(", with the directory of {other}")
}

fn when(micros: i64) -> String {
    let at = Timestamp::from_microsecond(micros).unwrap_or_default();
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn show(told: &Told, file: Option<&PathBuf>) -> Result<String, Failure> {
    if let Some(file) = file {
        // As the gateway names it, or the end of that.
        let text = told.texts.iter().find(|(path, _)| path.ends_with(file));
        return text.map(|(_, text)| text.clone()).ok_or_else(|| {
            let files: Vec<String> = told.files.iter().map(|f| f.display().to_string()).collect();
            Failure::usage(format!("the version has no such file: {}", files.join(", ")))
        });
    }
    let mut out = format!("# version {}, since {}\n", told.version, when(told.since));
    for (path, text) in &told.texts {
        let _ = write!(out, "# ---- {}\n{}", path.display(), text);
        if !text.ends_with('\n') {
            out.push('\n');
        }
    }
    Ok(out)
}

fn diff(from: &Told, to: &Told) -> String {
    let paths: BTreeSet<&PathBuf> = from.texts.keys().chain(to.texts.keys()).collect();
    let mut out = String::new();
    for path in paths {
        let (a, b) = (from.texts.get(path), to.texts.get(path));
        if a == b {
            continue;
        }
        let shown = path.display();
        let _ = writeln!(out, "--- {shown} ({})\n+++ {shown} ({})", from.version, to.version);
        let (a, b) = (a.map_or("", String::as_str), b.map_or("", String::as_str));
        text_diff::unified(a, b, &mut out);
    }
    if out.is_empty() {
        out.push_str("no difference\n");
    }
    out
}
