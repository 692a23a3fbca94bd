//! The ledger in PostgreSQL: a counter for each incarnation of a process, day, organization, team
//! and caller, which is only ever raised. Writing the same again changes nothing, whatever became of
//! the first attempt; the sum over all incarnations is exact. Imports `domain`.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::{Client, Row};
use uuid::Uuid;

use crate::domain::ids::OrgId;
use crate::domain::milestone::QuotaReached;
use crate::domain::organization::TeamName;
use crate::domain::secret::Secret;
use crate::domain::usage::Used;
use crate::stores::directory::url::{Database, UrlError};
use crate::stores::migrate::describe;

use super::book::{Dates, Sums};
use super::table::Key;

/// Time for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Time for one statement.
const ANSWER: Duration = Duration::from_secs(10);
/// Rows of one statement.
pub(super) const BATCH: usize = 4_096;

/// Commits wait until they are on the disk: a journal is given up for what they acknowledge.
const BEGIN: &str = "
    set statement_timeout = '10s';
    select set_config('synchronous_commit', 'on', false)
    where current_setting('synchronous_commit') = 'off'";

/// The gateway's user needs `insert`, `update` and `select` on this table, and nothing else.
const RAISE: &str = "
    insert into tollgate.usage
        (incarnation, node, day, organization_id, kind, subject, team,
            calls, bytes_in, bytes_out, cost)
    select $1, $2, used.day::date, used.organization, used.kind, used.subject, used.team,
        used.calls, used.bytes_in, used.bytes_out, used.cost
    from unnest($3::text[], $4::uuid[], $5::text[], $6::text[], $7::text[],
            $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[])
        used(day, organization, kind, subject, team, calls, bytes_in, bytes_out, cost)
    on conflict (incarnation, day, organization_id, kind, subject, team) do update set
        calls = greatest(usage.calls, excluded.calls),
        bytes_in = greatest(usage.bytes_in, excluded.bytes_in),
        bytes_out = greatest(usage.bytes_out, excluded.bytes_out),
        cost = greatest(usage.cost, excluded.cost),
        updated_at = now()";

/// What all but some incarnations have used since the first of a month, and on a day of it; for each
/// organization those of its zone.
const SUMS: &str = "
    select wanted.organization as organization_id,
        coalesce(sum(calls), 0)::bigint as calls, coalesce(sum(bytes_in), 0)::bigint as bytes_in,
        coalesce(sum(bytes_out), 0)::bigint as bytes_out, coalesce(sum(cost), 0)::bigint as cost,
        coalesce(sum(calls) filter (where day = wanted.today::date), 0)::bigint as day_calls,
        coalesce(sum(bytes_in) filter (where day = wanted.today::date), 0)::bigint as day_bytes_in,
        coalesce(sum(bytes_out) filter (where day = wanted.today::date), 0)::bigint as day_bytes_out,
        coalesce(sum(cost) filter (where day = wanted.today::date), 0)::bigint as day_cost
    from unnest($1::uuid[], $2::text[], $3::text[]) wanted(organization, month, today)
    join tollgate.usage on usage.organization_id = wanted.organization
        and day between wanted.month::date and wanted.today::date
    where incarnation <> all($4::uuid[])
    group by wanted.organization";

/// Claims events that nobody has told of: of which nobody had heard, this process' own, and those of
/// a process that has not told in time.
const CLAIM: &str = "
    insert into tollgate.quota_thresholds as known
        (organization_id, quota, period, begins, percent, used, amount, node, claimed_by)
    select organization, quota, period, begins::date, percent, used, amount, $1, $2
    from unnest($3::uuid[], $4::text[], $5::text[], $6::text[], $7::int[], $8::bigint[],
        $9::bigint[]) reached(organization, quota, period, begins, percent, used, amount)
    order by 1, 2, 3, 4, 5
    on conflict (organization_id, quota, period, begins, percent) do update set
        node = excluded.node, claimed_by = excluded.claimed_by, claimed_at = now()
    where known.told_at is null and (known.claimed_by = excluded.claimed_by
        or known.claimed_at < now() - interval '1 minute')
    returning organization_id, quota, period, begins::text, percent";

/// Of these events, those that were told.
const TOLD: &str = "
    select known.organization_id, known.quota, known.period, known.begins::text, known.percent
    from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::int[])
        reached(organization, quota, period, begins, percent)
    join tollgate.quota_thresholds known on known.organization_id = reached.organization
        and known.quota = reached.quota and known.period = reached.period
        and known.begins = reached.begins::date and known.percent = reached.percent
    where known.told_at is not null";

/// Notes that they were told.
const NOTE: &str = "
    update tollgate.quota_thresholds known set told_at = now()
    from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::int[])
        reached(organization, quota, period, begins, percent)
    where known.organization_id = reached.organization and known.quota = reached.quota
        and known.period = reached.period and known.begins = reached.begins::date
        and known.percent = reached.percent and known.claimed_by = $6 and known.told_at is null";

/// Whose it is to tell of events.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// This process'.
    pub(super) mine: Vec<QuotaReached>,
    /// Nobody's any more.
    pub(super) told: Vec<QuotaReached>,
}

/// Why something could not be written. What was to be written may be there nevertheless.
#[derive(Debug, thiserror::Error)]
pub(super) enum LedgerError {
    #[error("the database of the usage ledger cannot be reached: {0}")]
    Connect(String),
    #[error("the usage ledger cannot be written (see `tollgate migrate`): {0}")]
    Write(String),
    #[error("the usage ledger cannot be read (see `tollgate migrate`): {0}")]
    Read(String),
    #[error("the usage ledger cannot say who tells of thresholds (see `tollgate migrate`): {0}")]
    Tell(String),
}

/// A connection that is made when it is needed.
pub(super) struct Ledger {
    database: Database,
    client: Option<Client>,
}

impl Ledger {
    pub(super) fn new(url: &Secret) -> Result<Self, UrlError> {
        Ok(Self { database: Database::parse(url)?, client: None })
    }

    /// Raises the counters of an incarnation to these.
    pub(super) async fn raise(
        &mut self,
        incarnation: Uuid,
        node: &str,
        rows: &[(Key, Used)],
    ) -> Result<(), LedgerError> {
        let client = self.client().await?;
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let numbers = |of: fn(&Used) -> u64| -> Vec<i64> {
            rows.iter().map(|(_, used)| signed(of(used))).collect()
        };
        let days: Vec<String> = rows.iter().map(|(key, _)| key.day.to_string()).collect();
        let organizations: Vec<Uuid> =
            rows.iter().map(|(key, _)| *key.organization.as_uuid()).collect();
        let kinds: Vec<&str> = rows.iter().map(|(key, _)| key.consumer.kind()).collect();
        let subjects: Vec<&str> = rows.iter().map(|(key, _)| key.consumer.subject()).collect();
        let teams: Vec<&str> =
            rows.iter().map(|(key, _)| key.team.as_ref().map_or("", TeamName::as_str)).collect();
        let (calls, cost) = (numbers(|used| used.calls), numbers(|used| used.cost));
        let (inwards, outwards) = (numbers(|used| used.bytes_in), numbers(|used| used.bytes_out));
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 11] = [
            &incarnation,
            &node,
            &days,
            &organizations,
            &kinds,
            &subjects,
            &teams,
            &calls,
            &inwards,
            &outwards,
            &cost,
        ];
        let written = timeout(ANSWER, client.execute(RAISE, &parameters)).await;
        let why = match written {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => describe(&error),
            Err(_) => format!("no answer within {} s", ANSWER.as_secs()),
        };
        // Whatever state the connection is in: the next attempt has a fresh one.
        self.client = None;
        Err(LedgerError::Write(why))
    }

    /// What others than these incarnations have used in those periods. Who is missing has used
    /// nothing.
    pub(super) async fn sums(
        &mut self,
        wanted: &[(OrgId, Dates)],
        without: &[Uuid],
    ) -> Result<HashMap<OrgId, Sums>, LedgerError> {
        let client = self.client().await?;
        let ids: Vec<Uuid> = wanted.iter().map(|(id, _)| *id.as_uuid()).collect();
        let months: Vec<String> = wanted.iter().map(|(_, dates)| dates.month.to_string()).collect();
        let days: Vec<String> = wanted.iter().map(|(_, dates)| dates.day.to_string()).collect();
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
            [&ids, &months, &days, &without];
        let why = match timeout(ANSWER, client.query(SUMS, &parameters)).await {
            Ok(Ok(rows)) => match rows.iter().map(sums).collect() {
                Ok(sums) => return Ok(sums),
                Err(error) => describe(&error),
            },
            Ok(Err(error)) => describe(&error),
            Err(_) => format!("no answer within {} s", ANSWER.as_secs()),
        };
        self.client = None;
        Err(LedgerError::Read(why))
    }

    /// Claims events for this process. What is neither its own nor told is another's for now.
    pub(super) async fn claim(
        &mut self,
        process: Uuid,
        node: &str,
        events: &[QuotaReached],
    ) -> Result<Claims, LedgerError> {
        let keys = Keys::of(events);
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let used: Vec<i64> = events.iter().map(|event| signed(event.used)).collect();
        let amounts: Vec<i64> = events.iter().map(|event| signed(event.amount)).collect();
        let [organizations, quotas, periods, begins, percents] = keys.parameters();
        let claimed = self
            .ask(
                CLAIM,
                &[
                    &node,
                    &process,
                    organizations,
                    quotas,
                    periods,
                    begins,
                    percents,
                    &used,
                    &amounts,
                ],
            )
            .await?;
        let named = |rows: &[Row]| -> Vec<QuotaReached> {
            let same = |event: &&QuotaReached| rows.iter().any(|row| names(row, event));
            events.iter().filter(same).cloned().collect()
        };
        let mine = named(&claimed);
        if mine.len() == events.len() {
            return Ok(Claims { mine, told: Vec::new() });
        }
        let told = self.ask(TOLD, &keys.parameters()).await?;
        Ok(Claims { mine, told: named(&told) })
    }

    /// Notes that this process has told of these.
    pub(super) async fn told(
        &mut self,
        process: Uuid,
        events: &[QuotaReached],
    ) -> Result<(), LedgerError> {
        if events.is_empty() {
            return Ok(());
        }
        let keys = Keys::of(events);
        let [organizations, quotas, periods, begins, percents] = keys.parameters();
        let parameters = [organizations, quotas, periods, begins, percents, &process];
        self.ask(NOTE, &parameters).await.map(drop)
    }

    async fn ask(
        &mut self,
        sql: &str,
        parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)],
    ) -> Result<Vec<Row>, LedgerError> {
        let client = self.client().await?;
        let why = match timeout(ANSWER, client.query(sql, parameters)).await {
            Ok(Ok(rows)) => return Ok(rows),
            Ok(Err(error)) => describe(&error),
            Err(_) => format!("no answer within {} s", ANSWER.as_secs()),
        };
        self.client = None;
        Err(LedgerError::Tell(why))
    }

    async fn client(&mut self) -> Result<&Client, LedgerError> {
        let usable = self.client.take().filter(|client| !client.is_closed());
        let client = match usable {
            Some(client) => client,
            None => connect(&self.database).await.map_err(LedgerError::Connect)?,
        };
        Ok(self.client.insert(client))
    }
}

/// What tells events apart, as columns.
struct Keys<'e> {
    organizations: Vec<Uuid>,
    quotas: Vec<&'e str>,
    periods: Vec<&'e str>,
    begins: Vec<&'e str>,
    percents: Vec<i32>,
}

impl<'e> Keys<'e> {
    fn of(events: &'e [QuotaReached]) -> Self {
        Self {
            organizations: events.iter().map(|of| *of.organization.as_uuid()).collect(),
            quotas: events.iter().map(|of| of.quota.as_ref()).collect(),
            periods: events.iter().map(|of| of.period).collect(),
            begins: events.iter().map(|of| of.begins.as_ref()).collect(),
            percents: events.iter().map(|of| i32::from(of.percent)).collect(),
        }
    }

    fn parameters(&self) -> [&(dyn tokio_postgres::types::ToSql + Sync); 5] {
        [&self.organizations, &self.quotas, &self.periods, &self.begins, &self.percents]
    }
}

/// Whether a row is about an event.
fn names(row: &Row, event: &QuotaReached) -> bool {
    let text = |column: usize| row.try_get::<_, &str>(column).unwrap_or_default();
    row.try_get(0).is_ok_and(|id: Uuid| id == *event.organization.as_uuid())
        && text(1) == &*event.quota
        && text(2) == event.period
        && text(3) == &*event.begins
        && row.try_get(4).is_ok_and(|percent: i32| percent == i32::from(event.percent))
}

fn sums(row: &Row) -> Result<(OrgId, Sums), tokio_postgres::Error> {
    let number = |name: &str| -> Result<u64, tokio_postgres::Error> {
        let number: i64 = row.try_get(name)?;
        // The table has no negative ones.
        Ok(u64::try_from(number).unwrap_or(0))
    };
    let month = Used {
        calls: number("calls")?,
        bytes_in: number("bytes_in")?,
        bytes_out: number("bytes_out")?,
        cost: number("cost")?,
    };
    let day = Used {
        calls: number("day_calls")?,
        bytes_in: number("day_bytes_in")?,
        bytes_out: number("day_bytes_out")?,
        cost: number("day_cost")?,
    };
    Ok((OrgId::new(row.try_get("organization_id")?), Sums { day, month }))
}

async fn connect(database: &Database) -> Result<Client, String> {
    let connecting = async {
        let (client, connection) = database.config.connect(database.tls.clone()).await?;
        // Ends with its client; an error in it reaches the client's callers.
        tokio::spawn(connection);
        client.batch_execute(BEGIN).await?;
        Ok::<_, tokio_postgres::Error>(client)
    };
    match timeout(CONNECT, connecting).await {
        Ok(Ok(client)) => Ok(client),
        Ok(Err(error)) => Err(describe(&error)),
        Err(_) => Err(format!("no connection within {} s", CONNECT.as_secs())),
    }
}
