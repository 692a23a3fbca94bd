//! The commands. `main` hands the arguments in and exits with what comes back.
//!
//! This room puts the others together and may import all of them; nothing imports it.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::config::problem::Problems;

mod again;
pub mod arguments;
mod assembly;
mod candidate;
mod catalog;
mod check;
mod control;
mod demo;
mod diff;
mod explain;
mod fmt;
mod git;
mod init;
mod keys;
mod limits;
mod logins;
mod migrate;
mod readiness;
mod readings;
mod records;
mod reload;
mod replay;
mod roles;
mod rollback;
mod sample;
mod schema;
mod serve;
mod sessions;
mod shadow;
mod snapshots;
mod test;
mod text_diff;
mod token;
mod usage;
mod watch;

use arguments::{Arguments, Command};
use candidate::Unfit;

/// Reads the arguments and does what they say.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version come here too, and go to standard output.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let outcome = match arguments.command {
        Command::Check(arguments) => check::run(&arguments),
        Command::Schema(arguments) => schema::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Fmt(arguments) => fmt::run(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Token(arguments) => token::run(&arguments),
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Init(arguments) => init::run(&arguments),
        Command::Sample(arguments) => sample::run(&arguments),
        Command::Migrate(arguments) => migrate::run(&arguments),
        Command::Catalog(arguments) => catalog::run(&arguments),
        Command::Roles(arguments) => roles::run(&arguments),
        Command::Diff(arguments) => diff::run(&arguments),
        Command::Replay(arguments) => replay::run(&arguments),
        Command::Shadow(arguments) => shadow::run(&arguments),
        Command::Sessions(arguments) => sessions::run(&arguments),
        Command::Logins(arguments) => logins::run(&arguments),
        Command::Keys(arguments) => keys::run(&arguments),
        Command::Limits(arguments) => limits::run(&arguments),
        Command::Snapshots(arguments) => snapshots::run(&arguments),
        Command::Usage(arguments) => usage::run(&arguments),
    };
    match outcome {
        Ok(Done::Well) => ExitCode::SUCCESS,
        Ok(Done::FoundErrors) => ExitCode::from(2),
        Ok(Done::Differs) => ExitCode::from(3),
        // Who reads the output may stop reading it (`tollgate schema | head`).
        Err(Failure::Failed(error)) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(failure) => {
            // In one piece: other processes may write to the same terminal or file.
            let _ = io::stderr().write_all(format!("{failure}\n").as_bytes());
            ExitCode::from(failure.code())
        }
    }
}

/// How a command ended that did its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    /// Nothing is wrong.
    Well,
    /// The work was to look for errors, and there are some.
    FoundErrors,
    /// The work was to compare, and something differs.
    Differs,
}

/// Why a command did not do its work.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// An argument makes no sense, beyond what clap can tell.
    #[error("error: {0}")]
    Usage(String),
    /// The configuration has errors.
    #[error("{0}")]
    Config(#[from] Problems),
    /// The tests of the configuration do not pass.
    #[error(
        "error: the tests of the configuration do not pass (`tests.run: never` starts without them)\n{0}"
    )]
    Tests(String),
    /// Something went wrong.
    #[error("error: {0:#}")]
    Failed(#[from] anyhow::Error),
}

impl Failure {
    fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    fn code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Config(_) | Self::Tests(_) => 2,
            Self::Failed(_) => 1,
        }
    }
}

impl From<Unfit> for Failure {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Errors(problems) => Self::Config(problems),
            Unfit::Tests { report, .. } => Self::Tests(report),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.into())
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

/// Writes to standard output, to its end.
fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// A variable of the process's environment.
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
