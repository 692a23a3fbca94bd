//! `tollgate init`: the files of a gateway to begin with, in a directory of one's own. They are those
//! of the repository, so that what is begun with is what its tests are about.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use super::{Done, Failure, print};

/// `tollgate init`.
#[derive(Debug, Args)]
#[command(after_help = "\
The files are a gateway for development: PostgREST on this machine, or `tollgate sample` in its place,
everything else in memory; two organizations, three roles, two limits, and their tests. A file that
is there already is never written over.

Examples:
  tollgate init my-gateway
  cd my-gateway && tollgate check && tollgate test")]
pub struct Init {
    /// Where: a directory that is made, or has none of these files
    #[arg(value_name = "DIRECTORY")]
    pub directory: PathBuf,
}

const FILES: [(&str, &str, &str); 4] = [
    (
        "config/gateway.yaml",
        include_str!("../../config/gateway.yaml"),
        "what a node is started with; names the others",
    ),
    ("config/directory.yaml", include_str!("../../config/directory.yaml"), "who belongs where"),
    (
        "policies/base.yaml",
        include_str!("../../policies/base.yaml"),
        "plans, roles, limits, tables, routes",
    ),
    (
        "policies/base.test.yaml",
        include_str!("../../policies/base.test.yaml"),
        "what the policy is to decide",
    ),
];

pub(super) fn run(arguments: &Init) -> Result<Done, Failure> {
    let root = &arguments.directory;
    let mut files = FILES.iter().map(|(name, ..)| root.join(name));
    if let Some(there) = files.find(|file| file.symlink_metadata().is_ok()) {
        let there = there.display();
        return Err(Failure::usage(format!("`{there}` is there already: nothing was written")));
    }
    let mut out = String::new();
    let width = FILES.iter().map(|(name, ..)| root.join(name).display().to_string().len()).max();
    let width = width.unwrap_or_default();
    for (name, text, about) in FILES {
        let file = root.join(name);
        write(&file, text).with_context(|| format!("cannot write `{}`", file.display()))?;
        out += &format!("{:<width$}  {about}\n", file.display());
    }
    out += &format!(
        "\nNext:\n  cd {}\n  tollgate check    all mistakes at once\n  tollgate test     what the \
         policy decides\n  tollgate sample   an upstream with made-up rows, in a terminal of its own\n  \
         tollgate serve    the gateway\n",
        root.display()
    );
    print(&out)?;
    Ok(Done::Well)
}

/// Writes a new file, with the directories above it.
fn write(file: &Path, text: &str) -> std::io::Result<()> {
    fs::create_dir_all(file.parent().ok_or(ErrorKind::InvalidFilename)?)?;
    File::create_new(file)?.write_all(text.as_bytes())
}
