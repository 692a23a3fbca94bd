//! Records of the audit log, read back line by line: what reports, replays and explanations are made
//! of. Reads only, and holds one line at a time.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config;
use crate::domain::clock::Clock;
use crate::telemetry::clock::SystemClock;

use super::{Failure, environment};

/// The longest line that is read; longer ones are counted as unreadable.
const LONGEST: u64 = 1 << 20;

/// Which records.
#[derive(Debug, Args)]
pub struct Records {
    /// Audit logs, oldest first, or `-` for standard input; the configured one if none is named
    #[arg(value_name = "FILES")]
    pub files: Vec<PathBuf>,
    /// Of this time and later: as `2026-11-21T08:00:00Z`, or so long ago (`90m`, `24h`, `7d`)
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub since: Option<Timestamp>,
    /// Before this time, written likewise
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub until: Option<Timestamp>,
}

/// A time, or how long ago it was.
fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(moment) = text.parse() {
        return Ok(moment);
    }
    let ago = super::token::lifetime(text).map_err(|_| {
        "write a time as `2026-11-21T08:00:00Z`, or so long ago as `24h`".to_owned()
    })?;
    let micros = u64::try_from(ago.as_micros()).unwrap_or(u64::MAX);
    let then = SystemClock::new().now().unix_micros.saturating_sub(micros);
    let then = i64::try_from(then).unwrap_or(i64::MAX);
    Timestamp::from_microsecond(then).map_err(|error| error.to_string())
}

/// One decision, as far as it is read back.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Record {
    pub(super) time: String,
    pub(super) request_id: Option<String>,
    pub(super) client: Option<IpAddr>,
    pub(super) principal: Option<String>,
    pub(super) user: Option<String>,
    pub(super) impersonated: Option<String>,
    pub(super) device: Option<String>,
    pub(super) api_key: Option<String>,
    pub(super) organization: Option<String>,
    pub(super) plan: Option<String>,
    pub(super) role: Option<String>,
    #[serde(default)]
    pub(super) further_rights: bool,
    pub(super) team: Option<String>,
    pub(super) aal: Option<String>,
    pub(super) factor_at: Option<u64>,
    pub(super) signed_in_at: Option<u64>,
    pub(super) method: String,
    pub(super) host: Option<String>,
    pub(super) path: String,
    pub(super) route: Option<String>,
    pub(super) decision: Verdict,
    pub(super) status: u16,
    pub(super) stage: Option<String>,
    pub(super) code: Option<String>,
    pub(super) permission: Option<String>,
    pub(super) policy: Option<String>,
    pub(super) snapshot: Option<String>,
    #[serde(default)]
    pub(super) would: Vec<Would>,
    /// All of it, as the log has it.
    #[serde(skip)]
    pub(super) raw: serde_json::Value,
}

/// What reports show of a record.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Sample {
    pub(super) time: String,
    pub(super) request_id: Option<String>,
    pub(super) method: String,
    pub(super) path: String,
}

impl Sample {
    /// Of a record.
    pub(super) fn of(record: &Record) -> Self {
        Self {
            time: record.time.clone(),
            request_id: record.request_id.clone(),
            method: record.method.clone(),
            path: record.path.clone(),
        }
    }
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    Allowed,
    Refused,
}

/// What a policy in shadow would have done.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) struct Would {
    pub(super) policy: String,
    pub(super) name: String,
    pub(super) source: String,
    pub(super) code: String,
    /// Of what would have been answered in place of the upstream.
    pub(super) status: Option<u16>,
    /// What else it would have done; nothing where it would have refused.
    pub(super) effect: Option<String>,
}

impl std::fmt::Display for Would {
    /// As the trace of a request says it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { policy, name, code, status, effect, .. } = self;
        write!(f, "{policy} `{name}`: ")?;
        match (status, effect.as_deref()) {
            (Some(status), _) => write!(f, "{status} {code}"),
            (None, Some("event")) => write!(f, "event {code}"),
            (None, _) => f.write_str(code),
        }
    }
}

impl Record {
    /// Who called, as far as that is known.
    pub(super) fn caller(&self) -> String {
        match (&self.user, &self.api_key, &self.principal) {
            (Some(user), _, _) => format!("user {user}"),
            (None, Some(key), _) => format!("key {key}"),
            (None, None, Some(kind)) => kind.clone(),
            (None, None, None) => "unknown".to_owned(),
        }
    }
}

/// What was read.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub(super) struct Reading {
    /// Decisions in the stated time.
    pub(super) records: u64,
    /// Lines that are no records: cut off by a crash, or of another file.
    pub(super) unreadable: u64,
    /// The first and the last of their times.
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
}

/// Hands over every decision of the stated time, in the order of the files.
pub(super) fn read(
    which: &Records,
    config: &Path,
    mut each: impl FnMut(Record),
) -> Result<Reading, Failure> {
    let mut told = Reading::default();
    for file in files(which, config)? {
        if file == Path::new("-") {
            lines(io::stdin().lock(), which, &mut told, &mut each)?;
        } else {
            let opened = File::open(&file).map_err(|error| {
                Failure::usage(format!("cannot open the audit log `{}`: {error}", file.display()))
            })?;
            lines(BufReader::new(opened), which, &mut told, &mut each)?;
        }
    }
    Ok(told)
}

fn files(which: &Records, config: &Path) -> Result<Vec<PathBuf>, Failure> {
    if !which.files.is_empty() {
        return Ok(which.files.clone());
    }
    let loaded = config::load(config, &environment)?;
    let audit = loaded.settings.audit.ok_or_else(|| {
        let message = format!("`{}` states no `audit`: name the files to read", config.display());
        Failure::usage(message)
    })?;
    Ok(vec![audit.file])
}

fn lines(
    mut from: impl BufRead,
    which: &Records,
    told: &mut Reading,
    each: &mut impl FnMut(Record),
) -> Result<(), Failure> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = from.by_ref().take(LONGEST).read_until(b'\n', &mut line)?;
        if length == 0 {
            return Ok(());
        }
        if line.last() != Some(&b'\n') && u64::try_from(length).unwrap_or(LONGEST) == LONGEST {
            from.skip_until(b'\n')?;
            told.unreadable += 1;
            continue;
        }
        let Ok(value) = serde_json::from_slice::<serde_json::Value>(&line) else {
            told.unreadable += 1;
            continue;
        };
        // What is about no request.
        if value.get("decision").is_none() {
            told.unreadable += u64::from(value.get("event").is_none());
            continue;
        }
        let record = Record::deserialize(&value).ok().map(|record| Record { raw: value, ..record });
        let at = record.as_ref().and_then(|record| record.time.parse::<Timestamp>().ok());
        let (Some(record), Some(at)) = (record, at) else {
            told.unreadable += 1;
            continue;
        };
        let early = which.since.is_some_and(|since| at < since);
        if early || which.until.is_some_and(|until| at >= until) {
            continue;
        }
        told.records += 1;
        if told.from.as_ref().is_none_or(|from| record.time < *from) {
            told.from = Some(record.time.clone());
        }
        if told.to.as_ref().is_none_or(|to| record.time > *to) {
            told.to = Some(record.time.clone());
        }
        each(record);
    }
}
