//! A few connections to the directory's database, kept up in the background.
//!
//! A request takes one that is up and never connects on its own account. Where none is up, it
//! waits only while the outcome of a first attempt is open; once an attempt has failed, requests
//! learn at once that the database is away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{Notify, OnceCell, watch};
use tokio::time::timeout;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Row, Statement};

use crate::config::settings::{DirectoryQueries, PostgresDirectory};

use super::rows::RowError;
use super::url::Database;

/// Time for a connection to come up, TLS and statements included.
const CONNECT: Duration = Duration::from_secs(5);
/// First wait after a failed attempt; it doubles up to [`MAX_BACKOFF`].
const MIN_BACKOFF: Duration = Duration::from_millis(100);
/// Longest wait after a failed attempt: so long the database may be back unnoticed.
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// A connection that lasted for so long is worth another at once.
const A_WHILE: Duration = Duration::from_secs(1);

/// Why an entry could not be loaded.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error("{0}")]
    Unreachable(String),
    #[error(transparent)]
    Row(#[from] RowError),
}

/// What can be asked.
#[derive(Debug, Clone, Copy)]
pub(super) enum Query {
    OrganizationById,
    OrganizationBySlug,
    Membership,
    DefaultMembership,
    MachineKey,
}

/// The connections.
pub(super) struct Pool {
    database: Database,
    queries: DirectoryQueries,
    answer_within: Duration,
    slots: Vec<ArcSwapOption<Session>>,
    next: AtomicUsize,
    reach: watch::Sender<Reach>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Trying,
    Up,
    Down,
}

/// How a connection ended.
enum End {
    ClosedAfterAWhile,
    Closed(String),
    FailedAQuery,
}

struct Session {
    client: Client,
    statements: Statements,
    abandoned: Notify,
}

struct Statements {
    organization_by_id: Statement,
    organization_by_slug: Statement,
    membership: Statement,
    default_membership: Statement,
    /// Prepared when it is asked for the first time: a database that was not migrated since there
    /// are keys of machines still serves the rest.
    machine_key: OnceCell<Statement>,
}

impl Pool {
    pub(super) fn new(settings: &PostgresDirectory, database: Database) -> Arc<Self> {
        let count = settings.connections.get();
        Arc::new(Self {
            database,
            queries: settings.queries.clone(),
            answer_within: settings.timeout,
            slots: (0..count).map(|_| ArcSwapOption::empty()).collect(),
            next: AtomicUsize::new(0),
            reach: watch::Sender::new(Reach::Trying),
        })
    }

    /// How many connections there are to keep up.
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Whether one is up.
    pub(super) fn is_up(&self) -> bool {
        *self.reach.borrow() == Reach::Up
    }

    /// The one row of a query, if there is one.
    pub(super) async fn row(
        &self,
        query: Query,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, LoadError> {
        let away = |why: &str| LoadError::Unreachable(why.to_owned());
        let session = match self.session() {
            Some(session) => session,
            None => self.first_session().await.ok_or_else(|| away("no connection is up"))?,
        };
        let statement = match query {
            Query::OrganizationById => &session.statements.organization_by_id,
            Query::OrganizationBySlug => &session.statements.organization_by_slug,
            Query::Membership => &session.statements.membership,
            Query::DefaultMembership => &session.statements.default_membership,
            Query::MachineKey => self.machine_key(&session).await?,
        };
        match timeout(self.answer_within, session.client.query_opt(statement, parameters)).await {
            Ok(Ok(row)) => Ok(row),
            Ok(Err(error)) => {
                session.abandoned.notify_one();
                let error = describe(&error);
                tracing::warn!(?query, %error, "a query of the directory failed");
                Err(LoadError::Unreachable(error))
            }
            Err(_) => {
                session.abandoned.notify_one();
                Err(away("no answer in time"))
            }
        }
    }

    /// The statement for keys of machines. That it cannot be had says nothing about the connection.
    async fn machine_key<'s>(&self, session: &'s Session) -> Result<&'s Statement, LoadError> {
        let query = &self.queries.machine_key;
        let prepare = || session.client.prepare_typed(query, &[Type::TEXT]);
        let prepared = session.statements.machine_key.get_or_try_init(prepare);
        match timeout(self.answer_within, prepared).await {
            Ok(Ok(statement)) => Ok(statement),
            Ok(Err(error)) => {
                let error = describe(&error);
                tracing::warn!(%error, "keys of machines cannot be asked for: see `tollgate migrate`");
                Err(LoadError::Unreachable(error))
            }
            Err(_) => Err(LoadError::Unreachable("no answer in time".to_owned())),
        }
    }

    fn session(&self) -> Option<Arc<Session>> {
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        let turn = self.slots.iter().cycle().skip(start % self.slots.len().max(1));
        turn.take(self.slots.len()).find_map(ArcSwapOption::load_full)
    }

    /// Waits while nobody knows yet whether the database can be reached.
    async fn first_session(&self) -> Option<Arc<Session>> {
        let mut reach = self.reach.subscribe();
        let known = reach.wait_for(|reach| *reach != Reach::Trying);
        timeout(self.answer_within, known).await.ok()?.ok()?;
        self.session()
    }

    /// Keeps one connection up, for ever.
    pub(super) async fn keep_up(self: Arc<Self>, slot: usize) {
        let Some(slot) = self.slots.get(slot) else { return };
        let mut backoff = MIN_BACKOFF;
        loop {
            let error = match timeout(CONNECT, self.connect()).await {
                Ok(Ok((session, driver))) => {
                    backoff = MIN_BACKOFF;
                    match self.serve(slot, session, driver).await {
                        // A restart, or an operator's `pg_terminate_backend`: most likely there is
                        // another connection to be had, and requests may wait for it.
                        End::ClosedAfterAWhile => {
                            self.settle(Reach::Trying);
                            continue;
                        }
                        End::Closed(error) => error,
                        End::FailedAQuery => "a query failed or was not answered".to_owned(),
                    }
                }
                Ok(Err(error)) => describe(&error),
                Err(_) => format!("no connection within {} s", CONNECT.as_secs()),
            };
            if self.settle(Reach::Down) {
                tracing::warn!(%error, "the directory's database is away");
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
    }

    /// Says how it stands, if no connection is up; `true` if that is news.
    fn settle(&self, reach: Reach) -> bool {
        self.slots.iter().all(|slot| slot.load().is_none())
            && self.reach.send_replace(reach) != reach
    }

    /// Has requests use a connection until it ends.
    async fn serve(&self, slot: &ArcSwapOption<Session>, session: Session, driver: Driver) -> End {
        let session = Arc::new(session);
        slot.store(Some(Arc::clone(&session)));
        if self.reach.send_replace(Reach::Up) == Reach::Down {
            tracing::info!("the directory's database is back");
        }
        let lasted = AtomicBool::new(false);
        let lasting = async {
            tokio::time::sleep(A_WHILE).await;
            lasted.store(true, Ordering::Relaxed);
            std::future::pending().await
        };
        let end = tokio::select! {
            end = driver => match (lasted.load(Ordering::Relaxed), end) {
                (true, _) => End::ClosedAfterAWhile,
                (false, Err(error)) => End::Closed(describe(&error)),
                (false, Ok(())) => End::Closed("it was closed".to_owned()),
            },
            () = session.abandoned.notified() => End::FailedAQuery,
            never = lasting => never,
        };
        slot.store(None);
        end
    }

    async fn connect(&self) -> Result<(Session, Driver), Error> {
        let (client, connection) = self.database.config.connect(self.database.tls.clone()).await?;
        let mut driver: Driver = Box::pin(connection);
        let statements = tokio::select! {
            statements = self.prepare(&client) => statements?,
            end = &mut driver => {
                end?;
                // Closed without an error: whatever is asked next gives one.
                self.prepare(&client).await?
            }
        };
        Ok((Session { client, statements, abandoned: Notify::new() }, driver))
    }

    async fn prepare(&self, client: &Client) -> Result<Statements, Error> {
        let millis = self.answer_within.as_millis().max(1);
        let set =
            format!("set statement_timeout = {millis}; set default_transaction_read_only = on");
        client.batch_execute(&set).await?;
        let queries = &self.queries;
        Ok(Statements {
            organization_by_id: client
                .prepare_typed(&queries.organization_by_id, &[Type::UUID])
                .await?,
            organization_by_slug: client
                .prepare_typed(&queries.organization_by_slug, &[Type::TEXT])
                .await?,
            membership: client
                .prepare_typed(&queries.membership, &[Type::TEXT, Type::UUID])
                .await?,
            default_membership: client
                .prepare_typed(&queries.default_membership, &[Type::TEXT])
                .await?,
            machine_key: OnceCell::new(),
        })
    }
}

/// Moves a connection's bytes; ends with it.
type Driver = std::pin::Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// What the client library says, with its cause, which is where the reason is.
pub(super) fn describe(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
