//! The names of buckets in Redis.
//!
//! `prefix{tag}:kind:length:limit:id`. The tag is the organization's id where there is one, so
//! that the user, key, route and organization buckets of a request share a slot of a Redis Cluster,
//! and one call takes them all; elsewhere it is a hash of the subject. The tag has one of two fixed
//! lengths and the limit's name is preceded by its own, so that two subjects never share a name.
//! Imports `domain` only.

use std::fmt::Write;

use crate::domain::charge::BucketCharge;
use crate::domain::charge::Subject;

/// The name of a bucket.
pub(super) fn key(prefix: &str, charge: &BucketCharge) -> String {
    let (kind, id, organization) = match &charge.subject {
        Subject::User(user, organization) => ('u', user.as_str(), *organization),
        Subject::Organization(organization) => ('o', "", Some(*organization)),
        Subject::Key(name, organization) => ('k', &**name, *organization),
        Subject::Route(name, organization) => ('r', &**name, *organization),
        Subject::Account(account) => {
            return finish(prefix, 'h', &account.to_string(), None, charge);
        }
        Subject::Address(address) => {
            return finish(prefix, 'a', &address.to_string(), None, charge);
        }
    };
    finish(prefix, kind, id, organization.map(|o| o.to_string()), charge)
}

fn finish(
    prefix: &str,
    kind: char,
    id: &str,
    organization: Option<String>,
    charge: &BucketCharge,
) -> String {
    let tag = organization.unwrap_or_else(|| spread(kind, id));
    let limit = &charge.limit;
    let mut key = String::with_capacity(prefix.len() + tag.len() + limit.len() + id.len() + 12);
    // Writing to a String cannot fail.
    let _ = write!(key, "{prefix}{{{tag}}}:{kind}:{}:{limit}:{id}", limit.len());
    key
}

/// Sixteen hexadecimal digits that spread subjects over the slots.
fn spread(kind: char, id: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(kind.encode_utf8(&mut [0; 4]).as_bytes());
    hasher.update(id.as_bytes());
    hasher.finalize().to_hex().chars().take(16).collect()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::sync::Arc;

    use super::*;
    use crate::domain::charge::{Rate, WhenAway};
    use crate::domain::login::AccountHash;

    fn named(limit: &str, subject: Subject) -> String {
        let one = NonZeroU32::MIN;
        let rate = Rate { tokens: one, period_millis: one, burst: one };
        let when_away = WhenAway::Closed;
        key(
            "t:",
            &BucketCharge {
                limit: Arc::from(limit),
                subject,
                rate,
                cost: one,
                when_away,
                penalty: None,
            },
        )
    }

    #[test]
    fn an_organizations_buckets_share_its_tag() {
        let org = "7b0d3c1e-0000-4000-8000-00000000000a".parse().unwrap();
        let user = Subject::User("ann".parse().unwrap(), Some(org));
        assert_eq!(named("x", user), "t:{7b0d3c1e-0000-4000-8000-00000000000a}:u:1:x:ann");
        let all = [
            Subject::Organization(org),
            Subject::Route(Arc::from("rest"), Some(org)),
            Subject::Key(Arc::from("tgk_x"), Some(org)),
        ];
        for subject in all {
            assert!(named("x", subject).starts_with("t:{7b0d3c1e-0000-4000-8000-00000000000a}:"));
        }
    }

    #[test]
    fn no_two_subjects_share_a_name() {
        let org = "7b0d3c1e-0000-4000-8000-00000000000a".parse().unwrap();
        let ids = ["a", "a:b", "1:a", "b}", "::1", "{}"];
        let mut names = std::collections::HashSet::new();
        let mut count = 0;
        for limit in ["a", "a:b", "1:a", ""] {
            for id in ids {
                for organization in [None, Some(org)] {
                    names.insert(named(limit, Subject::User(id.parse().unwrap(), organization)));
                    names.insert(named(limit, Subject::Route(Arc::from(id), organization)));
                    names.insert(named(limit, Subject::Key(Arc::from(id), organization)));
                    count += 3;
                }
            }
            names.insert(named(limit, Subject::Address("::1".parse().unwrap())));
            names.insert(named(limit, Subject::Account(AccountHash(1))));
            names.insert(named(limit, Subject::Organization(org)));
            count += 3;
        }
        assert_eq!(names.len(), count);
    }
}
