//! Rows of the directory's queries as organizations and memberships.
//!
//! A row that cannot be read (an unknown status, a malformed slug, a missing column) is an outage
//! of the directory and not an absence: a member must not be told 403 because of a mistake in a
//! table, and what cannot be read must not be served. It is logged, and the next request asks
//! again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;
use uuid::Uuid;

use crate::config::stated_rate;
use crate::domain::ids::{OrgId, UserId};
use crate::domain::machine::{KeyHash, KeyId, KeyStatus, MachineKey, PreviousSecret};
use crate::domain::organization::{
    Demands, MemberStatus, Membership, MoreRights, OrgStatus, Organization, SecondFactor, TeamRole,
};
use crate::domain::permission::PermissionPattern;
use crate::domain::zone::Zone;

/// What is wrong with a row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RowError {
    /// It is not there or of another type.
    #[error("column `{column}`: {error}")]
    Column { column: &'static str, error: String },
    /// It is there and not one of the values that mean something.
    #[error("column `{column}` holds `{value}`")]
    Value { column: &'static str, value: String },
}

/// `id uuid, slug, status, plan, features text[]`; where the query brings them, also
/// `feature_settings jsonb` (texts by name, by feature), `stage`, `addresses text[]`,
/// `limits jsonb` (rates by the name of the limit), `time_zone`,
/// `second_factor text[]` (roles, `*` for everybody) and `trusted_device bigint`,
/// `session_age bigint` and `session_idle bigint` (seconds).
pub(super) fn organization(row: &Row) -> Result<Organization, RowError> {
    let names: Vec<String> = column(row, "features")?;
    let mut settings: Settings = match optional(row, "feature_settings")? {
        None => Settings::new(),
        Some(stated) => serde_json::from_value(stated).map_err(|error| RowError::Column {
            column: "feature_settings",
            error: error.to_string(),
        })?,
    };
    let feature = |name: String| {
        let of = settings.remove(&name).unwrap_or_default();
        let of = of.into_iter().map(|(key, value)| (Arc::from(key), Arc::from(value)));
        (Arc::from(name), of.collect())
    };
    let features = names.into_iter().map(feature).collect();
    let slug: &str = column(row, "slug")?;
    let limits: BTreeMap<String, Value> = match optional::<Value>(row, "limits")? {
        None => BTreeMap::new(),
        Some(stated) => serde_json::from_value(stated)
            .map_err(|error| RowError::Column { column: "limits", error: error.to_string() })?,
    };
    let limit = |(name, stated): (String, Value)| {
        let rate = stated_rate(&stated).ok_or_else(|| odd("limits", &stated.to_string()))?;
        Ok((Arc::from(name), rate))
    };
    Ok(Organization {
        id: OrgId::new(column::<Uuid>(row, "id")?),
        slug: slug.parse().map_err(|_| odd("slug", slug))?,
        status: org_status(column(row, "status")?)?,
        plan: Arc::from(column::<&str>(row, "plan")?),
        features,
        limits: limits.into_iter().map(limit).collect::<Result<_, RowError>>()?,
        time_zone: time_zone(optional(row, "time_zone")?)?,
        demands: demands(row)?,
        stage: optional::<String>(row, "stage")?.map(Arc::from),
    })
}

/// A zone that nobody knows is a mistake in a table, and not another zone.
fn time_zone(stated: Option<String>) -> Result<Option<Zone>, RowError> {
    let parsed = stated.map(|name| name.parse().map_err(|_| odd("time_zone", &name)));
    parsed.transpose()
}

type Settings = BTreeMap<String, BTreeMap<String, String>>;

fn demands(row: &Row) -> Result<Demands, RowError> {
    let addresses: Vec<String> = optional(row, "addresses")?.unwrap_or_default();
    let network = |text: &String| text.parse().map_err(|_| odd("addresses", text));
    let asked: Vec<String> = optional(row, "second_factor")?.unwrap_or_default();
    let second_factor = if asked.is_empty() {
        SecondFactor::Nobody
    } else if asked.iter().any(|role| role == "*") {
        SecondFactor::Everybody
    } else {
        SecondFactor::Roles(asked.into_iter().map(Arc::from).collect())
    };
    let span = |name: &'static str| -> Result<Option<Duration>, RowError> {
        let Some(stated) = optional::<i64>(row, name)? else { return Ok(None) };
        let seconds = u64::try_from(stated).map_err(|_| odd(name, &stated.to_string()))?;
        Ok(Some(Duration::from_secs(seconds)))
    };
    Ok(Demands {
        addresses: addresses.iter().map(network).collect::<Result<_, _>>()?,
        second_factor,
        trusted_device: span("trusted_device")?,
        session_age: span("session_age")?,
        session_idle: span("session_idle")?,
    })
}

/// `organization uuid, role, status, joined_at bigint`, of that user; where the query brings them,
/// also `roles`, `grants` and `denials` as `text[]`, `teams text[]` (`team:role`) and `stage`.
pub(super) fn membership(row: &Row, user: &UserId) -> Result<Membership, RowError> {
    let joined_at: i64 = column(row, "joined_at")?;
    Ok(Membership {
        organization: OrgId::new(column::<Uuid>(row, "organization")?),
        user: user.clone(),
        role: Arc::from(column::<&str>(row, "role")?),
        status: member_status(column(row, "status")?)?,
        // Nobody joined before 1970.
        joined_at: u64::try_from(joined_at).unwrap_or(0),
        more: more(row)?,
    })
}

fn more(row: &Row) -> Result<Option<Box<MoreRights>>, RowError> {
    let texts = |name| Ok(optional::<Vec<String>>(row, name)?.unwrap_or_default());
    let patterns = |name: &'static str| -> Result<Vec<PermissionPattern>, RowError> {
        let pattern = |text: &String| PermissionPattern::parse(text).ok_or_else(|| odd(name, text));
        texts(name)?.iter().map(pattern).collect()
    };
    let more = MoreRights {
        roles: texts("roles")?.into_iter().map(Arc::from).collect(),
        teams: texts("teams")?.iter().map(|text| team_role(text)).collect::<Result<_, _>>()?,
        grants: patterns("grants")?,
        denials: patterns("denials")?,
        stage: optional::<String>(row, "stage")?.map(Arc::from),
        role_as_of: optional::<i64>(row, "role_as_of")?.and_then(|at| u64::try_from(at).ok()),
    };
    Ok((more != MoreRights::default()).then(|| Box::new(more)))
}

/// `organization uuid, name, hash, scopes text[], status`; where the query brings them, also
/// `addresses text[]`, `limit_name`, `expires_at bigint`, `previous_hash` with
/// `previous_until bigint` (seconds since 1970).
pub(super) fn machine_key(row: &Row, id: KeyId) -> Result<MachineKey, RowError> {
    let hash = |name, text: &str| text.parse::<KeyHash>().map_err(|_| odd(name, text));
    let seconds = |name: &'static str| -> Result<Option<u64>, RowError> {
        // What ended before 1970 has ended.
        Ok(optional::<i64>(row, name)?.map(|stated| u64::try_from(stated).unwrap_or(0)))
    };
    let scopes: Vec<String> = column(row, "scopes")?;
    let scope = |text: &String| PermissionPattern::parse(text).ok_or_else(|| odd("scopes", text));
    let addresses: Vec<String> = optional(row, "addresses")?.unwrap_or_default();
    let network = |text: &String| text.parse().map_err(|_| odd("addresses", text));
    let before = optional::<String>(row, "previous_hash")?;
    let before = before.map(|text| hash("previous_hash", &text)).transpose()?;
    Ok(MachineKey {
        id,
        name: Arc::from(column::<&str>(row, "name")?),
        organization: OrgId::new(column::<Uuid>(row, "organization")?),
        hash: hash("hash", column(row, "hash")?)?,
        previous: before
            .zip(seconds("previous_until")?)
            .map(|(hash, until)| PreviousSecret { hash, until }),
        scopes: scopes.iter().map(scope).collect::<Result<_, _>>()?,
        addresses: addresses.iter().map(network).collect::<Result<_, _>>()?,
        limit: optional::<String>(row, "limit_name")?.map(Arc::from),
        status: key_status(column(row, "status")?)?,
        expires_at: seconds("expires_at")?,
    })
}

fn key_status(text: &str) -> Result<KeyStatus, RowError> {
    match text {
        "active" => Ok(KeyStatus::Active),
        "revoked" => Ok(KeyStatus::Revoked),
        other => Err(odd("status", other)),
    }
}

fn team_role(text: &str) -> Result<TeamRole, RowError> {
    let (team, role) = text.split_once(':').ok_or_else(|| odd("teams", text))?;
    let team = team.parse().map_err(|_| odd("teams", text))?;
    if role.is_empty() { Err(odd("teams", text)) } else { Ok(TeamRole { team, role: role.into() }) }
}

fn org_status(text: &str) -> Result<OrgStatus, RowError> {
    match text {
        "active" => Ok(OrgStatus::Active),
        "suspended" => Ok(OrgStatus::Suspended),
        other => Err(odd("status", other)),
    }
}

fn member_status(text: &str) -> Result<MemberStatus, RowError> {
    match text {
        "active" => Ok(MemberStatus::Active),
        "invited" => Ok(MemberStatus::Invited),
        "suspended" => Ok(MemberStatus::Suspended),
        other => Err(odd("status", other)),
    }
}

fn column<'r, T: FromSql<'r>>(row: &'r Row, name: &'static str) -> Result<T, RowError> {
    row.try_get(name).map_err(|error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        RowError::Column { column: name, error: cause.unwrap_or_else(|| error.to_string()) }
    })
}

/// A column that a query of the operator's own need not bring, and that may be null.
fn optional<'r, T: FromSql<'r>>(row: &'r Row, name: &'static str) -> Result<Option<T>, RowError> {
    if row.columns().iter().any(|known| known.name() == name) {
        column(row, name)
    } else {
        Ok(None)
    }
}

fn odd(column: &'static str, value: &str) -> RowError {
    let value = value.chars().take(64).flat_map(char::escape_debug).collect();
    RowError::Value { column, value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_known_statuses_are_read() {
        assert_eq!(org_status("active"), Ok(OrgStatus::Active));
        assert_eq!(member_status("invited"), Ok(MemberStatus::Invited));
        assert_eq!(key_status("revoked"), Ok(KeyStatus::Revoked));
        for odd in ["Active", "", "deleted", "active "] {
            assert!(org_status(odd).is_err() && member_status(odd).is_err(), "{odd}");
            assert!(key_status(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn a_time_zone_that_nobody_knows_is_a_fault_and_not_none() {
        assert_eq!(time_zone(None), Ok(None));
        let berlin = time_zone(Some("Europe/Berlin".to_owned())).unwrap().unwrap();
        assert_eq!(berlin.name(), "Europe/Berlin");
        for odd in ["", "Berlin", "Europe/Berlln", "UTC+1"] {
            let fault = time_zone(Some(odd.to_owned())).unwrap_err().to_string();
            assert_eq!(fault, format!("column `time_zone` holds `{odd}`"));
        }
    }

    #[test]
    fn a_team_and_its_role_are_read_to_their_end() {
        let found = team_role("sales.north:manager").unwrap();
        assert_eq!((found.team.as_str(), found.role.as_ref()), ("sales.north", "manager"));
        for odd in ["sales", "sales:", ":manager", "sales..north:manager", "sales north:manager"] {
            assert!(team_role(odd).is_err(), "{odd}");
        }
    }
}
