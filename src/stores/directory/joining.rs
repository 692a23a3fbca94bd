//! Memberships that are written to the directory, because an identity provider vouches for them.
//!
//! The connections that requests read by cannot write. This one is made when it is needed for the
//! first time, and again after it failed; writes take turns on it. Nobody waits longer than for a
//! query.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use crate::config::settings::PostgresDirectory;
use crate::domain::known::{Join, MembershipChange};

use super::connections::describe;
use super::url::Database;

/// The one connection that writes.
pub(super) struct Writer {
    database: Database,
    join: Arc<str>,
    change_role: Arc<str>,
    within: Duration,
    client: Mutex<Option<Client>>,
}

impl Writer {
    pub(super) fn new(settings: &PostgresDirectory, database: Database) -> Self {
        let queries = &settings.queries;
        Self {
            database,
            join: Arc::clone(&queries.join),
            change_role: Arc::clone(&queries.change_role),
            within: settings.timeout,
            client: Mutex::new(None),
        }
    }

    /// Writes a membership; whether it changed anything.
    ///
    /// # Errors
    /// What the database said, or that it said nothing in time.
    pub(super) async fn write(&self, join: &Join) -> Result<bool, String> {
        let late = |_| "no answer in time".to_owned();
        timeout(self.within, self.written(join)).await.map_err(late)?
    }

    async fn written(&self, join: &Join) -> Result<bool, String> {
        let mut place = self.client.lock().await;
        // Taken out: a write that is given up leaves no connection with a reply on its way.
        let client = match place.take().filter(|client| !client.is_closed()) {
            Some(client) => client,
            None => self.connect().await?,
        };
        let statement = match join.change {
            MembershipChange::Created => &self.join,
            MembershipChange::RoleChanged => &self.change_role,
        };
        let further: Vec<&str> = join.further.iter().map(AsRef::as_ref).collect();
        let as_of = i64::try_from(join.as_of).unwrap_or(i64::MAX);
        let (user, role) = (join.user.as_str(), join.role.as_ref());
        let parameters: [(&(dyn ToSql + Sync), Type); 5] = [
            (&user, Type::TEXT),
            (join.organization.as_uuid(), Type::UUID),
            (&role, Type::TEXT),
            (&further, Type::TEXT_ARRAY),
            (&as_of, Type::INT8),
        ];
        let rows = client.query_typed(statement, &parameters).await;
        let rows = rows.map_err(|error| describe(&error))?;
        *place = Some(client);
        Ok(!rows.is_empty())
    }

    async fn connect(&self) -> Result<Client, String> {
        let connecting = self.database.config.connect(self.database.tls.clone());
        let (client, connection) = connecting.await.map_err(|error| describe(&error))?;
        // Ends with the client.
        tokio::spawn(async move { drop(connection.await) });
        let millis = self.within.as_millis().max(1);
        let set = format!("set statement_timeout = {millis}");
        client.batch_execute(&set).await.map_err(|error| describe(&error))?;
        Ok(client)
    }
}
