//! Keys of machines in PostgreSQL, as `tollgate keys` writes and lists them.
//!
//! Used by the command, never by a gateway that serves: one connection, one statement. Gateways hear
//! of each change by the triggers of `deploy/sql/0004_api_keys.sql`. May import `domain`.

use std::time::Duration;

use serde::Serialize;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row};

use crate::domain::machine::{KeyHash, KeyId};
use crate::domain::organization::OrgSelector;
use crate::domain::secret::Secret;

use super::directory::url::{Database, UrlError};
use super::migrate::describe;

/// Time for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Time for a statement.
const ANSWER: Duration = Duration::from_secs(30);
/// Keys that are listed.
const MOST: i64 = 10_000;

const CREATE: &str = "
    insert into tollgate.api_keys
        (id, organization_id, name, hash, scopes, addresses, limit_name, expires_at)
    select $1, o.id, $3, $4, $5, $6::text[]::cidr[], $7, to_timestamp($8::bigint::double precision)
    from tollgate.organizations o
    where o.id::text = $2 or o.slug = $2
    returning id";
const ROTATE: &str = "
    update tollgate.api_keys set
        hash = $2,
        previous_hash = case when $3::bigint > 0 then hash end,
        previous_until = case when $3::bigint > 0
            then now() + make_interval(secs => $3::bigint::double precision) end,
        expires_at = coalesce(to_timestamp($4::bigint::double precision), expires_at)
    where id = $1 and status = 'active'
    returning id";
const REVOKE: &str = "
    update tollgate.api_keys
    set status = 'revoked', previous_hash = null, previous_until = null
    where id = $1 and status = 'active'
    returning id";
const LIST: &str = "
    select k.id, o.slug as organization, k.name, k.scopes, k.addresses::text[] as addresses,
        k.limit_name, k.status,
        extract(epoch from k.expires_at)::bigint as expires_at,
        extract(epoch from k.previous_until)::bigint as previous_until,
        extract(epoch from u.last_used_at)::bigint as last_used_at
    from tollgate.api_keys k
    join tollgate.organizations o on o.id = k.organization_id
    left join tollgate.api_key_uses u on u.key_id = k.id
    where $1::text is null or o.id::text = $1 or o.slug = $1
    order by o.slug, k.created_at, k.id
    limit $2";
const STATUS: &str = "select status from tollgate.api_keys where id = $1";

/// Why a key could not be written or listed.
#[derive(Debug, thiserror::Error)]
pub enum KeyStoreError {
    /// The address cannot be used.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The database cannot be reached, or does not answer.
    #[error("the database cannot be asked: {0}")]
    Away(String),
    /// The tables are not there.
    #[error("the database has no table for keys: run `tollgate migrate`")]
    NotMigrated,
    /// There is no such organization.
    #[error("the directory has no organization `{0}`")]
    UnknownOrganization(OrgSelector),
    /// The organization has an active key of this name.
    #[error("an active key of the organization is called `{0}`: revoke it, or choose another name")]
    NameTaken(String),
    /// There is no such key.
    #[error("the directory has no key `{0}`")]
    UnknownKey(KeyId),
    /// The key was revoked before.
    #[error("the key `{0}` was revoked; create another")]
    Revoked(KeyId),
}

/// A key to be written.
#[derive(Debug, Clone)]
pub struct Created<'k> {
    /// Its id.
    pub id: KeyId,
    /// Whose it is.
    pub organization: &'k OrgSelector,
    /// What it is called.
    pub name: &'k str,
    /// Of the whole key.
    pub hash: KeyHash,
    /// `resource:action`.
    pub scopes: Vec<String>,
    /// Networks.
    pub addresses: Vec<String>,
    /// A limit of the policy.
    pub limit: Option<&'k str>,
    /// Seconds since 1970.
    pub expires_at: Option<i64>,
}

/// A key as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// The slug of its organization.
    pub organization: String,
    /// What it is called.
    pub name: String,
    /// `resource:action`.
    pub scopes: Vec<String>,
    /// Networks; none: all.
    pub addresses: Vec<String>,
    /// A limit of the policy.
    pub limit: Option<String>,
    /// `active` or `revoked`.
    pub status: String,
    /// Seconds since 1970.
    pub expires_at: Option<i64>,
    /// Until when the secret before the last rotation counts, in seconds since 1970.
    pub previous_until: Option<i64>,
    /// Seconds since 1970, up to a minute early.
    pub last_used_at: Option<i64>,
}

/// A database with keys.
pub struct KeyTable {
    client: Client,
}

impl KeyTable {
    /// Connects. The connection's work is done on the runtime that this is called on.
    ///
    /// # Errors
    /// [`KeyStoreError::Url`], [`KeyStoreError::Away`].
    pub async fn open(url: &Secret) -> Result<Self, KeyStoreError> {
        let database = Database::parse(url)?;
        let connecting = database.config.connect(database.tls.clone());
        let (client, connection) = timeout(CONNECT, connecting)
            .await
            .map_err(|_| KeyStoreError::Away("no connection in time".into()))?
            .map_err(|error| KeyStoreError::Away(describe(&error)))?;
        // Ends with the client; an error in it reaches the client's callers.
        tokio::spawn(connection);
        Ok(Self { client })
    }

    /// Writes a key.
    ///
    /// # Errors
    /// See [`KeyStoreError`].
    pub async fn create(&self, key: &Created<'_>) -> Result<(), KeyStoreError> {
        let organization = key.organization.to_string();
        let hash = key.hash.to_string();
        let written = self
            .ask(
                CREATE,
                &[
                    &key.id.as_str(),
                    &organization,
                    &key.name,
                    &hash,
                    &key.scopes,
                    &key.addresses,
                    &key.limit,
                    &key.expires_at,
                ],
            )
            .await;
        match written {
            Ok(rows) if rows.is_empty() => {
                Err(KeyStoreError::UnknownOrganization(key.organization.clone()))
            }
            Ok(_) => Ok(()),
            Err(Asked::Database(error)) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
                Err(KeyStoreError::NameTaken(key.name.to_owned()))
            }
            Err(other) => Err(other.into()),
        }
    }

    /// Puts another secret in the place of a key's, which counts for as long as they overlap.
    ///
    /// # Errors
    /// See [`KeyStoreError`].
    pub async fn rotate(
        &self,
        id: KeyId,
        hash: KeyHash,
        overlap: Option<Duration>,
        expires_at: Option<i64>,
    ) -> Result<(), KeyStoreError> {
        let overlap = overlap.map_or(0, |overlap| overlap.as_secs());
        let overlap = i64::try_from(overlap).unwrap_or(i64::MAX);
        let hash = hash.to_string();
        let rows = self.ask(ROTATE, &[&id.as_str(), &hash, &overlap, &expires_at]).await?;
        if rows.is_empty() { Err(self.why_not(id).await?) } else { Ok(()) }
    }

    /// Takes a key back.
    ///
    /// # Errors
    /// See [`KeyStoreError`].
    pub async fn revoke(&self, id: KeyId) -> Result<(), KeyStoreError> {
        let rows = self.ask(REVOKE, &[&id.as_str()]).await?;
        if rows.is_empty() { Err(self.why_not(id).await?) } else { Ok(()) }
    }

    /// The keys, of one organization or of all.
    ///
    /// # Errors
    /// See [`KeyStoreError`].
    pub async fn list(
        &self,
        organization: Option<&OrgSelector>,
    ) -> Result<Vec<Listed>, KeyStoreError> {
        let organization = organization.map(ToString::to_string);
        let rows = self.ask(LIST, &[&organization, &MOST]).await?;
        let listed: Result<Vec<Listed>, Error> = rows.iter().map(listed).collect();
        listed.map_err(|error| Asked::Database(error).into())
    }

    async fn why_not(&self, id: KeyId) -> Result<KeyStoreError, KeyStoreError> {
        let rows = self.ask(STATUS, &[&id.as_str()]).await?;
        Ok(if rows.is_empty() { KeyStoreError::UnknownKey(id) } else { KeyStoreError::Revoked(id) })
    }

    async fn ask(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Asked> {
        match timeout(ANSWER, self.client.query(sql, values)).await {
            Ok(answer) => answer.map_err(Asked::Database),
            Err(_) => Err(Asked::Late),
        }
    }
}

enum Asked {
    Database(Error),
    Late,
}

impl From<Asked> for KeyStoreError {
    fn from(asked: Asked) -> Self {
        let missing = [SqlState::UNDEFINED_TABLE, SqlState::INVALID_SCHEMA_NAME];
        match asked {
            Asked::Late => Self::Away("no answer in time".into()),
            Asked::Database(error) => match error.code() {
                Some(code) if missing.contains(code) => Self::NotMigrated,
                _ => Self::Away(describe(&error)),
            },
        }
    }
}

fn listed(row: &Row) -> Result<Listed, Error> {
    Ok(Listed {
        id: row.try_get("id")?,
        organization: row.try_get("organization")?,
        name: row.try_get("name")?,
        scopes: row.try_get("scopes")?,
        addresses: row.try_get("addresses")?,
        limit: row.try_get("limit_name")?,
        status: row.try_get("status")?,
        expires_at: row.try_get("expires_at")?,
        previous_until: row.try_get("previous_until")?,
        last_used_at: row.try_get("last_used_at")?,
    })
}
