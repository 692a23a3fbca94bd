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
use crate::domain::trusted::DeviceId;
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
    /// All tokens and trusted devices of this user (`sub`)
    #[arg(long)]
    pub user: Option<UserId>,
    /// All tokens of this session (`session_id`)
    #[arg(long, value_name = "ID")]
    pub session: Option<String>,
    /// All devices that this user trusted (`sub`); their sessions go on
    #[arg(long, value_name = "USER")]
    pub devices_of: Option<UserId>,
    /// This trusted device, by its id in the audit log
    #[arg(long, value_name = "ID")]
    pub device: Option<DeviceId>,
    /// The token that comes on standard input; write `-`
    #[arg(long, value_name = "-", value_parser = ["-"])]
    pub token: Option<String>,
}

/// `tollgate sessions revoke`.
#[derive(Debug, Args)]
#[command(after_help = "\
The store of sessions has to be in Redis (sessions.store in gateway.yaml): one in memory belongs to
its process, and is reached by signing out through it.

--user ends every token issued until now, and the trust in every device; the user may sign in again. --session ends the session for
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
    let loaded = config::load(&arguments.config.config, &environment)?;
    let settings = loaded.settings.sessions;
    let devices = loaded.snapshot.identity.devices.as_ref();
    let keep = Keep {
        tokens: settings.keep.as_secs(),
        devices: devices.map_or(0, |of| of.trusted_for.as_secs()).max(settings.keep.as_secs()),
    };
    let redis = shared(&settings)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let (revocations, said) = revocations(&arguments.which, keep, clock.now().unix_secs())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let written = publish(redis, settings.max_entries, &revocations, clock);
    runtime.block_on(written).map_err(anyhow::Error::from)?;
    print(&format!("revoked {said}\n"))?;
    Ok(Done::Well)
}

/// For how long what is taken back has to be known, in seconds.
struct Keep {
    tokens: u64,
    devices: u64,
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

fn revocations(which: &Which, keep: Keep, now: u64) -> Result<(Vec<Revocation>, String), Failure> {
    let of = |mark, cutoff, keep: u64| {
        let until = now.saturating_add(keep);
        Revocation { mark, cutoff, at: now, until }
    };
    let devices_of = |user| of(Mark::devices(user), Cutoff::through(now), keep.devices);
    if let Some(user) = &which.user {
        let tokens = of(Mark::user(user), Cutoff::through(now), keep.tokens);
        let said = format!(
            "all tokens and devices of user `{user}` that were issued or trusted until now"
        );
        return Ok((vec![tokens, devices_of(user)], said));
    }
    if let Some(user) = &which.devices_of {
        let said = format!("all devices that user `{user}` trusted until now");
        return Ok((vec![devices_of(user)], said));
    }
    if let Some(device) = which.device {
        let revocation = of(Mark::device(device), Cutoff::ALWAYS, keep.devices);
        return Ok((vec![revocation], format!("the device `{device}`")));
    }
    if let Some(session) = &which.session {
        let revocation = of(Mark::session(session), Cutoff::ALWAYS, keep.tokens);
        return Ok((vec![revocation], format!("session `{session}`")));
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
    let lives = expires.saturating_add(3600).saturating_sub(now).min(TEN_YEARS);
    let revocation = of(Mark::token(signed), Cutoff::ALWAYS, keep.tokens.max(lives));
    Ok((vec![revocation], "the token".to_owned()))
}

const TEN_YEARS: u64 = 3_650 * 86_400;
