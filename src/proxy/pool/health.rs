//! Active health checks: one task for each address that a snapshot wants checked.
//!
//! They run on the runtime that the caller gives, not on the proxy's threads, and end when the
//! snapshot that asked for them is replaced.

use std::sync::Arc;

use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::prelude::*;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::domain::clock::Clock;
use crate::policy::upstream::{HealthCheck, Upstream};

use super::address::Address;
use super::{Pools, peer, shown};

/// The running checks; they end when this is dropped.
#[derive(Default)]
pub(in crate::proxy) struct Checks {
    tasks: Vec<JoinHandle<()>>,
    /// Kept over reloads: a new one reads the certificates of the system.
    connector: Option<Arc<Connector>>,
}

impl Drop for Checks {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Checks {
    /// Starts the checks of all upstreams that want them, in place of those before.
    pub(in crate::proxy) fn start(
        pools: &Pools,
        clock: &Arc<dyn Clock>,
        runtime: &Handle,
        before: &Self,
    ) -> Self {
        let wanted: Vec<_> =
            pools.iter().filter(|pool| pool.upstream.health.is_some()).cloned().collect();
        if wanted.is_empty() {
            return Self::default();
        }
        let connector = before.connector.clone();
        let connector = connector.unwrap_or_else(|| Arc::new(Connector::new(None)));
        let mut tasks = Vec::new();
        for pool in wanted {
            for address in &pool.addresses {
                let task = check_forever(
                    Arc::clone(&pool.upstream),
                    Arc::clone(address),
                    Arc::clone(&connector),
                    Arc::clone(clock),
                );
                tasks.push(runtime.spawn(task));
            }
        }
        Self { tasks, connector: Some(connector) }
    }
}

async fn check_forever(
    upstream: Arc<Upstream>,
    address: Arc<Address>,
    connector: Arc<Connector>,
    clock: Arc<dyn Clock>,
) {
    let Some(check) = upstream.health.clone() else { return };
    let mut ticks = tokio::time::interval(check.interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = clock.now();
        address.resolve(now, check.timeout).await;
        let asked = ask(&upstream, &address, &connector, &check, &*clock);
        let good = matches!(tokio::time::timeout(check.timeout, asked).await, Ok(Ok(true)));
        match address.checked(good, &check) {
            Some(true) => tracing::info!(
                upstream.name = %upstream.name,
                upstream.address = %shown(&address),
                "address is healthy again"
            ),
            Some(false) => tracing::warn!(
                upstream.name = %upstream.name,
                upstream.address = %shown(&address),
                "address is unhealthy: requests go to others"
            ),
            None => {}
        }
    }
}

/// Any answer below 500 is healthy: a check needs no credentials to say that somebody is there.
async fn ask(
    upstream: &Upstream,
    address: &Address,
    connector: &Connector,
    check: &HealthCheck,
    clock: &dyn Clock,
) -> Result<bool> {
    let Some(socket) = address.socket(clock.now(), check.timeout).await else { return Ok(false) };
    let peer = peer::build(upstream, socket, check.timeout);
    let (mut session, _) = connector.get_http_session(&peer).await?;
    let mut head = RequestHeader::build("GET", check.path.as_bytes(), Some(2))?;
    let host = upstream.host.as_deref().unwrap_or(&address.name.host);
    head.insert_header("Host", host)?;
    head.insert_header("User-Agent", "tollgate-health")?;
    session.set_read_timeout(Some(check.timeout));
    session.write_request_header(Box::new(head)).await?;
    session.finish_request_body().await?;
    session.read_response_header().await?;
    // The connection is closed rather than drained: a check must see whether a new one can be made.
    Ok(session.response_header().is_some_and(|answer| answer.status.as_u16() < 500))
}
