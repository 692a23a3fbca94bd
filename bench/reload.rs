//! What a reload takes, from files on a disk to a policy in force: by phases, in this process; and as
//! a whole, in a gateway that is told to reload again and again, with the memory that it has by then.
//!
//! The tables have the median and the longest of so many. What the gateway does besides, on the same
//! path: it runs the tests that the configuration names, of which there are none here.

#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a measuring tool")]

mod children;
mod policies;
#[allow(dead_code, reason = "processor time is not measured here")]
mod procfs;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use tollgate::config::settings::DirectorySettings;
use tollgate::config::{self, Past, Reading};
use tollgate::policy::Snapshot;
use tollgate::stores::directory::FileDirectory;

use children::{Directory, Program, free_address};
use policies::Size;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Measures reloads.
#[derive(Parser)]
struct Arguments {
    /// How many in this process.
    #[arg(long, default_value_t = 30)]
    rounds: u32,
    /// How many in a gateway; the binary is the one beside the examples.
    #[arg(long, default_value_t = 1_000)]
    reloads: u32,
    /// Organizations in the directory file, of twenty members each.
    #[arg(long, default_value_t = Size::STATED.organizations)]
    organizations: usize,
    /// Routes.
    #[arg(long, default_value_t = Size::STATED.routes)]
    routes: usize,
    /// Rules.
    #[arg(long, default_value_t = Size::STATED.rules)]
    rules: usize,
}

fn main() -> Result<()> {
    let Arguments { rounds, reloads, organizations, routes, rules } = Arguments::parse();
    let place = Directory::create()?;
    let size = Size { organizations, routes, rules, ..Size::STATED };
    let (listen, admin) = (free_address()?, free_address()?);
    let path = policies::write(place.path(), size, listen, admin)?;
    let mut phases = Phases::default();
    for _ in 0..rounds {
        phases.round(&path)?;
    }
    phases.print();
    if reloads > 0 {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(of_a_gateway(&place, &path, admin, reloads))?;
    }
    Ok(())
}

/// Changes a file, tells the gateway, and waits for the other version; reads its memory on the way.
async fn of_a_gateway(
    place: &Directory,
    path: &Path,
    admin: SocketAddr,
    reloads: u32,
) -> Result<()> {
    let examples = std::env::current_exe()?;
    let binary = examples.parent().and_then(Path::parent).context("a directory")?.join("tollgate");
    let command: [&dyn AsRef<std::ffi::OsStr>; 4] = [&binary, &"serve", &"--config", &path];
    let mut gateway = Program::new("gateway", 0, place.path(), &command).start()?;
    gateway.ready(admin, b"GET /readyz HTTP/1.1\r\nHost: bench\r\n\r\n").await?;
    let changing = place.path().join("rules/team-00.yaml");
    let rules = std::fs::read_to_string(&changing)?;
    let mut in_force = version(admin)?;
    let mut times = Vec::new();
    println!("\n| reloads of a gateway | resident, MB |\n|---|---|");
    for reload in 0..=reloads {
        if reload == 0 || reload.is_multiple_of((reloads / 10).max(1)) {
            println!("| {reload} | {:.1} |", procfs::resident(gateway.id())? as f64 / 1e6);
        }
        std::fs::write(&changing, format!("# {reload}\n{rules}"))?;
        let began = Instant::now();
        let told = Command::new("kill").args(["-HUP", &gateway.id().to_string()]).status()?;
        if !told.success() {
            bail!("the gateway cannot be told");
        }
        let now = loop {
            let now = version(admin)?;
            if now != in_force {
                break now;
            }
            if began.elapsed() > Duration::from_secs(30) {
                bail!("it is not reloaded: {now}");
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        times.push(began.elapsed());
        in_force = now;
    }
    let (median, longest) = (middle(&mut times), times.last().copied().unwrap_or_default());
    println!(
        "\nfrom SIGHUP to another version at `/version`: median {:.1} ms, longest {:.1} ms",
        median.as_secs_f64() * 1e3,
        longest.as_secs_f64() * 1e3
    );
    Ok(())
}

/// What the gateway says is in force.
fn version(admin: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect(admin)?;
    stream.write_all(b"GET /version HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let after = text.split("\"snapshot\":\"").nth(1).context("an answer without a version")?;
    Ok(after.split('"').next().unwrap_or_default().to_owned())
}

/// Sorts, and returns the median.
fn middle(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

#[derive(Default)]
struct Phases {
    read: Vec<Duration>,
    compile: Vec<Duration>,
    directory: Vec<Duration>,
    forget: Vec<Duration>,
    whole: Vec<Duration>,
    in_force: Option<(Arc<Snapshot>, FileDirectory)>,
}

impl Phases {
    /// As the gateway does it: the files are read and compiled in one go, the directory becomes a
    /// store of its own, and what was in force is freed once the last request has ended.
    fn round(&mut self, path: &Path) -> Result<()> {
        let none = |_: &str| None;
        let began = Instant::now();
        let files = Reading::new();
        let loaded = config::load_from(&files, path, &none)?;
        let loaded_in = began.elapsed();
        let DirectorySettings::File(people) = &loaded.settings.directory else {
            bail!("the directory should be a file");
        };
        let directory = FileDirectory::new(people);
        let directory_in = began.elapsed() - loaded_in;
        let before = self.in_force.replace((Arc::new(loaded.snapshot), directory));
        let published_in = began.elapsed();
        drop(before);
        self.forget.push(began.elapsed() - published_in);
        self.directory.push(directory_in);
        self.whole.push(published_in);
        // The same again without a disk.
        let past = Past::new(files.texts());
        let began = Instant::now();
        let again = config::load_from(&past, path, &none)?;
        let compiled_in = began.elapsed();
        drop(again);
        self.compile.push(compiled_in);
        self.read.push(loaded_in.saturating_sub(compiled_in));
        Ok(())
    }

    fn print(self) {
        println!("| phase | median, ms | longest, ms |");
        println!("|---|---|---|");
        let rows = [
            ("reading the files", self.read),
            ("parsing and compiling them", self.compile),
            ("the directory as a store", self.directory),
            ("**files to published**", self.whole),
            ("freeing what was in force", self.forget),
        ];
        for (name, mut times) in rows {
            let median = middle(&mut times).as_secs_f64() * 1e3;
            let longest = times.last().map_or(0.0, |time| time.as_secs_f64() * 1e3);
            println!("| {name} | {median:.1} | {longest:.1} |");
        }
    }
}
