//! What `/readyz` asks: the parts that a request could fail for.

use std::sync::Arc;

use crate::admin::{Check, Condition};
use crate::domain::charge::WhenAway;
use crate::domain::clock::Clock;
use crate::policy::Snapshot;
use crate::proxy::Gateway;
use crate::stores::keys::RemoteKeys;
use crate::stores::limits::LimitStore;

/// All checks, in the order of the pipeline. Each looks at the policy that is in force then.
pub(super) fn checks(
    gateway: &Arc<Gateway>,
    limits: &Arc<LimitStore>,
    clock: Arc<dyn Clock>,
) -> Vec<Check> {
    let own = || Arc::clone(gateway);
    let (keys, directory, store, upstreams) = (own(), own(), own(), own());
    let limits = Arc::clone(limits);
    vec![
        // A process without one does not get as far as to answer.
        Check::new("snapshot", || Condition::Ready),
        Check::new("keys", move || keys_condition(keys.current().node.remote_keys())),
        Check::new("directory", move || {
            match directory.current().node.directory().is_reachable() {
                true => Condition::Ready,
                false => Condition::Degraded(
                    "the directory's database is away: known organizations and members are \
                     served, others get 503"
                        .into(),
                ),
            }
        }),
        Check::new("limits", move || match limits.is_away() {
            true => limits_away(&store.current().snapshot),
            false => Condition::Ready,
        }),
        Check::new("upstreams", move || {
            upstreams_condition(&upstreams.current().without_address(clock.now()))
        }),
    ]
}

fn keys_condition<'k>(sets: impl Iterator<Item = &'k Arc<RemoteKeys>>) -> Condition {
    let mut condition = Condition::Ready;
    for set in sets {
        if !set.is_ready() {
            return Condition::Unready(format!("no keys from `{}` yet", set.url()));
        }
        let failures = set.stats().failures;
        if failures > 0 {
            let reason = format!(
                "`{}` failed {failures} time(s) in a row; its last good keys are used",
                set.url()
            );
            condition = Condition::Degraded(reason);
        }
    }
    condition
}

/// Only a limit that is closed without its store makes requests fail.
fn limits_away(snapshot: &Snapshot) -> Condition {
    let closed: Vec<String> = snapshot
        .limits
        .values()
        .filter(|limit| limit.when_away == WhenAway::Closed)
        .map(|limit| format!("`{}`", limit.name))
        .collect();
    if closed.is_empty() {
        let reason = "the shared store of limits is away: limits are enforced by this node's \
                      share, or not, as each says";
        return Condition::Degraded(reason.into());
    }
    Condition::Unready(format!(
        "the shared store of limits is away, and requests need it for {}",
        closed.join(", ")
    ))
}

fn upstreams_condition(without: &[Arc<str>]) -> Condition {
    if without.is_empty() {
        return Condition::Ready;
    }
    let names: Vec<String> = without.iter().map(|name| format!("`{name}`")).collect();
    Condition::Unready(format!("no healthy address of upstream {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_without_an_address_is_named() {
        assert_eq!(upstreams_condition(&[]), Condition::Ready);
        let condition = upstreams_condition(&["auth".into(), "rest".into()]);
        let reason = "no healthy address of upstream `auth`, `rest`";
        assert_eq!(condition, Condition::Unready(reason.into()));
    }

    #[test]
    fn a_store_that_is_away_matters_only_to_limits_that_are_closed_without_it() {
        let loaded = |when_away: &str| {
            let env = |name: &str| match name {
                "TOLLGATE_DEMO_SECRET" => Some("a secret of thirty-two bytes, or more".into()),
                "TOLLGATE_DEMO_UPSTREAM" => Some("127.0.0.1:3000".into()),
                _ => None,
            };
            let mut snapshot = crate::config::load_embedded(&env).unwrap().snapshot;
            for limit in snapshot.limits.values_mut() {
                let mut changed = limit.as_ref().clone();
                changed.when_away = match when_away {
                    "closed" => WhenAway::Closed,
                    _ => WhenAway::LocalShare,
                };
                *limit = Arc::new(changed);
            }
            snapshot
        };
        assert!(matches!(limits_away(&loaded("local_share")), Condition::Degraded(_)));
        let Condition::Unready(reason) = limits_away(&loaded("closed")) else {
            panic!("a closed limit without its store refuses requests");
        };
        assert!(reason.ends_with("for `per_organization`, `per_user`"), "{reason}");
    }
}
