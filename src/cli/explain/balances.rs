//! What the shared buckets of a request hold now, read from the store where that is Redis. Nothing is
//! taken from them; what a gateway keeps in its own memory no other process can see.

use std::time::Duration;

use crate::config::settings::{LimitStoreSettings, RedisSettings, Settings};
use crate::domain::charge::{BucketCharge, Subject};
use crate::stores::limits::ledger::{Ledger, LedgerError, ShownBucket, Which};

use super::report::BalanceReport;

/// Reading a store of many buckets takes a while; an explanation does not wait for ever.
const PATIENCE: Duration = Duration::from_secs(5);

/// The balances of buckets, in their order; `None` where the store is in each gateway's memory.
pub(super) async fn of(
    buckets: &[&BucketCharge],
    settings: &Settings,
) -> Option<Vec<BalanceReport>> {
    let LimitStoreSettings::Redis(redis) = &settings.limits else { return None };
    if buckets.is_empty() {
        return None;
    }
    let read = tokio::time::timeout(PATIENCE, read(buckets, redis)).await;
    let shown = match read {
        Ok(Ok(shown)) => Ok(shown),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the store did not answer in 5 s".to_owned()),
    };
    let balance = |bucket: &&BucketCharge| match &shown {
        Err(why) => BalanceReport {
            left: None,
            leased: None,
            blocked_millis: None,
            unknown: Some(why.clone()),
        },
        Ok(shown) => held(bucket, shown),
    };
    Some(buckets.iter().map(balance).collect())
}

async fn read(
    buckets: &[&BucketCharge],
    redis: &RedisSettings,
) -> Result<Vec<ShownBucket>, LedgerError> {
    let mut ledger = Ledger::open(redis).await?;
    let mut all = Vec::new();
    for bucket in buckets {
        let (scope, id, organization) = named(&bucket.subject);
        let which = Which {
            // Keys of a bucket of no organization are found by the rest.
            organization: organization.as_ref().and_then(|id| id.parse().ok()),
            scope: Some(scope.into()),
            id: Some(id.into()),
            limit: Some(bucket.limit.as_ref().into()),
        };
        all.extend(ledger.list(&which).await?);
    }
    Ok(all)
}

/// One that is not there is full: nobody has used it lately.
fn held(bucket: &BucketCharge, shown: &[ShownBucket]) -> BalanceReport {
    let (scope, id, organization) = named(&bucket.subject);
    let found = shown.iter().find(|of| {
        *of.limit == *bucket.limit
            && of.scope == scope
            && of.id == id
            && of.organization == organization
    });
    let (left, leased, blocked) = match found {
        None => (i64::from(bucket.rate.burst.get()), 0, 0),
        Some(of) => {
            let left = i64::try_from(of.left).unwrap_or(i64::MAX);
            let debt = i64::try_from(of.debt).unwrap_or(i64::MAX);
            (left.saturating_sub(debt), of.leased, of.blocked_millis)
        }
    };
    BalanceReport {
        left: Some(left),
        leased: Some(leased),
        blocked_millis: Some(blocked),
        unknown: None,
    }
}

/// As the store names it: kind, id, organization.
fn named(subject: &Subject) -> (&'static str, String, Option<String>) {
    let shown = |organization: &Option<crate::domain::ids::OrgId>| {
        organization.as_ref().map(ToString::to_string)
    };
    match subject {
        Subject::User(user, organization) => ("user", user.to_string(), shown(organization)),
        Subject::Organization(organization) => {
            ("organization", String::new(), Some(organization.to_string()))
        }
        Subject::Key(key, organization) => ("key", key.to_string(), shown(organization)),
        Subject::Route(route, organization) => ("route", route.to_string(), shown(organization)),
        Subject::Address(address) => ("address", address.to_string(), None),
        Subject::Account(account) => ("account", account.to_string(), None),
    }
}
