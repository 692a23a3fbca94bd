//! `tollgate logins`: shows what is locked after failed logins, and unlocks it, through the store
//! that nodes share.

use std::net::IpAddr;
use std::sync::Arc;

use clap::{Args, Subcommand};

use crate::config::settings::{LimitStoreSettings, RedisSettings};
use crate::config::{self, Loaded};
use crate::domain::clock::Clock;
use crate::domain::login::Account;
use crate::stores::logins::{ListedLogin, Named, list, unlock};
use crate::telemetry::clock::SystemClock;

use super::arguments::ConfigFile;
use super::{Done, Failure, environment, print};

/// `tollgate logins`.
#[derive(Debug, Subcommand)]
pub enum Logins {
    /// Show failed logins that count now, and what is locked
    Show(Show),
    /// Forget the failed logins of an account or an address, and unlock it on all nodes
    Unlock(Unlock),
}

/// Help of `tollgate logins`.
pub(super) const AFTER: &str = "\
Examples:
  tollgate logins show
  tollgate logins show --email ann@example.com
  tollgate logins unlock --email ann@example.com
  tollgate logins unlock --address 203.0.113.7";

/// `tollgate logins show`.
#[derive(Debug, Args)]
#[command(after_help = "\
What is locked for the longest stands first. Accounts are shown as keyed hashes, as in logs and the
audit log; addresses as they are counted (IPv6 by /64), networks as /24 and /48. Times are UTC. The
store of limits has to be in Redis, whose keys are searched.

Examples:
  tollgate logins show
  tollgate logins show --email ann@example.com
  tollgate logins show --json | jq 'map(select(.locked_until > 0))'")]
pub struct Show {
    /// Whose.
    #[command(flatten)]
    pub which: Which,
    /// Print one JSON list instead of text; times are in seconds since 1970
    #[arg(long)]
    pub json: bool,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigFile,
}

/// `tollgate logins unlock`.
#[derive(Debug, Args)]
#[command(after_help = "\
An account is unlocked at all addresses, an address for all accounts and with the network around it.
It counts on all nodes at once. An attack that goes on locks it again. The store of limits has to be
in Redis.

Examples:
  tollgate logins unlock --email ann@example.com
  tollgate logins unlock --phone +49301234567
  tollgate logins unlock --address 203.0.113.7")]
pub struct Unlock {
    /// Whose.
    #[command(flatten)]
    pub which: Which,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigFile,
}

/// Whose failed logins.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct Which {
    /// Of the account with this e-mail address
    #[arg(long)]
    pub email: Option<String>,
    /// Of the account with this telephone number
    #[arg(long)]
    pub phone: Option<String>,
    /// From this address
    #[arg(long, value_name = "IP")]
    pub address: Option<IpAddr>,
}

pub(super) fn run(arguments: &Logins) -> Result<Done, Failure> {
    match arguments {
        Logins::Show(arguments) => show(arguments),
        Logins::Unlock(arguments) => unlocked(arguments),
    }
}

fn show(arguments: &Show) -> Result<Done, Failure> {
    let loaded = config::load(&arguments.config.config, &environment)?;
    let redis = shared(&loaded)?;
    let named = named(&arguments.which, &loaded)?.unwrap_or(Named::All);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listed = runtime.block_on(list(redis, named, clock.now()));
    let listed = listed.map_err(anyhow::Error::from)?;
    if arguments.json {
        let json = serde_json::to_string_pretty(&listed).map_err(anyhow::Error::from)?;
        print(&format!("{json}\n"))?;
    } else {
        print(&table(&listed))?;
    }
    Ok(Done::Well)
}

fn table(listed: &[ListedLogin]) -> String {
    let head = ["subject", "failures", "lockouts", "locked until", "id"].map(str::to_owned);
    let mut lines = vec![head];
    lines.extend(listed.iter().map(|one| {
        let (failures, level) = (one.failures.to_string(), one.level.to_string());
        [one.subject.to_owned(), failures, level, until(one.locked_until), one.id.clone()]
    }));
    let text = lines.iter().map(|[subject, failures, level, until, id]| {
        format!("{subject:<18}  {failures:<8}  {level:<8}  {until:<19}  {id}\n")
    });
    text.collect()
}

fn until(unix_secs: u64) -> String {
    let seconds = i64::try_from(unix_secs).ok().filter(|seconds| *seconds > 0);
    let time = seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "-".to_owned(), |time| time.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

fn unlocked(arguments: &Unlock) -> Result<Done, Failure> {
    let loaded = config::load(&arguments.config.config, &environment)?;
    let redis = shared(&loaded)?;
    let Some(named) = named(&arguments.which, &loaded)? else {
        return Err(Failure::usage("state `--email`, `--phone` or `--address`"));
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let count = runtime.block_on(unlock(redis, named)).map_err(anyhow::Error::from)?;
    print(&match count {
        0 => "nothing was counted or locked\n".to_owned(),
        1 => "forgot 1 count of failed logins\n".to_owned(),
        count => format!("forgot {count} counts of failed logins\n"),
    })?;
    Ok(Done::Well)
}

fn named(which: &Which, loaded: &Loaded) -> Result<Option<Named>, Failure> {
    if let Some(address) = which.address {
        return Ok(Some(Named::Address(address)));
    }
    let email = which.email.as_deref().map(Account::email);
    let Some(account) = email.or_else(|| which.phone.as_deref().map(Account::phone)) else {
        return Ok(None);
    };
    let pepper = loaded.snapshot.logins.as_ref().and_then(|logins| logins.pepper.as_ref());
    let pepper = pepper.ok_or_else(|| {
        Failure::usage("the configuration counts no failed logins, or states no `identity.logins`")
    })?;
    Ok(Some(Named::Account(pepper.hash(&account))))
}

fn shared(loaded: &Loaded) -> Result<&RedisSettings, Failure> {
    match &loaded.settings.limits {
        LimitStoreSettings::Redis(redis) => Ok(redis),
        LimitStoreSettings::Memory { .. } => Err(Failure::usage(
            "failed logins are counted in the memory of each gateway, where no other process can \
             reach them; to see and unlock them, set `limits_store: { redis: … }`",
        )),
    }
}
