//! `tollgate migrate`: the directory's tables in PostgreSQL.

use crate::config;
use crate::config::settings::DirectorySettings;
use crate::domain::secret::Secret;
use crate::stores::migrate::{Applied, MIGRATIONS, history, migrate};

use super::arguments::Migrate;
use super::{Done, Failure, environment, print};

pub(super) fn run(arguments: &Migrate) -> Result<Done, Failure> {
    let database = database(arguments)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let applied = runtime.block_on(async {
        match arguments.dry_run {
            true => history(&database, MIGRATIONS).await,
            false => migrate(&database, MIGRATIONS).await,
        }
    });
    let applied = applied.map_err(anyhow::Error::from)?;
    print(&text(&applied, arguments.dry_run))?;
    Ok(Done::Well)
}

fn database(arguments: &Migrate) -> Result<Secret, Failure> {
    if let Some(url) = &arguments.database {
        return Ok(Secret::new(url.as_str()));
    }
    let path = &arguments.config.config;
    match config::load(path, &environment)?.settings.directory {
        DirectorySettings::Postgres(postgres) => Ok(postgres.url),
        DirectorySettings::File(_) => Err(Failure::usage(format!(
            "the directory of `{}` is a file: there is no database to migrate; give one with \
             --database",
            path.display()
        ))),
    }
}

fn text(applied: &[Applied], dry_run: bool) -> String {
    let word = if dry_run { "would be applied" } else { "applied" };
    let line = |one: &Applied| match one {
        Applied::Now(name) => format!("{name}: {word}\n"),
        Applied::Before(name) => format!("{name}: applied before\n"),
    };
    applied.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dry_run_says_that_nothing_was_done() {
        let applied = [Applied::Before("1.sql"), Applied::Now("2.sql")];
        assert_eq!(text(&applied, true), "1.sql: applied before\n2.sql: would be applied\n");
        assert_eq!(text(&applied, false), "1.sql: applied before\n2.sql: applied\n");
    }
}
