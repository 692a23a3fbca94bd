//! `tollgate fmt`: configuration files with their spaces as they should be, comments and all.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use crate::config::format::{NotFormatted, formatted};

use super::text_diff;
use super::{Done, Failure, print};

/// No tree of policies is deeper; a link that leads back into it ends here.
const MAX_DEPTH: usize = 8;

/// `tollgate fmt`.
#[derive(Debug, Args)]
#[command(after_help = "\
Levels get two spaces, what separates one, braces room, and ends of lines none. Comments and the
order of keys stay: only white space changes. What is written is parsed first and has to say the
same as before; a file of which that is not so, and one that is not YAML, is left as it is.

Examples:
  tollgate fmt config policies                   every *.yaml and *.yml in and below them
  tollgate fmt --check config policies           for CI: what would change, and nothing is written
  tollgate fmt - < policy.yaml                   for editors: from standard input to standard output

Exit status: 0 all is formatted, 2 something was not (--check), or cannot be.")]
pub struct Fmt {
    /// Files, and directories in and below which every `*.yaml` and `*.yml` is one; `-` is standard
    /// input
    #[arg(value_name = "FILES", required = true)]
    pub files: Vec<PathBuf>,
    /// Write nothing, and show what would change
    #[arg(long)]
    pub check: bool,
}

pub(super) fn run(arguments: &Fmt) -> Result<Done, Failure> {
    if arguments.files == [Path::new("-")] {
        return standard_input(arguments.check);
    }
    let mut files = Vec::new();
    for path in &arguments.files {
        match path.is_dir() {
            true => below(path, MAX_DEPTH, &mut files)?,
            false => files.push(path.clone()),
        }
    }
    let (mut out, mut fine) = (String::new(), true);
    for file in &files {
        fine &= one(file, arguments.check, &mut out)?;
    }
    print(&out)?;
    Ok(if fine { Done::Well } else { Done::FoundErrors })
}

/// Whether the file is as it should be by now.
fn one(file: &Path, check: bool, out: &mut String) -> Result<bool, Failure> {
    let shown = file.display();
    let text = fs::read_to_string(file).with_context(|| format!("cannot read `{shown}`"))?;
    let new = match formatted(&text) {
        Ok(new) => new,
        Err(why) => {
            let _ = writeln!(out, "{}", said(&shown.to_string(), &why));
            return Ok(false);
        }
    };
    if new == text {
        return Ok(true);
    }
    if check {
        let _ = writeln!(out, "{shown}: not formatted");
        text_diff::unified(&text, &new, out);
        return Ok(false);
    }
    write(file, &new).with_context(|| format!("cannot write `{shown}`"))?;
    let _ = writeln!(out, "{shown}: formatted");
    Ok(true)
}

fn said(file: &str, why: &NotFormatted) -> String {
    match why {
        NotFormatted::NoYaml { line, message } => format!("{file}:{line}: {message}"),
        NotFormatted::Changed => format!("{file}: {why}"),
    }
}

/// In one step: who reads the file sees all of it, before or after, and so does a gateway that watches
/// it. A link stays one.
fn write(file: &Path, text: &str) -> std::io::Result<()> {
    let file = fs::canonicalize(file)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let beside = file.with_file_name(format!(".{name}.tollgate-fmt"));
    let written = (|| {
        let mut new = File::create(&beside)?;
        new.set_permissions(fs::metadata(&file)?.permissions())?;
        new.write_all(text.as_bytes())?;
        new.sync_all()?;
        fs::rename(&beside, &file)
    })();
    if written.is_err() {
        // What is half written helps nobody.
        let _ = fs::remove_file(&beside);
    }
    written
}

fn standard_input(check: bool) -> Result<Done, Failure> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let new = formatted(&text).map_err(|why| Failure::usage(said("-", &why)))?;
    if check {
        return Ok(if new == text { Done::Well } else { Done::FoundErrors });
    }
    print(&new)?;
    Ok(Done::Well)
}

fn below(directory: &Path, depth: usize, out: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let cannot = |error| Failure::usage(format!("cannot list `{}`: {error}", directory.display()));
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(cannot)? {
        paths.push(entry.map_err(cannot)?.path());
    }
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            if depth > 0 {
                below(&path, depth - 1, out)?;
            }
        } else if name.ends_with(".yaml") || name.ends_with(".yml") {
            out.push(path);
        }
    }
    Ok(())
}
