//! What a node remembers of its callers, and that ten million of them cannot exhaust it.
//!
//! `bench_memory` pushes so many distinct ones into each memory, each in a process of its own, and
//! prints what is kept and what it costs. `bench_memory tokens` does one of them.

#![allow(clippy::print_stdout, reason = "a measuring tool")]

use std::any::Any;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use http::HeaderValue;
use smallvec::smallvec;
use tollgate::config::load;
use tollgate::config::settings::{
    DirectorySettings, LimitStoreSettings, SessionSettings, SessionStoreSettings, Settings,
};
use tollgate::domain::caller::{Caller, Minted};
use tollgate::domain::charge::{BucketCharge, Charge, Rate, Subject, WhenAway};
use tollgate::domain::clock::Clock;
use tollgate::domain::known::IssuerIndex;
use tollgate::domain::principal::{ClaimedOrganization, PrincipalKind, VerifiedToken};
use tollgate::domain::session::{Cutoff, Mark, Marks, Noted, Revocation, Use};
use tollgate::stores::directory::PostgresStore;
use tollgate::stores::guards::address::AddressGuard;
use tollgate::stores::limits::LimitStore;
use tollgate::stores::sessions::Sessions;
use tollgate::stores::tokens::{MINTED_BYTES, MintedTokens, VERIFIED_BYTES, VerifiedTokens};
use tollgate::telemetry::clock::SystemClock;
use tollgate::telemetry::metrics::Metrics;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Measures the memory that callers can take.
#[derive(Parser)]
struct Arguments {
    /// The memory; all of them in turn if none is named.
    memory: Option<Memory>,
    /// Distinct callers that are pushed.
    #[arg(long, default_value_t = 10_000_000)]
    callers: u64,
}

/// What a node remembers.
#[derive(Clone, Copy, ValueEnum)]
enum Memory {
    /// Verified tokens of a usual size.
    Tokens,
    /// Verified tokens of 16 KiB.
    LongTokens,
    /// Tokens minted for upstreams.
    Minted,
    /// The last uses of sessions.
    Sessions,
    /// The same, with uses that wait for a Redis that is away.
    SessionsAway,
    /// Revocations.
    Revocations,
    /// The same, with a log in Redis that is away.
    RevocationsAway,
    /// Uses of keys of machines, with a database that is away.
    Keys,
    /// Addresses whose rate is counted.
    Addresses,
    /// Buckets of limits in this process.
    Buckets,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(memory) = arguments.memory {
        return measure(memory, arguments.callers);
    }
    println!("| pushed | distinct | kept | resident, MB | at most, MB |");
    println!("|---|---|---|---|---|");
    for memory in Memory::value_variants() {
        let name = memory.to_possible_value().context("a name")?;
        let mut child = Command::new(std::env::current_exe()?);
        child.arg(name.get_name()).arg("--callers").arg(arguments.callers.to_string());
        if !child.status()?.success() {
            bail!("`{}` was not measured", name.get_name());
        }
    }
    Ok(())
}

/// Pushes, and prints a line of the table.
fn measure(memory: Memory, callers: u64) -> Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let settings = settings()?;
    let before = memory_of("VmRSS:")?;
    // What is measured has to be there until the memory was read.
    let (kept, _alive): Kept = match memory {
        Memory::Tokens => tokens(callers, 900, &clock),
        Memory::LongTokens => tokens(callers / 10, 16 * 1024, &clock),
        Memory::Minted => minted(callers, &clock)?,
        Memory::Sessions => uses(callers, Sessions::new(&in_memory(&settings), clock)?)?,
        Memory::SessionsAway => uses(callers, Sessions::new(&settings.sessions, clock)?)?,
        Memory::Revocations => {
            revocations(callers, Sessions::new(&in_memory(&settings), Arc::clone(&clock))?, &clock)
        }
        Memory::RevocationsAway => {
            revocations(callers, Sessions::new(&settings.sessions, Arc::clone(&clock))?, &clock)
        }
        Memory::Keys => keys(callers, &settings, &clock)?,
        Memory::Addresses => addresses(callers, &clock)?,
        Memory::Buckets => buckets(callers, &settings.limits, &clock)?,
    };
    let pushed = match memory {
        Memory::LongTokens => callers / 10,
        _ => callers,
    };
    let megabytes = |bytes: u64| bytes.saturating_sub(before) / 1_000_000;
    let (now, most) = (memory_of("VmRSS:")?, memory_of("VmHWM:")?);
    let name = memory.to_possible_value().context("a name")?;
    println!(
        "| {} | {pushed} | {kept} | {} | {} |",
        name.get_name(),
        megabytes(now),
        megabytes(most)
    );
    Ok(())
}

/// What is kept, and what keeps it.
type Kept = (u64, Box<dyn Any>);

/// Resident memory of this process, now or at most, in bytes.
fn memory_of(what: &str) -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix(what)).context("no such line")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

/// A node with its stores elsewhere, all of which are away.
fn settings() -> Result<Settings> {
    let directory = std::env::temp_dir().join(format!("tollgate-memory-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let pack = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/membership-club/policy.yaml");
    let gateway = format!(
        "listen: [{{ address: 127.0.0.1:9 }}]\n\
         identity:\n  issuers:\n    - name: bench\n      keys: [{{ hs256: bench-only-secret-of-32-bytes-or-more }}]\n\
         directory:\n  postgres: {{ url: \"postgres://nobody@127.0.0.1:9/none\" }}\n\
         sessions:\n  store:\n    redis: {{ url: \"redis://127.0.0.1:9\" }}\n\
         upstreams:\n\
         \x20 rest: {{ kind: postgrest, addresses: [\"127.0.0.1:9\"] }}\n\
         \x20 app: {{ kind: http, addresses: [\"127.0.0.1:9\"] }}\n\
         policies: [\"{}\"]\n",
        pack.display()
    );
    let path = directory.join("gateway.yaml");
    std::fs::write(&path, gateway)?;
    let loaded = load(&path, &|_| None);
    std::fs::remove_dir_all(&directory)?;
    Ok(loaded?.settings)
}

fn in_memory(settings: &Settings) -> SessionSettings {
    let store = SessionStoreSettings::Memory;
    SessionSettings { store, ..settings.sessions.clone() }
}

/// Tokens of that many bytes, remembered as the authenticate stage does.
fn tokens(callers: u64, bytes: usize, clock: &Arc<dyn Clock>) -> Kept {
    let tokens = VerifiedTokens::new(VERIFIED_BYTES);
    let view = tokens.view();
    let (at, now) = (clock.now(), clock.now().unix_secs());
    for number in 0..callers {
        let text = format!("{number:0bytes$}");
        let (user, session) = (format!("user-{number}").parse().ok(), format!("session-{number}"));
        let token = VerifiedToken {
            issuer: IssuerIndex(0),
            marks: Marks::new(user.as_ref(), Some(&session), &text),
            noted: Noted::default(),
            subject: user,
            role: Some("authenticated".into()),
            session_id: Some(session.into()),
            expires_at: now + 3600,
            not_before: None,
            issued_at: Some(now),
            second_factor: false,
            factor_at: None,
            signed_in_at: Some(now),
            organizations: Box::new([ClaimedOrganization::None]),
            vouched: None,
        };
        view.put(&text, 0, at, &Arc::new(token));
    }
    (tokens.count(), Box::new((tokens, view)))
}

fn minted(callers: u64, clock: &Arc<dyn Clock>) -> Result<Kept> {
    let minted = MintedTokens::new(MINTED_BYTES, Arc::clone(clock));
    let upstream: Arc<str> = "rest".into();
    let expires_at = clock.now().unix_secs() + 300;
    for number in 0..callers {
        let caller = Caller {
            kind: PrincipalKind::User,
            user: Some(format!("user-{number}").parse().ok().context("a user")?),
            actor: None,
            org: None,
            org_role: Some("member".into()),
            org_team: None,
            key: None,
            session_id: Some(format!("session-{number}").into()),
            expires_at: Some(expires_at),
        };
        let authorization = HeaderValue::from_str(&format!("Bearer {number:0500}"))?;
        minted.get_or_mint(&upstream, &caller, || {
            Ok::<_, anyhow::Error>(Minted { authorization, expires_at })
        })?;
    }
    Ok((minted.count(), Box::new(minted)))
}

fn uses(callers: u64, sessions: Sessions) -> Result<Kept> {
    for number in 0..callers {
        sessions.used(Use {
            user: format!("user-{number}").parse().ok().context("a user")?,
            session: format!("session-{number}").into(),
            began: None,
            organization: None,
            device: "Firefox on Linux".into(),
            address: [127, 0, 0, 1].into(),
            at: 1_000_000 + number,
        });
    }
    Ok((sessions.stats().in_use, Box::new(sessions)))
}

fn revocations(callers: u64, sessions: Sessions, clock: &Arc<dyn Clock>) -> Kept {
    let now = clock.now().unix_secs();
    for number in 0..callers {
        let mark = Mark::session(&number.to_string());
        let at = now + number / 10_000;
        sessions.revoke(Revocation { mark, cutoff: Cutoff::ALWAYS, at, until: at + 3600 });
    }
    (sessions.stats().known, Box::new(sessions))
}

fn keys(callers: u64, settings: &Settings, clock: &Arc<dyn Clock>) -> Result<Kept> {
    let DirectorySettings::Postgres(postgres) = &settings.directory else {
        bail!("the directory should be a database");
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let metrics = Arc::new(Metrics::new()?);
    let store = PostgresStore::start(postgres, Arc::clone(clock), metrics, runtime.handle())?;
    let now = clock.now();
    for number in 0..callers {
        store.machine_key_used(format!("tgk_{number:012}").parse()?, now);
    }
    Ok((store.key_uses_waiting(), Box::new((store, runtime))))
}

fn addresses(callers: u64, clock: &Arc<dyn Clock>) -> Result<Kept> {
    let most = NonZeroU32::new(131_072).context("a number")?;
    let guard = AddressGuard::new(most, Arc::clone(clock));
    let rate = Rate { tokens: NonZeroU32::MIN, period_millis: most, burst: NonZeroU32::MIN };
    for number in 0..callers {
        // Networks, since those of one count as one.
        let address = IpAddr::V6(Ipv6Addr::from_bits(u128::from(number) << 64));
        let _ = guard.check(address, &rate);
    }
    Ok((guard.addresses() as u64, Box::new(guard)))
}

fn buckets(callers: u64, settings: &LimitStoreSettings, clock: &Arc<dyn Clock>) -> Result<Kept> {
    let store = LimitStore::new(settings, Arc::clone(clock))?;
    let hour = NonZeroU32::new(3_600_000).context("a number")?;
    let rate = Rate { tokens: NonZeroU32::MIN, period_millis: hour, burst: NonZeroU32::MIN };
    for number in 0..callers {
        let bucket = BucketCharge {
            limit: "per_user".into(),
            subject: Subject::User(format!("user-{number}").parse().ok().context("a user")?, None),
            rate,
            cost: NonZeroU32::MIN,
            when_away: WhenAway::Closed,
            penalty: None,
        };
        let _ = store.try_now(&Charge { buckets: smallvec![bucket] }, clock.now());
    }
    Ok((store.stats().memory.buckets as u64, Box::new(store)))
}
