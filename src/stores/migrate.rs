//! Brings a database to the schema that this version of the gateway expects.
//!
//! Run by `tollgate migrate`, never by a gateway that serves. One transaction for each file, all
//! under an advisory lock, so that two operators who migrate at once do it once. What was applied
//! is remembered with its checksum: a file that was changed afterwards is an error, because nobody
//! could say what the database looks like.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::Client;

use crate::domain::secret::Secret;

use super::directory::url::Database;
pub use super::directory::url::UrlError;

/// Any number that nothing else in the database locks: `tollgate` in ASCII.
const LOCK: i64 = 0x746f_6c6c_6761_7465;
/// Time for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Time for everything. Another migration that holds the lock counts.
const TOTAL: Duration = Duration::from_secs(300);

const HISTORY: &str = "
    create schema if not exists tollgate;
    create table if not exists tollgate.migrations (
        name text primary key,
        checksum text not null,
        applied_at timestamptz not null default now()
    );
";

/// One file of SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    /// The file's name; files are applied in the order in which they are given.
    pub name: &'static str,
    /// Its statements.
    pub sql: &'static str,
}

/// The files of `deploy/sql`.
pub const MIGRATIONS: &[Migration] = &[
    Migration {
        name: "0001_directory.sql",
        sql: include_str!("../../deploy/sql/0001_directory.sql"),
    },
    Migration {
        name: "0002_directory_notify.sql",
        sql: include_str!("../../deploy/sql/0002_directory_notify.sql"),
    },
    Migration { name: "0003_access.sql", sql: include_str!("../../deploy/sql/0003_access.sql") },
    Migration {
        name: "0004_api_keys.sql",
        sql: include_str!("../../deploy/sql/0004_api_keys.sql"),
    },
    Migration {
        name: "0005_session_idle.sql",
        sql: include_str!("../../deploy/sql/0005_session_idle.sql"),
    },
    Migration {
        name: "0006_trusted_device.sql",
        sql: include_str!("../../deploy/sql/0006_trusted_device.sql"),
    },
    Migration { name: "0007_sign_on.sql", sql: include_str!("../../deploy/sql/0007_sign_on.sql") },
    Migration { name: "0008_usage.sql", sql: include_str!("../../deploy/sql/0008_usage.sql") },
    Migration { name: "0009_limits.sql", sql: include_str!("../../deploy/sql/0009_limits.sql") },
    Migration {
        name: "0010_time_zone.sql",
        sql: include_str!("../../deploy/sql/0010_time_zone.sql"),
    },
    Migration {
        name: "0011_quota_thresholds.sql",
        sql: include_str!("../../deploy/sql/0011_quota_thresholds.sql"),
    },
    Migration {
        name: "0012_usage_teams.sql",
        sql: include_str!("../../deploy/sql/0012_usage_teams.sql"),
    },
];

/// What became of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It was applied just now, or would be.
    Now(&'static str),
    /// It had been applied before.
    Before(&'static str),
}

/// Why a database could not be migrated. Files before the one that is named are applied.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The address cannot be used.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The database cannot be reached.
    #[error("cannot connect to the database: {0}")]
    Connect(String),
    /// Something took too long.
    #[error("the database did not finish within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The history of migrations cannot be read or written.
    #[error("cannot read or write `tollgate.migrations`: {0}")]
    History(String),
    /// A file was changed after it had been applied.
    #[error("`{0}` was changed after it had been applied; put the change into a new file instead")]
    Changed(&'static str),
    /// A file failed; nothing of it was applied.
    #[error("`{name}` failed and was not applied: {error}")]
    Failed {
        /// The file.
        name: &'static str,
        /// What the database said.
        error: String,
    },
}

/// Applies the files that were not applied yet, in their order.
///
/// # Errors
/// See [`MigrateError`].
pub async fn migrate(url: &Secret, files: &[Migration]) -> Result<Vec<Applied>, MigrateError> {
    let database = Database::parse(url)?;
    let connecting = database.config.connect(database.tls.clone());
    let (mut client, connection) = timeout(CONNECT, connecting)
        .await
        .map_err(|_| MigrateError::Timeout(CONNECT))?
        .map_err(|error| MigrateError::Connect(describe(&error)))?;
    let work = timeout(TOTAL, apply(&mut client, files));
    tokio::select! {
        done = work => done.map_err(|_| MigrateError::Timeout(TOTAL))?,
        end = connection => {
            let why = end.map_or_else(|error| describe(&error), |()| "it was closed".to_owned());
            Err(MigrateError::Connect(why))
        }
    }
}

/// Looks which files were applied, and changes nothing.
///
/// # Errors
/// See [`MigrateError`].
pub async fn history(url: &Secret, files: &[Migration]) -> Result<Vec<Applied>, MigrateError> {
    let database = Database::parse(url)?;
    let connecting = database.config.connect(database.tls.clone());
    let (client, connection) = timeout(CONNECT, connecting)
        .await
        .map_err(|_| MigrateError::Timeout(CONNECT))?
        .map_err(|error| MigrateError::Connect(describe(&error)))?;
    let work = timeout(CONNECT, look(&client, files));
    tokio::select! {
        done = work => done.map_err(|_| MigrateError::Timeout(CONNECT))?,
        end = connection => {
            let why = end.map_or_else(|error| describe(&error), |()| "it was closed".to_owned());
            Err(MigrateError::Connect(why))
        }
    }
}

async fn look(client: &Client, files: &[Migration]) -> Result<Vec<Applied>, MigrateError> {
    let failed = |error: tokio_postgres::Error| MigrateError::History(describe(&error));
    let exists = "select to_regclass('tollgate.migrations') is not null";
    let exists: bool =
        client.query_one(exists, &[]).await.and_then(|row| row.try_get(0)).map_err(failed)?;
    let rows = match exists {
        true => client
            .query("select name, checksum from tollgate.migrations", &[])
            .await
            .map_err(failed)?,
        false => Vec::new(),
    };
    let known = rows
        .iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect::<Result<HashMap<String, String>, tokio_postgres::Error>>()
        .map_err(failed)?;
    files
        .iter()
        .map(|file| match known.get(file.name) {
            None => Ok(Applied::Now(file.name)),
            Some(before) if before == blake3::hash(file.sql.as_bytes()).to_hex().as_str() => {
                Ok(Applied::Before(file.name))
            }
            Some(_) => Err(MigrateError::Changed(file.name)),
        })
        .collect()
}

async fn apply(client: &mut Client, files: &[Migration]) -> Result<Vec<Applied>, MigrateError> {
    let history = |error: tokio_postgres::Error| MigrateError::History(describe(&error));
    // Held until the connection ends, whatever happens.
    client.execute("select pg_advisory_lock($1)", &[&LOCK]).await.map_err(history)?;
    client.batch_execute(HISTORY).await.map_err(history)?;
    let mut applied = Vec::with_capacity(files.len());
    for file in files {
        let checksum = blake3::hash(file.sql.as_bytes()).to_hex();
        let known = client
            .query_opt("select checksum from tollgate.migrations where name = $1", &[&file.name])
            .await
            .map_err(history)?;
        if let Some(row) = known {
            let before: String = row.try_get(0).map_err(history)?;
            if before != checksum.as_str() {
                return Err(MigrateError::Changed(file.name));
            }
            applied.push(Applied::Before(file.name));
            continue;
        }
        let failed = |error: tokio_postgres::Error| MigrateError::Failed {
            name: file.name,
            error: describe(&error),
        };
        let transaction = client.transaction().await.map_err(failed)?;
        transaction.batch_execute(file.sql).await.map_err(failed)?;
        let insert = "insert into tollgate.migrations (name, checksum) values ($1, $2)";
        let row: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&file.name, &checksum.as_str()];
        transaction.execute(insert, &row).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        applied.push(Applied::Now(file.name));
    }
    Ok(applied)
}

/// What the client library says, with its cause, which is where the reason is.
pub(super) fn describe(error: &tokio_postgres::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
