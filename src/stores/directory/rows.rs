//! Rows of the directory's queries as organizations and memberships.
//!
//! A row that cannot be read (an unknown status, a malformed slug, a missing column) is an outage
//! of the directory and not an absence: a member must not be told 403 because of a mistake in a
//! table, and what cannot be read must not be served. It is logged, and the next request asks
//! again.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio_postgres::Row;
use tokio_postgres::types::FromSql;
use uuid::Uuid;

use crate::domain::ids::{OrgId, UserId};
use crate::domain::organization::{MemberStatus, Membership, OrgStatus, Organization};

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

/// `id uuid, slug, status, plan, features text[]`.
pub(super) fn organization(row: &Row) -> Result<Organization, RowError> {
    let features: Vec<String> = column(row, "features")?;
    let slug: &str = column(row, "slug")?;
    Ok(Organization {
        id: OrgId::new(column::<Uuid>(row, "id")?),
        slug: slug.parse().map_err(|_| odd("slug", slug))?,
        status: org_status(column(row, "status")?)?,
        plan: Arc::from(column::<&str>(row, "plan")?),
        features: features.into_iter().map(Arc::from).collect::<BTreeSet<_>>(),
    })
}

/// `organization uuid, role, status, joined_at bigint`, of that user.
pub(super) fn membership(row: &Row, user: &UserId) -> Result<Membership, RowError> {
    let joined_at: i64 = column(row, "joined_at")?;
    Ok(Membership {
        organization: OrgId::new(column::<Uuid>(row, "organization")?),
        user: user.clone(),
        role: Arc::from(column::<&str>(row, "role")?),
        status: member_status(column(row, "status")?)?,
        // Nobody joined before 1970.
        joined_at: u64::try_from(joined_at).unwrap_or(0),
    })
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
        for odd in ["Active", "", "deleted", "active "] {
            assert!(org_status(odd).is_err() && member_status(odd).is_err(), "{odd}");
        }
    }
}
