//! What the ledger says, for `tollgate usage`. One connection and one statement; imports `domain`.

use std::time::Duration;

use jiff::civil::Date;
use serde::Serialize;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};
use uuid::Uuid;

use crate::domain::ids::{OrgId, OrgSlug};
use crate::domain::secret::Secret;
use crate::stores::directory::url::{Database, UrlError};
use crate::stores::migrate::describe;

/// Time for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Time for the answer.
const ANSWER: Duration = Duration::from_secs(120);

/// What one line of a report is about, besides its organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The whole time.
    Organization,
    /// A user; callers that are none are one line for each kind.
    User,
    /// A key or a service; callers that are none are one line for each kind.
    Key,
    /// A day.
    Day,
    /// A team, with what no team bears as one more line.
    Team,
}

/// One line of a report. What it is not about is empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UsageLine {
    /// The organization's id.
    pub organization: String,
    /// The day, `2026-11-21`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub day: Option<String>,
    /// `user`, `key`, `service`, `anonymous` or `others`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The user's id, the key's id or the service's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The team.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// Requests that were admitted.
    pub calls: u64,
    /// Bytes of their bodies.
    pub bytes_in: u64,
    /// Bytes of the bodies of their answers.
    pub bytes_out: u64,
    /// Cost units.
    pub cost: u64,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// The address cannot be used.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The database cannot be reached, or does not answer.
    #[error("the database cannot be asked: {0}")]
    Away(String),
    /// The same, of the ledger's own words.
    #[error("{0}")]
    Ledger(String),
    /// The table is not there.
    #[error("the database has no usage ledger: run `tollgate migrate --database URL`")]
    NotMigrated,
    /// The directory has no such organization.
    #[error("the directory has no organization `{0}`")]
    UnknownOrganization(OrgSlug),
}

/// The sums from one day to another, both included, in the order of what they are about.
///
/// # Errors
/// See [`UsageError`].
pub async fn report(
    url: &Secret,
    organization: Option<OrgId>,
    days: (Date, Date),
    by: By,
) -> Result<Vec<UsageLine>, UsageError> {
    let organization = organization.map(|organization| *organization.as_uuid());
    let (from, to) = (days.0.to_string(), days.1.to_string());
    let sql = statement(by);
    let rows = ask(url, &sql, &[&organization, &from, &to]).await?;
    let lines = rows.iter().map(line).collect::<Result<_, _>>();
    lines.map_err(|error| UsageError::Away(describe(&error)))
}

/// The id of an organization, by the query with which a directory in PostgreSQL finds it.
///
/// # Errors
/// See [`UsageError`].
pub async fn organization_named(
    url: &Secret,
    query: &str,
    slug: &OrgSlug,
) -> Result<OrgId, UsageError> {
    let rows = ask(url, query, &[&slug.as_str()]).await?;
    let row = rows.first().ok_or_else(|| UsageError::UnknownOrganization(slug.clone()))?;
    let id: Uuid = row.try_get("id").map_err(|error| UsageError::Away(describe(&error)))?;
    Ok(OrgId::new(id))
}

fn statement(by: By) -> String {
    let (day, kind, subject, team) = match by {
        By::Organization => ("null", "null", "null", "null"),
        By::Day => ("day::text", "null", "null", "null"),
        By::User => ("null", "kind", "case when kind = 'user' then subject end", "null"),
        By::Key => {
            ("null", "kind", "case when kind in ('key', 'service') then subject end", "null")
        }
        By::Team => ("null", "null", "null", "nullif(team, '')"),
    };
    format!(
        "select organization_id::text as organization, ({day})::text as day,
            ({kind})::text as kind, ({subject})::text as subject, ({team})::text as team,
            sum(calls)::bigint as calls, sum(bytes_in)::bigint as bytes_in,
            sum(bytes_out)::bigint as bytes_out, sum(cost)::bigint as cost
        from tollgate.usage
        where ($1::uuid is null or organization_id = $1)
            and day between $2::text::date and $3::text::date
        group by 1, 2, 3, 4, 5
        order by 1, 2, 3, 4, 5"
    )
}

fn line(row: &Row) -> Result<UsageLine, tokio_postgres::Error> {
    let number = |name: &str| -> Result<u64, tokio_postgres::Error> {
        let number: i64 = row.try_get(name)?;
        // The table has no negative ones.
        Ok(u64::try_from(number).unwrap_or(0))
    };
    Ok(UsageLine {
        organization: row.try_get("organization")?,
        day: row.try_get("day")?,
        kind: row.try_get("kind")?,
        subject: row.try_get("subject")?,
        team: row.try_get("team")?,
        calls: number("calls")?,
        bytes_in: number("bytes_in")?,
        bytes_out: number("bytes_out")?,
        cost: number("cost")?,
    })
}

async fn ask(
    url: &Secret,
    sql: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>, UsageError> {
    let database = Database::parse(url)?;
    let connecting = timeout(CONNECT, database.config.connect(database.tls.clone())).await;
    let late = |time: Duration| UsageError::Away(format!("no answer within {} s", time.as_secs()));
    let (client, connection) = connecting
        .map_err(|_| late(CONNECT))?
        .map_err(|error| UsageError::Away(describe(&error)))?;
    tokio::spawn(connection);
    let asked = timeout(ANSWER, rows(&client, sql, parameters)).await.map_err(|_| late(ANSWER))?;
    asked.map_err(|error| match error.code() {
        Some(&SqlState::UNDEFINED_TABLE | &SqlState::INVALID_SCHEMA_NAME) => {
            UsageError::NotMigrated
        }
        _ => UsageError::Away(describe(&error)),
    })
}

async fn rows(
    client: &Client,
    sql: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>, tokio_postgres::Error> {
    client.batch_execute("set default_transaction_read_only = on").await?;
    client.query(sql, parameters).await
}
