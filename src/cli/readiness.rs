//! What `/readyz` asks: the parts that a request could fail for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::admin::{Check, Condition};
use crate::config::settings::{Listener, WithoutStore};
use crate::domain::charge::WhenAway;
use crate::domain::clock::Clock;
use crate::policy::Snapshot;
use crate::proxy::Gateway;
use crate::proxy::canary::{Canary, Verdict};
use crate::stores::keys::RemoteKeys;
use crate::stores::limits::LimitStore;
use crate::stores::limits::stats::Primaries;
use crate::stores::sessions::Sessions;
use crate::telemetry::process;

/// All checks, in the order of the pipeline. Each looks at the policy that is in force then.
pub(super) fn checks(
    gateway: &Arc<Gateway>,
    canary: &Arc<Canary>,
    limits: &Arc<LimitStore>,
    sessions: &Arc<Sessions>,
    clock: Arc<dyn Clock>,
    listeners: &[Listener],
) -> Vec<Check> {
    let own = || Arc::clone(gateway);
    let (keys, directory, store, upstreams, isolated) = (own(), own(), own(), own(), own());
    let canary = Arc::clone(canary);
    let (limits, sessions) = (Arc::clone(limits), Arc::clone(sessions));
    let listening = Listening::new(listeners);
    vec![
        Check::new("listeners", move || listening.condition()),
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
            false => primaries_condition(limits.primaries()),
        }),
        Check::new("sessions", move || {
            sessions_condition(sessions.is_away(), sessions.when_away())
        }),
        Check::new("upstreams", move || {
            upstreams_condition(&upstreams.current().without_address(clock.now()))
        }),
        Check::new("isolation", move || isolation_condition(canary.verdict(&isolated))),
    ]
}

/// The admin listener may be open before the others are.
struct Listening {
    ports: Vec<u16>,
    /// They stay open until the process drains: once seen, no more looking.
    seen: AtomicBool,
}

impl Listening {
    fn new(listeners: &[Listener]) -> Self {
        let ports = listeners.iter().map(|listener| listener.address.port()).collect();
        Self { ports, seen: AtomicBool::new(false) }
    }

    fn condition(&self) -> Condition {
        if self.seen.load(Ordering::Relaxed) {
            return Condition::Ready;
        }
        let open = process::listening_ports();
        let closed: Vec<String> = self
            .ports
            .iter()
            .filter(|port| open.as_ref().is_some_and(|open| !open.contains(port)))
            .map(|port| format!("`{port}`"))
            .collect();
        if closed.is_empty() {
            self.seen.store(true, Ordering::Relaxed);
            return Condition::Ready;
        }
        Condition::Unready(format!("nothing listens yet on port {}", closed.join(", ")))
    }
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

/// Other nodes see the same: taking this one out of service would help nobody.
fn primaries_condition(Primaries { known, asked }: Primaries) -> Condition {
    match known.saturating_sub(asked) {
        0 => Condition::Ready,
        away => Condition::Degraded(format!(
            "{away} of {known} primaries of the redis cluster are away: requests with buckets there go \
             by what each limit says for that case"
        )),
    }
}

fn sessions_condition(away: bool, then: WithoutStore) -> Condition {
    match (away, then) {
        (false, WithoutStore::Serve | WithoutStore::Refuse) => Condition::Ready,
        (true, WithoutStore::Serve) => Condition::Degraded(
            "the shared store of sessions is away: what other nodes revoke is not heard of".into(),
        ),
        (true, WithoutStore::Refuse) => Condition::Unready(
            "the shared store of sessions is away, and tokens of users are refused without it"
                .into(),
        ),
    }
}

fn upstreams_condition(without: &[Arc<str>]) -> Condition {
    if without.is_empty() {
        return Condition::Ready;
    }
    let names: Vec<String> = without.iter().map(|name| format!("`{name}`")).collect();
    Condition::Unready(format!("no healthy address of upstream {}", names.join(", ")))
}

fn isolation_condition(verdict: Verdict) -> Condition {
    match verdict {
        Verdict::Held => Condition::Ready,
        Verdict::Pending => {
            Condition::Unready("isolation was not tried yet under the policy in force".into())
        }
        Verdict::Failed(why) => Condition::Unready(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_nothing_listens_on_yet_is_named() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let listening = Listening::new(&[Listener { address, tls: None, http2: true }]);
        drop(socket);
        let reason = format!("nothing listens yet on port `{}`", address.port());
        assert_eq!(listening.condition(), Condition::Unready(reason));
        let _socket = std::net::TcpListener::bind(address).unwrap();
        assert_eq!(listening.condition(), Condition::Ready);
    }

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
