//! `tollgate sessions`: ends sessions from outside a gateway, through the store that nodes share.

use std::io::Read;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};
use serde_json::Value;

use crate::config;
use crate::config::settings::{SessionRedis, SessionSettings, SessionStoreSettings};
use crate::domain::clock::Clock;
use crate::domain::ids::UserId;
use crate::domain::session::{Cutoff, Mark, Revocation};
use crate::stores::sessions::{ListedSession, list, publish};
use crate::telemetry::clock::SystemClock;

use super::arguments::ConfigFile;
use super::{Done, Failure, environment, print};

/// A token from standard input has at most so many bytes.
const MAX_TOKEN_BYTES: u64 = 64 * 1024;

/// `tollgate sessions`.
#[derive(Debug, Subcommand)]
pub enum Sessions {
    /// List the sessions of a user: where from, on what, first and last seen
    List(List),
    /// End sessions: what is revoked is refused by every node within a second
    Revoke(Revoke),
}

/// Help of `tollgate sessions`.
pub(super) const AFTER: &str = "\
Examples:
  tollgate sessions list --user 5e4a2f0c-0d8e-4b0a-9d0e-000000000001
  tollgate sessions revoke --user 5e4a2f0c-0d8e-4b0a-9d0e-000000000001
  tollgate sessions revoke --session 1f8e6f0a-57a2-4c2e-8f8e-000000000002";

/// `tollgate sessions list`.
#[derive(Debug, Args)]
#[command(after_help = "\
Sessions are listed for 30 days after their last use, at most 100 of one user, the last used first.
What is listed was used through a gateway; revoked sessions stay in the list. Times are UTC, and at
most a minute late. The store of sessions has to be in Redis.

Examples:
  tollgate sessions list --user 5e4a2f0c-0d8e-4b0a-9d0e-000000000001
  tollgate sessions list --user 5e4a2f0c-0d8e-4b0a-9d0e-000000000001 --json | jq -r '.[].session'")]
pub struct List {
    /// Whose (`sub`)
    #[arg(long)]
    pub user: UserId,
    /// Print one JSON list instead of text; times are in seconds since 1970
    #[arg(long)]
    pub json: bool,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigFile,
}

/// What is revoked.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Which {
    /// All tokens of this user (`sub`)
    #[arg(long)]
    pub user: Option<UserId>,
    /// All tokens of this session (`session_id`)
    #[arg(long, value_name = "ID")]
    pub session: Option<String>,
    /// The token that comes on standard input; write `-`
    #[arg(long, value_name = "-", value_parser = ["-"])]
    pub token: Option<String>,
}

/// `tollgate sessions revoke`.
#[derive(Debug, Args)]
#[command(after_help = "\
The store of sessions has to be in Redis (sessions.store in gateway.yaml): one in memory belongs to
its process, and is reached by signing out through it.

--user ends every token issued until now; the user may sign in again. --session ends the session for
as long as revocations are kept (sessions.keep). Neither tells the authentication server: there, too,
sign the user out, or it goes on issuing tokens.

Examples:
  tollgate sessions revoke --user 5e4a2f0c-0d8e-4b0a-9d0e-000000000001
  tollgate sessions revoke --session 1f8e6f0a-57a2-4c2e-8f8e-000000000002
  tollgate sessions revoke --token - < token.txt")]
pub struct Revoke {
    /// What ends.
    #[command(flatten)]
    pub which: Which,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigFile,
}

pub(super) fn run(arguments: &Sessions) -> Result<Done, Failure> {
    match arguments {
        Sessions::List(arguments) => listed(arguments),
        Sessions::Revoke(arguments) => revoke(arguments),
    }
}

fn listed(arguments: &List) -> Result<Done, Failure> {
    let settings = config::load(&arguments.config.config, &environment)?.settings.sessions;
    let redis = shared(&settings)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let sessions = runtime.block_on(list(redis, &arguments.user, clock));
    let sessions = sessions.map_err(anyhow::Error::from)?;
    if arguments.json {
        let json = serde_json::to_string_pretty(&sessions).map_err(anyhow::Error::from)?;
        print(&format!("{json}\n"))?;
    } else {
        print(&table(&sessions))?;
    }
    Ok(Done::Well)
}

fn table(sessions: &[ListedSession]) -> String {
    let head = ["session", "first seen", "last seen", "device", "address", "organization"];
    let mut lines = vec![head.map(str::to_owned)];
    lines.extend(sessions.iter().map(|session| {
        [
            printable(&session.session),
            time(session.first),
            time(session.last),
            printable(&session.device),
            printable(&session.address),
            session.organization.as_deref().map_or_else(|| "-".to_owned(), printable),
        ]
    }));
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |line: &[String; 6]| {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    lines.iter().map(line).collect()
}

/// Ids come from tokens: nothing in them steers a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn time(unix_secs: u64) -> String {
    let seconds = i64::try_from(unix_secs).ok();
    let time = seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "-".to_owned(), |time| time.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

fn revoke(arguments: &Revoke) -> Result<Done, Failure> {
    let settings = config::load(&arguments.config.config, &environment)?.settings.sessions;
    let redis = shared(&settings)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let (revocation, said) = revocation(&arguments.which, &settings, clock.now().unix_secs())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let revocations = [revocation];
    let written = publish(redis, settings.max_entries, &revocations, clock);
    runtime.block_on(written).map_err(anyhow::Error::from)?;
    print(&format!("revoked {said}\n"))?;
    Ok(Done::Well)
}

fn shared(settings: &SessionSettings) -> Result<&SessionRedis, Failure> {
    match &settings.store {
        SessionStoreSettings::Redis(redis) => Ok(redis),
        SessionStoreSettings::Memory => Err(Failure::usage(
            "sessions are kept in the memory of each gateway, where no other process can reach \
             them; to revoke from outside, set `sessions: { store: { redis: … } }`",
        )),
    }
}

fn revocation(
    which: &Which,
    settings: &SessionSettings,
    now: u64,
) -> Result<(Revocation, String), Failure> {
    let until = now.saturating_add(settings.keep.as_secs());
    let of = |mark, cutoff, until| Revocation { mark, cutoff, at: now, until };
    if let Some(user) = &which.user {
        let revocation = of(Mark::user(user), Cutoff::through(now), until);
        return Ok((revocation, format!("all tokens of user `{user}` that were issued until now")));
    }
    if let Some(session) = &which.session {
        let revocation = of(Mark::session(session), Cutoff::ALWAYS, until);
        return Ok((revocation, format!("session `{session}`")));
    }
    let mut text = String::new();
    std::io::stdin().take(MAX_TOKEN_BYTES).read_to_string(&mut text)?;
    let not_a_token = || Failure::usage("standard input holds no token: three parts with dots");
    let (signed, _) = text.trim().rsplit_once('.').ok_or_else(not_a_token)?;
    let (_, payload) = signed.split_once('.').ok_or_else(not_a_token)?;
    let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| not_a_token())?;
    let claims: Value = serde_json::from_slice(&payload).map_err(|_| not_a_token())?;
    // Believed only as far as to keep the revocation for longer.
    let expires = claims.get("exp").and_then(Value::as_u64).unwrap_or(0);
    let until = until.max(expires.saturating_add(3600).min(now.saturating_add(TEN_YEARS)));
    Ok((of(Mark::token(signed), Cutoff::ALWAYS, until), "the token".to_owned()))
}

const TEN_YEARS: u64 = 3_650 * 86_400;
