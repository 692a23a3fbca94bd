//! The directory in PostgreSQL: four shelves of entries over a few connections, and one more
//! connection that listens for changes.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_postgres::{AsyncMessage, Error};

use crate::config::settings::PostgresDirectory;
use crate::domain::clock::{Clock, Now};
use crate::domain::ids::{OrgId, UserId};
use crate::domain::known::{Join, Lookup, Outage};
use crate::domain::machine::{KeyId, MachineKey};
use crate::domain::organization::{Membership, OrgSelector, Organization};
use crate::telemetry::labels::Outcome;
use crate::telemetry::metrics::Metrics;

use super::connections::{LoadError, Pool, Query, describe};
use super::flights::Flights;
use super::invalidation::{Changes, Target};
use super::joining::Writer;
use super::rows;
use super::shelf::{Kind, Shared, Shelf, Times};
use super::url::Database;
pub use super::url::UrlError;
use super::uses::Uses;

/// The channel of `deploy/sql/0002_directory_notify.sql`.
const LISTEN: &str = "listen tollgate_directory";
/// Time between two signs of life on the listening connection, which is silent otherwise.
const PING: Duration = Duration::from_secs(5);
/// Wait after the listening connection was lost.
const RELISTEN: Duration = Duration::from_millis(500);

/// A directory in PostgreSQL. Its connections and loads live on the runtime it was started on.
pub struct PostgresStore {
    shelves: Arc<Shelves>,
    tasks: Vec<AbortHandle>,
}

struct Shelves {
    shared: Arc<Shared>,
    organizations: Arc<Shelf<Organizations>>,
    memberships: Arc<Shelf<Memberships>>,
    defaults: Arc<Shelf<Defaults>>,
    machine_keys: Arc<Shelf<MachineKeys>>,
    uses: Uses,
    writer: Writer,
    joins: Flights<Arc<Join>, (Lookup<Arc<Membership>>, bool)>,
}

impl PostgresStore {
    /// Starts to connect, in the background. The database may be away.
    ///
    /// # Errors
    /// [`UrlError`] if the address cannot be used at all.
    pub fn start(
        settings: &PostgresDirectory,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        runtime: &Handle,
    ) -> Result<Arc<Self>, UrlError> {
        let database = Database::parse(&settings.url)?;
        let pool = Pool::new(settings, database.clone());
        let times = Times {
            ttl: settings.ttl,
            max_stale: settings.max_stale,
            negative_ttl: settings.negative_ttl,
        };
        let shared = Arc::new(Shared {
            pool: Arc::clone(&pool),
            changes: Changes::default(),
            times,
            clock,
            metrics,
            runtime: runtime.clone(),
        });
        let shelves = Arc::new(Shelves {
            organizations: Shelf::new(Arc::clone(&shared), settings.capacity),
            memberships: Shelf::new(Arc::clone(&shared), settings.capacity),
            defaults: Shelf::new(Arc::clone(&shared), settings.capacity),
            machine_keys: Shelf::new(Arc::clone(&shared), settings.capacity),
            uses: Uses::new(),
            writer: Writer::new(settings, database.clone()),
            joins: Flights::new(runtime.clone()),
            shared,
        });
        let keep_up = |slot| runtime.spawn(Arc::clone(&pool).keep_up(slot)).abort_handle();
        let mut tasks: Vec<AbortHandle> = (0..pool.slots()).map(keep_up).collect();
        let listen = listen(database, Arc::clone(&shelves), settings.timeout);
        tasks.push(runtime.spawn(listen).abort_handle());
        Ok(Arc::new(Self { shelves, tasks }))
    }

    /// The organization, if this node knows.
    pub fn organization(
        &self,
        selector: &OrgSelector,
        now: Now,
    ) -> Option<Lookup<Arc<Organization>>> {
        self.shelves.organizations.known(selector, now)
    }

    /// The membership, if this node knows.
    pub fn membership(
        &self,
        user: &UserId,
        organization: OrgId,
        now: Now,
    ) -> Option<Lookup<Arc<Membership>>> {
        self.shelves.memberships.known(&(user.clone(), organization), now)
    }

    /// The user's default membership, if this node knows.
    pub fn default_membership(&self, user: &UserId, now: Now) -> Option<Lookup<Arc<Membership>>> {
        self.shelves.defaults.known(user, now)
    }

    /// The key of a machine, if this node knows.
    pub fn machine_key(&self, id: KeyId, now: Now) -> Option<Lookup<Arc<MachineKey>>> {
        self.shelves.machine_keys.known(&id, now)
    }

    /// Finds the organization.
    pub async fn find_organization(&self, selector: &OrgSelector) -> Lookup<Arc<Organization>> {
        self.shelves.organizations.find(selector).await
    }

    /// Finds the membership.
    pub async fn find_membership(
        &self,
        user: &UserId,
        organization: OrgId,
    ) -> Lookup<Arc<Membership>> {
        self.shelves.memberships.find(&(user.clone(), organization)).await
    }

    /// Finds the user's default membership.
    pub async fn find_default_membership(&self, user: &UserId) -> Lookup<Arc<Membership>> {
        self.shelves.defaults.find(user).await
    }

    /// Finds the key of a machine.
    pub async fn find_machine_key(&self, id: KeyId) -> Lookup<Arc<MachineKey>> {
        self.shelves.machine_keys.find(&id).await
    }

    /// Makes a membership, or brings it up to date; what it is now, and whether this call changed
    /// it. However many want the same, it is done once.
    pub async fn join(&self, join: &Arc<Join>) -> (Lookup<Arc<Membership>>, bool) {
        let mut mine = false;
        let flight = self.shelves.joins.join(join, || {
            mine = true;
            let (shelves, join) = (Arc::clone(&self.shelves), Arc::clone(join));
            async move { shelves.join(&join).await }
        });
        let landed = match flight {
            Some(flight) => flight.landed().await,
            None => None,
        };
        let (found, changed) = landed.unwrap_or((Lookup::Away(Outage::Directory), false));
        (found, changed && mine)
    }

    /// The key of a machine was used.
    pub fn machine_key_used(&self, id: KeyId, now: Now) {
        self.shelves.uses.note(id, now);
    }

    /// Uses of keys that wait to be written.
    pub fn key_uses_waiting(&self) -> u64 {
        self.shelves.uses.waiting() as u64
    }

    /// Whether a connection is up.
    pub fn is_reachable(&self) -> bool {
        self.shelves.shared.pool.is_up()
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Shelves {
    async fn join(&self, join: &Join) -> (Lookup<Arc<Membership>>, bool) {
        let written = self.writer.write(join).await;
        let outcome = if written.is_ok() { Outcome::Ok } else { Outcome::Failed };
        self.shared.metrics.lookups.membership_written(outcome);
        match written {
            Ok(changed) => {
                // What this node remembers is older than what was just written.
                self.changed(&[Target::User(join.user.clone())]);
                let key = (join.user.clone(), join.organization);
                (self.memberships.load(&key).await, changed)
            }
            Err(error) => {
                tracing::warn!(%error, "a membership cannot be written to the directory");
                (Lookup::Away(Outage::Directory), false)
            }
        }
    }

    fn changed(&self, targets: &[Target]) {
        self.shared.changes.note(targets);
        self.organizations.forget(targets);
        self.memberships.forget(targets);
        self.defaults.forget(targets);
        self.machine_keys.forget(targets);
    }
}

struct Organizations;

impl Kind for Organizations {
    type Key = OrgSelector;
    type Value = Organization;

    async fn load(pool: &Pool, key: &OrgSelector) -> Result<Option<Organization>, LoadError> {
        let row = match key {
            OrgSelector::Id(id) => pool.row(Query::OrganizationById, &[id.as_uuid()]).await?,
            OrgSelector::Slug(slug) => {
                pool.row(Query::OrganizationBySlug, &[&slug.as_str()]).await?
            }
        };
        Ok(row.as_ref().map(rows::organization).transpose()?)
    }

    fn concerns(key: &OrgSelector, value: Option<&Organization>, target: &Target) -> bool {
        match (target, key, value) {
            (Target::All, _, _) => true,
            (Target::User(_) | Target::Key(_), _, _) => false,
            (Target::Organization(id), OrgSelector::Id(known), _) => id == known,
            (Target::Organization(id), OrgSelector::Slug(_), Some(known)) => *id == known.id,
            // It may have come into being, or been given this slug.
            (Target::Organization(_), OrgSelector::Slug(_), None) => true,
        }
    }
}

struct Memberships;

impl Kind for Memberships {
    type Key = (UserId, OrgId);
    type Value = Membership;

    async fn load(pool: &Pool, key: &Self::Key) -> Result<Option<Membership>, LoadError> {
        let (user, organization) = key;
        let row = pool.row(Query::Membership, &[&user.as_str(), organization.as_uuid()]).await?;
        Ok(row.map(|row| rows::membership(&row, user)).transpose()?)
    }

    fn concerns((user, organization): &Self::Key, _: Option<&Membership>, target: &Target) -> bool {
        match target {
            Target::All => true,
            Target::User(id) => id == user,
            Target::Organization(id) => id == organization,
            Target::Key(_) => false,
        }
    }
}

struct Defaults;

impl Kind for Defaults {
    type Key = UserId;
    type Value = Membership;

    async fn load(pool: &Pool, user: &UserId) -> Result<Option<Membership>, LoadError> {
        let row = pool.row(Query::DefaultMembership, &[&user.as_str()]).await?;
        Ok(row.map(|row| rows::membership(&row, user)).transpose()?)
    }

    fn concerns(user: &UserId, _: Option<&Membership>, target: &Target) -> bool {
        match target {
            // An organization that is active again may be anybody's default.
            Target::All | Target::Organization(_) => true,
            Target::User(id) => id == user,
            Target::Key(_) => false,
        }
    }
}

struct MachineKeys;

impl Kind for MachineKeys {
    type Key = KeyId;
    type Value = MachineKey;

    async fn load(pool: &Pool, id: &KeyId) -> Result<Option<MachineKey>, LoadError> {
        let row = pool.row(Query::MachineKey, &[&id.as_str()]).await?;
        Ok(row.map(|row| rows::machine_key(&row, *id)).transpose()?)
    }

    fn concerns(id: &KeyId, _: Option<&MachineKey>, target: &Target) -> bool {
        match target {
            Target::All => true,
            Target::Key(changed) => changed == id,
            // What changes of an organization is looked up with the organization.
            Target::Organization(_) | Target::User(_) => false,
        }
    }
}

/// Listens for changes, for ever.
async fn listen(database: Database, shelves: Arc<Shelves>, patience: Duration) {
    loop {
        let ended = hear(&database, &shelves, patience.max(Duration::from_secs(1))).await;
        tracing::debug!(reason = %ended, "the directory's changes are not heard of");
        tokio::time::sleep(RELISTEN).await;
    }
}

/// Listens on one connection until it ends; says why it ended.
async fn hear(database: &Database, shelves: &Arc<Shelves>, patience: Duration) -> String {
    let connecting = database.config.connect(database.tls.clone());
    let (client, mut connection) = match timeout(patience, connecting).await {
        Ok(Ok(connected)) => connected,
        Ok(Err(error)) => return describe(&error),
        Err(_) => return "no connection in time".to_owned(),
    };
    let mut heard = Vec::new();
    let driver = std::future::poll_fn(|cx| -> Poll<Result<(), Error>> {
        let end = loop {
            match connection.poll_message(cx) {
                Poll::Ready(Some(Ok(AsyncMessage::Notification(told)))) => {
                    heard.push(Target::parse(told.payload()));
                }
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(error))) => break Poll::Ready(Err(error)),
                Poll::Ready(None) => break Poll::Ready(Ok(())),
                Poll::Pending => break Poll::Pending,
            }
        };
        if !heard.is_empty() {
            shelves.changed(&heard);
            heard.clear();
        }
        end
    });
    let alive = async {
        let told = timeout(patience, client.batch_execute(LISTEN)).await;
        if !matches!(told, Ok(Ok(()))) {
            return "`listen` was not answered";
        }
        shelves.shared.changes.heard_since(shelves.shared.clock.now());
        loop {
            tokio::time::sleep(PING).await;
            if !matches!(timeout(patience, client.batch_execute("")).await, Ok(Ok(()))) {
                return "no sign of life";
            }
            match timeout(patience, shelves.uses.write(&client)).await {
                Ok(Ok(())) => {}
                // It may not, or there is no such table: that costs nobody a request.
                Ok(Err(error)) => {
                    let error = describe(&error);
                    tracing::debug!(%error, "the last uses of keys cannot be written");
                }
                Err(_) => return "last uses were not written in time",
            }
        }
    };
    tokio::select! {
        end = driver => end.map_or_else(|error| describe(&error), |()| "it was closed".into()),
        reason = alive => reason.to_owned(),
    }
}
